"""`quorate jepsen check`: the exit code is the verdict, and nothing else has the exit code of a verdict."""

import contextlib
import json
import os
import re
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from quorate.cli import main
from quorate.cli.jepsen import DEFECT, NO_VERDICT, VERDICT_CODES

GOOD = """\
{:process 1, :type :invoke, :f :write, :value 1}
{:process 2, :type :invoke, :f :read, :value nil}
{:process 2, :type :ok, :f :read, :value 1}
{:process 1, :type :ok, :f :write, :value 1}
"""
BAD = (
    GOOD + "{:process 3, :type :invoke, :f :read, :value nil}\n{:process 3, :type :ok, :f :read, :value 0}\n"
)
APPENDS = "".join(
    f'{{:process {n}, :type {type_}, :f :append, :key "k", :value "{n % 10}"}}\n'
    for type_ in (":invoke", ":ok")
    for n in range(30)
)
HARD = APPENDS + (
    '{:process 99, :type :invoke, :f :put, :key "k", :value ""}\n'
    '{:process 99, :type :ok, :f :put, :key "k", :value ""}\n'
)


@pytest.fixture
def good(tmp_path: Path) -> str:
    return written(tmp_path, GOOD)


@pytest.fixture
def bad(tmp_path: Path) -> str:
    return written(tmp_path, BAD)


def written(folder: Path, text: str) -> str:
    path = folder / "history.edn"
    path.write_text(text)
    return str(path)


def check(*arguments: str) -> int:
    return main(["jepsen", "check", *arguments])


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    told = capsys.readouterr()
    lines = told.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("quorate: "), told.err
    return lines[0]


# -- verdicts ----------------------------------------------------------------------------------------------


def test_a_good_history_is_exit_code_0(good: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(good, "--model", "cas-register") == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{good}: valid",
        "2 answered operations, model cas-register, rules jepsen",
    ]


