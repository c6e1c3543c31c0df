"""Where the cookie comes from, and what is refused."""

import os
import stat
from pathlib import Path

import pytest

from quorate.core import CookieError
from quorate.core.cookie import COOKIE_FILE, COOKIE_VARIABLE, resolve_cookie
from quorate.core.real import create_private_file
from tests.support import SeededEntropy


def resolve(cookie_file: Path | None = None, /, **env: str) -> bytes:
    return resolve_cookie(cookie_file=cookie_file, env=env, entropy=SeededEntropy())


def cookie_file(path: Path, data: bytes = b"secret\n", mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


def test_a_named_file_comes_before_the_variable_and_that_before_the_home(tmp_path: Path) -> None:
    named = cookie_file(tmp_path / "named", b" from the file \n")
    cookie_file(tmp_path / COOKIE_FILE, b"from home")
    env = {COOKIE_VARIABLE: "from the variable", "HOME": str(tmp_path)}
    assert resolve(named, **env) == b"from the file"
    assert resolve(None, **env) == b"from the variable"
    assert resolve(HOME=str(tmp_path)) == b"from home"


def test_the_file_at_home_is_made_once_with_mode_0600_and_random_content(tmp_path: Path) -> None:
    made = resolve(HOME=str(tmp_path))
    assert len(made) == 64
    assert int(made, 16) > 0
    assert stat.S_IMODE((tmp_path / COOKIE_FILE).stat().st_mode) == 0o600
    again = resolve_cookie(cookie_file=None, env={"HOME": str(tmp_path)}, entropy=SeededEntropy(2))
    assert again == made
    other = resolve_cookie(cookie_file=None, env={}, home=tmp_path, entropy=SeededEntropy(3))
    assert other == made


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644, 0o666])
@pytest.mark.parametrize("at_home", [True, False])
def test_a_file_that_others_can_use_is_refused_with_the_command_that_mends_it(
    tmp_path: Path, mode: int, at_home: bool
) -> None:
    path = cookie_file(tmp_path / COOKIE_FILE, mode=mode)
    with pytest.raises(CookieError) as raised:
        resolve(None if at_home else path, HOME=str(tmp_path))
    assert f"chmod 600 {path}" in str(raised.value)
    assert f"{mode:04o}" in str(raised.value)


def test_a_file_that_only_its_owner_can_read_is_taken(tmp_path: Path) -> None:
    assert resolve(cookie_file(tmp_path / "c", mode=0o400)) == b"secret"


@pytest.mark.parametrize("data", [b"", b" \n\t\n"])
def test_an_empty_file_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(CookieError, match="is empty"):
        resolve(cookie_file(tmp_path / "c", data))


def test_an_empty_variable_is_refused_and_nothing_else_is_tried(tmp_path: Path) -> None:
    with pytest.raises(CookieError, match=COOKIE_VARIABLE):
        resolve(None, HOME=str(tmp_path), QUORATE_COOKIE=" ")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_much_too_long_is_not_taken_for_a_cookie(tmp_path: Path) -> None:
    with pytest.raises(CookieError, match="is it the right one"):
        resolve(cookie_file(tmp_path / "c", b"x" * 5000))


def test_a_named_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(CookieError, match="there is no cookie file"):
        resolve(tmp_path / "none")
    assert list(tmp_path.iterdir()) == []


def test_a_directory_in_place_of_the_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir(mode=0o700)
    with pytest.raises(CookieError, match="cannot read the cookie file"):
        resolve(tmp_path / "c")


def test_no_home_and_a_home_that_cannot_be_written_say_what_to_do_instead(tmp_path: Path) -> None:
    with pytest.raises(CookieError, match="--cookie-file"):
        resolve()
    with pytest.raises(CookieError, match="--cookie-file"):
        resolve(HOME=str(tmp_path / "none"))


def test_of_two_that_make_the_file_at_once_both_get_the_same_cookie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slower(path: Path, data: bytes) -> None:
        create_private_file(path, b"the faster one's")
        create_private_file(path, data)

    monkeypatch.setattr("quorate.core.cookie.create_private_file", slower)
    assert resolve(HOME=str(tmp_path)) == b"the faster one's"
    assert os.listdir(tmp_path) == [COOKIE_FILE]
