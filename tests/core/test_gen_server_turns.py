"""What a server does next: continuations, idle timeouts, and calls of reentrant methods beside the others."""

import asyncio
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

import pytest

from quorate.core import (
    CallCycle,
    CalleeExited,
    Down,
    Exit,
    From,
    GenServer,
    GenStatem,
    Node,
    Process,
    ProcessConfig,
    Ref,
    RemoteError,
    interrupt,
    raises,
    reentrant,
    sleep,
    stop_process,
)
from tests.core.conftest import Play
from tests.core.nodes import World

# -- continuations ----------------------------------------------------------------------------------------


class Loader(GenServer):
    def __init__(self, *first: str) -> None:
        self.log: list[str] = []
        self.process.send(self.pid, "sent in __init__")
        for info in first:
            self.continue_with(info)

    async def handle_continue(self, info: str) -> None:
        self.log.append(f"begin {info}")
        await asyncio.sleep(0)
        self.log.append(f"end {info}")
        if info == "chain":
            self.continue_with("next link")
        if info == "crash":
            raise ValueError("in handle_continue")

    def handle_info(self, message: Any) -> None:
        self.log.append(message)

    def step(self, info: str) -> None:
        self.log.append(f"step {info}")
        self.continue_with(info)

    async def slowly(self, info: str) -> None:
        self.step(info)
        await asyncio.sleep(0)
        self.log.append(f"step {info} is done")

    def seen(self) -> list[str]:
        return self.log


def test_what_init_asks_to_be_done_next_is_done_before_any_message(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        ref = a.ref((await b.start(Loader, "one", "two")).pid, Loader)
        assert await ref.call(Loader.seen) == [
            "begin one",
            "end one",
            "begin two",
            "end two",
            "sent in __init__",
        ]

    anywhere.two(main)


@pytest.mark.parametrize("method", [Loader.step, Loader.slowly])
def test_what_a_method_asks_to_be_done_next_is_done_before_any_message(play: Play, method: Any) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Loader)
        await world.settle()
        ref.cast(method, "chain")
        ref.send("a message")
        log = (await ref.call(Loader.seen))[1:]
        done = ["step chain is done"] if method is Loader.slowly else []
        links = ["begin chain", "end chain", "begin next link", "end next link"]
        assert log == ["step chain", *done, *links, "a message"]

    play.one(main)


def test_a_call_of_an_idle_server_that_asks_for_more_is_answered_first(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Loader)
        await world.settle()
        await ref.call(Loader.step, "more")
        assert (await ref.call(Loader.seen))[1:] == ["step more", "begin more", "end more"]

    play.one(main)


def test_a_continuation_that_raises_ends_the_server_and_one_without_its_hook_too(play: Play) -> None:
    class Forgetful(GenServer):
        def __init__(self) -> None:
            self.continue_with()

    async def main(node: Node, world: World) -> None:
        downs: list[Down] = []
        for ref in (await node.start(Loader, "crash"), await node.start(Forgetful)):
            node.watch(ref.pid, downs.append)
        await world.settle()
        assert {type(down.reason) for down in downs} == {ValueError, NotImplementedError}

    play.one(main)


def test_a_continuation_is_done_though_the_server_is_held_but_not_while_its_gate_is_closed(
    play: Play,
) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Loader)
        await world.settle()
        control, open_now = node.control(ref.pid), [False]
        control.hold()
        assert await control.run(lambda server: server.step("while held")) is None
        await world.settle()
        assert (await control.run(lambda server: list(server.log)))[-1] == "end while held"
        control.set_gate(lambda: open_now[0])
        await control.run(lambda server: server.step("gated"))
        await world.settle()
        assert (await control.run(lambda server: list(server.log)))[-1] == "step gated"
        open_now[0] = True
        control.set_gate(None)
        await world.settle()
        assert (await control.run(lambda server: list(server.log)))[-1] == "end gated"

    play.one(main)


# -- idle timeouts ----------------------------------------------------------------------------------------


