"""Convergence: equal views that are true are valid; one wrong, missing or left-over name on one node is caught."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.jepsen_like.checkers import Holding, check_convergence

TRUTH: dict[str, Holding] = {"a": ("n1#1:5", 3), "b": ("n2#1:7", 4)}


def test_views_that_are_the_truth_are_valid() -> None:
    verdict = check_convergence({"n1": TRUTH, "n2": dict(TRUTH)}, TRUTH)
    assert verdict.valid and verdict.checked == 4
    assert verdict.summary == "2 nodes, 2 names, 1 different views"


@pytest.mark.parametrize(
    ("view", "problem"),
    [
        ({"a": TRUTH["a"]}, "n2: 'b' is missing; it is of n2#1:7 (fence 4)"),
        ({**TRUTH, "c": ("n3#1:1", 9)}, "n2: 'c' is of n3#1:1 (fence 9) there, but it is nobody's"),
        (
            {**TRUTH, "a": ("n1#1:5", 2)},
            "n2: 'a' is of n1#1:5 (fence 2) there, but it is of n1#1:5 (fence 3)",
        ),
        (
            {**TRUTH, "a": ("n2#1:5", 3)},
            "n2: 'a' is of n2#1:5 (fence 3) there, but it is of n1#1:5 (fence 3)",
        ),
    ],
)
def test_a_node_that_knows_something_else_is_named(view: dict[str, Holding], problem: str) -> None:
    verdict = check_convergence({"n1": TRUTH, "n2": view, "n3": None}, TRUTH)
    assert verdict.outcome == "invalid" and verdict.problems == (problem,)


def test_nodes_that_agree_on_something_false_are_caught() -> None:
    view = {**TRUTH, "a": ("n3#1:1", 2)}
    assert len(check_convergence({"n1": view, "n2": view}, TRUTH).problems) == 2


def test_a_node_that_gave_no_view_leaves_it_unknown() -> None:
    verdict = check_convergence({"n1": TRUTH, "n2": None}, TRUTH)
    assert verdict.outcome == "unknown" and verdict.problems == ("n2 gave no view",)


def test_no_nodes_and_no_names_prove_nothing() -> None:
    assert check_convergence({}, TRUTH).outcome == "unknown"
    assert check_convergence({"n1": {}}, {}).outcome == "unknown"
    assert check_convergence({"n1": {}}, TRUTH).outcome == "invalid"


views = st.dictionaries(st.sampled_from("abc"), st.tuples(st.sampled_from("pq"), st.integers(1, 2)))


@given(st.dictionaries(st.sampled_from(["n1", "n2", "n3"]), views), views)
def test_any_views_are_judged_as_comparing_them_whole_does(
    seen: dict[str, dict[str, Holding]], truth: dict[str, Holding]
) -> None:
    equal = all(view == truth for view in seen.values())
    expected = "invalid" if not equal else "valid" if seen and truth else "unknown"
    verdict = check_convergence(seen, truth)
    assert verdict.outcome == expected
    assert {problem[:2] for problem in verdict.problems} == {n for n, view in seen.items() if view != truth}
