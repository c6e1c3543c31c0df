"""A window holds the culprit and nothing that can be spared, and its line says what was expected."""

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorate.jepsen_like.linear import check_linearizable, explain, find_model, partition
from quorate.jepsen_like.record import Window

from .brute import Deed, deeds_of, has_order, is_linearizable, matters
from .test_judgement import RULES, TAPES, is_lenient, judged
from .worlds import KINDS, Entry, Tape, good, history_of, mutant


def cut_at(deeds: list[Deed], entry: int) -> list[Deed]:
    """What was known at an entry: what was begun by then; what ended later may have had no effect."""
    return [
        deed if deed.ended <= entry else replace(deed, ended=inf) for deed in deeds if deed.begun <= entry
    ]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=200)
@given(data=TAPES, rules=st.sampled_from(RULES))
def test_a_window_is_what_its_definition_says(kind: str, rules: str, data: bytes) -> None:
    tape = Tape(data)
    rule = RULES[rules == "porcupine"]
    entries = mutant(kind, good(kind, tape, rule, wide=4), tape)
    windows = judged(kind, entries, rule).windows
    if not windows or is_lenient(kind, entries):
        return
    (window,) = windows
    deeds = [deed for deed in deeds_of(entries) if matters(kind, deed, rule)]
    before = [deed if deed.ended < window.culprit else replace(deed, ended=inf) for deed in deeds]
    assert has_order(kind, [deed for deed in before if deed.begun < window.culprit], rule)

    known = cut_at(deeds, window.culprit)
    kept = {deed.begun: deed.ended for deed in known if deed.begun in window.indices}
    assert kept.keys() | set(kept.values()) == set(window.indices)
    assert window.culprit in window.indices and list(window.indices) == sorted(window.indices)
    assert not has_order(kind, excusing(known, set(kept)), rule)
    for begun, ended in kept.items():
        if ended != window.culprit:
            assert has_order(kind, excusing(known, set(kept) - {begun}), rule)


def excusing(deeds: list[Deed], kept: set[int]) -> list[Deed]:
    """All but those that begin at these entries may have had no effect."""
    return [
        deed if deed.ended == inf or deed.begun in kept else replace(deed, excused=True) for deed in deeds
    ]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=100)
@given(data=TAPES, steps=st.integers(0, 12))
def test_a_window_found_with_few_steps_cannot_be_explained_either(kind: str, steps: int, data: bytes) -> None:
    tape = Tape(data)
    entries = mutant(kind, good(kind, tape, "jepsen", wide=4), tape)
    if is_linearizable(kind, entries, "jepsen") or is_lenient(kind, entries):
        return
    model, history = find_model(kind), history_of(entries)
    (operations,) = partition(history, model).operations.values()
    window = explain("k", operations, model, max_steps=steps)
    assert window.culprit in window.indices
    inside = [entries[index] for index in window.indices]
    assert not is_linearizable(kind, inside, "jepsen")


# -- the line ------------------------------------------------------------------------------------------------


def window_of(kind: str, *told: tuple[str, int, str, object], initial: object = None) -> Window:
    """From (type, process, f, value) each."""
    entries = [Entry(process, type_, f, value) for type_, process, f, value in told]
    options = {} if initial is None else {"initial": initial}
    (window,) = check_linearizable(history_of(entries), kind, **options).windows  # type: ignore[arg-type]
    return window


def test_a_value_that_was_never_there_stands_alone() -> None:
    window = window_of(
        "cas-register",
        ("invoke", 0, "write", 1),
        ("ok", 0, "write", 1),
        ("invoke", 1, "write", 2),
        ("invoke", 2, "read", None),
        ("ok", 2, "read", 3),
    )
    assert window == Window("k", (3, 4), 4, "read 3, but the register can only be 1 or 2 here")


def test_a_stale_read_comes_with_what_it_missed() -> None:
    window = window_of(
        "cas-register",
        *((type_, 0, "write", 1) for type_ in ("invoke", "ok")),
        *((type_, 1, "cas", [1, 2]) for type_ in ("invoke", "ok")),
        *((type_, 2, "write", 2) for type_ in ("invoke", "ok")),
        *((type_, 3, "read", 2) for type_ in ("invoke", "ok")),
        *((type_, 4, "read", 1) for type_ in ("invoke", "ok")),
    )
    assert window == Window("k", (4, 5, 8, 9), 9, "read 1, but the register can only be 2 here")


def test_many_possible_values_are_not_all_listed() -> None:
    writes: list[tuple[str, int, str, object]] = [("invoke", n, "write", n) for n in range(1, 6)]
    window = window_of("cas-register", *writes, ("invoke", 9, "read", None), ("ok", 9, "read", 7), initial=0)
    assert window.why.startswith("read 7, but the register can only be ")
    assert window.why.endswith(" or others here")


def test_the_same_fence_twice_names_both_acquisitions() -> None:
    window = window_of(
        "fenced-mutex",
        ("invoke", 0, "acquire", None),
        ("ok", 0, "acquire", {"fence": 3}),
        ("invoke", 0, "release", None),
        ("ok", 0, "release", None),
        ("invoke", 1, "acquire", None),
        ("ok", 1, "acquire", {"fence": 3}),
    )
    assert window == Window(
        "k", (0, 1, 4, 5), 5, "acquire with fence 3, but the mutex can only be free after fence 3 here"
    )


def test_two_owners_of_a_name_are_named() -> None:
    window = window_of(
        "registry",
        ("invoke", 0, "register", {"owner": "n1#1:5"}),
        ("ok", 0, "register", {"owner": "n1#1:5", "fence": 7}),
        ("invoke", 1, "register", {"owner": "n2#4:2"}),
        ("ok", 1, "register", {"owner": "n2#4:2", "fence": 9}),
    )
    assert window == Window(
        "k",
        (0, 1, 2, 3),
        3,
        "register for n2#4:2 with fence 9, but the name can only be n1#1:5 with fence 7 here",
    )


def test_an_operation_that_fits_by_itself_is_not_called_impossible() -> None:
    """The cas may happen where the register is 1, but then nobody could have read 1 afterwards."""
    window = window_of(
        "cas-register",
        *((type_, 0, "write", 1) for type_ in ("invoke", "ok")),
        ("invoke", 1, "cas", [1, 2]),
        *((type_, 2, "read", 1) for type_ in ("invoke", "ok")),
        *((type_, 3, "cas", [1, 3]) for type_ in ("invoke", "ok")),
        ("ok", 1, "cas", [1, 2]),
    )
    assert window.culprit == 7
    assert window.why.startswith("cas 1 to 2 fits into no order with the ")


def test_an_excused_operation_may_still_take_effect_late_in_its_time() -> None:
    """Without the write of 3, the cas could have followed the write of 1, though it was begun before."""
    window = window_of(
        "cas-register",
        ("invoke", 0, "cas", [1, 2]),
        *((type_, 4, "write", 0) for type_ in ("invoke", "ok")),
        *((type_, 1, "write", 1) for type_ in ("invoke", "ok")),
        ("ok", 0, "cas", [1, 2]),
        *((type_, 2, "write", 3) for type_ in ("invoke", "ok")),
        *((type_, 3, "read", 2) for type_ in ("invoke", "ok")),
        initial=5,
    )
    assert window == Window("k", (6, 7, 8, 9), 9, "read 2, but the register can only be 3 here")
