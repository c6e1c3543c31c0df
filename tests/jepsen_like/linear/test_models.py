"""What each model allows, case by case; a line is one operation after another unless it says otherwise."""

from typing import cast

import pytest

from quorate.jepsen_like.history import Completion, History
from quorate.jepsen_like.linear import Rules, check_linearizable

Told = tuple[
    str, object, str, object
]  # f, what was asked, the type of the answer ("" for none), what was told
A, B = "n1#3:5", "n2#1:7"


def outcome(model: str, *told: Told, rules: Rules = "jepsen", initial: object = None) -> str:
    """One operation after the other; those without an answer (or with `info`) stay under way."""
    history = History()
    for f, asked, type_, answer in told:
        process = f"session/{f}" if f == "expire" else history.new_process()
        if isinstance(process, str):
            process += f"/{len(history)}"
        op = history.invoke(0.0, process, f, None if f == "expire" else "k", asked)
        if type_:
            history.complete(0.0, op, cast(Completion, type_), answer)
    options = {} if initial is None else {"initial": initial}
    return check_linearizable(history, model, rules=rules, **options).verdict.outcome  # type: ignore[arg-type]


def write(value: object, type_: str = "ok") -> Told:
    return "write", value, type_, value


def read(value: object) -> Told:
    return "read", None, "ok", value


def cas(old: int, new: int, type_: str = "ok") -> Told:
    return "cas", [old, new], type_, [old, new]


@pytest.mark.parametrize(
    ("rules", "told", "expected"),
    [
        ("jepsen", [write(1), cas(1, 2), read(2)], "valid"),
        ("jepsen", [write(1), cas(2, 3), read(3)], "invalid"),
        ("jepsen", [write(1, "fail"), read(1)], "invalid"),
        ("porcupine", [write(1, "fail"), read(1)], "invalid"),
        ("jepsen", [write(1, "info"), read(0), read(1)], "valid"),
        ("jepsen", [write(1, "info"), read(1), read(0)], "invalid"),
        ("jepsen", [write(1, ""), read(0), read(1), read(1)], "valid"),
        ("jepsen", [write(1, "info"), read(1), write(2), read(1)], "invalid"),
        ("jepsen", [write(1, "info"), read(1), write(0), write(1, "info"), read(1)], "valid"),
        ("jepsen", [write(1, "info"), read(1), write(0), read(1), write(1, "info")], "invalid"),
        ("jepsen", [cas(0, 1, "info"), read(1)], "valid"),
        ("jepsen", [cas(2, 1, "info"), read(1)], "invalid"),
        ("jepsen", [write(1), cas(1, 2, "fail"), read(1)], "valid"),
        ("porcupine", [write(1), cas(1, 2, "fail"), read(1)], "invalid"),
        ("porcupine", [write(1), cas(2, 1, "fail"), read(1)], "valid"),
        ("jepsen", [write(1), read(None), read(1)], "valid"),
        ("porcupine", [write(1), read(None), read(1)], "invalid"),
        ("jepsen", [write(True), read(1)], "invalid"),
        ("jepsen", [write([1, {"a": True}]), read([1, {"a": True}])], "valid"),
        ("jepsen", [write([1, {"a": True}]), read([1, {"a": 1}])], "invalid"),
        ("jepsen", [("read", None, "fail", 9), ("read", None, "info", 9), read(0)], "valid"),
    ],
)
def test_register(rules: Rules, told: list[Told], expected: str) -> None:
    assert outcome("cas-register", *told, rules=rules, initial=0) == expected


def test_a_register_holds_null_at_first() -> None:
    assert outcome("cas-register", read(None), rules="porcupine") == "valid"
    assert outcome("cas-register", ("cas", [None, 1], "ok", None), read(1), rules="porcupine") == "valid"
    assert outcome("cas-register", read(0)) == "invalid"


def put(value: str, type_: str = "ok") -> Told:
    return "put", value, type_, value


def append(value: str, type_: str = "ok") -> Told:
    return "append", value, type_, value


def get(value: str | None) -> Told:
    return "get", None, "ok", value


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([get(""), get(None), append("a"), append("b"), get("ab")], "valid"),
        ([append("a"), get(None)], "invalid"),
        ([append("a"), append("b"), get("ba")], "invalid"),
        ([append("a"), append("b"), get("b")], "invalid"),
        ([append("a", "info"), append("b"), get("ba"), put("x"), get("x")], "valid"),
        ([append("a", "info"), get("a"), get("aa")], "invalid"),
        ([append("a", "fail"), get("a")], "invalid"),
        ([put("x", "info"), append("a"), get("xa")], "valid"),
        ([append("a"), put("x", "info"), get("a"), get("x")], "valid"),
        ([append("a"), get("x")], "invalid"),
    ],
)
def test_key_value(told: list[Told], expected: str) -> None:
    assert outcome("kv", *told) == outcome("kv", *told, rules="porcupine") == expected


def test_keys_may_hold_something_at_first() -> None:
    assert outcome("kv", append("b"), get("ab"), initial="a") == "valid"