class Cache(GenServer):
    def __init__(self, idle_s: float | None = 5.0, patience: int = 1) -> None:
        self.idle_timeout_s = idle_s
        self.patience = patience
        self.timeouts = 0

    def handle_timeout(self) -> None:
        self.timeouts += 1
        if self.timeouts == self.patience:
            raise Exit("idle")

    def touch(self) -> int:
        return self.timeouts

    async def work(self, clock: Any, seconds: float) -> None:
        await sleep(clock, seconds)

    @reentrant
    async def watch(self, clock: Any, seconds: float) -> None:
        await self.work(clock, seconds)

    def patient(self, idle_s: float | None) -> float | None:
        before, self.idle_timeout_s = self.idle_timeout_s, idle_s
        return before

    def handle_info(self, message: Any) -> None:
        pass


def test_a_server_without_messages_gets_a_timeout_and_may_end(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Cache)
        down = asyncio.create_task(node.down(ref.pid))
        await world.clock.pass_time(4.9)
        assert not down.done()
        await world.clock.pass_time(0.2)
        assert (await down).reason == "idle"
        assert world.clock.next_due() is None

    play.one(main)


def test_every_message_begins_the_idle_time_anew_and_no_errand_does(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Cache)
        await world.clock.pass_time(4.0)
        await ref.call(Cache.touch)
        await world.clock.pass_time(4.0)
        ref.cast(Cache.touch)
        await world.clock.pass_time(4.0)
        ref.send("hello")
        await world.clock.pass_time(4.0)
        assert node.process_info(ref.pid) is not None
        await node.control(ref.pid).run(lambda server: None)
        await world.clock.pass_time(1.1)
        assert node.process_info(ref.pid) is None

    play.one(main)


def test_a_server_at_work_is_not_idle(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Cache)
        for method in (Cache.work, Cache.watch):
            await world.settle()
            call = asyncio.create_task(ref.within(None).call(method, world.clock, 60.0))
            await world.clock.pass_time(60.0)
            await call
            await world.clock.pass_time(4.0)
            assert await ref.call(Cache.touch) == 0

    play.one(main)


def test_the_timeout_comes_again_and_again_until_it_is_switched_off(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Cache, 1.0, patience=99)
        await world.clock.pass_time(3.5)
        assert await ref.call(Cache.touch) == 3
        assert await ref.call(Cache.patient, None) == 1.0
        await world.clock.pass_time(100.0)
        assert await ref.call(Cache.touch) == 3
        assert await ref.call(Cache.patient, 2.0) is None
        await world.clock.pass_time(2.1)
        assert await ref.call(Cache.touch) == 4
        with pytest.raises(RemoteError, match="over 0 seconds"):
            await ref.call(Cache.patient, 0.0)

    play.one(main)


def test_a_held_server_gets_no_timeout_and_a_message_that_waits_comes_instead(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Cache)
        control = node.control(ref.pid)
        control.hold()
        await control.run(lambda server: setattr(server, "patience", 2))
        await world.clock.pass_time(30.0)
        assert await control.run(lambda server: server.timeouts) == 0
        control.release()
        await world.settle()
        assert await control.run(lambda server: server.timeouts) == 1
        control.hold()
        await world.clock.pass_time(30.0)
        ref.send("waiting")
        control.release()
        await world.clock.pass_time(4.0)
        assert await control.run(lambda server: server.timeouts) == 1
        await world.clock.pass_time(2.0)
        assert node.process_info(ref.pid) is None

    play.one(main)


# -- beside one another -----------------------------------------------------------------------------------

where: ContextVar[str] = ContextVar("where", default="outside")


class Fetcher(GenServer):
    def __init__(self) -> None:
        self.log: list[str] = []
        self.release = asyncio.Event()
        self.other: Ref[Fetcher] | None = None

    @reentrant
    async def fetch(self, what: str) -> str:
        self.log.append(f"begin {what}")
        where.set(what)
        await self.release.wait()
        self.log.append(f"end {what}")
        assert where.get() == what
        return what

    @reentrant
    async def quick(self, what: str) -> str:
        self.log.append(what)
        return what

    @reentrant
    async def stubborn(self) -> None:
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.log.append("cleaned up")
            await asyncio.sleep(0)
            raise

    @reentrant
    async def crash(self) -> None:
        await self.release.wait()
        raise ValueError("beside others")

    @reentrant
    @raises(KeyError)
    async def refuse(self) -> None:
        await asyncio.sleep(0)
        raise KeyError("no")

    @reentrant
    async def leave(self, reason: str) -> str:
        await asyncio.sleep(0)
        raise Exit(reason, reply="left")

    @reentrant
    async def later(self) -> str:
        asker: From[str] = self.asker()
        await self.release.wait()
        self.reply(asker, "in time")
        return asker.later()

    @reentrant
    async def through(self, ref: "Ref[Fetcher]") -> str:
        return await ref.call(Fetcher.back)

    @reentrant
    async def back(self) -> str:
        assert self.other is not None
        return str(await self.other.call(Fetcher.note, "came back"))

    async def blocking_through(self, ref: "Ref[Fetcher]") -> str:
        return await ref.call(Fetcher.back)

    def know(self, other: "Ref[Fetcher]") -> None:
        self.other = other

    def note(self, what: str) -> int:
        self.log.append(what)
        return len(self.log)

    async def go(self) -> None:
        await asyncio.sleep(0)
        self.release.set()

    def fail(self) -> None:
        raise ValueError("by itself")

    def seen(self) -> list[str]:
        return self.log

    def terminate(self, reason: object) -> None:
        self.log.append(f"terminate {reason}")


