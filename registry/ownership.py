"""How a host gains, keeps, hands over and gives up one singleton: a pure state machine, one per name and host.

The store is the authority over who owns: an ownership begins with the revision at which the store put this host's
record (that revision is the *fence*) and ends when the record is changed or removed. This machine follows what it is
told of the store, in order of revisions, and says what to do next. What must never happen here: a process that acts
although the store may have given the name to somebody else; two processes of one name on one host.

    IDLE ─ Acquire ─> ACQUIRING ─ ours ─> RUNNING ─ assigned elsewhere ─> LEAVING ─ prepared ─> COMMITTING ─> IDLE
                                          │  ^                              │ failed   │          │ unknown
                                          │  └────────── Resume ────────────┴──────────┘          v
                                          │  └─────────────────── under a new fence ────────── DOUBTFUL ─> IDLE
                                          └─ crashed ─> RELEASING ─> IDLE
    session lost: anything that has a process goes to PARKING, then IDLE.

The process handles messages in RUNNING only. A commit whose outcome is unknown may still be carried out later, so its
owner must not simply resume: it first renews its own record (`Reclaim`), after which the old commit can only fail. That
makes a new fence; it is the only way an ownership goes on under another one.

Every method takes the time in seconds and returns the effects to perform, in order.
"""

from dataclasses import dataclass
from enum import Enum

from quorate.core import Pid

from .routing import Owner

FIRST_DELAY_S = 0.1
MAX_DELAY_S = 5.0
STEADY_S = 10.0  # a process that ran for so long has started well: the next failure counts as the first


@dataclass(frozen=True, slots=True)
class Own:
    """Who owns a singleton, as the store says. `fence` is the revision that made it so.

    `after` is the fence of the ownership that was handed over for this one (0: none was), and `attempt` which of the
    attempts to hand that over has succeeded.
    """

    node: str
    creation: int
    host: Pid
    after: int = 0
    attempt: int = 0
    fence: int = 0
    session: int = 0

    @property
    def owner(self) -> Owner:
        return Owner(self.host, self.fence)


@dataclass(frozen=True, slots=True)
class Target:
    """The node that a singleton is assigned to: its host, when its session is known to live."""

    node: str
    host: Pid | None = None


@dataclass(frozen=True, slots=True)
class Acquire:
    """Become the owner, if nobody is and the assignment has not changed. Then: `acquired` or `acquire_failed`."""

    op: int
    session: int
    assigned_revision: int


@dataclass(frozen=True, slots=True)
class Start:
    """Start the process, gated by this ownership's session, and let it take over. Then: `started` or `exited`."""

    own: Own


@dataclass(frozen=True, slots=True)
class HandOver:
    """Hold the mailbox and let the process hand over. Then: `handed_over`, `stayed` or `exited`."""

    fence: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Prepare:
    """Send the state that was handed over to the target. Then: `prepared` or `prepare_failed`."""

    fence: int
    attempt: int
    target: Pid


@dataclass(frozen=True, slots=True)
class Commit:
    """Make the target the owner, if this ownership and the target's session live. Then one of the `commit_`s."""

    fence: int
    attempt: int
    target: Pid
    target_session: int


@dataclass(frozen=True, slots=True)
class Reclaim:
    """Renew this host's own record. Then: `reclaimed` or `reclaim_failed`."""

    fence: int
    session: int


@dataclass(frozen=True, slots=True)
class Renewed:
    """The ownership goes on under a new fence."""

    own: Own


@dataclass(frozen=True, slots=True)
class Resume:
    """The process takes its own state back and goes on with its mailbox. Then: nothing, or `exited`."""

    fence: int


@dataclass(frozen=True, slots=True)
class Abandon:
    """Tell the target to forget what was prepared there."""

    fence: int
    attempt: int
    target: Pid


@dataclass(frozen=True, slots=True)
class Depart:
    """The ownership has moved: stop the process, its unhandled messages go to the new owner."""

    fence: int
    to: Owner


@dataclass(frozen=True, slots=True)
class Ended:
    """The ownership is over (or will be in a moment) and its process is dead: unhandled messages go back."""

    fence: int


