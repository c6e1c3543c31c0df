"""The control of a server: gate, hold, drain, errands, forwarding. What singletons stand on."""

import asyncio
import contextlib
from typing import Any

import pytest

from quorate.core import (
    CalleeExited,
    Exit,
    GenServer,
    Node,
    NoProcess,
    Pid,
    Process,
    ProcessControl,
    Ref,
    is_call,
)
from tests.core.conftest import Play
from tests.core.nodes import C, World
from tests.core.servers import Counter
from tests.support import turns


class Steps(GenServer):
    """A handler of several steps, each of which a test allows."""

    def __init__(self) -> None:
        self.lines: list[Any] = []
        self.go = asyncio.Event()

    async def walk(self, name: str = "walk") -> str:
        self.lines.append((name, 1))
        try:
            await self.go.wait()
            self.lines.append((name, 2))
            await asyncio.sleep(0)
            self.lines.append((name, 3))
        finally:
            self.lines.append((name, "finally"))
        return name

    async def stubborn(self) -> str:
        while True:
            try:
                await asyncio.sleep(0)
                if self.go.is_set():
                    self.lines.append("went on")
            except asyncio.CancelledError:
                self.lines.append("refused")

    def note(self, what: Any) -> None:
        self.lines.append(what)

    def handle_info(self, message: Any) -> None:
        self.lines.append(message)


class Gate:
    """Open or closed; counts how often it was asked."""

    def __init__(self) -> None:
        self.open = True
        self.asked = 0

    def __call__(self) -> bool:
        self.asked += 1
        return self.open


async def started(node: Node) -> tuple[Ref[Steps], ProcessControl, Steps]:
    ref = await node.start(Steps)
    control = node.control(ref.pid)
    server: list[Steps] = []
    await control.run(server.append)
    return ref, control, server[0]


