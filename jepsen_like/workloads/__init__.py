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
from .registry import RegistryWorkload

WORKLOADS: dict[str, type[Workload]] = {workload.name: workload for workload in (RegistryWorkload,)}

__all__ = [
    "WITNESS_S",
    "WORKLOADS",
    "Outcome",
    "PlannedOp",
    "RegistryWorkload",
    "Skipped",
    "Stage",
    "Workload",
    "carry_out",
    "no_surprises",
    "planned",
    "probe",
]
