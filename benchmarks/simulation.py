"""The simulation: how much of a cluster's life fits into a second of one core.

Five nodes under the registry workload, without faults and with all of them, from seed to verdict: simulated seconds and
delivered messages per second, and seeds per second for scenarios of ten seconds. All of it runs on one core, so seconds are those of
the processor: that leaves other programs out. Beside them what the loop alone does with bare
callbacks, and asyncio's own loop.
"""

import asyncio
import logging
import time
from collections.abc import Callable

from quorate.jepsen_like.runner import RunSpec, run
from quorate.jepsen_like.simulation.loop import SimLoop

from .table import Row, measured

ROUNDS = 5
LONG_S = 60.0
SEEDS = 5
CALLBACKS = 100_000


def run_all() -> list[Row]:
    """All figures of the simulation."""
    logging.disable(logging.CRITICAL)
    try:
        rows = _long("simulation, 5 nodes, registry workload, no faults", "none")
        rows += _long("simulation, 5 nodes, registry workload, all faults", "all")
        rows += _seeds(5)
        rows += _seeds(3)
        rows += [
            measured(
                "callbacks of an event loop", "quorate", "per s", [_callbacks(SimLoop) for _ in range(ROUNDS)]
            ),
            measured(
                "callbacks of an event loop",
                "asyncio",
                "per s",
                [_callbacks(asyncio.SelectorEventLoop) for _ in range(ROUNDS)],
            ),
        ]
    finally:
        logging.disable(logging.NOTSET)
    return rows


def _long(title: str, faults: str) -> list[Row]:
    seconds: list[float] = []
    messages: list[float] = []
    for seed in range(1, ROUNDS + 1):
        spec = RunSpec("registry", nodes=5, seed=seed, faults=faults, time_s=LONG_S)
        started = time.process_time()
        record = run(spec)
        core_s = time.process_time() - started
        assert record.outcome != "invalid", record.verdicts
        seconds.append(record.figures["simulated_s"] / core_s)
        messages.append(record.figures["messages"] / core_s)
    return [
        measured(f"{title}: simulated time", "quorate", "s per s", seconds),
        measured(f"{title}: messages", "quorate", "per s", messages),
    ]


def _seeds(nodes: int) -> list[Row]:
    rates: list[float] = []
    for first in range(1, ROUNDS * SEEDS + 1, SEEDS):
        started = time.process_time()
        for seed in range(first, first + SEEDS):
            run(RunSpec("registry", nodes=nodes, seed=seed, time_s=10.0))
        rates.append(SEEDS / (time.process_time() - started))
    return [
        measured(f"scenarios of 10 s, {nodes} nodes, all faults", "quorate", "seeds per s and core", rates)
    ]


def _callbacks(make: Callable[[], asyncio.AbstractEventLoop]) -> float:
    loop = make()
    left = CALLBACKS

    def again() -> None:
        nonlocal left
        left -= 1
        if left:
            loop.call_soon(again)
        else:
            loop.stop()

    started = time.process_time()
    loop.call_soon(again)
    loop.run_forever()
    loop.close()
    return CALLBACKS / (time.process_time() - started)
