"""Commands answer in tables or JSON; what goes wrong is one line on stderr and an exit code that says what kind it was."""

import contextlib
import json
import os
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from quorate.cli import main
from quorate.cli.failures import DONE, FAILED, UNREACHABLE, USAGE
from quorate.consensus import NoQuorum, OutcomeUnknown
from quorate.core import ConfigError

from .node_in_thread import COOKIE, answering

STATUS: dict[str, Any] = {
    "name": "a@127.0.0.1:9101",
    "creation": 3,
    "nodes": ["b@127.0.0.1:9102"],
    "processes": 12,
    "store": {
        "engine": "raft",
        "role": "follower",
        "leader": "b@127.0.0.1:9102",
        "term": 7,
        "commit_index": 41,
        "applied_index": 40,
        "revision": 39,
        "keys": 5,
        "session": 8,
        "voters": ["a@127.0.0.1:9101", "b@127.0.0.1:9102"],
    },
    "session_valid_for_s": 2.5,
    "singletons": [
        {
            "name": "billing/ledger",
            "kind": "ledger.Ledger",
            "pin": None,
            "assigned": "a@127.0.0.1:9101",
            "owner": "b@127.0.0.1:9102",
            "fence": 17,
            "phase": "idle",
        }
    ],
}
NAMES = [
    {
        "name": f"user/{number:03d}/{'x' * 60}",
        "pid": f"<a/{number}>",
        "node": "a@127.0.0.1:9101",
        "fence": number,
    }
    for number in range(100, 103)
]


async def _status(_: Any) -> object:
    return STATUS


async def _names(prefix: Any) -> object:
    return [entry for entry in NAMES if str(entry["name"]).startswith(prefix)]


async def _whereis(name: Any) -> object:
    if name == "unsure":
        raise NoQuorum("no majority answers: nothing happened")
    if name == "billing/ledger":
        return STATUS["singletons"][0]
    return NAMES[0] if name == NAMES[0]["name"] else None


async def _move(args: Any) -> object:
    name, node = args
    if node == "nowhere":
        raise ConfigError("there is no node 'nowhere':\n  start it first")
    if name == "unsure":
        raise OutcomeUnknown("it may have happened")
    return None


async def _drain(deadline_s: Any) -> object:
    return {"deadline_s": deadline_s}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with answering(
        {"status": _status, "names": _names, "whereis": _whereis, "move": _move, "drain": _drain}
    ) as where:
        yield where


@pytest.fixture(autouse=True)
def cookie(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUORATE_COOKIE", COOKIE)
    monkeypatch.delenv("QUORATE_NODE", raising=False)


def only_line(text: str) -> str:
    lines = text.splitlines()
    assert len(lines) == 1, text
    assert lines[0].startswith("quorate: ") and "Traceback" not in text
    return lines[0]


# -- answers -----------------------------------------------------------------------------------------------


def test_status_shows_the_node_its_store_and_its_singletons(
    address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "--node", address]) == DONE
    shown = capsys.readouterr().out
    for fact in (
        "a@127.0.0.1:9101",
        "follower, term 7",
        "applied 40 of 41",
        "valid for 2.5 s",
        "billing/ledger",
    ):
        assert fact in shown


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["status"], STATUS),
        (["names"], NAMES),
        (["names", "user/101"], NAMES[1:2]),
        (["whereis", NAMES[0]["name"]], NAMES[0]),
        (
            ["move", "billing/ledger", "b@127.0.0.1:9102"],
            {"name": "billing/ledger", "node": "b@127.0.0.1:9102"},
        ),
        (["drain", "--deadline-s", "3"], {"deadline_s": 3.0}),
    ],
)
def test_json_is_one_document_on_stdout(
    address: str, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: object
) -> None:
    assert main([*arguments, "--json", "--node", address]) == DONE
    assert json.loads(capsys.readouterr().out) == expected


def test_names_that_are_piped_are_one_line_each(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["names", "--node", address]) == DONE
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[1:]] == [
        [str(entry[key]) for key in ("name", "node", "pid", "fence")] for entry in NAMES
    ]


def test_a_singleton_is_where_its_owner_is(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["whereis", "billing/ledger", "--node", address]) == DONE
    assert capsys.readouterr().out.splitlines()[1].split() == ["billing/ledger", "b@127.0.0.1:9102", "17"]


