"""The `memory` engine: the store without replication, for tests and for programs of a single process.

`MemoryBackend` (see `memory_authority.py`) is the authority over keys and sessions. `MemoryStore` is one
node's end of it and owns that node's view, which follows the authority a loop turn later, as a replica would,
and stands still while the node is cut off. One process, one loop. Nothing survives the process.

What must never happen here: a callback that runs inside a call of the user's. All of them run from the loop.

For tests of programs that have many nodes::

    backend = MemoryBackend(Timing.local(), entropy)
    a = backend.connect("a@127.0.0.1:1", 1, clock_of_a)      # the first that is connected leads
    b = backend.connect("b@127.0.0.1:2", 1, clock_of_b)
    b.disconnect()               # b is in the minority: NoQuorum, its session runs out, its cache ages
    b.connect_again()            # it hears of what it missed, and opens a new session if it has to
    a.crash()                    # as SIGKILL: its session lasts until the others' clock ends it
    a = backend.connect("a@127.0.0.1:1", 2, clock_of_a)      # started again: the old session ends at once

`suspend_keepalives`, `resume_keepalives` and `lose_next_reply` cause the rarer troubles.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence

from quorate.core import Clock, Entropy, Timer, timeout

from .commands import CloseSession, OpenSession, Request, Txn, encode
from .errors import NoQuorum, OutcomeUnknown, StoreStopped
from .keyspace import KeySpace
from .machine import Outcome, Status, error_of
from .memory_authority import MemoryAuthority
from .node_session import NodeSession
from .sessions import HolderSession
from .store import (
    NO_SESSION,
    Cached,
    Compare,
    Event,
    KeyValue,
    Op,
    SessionInfo,
    StoreStatus,
    Timing,
    TxnResult,
)
from .watches import Subscribers, Subscription, WatchCallback, Watches, difference

logger = logging.getLogger("quorate.consensus")


class MemoryBackend(MemoryAuthority):
    """What the stores of one imaginary cluster share. Make stores with `connect`."""

    def __init__(self, timing: Timing, entropy: Entropy) -> None:
        super().__init__(entropy)
        self.timing = timing
        self._entropy = entropy

    def connect(self, holder: str, creation: int, clock: Clock) -> "MemoryStore":
        """A node starts. `creation` counts the starts of the node `holder`; a higher one replaces a lower."""
        return MemoryStore(clock, self._entropy, holder, self.timing, creation=creation, backend=self)


class MemoryStore:
    """One node's `Store`. Without a `backend` it is alone with one of its own.

    Has to be made on a running loop. `holder` is the name of the node, `creation` the number of its start.
    """

    def __init__(
        self,
        clock: Clock,
        entropy: Entropy,
        holder: str,
        timing: Timing | None = None,
        *,
        creation: int = 1,
        backend: MemoryBackend | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._backend = backend if backend is not None else MemoryBackend(timing or Timing.lan(), entropy)
        self._timing = timing or self._backend.timing
        self.clock = clock
        self.holder = holder
        self.creation = creation
        self.connected = True
        self._stopped = False
        self._closing = False
        self._suspended = False
        self._reply_lost = False
        self._view = KeySpace(self._backend.machine.keys().values())
        self._view_index = self._backend.machine.applied_index
        self._view_revision = self._backend.machine.revision
        self._as_of = clock.monotonic()  # while cut off: the view was the truth then
        self._inbox: deque[tuple[int, Outcome]] = deque()
        self._missed = False  # the inbox has gaps: compare with the backend instead
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()  # for the view to reach an index
        self._ready: dict[
            asyncio.Future[None], None
        ] = {}  # in order: for a connection, or a session, or the end
        self._belief = HolderSession(drift=self._timing.drift, keepalive_s=self._timing.keepalive_s)
        self._opening: tuple[int, SessionInfo, float] | None = None  # at which index, what, when it was sent
        self._open_after = clock.monotonic()
        self._session = NodeSession(clock, self._belief, self.wake)
        self._sequence = 0
        self._watches = Watches()
        self._leader_subscribers = Subscribers()
        self._leader_told: str | None = None
        self._awake = False
        self._timer: Timer | None = None
        self._dir_id = self._backend.join(self)
        self.wake()

    # The port

    @property
    def session(self) -> NodeSession:
        return self._session

    async def txn(
        self,
        if_: Sequence[Compare],
        then: Sequence[Op],
        else_: Sequence[Op] = (),
        *,
        timeout_s: float | None = None,
    ) -> TxnResult:
        self._check_running()
        txn = Txn(tuple(if_), tuple(then), tuple(else_))
        encode(Request(NO_SESSION, 0, 0, txn))  # too large, or no bytes at all: say so before any waiting
        sent = False
        try:
            async with timeout(self.clock, self._limit(timeout_s)):
                while True:
                    while not (self.connected and self._session.valid()):
                        await self._change()
                    self._sequence += 1
                    sequence = self._sequence
                    request = Request(self._belief.id, sequence, sequence, txn)
                    index, outcome = self._backend.commit(encode(request))
                    if outcome.status is Status.CLIENT_GONE:  # certainly nothing: it was sent once
                        self._belief.gone(request.session)
                        self.wake()
                        continue
                    sent = True
                    if self._reply_lost:
                        self._reply_lost = False
                        while True:
                            await self._change()
                    await self._reach(index)
                    break
        except TimeoutError:
            raise self._unanswered(sent) from None
        except StoreStopped:
            if sent:
                raise OutcomeUnknown("the store was closed before the answer came") from None
            raise
        error = error_of(outcome, sent_once=True)
        if error is not None:
            raise error
        assert outcome.result is not None
        return outcome.result

    async def get(self, key: bytes, *, timeout_s: float | None = None) -> KeyValue | None:
        await self._confirm(timeout_s)
        return self._view.get(key)

    async def range(self, prefix: bytes, *, timeout_s: float | None = None) -> list[KeyValue]:
        await self._confirm(timeout_s)
        return self._view.range(prefix)

    async def sessions(self, *, timeout_s: float | None = None) -> list[SessionInfo]:
        return await self._confirm(timeout_s)

    def peek(self, key: bytes) -> Cached[KeyValue | None]:
        return Cached(self._view.get(key), self.age_s())

    def peek_range(self, prefix: bytes) -> Cached[list[KeyValue]]:
        return Cached(self._view.range(prefix), self.age_s())

    def watch(self, prefix: bytes, callback: WatchCallback) -> Subscription:
        return self._watches.add(prefix, callback)

    def leads(self) -> bool:
        return self._backend.leader is self

    def subscribe_leader(self, callback: Callable[[str | None], None]) -> Subscription:
        return self._leader_subscribers.add(callback)

    def status(self) -> StoreStatus:
        """As on other engines; `term` counts changes of the leader, `voters` are all members that run."""
        role = "stopped" if self._stopped else "leader" if self.leads() else "follower"
        return StoreStatus(
            engine="memory",
            role=role if self.connected or self._stopped else "disconnected",
            leader=self._known_leader(),
            term=self._backend.term,
            commit_index=self._backend.machine.applied_index if self.connected else self._view_index,
            applied_index=self._view_index,
            revision=self._view_revision,
            keys=len(self._view),
            session=self._session.id,
            voters=tuple(store.holder for store in self._backend.members),
        )

    async def close(self) -> None:
        if self._closing or self._stopped:
            return
        self._closing = True
        session = self._belief.closing()
        if self.connected:
            if session != NO_SESSION:
                self._backend.commit(CloseSession(session))
            if self._inbox:  # answers that are on their way
                await self._reach(self._backend.machine.applied_index)
        if not self._stopped:
            self._stop()
        told = self._loop.create_future()
        self._loop.call_soon(told.set_result, None)
        await told  # the loss of the session was told one callback earlier

    # For tests: what can go wrong with a node

    def disconnect(self) -> None:
        """Cut the node off from all others, as in a minority. What was on its way to it is lost."""
        if self.connected and not self._stopped:
            self._as_of = self.clock.monotonic() - self.age_s()
            self.connected = False
            self._backend.elect()
            self.wake()

    def connect_again(self) -> None:
        """End the cut. The node hears of what it missed as one batch of differences."""
        if not self.connected and not self._stopped:
            self.connected = True
            self._missed = True
            self._backend.elect()
            self.wake()

    def suspend_keepalives(self) -> None:
        """Send no keepalive and open no session until `resume_keepalives`; everything else works."""
        self._suspended = True

    def resume_keepalives(self) -> None:
        self._suspended = False
        self.wake()

    def lose_next_reply(self) -> None:
        """The next transaction is done, but its caller does not hear of it: `OutcomeUnknown` in the end."""
        self._reply_lost = True

    def crash(self) -> None:
        """Stop at once and tell nobody, as SIGKILL does.

        No callback runs any more. Whoever waits gets `StoreStopped`, or `OutcomeUnknown` for a request sent.
        """
        if not self._stopped:
            self._watches.clear()
            self._leader_subscribers.clear()
            self._session.unsubscribe_all()
            self._belief.closing()
            self._stop()

    # For the backend

    def receive(self, index: int, outcome: Outcome) -> None:
        """An entry was committed; take note of it in the next turn of the loop."""
        if self.connected:
            if not self._inbox:
                self._as_of = self.clock.monotonic()
            self._inbox.append((index, outcome))
            self.wake()

    def wake(self) -> None:
        """Something has changed: look at everything in the next turn of the loop."""
        if not self._awake:
            self._awake = True
            self._loop.call_soon(self._turn)

    # One turn

    def _turn(self) -> None:
        self._awake = False
        if self._stopped:
            self._session.settle()
            return
        events: list[Event] = []
        if self.connected:
            self._follow(events)
            self._take_opened()
        self._session.settle()  # before the events: whoever acts on them knows what it still has
        self._watches.dispatch(events)
        self._tell_leader()
        self._wake_callers()
        self._drive_session()

    def _follow(self, events: list[Event]) -> None:
        """Bring the view up to date."""
        machine = self._backend.machine
        if self._missed:
            self._missed = False
            self._inbox.clear()
            events.extend(difference(self._view.view(), machine.keys(), machine.revision))
            self._view_index, self._view_revision = machine.applied_index, machine.revision
            if machine.session(self._belief.id) is None:
                self._belief.gone(self._belief.id)
        while self._inbox:
            self._view_index, outcome = self._inbox.popleft()
            self._view_revision = outcome.revision
            events.extend(outcome.events)
            if self._belief.id in outcome.closed:
                self._belief.gone(self._belief.id)
        for event in events:
            if event.now is not None:
                self._view.put(event.now)
            else:
                self._view.remove(event.key)

    def _tell_leader(self) -> None:
        leader = self._known_leader()
        if leader != self._leader_told:
            self._leader_told = leader
            self._leader_subscribers.tell(leader)

    def _wake_callers(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._view_index:
            _, reached = self._waiting.popleft()
            if not reached.done():
                reached.set_result(None)
        ready, self._ready = self._ready, {}
        for changed in ready:
            if not changed.done():
                changed.set_result(None)

    # The session

    def _drive_session(self) -> None:
        if self._stopped:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self.clock.monotonic()
        talking = self.connected and not self._suspended and not self._closing
        due = self._belief.next_keepalive()
        if talking and due is None and self._opening is None and now >= self._open_after:
            self._open(now)
        elif talking and due is not None and due <= now:
            self._keep_alive(now)
        moments = [self._belief.valid_until] if self._belief.id != NO_SESSION else []
        due = self._belief.next_keepalive() if talking else None
        if due is not None:
            moments.append(due)
        elif talking and self._open_after > now:
            moments.append(self._open_after)
        if moments:
            self._timer = self.clock.call_later(max(0.0, min(moments) - now), self._turn)

    def _open(self, now: float) -> None:
        nonce = self._backend.token()
        command = OpenSession(nonce, self.holder, self.creation, self._dir_id, self._timing.session_ttl_s)
        index, outcome = self._backend.commit(command)
        if outcome.opened is not None:
            self._opening = (index, outcome.opened, now)
        else:
            logger.error("%s gets no session: %s", self.holder, outcome.detail)
            self._open_after = now + self._timing.session_ttl_s

    def _take_opened(self) -> None:
        if self._opening is None or self._opening[0] > self._view_index:
            return
        _, info, sent_at = self._opening
        self._opening = None
        if self._backend.machine.session(info.id) is None:
            return  # it was closed meanwhile
        if not self._belief.opened(info, sent_at, self.clock.monotonic()):
            self._backend.commit(CloseSession(info.id))

    def _keep_alive(self, now: float) -> None:
        session, token = self._belief.id, self._belief.sending(now)
        lives = self._backend.touch(session)
        self._loop.call_soon(self._answered, session, token, lives)

    def _answered(self, session: int, token: int, lives: bool) -> None:
        if not self.connected or self._stopped:
            return
        if lives:
            self._belief.confirmed(token, self.clock.monotonic())
        else:
            self._belief.gone(session)
        self.wake()

    # Waiting

    async def _confirm(self, timeout_s: float | None) -> list[SessionInfo]:
        """Return when the view has all that was acknowledged to anybody; the sessions of that state."""
        self._check_running()
        try:
            async with timeout(self.clock, self._limit(timeout_s)):
                while not self.connected:
                    await self._change()
                sessions = self._backend.machine.sessions()
                await self._reach(self._backend.machine.applied_index)
                return sessions
        except TimeoutError:
            raise self._unanswered(sent=False) from None

    async def _reach(self, index: int) -> None:
        """Wait until the view has applied `index`, one turn of the loop at least. Raises `StoreStopped`."""
        reached: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append((index, reached))
        self.wake()
        await reached

    async def _change(self) -> None:
        """Wait until something has changed. Raises `StoreStopped`."""
        changed: asyncio.Future[None] = self._loop.create_future()
        self._ready[changed] = None
        try:
            await changed
        finally:
            self._ready.pop(changed, None)

    def _limit(self, timeout_s: float | None) -> float:
        return self._timing.request_s if timeout_s is None else timeout_s

    def _unanswered(self, sent: bool) -> NoQuorum | OutcomeUnknown:
        if sent:
            return OutcomeUnknown("the request was sent and no answer came in time: it may have been done")
        return NoQuorum(f"{self.holder} reached no quorum in time: nothing was done")

    def _check_running(self) -> None:
        if self._stopped or self._closing:
            raise self._stopped_error()

    def _stopped_error(self) -> StoreStopped:
        return StoreStopped(f"the store of {self.holder} was closed: nothing was done")

    def age_s(self) -> float:
        if self.connected and not self._inbox and not self._missed and not self._stopped:
            return 0.0
        return max(0.0, self.clock.monotonic() - self._as_of)

    def _known_leader(self) -> str | None:
        leader = self._backend.leader
        return leader.holder if self.connected and not self._stopped and leader is not None else None

    def _stop(self) -> None:
        self._as_of = self.clock.monotonic() - self.age_s()
        self._stopped = True
        self.connected = False
        self._inbox.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._backend.leave(self)
        self._watches.clear()
        self._leader_subscribers.clear()
        stopped = [future for _, future in self._waiting] + list(self._ready)
        self._waiting.clear()
        self._ready.clear()
        for future in stopped:
            if not future.done():
                future.set_exception(self._stopped_error())
        self.wake()
