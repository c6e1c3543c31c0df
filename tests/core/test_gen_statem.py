"""State machines as processes: events, states, postponing, timeouts; and a model of all of it."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from quorate.core import (
    STATE_TIMEOUT,
    CalleeExited,
    Down,
    ExitSignal,
    GenStatem,
    Node,
    NotCallable,
    Pid,
    Ref,
)
from tests.core.conftest import Play
from tests.core.machines import Door, Lock, door
from tests.core.nodes import World, run_on
from tests.core.statem_model import Action, Model, Program, programs
from tests.support import turns

# -- events and states ------------------------------------------------------------------------------------


def test_the_answer_to_a_call_depends_on_the_state(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        ref = await door(a, b)
        assert await ref.call(Door.unlock, "no") is False
        assert await ref.call(Door.where) == "locked"
        assert await ref.call(Door.unlock, code="1234") is True
        assert await ref.call(Door.where) == "open"
        assert await ref.call(Door.unlock, "no") is True
        assert await ref.call(Door.seen) == [("locked", "locked"), ("locked", "open")]

    play.two(main)


def test_a_postponed_call_is_answered_in_the_next_state_and_in_order(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        ref = await door(a, b)
        calls = [
            asyncio.create_task(ref.call(method, who))
            for method, who in (
                (Door.walk_through, "ada"),
                (Door.walk_slowly, "bob"),
                (Door.walk_through, "eve"),
            )
        ]
        await world.settle()
        assert not any(call.done() for call in calls)
        await ref.call(Door.unlock, "1234")
        assert await asyncio.gather(*calls) == ["ada", "bob", "eve"]
        assert (await ref.call(Door.seen))[2:] == ["ada", "bob", "eve"]

    play.two(main)


def test_a_postponed_cast_and_a_plain_message_wait_too(play: Play) -> None:
    class Patient(Door):
        def handle_info(self, message: Any) -> None:
            if self.state is Lock.LOCKED:
                self.postpone()
            self.log.append(message)

        async def handle_down(self, down: Down) -> None:
            await asyncio.sleep(0)
            self.handle_info(down.reason)

        def handle_exit(self, signal: ExitSignal) -> None:
            self.handle_info(signal.reason)

        def watch(self, pid: Pid) -> None:
            self.process.monitor(pid)
            self.process.trap_exits = True

    async def main(a: Node, b: Node, world: World) -> None:
        ref = a.ref((await b.start(Patient)).pid, Patient)
        ref.cast(Door.walk_through, "cast")
        ref.send(None)
        await ref.call(Patient.watch, Pid(b.name, b.creation, 99))
        await world.settle()
        a.exit(ref.pid, "please")
        ref.send("message")
        await world.settle()
        assert (await ref.call(Door.seen))[1:] == []
        await ref.call(Door.unlock, "1234")
        assert (await ref.call(Door.seen))[2:] == ["cast", None, "noproc", "please", "message"]

    play.two(main)


def test_a_handler_sees_the_state_in_which_its_event_is_handled_to_its_end(play: Play) -> None:
    class Curious(Door):
        async def look(self) -> list[str]:
            self.goto(Lock.OPEN)
            await asyncio.sleep(0)
            return [self.state.value]

    async def main(node: Node, world: World) -> None:
        ref = await node.start(Curious)
        assert await ref.call(Curious.look) == ["locked"]
        assert await ref.call(Door.where) == "open"

    play.one(main)


def test_going_to_a_state_and_postponing_handles_the_event_in_it(play: Play) -> None:
    class Eager(GenStatem[str]):
        def __init__(self) -> None:
            self.goto("idle")

        def request(self, text: str) -> str:
            match self.state:
                case "idle":
                    self.goto("connecting")
                    self.state_timeout(1.0, self.goto, "ready")
                    self.postpone()
                case "connecting":
                    self.postpone()
            return f"{text} done when {self.state}"

    async def main(node: Node, world: World) -> None:
        ref = await node.start(Eager)
        calls = [asyncio.create_task(ref.call(Eager.request, text)) for text in "ab"]
        await turns()
        await world.clock.pass_time(1.0)
        assert await asyncio.gather(*calls) == ["a done when ready", "b done when ready"]

    play.one(main)


@dataclass(frozen=True)
class Connecting:
    attempt: int


def test_a_state_may_carry_data_and_another_value_is_another_state(play: Play) -> None:
    class Dialler(GenStatem[Connecting | None]):
        def __init__(self) -> None:
            self.entered: list[Any] = []
            self.goto(None)

        def dial(self) -> None:
            match self.state:
                case Connecting(attempt):
                    self.goto(Connecting(attempt + 1))
                case None:
                    self.goto(Connecting(1))

        def again(self) -> None:
            if self.state is not None:
                self.goto(Connecting(self.state.attempt))

        def all(self) -> list[Any]:
            return self.entered

        async def handle_enter(self, previous: Connecting | None) -> None:
            await asyncio.sleep(0)
            self.entered.append(self.state.attempt if self.state else 0)

    async def main(node: Node, world: World) -> None:
        ref = await node.start(Dialler)
        await ref.call(Dialler.dial)
        await ref.call(Dialler.again)
        await ref.call(Dialler.dial)
        assert await ref.call(Dialler.all) == [0, 1, 2]

    play.one(main)


def test_an_enter_call_comes_before_everything_that_waits_and_after_the_answer(play: Play) -> None:
    class Slow(Door):
        def __init__(self, gate: asyncio.Event, log: list[Any]) -> None:
            super().__init__()
            self.gate = gate
            self.log = log

        async def handle_enter(self, previous: Lock) -> None:
            self.log.append("entering")
            await self.gate.wait()
            self.log.append(self.state.value)

    async def main(node: Node, world: World) -> None:
        gate, log = asyncio.Event(), list[Any]()
        ref = await node.start(Slow, gate, log)
        walking = asyncio.create_task(ref.call(Door.walk_through, "ada"))
        await turns()
        gate.set()
        await turns()
        gate.clear()
        assert await ref.call(Door.unlock, "1234") is True
        await turns()
        assert log == ["entering", "locked", "entering"]
        assert not walking.done()
        gate.set()
        assert await walking == "ada"
        assert log[3:] == ["open", "ada"]

    play.one(main)


def test_an_enter_call_may_call_the_one_whose_event_led_to_it(play: Play) -> None:
    class Friend(GenStatem[str]):
        def __init__(self) -> None:
            self.ref: Ref[Friend] | None = None
            self.goto("calm")

        async def meet(self, ref: "Ref[Friend]", slowly: bool) -> str:
            if slowly:
                return await ref.call(Friend.hear_slowly, Ref.of(self))
            return await ref.call(Friend.hear, Ref.of(self))

        def hear(self, ref: "Ref[Friend]") -> str:
            self.ref = ref
            self.goto("glad")
            return "heard"

        async def hear_slowly(self, ref: "Ref[Friend]") -> str:
            await asyncio.sleep(0)
            return self.hear(ref)

        def mood(self) -> str:
            return self.state

        async def handle_enter(self, previous: str) -> None:
            if self.ref is not None:
                assert await self.ref.call(Friend.mood) == "calm"
                self.ref = None

    async def main(node: Node, world: World) -> None:
        for slowly in (False, True):
            one, two = await node.start(Friend), await node.start(Friend)
            assert await one.call(Friend.meet, two, slowly) == "heard"
            await turns()
            assert await two.call(Friend.mood) == "glad"

    play.one(main)


def test_a_repeated_state_is_entered_again_and_nothing_else(play: Play) -> None:
    class Again(Door):
        def again(self) -> None:
            self.repeat_state()

    async def main(node: Node, world: World) -> None:
        ref = await node.start(Again)
        walking = asyncio.create_task(ref.call(Door.walk_through, "ada"))
        await turns()
        await ref.call(Again.again)
        assert await ref.call(Door.seen) == [("locked", "locked")] * 2
        assert not walking.done()
        await ref.call(Door.unlock, "1234")
        await world.clock.pass_time(4.0)
        await ref.call(Again.again)
        await world.clock.pass_time(1.0)
        assert await ref.call(Door.where) == "locked"
        await walking

    play.one(main)


def test_an_inserted_event_comes_before_all_that_waits(play: Play) -> None:
    class Eager(GenStatem[str]):
        def __init__(self) -> None:
            self.log: list[str] = []
            self.goto("first")
            self.next_event(self.note, "from init")

        async def begin(self) -> list[str]:
            await asyncio.sleep(0)
            self.next_event(self.note, "one")
            self.next_event(self.note, text="two")
            self.goto("second")
            return self.log

        def note(self, text: str) -> None:
            if self.state == "first" and text == "later":
                self.postpone()
            self.log.append(text)

    async def main(node: Node, world: World) -> None:
        ref = await node.start(Eager)
        ref.cast(Eager.note, "later")
        ref.cast(Eager.note, "before")
        begun = asyncio.create_task(ref.call(Eager.begin))
        await turns(1)
        ref.cast(Eager.note, "behind")
        log = await begun
        await turns()
        assert log == ["from init", "before", "one", "two", "later", "behind"]

    play.one(main)


# -- timeouts ---------------------------------------------------------------------------------------------


def test_a_state_timeout_ends_with_its_state(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        ref = await door(a, b)
        await ref.call(Door.unlock, "1234")
        await world.clock.pass_time(4.9)
        assert await ref.call(Door.where) == "open"
        await world.clock.pass_time(0.1)
        assert await ref.call(Door.where) == "locked"
        await ref.call(Door.unlock, "1234")
        await ref.call(Door.lock)
        await world.clock.pass_time(4.0)
        await ref.call(Door.unlock, "1234")
        await world.clock.pass_time(4.0)
        assert await ref.call(Door.where) == "open"
        assert (await ref.call(Door.seen)).count("relocked") == 1

    play.two(main)


class Timed(GenStatem[str]):
    """Does with its timeouts what it is told."""

    def __init__(self) -> None:
        self.log: list[Any] = []
        self.goto("on")
        self.named_timeout("first", 1.0, self._note, "first")

    def _note(self, what: Any) -> None:
        self.log.append(what)

    def start(self, kind: str, delay_s: float, what: str) -> None:
        if kind == "event":
            self.event_timeout(delay_s, self._note, what)
        else:
            self.named_timeout(kind, delay_s, self._note, what)

    def update(self, which: str, what: str) -> None:
        self.update_timeout(which, self._note, what)

    def cancel(self, which: str) -> None:
        self.cancel_timeout(which)

    def nothing(self) -> None:
        pass

    async def slowly(self, gate: asyncio.Event) -> None:
        await gate.wait()

    def seen(self) -> list[Any]:
        return self.log


def test_an_event_timeout_ends_with_any_event_but_not_with_a_call_that_does_not_fit(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Timed)
        await ref.call(Timed.start, "event", 0.5, "quiet")
        await world.clock.pass_time(0.4)
        with pytest.raises(NotCallable):
            await ref.call(Timed.nothing, 1)  # type: ignore[call-overload]
        with pytest.raises(NotCallable):
            await node.call(ref.pid, Timed._note, 1)
        await world.clock.pass_time(0.1)
        await ref.call(Timed.start, "event", 2.0, "never")
        await world.clock.pass_time(1.0)
        ref.send("anything")
        await world.clock.pass_time(1.0)
        assert await ref.call(Timed.seen) == ["quiet", "first"]

    play.one(main)


def test_named_timeouts_are_replaced_updated_and_cancelled_by_their_names(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Timed)
        await ref.call(Timed.cancel, "first")
        await ref.call(Timed.start, "a", 1.0, "a1")
        await ref.call(Timed.start, "b", 2.0, "b1")
        await world.clock.pass_time(0.5)
        await ref.call(Timed.start, "a", 1.0, "a2")
        await ref.call(Timed.update, "b", "b2")
        await ref.call(Timed.update, "c", "c, at once")
        await world.clock.pass_time(0.5)
        assert await ref.call(Timed.seen) == ["c, at once"]
        await world.clock.pass_time(1.0)
        assert await ref.call(Timed.seen) == ["c, at once", "a2", "b2"]
        await ref.call(Timed.cancel, "b")
        await world.clock.pass_time(5.0)
        assert len(await ref.call(Timed.seen)) == 3
        cell: Any = node.kernel.find(ref.pid)
        assert not cell._timers  # none that has fired is kept

    play.one(main)


def test_a_timeout_that_fires_while_a_handler_runs_can_still_be_cancelled(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        for cancelled in (True, False):
            ref = await node.start(Timed)
            gate = asyncio.Event()
            ref.cast(Timed.slowly, gate)
            await turns()
            if cancelled:
                ref.cast(Timed.cancel, "first")
            await world.clock.pass_time(2.0)
            gate.set()
            assert await ref.call(Timed.seen) == ([] if cancelled else ["first"])

    play.one(main)


# -- everything at once -----------------------------------------------------------------------------------


class Scripted(GenStatem[int]):
    """Plays a program of `statem_model.py`."""

    def __init__(self, program: Program, trace: list[Any]) -> None:
        self.program = program
        self.trace = trace
        self.handled = 0
        self.number = 0
        self.goto(0)

    def handle(self, label: str) -> str:
        self.number, self.handled = self.handled, self.handled + 1
        reaction = self.program.reaction(self.number)
        self.trace.append(("event", label, self.state))
        if reaction.state is not None:
            self.goto(reaction.state)
        if reaction.repeat:
            self.repeat_state()
        self.act(reaction.actions, 0)
        for each in range(reaction.insert):
            self.next_event(self.either, f"inserted {self.number}.{each}")
        if reaction.postpone:
            self.postpone()
        return label

    async def handle_later(self, label: str) -> str:
        await asyncio.sleep(0)
        return self.handle(label)

    def either(self, label: str) -> Any:
        return self.handle(label) if len(label) % 2 else self.handle_later(label)

    def act(self, actions: tuple[Action, ...], first: int) -> None:
        for each, action in enumerate(actions, first):
            label = f"timeout {self.number}.{each}"
            match action.what, action.which:
                case "start", str(name):
                    self.named_timeout(name, action.delay, self.either, label)
                case "start", which:
                    start = self.state_timeout if which is STATE_TIMEOUT else self.event_timeout
                    start(action.delay, self.either, label)
                case "update", which:
                    self.update_timeout(which, self.either, label)
                case _, which:
                    self.cancel_timeout(which)

    def handle_enter(self, previous: int) -> Any:
        self.trace.append(("enter", previous, self.state))
        if self.handled:
            reaction = self.program.reaction(self.number)
            self.act(reaction.on_enter, len(reaction.actions))
        return asyncio.sleep(0) if self.handled % 3 == 1 else None


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(programs(takes=0))
def test_a_machine_as_a_process_does_what_the_manual_of_gen_statem_says(program: Program) -> None:
    async def main() -> None:
        world = World()
        node = await world.node()
        trace: list[Any] = []
        ref = await node.start(Scripted, program, trace)
        calls: list[asyncio.Task[str]] = []
        for number, step in enumerate(program.steps):
            if step is None:
                method: Any = Scripted.handle if number % 2 else Scripted.handle_later
                calls.append(asyncio.create_task(ref.within(None).call(method, f"outside {number}")))
                await turns(80)
            else:
                for _ in range(step):
                    await world.clock.pass_time(1.0, turns_each=80)
        await turns(80)
        model = Model(program)
        assert trace == model.run()
        waiting = [call for call in calls if not call.done()]
        assert len(waiting) == sum(label.startswith("outside") for label in model.postponed)
        node.exit(ref.pid, "enough")
        for call in waiting:
            with pytest.raises(CalleeExited):
                await call
        await world.close()

    run_on("asyncio", main)
