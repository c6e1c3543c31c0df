"""A program in which much happens, for comparing runs.

python -c "from tests.jepsen_like.simulation import storm; storm.main(SEED, ADDRESSES, trace=True)"
"""

import logging
from random import Random
from typing import Any, Literal

from quorate.core import GenServer, QuorateError, Ref, sleep
from quorate.jepsen_like.simulation import Simulation, simulate
from quorate.node import Node
from quorate.registry import Name, Singleton

Order = Literal["fifo", "seeded"]
ORDERS: tuple[Order, ...] = ("fifo", "seeded")


class Tally(Singleton[int]):
    """Keeps a sum, with checkpoints."""

    total = 0

    def take_over(self, state: int | None) -> None:
        self.total = state or 0

    def hand_over(self) -> int:
        return self.total

    async def add(self, amount: int, tags: frozenset[str]) -> int:
        self.total += amount
        await self.checkpoint(self.total)
        return self.total + len(tags)


class Owner(GenServer):
    """A process that names belong to."""

    def poke(self) -> str:
        return str(self.pid)


TALLIES = [Name(Tally, f"tally/{letter}") for letter in "abcde"]


async def client(sim: Simulation, short: str) -> None:
    """Uses names and singletons from one node for as long as its process lives."""
    node, draw = sim.node(short), sim.tape.stream(f"client/{short}/{sim.boot(short)}")
    owners: list[Ref[Owner]] = [await node.start(Owner) for _ in range(3)]
    while True:
        try:
            await act(node, draw, owners)
        except (QuorateError, TimeoutError):
            sim.trace.event(sim.now, f"{short} went on")
        await sleep(node.runtime.clock, draw.uniform(0.0, 0.2))


async def act(node: Node, draw: Any, owners: list[Ref[Owner]]) -> None:
    name = f"name/{draw.below(12)}"
    match draw.below(7):
        case 0:
            number = draw.below(len(owners))
            node.exit(owners[number].pid, "shutdown")  # its names go
            owners[number] = await node.start(Owner)
        case 1 | 2:
            await node.registry.register(name, draw.choice(owners).pid, lost="notify", timeout_s=2.0)
        case 3:
            await node.registry.unregister(name, timeout_s=2.0)
        case 4:
            ref = await node.registry.whereis(name, timeout_s=2.0)
            if ref is not None:
                await ref.within(1.0).call(Owner.poke)
        case _:
            tally = await node.singleton(draw.choice(TALLIES), timeout_s=2.0)
            await tally.within(2.0).call(Tally.add, 1, frozenset({"red", "green", "blue"}))


async def storm(seed: int, order: Order, *, trace: bool = False) -> tuple[str, list[str] | None]:
    """Faults of every kind in about 30 simulated seconds."""
    async with Simulation(seed=seed, nodes=4, exports=[Tally, Owner], order=order, trace=trace) as sim:
        for short in sim.names:
            sim.start(short, client(sim, short))
        await sim.run_for(3)
        leader = sim.leader() or "n1"
        others = [short for short in sim.names if short != leader]
        sim.kill(leader)
        await sim.run_for(1.5)
        sim.restart(leader)
        sim.start(leader, late_client(sim, leader))
        await sim.run_for(3)
        sim.isolate(others[0])
        await sim.run_for(4)
        sim.heal()
        sim.reset(others[0], others[1])
        sim.half_open(others[1], others[2])
        await sim.run_for(3)
        sim.crash(others[1], out_of_order=True)
        sim.pause(others[2], 2.0)
        await sim.run_for(3)
        sim.restart(others[1])
        sim.start(others[1], late_client(sim, others[1]))
        sim.skew(others[0], 1.02)
        await sim.run_for(3)
        await sim.stop(others[2], drain_s=5.0)
        await sim.run_for(2)
        sim.restart(others[2])
        await sim.up(others[2])
        await sim.run_for(2)
        for short in sim.names:
            sim.trace.event(sim.now, repr(sim.node(short).status()))
        return sim.trace_hash(), sim.trace.lines


async def late_client(sim: Simulation, short: str) -> None:
    await sim.up(short)
    await client(sim, short)


def run(seed: int, order: Order, *, trace: bool = False) -> tuple[str, list[str] | None]:
    return simulate(lambda: storm(seed, order, trace=trace))


class _Piece:
    """Takes a place in memory."""

    data: list[None]


def other_addresses(seed: int) -> list[_Piece]:
    """Fill memory with holes, so that what is made from now on lies elsewhere than in another run."""
    draw, pieces = Random(seed), list[_Piece]()
    for _ in range(20_000):
        piece = _Piece()
        piece.data = [None] * draw.randrange(60)
        pieces.append(piece)
    draw.shuffle(pieces)
    return pieces[:10_000]


def main(seed: int, addresses: int, *, trace: bool = False) -> None:
    """Print the trace hashes of both orders, and the traces before them if wanted."""
    logging.disable(logging.CRITICAL)
    kept = other_addresses(addresses)
    for order in ORDERS:
        digest, lines = run(seed, order, trace=trace)
        print("\n".join([*(lines or []), digest]))
    kept.clear()
