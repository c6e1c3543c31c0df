"""Workloads that are wrong on purpose, for tests of what surrounds them; and results that were never run."""

import os
from collections.abc import Callable

from quorate.jepsen_like.campaign import Result
from quorate.jepsen_like.history import History
from quorate.jepsen_like.record import RunRecord, Window
from quorate.jepsen_like.report import summarise
from quorate.jepsen_like.runner import RunSpec
from quorate.jepsen_like.verdict import Outcome, Verdict, judge
from quorate.jepsen_like.workloads import RegistryWorkload, Stage, Workload


class Forbidding(RegistryWorkload):
    """Claims that nobody may ever register `name/1`, which clients do."""

    name = "forbidding"
    doc = "nobody may register name/1"

    def check(self, stage: Stage) -> tuple[list[Verdict], list[Window]]:
        pairs = [pair for pair in stage.history.pairs("register") if pair.invoked.key == "name/1"]
        windows = [
            Window("name/1", (pair.invoked.index, pair.completed.index), pair.completed.index, "it was done")
            for pair in pairs
            if pair.completed is not None and pair.outcome == "ok"
        ]
        problems = [f"entry {window.culprit}: {window.why}" for window in windows]
        return [judge("forbidden", problems, 1, "nobody did")], windows


class Doubtful(RegistryWorkload):
    """Cannot say."""

    name = "doubtful"
    doc = "who knows?"

    def check(self, stage: Stage) -> tuple[list[Verdict], list[Window]]:
        return [judge("doubts", [], 1, "well", doubts=["one cannot be sure"])], []


class Deadly(RegistryWorkload):
    """Ends the operating system's process on even seeds; prints something on others."""

    name = "deadly"
    doc = "even seeds die"

    async def begin(self, stage: Stage) -> None:
        if stage.seed % 2 == 0:
            os.write(2, b"so long\n")
            os._exit(3)
        print("this is no answer")
        await super().begin(stage)


class Endless(RegistryWorkload):
    """Never lets go."""

    name = "endless"
    doc = "no end"

    async def begin(self, stage: Stage) -> None:
        while True:
            pass


PLANTS: dict[str, type[Workload]] = {
    workload.name: workload for workload in (Forbidding, Doubtful, Deadly, Endless)
}


def made_up(fails: Callable[[RunSpec], str]) -> Callable[[RunSpec], Result]:
    """In the place of `run_one`: the checker that `fails` names says invalid; "" for none."""

    def run_nothing(spec: RunSpec) -> Result:
        culprit = fails(spec)
        verdicts = tuple(verdict(name, "invalid" if name == culprit else "valid") for name in ("a", "b"))
        record = RunRecord(spec.workload, spec.seed, spec.names, spec.time_s, History(), verdicts)
        return Result(spec, summarise(record))

    return run_nothing


def verdict(checker: str, outcome: Outcome) -> Verdict:
    problems = () if outcome == "valid" else ("so it is",)
    return Verdict(checker, outcome, 1, "one fact", problems)
