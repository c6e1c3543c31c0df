"""Evidence: a run in which nothing was tested is unknown, whatever else was found; it is never invalid."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.jepsen_like.checkers import check_evidence
from quorate.jepsen_like.history import Completion, History
from quorate.jepsen_like.record import FaultRecord

_NS = 1_000_000_000


def served(*times_s: float, healed_s: float | None = None, process: int | str = 0) -> History:
    """Operations that take half a second and are acknowledged at these times."""
    history = History()
    for time_s in times_s:
        if healed_s is not None and time_s > healed_s and not history.notes("healed"):
            history.note(healed_s, "nemesis", "healed")
        history.complete(time_s, history.invoke(time_s - 0.5, process, "write", "k", 1), "ok")
    return history


def fault(from_s: float, until_s: float | None, evidence: int = 5, kind: str = "cut") -> FaultRecord:
    until_ns = None if until_s is None else round(until_s * _NS)
    return FaultRecord(kind, ("n1", "n2"), round(from_s * _NS), until_ns, evidence)


def test_a_run_that_was_served_in_faults_and_after_them_is_valid() -> None:
    verdict = check_evidence(served(1, 11, 12, 30), [fault(10, 20)], ok_in_faults_min=2)
    assert verdict.valid and verdict.checked == 1
    assert verdict.summary == "1 faults; 4 operations acknowledged, 2 during faults, 1 after the heal"


@pytest.mark.parametrize(
    ("history", "faults", "doubt"),
    [
        (
            served(1, 11, 30),
            [fault(10, 20)],
            "1 operations were acknowledged during faults, and 2 are wanted",
        ),
        (served(1, 11, 12), [fault(10, 20)], "nothing was acknowledged after the heal"),
        (
            served(11, 12, 20.4),
            [fault(10, 20)],
            "nothing was acknowledged after the heal",
        ),  # invoked before it
        (
            served(11, 12, 30),
            [fault(10, 20), fault(10, 11, 0, "pause")],
            "pause on n1, n2 at 10.000 s left no evidence",
        ),
        (served(11, 12, 30), [fault(10, None)], "a fault lasted to the end, and no heal was noted"),
        (
            served(11, 12, 30),
            [fault(10, None), fault(10, 20)],
            "a fault lasted to the end, and no heal was noted",
        ),
        (served(11, 12, 30), [], "no fault was injected"),
        (served(11, 12, 30, process="n1"), [fault(10, 20)], "0 operations were acknowledged during faults"),
    ],
)
def test_each_kind_of_emptiness_is_unknown(history: History, faults: list[FaultRecord], doubt: str) -> None:
    verdict = check_evidence(history, faults, ok_in_faults_min=2)
    assert verdict.outcome == "unknown"
    assert verdict.problems[0].startswith(doubt)


def test_a_noted_heal_counts_before_the_ends_of_faults() -> None:
    history = served(11, 12, 30, 40, healed_s=20)
    assert check_evidence(history, [fault(10, None)], ok_in_faults_min=2).valid
    assert check_evidence(history, [fault(10, 35)], ok_in_faults_min=2).valid
    history.note(50, "nemesis", "healed")
    assert check_evidence(history, [fault(10, 20)], ok_in_faults_min=2).outcome == "unknown"


def test_a_long_fault_is_not_cut_short_by_a_short_one_in_it() -> None:
    assert check_evidence(served(18, 19, 30), [fault(10, 20), fault(12, 13)], ok_in_faults_min=2).valid


def test_a_fault_without_duration_is_felt_for_a_while() -> None:
    history = served(10.5, 30)
    assert check_evidence(history, [fault(10, 10)], ok_in_faults_min=1).valid
    assert check_evidence(history, [fault(10, 10)], ok_in_faults_min=1, felt_s=0.4).outcome == "unknown"


def test_only_acknowledged_operations_count() -> None:
    history = served(30)
    outcomes: tuple[Completion, ...] = ("fail", "info")
    for number, outcome in enumerate(outcomes, start=1):
        history.complete(11, history.invoke(10, number, "write", "k", 1), outcome)
    history.invoke(10, 3, "write", "k", 1)
    history.note(11, 4, "write", "k", 1)
    assert "0 during faults" in check_evidence(history, [fault(10, 20)]).summary


@given(
    st.lists(st.integers(1, 20), max_size=8).map(sorted),
    st.lists(
        st.tuples(st.integers(1, 20), st.one_of(st.none(), st.integers(0, 5)), st.integers(0, 1)), max_size=4
    ),
    st.integers(1, 3),
)
def test_any_run_is_judged_as_looking_at_every_fault_for_every_operation_does(
    times: list[int], drawn: list[tuple[int, int | None, int]], least: int
) -> None:
    faults = [
        fault(start, None if took is None else start + took, evidence) for start, took, evidence in drawn
    ]
    history = served(*times)
    inside = sum(
        any(start <= time and (took is None or time <= start + took + 1) for start, took, _ in drawn)
        for time in times
    )
    ends = [None if took is None else start + took for start, took, _ in drawn]
    known = [end for end in ends if end is not None]
    recovered = len(known) == len(ends) > 0 and any(time - 0.5 >= max(known) for time in times)
    good = bool(times) and all(evidence for *_, evidence in drawn) and inside >= least and recovered
    verdict = check_evidence(history, faults, ok_in_faults_min=least)
    assert verdict.outcome == ("valid" if good else "unknown")