def test_a_bad_history_is_exit_code_1_and_shows_the_window(
    bad: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check("--model", "cas-register", "--initial", "0", bad) == 1
    told = capsys.readouterr()
    lines = [" ".join(line.split()) for line in told.out.splitlines()]
    assert lines[0] == f"{bad}: invalid"
    assert "read 0, but the register can only be 1 here" in lines
    assert lines[-4:] == [
        "0 1 invoke write 1",
        "3 1 ok write 1",
        "4 3 invoke read",
        "5 3 ok read 0 <- fits nowhere",
    ]
    assert told.err == ""


def test_an_undecided_history_is_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(written(tmp_path, HARD), "--model", "kv", "--max-steps", "20") == 2
    told = capsys.readouterr().out
    assert "unknown" in told and "k: not decided within 20 steps" in told
    assert check(written(tmp_path, HARD), "--model", "kv", "--max-states", "20") == 2
    assert check(written(tmp_path, HARD), "--model", "kv") == 0


def test_a_history_that_the_model_does_not_know_is_exit_code_2(
    good: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(good, "--model", "mutex") == 2
    assert "the model mutex knows nothing of 1 'read', 1 'write'" in capsys.readouterr().out


def test_rules_and_first_value_are_options(tmp_path: Path) -> None:
    failed = written(
        tmp_path,
        "{:process 1 :type :invoke :f :cas :value [0 1]}\n{:process 1 :type :fail :f :cas :value [0 1]}\n"
        "{:process 1 :type :invoke :f :read}\n{:process 1 :type :ok :f :read :value 0}\n",
    )
    options = (failed, "--model", "cas-register", "--initial", "0")
    assert check(*options) == 0
    assert check(*options, "--rules", "porcupine") == 1
    assert check(failed, "--model", "cas-register", "--initial", '"0"') == 1
    assert check(failed, "--model", "cas-register") == 1


def test_a_first_value_that_is_no_json_is_a_text(tmp_path: Path) -> None:
    found = '{:process 1 :type :invoke :f :get}\n{:process 1 :type :ok :f :get :value "0"}\n'
    assert check(written(tmp_path, found), "--model", "kv", "--initial", "0") == 0
    found = found.replace(":get", ":read").replace('"0"', '"a b"')
    assert check(written(tmp_path, found), "--model", "cas-register", "--initial", "a b") == 0


def test_json_is_one_document(bad: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(bad, "--model", "cas-register", "--initial", "0", "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found.pop("steps") > 0 and found.pop("states") > 0
    why = "read 0, but the register can only be 1 here"
    assert found == {
        "file": bad,
        "model": "cas-register",
        "rules": "jepsen",
        "checker": "linearizable",
        "outcome": "invalid",
        "checked": 3,
        "summary": f"entry 5: {why} (3 answered operations, model cas-register)",
        "problems": [f"entry 5: {why}"],
        "windows": [{"key": None, "indices": [0, 3, 4, 5], "culprit": 5, "why": why}],
    }


def test_a_long_window_shows_its_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Fifty appends that are all needed: the get has all of them but the last."""
    appended = "".join(
        f'{{:process 0 :type {type_} :f :append :value "{n:02}"}}\n'
        for n in range(50)
        for type_ in (":invoke", ":ok")
    )
    read = "".join(f"{n:02}" for n in range(49)) + "xx"
    text = (
        appended + f'{{:process 1 :type :invoke :f :get}}\n{{:process 1 :type :ok :f :get :value "{read}"}}\n'
    )
    assert check(written(tmp_path, text), "--model", "kv") == 1
    out = capsys.readouterr().out
    assert max(len(line) for line in out.splitlines()[1:]) <= 200
    assert "<- fits nowhere" in out


def test_a_terminal_of_80_columns_is_not_overflown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    value = " ".join(f"word{n}" for n in range(40))
    written(
        tmp_path,
        f'{{:process 10000 :type :invoke :f :append :key "a-rather-long-key" :value "{value}"}}\n'
        f'{{:process 10000 :type :ok :f :append :key "a-rather-long-key" :value "{value}"}}\n'
        f'{{:process 10001 :type :invoke :f :get :key "a-rather-long-key"}}\n'
        f'{{:process 10001 :type :ok :f :get :key "a-rather-long-key" :value "{value} "}}\n',
    )
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    arguments = [sys.executable, "-m", "quorate", "jepsen", "check", "history.edn", "--model", "kv"]
    with subprocess.Popen(arguments, stdout=theirs, stdin=theirs, cwd=tmp_path) as command:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # how Linux says that the terminal is closed
            while part := os.read(ours, 4096):
                shown += part
        assert command.wait(20) == 1
    os.close(ours)
    lines = [re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", line).rstrip() for line in shown.decode().splitlines()]
    assert "fits nowhere" in shown.decode() and max(map(len, lines)) <= 80, lines


# -- no verdict --------------------------------------------------------------------------------------------


def test_no_failure_has_the_exit_code_of_a_verdict() -> None:
    assert not {NO_VERDICT, DEFECT} & set(VERDICT_CODES.values())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["check"], "Missing argument 'FILE'"),
        (["check", "FILE"], "Missing option '--model'"),
        (["check", "FILE", "--model", "lock"], "no model 'lock'; there are cas-register, kv, mutex"),
        (["check", "FILE", "--model", "mutex", "--initial", "1"], "the model 'mutex' takes no initial value"),
        (["check", "FILE", "--model", "kv", "--rules", "x"], "no rules 'x'; there are jepsen, porcupine"),
        (["check", "FILE", "--model", "kv", "--max-steps", "0"], "Invalid value for '--max-steps'"),
        (["check", "FILE", "--model", "kv", "--what"], "No such option"),
        (["check", "/nowhere/x", "--model", "kv"], "/nowhere/x cannot be read: No such file or directory"),
        (["check", "/", "--model", "kv"], "/ cannot be read: Is a directory"),
        (["chekc"], "No such command"),
    ],
)
def test_wrong_usage_is_one_line_and_no_verdict(
    good: str, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    given = [good if argument == "FILE" else argument for argument in arguments]
    assert main(["jepsen", *given]) == NO_VERDICT
    assert expected in complaint(capsys)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "the history is empty"),
        (GOOD + "{:process 1", "line 5: the '{' of line 5 is never closed"),
        (GOOD + "{:process 1 :type :ok :f :read}", "line 5: process 1 completes 'read', but it has nothing"),
        ('{"index": 0}', "line 1 is no entry"),
        ("{:process 1 :type :invoke :f :cas :value 3}", "entry 0: 'cas' has the value 3"),
    ],
)
def test_a_file_that_holds_no_history_is_no_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, expected: str
) -> None:
    assert check(written(tmp_path, text), "--model", "cas-register") == NO_VERDICT
    assert expected in complaint(capsys)


def test_a_file_that_is_no_text_is_no_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "history"
    path.write_bytes(b"\xff\xfe{}")
    assert check(str(path), "--model", "kv") == NO_VERDICT
    assert f"{path}: no text in UTF-8" in complaint(capsys)


def test_no_verdict_with_json_is_a_document_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert check("/nowhere/x", "--model", "kv", "--json") == NO_VERDICT
    told = capsys.readouterr()
    assert json.loads(told.out)["error"]["exit_code"] == NO_VERDICT


def test_a_defect_is_no_verdict_either(
    good: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("quorate.jepsen_like.linear.check_linearizable", broken)
    assert check(good, "--model", "kv") == DEFECT
    assert "ZeroDivisionError: a defect" in capsys.readouterr().err


def test_without_a_command_it_shows_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jepsen"]) == NO_VERDICT
    assert "check" in capsys.readouterr().out
    assert main(["jepsen", "check", "--help"]) == 0
    assert all(len(line) <= 80 for line in capsys.readouterr().out.splitlines())


def test_other_commands_do_not_load_the_checkers() -> None:
    script = "import sys, quorate.cli.app; sys.exit(any('linear' in name for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
