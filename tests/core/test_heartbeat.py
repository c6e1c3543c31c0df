"""Silence is judged at ticks; a node that was paused does not take its own absence for theirs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.core.backoff import Backoff
from quorate.core.heartbeat import Heartbeat, Verdict


def test_a_peer_that_speaks_lives_for_ever() -> None:
    heart = Heartbeat(0.5, 2.5, now=0.0)
    assert all(heart.tick(0.5 * n, heard=n % 4 == 0) is Verdict.BEAT for n in range(1, 200))


def test_a_silent_peer_is_given_up_after_the_timeout_and_not_before() -> None:
    heart = Heartbeat(0.5, 2.5, now=0.0)
    heart.tick(0.5, heard=True)
    verdicts = {now: heart.tick(now, heard=False) for now in (1.0, 1.5, 2.0, 2.5, 3.0)}
    assert verdicts == {
        1.0: Verdict.BEAT,
        1.5: Verdict.BEAT,
        2.0: Verdict.BEAT,
        2.5: Verdict.BEAT,
        3.0: Verdict.DEAD,
    }


def test_a_node_that_was_paused_judges_nobody_by_its_own_absence() -> None:
    heart = Heartbeat(0.5, 2.5, now=0.0)
    heart.tick(0.5, heard=True)
    assert heart.tick(60.0, heard=False) is Verdict.BEAT
    assert heart.tick(60.5, heard=True) is Verdict.BEAT
    assert heart.tick(61.0, heard=False) is Verdict.BEAT


def test_a_peer_that_died_while_we_were_paused_is_given_up_soon_after() -> None:
    heart = Heartbeat(0.5, 2.5, now=0.0)
    assert heart.tick(60.0, heard=False) is Verdict.BEAT
    assert heart.tick(60.5, heard=False) is Verdict.DEAD


@pytest.mark.parametrize(("interval_s", "timeout_s"), [(0.0, 1.0), (1.0, 1.0), (2.0, 1.0)])
def test_a_timeout_that_cannot_work_is_refused(interval_s: float, timeout_s: float) -> None:
    with pytest.raises(ValueError, match="interval_s"):
        Heartbeat(interval_s, timeout_s, now=0.0)


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=30))
def test_backoff_doubles_to_its_limit_with_jitter_of_at_most_a_half(chances: list[float]) -> None:
    backoff = Backoff(0.1, 5.0)
    for n, chance in enumerate(chances):
        whole_s = min(5.0, 0.1 * 2**n)
        assert whole_s / 2 <= backoff.next_s(chance) <= whole_s
    backoff.reset()
    assert backoff.next_s(0.0) == 0.05


@pytest.mark.parametrize(("first_s", "max_s"), [(0.0, 1.0), (2.0, 1.0)])
def test_a_backoff_that_cannot_work_is_refused(first_s: float, max_s: float) -> None:
    with pytest.raises(ValueError, match="first_s"):
        Backoff(first_s, max_s)
