"""What is drawn of a run: its operations and notes as marks, who led, who was down, who held which name.

The authority is the record; this module only puts it in the shape that a timeline wants, and turns it into the plain
data that the page carries (`page_data`). What must never happen here: an entry of the history without a mark.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from typing import Any, Generic, Literal, TypeVar

from quorate.jepsen_like.checkers import Interval, claim_intervals
from quorate.jepsen_like.history import Completion, History, HistoryError, Op, Process
from quorate.jepsen_like.record import FaultRecord, LeaderRecord, RunRecord, Window

from .text import plain, value_text

DOWN = ("kill", "crash")  # how the kinds of faults begin that leave their nodes without a process
PAUSED = ("pause",)
_COLUMNS = ("row", "f", "key", "from", "until", "outcome", "note", "invoked", "completed", "asked", "answer")
_OUTCOMES: tuple[Completion, ...] = ("ok", "fail", "info")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Mark:
    """An operation, or a note (which has no invocation). `until_ns` is None when nothing came back."""

    invoked: Op | None
    completed: Op | None

    @property
    def first(self) -> Op:
        op = self.invoked or self.completed
        assert op is not None
        return op

    @property
    def note(self) -> bool:
        return self.invoked is None

    @property
    def from_ns(self) -> int:
        return self.first.time_ns

    @property
    def until_ns(self) -> int | None:
        return None if self.completed is None else self.completed.time_ns

    @property
    def outcome(self) -> Completion:
        """ "info" also when nothing came back."""
        if self.completed is None:
            return "info"
        assert self.completed.type != "invoke"
        return self.completed.type

    @property
    def indices(self) -> tuple[int, ...]:
        return tuple(op.index for op in (self.invoked, self.completed) if op is not None)


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a node's life: down or paused. `until_ns` is None when it lasted to the end."""

    node: str
    state: Literal["down", "paused"]
    from_ns: int
    until_ns: int | None


@dataclass(frozen=True, slots=True)
class Reign:
    """While `node` said that it leads in `term`. `until_ns` is None when it did so to the end."""

    node: str
    term: int
    from_ns: int
    until_ns: int | None


def marks_of(history: History) -> list[Mark]:
    """Every entry, in the order of their first: each operation once, and each note."""
    marks: list[Mark] = []
    under_way: dict[Process, int] = {}
    for op in history:
        if op.type == "invoke":
            under_way[op.process] = len(marks)
            marks.append(Mark(op, None))
        elif op.process in under_way:
            place = under_way.pop(op.process)
            marks[place] = Mark(marks[place].invoked, op)
        else:
            marks.append(Mark(None, op))
    return marks


def window_marks(window: Window, marks: Iterable[Mark]) -> list[Mark]:
    """The marks that have an entry in the window, in the order of the history."""
    wanted = {*window.indices, window.culprit}
    return [mark for mark in marks if not wanted.isdisjoint(mark.indices)]


def reigns_of(leaders: Iterable[LeaderRecord]) -> list[Reign]:
    """Who led when: a record of a node ends what its record before said."""
    reigns: list[Reign] = []
    leading: dict[str, LeaderRecord] = {}
    for record in sorted(leaders, key=lambda leader: leader.from_ns):
        before = leading.get(record.node)
        if before is not None and record.leads and before.term == record.term:
            continue
        if before is not None:
            reigns.append(Reign(before.node, before.term, before.from_ns, record.from_ns))
            del leading[record.node]
        if record.leads:
            leading[record.node] = record
    reigns += [Reign(last.node, last.term, last.from_ns, None) for last in leading.values()]
    return sorted(reigns, key=lambda reign: (reign.from_ns, reign.node))


def spans_of(faults: Iterable[FaultRecord]) -> list[Span]:
    """When which node was down or paused, as far as the kinds of the faults tell."""
    spans: list[Span] = []
    for fault in faults:
        state: Literal["down", "paused"]
        if fault.kind.startswith(DOWN):
            state = "down"
        elif fault.kind.startswith(PAUSED):
            state = "paused"
        else:
            continue
        spans += [Span(node, state, fault.from_ns, fault.until_ns) for node in fault.nodes]
    return spans


def claims_of(history: History) -> tuple[dict[str, list[Interval]], str]:
    """Who held each name when, and "" or why that cannot be told from this history."""
    try:
        return claim_intervals(history), ""
    except HistoryError as error:
        return {}, str(error)


def end_ns(record: RunRecord) -> int:
    """The last moment that the record knows of."""
    times = [round(record.time_s * 1e9), 1]
    times += [op.time_ns for op in record.history]
    times += [time for fault in record.faults for time in (fault.from_ns, fault.until_ns) if time is not None]
    times += [leader.from_ns for leader in record.leaders]
    return max(times)


