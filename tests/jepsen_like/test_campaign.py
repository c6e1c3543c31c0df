"""Every spec has a result, whatever becomes of its run or its process; and none of those is valid by mistake."""

import json
import logging
import os
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from quorate.core import ConfigError
from quorate.jepsen_like.campaign import (
    Keep,
    Tally,
    check_spec,
    parse_seeds,
    quiet,
    result_as_json,
    result_from_json,
    run_campaign,
    run_one,
    summary_from_json,
)
from quorate.jepsen_like.history import History
from quorate.jepsen_like.nemesis import PlanError
from quorate.jepsen_like.record import FaultRecord
from quorate.jepsen_like.report import RunSummary, json_lines
from quorate.jepsen_like.runner import RunSpec
from quorate.jepsen_like.verdict import Outcome
from quorate.jepsen_like.workers import WorkerError, Workers
from quorate.jepsen_like.workloads import WORKLOADS, RegistryWorkload

from .plants import PLANTS, verdict

ROOT = Path(__file__).parents[2]
PLANTED = ("tests.jepsen_like.register_plants",)
SPEC = RunSpec(nodes=3, faults="none", time_s=1.0)


@pytest.fixture(autouse=True)
def plants(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, workload in PLANTS.items():
        monkeypatch.setitem(WORKLOADS, name, workload)
    monkeypatch.syspath_prepend(str(ROOT))


def specs(workload: str, *seeds: int) -> list[RunSpec]:
    return [replace(SPEC, workload=workload, seed=seed) for seed in seeds]


# -- seeds -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("7", (7,)),
        ("0", (0,)),
        ("1..4", (1, 2, 3, 4)),
        ("3..3", (3,)),
        ("1,5,9..11", (1, 5, 9, 10, 11)),
        (" 9..10 , 1 ", (9, 10, 1)),
        ("5,1..6,5", (5, 1, 2, 3, 4, 6)),
    ],
)
def test_seeds_are_numbers_and_ranges_each_once(text: str, seeds: tuple[int, ...]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize(
    "text", ["", ",", "x", "-1", "1.5", "1...3", "1..", "..3", "5..1", "1,,2", "1..2000000"]
)
def test_what_names_no_seeds_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_seeds(text)


@pytest.mark.parametrize(
    "change",
    [
        {"preset": "slow"},
        {"time_s": float("inf")},
        {"rate": float("nan")},
        {"faults": "floods"},
        {"faults": "partition", "nodes": 1},
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_is(change: dict[str, object]) -> None:
    with pytest.raises((ConfigError, PlanError)):
        check_spec(replace(SPEC, **change))  # type: ignore[arg-type]


# -- one run -----------------------------------------------------------------------------------------------


def test_what_is_kept_of_a_run_depends_on_how_it_ended() -> None:
    (valid,), (bad,) = specs("registry", 1), specs("forbidding", 1)
    nothing, failing, everything = Keep("none"), Keep("failing", "failing"), Keep("all", "all", trace=True)
    kept = [
        (bool(result.history), bool(result.page), bool(result.trace))
        for keep in (nothing, failing, everything)
        for result in (run_one(valid, keep=keep), run_one(bad, keep=keep))
    ]
    no, yes = (False, False, False), (True, True, False)
    assert kept == [no, no, no, yes, (True, True, True), (True, True, True)]


def test_a_history_that_is_kept_is_that_of_the_run() -> None:
    result = run_one(specs("forbidding", 1)[0])
    history = History.parse(result.history.splitlines())
    window = result.summary.windows[0]
    assert history[window.culprit].f == "register" and history[window.culprit].key == "name/1"


def test_a_run_says_how_it_is_repeated() -> None:
    (spec,) = specs("registry", 4)
    assert run_one(spec).summary.command == spec.command()
    result = run_one(spec, keep=Keep(pages="all"), command="do it again")
    assert result.summary.command == "do it again" and "do it again" in result.page


def test_a_checker_that_raises_makes_the_run_invalid(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(*_: object) -> None:
        raise ZeroDivisionError("counted nothing")

    monkeypatch.setattr(RegistryWorkload, "check", check)
    summary = run_one(SPEC).summary
    assert summary.outcome == "invalid"
    assert "counted nothing in check (test_campaign.py:" in summary.verdicts[0].problems[0]


def test_a_result_is_the_same_when_it_has_been_sent() -> None:
    spec = replace(SPEC, workload="forbidding", faults="kill-one", time_s=3.0)
    result = run_one(spec, keep=Keep("all", "all", trace=True))
    assert result.summary.windows and result.summary.faults and result.trace
    assert result_from_json(spec, json.loads(json.dumps(result_as_json(result)))) == result


def test_log_records_are_left_out_and_come_back(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("quorate.test")
    with quiet():
        log.error("of no interest")
    log.error("of interest")
    assert caplog.messages == ["of interest"]


# -- many, here and in children ----------------------------------------------------------------------------


def test_runs_in_children_are_the_same_as_here() -> None:
    several = [replace(SPEC, seed=seed, faults="all", time_s=2.0) for seed in (1, 2, 3)]
    here = {result.spec.seed: result.summary for result in run_campaign(several)}
    there = {result.spec.seed: result.summary for result in run_campaign(several, jobs=2)}
    assert list(here) == [1, 2, 3] and here.keys() == there.keys()
    for seed, summary in here.items():
        assert summary.trace_hash
        assert replace(summary, figures={}) == replace(there[seed], figures={})


def test_a_child_that_dies_costs_its_run_alone() -> None:
    results = {
        result.spec.seed: result.summary
        for result in run_campaign(specs("deadly", 1, 2, 3), jobs=2, modules=PLANTED)
    }
    assert {seed: run.outcome for seed, run in results.items()} == {1: "valid", 2: "unknown", 3: "valid"}
    assert "the process that ran it ended with exit code 3: so long" in results[2].reason
    assert results[2].command == replace(SPEC, workload="deadly", seed=2).command()


def test_a_run_that_takes_too_long_is_ended_and_unknown() -> None:
    (result,) = run_campaign(specs("endless", 1), jobs=2, modules=PLANTED, run_limit_s=0.2)
    assert result.outcome == "unknown"
    assert "not over after 0.2 s of real time" in result.summary.reason


@pytest.mark.parametrize("modules", [("no_such_module",), ()])
def test_children_that_cannot_do_it_are_an_error_that_says_why(modules: tuple[str, ...]) -> None:
    with pytest.raises(WorkerError, match=r"no_such_module|there is no workload 'deadly'"):
        list(run_campaign(specs("deadly", 1), jobs=2, modules=modules))


def test_children_end_in_the_middle_of_a_run_when_whoever_wanted_the_results_has_enough() -> None:
    several = [*specs("registry", 1), *specs("endless", 2, 3)]
    with Workers(2, keep=Keep(), modules=PLANTED, run_limit_s=600.0) as workers:
        with closing(workers.results(several)) as results:
            assert next(results).outcome == "valid"
        pids = workers.pids
        assert len(pids) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


# -- sums --------------------------------------------------------------------------------------------------


def summary(outcome: Outcome, *faults: int) -> RunSummary:
    """A run with such a verdict, and faults with so much evidence."""
    return RunSummary(
        "registry",
        1,
        ("n1",),
        1.0,
        outcome,
        (verdict("claims", outcome),),
        tuple(FaultRecord("kill-one", ("n1",), 0, 1, evidence) for evidence in faults),
        (),
        {"register": {"ok": 2, "fail": 1, "info": 0}},
        "",
        "",
        {"simulated_s": 2.5, "messages": 10},
    )


@pytest.mark.parametrize(
    ("outcomes", "worst"),
    [
        ([], "unknown"),
        (["valid", "valid"], "valid"),
        (["valid", "unknown"], "unknown"),
        (["unknown", "invalid", "valid"], "invalid"),
    ],
)
def test_the_outcome_of_many_is_the_worst(outcomes: list[Outcome], worst: Outcome) -> None:
    tally = Tally()
    for outcome in outcomes:
        tally.add(summary(outcome))
    assert tally.outcome == worst and tally.runs == len(outcomes)


def test_sums_count_faults_with_and_without_evidence() -> None:
    tally = Tally()
    tally.add(summary("valid", 3, 1))
    tally.add(summary("unknown", 0))
    assert tally.as_json() == {
        "outcomes": {"valid": 1, "invalid": 0, "unknown": 1},
        "verdicts": {"claims": {"valid": 1, "unknown": 1}},
        "faults": {"kill-one": {"injected": 3, "proven": 2}},
        "operations": {"register": {"ok": 4, "fail": 2, "info": 0}},
        "simulated_s": 5.0,
        "messages": 20,
    }
    assert tally.operation_count == 6 and tally.outcomes == Counter(valid=1, unknown=1)


def test_summaries_that_were_written_can_be_read_again() -> None:
    run = summary("invalid", 0, 1)
    assert summary_from_json(json.loads(json_lines([run]))) == run