async def fetcher_on(a: Node, b: Node) -> Ref[Fetcher]:
    return a.ref((await b.start(Fetcher)).pid, Fetcher)


def test_reentrant_calls_hold_up_nobody_and_all_begin_in_order(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        ref = await fetcher_on(a, b)
        await world.settle()
        calls = []
        for number in range(3):
            calls.append(asyncio.create_task(ref.call(Fetcher.fetch, f"f{number}")))
            calls.append(asyncio.create_task(ref.call(Fetcher.quick, f"q{number}")))
            await asyncio.sleep(0)
            ref.cast(Fetcher.note, f"n{number}")
        await world.settle()
        begun = [f"{kind}{number}" for number in range(3) for kind in ("begin f", "q", "n")]
        assert await ref.call(Fetcher.seen) == begun
        await ref.call(Fetcher.go)
        assert await asyncio.gather(*calls) == ["f0", "q0", "f1", "q1", "f2", "q2"]
        assert (await ref.call(Fetcher.seen))[9:] == ["end f0", "end f1", "end f2"]

    anywhere.two(main)


def test_a_call_at_once_does_not_overtake_the_beginning_of_a_reentrant_one(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Fetcher)
        await world.settle()
        ref.cast(Fetcher.fetch, "first")
        assert await ref.call(Fetcher.note, "second") == 2
        ref.cast(Fetcher.fetch, "third")
        ref.cast(Fetcher.go)
        await world.settle()
        assert await ref.call(Fetcher.seen) == [
            "begin first",
            "second",
            "begin third",
            "end first",
            "end third",
        ]
        assert where.get() == "outside"

    play.one(main)


def test_a_call_in_the_same_turn_of_the_loop_does_not_overtake_the_beginning_of_a_reentrant_one(
    play: Play,
) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Fetcher)
        await world.settle()
        ref.cast(Fetcher.fetch, "first")
        note = asyncio.create_task(
            ref.call(Fetcher.note, "second")
        )  # its turn comes before the task of the first
        await world.settle()
        assert await note == 2
        assert await ref.call(Fetcher.seen) == ["begin first", "second"]

    play.one(main)


def test_what_waits_in_a_mailbox_begins_in_order_too(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Fetcher)
        control = node.control(ref.pid)
        control.hold()
        ref.cast(Fetcher.fetch, "1")
        ref.cast(Fetcher.note, "2")
        ref.cast(Fetcher.quick, "3")
        ref.cast(Fetcher.fetch, "4")
        ref.cast(Fetcher.go)
        ref.cast(Fetcher.note, "5")
        control.release()
        await world.settle()
        log = await ref.call(Fetcher.seen)
        assert [line for line in log if not line.startswith("end")] == ["begin 1", "2", "3", "begin 4", "5"]

    play.one(main)


@pytest.mark.parametrize("reason", ["kill", "enough"])
def test_what_ends_a_server_cancels_its_reentrant_calls_and_terminate_waits_for_them(
    anywhere: Play, reason: str
) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        ref = await fetcher_on(a, b)
        server = b.kernel.cells[ref.pid.serial].server  # type: ignore[attr-defined]
        calls = [asyncio.create_task(ref.call(Fetcher.stubborn)) for _ in range(2)]
        await world.settle()
        a.exit(ref.pid, reason)
        assert (await a.down(ref.pid)).pid == ref.pid
        ends = [] if reason == "kill" else ["terminate enough"]
        assert server.log == ["cleaned up", "cleaned up", *ends]
        for call in calls:
            with pytest.raises(CalleeExited):
                await call

    anywhere.two(main)


