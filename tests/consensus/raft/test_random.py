"""Random schedules: ticks, losses, doubles, reorderings, crashes that lose writes, snapshots, cuts.

`Invariants` looks at every step; at the end everything heals and must agree. `sweep.py` runs many more of
them.
"""

import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .harness import Cluster
from .schedule import ACTIONS, SPAN, Action, ids_of, perform, recover, run

actions = st.lists(
    st.tuples(st.integers(0, len(ACTIONS) - 1), st.integers(0, SPAN - 1), st.integers(0, SPAN - 1)),
    min_size=150,
    max_size=500,
)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_no_schedule_breaks_an_invariant(size: int) -> None:
    for seed in range(60 if size > 2 else 10):
        run(size, seed, 800)


@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(st.sampled_from([3, 5]), st.integers(0, 1 << 16), actions)
def test_no_list_of_actions_breaks_an_invariant(size: int, seed: int, schedule: list[Action]) -> None:
    cluster = Cluster(ids_of(size), seed)
    perform(cluster, schedule)
    recover(cluster)


def test_schedules_reach_what_they_are_for() -> None:
    """A search that commits, reads or elects next to nothing would find nothing."""
    clusters = [run(size, seed, 800) for seed in range(100, 120) for size in (3, 5)]
    invariants = [cluster.invariants for cluster in clusters]
    assert sum(x.committed_index for x in invariants) > 800
    assert sum(len(x.leaders) for x in invariants) > 50
    assert sum(len(cluster.served) for cluster in clusters) > 100
    assert sum(len(cluster.failed) for cluster in clusters) > 5
    assert sum(x.installed for x in invariants) > 5
    assert sum(x.replaced for x in invariants) > 5
    assert sum(x.crashes for x in invariants) > 100


def outcome() -> str:
    """What one schedule comes to."""
    cluster = run(5, 7, 800)
    return repr((cluster.invariants.committed, sorted(cluster.served.items()), cluster.invariants.crashes))


def test_the_same_seed_is_the_same_schedule_in_every_process() -> None:
    """Or a failing seed could not be replayed."""
    code = f"from {__name__} import outcome; print(outcome())"
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == outcome()
