"""The `raft` engine: the coordination store of a voter, replicated among the voters' stores.

The log decided by Raft is the authority over everything; this node's `StoreMachine` is a copy of it, always a
prefix. A store does five things, each in a part of its own: it keeps a replica (`replica.py`), gives its callers their
turn (`admission.py`), asks whichever store leads (`asking.py`, by `leader_line.py`), answers others while it leads
itself (`leader_desk.py`), and keeps this node's session alive (`keeper.py`). What must never happen here: a result
that is not so. A write is reported done only when it was applied here, after a majority had it on disk; a read answers
from a state that a quorum round has confirmed; "nothing happened" is said only of what can never happen any more.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence

from quorate.core import Clock, DecodeError, Entropy, Timer

from . import commands
from .admission import Admission
from .applier import Applied
from .asking import Barriers, ClientGone, Writes, no_answer
from .commands import Request, Txn
from .errors import OutcomeUnknown, StoreError, StoreStopped
from .handover import Handover
from .keeper import Holder, SessionKeeper
from .leader_desk import LeaderDesk
from .leader_line import LeaderLine, Outbox
from .machine import Outcome, StoreMachine
from .protocol import Answer, Confirmed, Refused
from .raft import Configuration
from .recovery import Parts, RaftStoreConfig, recover
from .replica import Replica
from .storage import DataDir
from .store import (
    NO_SESSION,
    Cached,
    Compare,
    Event,
    KeyValue,
    Op,
    Session,
    SessionInfo,
    StoreStatus,
    TxnResult,
    Watch,
)
from .transport import Lane, Transport
from .watches import Freshness, Subscribers, Watches, difference

log = logging.getLogger("quorate.consensus")


class RaftStore:
    """The `Store` port over Raft, on one voter. Made by `RaftStore.open`; ended by `close`."""

    def __init__(
        self,
        *,
        name: str,
        data_dir: DataDir,
        parts: Parts,
        clock: Clock,
        entropy: Entropy,
        transport: Transport,
        config: RaftStoreConfig,
    ) -> None:
        timing = config.timing
        self._name = name
        self._clock = clock
        self._config = config
        self._timing = timing
        self._loop = asyncio.get_running_loop()
        self._watches = Watches()
        self._leader_subscribers = Subscribers()
        self._failure_subscribers = Subscribers()
        self._freshness = Freshness()
        self._freshness.applied(parts.machine.applied_index)
        self._stopped: StoreError | None = None
        self._closing: asyncio.Task[None] | None = None
        self._leader: str | None = None
        self._leader_term = 0
        self._timer: Timer | None = None
        self._outbox = Outbox(transport)
        self._replica = Replica(
            raft=parts.raft,
            configuration=Configuration(config.voters),
            storage=parts.storage,
            machine=parts.machine,
            clock=clock,
            send=self._outbox.send_raft,
            listener=self,
            snapshot_after_bytes=config.snapshot_after_bytes,
        )
        self._desk = LeaderDesk(self._replica, clock)
        self._line = LeaderLine(name, self._outbox, self._replica, self._desk, entropy, self._answered)
        self._handover = Handover(name, self._replica, clock, timing.election_s)
        retry_s = 2 * timing.election_s
        self._writes = Writes(self._line.ask, self._line.new_id, retry_s)
        self._barriers = Barriers(
            self._line.ask,
            self._line.new_id,
            clock.monotonic,
            retry_s,
            self._freshness.confirmed,
            parts.machine.applied_index,
        )
        self._admission = Admission(lambda: self._keeper.session.id)
        self._keeper = SessionKeeper(
            holder=Holder(name, data_dir.creation, data_dir.dir_id),
            timing=timing,
            clock=clock,
            entropy=entropy,
            line=self._line,
            write=self.write,
            confirmed_at=self._freshness.confirmed,
            opened=self._admission.admit,
        )
        self._tick()

    @classmethod
    async def open(
        cls,
        *,
        name: str,
        data_dir: DataDir,
        clock: Clock,
        entropy: Entropy,
        transport: Transport,
        config: RaftStoreConfig,
    ) -> "RaftStore":
        """Recover what the data directory holds and start taking part.

        Raises `ConfigError`, `LogCorrupt`, `NewerFormat`, `WrongDataDir`, and `DataDirError` when the disk refuses.
        """
        parts = await recover(name, data_dir, config, rng=entropy.random, now=clock.monotonic())
        return cls(
            name=name,
            data_dir=data_dir,
            parts=parts,
            clock=clock,
            entropy=entropy,
            transport=transport,
            config=config,
        )

    # The Store port

    @property
    def session(self) -> Session:
        return self._keeper.session

    async def txn(
        self,
        if_: Sequence[Compare],
        then: Sequence[Op],
        else_: Sequence[Op] = (),
        *,
        timeout_s: float | None = None,
    ) -> TxnResult:
        self.check_running()
        deadline = self._deadline(timeout_s)
        txn = Txn(tuple(if_), tuple(then), tuple(else_))
        if not self._admission.may_enter():
            commands.encode(Request(NO_SESSION, 0, 0, txn))  # too large, or wrong: say so before any waiting
        while True:
            requests, sequence = await self._admission.enter(deadline)
            try:
                self.check_running()
                command = commands.encode(Request(requests.session, sequence, requests.floor, txn))
                requests.weigh(sequence, len(command))
                outcome, _ = await self.write(command, deadline)
            except ClientGone:
                self._keeper.sessions_closed((requests.session,))
                self.check_running()
                continue  # under the next session, for nothing was done
            finally:
                self._admission.leave(requests, sequence)
            assert outcome.result is not None
            return outcome.result

    async def get(self, key: bytes, *, timeout_s: float | None = None) -> KeyValue | None:
        await self._barrier(timeout_s)
        return self._replica.machine.get(key)

    async def range(self, prefix: bytes, *, timeout_s: float | None = None) -> list[KeyValue]:
        await self._barrier(timeout_s)
        return self._replica.machine.range(prefix)

    async def sessions(self, *, timeout_s: float | None = None) -> list[SessionInfo]:
        await self._barrier(timeout_s)
        return self._replica.machine.sessions()

    def age_s(self) -> float:
        return self._freshness.age_s(self._clock.monotonic())

    def peek(self, key: bytes) -> Cached[KeyValue | None]:
        return Cached(self._replica.machine.get(key), self.age_s())

    def peek_range(self, prefix: bytes) -> Cached[list[KeyValue]]:
        return Cached(self._replica.machine.range(prefix), self.age_s())

    def watch(self, prefix: bytes, callback: Callable[[Sequence[Event]], None]) -> Watch:
        return self._watches.add(prefix, callback)

    def leads(self) -> bool:
        return self._replica.ready_to_lead()

    def subscribe_leader(self, callback: Callable[[str | None], None]) -> Watch:
        return self._leader_subscribers.add(callback)

    def subscribe_failure(self, callback: Callable[[StoreError], None]) -> Watch:
        """Call `callback(error)` once if this store ends by itself, its disk having failed: its node should end too."""
        return self._failure_subscribers.add(callback)

    def status(self) -> StoreStatus:
        raft, machine = self._replica.raft, self._replica.machine
        return StoreStatus(
            engine="raft",
            role="stopped" if self._stopped else raft.role.name.lower(),
            leader=None if self._stopped else raft.leader,
            term=raft.term,
            commit_index=raft.commit_index,
            applied_index=machine.applied_index,
            revision=machine.revision,
            keys=len(machine),
            session=self._keeper.session.id,
            voters=tuple(sorted(self._config.voters)),
        )

    async def transfer_leadership(self) -> bool:
        """If this store leads, hand over to the voter that is best placed. True when another one took over in time."""
        return await self._handover.run()

    def abandon(self) -> None:
        """Stop in the middle of everything, as a killed process does: nothing is said, told or written any more."""
        self._watches.clear()
        self._leader_subscribers.clear()
        self._failure_subscribers.clear()
        self._keeper.session.unsubscribe_all()
        self._end(StoreStopped("the store was abandoned"))
        self._replica.abandon()

    async def close(self) -> None:
        """As the port says. A store that has failed or was abandoned is closed too; twice does no harm."""
        if self._closing is None:
            known = self._loop.create_future()
            self._closing = self._loop.create_task(self._close(known))
            known.set_result(None)
        await asyncio.shield(self._closing)  # whoever waits may be cancelled, the closing goes on

    # What arrives

    def receive(self, peer: str, lane: Lane, payload: bytes) -> None:
        """A message of another voter's store. Raises `DecodeError` for bytes that are none, and for a stranger's."""
        if self._stopped is not None:
            return
        if peer == self._name or peer not in self._config.voters:
            raise DecodeError(f"{peer} is no other voter of this store")
        if lane is Lane.RAFT:
            self._replica.receive(peer, payload)
        else:
            self._line.receive(peer, payload)

    def peer_down(self, peer: str) -> None:
        """The connection to another voter broke."""
        self._replica.peer_down(peer)
        self._writes.peer_down(peer)
        self._barriers.peer_down(peer)

    # The replica's listener

    def on_applied(self, applied: Sequence[Applied]) -> None:
        events: list[Event] = []
        self._desk.applied(applied)
        for entry in applied:
            outcome = entry.outcome
            if outcome.closed:  # first of all: whoever acts on an event knows what this node still has
                self._keeper.sessions_closed(outcome.closed)
            events.extend(outcome.events)
        if events:
            self._watches.dispatch(events)
        for entry in applied:
            self._writes.applied(entry.command, entry.outcome)
        self._applied_up_to(applied[-1].index)

    def on_restored(self, before: StoreMachine) -> None:
        machine = self._replica.machine
        session = self._keeper.session.id
        if session and machine.session(session) is None:
            self._keeper.sessions_closed((session,))
        self._watches.dispatch(difference(before.keys(), machine.keys(), machine.revision))
        self._applied_up_to(machine.applied_index)
        self._writes.skipped(self._clock.monotonic())

    def _applied_up_to(self, index: int) -> None:
        self._freshness.applied(index)
        self._barriers.applied(index)

    def on_leadership(self) -> None:
        self._desk.refresh()
        self._handover.notice()
        leader, term = self._replica.raft.leader, self._replica.raft.term
        if (leader, term) == (self._leader, self._leader_term):
            return
        before, self._leader, self._leader_term = self._leader, leader, term
        if leader is not None:
            self._writes.resend(self._clock.monotonic())
            self._barriers.resend()
            self._keeper.leader_changed()
        if leader != before:
            log.info("%s: the leader is %s (term %d)", self._name, leader or "unknown", term)
            self._leader_subscribers.tell(leader)

    def on_failed(self, error: StoreError) -> None:
        self._end(error)
        if self._leader is not None:
            self._leader = None
            self._leader_subscribers.tell(None)
        self._failure_subscribers.tell(error)

    # Asking the leader

    def _answered(self, peer: str, answer: Answer) -> None:
        if isinstance(answer, Refused):
            self._writes.refused(peer, answer)
            self._barriers.refused(answer)
        elif isinstance(answer, Confirmed):
            self._barriers.answered(answer)
            self._keeper.confirmed(answer)
        else:
            self._keeper.sessions_closed((answer.session,))

    async def write(self, command: bytes, deadline: float) -> tuple[Outcome, float]:
        """Have a command applied, once: what it did, and when it first left. Raises what `txn` does, and `ClientGone`."""
        write = self._writes.add(command, deadline, self._clock.monotonic())
        try:
            outcome = await write.done
        finally:
            self._writes.drop(write)
        error = self._writes.error(write, outcome)
        if error is not None:
            raise error
        return outcome, write.first_sent_at

    async def _barrier(self, timeout_s: float | None) -> None:
        self.check_running()
        await self._barriers.wait(self._deadline(timeout_s))

    def _deadline(self, timeout_s: float | None) -> float:
        return self._clock.monotonic() + (self._timing.request_s if timeout_s is None else timeout_s)

    # Time and the end

    def _tick(self) -> None:
        """Twice per heartbeat: what is late by one tick is late by little."""
        if self._stopped is not None:
            return
        self._timer = self._clock.call_later(self._timing.heartbeat_s / 2, self._tick)
        now = self._clock.monotonic()
        try:
            self._desk.tick()
            self._keeper.tick(now)
            self._admission.tick(now, lambda: no_answer(0))
            self._writes.tick(now)
            self._barriers.tick(now)
        except Exception as error:  # noqa: BLE001 -- a store without deadlines and keepalives is none
            self._replica.fail(error)

    def check_running(self) -> None:
        """Raises `StoreStopped` or `DiskFailed` when this store takes no more requests."""
        if self._stopped is not None:
            raise type(self._stopped)(*self._stopped.args)
        if self._closing is not None:
            raise StoreStopped("the store is being closed; nothing happened")

    async def _close(self, known: asyncio.Future[None]) -> None:
        await known  # as `_closing`: a task may begin before, and who is told of the end may close the store
        if self._stopped is None:
            try:
                await self._keeper.close()
            finally:
                self._end(StoreStopped("the store was closed; nothing happened"))
        await self._replica.close()

    def _end(self, reason: StoreError) -> None:
        if self._stopped is not None:
            return
        self._stopped = reason
        if self._timer is not None:
            self._timer.cancel()
        self._outbox.close()
        self._keeper.stopped()
        self._handover.notice()
        self._admission.fail_all(lambda: _ended(reason, 0))
        self._writes.fail_all(lambda copies: _ended(reason, copies))
        self._barriers.fail_all(lambda: _ended(reason, 0))


def _ended(reason: StoreError, copies: int) -> StoreError:
    if copies:
        return OutcomeUnknown(f"the store ended before the outcome was known ({reason})")
    return type(reason)(*reason.args)
