"""Chaos on the raft engine, a few seeds of it. `python -m tests.consensus.chaos --seeds 1000` runs many.

`QUORATE_CHAOS_SEEDS` sets how many run here. A seed that fails runs again, with everything that was done, by
`python -m tests.consensus.chaos --only SEED --seconds 4 --verbose`.
"""

import os

import pytest

from quorate.consensus import Event, KeyValue, NoQuorum, OutcomeUnknown

from .chaos import Chaos
from .chaos_history import Follower, History, Violation, check_never_back

SEEDS = int(os.environ.get("QUORATE_CHAOS_SEEDS", "40"))
TROUBLE_S = 4.0


@pytest.mark.parametrize("seed", range(SEEDS))
def test_whatever_goes_wrong_the_store_says_the_truth_and_recovers(seed: int) -> None:
    Chaos(seed, TROUBLE_S).run()


def test_the_same_seed_does_the_same_things() -> None:
    runs = [Chaos(3, 2.0), Chaos(3, 2.0), Chaos(4, 2.0)]
    for chaos in runs:
        chaos.run()
    stories = [(chaos.story, chaos.history.writes, chaos.history.seen) for chaos in runs]
    assert stories[0] == stories[1] != stories[2]


# The checks themselves: each sees what it is there for.


def item(key: bytes, revision: int, version: int = 1) -> KeyValue:
    return KeyValue(key, b"", revision, revision, version)


def one_write(outcome: KeyValue | Exception | None) -> History:
    history = History()
    history.end(history.begin(b"k", 1.0), 2.0, outcome)
    return history


GOOD = {b"op/0": item(b"op/0", 5), b"k": item(b"k", 5)}


def test_a_history_in_which_all_is_well_passes() -> None:
    one_write(item(b"k", 5)).check(GOOD)
    one_write(OutcomeUnknown("?")).check(GOOD)
    one_write(OutcomeUnknown("?")).check({})
    one_write(NoQuorum("no")).check({})
    one_write(None).check({})


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        pytest.param(item(b"k", 5), {}, id="an acknowledged write is lost"),
        pytest.param(item(b"k", 6), GOOD, id="the result was another's"),
        pytest.param(NoQuorum("no"), GOOD, id="what did not happen has happened"),
        pytest.param(None, GOOD, id="what was refused has happened"),
        pytest.param(OutcomeUnknown("?"), {b"op/0": item(b"op/0", 5, 2)}, id="done twice"),
        pytest.param(item(b"k", 5), GOOD | {b"k": item(b"k", 6, 2)}, id="a change of nobody's"),
    ],
)
def test_a_history_with_a_lie_in_it_does_not(
    outcome: KeyValue | Exception | None, state: dict[bytes, KeyValue]
) -> None:
    with pytest.raises(Violation):
        one_write(outcome).check(state)


def test_a_write_that_was_never_answered_is_found() -> None:
    history = History()
    history.begin(b"k", 1.0)
    with pytest.raises(Violation, match="never answered"):
        history.check({})


def test_a_read_that_goes_back_is_found_and_concurrent_ones_are_free() -> None:
    check_never_back(b"k", [(1.0, 2.0, 5), (1.5, 3.0, 4), (2.5, 4.0, 5)])
    with pytest.raises(Violation, match="revision 4"):
        check_never_back(b"k", [(1.0, 2.0, 5), (2.5, 3.0, 4)])


def test_two_holders_and_a_fence_that_falls_are_found() -> None:
    history = History()
    history.acted(b"lock", {"a": 5})
    with pytest.raises(Violation, match="at once"):
        history.acted(b"lock", {"a": 5, "b": 6})
    with pytest.raises(Violation, match="fence 4"):
        history.acted(b"lock", {"b": 4})


def test_a_watch_that_leaves_something_out_is_found() -> None:
    old, new = item(b"k", 5), item(b"k", 6, 2)
    follower = Follower("a", [old])
    follower.told([Event(b"k", 6, new, old)])
    follower.check({b"k": new})
    with pytest.raises(Violation, match="missed"):
        follower.check({b"k": new, b"other": item(b"other", 7)})
    follower.told([Event(b"k", 9, None, item(b"k", 8, 3))])
    with pytest.raises(Violation, match="when told"):
        follower.check({})


def test_a_cache_that_is_older_than_it_says_is_found() -> None:
    history = History()
    history.saw(b"k", 1.0, 2.0, 5)
    history.peeked(1.9, 4)
    history.peeked(2.1, 5)
    with pytest.raises(Violation):
        history.peeked(2.1, 4)
