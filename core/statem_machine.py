"""The rules of state machines: which event is next, what a state change does to queues and timeouts. Pure.

A `Machine` is the authority over the state, the events that were postponed, inserted or put back, and the timeouts
that run. Its shell (`statem_cell.py`) hands it events, runs the user's handler, which fills in a `Decision`, and
starts and stops timers as it is told. The rules are those of Erlang's gen_statem
(https://www.erlang.org/doc/apps/stdlib/gen_statem.html#t:transition_option/0):

1. The state changes; if it did, or is repeated, it is entered: the enter call adds to the same decision.
2. A postponed event waits. A change of state puts all that wait, in order, before what is queued.
3. Inserted events come before those, in the order given.
4. Any event ends the event timeout, a change of state ends the state timeout; then timeouts are started, updated and
   cancelled in the order given. One of no time becomes due after all that is queued and before anything from outside.

What must never happen here: an event is lost or handled twice, or a timeout that was cancelled becomes an event.
(Of several actions on one timeout in one decision gen_statem heeds the last alone; here they are done in order, which
differs for an update that follows a start or a cancel.)
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Generic, TypeVar

S = TypeVar("S")
E = TypeVar("E")


class Timeout(Enum):
    """The two timeouts that every machine has; all others go by a name of the user's."""

    STATE = "state timeout"
    EVENT = "event timeout"


Which = Timeout | str


class Keep(Enum):
    """What a decision says when it names no next state."""

    STATE = "keep"


KEEP: Final = Keep.STATE


@dataclass(frozen=True, slots=True)
class Start(Generic[E]):
    """Start a timeout, or start it again: `event` in `delay_s` seconds."""

    which: Which
    delay_s: float
    event: E


@dataclass(frozen=True, slots=True)
class Update(Generic[E]):
    """Another event for a timeout that runs, at the time it had; one that does not run is due at once."""

    which: Which
    event: E


@dataclass(frozen=True, slots=True)
class Cancel:
    """End a timeout, if it runs."""

    which: Which


@dataclass(slots=True)
class Decision(Generic[S, E]):
    """What the handler of one event has decided so far."""

    state: S | Keep = KEEP
    repeated: bool = False
    postponed: bool = False
    inserted: list[E] = field(default_factory=list)
    timeouts: list[Start[E] | Update[E] | Cancel] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Say `fired(which, id)` in `delay_s` seconds."""

    id: int
    which: Which
    delay_s: float


@dataclass(frozen=True, slots=True)
class DropTimer:
    """That timer is not needed any more. (If it fires all the same, `fired` does not heed it.)"""

    id: int


Effect = SetTimer | DropTimer


@dataclass(slots=True)
class _Running(Generic[E]):
    id: int
    event: E


class Machine(Generic[S, E]):
    """One machine. For each event: `next` or `fired`, then the handler, `move`, the enter call if due, `commit`."""

    __slots__ = ("_changed", "_due", "_made", "_postponed", "_queue", "_timers", "state")

    def __init__(self, state: S) -> None:
        self.state: S = state
        self._changed = False
        self._queue: list[E] = []  # inserted and put back: before anything from outside; the next one last
        self._due: dict[Which, E] = {}  # timeouts of no time, after the queue
        self._postponed: list[E] = []
        self._timers: dict[Which, _Running[E]] = {}
        self._made = 0

    # -- events --------------------------------------------------------------------------------------------

    def has_next(self) -> bool:
        """Whether an event waits here that comes before anything from outside."""
        return bool(self._queue) or bool(self._due)

    def next(self) -> E:
        """Take the event that comes before anything from outside. Raises `IndexError` when there is none."""
        if not self._queue and self._due:
            return self._due.pop(next(iter(self._due)))
        return self._queue.pop()

    def fired(self, which: Which, timer: int) -> E | None:
        """A timer's time has come: its event, or None when it was cancelled or started again meanwhile."""
        running = self._timers.get(which)
        if running is None or running.id != timer:
            return None
        del self._timers[which]
        return running.event

    # -- decisions -----------------------------------------------------------------------------------------

    def move(self, decision: Decision[S, E]) -> bool:
        """The handler is through. True: the state is entered (again) now, and may add timeouts to the decision."""
        state = decision.state
        if isinstance(state, Keep) or state == self.state:
            self._changed = False
            return decision.repeated
        self.state = state
        self._changed = True
        return True

    def commit(self, event: E, decision: Decision[S, E]) -> list[Effect]:
        """Handler and enter call are through: arrange queues and timeouts. `event` is what was handled."""
        effects: list[Effect] = []
        if decision.postponed:
            self._postponed.append(event)
        if self._changed:
            self._changed = False
            self._queue.extend(reversed(self._postponed))
            self._postponed.clear()
            self._end(Timeout.STATE, effects)
        self._queue.extend(reversed(decision.inserted))
        self._end(Timeout.EVENT, effects)
        for action in decision.timeouts:
            self._act(action, effects)
        return effects

    def keep(self) -> Sequence[Effect]:
        """As `move` and `commit` when the handler has decided nothing."""
        if not self._timers and not self._due:
            return ()
        effects: list[Effect] = []
        self._end(Timeout.EVENT, effects)
        return effects

    def begin(self, decision: Decision[S, E]) -> list[Effect]:
        """As `commit`, for the start: no event was handled."""
        assert not decision.postponed
        self._changed = False
        self._queue.extend(reversed(decision.inserted))
        effects: list[Effect] = []
        for action in decision.timeouts:
            self._act(action, effects)
        return effects

    def _act(self, action: Start[E] | Update[E] | Cancel, effects: list[Effect]) -> None:
        which = action.which
        if isinstance(action, Update):
            if which in self._timers:
                self._timers[which].event = action.event
            else:
                self._due[which] = action.event  # keeps its place when it is due already
            return
        self._end(which, effects)
        if isinstance(action, Cancel):
            return
        if action.delay_s <= 0:
            self._due[which] = action.event
            return
        self._made += 1
        self._timers[which] = _Running(self._made, action.event)
        effects.append(SetTimer(self._made, which, action.delay_s))

    def _end(self, which: Which, effects: list[Effect]) -> None:
        self._due.pop(which, None)
        running = self._timers.pop(which, None)
        if running is not None:
            effects.append(DropTimer(running.id))

    # -- the end and the look from outside -----------------------------------------------------------------

    def close(self) -> tuple[list[E], list[Effect]]:
        """The machine ends: the events that will never be handled, and the timers to drop."""
        events = [*reversed(self._queue), *self._postponed]
        effects: list[Effect] = [DropTimer(running.id) for running in self._timers.values()]
        self._queue.clear()
        self._postponed.clear()
        self._due.clear()
        self._timers.clear()
        return events, effects

    @property
    def postponed(self) -> tuple[E, ...]:
        """What waits for a change of state, oldest first."""
        return tuple(self._postponed)

    @property
    def timeouts(self) -> tuple[Which, ...]:
        """The timeouts that run or are due."""
        return (*self._timers, *self._due)
