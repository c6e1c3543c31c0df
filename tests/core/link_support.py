"""What the tests of links share: nodes that are nothing but links, on real loopback sockets."""

import asyncio
import contextlib
import itertools
import random
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, TypeVar, cast

import pytest
import uvloop

from quorate.core import Clock, Network, Runtime
from quorate.core.frames import Channel, FrameParser, Lane
from quorate.core.handshake import Acceptor, Dialer, Failed, Hello, Identified, Role, State
from quorate.core.ident import Ident
from quorate.core.link import Peer
from quorate.core.link_config import LinkConfig
from quorate.core.links import Links
from quorate.core.real import RealClock, RealEntropy, RealNetwork
from tests.support import ManualClock

T = TypeVar("T")
COOKIE = b"the cookie of the tests"
PATIENCE_S = 10.0  # how long a test waits for what must happen before it fails

both_loops = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


def run_on(loop: str, main: Coroutine[Any, Any, T]) -> T:
    """Run on this kind of loop; whatever reaches its exception handler fails the test."""
    unhandled: list[dict[str, Any]] = []

    async def guarded() -> T:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
        before = asyncio.all_tasks()
        async with asyncio.timeout(4 * PATIENCE_S):
            result = await main
        left = {task.get_name() for task in asyncio.all_tasks() - before}
        assert not left, f"tasks are left: {left}"
        return result

    factory = uvloop.new_event_loop if loop == "uvloop" else None
    with asyncio.Runner(loop_factory=factory) as runner:
        result = runner.run(guarded())
    assert not unhandled, unhandled
    return result


_PORTS = range(20000, 32000)  # the kernel gives none of these to outgoing connections
_ports = itertools.islice(itertools.cycle(_PORTS), random.randrange(len(_PORTS)), None)


def free_port() -> int:
    """A port that nobody uses, and that was not given out by this for long."""
    for port in _ports:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("the cycle of ports has no end")


class Recorder:
    """A listener that writes down what it is told; `until` waits for a condition on that."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.received_by: dict[tuple[str, Channel], list[bytes]] = {}
        self.on_received: Callable[[Peer, Channel, bytes], None] | None = None
        self.on_up: Callable[[Peer], None] | None = None
        self.on_admin: Callable[[str, object], Coroutine[Any, Any, object]] | None = None
        self._changed = asyncio.Event()

    def link_up(self, peer: Peer) -> None:
        self.events.append(("up", peer.name, peer.creation, peer.incarnation))
        self._changed.set()
        if self.on_up is not None:
            self.on_up(peer)

    def link_down(self, peer: Peer, reason: str) -> None:
        self.events.append(("down", peer.name, peer.creation, peer.incarnation, reason))
        self._changed.set()

    def received(self, peer: Peer, channel: Channel, payload: bytes | memoryview) -> None:
        self.received_by.setdefault((peer.name, channel), []).append(bytes(payload))
        self._changed.set()
        if self.on_received is not None:
            self.on_received(peer, channel, bytes(payload))

    async def admin(self, op: str, args: object) -> object:
        if self.on_admin is not None:
            return await self.on_admin(op, args)
        return [op, args]

    def ups(self, name: str) -> list[tuple[Any, ...]]:
        return [event for event in self.events if event[0] == "up" and event[1] == name]

    def downs(self, name: str) -> list[tuple[Any, ...]]:
        return [event for event in self.events if event[0] == "down" and event[1] == name]

    async def until_received(self, peer: str, channel: Channel, count: int) -> None:
        await self.until(lambda: len(self.received_by.get((peer, channel), ())) >= count)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return when the condition holds; it is looked at whenever something was told, and now and then."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self._changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.01):
                        await self._changed.wait()


class Knot:
    """A node that is nothing but its links."""

    def __init__(
        self,
        name: str,
        *,
        creation: int = 1,
        cookie: bytes = COOKIE,
        seeds: Sequence[str] = (),
        config: LinkConfig | None = None,
        network: Network | None = None,
        clock: Clock | None = None,
        **more: Any,
    ) -> None:
        self.name = name
        self.recorder = Recorder()
        self.clock = clock or RealClock()
        self.runtime = Runtime(network=network or RealNetwork(), clock=self.clock, entropy=RealEntropy())
        self.links = Links(
            self.runtime,
            name=name,
            creation=creation,
            cookie=cookie,
            listener=self.recorder,
            seeds=seeds,
            config=config or LinkConfig.local(),
            **more,
        )

    async def until_linked(self, *names: str) -> None:
        await self.recorder.until(lambda: set(names) <= set(self.links.connected()))

    async def until_alone(self) -> None:
        await self.recorder.until(lambda: not self.links.connected())

    def refused(self, reason: str) -> int:
        return self.links.counters.refused.get(reason, 0)

    def problem_with(self, name: str) -> Exception | None:
        return self.links.problems().get(name.partition("@")[2])


def names_of(letters: str) -> list[str]:
    return [f"{letter}@127.0.0.1:{free_port()}" for letter in letters]


@contextlib.asynccontextmanager
async def running(*knots: Knot) -> AsyncIterator[None]:
    """Start these nodes; stop them at the end, whatever happened."""
    started: list[Knot] = []
    try:
        for knot in knots:
            await knot.links.start()
            started.append(knot)
        yield
    finally:
        for knot in started:
            await stopped(knot)


async def stopped(knot: Knot) -> None:
    """Stop it; the time that a farewell to a deaf peer takes passes on a manual clock too."""
    stop = asyncio.get_running_loop().create_task(knot.links.stop())
    async with asyncio.timeout(PATIENCE_S):
        while not stop.done():
            if isinstance(knot.clock, ManualClock):
                knot.clock.advance(0.1)
            await asyncio.wait([stop], timeout=0.01)
    stop.result()


def told_in_order(recorder: Recorder) -> None:
    """Of each peer: up and down take turns, and a down belongs to the up before it."""
    up: dict[str, int] = {}
    for kind, name, _, incarnation, *_ in recorder.events:
        if kind == "up":
            assert name not in up, recorder.events
            up[name] = incarnation
        else:
            assert up.pop(name) == incarnation, recorder.events


class RawPeer(asyncio.Protocol):
    """The other end of a connection, by hand: keeps the bytes, knows when it is over."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.over = asyncio.Event()
        self.made = asyncio.Event()
        self.arrived = asyncio.Event()
        self._transport: asyncio.Transport | None = None

    @property
    def transport(self) -> asyncio.Transport:
        assert self._transport is not None, "there is no connection yet"
        return self._transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it
        self.made.set()

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.arrived.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.over.set()
        self.arrived.set()

    def write(self, data: bytes) -> None:
        self.transport.write(data)

    async def until(self, size: int) -> bytes:
        """Return when this many bytes have come."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.data) < size:
                self.arrived.clear()
                await self.arrived.wait()
        return bytes(self.data)

    async def until_over(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await self.over.wait()

    async def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
            await self.until_over()


async def raw_dial(name: str) -> RawPeer:
    """Connect to a node by hand."""
    host, _, port = name.partition("@")[2].rpartition(":")
    _, peer = await asyncio.get_running_loop().create_connection(RawPeer, host, int(port))
    return peer


@contextlib.asynccontextmanager
async def raw_server(name: str) -> AsyncIterator[list[RawPeer]]:
    """Listen by hand where a node of this name would; yields the connections that were accepted."""
    accepted: list[RawPeer] = []

    class Accepted(RawPeer):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            accepted.append(self)

    host, _, port = name.partition("@")[2].rpartition(":")
    server = await asyncio.get_running_loop().create_server(Accepted, host, int(port))
    try:
        yield accepted
    finally:
        server.close()
        for peer in accepted:
            await peer.close()
        for _ in range(3):
            await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    """Turn the loop until the condition holds; the kernel needs a moment to carry bytes over loopback."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 -- what is waited for is the kernel's doing
            await asyncio.sleep(0.001)


