"""One run of a workload in the simulation, from its seed to its verdicts.

    record = run(RunSpec(workload="registry", nodes=5, seed=7))
    print(record.outcome, record.trace_hash)

A `RunSpec` says everything: the same spec gives the same record, with the same trace hash, in any process. The plan of the
faults and that of the operations follow from the seed, unless they are given, as they are when a failure is made smaller or
replayed. What must never happen here: a run that broke off counts as valid.
"""

import asyncio
import json
import shlex
import traceback
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from quorate.core import ConfigError, QuorateError
from quorate.presets import Preset, times_of

from .checkers import check_evidence
from .history import History
from .nemesis import KINDS, Fault, Nemesis, StillDown, dump_plan, parse_plan, plan, select
from .record import LeaderRecord, RunRecord, Window
from .simulation import Hang, Simulation, SimulationError, Stream, simulate
from .verdict import Verdict, judge
from .workloads import WITNESS_S, WORKLOADS, PlannedOp, Stage, Workload, carry_out

RATE = 10.0
TIME_S = 20.0
LIMIT_S = 600.0  # of the world, beyond the time of the spec, for a run to be over
WARM_UP_S = 1.0
SERVED_MIN = 3  # operations acknowledged while something was broken, for a run to count
AFTER_S = 4.0  # how long clients go on after the heal
LATE_S = 60.0  # after the heal, for the clients to be through
LEADER_LOOK_S = 0.1
SHOWN_FRAMES = 4  # of an exception that nobody expected
SNAPSHOTS = (4_000, 64_000, 16 << 20)

Order = Literal["fifo", "seeded"]


@dataclass(frozen=True, slots=True)
class RunSpec:
    """What to run. `faults` selects kinds (`nemesis.select`; "none" for none); `time_s` is how long faults come and clients
    work, `rate` how many operations all clients begin per second. What is None follows from the seed.
    """

    workload: str = "registry"
    nodes: int = 5
    seed: int = 0
    faults: str = "all"
    time_s: float = TIME_S
    rate: float = RATE
    preset: str = "lan"
    plan: tuple[Fault, ...] | None = None
    operations: tuple[PlannedOp, ...] | None = None
    order: Order | None = None
    snapshot_after_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.workload not in WORKLOADS:
            raise ConfigError(f"there is no workload {self.workload!r}: use {', '.join(WORKLOADS)}")
        if self.nodes < 1:
            raise ConfigError(f"a run needs a node or more, not {self.nodes}")
        if self.time_s <= 0 or self.rate <= 0:
            raise ConfigError(f"time and rate must be over 0, not {self.time_s} and {self.rate}")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"n{number}" for number in range(1, self.nodes + 1))

    def settled(self) -> "RunSpec":
        """The same with everything that follows from the seed filled in."""
        knobs = Stream(self.seed, "knobs")
        order: Order = "seeded" if knobs.chance(0.5) else "fifo"
        snapshot_after_bytes = knobs.choice(SNAPSHOTS)
        return replace(
            self,
            plan=self._planned_faults() if self.plan is None else self.plan,
            operations=self._planned_operations() if self.operations is None else self.operations,
            order=order if self.order is None else self.order,
            snapshot_after_bytes=(
                snapshot_after_bytes if self.snapshot_after_bytes is None else self.snapshot_after_bytes
            ),
        )

    def command(self) -> str:
        """The line that runs exactly this again, if it follows from the seed."""
        decided = (self.plan, self.operations, self.order, self.snapshot_after_bytes)
        if any(each is not None for each in decided):
            return ""
        parts = ["quorate", "jepsen", "sim", "--workload", self.workload, "--nodes", str(self.nodes)]
        parts += ["--seeds", str(self.seed), "--faults", self.faults, "--time", f"{self.time_s:g}"]
        if self.rate != RATE:
            parts += ["--rate", f"{self.rate:g}"]
        if self.preset != "lan":
            parts += ["--preset", self.preset]
        return shlex.join(parts)

    def dump(self) -> str:
        """The spec as JSON, for `parse`."""
        record: dict[str, Any] = {
            name: getattr(self, name)
            for name in (
                "workload",
                "nodes",
                "seed",
                "faults",
                "time_s",
                "rate",
                "preset",
                "order",
                "snapshot_after_bytes",
            )
        }
        if self.plan is not None:
            record["plan"] = json.loads(dump_plan(self.plan))
        if self.operations is not None:
            record["operations"] = [operation.as_json() for operation in self.operations]
        return json.dumps(record, indent=1) + "\n"

    @classmethod
    def parse(cls, text: str) -> "RunSpec":
        """What `dump` made this of. Raises `ConfigError`."""
        try:
            record = json.loads(text)
            if "plan" in record:
                record["plan"] = parse_plan(json.dumps(record["plan"]))
            if "operations" in record:
                record["operations"] = tuple(PlannedOp.from_json(each) for each in record["operations"])
            return cls(**record)
        except (ValueError, TypeError, QuorateError) as error:
            raise ConfigError(f"this is no run that was saved: {error}") from error

    def _planned_faults(self) -> tuple[Fault, ...]:
        if self.faults == "none":
            return ()
        untouched = WORKLOADS[self.workload].untouched
        kinds = [kind for kind in select(self.faults) if KINDS[kind].group not in untouched]
        return plan(
            Stream(self.seed, "plan"),
            nodes=self.names,
            kinds=kinds,
            time_s=self.time_s,
            timing=times_of(Preset(self.preset)).timing,
        )

    def _planned_operations(self) -> tuple[PlannedOp, ...]:
        workload = WORKLOADS[self.workload]()
        return workload.plan(Stream(self.seed, "operations"), self.names, self.time_s + AFTER_S, self.rate)