def test_no_message_begins_while_the_gate_is_closed_and_all_wait_in_order(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref, control, server = await started(node)
        gate = Gate()
        control.set_gate(gate)
        ref.cast(Steps.note, 1)
        await turns()
        gate.open = False
        for number in (2, 3):
            ref.cast(Steps.note, number)
            ref.send(("plain", number))
        call = asyncio.create_task(ref.call(Steps.walk))
        await turns()
        assert server.lines == [1]
        info = node.process_info(ref.pid)
        assert info is not None
        assert (info.status, info.mailbox) == ("held", 5)
        gate.open = True
        server.go.set()
        control.release()
        assert await call == "walk"
        assert server.lines[:5] == [1, 2, ("plain", 2), 3, ("plain", 3)]

    play.one(main)


def test_no_line_of_a_handler_runs_after_the_gate_closed_but_finally(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref, control, server = await started(node)
        gate = Gate()
        control.set_gate(gate)
        call = asyncio.create_task(ref.call(Steps.walk))
        await turns()
        ref.cast(Steps.note, "next")
        gate.open = False  # nobody is told, as when the machine was paused
        server.go.set()
        with pytest.raises(CalleeExited, match="gate"):
            await call
        await turns()
        assert server.lines == [("walk", 1), ("walk", "finally")]
        info = node.process_info(ref.pid)
        assert info is not None
        assert (info.state, info.mailbox) == ("alive", 1)
        gate.open = True
        control.set_gate(gate)
        await turns()
        assert server.lines[-1] == "next"

    play.one(main)


def test_a_handler_that_refuses_to_be_cancelled_is_cancelled_at_each_step(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref, control, server = await started(node)
        gate = Gate()
        control.set_gate(gate)
        call = asyncio.create_task(ref.within(None).call(Steps.stubborn))
        await turns()
        gate.open = False
        server.go.set()
        await turns(10)
        assert server.lines.count("refused") > 2
        assert "went on" not in server.lines
        assert not call.done()
        node.exit(ref.pid, "kill")
        await world.clock.pass_time(5.1)
        with pytest.raises(CalleeExited):
            await call
        refusals = len(server.lines)
        await turns()
        assert len(server.lines) == refusals

    play.one(main)


def test_a_handler_that_ends_in_spite_of_the_closed_gate_gives_no_result(play: Play) -> None:
    class Swallowing(GenServer):
        async def swallow(self) -> str:
            inside.set()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
            return "as if nothing had been"

    inside = asyncio.Event()

    async def main(node: Node, world: World) -> None:
        ref = await node.start(Swallowing)
        gate = Gate()
        node.control(ref.pid).set_gate(gate)
        call = asyncio.create_task(ref.call(Swallowing.swallow))
        await inside.wait()
        gate.open = False
        with pytest.raises(CalleeExited):
            await call

    play.one(main)


def test_the_gate_is_asked_before_each_resumption(play: Play) -> None:
    class Sleepy(GenServer):
        async def doze(self, count: int) -> None:
            for _ in range(count):
                await asyncio.sleep(0)

    async def main(node: Node, world: World) -> None:
        ref = await node.start(Sleepy)
        gate = Gate()
        node.control(ref.pid).set_gate(gate)
        await ref.call(Sleepy.doze, 0)
        few = gate.asked
        await ref.call(Sleepy.doze, 5)
        assert gate.asked - few == few + 5

    play.one(main)


def test_a_gate_that_raises_counts_as_closed(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    async def main(node: Node, world: World) -> None:
        ref, control, server = await started(node)
        control.set_gate(lambda: bool(1 // 0))
        ref.cast(Steps.note, 1)
        await turns()
        assert server.lines == []
        assert "taken as closed" in caplog.text

    play.one(main)


def test_held_messages_wait_in_order_until_release(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref, control, server = await started(node)
        control.hold()
        for number in range(5):
            ref.cast(Steps.note, number)
        await turns()
        assert (server.lines, control.held) == ([], True)
        control.release()
        ref.cast(Steps.note, 5)
        await turns()
        assert (server.lines, control.held) == ([0, 1, 2, 3, 4, 5], False)

    play.one(main)


def test_drain_waits_for_the_message_in_progress_and_no_other(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref, control, server = await started(node)
        ref.cast(Steps.walk, "one")
        ref.cast(Steps.walk, "two")
        await turns()
        control.hold()
        drained = asyncio.create_task(control.drain())
        await turns()
        assert not drained.done()
        server.go.set()
        await drained
        assert server.lines == [("one", 1), ("one", 2), ("one", 3), ("one", "finally")]
        messages = control.take_mailbox()
        assert [is_call(message) for message in messages] == [True]
        assert repr(messages[0]) == "walk('two')"
        await control.drain()  # nothing is in progress

    play.one(main)


def test_messages_taken_and_put_back_keep_their_place(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref, control, server = await started(node)
        control.hold()
        ref.cast(Steps.note, 1)
        ref.send(2)
        messages = control.take_mailbox()
        assert [is_call(message) for message in messages] == [True, False]
        assert control.take_mailbox() == []
        ref.cast(Steps.note, 3)
        control.put_back(messages)
        control.release()
        await turns()
        assert server.lines == [1, 2, 3]

    play.one(main)


def test_messages_and_calls_are_forwarded_in_order_and_answered_from_there(anywhere: Play) -> None:
    """Callers: plain code here, and a process elsewhere; the old owner is on b, the new one here or on a third node."""

    async def main(a: Node, b: Node, world: World) -> None:
        third = a
        if a is not b:
            third = await world.node(C)
            world.join(a, third)
            world.join(b, third)
        old, control, _ = await started(b)
        new, _, server = await started(third)
        control.hold()
        calls = []
        for number in range(10):
            a.send(old.pid, ("plain", number))
            calls.append(asyncio.create_task(a.ref(old.pid, Steps).call(Steps.walk, str(number))))
            await turns(5)
        server.go.set()
        await world.settle()
        control.redirect(new.pid)
        assert control.held
        for number in range(10, 15):
            a.send(old.pid, ("plain", number))
        await world.settle()
        assert await asyncio.gather(*calls) == [str(number) for number in range(10)]
        arrived = [line for line in server.lines if line[0] == "plain" or line[1] == 1]
        expected: list[Any] = []
        for number in range(10):
            expected += [("plain", number), (str(number), 1)]
        assert arrived == [*expected, *(("plain", number) for number in range(10, 15))]
        assert a.pending_calls() == 0

    anywhere.two(main)


def test_a_forwarded_call_survives_the_end_of_the_node_it_was_sent_to(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        c = await world.node(C)
        world.join(a, c)
        world.join(b, c)
        old, control, _ = await started(b)
        new, _, server = await started(c)
        control.hold()
        call = asyncio.create_task(a.ref(old.pid, Steps).call(Steps.walk, "moved"))
        await world.settle()
        b.forward(control.take_mailbox(), new.pid)
        await world.settle()
        world.cut(a, b)
        await turns()
        assert not call.done()
        server.go.set()
        assert await call == "moved"

    play.two(main)


def test_an_errand_runs_after_the_message_in_progress_and_ahead_of_the_mailbox_even_when_held(
    play: Play,
) -> None:
    async def main(node: Node, world: World) -> None:
        ref, control, server = await started(node)
        ref.cast(Steps.walk)
        await turns()
        ref.cast(Steps.note, "later")
        control.hold()
        control.set_gate(lambda: True)

        async def hand_over(steps: Steps) -> str:
            steps.lines.append("errand")
            await asyncio.sleep(0)
            return "state"

        errand = asyncio.create_task(control.run(hand_over))
        await turns()
        assert server.lines == [("walk", 1)]
        server.go.set()
        assert await errand == "state"
        assert server.lines[-2:] == [("walk", "finally"), "errand"]
        assert await control.run(lambda steps: len(steps.lines)) == 5
        control.set_gate(lambda: False)
        assert await control.run(hand_over) == "state"
        assert server.lines[-1] == "errand"

    play.one(main)


def test_what_an_errand_raises_is_raised_to_whoever_sent_it_and_the_server_lives(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref, control, server = await started(node)

        async def fails(steps: Steps) -> None:
            raise ValueError("in the errand")

        with pytest.raises(ValueError, match="in the errand"):
            await control.run(fails)
        with pytest.raises(ZeroDivisionError):
            await control.run(lambda steps: 1 // 0)
        ref.cast(Steps.note, "lives")
        await turns()
        assert server.lines == ["lives"]

        def leaves(steps: Steps) -> None:
            raise Exit("by errand")

        with pytest.raises(CalleeExited):
            await control.run(leaves)
        with pytest.raises(CalleeExited):
            await control.run(len)
        assert node.process_info(ref.pid) is None

    play.one(main)


def test_errands_and_drains_of_a_server_that_is_killed_are_told(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref, control, _ = await started(node)
        ref.cast(Steps.walk)
        await turns()
        waiting = [asyncio.create_task(control.drain()) for _ in range(2)]
        await turns()
        node.exit(ref.pid, "kill")
        for task in waiting:
            with pytest.raises(CalleeExited):
                await task

    play.one(main)


def test_a_held_server_can_be_killed_and_its_callers_are_told(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref, control, _ = await started(node)
        control.hold()
        call = asyncio.create_task(ref.call(Steps.walk))
        await turns()
        node.exit(ref.pid, "kill")
        with pytest.raises(NoProcess):
            await call
        assert control.take_mailbox() == []

    play.one(main)


def test_only_a_living_server_of_this_node_has_a_control(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        async def body(self: Process) -> None:
            await self.receive()

        here = await a.start(Counter)
        for pid in (a.spawn(body), (await b.start(Counter)).pid, Pid(a.name, a.creation, 99)):
            with pytest.raises(NoProcess):
                a.control(pid)
        assert a.control(here.pid) is a.control(here.pid)
        assert a.control(here.pid).pid == here.pid

    play.two(main)
