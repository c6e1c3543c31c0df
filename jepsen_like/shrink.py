"""A run that fails, made smaller: fewer faults, fewer operations, less time, and the same checker still says invalid.

    small = shrink_run(RunSpec("registry", seed=17))
    print(small.spec.dump())        # a run that `RunSpec.parse` reads and `run` repeats

A step is one run with something left out. The order of the phases is that of what they save: less time makes every later run
cheaper, then faults, then operations, then shorter faults. The authority over whether a run fails is the checker that said so
at first; a run that fails for another reason is not what was looked for. What must never happen here: a spec comes back
that was not seen to fail in that way.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from quorate.core import QuorateError
from quorate.core.real import RealClock

from .campaign import Result, run_one
from .nemesis import ddmin, shrink
from .runner import AFTER_S, RunSpec

RUNS = 400
LIMIT_S = 120.0
SHORTEST_S = 1.0
_NO_END = 1 << 30


class NothingToShrink(QuorateError):
    """The run is not invalid as it is."""


@dataclass(frozen=True, slots=True)
class ShrinkStep:
    """How far it is: `runs` made, `spec` the smallest that still fails, `phase` what is being left out."""

    phase: str
    runs: int
    spec: RunSpec


@dataclass(frozen=True, slots=True)
class Shrunk:
    """What came of it. `spec` has its faults and operations in it; `result` is its run.

    `whole` is the same for what it began with. `finished` says that nothing more can be left out in these ways; else the
    runs or the time were used up.
    """

    checker: str
    whole: RunSpec
    spec: RunSpec
    result: Result
    runs: int
    finished: bool


def shrink_run(
    spec: RunSpec,
    *,
    runs: int = RUNS,
    limit_s: float = LIMIT_S,
    tell: Callable[[ShrinkStep], None] | None = None,
    try_run: Callable[[RunSpec], Result] = run_one,
) -> Shrunk:
    """Make a failing run smaller, with `runs` runs and `limit_s` seconds of real time at most (and one run more).

    `tell` is called after each run. Raises `NothingToShrink` when the run is not invalid.
    """
    search = _Search(spec.settled(), runs, limit_s, tell, try_run)
    try:
        for search.phase, phase in _PHASES:
            phase(search)
        finished = True
    except _Spent:
        finished = False
    return Shrunk(search.checker, search.whole, search.best, search.result, search.runs, finished)


class _Spent(Exception):
    """The budget is used up."""


class _Search:
    """What is known of which runs fail."""

    def __init__(
        self,
        whole: RunSpec,
        runs: int,
        limit_s: float,
        tell: Callable[[ShrinkStep], None] | None,
        try_run: Callable[[RunSpec], Result],
    ) -> None:
        self.phase = "whole"
        self.whole = self.best = whole
        self.runs = 0
        self._runs_limit = runs
        self._clock = RealClock()
        self._until_s = self._clock.monotonic() + limit_s
        self._tell = tell
        self._try_run = try_run
        self._known: dict[str, bool] = {}
        self.result = self._run(whole)
        bad = [verdict.checker for verdict in self.result.summary.verdicts if verdict.outcome == "invalid"]
        if not bad:
            raise NothingToShrink(f"this run is {self.result.outcome}, and only an invalid one can be shrunk")
        self.checker = bad[0]
        self._known[whole.dump()] = True

    def fails(self, spec: RunSpec) -> bool:
        """Whether it fails as the whole did. Raises `_Spent`."""
        key = spec.dump()
        failed = self._known.get(key)
        if failed is None:
            if self.runs >= self._runs_limit or self._clock.monotonic() >= self._until_s:
                raise _Spent
            result = self._run(spec)
            failed = self._known[key] = any(
                verdict.checker == self.checker and verdict.outcome == "invalid"
                for verdict in result.summary.verdicts
            )
            if failed:
                self.best, self.result = spec, result
            if self._tell is not None:
                self._tell(ShrinkStep(self.phase, self.runs, self.best))
        return failed

    def _run(self, spec: RunSpec) -> Result:
        self.runs += 1
        return self._try_run(spec)


def _less_time(search: _Search) -> None:
    """Halve the time as long as it fails, then try three quarters of what is left."""
    for factor in (0.5, 0.75):
        while (time_s := round(search.best.time_s * factor, 3)) >= SHORTEST_S:
            if not search.fails(_cut(search.best, time_s)):
                break


def _cut(spec: RunSpec, time_s: float) -> RunSpec:
    """The same, over after `time_s` seconds."""
    assert spec.plan is not None and spec.operations is not None
    return replace(
        spec,
        time_s=time_s,
        plan=tuple(fault for fault in spec.plan if fault.at_s < time_s),
        operations=tuple(op for op in spec.operations if op.at_s < time_s + AFTER_S),
    )


def _fewer_faults(search: _Search) -> None:
    whole = search.best
    assert whole.plan is not None
    ddmin(whole.plan, lambda plan: search.fails(replace(whole, plan=plan)), tries=_NO_END)


def _fewer_operations(search: _Search) -> None:
    whole = search.best
    assert whole.operations is not None
    ddmin(whole.operations, lambda some: search.fails(replace(whole, operations=some)), tries=_NO_END)


def _smaller_faults(search: _Search) -> None:
    whole = search.best
    assert whole.plan is not None
    shrink(whole.plan, lambda plan: search.fails(replace(whole, plan=plan)), tries=_NO_END)


_PHASES: tuple[tuple[str, Callable[[_Search], None]], ...] = (
    ("less time", _less_time),
    ("fewer faults", _fewer_faults),
    ("fewer operations", _fewer_operations),
    ("shorter faults", _smaller_faults),
    ("fewer operations", _fewer_operations),
    ("less time", _less_time),
)


def in_words(spec: RunSpec) -> Iterator[str]:
    """The operations of a spec that has them, a line each, in the order of their times."""
    for op in sorted(spec.operations or (), key=lambda op: op.at_s):
        node = spec.names[op.client % spec.nodes]
        value = "" if op.value is None else f" {op.value}"
        yield f"{op.at_s:8.2f} s  client {op.client} on {node}  {op.f} {op.key}{value}"
