"""What workloads have in common: operations as data, clients that carry them out, and the stage they do it on.

The operations of a run are planned before it, as a list: so a failing run can be repeated with fewer of them. Each client lives
on one node, as part of its process: it is paused with it, and when the node dies the outcome of what was under way is
unknown, as it is for a real one. The `Stage` is the authority over the history of its run. What must never happen here: an
operation that was invoked and is missing from the history, or an error that is not one of the documented ones passes.
"""

import asyncio
import traceback
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from quorate.consensus import (
    DiskFailed,
    NoQuorum,
    OutcomeUnknown,
    Overloaded,
    SessionLost,
    StoreError,
    StoreStopped,
)
from quorate.core import QuorateError, sleep
from quorate.jepsen_like.history import Completion, History, Op
from quorate.jepsen_like.record import Window
from quorate.jepsen_like.simulation import NodeDied, NodeIsDown, SimEvent, Simulation, Stream
from quorate.jepsen_like.verdict import Verdict, judge

LATE_S = 2.0  # an operation that its client could not begin by then is left out
CLIENTS_PER_NODE = 2
LIVE_S = 10.0  # after the heal, for a node to do what it is asked to
WITNESS_S = 0.04  # between two looks of the witnesses


@dataclass(frozen=True, slots=True)
class PlannedOp:
    """One operation: `client` begins it `at_s` seconds after the start, or when it is through with the one before."""

    at_s: float
    client: int
    f: str
    key: str
    value: Any = None

    def as_json(self) -> dict[str, Any]:
        """What `from_json` takes."""
        record = {"at_s": self.at_s, "client": self.client, "f": self.f, "key": self.key}
        return record if self.value is None else record | {"value": self.value}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "PlannedOp":
        """Raises `TypeError` for what is none."""
        return cls(**record)


Outcome = tuple[Completion, Any]


class Skipped(Exception):
    """An operation finds nothing to do, and is not invoked."""


class Stage:
    """One run as a workload sees it."""

    def __init__(self, sim: Simulation, seed: int) -> None:
        self.sim = sim
        self.seed = seed
        self.history = History()
        self.stream: Stream = sim.tape.stream("workload")
        self.surprises: list[str] = []  # errors that nothing documents
        self.started_s = sim.now

    @property
    def now(self) -> float:
        return self.sim.now

    def note(self, process: int | str, f: str, key: str | None = None, value: Any = None) -> Op:
        """A witness tells of something; it is part of the trace, too."""
        op = self.history.note(self.now, process, f, key, value)
        self.sim.trace.event(self.now, f"{process} {f} {key} {value}")
        return op

    def invoke(self, process: int | str, f: str, key: str | None = None, value: Any = None) -> Op:
        op = self.history.invoke(self.now, process, f, key, value)
        self.sim.trace.event(self.now, f"{process} invokes {f} {key} {value}")
        return op

    def complete(self, invoked: Op, type_: Completion, value: Any = None) -> Op:
        op = self.history.complete(self.now, invoked, type_, value)
        self.sim.trace.event(self.now, f"{invoked.process} {type_} {invoked.f} {invoked.key} {op.value}")
        return op

    def surprise(self, where: str, error: BaseException) -> None:
        """An error that no documentation mentions: the run is invalid."""
        text = "".join(traceback.format_exception(error)[-3:]).strip().replace("\n", " | ")
        self.surprises.append(f"{where} at {self.now:.3f} s: {text}")

    async def operation(
        self,
        process: int,
        f: str,
        key: str,
        value: Any,
        action: Callable[[], Awaitable[Outcome]],
    ) -> bool:
        """Invoke, act and complete. False when the outcome is unknown: the process is not to be used again."""
        invoked = self.invoke(process, f, key, value)
        try:
            type_, result = await action()
        except (NoQuorum, SessionLost, StoreStopped, Overloaded) as error:
            type_, result = "fail", {"error": type(error).__name__}
        except (OutcomeUnknown, DiskFailed) as error:
            type_, result = "info", {"error": type(error).__name__}
        except (QuorateError, AssertionError, LookupError, ValueError, TypeError, AttributeError) as error:
            self.surprise(f"{f} {key}", error)
            type_, result = "info", {"error": type(error).__name__}
        self.complete(invoked, type_, result)
        return type_ != "info"


