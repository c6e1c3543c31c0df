"""Checkers catch what was planted, pass what is right, and never call an empty history valid."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.jepsen_like.checkers import (
    PROBLEMS_LIMIT,
    check_claims,
    check_counter_replies,
    check_counters,
    check_fences,
    claim_intervals,
)
from quorate.jepsen_like.history import Completion, History, HistoryError


def increments(*completions: tuple[str, Completion | None, int | None]) -> History:
    """One operation after the other: (key, outcome, reply)."""
    history = History()
    for number, (key, outcome, reply) in enumerate(completions):
        invoked = history.invoke(number, history.new_process(), "increment", key, 1)
        if outcome is not None:
            history.complete(number + 0.5, invoked, outcome, reply)
    return history


# -- counters ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("final", [2, 3, 4])
def test_a_counter_holds_what_was_acknowledged_and_perhaps_what_is_unknown(final: int) -> None:
    history = increments(
        ("c", "ok", 1), ("c", "ok", 2), ("c", "info", None), ("c", None, None), ("c", "fail", None)
    )
    assert check_counters(history, {"c": final}).outcome == "valid"


@pytest.mark.parametrize(
    ("final", "why"), [(1, "an acknowledged increment was lost"), (5, "one was counted that nobody tried")]
)
def test_a_counter_beyond_its_bounds_is_caught(final: int, why: str) -> None:
    history = increments(
        ("c", "ok", 1), ("c", "ok", 2), ("c", "info", None), ("c", None, None), ("c", "fail", None)
    )
    verdict = check_counters(history, {"c": final})
    assert verdict.outcome == "invalid", why
    assert verdict.problems == (f"c is {final}: 2 acknowledged, 4 attempted",)


def test_a_loss_in_one_counter_is_not_hidden_by_a_surplus_in_another() -> None:
    history = increments(("c", "ok", 1), ("c", "ok", 2), ("d", "info", None))
    assert check_counters(history, {"c": 1, "d": 1}).outcome == "invalid"


def test_a_counter_that_nobody_incremented_must_be_nought() -> None:
    history = increments(("c", "ok", 1))
    assert check_counters(history, {"c": 1, "d": 0}).valid
    assert check_counters(history, {"c": 1, "d": 1}).outcome == "invalid"


def test_counters_that_nobody_read_leave_the_verdict_unknown() -> None:
    history = increments(("c", "ok", 1), ("d", "ok", 1))
    assert check_counters(history, {"c": 1}).outcome == "unknown"
    assert check_counters(history, {"c": 0}).outcome == "invalid"


# -- replies -----------------------------------------------------------------------------------------------


def test_replies_of_one_counter_after_the_other_are_valid() -> None:
    history = increments(("c", "ok", 1), ("c", "info", None), ("c", "ok", 3), ("d", "ok", 1))
    assert check_counter_replies(history).valid


def test_two_increments_that_got_the_same_value_are_caught() -> None:
    history = History()
    first = history.invoke(0.0, 0, "increment", "c", 1)
    second = history.invoke(0.0, 1, "increment", "c", 1)  # at once: only the values can tell
    history.complete(1.0, first, "ok", 1)
    history.complete(1.0, second, "ok", 1)
    verdict = check_counter_replies(history)
    assert verdict.outcome == "invalid" and "both got the value 1" in verdict.problems[0]


def test_a_reply_from_old_state_is_caught_though_its_value_is_new() -> None:
    history = increments(("c", "info", None), ("c", "info", None), ("c", "ok", 3), ("c", "ok", 2))
    verdict = check_counter_replies(history)
    assert verdict.outcome == "invalid" and "had been acknowledged before" in verdict.problems[0]


def test_replies_to_increments_at_once_may_come_in_any_order() -> None:
    history = History()
    first = history.invoke(0.0, 0, "increment", "c", 1)
    second = history.invoke(0.0, 1, "increment", "c", 1)
    history.complete(1.0, first, "ok", 2)
    history.complete(2.0, second, "ok", 1)
    assert check_counter_replies(history).valid


@given(st.data())
def test_any_run_of_a_real_counter_is_valid_and_a_lost_write_in_it_is_not(data: st.DataObject) -> None:
    """Workers overlap at random; the counter takes effect at a moment between invocation and completion."""
    history, value, time = History(), 0, 0.0
    under_way: list[tuple[Any, int | None]] = []
    acknowledged = 0
    for action in data.draw(st.lists(st.sampled_from(["invoke", "apply", "ok", "info"]), max_size=40)):
        time += 1.0
        waiting = [item for item in under_way if item[1] is None]
        applied = [item for item in under_way if item[1] is not None]
        if action == "invoke":
            under_way.append((history.invoke(time, history.new_process(), "increment", "c", 1), None))
        elif action == "apply" and waiting:
            item = data.draw(st.sampled_from(waiting))
            value += 1
            under_way[under_way.index(item)] = (item[0], value)
        elif action == "ok" and applied:
            item = data.draw(st.sampled_from(applied))
            under_way.remove(item)
            history.complete(time, item[0], "ok", item[1])
            acknowledged += 1
        elif action == "info" and under_way:
            item = data.draw(st.sampled_from(under_way))
            under_way.remove(item)
            history.complete(time, item[0], "info")
    if not len(history):
        return
    assert check_counters(history, {"c": value}).valid
    assert check_counter_replies(history).outcome == ("valid" if acknowledged else "unknown")
    assert check_counters(history, {"c": acknowledged - 1}).outcome == "invalid"
    assert check_counters(history, {"c": len(history.pairs()) + 1}).outcome == "invalid"


# -- fences ------------------------------------------------------------------------------------------------


def effects(*entries: tuple[Completion, int, str]) -> History:
    history = History()
    for number, (type_, fence, owner) in enumerate(entries):
        history.note(number, owner, "effect", "c", {"fence": fence, "owner": owner}, type_=type_)
    return history


def test_effects_under_growing_fences_are_valid_and_refusals_are_counted() -> None:
    verdict = check_fences(
        effects(("ok", 3, "a"), ("ok", 3, "a"), ("ok", 9, "b"), ("fail", 3, "a"), ("ok", 9, "b"))
    )
    assert verdict.valid and verdict.checked == 4 and "1 refused" in verdict.summary


def test_an_effect_accepted_from_a_lower_fence_after_a_higher_one_is_caught() -> None:
    verdict = check_fences(effects(("ok", 3, "a"), ("ok", 9, "b"), ("ok", 3, "a")))
    assert verdict.outcome == "invalid"
    assert verdict.problems == ("c: fence 3 was accepted (entry 2) after 9 (entry 1)",)


def test_two_owners_with_one_fence_are_caught_even_when_the_second_was_refused() -> None:
    assert check_fences(effects(("ok", 3, "a"), ("fail", 3, "b"))).outcome == "invalid"


def test_fences_of_different_names_have_nothing_to_do_with_each_other() -> None:
    history = History()
    history.note(0, "a", "effect", "c", {"fence": 9, "owner": "a"})
    history.note(1, "a", "effect", "d", {"fence": 3, "owner": "a"})
    assert check_fences(history).valid


# -- claims ------------------------------------------------------------------------------------------------


def claims(*entries: tuple[str, float, int, str]) -> History:
    """(held or released, time, fence, owner), recorded in this order, whatever the times."""
    history = History()
    for f, time_s, fence, owner in entries:
        history.note(time_s, owner, f, "n", {"fence": fence, "owner": owner})
    return history


def test_claims_one_after_the_other_are_valid_in_whatever_order_they_were_told() -> None:
    history = claims(("held", 5.0, 7, "b"), ("held", 1.0, 3, "a"), ("released", 4.75, 3, "a"))
    verdict = check_claims(history)
    assert verdict.valid and "narrowest gap between two owners was 250 ms" in verdict.summary
    assert [interval.owner for interval in claim_intervals(history)["n"]] == ["a", "b"]


@pytest.mark.parametrize(
    ("history", "why"),
    [
        (claims(("held", 1, 3, "a"), ("held", 2, 7, "b")), "the first never ended"),
        (claims(("held", 1, 3, "a"), ("released", 2.5, 3, "a"), ("held", 2, 7, "b")), "it ended too late"),
        (claims(("held", 1, 7, "a"), ("released", 2, 7, "a"), ("held", 3, 3, "b")), "the fence fell"),
        (claims(("held", 1, 3, "a"), ("released", 2, 3, "a"), ("held", 3, 3, "b")), "one fence, two owners"),
        (
            claims(
                ("held", 1, 3, "a"),
                ("released", 9, 3, "a"),
                ("held", 10, 5, "b"),
                ("released", 2, 5, "b"),  # an empty claim in between hides nothing
                ("held", 5, 7, "c"),
            ),
            "the first overlaps the third",
        ),
    ],
)
def test_two_owners_at_once_or_a_fence_that_does_not_grow_are_caught(history: History, why: str) -> None:
    assert check_claims(history).outcome == "invalid", why


def test_the_end_of_a_claim_that_nobody_saw_begin_is_a_hole_in_the_history() -> None:
    with pytest.raises(HistoryError, match="nobody saw it hold"):
        check_claims(claims(("released", 1.0, 3, "a")))


# -- all ---------------------------------------------------------------------------------------------------


def test_an_empty_history_is_never_valid() -> None:
    empty = History()
    verdicts = [
        check_counters(empty, {}),
        check_counter_replies(empty),
        check_fences(empty),
        check_claims(empty),
    ]
    assert [verdict.outcome for verdict in verdicts] == ["unknown"] * 4


def test_malformed_entries_are_refused_by_index() -> None:
    history = History()
    history.note(0, "a", "effect", "c", {"fence": "three"})
    with pytest.raises(HistoryError, match="entry 0"):
        check_fences(history)
    keyless = History()
    keyless.invoke(0, 0, "increment", None, 1)
    with pytest.raises(HistoryError, match=r"entry 0.*key"):
        check_counters(keyless, {})


def test_a_verdict_lists_a_few_problems_and_counts_the_rest() -> None:
    many = [(f"c{number}", "ok", 1) for number in range(PROBLEMS_LIMIT + 5)]
    history = increments(*many)  # type: ignore[arg-type]  # a literal in a comprehension
    verdict = check_counters(history, {f"c{number}": 0 for number in range(PROBLEMS_LIMIT + 5)})
    assert len(verdict.problems) == PROBLEMS_LIMIT + 1 and verdict.problems[-1] == "and 5 more"
    assert "c0 is 0" in str(verdict)
