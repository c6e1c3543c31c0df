"""The `raft` engine as the conformance suite wants it: simulated disks, a clock of its own for every node, moved by hand."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from quorate.consensus import Lane, RaftStore, Store, Timing, commands, protocol
from quorate.jepsen_like.disk import SimDisk
from tests.support import ManualClock, SeededEntropy

from .conformance import CUT, RESTART, SUSPEND, Cluster, Engine
from .raft_cluster import RaftCluster


class RaftEngineCluster(Cluster):
    def __init__(self, nodes: int) -> None:
        self.timing = Timing.local()
        self.clocks: dict[str, ManualClock] = {}
        self.inner = RaftCluster(
            tuple(f"n{number}@host:1" for number in range(nodes)),
            disk_of=SimDisk,
            clock_of=self.clock_of,
            entropy=SeededEntropy(nodes),
            timing=self.timing,
        )
        self.inner.hold = self.holds
        self.suspended: set[str] = set()
        self.stores: list[RaftStore] = []

    def clock_of(self, name: str) -> ManualClock:
        return self.clocks.setdefault(name, ManualClock(1000.0 * (len(self.clocks) + 1)))

    async def pass_time(self, seconds: float) -> None:
        while seconds > 0:
            step_s = min(seconds, self.step_s)
            for clock in self.clocks.values():
                await clock.pass_time(step_s, turns_each=5)
            seconds -= step_s

    async def cut(self, store: Store) -> None:
        self.inner.isolate(self.name_of(store))

    async def heal(self, store: Store) -> None:
        self.inner.heal(self.name_of(store))

    async def suspend(self, store: Store) -> None:
        self.suspended.add(self.name_of(store))  # only what leaves the node: a leader's own keepalives do not

    async def resume(self, store: Store) -> None:
        self.suspended.discard(self.name_of(store))

    def holds(self, source: str, target: str, lane: Lane, payload: bytes) -> bool:
        if source not in self.suspended or lane is not Lane.STORE:
            return False
        message = protocol.decode(payload)
        if isinstance(message, protocol.Propose):
            return isinstance(commands.decode(message.command), commands.OpenSession)
        return isinstance(message, protocol.Keepalive)

    async def crash(self, store: Store) -> None:
        self.inner.kill(self.name_of(store))

    async def restart(self, store: Store) -> Store:
        (name,) = [name for name, member in self.inner.members.items() if member.store is None]
        await self.inner.start(name)
        new = self.inner[name]
        self.stores = [new if old is store else old for old in self.stores]
        return new

    def name_of(self, store: Store) -> str:
        assert isinstance(store, RaftStore)
        return self.inner.name_of(store)


@asynccontextmanager
async def start_raft(nodes: int) -> AsyncIterator[RaftEngineCluster]:
    cluster = RaftEngineCluster(nodes)
    await cluster.inner.start()
    cluster.stores = list(cluster.inner.stores)
    try:
        yield cluster
    finally:
        for store in cluster.inner.stores:
            await cluster.do(store.close())


RAFT = Engine("raft", start_raft, frozenset({CUT, SUSPEND, RESTART}))
