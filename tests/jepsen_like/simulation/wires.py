"""For tests of the network alone: hosts with a process each, and protocols that note what happens to them."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from quorate.jepsen_like.simulation.links import LinkState
from quorate.jepsen_like.simulation.loop import Group, SimLoop, current_group
from quorate.jepsen_like.simulation.network import Host, SimNetwork, SimServer
from quorate.jepsen_like.simulation.simulation import simulate
from quorate.jepsen_like.simulation.stream import End
from quorate.jepsen_like.simulation.tape import Stream
from quorate.jepsen_like.simulation.trace import Trace

T = TypeVar("T")
PORT = 7000


class Side(asyncio.Protocol):
    """One end of a connection. `log` has what it was told, with the time; `groups` in whose process."""

    def __init__(self, *, keep: bool = False, greet: bytes = b"") -> None:
        self.log: list[tuple[float, object]] = []
        self.data = bytearray()
        self.groups: set[str | None] = set()
        self.writable = True
        self._keep = keep
        self._greet = greet
        self.end: End = None  # type: ignore[assignment]  # set when the connection is made

    def _note(self, what: object) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        group = current_group()
        self.groups.add(None if group is None else group.name)
        self.log.append((round(loop.now, 6), what))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, End)
        self.end = transport
        self._note("made")
        if self._greet:
            transport.write(self._greet)

    def data_received(self, data: bytes) -> None:
        self._note(len(data))
        self.data += data

    def eof_received(self) -> bool:
        self._note("eof")
        return self._keep

    def connection_lost(self, exc: Exception | None) -> None:
        self._note("lost" if exc is None else type(exc).__name__)

    def pause_writing(self) -> None:
        self._note("pause")
        self.writable = False

    def resume_writing(self) -> None:
        self._note("resume")
        self.writable = True

    def told(self) -> list[object]:
        """What it was told, without pieces of data and times."""
        return [what for _, what in self.log if not isinstance(what, int)]

    def at(self, what: object) -> float:
        """When it was told that, first."""
        return next(when for when, told in self.log if told == what)


class Wires:
    """Hosts "a", "b" and "c", each with a process; latency 10 ms without jitter unless a test wants it."""

    def __init__(self, seed: int = 1, *, latency_s: float = 0.010, jitter_s: float = 0.0) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        self.loop = loop
        self.trace = Trace(keep=True)
        self.network = SimNetwork(loop, Stream(seed, "network"), self.trace)
        loop.connector = self.network
        self.hosts: dict[str, Host] = {}
        self.groups: dict[str, Group] = {}
        for name in "abc":
            self.hosts[name] = self.network.add_host(name)
            self.groups[name] = Group(name)
            for other in "abc":
                link = self.network.link(name, other)
                link.latency_s, link.jitter_s = latency_s, jitter_s

    @property
    def now(self) -> float:
        return self.loop.now

    def link(self, source: str, target: str) -> LinkState:
        return self.network.link(source, target)

    def run(self, name: str, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """In the process of a host."""
        return self.loop.create_task(work, context=self.groups[name].context)

    def listen(self, name: str, factory: Callable[[], asyncio.Protocol], port: int = PORT) -> SimServer:
        return SimServer(self.network.listen(self.hosts[name], port, factory, self.groups[name].context))

    def dial(self, name: str, to: str, side: Side, port: int = PORT) -> "asyncio.Task[Side]":
        async def dialled() -> Side:
            await self.network.connect(self.hosts[name], self.groups[name].context, lambda: side, to, port)
            return side

        return self.run(name, dialled())

    async def pair(self, a: Side | None = None, b: Side | None = None) -> tuple[Side, Side]:
        """A connection from host "a" to host "b"."""
        near, far = a or Side(), b or Side()
        server = self.listen("b", lambda: far)
        await self.dial("a", "b", near)
        await self.sleep(0.1)
        server.close()
        return near, far

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def cut(self, source: str, target: str) -> None:
        self.link(source, target).cuts += 1

    def mend(self, source: str, target: str) -> None:
        link = self.link(source, target)
        link.cuts -= 1
        link.changed()

    def kill(self, name: str) -> None:
        """End the process of a host as SIGKILL does."""
        self.loop.end(self.groups[name])
        self.network.kill(self.hosts[name])

    def power_off(self, name: str) -> None:
        self.loop.end(self.groups[name])
        self.network.power_off(self.hosts[name])

    def boot(self, name: str) -> None:
        self.groups[name] = Group(name)
        if not self.hosts[name].up:
            self.network.power_on(self.hosts[name])


def on_wires(test: Callable[[Wires], Coroutine[Any, Any, None]], seed: int = 1, **options: float) -> None:
    """Run a test in a world of its own."""

    async def main() -> None:
        await test(Wires(seed, **options))

    simulate(main)
