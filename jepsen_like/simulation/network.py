"""The simulated network: hosts, the links between them, and who listens where.

    network = SimNetwork(loop, stream, trace)
    host = network.add_host("n1")
    port = HostNetwork(network, host, group)        # the `Network` port of one boot of one node

It is the authority over hosts and links (`links.py`); connections are in `stream.py`. Faults change links and hosts:
cut, hold, latency, bandwidth, reset, half-open, slow reader, deaf server. What must never happen here: anything crosses a
blocked link, or depends on anything but the calls made and the stream's draws.
"""

import asyncio
import errno
import ssl
from collections.abc import Callable
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Any, Self

from quorate.core import Server

from .errors import NotSimulated
from .links import CONNECT_RETRY_S, LinkState, retry_at
from .loop import Group, SimLoop, current_group
from .stream import End
from .tape import Stream
from .trace import Trace

FIRST_PORT = 32768  # of the client's side


@dataclass(slots=True, eq=False)
class Host:
    """A machine. `up` means powered; counters are evidence."""

    name: str
    number: int
    up: bool = True
    read_bytes_s: float | None = None
    read_free_at: float = 0.0
    slow_bytes: int = 0
    deaf_accepts: int = 0
    listeners: dict[int, "Listener"] = field(default_factory=dict)
    ends: dict[End, None] = field(default_factory=dict)  # in the order in which they were made
    waiting: list[Callable[[], None]] = field(default_factory=list)  # told when it is up again
    next_port: int = FIRST_PORT
    _deaf: bool = False
    _unheard: list[Callable[[], None]] = field(default_factory=list)

    @property
    def deaf(self) -> bool:
        """Connections are accepted by its kernel, and its process does not learn of them until this ends."""
        return self._deaf

    @deaf.setter
    def deaf(self, value: bool) -> None:
        self._deaf = value
        if not value:
            unheard, self._unheard = self._unheard, []
            for accept in unheard:
                accept()

    def heard(self, accept: Callable[[], None]) -> None:
        """Let the process accept, now or when it is not deaf any more."""
        if self._deaf:
            self.deaf_accepts += 1
            self._unheard.append(accept)
        else:
            accept()

    def forget_unheard(self) -> None:
        """The process that should have accepted is gone."""
        self._unheard.clear()

    def new_port(self) -> int:
        self.next_port = self.next_port + 1 if self.next_port < 60999 else FIRST_PORT
        return self.next_port


@dataclass(slots=True, eq=False)
class Listener:
    """A listening socket: `factory` makes protocols in `context`."""

    host: Host
    port: int
    factory: Callable[[], asyncio.BaseProtocol]
    context: Context

    def close(self) -> None:
        if self.host.listeners.get(self.port) is self:
            del self.host.listeners[self.port]


