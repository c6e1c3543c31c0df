"""Raft stores of one process, joined in memory, on any disks: each can be cut off, killed and started again."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from quorate.consensus import DataDir, Lane, RaftStore, RaftStoreConfig, Timing, open_data_dir
from quorate.core import Clock, Disk, Entropy


@dataclass(eq=False)
class Member:
    """One voter: what of it survives a kill, and its store while it runs."""

    name: str
    disk: Disk
    clock: Clock
    store: RaftStore | None = None
    data_dir: DataDir | None = None
    incarnation: int = 0

    @property
    def running(self) -> RaftStore:
        assert self.store is not None, f"{self.name} does not run"
        return self.store


@dataclass(eq=False)
class RaftCluster:
    """`await start(name)` for each; messages travel in the next turn of the loop unless a link is cut."""

    names: tuple[str, ...]
    disk_of: Callable[[str], Disk]
    clock_of: Callable[[str], Clock]
    entropy: Entropy
    timing: Timing
    snapshot_after_bytes: int = 16 * 1024 * 1024
    cut: set[tuple[str, str]] = field(default_factory=set)
    members: dict[str, Member] = field(default_factory=dict)
    sent: int = 0

    def __post_init__(self) -> None:
        self.members = {name: Member(name, self.disk_of(name), self.clock_of(name)) for name in self.names}

    @property
    def stores(self) -> list[RaftStore]:
        return [member.store for member in self.members.values() if member.store is not None]

    async def start(self, *names: str) -> None:
        for name in names or self.names:
            member = self.members[name]
            member.incarnation += 1
            member.data_dir = await open_data_dir(member.disk, name, token=self.entropy.token)
            member.store = await RaftStore.open(
                name=name,
                data_dir=member.data_dir,
                clock=member.clock,
                entropy=self.entropy,
                transport=_Wire(self, name),
                config=RaftStoreConfig(frozenset(self.names), self.timing, self.snapshot_after_bytes),
            )

    async def stop(self, *names: str) -> None:
        """End stores in good order."""
        for name in names or self.names:
            member = self.members[name]
            if member.store is not None:
                await member.store.close()
                member.store = None
            if member.data_dir is not None:
                member.data_dir.close()
                member.data_dir = None

    async def kill(self, name: str) -> None:
        """As SIGKILL: nothing is said to anybody. (What the disk then forgets is the disk's business.)"""
        member = self.members[name]
        member.incarnation += 1
        store, member.store = member.running, None
        store.abandon()
        if member.data_dir is not None:
            member.data_dir.close()
            member.data_dir = None
        for other in self.members.values():
            if other.store is not None:
                other.store.peer_down(name)

    def isolate(self, name: str) -> None:
        for other in self.names:
            if other != name:
                self.cut |= {(name, other), (other, name)}

    def heal(self) -> None:
        self.cut.clear()

    def leader(self) -> RaftStore | None:
        """A store that leads and is connected to a majority."""
        for name, member in self.members.items():
            reachable = sum((name, other) not in self.cut for other in self.names)
            if member.store is not None and member.store.leads() and reachable * 2 > len(self.names):
                return member.store
        return None

    def deliver(self, source: str, target: str, incarnation: int, lane: Lane, payload: bytes) -> None:
        member = self.members[target]
        if (
            member.store is not None
            and member.incarnation == incarnation
            and (source, target) not in self.cut
        ):
            member.store.receive(source, lane, payload)


class _Wire:
    """One store's `Transport`."""

    def __init__(self, cluster: RaftCluster, name: str) -> None:
        self._cluster = cluster
        self._name = name

    def send(self, peer: str, lane: Lane, payload: bytes) -> bool:
        cluster = self._cluster
        member = cluster.members[peer]
        if member.store is None:
            return False
        cluster.sent += 1
        if (self._name, peer) not in cluster.cut:
            asyncio.get_running_loop().call_soon(
                cluster.deliver, self._name, peer, member.incarnation, lane, payload
            )
        return True