@dataclass(slots=True)
class _Run:
    """A run under way."""

    spec: RunSpec
    workload: Workload
    stage: Stage | None = None
    nemesis: Nemesis | None = None
    leaders: list[LeaderRecord] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    trace_hash: str = ""
    lines: list[str] | None = None


def run(spec: RunSpec, *, trace: bool = False) -> RunRecord:
    """Run it and judge. With `trace`, the lines of the trace are in `figures["trace"]`.

    Whatever goes wrong in the run itself (a hang, an exception that nobody caught, a node that does not come back) is a
    verdict `invalid` of the checker "run". Raises `ConfigError`, or `PlanError`, when there is nothing to run.
    """
    full = spec.settled()
    this = _Run(full, WORKLOADS[spec.workload]())
    try:
        simulate(lambda: _main(this, trace), limit_s=full.time_s + LIMIT_S)
    except ConfigError:  # nothing was run
        raise
    except Exception as error:  # noqa: BLE001 -- whatever it is, the run did not come to its end
        this.verdicts.append(judge("run", [_told(error)], 1, "it broke off"))
    return _judged(this, spec)


def _told(error: BaseException) -> str:
    cause = error.__cause__
    told = f"{type(error).__name__}: {error}"
    if isinstance(error, SimulationError | StillDown | TimeoutError):  # they say where
        return (
            told if cause is None or isinstance(error, Hang) else f"{told} ({type(cause).__name__}: {cause})"
        )
    frames = reversed(traceback.extract_tb(error.__traceback__)[-SHOWN_FRAMES:])
    where = " < ".join(f"{one.name} ({one.filename.rpartition('/')[2]}:{one.lineno})" for one in frames)
    return f"{told} in {where}"


async def _main(this: _Run, trace: bool) -> None:
    spec, workload = this.spec, this.workload
    assert spec.plan is not None and spec.operations is not None and spec.order is not None
    async with Simulation(
        seed=spec.seed,
        nodes=spec.nodes,
        preset=spec.preset,
        order=spec.order,
        exports=workload.exports,
        snapshot_after_bytes=spec.snapshot_after_bytes,
        trace=trace,
    ) as sim:
        try:
            await sim.run_for(WARM_UP_S)
            stage = this.stage = Stage(sim, spec.seed)
            nemesis = this.nemesis = Nemesis(sim, spec.plan, stage.history)
            sim.on_event(lambda event: workload.happened(stage, event))
            await workload.begin(stage)
            watching = asyncio.create_task(_watch(this, stage), name="witness")
            clients = asyncio.create_task(carry_out(stage, workload, spec.operations), name="clients")
            faults = asyncio.create_task(nemesis.run(), name="nemesis")
            await sim.run_for(spec.time_s)
            await nemesis.heal_all()
            await faults
            await _within(sim, LATE_S, clients)
            await workload.settle(stage)
            if watching.done():  # it never ends by itself
                await watching
            watching.cancel()
        finally:
            stats = sim.stats()
            this.figures |= {
                "simulated_s": round(sim.now, 3),
                "messages": stats.messages,
                "bytes": stats.bytes,
                "events": stats.events,
                "connections": stats.connections,
            }
            this.trace_hash = sim.trace_hash()
            this.lines = sim.trace.lines


async def _watch(this: _Run, stage: Stage) -> None:
    """Let the witnesses look around, and keep account of who leads."""
    sim, leads = stage.sim, dict.fromkeys(stage.sim.names, 0)
    next_look_s = sim.now
    while True:
        this.workload.witness(stage)
        if sim.now >= next_look_s:
            next_look_s = sim.now + LEADER_LOOK_S
            for name in sim.names:
                store = sim.node(name).store if sim.ready(name) else None
                term = store.status().term if store is not None and store.leads() else 0
                if term != leads[name]:
                    leads[name] = term
                    this.leaders.append(LeaderRecord(round(sim.now * 1e9), name, term, term > 0))
        await sim.run_for(WITNESS_S)


async def _within(sim: Simulation, limit_s: float, task: "asyncio.Task[None]") -> None:
    """Wait for a task, for so long at most. Raises `TimeoutError`."""
    over = sim.loop.create_future()
    timer = sim.clock.call_later(limit_s, over.set_result, None)
    await asyncio.wait([task, over], return_when=asyncio.FIRST_COMPLETED)
    timer.cancel()
    if not task.done():
        raise TimeoutError(f"clients were not through {limit_s:g} s after the heal")
    over.cancel()
    await task


def _judged(this: _Run, spec: RunSpec) -> RunRecord:
    windows: list[Window] = []
    verdicts = this.verdicts
    stage, nemesis = this.stage, this.nemesis
    if stage is not None and not verdicts:
        found, windows = this.workload.check(stage)
        verdicts += found
    if nemesis is not None:
        if nemesis.findings:
            verdicts.append(judge("nodes", nemesis.findings, 1, "nodes ended by themselves"))
        if this.spec.plan:
            assert stage is not None
            verdicts.append(check_evidence(stage.history, nemesis.records, ok_in_faults_min=SERVED_MIN))
    return RunRecord(
        workload=spec.workload,
        seed=spec.seed,
        nodes=spec.names,
        time_s=spec.time_s,
        history=stage.history if stage is not None else History(),
        verdicts=tuple(verdicts),
        faults=nemesis.records if nemesis is not None else (),
        leaders=tuple(this.leaders),
        windows=tuple(windows),
        trace_hash=this.trace_hash,
        command=spec.command(),
        figures=this.figures if this.lines is None else this.figures | {"trace": this.lines},
    )
