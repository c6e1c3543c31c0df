"""The four ports through which everything outside is reached: `Network`, `Disk`, `Clock`, `Entropy`.

A node gets them in one `Runtime`; nothing else in the library reads a clock, draws a random number, opens a
file or a socket (`tests/test_ports.py` walks the tree and enforces it). `core/real.py` is the real side. In
the simulation the same code runs on other implementations of these protocols, so whatever is added here needs
a simulated twin.
"""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol


class Timer(Protocol):
    """A pending callback of `Clock.call_later`."""

    def cancel(self) -> None:
        """Stop the callback from running; harmless when it has run or was cancelled."""
        ...


class Clock(Protocol):
    """Time as one node sees it."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary start, never going back, counting also while the machine sleeps.

        All leases are measured with it. Values of different nodes have nothing to do with each other.
        """
        ...

    def wall(self) -> float:
        """Seconds since the Unix epoch, for people to read. It may jump: no decision rests on it."""
        ...

    def call_later(self, delay_s: float, callback: Callable[..., object], *args: Any) -> Timer:
        """Run `callback(*args)` on the loop after `delay_s` seconds of this clock (at least one loop turn)."""
        ...


class Entropy(Protocol):
    """Randomness: jitter from `random`, identities and nonces from `token`."""

    def random(self) -> float:
        """A float in [0, 1)."""
        ...

    def token(self, size_bytes: int) -> bytes:
        """Unpredictable bytes, fit for a nonce."""
        ...


class Server(Protocol):
    """A listening socket."""

    def port(self) -> int:
        """The port it listens on (the one chosen, when 0 was asked for)."""
        ...

    def close(self) -> None:
        """Stop listening; connections that were accepted stay."""
        ...

    async def wait_closed(self) -> None:
        """Return when the port is free again."""
        ...


class Network(Protocol):
    """Ordered byte streams between addresses, in the shape of asyncio's own protocols and transports."""

    async def create_server(
        self,
        factory: Callable[[], asyncio.Protocol],
        host: str,
        port: int,
        *,
        ssl_context: ssl.SSLContext | None = None,
    ) -> Server:
        """Listen; each accepted connection gets `factory()`. Raises `OSError` (a port in use, for example)."""
        ...

    async def create_connection(
        self,
        factory: Callable[[], asyncio.Protocol],
        host: str,
        port: int,
        *,
        ssl_context: ssl.SSLContext | None = None,
    ) -> asyncio.Transport:
        """Connect, resolving `host` anew each time. Raises `OSError`. The caller bounds the time."""
        ...


class File(Protocol):
    """One open file. Reads and appends are plain calls (they meet the page cache); `sync` is what waits."""

    def size(self) -> int:
        """Length in bytes, appended but unsynced bytes included."""
        ...

    def read(self, offset: int, size_bytes: int) -> bytes:
        """At most `size_bytes` from `offset`; fewer only at the end. Raises `OSError`."""
        ...

    def append(self, data: bytes) -> None:
        """Write all of `data` at the end. Raises `OSError` (`ENOSPC` on a full disk; a part may be written)."""
        ...

    def truncate(self, size_bytes: int) -> None:
        """Cut the file to `size_bytes`."""
        ...

    async def sync(self) -> None:
        """Return when all that was appended or cut before the call survives a loss of power (`fdatasync`).

        Raises `OSError`. After a failure nothing is known about the unsynced bytes, and a retry that
        succeeds proves nothing: the caller must stop trusting the file.
        """
        ...

    def close(self) -> None:
        """Close without syncing."""
        ...


class DirectoryLock(Protocol):
    """Held until released or until the process ends, however it ends."""

    def release(self) -> None: ...


class Disk(Protocol):
    """One node's data directory. Paths are relative to it, with `/` between parts."""

    def describe(self, path: str = "") -> str:
        """The path as a person would type it, for messages."""
        ...

    def open(self, path: str, *, create: bool = False) -> File:
        """Open for reading and appending. Raises `FileNotFoundError` without `create`, `OSError` otherwise."""
        ...

    def exists(self, path: str) -> bool: ...

    def list(self, path: str = "") -> list[str]:
        """Names in a directory, sorted; empty when there is no such directory."""
        ...

    def make_dir(self, path: str = "") -> None:
        """Make a directory and its parents; harmless when it exists."""
        ...

    def rename(self, source: str, target: str) -> None:
        """Rename atomically, replacing `target`. Durable after `sync_dir` of the directory."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file. Durable after `sync_dir` of its directory."""
        ...

    async def sync_dir(self, path: str = "") -> None:
        """Return when creations, renames and removals in this directory survive a loss of power."""
        ...

    def lock(self) -> DirectoryLock:
        """Take the directory for this process alone. Raises `BlockingIOError` when another one holds it."""
        ...


class LoopWatch(Protocol):
    """Sees that something holds a loop, and what, while it does: as only another thread can."""

    @property
    def tick(self) -> float:
        """When it last looked (of `Clock.monotonic`). Unlike a clock it costs nothing to ask, before and after each step."""
        ...

    def held_since(self, tick: float) -> float:
        """Since when whoever found `tick` before his step, and another now, has had the loop for certain."""
        ...

    def stack_since(self, began: float) -> str | None:
        """The stack of the loop's thread, as text, if it was seen to be held after `began` (of `Clock.monotonic`)."""
        ...

    def collecting_s(self, began: float) -> float:
        """Seconds since `began` that went into garbage collection, which holds a loop whoever's turn it is."""
        ...

    def stop(self) -> None:
        """Watch no more."""
        ...


@dataclass(frozen=True, slots=True)
class Runtime:
    """All that a node may use of the outside. `disk` is absent for a node that keeps nothing.

    `watch_loop(slow_s)` watches the running loop for what holds it for `slow_s` seconds or more; absent where there are no
    threads, as in a simulation.
    """

    network: Network
    clock: Clock
    entropy: Entropy
    disk: Disk | None = None
    watch_loop: Callable[[float], LoopWatch] | None = None
