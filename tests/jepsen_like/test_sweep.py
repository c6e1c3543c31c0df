"""The sweep of `make test`: for a minute, seed after seed, no workload shows a broken promise.

The seeds are always the same, from 1 on; how many of them a minute holds depends on the machine. What fails here prints the
command that runs it again. `make sim` runs many more.
"""

import itertools
import os
from collections import Counter
from collections.abc import Iterator

import pytest

from quorate.core.real import RealClock
from quorate.jepsen_like.campaign import run_campaign
from quorate.jepsen_like.runner import RunSpec

SWEEP_S = 60.0
SHARES = ("registry", "singletons", "registry", "register", "messages")
SMALLEST = 20  # runs, however slow the machine


def specs(until_s: float) -> Iterator[RunSpec]:
    """One after the other until the time is over."""
    clock = RealClock()
    for number, workload in enumerate(itertools.cycle(SHARES)):
        if number >= SMALLEST and clock.monotonic() >= until_s:
            return
        yield RunSpec(workload, nodes=3 + 2 * (number % 2), seed=1 + number // len(SHARES))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_for_a_minute_no_seed_shows_a_broken_promise() -> None:
    outcomes: Counter[str] = Counter()
    until_s = RealClock().monotonic() + SWEEP_S
    for result in run_campaign(specs(until_s), jobs=min(4, os.cpu_count() or 1)):
        outcomes[result.outcome] += 1
        assert result.outcome != "invalid", f"{result.summary.reason}\n{result.summary.command}"
    assert outcomes["valid"] > 0.9 * outcomes.total()