def test_a_reentrant_call_that_crashes_ends_the_server_and_all_its_calls(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Fetcher)
        server = node.kernel.cells[ref.pid.serial].server  # type: ignore[attr-defined]
        hanging = asyncio.create_task(ref.call(Fetcher.stubborn))
        crash = asyncio.create_task(ref.call(Fetcher.crash))
        await world.settle()
        ref.cast(Fetcher.go)
        down = await node.down(ref.pid)
        with pytest.raises(RemoteError, match="beside others"):
            await crash
        await asyncio.wait([hanging])
        assert isinstance(down.reason, ValueError)
        assert server.log[-1] == "terminate beside others"
        assert "crash()" in caplog.text

    play.one(main)


def test_a_crash_of_another_method_ends_the_reentrant_calls_too(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Fetcher)
        hanging = asyncio.create_task(ref.call(Fetcher.stubborn))
        await world.settle()
        with pytest.raises(RemoteError, match="by itself"):
            await ref.call(Fetcher.fail)
        with pytest.raises(CalleeExited):
            await hanging

    play.one(main)


def test_terminate_waits_for_reentrant_calls_also_after_a_crash_in_the_midst_of_a_turn(
    play: Play,
) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Fetcher)
        server = node.kernel.cells[ref.pid.serial].server  # type: ignore[attr-defined]
        ref.cast(Fetcher.stubborn)
        await world.settle()
        control = node.control(ref.pid)
        control.hold()
        ref.cast(Fetcher.fail)
        control.release()
        await node.down(ref.pid)
        assert server.log == ["cleaned up", "terminate by itself"]

    play.one(main)


def test_a_reentrant_call_that_crashes_breaks_off_the_handler_in_progress(play: Play) -> None:
    class Mixed(Fetcher):
        async def hang(self) -> None:
            await asyncio.Event().wait()

        def handle_info(self, message: Any) -> None:
            self.release.set()

    async def main(node: Node, world: World) -> None:
        ref = await node.start(Mixed)
        server = node.kernel.cells[ref.pid.serial].server  # type: ignore[attr-defined]
        ref.cast(Mixed.crash)
        hanging = asyncio.create_task(ref.call(Mixed.hang))
        await world.settle()
        server.release.set()
        await world.settle()
        with pytest.raises(CalleeExited, match="was stopped while it handled the call"):
            await hanging
        assert node.process_info(ref.pid) is None

    play.one(main)


