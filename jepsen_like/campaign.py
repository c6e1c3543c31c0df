"""Many runs: seeds in, results out, one after the other or in several processes; and what they come to.

    specs = [RunSpec("registry", seed=seed, time_s=60.0) for seed in parse_seeds("1..200")]
    tally = Tally()
    for result in run_campaign(specs, jobs=4):      # as they get done
        tally.add(result.summary)
        if result.outcome == "invalid":
            print(result.summary.reason, result.summary.command)

A `Result` is what is left of a run when its world is gone. The authority over a verdict is the runner; this module adds one
only for a run that raised or whose process died. What must never happen here: a spec that was given and has no result, or one
whose run did not come to its end and counts as valid.
"""

import logging
import re
import traceback
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any, Literal

from quorate.core import ConfigError
from quorate.core.real import RealClock
from quorate.presets import Preset

from .history import History
from .record import FaultRecord, RunRecord, Window
from .report import RunSummary, document, render, summarise
from .runner import SHOWN_FRAMES, RunSpec, run
from .verdict import Outcome, Verdict, judge

MAX_SEEDS = 1_000_000
RUN_LIMIT_S = 600.0
"""Of real time, for one run in a process of its own: whoever is slower has lost its way."""

Which = Literal["none", "failing", "all"]
_SEEDS = re.compile(r"(\d+)(?:\.\.(\d+))?")


def parse_seeds(text: str) -> tuple[int, ...]:
    """The seeds that a text like `7`, `1..200` or `1,5,9..12` names, each once, in its order. Raises `ConfigError`."""
    seeds: dict[int, None] = {}
    for part in text.split(","):
        found = _SEEDS.fullmatch(part.strip())
        if found is None:
            raise ConfigError(f"{text!r} names no seeds: write 7, 1..200 or 1,5,9..12")
        first = int(found[1])
        last = first if found[2] is None else int(found[2])
        if last < first:
            raise ConfigError(f"{part.strip()} is empty: write the smaller seed first")
        if last - first + len(seeds) >= MAX_SEEDS:
            raise ConfigError(f"{text!r} are more than {MAX_SEEDS:,} seeds")
        seeds.update(dict.fromkeys(range(first, last + 1)))
    return tuple(seeds)


@dataclass(frozen=True, slots=True)
class Keep:
    """What is kept of a run beside its summary: of none, of those that are not valid ("failing"), or of all."""

    histories: Which = "failing"
    pages: Which = "none"
    trace: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """One run. `history` is its JSON lines, `page` its report in HTML, both "" when they were not kept.

    The summary has the figure `wall_s`, the seconds of real time that it took; all else follows from the spec.
    """

    spec: RunSpec
    summary: RunSummary
    history: str = ""
    page: str = ""
    trace: tuple[str, ...] = ()

    @property
    def outcome(self) -> Outcome:
        return self.summary.outcome


def check_spec(spec: RunSpec) -> None:
    """See whether this can be run at all, before many are. Raises `ConfigError`, or `PlanError` for the faults."""
    if spec.preset not in tuple(Preset):
        raise ConfigError(f"there is no preset {spec.preset!r}: use {', '.join(Preset)}")
    if not (isfinite(spec.time_s) and isfinite(spec.rate)):
        raise ConfigError(f"time and rate must have an end, not {spec.time_s} and {spec.rate}")
    spec.settled()


def run_one(spec: RunSpec, *, keep: Keep | None = None, command: str | None = None) -> Result:
    """Run it here. Whatever it raises is a verdict `invalid` of the checker "run". `command` says how to replay it."""
    keep = keep or Keep()
    clock = RealClock()
    began_s = clock.monotonic()
    try:
        record = run(spec, trace=keep.trace)
    except Exception as error:  # noqa: BLE001 -- whatever it is, it is the run's
        record = _broken(spec, error)
    trace = tuple(record.figures.get("trace", ()))
    figures = {name: value for name, value in record.figures.items() if name != "trace"}
    record = replace(record, figures=figures, command=record.command if command is None else command)
    wanted: tuple[Which, ...] = ("all",) if record.outcome == "valid" else ("all", "failing")
    history = record.history.dump() if keep.histories in wanted else ""
    page = render(record) if keep.pages in wanted else ""
    summary = summarise(record)
    summary = replace(summary, figures=summary.figures | {"wall_s": round(clock.monotonic() - began_s, 3)})
    return Result(spec, summary, history, page, trace)


def _broken(spec: RunSpec, error: Exception) -> RunRecord:
    """The record of a run whose checkers raised."""
    frames = reversed(traceback.extract_tb(error.__traceback__)[-SHOWN_FRAMES:])
    where = " < ".join(f"{one.name} ({one.filename.rpartition('/')[2]}:{one.lineno})" for one in frames)
    verdict = judge("run", [f"{type(error).__name__}: {error} in {where}"], 1, "it could not be judged")
    return RunRecord(
        spec.workload, spec.seed, spec.names, spec.time_s, History(), (verdict,), command=spec.command()
    )


