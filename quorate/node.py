"""The node that programs use: processes, links, the store, names and singletons, put together.

    async with quorate.Node("a@127.0.0.1:9101", cookie="s3cret") as node:
        ref = await node.start(Counter)
        claim = await node.registry.register("billing/counter", ref)

It owns nothing but the order of things: what starts after what, and what must have ended before what. On the way up:
data directory, links, store, registry, singletons, applications. On the way down applications, singletons and processes
end before the session is given up, so that nobody acts when the next owner begins; the data directory is released last.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from quorate.consensus import (
    SNAPSHOT_AFTER_BYTES,
    DataDir,
    Lane,
    MemoryStore,
    RaftStore,
    RaftStoreConfig,
    Store,
    Timing,
    open_data_dir,
)
from quorate.core import (
    Application,
    ApplicationFailed,
    Channel,
    ConfigError,
    LinkConfig,
    Links,
    NodeLost,
    NodeName,
    Peer,
    ProcessConfig,
    Ref,
    Runtime,
    canonical,
)
from quorate.core import Node as ProcessNode
from quorate.core.real import RealDisk, real_runtime
from quorate.hashing import hash64
from quorate.registry import (
    DrainReport,
    Name,
    Registry,
    Singleton,
    Singletons,
    SingletonStatus,
)

from . import inspection
from .presets import Preset, times_of

log = logging.getLogger("quorate.node")

S = TypeVar("S", bound=Singleton[Any])
T = TypeVar("T")


class Node(ProcessNode):
    """One node of a cluster.

    `name` is `app@host:port`: where the node listens, and what it is called everywhere. `cookie` is the secret that all
    nodes of the cluster share. `voters` are the names of the nodes that keep the store, this one among them, the
    same list on each (3 or 5 of them); without any the node is a cluster of its own and keeps its store in memory.
    `data_dir` is where a voter keeps its log; it belongs to this node alone. `seeds` are nodes to dial at first, voters
    are dialled anyway. `exports` are the classes (and message types) that other nodes may start here; a singleton is
    placed only on nodes that export its class. `applications` start in this order when everything else of the node has,
    and stop in reverse before it. `weight` is this node's share of the singletons, 0 for none.
    `preset` says how fast failures are noticed (`timing` and `links` override it in part). `processes` says how
    processes are run, and how many messages may wait for one. `snapshot_after_bytes` of log
    (default 16 MiB) a voter writes before it makes a snapshot and drops what is before it. `runtime` is the
    outside world, for tests; the real one by default.

    Raises `ConfigError` at once for arguments that make no sense. Entering it raises `LinkError` (the port is in use),
    `DataDirError` (in use, another node's, corrupt, of a newer version), `ApplicationFailed`.
    """

    def __init__(
        self,
        name: str,
        *,
        cookie: str | bytes,
        voters: Sequence[str] = (),
        data_dir: str | Path | None = None,
        seeds: Sequence[str] = (),
        exports: Sequence[Any] = (),
        applications: Sequence[Application] = (),
        weight: float = 1.0,
        preset: Preset | str = Preset.LAN,
        timing: Timing | None = None,
        links: LinkConfig | None = None,
        processes: ProcessConfig | None = None,
        snapshot_after_bytes: int = SNAPSHOT_AFTER_BYTES,
        runtime: Runtime | None = None,
    ) -> None:
        if snapshot_after_bytes < 1:
            raise ConfigError(f"snapshot_after_bytes must be 1 or more, not {snapshot_after_bytes}")
        self._snapshot_after_bytes = snapshot_after_bytes
        self._voters = _checked_voters(name, voters)
        if len(self._voters) > 1 and data_dir is None and (runtime is None or runtime.disk is None):
            raise ConfigError(
                f"{name} is a voter and keeps its part of the log on disk: give it a data directory of its own"
            )
        try:
            times = times_of(Preset(preset))
        except ValueError:
            raise ConfigError(f"there is no preset {preset!r}: use local, lan or wan") from None
        self._own_disk: RealDisk | None = None
        if runtime is None:
            runtime = real_runtime(data_dir)
            self._own_disk = runtime.disk if isinstance(runtime.disk, RealDisk) else None
        super().__init__(name, runtime=runtime, creation=1, config=processes)
        self._same_voters = f"voters:{hash64(tuple(sorted(self._voters))):016x}"
        self._cookie = cookie.encode() if isinstance(cookie, str) else cookie
        self._seeds = tuple(seeds)
        self._timing = timing or times.timing
        self._link_config = links or times.links
        self._weight = weight
        self._to_start = tuple(applications)
        for thing in exports:
            self.export(thing)
        self._data_dir: DataDir | None = None
        self._store: MemoryStore | RaftStore | None = None
        self._registry: Registry | None = None
        self._singletons: Singletons | None = None
        self._layer: Links | None = None
        self._fellow_voters: dict[str, Peer] = {}  # linked nodes that count the same voters
        self._failed: Exception | None = None
        self._failure: asyncio.Event | None = None
        self._make_operations()

    # -- the parts -----------------------------------------------------------------------------------------

    @property
    def store(self) -> Store:
        """The coordination store. Raises `RuntimeError` before the node is entered."""
        store: Store | None = self._store
        return self._part(store)

    @property
    def registry(self) -> Registry:
        """Names: `register`, `unregister`, `whereis`, `peek`, `names`."""
        return self._part(self._registry)

    @property
    def singletons(self) -> Singletons:
        """Singletons: `get`, `move`, `status`."""
        return self._part(self._singletons)

    async def singleton(self, name: Name[S], *, timeout_s: float | None = None) -> Ref[S]:
        """Start a singleton where the ring says, or find it. The ref follows it wherever it moves.

        Raises `NoQuorum`, `OutcomeUnknown`, `NotASingleton`, `SingletonConflict`.
        """
        return await self.singletons.get(name, timeout_s=timeout_s)

    # -- life ----------------------------------------------------------------------------------------------

    async def open(self) -> None:
        self._failure = asyncio.Event()
        try:
            await self._open()
        except BaseException:
            await self._shut()
            raise

    async def close(self) -> None:
        """End everything on this node, give its names and singletons up, and leave. Use `drain` first to hand over."""
        await self._shut()

    async def drain(self, deadline_s: float = 30.0) -> DrainReport:
        """Hand everything over to the other nodes: no more is placed here, leadership goes, singletons move.

        What could not be handed over in time is in the report; it is parked on this node's disk, and offered to its
        next owner when this node is back. The node goes on until `close`.
        """
        if isinstance(self._store, RaftStore):
            await self._store.transfer_leadership()
        return await self.singletons.drain(deadline_s)

    async def failed(self) -> Exception:
        """Wait until this node can go on no longer; says why. Close it then.

        Its disk has failed, or an application has ended without which it is no use (`ApplicationFailed`).
        """
        assert self._failure is not None, "the node is not open"
        await self._failure.wait()
        assert self._failed is not None
        return self._failed

    async def _open(self) -> None:
        runtime = self.runtime
        if self._voters and runtime.disk is not None:
            self._data_dir = await open_data_dir(
                runtime.disk,
                self.name,
                token=runtime.entropy.token,
                cluster=", ".join(sorted(self._voters)),
            )
            self.creation = self._data_dir.creation
        else:
            self.creation = max(1, int(runtime.clock.wall() * 1000))
        self._layer = Links(
            runtime,
            name=self.name,
            creation=self.creation,
            cookie=self._cookie,
            listener=self,
            seeds=self._seeds,
            config=self._link_config,
            features=frozenset({self._same_voters}),
        )
        self.attach(self._layer)
        await super().open()
        self._store = await self._open_store()
        self._registry = Registry(self, self._store)
        self._singletons = Singletons(
            self, self._store, disk=runtime.disk if self._data_dir is not None else None, weight=self._weight
        )
        await self._singletons.start()
        for voter in self._voters:
            if voter != self.name:
                self._layer.connect(voter)
        for application in self._to_start:
            await self.start_application(application)

    async def _open_store(self) -> MemoryStore | RaftStore:
        runtime = self.runtime
        if self._data_dir is None:
            return MemoryStore(
                runtime.clock, runtime.entropy, self.name, self._timing, creation=self.creation
            )
        store = await RaftStore.open(
            name=self.name,
            data_dir=self._data_dir,
            clock=runtime.clock,
            entropy=runtime.entropy,
            transport=_Wire(self),
            config=RaftStoreConfig(frozenset(self._voters), self._timing, self._snapshot_after_bytes),
        )
        for lane in Lane:
            self.on_channel(Channel(lane), partial(self._receive, store, lane))
        self.on_nodes(lambda event: store.peer_down(event.node) if isinstance(event, NodeLost) else None)
        store.subscribe_failure(self._has_failed)
        return store

    def _receive(self, store: RaftStore, lane: Lane, peer: str, payload: bytes) -> None:
        """A message of another store: only of one that counts the same voters, else two majorities need not meet."""
        if peer in self._fellow_voters:
            store.receive(peer, lane, payload)

    def link_up(self, peer: Peer) -> None:
        if self._same_voters in peer.features:
            self._fellow_voters[peer.name] = peer
        elif self._voters:
            log.error(
                "%s was started with other voters than %s (%s): they keep no store together. Start all nodes with "
                "the same --voters",
                peer.name,
                self.name,
                ", ".join(self._voters),
            )
        super().link_up(peer)

    def link_down(self, peer: Peer, reason: str) -> None:
        if self._fellow_voters.get(peer.name) == peer:
            del self._fellow_voters[peer.name]
        super().link_down(peer, reason)

    def application_failed(self, error: ApplicationFailed) -> None:
        self._has_failed(error)

    def _has_failed(self, error: Exception) -> None:
        if self._failed is None:  # the first cause
            self._failed = error
        if self._failure is not None:
            self._failure.set()

    async def _shut(self) -> None:
        await self.stop_applications()
        if self._singletons is not None:
            await self._singletons.stop()
        if self._kernel is not None:
            await self._kernel.stop()
        if self._registry is not None:
            await self._registry.close()
        if self._store is not None:
            await self._store.close()
        if self._layer is not None:
            await self._layer.stop()
        if self._data_dir is not None:
            self._data_dir.close()
            self._data_dir = None
        if self._own_disk is not None:
            self._own_disk.close()

    def _part(self, part: T | None) -> T:
        if part is None:
            raise RuntimeError(f"node {self.name} is not open: use `async with node:`")
        return part

    # -- what a command-line client may ask ----------------------------------------------------------------

    def _make_operations(self) -> None:
        self.add_admin("status", self._op_status)
        self.add_admin("names", self._op_names)
        self.add_admin("whereis", self._op_whereis)
        self.add_admin("move", self._op_move)
        self.add_admin("processes", self._op_processes)
        self.add_admin("process", self._op_process)

    async def _op_status(self, _: Any) -> object:
        return self.status()

    def status(self) -> dict[str, Any]:
        """The node, its store and its singletons as plain values: what `quorate status` shows."""
        store = self._store.status() if self._store is not None else None
        return {
            "name": self.name,
            "creation": self.creation,
            "nodes": self.nodes(),
            "processes": len(self.processes()),
            "store": asdict(store) | {"voters": list(store.voters)} if store is not None else None,
            "session_valid_for_s": self._store.session.valid_for_s() if self._store is not None else 0.0,
            "singletons": [_shown(one) for one in self._singletons.status()] if self._singletons else [],
        }

    async def _op_names(self, prefix: Any) -> object:
        entries = await self.registry.names(str(prefix or ""))
        return [
            {"name": _plain(entry.name), "pid": str(entry.pid), "node": entry.pid.node, "fence": entry.fence}
            for entry in entries
        ]

    async def _op_whereis(self, name: Any) -> object:
        entry = await self.registry.lookup(name)
        if entry is not None:
            return {"name": _plain(name), "pid": str(entry.pid), "node": entry.pid.node, "fence": entry.fence}
        key = canonical(name)
        found = [one for one in self.singletons.status() if canonical(one.name) == key]
        return _shown(found[0]) if found else None

    async def _op_processes(self, limit: Any) -> object:
        return await inspection.busiest(self, int(limit))

    async def _op_process(self, args: Any) -> object:
        text, state = args
        return inspection.one(self, str(text), state=bool(state))

    async def _op_move(self, args: Any) -> object:
        name, node = args
        await self.singletons.move(name, node)
        return None


class _Wire:
    """The node's links as a store's `Transport`."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def send(self, peer: str, lane: Lane, payload: bytes) -> bool:
        return self._node.send_channel(peer, Channel(lane), payload)


def _checked_voters(name: str, voters: Sequence[str]) -> tuple[str, ...]:
    """Raises `ConfigError`."""
    for voter in voters:
        NodeName.parse(voter)
    if len(set(voters)) != len(voters):
        raise ConfigError(f"a voter is named twice: {', '.join(voters)}")
    if voters and name not in voters:
        raise ConfigError(
            f"{name} is not among the voters {', '.join(voters)}: in this version every node is a voter, and all "
            "of them are started with the same list"
        )
    return tuple(voters)


def _shown(singleton: SingletonStatus) -> dict[str, Any]:
    return asdict(singleton) | {"name": _plain(singleton.name)}


def _plain(name: object) -> object:
    return name if isinstance(name, str | int | bytes) else repr(name)
