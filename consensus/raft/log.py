"""The log in memory: a list of byte strings, the terms beside it in run-length form, and a moving base.

`Journal` is the only one to change it. Index `base_index` is the last entry that is no longer held (0 at
first); its term is still known, because the entry after it is checked against it. Terms never decrease
along the log. Nothing here works entry by entry in Python: slices, `sum(map(len, ...))` and bisection over
the few runs do all of it.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate

from .types import EntryBatch, TermRun


class Log:
    """Entries `first_index` to `last_index` of a replica, some of them perhaps not durable yet."""

    __slots__ = ("_data", "_starts", "_terms", "base_index", "base_term", "last_index")

    def __init__(self, base_index: int = 0, base_term: int = 0) -> None:
        self.reset(base_index, base_term)

    def reset(self, base_index: int, base_term: int) -> None:
        """Forget everything; the next entry is `base_index + 1`."""
        self.base_index = base_index
        self.base_term = base_term
        self.last_index = base_index
        self._data: list[bytes] = []
        self._starts: list[int] = []  # first index of each run of one term
        self._terms: list[int] = []

    @property
    def first_index(self) -> int:
        """Index of the first entry that is held (`last_index + 1` when none is)."""
        return self.base_index + 1

    @property
    def last_term(self) -> int:
        """Term of the last entry, held or not."""
        return self._terms[-1] if self._terms else self.base_term

    def term_at(self, index: int) -> int | None:
        """Term of an entry, or None when it is not known (compacted away, or beyond the end)."""
        if index > self.last_index or index < self.base_index:
            return None
        if index == self.base_index:
            return self.base_term
        if index >= self._starts[-1]:
            return self._terms[-1]
        return self._terms[bisect_right(self._starts, index) - 1]

    def append(self, term: int, data: Sequence[bytes]) -> None:
        """Add entries of one term at the end."""
        assert term >= self.last_term, (
            f"term {term} after {self.last_term}: terms never decrease along the log"
        )
        if data and (not self._terms or self._terms[-1] != term):
            self._starts.append(self.last_index + 1)
            self._terms.append(term)
        self._data.extend(data)
        self.last_index += len(data)

    def append_batch(self, batch: EntryBatch, first_index: int) -> None:
        """Add the entries of `batch` from `first_index` on, which must be the next index."""
        assert first_index == self.last_index + 1, f"entry {first_index} after {self.last_index}"
        skip = first_index - batch.first_index
        index = batch.first_index
        for run in batch.runs:
            end = index + run.count
            if end > first_index and (not self._terms or self._terms[-1] != run.term):
                assert run.term >= self.last_term, f"term {run.term} after {self.last_term}"
                self._starts.append(max(index, first_index))
                self._terms.append(run.term)
            index = end
        self._data.extend(batch.data[skip:] if skip else batch.data)
        self.last_index = batch.last_index

    def truncate(self, first_index: int) -> None:
        """Remove the entries from `first_index` on."""
        assert first_index > self.base_index, f"entry {first_index} is compacted away"
        del self._data[first_index - self.base_index - 1 :]
        keep = bisect_left(self._starts, first_index)
        del self._starts[keep:], self._terms[keep:]
        self.last_index = self.base_index + len(self._data)

    def compact(self, index: int) -> None:
        """Let go of the entries up to `index`, which must be held (or the base already)."""
        term = self.term_at(index)
        assert term is not None, f"entry {index} is not in {self.base_index}..{self.last_index}"
        if index == self.last_index:
            self._starts.clear()
            self._terms.clear()
        else:
            keep = bisect_right(self._starts, index + 1) - 1
            del self._starts[:keep], self._terms[:keep]
            self._starts[0] = index + 1
        del self._data[: index - self.base_index]
        self.base_index = index
        self.base_term = term

    def trailing(self, index: int, max_entries: int, max_bytes: int) -> int:
        """Where to compact for a snapshot at `index`: so many entries, and bytes, may stay before it."""
        first = max(self.base_index, index - max_entries)
        sizes = map(len, reversed(self._data[first - self.base_index : index - self.base_index]))
        return index - bisect_right(list(accumulate(sizes)), max_bytes)

    def batch(self, first_index: int, last_index: int) -> EntryBatch:
        """Entries `first_index` to `last_index`, all of which must be held."""
        assert self.base_index < first_index and last_index <= self.last_index
        offset = first_index - self.base_index - 1
        data = self._data[offset : offset + last_index - first_index + 1]
        return EntryBatch(first_index, self._runs(first_index, last_index), data)

    def batch_within(self, first_index: int, max_entries: int, max_bytes: int) -> EntryBatch:
        """As many entries from `first_index` on as the limits allow, but at least one if there is one."""
        offset = first_index - self.base_index - 1
        data = self._data[offset : offset + max_entries]
        if sum(map(len, data)) > max_bytes:
            del data[max(1, bisect_right(list(accumulate(map(len, data))), max_bytes)) :]
        return EntryBatch(first_index, self._runs(first_index, first_index + len(data) - 1), data)

    def size_bytes(self, first_index: int, last_index: int) -> int:
        """Bytes of data in the entries `first_index` to `last_index`."""
        offset = first_index - self.base_index - 1
        return sum(map(len, self._data[offset : offset + last_index - first_index + 1]))

    def first_difference(self, batch: EntryBatch, from_index: int) -> int:
        """The first index in `batch`, from `from_index` on, that is beyond the end or of another term here.

        `batch.last_index + 1` when all of it is here already. By the Log Matching Property (Raft paper 5.3)
        an entry of the same index and term is the same entry.
        """
        index, end = from_index, batch.first_index
        for run in batch.runs:
            end += run.count
            while index < end:
                if self.term_at(index) != run.term:
                    return index
                index = min(end, self._end_of_run(index))
        return index

    def last_at_or_below(self, index: int, term: int) -> tuple[int, int]:
        """Index and term of the last entry up to `index` whose term is at most `term`, or the base.

        What a follower that refuses entries answers, and what the leader makes of that answer: between them
        they skip whole terms at a time (Raft paper 5.3, last paragraphs, in the form that etcd gave it).
        """
        index = min(index, self.last_index)
        run = bisect_right(self._starts, index) - 1
        while run >= 0 and self._terms[run] > term:
            index = self._starts[run] - 1
            run -= 1
        return (index, self._terms[run]) if run >= 0 else (self.base_index, self.base_term)

    def _end_of_run(self, index: int) -> int:
        """One past the last index of the run that holds `index`."""
        if index == self.base_index:
            return index + 1
        run = bisect_right(self._starts, index)
        return self._starts[run] if run < len(self._starts) else self.last_index + 1

    def _runs(self, first_index: int, last_index: int) -> tuple[TermRun, ...]:
        if first_index > last_index:
            return ()
        if first_index >= self._starts[-1]:
            return (TermRun(self._terms[-1], last_index - first_index + 1),)
        runs = []
        index = first_index
        while index <= last_index:
            end = min(last_index + 1, self._end_of_run(index))
            runs.append(TermRun(self._terms[bisect_right(self._starts, index) - 1], end - index))
            index = end
        return tuple(runs)
