"""What is made smaller still fails, for the same reason; and it stops when its budget does."""

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import replace

import pytest

from quorate.jepsen_like.nemesis import Fault
from quorate.jepsen_like.runner import RunSpec
from quorate.jepsen_like.shrink import NothingToShrink, ShrinkStep, in_words, shrink_run
from quorate.jepsen_like.workloads import WORKLOADS, PlannedOp

from .plants import PLANTS, made_up

FAULTS = tuple(Fault(float(at_s), "kill-one", 4.0, (f"n{1 + at_s % 5}",)) for at_s in range(1, 13))
OPERATIONS = tuple(PlannedOp(0.5 * number, number % 10, "register", f"k{number % 7}") for number in range(40))
SPEC = RunSpec(seed=5, time_s=16.0, plan=FAULTS, operations=OPERATIONS)


def needs(
    faults: AbstractSet[float] = frozenset(), keys: AbstractSet[str] = frozenset(), time_s: float = 0.0
) -> Callable[[RunSpec], str]:
    """Checker "b" fails when these are there."""

    def fails(spec: RunSpec) -> str:
        there = {fault.at_s for fault in spec.plan or ()} >= faults
        asked = {op.key for op in spec.operations or ()} >= keys
        return "b" if there and asked and spec.time_s >= time_s else ""

    return fails


def test_only_what_it_takes_is_left() -> None:
    found = shrink_run(SPEC, try_run=made_up(needs({2.0, 7.0}, {"k1", "k6"}, 9.0)))
    assert found.checker == "b" and found.finished
    assert [fault.at_s for fault in found.spec.plan or ()] == [2.0, 7.0]
    assert sorted(op.key for op in found.spec.operations or ()) == ["k1", "k6"]
    assert 9.0 <= found.spec.time_s <= 12.0
    assert found.result.spec == found.spec and found.result.outcome == "invalid"
    assert found.whole == SPEC.settled()


def test_faults_that_are_left_are_short() -> None:
    def fails(spec: RunSpec) -> str:
        return "b" if any(fault.for_s >= 1.5 for fault in spec.plan or ()) else ""

    (fault,) = list(shrink_run(SPEC, try_run=made_up(fails)).spec.plan or ())
    assert 1.5 <= fault.for_s < 2.1


def test_a_failure_that_needs_nothing_is_left_with_nothing() -> None:
    found = shrink_run(SPEC, try_run=made_up(needs()))
    assert found.spec.plan == () and found.spec.operations == () and found.spec.time_s < 2.0


def test_another_failure_is_not_the_one_that_was_looked_for() -> None:
    def fails(spec: RunSpec) -> str:
        return "b" if len(spec.plan or ()) >= 6 else "a"

    found = shrink_run(SPEC, try_run=made_up(fails))
    assert found.checker == "b" and len(found.spec.plan or ()) == 6


def test_no_run_is_made_twice() -> None:
    tried: list[str] = []

    def fails(spec: RunSpec) -> str:
        tried.append(spec.dump())
        return needs({3.0}, {"k2"})(spec)

    found = shrink_run(SPEC, try_run=made_up(fails))
    assert len(tried) == len(set(tried)) == found.runs


@pytest.mark.parametrize("runs", [1, 2, 5, 10])
def test_when_the_runs_are_used_up_what_is_left_still_fails(runs: int) -> None:
    fails = needs({2.0, 7.0}, {"k1", "k6"}, 9.0)
    found = shrink_run(SPEC, runs=runs, try_run=made_up(fails))
    assert not found.finished and found.runs == runs
    assert fails(found.spec) == "b"


def test_when_the_time_is_used_up_it_stops() -> None:
    found = shrink_run(SPEC, limit_s=0.0, try_run=made_up(needs()))
    assert not found.finished and found.runs == 1 and found.spec == SPEC.settled()


def test_it_tells_how_far_it_is() -> None:
    steps: list[ShrinkStep] = []
    found = shrink_run(SPEC, tell=steps.append, try_run=made_up(needs({2.0}, {"k1"})))
    assert [step.runs for step in steps] == list(range(2, found.runs + 1))
    assert steps[-1].spec == found.spec
    assert {step.phase for step in steps} >= {
        "less time",
        "fewer faults",
        "fewer operations",
        "shorter faults",
    }


def test_what_does_not_fail_cannot_be_made_smaller() -> None:
    with pytest.raises(NothingToShrink, match="this run is valid"):
        shrink_run(SPEC, try_run=made_up(lambda spec: ""))


def test_a_real_run_shrinks_to_the_one_operation_that_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(WORKLOADS, "forbidding", PLANTS["forbidding"])
    found = shrink_run(replace(SPEC, workload="forbidding", nodes=3, time_s=2.0, plan=None, operations=None))
    assert found.finished and found.spec.plan == ()
    (operation,) = list(found.spec.operations or ())
    assert (operation.f, operation.key) == ("register", "name/1")


def test_operations_are_told_in_words() -> None:
    spec = replace(SPEC, operations=(PlannedOp(2.0, 7, "cas", "x", [1, 2]), PlannedOp(1.0, 0, "read", "x")))
    assert list(in_words(spec)) == [
        "    1.00 s  client 0 on n1  read x",
        "    2.00 s  client 7 on n3  cas x [1, 2]",
    ]
