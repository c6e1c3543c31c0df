"""Order: what Erlang's signals may do is valid; late, twice, out of order, or a hole without a lost connection is not."""

import itertools
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from quorate.jepsen_like.checkers import check_order
from quorate.jepsen_like.history import History, HistoryError, Op

from .histories import rebuilt

A, B = "n1#1:5", "n2#3:7"


def told(*events: int | str, sent: Sequence[int] = ()) -> History:
    """What B received from A: numbers, and "gap" or "noconnection" where a connection was lost; a second apart."""
    history = History()
    for number in sent:
        history.note(0.0, A, "sent", None, {"to": B, "n": number})
    for time_s, event in enumerate(events, start=1):
        if isinstance(event, int):
            history.note(time_s, B, "received", None, {"from": A, "n": event})
        elif event == "gap":
            history.note(time_s, "nemesis", "gap", None, {"between": ["n2", "n1"]})
        elif event == "noconnection":
            history.note(time_s, B, "gap", None, {"from": A})
        else:
            history.note(time_s, "nemesis", "gap", None, {"between": event.split()})
    return history


@pytest.mark.parametrize(
    "events",
    [
        (0, 1, 2),
        (7, 8),
        (0, 1, "gap", 4, 5),
        (0, "noconnection", 3),
        (0, "gap", 1),
        ("gap", 0),
        (0, 1, "gap", "gap", 9),
    ],
)
def test_numbers_without_holes_but_where_a_connection_was_lost_are_valid(
    events: tuple[int | str, ...],
) -> None:
    assert check_order(told(*events)).valid


@pytest.mark.parametrize(
    ("events", "problem"),
    [
        ((0, 2), "1 is missing after entry 0, before entry 1 received 2, and no connection was lost there"),
        ((0, 1, 1), "entry 2 received 1 after 1 (entry 1)"),
        ((0, 2, 1), "entry 2 received 1 after 2 (entry 1)"),
        ((0, "gap", 2, 1), "entry 3 received 1 after 2 (entry 2)"),
        ((0, "gap", 0), "entry 2 received 0 after 0 (entry 0)"),
        (("gap", 0, 2), "1 is missing after entry 1"),
        ((0, 2, "gap"), "1 is missing after entry 0"),
        ((0, "gap", 2, 4), "3 is missing after entry 2"),
        ((0, "n1 n3", 2), "1 is missing after entry 0"),
    ],
)
def test_what_no_ordered_signals_do_is_caught(events: tuple[int | str, ...], problem: str) -> None:
    verdict = check_order(told(*events))
    assert verdict.outcome == "invalid"
    assert any(text.startswith(f"{A} -> {B}: {problem}") for text in verdict.problems)


def test_noconnection_of_one_receiver_excuses_no_other() -> None:
    history = told(0, "noconnection", 2)
    for time_s, number in ((1.0, 0), (3.0, 2)):
        history.note(time_s, "n2#3:8", "received", None, {"from": A, "n": number})
    verdict = check_order(history)
    assert verdict.outcome == "invalid" and [text.split(":")[2] for text in verdict.problems] == ["8"]


def test_pairs_have_nothing_to_do_with_each_other() -> None:
    history = History()
    for number in range(3):
        history.note(number, B, "received", None, {"from": A, "n": number})
        history.note(number, B, "received", None, {"from": "n1#1:6", "n": 2 * number + 1})
        history.note(number, A, "received", None, {"from": B, "n": 9 + number})
    verdict = check_order(history)
    assert verdict.outcome == "invalid" and len(verdict.problems) == 2
    assert all(text.startswith("n1#1:6 -> ") for text in verdict.problems)


def test_slack_excuses_what_was_handled_late_or_noted_late_and_no_more() -> None:
    for events in (("gap", 0, 2), (0, 2, "gap")):
        assert check_order(told(*events), slack_s=1.1).valid
        assert check_order(told(*events), slack_s=0.9).outcome == "invalid"


