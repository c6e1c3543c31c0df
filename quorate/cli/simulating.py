"""`quorate jepsen sim`: many seeds, what they show, and the files that are left of them.

Runs and verdicts are `quorate.jepsen_like.campaign`'s and `shrink`'s; here is what a command adds: files, what people and
programs read, Ctrl-C. What must never happen here: an exit code that is better than the worst run.
"""

import json
import os
import shlex
import sys
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from quorate.core import ConfigError, RealClock
from quorate.core.real import read_file, write_file
from quorate.jepsen_like.campaign import Keep, Result, Tally, Which, check_spec, quiet, run_campaign, run_one
from quorate.jepsen_like.nemesis import describe
from quorate.jepsen_like.report import document, index_page, junit, report_name
from quorate.jepsen_like.report.text import count
from quorate.jepsen_like.runner import WARM_UP_S, RunSpec
from quorate.jepsen_like.shrink import ShrinkStep, Shrunk, in_words, shrink_run

from .failures import INTERRUPTED, CommandFailed
from .output import print_json
from .sim_output import FAILURES_SHOWN, Progressing, indented, people_console, print_failure, print_sum

REPORTS_FOR_ALL = 10  # seeds: so many have a page each, valid or not
SHRUNK_SEEDS = 3  # made smaller in one go: the lowest that fail
VERDICT_CODES = {"valid": 0, "invalid": 1, "unknown": 2}


@dataclass(frozen=True, slots=True)
class SimOptions:
    """What was asked for. `spec` is for each of `seeds`; `plan` is the file it came from, if it was saved.

    Raises `ConfigError` for options that do not go together.
    """

    spec: RunSpec
    seeds: tuple[int, ...]
    jobs: int = 1
    plan: Path | None = None
    shrink: bool = False
    shrink_limit_s: float = 120.0
    trace: Path | None = None
    hashes: bool = False
    report: Path | None = None
    report_all: bool = False
    junit: Path | None = None
    fail_fast: bool = False
    json: bool = False

    def __post_init__(self) -> None:
        if self.trace is not None and len(self.seeds) != 1:
            raise ConfigError("--trace is of one seed: write --seeds 7")
        if self.report_all and self.report is None:
            raise ConfigError("--report-all needs --report DIR")
        if self.hashes and self.json:
            raise ConfigError("--hash and --json both want stdout: the hashes are in the JSON")


def default_jobs() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def read_plan(path: Path) -> RunSpec:
    """The run that was saved there. Raises `ConfigError`."""
    try:
        return RunSpec.parse(read_file(path).decode("utf-8"))
    except (UnicodeDecodeError, ConfigError) as error:
        raise ConfigError(f"{path}: {error}") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error


def simulate(options: SimOptions) -> int:
    """Run all, show and save, and return the exit code. Raises `QuorateError` for what cannot be run."""
    check_spec(options.spec)
    clock = RealClock()
    people = people_console(json=options.json, to_stderr=options.hashes)
    campaign = _Campaign(options, people)
    campaign.save()  # what cannot be written is to be known before the work
    interrupted = False
    with quiet():
        progressing = Progressing(people, len(options.seeds), clock, silent=options.hashes)
        try:
            _announce(options, people)
            with progressing:
                campaign.run(progressing)
        except KeyboardInterrupt:
            interrupted = True
        took_s = progressing.took_s
        campaign.save()
        campaign.save_results(campaign.document(took_s, interrupted=interrupted))
        if not options.hashes:
            print_sum(people, campaign.tally, took_s)
        if options.shrink and not interrupted:
            interrupted = campaign.shrink()
    campaign.tell_files()
    found = campaign.document(took_s, interrupted=interrupted)
    if options.shrink:
        campaign.save_results(found)
    if options.json:
        print_json(found)
    if interrupted:
        done = f"{campaign.tally.runs:,} of {len(options.seeds):,} seeds"
        rest = ", before all was made smaller" if campaign.tally.runs == len(options.seeds) else ""
        print(f"quorate: interrupted after {done}{rest}", file=sys.stderr, flush=True)
        return INTERRUPTED
    return VERDICT_CODES[campaign.tally.outcome]


