"""Nodes for tests: one alone, or two joined in memory by links that a test can pause and cut.

Each test runs on asyncio's loop and on uvloop; time stands still unless the test moves `clock`.
"""

import asyncio
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from quorate.core import (
    Address,
    Busy,
    Channel,
    Exports,
    Network,
    Node,
    NodeName,
    Peer,
    ProcessConfig,
    Runtime,
    TooLarge,
)
from tests.support import ManualClock, SeededEntropy, turns

A, B, C = "a@127.0.0.1:9101", "b@127.0.0.1:9102", "c@127.0.0.1:9103"
LOOPS = ["asyncio"] if sys.platform == "win32" else ["asyncio", "uvloop"]
ALL_LOOPS = [*LOOPS, "simulation"]
HANGS_S = 60.0  # a test that waits for ever says where it waits


def run_on(loop: str, main: Callable[[], Awaitable[None]], *, hangs_s: float | None = HANGS_S) -> None:
    """Run `main` on a loop of that kind; whatever reaches the loop's exception handler fails the test."""
    if loop == "simulation":
        from quorate.jepsen_like.simulation import simulate

        async def whole() -> None:
            await main()

        simulate(whole)
        return
    unhandled: list[dict[str, Any]] = []
    factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    if loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop

    async def guarded() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
        async with asyncio.timeout(hangs_s):
            await main()

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(guarded())
    assert unhandled == []


@dataclass
class Wire:
    """One direction between two nodes: what is on its way."""

    frames: deque[tuple[Channel, bytes]] = field(default_factory=deque)
    paused: bool = False
    full: bool = False  # the signal lane refuses with `Busy`
    limit_bytes: int = 1_000_000  # of a frame


class World:
    """Nodes in one process. `join` them, `cut` them; `settle` lets everything that is on its way arrive."""

    def __init__(self, config: ProcessConfig | None = None) -> None:
        self.clock = ManualClock()
        self.config = config
        self.nodes: dict[str, Node] = {}
        self._links: dict[str, MemoryLinks] = {}
        self._incarnation = 0

    async def node(self, name: str = A, *, creation: int = 1, exports: Exports | None = None) -> Node:
        """A node that is open, until `close`."""
        network = cast("Network", None)  # the links here are in memory
        runtime = Runtime(network=network, clock=self.clock, entropy=SeededEntropy())
        node = Node(name, runtime=runtime, creation=creation, exports=exports, config=self.config)
        links = self._links[name] = MemoryLinks(self, node)
        node.attach(links)
        await node.open()
        self.nodes[name] = node
        return node

    def join(self, one: Node, other: Node) -> None:
        self._incarnation += 1
        for here, there in ((one, other), (other, one)):
            self._links[here.name].up(there, self._incarnation)
        for here, there in ((one, other), (other, one)):
            here.link_up(self._links[here.name].peers[there.name])

    def cut(self, one: Node, other: Node, reason: str = "cut") -> None:
        """The link is lost, with all that was on its way."""
        for here, there in ((one, other), (other, one)):
            self._links[here.name].down(there.name, reason)

    def wire(self, source: Node, target: Node) -> Wire:
        """What is on its way from one to the other."""
        return self._links[source.name].wires[target.name]

    def deliver(self, source: Node, target: Node, count: int) -> None:
        """Let so many frames through a paused wire."""
        wire = self.wire(source, target)
        for _ in range(count):
            wire.paused = False
            self._links[source.name]._deliver(target.name, wire)
            wire.paused = True

    def resume(self, source: Node, target: Node) -> None:
        self.wire(source, target).paused = False
        self._links[source.name].flush(target.name)

    async def settle(self) -> None:
        await turns(60)

    async def close(self) -> None:
        for node in self.nodes.values():
            await node.close()


class MemoryLinks:
    """The link layer of one node: see `LinkLayer`."""

    def __init__(self, world: World, node: Node) -> None:
        self.world = world
        self.node = node
        self.peers: dict[str, Peer] = {}
        self.wires: dict[str, Wire] = {}
        self.wanted: list[str] = []
        self.evicted: list[str] = []

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        for name in list(self.peers):
            self.world.cut(self.node, self.world.nodes[name], "stopped")

    def up(self, other: Node, incarnation: int) -> None:
        address: Address = NodeName.parse(other.name).address
        self.peers[other.name] = Peer(other.name, other.creation, incarnation, frozenset(), address)
        self.wires[other.name] = Wire()

    def down(self, name: str, reason: str) -> None:
        peer = self.peers.pop(name, None)
        if peer is not None:
            del self.wires[name]
            self.node.link_down(peer, reason)

    def send(self, peer: str, channel: Channel, payload: bytes) -> bool:
        wire = self.wires.get(peer)
        if wire is None:
            return False
        if wire.full and channel == Channel.SIGNALS:
            raise Busy("full")
        if len(payload) > wire.limit_bytes:
            raise TooLarge("a frame over the limit")
        wire.frames.append((channel, bytes(payload)))
        asyncio.get_running_loop().call_soon(self._deliver, peer, wire)
        return True

    def flush(self, peer: str) -> None:
        wire = self.wires[peer]
        for _ in range(len(wire.frames)):
            self._deliver(peer, wire)

    def _deliver(self, peer: str, wire: Wire) -> None:
        if self.wires.get(peer) is not wire or wire.paused or not wire.frames:
            return
        channel, payload = wire.frames.popleft()
        other = self.world.nodes[peer]
        known = self.world._links[peer].peers[self.node.name]
        other.received(known, channel, payload)

    async def drained(self, peer: str) -> None:
        wire = self.wires.get(peer)
        while wire is not None and wire.full and self.wires.get(peer) is wire:
            await turns(1)

    def connect(self, peer_name: str) -> None:
        self.wanted.append(peer_name)

    def evict(self, name: str, reason: str) -> None:
        self.evicted.append(reason)
        self.world.cut(self.node, self.world.nodes[name], reason)

    def connected(self) -> Mapping[str, Peer]:
        return dict(self.peers)