def lost(spec: RunSpec, why: str, command: str | None = None) -> Result:
    """The result of a run of which nothing came back: unknown."""
    verdict = judge("run", [], 0, "nothing came back", doubts=[why])
    record = RunRecord(spec.workload, spec.seed, spec.names, spec.time_s, History(), (verdict,))
    return Result(spec, summarise(replace(record, command=spec.command() if command is None else command)))


def run_campaign(
    specs: Iterable[RunSpec],
    *,
    jobs: int = 1,
    keep: Keep | None = None,
    command: Callable[[RunSpec], str] | None = None,
    modules: Sequence[str] = (),
    run_limit_s: float = RUN_LIMIT_S,
) -> Generator[Result, None, None]:
    """Run them all, and yield each result when it is there.

    With one job they run here, in their order. With more they run in so many child processes, and come as they get done; the
    children end with the generator, so close it when you leave it early (`contextlib.closing`). Children know the workloads of this library, and those that `modules`, which they import first,
    add to `WORKLOADS`. A child that dies, or takes more than `run_limit_s` seconds of real time for one run, costs that run
    alone: it is `unknown`. Raises `WorkerError` when children cannot be started at all.
    """
    keep = keep or Keep()
    if jobs == 1:
        for spec in specs:
            yield run_one(spec, keep=keep, command=None if command is None else command(spec))
        return
    from .workers import Workers

    with Workers(jobs, keep=keep, modules=modules, run_limit_s=run_limit_s) as workers:
        yield from workers.results(specs, command)


@contextmanager
def quiet() -> Iterator[None]:
    """Without log records: simulated nodes tell of every link that a fault takes from them."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


# -- sums ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Tally:
    """What many runs come to. `faults` counts, by kind, those that were injected, `proven` those with evidence."""

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    verdicts: dict[str, Counter[Outcome]] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)
    proven: Counter[str] = field(default_factory=Counter)
    operations: dict[str, Counter[str]] = field(default_factory=dict)
    simulated_s: float = 0.0
    messages: int = 0

    def add(self, run: RunSummary) -> None:
        self.outcomes[run.outcome] += 1
        for verdict in run.verdicts:
            self.verdicts.setdefault(verdict.checker, Counter())[verdict.outcome] += 1
        self.faults.update(fault.kind for fault in run.faults)
        self.proven.update(fault.kind for fault in run.faults if fault.evidence > 0)
        for f, counts in run.operations.items():
            self.operations.setdefault(f, Counter()).update(counts)
        self.simulated_s += run.figures.get("simulated_s", 0.0)
        self.messages += run.figures.get("messages", 0)

    @property
    def runs(self) -> int:
        return self.outcomes.total()

    @property
    def outcome(self) -> Outcome:
        """The worst: invalid, else unknown (also without any run), else valid."""
        if self.outcomes["invalid"]:
            return "invalid"
        return "unknown" if self.outcomes["unknown"] or not self.runs else "valid"

    @property
    def operation_count(self) -> int:
        return sum(counts.total() for counts in self.operations.values())

    def as_json(self) -> dict[str, Any]:
        """What `json.dumps` takes."""
        return {
            "outcomes": {name: self.outcomes[name] for name in ("valid", "invalid", "unknown")},
            "verdicts": {checker: dict(counts) for checker, counts in self.verdicts.items()},
            "faults": {
                kind: {"injected": count, "proven": self.proven[kind]}
                for kind, count in sorted(self.faults.items())
            },
            "operations": {f: dict(counts) for f, counts in sorted(self.operations.items())},
            "simulated_s": round(self.simulated_s, 3),
            "messages": self.messages,
        }


# -- from one process to another -------------------------------------------------------------------------------


def result_as_json(result: Result) -> dict[str, Any]:
    """A result without its spec, which whoever asked for it has."""
    return {
        "summary": document(result.summary),
        "history": result.history,
        "page": result.page,
        "trace": list(result.trace),
    }


def result_from_json(spec: RunSpec, found: dict[str, Any]) -> Result:
    """The result that `result_as_json` made this of."""
    return Result(
        spec, summary_from_json(found["summary"]), found["history"], found["page"], tuple(found["trace"])
    )


def summary_from_json(found: dict[str, Any]) -> RunSummary:
    """The summary that `report.document` made this of: what stands in `results.json`."""
    return RunSummary(
        workload=found["workload"],
        seed=found["seed"],
        nodes=tuple(found["nodes"]),
        time_s=found["time_s"],
        outcome=found["outcome"],
        verdicts=tuple(
            Verdict(**verdict | {"problems": tuple(verdict["problems"])}) for verdict in found["verdicts"]
        ),
        faults=tuple(FaultRecord(**fault | {"nodes": tuple(fault["nodes"])}) for fault in found["faults"]),
        windows=tuple(
            Window(**window | {"indices": tuple(window["indices"])}) for window in found["windows"]
        ),
        operations=found["operations"],
        trace_hash=found["trace_hash"],
        command=found["command"],
        figures=found["figures"],
    )
