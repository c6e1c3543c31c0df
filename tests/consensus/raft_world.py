"""A cluster of Raft stores in imaginary time: simulated disks, a clock per node, a network with delays.

async def main() -> None:
    async with World() as world:
        await world.ready()
        world.isolate("a")
        ...
run_virtual(main())
"""

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self, TypeVar

from quorate.consensus import KeyValue, Put, RaftStore, Timing
from quorate.jepsen_like.disk import SimDisk
from tests.support import SeededEntropy

from .raft_cluster import RaftCluster
from .virtual import VirtualClock

T = TypeVar("T")


class World(RaftCluster):
    """Three nodes `a`, `b`, `c` unless told otherwise. `rates` are those of clocks that do not run true."""

    def __init__(
        self,
        names: str = "abc",
        *,
        seed: int = 1,
        timing: Timing | None = None,
        snapshot_after_bytes: int = 16 * 1024 * 1024,
        rates: dict[str, float] | None = None,
    ) -> None:
        self.clocks: dict[str, VirtualClock] = {}
        self.rates = rates or {}
        delays = SeededEntropy(seed + 1)
        super().__init__(
            tuple(names),
            disk_of=SimDisk,
            clock_of=self._clock_of,
            entropy=SeededEntropy(seed),
            timing=timing or Timing.local(),
            snapshot_after_bytes=snapshot_after_bytes,
            latency_s=lambda: 0.0005 + 0.002 * delays.random(),
        )

    def _clock_of(self, name: str) -> VirtualClock:
        offset_s = 5000.0 * len(self.clocks)
        return self.clocks.setdefault(name, VirtualClock(self.rates.get(name, 1.0), offset_s))

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name, member in self.members.items():
            if member.store is not None:
                self.wake(name)
                self.disk(name).thaw()
        if error is None:
            self.heal()
            await self.stop()

    def disk(self, name: str) -> SimDisk:
        disk = self.members[name].disk
        assert isinstance(disk, SimDisk)
        return disk

    # Time

    async def pass_time(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def until(self, condition: Callable[[], object], *, within_s: float = 30.0) -> None:
        """Let time pass until the condition holds. Fails if it does not within so many seconds."""
        loop = asyncio.get_running_loop()
        end = loop.time() + within_s
        while not condition():
            assert loop.time() < end, "what was waited for did not happen"
            await asyncio.sleep(0.002)

    async def ready(self) -> RaftStore:
        """Every node that runs has a session, and one leads: that one."""
        await self.until(lambda: self.leader() is not None and all(s.session.valid() for s in self.stores))
        leader = self.leader()
        assert leader is not None
        return leader

    async def led_by(self, name: str) -> RaftStore:
        """As `ready`, and it is this one that leads."""
        leader = await self.ready()
        while leader is not self[name]:
            raft = leader._replica.raft
            raft.transfer(name, self.members[self.name_of(leader)].clock.monotonic())
            leader._replica._wake()
            await self.pass_time(self.timing.election_s)
            leader = await self.ready()
        return leader

    def sleep_node(self, name: str) -> None:
        """Pause a node as SIGSTOP does: neither timers nor messages reach it, and its clock goes on."""
        self.pause(name)
        self.clocks[name].pause()

    def wake(self, name: str) -> None:
        """End that pause. Late timers run first, as they do in a process that wakes up."""
        self.clocks[name].resume()
        self.resume(name)


async def put(store: RaftStore, key: bytes, value: bytes = b"v", session: int = 0) -> KeyValue:
    result = await store.txn([], [Put(key, value, session)])
    assert result.results[0] is not None
    return result.results[0]


async def outcome_of(operation: Awaitable[T]) -> T | Exception:
    """The result, or the error."""
    try:
        return await operation
    except Exception as error:  # noqa: BLE001 -- tests look at it
        return error
