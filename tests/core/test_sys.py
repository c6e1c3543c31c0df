"""`sys`: looking into servers, changing their state, suspending and tracing them, here and on other nodes."""

import asyncio
import logging
from typing import Any

import pytest

from quorate.core import (
    CallCycle,
    CalleeExited,
    CallTimeout,
    GenServer,
    GenStatem,
    Node,
    NodeDown,
    NoProcess,
    NotCallable,
    Process,
    RemoteError,
    Statistics,
    TraceEvent,
)
from quorate.core.pid import RemoteName
from tests.core.conftest import Play
from tests.core.nodes import World
from tests.core.servers import Counter
from tests.support import turns


class Locker(GenServer):
    """Holds what cannot travel, and something in a slot."""

    __slots__ = ("slotted",)

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.numbers = [1, 2]
        self.slotted = "here"

    async def begin(self, release: asyncio.Event) -> list[int]:
        self.numbers.append(3)
        await release.wait()
        self.numbers.append(4)
        return self.numbers


class Door(GenStatem[str]):
    """A machine of two states."""

    def __init__(self) -> None:
        self.pushes = 0
        self.goto("locked")

    def push(self) -> int:
        self.pushes += 1
        if self.state == "locked":
            self.goto("open")
            self.postpone()
        return self.pushes


class Curious(GenServer):
    """Asks about itself."""

    def __init__(self, node: Node) -> None:
        self.node = node

    async def look(self) -> dict[str, Any]:
        return await self.node.sys.get_state(self.pid)


# -- state ------------------------------------------------------------------------------------------------


