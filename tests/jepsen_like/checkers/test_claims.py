"""Claims and fences: two owners at once are caught, as is an effect of a lower fence after a higher one."""

import pytest

from quorate.jepsen_like.checkers import check_claims, check_fences, claim_intervals
from quorate.jepsen_like.history import Completion, History, HistoryError

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


def test_a_claim_may_begin_in_the_nanosecond_in_which_the_one_before_ended_but_not_be_told_first() -> None:
    before = claims(("held", 1, 3, "a"), ("released", 2, 3, "a"), ("held", 2, 7, "b"))
    after = claims(("held", 1, 3, "a"), ("held", 2, 7, "b"), ("released", 2, 3, "a"))
    assert check_claims(before).valid
    verdict = check_claims(after)
    assert verdict.outcome == "invalid"
    assert "(fence 3, 1.000000 to 2.000000 s, entries 0 and 2)" in verdict.problems[0]


def test_an_interval_names_the_entries_that_it_rests_on() -> None:
    history = claims(
        ("held", 1, 3, "a"), ("released", 2, 3, "a"), ("released", 3, 3, "a"), ("held", 4, 7, "b")
    )
    first, second = claim_intervals(history)["n"]
    assert (first.held, first.released, first.until_ns) == (0, 2, 3_000_000_000)
    assert (second.held, second.released) == (3, None)
