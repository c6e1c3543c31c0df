"""Vacuity: did this run test anything? It says `valid` (it did) or `unknown`, and is never `invalid`.

The faults' own evidence is the authority over whether they bit. What must never happen here: a run in which nothing
happened while something was broken counts for the other verdicts.
"""

from bisect import bisect_right
from collections.abc import Sequence

from quorate.jepsen_like.history import History, Pair
from quorate.jepsen_like.record import FaultRecord
from quorate.jepsen_like.verdict import Verdict, judge

_NS = 1_000_000_000


def check_evidence(
    history: History,
    faults: Sequence[FaultRecord],
    *,
    ok_in_faults_min: int = 10,
    felt_s: float = 1.0,
    healed: str = "healed",
) -> Verdict:
    """Faults were injected, all of them bit, clients were served meanwhile, and again after the heal; else unknown.

    Expects the pairs of clients, who are processes with numbers (nemeses and internal steps have names and do not
    count), and `faults` in times of the history. An operation counts as served in a fault when its `ok` came while
    the fault lasted or up to `felt_s` (seconds, default 1.0) later, for a reset or a kill has no duration; at least
    `ok_in_faults_min` (default 10) must be, all faults together. The heal is the last note of f `healed`, or
    without one the end of the last fault; one operation that was invoked after it must be acknowledged. A run
    without faults is unknown here: leave this check out where none were wanted. (Jepsen's stats checker; "a fault
    that left no evidence did not happen".)
    """
    if not len(history):
        return judge("evidence", [], 0, "")
    served = [
        pair for pair in history.pairs() if isinstance(pair.invoked.process, int) and pair.outcome == "ok"
    ]
    inside = _served_inside(served, faults, round(felt_s * _NS))
    heal = _heal(history, faults, healed)
    after = 0 if heal is None else sum(_place(pair) > heal for pair in served)
    doubts = [
        f"{fault.kind} on {', '.join(fault.nodes) or 'nobody'} at {fault.from_ns / _NS:.3f} s left no evidence that it bit"
        for fault in faults
        if fault.evidence <= 0
    ]
    if not faults:
        doubts.append("no fault was injected")
    elif inside < ok_in_faults_min:
        doubts.append(
            f"{inside} operations were acknowledged during faults, and {ok_in_faults_min} are wanted"
        )
    if faults and heal is None:
        doubts.append("a fault lasted to the end, and no heal was noted")
    elif faults and not after:
        doubts.append("nothing was acknowledged after the heal")
    summary = (
        f"{len(faults):,} faults; {len(served):,} operations acknowledged, "
        f"{inside:,} during faults, {after:,} after the heal"
    )
    return judge("evidence", [], len(faults), summary, doubts=doubts)


def _served_inside(served: Sequence[Pair], faults: Sequence[FaultRecord], felt_ns: int) -> int:
    """How many were acknowledged inside any window; windows overlap, operations count once."""
    starts: list[int] = []
    ends: list[float] = []
    for fault in sorted(faults, key=lambda fault: fault.from_ns):
        end = float("inf") if fault.until_ns is None else fault.until_ns + felt_ns
        if ends and fault.from_ns <= ends[-1]:
            ends[-1] = max(ends[-1], end)
        else:
            starts.append(fault.from_ns)
            ends.append(end)
    count = 0
    for pair in served:
        assert pair.completed is not None
        window = bisect_right(starts, pair.completed.time_ns) - 1
        count += window >= 0 and pair.completed.time_ns <= ends[window]
    return count


def _heal(history: History, faults: Sequence[FaultRecord], healed: str) -> tuple[int, int] | None:
    """When (time, index) all was well again."""
    if noted := history.notes(healed):
        return noted[-1].time_ns, noted[-1].index
    ends = [fault.until_ns for fault in faults]
    known = [end for end in ends if end is not None]
    return (max(known), -1) if known and len(known) == len(ends) else None


def _place(pair: Pair) -> tuple[int, int]:
    return pair.invoked.time_ns, pair.invoked.index
