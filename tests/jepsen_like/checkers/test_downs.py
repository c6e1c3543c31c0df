"""Monitors: whatever a truthful cluster does is valid; a DOWN that is lost, doubled, false or astray is caught."""

import random
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from quorate.jepsen_like.checkers import check_downs
from quorate.jepsen_like.history import Completion, History, HistoryError, Op

from .histories import rebuilt


def told(*steps: str) -> History:
    """Each step is "monitor w t ref", "down w ref reason", "died t", "demonitor w ref [flush]"; a second apart."""
    history = History()
    for time_s, step in enumerate(steps):
        match step.split():
            case ["monitor", watcher, target, ref]:
                history.note(time_s, watcher, "monitor", None, {"ref": ref, "target": target})
            case ["down", watcher, ref, reason]:
                history.note(time_s, watcher, "down", None, {"ref": ref, "reason": reason})
            case ["died", target]:
                history.note(time_s, "kernel", "died", None, {"target": target})
            case ["demonitor", watcher, ref, *flush]:
                history.note(time_s, watcher, "demonitor", None, {"ref": ref, "flush": bool(flush)})
            case ["pass"]:
                history.note(time_s, "kernel", "pass")
            case _:
                raise AssertionError(step)
    return history


@pytest.mark.parametrize(
    "steps",
    [
        ("monitor w t 1", "died t", "down w 1 killed"),
        ("died t", "monitor w t 1", "down w 1 noproc"),
        ("monitor w t 1", "monitor w t 2", "died t", "down w 2 killed", "down w 1 killed"),
        ("monitor w t 1", "down w 1 noconnection"),
        ("monitor w t 1", "down w 1 noconnection", "died t"),
        ("monitor w t 1", "died w", "died t", "monitor v t 2", "down v 2 noproc"),
        ("monitor w t 1", "demonitor w 1", "died t", "monitor v t 2", "down v 2 noproc"),
        ("monitor w t 1", "died t", "down w 1 killed", "demonitor w 1 flush"),
        ("monitor w t 1", "died t", "demonitor w 1", "down w 1 killed"),  # it was in the mailbox already
    ],
)
def test_one_down_for_each_monitor_of_a_dead_process_is_valid(steps: tuple[str, ...]) -> None:
    verdict = check_downs(told(*steps))
    assert verdict.valid, verdict


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        (("monitor w t 1", "died t"), "w monitors t (entry 0), which died (entry 1), and got no DOWN"),
        (("died t", "monitor w t 1"), "w monitors t (entry 1), which died (entry 0), and got no DOWN"),
        (
            ("monitor w t 1", "died t", "down w 1 killed", "down w 1 killed"),
            "w monitors t (entry 0) and got 2 DOWNs (entries 2 and 3)",
        ),
        (
            ("monitor w t 1", "down w 1 noconnection", "died t", "down w 1 killed"),
            "w monitors t (entry 0) and got 2 DOWNs (entries 1 and 3)",
        ),
        (
            ("monitor w t 1", "down w 1 killed"),
            "w monitors t (entry 0), which lives, and got a DOWN with 'killed' (entry 1)",
        ),
        (
            ("monitor w t 1", "down w 1 killed", "died t"),
            "w monitors t (entry 0) and got a DOWN with 'killed' (entry 1) before it died (entry 2)",
        ),
        (
            ("monitor w t 1", "monitor w t 2", "died t", "down w 1 killed", "down w 1 killed"),
            "w monitors t (entry 1), which died (entry 2), and got no DOWN",
        ),
        (
            ("monitor w t 1", "demonitor w 1 flush", "died t", "down w 1 killed"),
            "w monitors t (entry 0), took it back (entry 1), and got a DOWN (entry 3)",
        ),
        (("died t", "down w 1 killed"), "entry 1: w got a DOWN for '1', under which it monitored nobody"),
        (
            ("died t", "down w 1 killed", "monitor w t 1", "down w 1 noproc"),
            "entry 1: w got a DOWN for '1', under which it monitored nobody",
        ),
        (
            ("monitor w t 1", "died t", "down w 1 killed", "down v 1 killed"),
            "entry 3: v got a DOWN for '1', under which it monitored nobody",
        ),
        (
            ("monitor w t 1", "died w", "died t", "down w 1 a", "down w 1 a"),
            "w monitors t (entry 0) and got 2 DOWNs",
        ),
    ],
)
def test_each_kind_of_wrong_down_is_caught(steps: tuple[str, ...], problem: str) -> None:
    verdict = check_downs(told(*steps))
    assert verdict.outcome == "invalid"
    assert any(text.startswith(problem) for text in verdict.problems), verdict


def test_monitors_of_the_living_prove_nothing() -> None:
    assert check_downs(told("monitor w t 1")).outcome == "unknown"
    assert check_downs(told("monitor w t 1", "died w")).outcome == "unknown"


def test_a_death_shortly_before_the_end_may_still_owe_its_down() -> None:
    steps = ("monitor w t 1", "died t", "pass")
    assert check_downs(told(*steps), settle_s=1.5).outcome == "unknown"
    assert check_downs(told(*steps), settle_s=1.0).outcome == "invalid"
    assert check_downs(told(*steps), settle_s=1.5, until_s=2.5).outcome == "invalid"


