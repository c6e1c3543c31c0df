"""What a supervisor decides: against a model that is written as OTP's supervisor.erl is, and rule by rule."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorate.core import ChildExists, ChildRunning, NoSuchChild, SupervisorError, TooManyChildren
from quorate.core.supervision import (
    Action,
    AutoShutdown,
    End,
    Failed,
    Restart,
    Retry,
    Rule,
    Start,
    Stop,
    Strategy,
    Supervision,
    is_orderly,
)

Log = list[tuple[str, Any]]


class Ended(Exception):
    """The supervisor has ended."""


class Machine:
    """A `Supervision` whose steps are done at once, in a world that says which starts succeed."""

    def __init__(self, tree: Supervision[int], outcomes: Iterator[bool]) -> None:
        self.tree = tree
        self.outcomes = outcomes
        self.log: Log = []
        self.retries: deque[Any] = deque()
        self.pids = 0

    def carry_out(self) -> None:
        while (step := self.tree.next_step()) is not None:
            match step:
                case Start(key):
                    if next(self.outcomes):
                        self.pids += 1
                        self.log.append(("start", key))
                        self.tree.started(key, self.pids)
                    else:
                        self.log.append(("failed", key))
                        self.tree.start_failed(key)
                case Stop(children):
                    for key, _ in children:
                        self.log.append(("stop", key))
                        self.tree.stopped(key)
                case Retry(key):
                    self.retries.append(key)
                case Failed(key):
                    self.log.append(("refused", key))
                case End():
                    self.log.append(("end", None))
                    self.tree.shutdown()
                    self.carry_out()
                    raise Ended

    def statuses(self) -> list[tuple[Any, str]]:
        return [(row.rule.key, row.status) for row in self.tree.rows.values()]


# -- the model: stdlib's supervisor.erl, in its own words ---------------------------------------------------


@dataclass
class Child:
    rule: Rule
    pid: str | None = None  # None (undefined), "pid", "restarting"


class Otp:
    """supervisor.erl of OTP 26, for the same world."""

    def __init__(
        self, strategy: str, intensity: int, period: float, auto: str, outcomes: Iterator[bool]
    ) -> None:
        self.strategy, self.intensity, self.period, self.auto = strategy, intensity, period, auto
        self.outcomes = outcomes
        self.children: list[Child] = []
        self.restarts: list[float] = []
        self.log: Log = []
        self.retries: deque[Any] = deque()

    def do_start_child(self, child: Child) -> bool:
        if next(self.outcomes):
            self.log.append(("start", child.rule.key))
            child.pid = "pid"
            return True
        self.log.append(("failed", child.rule.key))
        return False

    def start_children(self, children: list[Child]) -> Child | None:
        """The child that could not be started."""
        for child in children:
            if not self.do_start_child(child):
                return child
        return None

    def terminate_children(self, children: list[Child]) -> list[Child]:
        kept = []
        for child in reversed(children):
            if child.pid == "pid":
                self.log.append(("stop", child.rule.key))
            child.pid = None
            if child.rule.restart != "temporary":
                kept.append(child)
        return kept[::-1]

    def init(self, rules: list[Rule]) -> None:
        self.children = [Child(rule) for rule in rules]
        failed = self.start_children(self.children)
        if failed is not None:
            self.terminate_children(self.children)
            self.log.append(("refused", failed.rule.key))
            raise Ended

    def handle_exit(self, key: Any, reason: object, now: float) -> None:
        child = next((one for one in self.children if one.rule.key == key and one.pid == "pid"), None)
        if child is None:
            return
        restart = child.rule.restart
        if restart == "permanent":
            self.restart(child, now)
        elif reason in ("normal", "shutdown") or (isinstance(reason, tuple) and reason[0] == "shutdown"):
            self.del_child(child)
            self.do_auto_shutdown(child)
        elif restart == "transient":
            self.restart(child, now)
        else:
            self.del_child(child)
            self.do_auto_shutdown(child)

    def del_child(self, child: Child) -> None:
        child.pid = None
        if child.rule.restart == "temporary":
            self.children.remove(child)

    def do_auto_shutdown(self, child: Child) -> None:
        if not child.rule.significant or self.auto == "never":
            return
        if self.auto == "any_significant" or not any(
            one.rule.significant and one.pid is not None for one in self.children
        ):
            self.shutdown()

    def shutdown(self) -> None:
        self.log.append(("end", None))
        self.terminate_children(self.children)
        raise Ended

    def add_restart(self, now: float) -> bool:
        self.restarts = [then for then in [now, *self.restarts] if now <= then + self.period]
        return len(self.restarts) <= self.intensity

    def restart(self, child: Child, now: float) -> None:
        if not self.add_restart(now):
            self.del_child(child)
            self.shutdown()
        index = self.children.index(child)
        if self.strategy == "one_for_one":
            if not self.do_start_child(child):
                child.pid = "restarting"
                self.retries.append(child.rule.key)
            return
        first = index if self.strategy == "rest_for_one" else 0
        before, after = self.children[:first], self.children[first:]
        child.pid = None
        after = self.terminate_children(after)
        failed = self.start_children(after)
        if failed is not None:
            failed.pid = "restarting"
            self.retries.append(failed.rule.key)
        self.children = before + after

    def try_again_restart(self, key: Any, now: float) -> None:
        child = next((one for one in self.children if one.rule.key == key), None)
        if child is not None and child.pid == "restarting":
            self.restart(child, now)

    def start_child(self, rule: Rule) -> None:
        if any(child.rule.key == rule.key for child in self.children):
            raise ChildExists("")
        child = Child(rule)
        if self.do_start_child(child):
            self.children.append(child)
        else:
            self.log.append(("refused", rule.key))

    def find(self, key: Any) -> Child:
        for child in self.children:
            if child.rule.key == key:
                return child
        raise NoSuchChild("")

    def terminate_child(self, key: Any) -> None:
        child = self.find(key)
        if child.pid == "pid":
            self.log.append(("stop", key))
        self.del_child(child)

    def restart_child(self, key: Any) -> None:
        child = self.find(key)
        if child.pid is not None:
            raise ChildRunning("")
        if not self.do_start_child(child):
            self.log.append(("refused", key))

    def delete_child(self, key: Any) -> None:
        child = self.find(key)
        if child.pid is not None:
            raise ChildRunning("")
        self.children.remove(child)

    def statuses(self) -> list[tuple[Any, str]]:
        names = {None: "stopped", "pid": "running", "restarting": "restarting"}
        return [(child.rule.key, names[child.pid]) for child in self.children]


# -- programs ----------------------------------------------------------------------------------------------

KEYS = st.sampled_from("abcdef")
RESTARTS: list[Restart] = ["permanent", "permanent", "transient", "temporary"]
REASONS = st.sampled_from(
    ["normal", "shutdown", ("shutdown", "done"), "boom", ("normal", 1), ValueError("x")]
)


@st.composite
def rules(draw: st.DrawFn, keys: st.SearchStrategy[str] = KEYS) -> Rule:
    restart = draw(st.sampled_from(RESTARTS))
    return Rule(draw(keys), restart, restart != "permanent" and draw(st.booleans()))


EVENTS = st.one_of(
    st.tuples(st.just("exit"), KEYS, REASONS),
    st.tuples(st.just("exit"), KEYS, REASONS),
    st.tuples(st.just("retry")),
    st.tuples(st.just("wait"), st.sampled_from([0.0, 1.0, 5.0, 5.5])),
    st.tuples(st.just("terminate"), KEYS),
    st.tuples(st.just("restart"), KEYS),
    st.tuples(st.just("delete"), KEYS),
    st.tuples(st.just("add"), rules()),
)


def play_machine(machine: Machine, event: tuple[Any, ...], now: float) -> None:
    tree = machine.tree
    match event:
        case "exit", key, reason:
            row = tree.rows.get(key)
            if row is not None and row.pid is not None:
                tree.exited(row.pid, reason, now)
        case ("retry",):
            if machine.retries:
                tree.retry(machine.retries.popleft(), now)
        case "terminate", key:
            tree.terminate(key)
        case "restart", key:
            tree.restart(key)
        case "delete", key:
            tree.delete(key)
        case "add", rule:
            tree.add(rule)
    machine.carry_out()


def play_otp(otp: Otp, event: tuple[Any, ...], now: float) -> None:
    match event:
        case "exit", key, reason:
            otp.handle_exit(key, reason, now)
        case ("retry",):
            if otp.retries:
                otp.try_again_restart(otp.retries.popleft(), now)
        case "terminate", key:
            otp.terminate_child(key)
        case "restart", key:
            otp.restart_child(key)
        case "delete", key:
            otp.delete_child(key)
        case "add", rule:
            otp.start_child(rule)


def outcome(play: Any, *args: Any) -> type[BaseException] | None:
    try:
        play(*args)
    except (Ended, SupervisorError) as error:
        return type(error)
    return None


@settings(max_examples=400, deadline=None)
@given(
    strategy=st.sampled_from(["one_for_one", "one_for_all", "rest_for_one"]),
    intensity=st.integers(0, 4),
    auto=st.sampled_from(["never", "any_significant", "all_significant"]),
    first=st.lists(rules(), max_size=5, unique_by=lambda rule: rule.key),
    failures=st.one_of(st.sets(st.integers(0, 40), max_size=12), st.sets(st.integers(5, 30))),
    events=st.lists(EVENTS, max_size=25),
)
def test_it_does_what_otp_does(
    strategy: Strategy,
    intensity: int,
    auto: AutoShutdown,
    first: list[Rule],
    failures: set[int],
    events: list[tuple[Any, ...]],
) -> None:
    def outcomes() -> Iterator[bool]:
        number = 0
        while True:
            yield number not in failures
            number += 1

    tree = Supervision[int](strategy, intensity=intensity, period_s=5.0, auto_shutdown=auto)
    machine = Machine(tree, outcomes())
    otp = Otp(strategy, intensity, 5.0, auto, outcomes())
    tree.begin(first)
    machine.carry_out()
    begun = outcome(otp.init, first)
    assert machine.log == otp.log
    if begun is Ended:
        assert not any(row.pid for row in tree.rows.values())
        return
    now = 100.0
    for event in events:
        if event[0] == "wait":
            now += event[1]
            continue
        ended = outcome(play_machine, machine, event, now)
        assert (event, ended) == (event, outcome(play_otp, otp, event, now))
        assert machine.log == otp.log
        if ended is Ended:
            assert not any(row.pid for row in tree.rows.values())
            return
        assert machine.statuses() == otp.statuses()
        assert list(machine.retries) == list(otp.retries)


# -- rule by rule ------------------------------------------------------------------------------------------


def started(tree: Supervision[int], *rules: Rule, outcomes: Iterator[bool] | None = None) -> Machine:
    machine = Machine(tree, outcomes if outcomes is not None else iter(lambda: True, False))
    tree.begin(list(rules))
    machine.carry_out()
    machine.log.clear()
    return machine


def pid(machine: Machine, key: str) -> int:
    found = machine.tree.rows[key].pid
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("one_for_one", [("start", "b")]),
        ("rest_for_one", [("stop", "d"), ("stop", "c"), ("start", "b"), ("start", "c"), ("start", "d")]),
        (
            "one_for_all",
            [("stop", "d"), ("stop", "c"), ("stop", "a"), *(("start", key) for key in "abcd")],
        ),
    ],
)
def test_a_strategy_says_who_is_restarted_with_whom_stopped_in_reverse(
    strategy: Strategy, expected: Log
) -> None:
    machine = started(Supervision[int](strategy), *map(Rule, "abcd"))
    verdict = machine.tree.exited(pid(machine, "b"), "boom", 0.0)
    machine.carry_out()
    assert verdict is not None
    assert (verdict.rule.key, verdict.action, verdict.restarts) == ("b", Action.RESTART, 1)
    assert machine.log == expected


def test_as_many_restarts_as_the_intensity_are_allowed_and_one_more_is_the_end() -> None:
    machine = started(Supervision[int](intensity=2, period_s=5.0), *map(Rule, "ab"))
    for now in (10.0, 12.0, 15.5, 17.5):
        machine.tree.exited(pid(machine, "a"), "boom", now)
        machine.carry_out()
    verdict = machine.tree.exited(pid(machine, "b"), "boom", 20.5)  # the one of 15.5 still counts
    assert verdict is not None
    assert (verdict.action, verdict.restarts) == (Action.GIVE_UP, 3)
    with pytest.raises(Ended):
        machine.carry_out()
    assert machine.log[-2:] == [("end", None), ("stop", "a")]


def test_a_child_that_cannot_be_restarted_is_tried_again_until_the_intensity_is_used_up() -> None:
    outcomes = iter([True, False, False, False, False])
    machine = started(Supervision[int](intensity=3), Rule("a"), outcomes=outcomes)
    machine.tree.exited(pid(machine, "a"), "boom", 0.0)
    machine.carry_out()
    with pytest.raises(Ended):
        for _ in range(5):
            play_machine(machine, ("retry",), 0.0)
    assert machine.log == [("failed", "a")] * 3 + [("end", None)]


def play_all(machine: Machine, *events: tuple[Any, ...]) -> None:
    for event in events:
        play_machine(machine, event, 0.0)


def restarting(tree: Supervision[int], *keys: str, fail: int) -> Machine:
    """The first child has crashed, and the start of that number (from 1 on) after that has failed."""
    outcomes = iter([True] * (len(keys) + fail - 1) + [False] + [True] * 20)
    machine = started(tree, *map(Rule, keys), outcomes=outcomes)
    machine.tree.exited(pid(machine, keys[0]), "boom", 0.0)
    machine.carry_out()
    machine.log.clear()
    return machine


def test_a_retry_is_dropped_when_the_child_was_terminated_or_deleted_or_started_meanwhile() -> None:
    machine = restarting(Supervision[int](), "a", fail=1)
    assert machine.statuses() == [("a", "restarting")]
    play_all(machine, ("terminate", "a"), ("retry",))
    assert (machine.statuses(), machine.log) == ([("a", "stopped")], [])

    machine = restarting(Supervision[int](), "a", fail=1)
    play_all(machine, ("terminate", "a"), ("delete", "a"), ("retry",))
    assert (machine.statuses(), machine.log) == ([], [])

    machine = restarting(Supervision[int]("one_for_all"), "a", "b", fail=2)
    assert machine.statuses() == [("a", "running"), ("b", "restarting")]
    play_all(machine, ("exit", "a", "boom"), ("retry",))
    assert machine.log == [("start", "a"), ("start", "b")]


def test_a_child_that_is_being_restarted_can_be_neither_restarted_nor_deleted_by_hand() -> None:
    machine = restarting(Supervision[int](), "a", fail=1)
    for event in (("restart", "a"), ("delete", "a")):
        with pytest.raises(ChildRunning, match="is restarting"):
            play_machine(machine, event, 0.0)


def test_a_dynamic_child_that_is_being_restarted_is_forgotten_when_it_is_terminated() -> None:
    machine = started(Supervision[int](dynamic=True), outcomes=iter([True, False]))
    play_all(machine, ("add", Rule("a")), ("exit", "a", "boom"), ("terminate", "a"), ("retry",))
    assert machine.statuses() == []


def test_what_is_shut_down_in_the_middle_of_a_restart_stops_what_runs_and_starts_nothing() -> None:
    machine = started(Supervision[int]("one_for_all"), *map(Rule, "abc"))
    machine.tree.exited(pid(machine, "b"), "boom", 0.0)
    assert machine.tree.next_step() == Stop((("c", 3),))  # and before it is done:
    machine.tree.shutdown()
    machine.carry_out()
    assert machine.log == [("stop", "c"), ("stop", "a")]


def test_children_of_a_dynamic_supervisor_are_forgotten_when_they_end_and_stopped_at_once() -> None:
    tree = Supervision[int](dynamic=True, max_children=3)
    machine = started(tree)
    for key in "abc":
        play_machine(machine, ("add", Rule(key, "transient")), 0.0)
    with pytest.raises(TooManyChildren):
        tree.add(Rule("d"))
    play_machine(machine, ("exit", "b", "normal"), 0.0)
    play_machine(machine, ("add", Rule("d", "transient")), 0.0)
    play_machine(machine, ("terminate", "a"), 0.0)
    assert machine.statuses() == [("c", "running"), ("d", "running")]
    tree.shutdown()
    assert tree.next_step() == Stop((("c", 3), ("d", 4)))


def test_a_process_that_is_no_child_any_more_concerns_nobody() -> None:
    machine = started(Supervision[int](), Rule("a"))
    old = pid(machine, "a")
    play_machine(machine, ("terminate", "a"), 0.0)
    assert machine.tree.exited(old, "boom", 0.0) is None
    assert machine.tree.exited(99, "boom", 0.0) is None
    assert machine.tree.next_step() is None
    with pytest.raises(NoSuchChild):
        machine.tree.key_of(old)


def test_an_error_says_what_to_do() -> None:
    machine = started(Supervision[int](), Rule("a"))
    with pytest.raises(ChildExists, match=r"'a' already \(running\).*options\(id=") as exists:
        machine.tree.add(Rule("a"))
    assert exists.value.pid == 1
    with pytest.raises(
        ChildRunning, match="restart_child: the child 'a' is running: terminate it"
    ) as running:
        machine.tree.restart("a")
    assert running.value.pid == 1
    with pytest.raises(NoSuchChild, match="no child 'b': nothing happened"):
        machine.tree.delete("b")


@pytest.mark.parametrize("reason", ["normal", "shutdown", ("shutdown", "x"), ["shutdown", 1]])
def test_an_orderly_end(reason: object) -> None:
    assert is_orderly(reason)


@pytest.mark.parametrize(
    "reason", ["killed", "boom", None, ("normal", "x"), ("shutdown",), ValueError("normal")]
)
def test_an_end_that_is_not_orderly(reason: object) -> None:
    assert not is_orderly(reason)
