"""State machines given as tables, made from a number: for our GenStatem and for Erlang's gen_statem to play.

What a machine does is looked up by its state and the kind of the event: "cast", "call", "info", "internal", or the name of
the timeout that rang. Where there are two reactions they take turns, by the number of the event: a machine counts the
events that it has handled. After `EVENTS_LIMIT` of them it does nothing any more, so that each comes to rest.

What is made within the handling of event n (0: the start) has a label of its own, 16 n and something: it says which start
of a timeout has rung. Later labels are greater.

Left out, since ours differs on purpose or has no such thing: several actions on one timeout in one decision of which the
last is an update (see `core/statem_machine.py`), an update of the event timeout, events inserted that are not internal, a
state that is changed and repeated at once, hibernation, absolute times, changes of the callback module.
"""

from dataclasses import dataclass, fields, is_dataclass
from random import Random
from typing import Literal

MACHINES = 300
EVENTS_LIMIT = 40

OUTSIDE = ("cast", "call", "info")
TIMEOUTS = ("state", "event", "one", "two")
OF_ENTERING = "three"  # no handler but the enter call touches this one, so it can be updated there
KINDS = (*OUTSIDE, "internal", *TIMEOUTS, OF_ENTERING)


@dataclass(frozen=True)
class Action:
    """On one timeout: "start" it in so many seconds, "update" or "cancel" it."""

    what: str
    which: str
    delay_s: int = 0


@dataclass(frozen=True)
class Reaction:
    """What the handler of one event decides."""

    move: int | Literal["keep", "repeat"] = "keep"
    postpone: bool = False
    inserts: int = 0  # so many internal events
    actions: tuple[Action, ...] = ()
    answer: Literal["value", "error", "later", "early"] = "value"  # to a call; "early" even if postponed
    pays: bool = False  # those who wait for a later answer
    stop: str | None = None  # the reason; "crash": by an error
    farewell: bool = False  # the call is answered by a machine that stops


@dataclass(frozen=True)
class Entering:
    """What an enter call decides."""

    actions: tuple[Action, ...] = ()
    pays: bool = False
    stop: str | None = None


@dataclass(frozen=True)
class Step:
    """From outside: an event, "pass" of time, "hold" so that what comes waits, "release"."""

    what: str
    seconds: int = 0


@dataclass(frozen=True)
class Table:
    """A machine and what it is sent. The content of an event from outside is the number of its step."""

    slow: bool  # ours only: handlers are coroutines
    enters: bool
    first: int
    start: Reaction  # its inserts and actions are the start's
    reactions: dict[tuple[int, str], tuple[Reaction, ...]]
    entering: dict[int, Entering]
    steps: tuple[Step, ...]

    def reaction(self, state: int, kind: str, number: int) -> Reaction:
        choice = self.reactions.get((state, kind), (Reaction(),))
        return choice[number % len(choice)] if number <= EVENTS_LIMIT else Reaction()


def table_of(number: int) -> Table:
    """The machine of that number, always the same."""
    draw = Random(number)
    states = range(draw.randint(1, 4))
    return Table(
        slow=draw.random() < 0.3,
        enters=draw.random() < 0.7,
        first=draw.choice(states),
        start=Reaction(inserts=_few(draw), actions=_actions(draw, TIMEOUTS)),
        reactions={
            (state, kind): tuple(_reaction(draw, kind, states) for _ in range(draw.choice((1, 1, 2))))
            for state in states
            for kind in KINDS
            if draw.random() < 0.8
        },
        entering={state: _entering(draw) for state in states},
        steps=_steps(draw),
    )


def _reaction(draw: Random, kind: str, states: range) -> Reaction:
    moves: list[int | Literal["keep", "repeat"]] = ["keep", "keep", "repeat", *states]
    return Reaction(
        move=draw.choice(moves),
        postpone=draw.random() < 0.25,
        inserts=_few(draw) if kind != "internal" or draw.random() < 0.2 else 0,  # few go on for ever
        actions=_actions(draw, TIMEOUTS),
        answer=draw.choice(("value", "value", "error", "later", "early")),
        pays=draw.random() < 0.2,
        stop=draw.choice(("normal", "shutdown", "boom", "crash")) if draw.random() < 0.03 else None,
        farewell=draw.random() < 0.5,
    )


def _entering(draw: Random) -> Entering:
    actions = _actions(draw, TIMEOUTS)
    return Entering(
        actions=tuple(action for action in actions if action.what != "update")
        + _actions(draw, (OF_ENTERING,)),
        pays=draw.random() < 0.2,
        stop="entered" if draw.random() < 0.02 else None,
    )


def _few(draw: Random) -> int:
    return draw.choice((0, 0, 0, 0, 1, 2))


def _actions(draw: Random, which: tuple[str, ...]) -> tuple[Action, ...]:
    actions: list[Action] = []
    for _ in range(draw.choice((0, 0, 1, 1, 2, 3))):
        action = Action(
            draw.choice(("start", "start", "start", "update", "cancel")),
            draw.choice(which),
            draw.choice((0, 0, 1, 2, 3)),
        )
        touched = {"event", *(each.which for each in actions)}
        if action.what != "update" or action.which not in touched:
            actions.append(action)
    return tuple(actions)


def _steps(draw: Random) -> tuple[Step, ...]:
    steps: list[Step] = []
    while len(steps) < 12:
        some = [_step(draw) for _ in range(draw.randint(1, 4))]
        steps += [Step("hold"), *some, Step("release")] if draw.random() < 0.4 else some
    return tuple(steps)


def _step(draw: Random) -> Step:
    if draw.random() < 0.3:
        return Step("pass", draw.randint(1, 3))
    return Step(draw.choice(OUTSIDE))


def erlang(term: object) -> str:
    """As Erlang writes it: a text is an atom, a record a tuple of its fields, a tuple a list."""
    match term:
        case bool():
            return str(term).lower()
        case None:
            return "none"
        case int():
            return str(term)
        case str():
            return f"'{term}'"
        case dict():
            return "#{" + ", ".join(f"{erlang(key)} => {erlang(value)}" for key, value in term.items()) + "}"
        case tuple():
            return "[" + ", ".join(map(erlang, term)) + "]"
    assert is_dataclass(term)
    return "{" + ", ".join(erlang(getattr(term, field.name)) for field in fields(term)) + "}"