def test_of_a_gap_that_was_told_out_of_order_the_time_decides() -> None:
    for time_s, outcome in ((1.0, "invalid"), (1.5, "valid"), (2.0, "invalid")):
        history = told(0, 2)
        history.note(time_s, "nemesis", "gap", None, {"between": ["n1", "n2"]})
        if time_s == 1.0:
            history = rebuilt(sorted(history, key=lambda op: op.f != "gap"))
        assert check_order(history).outcome == outcome


def test_one_late_message_makes_no_others_late() -> None:
    assert len(check_order(told(0, 1, 2, 0, 3, 4)).problems) == 1


def test_numbers_that_were_not_sent_are_no_hole_and_those_that_were_must_come() -> None:
    assert check_order(told(1, 4, sent=(1, 4))).valid
    verdict = check_order(told(1, 4, sent=(0, 1, 3, 4)))
    assert verdict.outcome == "invalid"
    assert [text.split(": ")[1].partition(",")[0] for text in verdict.problems] == [
        "0 is missing at the start",
        "3 is missing after entry 4",
    ]
    assert check_order(told("gap", 1, sent=(0, 1))).valid


def test_what_nobody_sent_or_not_yet_is_caught() -> None:
    assert "entry 1 received 7, which had not been sent" in check_order(told(7, sent=(0,))).problems[0]
    history = told(0)
    history.note(5.0, A, "sent", None, {"to": B, "n": 0})
    assert check_order(history).outcome == "invalid"
    told_late = told(0)
    told_late.note(
        0.5, A, "sent", None, {"to": B, "n": 0}
    )  # another recorder: told later, but of an earlier time
    assert check_order(told_late).valid


def test_the_end_counts_when_the_history_is_complete() -> None:
    history = told(0, 1, sent=(0, 1, 2, 3))
    assert check_order(history).valid
    verdict = check_order(history, complete=True)
    assert verdict.problems == (f"{A} -> {B}: 2 was sent (entry 2) and never received",)
    assert check_order(told(0, 1, "gap", sent=(0, 1, 2)), complete=True).valid
    assert check_order(told(0, "gap", 1, sent=(0, 1, 2)), complete=True).outcome == "invalid"


def test_a_sender_that_does_not_count_up_is_the_recorders_mistake() -> None:
    with pytest.raises(HistoryError, match=r"entry 1.*count up"):
        check_order(told(sent=(3, 3)))


# -- against a model ---------------------------------------------------------------------------------------


class Run:
    """Four processes on three nodes; a connection per pair of nodes and life, lost with what is under way on it."""

    def __init__(self, seed: int, steps: int = 80) -> None:
        self.rng = random.Random(seed)
        self.history = History()
        self.lost: list[tuple[str, str, int]] = []
        self._processes = ["n1#1:1", "n1#1:2", "n2#1:1", "n3#1:1"]
        self._next: dict[tuple[str, str], int] = {}
        self._under_way: dict[frozenset[str], deque[tuple[str, str, int]]] = {}
        for _ in range(steps):
            self.rng.choice([self._send, self._send, self._arrive, self._arrive, self._arrive, self._lose])()
        for lane in self._under_way.values():
            while lane:
                self._deliver(lane)

    def _send(self) -> None:
        sender, receiver = self.rng.sample(self._processes, 2)
        number = self._next.get((sender, receiver), 0)
        self._next[sender, receiver] = number + 1
        self.history.note(len(self.history), sender, "sent", None, {"to": receiver, "n": number})
        nodes = frozenset((sender[:2], receiver[:2]))
        self._under_way.setdefault(nodes, deque()).append((sender, receiver, number))

    def _arrive(self) -> None:
        if lanes := [lane for lane in self._under_way.values() if lane]:
            self._deliver(self.rng.choice(lanes))

    def _deliver(self, lane: deque[tuple[str, str, int]]) -> None:
        sender, receiver, number = lane.popleft()
        self.history.note(len(self.history), receiver, "received", None, {"from": sender, "n": number})

    def _lose(self) -> None:
        pairs = [nodes for nodes in self._under_way if len(nodes) == 2]
        if pairs and self.rng.random() < 0.5:
            nodes = self.rng.choice(pairs)
            lane = self._under_way[nodes]
            keep = self.rng.randint(0, len(lane))  # the far end has these already: they are handled first
            for _ in range(keep):
                self._deliver(lane)
            self.lost += lane
            lane.clear()
            self.history.note(len(self.history), "links", "gap", None, {"between": sorted(nodes)})


