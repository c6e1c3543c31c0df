"""The rules of state machines against a model of gen_statem's manual."""

from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings

from quorate.core.statem_machine import (
    Cancel,
    Decision,
    Effect,
    Machine,
    SetTimer,
    Start,
    Timeout,
    Update,
    Which,
)
from tests.core.statem_model import Action, Model, Program, Reaction, Trace, programs


class Shell:
    """The smallest shell that a machine can have: seconds, a list of timers, a list of what came from outside."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.machine: Machine[int, str] = Machine(0)
        self.outside: list[Any] = []
        self.timers: dict[int, tuple[int, SetTimer]] = {}
        self.trace: Trace = []
        self.now = 0
        self.handled = 0

    def run(self) -> Trace:
        self.trace.append(("enter", 0, 0))
        for number, step in enumerate(self.program.steps):
            if step is None:
                self.outside.append(f"outside {number}")
                self.handle_all()
            else:
                for _ in range(step):
                    self.second()
                    self.handle_all()
        return self.trace

    def second(self) -> None:
        self.now += 1
        for due, timer in list(self.timers.values()):
            if due == self.now:
                del self.timers[timer.id]
                self.outside.append(timer)

    def handle_all(self) -> None:
        while True:
            if self.machine.has_next():
                self.handle(self.machine.next())
            elif self.outside:
                item = self.outside.pop(0)
                event = self.machine.fired(item.which, item.id) if isinstance(item, SetTimer) else item
                if event is not None:
                    self.handle(event)
            else:
                return

    def handle(self, label: str) -> None:
        number, self.handled = self.handled, self.handled + 1
        reaction = self.program.reaction(number)
        previous = self.machine.state
        self.trace.append(("event", label, previous))
        for _ in range(reaction.takes):
            self.second()
        if reaction == Reaction(takes=reaction.takes):
            self.perform(self.machine.keep())
            return
        decision = decided(reaction, number)
        if self.machine.move(decision):
            self.trace.append(("enter", previous, self.machine.state))
            decision.timeouts += timeouts(reaction.on_enter, number, len(reaction.actions))
        self.perform(self.machine.commit(label, decision))

    def perform(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, SetTimer):
                assert effect.id not in self.timers
                self.timers[effect.id] = (self.now + int(effect.delay_s), effect)
            else:
                self.timers.pop(effect.id, None)


def decided(reaction: Reaction, number: int) -> Decision[int, str]:
    decision: Decision[int, str] = Decision(
        repeated=reaction.repeat,
        postponed=reaction.postpone,
        inserted=[f"inserted {number}.{each}" for each in range(reaction.insert)],
        timeouts=timeouts(reaction.actions, number, 0),
    )
    if reaction.state is not None:
        decision.state = reaction.state
    return decision


def timeouts(actions: tuple[Action, ...], number: int, first: int) -> list[Start[str] | Update[str] | Cancel]:
    made: list[Start[str] | Update[str] | Cancel] = []
    for each, action in enumerate(actions, first):
        label = f"timeout {number}.{each}"
        match action.what:
            case "start":
                made.append(Start(action.which, action.delay, label))
            case "update":
                made.append(Update(action.which, label))
            case _:
                made.append(Cancel(action.which))
    return made


@settings(max_examples=500, deadline=None)
@given(programs(takes=2))
def test_a_machine_does_what_the_manual_of_gen_statem_says(program: Program) -> None:
    model, shell = Model(program), Shell(program)
    assert shell.run() == model.run()
    assert list(shell.machine.postponed) == model.postponed
    known: set[Which] = set(shell.machine.timeouts)
    assert known == {*model.running, *(which for which, _ in model.at_once)}
    assert {timer.which for _, timer in shell.timers.values()} <= known


def test_no_timer_is_left_when_the_machine_is_closed() -> None:
    machine: Machine[str, str] = Machine("on")
    decision: Decision[str, str] = Decision(
        postponed=True,
        inserted=["next"],
        timeouts=[Start(Timeout.STATE, 1, "late"), Start("named", 2, "later"), Start("now", 0, "soon")],
    )
    assert not machine.move(decision)
    made = machine.commit("first", decision)
    events, effects = machine.close()
    assert events == ["next", "first"]
    assert [effect.id for effect in effects] == [effect.id for effect in made]
    assert not machine.has_next()
    assert machine.timeouts == ()
    assert machine.close() == ([], [])
