"""The singletons workload: clients on all nodes have a few ledgers do things, and ledgers are moved about.

A ledger keeps the list of the ids it was given, in a checkpoint, and tells the world (a store outside that nothing can cut
off) of each step on the way. What must hold: every acknowledged id is in its ledger exactly once at the end, unknown ones at
most once, failed ones never; no effect of a lower fence comes after one of a higher (which is what two owners at once
would show, or an owner that acts after its lease); after the heal every node reaches every ledger, and all
agree on who runs it.
"""

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any

from quorate.consensus import NoQuorum, OutcomeUnknown
from quorate.core import Busy, CallCycle, CallError, NoProcess, NotCallable
from quorate.jepsen_like.checkers import check_convergence, check_effects, check_fences, check_liveness
from quorate.jepsen_like.record import Window
from quorate.jepsen_like.simulation import NodeDied, NodeIsDown, Stream
from quorate.jepsen_like.verdict import Verdict
from quorate.node import Node
from quorate.registry import Name, Singleton, SingletonError, SingletonOverloaded

from .base import Outcome, PlannedOp, Stage, Workload, no_surprises, planned, probe

LEDGERS = 4
STEPS = 8
CALL_S = 4.0
READ_S = 2.0
READY_S = 30.0  # after the heal, for a ledger to be read
STAND_STILL_S = 30.0


class Ledger(Singleton[list[int]]):
    """Keeps ids. `stage` is where it tells the world; each run has a class of its own."""

    stage: Stage

    def __init__(self) -> None:
        self._ids: list[int] = []

    def take_over(self, state: list[int] | None) -> None:
        self._ids = state or []
        self._tell("take over")

    def hand_over(self) -> list[int]:
        return self._ids

    async def enter(self, id_: int) -> int:
        """Keep one more id; how many there are."""
        self._tell(f"begin {id_}")
        for step in range(STEPS):  # a pause may come between any two of them
            await asyncio.sleep(0)
            self._tell(f"step {step} of {id_}")
        ids = [*self._ids, id_]
        await self.checkpoint(ids)
        self._ids = ids
        self._tell(f"end {id_}")
        return len(ids)

    def read(self) -> list[int]:
        """All ids, in the order in which they came."""
        return self._ids

    def _tell(self, what: str) -> None:
        owner = f"{self.stage.sim.short(self.pid.node)}#{self.pid.creation}"
        value = {"fence": self.fence, "owner": owner, "what": what}
        self.stage.note("world", "effect", str(self.name), value)


class SingletonsWorkload(Workload):
    """See the head of the module."""

    name = "singletons"
    doc = "singletons with checkpoints are called and moved; what they did is counted"

    def __init__(self) -> None:
        self._ledger: type[Ledger] = type(
            "Ledger", (Ledger,), {"__module__": __name__, "__qualname__": "Ledger"}
        )
        self.exports = (self._ledger,)
        self._final: dict[str, list[int]] = {}
        self._views: dict[str, dict[str, tuple[str, int]] | None] = {}
        self._truth: dict[str, tuple[str, int]] = {}
        self._settled_s = 0.0

    def plan(self, stream: Stream, nodes: Sequence[str], time_s: float, rate: float) -> tuple[PlannedOp, ...]:
        ids = itertools.count(1)

        def draw(stream: Stream) -> tuple[str, str, Any]:
            key = f"ledger/{stream.below(LEDGERS)}"
            if stream.chance(0.03):
                return "move", key, stream.choice([*nodes, None])
            return "act", key, {"id": next(ids)}

        return planned(stream, nodes, time_s, rate, draw)

    async def begin(self, stage: Stage) -> None:
        self._ledger.stage = stage

    async def act(self, stage: Stage, node: str, process: int, op: PlannedOp) -> bool:
        here = stage.sim.node(node)
        if op.f == "move":
            return await stage.operation(
                process, "move", op.key, op.value, lambda: self._move(stage, here, op)
            )

        async def enter() -> Outcome:
            return await self._enter(here, op)

        return await stage.operation(process, "act", op.key, op.value, enter)

    async def _enter(self, node: Node, op: PlannedOp) -> Outcome:
        ref = await node.singleton(Name(self._ledger, op.key), timeout_s=CALL_S)
        try:
            count = await ref.within(CALL_S).call(self._ledger.enter, op.value["id"])
        except (NoProcess, NotCallable, CallCycle, SingletonOverloaded, Busy) as error:
            return "fail", {**op.value, "error": type(error).__name__}
        except CallError as error:
            return "info", {**op.value, "error": type(error).__name__}
        return "ok", {**op.value, "count": count}

    async def _move(self, stage: Stage, node: Node, op: PlannedOp) -> Outcome:
        target = None if op.value is None else stage.sim.full(op.value)
        try:
            await node.singletons.move(op.key, target)
        except SingletonError as error:  # nobody wants it yet
            return "fail", {"error": type(error).__name__}
        return "ok", op.value

    # -- the end -------------------------------------------------------------------------------------------

    async def settle(self, stage: Stage) -> None:
        """Every node reaches every ledger; then they are read, and the nodes' views compared."""
        sim = stage.sim
        ready = [name for name in sim.names if sim.ready(name)]
        keys = sorted({str(op.key) for op in stage.history if op.f == "act"})
        await asyncio.gather(*(self._probe(stage, name, key) for name in ready for key in keys))
        for key in keys:
            found = await self._read(stage, ready[0], key)
            if found is not None:
                self._final[key] = found
        until_s = stage.now + STAND_STILL_S
        while True:
            self._views = {name: self._view(stage, name) for name in ready}
            leader = sim.leader()
            self._truth = (self._views.get(leader) or {}) if leader is not None else {}
            if (leader and all(view == self._truth for view in self._views.values())) or stage.now > until_s:
                break
            await sim.run_for(0.5)
        self._settled_s = stage.now

    async def _probe(self, stage: Stage, name: str, key: str) -> None:
        node = stage.sim.node(name)

        async def read() -> None:
            ref = await node.singleton(Name(self._ledger, key), timeout_s=READ_S)
            await ref.within(READ_S).call(self._ledger.read)

        await probe(stage, name, f"{key} from {name}", READY_S, read)

    async def _read(self, stage: Stage, name: str, key: str) -> list[int] | None:
        node = stage.sim.node(name)
        for _ in range(10):
            try:
                ref = await node.singleton(Name(self._ledger, key), timeout_s=READ_S)
                return await stage.sim.start(name, ref.within(READ_S).call(self._ledger.read))
            except (NoQuorum, OutcomeUnknown, CallError):
                continue
            except (NodeDied, NodeIsDown):
                return None
        return None

    def _view(self, stage: Stage, name: str) -> dict[str, tuple[str, int]]:
        status = stage.sim.node(name).singletons.status()
        return {str(one.name): (one.owner or "nobody", one.fence) for one in status}

    def check(self, stage: Stage) -> tuple[list[Verdict], list[Window]]:
        history = stage.history
        verdicts = [
            check_effects(history, self._final),
            check_fences(history),
            check_liveness(history, limit_s=READY_S, until_s=self._settled_s),
            check_convergence(self._views, self._truth),
            no_surprises(stage, len(history)),
        ]
        return verdicts, []
