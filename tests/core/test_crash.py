"""Crash reports: what the one record of a crash holds, what a server can keep out of it, and that it always comes."""

import asyncio
import dataclasses
import logging
from contextvars import ContextVar
from typing import Any

import pytest

from quorate.core import Exit, GenServer, Node, Pid, Process, RemoteError, ServerStatus, Supervisor, child
from tests.core.conftest import Play
from tests.core.nodes import World
from tests.core.servers import Counter
from tests.support import turns

SECRET = "hunter2"


class Vault(GenServer):
    """Shows neither its key nor what it is told."""

    def __init__(self) -> None:
        self.key = SECRET
        self.size = 3

    def open(self, key: str) -> None:
        raise ValueError(f"{key} is wrong")

    def format_status(self, status: ServerStatus) -> ServerStatus:
        return dataclasses.replace(status.hide("key", "no such"), message="an attempt", reason="wrong key")


class Broken(Vault):
    def format_status(self, status: ServerStatus) -> ServerStatus:
        raise Exit(SECRET)


class Unspeakable:
    def __repr__(self) -> str:
        raise RuntimeError("no words")

    __str__ = __repr__


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


def facts(record: logging.LogRecord) -> dict[str, Any]:
    found: dict[str, Any] = record.__dict__["quorate"]
    return found


async def crashed(node: Node, kind: Any, method: Any, *args: Any) -> Any:
    """The ref of a server that crashed in a call of `method`."""
    ref = await node.start(kind)
    with pytest.raises(RemoteError):
        await ref.call(method, *args)
    await node.down(ref.pid)
    return ref


@pytest.mark.parametrize("method", [Counter.fail, Counter.fail_slowly])
def test_the_record_of_a_crash_says_who_crashed_why_and_in_which_state(
    play: Play, caplog: pytest.LogCaptureFixture, method: Any
) -> None:
    async def main(node: Node, world: World) -> None:
        async def friend(self: Process) -> None:
            self.trap_exits = True
            self.link(ref.pid)
            await self.receive()

        ref = await node.start(Counter, start=3)
        other = node.spawn(friend)
        node.kernel.register(node.kernel.cells[ref.pid.serial], "clerk")
        await turns()
        with pytest.raises(RemoteError):
            await ref.call(method, "on purpose")
        [record] = caplog.records
        found = facts(record)
        reason = found.pop("reason")
        assert isinstance(reason, ValueError)
        assert record.exc_info is not None
        assert record.exc_info[1] is reason
        assert found == {
            "event": "crash",
            "pid": ref.pid,
            "name": "clerk",
            "kind": "Counter",
            "initial_call": "tests.core.servers.Counter",
            "last_message": f"{method.__name__}('on purpose')",
            "state": {"n": "3", "heard": "[]"},
            "links": (other,),
            "supervisor": None,
            "mailbox": 0,
            "trap_exits": False,
        }
        assert record.getMessage() == (
            f"process {ref.pid} 'clerk' (Counter) crashed: ValueError('on purpose'); "
            f"last message: {method.__name__}('on purpose'); state: n=3, heard=[]"
        )

    play.one(main)