runs = st.integers(0, 1 << 30).map(Run)


def without_sent(history: History) -> History:
    return rebuilt(op for op in history if op.f != "sent")


@given(runs)
def test_any_run_of_ordered_links_that_break_is_valid(run: Run) -> None:
    assume(run.history.notes("received"))
    assert check_order(run.history, complete=True).valid
    assert check_order(run.history).valid
    assert check_order(without_sent(run.history)).valid


def pairs_of(history: History) -> dict[tuple[str, str], list[Op]]:
    found: dict[tuple[str, str], list[Op]] = {}
    for op in history.notes("received"):
        found.setdefault((op.value["from"], str(op.process)), []).append(op)
    return found


@pytest.mark.parametrize("lie", ["lose", "twice", "swap", "late", "no gap"])
@given(run=runs)
def test_one_wrong_message_in_such_a_run_is_caught(lie: str, run: Run) -> None:
    entries = list(run.history)
    found = pairs_of(run.history)
    neighbours = [pair for ops in found.values() for pair in itertools.pairwise(ops)]
    if lie == "lose":
        gaps = [op.index for op in run.history.notes("gap")]
        middles = [
            b
            for ops in found.values()
            for a, b, c in zip(ops, ops[1:], ops[2:], strict=False)
            if not any(a.index < gap < c.index for gap in gaps)
        ]
        assume(middles)
        entries.remove(run.rng.choice(middles))
    elif lie == "twice":
        assume(found)
        op = run.rng.choice([op for ops in found.values() for op in ops])
        entries.insert(run.rng.randint(op.index + 1, len(entries)), op)
    elif lie == "swap":
        assume(neighbours)
        first, second = run.rng.choice(neighbours)
        entries[first.index], entries[second.index] = (
            replace(first, value=second.value),
            replace(second, value=first.value),
        )
    elif lie == "late":  # a message of a lost connection arrives on the next one
        late = [(s, r, n) for s, r, n in run.lost if any(op.value["n"] > n for op in found.get((s, r), ()))]
        assume(late)
        sender, receiver, number = run.rng.choice(late)
        entries.append(
            Op(0, entries[-1].time_ns, receiver, "ok", "received", None, {"from": sender, "n": number})
        )
    else:
        holes = [(a, b) for a, b in neighbours if b.value["n"] > a.value["n"] + 1]
        assume(holes)
        first, second = run.rng.choice(holes)
        entries = [op for op in entries if op.f != "gap" or not first.index < op.index < second.index]
    history = rebuilt(entries)
    for verdict in (check_order(history), check_order(without_sent(history))):
        assert verdict.outcome == "invalid"
        assert all("entry " in problem for problem in verdict.problems)


def naive(history: History) -> str:
    """Looks at all pairs of entries of each pair of processes."""
    gaps = [op.index for op in history.notes("gap")]
    found = pairs_of(history)
    growing = all(
        a.value["n"] < b.value["n"] for ops in found.values() for a, b in itertools.combinations(ops, 2)
    )
    whole = growing and all(
        b.value["n"] - a.value["n"] == 1 or any(a.index < gap < b.index for gap in gaps)
        for ops in found.values()
        for a, b in itertools.pairwise(ops)
    )
    return "unknown" if not found else "valid" if whole else "invalid"


@given(st.lists(st.one_of(st.integers(0, 4), st.just("gap")), max_size=7))
def test_any_few_numbers_and_gaps_are_judged_as_comparing_all_of_them_does(events: list[int | str]) -> None:
    history = told(*events)
    assert check_order(history).outcome == naive(history)


@given(st.integers(0, 4), st.sets(st.integers(0, 9)), st.integers(1, 5))
def test_growing_numbers_with_holes_are_judged_as_comparing_all_of_them_does(
    first: int, left_out: set[int], gaps: int
) -> None:
    events: list[int | str] = [number for number in range(first, 10) if number not in left_out]
    for number in range(gaps):
        events.insert(min(2 * number + 1, len(events)), "gap")
    history = told(*events)
    assert check_order(history).outcome == naive(history)
