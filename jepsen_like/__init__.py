"""The harness: simulation, faults, workloads, histories, checkers and reports, for us and for users' applications.

    simulate(main)                          a whole cluster in one process, on imaginary time (`simulation`)
    run(RunSpec("registry", seed=7))        a workload under faults, from a seed to its verdicts (`runner`)
    run_campaign(...)                       many of them, on all cores (`campaign`)
    Nemesis(sim, plan(...))                 faults as data, and who carries them out (`nemesis`)
    check_linearizable(history, "kv")       was it one object, in one order? (`linear`, `checkers`)
    render(record)                          one page that needs no network (`report`)

`SimDisk` and `FaultyNetwork` stand behind the `Disk` and `Network` ports and fail on demand; a `History` records what
clients asked and were told, in Jepsen's form.
"""

from .campaign import Keep, Result, Tally, parse_seeds, run_campaign, run_one
from .checkers import (
    Holding,
    Interval,
    Outcome,
    Verdict,
    check_claims,
    check_convergence,
    check_counter_reads,
    check_counter_replies,
    check_counters,
    check_downs,
    check_effects,
    check_evidence,
    check_fences,
    check_liveness,
    check_order,
    check_unique_ids,
    claim_intervals,
)
from .disk import DiskFault, SimDisk
from .history import Completion, History, HistoryError, Op
from .linear import LinearResult, check_linearizable, parse_history
from .nemesis import Fault, Nemesis, plan
from .network import FaultyNetwork
from .record import FaultRecord, RunRecord, Window
from .report import render
from .runner import RunSpec, run
from .shrink import Shrunk, shrink_run
from .simulation import Hang, NodeDied, NodeIsDown, NotSimulated, Simulation, SimulationError, simulate
from .taps import Evidence
from .workloads import WORKLOADS, PlannedOp, Stage, Workload

__all__ = [
    "WORKLOADS",
    "Completion",
    "DiskFault",
    "Evidence",
    "Fault",
    "FaultRecord",
    "FaultyNetwork",
    "Hang",
    "History",
    "HistoryError",
    "Holding",
    "Interval",
    "Keep",
    "LinearResult",
    "Nemesis",
    "NodeDied",
    "NodeIsDown",
    "NotSimulated",
    "Op",
    "Outcome",
    "PlannedOp",
    "Result",
    "RunRecord",
    "RunSpec",
    "Shrunk",
    "SimDisk",
    "Simulation",
    "SimulationError",
    "Stage",
    "Tally",
    "Verdict",
    "Window",
    "Workload",
    "check_claims",
    "check_convergence",
    "check_counter_reads",
    "check_counter_replies",
    "check_counters",
    "check_downs",
    "check_effects",
    "check_evidence",
    "check_fences",
    "check_linearizable",
    "check_liveness",
    "check_order",
    "check_unique_ids",
    "claim_intervals",
    "parse_history",
    "parse_seeds",
    "plan",
    "render",
    "run",
    "run_campaign",
    "run_one",
    "shrink_run",
    "simulate",
]
