"""Effects: whatever a truthful store does is valid; one that is lost, repeated, invented or misplaced is caught."""

import itertools
import random
from collections import Counter as Tally
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from quorate.jepsen_like.checkers import check_effects
from quorate.jepsen_like.history import Completion, History, HistoryError, Op

from .histories import rebuilt

KEYS = ("x", "y")


def acts(*outcomes: Completion | None, key: str = "x") -> History:
    """Operations one after the other, with the ids 0, 1, ..."""
    history = History()
    for number, outcome in enumerate(outcomes):
        invoked = history.invoke(number, history.new_process(), "act", key, {"id": number})
        if outcome is not None:
            history.complete(number + 0.5, invoked, outcome)
    return history


def test_what_is_acknowledged_happened_once_and_what_is_unknown_perhaps() -> None:
    history = acts("ok", "info", None, "fail", "ok")
    for applied in ([0, 4], [0, 1, 4], [4, 2, 1, 0]):
        verdict = check_effects(history, {"x": applied})
        assert verdict.valid and verdict.checked == 2
    assert "2 unknown of which 1 happened" in check_effects(history, {"x": [0, 1, 4]}).summary


@pytest.mark.parametrize(
    ("applied", "problem"),
    [
        ({"x": [0]}, "x: 4 was acknowledged (entries 7 and 8) and never applied"),
        ({"x": [0, 4, 0]}, "x: 0 (entries 0 and 1) was applied 2 times"),
        ({"x": [0, 1, 4, 1]}, "x: 1 (entries 2 and 3) was applied 2 times"),
        ({"x": [0, 2, 4, 2]}, "x: 2 (entry 4) was applied 2 times"),
        ({"x": [0, 3, 4]}, "x: 3 failed (entries 5 and 6), but it was applied"),
        ({"x": [0, 4, 9]}, "x: 9 was applied, but nobody ever asked for it"),
        ({"x": [0], "y": [4]}, "x: 4 (entries 7 and 8) was applied to y"),
        ({"x": [0, 4], "y": [4]}, "x: 4 (entries 7 and 8) was applied 2 times"),
    ],
)
def test_each_kind_of_wrong_effect_is_caught(applied: dict[str, list[int]], problem: str) -> None:
    verdict = check_effects(acts("ok", "info", None, "fail", "ok"), applied)
    assert verdict.outcome == "invalid"
    assert verdict.problems == (problem,)


def test_the_facts_of_jepsens_tests_of_its_set_and_queue_checkers() -> None:
    """jepsen/test/jepsen/checker_test.clj: set-test, total-queue-test ("sane" and "pathological")."""
    history = acts("ok", "ok", "info", "info", "fail", "fail")
    verdict = check_effects(history, {"x": [0, 2, 4, 30]})
    assert verdict.outcome == "invalid" and verdict.checked == 2
    assert [problem.split()[1] for problem in verdict.problems] == [
        "1",
        "4",
        "30",
    ]  # lost, (see below), unexpected
    # Jepsen lets a failed write be read ("recovered"); here `fail` means that it certainly did not happen.
    assert check_effects(acts(None, "ok"), {"x": [0, 1]}).valid
    pathological = check_effects(acts(None, "ok", "ok"), {"x": [9, 2, 2]})
    assert [problem.split()[1] for problem in pathological.problems] == ["1", "2", "9"]


def test_a_key_that_was_never_read_leaves_the_verdict_unknown() -> None:
    history = acts("ok", "ok")
    verdict = check_effects(history, {})
    assert verdict.outcome == "unknown" and verdict.problems == ("x was acted on and never read",)
    assert check_effects(history, {"x": []}).outcome == "invalid"


def test_nothing_acknowledged_proves_nothing() -> None:
    assert check_effects(acts("info", "fail"), {"x": [0]}).outcome == "unknown"


