"""Three nodes over one store in memory, with links in memory between them, on one clock that the test moves."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

from quorate.consensus import MemoryBackend, MemoryStore, Timing
from quorate.core import Address, Busy, Channel, DirectoryLock, Disk, Exports, Node, Peer, Runtime
from quorate.registry import Parked, Singleton, Singletons
from quorate.registry.host import HostConfig
from quorate.registry.keys import encode_name
from quorate.registry.records import decode_own
from tests.support import ManualClock, SeededEntropy, turns

TIMING = Timing.lan()


class Wire:
    """Links between nodes of one loop: each frame arrives a turn later, in order; a cut loses what is under way."""

    def __init__(self) -> None:
        self.ends: dict[str, WireEnd] = {}
        self._incarnations = 0

    def end(self, node: Node) -> "WireEnd":
        return WireEnd(self, node)

    def peer(self, node: Node) -> Peer:
        self._incarnations += 1
        host, _, port = node.name.partition("@")[2].partition(":")
        return Peer(node.name, node.creation, self._incarnations, frozenset(), Address(host, int(port)))

    def join(self, a: str, b: str) -> None:
        if a in self.ends and b in self.ends and b not in self.ends[a].peers:
            first, second = self.ends[a], self.ends[b]
            first.peers[b], second.peers[a] = self.peer(second.node), self.peer(first.node)
            first.node.link_up(first.peers[b])
            second.node.link_up(second.peers[a])

    def cut(self, a: str, b: str, reason: str = "cut") -> None:
        for here, there in ((a, b), (b, a)):
            end = self.ends.get(here)
            peer = end.peers.pop(there, None) if end is not None else None
            if end is not None and peer is not None:
                end.inbox = deque(item for item in end.inbox if item[0].name != there)
                end.node.link_down(peer, reason)

    def cut_off(self, name: str) -> None:
        for other in list(self.ends):
            if other != name:
                self.cut(name, other)

    def join_all(self) -> None:
        for a in list(self.ends):
            for b in list(self.ends):
                if a < b:
                    self.join(a, b)


class WireEnd:
    """The link layer of one node (see `LinkLayer`)."""

    def __init__(self, wire: Wire, node: Node) -> None:
        self.wire = wire
        self.node = node
        self.peers: dict[str, Peer] = {}
        self.inbox: deque[tuple[Peer, Channel, bytes]] = deque()
        self.frozen = False
        self.room = asyncio.Event()  # cleared: the lanes are full
        self.room.set()

    async def start(self) -> None:
        self.wire.ends[self.node.name] = self

    async def stop(self) -> None:
        self.wire.cut_off(self.node.name)
        self.wire.ends.pop(self.node.name, None)

    def send(self, peer: str, channel: Channel, payload: bytes) -> bool:
        if peer not in self.peers:
            return False
        if not self.room.is_set():
            raise Busy("full")
        there = self.wire.ends[peer]
        there.inbox.append((there.peers[self.node.name], channel, payload))
        asyncio.get_running_loop().call_soon(there.deliver)
        return True

    def deliver(self) -> None:
        if self.inbox and not self.frozen:
            peer, channel, payload = self.inbox.popleft()
            self.node.received(peer, channel, payload)

    def thaw(self) -> None:
        self.frozen = False
        for _ in list(self.inbox):
            asyncio.get_running_loop().call_soon(self.deliver)

    async def drained(self, peer: str) -> None:
        await self.room.wait()

    def connect(self, peer_name: str) -> None:
        return

    def evict(self, name: str, reason: str) -> None:
        self.wire.cut(self.node.name, name, reason)

    def connected(self) -> Mapping[str, Peer]:
        return self.peers


class Cluster:
    """Nodes a, b, c ... with a store each over one backend. Use `async with Cluster() as cluster`."""

    def __init__(self, names: str = "abc", *, exports: Exports | None = None) -> None:
        self.names = names
        self.clock = ManualClock()
        self.entropy = SeededEntropy()
        self.backend = MemoryBackend(TIMING, self.entropy)
        self.exports = exports if exports is not None else Exports()
        self.wire = Wire()
        self.nodes: dict[str, Node] = {}
        self.stores: dict[str, MemoryStore] = {}
        self.creations: dict[str, int] = {}
        self.dead: list[Node] = []

    @staticmethod
    def full(letter: str) -> str:
        return f"{letter}@127.0.0.1:{9100 + ord(letter)}"

    async def open(self, letter: str) -> Node:
        """Start the node (again)."""
        name = self.full(letter)
        creation = self.creations[letter] = self.creations.get(letter, 0) + 1
        runtime = Runtime(network=None, clock=self.clock, entropy=self.entropy)  # type: ignore[arg-type]  # no sockets
        node = Node(name, runtime=runtime, creation=creation, exports=self.exports)
        node.attach(self.wire.end(node))
        await node.open()
        self.nodes[letter] = node
        self.stores[letter] = self.backend.connect(name, creation, self.clock)
        self.wire.join_all()
        return node

    def kill(self, letter: str) -> None:
        """As SIGKILL: links reset, the session lasts until it expires. (Its processes are simply forgotten.)"""
        self.stores[letter].crash()
        self.wire.cut_off(self.full(letter))
        self.wire.ends.pop(self.full(letter), None)

    def cut_off(self, letter: str) -> None:
        """No store and no links for this node."""
        self.stores[letter].disconnect()
        self.wire.cut_off(self.full(letter))

    def heal(self, letter: str) -> None:
        self.stores[letter].connect_again()
        self.wire.join_all()

    async def __aenter__(self) -> Self:
        for letter in self.names:
            await self.open(letter)
        await turns()
        return self

    async def __aexit__(self, *exc: object) -> None:
        for node in [*self.nodes.values(), *self.dead]:
            await node.close()
        for store in self.stores.values():
            await store.close()


class Singles(Cluster):
    """A cluster with singletons on each node. `here` and `there` of the tests are letters."""

    def __init__(
        self, names: str = "abc", *, disks: Mapping[str, Disk] | None = None, config: HostConfig | None = None
    ) -> None:
        super().__init__(names)
        self.singletons: dict[str, Singletons] = {}
        self.disks = disks or {}
        self.config = config

    async def open(self, letter: str) -> Node:
        node = await super().open(letter)
        self.singletons[letter] = Singletons(
            node, self.stores[letter], disk=self.disks.get(letter), config=self.config
        )
        node.exports.export(Ledger)
        await self.singletons[letter].start()
        return node

    def kill(self, letter: str) -> None:
        super().kill(letter)
        self.singletons.pop(letter)
        self.dead.append(self.nodes.pop(letter))

    async def __aexit__(self, *exc: object) -> None:
        for singletons in self.singletons.values():
            closing = asyncio.ensure_future(singletons.stop())
            while not closing.done():
                await self.clock.pass_time(1.0)
            await closing
        await super().__aexit__(*exc)

    def __getitem__(self, letter: str) -> Singletons:
        return self.singletons[letter]

    def owner(self, key: object) -> str:
        """The letter of the node that owns it, in truth."""
        item = self.backend.machine.get(b"so/" + encode_name(key))
        assert item is not None, f"nobody owns {key!r}"
        return decode_own(next(iter(self.nodes.values())).kernel.codec, item).node[0]

    def fence(self, key: object) -> int:
        item = self.backend.machine.get(b"so/" + encode_name(key))
        return item.mod_revision if item is not None else 0

    async def until(self, condition: Callable[[], bool], limit_s: float = 30.0, step_s: float = 0.1) -> None:
        """Let time pass until something holds."""
        passed = 0.0
        await turns(60)
        while not condition():
            assert passed < limit_s, "it did not come to hold"
            await self.clock.pass_time(step_s)
            passed += step_s

    async def runs_on(self, key: object, letter: str) -> None:
        def runs() -> bool:
            states = {state.name: state for state in self[letter].status()}
            return key in states and states[key].phase == "running" and self.owner_or_none(key) == letter

        await self.until(runs)
        await turns(40)

    def owner_or_none(self, key: object) -> str | None:
        return self.owner(key) if self.fence(key) else None


class Ledger(Singleton[int]):
    """Counts; what it did is recorded in `LOG` as (name, fence, what)."""

    log: ClassVar[list[tuple[object, int, Any]]] = []

    def __init__(self) -> None:
        self.n = 0

    def take_over(self, state: int | None) -> None:
        self.n = state or 0
        self.log.append((self.name, self.fence, ("take_over", state)))

    def hand_over(self) -> int:
        self.log.append((self.name, self.fence, ("hand_over", self.n)))
        return self.n

    def add(self, by: int, tag: object = None) -> int:
        self.n += by
        self.log.append((self.name, self.fence, ("add", by, tag)))
        return self.n

    async def save(self) -> int:
        await self.checkpoint(self.n)
        return self.n

    def crash(self) -> None:
        raise ValueError("as asked")

    def where(self) -> tuple[str, int]:
        return self.pid.node[0], self.fence

    async def wait(self, event: asyncio.Event) -> str:
        await event.wait()
        self.log.append((self.name, self.fence, "resumed"))
        return "done"

    def handle_info(self, message: Any) -> None:
        self.log.append((self.name, self.fence, message))

    def reconcile(self, parked: Parked[int]) -> None:
        self.n += parked.state
        self.log.append((self.name, self.fence, ("reconcile", parked.state, parked.fence, parked.node[0])))


class MemoryFile:
    """See `MemoryDisk`."""

    def __init__(self, disk: "MemoryDisk", path: str) -> None:
        self.disk, self.path = disk, path

    def size(self) -> int:
        return len(self.disk.files[self.path])

    def read(self, offset: int, size_bytes: int) -> bytes:
        return bytes(self.disk.files[self.path][offset : offset + size_bytes])

    def append(self, data: bytes) -> None:
        self.disk.files[self.path] += data

    def truncate(self, size_bytes: int) -> None:
        del self.disk.files[self.path][size_bytes:]

    async def sync(self) -> None:
        await asyncio.sleep(0)
        self.disk.synced[id(self.disk.files[self.path])] = bytes(self.disk.files[self.path])

    def close(self) -> None:
        return


class MemoryDisk:
    """The `Disk` port in memory; `crash` loses what was not synced."""

    def __init__(self) -> None:
        self.files: dict[str, bytearray] = {}
        self.durable: dict[str, bytearray] = {}  # entries as of the last sync of their directory
        self.synced: dict[int, bytes] = {}

    def describe(self, path: str = "") -> str:
        return f"memory:{path}"

    def open(self, path: str, *, create: bool = False) -> MemoryFile:
        if path not in self.files:
            if not create:
                raise FileNotFoundError(path)
            self.files[path] = bytearray()
        return MemoryFile(self, path)

    def exists(self, path: str) -> bool:
        return path in self.files

    def list(self, path: str = "") -> "list[str]":
        head = f"{path}/" if path else ""
        return sorted({name[len(head) :].split("/")[0] for name in self.files if name.startswith(head)})

    def make_dir(self, path: str = "") -> None:
        return

    def rename(self, source: str, target: str) -> None:
        self.files[target] = self.files.pop(source)

    def remove(self, path: str) -> None:
        del self.files[path]

    async def sync_dir(self, path: str = "") -> None:
        await asyncio.sleep(0)
        self.durable = dict(self.files)

    def lock(self) -> DirectoryLock:
        raise NotImplementedError

    def crash(self) -> None:
        self.files = {name: bytearray(self.synced.get(id(data), b"")) for name, data in self.durable.items()}
