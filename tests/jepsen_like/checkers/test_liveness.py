"""Liveness: every name that is probed after the heal works within the limit, and goes on working."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.jepsen_like.checkers import check_liveness
from quorate.jepsen_like.history import Completion, History

Probe = tuple[str, float, float | None, Completion]  # name, invoked, completed, outcome


def probed(*probes: Probe, healed_s: float | None = 10.0, end_s: float | None = 100.0) -> History:
    """A history in the order of times; a probe that never completes has no end."""
    history = History()
    steps: list[tuple[float, int, int]] = []  # time, end?, which
    for number, (_, invoked_s, completed_s, _) in enumerate(probes):
        steps.append((invoked_s, 0, number))
        if completed_s is not None:
            steps.append((completed_s, 1, number))
    if healed_s is not None:
        steps.append((healed_s, -1, 0))
    invoked = {}
    for time_s, kind, number in sorted(steps):
        if kind == -1:
            history.note(time_s, "nemesis", "healed")
        elif kind == 0:
            invoked[number] = history.invoke(time_s, number, "probe", probes[number][0])
        else:
            history.complete(time_s, invoked[number], probes[number][3])
    if end_s is not None:
        history.note(end_s, "runner", "end")
    return history


def test_names_that_work_within_the_limit_are_valid_and_the_slowest_is_told() -> None:
    history = probed(("a", 10.0, 12.5, "ok"), ("b", 10.0, 11.0, "fail"), ("b", 11.0, 13.25, "ok"))
    verdict = check_liveness(history, limit_s=5.0, names=["a", "b"])
    assert verdict.valid and verdict.checked == 2
    assert "the last one was acknowledged 3,250 ms after it" in verdict.summary


@pytest.mark.parametrize(
    ("probes", "problem"),
    [
        ([("a", 10.0, 15.000000001, "ok")], "'a': a probe (entries 1 and 2) was not acknowledged within 5 s"),
        ([("a", 10.0, None, "ok")], "'a': a probe (entry 1) was not acknowledged within 5 s"),
        ([("a", 10.0, 11.0, "fail")], "'a': a probe (entries 1 and 2) was not acknowledged within 5 s"),
        ([("a", 10.0, 11.0, "info")], "'a': a probe (entries 1 and 2) was not acknowledged within 5 s"),
        (
            [("a", 10.0, 11.0, "fail"), ("a", 12.0, 13.0, "fail"), ("a", 14.0, None, "ok")],
            "'a': none of 3 probes (the last: entry 5) was acknowledged within 5 s",
        ),
        (
            [("a", 10.0, 11.0, "ok"), ("a", 20.0, 21.0, "fail")],
            "'a': a probe (entries 3 and 4) was not acknowledged within 5 s",
        ),
        (
            [("b", 10.0, 11.0, "ok"), ("a", 10.5, None, "ok"), ("b", 20.0, 21.0, "ok")],
            "'a': a probe (entry 2) was not acknowledged within 5 s",
        ),
    ],
)
def test_a_name_that_does_not_work_in_time_is_named(probes: list[Probe], problem: str) -> None:
    verdict = check_liveness(probed(*probes), limit_s=5.0)
    assert verdict.outcome == "invalid"
    assert verdict.problems == (problem,)


def test_the_limit_itself_is_in_time() -> None:
    assert check_liveness(probed(("a", 10.0, 15.0, "ok"), ("a", 20.0, 25.0, "ok")), limit_s=5.0).valid


def test_until_the_limit_probes_may_fail_or_hang() -> None:
    history = probed(("a", 10.0, None, "ok"), ("a", 12.0, 12.5, "fail"), ("a", 14.0, 14.9, "ok"))
    assert check_liveness(history, limit_s=5.0).valid


def test_what_was_probed_before_the_last_heal_does_not_count() -> None:
    history = probed(("a", 1.0, None, "ok"), ("b", 9.0, 11.0, "ok"), ("c", 10.0, 11.0, "ok"))
    assert check_liveness(history, limit_s=5.0).valid
    verdict = check_liveness(history, limit_s=5.0, names=["a", "b", "c"])
    assert verdict.outcome == "unknown" and verdict.problems == (
        "'a' was never probed",
        "'b' was never probed",
    )
    history.note(200.0, "nemesis", "healed")
    assert check_liveness(history, limit_s=5.0).outcome == "unknown"


def test_without_a_heal_or_with_an_early_end_it_is_unknown() -> None:
    assert check_liveness(probed(("a", 1.0, 2.0, "ok"), healed_s=None), limit_s=5.0).problems == (
        "no heal was noted",
    )
    pending = probed(("a", 10.0, None, "ok"), end_s=14.0)
    verdict = check_liveness(pending, limit_s=5.0)
    assert verdict.outcome == "unknown" and "the history ends before the limit" in verdict.problems[0]
    assert check_liveness(pending, limit_s=4.0).outcome == "invalid"
    assert check_liveness(pending, limit_s=5.0, until_s=15.0).outcome == "invalid"


def naive(probes: list[Probe], limit_s: float) -> str:
    """Name by name, from the times that went in."""
    right = bool(probes)
    for name in {probe[0] for probe in probes}:
        own = [probe for probe in probes if probe[0] == name]
        done = [end if outcome == "ok" and end is not None else inf for _, _, end, outcome in own]
        start = min(probe[1] for probe in own)
        right &= min(done) <= start + limit_s
        for probe, end in zip(own, done, strict=True):
            right &= probe[1] <= start + limit_s or end <= probe[1] + limit_s
    return "valid" if right else "invalid" if probes else "unknown"


@given(
    st.lists(
        st.tuples(
            st.sampled_from("ab"),
            st.integers(10, 20),
            st.integers(1, 5),
            st.sampled_from(["ok", "ok", "ok", "fail"]),
        ),
        max_size=6,
    )
)
def test_any_few_probes_are_judged_as_looking_at_each_name_does(
    drawn: list[tuple[str, int, int, Completion]],
) -> None:
    probes: list[Probe] = [(name, start, start + took, outcome) for name, start, took, outcome in drawn]
    assert check_liveness(probed(*probes), limit_s=3.0).outcome == naive(probes, 3.0)
