"""`quorate node` as a process: what it tells, what signals do, and what keeps it from starting."""

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from quorate.cli import main
from quorate.cli.events import Events
from quorate.cli.failures import DONE, FAILED, INTERRUPTED, USAGE
from quorate.cli.serving import Orders
from quorate.core import RealEntropy, RealNetwork
from quorate.core.real import RealClock
from quorate.demo.ports import free_ports

from .node_in_thread import COOKIE

LEDGER = """
import quorate

class Ledger(quorate.Singleton[int]):
    pass
"""


class Served:
    """A running `quorate node --json`."""

    def __init__(self, *arguments: str, cwd: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "quorate", "node", "--json", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd,
            env={**os.environ, "QUORATE_COOKIE": COOKIE},
        )
        self.told: list[dict[str, Any]] = []

    def until(self, event: str) -> dict[str, Any]:
        """Read events up to one of this kind."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.told.append(json.loads(line))
            if self.told[-1].get("event") == event:
                return self.told[-1]
        raise AssertionError(f"it ended without {event!r}: {self.told}, {self.process.stderr}")

    def end(self, number: int | None = None) -> tuple[int, str]:
        """Wait for the end, by this signal; return the exit code and stderr."""
        if number is not None:
            self.process.send_signal(number)
        # Not communicate(): it reads beside `stdout` and misses what that has read ahead.
        assert self.process.stdout is not None and self.process.stderr is not None
        self.told += [json.loads(line) for line in self.process.stdout]
        err = self.process.stderr.read()
        return self.process.wait(), err

    def events(self) -> list[str]:
        return [record["event"] for record in self.told]


@contextmanager
def serving(*arguments: str, cwd: Path) -> Iterator[Served]:
    served = Served(*arguments, cwd=cwd)
    with served.process:
        try:
            yield served
        finally:
            served.process.kill()  # nothing, where it has ended


@pytest.fixture
def names() -> list[str]:
    ports = asyncio.run(free_ports(RealNetwork(), RealEntropy(), 3))
    return [f"{letter}@127.0.0.1:{port}" for letter, port in zip("abc", ports, strict=True)]


@pytest.fixture(autouse=True)
def cookie(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUORATE_COOKIE", COOKIE)


def test_a_node_alone_answers_and_ends_with_0_at_sigterm(
    names: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving("--name", names[0], cwd=tmp_path) as node:
        node.until("session_opened")
        assert main(["status", "--json", "--node", names[0]]) == DONE
        assert json.loads(capsys.readouterr().out)["name"] == names[0]
        assert node.end(signal.SIGTERM) == (DONE, "")
        assert node.events()[-3:] == ["draining", "drained", "stopped"]


def test_ctrl_c_ends_a_node_with_130_and_without_a_traceback(names: list[str], tmp_path: Path) -> None:
    with serving("--name", names[0], cwd=tmp_path) as node:
        node.until("started")
        assert node.end(signal.SIGINT) == (INTERRUPTED, "")
        assert node.events()[-1] == "stopped" and "draining" not in node.events()


def test_an_event_is_one_write_so_that_no_reader_gets_half_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[str] = []

    class Pipe(io.StringIO):
        def write(self, text: str) -> int:
            writes.append(text)
            return len(text)

    monkeypatch.setattr(sys, "stdout", Pipe())
    Events("a@127.0.0.1", RealClock(), as_json=False).tell("stopped", "all is over")
    assert writes == ["all is over\n"]


SHOP = """
import quorate

class Till(quorate.GenServer):
    def __init__(self):
        self.process.register("till")
    def terminate(self, reason):
        open("closed", "w").write(str(reason))

class Shop(quorate.Application):
    async def start(self, node):
        return await node.start(Till)

class Ruin(quorate.Application):
    async def start(self, node):
        raise OSError("no such till")

