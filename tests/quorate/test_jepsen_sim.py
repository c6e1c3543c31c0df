"""`quorate jepsen sim`: exit codes are verdicts, failures are shown and can be repeated, and Ctrl-C ends it at once."""

import contextlib
import inspect
import json
import os
import re
import signal
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from quorate.cli import main
from quorate.cli.failures import INTERRUPTED
from quorate.cli.jepsen import NO_VERDICT, sim
from quorate.jepsen_like.nemesis import KINDS
from quorate.jepsen_like.runner import RunSpec
from quorate.jepsen_like.verdict import judge
from quorate.jepsen_like.workloads import WORKLOADS, RegistryWorkload
from tests.jepsen_like.plants import PLANTS

VALID, INVALID, UNKNOWN = 0, 1, 2
CALM = ["jepsen", "sim", "--nodes", "3", "--time", "1", "--faults", "none"]
SHAKEN = ["jepsen", "sim", "--nodes", "3", "--time", "3", "--faults", "kill-one,link-reset"]


@pytest.fixture(autouse=True)
def plants(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("forbidding", "doubtful"):
        monkeypatch.setitem(WORKLOADS, name, PLANTS[name])
    monkeypatch.chdir(tmp_path)


def only_line(text: str) -> str:
    lines = text.splitlines()
    assert len(lines) == 1, text
    assert lines[0].startswith("quorate: ") and "Traceback" not in text
    return lines[0]


def shown(capsys: pytest.CaptureFixture[str]) -> str:
    """Stdout in single spaces, as a person reads it."""
    return " ".join(capsys.readouterr().out.split())


# -- verdicts ----------------------------------------------------------------------------------------------


def test_seeds_that_are_valid_are_summed_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*CALM, "--seeds", "1..3", "--jobs", "1"]) == VALID
    text = shown(capsys)
    assert text.startswith("registry: 3 seeds, 3 nodes, faults none, 1 simulated s")
    assert "linearizable 3 0 0" in text
    assert text.endswith("valid: 3 seeds: 3 valid, 0 invalid, 0 unknown")


def test_faults_are_counted_by_kind_with_those_that_bit(capsys: pytest.CaptureFixture[str]) -> None:
    main([*SHAKEN, "--seeds", "1,2", "--jobs", "1", "--json"])
    counted = json.loads(capsys.readouterr().out)["faults"]
    assert counted and counted.keys() <= {"kill-one", "link-reset"}
    main([*SHAKEN, "--seeds", "1,2", "--jobs", "1"])
    text = shown(capsys)
    for kind, count in counted.items():
        assert f"{kind} {count['injected']} {count['proven']}" in text


def test_a_failure_shows_the_seed_the_problem_the_window_and_how_to_repeat_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = [*CALM, "--workload", "forbidding", "--seeds", "1"]
    assert main(arguments) == INVALID
    text = shown(capsys)
    entry = re.search(r"forbidden: entry (\d+): it was done", text)
    assert entry is not None
    assert "seed 1: invalid" in text and "the window of name/1:" in text
    assert re.search(rf"> {entry[1]} [\d.]+ \d+ ok register owner", text)
    replay = re.search(r"replay: quorate (jepsen sim .*? --time 1)", text)
    assert replay is not None
    assert main(replay[1].split()) == INVALID
    assert f"entry {entry[1]}: it was done" in shown(capsys)


def test_what_cannot_be_said_is_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*CALM, "--workload", "doubtful", "--seeds", "1"]) == UNKNOWN
    text = shown(capsys)
    assert "seed 1: unknown doubts: one cannot be sure" in text
    assert text.endswith("unknown: 1 seed: 0 valid, 0 invalid, 1 unknown")


