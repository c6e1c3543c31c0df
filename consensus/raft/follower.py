"""What a replica does for a leader: keep its entries, learn what is committed, take its snapshots.

A `Follower` exists for one term. It is the authority over how much of the log here is known to be the
leader's (`verified_index`). What must never happen: an entry that matches is removed; something beyond the
verified prefix is taken for committed; a snapshot that is old, or has not the announced checksum, is
installed or acknowledged.
"""

import crc32c

from .config import RaftConfig
from .journal import Journal
from .messages import (
    AppendReply,
    AppendRequest,
    Heartbeat,
    HeartbeatReply,
    SnapshotChunk,
    SnapshotReply,
)
from .types import NodeId, Snapshot, SnapshotMeta

OUT_OF_REACH = float("-inf")


class Incoming:
    """A snapshot that is being received, and the checksum so far."""

    __slots__ = ("checksum", "meta", "parts", "size_bytes")

    def __init__(self, meta: SnapshotMeta) -> None:
        self.meta = meta
        self.parts: list[bytes] = []
        self.size_bytes = 0
        self.checksum = 0

    def add(self, data: bytes) -> None:
        self.parts.append(data)
        self.size_bytes += len(data)
        self.checksum = crc32c.crc32c(data, self.checksum)


class Follower:
    """One term of following. There is one `leader` in a term; None until it has been heard of."""

    def __init__(self, config: RaftConfig, journal: Journal) -> None:
        self._config = config
        self._journal = journal
        self._incoming: Incoming | None = None
        self.leader: NodeId | None = None
        self.contact = OUT_OF_REACH  # when the leader was last heard of
        self.verified_index = 0
        self.violations = 0

    @property
    def leader_in_reach(self) -> NodeId | None:
        return self.leader if self.contact > OUT_OF_REACH else None

    def lose_contact(self) -> None:
        """The leader is not to be heard any more: nothing is due to it until it is heard again."""
        self.contact = OUT_OF_REACH

    def handle_append(self, sender: NodeId, message: AppendRequest) -> None:
        journal, log, entries = self._journal, self._journal.log, message.entries
        # What is compacted away here is committed, hence the leader's too: it needs no comparison.
        if message.prev_index >= log.base_index and log.term_at(message.prev_index) != message.prev_term:
            hint_index, hint_term = log.last_at_or_below(message.prev_index, message.prev_term)
            journal.send(sender, AppendReply(message.term, message.round, False, hint_index, hint_term))
            return
        new_index = log.first_difference(entries, max(entries.first_index, log.base_index))
        if new_index <= entries.last_index:
            if new_index <= max(journal.commit_index, self.verified_index):
                self.violations += 1  # no leader has another entry in place of a committed one, or of its own
                return
            journal.overwrite(entries, new_index)
        self._verified(entries.last_index, message.commit_index)
        self._acknowledge(sender, message.round, entries.last_index)

    def handle_heartbeat(self, sender: NodeId, message: Heartbeat) -> None:
        self._verified(self.verified_index, message.commit_index)
        if message.round:
            reply = HeartbeatReply(message.term, message.round, self._journal.commit_index)
            self._journal.send(sender, reply)

    def handle_snapshot_chunk(self, sender: NodeId, message: SnapshotChunk) -> None:
        meta, log = message.meta, self._journal.log
        if meta.index <= self._journal.commit_index:
            # Old: it could only take back what is committed. Tell where the entries after it begin.
            index = self._journal.commit_index
            hint_term = log.term_at(index) or 0
            self._journal.send(sender, AppendReply(message.term, message.round, False, index, hint_term))
        elif log.term_at(meta.index) == meta.term:
            # All of it is in the log here (Log Matching Property), and it is committed: nothing to install.
            self._incoming = None
            self._verified(meta.index, meta.index)
            self._acknowledge(sender, message.round, meta.index)
        else:
            self._receive(sender, message)

    def _receive(self, sender: NodeId, message: SnapshotChunk) -> None:
        meta, incoming = message.meta, self._incoming
        if incoming is None or incoming.meta != meta:
            incoming = Incoming(meta)
        if meta.configuration != self._config.configuration:
            self.violations += 1  # the snapshot of another cluster
            self._answer_chunk(sender, message, False, 0)
        elif message.offset > incoming.size_bytes:
            self._answer_chunk(sender, message, False, incoming.size_bytes)
        else:
            self._incoming = incoming
            incoming.add(message.data[incoming.size_bytes - message.offset :])
            if incoming.size_bytes < meta.size_bytes:
                self._answer_chunk(sender, message, True, incoming.size_bytes)
            else:
                self._install(sender, message, incoming)

    def _install(self, sender: NodeId, message: SnapshotChunk, incoming: Incoming) -> None:
        meta = incoming.meta
        self._incoming = None
        if incoming.checksum != meta.checksum:
            self.violations += 1
            self._answer_chunk(sender, message, False, 0)
            return
        self._journal.install(Snapshot(meta, b"".join(incoming.parts)))
        self._verified(meta.index, meta.index)
        self._acknowledge(sender, message.round, meta.index)

    def _answer_chunk(self, sender: NodeId, message: SnapshotChunk, accepted: bool, offset: int) -> None:
        reply = SnapshotReply(message.term, message.round, accepted, message.meta.index, offset)
        self._journal.send(sender, reply)

    def _acknowledge(self, sender: NodeId, round_: int, index: int) -> None:
        reply = AppendReply(self._journal.term, round_, True, index, 0)
        self._journal.acknowledge(sender, reply, index)

    def _verified(self, index: int, leader_commit: int) -> None:
        """The log up to `index` is the leader's, so of that much the leader's commit index holds here too."""
        self.verified_index = max(self.verified_index, index)
        self._journal.commit_to(min(leader_commit, self.verified_index))
