"""What really happened is accepted, and everything small is judged as trying every order judges it."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorate.jepsen_like.linear import (
    LinearResult,
    Operation,
    Rules,
    Search,
    check_linearizable,
    find_model,
    partition,
)

from .brute import is_linearizable
from .worlds import EXPIRE, KINDS, Entry, Tape, good, history_of, mutant

RULES: tuple[Rules, ...] = ("jepsen", "porcupine")
TAPES = st.binary(min_size=10, max_size=120)


def judged(kind: str, entries: list[Entry], rules: Rules) -> LinearResult:
    return check_linearizable(history_of(entries), kind, rules=rules)


def is_lenient(kind: str, entries: list[Entry]) -> bool:
    """A session that certainly ended below some fence, beside a registration whose fence nobody knows: either way."""
    answered = {entry.process: entry.type for entry in entries if entry.type != "invoke"}
    bounded = any(
        entry.f == EXPIRE and "fences_below" in entry.value and answered.get(entry.process) == "ok"
        for entry in entries
        if entry.type == "invoke"
    )
    return bounded and any(
        entry.f == "register" and answered.get(entry.process, "info") == "info" for entry in entries
    )


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=150)
@given(data=TAPES)
def test_what_a_real_object_answered_is_accepted(kind: str, rules: Rules, data: bytes) -> None:
    entries = good(kind, Tape(data), rules, most=25, wide=5)
    assert judged(kind, entries, rules).verdict.outcome in ("valid", "unknown"), entries


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=400)
@given(data=TAPES)
def test_mutants_are_judged_as_every_order_judges_them(kind: str, rules: Rules, data: bytes) -> None:
    tape = Tape(data)
    entries = mutant(kind, good(kind, tape, rules), tape)
    expected = is_linearizable(kind, entries, rules)
    found = judged(kind, entries, rules)
    if expected or not is_lenient(kind, entries):
        assert (found.verdict.outcome != "invalid") == expected, (entries, found)
    assert bool(found.windows) == (found.verdict.outcome == "invalid")
    assert found.verdict.outcome != "unknown" or not found.verdict.checked


def test_a_way_that_spends_fewer_unknown_operations_is_tried_after_one_that_spent_more() -> None:
    """They lead to the same text with the same operations left; only the frugal one can go on."""
    appends = [(0, "ab", "info"), (1, "a", "ok"), (2, "a", "info"), (3, "ab", "ok"), (4, "b", "info")]
    answers = {process: Entry(process, type_, "append", value) for process, value, type_ in appends}
    asked = {process: Entry(process, "invoke", "append", value) for process, value, _ in appends}
    entries = [asked[0], asked[1], answers[1], answers[0], asked[2], asked[3], asked[4], answers[2]]
    entries += [Entry(5, "invoke", "get", None), answers[3], Entry(5, "ok", "get", "abaaba"), answers[4]]
    assert is_linearizable("kv", entries, "jepsen")
    assert judged("kv", entries, "jepsen").verdict.valid


def operations_of(kind: str, entries: list[Entry], rules: Rules) -> tuple[Operation, ...]:
    partitions = partition(history_of(entries), find_model(kind), rules).operations
    return next(iter(partitions.values()), ())


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60)
@given(data=TAPES)
def test_step_by_step_the_search_ends_where_it_ends_in_one_go(kind: str, data: bytes) -> None:
    tape = Tape(data)
    operations = operations_of(kind, mutant(kind, good(kind, tape, "jepsen"), tape), "jepsen")
    whole, stepwise = (Search(operations, find_model(kind).initial) for _ in range(2))
    whole.advance(10**6, states=10**6)
    for taken in itertools.count():
        if stepwise.outcome is not None:
            break
        assert stepwise.steps == taken
        stepwise.advance(1, states=10**6)
    assert (stepwise.outcome, stepwise.steps, stepwise.states) == (whole.outcome, whole.steps, whole.states)
