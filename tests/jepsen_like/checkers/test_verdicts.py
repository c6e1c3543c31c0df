"""What all checkers share: nothing is valid by default, malformed entries are refused, verdicts stay short."""

from collections.abc import Callable

import pytest

from quorate.jepsen_like.checkers import (
    PROBLEMS_LIMIT,
    Verdict,
    check_claims,
    check_convergence,
    check_counter_reads,
    check_counter_replies,
    check_counters,
    check_downs,
    check_effects,
    check_evidence,
    check_fences,
    check_liveness,
    check_order,
    check_unique_ids,
)
from quorate.jepsen_like.history import History, HistoryError
from quorate.jepsen_like.verdict import judge

CHECKERS: dict[str, Callable[[History], Verdict]] = {
    "counters": lambda history: check_counters(history, {}),
    "counter reads": check_counter_reads,
    "replies": check_counter_replies,
    "unique ids": check_unique_ids,
    "effects": check_effects,
    "effects, read": lambda history: check_effects(history, {}),
    "fences": check_fences,
    "claims": check_claims,
    "order": lambda history: check_order(history, complete=True),
    "downs": check_downs,
    "convergence": lambda history: check_convergence({}, {}),
    "liveness": lambda history: check_liveness(history, limit_s=1.0),
    "evidence": lambda history: check_evidence(history, []),
}


@pytest.mark.parametrize("name", CHECKERS)
def test_an_empty_history_is_never_valid(name: str) -> None:
    verdict = CHECKERS[name](History())
    assert verdict.outcome == "unknown" and verdict.checked == 0
    assert verdict.summary == "the history holds nothing to check" or name == "effects"


@pytest.mark.parametrize("name", CHECKERS)
def test_a_history_of_other_things_is_never_valid(name: str) -> None:
    history = History()
    history.complete(1.0, history.invoke(0.0, "a", "dance", "floor"), "ok")
    history.note(2.0, "b", "sang", "song")
    assert CHECKERS[name](history).outcome == "unknown"


@pytest.mark.parametrize(
    ("checker", "f", "value"),
    [
        ("fences", "effect", {"fence": "three", "owner": "a"}),
        ("claims", "held", {"fence": 3}),
        ("effects", "applied", {"id": None}),
        ("effects", "applied", 7),
        ("order", "received", {"from": "a"}),
        ("order", "received", {"n": 1}),
        ("order", "sent", {"to": "b", "n": "one"}),
        ("order", "gap", {"between": ["n1"]}),
        ("order", "gap", None),
        ("downs", "monitor", {"ref": 1}),
        ("downs", "down", {"reason": "killed"}),
        ("downs", "died", "b"),
        ("downs", "demonitor", {"ref": 1}),
    ],
)
def test_malformed_entries_are_refused_by_index(checker: str, f: str, value: object) -> None:
    history = History()
    history.note(0.0, "a", "unrelated", "k")
    history.note(1.0, "a", f, "k", value)
    with pytest.raises(HistoryError, match="entry 1"):
        CHECKERS[checker](history)


@pytest.mark.parametrize(
    ("checker", "f"),
    [("counters", "increment"), ("counter reads", "read"), ("effects", "act"), ("liveness", "probe")],
)
def test_an_operation_without_a_key_is_refused_where_one_is_needed(checker: str, f: str) -> None:
    history = History()
    history.note(0.0, "nemesis", "healed")
    history.invoke(1.0, 0, f)
    with pytest.raises(HistoryError, match=r"entry 1.*key"):
        CHECKERS[checker](history)


def test_a_verdict_lists_a_few_problems_and_counts_the_rest() -> None:
    many = [f"c{number} is lost" for number in range(PROBLEMS_LIMIT + 5)]
    for verdict in (judge("test", many, 9, "lost"), judge("test", [], 9, "lost", doubts=many)):
        assert len(verdict.problems) == PROBLEMS_LIMIT + 1 and verdict.problems[-1] == "and 5 more"
        assert str(verdict).startswith(f"test: {verdict.outcome}: c0 is lost (lost)\n  c0 is lost\n  c1")


def test_a_problem_outweighs_a_doubt_and_a_doubt_outweighs_facts() -> None:
    assert judge("test", ["p"], 9, "s", doubts=["d"]) == Verdict("test", "invalid", 9, "p (s)", ("p",))
    assert judge("test", [], 9, "s", doubts=["d"]) == Verdict("test", "unknown", 9, "d (s)", ("d",))
    assert judge("test", [], 9, "s") == Verdict("test", "valid", 9, "s")
    assert judge("test", [], 0, "s").outcome == "unknown"
    assert judge("test", ["p"], 0, "s").outcome == "invalid"