def _announce(options: SimOptions, people: Console) -> None:
    spec, seeds = options.spec, options.seeds
    if options.plan is not None:
        faults = count(len(spec.plan), "fault") if spec.plan is not None else f"faults {spec.faults}"
    else:
        faults = f"faults {spec.faults}"
    which = f"seed {seeds[0]}" if len(seeds) == 1 else count(len(seeds), "seed")
    jobs = f", {options.jobs} processes" if options.jobs > 1 else ""
    people.print(
        Text(f"{spec.workload}: {which}, {spec.nodes} nodes, {faults}, {spec.time_s:g} simulated s{jobs}")
    )


@dataclass(slots=True)
class _Campaign:
    """What is known so far."""

    options: SimOptions
    people: Console
    tally: Tally = field(default_factory=Tally)
    results: dict[int, Result] = field(default_factory=dict)  # by seed; without histories and pages
    links: dict[int, str] = field(default_factory=dict)
    shrunk: list[dict[str, Any]] = field(default_factory=list)
    smaller: list[Path] = field(default_factory=list)
    _failures: int = 0
    _hashes_told: int = 0

    def run(self, progressing: Progressing) -> None:
        options = self.options
        every = options.report_all or len(options.seeds) <= REPORTS_FOR_ALL
        wanted: Which = "all" if every else "failing"
        keep = Keep(
            histories="failing" if options.report is None else wanted,
            pages="none" if options.report is None else wanted,
            trace=options.trace is not None,
        )
        specs = [replace(options.spec, seed=seed) for seed in options.seeds]
        command = None if options.plan is None else (lambda spec: self._replay(options.plan))
        with closing(run_campaign(specs, jobs=options.jobs, keep=keep, command=command)) as results:
            for result in results:
                self._add(result)
                progressing.show(self.tally)
                if options.fail_fast and result.outcome == "invalid":
                    break

    def _add(self, result: Result) -> None:
        options, seed = self.options, result.spec.seed
        self.tally.add(result.summary)
        if options.report is not None:
            self._write_report(result)
        if options.trace is not None:
            self._write(options.trace, "".join(f"{line}\n" for line in result.trace))
        self.results[seed] = replace(result, history="", page="", trace=())
        if result.outcome != "valid":
            self._failures += 1
            report = str(options.report / self.links[seed]) if options.report and seed in self.links else None
            print_failure(self.people, result, report, brief=self._failures > FAILURES_SHOWN)
        if options.hashes:
            self._tell_hashes()

    def _tell_hashes(self) -> None:
        """In the order of the seeds, so that two runs can be compared line by line."""
        seeds = self.options.seeds
        while self._hashes_told < len(seeds) and (seed := seeds[self._hashes_told]) in self.results:
            print(f"{seed} {self.results[seed].summary.trace_hash or '-'}", flush=True)
            self._hashes_told += 1

    # -- files ---------------------------------------------------------------------------------------------

    def _write(self, path: Path, text: str) -> None:
        try:
            write_file(path, text.encode("utf-8", "surrogatepass"))
        except OSError as error:
            raise CommandFailed(f"{path} cannot be written: {error.strerror}") from error

    def _write_report(self, result: Result) -> None:
        assert self.options.report is not None
        if result.page:
            name = self.links[result.spec.seed] = report_name(result.summary)
            self._write(self.options.report / name, result.page)
        if result.history:
            self._write(self.options.report / f"history-{result.spec.seed}.jsonl", result.history)

    def save(self) -> None:
        """What is about all runs, but for `save_results`."""
        options = self.options
        summaries = [result.summary for result in self._ordered()]
        if options.report is not None:
            links = [self.links.get(result.spec.seed) for result in self._ordered()]
            self._write(options.report / "index.html", index_page(summaries, links))
        if options.junit is not None:
            self._write(options.junit, junit(summaries))

    def save_results(self, found: dict[str, Any]) -> None:
        if self.options.report is not None:
            text = json.dumps(found, indent=1, default=repr)
            self._write(self.options.report / "results.json", text + "\n")

    def tell_files(self) -> None:
        options = self.options
        index = None if options.report is None else options.report / "index.html"
        files = [("report", index), ("junit", options.junit), ("trace", options.trace)]
        for what, path in [*files, *(("smaller", path) for path in self.smaller)]:
            if path is not None:
                self.people.print(Text(f"{what}: {path}"), soft_wrap=True)

    def document(self, took_s: float, *, interrupted: bool) -> dict[str, Any]:
        """All of it for programs."""
        found: dict[str, Any] = {
            "outcome": self.tally.outcome,
            "seeds": len(self.options.seeds),
            "done": self.tally.runs,
            "interrupted": interrupted,
            "wall_s": round(took_s, 3),
            **self.tally.as_json(),
            "runs": [document(result.summary) for result in self._ordered()],
        }
        return found | {"shrunk": self.shrunk} if self.options.shrink else found

    def _ordered(self) -> list[Result]:
        return [self.results[seed] for seed in self.options.seeds if seed in self.results]

    # -- shrinking -----------------------------------------------------------------------------------------

    def shrink(self) -> bool:
        """Make the first failing runs smaller. True when it was interrupted."""
        failing = [result for result in self._ordered() if result.outcome == "invalid"]
        for result in failing[:SHRUNK_SEEDS]:
            small = self._shrink_one(result.spec)
            if small is None:
                return True
            self._tell_shrunk(small)
        if len(failing) > SHRUNK_SEEDS:
            rest = ", ".join(str(result.spec.seed) for result in failing[SHRUNK_SEEDS:])
            self.people.print(Text(f"\nnot made smaller: seeds {rest}"))
        return False

    def _shrink_one(self, spec: RunSpec) -> Shrunk | None:
        """None when it was interrupted; what it had come to is saved then."""
        smallest: RunSpec | None = None
        what = f"seed {spec.seed}"
        if not self.people.is_terminal:
            print(f"{what}: making it smaller", file=sys.stderr, flush=True)
        try:
            with self.people.status(f"{what}: making it smaller") as status:

                def tell(step: ShrinkStep) -> None:
                    nonlocal smallest
                    smallest = step.spec
                    status.update(f"{what}: run {step.runs}, {step.phase}: {_size(step.spec)}")

                return shrink_run(spec, limit_s=self.options.shrink_limit_s, tell=tell)
        except KeyboardInterrupt:
            if smallest is not None:
                self._save_smaller(smallest)
            return None

    def _tell_shrunk(self, small: Shrunk) -> None:
        path = self._save_smaller(small.spec)
        why = next(v for v in small.result.summary.verdicts if v.checker == small.checker)
        self.shrunk.append(
            {
                "seed": small.spec.seed,
                "checker": small.checker,
                "problem": (why.problems or (why.summary,))[0],
                "plan": str(path),
                "command": self._replay(path),
                "runs": small.runs,
                "finished": small.finished,
            }
        )
        people, rest = self.people, "" if small.finished else "; more could be left out, given more time"
        people.print()
        people.print(
            Text(f"seed {small.spec.seed} made smaller by {small.runs} runs: {_size(small.whole)} before, ")
            + Text(_size(small.spec), style="bold")
            + Text(f" now{rest}")
        )
        people.print(indented(Text(f"{small.checker}: {(why.problems or (why.summary,))[0]}")))
        people.print(indented(Text(f"what is left, and when, counted from {WARM_UP_S:g} s after the start:")))
        lines = [*describe(small.spec.plan or ()).splitlines(), *in_words(small.spec)]
        for line in lines:
            people.print(indented(Text(line)))
        people.print(Text.assemble("  replay: ", (self._replay(path), "bold")), soft_wrap=True)

    def _save_smaller(self, spec: RunSpec) -> Path:
        """Save it, and its report beside the others."""
        name = f"{spec.workload}-seed-{spec.seed}-small"
        path = (self.options.report or Path()) / f"{name}.json"
        self._write(path, spec.dump())
        if self.options.report is not None:
            again = run_one(spec, keep=Keep("all", "all"), command=self._replay(path))
            self._write(self.options.report / f"{name}.html", again.page)
            self._write(self.options.report / f"{name}.jsonl", again.history)
        self.smaller.append(path)
        return path

    def _replay(self, plan: Path | None) -> str:
        return shlex.join(["quorate", "jepsen", "sim", "--plan", str(plan)])


def _size(spec: RunSpec) -> str:
    faults, operations = count(len(spec.plan or ()), "fault"), count(len(spec.operations or ()), "operation")
    return f"{faults}, {operations}, {spec.time_s:g} s"