def test_notes_of_who_applies_count_for_all_keys_once_there_is_one() -> None:
    history = acts("ok")
    assert check_effects(history).outcome == "unknown"
    other = history.invoke(1, history.new_process(), "act", "y", {"id": "b"})
    history.note(1, "store", "applied", "y", {"id": "b"})
    history.complete(1, other, "ok")
    verdict = check_effects(history)
    assert verdict.outcome == "invalid"
    assert verdict.problems == ("x: 0 was acknowledged (entries 0 and 1) and never applied",)


def test_an_effect_before_anybody_asked_for_it_is_caught() -> None:
    history = History()
    history.note(0, "store", "applied", "x", {"id": 1})
    history.complete(2, history.invoke(1, 0, "act", "x", {"id": 1}), "ok")
    assert check_effects(history).problems == (
        "x: 1 was applied (entry 0) before it was asked for (entries 1 and 2)",
    )


def test_two_operations_with_one_id_are_the_recorders_mistake() -> None:
    history = acts("ok")
    history.invoke(1, history.new_process(), "act", "y", {"id": 0})
    with pytest.raises(HistoryError, match="entries 0 and 2 both have the id 0"):
        check_effects(history, {})


def test_the_order_of_a_client_counts_when_asked_for() -> None:
    history = History()
    for number, client in enumerate(("a", "b", "a")):
        process = history.new_process()
        invoked = history.invoke(number, process, "act", "x", {"id": number, "client": client})
        history.complete(number, invoked, "ok")
    for applied in ([0, 1, 2], [1, 0, 2], [0, 2, 1]):
        assert check_effects(history, {"x": applied}, in_order=True).valid
    assert check_effects(history, {"x": [2, 1, 0]}).valid
    verdict = check_effects(history, {"x": [2, 1, 0]}, in_order=True)
    assert verdict.problems == (
        "x: client a invoked 0 (entry 0) before 2 (entry 4), but it was applied after it",
    )


# -- against a model ---------------------------------------------------------------------------------------


class Run:
    """A truthful store under clients that overlap: what it applied, in its order, is in lists and in notes."""

    def __init__(self, seed: int, steps: int = 60) -> None:
        self.rng = random.Random(seed)
        self.history = History()
        self.applied: dict[str, list[int]] = {key: [] for key in KEYS}
        self._idle = [self.history.new_process() for _ in range(3)]
        self._under_way: list[Op] = []  # as far as its client knows
        self._to_apply: list[Op] = []  # may still happen
        self._done: set[int] = set()  # happened
        for _ in range(steps):
            self.rng.choice([self._invoke, self._apply, self._end])()

    def _invoke(self) -> None:
        if self._idle:
            process = self._idle.pop(self.rng.randrange(len(self._idle)))
            value = {"id": len(self.history)}
            op = self.history.invoke(len(self.history), process, "act", self.rng.choice(KEYS), value)
            self._under_way.append(op)
            self._to_apply.append(op)

    def _apply(self) -> None:
        if self._to_apply:
            op = self._to_apply.pop(self.rng.randrange(len(self._to_apply)))
            self.applied[op.key or ""].append(op.value["id"])
            self._done.add(op.index)
            self.history.note(len(self.history), "store", "applied", op.key, {"id": op.value["id"]})

    def _end(self) -> None:
        if not self._under_way:
            return
        op = self._under_way.pop(self.rng.randrange(len(self._under_way)))
        happened = op.index in self._done
        outcome = self.rng.choice(["ok", "ok", "ok", "info"] if happened else ["fail", "info"])
        self.history.complete(len(self.history), op, outcome)  # type: ignore[arg-type]
        if outcome == "fail":
            self._to_apply.remove(op)
        self._idle.append(self.history.new_process() if outcome == "info" else int(op.process))


runs = st.integers(0, 1 << 30).map(Run)


@given(runs)
def test_any_run_of_a_truthful_store_is_valid(run: Run) -> None:
    acknowledged = sum(pair.outcome == "ok" for pair in run.history.pairs("act"))
    expected = "valid" if acknowledged else "unknown"
    assert check_effects(run.history, run.applied, in_order=True).outcome == expected
    assert check_effects(run.history, in_order=True).outcome == expected


