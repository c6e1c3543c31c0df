"""Deliberate bugs in the library, one by one: `python -m tests.mutants [--group NAME] [--jobs N] [words of names]`.

Each mutant is one exact snippet of the code and what takes its place. It is applied to a copy of the repository, and
the tests run there, on the copy: first the one that is known to catch it, then all others of its group. Prints which
test caught which bug; the exit code is 1 if any survives.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

from .mutant import Group, Mutant
from .processes import PROCESSES
from .raft import RAFT
from .trial import Trial

GROUPS = (RAFT, PROCESSES)
JOBS_LIMIT = 8  # of them at a time, unless told otherwise


class Trials:
    """Copies for as many mutants as are tried at a time."""

    def __init__(self, directory: Path, jobs: int) -> None:
        self._free: SimpleQueue[Trial] = SimpleQueue()
        for number in range(jobs):
            self._free.put(Trial(directory / str(number)))

    @contextmanager
    def one(self) -> Iterator[Trial]:
        trial = self._free.get()
        try:
            yield trial
        finally:
            self._free.put(trial)

    def sound(self, group: Group, mutants: list[Mutant]) -> str | None:
        with self.one() as trial:
            return trial.sound(group, mutants)

    def caught(self, group: Group, mutant: Mutant) -> tuple[str | None, float]:
        """See `Trial.caught`; and the seconds that it took."""
        with self.one() as trial:
            begun = time.monotonic()
            return trial.caught(group, mutant), time.monotonic() - begun


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    names = [group.name for group in GROUPS]
    parser.add_argument("--group", action="append", choices=names, help="only this one (may be repeated)")
    parser.add_argument(
        "--jobs", type=int, default=min(os.cpu_count() or 1, JOBS_LIMIT), help="so many at a time"
    )
    parser.add_argument("only", nargs="*", help="words of names: run only the mutants that have one")
    options = parser.parse_args(arguments)
    groups = [group for group in GROUPS if group.name in (options.group or names)]
    chosen = [(group, _chosen(group, options.only)) for group in groups]
    with (
        tempfile.TemporaryDirectory(prefix="quorate-mutants-") as directory,
        ThreadPoolExecutor(options.jobs) as pool,
    ):
        trials = Trials(Path(directory), options.jobs)
        sound = [pool.submit(trials.sound, group, mutants) for group, mutants in chosen if mutants]
        for failed in [each.result() for each in sound]:
            if failed is not None:
                print(f"the tests fail without any mutant: {failed}")
                return 1
        runs = [
            (mutant, pool.submit(trials.caught, group, mutant))
            for group, mutants in chosen
            for mutant in mutants
        ]
        survivors = _report(runs)
    print(f"{len(runs) - len(survivors)} of {len(runs)} mutants caught")
    if survivors:
        print(f"SURVIVED: {', '.join(survivors)}")
    return 1 if survivors else 0


def _chosen(group: Group, words: list[str]) -> list[Mutant]:
    return [mutant for mutant in group.mutants if not words or any(word in mutant.name for word in words)]


def _report(runs: "list[tuple[Mutant, Future[tuple[str | None, float]]]]") -> list[str]:
    """A line for each; the names of those that survive."""
    survivors = []
    width = max((len(mutant.name) for mutant, _ in runs), default=0)
    for mutant, run in runs:
        caught, seconds = run.result()
        survivors += [mutant.name] if caught is None else []
        print(f"{mutant.name:{width}}  {caught or 'SURVIVED'}  ({seconds:.1f} s)", flush=True)
    return survivors


if __name__ == "__main__":
    sys.exit(main())