def process_order(process: Process) -> tuple[int, int, str]:
    """Numbers by size, then names."""
    return (0, process, "") if isinstance(process, int) else (1, 0, process)


class _Table(Generic[T]):
    """Distinct values and the number of each, in the order in which they came."""

    def __init__(self) -> None:
        self.numbers: dict[T, int] = {}

    def number(self, value: T) -> int:
        return self.numbers.setdefault(value, len(self.numbers))


def page_data(record: RunRecord, marks: list[Mark]) -> dict[str, Any]:
    """The run as the page's script reads it: times in nanoseconds, texts in tables, marks as columns."""
    claims, claims_error = claims_of(record.history)
    starts = [mark.from_ns for mark in marks] + [fault.from_ns for fault in record.faults]
    return {
        "workload": plain(record.workload),
        "seed": record.seed,
        "nodes": [plain(node) for node in record.nodes],
        "start": min([0, *starts]),
        "end": end_ns(record),
        **_mark_data(marks),
        "faults": _fault_data(record.faults),
        "spans": [[plain(s.node), s.state, s.from_ns, s.until_ns] for s in spans_of(record.faults)],
        "reigns": [[plain(r.node), r.term, r.from_ns, r.until_ns] for r in reigns_of(record.leaders)],
        "claims": [claim for held in claims.values() for claim in _claim_data(held)],
        "claims_error": plain(claims_error),
        "windows": [_window_data(window, marks) for window in record.windows],
    }


def _mark_data(marks: list[Mark]) -> dict[str, Any]:
    rows = {p: n for n, p in enumerate(sorted({m.first.process for m in marks}, key=process_order))}
    functions, keys, values = _Table[str](), _Table[str](), _Table[str]()
    columns: dict[str, list[int | None]] = {name: [] for name in _COLUMNS}
    for mark in marks:
        op, invoked, completed = mark.first, mark.invoked, mark.completed
        cells: dict[str, int | None] = {
            "row": rows[op.process],
            "f": functions.number(op.f),
            "key": None if op.key is None else keys.number(op.key),
            "from": mark.from_ns,
            "until": mark.until_ns,
            "outcome": _OUTCOMES.index(mark.outcome),
            "note": int(mark.note),
            "invoked": None if invoked is None else invoked.index,
            "completed": None if completed is None else completed.index,
            "asked": None if invoked is None else values.number(value_text(invoked.value)),
            "answer": None if completed is None else values.number(value_text(completed.value)),
        }
        for name, cell in cells.items():
            columns[name].append(cell)
    return {
        "rows": [plain(str(process)) for process in rows],
        "numbered": [int(isinstance(process, int)) for process in rows],
        "fs": [plain(f) for f in functions.numbers],
        "keys": [plain(key) for key in keys.numbers],
        "values": list(values.numbers),
        "marks": columns,
    }


def _fault_data(faults: Iterable[FaultRecord]) -> list[dict[str, Any]]:
    """Each fault with its lane: one for each kind and set of nodes, in the order of their first."""
    lanes = _Table[tuple[str, tuple[str, ...]]]()
    return [
        {
            "lane": lanes.number((fault.kind, fault.nodes)),
            "kind": plain(fault.kind),
            "nodes": [plain(node) for node in fault.nodes],
            "from": fault.from_ns,
            "until": fault.until_ns,
            "evidence": fault.evidence,
            "detail": plain(fault.detail),
        }
        for fault in faults
    ]


def _claim_data(held: list[Interval]) -> list[dict[str, Any]]:
    """The claims of one name; those that overlap stand in lanes of their own."""
    ends: list[float] = []
    data: list[dict[str, Any]] = []
    for claim in sorted(held, key=lambda interval: (interval.from_ns, interval.fence)):
        lane = next((n for n, end in enumerate(ends) if end <= claim.from_ns), len(ends))
        ends[lane : lane + 1] = [claim.until_ns]
        data.append(
            {
                "key": plain(claim.key),
                "fence": claim.fence,
                "owner": plain(claim.owner),
                "from": claim.from_ns,
                "until": None if claim.until_ns == inf else claim.until_ns,
                "lane": lane,
            }
        )
    return data


def _window_data(window: Window, marks: list[Mark]) -> dict[str, Any]:
    wanted = {*window.indices, window.culprit}
    members = [n for n, mark in enumerate(marks) if not wanted.isdisjoint(mark.indices)]
    culprits = [n for n in members if window.culprit in marks[n].indices]
    return {
        "key": None if window.key is None else plain(window.key),
        "marks": members,
        "culprit": culprits[0] if culprits else None,
        "why": plain(window.why),
    }