@dataclass(frozen=True, slots=True)
class Release:
    """Remove this host's own record, if it is still that. Then: `released` or `release_failed`."""

    op: int
    fence: int


@dataclass(frozen=True, slots=True)
class Park:
    """The session is lost: stop what runs, keep the state for later (if `started`). Then: `parked`."""

    fence: int
    started: bool


@dataclass(frozen=True, slots=True)
class Retire:
    """Let the process hand over into the checkpoint and give the ownership up. Then: `retired` or `exited`."""

    fence: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Call `woken` after so many seconds."""

    delay_s: float


Effect = (
    Acquire
    | Start
    | HandOver
    | Prepare
    | Commit
    | Reclaim
    | Renewed
    | Resume
    | Abandon
    | Depart
    | Ended
    | Release
    | Park
    | Retire
    | Wait
)


class Phase(Enum):
    IDLE = "idle"
    ACQUIRING = "acquiring"
    RUNNING = "running"
    LEAVING = "leaving"
    COMMITTING = "committing"
    DOUBTFUL = "doubtful"
    RETIRING = "retiring"
    RELEASING = "releasing"
    PARKING = "parking"


_HAS_PROCESS = frozenset({Phase.RUNNING, Phase.LEAVING, Phase.COMMITTING, Phase.DOUBTFUL, Phase.RETIRING})


class Ownership:
    """The state machine of one name on the host `me`. `where` is where the singleton was last assigned to."""

    def __init__(self, me: Pid) -> None:
        self.me = me
        self.phase = Phase.IDLE
        self.fence = 0  # of the ownership that this host has a process for, or is about to remove
        self.started = False
        self.session = 0
        self.where: Target | None = None
        self.where_revision = 0
        self.own: Own | None = None
        self.own_revision = 0  # the store's revision at which `own` held
        self.closing = False
        self._done = 0  # ownerships of this host up to this fence are over, whatever the store says for now
        self._op = 0
        self._attempt = 0
        self._target: Pid | None = None
        self._failures = 0
        self._not_before = float("-inf")
        self._move_failures = 0
        self._move_not_before = float("-inf")
        self._started_at = 0.0

    @property
    def attempt(self) -> int:
        """How often this host has tried to hand the singleton over."""
        return self._attempt

    @property
    def target(self) -> Pid | None:
        """The host that it is being handed over to."""
        return self._target

    # What the store and the session say

    def session_opened(self, session: int, now: float) -> list[Effect]:
        """This node has a session."""
        self.session = session
        return self._next(now)

    def session_lost(self, session: int, now: float) -> list[Effect]:
        """The session may be gone: nothing more may be done in its name."""
        if session != self.session:
            return []
        self.session = 0
        if self.phase in _HAS_PROCESS:
            return self._park()
        if self.phase is not Phase.PARKING:
            self.phase = Phase.IDLE
        return []

    def assigned(self, where: Target | None, revision: int, now: float) -> list[Effect]:
        """The store said at `revision` where the singleton should be; or what is known of that node has changed."""
        if revision < self.where_revision:
            return []
        self.where, self.where_revision = where, revision
        return self._next(now)

    def own_seen(self, own: Own | None, revision: int, now: float) -> list[Effect]:
        """The store said at `revision` who owns. What is older than known is ignored."""
        if revision >= self.own_revision:
            self.own, self.own_revision = own, revision
        return self._next(now)

    def woken(self, now: float) -> list[Effect]:
        """The delay of a `Wait` is over. Harmless at any time."""
        if self.phase is Phase.DOUBTFUL:
            return [Reclaim(self.fence, self.session)]
        if self.phase is Phase.RELEASING:
            return self._release()
        return self._next(now)

    # What became of effects

    def acquired(self, op: int, own: Own | None, revision: int, now: float) -> list[Effect]:
        """The store has answered `Acquire`: this is who owns now."""
        if self.phase is Phase.ACQUIRING and op == self._op:
            self.phase = Phase.IDLE
            if own is None or own.host != self.me:
                self._back_off(now, FIRST_DELAY_S)
        return self.own_seen(own, revision, now)

    def acquire_failed(self, op: int, now: float) -> list[Effect]:
        """Nothing is known of what became of `Acquire`; if it is carried out, the store will say so."""
        if self.phase is not Phase.ACQUIRING or op != self._op:
            return []
        self.phase = Phase.IDLE
        self._back_off(now)
        return self._next(now)

    def process_started(self, fence: int, now: float) -> list[Effect]:
        """The process has taken over, and handles messages."""
        if self.phase is not Phase.RUNNING or fence != self.fence:
            return []
        self.started = True
        self._started_at = now
        return self._next(now)

    def exited(self, fence: int, now: float) -> list[Effect]:
        """The process of this ownership is dead, or could not be started."""
        if self.phase not in _HAS_PROCESS or fence != self.fence:
            return []
        if self.started and now - self._started_at >= STEADY_S:
            self._failures = 0
        self._back_off(now)
        return [*self._abandon(), Ended(fence), *self._release()]

    def handed_over(self, fence: int, attempt: int, now: float) -> list[Effect]:
        """The process is held and has handed its state over."""
        if not self._leaving(fence, attempt):
            return []
        target = self._target
        if target is None or self.where is None or self.where.host != target:
            return self._resume(now)
        return [Prepare(fence, attempt, target)]

    def stayed(self, fence: int, attempt: int, now: float) -> list[Effect]:
        """The process did not come to hand over in time: it goes on as if nothing had happened."""
        if self._leaving(fence, attempt):
            self.phase = Phase.RUNNING
            self._back_off_move(now)
            return self._next(now)
        return []

    def prepared(self, fence: int, attempt: int, session: int, now: float) -> list[Effect]:
        """The target has the state, under this session of its."""
        if not self._leaving(fence, attempt):
            return []
        assert self._target is not None
        self.phase = Phase.COMMITTING
        return [Commit(fence, attempt, self._target, session)]

    def prepare_failed(self, fence: int, attempt: int, now: float) -> list[Effect]:
        """The target does not answer, or cannot have it."""
        return self._resume(now) if self._leaving(fence, attempt) else []

    def commit_answered(self, fence: int, own: Own | None, revision: int, now: float) -> list[Effect]:
        """The store has answered `Commit`: this is who owns now."""
        effects = self.own_seen(own, revision, now)
        if self.phase is Phase.COMMITTING and fence == self.fence:
            assert self.own is not None and self.own.fence == fence, "an ownership ended without a word"
            return effects + self._resume(now)
        return effects

    def commit_failed(self, fence: int, now: float, *, unknown: bool) -> list[Effect]:
        """Nothing came of `Commit`; or, `unknown`, it may have been carried out, or may yet be."""
        if self.phase is not Phase.COMMITTING or fence != self.fence:
            return []
        if not unknown:
            return self._resume(now)
        self.phase = Phase.DOUBTFUL
        return [Reclaim(fence, self.session)]

    def reclaimed(self, own: Own | None, revision: int, now: float) -> list[Effect]:
        """The store has answered `Reclaim`: this is who owns now."""
        return self.own_seen(own, revision, now)

    def reclaim_failed(self, fence: int, now: float) -> list[Effect]:
        """Nothing is known of what became of `Reclaim`."""
        return [Wait(FIRST_DELAY_S)] if self.phase is Phase.DOUBTFUL and fence == self.fence else []

    def released(self, op: int, own: Own | None, revision: int, now: float) -> list[Effect]:
        """The store has answered `Release`: this is who owns now."""
        if self.phase is Phase.RELEASING and op == self._op:
            self.phase = Phase.IDLE
        return self.own_seen(own, revision, now)

    def release_failed(self, op: int, now: float) -> list[Effect]:
        """Nothing is known of what became of `Release`."""
        return [Wait(FIRST_DELAY_S)] if self.phase is Phase.RELEASING and op == self._op else []

    def parked(self, fence: int, now: float) -> list[Effect]:
        """The process is dead, its state is kept."""
        if self.phase is not Phase.PARKING or fence != self.fence:
            return []
        self.phase = Phase.IDLE
        return self._next(now)

    def close(self, now: float) -> list[Effect]:
        """Acquire nothing any more, and give up what runs: its state goes into the checkpoint."""
        self.closing = True
        return self._next(now)

    def retired(self, fence: int, own: Own | None, revision: int, now: float) -> list[Effect]:
        """The process is dead and the ownership was given up with it."""
        if self.phase is Phase.RETIRING and fence == self.fence:
            self._done = fence
            self.phase = Phase.IDLE
        return self.own_seen(own, revision, now)

    # Inside

    def _next(self, now: float) -> list[Effect]:
        """What follows from all that is known."""
        if self.phase is Phase.IDLE:
            return self._from_idle(now)
        if self.phase not in _HAS_PROCESS or self.own_revision < self.fence:
            return []
        if self.own is None or self.own.fence != self.fence:
            return self._superseded(now)
        if self.phase is Phase.RUNNING and self.started:
            return self._from_running(now)
        return []

    def _from_idle(self, now: float) -> list[Effect]:
        own = self.own
        if not self.session:
            return []
        if own is not None:
            if own.host != self.me or own.session != self.session:
                return []
            if own.fence <= self._done:
                self.fence = own.fence
                return self._release()
            self.phase, self.fence, self.started = Phase.RUNNING, own.fence, False
            return [Start(own)]
        if self.closing or self.where is None or self.where.host != self.me:
            return []
        if now < self._not_before:
            return [Wait(self._not_before - now)]
        self.phase = Phase.ACQUIRING
        self._op += 1
        return [Acquire(self._op, self.session, self.where_revision)]

    def _from_running(self, now: float) -> list[Effect]:
        if self.closing:
            self.phase = Phase.RETIRING
            return [Retire(self.fence)]
        where = self.where
        if where is None or where.host is None or where.host == self.me:
            return []
        if now < self._move_not_before:
            return [Wait(self._move_not_before - now)]
        self.phase = Phase.LEAVING
        self._target = where.host
        self._attempt += 1
        return [HandOver(self.fence, self._attempt)]

    def _superseded(self, now: float) -> list[Effect]:
        """The store has another record than the one that this host's process stands for."""
        own = self.own
        if self.phase in (Phase.COMMITTING, Phase.DOUBTFUL) and own is not None and own.after == self.fence:
            if own.host != self.me:
                self._done, self.phase = self.fence, Phase.IDLE
                self._move_failures = 0
                return [Depart(self.fence, own.owner), *self._next(now)]
            self.fence = own.fence
            return [Renewed(own), *self._resume(now)]
        return self._park()

    def _leaving(self, fence: int, attempt: int) -> bool:
        return self.phase is Phase.LEAVING and fence == self.fence and attempt == self._attempt

    def _resume(self, now: float) -> list[Effect]:
        """Hand over no more for now: the same process goes on."""
        self.phase = (
            Phase.RUNNING
        )  # whatever was sent to the store is known to have failed, or can only fail now
        effects = self._abandon()
        self._back_off_move(now)
        return [*effects, Resume(self.fence), *self._next(now)]

    def _abandon(self) -> list[Effect]:
        """What the target holds is of no use any more; unless a commit may have succeeded, or may yet."""
        target, self._target = self._target, None
        if target is None or self.phase in (Phase.COMMITTING, Phase.DOUBTFUL):
            return []
        return [Abandon(self.fence, self._attempt, target)]

    def _release(self) -> list[Effect]:
        self._done = self.fence
        self.phase = Phase.RELEASING
        self._op += 1
        return [Release(self._op, self.fence)]

    def _park(self) -> list[Effect]:
        effects = self._abandon()
        self._done = self.fence
        self.phase = Phase.PARKING
        return [*effects, Park(self.fence, self.started)]

    def _back_off(self, now: float, delay_s: float | None = None) -> None:
        if delay_s is None:
            delay_s = min(MAX_DELAY_S, FIRST_DELAY_S * 2.0**self._failures)
            self._failures = min(self._failures + 1, 16)
        self._not_before = now + delay_s

    def _back_off_move(self, now: float) -> None:
        self._move_not_before = now + min(MAX_DELAY_S, FIRST_DELAY_S * 2.0**self._move_failures)
        self._move_failures = min(self._move_failures + 1, 16)
