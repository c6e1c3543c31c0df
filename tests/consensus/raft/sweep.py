"""Random schedules by the thousand: `python -m tests.consensus.raft.sweep [--seeds N] [--seconds S]`.

Prints a line now and then, and the failing seed with the end of its story if there is one; the exit code is
1 then. `--replay SEED SIZE` runs one schedule again and prints all of it.
"""

import argparse
import sys
import time
from collections import Counter

from .schedule import run

STEPS = 1200


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.consensus.raft.sweep", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5_000, help="how many seeds (each with 3 and 5 nodes)")
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="stop after so many seconds at the latest"
    )
    parser.add_argument("--first", type=int, default=1_000_000, help="the first seed")
    parser.add_argument("--steps", type=int, default=STEPS, help="actions in a schedule")
    parser.add_argument("--replay", type=int, nargs=2, metavar=("SEED", "SIZE"), help="print one schedule")
    options = parser.parse_args()
    if options.replay:
        seed, size = options.replay
        print("\n".join(run(size, seed, options.steps, story=True).story or []))
        return 0
    return sweep(options.first, options.seeds, options.seconds, options.steps)


def sweep(first: int, seeds: int, seconds: float, steps: int) -> int:
    begun = told = time.monotonic()
    seen: Counter[str] = Counter()
    for seed in range(first, first + seeds):
        for size in (3, 5):
            if not try_one(seed, size, steps, seen):
                return 1
        now = time.monotonic()
        if now > told + 5:
            told = now
            print(f"seed {seed}: {summary(seen)}", flush=True)
        if now > begun + seconds:
            break
    print(
        f"no violation in {seen['schedules']} schedules of {steps} actions, {time.monotonic() - begun:.0f} s"
    )
    print(summary(seen))
    return 0


def try_one(seed: int, size: int, steps: int, seen: Counter[str]) -> bool:
    try:
        cluster = run(size, seed, steps)
    except Exception as error:  # noqa: BLE001 -- whatever it is, the seed has to be told
        print(f"FAILED: seed {seed}, {size} nodes: {type(error).__name__}: {error}")
        try:
            run(size, seed, steps, story=True)
        except Exception as again:  # noqa: BLE001 -- the same one
            print("\n".join(again.__notes__))
        print(f"again: python -m tests.consensus.raft.sweep --steps {steps} --replay {seed} {size}")
        return False
    invariants = cluster.invariants
    seen["schedules"] += 1
    seen["entries committed"] += invariants.committed_index
    seen["leaders"] += len(invariants.leaders)
    seen["reads served"] += len(cluster.served)
    seen["snapshots installed"] += invariants.installed
    seen["entries replaced"] += invariants.replaced
    seen["crashes"] += invariants.crashes
    return True


def summary(seen: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in seen.items())


if __name__ == "__main__":
    sys.exit(main())
