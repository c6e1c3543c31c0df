"""A spec says everything about a run; and a run that broke off, or tested nothing, is never valid."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from quorate.core import ConfigError
from quorate.jepsen_like.nemesis import Fault
from quorate.jepsen_like.runner import RunSpec, run
from quorate.jepsen_like.simulation import SimulationError
from quorate.jepsen_like.workloads import RegistryWorkload, Stage

SPEC = RunSpec(seed=11, nodes=3, time_s=3.0)
HASH_IT = """
from quorate.jepsen_like.runner import RunSpec, run
print(run(RunSpec(seed=11, nodes=3, time_s=3.0)).trace_hash)
"""


def verdict_of(record: Any, checker: str) -> Any:
    return next(verdict for verdict in record.verdicts if verdict.checker == checker)


# -- the same again ----------------------------------------------------------------------------------------


def test_the_same_spec_gives_the_same_run() -> None:
    first, second = run(SPEC), run(SPEC)
    assert first.trace_hash and first.trace_hash == second.trace_hash
    assert first.history.dump() == second.history.dump() != ""
    assert (first.verdicts, first.faults, first.leaders) == (second.verdicts, second.faults, second.leaders)
    assert run(replace(SPEC, seed=12)).trace_hash != first.trace_hash


@pytest.mark.parametrize("hash_seed", ["0", "4711"])
def test_another_process_with_other_hashes_gives_the_same_run(hash_seed: str) -> None:
    told = subprocess.run(
        [sys.executable, "-c", HASH_IT],
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.strip() == run(SPEC).trace_hash


def test_what_follows_from_the_seed_can_be_written_down_and_gives_the_same_run() -> None:
    settled = SPEC.settled()
    assert settled.plan and settled.operations and settled.order and settled.snapshot_after_bytes
    again = RunSpec.parse(settled.dump())
    assert again == settled and again.settled() == settled
    assert run(again).trace_hash == run(SPEC).trace_hash


def test_the_lines_of_the_trace_are_kept_on_demand_and_change_nothing() -> None:
    plain, traced = run(SPEC), run(SPEC, trace=True)
    assert traced.trace_hash == plain.trace_hash
    assert len(traced.figures["trace"]) > 100 and "trace" not in plain.figures


@pytest.mark.parametrize(
    "spec",
    [
        RunSpec(),
        RunSpec("registry", 3, 7, "kill,-kill-all", 12.5, 3.25, "local"),
        RunSpec(plan=()),
        RunSpec(plan=(Fault(1.0, "kill-one", 2.0, ("n2",)),), operations=(), order="seeded"),
    ],
)
def test_a_spec_that_is_dumped_is_parsed_to_the_same(spec: RunSpec) -> None:
    assert RunSpec.parse(spec.dump()) == spec


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "7",
        '{"seeds": 7}',
        '{"workload": "nothing"}',
        '{"time_s": 0}',
        '{"nodes": "three"}',
        '{"plan": [{"at_s": 1.0, "kind": "flood", "for_s": 1.0}]}',
        '{"plan": 7}',
        '{"operations": [{"at": 1.0}]}',
        '{"operations": 7}',
    ],
)
def test_what_is_no_spec_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        RunSpec.parse(text)


def test_the_command_says_what_is_not_at_its_default() -> None:
    spec = RunSpec("registry", 3, 7, "kill,-kill-all", 12.5, 3.25, "local")
    assert spec.command() == (
        "quorate jepsen sim --workload registry --nodes 3 --seeds 7 --faults kill,-kill-all --time 12.5 --rate 3.25 "
        "--preset local"
    )
    assert spec.settled().command() == ""  # it would not say which faults and operations


# -- what is not valid -------------------------------------------------------------------------------------


async def _raise(*_: Any) -> Any:
    raise SimulationError("on purpose")


async def _stumble(*_: Any) -> Any:
    raise LookupError("not expected")


async def _lead_nowhere(self: RegistryWorkload, stage: Stage) -> None:
    await stage.sim.loop.create_future()


async def _leave_an_error_behind(self: RegistryWorkload, stage: Stage) -> None:
    stage.sim.loop.call_soon(_complain)


def _complain() -> None:
    raise LookupError("nobody caught this")


@pytest.mark.parametrize(
    ("method", "broken", "why"),
    [
        ("begin", _raise, "on purpose"),
        ("act", _raise, "on purpose"),
        ("settle", _raise, "on purpose"),
        ("act", _stumble, "LookupError: not expected in _stumble (test_runner.py:"),
        ("settle", _leave_an_error_behind, "nobody caught this"),
    ],
)
def test_a_run_that_breaks_off_is_invalid(
    monkeypatch: pytest.MonkeyPatch, method: str, broken: Callable[..., Any], why: str
) -> None:
    monkeypatch.setattr(RegistryWorkload, method, broken)
    record = run(replace(SPEC, faults="none"))
    assert record.outcome == "invalid"
    assert why in verdict_of(record, "run").problems[0]


def test_a_run_that_never_ends_is_invalid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RegistryWorkload, "begin", _lead_nowhere)
    monkeypatch.setattr("quorate.jepsen_like.runner.LIMIT_S", 5.0)
    record = run(replace(SPEC, faults="none"))
    assert record.outcome == "invalid"
    assert "not over after 8 simulated seconds" in verdict_of(record, "run").problems[0]


def test_clients_that_are_never_through_make_it_invalid(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(self: RegistryWorkload, stage: Stage, *_: Any) -> bool:
        await stage.sim.loop.create_future()
        return True

    monkeypatch.setattr(RegistryWorkload, "act", never)
    record = run(replace(SPEC, faults="none"))
    assert record.outcome == "invalid"
    assert "clients were not through" in verdict_of(record, "run").problems[0]


def test_a_witness_that_breaks_down_is_no_witness(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = RegistryWorkload.witness

    def breaks_down(self: RegistryWorkload, stage: Stage) -> None:
        looks(self, stage)
        if stage.now > 2.0:
            raise LookupError("seen too much")

    monkeypatch.setattr(RegistryWorkload, "witness", breaks_down)
    record = run(replace(SPEC, faults="none"))
    assert record.outcome == "invalid"
    assert "seen too much" in verdict_of(record, "run").problems[0]


def test_a_run_in_which_nobody_asked_for_anything_is_unknown() -> None:
    record = run(replace(SPEC, operations=(), plan=(Fault(1.0, "partition-one", 1.0, ("n1",)),)))
    assert record.outcome == "unknown"
    evidence = verdict_of(record, "evidence")
    assert evidence.outcome == "unknown" and "0 operations were acknowledged" in evidence.summary


def test_a_fault_that_left_no_evidence_makes_it_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "quorate.jepsen_like.nemesis.nemesis.Nemesis.records",
        property(lambda nemesis: tuple(replace(record, evidence=0) for record in _records(nemesis))),
    )
    record = run(replace(SPEC, plan=(Fault(1.0, "kill-one", 1.0, ("n1",)),)))
    assert verdict_of(record, "evidence").outcome == "unknown"
    assert record.outcome == "unknown"


def _records(nemesis: Any) -> Any:
    return nemesis._records


def test_a_calm_run_is_valid_and_says_so_on_facts() -> None:
    record = run(replace(SPEC, faults="none"))
    assert record.outcome == "valid" and record.faults == ()
    assert all(verdict.checked > 0 for verdict in record.verdicts)