@pytest.mark.parametrize(
    ("outcome", "without", "with_down"),
    [("ok", "invalid", "valid"), ("info", "unknown", "valid"), ("fail", "unknown", "invalid")],
)
def test_a_monitor_that_was_perhaps_not_set_owes_nothing(
    outcome: Completion, without: str, with_down: str
) -> None:
    history = History()
    history.complete(1.0, history.invoke(0.0, "w", "monitor", None, {"ref": 1, "target": "t"}), outcome)
    history.note(2.0, "kernel", "died", None, {"target": "t"})
    assert check_downs(history).outcome == without
    history.note(3.0, "w", "down", None, {"ref": 1, "reason": "killed"})
    assert check_downs(history).outcome == with_down


def test_one_ref_for_two_monitors_is_the_recorders_mistake() -> None:
    with pytest.raises(HistoryError, match="entries 0 and 2 both have the ref '1' of w"):
        check_downs(told("monitor w t 1", "pass", "monitor w u 1"))


def test_two_processes_may_use_the_same_ref() -> None:
    steps = ("monitor w t 1", "monitor v t 1", "died t", "down w 1 killed")
    assert check_downs(told(*steps, "down v 1 killed")).valid
    assert len(check_downs(told(*steps, "down w 1 killed")).problems) == 2


# -- against a model ---------------------------------------------------------------------------------------


@dataclass
class Run:
    """Processes that monitor each other, die, lose sight of each other and change their minds; DOWNs take a while."""

    seed: int
    history: History = field(default_factory=History)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.living = [f"p{number}" for number in range(8)]
        self.dead: list[str] = []
        self._refs: dict[int, tuple[str, str]] = {}  # monitors that are set: watcher, target
        self._coming: dict[int, tuple[str, str]] = {}  # DOWNs under way: watcher, reason
        for _ in range(60):
            step = self.rng.choice(
                [self._monitor] * 3 + [self._deliver] * 3 + [self._die, self._lose, self._demonitor]
            )
            step()
        while self._coming:
            self._deliver()

    def _note(self, process: str, f: str, value: dict[str, object]) -> None:
        self.history.note(len(self.history), process, f, None, value)

    def _monitor(self) -> None:
        if not self.living:
            return
        ref = len(self.history)
        watcher, target = self.rng.choice(self.living), self.rng.choice(self.living + self.dead)
        self._note(watcher, "monitor", {"ref": ref, "target": target})
        if target in self.dead:
            self._coming[ref] = (watcher, "noproc")
        else:
            self._refs[ref] = (watcher, target)

    def _die(self) -> None:
        if len(self.living) > 2:
            victim = self.living.pop(self.rng.randrange(len(self.living)))
            self.dead.append(victim)
            self._note("kernel", "died", {"target": victim})
            for ref, (watcher, target) in list(self._refs.items()):
                if target == victim:
                    self._coming[ref] = (watcher, "killed")
                    del self._refs[ref]
            self._coming = {ref: down for ref, down in self._coming.items() if down[0] != victim}

    def _lose(self) -> None:
        if self._refs:
            ref = self.rng.choice(sorted(self._refs))
            self._coming[ref] = (self._refs.pop(ref)[0], "noconnection")

    def _demonitor(self) -> None:
        if refs := sorted(self._refs.keys() | self._coming.keys()):
            ref = self.rng.choice(refs)
            watcher = self._refs[ref][0] if ref in self._refs else self._coming[ref][0]
            flush = self.rng.random() < 0.5
            self._refs.pop(ref, None)
            if flush:
                self._coming.pop(ref, None)
            if watcher in self.living:
                self._note(watcher, "demonitor", {"ref": ref, "flush": flush})

    def _deliver(self) -> None:
        if self._coming:
            ref = self.rng.choice(sorted(self._coming))
            watcher, reason = self._coming.pop(ref)
            if watcher in self.living:
                self._note(watcher, "down", {"ref": ref, "reason": reason})


runs = st.integers(0, 1 << 30).map(Run)


@given(runs)
def test_any_run_of_a_truthful_cluster_is_valid(run: Run) -> None:
    assume(run.history.notes("down"))
    verdict = check_downs(run.history)
    assert verdict.valid, verdict


@pytest.mark.parametrize("lie", ["lose", "twice", "false", "astray", "early"])
@given(run=runs)
def test_one_wrong_down_in_such_a_run_is_caught(lie: str, run: Run) -> None:
    entries = list(run.history)
    monitors = {op.value["ref"]: op for op in run.history.notes("monitor")}
    gone = {op.value["ref"] for op in run.history.notes("demonitor")}
    downs = [op for op in run.history.notes("down") if op.value["ref"] not in gone]
    if lie == "lose":
        downs = [
            op
            for op in downs
            if monitors[op.value["ref"]].value["target"] in run.dead and op.process in run.living
        ]
    elif lie in ("false", "early"):
        downs = [op for op in downs if op.value["reason"] == ("noconnection" if lie == "false" else "killed")]
    assume(downs)
    victim = run.rng.choice(downs)
    asked = monitors[victim.value["ref"]]
    if lie == "lose":
        entries.remove(victim)
    elif lie == "twice":
        entries.insert(run.rng.randint(victim.index, len(entries)), victim)
    elif lie == "false":
        assume(asked.value["target"] in run.living)
        entries[victim.index] = replace(victim, value={**victim.value, "reason": "killed"})
    elif lie == "astray":
        entries[victim.index] = replace(victim, process="somebody")
    else:
        early = Op(0, asked.time_ns, victim.process, "ok", "down", None, victim.value)
        entries.remove(victim)
        entries.insert(asked.index + 1, early)
    verdict = check_downs(rebuilt(entries))
    assert verdict.outcome == "invalid"
    named = f"(entry {asked.index})" if lie != "astray" else f"entry {victim.index}: somebody"
    assert any(named in problem for problem in verdict.problems)
