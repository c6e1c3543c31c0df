"""A disk for one core: what is durable, and writes that are not yet."""

from dataclasses import dataclass

from quorate.consensus.raft import EntryBatch, HardState, Recovered, Snapshot, TermRun

Entry = tuple[int, bytes]  # term, data


@dataclass(frozen=True, slots=True)
class Write:
    seq: int
    hard_state: HardState | None
    snapshot: Snapshot | None
    entries: EntryBatch | None


def unroll(batch: EntryBatch) -> list[Entry]:
    """The entries of a batch one by one."""
    terms = [run.term for run in batch.runs for _ in range(run.count)]
    assert len(terms) == len(batch.data)
    return list(zip(terms, batch.data, strict=True))


class Disk:
    """Term, vote, snapshot and log that survive; `pending` may survive from the front on."""

    def __init__(self) -> None:
        self.hard_state = HardState()
        self.snapshot: Snapshot | None = None
        self.first_index = 1
        self.entries: list[Entry] = []
        self.pending: list[Write] = []

    @property
    def last_index(self) -> int:
        return self.first_index + len(self.entries) - 1

    def write(self, write: Write) -> None:
        self.pending.append(write)

    def sync(self, count: int | None = None) -> int:
        """Make the first `count` pending writes durable (all by default); the number of the last."""
        done, self.pending = self.pending[:count], self.pending[len(self.pending[:count]) :]
        for write in done:
            self._make_durable(write)
        return done[-1].seq if done else 0

    def crash(self, kept: int, torn: int = 0) -> None:
        """Lose what is pending but its first `kept` writes, and of the next one what `torn` says.

        1: its term and vote survive; 2: and its snapshot, but the old log has not been dropped; 3 and more:
        and so many of its entries, less three.
        """
        self.sync(kept)
        if self.pending and torn:
            write = self.pending[0]
            self._make_durable(Write(0, write.hard_state, None, None))
            if write.snapshot is not None:
                if torn == 2:
                    self.snapshot = write.snapshot
                elif torn > 2:
                    self._make_durable(Write(0, None, write.snapshot, None))
            if write.entries is not None and torn > 3:
                self._make_entries_durable(write.entries, torn - 3)
        self.pending.clear()

    def save_own_snapshot(self, snapshot: Snapshot, trailing: int) -> None:
        """A snapshot of entries that are durable already; the log keeps at least what follows it."""
        if self.snapshot is None or snapshot.meta.index > self.snapshot.meta.index:
            self.snapshot = snapshot
            self._cut_before(max(1, snapshot.meta.index + 1 - trailing))

    def term_at(self, index: int) -> int | None:
        """Term of a durable entry."""
        if self.snapshot is not None and index == self.snapshot.meta.index:
            return self.snapshot.meta.term
        if self.first_index <= index <= self.last_index:
            return self.entries[index - self.first_index][0]
        return None

    def holds(self, index: int, term: int) -> bool:
        """The entry is durable here, by itself or within a snapshot."""
        if self.snapshot is not None and index <= self.snapshot.meta.index:
            return True
        return self.term_at(index) == term

    def recover(self) -> Recovered:
        runs: list[TermRun] = []
        for term, _ in self.entries:
            if runs and runs[-1].term == term:
                runs[-1] = TermRun(term, runs[-1].count + 1)
            else:
                runs.append(TermRun(term, 1))
        data = [entry for _, entry in self.entries]
        return Recovered(self.hard_state, self.snapshot, EntryBatch(self.first_index, tuple(runs), data))

    def _make_durable(self, write: Write) -> None:
        if write.hard_state is not None:
            assert write.hard_state.term >= self.hard_state.term
            self.hard_state = write.hard_state
        if write.snapshot is not None:
            self.snapshot = write.snapshot
            self.first_index = write.snapshot.meta.index + 1
            self.entries = []
        if write.entries is not None:
            self._make_entries_durable(write.entries, len(write.entries))

    def _make_entries_durable(self, batch: EntryBatch, count: int) -> None:
        keep = batch.first_index - self.first_index
        assert 0 <= keep <= len(self.entries), "a gap in the log on disk"
        self.entries[keep:] = unroll(batch)[:count]

    def _cut_before(self, first_index: int) -> None:
        if first_index > self.first_index:
            del self.entries[: first_index - self.first_index]
            self.first_index = first_index
