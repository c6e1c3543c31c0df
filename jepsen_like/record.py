"""What is kept of one run: its history, its faults with their evidence, who led, the verdicts, and how to run it again.

A `RunRecord` is plain data, made by the runner when a run is over, read by reports and by the command. It is the
same whatever ran: a simulation or real processes. What must never happen here: a record that says less than the run
knew, such as a fault without its evidence.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .history import History
from .verdict import Outcome, Verdict


@dataclass(frozen=True, slots=True)
class FaultRecord:
    """A fault that was injected: what, on whom, when (nanoseconds of the history's clock), and proof that it bit.

    `until_ns` is None when it lasted to the end. `evidence` counts facts that only this fault explains (bytes held by a
    cut, callbacks held by a pause, ...), which `detail` names; 0 means that nothing shows that it bit.
    """

    kind: str
    nodes: tuple[str, ...]
    from_ns: int
    until_ns: int | None
    evidence: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class LeaderRecord:
    """From `from_ns` on, `node` said that it leads the store in `term` (until the next record of that node)."""

    from_ns: int
    node: str
    term: int
    leads: bool


@dataclass(frozen=True, slots=True)
class Window:
    """The smallest part of a history that cannot be explained: entries of `key` by their indices.

    `culprit` is the index of the first completion that fits no order; `why` says in a line what was expected.
    """

    key: str | None
    indices: tuple[int, ...]
    culprit: int
    why: str


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run. `nodes` are short names; `command` is the line that runs exactly this again ("" when there is none)."""

    workload: str
    seed: int | None
    nodes: tuple[str, ...]
    time_s: float
    history: History
    verdicts: tuple[Verdict, ...]
    faults: tuple[FaultRecord, ...] = ()
    leaders: tuple[LeaderRecord, ...] = ()
    windows: tuple[Window, ...] = ()
    trace_hash: str = ""
    command: str = ""
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def outcome(self) -> Outcome:
        """The worst of the verdicts: invalid, else unknown, else valid; unknown when there are none."""
        return worst(self.verdicts)


def worst(verdicts: Sequence[Verdict]) -> Outcome:
    """invalid if any is, else unknown if any is (or there are none), else valid."""
    outcomes = {verdict.outcome for verdict in verdicts}
    if "invalid" in outcomes:
        return "invalid"
    return "unknown" if "unknown" in outcomes or not outcomes else "valid"
