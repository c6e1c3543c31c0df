"""Checkers: pure functions from a history to a verdict.

    verdict = check_counters(history, finals)
    assert verdict.valid, verdict

A verdict is `valid`, `invalid` (with the problems, each naming entries of the history by index) or `unknown`: the
history does not hold enough to say, and an empty one never does. They judge what was recorded and nothing else, so
a recorder that leaves something out makes them blind; what must never happen here is `valid` by default. An entry
that a checker cannot read raises `HistoryError`. What each expects in a history stands in its docstring:

    check_counters         final values: acknowledged <= value <= attempted
    check_counter_reads    the same for reads at any time
    check_counter_replies  replies are those of one counter
    check_unique_ids       no id twice
    check_effects          acknowledged operations exactly once, unknown ones at most once, failed ones never
    check_fences           no effect of a lower fence after a higher one
    check_claims           no two owners of a name at once
    check_order            first in, first out, per pair of processes
    check_downs            exactly one DOWN per monitor of a dead process
    check_convergence      all nodes know the same, and it is the truth
    check_liveness         after the heal everything works within a bound
    check_evidence         whether the run tested anything at all
"""

from quorate.jepsen_like.verdict import PROBLEMS_LIMIT, Outcome, Verdict

from .claims import Interval, check_claims, claim_intervals
from .convergence import Holding, check_convergence
from .counters import check_counter_reads, check_counter_replies, check_counters
from .downs import check_downs
from .effects import check_effects
from .fences import check_fences
from .liveness import check_liveness
from .order import check_order
from .unique import check_unique_ids
from .vacuity import check_evidence

__all__ = [
    "PROBLEMS_LIMIT",
    "Holding",
    "Interval",
    "Outcome",
    "Verdict",
    "check_claims",
    "check_convergence",
    "check_counter_reads",
    "check_counter_replies",
    "check_counters",
    "check_downs",
    "check_effects",
    "check_evidence",
    "check_fences",
    "check_liveness",
    "check_order",
    "check_unique_ids",
    "claim_intervals",
]
