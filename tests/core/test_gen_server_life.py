"""Servers: how they start, what their hooks hear, and how they end."""

import asyncio
import contextlib
import contextvars
import gc
import weakref
from typing import Any

import pytest

import quorate
from quorate.core import (
    CallCycle,
    CalleeExited,
    Down,
    EventHandler,
    Events,
    Exit,
    GenEvent,
    GenServer,
    GenStatem,
    Node,
    Pid,
    Process,
    Ref,
    RemoteError,
)
from tests.core.conftest import Play
from tests.core.nodes import World
from tests.core.servers import Counter
from tests.support import turns

COLOUR = contextvars.ContextVar("colour", default="none")


# -- hooks ------------------------------------------------------------------------------------------------


def test_messages_downs_and_trapped_exits_come_to_their_hooks(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        async def target(self: Process) -> None:
            await self.receive()
            raise Exit("gone")

        ref = a.ref((await b.start(Counter)).pid, Counter)
        pid = a.spawn(target)
        await ref.call(Counter.trap, pid)
        await world.settle()
        ref.send(("plain", 1))
        await world.settle()
        a.send(pid, "end")
        await world.settle()
        heard = await ref.call(Counter.what_was_heard)
        assert heard[0] == ("plain", 1)
        assert sorted(heard[1:]) == [("down", pid, "gone"), ("exit", pid, "gone")]

    anywhere.two(main)


def test_hooks_may_be_coroutines(play: Play) -> None:
    class Slow(GenServer):
        def __init__(self) -> None:
            self.heard: list[Any] = []

        async def handle_info(self, message: Any) -> None:
            await asyncio.sleep(0)
            self.heard.append(message)

        def all(self) -> list[Any]:
            return self.heard

    async def main(node: Node, world: World) -> None:
        ref = await node.start(Slow)
        dead = Pid(node.name, node.creation, 99)
        ref.send(1)
        ref.send(Down(node.watch(dead, print), dead, "by hand"))
        ref.send(2)
        heard = await ref.call(Slow.all)
        assert [getattr(item, "reason", item) for item in heard] == [1, "by hand", 2]

    play.one(main)


def test_a_message_that_nobody_handles_is_logged_and_dropped(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    class Deaf(GenServer):
        pass

    async def main(node: Node, world: World) -> None:
        ref = await node.start(Deaf)
        ref.send("lost")
        await turns()
        assert "does not handle: 'lost'" in caplog.text
        assert node.process_info(ref.pid) is not None

    play.one(main)


class Ending(GenServer):
    """Notes its end."""

    def __init__(self, seen: list[Any], *, slow: bool, trap: bool = False) -> None:
        self.seen = seen
        self.slow = slow
        self.process.trap_exits = trap

    async def hang(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.seen.append("finally")

    def fail(self) -> None:
        raise ValueError("x")

    def leave(self) -> None:
        raise Exit("left")

    def terminate(self, reason: object) -> Any:
        if self.slow:
            return self.terminate_slowly(reason)
        self.seen.append(reason)
        return None

    async def terminate_slowly(self, reason: object) -> None:
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        async with asyncio.timeout(1):
            await asyncio.sleep(0)
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))
        self.seen.append(reason)


@pytest.mark.parametrize("slow", [False, True])
def test_terminate_runs_with_the_reason_and_before_anybody_is_told(play: Play, slow: bool) -> None:
    async def main(node: Node, world: World) -> None:
        def fresh() -> Any:
            return node.start(Ending, seen, slow=slow)

        for how, expected in (
            ("signal", ["gone"]),
            ("fail", ["ValueError"]),
            ("leave", ["left"]),
            ("busy", ["finally", "gone"]),
            ("kill", []),
            ("busy kill", ["finally"]),
        ):
            seen: list[Any] = []
            ref: Ref[Ending] = await fresh()
            down = asyncio.create_task(node.down(ref.pid))
            await turns()
            if "busy" in how:
                ref.cast(Ending.hang)
                await turns()
            if how in ("fail", "leave"):
                ref.cast(Ending.fail if how == "fail" else Ending.leave)
            else:
                node.exit(ref.pid, "kill" if "kill" in how else "gone")
            told = await down
            if how == "fail":
                assert isinstance(told.reason, ValueError)
                assert seen == [told.reason]
            else:
                assert seen == expected, how
                assert told.reason == ("killed" if "kill" in how else expected[-1])

    play.one(main)


def test_a_terminate_that_raises_or_hangs_does_not_keep_the_server_alive(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    class Raising(GenServer):
        def terminate(self, reason: object) -> None:
            raise ValueError("in terminate")

    class RaisingLater(GenServer):
        async def terminate(self, reason: object) -> None:
            await asyncio.sleep(0)
            raise ValueError("in terminate")

    class Hanging(GenServer):
        async def terminate(self, reason: object) -> None:
            await asyncio.Event().wait()

    async def main(node: Node, world: World) -> None:
        for kind in (Raising, RaisingLater, Hanging):
            ref: Ref[Any] = await node.start(kind)
            down = asyncio.create_task(node.down(ref.pid))
            await turns()
            node.exit(ref.pid, "gone")
            await world.clock.pass_time(5.1)
            assert (await down).reason == "gone"
        assert caplog.text.count("raised in terminate") == 2
        assert "abandoned" in caplog.text

    play.one(main)


# -- start ------------------------------------------------------------------------------------------------


def test_what_init_raises_comes_out_of_start_and_no_process_is_left(play: Play) -> None:
    class Refusing(GenServer):
        def __init__(self, error: BaseException) -> None:
            self.process.register("clerk")
            raise error

    async def main(node: Node, world: World) -> None:
        with pytest.raises(ValueError, match="no"):
            await node.start(Refusing, ValueError("no"))
        with pytest.raises(CalleeExited) as caught:
            await node.start(Refusing, Exit("not now"))
        assert caught.value.reason == "not now"
        with pytest.raises(TypeError):
            await node.start(Counter, wrong=1)  # type: ignore[call-arg]
        with pytest.raises(TypeError):
            await node.start(dict)  # type: ignore[type-var]
        assert node.processes() == []
        assert node.whereis("clerk") is None

    play.one(main)


def test_an_init_that_is_async_is_refused_at_once_and_no_process_is_left(play: Play) -> None:
    class Hasty(GenServer):
        async def __init__(self) -> None:  # type: ignore[misc]
            self.ready = True

    class HastyHandler(EventHandler[int]):
        async def __init__(self) -> None:  # type: ignore[misc]
            self.ready = True

    async def main(node: Node, world: World) -> None:
        with pytest.raises(TypeError, match=r"Hasty.__init__ must be a `def`"):
            await node.start(Hasty)
        assert node.processes() == []
        events: Events[int] = Events(await node.start(GenEvent))
        with pytest.raises(RemoteError, match=r"HastyHandler.__init__ must be a `def`"):
            await events.add(HastyHandler)

    play.one(main)


def test_messages_sent_by_init_to_itself_are_handled_after_it(play: Play) -> None:
    class Eager(Counter):
        def __init__(self) -> None:
            self.process.send(self.pid, "from init")
            for _ in range(3):
                Ref.of(self).cast(Eager.one_at_a_time)
            super().__init__(10)
            self.inside = 0

        async def one_at_a_time(self) -> None:
            self.inside += 1
            assert self.inside == 1
            await asyncio.sleep(0)
            self.inside -= 1
            self.n += 1

    async def main(node: Node, world: World) -> None:
        ref = await node.start(Eager)
        assert await ref.call(Counter.what_was_heard) == ["from init"]
        assert await ref.call(Counter.value) == 13

    play.one(main)


def test_context_variables_of_a_server_are_its_own(play: Play) -> None:
    class Coloured(GenServer):
        def __init__(self) -> None:
            self.first = COLOUR.get()

        def paint(self, colour: str) -> None:
            COLOUR.set(colour)

        def colours(self) -> tuple[str, str]:
            return self.first, COLOUR.get()

        async def colours_later(self) -> tuple[str, str]:
            await asyncio.sleep(0)
            return self.first, COLOUR.get()

    async def main(node: Node, world: World) -> None:
        COLOUR.set("white")
        one, two = await node.start(Coloured), await node.start(Coloured)
        await one.call(Coloured.paint, "red")
        COLOUR.set("black")
        assert await one.call(Coloured.colours) == ("white", "red")
        assert await two.call(Coloured.colours_later) == ("white", "white")
        assert COLOUR.get() == "black"

    play.one(main)


@pytest.mark.parametrize("end", ["kill", "shutdown", "exit"])
def test_what_a_server_held_is_free_when_it_has_ended(play: Play, end: str) -> None:
    class Rich(GenServer):
        def __init__(self) -> None:
            self.treasure = Treasure()

        async def count(self) -> int:
            await asyncio.sleep(0)
            return 1

        def exit(self) -> None:
            raise Exit("enough")

    async def main(node: Node, world: World) -> None:
        ref = await node.start(Rich)
        assert await ref.call(Rich.count) == 1
        server: Any = node.kernel.cells[ref.pid.serial].server  # type: ignore[attr-defined]
        treasure = weakref.ref(server.treasure)
        del server
        gc.disable()
        try:
            if end == "exit":
                ref.cast(Rich.exit)
            else:
                node.exit(ref.pid, end)
            await world.settle()
            await turns()
            assert node.process_info(ref.pid) is None
            assert treasure() is None
        finally:
            gc.enable()

    play.one(main)


def test_a_server_that_is_also_something_built_in_ends_as_any_other(play: Play) -> None:
    class Table(GenServer, dict[str, int]):
        def put(self, key: str, value: int) -> int:
            self[key] = value
            return len(self)

        def stop(self) -> None:
            raise Exit("enough")

    async def main(node: Node, world: World) -> None:
        for end in ("kill", "stop"):
            ref = await node.start(Table)
            assert await ref.call(Table.put, "a", 1) == 1
            watch = asyncio.create_task(node.down(ref.pid))
            await turns()
            if end == "kill":
                node.exit(ref.pid, "kill")
            else:
                ref.cast(Table.stop)
            assert (await watch).reason == ("killed" if end == "kill" else "enough")
        assert await (await node.start(Table)).call(Table.put, "a", 1) == 1

    play.one(main)


class Treasure:
    """Something large."""


# -- who called it ----------------------------------------------------------------------------------------


class Closing(GenServer):
    """Takes its time to end."""

    def __init__(self, gate: asyncio.Event, log: list[str]) -> None:
        self.gate = gate
        self.log = log
        self.process.register("closing")

    def crash(self) -> None:
        raise ValueError("spoilt")

    async def crash_slowly(self) -> None:
        await asyncio.sleep(0)
        self.crash()

    def leave(self) -> None:
        raise Exit("left")

    async def cancel_itself(self) -> None:
        raise asyncio.CancelledError

    async def wait(self) -> None:
        await asyncio.Event().wait()

    @quorate.reentrant
    async def crash_beside(self) -> None:
        await asyncio.sleep(0)
        self.crash()

    @quorate.reentrant
    async def wait_beside(self) -> None:
        await self.wait()

    async def terminate(self, reason: object) -> None:
        await self.gate.wait()
        self.log.append("closed")


@pytest.mark.parametrize(
    ("method", "error"),
    [
        (Closing.crash, RemoteError),
        (Closing.crash_slowly, RemoteError),
        (Closing.crash_beside, RemoteError),
        (Closing.leave, CalleeExited),
        (Closing.cancel_itself, CalleeExited),
    ],
)
@pytest.mark.parametrize("idle", [True, False])
def test_who_is_told_that_a_server_has_ended_finds_its_name_free_and_all_of_it_closed(
    anywhere: Play, method: Any, error: type[Exception], idle: bool
) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        gate, log = asyncio.Event(), list[str]()
        there = await b.start(Closing, gate, log)
        ref = a.ref(there.pid, Closing)
        if not idle:
            there.send("something else is first")
        calling = asyncio.ensure_future(ref.call(method))
        await world.settle()
        assert not calling.done()
        gate.set()
        with pytest.raises(error):
            await calling
        assert log == ["closed"]
        assert await b.start(Closing, gate, log)  # by the same name

    anywhere.two(main)


def test_who_hears_of_the_end_of_a_server_has_had_its_answer_before(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        gate = asyncio.Event()
        gate.set()
        ref = a.ref((await b.start(Closing, gate, [])).pid, Closing)
        seen: list[bool] = []
        calling = asyncio.ensure_future(ref.call(Closing.crash))
        a.watch(ref.pid, lambda _: seen.append(calling_future(calling).done()))
        await world.settle()
        assert seen == [True]
        with pytest.raises(RemoteError):
            await calling

    anywhere.two(main)


def calling_future(calling: "asyncio.Task[None]") -> "asyncio.Future[Any]":
    """What the task waits for."""
    waiting: Any = calling
    return waiting._fut_waiter or calling


class ClosingDoor(GenStatem[str]):
    """Postpones what it is asked, and takes its time to end."""

    def __init__(self, gate: asyncio.Event, log: list[str]) -> None:
        self.gate = gate
        self.log = log
        self.process.register("closing")
        self.goto("shut")

    def walk_through(self) -> None:
        self.postpone()

    def crash(self) -> None:
        raise ValueError("spoilt")

    async def terminate(self, reason: object) -> None:
        await self.gate.wait()
        self.log.append("closed")


@pytest.mark.parametrize(
    ("server", "waits", "end"),
    [
        (Closing, Closing.wait_beside, "crash"),
        (Closing, Closing.wait_beside, "shutdown"),
        (Closing, Closing.wait, "shutdown"),
        (ClosingDoor, ClosingDoor.walk_through, "crash"),
        (ClosingDoor, ClosingDoor.walk_through, "shutdown"),
    ],
)
def test_so_does_who_waits_for_a_call_that_is_broken_off_by_its_end(
    anywhere: Play, server: Any, waits: Any, end: str
) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        gate, log = asyncio.Event(), list[str]()
        there = await b.start(server, gate, log)
        waiting = asyncio.ensure_future(a.ref(there.pid, server).call(waits))
        await world.settle()
        if end == "crash":
            there.cast(server.crash)
        else:
            b.exit(there.pid, end)
        await world.settle()
        assert not waiting.done()
        gate.set()
        with pytest.raises(CalleeExited):
            await waiting
        assert log == ["closed"]
        assert await b.start(server, gate, log)  # by the same name

    anywhere.two(main)


class Boss(GenServer):
    def __init__(self) -> None:
        self.heard: list[Exception] = []

    async def employ(self, worker: Ref[Any], method: Any) -> None:
        try:
            await worker.call(method)
        except RemoteError as error:
            self.heard.append(error)

    def take_leave(self) -> None: ...

    def what_was_heard(self) -> list[Exception]:
        return self.heard


class Worker(GenServer):
    """Takes leave of its boss when it ends."""

    def __init__(self, boss: Ref[Boss], heard: list[Exception]) -> None:
        self.boss = boss
        self.heard = heard

    def crash(self) -> None:
        raise ValueError("spoilt")

    async def crash_slowly(self) -> None:
        await asyncio.sleep(0)
        self.crash()

    @quorate.reentrant
    async def crash_beside(self) -> None:
        await asyncio.sleep(0)
        self.crash()

    async def terminate(self, reason: object) -> None:
        try:
            await self.boss.call(Boss.take_leave)
        except CallCycle as error:
            self.heard.append(error)


@pytest.mark.parametrize("method", [Worker.crash, Worker.crash_slowly, Worker.crash_beside])
@pytest.mark.parametrize("idle", [True, False])
def test_who_calls_at_its_end_a_caller_that_waits_for_it_is_told_of_the_cycle(
    anywhere: Play, method: Any, idle: bool
) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        boss, heard = await a.start(Boss), list[Exception]()
        worker = await b.start(Worker, b.ref(boss.pid, Boss), heard)
        if not idle:
            worker.send("something else is first")
        await boss.call(Boss.employ, a.ref(worker.pid, Worker), method)
        [cycle] = heard
        assert isinstance(cycle, CallCycle)
        assert cycle.path == (boss.pid, worker.pid, boss.pid)
        assert [type(each) for each in await boss.call(Boss.what_was_heard)] == [RemoteError]

    anywhere.two(main)


def test_what_a_server_answered_at_its_end_is_free_then(play: Play) -> None:
    class Giver(GenServer):
        def handle_info(self, message: object) -> None: ...

        def give(self, treasure: Treasure) -> Treasure:
            raise Exit("enough", reply=treasure)

        async def terminate(self, reason: object) -> None: ...

    async def main(node: Node, world: World) -> None:
        ref = await node.start(Giver)
        treasure: Any = Treasure()
        seen = weakref.ref(treasure)
        gc.disable()
        try:
            ref.send("something else is first")
            assert await ref.call(Giver.give, treasure) is treasure
            del treasure
            await world.settle()
            assert seen() is None
        finally:
            gc.enable()

    play.one(main)


def test_who_calls_a_server_whose_end_takes_too_long_is_told_at_its_deadline(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        log: list[str] = []
        ref = await node.start(Closing, asyncio.Event(), log)
        calling = asyncio.ensure_future(ref.within(None).call(Closing.crash))
        await world.settle()
        await world.clock.pass_time(node.kernel.config.exit_deadline_s)
        with pytest.raises(RemoteError, match="spoilt"):
            await calling
        assert log == []

    play.one(main)


class Refusing(GenServer):
    """Fails for the caller alone."""

    @quorate.raises(KeyError)
    def at_once(self, thing: object) -> None:
        raise KeyError(thing)

    @quorate.raises(KeyError)
    async def at_its_first_step(self, thing: object) -> None:
        raise KeyError(thing)

    @quorate.raises(KeyError)
    async def later(self, thing: object) -> None:
        await asyncio.sleep(0)
        raise KeyError(thing)


class Key:
    """Something of which one can see whether it is there."""


@pytest.mark.parametrize("method", [Refusing.at_once, Refusing.at_its_first_step, Refusing.later])
@pytest.mark.parametrize("idle", [True, False])
def test_what_a_failed_call_was_about_is_free_when_it_has_failed(play: Play, method: Any, idle: bool) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Refusing)

        async def failed() -> "weakref.ref[Key]":
            key = Key()
            if not idle:
                ref.send("something else is first")
            with contextlib.suppress(KeyError):
                await ref.call(method, key)
            return weakref.ref(key)

        gc.disable()
        try:
            key = await failed()
            await turns()
            assert key() is None
        finally:
            gc.enable()

    play.one(main)