named = Shop()
"""


@pytest.mark.parametrize("which", ["Shop", "named"])
def test_applications_run_while_the_node_does(
    names: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], which: str
) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    with serving("--name", names[0], "--application", f"shop:{which}", cwd=tmp_path) as node:
        node.until("started")
        assert main(["process", "till", "--json", "--node", names[0]]) == DONE
        assert json.loads(capsys.readouterr().out)["kind"] == "Till"
        assert node.end(signal.SIGTERM) == (DONE, "")
        assert (tmp_path / "closed").read_text() == "shutdown"


@pytest.mark.parametrize(
    ("which", "code", "complaint"),
    [
        ("shop:Ruin", FAILED, "the application 'Ruin' could not be started: OSError: no such till"),
        ("shop:Till", USAGE, "is no Application"),
        ("shop:Shup", USAGE, "--application shop:Shup: shop has no 'Shup'"),
    ],
)
def test_an_application_that_cannot_run_keeps_the_node_from_starting(
    names: list[str], tmp_path: Path, which: str, code: int, complaint: str
) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    with serving("--name", names[0], "--application", which, cwd=tmp_path) as node:
        found, err = node.end()
        assert (found, len(err.splitlines())) == (code, 1)
        assert complaint in err


def test_a_port_in_use_is_one_line(names: list[str], tmp_path: Path) -> None:
    with serving("--name", names[0], cwd=tmp_path) as first:
        first.until("started")
        with serving("--name", names[0], cwd=tmp_path) as second:
            code, err = second.end()
            assert code == FAILED and err.count("\n") == 1 and names[0].partition("@")[2] in err
            assert second.told[-1]["error"]["exit_code"] == FAILED


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--name", "a"], "has no '@'"),
        (["--name", "{a}", "--voters", "{b}"], "not among the voters"),
        (["--name", "{a}", "--voters", "{a},{b},{c}"], "data directory"),
        (["--name", "{a}", "--preset", "moon"], "no preset 'moon'"),
        (["--name", "{a}", "--export", "ledger:Ledgre"], "ledger has no 'Ledgre'"),
        (["--name", "{a}", "--export", "json:dumps"], "cannot be exported"),
        (["--name", "{a}", "--seed", "nowhere"], "has no port"),
        (["--name", "{a}", "--weight", "heavy"], "Invalid value"),
    ],
)
def test_a_wrong_setting_is_one_line_and_code_2(
    names: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    complaint: str,
) -> None:
    (tmp_path / "ledger.py").write_text(LEDGER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "ledger", raising=False)
    known = dict(zip("abc", names, strict=True))
    assert main(["node", *(argument.format(**known) for argument in arguments)]) == USAGE
    err = capsys.readouterr().err
    assert complaint in err and err.count("\n") == 1


def test_the_second_sigterm_stops_the_wait_and_ctrl_c_is_remembered() -> None:
    async def main() -> None:
        orders = Orders()
        orders.terminate()
        assert orders.drain.is_set() and not orders.stop.is_set()
        orders.terminate()
        assert orders.stop.is_set() and not orders.interrupted
        orders.interrupt()
        assert orders.interrupted

    asyncio.run(main())


@pytest.mark.slow
def test_three_nodes_are_a_cluster_that_the_command_commands(
    names: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ledger.py").write_text(LEDGER)
    voters = ",".join(names)

    def arguments(name: str) -> list[str]:
        common = ["--name", name, "--voters", voters, "--preset", "local", "--export", "ledger:Ledger"]
        return [*common, "--data-dir", name[0]]

    def ask(*command: str) -> tuple[int, str]:
        code = main([*command, "--json", "--node", names[1]])
        return code, capsys.readouterr().out

    with (
        serving(*arguments(names[0]), cwd=tmp_path) as a,
        serving(*arguments(names[1]), cwd=tmp_path) as b,
        serving(*arguments(names[2]), cwd=tmp_path) as c,
    ):
        for node in (a, b, c):
            node.until("session_opened")
        code, out = ask("status")
        assert code == DONE and sorted(json.loads(out)["store"]["voters"]) == names
        assert ask("names") == (DONE, "[]\n")
        assert ask("whereis", "billing/ledger")[0] == FAILED
        assert ask("move", "billing/ledger", names[1])[0] == FAILED
        with serving(*arguments(names[0])[:-1], "b", cwd=tmp_path) as intruder:
            code, err = intruder.end()
            assert code == USAGE and err.count("\n") == 1, "the directory is in use"
        code, out = ask("drain")
        assert code == DONE and json.loads(out) == {"handed_over": 0, "left": []}
        assert b.end()[0] == DONE and "drained" in b.events()
        with serving(*arguments(names[0])[:-1], "b", cwd=tmp_path) as intruder:
            code, err = intruder.end()
            assert code == USAGE and err.count("\n") == 1, "the directory is another node's"
        assert a.end(signal.SIGTERM)[0] == DONE
        c.process.send_signal(signal.SIGTERM)
        code, err = c.end(signal.SIGTERM)
        assert code in (DONE, FAILED) and "Traceback" not in err, "alone it has no majority to hand over to"
