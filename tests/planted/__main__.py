"""The planted bugs, and which seed finds each: `python -m tests.planted [--bug NAME] [--seeds 1..500] [--write]`.

Prints a table, with `--write` also into docs/planted-bugs.md; the exit code is 1 when a bug survives, or when a seed is
invalid without the bug as well.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .bugs import BUGS, ELECTIONS
from .campaign import MOST_SEEDS, Found, search_all

TABLE = Path(__file__).resolve().parents[2] / "docs" / "planted-bugs.md"

FOOT = """
## What finding them took

* A leader that skips the quorum round of a read is hardly ever seen to be wrong: it steps down by its own clock before the
  others elect. Only answers that come late make it believe for longer; `partition-fading` brings them about, and so finds
  sessions that are counted from the receipt of an answer.
* A vote that is not stored matters between the vote and the first entries of the new leader, a millisecond or so:
  `kill-all-elected` strikes there. A promise before its fsync matters for as long as the fsync takes, and on a
  majority of disks at once: `crash-all-syncing`.
* An owner that does not look at the clock is wrong for the moment between its waking from a pause and the timer of its
  session, if it acts from a timer of its own, or was stopped between two steps: so pauses stop a process in the midst
  of something (`Simulation.pause(after=...)`), and owners act whenever they may.
* A client that waits behind a write reads nothing: one client on each node only reads.
* Figure 8 of the Raft paper is out of the reach of whole nodes: a new leader's first entry travels in one message with all
  that it has from earlier terms, up to a mebibyte. So that bug is looked for in the pure core (`elections.py`).
* A leader that confirms keepalives without a quorum round is covered twice: its successor gives every session its full
  lifetime, so it has to believe in itself for longer than that leaves room for. Only `partition-fading-leader` does it.
"""

HEAD = """\
# Planted bugs

Is the simulation able to find anything? Each row is a bug that `tests/planted` puts into the library on purpose, alone,
while the runs last: seeds from 1 on, until one finds it. The table is written by `python -m tests.planted --write`, which
fails when a bug survives, or when the seed that finds it is invalid without it as well.

The seeds are those of the harness as it was when this was written: a change of a workload or a nemesis changes the
numbers, not, it is hoped, that each bug is found.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.planted", description=__doc__)
    parser.add_argument("--bug", action="append", choices=list(BUGS), help="only this one (may be repeated)")
    parser.add_argument("--seeds", type=_seeds, default=range(1, MOST_SEEDS + 1), metavar="1..N")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--write", action="store_true", help=f"write {TABLE.name}")
    options = parser.parse_args(arguments)
    names = options.bug or list(BUGS)
    found: list[Found] = []
    for each in search_all(names, options.seeds, options.processes):
        found.append(each)
        print(_line(each), flush=True)
    if options.write:
        TABLE.write_text(table(found))
    survivors = [each.bug for each in found if each.seed is None]
    accused = [each.bug for each in found if not each.innocent]
    print(f"{len(found) - len(survivors)} of {len(found)} planted bugs found")
    if survivors:
        print(f"SURVIVED: {', '.join(survivors)}")
    if accused:
        print(f"the seed is invalid without the bug, too: {', '.join(accused)}")
    return 1 if survivors or accused else 0


def table(found: list[Found]) -> str:
    """The document."""
    rows = ["| bug | what it is | runs | found by | first seed | s |", "|---|---|---|---|---:|---:|"]
    for each in found:
        bug = BUGS[each.bug]
        runs = f"{bug.workload}, {bug.nodes} nodes, {bug.time_s:g} s, faults {bug.faults}"
        if bug.preset != "lan":
            runs += f", preset {bug.preset}"
        if bug.workload == ELECTIONS:
            runs = f"elections of the pure Raft core, {bug.nodes} nodes"
        seed = "**survives**" if each.seed is None else str(each.seed)
        if not each.innocent:
            seed += " (invalid without it as well)"
        rows.append(
            f"| {each.bug} | {bug.what} | {runs} | {', '.join(each.checkers)} | {seed} | {each.wall_s:.1f} |"
        )
    return HEAD + "\n" + "\n".join(rows) + "\n" + FOOT


def _line(found: Found) -> str:
    if found.seed is None:
        return f"{found.bug:36}  SURVIVED {found.tried} seeds  ({found.wall_s:.1f} s)"
    checkers = ", ".join(found.checkers)
    return (
        f"{found.bug:36}  seed {found.seed:4}  {checkers}  ({found.wall_s:.1f} s)\n    {found.problem[:300]}"
    )


def _seeds(text: str) -> range:
    first, _, last = text.partition("..")
    try:
        return range(int(first), int(last or first) + 1)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no range of seeds such as 1..500") from None


if __name__ == "__main__":
    sys.exit(main())
