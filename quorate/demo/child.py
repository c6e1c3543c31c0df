"""One node of the demo, in a process of its own: `python -m quorate.demo.child`, commanded through its pipes.

The first line on stdin says who it is; see `operations.py` for what it can be asked. SIGTERM drains the node and ends
the process with exit code 0. When stdin ends the parent is gone, and the process follows it at once.
"""

import asyncio
import logging
import signal
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

from quorate.core import Clock, Process, RealClock, RealDisk, RealEntropy, RealNetwork, Runtime
from quorate.jepsen_like.network import FaultyNetwork
from quorate.loop import run
from quorate.node import Node

from .counter import WITNESS, Counter, Effect, Reading, Reconciled
from .holding import Holding, Witness
from .operations import Operations, failure
from .pipes import Pipes
from .settings import LINKS, TIMING

_DRAIN_S = 10.0


async def main() -> int:
    pipes = await Pipes.open()
    lines = pipes.lines()
    who = await anext(lines)
    clock, disk = RealClock(), RealDisk(who["data_dir"])
    network = FaultyNetwork(RealNetwork(), clock)
    node = Node(
        who["name"],
        cookie=who["cookie"],
        voters=who["voters"],
        exports=[Counter, Reading],
        timing=TIMING,
        links=LINKS,
        runtime=Runtime(network=network, clock=clock, entropy=RealEntropy(), disk=disk),
    )
    try:
        async with node:
            await _serve(node, network, pipes, lines)
        network.heal()
    finally:
        disk.close()
    pipes.tell({"event": "stopped"})
    await pipes.close()
    return 0


async def _serve(
    node: Node, network: FaultyNetwork, pipes: Pipes, lines: AsyncIterator[dict[str, Any]]
) -> None:
    """Answer the parent until it is gone, or until SIGTERM, which drains the node."""
    clock = node.runtime.clock
    operations = Operations(node, Holding(node, Witness(clock, pipes.tell)), network)
    node.spawn(_witness, clock, pipes.tell)
    ordered = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ordered.set)
    pipes.tell({"event": "up", "at": clock.monotonic()})
    answering: set[asyncio.Task[None]] = set()

    def begin(request: dict[str, Any]) -> None:
        task = asyncio.ensure_future(_answer(operations, pipes, request))
        answering.add(task)
        task.add_done_callback(answering.discard)

    reading = asyncio.ensure_future(_read(lines, begin))
    waiting = asyncio.ensure_future(ordered.wait())
    await asyncio.wait({reading, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if ordered.is_set():
        report = await node.drain(_DRAIN_S)
        pipes.tell({"event": "drained", "report": str(report)})
    for task in (reading, waiting, *answering):
        task.cancel()
    await asyncio.gather(reading, waiting, *answering, return_exceptions=True)


async def _read(lines: AsyncIterator[dict[str, Any]], each: Callable[[dict[str, Any]], object]) -> None:
    async for request in lines:
        each(request)


async def _answer(operations: Operations, pipes: Pipes, request: dict[str, Any]) -> None:
    try:
        result = await operations.run(request["op"], request["args"])
    except Exception as error:  # noqa: BLE001 -- the parent is told
        pipes.tell({"id": request["id"], "error": failure(error)})
    else:
        pipes.tell({"id": request["id"], "result": result})


async def _witness(self: Process, clock: Clock, tell: Callable[[dict[str, Any]], None]) -> None:
    """Passes on what the counters of this node tell."""
    self.register(WITNESS)
    while True:
        match await self.receive():
            case Effect(key, fence, value):
                tell({"event": "effect", "key": key, "fence": fence, "value": value, "at": clock.monotonic()})
            case Reconciled() as told:
                tell(
                    {
                        "event": "reconciled",
                        "key": told.key,
                        "fence": told.fence,
                        "parked_fence": told.parked_fence,
                        "parked_value": told.parked_value,
                        "value": told.value,
                    }
                )


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    sys.exit(run(main()))
