"""A cluster under load, for tests of the nemesis: every node writes to the store, again and again."""

import asyncio
import contextlib

from quorate.consensus import Put
from quorate.core import QuorateError, sleep
from quorate.jepsen_like.nemesis import KINDS, Fault
from quorate.jepsen_like.simulation import NodeDied, NodeIsDown, Simulation


def write_all(sim: Simulation, period_s: float = 0.1) -> list[asyncio.Task[None]]:
    """From now on every node, whenever it is up, writes a key each `period_s` seconds. Keep what is returned."""
    return [asyncio.create_task(_keep_writing(sim, name, period_s)) for name in sim.names]


async def _keep_writing(sim: Simulation, name: str, period_s: float) -> None:
    while True:
        await sim.up(name)
        with contextlib.suppress(NodeDied, NodeIsDown):
            await sim.start(name, _write(sim, name, period_s))


async def _write(sim: Simulation, name: str, period_s: float) -> None:
    node = sim.node(name)
    while True:
        with contextlib.suppress(QuorateError):
            await node.store.txn([], [Put(f"load/{name}".encode(), b"x" * 64)], timeout_s=1.0)
        await sleep(node.runtime.clock, period_s)


def an_example(kind: str, at_s: float = 0.5, for_s: float = 2.0) -> Fault:
    """A fault of this kind for a cluster of five."""
    order = ("n2", "n4", "n1", "n5", "n3")
    shape = KINDS[kind]
    nodes = {"none": (), "one": order[:1], "order": order, "third": order[:1]}.get(shape.takes, order[:2])
    if kind == "partition-swizzle":
        nodes = (*order[:3], "n1", "n2", "n4")
    amount = {"clock-rate": 1.05, "clock-jump": -30.0, "clock-strobe": 2.0, "disk-slow": 0.05}.get(kind, 0.0)
    amount = amount or {"link-latency": 0.2, "link-bandwidth": 5000.0, "link-slow-reader": 2000.0}.get(
        kind, 0.3
    )
    return Fault(at_s, kind, for_s, nodes, amount, 0.3 if shape.periods_s else 0.0)
