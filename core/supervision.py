"""What a supervisor decides: which children to start and to stop, in which order, and when to give up. Pure.

The rules are OTP's (https://www.erlang.org/doc/apps/stdlib/supervisor.html and stdlib's supervisor.erl). A `Supervision`
is the authority over the table of children: their order, what each is (running, stopped, restarting), and the
times of the restarts. The shell tells it what happened, and then does what `next_step` says, one step after the other,
telling the outcome of each, until there is none. What must never happen here: a child is started while it runs, or
started before those that stand before it, or stopped before those that were started after it.

    told: begin, exited, retry, add, terminate, restart, shutdown -> steps: Start, Stop, Retry, Failed, End
    step: Start -> started | start_failed       Stop -> stopped, for each child of it
"""

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, Literal, TypeVar

from .errors import ChildExists, ChildRunning, NoSuchChild, TooManyChildren
from .exits import is_word
from .pid import NORMAL, SHUTDOWN

P = TypeVar("P", bound=Hashable)
Key = Hashable
Strategy = Literal["one_for_one", "one_for_all", "rest_for_one"]
Restart = Literal["permanent", "transient", "temporary"]
AutoShutdown = Literal["never", "any_significant", "all_significant"]


@dataclass(frozen=True, slots=True)
class Rule:
    """How one child is treated when it ends. `spec` is the shell's: how it is started."""

    key: Key
    restart: Restart = "permanent"
    significant: bool = False
    spec: Any = None


@dataclass(slots=True)
class Row(Generic[P]):
    """One child in the table."""

    rule: Rule
    pid: P | None = None
    restarting: bool = False  # its last start failed, and it will be tried again

    @property
    def status(self) -> str:
        return "running" if self.pid is not None else "restarting" if self.restarting else "stopped"


class Action(Enum):
    """What is done about a child that ended by itself, or that could not be started again."""

    RESTART = "restarting"
    LEAVE = "not restarted"  # by its restart type
    AUTO_SHUTDOWN = "shutting down"  # it was significant
    GIVE_UP = "gave up"  # too many restarts in the period


@dataclass(frozen=True, slots=True)
class Verdict:
    """`restarts`: how many there were in the period, this one included."""

    rule: Rule
    action: Action
    restarts: int


# -- steps -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Start:
    """Start this child; then tell `started` or `start_failed`."""

    key: Key


@dataclass(frozen=True, slots=True)
class Stop(Generic[P]):
    """Stop these children, all at once; then tell `stopped` for each."""

    children: tuple[tuple[Key, P], ...]


@dataclass(frozen=True, slots=True)
class Retry:
    """Call `retry` with this child, after what has arrived in the meantime."""

    key: Key


@dataclass(frozen=True, slots=True)
class Failed:
    """This child could not be started, and is not tried again: tell whoever asked for it."""

    key: Key


@dataclass(frozen=True, slots=True)
class End:
    """The supervisor ends, with the reason "shutdown"."""


Step = Start | Stop[P] | Retry | Failed | End


class Purpose(Enum):
    """On whose account children are being started: what becomes of one that cannot be."""

    BEGIN = 1  # all are stopped, and the supervisor does not start
    RESTART = 2  # it is tried again
    ASKED = 3  # whoever asked is told
    ADD = 4  # so too, and it is forgotten


