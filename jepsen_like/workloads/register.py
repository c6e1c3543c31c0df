"""The register workload: clients read, write, and compare-and-set a few keys of the store itself.

What must hold: the history of each key is that of a register (linearizable), and after the heal every node serves writes.
This is the smallest test of consensus: no acknowledged write is lost, no read is stale.
"""

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from quorate.consensus import Compare, Put, Store
from quorate.jepsen_like.checkers import check_liveness
from quorate.jepsen_like.linear import check_linearizable
from quorate.jepsen_like.record import Window
from quorate.jepsen_like.simulation import Stream
from quorate.jepsen_like.verdict import Verdict

from .base import CLIENTS_PER_NODE, LIVE_S, Outcome, PlannedOp, Stage, Workload, no_surprises, planned, probe

KEYS = 3
NOTHING = (
    -1
)  # what stands for an absent key (a null would be legal always: Jepsen's rules know no unwritten register)
VALUES = 5  # few, so that a compare-and-set succeeds now and then


class RegisterWorkload(Workload):
    """See the head of the module. One client on each node only reads, so that it never waits behind a write."""

    name = "register"
    doc = "keys of the store are read, written, and compared and set"

    def __init__(self) -> None:
        self._settled_s = 0.0

    def plan(self, stream: Stream, nodes: Sequence[str], time_s: float, rate: float) -> tuple[PlannedOp, ...]:
        writes = itertools.count(VALUES)

        def draw(stream: Stream) -> tuple[str, str, Any]:
            f, key = stream.choice(("read", "read", "write", "cas", "cas")), f"r{stream.below(KEYS)}"
            if f == "read":
                return f, key, None
            if f == "cas":
                return f, key, [stream.below(VALUES), stream.below(VALUES)]
            return f, key, stream.below(VALUES) if stream.chance(0.7) else next(writes)

        readers = CLIENTS_PER_NODE * len(nodes)
        return tuple(
            replace(op, client=readers + op.client % len(nodes)) if op.f == "read" else op
            for op in planned(stream, nodes, time_s, rate, draw)
        )

    async def act(self, stage: Stage, node: str, process: int, op: PlannedOp) -> bool:
        store = stage.sim.node(node).store
        key = f"w/{op.key}".encode()

        async def read() -> Outcome:
            item = await store.get(key)
            return "ok", NOTHING if item is None else int(item.value)

        async def write() -> Outcome:
            await store.txn([], [Put(key, b"%d" % op.value)])
            return "ok", op.value

        async def cas() -> Outcome:
            old, new = op.value
            result = await store.txn([Compare(key, "value", "==", b"%d" % old)], [Put(key, b"%d" % new)])
            return ("ok" if result.succeeded else "fail"), op.value

        action = {"read": read, "write": write, "cas": cas}[op.f]
        return await stage.operation(process, op.f, op.key, op.value, action)

    async def settle(self, stage: Stage) -> None:
        sim = stage.sim

        def write(store: Store, key: str) -> Any:
            return lambda: store.txn([], [Put(key.encode(), b"")], timeout_s=2.0)

        ready = [name for name in sim.names if sim.ready(name)]
        probes = [
            probe(stage, name, f"probe/{name}", LIVE_S, write(sim.node(name).store, f"p/{name}"))
            for name in ready
        ]
        await asyncio.gather(*probes)
        self._settled_s = stage.now

    def check(self, stage: Stage) -> tuple[list[Verdict], list[Window]]:
        linear = check_linearizable(stage.history, "cas-register", initial=NOTHING)
        verdicts = [
            linear.verdict,
            check_liveness(stage.history, limit_s=LIVE_S, until_s=self._settled_s),
            no_surprises(stage, len(stage.history)),
        ]
        return verdicts, list(linear.windows)
