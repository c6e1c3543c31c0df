"""Many runs for machines: a JSON document and a JUnit testcase for each.

A `RunSummary` is what is left of a record when its history is dropped: small, immutable, and fit to be sent from one
process to another. What must never happen here: an outcome that is not valid and passes in a CI system.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from xml.etree import ElementTree

from quorate.jepsen_like.record import FaultRecord, RunRecord, Window
from quorate.jepsen_like.verdict import Outcome, Verdict

from .marks import marks_of
from .text import plain

SCHEMA = 1  # of the JSON document; grows when a field changes its meaning or goes


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run without its history. `operations` counts by f, then by ok, fail, info (with those that never ended)."""

    workload: str
    seed: int | None
    nodes: tuple[str, ...]
    time_s: float
    outcome: Outcome
    verdicts: tuple[Verdict, ...]
    faults: tuple[FaultRecord, ...]
    windows: tuple[Window, ...]
    operations: dict[str, dict[str, int]]
    trace_hash: str
    command: str
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def operation_count(self) -> int:
        return sum(number for counts in self.operations.values() for number in counts.values())

    @property
    def reason(self) -> str:
        """Why it is not valid, in a line; "" when it is."""
        if self.outcome == "valid":
            return ""
        bad = [verdict for verdict in self.verdicts if verdict.outcome == self.outcome]
        if self.outcome == "invalid" and self.windows:
            return self.windows[0].why
        return f"{bad[0].checker}: {bad[0].summary}" if bad else "no checker was run"


def summarise(record: RunRecord) -> RunSummary:
    """What the summaries need of this record."""
    operations: dict[str, dict[str, int]] = {}
    for mark in marks_of(record.history):
        if not mark.note:
            counts = operations.setdefault(mark.first.f, {"ok": 0, "fail": 0, "info": 0})
            counts[mark.outcome] += 1
    return RunSummary(
        workload=record.workload,
        seed=record.seed,
        nodes=record.nodes,
        time_s=record.time_s,
        outcome=record.outcome,
        verdicts=record.verdicts,
        faults=record.faults,
        windows=record.windows,
        operations=dict(sorted(operations.items())),
        trace_hash=record.trace_hash,
        command=record.command,
        figures=dict(record.figures),
    )


def report_name(run: RunSummary) -> str:
    """The name of the file for this run's report: `registry-seed-17.html`."""
    workload = re.sub(r"[^A-Za-z0-9_-]+", "-", run.workload).strip("-") or "run"
    return f"{workload}-seed-{run.seed}.html" if run.seed is not None else f"{workload}.html"


def document(run: RunSummary) -> dict[str, Any]:
    """The run as plain data for JSON. Times as in the record: `time_s` seconds, `*_ns` nanoseconds of its history."""
    return {
        "schema": SCHEMA,
        "workload": run.workload,
        "seed": run.seed,
        "outcome": run.outcome,
        "reason": run.reason,
        "nodes": list(run.nodes),
        "time_s": run.time_s,
        "verdicts": [asdict(verdict) for verdict in run.verdicts],
        "windows": [asdict(window) for window in run.windows],
        "faults": [asdict(fault) for fault in run.faults],
        "operations": run.operations,
        "figures": run.figures,
        "trace_hash": run.trace_hash,
        "command": run.command,
    }


def json_lines(runs: Sequence[RunSummary]) -> str:
    """A line of JSON per run, in their order. What JSON has no form for is written as Python shows it."""
    return "".join(json.dumps(document(run), separators=(",", ":"), default=repr) + "\n" for run in runs)


def junit(runs: Sequence[RunSummary], *, suite: str = "quorate jepsen") -> str:
    """JUnit's XML: a testcase per run; invalid is a failure and unknown an error, since it proves nothing.

    The `time` of a testcase is the figure `wall_s` when the run has one: CI systems add those up; else 0.
    """
    root = ElementTree.Element("testsuites")
    element = ElementTree.SubElement(
        root,
        "testsuite",
        name=_xml(suite),
        tests=str(len(runs)),
        failures=str(sum(run.outcome == "invalid" for run in runs)),
        errors=str(sum(run.outcome == "unknown" for run in runs)),
        skipped="0",
        time=f"{sum(_wall_s(run) for run in runs):.3f}",
    )
    for number, run in enumerate(runs, start=1):
        _testcase(element, run, number)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _testcase(parent: ElementTree.Element, run: RunSummary, number: int) -> None:
    name = f"run {number}" if run.seed is None else f"seed {run.seed}"
    case = ElementTree.SubElement(
        parent, "testcase", classname=_xml(run.workload), name=name, time=f"{_wall_s(run):.3f}"
    )
    properties = ElementTree.SubElement(case, "properties")
    for key, value in (("command", run.command), ("trace_hash", run.trace_hash)):
        if value:
            ElementTree.SubElement(properties, "property", name=key, value=_xml(value))
    if run.outcome != "valid":
        tag = "failure" if run.outcome == "invalid" else "error"
        problem = ElementTree.SubElement(case, tag, message=_xml(run.reason), type=run.outcome)
        problem.text = _xml("\n".join(_lines(run)))


def _lines(run: RunSummary) -> list[str]:
    lines = [str(verdict) for verdict in run.verdicts if verdict.outcome != "valid"]
    for window in run.windows:
        entries = ", ".join(str(index) for index in window.indices)
        lines.append(f"window of {window.key!r}: {window.why}\n  entries {entries}")
    if run.command:
        lines.append(f"replay: {run.command}")
    return lines


def _wall_s(run: RunSummary) -> float:
    wall_s = run.figures.get("wall_s")
    return float(wall_s) if isinstance(wall_s, int | float) else 0.0


def _xml(text: str) -> str:
    """Without the characters that XML 1.0 cannot hold."""
    return plain(text)
