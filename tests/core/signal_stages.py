"""Where programs of `signal_programs.py` are played: one node, nodes linked in memory, a cluster of the simulation.

A stage stands in a loop that runs in a thread of its own, so that hypothesis, which is no coroutine, plays many programs on it.
"""

import queue
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Self

from quorate.core import Node, Pid
from quorate.jepsen_like.simulation import Simulation
from tests.core.nodes import A, B, Wire, World, run_on
from tests.core.signal_log import Line, Relinked
from tests.core.signal_programs import Player, Program, Stage, Step
from tests.support import turns

CASCADE_TURNS = 24  # of the loop: the ends of six processes, one after the other, and what led to the first
ROUNDS = 100  # from one node to the other


class OneNode(Stage):
    """Everything on one node."""

    async def settle(self) -> None:
        await turns(CASCADE_TURNS)

    async def pause(self, length: int) -> None:
        await turns(length)


class InMemory(Stage):
    """Two nodes. What flies between them arrives when the program says so ("deliver"), or when all is to settle."""

    DELIVER = ("deliver",) * 6
    CUT = ("cut", "cut", "join", "join", "join")

    def __init__(self, world: World, *nodes: Node) -> None:
        super().__init__(*nodes)
        self.world = world
        self.linked = False
        self.relink(True)

    def relink(self, up: bool) -> Line | None:
        if self.linked == up:
            return None
        self.linked = up
        if up:
            self.world.join(*self.nodes)
            for wire in self.wires():
                wire.paused = True
        else:
            one, other = self.nodes
            self.world.cut(one, other)
        return Relinked(frozenset({0, 1}), up)

    def wires(self) -> list[Wire]:
        a, b = self.nodes
        return [self.world.wire(a, b), self.world.wire(b, a)] if self.linked else []

    def steer(self, step: Step) -> Line | None:
        if step.what != "deliver":
            return self.relink(step.what == "join")
        if self.linked:
            a, b = self.nodes if step.who % 2 else reversed(self.nodes)
            self.world.deliver(a, b, 1 + step.value // 2)
        return None

    async def pause(self, length: int) -> None:
        await turns(length)

    async def clear(self, pids: Sequence[Pid]) -> None:
        self.relink(True)
        await super().clear(pids)

    async def settle(self) -> None:
        await turns(CASCADE_TURNS)
        a, b = self.nodes
        for _ in range(ROUNDS):
            if not any(wire.frames for wire in self.wires()):
                return
            for one, other in ((a, b), (b, a)):
                self.world.deliver(one, other, len(self.world.wire(one, other).frames))
            await turns(CASCADE_TURNS)
        raise AssertionError("it does not settle: one signal leads to the next, for ever")


class Cluster(Stage):
    """Three nodes of the simulation, with the library's own links on a network with delays."""

    LATENCIES_S = (0.0005, 0.002, 0.007)

    def __init__(self, sim: Simulation) -> None:
        super().__init__(*(sim.node(name) for name in sim.names))
        self.sim = sim

    def delay(self, program: Program) -> None:
        """How long the links take is for the program to say."""
        names = self.sim.names
        links = [self.sim.link(one, other) for one in names for other in names if one != other]
        for link, number in zip(links, program.delays, strict=True):
            link.latency_s, link.jitter_s = self.LATENCIES_S[number], 0.0

    async def pause(self, length: int) -> None:
        await (self.sim.run_for(0.001 * length) if length else turns(2))

    async def settle(self) -> None:
        await self.sim.run_for(0.08)


# -- playing -----------------------------------------------------------------------------------------------


@asynccontextmanager
async def one_node() -> AsyncIterator[Stage]:
    world = World()
    yield OneNode(await world.node(A))
    await world.close()


@asynccontextmanager
async def in_memory() -> AsyncIterator[Stage]:
    world = World()
    yield InMemory(world, await world.node(A), await world.node(B))
    await world.close()


@asynccontextmanager
async def cluster() -> AsyncIterator[Stage]:
    async with Simulation(seed=4, nodes=3) as sim:
        await sim.run_for(5.0)
        yield Cluster(sim)


Opening = Callable[[], AbstractAsyncContextManager[Stage]]


class Theatre:
    """A stage in a loop of this kind, in its own thread, for a `with` block."""

    def __init__(self, loop: str, opening: Opening) -> None:
        self._loop = loop
        self._opening = opening
        self._programs: queue.SimpleQueue[tuple[Program, bool] | None] = queue.SimpleQueue()
        self._outcomes: queue.SimpleQueue[Player | BaseException] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="theatre", daemon=True)
        self._over: BaseException | None = None  # why the thread has ended

    def play(self, program: Program, *, settling: bool) -> None:
        """Play a program and judge it. `settling`: after each step everything arrives."""
        if self._over is not None:
            raise RuntimeError("the stage is closed") from self._over
        self._programs.put((program, settling))
        outcome = self._outcomes.get()
        if isinstance(outcome, BaseException):
            raise outcome
        outcome.check()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._programs.put(None)
        if error is None:
            self._thread.join()
            if self._over is not None:
                raise self._over

    def _run(self) -> None:
        try:
            run_on(self._loop, self._serve, hangs_s=None)  # how long depends on how many play
        except BaseException as error:  # noqa: BLE001 -- told to the test
            self._over = error
            self._outcomes.put(error)

    async def _serve(self) -> None:
        async with self._opening() as stage:
            while (job := self._programs.get()) is not None:
                player = Player(stage, *job)
                try:
                    await player.play()
                except Exception as error:  # noqa: BLE001 -- told to the test
                    self._outcomes.put(error)
                else:
                    self._outcomes.put(player)