def acquire(fence: int | None = None, type_: str = "ok") -> Told:
    return "acquire", None, type_, None if fence is None else {"fence": fence}


def release(fence: int | None = None, type_: str = "ok") -> Told:
    return "release", None if fence is None else {"fence": fence}, type_, None


@pytest.mark.parametrize(
    ("rules", "told", "expected"),
    [
        ("jepsen", [acquire(), release(), acquire()], "valid"),
        ("jepsen", [acquire(), acquire()], "invalid"),
        ("jepsen", [release()], "invalid"),
        ("jepsen", [acquire(), release(type_="info"), acquire()], "valid"),
        ("jepsen", [acquire(), release(type_="fail"), acquire()], "invalid"),
        ("jepsen", [acquire(type_="info"), release()], "valid"),
        ("jepsen", [acquire(type_="fail"), acquire()], "valid"),
        ("porcupine", [acquire(type_="fail"), acquire()], "invalid"),
        ("porcupine", [acquire(), acquire(type_="fail"), release()], "valid"),
        ("porcupine", [acquire(), release(type_="fail"), release()], "valid"),
    ],
)
def test_mutex(rules: Rules, told: list[Told], expected: str) -> None:
    assert outcome("mutex", *told, rules=rules) == expected


@pytest.mark.parametrize(
    ("rules", "told", "expected"),
    [
        ("jepsen", [acquire(1), release(), acquire(4), release(4)], "valid"),
        ("jepsen", [acquire(0)], "valid"),
        ("jepsen", [acquire(4), release(), acquire(4)], "invalid"),
        ("jepsen", [acquire(4), release(), acquire(1)], "invalid"),
        ("jepsen", [acquire(1), acquire(2)], "invalid"),
        ("jepsen", [acquire(1), release(2)], "invalid"),
        ("jepsen", [acquire(1), release(1, "info"), acquire(2)], "valid"),
        ("jepsen", [acquire(type_="info"), release(7), acquire(8)], "valid"),
        ("jepsen", [acquire(type_="info"), release(7), acquire(7)], "invalid"),
        ("jepsen", [acquire(3), release(), acquire(type_="info"), release(), acquire(5)], "valid"),
        # the unknown one had at least 4, so 4 is taken
        ("jepsen", [acquire(3), release(), acquire(type_="info"), release(), acquire(4)], "invalid"),
        ("jepsen", [acquire(3), release(), acquire(type_="info"), release(3), acquire(9)], "invalid"),
        ("porcupine", [acquire(1), acquire(type_="fail"), release()], "valid"),
        ("porcupine", [acquire(1), release(), acquire(type_="fail")], "invalid"),
    ],
)
def test_fenced_mutex(rules: Rules, told: list[Told], expected: str) -> None:
    assert outcome("fenced-mutex", *told, rules=rules) == expected


def registered(owner: str, fence: int) -> Told:
    return "register", {"owner": owner}, "ok", {"owner": owner, "fence": fence}


def taken(owner: str, by: str, fence: int | None) -> Told:
    return "register", {"owner": owner}, "fail", {"error": "taken", "owner": by, "fence": fence}


def maybe_registered(owner: str) -> Told:
    return "register", {"owner": owner}, "info", None


def unregistered(owner: str, fence: int | None, type_: str = "ok", released: bool = True) -> Told:
    return "unregister", {"owner": owner, "fence": fence}, type_, {"released": released}


def whereis(owner: str | None, fence: int = 0) -> Told:
    return "whereis", None, "ok", owner and {"owner": owner, "fence": fence}


def expired(holder: str, type_: str = "", **more: int) -> Told:
    return "expire", {"holder": holder, **more}, type_, None


