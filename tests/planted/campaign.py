"""The campaign against planted bugs: seed after seed, until one finds the bug.

A bug is found when the verdict of a run is `invalid`, for whatever reason: a checker says so, or the run broke off with an
error (`RunRecord`). What must never happen here: a bug counts as found by a run that is invalid without it too, so each
failing seed is run once more without the bug.
"""

import logging
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from time import perf_counter

from quorate.jepsen_like.runner import RunSpec, run
from quorate.jepsen_like.verdict import Verdict, judge

from . import elections
from .bugs import BUGS, ELECTIONS, PlantedBug

MOST_SEEDS = 500


@dataclass(frozen=True, slots=True)
class Found:
    """What the search for one bug came to. `seed` is None when no seed found it."""

    bug: str
    seed: int | None
    tried: int
    checkers: tuple[str, ...] = ()
    problem: str = ""
    wall_s: float = 0.0
    innocent: bool = True  # the seed is not invalid without the bug


def spec_of(bug: PlantedBug, seed: int) -> RunSpec:
    """The run of this seed."""
    return RunSpec(
        workload=bug.workload,
        nodes=bug.nodes,
        seed=seed,
        faults=bug.faults,
        time_s=bug.time_s,
        rate=bug.rate,
        preset=bug.preset,
        snapshot_after_bytes=bug.snapshot_after_bytes,
    )


def run_of(bug: PlantedBug, seed: int) -> tuple[Verdict, ...]:
    """What the checkers say of one run."""
    if bug.workload == ELECTIONS:
        try:
            elections.run(seed, bug.nodes)
        except AssertionError as error:
            return (judge("invariants", [str(error)], 1, "it broke off"),)
        return (judge("invariants", [], 1, "all held"),)
    return run(spec_of(bug, seed)).verdicts


def finds(bug: PlantedBug, seed: int) -> list[Verdict]:
    """The verdicts `invalid` of this seed with the bug in place."""
    with bug.plant():
        return [verdict for verdict in run_of(bug, seed) if verdict.outcome == "invalid"]


def search(name: str, seeds: range = range(1, MOST_SEEDS + 1)) -> Found:
    """Look for the first of these seeds that finds the bug."""
    bug, begun = BUGS[name], perf_counter()
    logging.disable(logging.CRITICAL)
    try:
        for tried, seed in enumerate(seeds, 1):
            bad = finds(bug, seed)
            if bad:
                wall_s = perf_counter() - begun
                checkers = tuple(verdict.checker for verdict in bad)
                innocent = all(verdict.outcome != "invalid" for verdict in run_of(bug, seed))
                return Found(name, seed, tried, checkers, bad[0].problems[0], wall_s, innocent)
        return Found(name, None, len(seeds), wall_s=perf_counter() - begun)
    finally:
        logging.disable(logging.NOTSET)


def search_all(names: list[str], seeds: range, processes: int) -> Iterator[Found]:
    """Look for several bugs, in so many processes; in the order of `names`."""
    if processes == 1:
        for name in names:
            yield search(name, seeds)
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, spawn, max_tasks_per_child=1) as pool:
        yield from pool.map(_search, [(name, seeds) for name in names])


def _search(task: tuple[str, range]) -> Found:
    return search(*task)
