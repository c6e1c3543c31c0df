"""The shape of a log against a plain list of terms."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.consensus.raft.types import HardState, TermRun
from quorate.consensus.storage.shape import LogShape, require_successor

RUNS = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4)), min_size=1, max_size=3)


@given(st.lists(st.tuples(st.integers(0, 6), RUNS)))
def test_it_knows_every_term_as_a_list_would(steps: list[tuple[int, list[tuple[int, int]]]]) -> None:
    shape = LogShape(10, 1)
    terms: list[int] = []
    for replaced, steps_of_term in steps:
        keep = max(0, len(terms) - replaced)
        term = terms[keep - 1] if keep else 1
        runs: list[TermRun] = []
        for step, count in steps_of_term:
            term += step
            runs.append(TermRun(term, count))
        shape.append(10 + keep + 1, runs)
        terms = terms[:keep] + [run.term for run in runs for _ in range(run.count)]
        assert shape.last == 10 + len(terms)
        assert shape.last_term == terms[-1]
    assert [shape.term_at(11 + at) for at in range(len(terms))] == terms
    assert [run.term for run in shape.runs() for _ in range(run.count)] == terms
    assert all(one.term != two.term for one, two in zip(shape.runs(), shape.runs()[1:], strict=False))
    assert shape.term_at(10) == 1 and shape.term_at(9) is None and shape.term_at(shape.last + 1) is None


def test_a_gap_is_refused_and_changes_nothing() -> None:
    shape = LogShape()
    shape.append(1, [TermRun(1, 3)])
    for first in (5, 0, -1):
        with pytest.raises(ValueError, match="do not follow"):
            shape.append(first, [TermRun(1, 1)])
    assert (shape.last, shape.runs()) == (3, (TermRun(1, 3),))


@pytest.mark.parametrize("runs", [[TermRun(1, 1)], [TermRun(3, 1), TermRun(2, 1)], [TermRun(2, 0)]])
def test_a_term_that_goes_down_is_refused_and_changes_nothing(runs: list[TermRun]) -> None:
    shape = LogShape()
    shape.append(1, [TermRun(2, 3)])
    with pytest.raises(ValueError, match="follows term"):
        shape.append(4, runs)
    assert (shape.last, shape.runs()) == (3, (TermRun(2, 3),))


def test_a_replaced_tail_may_have_had_a_higher_term() -> None:
    """A leader of term 3 replaces what a leader of term 2 never committed with its own older entries of term 1."""
    shape = LogShape()
    shape.append(1, [TermRun(1, 2), TermRun(2, 2)])
    shape.append(3, [TermRun(1, 1), TermRun(3, 1)])
    assert shape.runs() == (TermRun(1, 3), TermRun(3, 1))


def test_the_terms_of_the_base_bound_what_follows_it() -> None:
    with pytest.raises(ValueError, match="follows term 5"):
        LogShape(10, 5).append(11, [TermRun(4, 1)])


def test_entries_may_replace_some_that_stood_in_a_segment_which_is_gone() -> None:
    """The log once ended at 120; the segment with it was dropped; the next one begins by replacing from 90 on."""
    shape = LogShape(120, 5)
    shape.append(90, [TermRun(4, 41)])
    assert (shape.base, shape.base_term, shape.last) == (89, None, 130)
    assert shape.term_at(90) == 4 and shape.term_at(89) is None


def test_behind_a_reset_the_log_begins_anew() -> None:
    shape = LogShape()
    shape.append(1, [TermRun(1, 3)])
    shape.reset(100, 7)
    assert (shape.base, shape.last, shape.last_term, shape.runs()) == (100, 100, 7, ())
    shape.append(101, [TermRun(7, 2)])
    assert shape.term_at(100) == 7 and shape.last == 102


@pytest.mark.parametrize(
    "new", [HardState(3, None), HardState(2, "a"), HardState(3, "b")], ids=["vote kept", "same", "higher"]
)
def test_a_hard_state_may_only_go_on(new: HardState) -> None:
    old = HardState(2, "a") if new.term == 2 else HardState(2, None)
    require_successor(old, new)


@pytest.mark.parametrize("new", [HardState(1, "a"), HardState(2, "b"), HardState(2, None)])
def test_a_term_never_goes_back_and_a_vote_is_never_taken_back(new: HardState) -> None:
    with pytest.raises(ValueError):
        require_successor(HardState(2, "a"), new)
