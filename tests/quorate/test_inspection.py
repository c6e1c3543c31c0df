"""`quorate processes` and `quorate process`: what people see of a running node."""

import asyncio
import dataclasses
import json
from typing import Any

import pytest

from quorate import inspection
from quorate.cli import main
from quorate.cli.failures import DONE, FAILED
from quorate.core import GenServer, NoProcess, Process, Request, ServerStatus
from quorate.core import Node as CoreNode
from tests.core.conftest import Play
from tests.core.nodes import World

from .node_in_thread import COOKIE, answering


class Till(GenServer):
    def __init__(self) -> None:
        self.total = 12
        self.pin = "1234"
        self.process.limit_mailbox(50, "drop")
        self.process.register("till")
        self.go = asyncio.Event()

    async def count(self, pin: str) -> int:
        await self.go.wait()
        return self.total

    def format_status(self, status: ServerStatus) -> ServerStatus:
        if isinstance(status.message, Request):
            status = dataclasses.replace(status, message=status.message.method)
        return status.hide("pin")


async def waiting(self: Process) -> None:
    await self.receive(match=int)


@pytest.fixture
def play() -> Play:
    return Play("asyncio")


def test_the_processes_with_the_longest_mailboxes_come_first(play: Play) -> None:
    async def main(node: CoreNode, world: World) -> None:
        pids = [node.spawn(waiting) for _ in range(5)]
        for pid, count in zip(pids, (0, 2, 9, 2, 0), strict=True):
            for _ in range(count):
                node.send(pid, "no int")
        found = await inspection.busiest(node, 4)
        assert found["processes"] == 5
        assert [(one["pid"], one["mailbox"]) for one in found["shown"]] == [
            (str(pids[2]), 9),
            (str(pids[1]), 2),
            (str(pids[3]), 2),
            (str(pids[0]), 0),
        ]
        assert found["shown"][0]["status"] == "waiting"
        assert (await inspection.busiest(node, 50))["shown"][4]["pid"] == str(pids[4])

    play.one(main)


def test_a_process_is_found_by_its_name_its_pid_and_the_number_in_it(play: Play) -> None:
    async def main(node: CoreNode, world: World) -> None:
        pid = (await node.start(Till)).pid
        texts = ["till", str(pid), str(pid)[1:-1], f"{pid.creation}.{pid.serial}", str(pid.serial)]
        assert [inspection.find(node, text) for text in texts] == [pid] * 5
        for text, complaint in (
            ("tilt", "is no local name of a process"),
            ("<b@127.0.0.1:9102/1.3>", "a process of b@127.0.0.1:9102: ask that node"),
            ("4711", "there is no process 4711"),
            (f"{pid.creation + 1}.{pid.serial}", "there is no process"),
        ):
            with pytest.raises(NoProcess, match=complaint):
                inspection.one(node, text)

    play.one(main)


def test_what_a_process_does_is_shown_and_its_state_only_on_demand(play: Play) -> None:
    async def main(node: CoreNode, world: World) -> None:
        ref = await node.start(Till)
        found = inspection.one(node, "till", state=True)
        assert (found["state_of_server"]["total"], found["state_of_server"]["pin"]) == ("12", "(hidden)")
        assert (found["kind"], found["status"], found["mailbox_limit"]) == ("Till", "idle", "50, then drop")
        call = asyncio.create_task(ref.call(Till.count, "1234"))
        await world.settle()
        found = inspection.one(node, "till")
        assert "state_of_server" not in found
        assert (found["status"], found["handling"]) == ("running", "count")
        assert "in Till.count" in found["where"]
        assert inspection.one(node, "till", state=True)["state_of_server"]["total"] == "12"
        body = inspection.one(node, str(node.spawn(waiting)), state=True)
        assert body["state_of_server"] == "it is no server"
        json.dumps([found, body])
        server: Any = node.kernel.cells[ref.pid.serial].server  # type: ignore[attr-defined]
        server.go.set()
        await call

    play.one(main)


def test_the_commands_print_tables_and_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("QUORATE_COOKIE", COOKIE)
    listed = {"pid": "<a@h:1/3.7>", "name": None, "kind": "Till", "status": "idle", "mailbox": 0}
    shown = listed | {"name": "till", "links": ["<a@h:1/3.2>", "<a@h:1/3.4>"], "where": ""}
    asked: list[Any] = []

    async def processes(limit: Any) -> object:
        return {"processes": 1234, "shown": [listed] * limit}

    async def process(args: Any) -> object:
        asked.append(args)
        if args[0] == "nobody":
            raise NoProcess("'nobody' is no local name")
        return shown | ({"state_of_server": {"total": "12"}} if args[1] else {})

    with answering({"processes": processes, "process": process}) as address:
        assert main(["processes", "--limit", "2", "--node", address]) == DONE
        out = capsys.readouterr().out
        assert out.split() == [
            *("pid", "name", "kind", "status", "mailbox"),
            *("<a@h:1/3.7>", "Till", "idle", "0") * 2,
            *("and", "1,232", "more"),
        ]
        assert main(["processes", "--limit", "1", "--json", "--node", address]) == DONE
        assert json.loads(capsys.readouterr().out)["shown"] == [listed]
        assert main(["process", "till", "--state", "--node", address]) == DONE
        out = capsys.readouterr().out
        assert "state of server" in out and "total = 12" in out
        assert "where" in out.split("links")[1]
        assert main(["process", "till", "--json", "--node", address]) == DONE
        assert json.loads(capsys.readouterr().out) == shown
        assert asked == [["till", True], ["till", False]]
        assert main(["process", "nobody", "--node", address]) == FAILED
        assert "no local name" in capsys.readouterr().err