@pytest.mark.parametrize("lie", ["drop", "repeat", "invent", "misplace", "fail"])
@given(run=runs)
def test_one_lie_in_such_a_run_is_caught_by_lists_and_by_notes(lie: str, run: Run) -> None:
    pairs = {pair.invoked.value["id"]: pair for pair in run.history.pairs("act")}
    notes = [op for op in run.history.notes("applied") if pairs[op.value["id"]].outcome == "ok"]
    assume(len(notes) > 1)  # with no note at all nobody told of anything
    victim = run.rng.choice(notes)
    id_, completed = victim.value["id"], pairs[victim.value["id"]].completed
    assert completed is not None
    entries = list(run.history)
    if lie == "drop":
        entries.remove(victim)
    elif lie == "repeat":
        entries.insert(run.rng.randint(victim.index, len(entries)), victim)
    elif lie == "invent":
        entries.insert(victim.index, replace(victim, value={"id": 777}))
    elif lie == "misplace":
        entries[victim.index] = replace(victim, key="y" if victim.key == "x" else "x")
    else:
        entries[completed.index] = replace(completed, type="fail")
    history = rebuilt(entries)
    lists: dict[str, list[int]] = {key: [] for key in KEYS}
    for note in history.notes("applied"):
        lists[note.key or ""].append(note.value["id"])
    (index,) = (pair.invoked.index for pair in history.pairs("act") if pair.invoked.value["id"] == id_)
    for verdict in (check_effects(history), check_effects(history, lists)):
        assert verdict.outcome == "invalid" and len(verdict.problems) == 1
        assert ("777" if lie == "invent" else f"entries {index} and ") in verdict.problems[0]


@given(runs)
def test_two_effects_of_one_client_that_change_places_are_caught(run: Run) -> None:
    client = {pair.invoked.value["id"]: pair.invoked.process for pair in run.history.pairs("act")}
    swaps = [
        (key, here, there)
        for key, ids in run.applied.items()
        for here, there in itertools.combinations(range(len(ids)), 2)
        if client[ids[here]] == client[ids[there]]
    ]
    assume(swaps)
    key, here, there = run.rng.choice(swaps)
    ids = run.applied[key]
    ids[here], ids[there] = ids[there], ids[here]
    assert check_effects(run.history, run.applied).valid
    verdict = check_effects(run.history, run.applied, in_order=True)
    assert verdict.outcome == "invalid" and f"process {client[ids[here]]} invoked" in verdict.problems[0]


def naive(history: History, applied: Mapping[str, Sequence[int]]) -> str:
    """Counts, without any of the checker's bookkeeping."""
    asked = {
        (pair.invoked.key or "", pair.invoked.value["id"]): pair.outcome for pair in history.pairs("act")
    }
    happened = Tally((key, id_) for key, ids in applied.items() for id_ in ids)
    bounds = {"ok": (1, 1), "info": (0, 1), "fail": (0, 0)}
    right = all(
        bounds[outcome][0] <= happened[what] <= bounds[outcome][1] for what, outcome in asked.items()
    ) and not (happened.keys() - asked.keys())
    return "invalid" if not right else "valid" if "ok" in asked.values() else "unknown"


@given(
    st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(["ok", "fail", "info", None])), max_size=4),
    st.fixed_dictionaries({key: st.lists(st.integers(0, 4), max_size=4) for key in KEYS}),
)
def test_any_claim_about_a_few_operations_is_judged_as_counting_them_does(
    operations: list[tuple[str, Completion | None]], applied: dict[str, list[int]]
) -> None:
    history = History()
    for number, (key, outcome) in enumerate(operations):
        invoked = history.invoke(number, number, "act", key, {"id": number})
        if outcome is not None:
            history.complete(number, invoked, outcome)
    assert check_effects(history, applied).outcome == naive(history, applied)
