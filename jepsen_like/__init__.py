"""The harness: faults, histories and checkers, for this library's own tests and for users' applications.

`SimDisk` and `FaultyNetwork` stand behind the `Disk` and `Network` ports and fail on demand; a `History` records what
clients asked and were told, in Jepsen's form; the checkers say whether that can be so.
"""

from .checkers import (
    Interval,
    Verdict,
    check_claims,
    check_counter_replies,
    check_counters,
    check_fences,
    claim_intervals,
)
from .disk import DiskFault, SimDisk
from .history import Completion, History, HistoryError, Op
from .network import FaultyNetwork
from .taps import Evidence

__all__ = [
    "Completion",
    "DiskFault",
    "Evidence",
    "FaultyNetwork",
    "History",
    "HistoryError",
    "Interval",
    "Op",
    "SimDisk",
    "Verdict",
    "check_claims",
    "check_counter_replies",
    "check_counters",
    "check_fences",
    "claim_intervals",
]
