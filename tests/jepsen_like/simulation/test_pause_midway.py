"""A pause in the midst of something: a process is stopped between two callbacks of one moment."""

import asyncio

from quorate.jepsen_like.simulation import SimEvent, Simulation, simulate


async def count(counted: list[float], sim: Simulation) -> None:
    """Many steps in one moment, over and over."""
    while True:
        for _ in range(1000):
            await asyncio.sleep(0)
            counted.append(sim.now)
        await asyncio.sleep(1.0)


def test_a_process_runs_so_many_callbacks_and_then_stands_still() -> None:
    async def main() -> None:
        async with Simulation(seed=1, nodes=1) as sim:
            counted: list[float] = []
            events: list[SimEvent] = []
            sim.on_event(events.append)
            sim.start("n1", count(counted, sim))
            sim.pause("n1", after=100)
            assert not sim.paused("n1") and not events
            await sim.run_for(5.0)
            assert sim.paused("n1") and [event.kind for event in events] == ["paused"]
            assert 50 < len(counted) <= 100 and len(set(counted)) == 1
            sim.resume("n1")
            await sim.run_for(0.5)
            assert len(counted) == 1000 and [event.kind for event in events] == ["paused", "resumed"]

    simulate(main)


def test_a_pause_that_has_not_begun_can_be_called_off() -> None:
    async def main() -> None:
        async with Simulation(seed=1, nodes=1) as sim:
            counted: list[float] = []
            sim.start("n1", count(counted, sim))
            sim.pause("n1", after=500)
            sim.resume("n1")
            await sim.run_for(0.5)
            assert len(counted) == 1000 and not sim.paused("n1")

    simulate(main)


def test_a_pause_that_has_not_begun_ends_with_its_process() -> None:
    async def main() -> None:
        async with Simulation(seed=1, nodes=1) as sim:
            events: list[SimEvent] = []
            sim.on_event(events.append)
            sim.pause("n1", after=5)
            sim.kill("n1")
            sim.restart("n1")
            await sim.up("n1")
            await sim.run_for(1.0)
            assert not sim.paused("n1") and "paused" not in [event.kind for event in events]

    simulate(main)
