"""Raft stores of one process, joined in memory, on any disks: each can be cut off, paused, killed and started again."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from quorate.consensus import DataDir, Lane, RaftStore, RaftStoreConfig, Timing, open_data_dir
from quorate.core import Clock, Disk, Entropy
from quorate.jepsen_like.disk import SimDisk


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


def at_once() -> float:
    """The latency of a network that needs no time."""
    return 0.0


@dataclass(eq=False)
class RaftCluster:
    """`await start(name)` for each. Messages travel for `latency_s()`, in order, unless their link is cut.

    What is under way when a link is cut still arrives. Without latency they arrive in the next turn of the loop; with it, by timers of the loop (see `virtual.py`).
    """

    names: tuple[str, ...]
    disk_of: Callable[[str], Disk]
    clock_of: Callable[[str], Clock]
    entropy: Entropy
    timing: Timing
    snapshot_after_bytes: int = 16 * 1024 * 1024
    latency_s: Callable[[], float] = at_once
    cut: set[tuple[str, str]] = field(default_factory=set)
    lag_s: dict[tuple[str, str], float] = field(default_factory=dict)  # of slow links, beside `latency_s`
    members: dict[str, Member] = field(default_factory=dict)
    sent: int = 0
    hold: Callable[[str, str, Lane, bytes], bool] | None = None
    """Told of each message that is sent; True: it does not travel. (For tests that lose or keep single messages.)"""

    def __post_init__(self) -> None:
        self.members = {name: Member(name, self.disk_of(name), self.clock_of(name)) for name in self.names}
        self._arrival: dict[tuple[str, str], float] = {}
        self._paused: dict[str, list[Callable[[], None]]] = {}

    @property
    def stores(self) -> list[RaftStore]:
        return [member.store for member in self.members.values() if member.store is not None]

    def __getitem__(self, name: str) -> RaftStore:
        """The store that runs on this node."""
        return self.members[name].running

    def name_of(self, store: RaftStore) -> str:
        return next(name for name, member in self.members.items() if member.store is store)

    # Life and death

    async def start(self, *names: str) -> None:
        for name in names or self.names:
            member = self.members[name]
            member.incarnation += 1
            member.data_dir = await open_data_dir(member.disk, name, token=self.entropy.token)
            try:
                member.store = await RaftStore.open(
                    name=name,
                    data_dir=member.data_dir,
                    clock=member.clock,
                    entropy=self.entropy,
                    transport=_Wire(self, name),
                    config=RaftStoreConfig(frozenset(self.names), self.timing, self.snapshot_after_bytes),
                )
            except BaseException:
                self._release(member)
                raise

    async def stop(self, *names: str) -> None:
        """End stores in good order."""
        for name in names or self.names:
            member = self.members[name]
            if member.store is not None:
                await member.store.close()
                member.store = None
            self._release(member)

    def kill(self, name: str, *, power_lost: Entropy | None = None, out_of_order: bool = False) -> None:
        """As SIGKILL: nothing is said to anybody. With `power_lost`, a simulated disk forgets what was not synced."""
        member = self.members[name]
        member.incarnation += 1
        self._paused.pop(name, None)
        store, member.store = member.running, None
        store.abandon()
        self._release(member)
        if isinstance(member.disk, SimDisk):
            if power_lost is not None:
                member.disk = member.disk.crash(power_lost, out_of_order=out_of_order)
            else:
                member.disk = member.disk.kill()
        for other in self.members.values():
            if other.store is not None:
                other.store.peer_down(name)

    def _release(self, member: Member) -> None:
        if member.data_dir is not None:
            member.data_dir.close()
            member.data_dir = None

    # The network

    def isolate(self, name: str) -> None:
        for other in self.names:
            if other != name:
                self.cut |= {(name, other), (other, name)}

    def heal(self, name: str | None = None) -> None:
        """End all cuts and lags, or those of one node."""
        self.cut = {link for link in self.cut if name is not None and name not in link}
        self.lag_s = {
            link: lag_s for link, lag_s in self.lag_s.items() if name is not None and name not in link
        }

    def pause(self, name: str) -> None:
        """Let what arrives at this node wait for `resume`. (Its clock has to be paused too.)"""
        self._paused.setdefault(name, [])

    def resume(self, name: str) -> None:
        for deliver in self._paused.pop(name, ()):
            deliver()

    def leader(self) -> RaftStore | None:
        """A store that leads and is connected to a majority."""
        for name, member in self.members.items():
            reachable = sum((name, other) not in self.cut for other in self.names)
            if member.store is not None and member.store.leads() and reachable * 2 > len(self.names):
                return member.store
        return None

    def followers(self) -> list[RaftStore]:
        leader = self.leader()
        return [store for store in self.stores if store is not leader]

    def send(self, source: str, target: str, lane: Lane, payload: bytes) -> bool:
        member = self.members[target]
        if member.store is None:
            return False
        self.sent += 1
        if (source, target) in self.cut or (
            self.hold is not None and self.hold(source, target, lane, payload)
        ):
            return True
        self.carry(source, target, lane, payload)
        return True

    def carry(self, source: str, target: str, lane: Lane, payload: bytes) -> None:
        """Let a message travel."""
        loop, incarnation = asyncio.get_running_loop(), self.members[target].incarnation
        latency_s = self.latency_s() + self.lag_s.get((source, target), 0.0)
        if latency_s == 0.0:
            loop.call_soon(self._deliver, source, target, incarnation, lane, payload)
            return
        arrival = max(loop.time() + latency_s, self._arrival.get((source, target), 0.0) + 1e-6)
        self._arrival[(source, target)] = arrival
        loop.call_at(arrival, self._deliver, source, target, incarnation, lane, payload)

    def _deliver(self, source: str, target: str, incarnation: int, lane: Lane, payload: bytes) -> None:
        member = self.members[target]
        if member.store is None or member.incarnation != incarnation:
            return
        if target in self._paused:
            self._paused[target].append(lambda: self._deliver(source, target, incarnation, lane, payload))
        else:
            member.store.receive(source, lane, payload)


class _Wire:
    """One store's `Transport`."""

    def __init__(self, cluster: RaftCluster, name: str) -> None:
        self._cluster = cluster
        self._name = name

    def send(self, peer: str, lane: Lane, payload: bytes) -> bool:
        return self._cluster.send(self._name, peer, lane, payload)
