"""The cookie: the secret that makes a cluster. Whoever holds it may do everything.

It comes from, in this order: a file that was named; the variable `QUORATE_COOKIE`; the file `.quorate.cookie` in the
home directory, which is made with random content and mode 0600 on first use. A file that others can read is
refused, for then it is no secret. White space around the cookie does not belong to it.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

from .errors import CookieError
from .real import create_private_file, file_mode, read_file
from .runtime import Entropy

COOKIE_VARIABLE = "QUORATE_COOKIE"
COOKIE_FILE = ".quorate.cookie"
_RANDOM_BYTES = 32
_LIMIT_BYTES = 4096
_OTHERS = 0o077  # what a group and all others may do


def resolve_cookie(
    *,
    cookie_file: str | Path | None,
    env: Mapping[str, str],
    entropy: Entropy,
    home: str | Path | None = None,
) -> bytes:
    """The cookie, from wherever it is given; made in `home` (default: `HOME` of `env`) when it is given nowhere.

    Raises `CookieError` that says what to do: no such file, readable by others, empty, or not to be made.
    """
    if cookie_file is not None:
        return read_cookie(Path(cookie_file))
    if COOKIE_VARIABLE in env:
        return _checked(
            env[COOKIE_VARIABLE].encode("utf-8", "surrogateescape"), f"the variable {COOKIE_VARIABLE}"
        )
    directory = home if home is not None else env.get("HOME") or env.get("USERPROFILE")
    if not directory:
        raise CookieError(
            f"there is no home directory to keep a cookie in: give --cookie-file or set {COOKIE_VARIABLE}"
        )
    path = Path(directory) / COOKIE_FILE
    try:
        file_mode(path)
    except FileNotFoundError:
        _make(path, entropy)
    except OSError:
        pass  # `read_cookie` says what is wrong
    return read_cookie(path)


def _make(path: Path, entropy: Entropy) -> None:
    try:
        create_private_file(path, entropy.token(_RANDOM_BYTES).hex().encode() + b"\n")
    except FileExistsError:
        pass  # another process was faster: its cookie is as good
    except OSError as error:
        raise CookieError(
            f"cannot make the cookie file {path}: {error.strerror or error}; give --cookie-file or set "
            f"{COOKIE_VARIABLE}"
        ) from error


def read_cookie(path: Path) -> bytes:
    """The cookie in a file that only its owner can read. Raises `CookieError`."""
    try:
        mode = file_mode(path)
        if mode & _OTHERS and sys.platform != "win32":  # which has no such bits
            raise CookieError(
                f"the cookie file {path} can be used by others than its owner (mode {mode:04o}): run `chmod 600 {path}`"
            )
        data = read_file(path)
    except FileNotFoundError as error:
        raise CookieError(
            f"there is no cookie file {path}: copy the one of the cluster there, with mode 0600"
        ) from error
    except OSError as error:
        raise CookieError(f"cannot read the cookie file {path}: {error.strerror or error}") from error
    return _checked(data, f"the cookie file {path}")


def _checked(data: bytes, what: str) -> bytes:
    cookie = data.strip()
    if not cookie:
        raise CookieError(f"{what} is empty: put the cookie of the cluster there")
    if len(cookie) > _LIMIT_BYTES:
        raise CookieError(
            f"{what} holds {len(cookie)} bytes; a cookie has at most {_LIMIT_BYTES}: is it the right one?"
        )
    return cookie
