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
    "LinearResult",
    "Nemesis",
    "NodeDied",
    "NodeIsDown",
    "NotSimulated",
    "Op",
    "Outcome",
    "PlannedOp",
    "RunRecord",
    "RunSpec",
    "SimDisk",
    "Simulation",
    "SimulationError",
    "Stage",
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
    "plan",
    "render",
    "run",
    "simulate",
]