def test_reentrant_methods_refuse_leave_and_answer_later_like_others(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        ref = await fetcher_on(a, b)
        with pytest.raises(KeyError, match="no"):
            await ref.call(Fetcher.refuse)
        later = asyncio.create_task(ref.call(Fetcher.later))
        other = asyncio.create_task(ref.call(Fetcher.later))
        await world.settle()
        await ref.call(Fetcher.go)
        assert (await later, await other) == ("in time", "in time")
        assert await ref.call(Fetcher.leave, "normal") == "left"
        assert b.process_info(ref.pid) is None

    anywhere.two(main)


def test_a_reentrant_call_may_come_back_to_its_server_and_another_one_may_not(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        here, there = await a.start(Fetcher), await fetcher_on(a, b)
        await there.call(Fetcher.know, here)
        assert await here.call(Fetcher.through, there) == "1"
        with pytest.raises(RemoteError, match="CallCycle"):
            await here.call(Fetcher.blocking_through, there)

    anywhere.two(main)


def test_a_reentrant_method_may_call_its_own_server(play: Play) -> None:
    class Own(GenServer):
        @reentrant
        async def outer(self) -> int:
            return await Ref.of(self).call(Own.inner)

        async def blocking(self) -> int:
            with pytest.raises(CallCycle):
                await Ref.of(self).call(Own.inner)
            return 0

        def inner(self) -> int:
            return 1

    async def main(node: Node, world: World) -> None:
        ref = await node.start(Own)
        assert await ref.call(Own.outer) == 1
        assert await ref.call(Own.blocking) == 0

    play.one(main)


def test_errands_wait_for_reentrant_calls_unless_they_may_run_beside(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Fetcher)
        control = node.control(ref.pid)
        call = asyncio.create_task(ref.call(Fetcher.fetch, "x"))
        await world.settle()
        assert await control.run(lambda server: list(server.log), beside=True) == ["begin x"]
        control.hold()
        drained = asyncio.create_task(control.drain())
        await world.settle()
        assert not drained.done()
        node.kernel.cells[ref.pid.serial].server.release.set()  # type: ignore[attr-defined]
        await drained
        assert await call == "x"

    play.one(main)


def test_a_closed_gate_and_an_interrupt_break_reentrant_calls_off_and_the_server_lives(
    play: Play,
) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Fetcher)
        call = asyncio.create_task(ref.call(Fetcher.fetch, "x"))
        await world.settle()
        control = node.control(ref.pid)
        control.set_gate(lambda: False)
        interrupt(node, ref.pid)
        with pytest.raises(CalleeExited, match="its gate closed"):
            await call
        control.set_gate(None)
        assert await ref.call(Fetcher.seen) == ["begin x"]

    play.one(main)


@pytest.mark.parametrize("crash", [False, True])
def test_a_reentrant_call_that_refuses_to_end_is_abandoned_with_its_server(play: Play, crash: bool) -> None:
    class Deaf(GenServer):
        def handle_info(self, message: object) -> None:
            raise ValueError(message)

        @reentrant
        async def listen(self) -> None:
            while True:
                with suppress(asyncio.CancelledError):
                    await asyncio.Event().wait()

    async def main(node: Node, world: World) -> None:
        ref = await node.start(Deaf)
        call = asyncio.create_task(ref.within(None).call(Deaf.listen))
        await world.settle()
        if crash:
            ref.send("what a Deaf does not know")
        else:
            stop_process(node, ref.pid, "enough")
        await world.settle()
        assert not call.done()
        await world.clock.pass_time(5.1)
        with pytest.raises(CalleeExited, match="before it answered"):
            await call
        assert node.process_info(ref.pid) is None

    play.one(main)


def test_only_async_methods_can_be_reentrant() -> None:
    with pytest.raises(TypeError, match="async def"):

        @reentrant
        def plain(self: GenServer) -> None: ...


def test_a_server_that_uses_none_of_this_has_no_extras(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Fetcher)
        await ref.call(Fetcher.note, "x")
        await ref.call(Fetcher.go)
        assert node.kernel.cells[ref.pid.serial].extras is None  # type: ignore[attr-defined]

    play.one(main)


def test_many_reentrant_calls_are_in_progress_at_once(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Fetcher)

        async def body(self: Process) -> None:
            async with asyncio.TaskGroup() as group:
                for number in range(1000):
                    group.create_task(ref.call(Fetcher.fetch, str(number)))

        pid = node.spawn(body)
        await world.settle()
        ref.cast(Fetcher.go)
        assert (await node.down(pid)).reason == "normal"

    play.one(main, ProcessConfig(slice_messages=10))


# -- state machines ---------------------------------------------------------------------------------------


class Door(GenStatem[str]):
    """Who asks for a key gets it when the door is opened."""

    def __init__(self) -> None:
        self.goto("closed")
        self.asker_of_key: From[str] | None = None
        self.entered = 0

    def handle_enter(self, previous: str) -> None:
        self.entered += 1

    def key(self) -> str:
        asker: From[str] = self.asker()
        self.asker_of_key = asker
        self.goto("waiting")
        return asker.later()

    def open(self) -> int:
        if self.asker_of_key is not None:
            self.reply(self.asker_of_key, "a key")
        self.goto("open")
        return self.entered

    def rest(self) -> None:
        self.idle_timeout_s = 1.0


def test_a_state_machine_can_answer_later_and_leaves_other_things_to_its_states(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Door)
        key = asyncio.create_task(ref.call(Door.key))
        await world.settle()
        assert not key.done()
        assert await ref.call(Door.open) == 2
        assert await key == "a key"
        with pytest.raises(RemoteError, match="a GenStatem has timeouts of its own"):
            await ref.call(Door.rest)
        with pytest.raises(TypeError, match="@reentrant"):

            class Wrong(GenStatem[str]):
                @reentrant
                async def open(self) -> None: ...

    play.one(main)