class Workload(ABC):
    """What clients do, what witnesses see, and what must be true of it. One object serves one run.

    `untouched` are the groups of faults that it would never notice: they are left out.
    """

    name: ClassVar[str]
    doc: ClassVar[str]
    exports: tuple[Any, ...] = ()
    untouched: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def plan(self, stream: Stream, nodes: Sequence[str], time_s: float, rate: float) -> tuple[PlannedOp, ...]:
        """Operations for `time_s` seconds, about `rate` of them per second. Pure."""

    async def begin(self, stage: Stage) -> None:
        """Prepare; all nodes are ready and nothing is broken."""
        return

    @abstractmethod
    async def act(self, stage: Stage, node: str, process: int, op: PlannedOp) -> bool:
        """Carry one operation out, as part of the node's process. Returns what `Stage.operation` does. Raises `Skipped`."""

    def witness(self, stage: Stage) -> None:
        """Look around; called every few milliseconds of the world."""
        return

    def happened(self, stage: Stage, event: SimEvent) -> None:
        """Something happened to a node's process."""
        return

    async def settle(self, stage: Stage) -> None:
        """All is healed, clients are through: probe, and read what is to be read at the end."""
        return

    @abstractmethod
    def check(self, stage: Stage) -> tuple[list[Verdict], list[Window]]:
        """Judge. Called when the world has ended."""


def planned(
    stream: Stream,
    nodes: Sequence[str],
    time_s: float,
    rate: float,
    draw: Callable[[Stream], tuple[str, str, Any]],
) -> tuple[PlannedOp, ...]:
    """Operations at random times, by two clients for each node; `draw` gives (f, key, value)."""
    clients = CLIENTS_PER_NODE * len(nodes)
    ops: list[PlannedOp] = []
    at_s = 0.0
    while True:
        at_s += stream.uniform(0.0, 2.0 / rate)
        if at_s >= time_s:
            return tuple(ops)
        f, key, value = draw(stream)
        ops.append(PlannedOp(round(at_s, 4), stream.below(clients), f, key, value))


async def carry_out(stage: Stage, workload: Workload, ops: Sequence[PlannedOp]) -> None:
    """Let the clients do all operations, each its own in order; returns when they are through."""
    by_client: dict[int, list[PlannedOp]] = {}
    for op in ops:
        by_client.setdefault(op.client, []).append(op)
    await asyncio.gather(
        *(_client(stage, workload, number, by_client[number]) for number in sorted(by_client))
    )


async def _client(stage: Stage, workload: Workload, number: int, ops: Sequence[PlannedOp]) -> None:
    sim = stage.sim
    node = sim.names[number % len(sim.names)]
    process = stage.history.new_process()
    for op in ops:
        wait_s = stage.started_s + op.at_s - sim.now
        if wait_s > 0:
            await sim.run_for(wait_s)
        elif wait_s < -LATE_S:
            continue
        if not sim.ready(node):
            continue
        try:
            certain = await sim.start(node, workload.act(stage, node, process, op))
        except Skipped:
            continue
        except (NodeDied, NodeIsDown):
            certain = False
        if not certain:
            process = stage.history.new_process()


async def probe(
    stage: Stage,
    node: str,
    key: str,
    limit_s: float,
    action: Callable[[], Awaitable[Any]],
) -> None:
    """Try `action` on a node until it succeeds, or for `limit_s` seconds; each try is a pair of f "probe"."""
    until_s = stage.now + limit_s

    async def tries() -> None:
        while stage.now < until_s:
            invoked = stage.invoke(f"probe/{key}/{node}", "probe", key)
            try:
                await action()
            except OutcomeUnknown:
                stage.complete(invoked, "info", {"error": "OutcomeUnknown"})
            except (StoreError, QuorateError) as error:
                stage.complete(invoked, "fail", {"error": type(error).__name__})
            else:
                stage.complete(invoked, "ok")
                return
            await sleep(stage.sim.clock, 0.1)

    try:
        await stage.sim.start(node, tries())
    except (NodeDied, NodeIsDown) as error:
        stage.surprise(f"probe {key}", error)


def no_surprises(stage: Stage, checked: int) -> Verdict:
    """No operation ended in an error that its documentation does not name."""
    return judge("errors", stage.surprises, checked, f"{checked:,} operations, no undocumented error")