class Refused(Exception):
    """A node turned a connection away that was made by hand."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.detail)
        self.failed = failed


async def raw_lane(
    to: str,
    ident: Ident,
    lane: Lane = Lane.CONTROL,
    *,
    cookie: bytes = COOKIE,
    role: Role = Role.NODE,
) -> RawPeer:
    """Dial one lane by hand and go through the handshake. Raises `Refused`."""
    peer = await raw_dial(to)
    machine = Dialer(hello=Hello(role, lane, RealEntropy().token(32)), cookie=cookie, deadline=0.0)
    async with asyncio.timeout(PATIENCE_S):
        while machine.state is not State.OPEN:
            peer.write(machine.bytes_to_send())
            peer.arrived.clear()
            while not peer.data and not peer.over.is_set():
                await peer.arrived.wait()
            data = bytes(peer.data)
            peer.data.clear()
            for event in machine.receive(data) if data else machine.eof():
                if isinstance(event, Identified):
                    machine.identify(ident)
                elif isinstance(event, Failed):
                    await peer.close()
                    raise Refused(event)
                else:
                    peer.data += event.rest
    return peer


async def raw_accept(peer: RawPeer, ident: Ident) -> Ident:
    """Go through the handshake of a connection that was accepted by hand; return who dialled.

    Raises `ConnectionError` when the dialer hangs up.
    """
    machine = Acceptor(nonce=RealEntropy().token(32), ident=ident, cookie=COOKIE, deadline=0.0)
    theirs: Ident | None = None
    async with asyncio.timeout(PATIENCE_S):
        while theirs is None:
            peer.arrived.clear()
            while not peer.data:
                if peer.over.is_set():
                    raise ConnectionError("the dialer hung up")
                await peer.arrived.wait()
            data = bytes(peer.data)
            peer.data.clear()
            for event in machine.receive(data):
                assert isinstance(event, Identified), event
                theirs = event.ident
                machine.accept()
            peer.write(machine.bytes_to_send())
    return theirs


class RawLink:
    """Both lanes of a link, spoken by hand: a peer that does only what the test makes it do."""

    def __init__(self, control: RawPeer, signals: RawPeer) -> None:
        self.control, self.signals = control, signals

    def frames(self, lane: RawPeer) -> list[tuple[int, bytes]]:
        """What has come on this lane so far."""
        return FrameParser(2**30).feed(bytes(lane.data))

    async def close(self) -> None:
        await self.control.close()
        await self.signals.close()


def raw_ident(name: str, creation: int = 1, **more: Any) -> Ident:
    fields = {"run": RealEntropy().token(16), "token": RealEntropy().token(16), "attempt": 1}
    limits = {"control_limit_bytes": 2**20, "signal_limit_bytes": 2**30}
    return Ident(name, creation, **{**fields, **limits, **more})


async def raw_link(to: str, ident: Ident) -> RawLink:
    """Make a link by hand. Raises `Refused`."""
    control = await raw_lane(to, ident, Lane.CONTROL)
    try:
        return RawLink(control, await raw_lane(to, ident, Lane.SIGNALS))
    except Refused:
        await control.close()
        raise
