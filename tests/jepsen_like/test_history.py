"""A history keeps its order, pairs what belongs together, and survives being written down."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.jepsen_like.history import History, HistoryError


def test_an_operation_is_an_invocation_and_its_completion() -> None:
    history = History(origin_s=100.0)
    first = history.invoke(100.5, 0, "increment", "c1", 1)
    second = history.invoke(100.6, 1, "increment", "c1", 1)
    history.complete(100.75, second, "ok", 7)
    history.complete(101.0, first, "info")
    pairs = history.pairs()
    assert [(pair.invoked.index, pair.outcome) for pair in pairs] == [(0, "info"), (1, "ok")]
    assert history[2].value == 7 and history[3].value == 1
    assert [op.time_ns for op in history] == [500_000_000, 600_000_000, 750_000_000, 1_000_000_000]


def test_an_invocation_without_a_completion_is_of_unknown_outcome() -> None:
    history = History()
    history.invoke(0.0, 0, "increment", "c1")
    assert [pair.outcome for pair in history.pairs()] == ["info"]


def test_a_process_does_one_thing_at_a_time() -> None:
    history = History()
    invoked = history.invoke(0.0, 0, "increment", "c1")
    with pytest.raises(HistoryError, match="operation 0 is under way"):
        history.invoke(0.1, 0, "increment", "c2")
    with pytest.raises(HistoryError, match="under way"):
        history.note(0.1, 0, "held", "n")
    history.complete(0.2, invoked, "ok")
    with pytest.raises(HistoryError, match="not under way"):
        history.complete(0.3, invoked, "ok")
    assert len(history) == 2


def test_what_a_witness_notes_is_no_operation() -> None:
    history = History()
    invoked = history.invoke(0.0, 0, "held", "c1")
    history.note(0.1, "witness", "held", "n", {"fence": 1, "owner": "a"})
    history.complete(0.2, invoked, "ok")
    assert [op.process for op in history.notes("held")] == ["witness"]
    assert len(history.pairs("held")) == 1


def test_new_processes_are_new_also_after_reading_a_history() -> None:
    history = History()
    history.invoke(0.0, 41, "increment", "c1")
    assert history.new_process() == 42
    assert History.parse(history.lines()).new_process() == 42


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3), st.sampled_from(["ok", "fail", "info"]), st.one_of(st.none(), st.integers())
        )
    )
)
def test_a_history_that_was_written_down_reads_back_the_same(
    steps: list[tuple[int, str, int | None]],
) -> None:
    history = History()
    for number, (process, completion, value) in enumerate(steps):
        invoked = history.invoke(number, process, "write", f"k{process}", value)
        if completion == "ok":
            history.complete(number + 0.5, invoked, "ok", value)
        elif completion == "fail":
            history.complete(number + 0.5, invoked, "fail")
        else:
            history.complete(number + 0.5, invoked, "info")
    assert list(History.parse(history.dump().splitlines())) == list(history)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "no JSON"),
        ("[]", "no entry"),
        ('{"index":0,"time_ns":0,"process":0,"type":"done","f":"w"}', "no entry"),
        ('{"index":0,"time_ns":0,"process":0,"type":"ok","f":"w","key":3}', "no entry"),
        ('{"index":0,"time_ns":0,"process":0,"type":"ok","f":"w","colour":"red"}', "no entry"),
        ('{"index":1,"time_ns":0,"process":0,"type":"ok","f":"w"}', "index 1 where 0 was expected"),
    ],
)
def test_a_text_that_is_no_history_is_refused_with_its_line(line: str, complaint: str) -> None:
    with pytest.raises(HistoryError, match=rf"line 2.*{complaint}"):
        History.parse(["", line])


def test_a_line_is_an_object_that_other_tools_can_read() -> None:
    history = History()
    history.note(1.0, "a", "effect", "c1", {"fence": 3, "owner": "a"})
    assert json.loads(history.dump()) == {
        "index": 0,
        "time_ns": 1_000_000_000,
        "process": "a",
        "type": "ok",
        "f": "effect",
        "key": "c1",
        "value": {"fence": 3, "owner": "a"},
    }


def test_what_happens_to_a_value_after_it_was_recorded_changes_nothing() -> None:
    history = History()
    value = {"views": [1, 2]}
    invoked = history.invoke(0.0, 0, "read", "k", value)
    value["views"].append(3)
    answer = [{"a": 1}]
    history.complete(1.0, invoked, "ok", answer)
    answer[0]["a"] = 2
    assert [op.value for op in history] == [{"views": [1, 2]}, [{"a": 1}]]


def test_tuples_are_lists_in_a_history_before_it_is_written_and_after() -> None:
    history = History()
    history.note(0.0, "n1", "cas", "k", {"pair": (1, (2, None))})
    assert history[0].value == {"pair": [1, [2, None]]}
    assert list(History.parse(history.lines())) == list(history)


@pytest.mark.parametrize("value", [b"bytes", {1: "a"}, float("nan"), float("inf"), object(), [{"a": {1, 2}}]])
def test_a_value_that_could_not_be_written_down_is_refused_when_it_is_recorded(value: object) -> None:
    history = History()
    history.note(0.0, "n1", "saw", "k", "fine")
    with pytest.raises(HistoryError, match=r"entry 1: .* is no value of JSON"):
        history.note(0.0, "n1", "saw", "k", value)
    assert len(history) == 1


@pytest.mark.parametrize(("process", "key"), [(None, "k"), (1.5, "k"), ("n1", 7), ("n1", ("k",))])
def test_a_process_and_a_key_that_could_not_be_read_back_are_refused(process: Any, key: Any) -> None:
    with pytest.raises(HistoryError, match="a process is a number or a text"):
        History().invoke(0.0, process, "read", key)


def test_the_nemesis_notes_what_it_does_as_info_and_is_no_operation() -> None:
    history = History()
    history.note(0.0, "nemesis", "cut", None, {"nodes": ["n1", "n2"]}, type_="info")
    invoked = history.invoke(0.5, 0, "read", "k")
    history.note(1.0, "nemesis", "mend", type_="info")
    history.complete(1.5, invoked, "ok", 1)
    assert [(op.f, op.type) for op in history.notes("cut")] == [("cut", "info")]
    assert [pair.invoked.process for pair in history.pairs()] == [0]
    assert list(History.parse(history.lines())) == list(history)


def test_pairs_and_notes_of_one_f_are_those_of_all_that_have_it() -> None:
    history = History()
    first = history.invoke(0.0, 0, "read", "k")
    second = history.invoke(0.1, 1, "write", "k", 1)
    history.note(0.2, "n1", "read", "k")
    history.complete(0.3, second, "ok")
    history.complete(0.4, first, "fail")
    history.note(0.5, "n1", "write", "k")
    for f in ("read", "write", "nothing"):
        assert history.pairs(f) == [pair for pair in history.pairs() if pair.invoked.f == f]
    assert [op.index for op in history.notes("read")] == [2]
    assert [op.index for op in history.notes("write")] == [5]
