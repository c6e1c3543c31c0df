"""Faults as data, and the nemesis that carries them out.

faults = plan(Stream(7, "plan"), nodes=sim.names, kinds="partition,kill", time_s=60.0)
print(describe(faults))
nemesis = Nemesis(sim, faults)
await nemesis.run()
await nemesis.heal_all()
nemesis.records                  # what was done to whom, and the evidence that it bit
smaller = shrink(faults, fails)  # for a plan that made a run fail
"""

from .fault import Fault, Plan, describe, dump_plan, parse_plan
from .kinds import GROUPS, KINDS, Kind, PlanError, select
from .nemesis import Nemesis, Skipped, StillDown
from .planning import Swarm, minority, plan
from .shrinking import ddmin, ddmin_async, shrink, shrink_async

__all__ = [
    "GROUPS",
    "KINDS",
    "Fault",
    "Kind",
    "Nemesis",
    "Plan",
    "PlanError",
    "Skipped",
    "StillDown",
    "Swarm",
    "ddmin",
    "ddmin_async",
    "describe",
    "dump_plan",
    "minority",
    "parse_plan",
    "plan",
    "select",
    "shrink",
    "shrink_async",
]
