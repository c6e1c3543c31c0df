"""What gen_statem's manual says that a state machine does, as one plain program; and programs for it to be tested with.

The n-th event that is handled is answered with the n-th `Reaction`, whatever the event is, so a program is a list of steps
from outside and a list of reactions. What happened is a trace: ("enter", previous, state), ("event", label, state).
"""

from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from quorate.core.statem_machine import Timeout, Which

Trace = list[tuple[str, Any, Any]]


@dataclass(frozen=True)
class Action:
    """What a reaction does with one timeout: "start" (in `delay` seconds), "update" or "cancel"."""

    what: str
    which: Which
    delay: int


@dataclass(frozen=True)
class Reaction:
    """What a handler decides."""

    state: int | None = None
    repeat: bool = False
    postpone: bool = False
    insert: int = 0  # so many events
    actions: tuple[Action, ...] = ()
    on_enter: tuple[Action, ...] = ()  # by the enter call, if it leads to one
    takes: int = 0  # seconds that the handler runs


@dataclass(frozen=True)
class Program:
    """`steps`: a number is that many seconds, None an event from outside."""

    steps: tuple[int | None, ...]
    reactions: tuple[Reaction, ...]

    def reaction(self, number: int) -> Reaction:
        return self.reactions[number] if number < len(self.reactions) else Reaction()


@dataclass
class Model:
    """The manual's rules. `outside` is what was received and not handled, timeouts that have fired among it."""

    program: Program
    state: int = 0
    now: int = 0
    handled: int = 0
    trace: Trace = field(default_factory=list)
    outside: list[Any] = field(default_factory=list)
    queue: list[str] = field(default_factory=list)
    postponed: list[str] = field(default_factory=list)
    running: dict[Which, tuple[int, int, str]] = field(default_factory=dict)  # due, in order of start, label
    at_once: list[tuple[Which, str]] = field(default_factory=list)
    started: int = 0

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
        """Time passes: what is due is received, in the order in which it was due."""
        self.now += 1
        due = sorted(
            (when, order, which) for which, (when, order, _) in self.running.items() if when == self.now
        )
        self.outside += [which for _, _, which in due]

    def handle_all(self) -> None:
        while self.queue or self.at_once or self.outside:
            if self.queue:
                self.handle(self.queue.pop(0))
            elif self.at_once:
                self.handle(self.at_once.pop(0)[1])
            else:
                event = self.outside.pop(0)
                self.handle(self.running.pop(event)[2] if event in self.running else event)

    def handle(self, label: str) -> None:
        number, self.handled = self.handled, self.handled + 1
        reaction = self.program.reaction(number)
        self.trace.append(("event", label, self.state))
        for _ in range(reaction.takes):
            self.second()
        previous, actions = self.state, reaction.actions
        if reaction.state is not None:
            self.state = reaction.state
        changed = self.state != previous
        if changed or reaction.repeat:
            self.trace.append(("enter", previous, self.state))
            actions += reaction.on_enter
        if reaction.postpone:
            self.postponed.append(label)
        if changed:
            self.queue = self.postponed + self.queue
            self.postponed = []
            self.cancel(Timeout.STATE)
        self.queue = [f"inserted {number}.{each}" for each in range(reaction.insert)] + self.queue
        self.cancel(Timeout.EVENT)
        for each, action in enumerate(actions):
            self.act(action, f"timeout {number}.{each}")

    def act(self, action: Action, label: str) -> None:
        which = action.which
        if action.what == "update":
            if which in self.running:
                due, order, _ = self.running[which]
                self.running[which] = (due, order, label)
            elif any(waiting == which for waiting, _ in self.at_once):
                self.at_once = [(w, label if w == which else old) for w, old in self.at_once]
            else:
                self.at_once.append((which, label))
            return
        self.cancel(which)
        if action.what == "start" and action.delay == 0:
            self.at_once.append((which, label))
        elif action.what == "start":
            self.started += 1
            self.running[which] = (self.now + action.delay, self.started, label)

    def cancel(self, which: Which) -> None:
        """Also one that has fired and was not handled is no more."""
        self.running.pop(which, None)
        self.outside = [event for event in self.outside if event != which]
        self.at_once = [(waiting, label) for waiting, label in self.at_once if waiting != which]


WHICH = st.sampled_from([Timeout.STATE, Timeout.EVENT, "one", "two"])
ACTIONS = st.lists(
    st.builds(
        Action, st.sampled_from(["start", "start", "update", "cancel"]), WHICH, st.integers(0, 3)
    ).filter(lambda action: not (action.what == "update" and action.which is Timeout.EVENT)),
    max_size=3,
).map(tuple)


def programs(takes: int) -> st.SearchStrategy[Program]:
    """Programs whose handlers take up to `takes` seconds."""
    reaction = st.builds(
        Reaction,
        state=st.sampled_from([None, None, 0, 1, 2]),
        repeat=st.sampled_from([False, False, True]),
        postpone=st.sampled_from([False, False, True]),
        insert=st.sampled_from([0, 0, 1, 2]),
        actions=ACTIONS,
        on_enter=ACTIONS,
        takes=st.integers(0, takes),
    )
    return st.builds(
        Program,
        st.lists(st.one_of(st.none(), st.integers(1, 3)), max_size=12).map(tuple),
        st.lists(reaction, max_size=20).map(tuple),
    )
