"""Claims: the intervals in which owners held a name, as witnessed by their own nodes, and that no two overlap.

Times are of one clock, the world's: what a node's own clock said is of no interest, for it may be wrong. What must
never happen here: an interval that was told late, or in another order, hides an overlap.
"""

import itertools
from dataclasses import dataclass
from math import inf

from quorate.jepsen_like.history import History, HistoryError, Op
from quorate.jepsen_like.verdict import Verdict, judge

from .entries import entries, fence_and_owner, key_of


@dataclass(frozen=True, slots=True)
class Interval:
    """One owner of one name, as witnessed: from when it knew of its claim to when it knew no longer (inf: it does yet).

    `held` and `released` are the indices of the entries that say so; `released` is None for one that has not ended.
    """

    key: str
    fence: int
    owner: str
    from_ns: int
    until_ns: float
    held: int = 0
    released: int | None = None


def claim_intervals(history: History) -> dict[str, list[Interval]]:
    """Who held each name when, as witnessed, in the order of the fences. Raises `HistoryError` for malformed notes."""
    ends: dict[tuple[str, int, str], Op] = {}
    for op in history.notes("released"):
        fence, owner = fence_and_owner(op)
        place = (key_of(op), fence, owner)
        if place not in ends or ends[place].time_ns <= op.time_ns:
            ends[place] = op
    intervals: dict[str, list[Interval]] = {}
    for op in history.notes("held"):
        fence, owner = fence_and_owner(op)
        key = key_of(op)
        end = ends.pop((key, fence, owner), None)
        until_ns, released = (inf, None) if end is None else (end.time_ns, end.index)
        interval = Interval(key, fence, owner, op.time_ns, until_ns, op.index, released)
        intervals.setdefault(key, []).append(interval)
    if ends:
        place = min(ends)
        key, fence, owner = place
        raise HistoryError(
            f"entry {ends[place].index}: {owner} released {key!r} with fence {fence}, which nobody saw it hold"
        )
    for held in intervals.values():
        held.sort(key=lambda interval: (interval.fence, interval.from_ns))
    return intervals


def check_claims(history: History) -> Verdict:
    """No two owners of a name at once, as witnessed, and every later owner has a higher fence.

    Expects notes of f "held" and "released" with a key, value {"fence": int, "owner": str}, by the owner's node or,
    when that died, by whoever saw it die. A claim that is never released lasts for ever. Times decide; of two
    entries at the same moment the index does. (What Jepsen's lock tests ask of a mutex, with Chubby's sequencers.)
    """
    problems: list[str] = []
    claims = handed_on = 0
    narrowest_ns = inf
    for held in claim_intervals(history).values():
        claims += len(held)
        latest = held[0]  # whoever held it longest of those before
        for earlier, later in itertools.pairwise(held):
            handed_on += 1
            if earlier.until_ns >= latest.until_ns:
                latest = earlier
            gap_ns = later.from_ns - latest.until_ns
            narrowest_ns = min(narrowest_ns, gap_ns)
            if earlier.fence == later.fence:
                problems.append(f"{_show(earlier)} and {_show(later)}: one fence, two claims")
            elif not _ended_before(latest, later):
                problems.append(f"{_show(latest)} overlaps {_show(later)} by {-gap_ns / 1e6:.1f} ms")
    summary = f"{claims:,} claims, {handed_on:,} of them after another owner's"
    if handed_on and not problems:
        summary += f"; the narrowest gap between two owners was {narrowest_ns / 1e6:,.0f} ms"
    return judge("claims", problems, claims, summary)


def _ended_before(earlier: Interval, later: Interval) -> bool:
    """In virtual time one can end and the next begin in the same nanosecond."""
    if earlier.released is None:
        return False
    return (earlier.until_ns, earlier.released) < (later.from_ns, later.held)


def _show(interval: Interval) -> str:
    until = "now" if interval.released is None else f"{interval.until_ns / 1e9:.6f}"
    told = [interval.held] if interval.released is None else [interval.held, interval.released]
    return (
        f"{interval.key!r} of {interval.owner} (fence {interval.fence}, "
        f"{interval.from_ns / 1e9:.6f} to {until} s, {entries(told)})"
    )