@pytest.mark.parametrize("rules", ["jepsen", "porcupine"])
@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([whereis(None), registered(A, 1), whereis(A, 1)], "valid"),
        ([registered(A, 1), whereis(A, 2)], "invalid"),
        ([registered(A, 1), whereis(None)], "invalid"),
        ([registered(A, 1), registered(B, 2)], "invalid"),
        ([registered(A, 1), registered(A, 1), taken(B, A, 1)], "valid"),
        ([registered(A, 1), registered(A, 2)], "invalid"),
        ([registered(A, 1), unregistered(A, 1), registered(B, 2)], "valid"),
        ([registered(A, 2), unregistered(A, 2), registered(B, 2)], "invalid"),
        ([registered(A, 2), unregistered(A, None), registered(B, 1)], "invalid"),
        ([registered(A, 1), unregistered(A, 2)], "invalid"),
        ([registered(A, 1), unregistered(B, 1)], "invalid"),
        ([registered(A, 1), unregistered(A, 2, released=False), whereis(A, 1)], "valid"),
        ([registered(A, 1), unregistered(A, 1, released=False), whereis(A, 1)], "invalid"),
        ([registered(A, 1), unregistered(A, None, "info"), registered(B, 2)], "valid"),
        ([registered(A, 1), unregistered(A, 1, "fail"), registered(B, 2)], "invalid"),
        ([taken(B, A, 1)], "invalid"),
        ([("register", {"owner": A}, "fail", {"error": "no-quorum"}), whereis(None)], "valid"),
        # a registration without an answer: its fence is whatever is seen first
        ([maybe_registered(A), whereis(None), whereis(A, 5), taken(B, A, 5)], "valid"),
        ([maybe_registered(A), whereis(A, 5), taken(B, A, 6)], "invalid"),
        ([maybe_registered(A), registered(A, 5), whereis(A, 5)], "valid"),
        ([registered(A, 4), unregistered(A, 4), maybe_registered(B), whereis(B, 4)], "invalid"),
        ([registered(A, 4), unregistered(A, 4), maybe_registered(B), unregistered(B, 6), registered(A, 6)], "invalid"),
        # sessions that end
        ([registered(A, 1), expired("n1#3"), registered(B, 2)], "valid"),
        ([registered(A, 1), whereis(None), expired("n1#3")], "invalid"),
        ([registered(A, 1), expired("n1#3"), whereis(A, 1), whereis(None)], "valid"),
        ([registered(A, 1), expired("n1#4"), registered(B, 2)], "invalid"),
        ([registered(A, 1), expired("n1"), registered(B, 2)], "invalid"),
        ([registered(A, 1), expired("n1#3", "fail"), registered(B, 2)], "invalid"),
        ([registered(A, 1), expired("n1#3", "ok"), whereis(None), registered(B, 2)], "valid"),
        ([registered(A, 1), expired("n1#3", "ok"), whereis(A, 1)], "invalid"),
        ([expired("n1#3", "ok"), registered(A, 1), whereis(None)], "invalid"),
        ([registered(A, 1), expired("n1#3"), registered(B, 2), unregistered(B, 2), registered(A, 3), whereis(None)], "valid"),
        ([registered(A, 1), expired("n1#3", fences_below=2), whereis(None), registered(A, 2), whereis(None)], "invalid"),
        ([registered(A, 2), expired("n1#3", fences_below=2), whereis(None)], "invalid"),
        ([registered(A, 2), expired("n1#3", "ok", fences_below=2), whereis(A, 2)], "valid"),
        ([registered(A, 1), expired("n1#3", "ok", fences_below=2), whereis(A, 1)], "invalid"),
        ([maybe_registered(A), expired("n1#3", "ok", fences_below=2), whereis(A, 2)], "valid"),
        ([maybe_registered(A), taken(B, A, None), expired("n1#3", "ok", fences_below=2), whereis(A, 2)], "valid"),
    ],
)  # fmt: skip
def test_registry(rules: Rules, told: list[Told], expected: str) -> None:
    assert outcome("registry", *told, rules=rules) == expected


def test_a_name_that_only_a_session_touches_is_not_there() -> None:
    assert outcome("registry", expired("n1#3", "ok")) == "unknown"


def test_one_session_ends_for_every_name_by_itself() -> None:
    history = History()
    for key in ("x", "y"):
        op = history.invoke(0.0, history.new_process(), "register", key, {"owner": A})
        history.complete(0.0, op, "ok", {"owner": A, "fence": 1})
    history.invoke(0.0, "session/n1#3", "expire", None, {"holder": "n1#3"})
    for key, found in (("x", None), ("y", {"owner": A, "fence": 1})):
        op = history.invoke(0.0, history.new_process(), "whereis", key)
        history.complete(0.0, op, "ok", found)
    assert check_linearizable(history, "registry").verdict.valid


def test_a_session_that_ends_while_an_operation_is_under_way_may_end_before_or_after_it() -> None:
    for seen in (None, {"owner": A, "fence": 1}):
        history = History()
        history.complete(
            0.0, history.invoke(0.0, 0, "register", "x", {"owner": A}), "ok", {"owner": A, "fence": 1}
        )
        asked = history.invoke(0.0, 1, "whereis", "x")
        session = history.invoke(0.0, "session/n1#3", "expire", None, {"holder": "n1#3"})
        history.complete(0.0, session, "ok")
        history.complete(0.0, asked, "ok", seen)
        assert check_linearizable(history, "registry").verdict.valid


def test_until_a_session_has_ended_for_certain_it_may_end_more_than_once() -> None:
    for ended, expected in ((True, "invalid"), (False, "valid")):
        history = History()
        session = history.invoke(0.0, "session/n1#3", "expire", None, {"holder": "n1#3"})
        for fence in (1, 2, 3):
            op = history.invoke(0.0, 0, "register", "x", {"owner": A})
            history.complete(0.0, op, "ok", {"owner": A, "fence": fence})
            if ended and fence == 2:
                history.complete(0.0, session, "ok")
            history.complete(0.0, history.invoke(0.0, 1, "whereis", "x"), "ok")
        if not ended:
            history.complete(0.0, session, "ok")
        assert check_linearizable(history, "registry").verdict.outcome == expected
