"""Budgets end in `unknown`, keys are judged apart, and the verdict says what it rests on."""

from dataclasses import replace

import pytest

from quorate.core import ConfigError
from quorate.jepsen_like.history import History, HistoryError
from quorate.jepsen_like.linear import Search, check_linearizable, find_model, partition


def at_once(history: History, key: str | None, *asked: tuple[str, object, object]) -> None:
    """Operations that are all under way at the same time, then answered in this order: (f, value, answer) each."""
    invoked = [history.invoke(0.0, history.new_process(), f, key, value) for f, value, _ in asked]
    for op, (_, _, answer) in zip(invoked, asked, strict=True):
        history.complete(1.0, op, "ok", answer)


def hard(history: History, key: str | None, size: int) -> None:
    """Appends of which all orders must be tried before it is clear that one letter is missing."""
    letters = "abcdefghijklmnop"[:size]
    at_once(history, key, *(("append", letter, letter) for letter in letters))
    at_once(history, key, ("put", "", ""))  # after which any of the orders might have been
    at_once(history, key, ("append", "x", "x"), ("append", "y", "y"))
    at_once(history, key, ("get", None, "x"))


def test_a_budget_of_steps_that_is_used_up_is_no_verdict() -> None:
    history = History()
    hard(history, "k", 6)
    found = check_linearizable(history, "kv", max_steps=50)
    assert found.verdict.outcome == "unknown" and found.steps == 50 and not found.windows
    assert found.verdict.problems == (f"k: not decided within 50 steps and {found.states} states",)
    assert check_linearizable(history, "kv").verdict.outcome == "invalid"


def test_memory_that_is_used_up_is_no_verdict() -> None:
    history = History()
    hard(history, "k", 6)
    found = check_linearizable(history, "kv", max_states=40)
    assert found.verdict.outcome == "unknown" and found.states == 40


def test_a_hard_key_does_not_keep_an_easy_one_from_being_found_wrong() -> None:
    history = History()
    hard(history, "hard", 16)
    at_once(history, "easy", ("get", None, "never"))
    found = check_linearizable(history, "kv", max_steps=20_000)
    assert found.verdict.outcome == "invalid"
    assert [window.key for window in found.windows] == ["easy"]
    assert found.verdict.problems[0] == 'easy: entry 41: get "never", but the key can only be "" here'


def test_memory_is_shared_by_the_keys() -> None:
    history = History()
    for number in range(5):
        hard(history, f"k{number}", 6)
    found = check_linearizable(history, "kv", max_states=40)
    assert found.verdict.outcome == "unknown" and found.states == 40


def test_memory_is_given_back_by_keys_that_are_decided() -> None:
    alone, history = History(), History()
    letters = [("append", letter, letter) for letter in "abcdef"]
    at_once(alone, "k", *letters)
    for number in range(20):
        at_once(history, f"k{number}", *letters)
    most = check_linearizable(alone, "kv").states
    assert most > 0
    assert check_linearizable(history, "kv", max_states=most + 1).verdict.valid


@pytest.mark.parametrize("key", [None, "k"])
def test_nothing_answered_is_nothing_checked(key: str | None) -> None:
    history = History()
    history.invoke(0.0, 1, "write", key, 1)
    history.invoke(0.0, 2, "read", key)
    found = check_linearizable(history, "cas-register")
    assert found.verdict.outcome == "unknown" and found.verdict.checked == 0
    assert check_linearizable(History(), "mutex").verdict.outcome == "unknown"


def test_the_verdict_counts_what_it_rests_on_and_what_it_passed_over() -> None:
    history = History()
    at_once(history, "a", ("write", 1, 1), ("read", None, 1), ("sing", None, None))
    at_once(history, "b", ("read", None, None))
    verdict = check_linearizable(history, "cas-register", rules="porcupine").verdict
    assert verdict.valid and verdict.checked == 3
    assert verdict.summary == (
        "3 answered operations of 2 keys, model cas-register, which knows nothing of 1 'sing'"
    )
    wrong = check_linearizable(history, "mutex").verdict
    assert wrong.outcome == "unknown" and "knows nothing of 3 'read'" not in wrong.summary
    assert wrong.problems == ("the model mutex knows nothing of 2 'read', 1 'sing', 1 'write'",)


def test_a_nemesis_is_no_client() -> None:
    history = History()
    history.note(0.0, "nemesis", "start", type_="info")
    struck = history.invoke(0.1, "nemesis", "write", None, 7)
    history.complete(0.2, struck, "ok")
    at_once(history, None, ("read", None, 0))
    assert check_linearizable(history, "cas-register", initial=0).verdict.valid


