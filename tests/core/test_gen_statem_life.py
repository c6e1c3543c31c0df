"""State machines as processes: how they answer, what is seen of them from outside, how they start and end."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from quorate.core import (
    EVENT_TIMEOUT,
    CalleeExited,
    Exit,
    From,
    GenStatem,
    Node,
    NoProcess,
    NotCallable,
    RemoteError,
    Reply,
    raises,
    reentrant,
)
from tests.core.conftest import Play
from tests.core.machines import Door, Lock
from tests.core.nodes import World
from tests.support import turns

# -- answers ----------------------------------------------------------------------------------------------


class TooMany(Exception):
    """Somebody tries too often."""


class Vault(GenStatem[str]):
    """Answers in every way there is."""

    def __init__(self) -> None:
        self.entered: list[str] = []
        self.waiting: list[From[str]] = []
        self.goto("shut")

    def wait(self) -> str:
        asker: From[str] = self.asker()
        if self.state == "shut":
            self.postpone()
        self.waiting.append(asker)
        self.goto("awaited")
        return asker.later()

    def release(self, text: str) -> None:
        for asker in self.waiting:
            self.reply(asker, text)
        self.waiting.clear()

    def open(self) -> None:
        self.goto("open")

    def refuse(self) -> None:
        self.goto("refused")
        raise Reply(TooMany("you"))

    async def refuse_slowly(self) -> None:
        await asyncio.sleep(0)
        self.refuse()

    @raises(KeyError, TypeError)
    def find(self, key: str) -> None:
        self.goto("searched")
        raise KeyError(key)

    def states(self) -> list[str]:
        return self.entered

    def crash(self) -> None:
        self.goto("never")
        raise ValueError("x")

    def later(self) -> None:
        self.continue_with("later")

    def handle_continue(self, info: str) -> None:
        self.goto(info)

    def handle_enter(self, previous: str) -> None:
        self.entered.append(self.state)


def test_an_answer_may_come_later_also_to_one_who_was_postponed(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        ref = a.ref((await b.start(Vault)).pid, Vault)
        calls = [asyncio.create_task(ref.call(Vault.wait)) for _ in range(2)]
        await world.settle()
        await ref.call(Vault.open)
        await world.settle()
        assert not any(call.done() for call in calls)
        await ref.call(Vault.release, "free")
        assert await asyncio.gather(*calls) == ["free", "free"]
        assert await ref.call(Vault.states) == ["shut", "open", "awaited"]
        last = asyncio.create_task(ref.call(Vault.wait))
        await world.settle()
        b.exit(ref.pid, "gone")
        with pytest.raises(CalleeExited):
            await last

    play.two(main)


def test_an_exception_for_the_caller_is_an_answer_and_what_was_decided_holds(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        a.export(TooMany)
        ref = a.ref((await b.start(Vault)).pid, Vault)
        for method in (Vault.refuse, Vault.refuse_slowly):
            with pytest.raises(TooMany):
                await ref.call(method)
            await ref.call(Vault.open)
        with pytest.raises(KeyError):
            await ref.call(Vault.find, "x")
        with pytest.raises(NotCallable):
            await ref.call(Vault.find)  # type: ignore[call-overload]
        ref.cast(Vault.refuse)
        assert await ref.call(Vault.states) == ["shut", *("refused", "open") * 2, "searched", "refused"]

    play.two(main)


def test_what_a_machine_continues_with_is_its_next_event(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Vault)
        ref.cast(Vault.later)
        ref.cast(Vault.open)
        assert await ref.call(Vault.states) == ["shut", "later", "open"]

    play.one(main)


def test_a_machine_has_timeouts_of_its_own_and_no_idle_timeout(play: Play) -> None:
    class Idle(Vault):
        def __init__(self) -> None:
            super().__init__()
            self.idle_timeout_s = 2.0

    async def main(node: Node, world: World) -> None:
        with pytest.raises(TypeError, match="timeouts of its own"):
            await node.start(Idle)

    play.one(main)


def test_a_machine_handles_one_event_at_a_time() -> None:
    with pytest.raises(TypeError, match="one event at a time"):

        class Many(GenStatem[str]):
            @reentrant
            async def both(self) -> None:
                pass


# -- a look from outside ----------------------------------------------------------------------------------


def test_the_state_is_seen_and_set_from_outside_and_part_of_a_crash_report(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        caplog.clear()
        ref = a.ref((await b.start(Vault)).pid, Vault)
        assert await a.sys.get_state(ref) == {"state": "shut", "entered": ["shut"], "waiting": []}
        assert await a.sys.replace_state(ref, {"state": "forced", "entered": []}) == {
            "state": "forced",
            "entered": [],
            "waiting": [],
        }
        with pytest.raises(RemoteError):
            await ref.call(Vault.crash)
        (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
        assert vars(record)["quorate"]["state"]["state"] == "'forced'"

    play.two(main)


def test_a_machine_that_is_held_does_not_handle_its_own_events_either(play: Play) -> None:
    class Eager(GenStatem[str]):
        def __init__(self, log: list[str]) -> None:
            self.log = log
            self.goto("first")

        async def begin(self, gate: asyncio.Event) -> None:
            self.next_event(self.log.append, "inserted")
            await gate.wait()

    async def main(node: Node, world: World) -> None:
        log: list[str] = []
        gate = asyncio.Event()
        ref = await node.start(Eager, log)
        control = node.control(ref.pid)
        begun = asyncio.create_task(ref.call(Eager.begin, gate))
        await turns()
        control.hold()
        gate.set()
        await begun
        await turns()
        assert log == []
        control.release()
        await turns()
        assert log == ["inserted"]

    play.one(main)


def test_a_state_is_entered_also_when_its_enter_call_is_broken_off_by_a_gate(play: Play) -> None:
    class Slow(Door):
        def __init__(self, event: asyncio.Event) -> None:
            super().__init__()
            self.event = event

        async def handle_enter(self, previous: Lock) -> None:
            if self.state is Lock.OPEN:
                await self.event.wait()
                self.log.append("never")

    async def main(node: Node, world: World) -> None:
        event, gate = asyncio.Event(), [True]
        ref = await node.start(Slow, event)
        control = node.control(ref.pid)
        control.set_gate(lambda: gate[0])
        walking = asyncio.create_task(ref.call(Door.walk_through, "ada"))
        await turns()
        assert await ref.call(Door.unlock, "1234") is True
        await turns()
        gate[0] = False
        event.set()
        await turns()
        assert not walking.done()
        gate[0] = True
        control.release()
        assert await walking == "ada"
        assert await ref.call(Door.seen) == ["ada"]

    play.one(main)


def test_a_suspended_machine_does_nothing_and_its_timeouts_wait(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Door)
        walking = asyncio.create_task(ref.call(Door.walk_through, "ada"))
        await ref.call(Door.unlock, "1234")
        await walking
        await node.sys.suspend(ref)
        await world.clock.pass_time(6.0)
        assert (await node.sys.get_state(ref))["state"] is Lock.OPEN
        await node.sys.resume(ref)
        assert await ref.call(Door.where) == "locked"

    play.one(main)


# -- the end ----------------------------------------------------------------------------------------------


class Ending(GenStatem[str]):
    """Notes its end."""

    def __init__(self, log: list[Any]) -> None:
        self.log = log
        self.goto("alive")
        self.named_timeout("late", 60.0, self.wait)

    def finish(self, reason: object) -> str:
        self.goto("over")
        raise Exit(reason, reply="farewell")

    async def finish_slowly(self, reason: object) -> str:
        await asyncio.sleep(0)
        return self.finish(reason)

    def leave(self) -> None:
        raise Exit("left")

    def fail(self) -> None:
        self.goto("elsewhere")
        raise ValueError("x")

    async def fail_slowly(self) -> None:
        await asyncio.sleep(0)
        self.fail()

    def wait(self) -> None:
        self.postpone()

    async def hang(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.log.append("finally")

    def enter_badly(self) -> str:
        self.goto("bad")
        return "so far so good"

    async def enter_badly_later(self) -> str:
        await asyncio.sleep(0)
        return self.enter_badly()

    def handle_enter(self, previous: str) -> Any:
        self.log.append(f"{previous}>{self.state}")
        if self.state == "bad":
            raise ValueError("in enter")
        return None

    def terminate(self, reason: object) -> None:
        self.log.append((self.state, reason if isinstance(reason, str) else type(reason).__name__))
        with contextlib.suppress(RuntimeError):
            self.goto("anywhere")
            self.log.append("it is too late for that")


@pytest.mark.parametrize("how", [Ending.finish, Ending.finish_slowly])
def test_a_machine_that_stops_answers_first_and_refuses_what_waits(play: Play, how: Any) -> None:
    async def main(node: Node, world: World) -> None:
        log: list[Any] = []
        ref = await node.start(Ending, log)
        down = asyncio.create_task(node.down(ref.pid))
        waiting = asyncio.create_task(ref.call(Ending.wait))
        await turns()
        last = asyncio.create_task(ref.call(how, "done"))
        behind = asyncio.create_task(ref.call(Ending.leave))
        assert await last == "farewell"
        assert (await down).reason == "done"
        with pytest.raises(CalleeExited, match="ended before it answered: 'done'"):  # its handler had begun
            await waiting
        with pytest.raises(NoProcess):
            await behind
        assert log == ["alive>alive", ("alive", "done")]
        await world.clock.pass_time(10)
        assert world.clock.next_due() is None

    play.one(main)


def test_whatever_ends_a_machine_it_terminates_in_its_state_and_no_timer_is_left(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        for how, expected, error in (
            (Ending.leave, ("alive", "left"), CalleeExited),
            (Ending.fail, ("alive", "ValueError"), RemoteError),
            (Ending.fail_slowly, ("alive", "ValueError"), RemoteError),
            (Ending.enter_badly, ("bad", "ValueError"), None),
            (Ending.enter_badly_later, ("bad", "ValueError"), None),
            (Ending.hang, ("alive", "gone"), CalleeExited),
            (None, ("alive", "gone"), None),
        ):
            log: list[Any] = []
            ref = await node.start(Ending, log)
            down = asyncio.create_task(node.down(ref.pid))
            await turns()
            call: Any = None if how is None else asyncio.create_task(ref.call(how))
            await turns()
            node.exit(ref.pid, "gone")
            await down
            assert log[-1] == expected
            if error is not None:
                with pytest.raises(error):
                    await call
            elif call is not None:
                assert await call == "so far so good"
        await world.clock.pass_time(10)
        assert world.clock.next_due() is None

    play.one(main)


def test_a_machine_that_names_no_state_is_not_started(play: Play) -> None:
    class Stateless(GenStatem[str]):
        pass

    class Reader(GenStatem[str]):
        def __init__(self) -> None:
            print(self.state)

    class Waiter(GenStatem[str]):
        def __init__(self) -> None:
            self.goto("x")
            self.postpone()

    async def main(node: Node, world: World) -> None:
        with pytest.raises(TypeError, match=r"Stateless\.__init__ must name the state"):
            await node.start(Stateless)
        with pytest.raises(RuntimeError, match="no state before"):
            await node.start(Reader)
        with pytest.raises(RuntimeError, match="not in __init__"):
            await node.start(Waiter)
        assert node.processes() == []

    play.one(main)


def test_only_a_handler_decides(play: Play) -> None:
    class Loose(GenStatem[str]):
        def __init__(self) -> None:
            self.wrong: list[str] = []
            self.goto("x")

        async def task(self) -> list[str]:
            return self.wrong

        def handle_enter(self, previous: str) -> None:
            attempts: list[Callable[[], object]] = [
                lambda: self.goto("y"),
                self.postpone,
                self.repeat_state,
                lambda: self.next_event(print),
            ]
            for attempt in attempts:
                try:
                    attempt()
                except RuntimeError as error:
                    self.wrong.append(str(error))

        def bad(self, which: int) -> None:
            if which == 1:
                self.state_timeout(-1.0, print)
            elif which == 2:
                self.named_timeout("x", float("nan"), print)
            elif which == 3:
                self.update_timeout(EVENT_TIMEOUT, print)

    async def main(node: Node, world: World) -> None:
        ref = await node.start(Loose)
        with pytest.raises(RuntimeError, match="only a handler decides"):
            await node.control(ref.pid).run(lambda server: server.goto("z"))  # ahead of the first event
        assert len(await ref.call(Loose.task)) == 4
        with pytest.raises(RuntimeError, match="only a handler decides"):
            await node.control(ref.pid).run(lambda server: server.goto("z"))
        for which, complaint in ((1, "0 seconds or more"), (2, "0 seconds or more"), (3, "start another")):
            ref = await node.start(Loose)
            with pytest.raises(RemoteError, match=complaint):
                await ref.call(Loose.bad, which)

    play.one(main)


def test_the_names_of_the_machine_itself_are_no_events() -> None:
    with pytest.raises(TypeError, match=r"Light\.goto"):

        class Light(GenStatem[str]):
            def goto(self) -> None:  # type: ignore[override]  # which is what it is about
                pass
