"""Three nodes over one store in memory, with links in memory between them, on one clock that the test moves."""

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Any, Self

from quorate.consensus import MemoryBackend, MemoryStore, Timing
from quorate.core import Exports, Node, Runtime
from quorate.core.frames import Channel
from quorate.core.link import Peer
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
        return Peer(node.name, node.creation, self._incarnations, frozenset(), _address(host, int(port)))

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


def _address(host: str, port: int) -> Any:
    from quorate.core.address import Address

    return Address(host, port)


class WireEnd:
    """The link layer of one node (see `LinkLayer`)."""

    def __init__(self, wire: Wire, node: Node) -> None:
        self.wire = wire
        self.node = node
        self.peers: dict[str, Peer] = {}
        self.inbox: deque[tuple[Peer, Channel, bytes]] = deque()
        self.frozen = False

    async def start(self) -> None:
        self.wire.ends[self.node.name] = self

    async def stop(self) -> None:
        self.wire.cut_off(self.node.name)
        self.wire.ends.pop(self.node.name, None)

    def send(self, peer: str, channel: Channel, payload: bytes) -> bool:
        if peer not in self.peers:
            return False
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
        return

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
        for node in self.nodes.values():
            await node.close()
        for store in self.stores.values():
            await store.close()