def test_keys_are_judged_apart() -> None:
    history = History()
    at_once(history, "a", ("write", 1, 1))
    at_once(history, "b", ("read", None, 1))
    found = check_linearizable(history, "cas-register", initial=0)
    assert [window.key for window in found.windows] == ["b"]
    assert check_linearizable(history, "cas-register", initial=1).verdict.valid


def test_more_bad_keys_than_are_explained_are_all_named() -> None:
    history = History()
    for number in range(8):
        at_once(history, f"k{number}", ("read", None, number))
    found = check_linearizable(history, "cas-register", initial=-1)
    assert len(found.windows) == 5 and len(found.verdict.problems) == 8
    assert found.verdict.problems[-1] == "k7: no order explains its 1 answered operations"


@pytest.mark.parametrize(
    ("model", "options", "complaint"),
    [
        ("lock", {}, "no model 'lock'; there are cas-register, kv, mutex"),
        ("mutex", {"initial": 1}, "the model 'mutex' takes no initial value"),
        ("kv", {"initial": 1}, "the values of the model 'kv' are texts"),
        ("kv", {"rules": "etcd"}, "no rules 'etcd'; there are jepsen, porcupine"),
        (find_model("kv"), {"initial": "x"}, "has its initial value"),
    ],
)
def test_wrong_settings_are_refused(model: object, options: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        check_linearizable(History(), model, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("model", "f", "asked", "told", "complaint"),
    [
        (
            "cas-register",
            "cas",
            [1],
            [1],
            r"entry 0: 'cas' has the value \[1\] where \[old, new\] was expected",
        ),
        ("kv", "append", 3, 3, "entry 0: 'append' has the value 3 where a text was expected"),
        ("kv", "get", None, [1], "entry 1: 'get' has the value"),
        ("fenced-mutex", "acquire", None, {"fence": "x"}, "entry 1: 'acquire' has the value"),
        ("registry", "register", {"name": "x"}, None, "entry 0: 'register' has the value"),
        (
            "registry",
            "register",
            {"owner": "a"},
            {"owner": "b", "fence": 1},
            "owner 'a' and a fence was expected",
        ),
        ("registry", "whereis", None, "n1", "entry 1: 'whereis' has the value"),
        ("registry", "unregister", None, None, "entry 0: 'unregister' has the value null"),
        ("registry", "expire", {"holder": "a", "fences_below": "x"}, None, "entry 0: 'expire' has the value"),
    ],
)
def test_a_value_that_the_model_cannot_read_is_an_error_that_names_the_entry(
    model: str, f: str, asked: object, told: object, complaint: str
) -> None:
    history = History()
    at_once(history, "k", (f, asked, told))
    with pytest.raises(HistoryError, match=complaint):
        check_linearizable(history, model)


def test_a_search_goes_on_where_it_stopped_and_then_lets_go_of_its_memory() -> None:
    history = History()
    hard(history, "k", 6)
    (operations,) = partition(history, find_model("kv")).operations.values()
    search = Search(operations, "")
    search.advance(100, states=1000)
    assert (search.outcome, search.steps) == (None, 100)
    search.advance(10, states=0)
    assert search.steps == 100
    search.advance(10**6, states=10**6)
    assert search.outcome == "invalid"
    steps = search.steps
    search.advance(10, states=10)
    assert search.steps == steps


def test_an_excused_operation_does_not_stand_in_for_one_that_happened() -> None:
    """Two appends of the same letter, of which the first may have had no effect."""
    history = History()
    at_once(history, "k", ("append", "a", "a"), ("append", "a", "a"))
    at_once(history, "k", ("get", None, "a"))
    (operations,) = partition(history, find_model("kv")).operations.values()
    for excused, outcome in ((False, "invalid"), (True, "valid")):
        search = Search([replace(operations[0], excused=excused), *operations[1:]], "")
        search.advance(100, states=100)
        assert search.outcome == outcome


def test_an_excused_operation_that_can_no_longer_be_is_let_go() -> None:
    history = History()
    for fence in (5, 3, 6):
        op = history.invoke(0.0, 0, "acquire", "k")
        history.complete(0.0, op, "ok", {"fence": fence})
        history.complete(0.0, history.invoke(0.0, 0, "release", "k", {"fence": fence}), "ok")
    model = find_model("fenced-mutex")
    (operations,) = partition(history, model).operations.values()
    for excused, outcome in ((False, "invalid"), (True, "valid")):
        eased = [replace(op, excused=excused and i in (2, 3)) for i, op in enumerate(operations)]
        search = Search(eased, model.initial)
        search.advance(100, states=100)
        assert search.outcome == outcome