def test_the_state_of_a_server_is_its_attributes(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        ref = await b.start(Counter, start=3)
        ref_name = "counter"
        b.kernel.register(b.kernel.cells[ref.pid.serial], ref_name)
        for node in (a, b):
            for server in (ref, ref.pid, RemoteName(b.name, ref_name)):
                assert await node.sys.get_state(server) == {"n": 3, "heard": []}
        assert await b.sys.get_state(ref_name) == {"n": 3, "heard": []}

    play.two(main)


def test_on_its_own_node_the_values_of_a_state_are_themselves(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Locker)
        state = await node.sys.get_state(ref)
        assert sorted(state) == ["lock", "numbers", "slotted"]
        assert isinstance(state["lock"], asyncio.Lock)

    play.one(main)


def test_values_that_cannot_travel_are_shown_as_text_on_other_nodes(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        ref = await b.start(Locker)
        state = await a.sys.get_state(ref)
        assert (state["numbers"], state["slotted"]) == ([1, 2], "here")
        assert state["lock"].startswith("<asyncio.locks.Lock object")

    play.two(main)


def test_a_state_that_is_too_large_to_travel_is_shown_as_text(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        ref = await b.start(Counter)
        await b.sys.replace_state(ref, {"n": b"x" * 9_000_000, "heard": b"y" * 9_000_000})
        state = await a.sys.get_state(ref)
        assert (len(state["n"]), state["heard"][:4]) == (2000, "b'yy")

    play.two(main)


def test_a_state_is_seen_between_two_messages_and_ahead_of_those_that_wait(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        release = asyncio.Event()
        ref = await b.start(Locker)
        calls = [asyncio.ensure_future(b.ref(ref.pid, Locker).call(Locker.begin, release)) for _ in range(2)]
        await turns()
        looking = asyncio.ensure_future(a.sys.get_state(ref))
        await turns(60)
        assert not looking.done()
        release.set()
        assert (await looking)["numbers"][:4] == [1, 2, 3, 4]
        await asyncio.gather(*calls)

    play.two(main)


def test_a_question_that_waits_too_long_times_out(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        ref = await b.start(Counter)
        b.ref(ref.pid, Counter).cast(Counter.hang)
        await turns()
        for node in (a, b):
            asking = asyncio.ensure_future(node.sys.get_state(ref, timeout_s=2))
            await world.clock.pass_time(2.1)
            with pytest.raises(CallTimeout):
                await asking
        asking = asyncio.ensure_future(a.sys.get_state(ref))
        await turns(60)
        b.exit(ref.pid, "enough")
        await turns(60)
        with pytest.raises(CalleeExited) as caught:
            await asking
        assert caught.value.reason == "enough"

    play.two(main)


def test_replace_state_sets_attributes_and_leaves_the_others(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        ref = await b.start(Counter, start=3)
        assert await a.sys.replace_state(ref, {"n": 10}) == {"n": 10, "heard": []}
        assert await b.sys.replace_state(ref, lambda state: {"n": state["n"] + 1}) == {"n": 11, "heard": []}
        assert await ref.call(Counter.incr) == 12

    play.two(main)


def test_a_change_that_fails_changes_nothing_and_harms_nobody(play: Play) -> None:
    def fails(state: dict[str, Any]) -> dict[str, Any]:
        raise ValueError("no idea")

    async def main(a: Node, b: Node, world: World) -> None:
        ref = await b.start(Counter, start=3)
        with pytest.raises(RemoteError, match="ValueError: no idea") as caught:
            await b.sys.replace_state(ref, fails)
        assert isinstance(caught.value.__cause__, ValueError)
        with pytest.raises(RemoteError, match="TypeError: a state is a mapping"):
            await b.sys.replace_state(ref, lambda state: 7)  # type: ignore[arg-type, return-value]
        for node in (a, b):
            for name in ("_quorate_cell", "pid"):
                with pytest.raises(RemoteError, match=f"ValueError: {name} is not part of the state"):
                    await node.sys.replace_state(ref, {"n": 4, name: 1})
        with pytest.raises(TypeError, match="cannot travel"):
            await a.sys.replace_state(ref, fails)
        assert await ref.call(Counter.value) == 3

    play.two(main)


def test_a_change_of_which_one_attribute_cannot_be_set_changes_none(play: Play) -> None:
    class Guarded(Counter):
        def __setattr__(self, name: str, value: Any) -> None:
            if name == "n" and value < 0:
                raise ValueError("below zero")
            super().__setattr__(name, value)

    async def main(node: Node, world: World) -> None:
        ref = await node.start(Guarded, start=3)
        with pytest.raises(RemoteError, match="below zero"):
            await node.sys.replace_state(ref, {"heard": ["x"], "mood": "new", "n": -1})
        assert await node.sys.get_state(ref) == {"n": 3, "heard": []}

    play.one(main)


def test_what_is_no_server_or_is_not_there_is_told(play: Play) -> None:
    async def body(self: Process) -> None:
        await self.receive()

    async def main(a: Node, b: Node, world: World) -> None:
        pid = b.spawn(body)
        ref = await b.start(Counter)
        b.exit(ref.pid, "gone")
        await turns()
        for node in (a, b):
            with pytest.raises(NotCallable, match="is no GenServer"):
                await node.sys.get_state(pid)
            with pytest.raises(NoProcess):
                await node.sys.suspend(ref)
            with pytest.raises(NoProcess):
                await node.sys.suspend(RemoteName(b.name, "nobody"))
        with pytest.raises(NoProcess):
            await a.sys.resume("nobody")
        with pytest.raises(NodeDown):
            await a.sys.get_state(RemoteName("z@127.0.0.1:9109", "x"))

    play.two(main)


def test_a_server_that_asks_about_itself_gets_call_cycle(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Curious, node)
        with pytest.raises(RemoteError, match="CallCycle"):
            await ref.call(Curious.look)

    play.one(main)


def test_a_cycle_by_way_of_another_node_is_found(play: Play) -> None:
    class Go(GenServer):
        def __init__(self, node: Node, name: RemoteName) -> None:
            self.node = node
            self.other = name

        async def look(self) -> str:
            try:
                await self.node.sys.get_state(self.other)
            except CallCycle as error:
                return str(len(error.path))
            return "none"

    async def main(a: Node, b: Node, world: World) -> None:
        ref = await a.start(Go, a, RemoteName(a.name, "me"))
        a.kernel.register(a.kernel.cells[ref.pid.serial], "me")
        assert await b.ref(ref.pid, Go).call(Go.look) == "2"

    play.two(main)


def test_a_state_machine_can_be_looked_into_too(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        heard: list[TraceEvent] = []
        ref = await b.start(Door)
        assert await a.sys.get_state(ref) == {"state": "locked", "pushes": 0}
        await b.sys.trace(ref, heard.append)
        await a.sys.suspend(ref)
        call = asyncio.ensure_future(a.ref(ref.pid, Door).call(Door.push))
        await turns(60)
        assert (call.done(), heard) == (False, [])
        await a.sys.resume(ref)
        assert await call == 2
        assert [(event.kind, event.content) for event in heard][-1] == ("reply", 2)
        assert [event.kind for event in heard].count("reply") == 1
        assert await a.sys.replace_state(ref, {"pushes": 5, "state": "locked"}) == {
            "state": "locked",
            "pushes": 5,
        }

    play.two(main)


# -- suspend ----------------------------------------------------------------------------------------------


def test_a_suspended_server_keeps_its_messages_in_order_and_calls_time_out(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        ref = await b.start(Counter)
        for node in (a, b):
            await node.sys.suspend(ref)
            info = b.process_info(ref.pid)
            assert info is not None
            assert info.status == "suspended"
            here = node.ref(ref.pid, Counter)
            here.send("one")
            call = asyncio.ensure_future(here.within(2).call(Counter.incr))
            here.send("two")
            await world.clock.pass_time(2.1, 60)
            with pytest.raises(CallTimeout):
                await call
            info = b.process_info(ref.pid)
            assert info is not None
            assert info.mailbox == 3
            assert (await node.sys.get_state(ref))["heard"] == []  # it is seen while it is suspended
            await node.sys.resume(ref)
            await node.sys.resume(ref)
            await turns(60)
            assert await node.sys.replace_state(ref, {"heard": [], "n": 0}) == {"n": 0, "heard": []}

    play.two(main)


def test_what_waited_is_handled_in_order_after_resume(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Counter)
        await node.sys.suspend(ref)
        ref.cast(Counter.incr, 1)
        call = asyncio.ensure_future(ref.call(Counter.slowly, 10))
        await turns()
        ref.cast(Counter.incr, 100)
        await node.sys.resume(ref)
        assert await call == 11
        assert await ref.call(Counter.value) == 111

    play.one(main)


def test_suspend_waits_for_the_message_in_progress(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        release = asyncio.Event()
        ref = await node.start(Locker)
        call = asyncio.ensure_future(ref.call(Locker.begin, release))
        await turns()
        suspending = asyncio.ensure_future(node.sys.suspend(ref))
        await turns()
        assert not suspending.done()
        release.set()
        await suspending
        assert await call == [1, 2, 3, 4]

    play.one(main)


def test_a_suspended_server_can_be_ended(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ended: list[object] = []

        class Server(GenServer):
            def terminate(self, reason: object) -> None:
                ended.append(reason)

        ref = await node.start(Server)
        await node.sys.suspend(ref)
        node.exit(ref.pid, "enough")
        assert (await node.down(ref.pid)).reason == "enough"
        assert ended == ["enough"]

    play.one(main)


def test_resume_does_not_release_a_server_that_the_library_holds(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Counter)
        control = node.control(ref.pid)
        control.hold()
        await node.sys.suspend(ref)
        ref.send("one")
        await node.sys.resume(ref)
        await turns()
        assert (await node.sys.get_state(ref))["heard"] == []
        await node.sys.suspend(ref)
        control.release()
        await turns()
        assert (await node.sys.get_state(ref))["heard"] == []
        await node.sys.resume(ref)
        await turns()
        assert (await node.sys.get_state(ref))["heard"] == ["one"]
        assert node.control(ref.pid) is control

    play.one(main)


def test_a_control_suspends_and_resumes_as_sys_does(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Counter)
        control = node.control(ref.pid)
        control.suspend()
        ref.send("one")
        await turns()
        assert (control.suspended, ref.pid in node.processes()) == (True, True)
        assert (await node.sys.get_state(ref))["heard"] == []
        control.resume()
        await turns()
        assert node.process_info(ref.pid).mailbox == 0  # type: ignore[union-attr]
        assert (await node.sys.get_state(ref))["heard"] == ["one"]

    play.one(main)


def test_thousands_may_ask_at_a_time(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Counter)
        states = await asyncio.gather(*(node.sys.get_state(ref) for _ in range(2000)))
        assert states == [{"n": 0, "heard": []}] * 2000

    play.one(main)


def test_a_server_that_was_looked_into_is_as_quick_as_before(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Counter)
        await node.sys.get_state(ref)
        await node.sys.suspend(ref)
        await node.sys.resume(ref)
        await node.sys.trace(ref)
        await node.sys.trace(ref, False)
        await turns()
        assert node.kernel.cells[ref.pid.serial].control is None

    play.one(main)


# -- trace and statistics ---------------------------------------------------------------------------------


def test_a_trace_tells_of_messages_in_and_answers_out(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        heard: list[TraceEvent] = []
        ref = await node.start(Counter)
        await node.sys.trace(ref, heard.append)
        await ref.call(Counter.incr, by=2)
        await ref.call(Counter.slowly, 1)
        ref.cast(Counter.incr, 5)
        ref.send("hello")
        with pytest.raises(NotCallable):
            await node.call(ref.pid, Locker.begin, asyncio.Event())
        await node.sys.get_state(ref)
        with pytest.raises(RemoteError):
            await ref.call(Counter.fail, "out")
        shown = [(e.direction, e.kind, e.method, e.content) for e in heard]
        assert shown[:6] == [
            ("in", "call", "incr", ((), {"by": 2})),
            ("out", "reply", "incr", 2),
            ("in", "call", "slowly", ((1,), {})),
            ("out", "reply", "slowly", 3),
            ("in", "cast", "incr", ((5,), {})),
            ("in", "info", "", "hello"),
        ]
        assert [each[:3] for each in shown[6:]] == [
            ("in", "call", "begin"),
            ("out", "error", "begin"),
            ("in", "call", "fail"),
            ("out", "error", "fail"),
        ]
        assert {event.pid for event in heard} == {ref.pid}

    play.one(main)


def test_a_trace_that_raises_harms_nobody_and_one_that_is_off_is_silent(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(node: Node, world: World) -> None:
        def bad(event: TraceEvent) -> None:
            raise ValueError("in the trace")

        ref = await node.start(Counter)
        await node.sys.trace(ref, bad)
        assert await ref.call(Counter.incr) == 1
        await node.sys.trace(ref, False)
        caplog.clear()
        assert await ref.call(Counter.incr) == 2
        assert caplog.records == []

    play.one(main)


def test_a_trace_from_another_node_goes_to_the_log_of_the_servers_own(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        ref = await b.start(Counter)
        await a.sys.trace(ref)
        await a.ref(ref.pid, Counter).call(Counter.incr, 2)
        with pytest.raises(TypeError, match="cannot travel"):
            await a.sys.trace(ref, print)

    with caplog.at_level(logging.INFO, "quorate.trace"):
        play.two(main)
    facts = [record.__dict__["quorate"] for record in caplog.records]
    assert [(each["event"], each["direction"], each["kind"], each["content"]) for each in facts] == [
        ("trace", "in", "call", "((2,), {})"),
        ("trace", "out", "reply", "2"),
    ]
    assert "(Counter) got call incr: ((2,), {})" in caplog.records[0].getMessage()


def test_statistics_count_from_the_first_question_on(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        ref = await b.start(Counter)
        await ref.call(Counter.incr)
        assert await a.sys.statistics(ref) == Statistics(0.0, 0, 0)
        await ref.call(Counter.incr)
        ref.cast(Counter.incr)
        await world.clock.pass_time(3)
        assert await b.sys.statistics(ref, count=False) == Statistics(3.0, 2, 1)
        await ref.call(Counter.incr)
        assert await a.sys.statistics(ref) == Statistics(0.0, 0, 0)

    play.two(main)


def test_a_trace_and_statistics_do_not_disturb_each_other(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        heard: list[TraceEvent] = []
        ref = await node.start(Counter)
        await node.sys.statistics(ref)
        await node.sys.trace(ref, heard.append)
        await ref.call(Counter.incr)
        await node.sys.trace(ref, False)
        await ref.call(Counter.incr)
        statistics = await node.sys.statistics(ref)
        assert (len(heard), statistics.messages_in, statistics.replies_out) == (2, 2, 2)

    play.one(main)
