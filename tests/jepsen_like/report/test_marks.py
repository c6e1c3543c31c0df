"""What is drawn of a run."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from quorate.jepsen_like.history import History
from quorate.jepsen_like.record import FaultRecord, LeaderRecord, RunRecord, Window
from quorate.jepsen_like.report.marks import (
    Reign,
    Span,
    end_ns,
    marks_of,
    page_data,
    reigns_of,
    spans_of,
    window_marks,
)


def run_of(history: History, faults: tuple[FaultRecord, ...] = ()) -> RunRecord:
    return RunRecord("registry", 1, ("n1", "n2"), 3.0, history, (), faults)


def test_a_reign_lasts_until_the_next_record_of_its_node() -> None:
    leaders = [
        LeaderRecord(10, "n1", 1, True),
        LeaderRecord(20, "n2", 2, True),
        LeaderRecord(25, "n1", 2, False),
        LeaderRecord(30, "n2", 2, True),
        LeaderRecord(40, "n2", 4, True),
        LeaderRecord(50, "n3", 4, False),
    ]
    assert reigns_of(leaders) == [
        Reign("n1", 1, 10, 25),
        Reign("n2", 2, 20, 40),
        Reign("n2", 4, 40, None),
    ]


def test_kills_and_crashes_put_nodes_down_and_pauses_pause_them() -> None:
    faults = [
        FaultRecord("kill-minority", ("n1", "n2"), 1, 5, 1),
        FaultRecord("crash-leader", ("n3",), 2, None, 1),
        FaultRecord("pause-one", ("n1",), 6, 7, 1),
        FaultRecord("partition-one", ("n1",), 6, 7, 1),
    ]
    assert spans_of(faults) == [
        Span("n1", "down", 1, 5),
        Span("n2", "down", 1, 5),
        Span("n3", "down", 2, None),
        Span("n1", "paused", 6, 7),
    ]


def test_owners_of_one_name_at_once_stand_in_lanes_of_their_own() -> None:
    history = History()
    for time_s, f, fence in (
        (1, "held", 1),
        (2, "released", 1),
        (2, "held", 2),
        (3, "held", 3),
        (4, "released", 2),
    ):
        history.note(time_s, "n1", f, "orders", {"fence": fence, "owner": f"<n1#1:{fence}>"})
    history.note(5, "n1", "held", "orders", {"fence": 4, "owner": "<n1#1:4>"})
    claims = page_data(run_of(history), marks_of(history))["claims"]
    assert [(claim["fence"], claim["lane"]) for claim in claims] == [(1, 0), (2, 0), (3, 1), (4, 0)]
    assert [claim["until"] for claim in claims] == [2 * 10**9, 4 * 10**9, None, None]


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 8)), max_size=12))
def test_no_two_owners_in_one_lane_overlap(claims: list[tuple[int, int]]) -> None:
    history = History()
    for fence, (start_s, lasts_s) in enumerate(claims):
        value = {"fence": fence, "owner": "<n1#1:1>"}
        history.note(start_s, "n1", "held", "orders", value)
        history.note(start_s + lasts_s, "n1", "released", "orders", value)
    drawn = page_data(run_of(history), marks_of(history))["claims"]
    assert sorted(claim["fence"] for claim in drawn) == list(range(len(claims)))
    for one, other in itertools.combinations(drawn, 2):
        if one["lane"] == other["lane"]:
            assert one["until"] <= other["from"] or other["until"] <= one["from"]


def test_a_window_takes_whole_operations_even_if_it_names_one_entry_of_them() -> None:
    history = History()
    first, second = (history.invoke(0, n, "read", "k") for n in range(2))
    history.complete(1, second, "ok", 1)
    history.complete(2, first, "ok", 2)
    marks = marks_of(history)
    assert [mark.indices for mark in window_marks(Window("k", (1,), 3, ""), marks)] == [(0, 3), (1, 2)]
    assert [mark.indices for mark in window_marks(Window("k", (1,), 2, ""), marks)] == [(1, 2)]


def test_faults_of_one_kind_and_nodes_share_a_lane() -> None:
    faults = (
        FaultRecord("kill-one", ("n1",), 1, 2, 1),
        FaultRecord("kill-one", ("n2",), 1, 2, 1),
        FaultRecord("kill-one", ("n1",), 3, 4, 1),
    )
    data = page_data(run_of(History(), faults), [])
    assert [fault["lane"] for fault in data["faults"]] == [0, 1, 0]


def test_the_end_is_the_last_moment_anything_is_known_of() -> None:
    history = History()
    assert end_ns(run_of(history)) == 3_000_000_000
    history.invoke(4.0, 1, "read", "k")
    assert end_ns(run_of(history)) == 4_000_000_000
    assert end_ns(run_of(history, (FaultRecord("kill-one", ("n1",), 1, 5_000_000_000, 1),))) == 5_000_000_000


def test_processes_stand_in_the_order_of_their_numbers_then_of_their_names() -> None:
    history = History()
    for process in ("n2", 10, "n1", 9):
        history.invoke(0, process, "read", "k")
    data = page_data(run_of(history), marks_of(history))
    assert data["rows"] == ["9", "10", "n1", "n2"] and data["marks"]["row"] == [3, 1, 2, 0]