class SimNetwork:
    """See the head of the module."""

    def __init__(self, loop: SimLoop, stream: Stream, trace: Trace) -> None:
        self.loop = loop
        self.draw = stream.random
        self.world = copy_context()
        self.hosts: dict[str, Host] = {}
        self.messages = 0
        self.bytes = 0
        self.connections = 0
        self._links: dict[tuple[str, str], LinkState] = {}
        self._trace = trace

    def add_host(self, name: str) -> Host:
        host = self.hosts[name] = Host(name, len(self.hosts) + 1)
        return host

    def link(self, source: str, target: str) -> LinkState:
        """The direction from one host to another; a host's link to itself is whole for ever."""
        link = self._links.get((source, target))
        if link is None:
            link = self._links[source, target] = LinkState(source, target)
        return link

    def links(self) -> list[LinkState]:
        """All links that anything ever asked for."""
        return list(self._links.values())

    def delivered(self, now: float, source: Host, target: Host, data: bytes) -> None:
        """Called by the pipes, for the account."""
        self.messages += 1
        self.bytes += len(data)
        self._trace.delivery(now, source.number, target.number, data)

    # -- faults on connections -----------------------------------------------------------------------------

    def reset(self, a: str, b: str) -> int:
        """End all connections between two hosts with a reset, at both ends; return how many."""
        return self._break(a, b, both=True)

    def half_open(self, a: str, b: str) -> int:
        """Let `a` lose its ends of all connections to `b`, which is not told, whatever it sends; return how many."""
        return self._break(a, b, both=False)

    def _break(self, a: str, b: str, *, both: bool) -> int:
        ends = [end for end in self.hosts[a].ends if end.other.host.name == b]
        for end in ends:
            other = end.other
            end.out.die()
            end.into.die()
            end.lose(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"))
            if both and not other.closed:
                other.lose(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"))
        return len(ends)

    def kill(self, host: Host) -> None:
        """The process of this host was killed: its kernel closes what it had open."""
        host.listeners.clear()
        host.forget_unheard()
        for end in list(host.ends):
            end.abandon()

    def power_off(self, host: Host) -> None:
        """The host is gone, and nobody is told."""
        host.up = False
        host.listeners.clear()
        host.forget_unheard()
        for end in list(host.ends):
            end.vanish()

    def power_on(self, host: Host) -> None:
        """The host is back. Of its earlier connections it knows nothing, and says so to whoever sends."""
        host.up = True
        waiting, host.waiting = host.waiting, []
        for tell in waiting:
            tell()

    # -- making connections --------------------------------------------------------------------------------

    def listen(
        self, host: Host, port: int, factory: Callable[[], asyncio.BaseProtocol], context: Context
    ) -> Listener:
        """Raises `OSError` when the port is in use."""
        if port == 0:
            port = host.new_port()
        if port in host.listeners:
            raise OSError(errno.EADDRINUSE, f"address already in use: ({host.name!r}, {port})")
        listener = host.listeners[port] = Listener(host, port, factory, context)
        return listener

    async def connect(
        self, host: Host, context: Context, factory: Callable[[], asyncio.BaseProtocol], to: str, port: int
    ) -> tuple[End, asyncio.BaseProtocol]:
        """Raises `OSError`. Waits as long as nothing answers: the caller bounds the time."""
        target = self.hosts.get(host.name if to in ("localhost", "127.0.0.1") else to)
        if target is None:
            raise OSError(
                errno.ENOENT, f"the name {to!r} is no host of this simulation: {', '.join(self.hosts)}"
            )
        there, back = self.link(host.name, target.name), self.link(target.name, host.name)
        while True:
            await self._passable(there, back, target)
            await self._travel(there)
            if not there.blocked and target.up:
                break  # else this packet was lost
        listener = target.listeners.get(port)
        if listener is None:
            await self._travel(back)
            raise ConnectionRefusedError(errno.ECONNREFUSED, f"connect to ({to!r}, {port}) was refused")
        mine = End(self, host, host.new_port(), context)
        theirs = End(self, target, port, listener.context)
        End.join(self, mine, theirs)
        self.connections += 1
        try:
            target.heard(lambda: self._accept(listener, theirs))
            await self._travel(back)
            if back.blocked:
                await self._passable(back, back, host)
            if mine.closed:
                raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
            protocol = factory()
        except BaseException:
            mine.abort()
            raise
        mine.begin(protocol)
        return mine, protocol

    def _accept(self, listener: Listener, end: End) -> None:
        def made() -> None:
            if end.closed or listener.host.listeners.get(listener.port) is not listener:
                end.abort()
                return
            try:
                protocol = listener.factory()
            except BaseException:
                end.abort()
                raise
            end.begin(protocol)

        self.loop.call_soon(made, context=listener.context)

    async def _passable(self, there: LinkState, back: LinkState, target: Host) -> None:
        """Wait until a first packet gets through and its answer comes back."""
        started = self.loop.now
        while there.blocked or back.blocked or not target.up:
            blocking = there if there.blocked else back if back.blocked else None
            healed: asyncio.Future[None] = self.loop.create_future()

            def tell(healed: asyncio.Future[None] = healed) -> None:
                if not healed.done():
                    healed.set_result(None)

            if blocking is not None:
                blocking.blocked_connects += 1
            (target if blocking is None else blocking).waiting.append(tell)
            await healed
            await self._until(retry_at(started, self.loop.now, CONNECT_RETRY_S))

    async def _travel(self, link: LinkState) -> None:
        await self._until(self.loop.now + link.latency_s + link.jitter_s * self.draw())

    async def _until(self, when: float) -> None:
        woken: asyncio.Future[None] = self.loop.create_future()

        def wake() -> None:
            if not woken.done():
                woken.set_result(None)

        timer = self.loop.call_at_world(when, wake, (), None)
        try:
            await woken
        finally:
            timer.cancel()

    # -- users' asyncio code -------------------------------------------------------------------------------

    async def create_connection(
        self, loop: SimLoop, factory: Callable[[], asyncio.BaseProtocol], host: str, port: int
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        """`loop.create_connection` of code in a simulated process."""
        return await self.connect(self._here(), _context(), factory, host, port)

    async def create_server(
        self, loop: SimLoop, factory: Callable[[], asyncio.BaseProtocol], host: str, port: int
    ) -> asyncio.AbstractServer:
        """`loop.create_server` of code in a simulated process."""
        return SimServer(self.listen(self._here(), port, factory, _context()))

    def _here(self) -> Host:
        group = current_group()
        if group is None:
            raise NotSimulated("a connection of the test itself: start it in a node, with sim.start(),")
        return self.hosts[group.name]


def _context() -> Context:
    group = current_group()
    assert group is not None
    return group.context


class SimServer(asyncio.AbstractServer):
    """A listening socket: asyncio's server, and the `Server` of the port."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._forever: asyncio.Future[None] | None = None

    def port(self) -> int:
        return self._listener.port

    @property
    def sockets(self) -> tuple["SimSocket", ...]:
        """What it listens on, for `getsockname`; none after `close`."""
        return (SimSocket(self._listener),) if self.is_serving() else ()

    def close(self) -> None:
        self._listener.close()
        if self._forever is not None:
            self._forever.cancel()

    async def wait_closed(self) -> None:
        await asyncio.sleep(0)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    def is_serving(self) -> bool:
        return self._listener.host.listeners.get(self._listener.port) is self._listener

    async def start_serving(self) -> None:
        """It does from the start."""

    async def serve_forever(self) -> None:
        """As asyncio's: until it is cancelled, or the server closed, which raises `CancelledError` here too."""
        if self._forever is not None or not self.is_serving():
            raise RuntimeError(f"{self!r} is closed, or served already")
        self._forever = asyncio.get_running_loop().create_future()
        try:
            await self._forever
        finally:
            self._forever = None
            self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class SimSocket:
    """As much of a listening socket as servers are asked for."""

    listener: Listener

    def getsockname(self) -> tuple[str, int]:
        return (self.listener.host.name, self.listener.port)


class HostNetwork:
    """The `Network` port of one boot of one node."""

    def __init__(self, network: SimNetwork, host: Host, group: Group) -> None:
        self._network = network
        self._host = host
        self._group = group

    async def create_server(
        self,
        factory: Callable[[], asyncio.Protocol],
        host: str,
        port: int,
        *,
        ssl_context: ssl.SSLContext | None = None,
    ) -> Server:
        """Listen, on the node's own host whatever `host` says. Raises `OSError`, `NotSimulated` (TLS)."""
        _refuse_tls(ssl_context)
        return SimServer(self._network.listen(self._host, port, factory, self._group.context))

    async def create_connection(
        self,
        factory: Callable[[], asyncio.Protocol],
        host: str,
        port: int,
        *,
        ssl_context: ssl.SSLContext | None = None,
    ) -> asyncio.Transport:
        """Connect to a host of the simulation. Raises `OSError`, `NotSimulated` (TLS)."""
        _refuse_tls(ssl_context)
        end, _ = await self._network.connect(self._host, self._group.context, factory, host, port)
        return end


def _refuse_tls(ssl_context: Any) -> None:
    if ssl_context is not None:
        raise NotSimulated("TLS (it draws its own randomness)")
