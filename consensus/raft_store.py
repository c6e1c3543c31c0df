"""The `raft` engine: the coordination store of a voter, replicated among the voters' stores.

The log decided by Raft is the authority over everything; this node's `StoreMachine` is a copy of it, always a
prefix. A store does four things, each in a part of its own: it keeps a replica (`replica.py`), asks whichever
store leads (`asking.py`), answers others while it leads itself (`leader_desk.py`), and keeps this node's session
alive (`_Keeper`). What must never happen here: a result that is not so. A write is reported done only when it was
applied here, after a majority had it on disk; a read answers from a state that a quorum round has confirmed.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from quorate.core import Clock, DecodeError, Entropy, Timer

from . import commands, protocol
from .asking import Barriers, Writes
from .commands import Request, Txn
from .errors import NotLeader, OutcomeUnknown, StoreStopped
from .keeper import Holder, SessionKeeper
from .leader_desk import LeaderDesk
from .machine import Outcome, StoreMachine
from .protocol import Answer, Confirmed, Gone, Question, Refused
from .raft import Configuration, Raft, RaftConfig, Role
from .replica import Applied, Replica
from .storage import DataDir, RaftStorage
from .store import (
    Cached,
    Compare,
    Event,
    KeyValue,
    Op,
    Session,
    SessionInfo,
    StoreStatus,
    Timing,
    TxnResult,
    Watch,
)
from .transport import Lane, Transport
from .watches import Freshness, Subscribers, Watches, difference

log = logging.getLogger("quorate.consensus")


@dataclass(frozen=True, slots=True)
class RaftStoreConfig:
    """Who votes, and how fast failures are noticed."""

    voters: frozenset[str]
    timing: Timing = field(default_factory=Timing)
    snapshot_after_bytes: int = 16 * 1024 * 1024


class RaftStore:
    """The `Store` port over Raft, on one voter. Made by `RaftStore.open`; ended by `close`."""

    def __init__(
        self,
        *,
        name: str,
        data_dir: DataDir,
        storage: RaftStorage,
        raft: Raft,
        machine: StoreMachine,
        clock: Clock,
        entropy: Entropy,
        transport: Transport,
        config: RaftStoreConfig,
    ) -> None:
        timing = config.timing
        self._name = name
        self._clock = clock
        self._transport = transport
        self._config = config
        self._timing = timing
        self._loop = asyncio.get_running_loop()
        self._watches = Watches()
        self._leader_subscribers = Subscribers()
        self._freshness = Freshness()
        self._stopped: Exception | None = None
        self._leader: str | None = None
        self._last_id = 0
        self._sequence = 0
        self._timer: Timer | None = None
        self._gone = Subscribers()
        self._replica = Replica(
            raft=raft,
            configuration=Configuration(config.voters),
            storage=storage,
            machine=machine,
            clock=clock,
            send=lambda peer, payload: transport.send(peer, Lane.RAFT, payload),
            listener=self,
            snapshot_after_bytes=config.snapshot_after_bytes,
        )
        self._desk = LeaderDesk(self._replica, clock)
        retry_s = 2 * timing.election_s
        self._writes = Writes(self.ask, self.new_id, retry_s)
        self._barriers = Barriers(self.ask, self.new_id, clock.monotonic, retry_s, self._freshness.confirmed)
        self._keeper = SessionKeeper(
            holder=Holder(name, data_dir.creation, data_dir.dir_id),
            timing=timing,
            clock=clock,
            entropy=entropy,
            store=self,
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

        Raises `LogCorrupt`, `NewerFormat`, `WrongDataDir`, `DiskFailed`.
        """
        storage, recovered = await RaftStorage.open(data_dir)
        machine = StoreMachine()
        if recovered.snapshot is not None:
            machine.restore(recovered.snapshot.data)
        timing = config.timing
        raft = Raft(
            RaftConfig(
                id=name,
                configuration=Configuration(config.voters),
                election_s=timing.election_s,
                heartbeat_s=timing.heartbeat_s,
            ),
            recovered,
            entropy.random,
            clock.monotonic(),
        )
        return cls(
            name=name,
            data_dir=data_dir,
            storage=storage,
            raft=raft,
            machine=machine,
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
        deadline = self._deadline(timeout_s)
        txn = Txn(tuple(if_), tuple(then), tuple(else_))
        session = await self._keeper.opened(deadline)
        self.check_running()
        self._sequence += 1
        sequence = self._sequence
        unanswered = self._keeper.unanswered
        unanswered[sequence] = None
        try:
            command = commands.encode(Request(session, sequence, next(iter(unanswered)), txn))
            outcome = await self.write(command, deadline)
        finally:
            unanswered.pop(sequence, None)
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

    def peek(self, key: bytes) -> Cached[KeyValue | None]:
        return Cached(self._replica.machine.get(key), self._freshness.age_s(self._clock.monotonic()))

    def peek_range(self, prefix: bytes) -> Cached[list[KeyValue]]:
        return Cached(self._replica.machine.range(prefix), self._freshness.age_s(self._clock.monotonic()))

    def watch(self, prefix: bytes, callback: Callable[[Sequence[Event]], None]) -> Watch:
        return self._watches.add(prefix, callback)

    def leads(self) -> bool:
        return self._replica.ready_to_lead()

    def subscribe_leader(self, callback: Callable[[str | None], None]) -> Watch:
        return self._leader_subscribers.add(callback)

    def subscribe_failure(self, callback: Callable[[Exception], None]) -> Watch:
        """Call `callback(error)` once if the disk fails: this store has ended, and its node should."""
        return self._gone.add(callback)

    def status(self) -> StoreStatus:
        raft, machine = self._replica.raft, self._replica.machine
        return StoreStatus(
            engine="raft",
            role="stopped" if self._stopped else raft.role.name.lower(),
            leader=raft.leader,
            term=raft.term,
            commit_index=raft.commit_index,
            applied_index=machine.applied_index,
            revision=machine.revision,
            keys=len(machine),
            session=self._keeper.session.id,
            voters=tuple(sorted(self._config.voters)),
        )

    async def transfer_leadership(self) -> None:
        """If this store leads, ask the voter that is best placed to take over. No promise that it does."""
        raft = self._replica.raft
        matched = {
            peer: progress.match_index for peer, progress in raft.progress().items() if peer != self._name
        }
        if raft.role is Role.LEADER and matched:
            try:
                self._replica.transfer(max(matched, key=lambda peer: (matched[peer], peer)))
            except NotLeader:
                log.debug("leadership was lost before it could be handed over")

    def abandon(self) -> None:
        """Stop in the middle of everything, as a killed process does: nothing is said or written any more."""
        self._end(StoreStopped("the store was abandoned"))
        self._replica.abandon()

    async def close(self) -> None:
        if self._stopped is not None and self._timer is None:
            return
        await self._keeper.close()
        self._end(StoreStopped("the store was closed; nothing happened"))
        await self._replica.close()

    # What arrives

    def receive(self, peer: str, lane: Lane, payload: bytes) -> None:
        """A message of another voter's store. Raises `DecodeError` for bytes that are none, `ValueError` for a stranger."""
        if peer not in self._config.voters:
            raise DecodeError(f"{peer} is no voter of this store")
        if lane is Lane.RAFT:
            self._replica.receive(peer, payload)
            return
        message = protocol.decode(payload)
        if isinstance(message, Confirmed | Gone | Refused):
            self._answered(message)
        else:
            self._desk.ask(
                message, lambda answer: self._transport.send(peer, Lane.STORE, protocol.encode(answer))
            )

    def peer_down(self, peer: str) -> None:
        """The connection to another voter broke."""
        self._replica.peer_down(peer)

    # The replica's listener

    def on_applied(self, applied: Sequence[Applied]) -> None:
        self._desk.applied(applied)
        events: list[Event] = []
        for entry in applied:
            events.extend(entry.outcome.events)
        if events:
            self._watches.dispatch(events)
        for entry in applied:
            if entry.outcome.closed:
                self._keeper.sessions_closed(entry.outcome.closed)
            self._writes.applied(entry.command, entry.outcome)
        index = applied[-1].index
        self._freshness.applied(index)
        self._barriers.applied(index)

    def on_restored(self, before: StoreMachine) -> None:
        machine = self._replica.machine
        self._watches.dispatch(difference(before.keys(), machine.keys(), machine.revision))
        if self._keeper.session.id and machine.session(self._keeper.session.id) is None:
            self._keeper.sessions_closed((self._keeper.session.id,))
        self._freshness.applied(machine.applied_index)
        self._barriers.applied(machine.applied_index)
        self._writes.skipped()
        self._writes.resend(self._clock.monotonic(), to=self._leader)

    def on_leadership(self) -> None:
        self._desk.refresh()
        leader = self._replica.raft.leader
        if leader == self._leader:
            return
        self._leader = leader
        log.info("%s: the leader is %s (term %d)", self._name, leader or "unknown", self._replica.raft.term)
        self._writes.resend(self._clock.monotonic(), to=leader)
        self._barriers.resend(to=leader)
        self._keeper.leader_changed()
        self._leader_subscribers.tell(leader)

    def on_failed(self, error: Exception) -> None:
        self._end(error)
        self._gone.tell(error)

    # Asking the leader

    def ask(self, question: Question) -> str | None:
        """Send a question to the leader. Answers come through `_answered`, never before this returns."""
        leader = self._replica.raft.leader
        if leader is None:
            return None
        if leader != self._name:
            return leader if self._transport.send(leader, Lane.STORE, protocol.encode(question)) else None
        self._desk.ask(question, lambda answer: self._loop.call_soon(self._answered, answer))
        return leader

    def _answered(self, answer: Answer) -> None:
        now = self._clock.monotonic()
        if isinstance(answer, Refused):
            self._writes.refused(answer, now)
            self._barriers.refused(answer)
        elif isinstance(answer, Confirmed):
            self._barriers.answered(answer)
            self._keeper.confirmed(answer)
        else:
            self._keeper.sessions_closed((answer.session,))

    async def write(self, command: bytes, deadline: float) -> Outcome:
        """Have a command applied, once. Raises what the port says of `txn`."""
        write = self._writes.add(command, deadline, self._clock.monotonic())
        try:
            outcome = await write.done
        finally:
            self._writes.drop(write)
        error = self._writes.error(write, outcome)
        if error is not None:
            raise error
        return outcome

    async def _barrier(self, timeout_s: float | None) -> None:
        self.check_running()
        await self._barriers.wait(self._deadline(timeout_s))

    def _deadline(self, timeout_s: float | None) -> float:
        return self._clock.monotonic() + (self._timing.request_s if timeout_s is None else timeout_s)

    def confirmed_at(self, sent_at: float, index: int) -> None:
        """Something sent then was confirmed with this index: what is applied here is at least that fresh."""
        self._freshness.confirmed(sent_at, index)

    def new_id(self) -> int:
        self._last_id += 1
        return self._last_id

    # Time and the end

    def _tick(self) -> None:
        """Several times per heartbeat nothing is due; what is late by one tick is late by little."""
        if self._stopped is None:
            now = self._clock.monotonic()
            self._desk.tick()
            self._keeper.tick(now)
            self._writes.tick(now)
            self._barriers.tick(now)
            self._timer = self._clock.call_later(self._timing.heartbeat_s / 2, self._tick)

    def check_running(self) -> None:
        if self._stopped is not None:
            raise type(self._stopped)(*self._stopped.args)

    def _end(self, reason: Exception) -> None:
        if self._stopped is not None:
            return
        self._stopped = reason
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._keeper.stopped()
        self._writes.fail_all(lambda copies: _ended(reason, copies))
        self._barriers.fail_all(lambda: _ended(reason, 0))


def _ended(reason: Exception, copies: int) -> Exception:
    if copies:
        return OutcomeUnknown(f"the store ended before the outcome was known ({reason})")
    return type(reason)(*reason.args)
