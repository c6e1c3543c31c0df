"""The `memory` engine as the conformance suite wants it: each node has a clock of its own, moved by hand."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from quorate.consensus.memory import MemoryBackend, MemoryStore
from quorate.consensus.store import Store, Timing
from tests.support import ManualClock, SeededEntropy

from .conformance import CUT, RESTART, SUSPEND, Cluster, Engine


class MemoryCluster(Cluster):
    def __init__(self, nodes: int) -> None:
        self.timing = Timing.local()
        self.backend = MemoryBackend(self.timing, SeededEntropy())
        self.clocks: dict[str, ManualClock] = {}
        self.stores: list[MemoryStore] = [self.start(f"n{number}@host:1") for number in range(nodes)]

    def start(self, holder: str, creation: int = 1) -> MemoryStore:
        clock = self.clocks.setdefault(holder, ManualClock(1000.0 * (len(self.clocks) + 1)))
        return self.backend.connect(holder, creation, clock)

    async def pass_time(self, seconds: float) -> None:
        while seconds > 0:
            step_s = min(seconds, self.step_s)
            for clock in self.clocks.values():
                await clock.pass_time(step_s, turns_each=3)
            seconds -= step_s

    async def cut(self, store: Store) -> None:
        self.own(store).disconnect()

    async def heal(self, store: Store) -> None:
        self.own(store).connect_again()

    async def suspend(self, store: Store) -> None:
        self.own(store).suspend_keepalives()

    async def resume(self, store: Store) -> None:
        self.own(store).resume_keepalives()

    async def crash(self, store: Store) -> None:
        self.own(store).crash()

    async def restart(self, store: Store) -> Store:
        old = self.own(store)
        new = self.start(old.holder, old.creation + 1)
        self.stores[self.stores.index(old)] = new
        return new

    def own(self, store: Store) -> MemoryStore:
        assert isinstance(store, MemoryStore)
        return store


@asynccontextmanager
async def start_memory(nodes: int) -> AsyncIterator[MemoryCluster]:
    cluster = MemoryCluster(nodes)
    try:
        yield cluster
    finally:
        for store in cluster.stores:
            await store.close()


MEMORY = Engine("memory", start_memory, frozenset({CUT, SUSPEND, RESTART}))
