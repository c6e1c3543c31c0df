"""Where a log begins and ends and which term each index has, without the entries. Pure.

`Wal` keeps one of what it has written and recovery builds one of what it reads: the same rules for both, so what
was written is what is read. What must never happen here: a gap.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from quorate.consensus.raft.types import HardState, TermRun


class LogShape:
    """Entries `base + 1 … last`; their terms in runs. `base_term` is None when it is not known."""

    __slots__ = ("_starts", "_terms", "base", "base_term", "last")

    def __init__(self, base: int = 0, base_term: int | None = 0) -> None:
        self.base = base
        self.base_term = base_term
        self.last = base
        self._starts: list[int] = []
        self._terms: list[int] = []

    @property
    def last_term(self) -> int:
        """Term of the last entry, or of the base; 0 when that is not known."""
        return self._terms[-1] if self._terms else self.base_term or 0

    def term_at(self, index: int) -> int | None:
        """The term of an entry or of the base; None outside."""
        if index == self.base:
            return self.base_term
        if not self.base < index <= self.last:
            return None
        return self._terms[bisect_right(self._starts, index) - 1]

    def append(self, first_index: int, runs: Sequence[TermRun]) -> None:
        """Entries from `first_index` on replace what stood there and behind.

        Raises `ValueError` when that leaves a gap or when terms would go down, which Raft never lets them.
        """
        if first_index > self.last + 1 or first_index < 1:
            raise ValueError(f"entries from {first_index} on do not follow a log that ends at {self.last}")
        keep = bisect_left(self._starts, first_index)
        before = self._terms[keep - 1] if keep else 0
        if first_index == self.base + 1:
            before = self.base_term or 0
        for run in runs:
            if run.term < before or run.count < 1:
                raise ValueError(f"a run of {run.count} entries of term {run.term} follows term {before}")
            before = run.term
        if first_index <= self.base:  # what was replaced stood in segments that are gone
            self.base, self.base_term = first_index - 1, None
        del self._starts[keep:], self._terms[keep:]
        index = first_index
        for run in runs:
            if not self._terms or run.term != self._terms[-1]:
                self._starts.append(index)
                self._terms.append(run.term)
            index += run.count
        self.last = index - 1

    def reset(self, index: int, term: int) -> None:
        """A snapshot stands for everything up to `index`; nothing follows it."""
        self.base, self.base_term, self.last = index, term, index
        self._starts.clear()
        self._terms.clear()

    def runs(self) -> tuple[TermRun, ...]:
        """The terms of `base + 1 … last`."""
        edges = [*self._starts, self.last + 1]
        return tuple(
            TermRun(term, end - start)
            for term, start, end in zip(self._terms, edges, edges[1:], strict=False)
        )


def require_successor(old: HardState, new: HardState) -> None:
    """Raises `ValueError` when a replica that was in state `old` cannot come to `new`."""
    if new.term < old.term:
        raise ValueError(f"term {new.term} follows term {old.term}")
    if new.term == old.term and old.vote is not None and new.vote != old.vote:
        raise ValueError(f"a vote for {new.vote!r} follows one for {old.vote!r} in the same term {old.term}")
