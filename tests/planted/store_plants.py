"""Bugs in consensus: in the Raft core, in its log on disk, in the sessions. A context manager each.

Each changes one place, as a slip of somebody who writes that place might. What must never happen here: a change that does
something else than its name says, or nothing; `test_plants.py` looks at each where it stands.
"""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

from quorate.consensus import Compare, Delete, Op, Put, RaftStore, SessionInfo, TxnResult, raft_store
from quorate.consensus.clients import Remembered, SessionState
from quorate.consensus.image import Image
from quorate.consensus.leader_desk import LeaderDesk, Reply
from quorate.consensus.protocol import Confirmed, Gone, Keepalive
from quorate.consensus.raft.journal import Journal
from quorate.consensus.raft.leader import Leader
from quorate.consensus.raft.quorum import committed_index
from quorate.consensus.raft.types import EntryBatch, HardState, Snapshot
from quorate.consensus.replica import Replica
from quorate.consensus.sessions import HolderSession, LeaderSessions, _Lease
from quorate.consensus.storage.records import _TAIL, HEAD_BYTES, MAGIC, Framing, Kind, Record
from quorate.consensus.store import KeyValue

Planted = AbstractContextManager[Any]


# -- the Raft core ---------------------------------------------------------------------------------------------


def vote_not_stored() -> Planted:
    """Term and vote go to the disk with the next entries only."""
    take_write = Journal.take_write

    def careless(
        self: Journal,
    ) -> tuple[int, HardState | None, Snapshot | None, EntryBatch | None]:
        number, _, snapshot, entries = take_write(self)
        state = HardState(self.term, self.vote) if entries is not None else None
        return number, state, snapshot, entries

    return patch.object(Journal, "take_write", careless)


def acknowledged_before_replication() -> Planted:
    """A leader commits what it has on its own disk."""

    def maybe_commit(self: Leader) -> None:
        journal, before = self._journal, self._journal.commit_index
        index = journal.durable_index
        if index > before and journal.log.term_at(index) == journal.term and journal.commit_to(index):
            self._uncommitted_bytes -= journal.log.size_bytes(before + 1, index)

    return patch.object(Leader, "maybe_commit", maybe_commit)


def old_entries_committed_by_counting() -> Planted:
    """A leader commits an entry of an earlier term because a majority has it (Raft paper, figure 8)."""

    def maybe_commit(self: Leader) -> None:
        journal, before = self._journal, self._journal.commit_index
        acked = {peer: progress.match_index for peer, progress in self.peers.items()}
        acked[self._config.id] = journal.durable_index
        index = committed_index(self._config.configuration, acked)
        if index > before and journal.commit_to(index):
            self._uncommitted_bytes -= journal.log.size_bytes(before + 1, index)

    return patch.object(Leader, "maybe_commit", maybe_commit)


def stale_read() -> Planted:
    """A leader answers reads from what it knows, without asking a quorum whether it still leads."""

    def confirm_reads(self: Leader) -> None:
        self.reads.confirm(self.round)

    return patch.object(Leader, "_confirm_reads", confirm_reads)


# -- the shell and the disk ------------------------------------------------------------------------------------


def acknowledged_before_fsync() -> Planted:
    """Written is taken for durable: the sync comes after the promise."""

    async def sync(self: Replica) -> None:
        try:
            while self._written > self._durable and self._stopped is None:
                covered = self._written
                self._persisted(covered)
                await self._storage.sync()
        finally:
            self._syncing = False

    return patch.object(Replica, "_sync", sync)


def torn_record_accepted() -> Planted:
    """A record whose head is there counts as whole; nobody looks at its checksum."""

    def decode(self: Framing, data: bytes, offset: int) -> Record | None:
        head_end = offset + HEAD_BYTES
        if head_end > len(data) or data[offset : offset + 4] != MAGIC:
            return None
        length, creation, kind, durable, index, term = _TAIL.unpack_from(data, offset + 8)
        end = head_end + length
        if end > len(data) or kind not in frozenset(int(known) for known in Kind) or durable > offset:
            return None
        return Record(offset, end, kind, creation, durable, index, term, memoryview(data)[head_end:end])

    return patch.object(Framing, "decode", decode)


# -- the state machine -----------------------------------------------------------------------------------------


def retried_request_applied_twice() -> Planted:
    """What was done is not remembered, so a second copy of a request is done again."""

    def remember(self: SessionState, sequence: int, result: Remembered) -> None:
        return

    return patch.object(SessionState, "remember", remember)


def snapshot_forgets_session() -> Planted:
    """A snapshot holds the sessions that own keys, and no others."""
    of = Image.of

    def forgetful(
        applied_index: int, revision: int, sessions: Iterable[SessionState], keys: list[KeyValue]
    ) -> Image:
        return of(applied_index, revision, [state for state in sessions if state.keys], keys)

    return patch.object(Image, "of", forgetful)


def fence_repeats() -> Planted:
    """A put takes the place of what stands there: the removal before it, which makes a new fence, is saved."""
    txn = RaftStore.txn

    async def thrifty(
        self: RaftStore,
        if_: Sequence[Compare],
        then: Sequence[Op],
        else_: Sequence[Op] = (),
        *,
        timeout_s: float | None = None,
    ) -> TxnResult:
        match then:
            case [Delete(key), Put(again) as put] if key == again:
                then = [put]
        return await txn(self, if_, then, else_, timeout_s=timeout_s)

    return patch.object(RaftStore, "txn", thrifty)


def watch_misses_a_snapshot() -> Planted:
    """When a snapshot takes the place of the state, watches are not told of what it skipped."""
    return patch.object(raft_store, "difference", lambda before, after, revision: [])


# -- sessions --------------------------------------------------------------------------------------------------


def session_counted_from_receipt() -> Planted:
    """A holder counts its session's lifetime from the answer to its keepalive, not from the sending of it."""
    confirmed = HolderSession.confirmed

    def generous(self: HolderSession, token: int, now: float) -> bool:
        if token in self._in_flight:
            self._in_flight[token] = now
        return confirmed(self, token, now)

    return patch.object(HolderSession, "confirmed", generous)


def session_expired_by_a_fresh_leader() -> Planted:
    """A new leader does not give the sessions that it finds their full lifetime."""

    def became_leader(self: LeaderSessions, now: float, sessions: Iterable[SessionInfo]) -> None:
        self.deposed()
        for info in sessions:
            self._leases[info.id] = _Lease(info.ttl_s, now)

    return patch.object(LeaderSessions, "became_leader", became_leader)


def keepalive_without_quorum() -> Planted:
    """A leader confirms keepalives without asking a quorum whether it still leads."""

    def keepalive(self: LeaderDesk, question: Keepalive, reply: Reply) -> None:
        if self._sessions.touch(question.session, self._clock.monotonic()):
            reply(Confirmed(question.id, self._replica.raft.commit_index))
        else:
            reply(Gone(question.id, question.session))

    return patch.object(LeaderDesk, "_keepalive", keepalive)
