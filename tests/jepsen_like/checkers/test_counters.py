"""Counters: what was lost, repeated or read from old state is caught; whatever a real counter does is not."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.jepsen_like.checkers import (
    check_counter_reads,
    check_counter_replies,
    check_counters,
    check_unique_ids,
)
from quorate.jepsen_like.history import Completion, History, HistoryError

from .histories import from_steps


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


def test_an_increment_by_a_negative_amount_is_refused() -> None:
    history = History()
    history.invoke(0, 0, "increment", "c", -1)
    with pytest.raises(HistoryError, match=r"entry 0.*not negative"):
        check_counters(history, {"c": 0})
    with pytest.raises(HistoryError, match=r"entry 0.*not negative"):
        check_counter_reads(history)


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


# -- reads and ids: facts of Jepsen's own tests of its checkers (jepsen/test/jepsen/checker_test.clj) --------


def test_a_first_read_sees_nought() -> None:
    assert check_counter_reads(from_steps("0 invoke read", "0 ok read 0")).valid
    assert check_counter_reads(from_steps("0 invoke read", "0 ok read 1")).outcome == "invalid"


def test_an_increment_that_failed_is_not_read() -> None:
    history = from_steps("0 invoke increment 1", "0 fail increment 1", "0 invoke read", "0 ok read 0")
    assert check_counter_reads(history).valid
    assert check_counters(history, {"x": 0}).valid
    wrong = from_steps("0 invoke increment 1", "0 fail increment 1", "0 invoke read", "0 ok read 1")
    assert check_counter_reads(wrong).outcome == "invalid"


def test_an_increment_under_way_may_be_read_or_not() -> None:
    history = from_steps(
        "0 invoke increment 1", "1 invoke read", "1 ok read 0", "1 invoke read", "1 ok read 1"
    )
    assert check_counter_reads(history).valid


def test_of_reads_and_increments_at_once_only_the_impossible_one_is_named() -> None:
    history = from_steps(
        *("0 invoke read", "1 invoke increment 1", "2 invoke read", "3 invoke increment 2", "4 invoke read"),
        *("5 invoke increment 4", "6 invoke read", "7 invoke increment 8", "8 invoke read", "0 ok read 6"),
        *("1 ok increment 1", "2 ok read 0", "3 ok increment 2", "4 ok read 3", "5 ok increment 4"),
        *("6 ok read 100", "7 ok increment 8", "8 ok read 15"),
    )
    verdict = check_counter_reads(history)
    assert verdict.outcome == "invalid" and verdict.checked == 5
    assert verdict.problems == (
        "x: entries 6 and 15 read 100, which is not between 0 (acknowledged before) and 15 (attempted until then)",
    )


def test_the_bounds_of_a_read_move_on_with_the_history() -> None:
    history = from_steps(
        *("0 invoke read", "1 invoke increment 1", "0 ok read 0", "0 invoke read", "1 ok increment 1"),
        *("1 invoke increment 2", "0 ok read 3", "0 invoke read", "1 ok increment 2", "0 ok read 5"),
    )
    verdict = check_counter_reads(history)
    assert verdict.outcome == "invalid"
    assert [problem.partition(",")[0] for problem in verdict.problems] == ["x: entries 7 and 9 read 5"]


def test_a_read_that_misses_what_was_acknowledged_before_it_is_caught() -> None:
    history = from_steps("0 invoke increment 3", "0 ok increment 3", "1 invoke read", "1 ok read 2")
    assert check_counter_reads(history).outcome == "invalid"


def test_reads_that_nobody_answered_prove_nothing() -> None:
    history = from_steps("0 invoke increment 3", "0 ok increment 3", "1 invoke read", "1 fail read")
    assert check_counter_reads(history).outcome == "unknown"


def test_an_id_that_was_given_three_times_is_named_with_all_three_entries() -> None:
    history = from_steps(
        *(
            "0 invoke generate",
            "0 ok generate 0",
            "1 invoke generate",
            "1 ok generate 1",
            "2 invoke generate",
        ),
        *("2 ok generate 0", "3 invoke generate", "3 ok generate 0", "4 invoke generate", "4 info generate"),
    )
    verdict = check_unique_ids(history)
    assert verdict.outcome == "invalid" and verdict.checked == 4
    assert verdict.problems == ("0 was given 3 times (entries 1, 5 and 7)",)


def test_different_ids_are_valid_and_may_stand_in_a_field() -> None:
    history = History()
    for number, name in enumerate(("a", "b")):
        invoked = history.invoke(number, number, "register", name, {"owner": "p"})
        history.complete(number, invoked, "ok", {"owner": "p", "fence": number})
    assert check_unique_ids(history, f="register", field="fence").valid
    assert check_unique_ids(history, f="register", field="owner").outcome == "invalid"
    with pytest.raises(HistoryError, match="entry 1"):
        check_unique_ids(history, f="register")


@given(st.lists(st.tuples(st.sampled_from(["ok", "fail", "info"]), st.integers(0, 5))))
def test_ids_are_judged_as_counting_them_does(given_ids: list[tuple[Completion, int]]) -> None:
    history = History()
    for number, (outcome, id_) in enumerate(given_ids):
        history.complete(number, history.invoke(number, number, "generate"), outcome, id_)
    got = [id_ for outcome, id_ in given_ids if outcome == "ok"]
    expected = "unknown" if not got else "valid" if len(got) == len(set(got)) else "invalid"
    assert check_unique_ids(history).outcome == expected