def test_the_record_of_a_child_names_its_supervisor(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    async def main(node: Node, world: World) -> None:
        tree = await node.start(Supervisor, [child(Counter)])
        [first] = await tree.call(Supervisor.which_children)
        assert isinstance(first.pid, Pid)
        with pytest.raises(RemoteError):
            await node.call(first.pid, Counter.fail, "on purpose")
        [found] = [facts(record) for record in caplog.records if facts(record)["event"] == "crash"]
        assert (found["supervisor"], found["links"]) == (tree.pid, (tree.pid,))

    play.one(main)


def test_the_record_of_a_body_says_where_it_begins_and_has_no_state(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(self: Process) -> None:
        raise ValueError("on purpose")

    async def fails_too() -> None:
        raise ValueError("on purpose")

    async def main(node: Node, world: World) -> None:
        await node.down(node.spawn(fails))
        await (await node.tasks.run(fails_too)).wait()
        for record, name in zip(caplog.records, ("fails", "fails_too"), strict=True):
            found = facts(record)
            assert (found["state"], found["last_message"]) == (None, "None")
            assert f"{name} at {__file__}:" in found["initial_call"]
            assert record.getMessage().endswith("crashed: ValueError('on purpose')")

    play.one(main)


def test_format_status_decides_what_a_report_shows(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    async def main(node: Node, world: World) -> None:
        await crashed(node, Vault, Vault.open, SECRET)
        [record] = caplog.records
        found = facts(record)
        assert found["state"] == {"key": "(hidden)", "size": "3"}
        assert (found["last_message"], found["reason"], record.exc_info) == ("an attempt", "wrong key", None)
        assert SECRET not in record.getMessage() + str(found)

    play.one(main)


def test_when_format_status_fails_neither_state_nor_message_is_shown(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(node: Node, world: World) -> None:
        await crashed(node, Broken, Broken.open, "a")
        [record] = caplog.records
        found = facts(record)
        assert found["state"] == {"state": "(format_status raised Exit: nothing is shown)"}
        assert found["last_message"] == "None"
        assert SECRET not in record.getMessage() + str(found)

    play.one(main)


def test_format_status_runs_in_the_context_of_the_process(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    tenant: ContextVar[str] = ContextVar("tenant", default="nobody")

    class Told(GenServer):
        def __init__(self) -> None:
            tenant.set("acme")

        def fail(self) -> None:
            raise ValueError

        def format_status(self, status: ServerStatus) -> ServerStatus:
            return dataclasses.replace(status, state={"tenant": tenant.get()})

    async def main(node: Node, world: World) -> None:
        await crashed(node, Told, Told.fail)
        [record] = caplog.records
        assert facts(record)["state"] == {"tenant": "'acme'"}
        assert tenant.get() == "nobody"

    play.one(main)


def test_a_large_state_or_message_is_cut_before_it_becomes_text(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    asked = 0

    class Item:
        def __repr__(self) -> str:
            nonlocal asked
            asked += 1
            return "x" * 50

    class Hoard(GenServer):
        def __init__(self) -> None:
            self.items = [Item() for _ in range(10_000)]
            for number in range(100):
                setattr(self, f"a{number}", str(number) * 200)

        def fail(self, items: list[Item]) -> None:
            raise ValueError

    async def main(node: Node, world: World) -> None:
        nonlocal asked
        asked = 0
        await crashed(node, Hoard, Hoard.fail, [Item() for _ in range(10_000)])
        [record] = caplog.records
        found = facts(record)
        assert asked <= 40
        assert len(found["state"]["items"]) <= 200
        assert (len(found["state"]), found["state"]["…"]) == (51, "51 more")
        assert len(found["last_message"]) <= 400
        assert len(record.getMessage()) <= 3000

    play.one(main)


def test_a_report_comes_whatever_the_users_own_texts_do(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    class Odd(GenServer):
        def __init__(self) -> None:
            self.value = Unspeakable()
            self.values = {1: [Unspeakable()]}
            self.__dict__["not text \ud800"] = "\ud800"

        def fail(self, value: object) -> None:
            raise Mute

    async def main(node: Node, world: World) -> None:
        await crashed(node, Odd, Odd.fail, Unspeakable())
        [record] = caplog.records
        assert isinstance(facts(record)["reason"], Mute)
        record.getMessage().encode()
        assert "Unspeakable" in facts(record)["last_message"]

    play.one(main)


@pytest.mark.parametrize("slowly", [False, True])
def test_what_terminate_raises_is_reported_and_changes_no_reason(
    play: Play, caplog: pytest.LogCaptureFixture, slowly: bool
) -> None:
    class Quick(GenServer):
        def terminate(self, reason: object) -> None:
            raise ValueError("at the end")

    class Slow(GenServer):
        async def terminate(self, reason: object) -> None:
            await asyncio.sleep(0)
            raise ValueError("at the end")

    async def main(node: Node, world: World) -> None:
        ref = await node.start(Slow if slowly else Quick)
        node.exit(ref.pid, "enough")
        assert (await node.down(ref.pid)).reason == "enough"
        [record] = caplog.records
        found = facts(record)
        assert (found["event"], found["pid"], found["reason"]) == ("crash_at_exit", ref.pid, "enough")
        assert isinstance(found["error"], ValueError)
        assert "raised in terminate: ValueError" in record.getMessage()

    play.one(main)


def test_what_a_finally_block_raises_is_reported_and_changes_no_reason(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    class Server(GenServer):
        async def work(self) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                raise ValueError("in a finally block")

    async def body(self: Process) -> None:
        try:
            await self.receive()
        finally:
            raise ValueError("in a finally block")

    async def main(node: Node, world: World) -> None:
        ref = await node.start(Server)
        ref.cast(Server.work)
        for pid in (ref.pid, node.spawn(body)):
            await turns()
            node.exit(pid, "enough")
            assert (await node.down(pid)).reason == "enough"
        assert [facts(record)["event"] for record in caplog.records] == ["crash_at_exit"] * 2
        assert [facts(record)["reason"] for record in caplog.records] == ["enough"] * 2

    play.one(main)


def test_a_thousand_crashes_are_a_thousand_reports_and_the_node_goes_on(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(node: Node, world: World) -> None:
        refs = [await node.start(Counter) for _ in range(1000)]
        for ref in refs:
            ref.cast(Counter.fail, "all at once")
        await asyncio.gather(*(node.down(ref.pid) for ref in refs))
        assert node.kernel.crashes == 1000
        assert {facts(record)["pid"] for record in caplog.records} == {ref.pid for ref in refs}
        ref = await node.start(Counter)
        assert await ref.call(Counter.incr) == 1

    play.one(main)


class Spite(BaseException):
    """What no `except Exception` catches."""


class Spiteful(Exception):
    def __repr__(self) -> str:
        raise Spite

    __str__ = __repr__


class Deaf(logging.Handler):
    """A handler that lets what it raises out."""

    def emit(self, record: logging.LogRecord) -> None:
        raise RuntimeError("the disk of the logs is full")


@pytest.mark.parametrize("how", ["call", "cast", "message", "body"])
def test_a_process_ends_although_the_text_of_its_error_raises_what_nobody_catches(
    play: Play, how: str
) -> None:
    class Server(GenServer):
        def fail(self) -> None:
            raise Spiteful

        def handle_info(self, message: Any) -> None:
            raise Spiteful

    async def body(self: Process) -> None:
        raise Spiteful

    async def main(node: Node, world: World) -> None:
        ref, other = await node.start(Server), await node.start(Counter)
        pid = ref.pid
        match how:
            case "call":
                with pytest.raises(RemoteError, match="Spiteful"):
                    await ref.call(Server.fail)
            case "cast":
                ref.cast(Server.fail)
            case "message":
                ref.send("anything")
            case _:
                node.exit(pid, "normal")
                pid = node.spawn(body)
        other.send("one turn later")
        await turns()
        assert node.process_info(pid) is None
        assert await other.call(Counter.what_was_heard) == ["one turn later"]

    play.one(main)


def test_a_handler_of_the_log_that_raises_keeps_no_process_from_ending_or_being_restarted(
    play: Play, capsys: pytest.CaptureFixture[str]
) -> None:
    async def main(node: Node, world: World) -> None:
        await node.start(Supervisor, [child(Counter).options(name="counter")])
        first = node.whereis("counter")
        with pytest.raises(RemoteError, match="ValueError"):
            await node.call("counter", Counter.fail, "now")
        await turns()
        second = node.whereis("counter")
        assert None is not second != first
        assert node.process_info(first) is None if first is not None else False

    logger, handler = logging.getLogger("quorate"), Deaf()
    logger.addHandler(handler)
    try:
        play.one(main)
    finally:
        logger.removeHandler(handler)
    assert "the disk of the logs is full" in capsys.readouterr().err


def test_a_long_text_as_a_message_is_cut_in_the_report(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    class Server(GenServer):
        def handle_info(self, message: Any) -> None:
            raise ValueError("unexpected")

    async def main(node: Node, world: World) -> None:
        ref = await node.start(Server)
        ref.send("x\ud800" * 1_000_000)
        await turns()
        [record] = caplog.records
        assert len(facts(record)["last_message"]) <= 400
        record.getMessage().encode()

    play.one(main)