def test_the_node_to_ask_comes_from_the_environment_too(
    address: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUORATE_NODE", address)
    assert main(["whereis", str(NAMES[0]["name"])]) == DONE
    assert "a@127.0.0.1:9101" in capsys.readouterr().out


# -- errors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["whereis", "nobody"], FAILED, "no process has the name 'nobody'"),
        (["whereis", "unsure"], UNREACHABLE, "no majority answers"),
        (["move", "x", "nowhere"], FAILED, "there is no node 'nowhere': start it first"),
        (["move", "unsure", "b@127.0.0.1:9102"], UNREACHABLE, "it may have happened"),
    ],
)
def test_an_error_of_the_node_is_one_line_and_a_code(
    address: str, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, complaint: str
) -> None:
    assert main([*arguments, "--node", address]) == code
    assert complaint in only_line(capsys.readouterr().err)


def test_an_error_with_json_is_a_document_too(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["whereis", "nobody", "--json", "--node", address]) == FAILED
    told = capsys.readouterr()
    only_line(told.err)
    assert json.loads(told.out) == {
        "error": {"type": "CommandFailed", "message": "no process has the name 'nobody'", "exit_code": 1}
    }


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["statsu"], "No such command 'statsu'"),
        (["status", "--nod", "x"], "No such option"),
        (["whereis"], "Missing argument"),
        (["move", "x"], "Missing argument"),
        (["drain", "--deadline-s", "soon"], "Invalid value"),
        (["status", "--node", "9101"], "has no port"),
        (["status", "--node", "a@b"], "has no port"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line_and_code_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
) -> None:
    assert main(arguments) == USAGE
    assert complaint in only_line(capsys.readouterr().err)


def test_where_nobody_listens_the_code_says_not_reachable(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--node", "127.0.0.1:1"]) == UNREACHABLE
    assert "nobody listens at 127.0.0.1:1" in only_line(capsys.readouterr().err)


def test_a_node_of_another_name_is_not_the_one_that_was_asked_for(
    address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "--node", f"other@{address}"]) == UNREACHABLE
    assert "not as other@" in only_line(capsys.readouterr().err)


def test_a_wrong_cookie_is_a_wrong_setting(
    address: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUORATE_COOKIE", "another")
    assert main(["status", "--node", address]) == USAGE
    assert "holds another cookie" in only_line(capsys.readouterr().err)


def test_a_cookie_that_others_can_read_is_refused(
    address: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "cookie"
    file.write_text(COOKIE)
    file.chmod(0o644)
    assert main(["status", "--node", address, "--cookie-file", str(file)]) == USAGE
    assert "chmod 600" in only_line(capsys.readouterr().err)
    file.chmod(0o600)
    assert main(["status", "--node", address, "--cookie-file", str(file)]) == DONE


# -- help --------------------------------------------------------------------------------------------------


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == DONE
    shown = capsys.readouterr().out
    for command in ("node", "status", "names", "whereis", "move", "drain", "demo"):
        assert f" {command} " in shown


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == DONE
    assert capsys.readouterr().out.startswith("quorate 0.")


# -- as a process ------------------------------------------------------------------------------------------


def test_a_reader_that_has_enough_is_no_error_to_talk_about(address: str) -> None:
    command = subprocess.Popen(
        [sys.executable, "-m", "quorate", "names", "--node", address],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert command.stdout is not None and command.stderr is not None
    command.stdout.close()
    assert command.stderr.read() == b""
    command.stderr.close()
    assert command.wait(20) == FAILED


def test_a_terminal_of_80_columns_is_not_overflown(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    with subprocess.Popen(
        [sys.executable, "-m", "quorate", "names", "--node", address], stdout=theirs, stdin=theirs
    ) as command:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # how Linux says that the terminal is closed
            while part := os.read(ours, 4096):
                shown += part
        assert command.wait(20) == DONE
    os.close(ours)
    lines = [_without_colours(line) for line in shown.decode().splitlines()]
    assert len(lines) > len(NAMES) + 1 and max(len(line.rstrip()) for line in lines) <= 80
    assert str(NAMES[0]["name"])[:8] in shown.decode()


def _without_colours(line: str) -> str:
    while (start := line.find("\x1b[")) >= 0:
        end = next(i for i in range(start + 2, len(line)) if line[i].isalpha())
        line = line[:start] + line[end + 1 :]
    return line