class Supervision(Generic[P]):
    """The children of one supervisor.

    More than `intensity` restarts within `period_s` seconds and the supervisor gives up. `dynamic`: children have no
    order, are all stopped at once, and are forgotten when they end for good; `max_children` of them at most.
    """

    def __init__(
        self,
        strategy: Strategy = "one_for_one",
        *,
        intensity: int = 3,
        period_s: float = 5.0,
        auto_shutdown: AutoShutdown = "never",
        dynamic: bool = False,
        max_children: int | None = None,
    ) -> None:
        self.strategy = strategy
        self.intensity = intensity
        self.period_s = period_s
        self.rows: dict[Key, Row[P]] = {}  # in the order of their start
        self._auto_shutdown = auto_shutdown
        self._dynamic = dynamic
        self._max_children = max_children
        self._keys: dict[P, Key] = {}  # of the children that run
        self._restarts: deque[float] = deque()  # when they were, within the period
        self._plan: deque[Step[P]] = deque()
        self._purpose = Purpose.BEGIN

    # -- what happens --------------------------------------------------------------------------------------

    def begin(self, rules: list[Rule]) -> None:
        """Start the first children, in this order. Raises `ChildExists` when two have one key."""
        for rule in rules:
            self._insert(rule)
        self._start(Purpose.BEGIN, [rule.key for rule in rules])

    def exited(self, pid: P, reason: object, now: float) -> Verdict | None:
        """A process has ended by itself; None when it is no child (any more)."""
        key = self._keys.pop(pid, None)
        if key is None:
            return None
        row = self.rows[key]
        row.pid = None
        restart = row.rule.restart
        if restart == "permanent" or (restart == "transient" and not is_orderly(reason)):
            return self._restart(row, now)
        return self._left(row, now)

    def retry(self, key: Key, now: float) -> Verdict | None:
        """It is the turn of a `Retry`; None when it is no longer wanted."""
        row = self.rows.get(key)
        return self._restart(row, now) if row is not None and row.restarting else None

    def add(self, rule: Rule) -> None:
        """Start one more child, after all others. Raises `ChildExists`, `TooManyChildren`."""
        if self._max_children is not None and len(self.rows) >= self._max_children:
            raise TooManyChildren(
                f"there are {len(self.rows)} children, and max_children is {self._max_children}: nothing happened"
            )
        self._insert(rule)
        self._start(Purpose.ADD, [rule.key])

    def terminate(self, key: Key) -> None:
        """Stop a child on purpose; it stays in the table unless it is temporary. Raises `NoSuchChild`."""
        row = self.row(key)
        row.restarting = False
        if row.pid is not None:
            self._plan.append(Stop(((key, row.pid),)))
        elif self._dynamic:
            del self.rows[key]

    def restart(self, key: Key) -> None:
        """Start a child that was stopped. Raises `NoSuchChild`, `ChildRunning`."""
        self._stopped_row(key, "restart_child")
        self._start(Purpose.ASKED, [key])

    def delete(self, key: Key) -> None:
        """Forget a child that was stopped. Raises `NoSuchChild`, `ChildRunning`."""
        self._stopped_row(key, "delete_child")
        del self.rows[key]

    def shutdown(self) -> None:
        """Stop all, the last first, whatever was being done."""
        self._plan.clear()
        if self._dynamic:
            running = [(key, row.pid) for key, row in self.rows.items() if row.pid is not None]
            self._plan.append(Stop(tuple(running)))
        else:
            self._stop_all(list(self.rows.values()))

    # -- what is to be done --------------------------------------------------------------------------------

    def next_step(self) -> Step[P] | None:
        """What to do now; None: nothing is left."""
        return self._plan.popleft() if self._plan else None

    def started(self, key: Key, pid: P) -> None:
        """The outcome of a `Start`."""
        row = self.rows[key]
        assert row.pid is None, f"{key!r} was started while it runs"
        row.pid, row.restarting = pid, False
        self._keys[pid] = key

    def start_failed(self, key: Key) -> None:
        """The outcome of a `Start`. What was still to be started has to wait."""
        self._plan.clear()
        row = self.rows[key]
        assert row.pid is None, f"{key!r} was started while it runs"
        match self._purpose:
            case Purpose.BEGIN:
                self._stop_all(list(self.rows.values()))
                self._plan.append(Failed(key))
            case Purpose.RESTART:
                row.restarting = True
                self._plan.append(Retry(key))
            case Purpose.ADD:
                del self.rows[key]
                self._plan.append(Failed(key))
            case Purpose.ASKED:
                self._plan.append(Failed(key))

    def stopped(self, key: Key) -> None:
        """The outcome of a `Stop`, for one of its children."""
        row = self.rows[key]
        if row.pid is not None:
            del self._keys[row.pid]
            row.pid = None
        if self._dynamic or row.rule.restart == "temporary":
            del self.rows[key]

    # -- the table -----------------------------------------------------------------------------------------

    def row(self, key: Key) -> Row[P]:
        """One child. Raises `NoSuchChild`."""
        row = self.rows.get(key)
        if row is None:
            raise NoSuchChild(f"there is no child {key!r}: nothing happened")
        return row

    def key_of(self, pid: P) -> Key:
        """The key of a child that runs. Raises `NoSuchChild`."""
        key = self._keys.get(pid)
        if key is None:
            raise NoSuchChild(f"there is no child {pid}: nothing happened")
        return key

    def restarts(self, now: float) -> int:
        """How many restarts there were in the period before `now`."""
        while self._restarts and self._restarts[0] < now - self.period_s:
            self._restarts.popleft()
        return len(self._restarts)

    def _insert(self, rule: Rule) -> None:
        known = self.rows.get(rule.key)
        if known is not None:
            raise ChildExists(
                f"there is a child {rule.key!r} already ({known.status}): give this one another id, as in "
                f'child(...).options(id="..."); nothing happened',
                known.pid,
            )
        self.rows[rule.key] = Row(rule)

    def _stopped_row(self, key: Key, what: str) -> Row[P]:
        row = self.row(key)
        if row.pid is not None or row.restarting:
            raise ChildRunning(
                f"{what}: the child {key!r} is {row.status}: terminate it first; nothing happened", row.pid
            )
        return row

    # -- decisions -----------------------------------------------------------------------------------------

    def _restart(self, row: Row[P], now: float) -> Verdict:
        key = row.rule.key
        self._restarts.append(now)
        restarts = self.restarts(now)
        if restarts > self.intensity:
            row.restarting = False
            self._plan.append(End())
            return Verdict(row.rule, Action.GIVE_UP, restarts)
        if self.strategy == "one_for_one":
            self._start(Purpose.RESTART, [key])
        else:
            rows = list(self.rows.values())
            affected = rows if self.strategy == "one_for_all" else rows[rows.index(row) :]
            self._stop_all(affected)
            # All that stay in the table are started, also those that had ended or were terminated: as OTP does.
            kept = [one.rule.key for one in affected if one.rule.restart != "temporary"]
            self._start(Purpose.RESTART, kept)
        return Verdict(row.rule, Action.RESTART, restarts)

    def _left(self, row: Row[P], now: float) -> Verdict:
        """A child has ended and is not restarted."""
        key = row.rule.key
        if self._dynamic or row.rule.restart == "temporary":
            del self.rows[key]
        ends = row.rule.significant and (
            self._auto_shutdown == "any_significant"
            or (self._auto_shutdown == "all_significant" and not self._significant_left())
        )
        if ends:
            self._plan.append(End())
        return Verdict(row.rule, Action.AUTO_SHUTDOWN if ends else Action.LEAVE, self.restarts(now))

    def _significant_left(self) -> bool:
        return any(
            row.rule.significant and (row.pid is not None or row.restarting) for row in self.rows.values()
        )

    def _start(self, purpose: Purpose, keys: list[Key]) -> None:
        self._purpose = purpose
        self._plan.extend(Start(key) for key in keys)

    def _stop_all(self, rows: list[Row[P]]) -> None:
        """One after the other, the last first. None of them is tried again for its own sake."""
        for row in reversed(rows):
            row.restarting = False
            if row.pid is not None:
                self._plan.append(Stop(((row.rule.key, row.pid),)))


def is_orderly(reason: object) -> bool:
    """Whether a transient child that ended so has done its work: "normal", "shutdown" or ("shutdown", ...)."""
    if isinstance(reason, tuple | list) and len(reason) == 2:
        reason = reason[0]
        return is_word(reason, SHUTDOWN)
    return is_word(reason, NORMAL) or is_word(reason, SHUTDOWN)