def test_the_worst_seed_decides(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes: dict[int, tuple[list[str], list[str]]] = {1: ([], []), 2: (["bad"], []), 3: ([], ["well"])}

    def check(_: RegistryWorkload, stage: Any) -> Any:
        problems, doubts = outcomes[stage.seed]
        return [judge("mood", problems, 1, "", doubts=doubts)], []

    monkeypatch.setattr(RegistryWorkload, "check", check)
    codes = {seeds: main([*CALM, "--jobs", "1", "--seeds", seeds]) for seeds in ("1", "1,3", "1..3")}
    assert codes == {"1": VALID, "1,3": UNKNOWN, "1..3": INVALID}
    capsys.readouterr()
    assert main([*CALM, "--jobs", "1", "--seeds", "1,2,3", "--fail-fast"]) == INVALID
    assert shown(capsys).endswith("invalid: 2 seeds: 1 valid, 1 invalid, 0 unknown")


def test_of_many_failures_the_later_ones_are_a_line_each(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quorate.cli.simulating.FAILURES_SHOWN", 1)
    main([*CALM, "--workload", "forbidding", "--seeds", "1..3", "--jobs", "1"])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("seed ")]
    assert lines == ["seed 1: invalid", "seed 2: invalid  it was done", "seed 3: invalid  it was done"]


# -- for programs ------------------------------------------------------------------------------------------


def test_json_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [*CALM, "--workload", "forbidding", "--seeds", "1,2", "--jobs", "1", "--json"]
    assert main(arguments) == INVALID
    found = json.loads(capsys.readouterr().out)
    assert (found["outcome"], found["seeds"], found["done"], found["interrupted"]) == ("invalid", 2, 2, False)
    assert [run["seed"] for run in found["runs"]] == [1, 2]
    assert found["runs"][0]["command"].startswith("quorate jepsen sim --workload forbidding")


def test_hashes_are_the_same_in_any_number_of_processes(capsys: pytest.CaptureFixture[str]) -> None:
    told = []
    for jobs in ("1", "2"):
        main([*SHAKEN, "--seeds", "3,1", "--jobs", jobs, "--hash"])
        told.append(capsys.readouterr().out)
    assert told[0] == told[1]
    assert [line.split()[0] for line in told[0].splitlines()] == ["3", "1"]
    assert len({line.split()[1] for line in told[0].splitlines()}) == 2


def test_the_trace_is_written_a_line_per_event(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for name in ("a", "b"):
        main([*CALM, "--seeds", "4", "--trace", str(tmp_path / "traces" / name)])
    assert f"trace: {tmp_path / 'traces' / 'b'}" in capsys.readouterr().out
    first, second = ((tmp_path / "traces" / name).read_text() for name in ("a", "b"))
    assert first == second and len(first.splitlines()) > 100


def test_junit_has_a_testcase_for_each_seed(tmp_path: Path) -> None:
    main([*CALM, "--workload", "forbidding", "--seeds", "1,2", "--jobs", "1", "--junit", "out/junit.xml"])
    suite = ElementTree.parse(tmp_path / "out/junit.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures")) == ("2", "2")


def test_a_report_is_a_directory_with_pages_results_and_histories_that_can_be_checked(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main([*CALM, "--seeds", "1,2", "--jobs", "1", "--report", "out"]) == VALID
    assert "report: out/index.html" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "history-1.jsonl",
        "history-2.jsonl",
        "index.html",
        "registry-seed-1.html",
        "registry-seed-2.html",
        "results.json",
    ]
    assert 'href="registry-seed-2.html"' in (tmp_path / "out/index.html").read_text()
    results = json.loads((tmp_path / "out/results.json").read_text())
    assert results["outcome"] == "valid" and len(results["runs"]) == 2
    assert main(["jepsen", "check", "out/history-2.jsonl", "--model", "registry"]) == VALID


def test_of_many_seeds_only_those_that_fail_have_a_page(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("quorate.cli.simulating.REPORTS_FOR_ALL", 1)
    main([*CALM, "--seeds", "1,2", "--jobs", "1", "--report", "out"])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["index.html", "results.json"]
    main([*CALM, "--seeds", "1,2", "--jobs", "1", "--report", "all", "--report-all"])
    assert (tmp_path / "all/registry-seed-1.html").exists()
    main([*CALM, "--workload", "forbidding", "--seeds", "1,2", "--jobs", "1", "--report", "bad"])
    assert (tmp_path / "bad/forbidding-seed-2.html").exists() and (tmp_path / "bad/history-1.jsonl").exists()


# -- smaller -----------------------------------------------------------------------------------------------


def test_what_fails_is_made_smaller_saved_and_repeated(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = [*SHAKEN, "--workload", "forbidding", "--seeds", "2", "--shrink"]
    assert main(arguments) == INVALID
    text = shown(capsys)
    assert re.search(r"seed 2 made smaller by \d+ runs: .* before, 0 faults, 1 operation, [\d.]+ s now", text)
    assert re.search(r"client \d on n\d register name/1", text)
    assert "replay: quorate jepsen sim --plan forbidding-seed-2-small.json" in text
    spec = RunSpec.parse((tmp_path / "forbidding-seed-2-small.json").read_text())
    assert spec.plan == () and len(spec.operations or ()) == 1
    assert main(["jepsen", "sim", "--plan", "forbidding-seed-2-small.json", "--report", "out"]) == INVALID
    text = shown(capsys)
    assert "seed 2: invalid forbidden: entry" in text
    assert "replay: quorate jepsen sim --plan forbidding-seed-2-small.json" in text
    assert "--plan forbidding-seed-2-small.json" in (tmp_path / "out/forbidding-seed-2.html").read_text()


def test_what_was_made_smaller_has_its_report_beside_the_others(tmp_path: Path) -> None:
    arguments = [*CALM, "--workload", "forbidding", "--seeds", "1", "--shrink", "--report", "out"]
    assert main(arguments) == INVALID
    for ending in ("json", "html", "jsonl"):
        assert (tmp_path / f"out/forbidding-seed-1-small.{ending}").exists()
    (small,) = json.loads((tmp_path / "out/results.json").read_text())["shrunk"]
    assert small["checker"] == "forbidden" and small["finished"]
    assert small["command"] == "quorate jepsen sim --plan out/forbidding-seed-1-small.json"


# -- mistakes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--seeds", "x"], "'x' names no seeds"),
        (["--seeds", "9..1"], "is empty"),
        (["--workload", "nothing"], "there is no workload 'nothing'"),
        (["--faults", "floods"], "'floods' is neither a kind nor a group"),
        (["--nodes", "0"], "Invalid value for '--nodes'"),
        (["--nodes", "1", "--faults", "partition"], "none of these kinds of fault makes sense"),
        (["--time", "soon"], "Invalid value for '--time'"),
        (["--time", "0"], "must be over 0"),
        (["--time", "inf"], "must have an end"),
        (["--rate", "nan"], "must have an end"),
        (["--preset", "slow"], "there is no preset 'slow'"),
        (["--jobs", "0"], "Invalid value for '--jobs'"),
        (["--plan", "nowhere.json"], "nowhere.json cannot be read: No such file"),
        (["--plan", "nowhere.json", "--seeds", "1", "--time", "3"], "leave out --seeds, --time"),
        (["--seeds", "1,2", "--trace", "t"], "--trace is of one seed"),
        (["--report-all"], "--report-all needs --report"),
        (["--report", "/dev/null/out"], "cannot be written"),
        (["--junit", "/dev/null/out"], "cannot be written"),
        (["--hast"], "No such option"),
    ],
)
def test_a_mistake_is_one_line_and_no_verdict(
    capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
) -> None:
    assert main(["jepsen", "sim", *arguments]) == NO_VERDICT
    assert complaint in only_line(capsys.readouterr().err)


def test_a_file_that_is_no_saved_run_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text("{")
    assert main(["jepsen", "sim", "--plan", "plan.json"]) == NO_VERDICT
    assert "plan.json: this is no run that was saved" in only_line(capsys.readouterr().err)


# -- what there is -----------------------------------------------------------------------------------------


def test_kinds_of_faults_and_workloads_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jepsen", "faults"]) == VALID
    text = shown(capsys)
    assert all(f"{kind.group} {kind.name} {kind.doc}" in text for kind in KINDS.values())
    assert main(["jepsen", "workloads"]) == VALID
    text = shown(capsys)
    assert all(f"{name} {workload.doc}" in text for name, workload in WORKLOADS.items())
    assert main(["jepsen", "faults", "--json"]) == VALID
    assert [kind["kind"] for kind in json.loads(capsys.readouterr().out)] == list(KINDS)
    assert main(["jepsen", "workloads", "--json"]) == VALID
    assert [one["workload"] for one in json.loads(capsys.readouterr().out)] == list(WORKLOADS)


def test_what_is_left_out_is_as_in_a_spec() -> None:
    spec = RunSpec()
    given = {name: parameter.default for name, parameter in inspect.signature(sim).parameters.items()}
    for name in ("workload", "nodes", "faults", "time_s", "rate", "preset"):
        assert given[name] == getattr(spec, name)


# -- as a process ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_ends_it_and_says_how_far_it_got(jobs: str, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "quorate", *CALM, "--seeds", "1..100000", "--jobs", jobs, "--report", "out"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as command:
        assert command.stdout is not None
        assert command.stdout.readline().startswith("registry: 100,000 seeds")
        command.send_signal(signal.SIGINT)
        shown, complaint = command.communicate(timeout=60)
    assert command.returncode == INTERRUPTED
    assert re.fullmatch(r"quorate: interrupted after [\d,]+ of 100,000 seeds\n", complaint), complaint
    assert "Traceback" not in shown
    assert json.loads((tmp_path / "out/results.json").read_text())["interrupted"] is True


def test_a_terminal_of_80_columns_is_not_overflown() -> None:
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    with subprocess.Popen(
        [sys.executable, "-m", "quorate", *SHAKEN, "--faults", "all", "--seeds", "1,2", "--jobs", "2"],
        stdout=theirs,
        stdin=theirs,
        stderr=theirs,
        env=environment | {"TERM": "xterm"},
    ) as command:
        os.close(theirs)
        told = b""
        with contextlib.suppress(OSError):  # how Linux says that the terminal is closed
            while part := os.read(ours, 4096):
                told += part
        assert command.wait(60) in (VALID, UNKNOWN)
    os.close(ours)
    lines = re.split(r"(?:\r|\n|\x1b\[\d*[A-KSTG])+", told.decode())  # also what moves the cursor ends a line
    plain = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line).rstrip() for line in lines]
    assert any("/2 seeds" in line for line in plain)
    assert [line for line in plain if len(line) > 80 and "jepsen sim" not in line] == []
