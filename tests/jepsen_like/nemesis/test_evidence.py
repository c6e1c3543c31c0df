"""What the simulation counts as evidence is what a fault did, no more."""

import asyncio
import contextvars

import pytest

from quorate.jepsen_like.simulation import Simulation, simulate


class Sink(asyncio.Protocol):
    """Keeps what it receives."""

    def __init__(self) -> None:
        self.received = b""

    def data_received(self, data: bytes) -> None:
        self.received += data


async def connected(sim: Simulation, sink: Sink) -> asyncio.Transport:
    """A connection from n1 to n2, where `sink` reads; no node runs, so nothing else is on the links."""
    context = contextvars.copy_context()
    sim.network.listen(sim.host("n2"), 7000, lambda: sink, context)
    end, _ = await sim.network.connect(sim.host("n1"), context, asyncio.Protocol, "n2", 7000)
    return end


@pytest.mark.parametrize("fault", ["cut", "hold"])
def test_each_byte_that_a_link_keeps_back_is_counted_once_and_arrives(fault: str) -> None:
    async def main() -> None:
        async with Simulation(seed=1, nodes=2, start=False) as sim:
            sink = Sink()
            transport = await connected(sim, sink)
            link = sim.link("n1", "n2")
            block, undo = (sim.cut, sim.mend) if fault == "cut" else (sim.hold, sim.release)
            for times in (1, 2):
                block("n1", "n2", one_way=True)
                for _ in range(10):
                    transport.write(b"x" * 100)
                    await sim.run_for(0.01)
                assert len(sink.received) == 1000 * (times - 1)
                undo("n1", "n2", one_way=True)
                await sim.run_for(5.0)
                assert link.held_bytes == len(sink.received) == 1000 * times

    simulate(main)


def test_what_is_sent_to_a_deaf_host_waits_until_it_hears() -> None:
    async def main() -> None:
        async with Simulation(seed=1, nodes=2, start=False) as sim:
            sim.host("n2").deaf = True
            sink = Sink()
            transport = await connected(sim, sink)
            transport.write(b"hello")
            await sim.run_for(1.0)
            assert sink.received == b"" and sim.host("n2").deaf_accepts == 1
            sim.host("n2").deaf = False
            await sim.run_for(1.0)
            assert sink.received == b"hello"

    simulate(main)
