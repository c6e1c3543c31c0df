"""Term, vote and log of one replica: what it holds, what of it is durable, what of it is committed.

The authority over all of that; `Raft`, `Leader` and `Follower` change it through the methods here. What
must never happen: a promise (a vote, an acknowledgement of entries) leaves before what it promises is
durable; a committed entry changes; an entry is handed out for applying that is not both committed and
durable here.

Writes are numbered. `take_write` hands out what has changed since the last one; `persisted` tells that it
has reached the disk; a held message leaves when the write that it depends on has. A later write may replace
entries of an earlier one that is still on its way: what the earlier one makes durable then ends before
them.
"""

from collections import deque
from collections.abc import Sequence

from .log import Log
from .messages import Message
from .types import EntryBatch, HardState, NodeId, Recovered, Snapshot


class _Write:
    """A write on its way, and the last index of the log, as the log is now, that it makes durable."""

    __slots__ = ("last_index", "seq", "term")

    def __init__(self, seq: int, term: int, last_index: int) -> None:
        self.seq = seq
        self.term = term
        self.last_index = last_index


class Journal:
    """The state of a replica that outlives its process, and the messages that wait for it to be durable."""

    def __init__(self, recovered: Recovered) -> None:
        snapshot = recovered.snapshot
        self.snapshot = snapshot
        self.term = recovered.hard_state.term
        self.vote = recovered.hard_state.vote
        self.log, kept = _recovered_log(recovered)
        if self.log.last_term > self.term:
            raise ValueError(
                f"the log ends in term {self.log.last_term}, but the term on disk is {self.term}"
            )
        base = snapshot.meta.index if snapshot else 0
        self.commit_index = base  # not kept on disk: the next leader tells
        self.durable_index = self.log.last_index
        self.durable_term = self.term
        self._handed_index = base
        self._written_index = self.log.last_index
        self._written_state = recovered.hard_state
        # Else the log on disk does not lead up to the snapshot: have it dropped before it is appended to.
        self._unwritten_snapshot = None if kept else snapshot
        self._write_seq = 0
        self._persisted_seq = 0
        self._writes: deque[_Write] = deque()
        self._held: deque[tuple[int, NodeId, Message]] = deque()
        self._outbox: list[tuple[NodeId, Message]] = []

    # -- messages ------------------------------------------------------------------------------------------

    def send(self, to: NodeId, message: Message) -> None:
        """Send a message that promises nothing, or nothing that is not durable already."""
        self._outbox.append((to, message))

    def send_when_durable(self, to: NodeId, message: Message) -> None:
        """Send a message when everything that has changed so far is durable."""
        seq = self._write_seq + 1 if self._changed() else self._write_seq
        if seq > self._persisted_seq:
            self._held.append((seq, to, message))
        else:
            self._outbox.append((to, message))

    def acknowledge(self, to: NodeId, message: Message, index: int) -> None:
        """Send a message that promises the log up to `index`, and this term."""
        if index <= self.durable_index and self.durable_term == self.term:
            self._outbox.append((to, message))
        else:
            self.send_when_durable(to, message)

    def take_messages(self) -> Sequence[tuple[NodeId, Message]]:
        messages, self._outbox = self._outbox, []
        return messages

    # -- changes -------------------------------------------------------------------------------------------

    def enter_term(self, term: int, vote: NodeId | None) -> None:
        """Move on to a later term. What had been kept back for an earlier one is not said any more."""
        assert term > self.term, f"term {term} after {self.term}"
        self.term = term
        self.vote = vote
        self._held.clear()

    def vote_for(self, candidate: NodeId) -> None:
        """Give the one vote of this term (again, if it was the same one's already)."""
        assert self.vote in (None, candidate), f"voted for {self.vote} in term {self.term}"
        self.vote = candidate

    def append(self, data: Sequence[bytes]) -> int:
        """Add entries of this term; their first index."""
        first_index = self.log.last_index + 1
        self.log.append(self.term, data)
        return first_index

    def overwrite(self, batch: EntryBatch, first_index: int) -> None:
        """Let the entries of `batch` from `first_index` on take the place of what is there."""
        assert first_index > self.commit_index, f"entry {first_index} is committed and would change"
        if first_index <= self.log.last_index:
            self.log.truncate(first_index)
            self._forget_from(first_index)
        self.log.append_batch(batch, first_index)

    def install(self, snapshot: Snapshot) -> None:
        """Let a snapshot take the place of the whole log."""
        meta = snapshot.meta
        assert meta.index > self.commit_index, f"snapshot {meta.index} at commit index {self.commit_index}"
        self._forget_from(1)
        self.log.reset(meta.index, meta.term)
        self.snapshot = self._unwritten_snapshot = snapshot
        self.commit_index = self._handed_index = self._written_index = meta.index

    def commit_to(self, index: int) -> bool:
        """Everything up to `index` is committed. True when that is news."""
        if index <= self.commit_index:
            return False
        assert index <= self.log.last_index, (
            f"commit index {index} beyond the log's end {self.log.last_index}"
        )
        self.commit_index = index
        return True

    def compact(self, snapshot: Snapshot, trailing_entries: int, trailing_bytes: int) -> None:
        """A durable snapshot of an applied entry exists: let go of entries well before it."""
        meta = snapshot.meta
        if self.snapshot is not None and meta.index <= self.snapshot.meta.index:
            return
        if meta.index > min(self._handed_index, self.durable_index):
            raise ValueError(f"a snapshot of entry {meta.index}, which has not been applied")
        if self.log.term_at(meta.index) != meta.term:
            raise ValueError(f"entry {meta.index} is not of term {meta.term}")
        self.snapshot = snapshot
        self.log.compact(self.log.trailing(meta.index, trailing_entries, trailing_bytes))

    # -- writes --------------------------------------------------------------------------------------------

    def take_write(self) -> tuple[int, HardState | None, Snapshot | None, EntryBatch | None]:
        """What has changed since the last call, and its number (0: nothing)."""
        if not self._changed():
            return 0, None, None, None
        state = HardState(self.term, self.vote)
        hard_state = state if state != self._written_state else None
        snapshot, self._unwritten_snapshot = self._unwritten_snapshot, None
        entries = None
        if self._written_index < self.log.last_index:
            entries = self.log.batch(self._written_index + 1, self.log.last_index)
        self._write_seq += 1
        self._written_state = state
        self._written_index = self.log.last_index
        self._writes.append(_Write(self._write_seq, self.term, self.log.last_index))
        return self._write_seq, hard_state, snapshot, entries

    def persisted(self, write_seq: int, own_id: NodeId) -> list[Message]:
        """All writes up to `write_seq` are durable. Lets messages go; returns those that are for `own_id`."""
        if write_seq > self._write_seq:
            raise ValueError(f"write {write_seq} is durable, but {self._write_seq} was the last")
        while self._writes and self._writes[0].seq <= write_seq:
            write = self._writes.popleft()
            self._persisted_seq = write.seq
            self.durable_term = write.term
            self.durable_index = max(self.durable_index, write.last_index)
        to_self = []
        while self._held and self._held[0][0] <= self._persisted_seq:
            _, to, message = self._held.popleft()
            if to == own_id:
                to_self.append(message)
            else:
                self._outbox.append((to, message))
        return to_self

    def take_committed(self) -> EntryBatch | None:
        """Entries that can be applied and have not been handed out before."""
        last_index = min(self.commit_index, self.durable_index)
        if last_index <= self._handed_index:
            return None
        batch = self.log.batch(self._handed_index + 1, last_index)
        self._handed_index = last_index
        return batch

    @property
    def handed_index(self) -> int:
        """Last entry that was handed out for applying (or is in a snapshot that was)."""
        return self._handed_index

    def _changed(self) -> bool:
        return (
            self._written_index < self.log.last_index
            or self.term != self._written_state.term
            or self.vote != self._written_state.vote
            or self._unwritten_snapshot is not None
        )

    def _forget_from(self, first_index: int) -> None:
        """What is durable, or on its way, from `first_index` on is not what the log holds there now."""
        self.durable_index = min(self.durable_index, first_index - 1)
        self._written_index = min(self._written_index, first_index - 1)
        for write in self._writes:
            write.last_index = min(write.last_index, first_index - 1)

    def check(self) -> None:
        """Assert what always holds."""
        log = self.log
        assert log.base_index <= self._handed_index <= self.commit_index <= log.last_index
        assert self._written_index <= log.last_index and self.durable_index <= log.last_index
        assert log.last_term <= self.term and self.durable_term <= self.term


def _recovered_log(recovered: Recovered) -> tuple[Log, bool]:
    """The log as found on disk, and whether it can be continued there: it leads up to the snapshot."""
    snapshot, entries = recovered.snapshot, recovered.entries
    index, term = (snapshot.meta.index, snapshot.meta.term) if snapshot else (0, 0)
    if not 1 <= entries.first_index <= index + 1:
        raise ValueError(f"the log begins at entry {entries.first_index}, the snapshot ends at {index}")
    if sum(run.count for run in entries.runs) != len(entries):
        raise ValueError(f"{len(entries)} entries, but terms for {sum(run.count for run in entries.runs)}")
    log = Log(index, term)
    if entries.first_index == index + 1:
        log.append_batch(entries, index + 1)
        return log, True
    if len(entries):
        # The term before the first entry is unknown, so the first entry itself becomes the base.
        log.reset(entries.first_index, entries.runs[0].term)
        log.append_batch(entries, entries.first_index + 1)
        if log.term_at(index) == term:
            return log, True
        log.reset(index, term)
    return log, False
