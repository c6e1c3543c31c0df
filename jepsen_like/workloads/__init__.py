"""Workloads: what clients do in a run, and what must hold of it. `WORKLOADS` names them all; `base.py` says how one is made."""

from .base import (
    WITNESS_S,
    Outcome,
    PlannedOp,
    Skipped,
    Stage,
    Workload,
    carry_out,
    no_surprises,
    planned,
    probe,
)
from .messages import MessagesWorkload
from .register import RegisterWorkload
from .registry import RegistryWorkload
from .singletons import SingletonsWorkload

WORKLOADS: dict[str, type[Workload]] = {
    workload.name: workload
    for workload in (RegistryWorkload, SingletonsWorkload, RegisterWorkload, MessagesWorkload)
}

__all__ = [
    "WITNESS_S",
    "WORKLOADS",
    "MessagesWorkload",
    "Outcome",
    "PlannedOp",
    "RegisterWorkload",
    "RegistryWorkload",
    "SingletonsWorkload",
    "Skipped",
    "Stage",
    "Workload",
    "carry_out",
    "no_surprises",
    "planned",
    "probe",
]
