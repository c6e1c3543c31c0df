"""One fault as data, and a plan: a list of them that can be saved, edited, shrunk and carried out again.

    [
    {"at_s": 2.5, "kind": "partition-halves", "for_s": 4.0, "nodes": ["n1", "n4"]},
    {"at_s": 3.0, "kind": "clock-rate", "for_s": 20.0, "nodes": ["n2"], "amount": 1.04}
    ]

A fault says all that is decided before the run: when, for how long, whom. The nodes are a wish: a fault whose nodes
cannot be hit when its time has come (they are down, say) takes others, and its record says which. Those of
`partition-leader` and the like are for the case that nobody leads. What must never happen here: a field that only some
kinds know how to write and read back. Pure.
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .kinds import PlanError, kind_of

_FIELDS = ("at_s", "kind", "for_s", "nodes", "amount", "every_s")


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault that begins `at_s` seconds after the nemesis and lasts `for_s` seconds (longer, if it has not bitten).

    `nodes` are short names. What `amount` is depends on the kind (`Kind.amount_is`); `every_s` is the period of what
    happens again and again. `partition-swizzle` names each node twice: the order in which they are cut off, and the
    order in which they come back. Raises `PlanError` when it makes no sense.
    """

    at_s: float
    kind: str
    for_s: float
    nodes: tuple[str, ...] = ()
    amount: float = 0.0
    every_s: float = 0.0

    def __post_init__(self) -> None:
        kind = kind_of(self.kind)
        for name in ("at_s", "for_s", "every_s"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0.0):
                raise PlanError(
                    f"{self.kind}: {name} is {getattr(self, name)!r}; seconds, 0 or more, are wanted"
                )
        if not math.isfinite(self.amount):
            raise PlanError(f"{self.kind}: amount is {self.amount!r}")
        if self.kind == "clock-rate" and self.amount <= 0.0:
            raise PlanError(f"{self.kind}: {self.amount!r} is no rate; 1.0 is right, 1.05 is 5 % fast")
        if kind.takes != "none" and not self.nodes:
            raise PlanError(f"{self.kind}: it names no node")
        if kind.takes == "two" and len(self.nodes) != 2:
            raise PlanError(f"{self.kind}: it is between two nodes, and names {len(self.nodes)}")
        if kind.periods_s is not None and self.every_s <= 0.0:
            raise PlanError(f"{self.kind}: it needs every_s, the seconds from one to the next")

    @property
    def until_s(self) -> float:
        """When it ends by the plan."""
        return self.at_s + self.for_s

    def describe(self) -> str:
        """What it does, in a line without the times."""
        nodes = ", ".join(self.nodes)
        return kind_of(self.kind).says.format(nodes=nodes, amount=self.amount, every=self.every_s)

    def as_json(self) -> dict[str, Any]:
        """What `json.dumps` takes; fields that stand at their defaults are left out."""
        record: dict[str, Any] = {"at_s": self.at_s, "kind": self.kind, "for_s": self.for_s}
        if self.nodes:
            record["nodes"] = list(self.nodes)
        if self.amount:
            record["amount"] = self.amount
        if self.every_s:
            record["every_s"] = self.every_s
        return record

    @classmethod
    def from_json(cls, record: object) -> "Fault":
        """The fault that `as_json` made this of. Raises `PlanError`."""
        match record:
            case {
                "at_s": int() | float() as at_s,
                "kind": str(kind),
                "for_s": int() | float() as for_s,
                **rest,
            }:
                nodes, amount, every_s = (
                    rest.get("nodes", []),
                    rest.get("amount", 0.0),
                    rest.get("every_s", 0.0),
                )
                if (
                    not rest.keys() - set(_FIELDS)
                    and isinstance(nodes, list)
                    and all(isinstance(node, str) for node in nodes)
                    and isinstance(amount, int | float)
                    and isinstance(every_s, int | float)
                ):
                    return cls(float(at_s), kind, float(for_s), tuple(nodes), float(amount), float(every_s))
        raise PlanError(f"{record!r} is no fault: an object with {', '.join(_FIELDS)} was expected")


Plan = tuple[Fault, ...]


def dump_plan(plan: Iterable[Fault]) -> str:
    """A plan as JSON, one fault in a line."""
    lines = ",\n".join(json.dumps(fault.as_json()) for fault in plan)
    return f"[\n{lines}\n]\n" if lines else "[]\n"


def parse_plan(text: str) -> Plan:
    """The plan that `dump_plan` made this of. Raises `PlanError`."""
    try:
        records = json.loads(text)
    except ValueError as error:
        raise PlanError(f"this plan is no JSON: {error}") from error
    if not isinstance(records, list):
        raise PlanError("this is no plan: a list of faults was expected")
    return tuple(Fault.from_json(record) for record in records)


def describe(plan: Sequence[Fault]) -> str:
    """A plan for people: a line for each fault, in the order in which they begin."""
    ordered = sorted(plan, key=lambda fault: fault.at_s)
    return "".join(
        f"{fault.at_s:8.2f} s  {fault.for_s:6.2f} s  {fault.kind:<22}  {fault.describe()}\n"
        for fault in ordered
    )
