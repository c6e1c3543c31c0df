"""The real side of the four ports: the machine's clock, randomness, sockets and files.

This is the only module of the library that touches them, and the only one that may: whatever happens here
cannot be replayed by a seed. It decides nothing. The authority over time, sockets and files is the operating
system; what must never happen here is a promise that it did not give: `sync` returns only after the
kernel said that the bytes are on the disk.
"""

import asyncio
import errno
import gc
import math
import os
import random
import secrets
import shutil
import socket
import ssl
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from .runtime import Clock, DirectoryLock, Disk, Entropy, File, Network, Runtime, Server, Timer

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

SOCKET_BUFFER_BYTES = 128 * 1024
"""Kernel buffer per direction: small, so that a bulk transfer cannot put seconds of data ahead of a ping."""


TLS_HANDSHAKE_S = 10.0
"""For a stranger to get through TLS (asyncio's default is a minute); only then do a protocol's own deadlines begin."""


STACK_FRAMES_LIMIT = 30  # of what is shown of a stack
COLLECTIONS_LIMIT = 16
LATE_LIMIT = 16  # of late looks at a loop that are remembered
TICK_LEAST_S = 0.005  # a thread gets its turn no sooner while another computes (`sys.getswitchinterval`)


def _monotonic_source() -> Callable[[], float]:
    """A monotonic clock that counts while the machine sleeps, where there is one."""
    candidates = ["CLOCK_BOOTTIME"]
    if sys.platform == "darwin":  # counts sleep there, and only there
        candidates.append("CLOCK_MONOTONIC")
    for name in candidates:
        clock_id = getattr(time, name, None)
        if clock_id is not None:
            try:
                time.clock_gettime(clock_id)
            except OSError:  # a sandbox that does not allow this clock
                continue
            return partial(time.clock_gettime, clock_id)
    return time.monotonic


class RealClock:
    """Time from the kernel, timers from the running loop.

    `monotonic` is `CLOCK_BOOTTIME` on Linux. Timers are the loop's: they do not count suspended time and uvloop
    rounds them to milliseconds, so whoever acts on a deadline asks `monotonic` when the timer fires.
    """

    def __init__(self) -> None:
        self._monotonic = _monotonic_source()
        self.monotonic = self._monotonic  # type: ignore[method-assign]  # nothing between: it is asked often

    def monotonic(self) -> float:
        return self._monotonic()

    def wall(self) -> float:
        return time.time()

    def call_later(self, delay_s: float, callback: Callable[..., object], *args: Any) -> Timer:
        if math.isnan(delay_s):
            raise ValueError("a delay must be a number of seconds: asyncio would keep no other timer either")
        return asyncio.get_running_loop().call_later(delay_s, callback, *args)


class RealLoopWatch:
    """See `LoopWatch`. A thread that asks the loop for a sign of life, and looks at its stack when none comes.

    Made on the loop that it watches. It costs that loop twenty empty turns a second (`slow_s` of 0.2 s).
    """

    def __init__(self, clock: Clock, slow_s: float) -> None:
        self._clock = clock
        self._tick_s = min(max(slow_s / 4, TICK_LEAST_S), threading.TIMEOUT_MAX)
        self.tick = clock.monotonic()
        self._loop = asyncio.get_running_loop()
        self._watched = threading.get_ident()
        self._computed_s = _own_time_source(clock)
        self._computed = self._computed_s()  # at the last look
        self._late: tuple[tuple[float, float], ...] = ()  # by no fault of the loop: the look before, and it
        self._seen: tuple[float, list[tuple[CodeType, int]]] | None = None
        self._alive = threading.Event()
        self._stopped = threading.Event()
        self._collection_began = 0.0
        self._collections: tuple[tuple[float, float], ...] = ()  # when the last of them began and ended
        gc.callbacks.append(self._collecting)
        threading.Thread(target=self._watch, name="quorate-loop-watch", daemon=True).start()

    def held_since(self, tick: float) -> float:
        return next((late for before, late in self._late if before == tick), tick + self._tick_s)

    def stack_since(self, began: float) -> str | None:
        seen = self._seen
        if seen is None or seen[0] < began:
            return None
        places = [
            traceback.FrameSummary(code.co_filename, line, code.co_name) for code, line in reversed(seen[1])
        ]
        return "".join(traceback.StackSummary.from_list(places).format())

    def collecting_s(self, began: float) -> float:
        return sum(end - max(began, begin) for begin, end in self._collections if end > began)

    def stop(self) -> None:
        self._stopped.set()
        if self._collecting in gc.callbacks:
            gc.callbacks.remove(self._collecting)

    def _collecting(self, phase: str, info: dict[str, int]) -> None:
        if info["generation"] < 2:  # the young ones are quick
            return
        now = self._clock.monotonic()
        if phase == "start":
            self._collection_began = now
        else:
            self._collections = (*self._collections[1 - COLLECTIONS_LIMIT :], (self._collection_began, now))

    def _watch(self) -> None:
        while not self._stopped.wait(self._tick_s):
            # So late: whoever holds the loop may well hold the interpreter's lock.
            self._look(at_stack=self._is_late())
            self._alive.clear()
            try:
                self._loop.call_soon_threadsafe(self._alive.set)
            except RuntimeError:  # the loop is closed, and nobody has closed its node
                self.stop()
                return
            while not self._alive.wait(self._tick_s) and not self._loop.is_closed():
                if self._stopped.is_set():
                    return
                self._look(at_stack=True)  # again and again: several may hold the loop in one turn of it
            self._look()  # from here to the next is one tick again

    def _is_late(self) -> bool:
        return self._clock.monotonic() - self.tick > 2 * self._tick_s

    def _look(self, *, at_stack: bool = False) -> None:
        late, computed = self._is_late(), self._computed_s()
        now = self._clock.monotonic()
        if late and computed - self._computed < (now - self.tick) / 10:
            # Another thread had the lock, or another program the processor.
            self._late = (*self._late[1 - LATE_LIMIT :], (self.tick, now))
        self._computed = computed
        frame = sys._current_frames().get(self._watched) if at_stack else None
        if frame is not None:
            self._seen = (now, _own_frames(frame))
        self.tick = now  # last: who notices that it has changed asks for the stack


def _own_time_source(clock: Clock) -> Callable[[], float]:
    """How long the calling thread has had a processor, for any thread to ask; where nobody knows, always."""
    clock_of = getattr(time, "pthread_getcpuclockid", None)
    if clock_of is None:
        return clock.monotonic
    clock_id = clock_of(threading.get_ident())

    def had_s() -> float:
        try:
            return time.clock_gettime(clock_id)
        except OSError:  # the thread has ended
            return clock.monotonic()

    return had_s


def _own_frames(frame: FrameType) -> list[tuple[CodeType, int]]:
    """The stack of a user's code, innermost first; what of it is the library's own, below that, is left out.

    No file is read for it, since others would run meanwhile.
    """
    frames: list[tuple[CodeType, int]] = []
    outer: FrameType | None = frame
    while outer is not None and len(frames) < STACK_FRAMES_LIMIT:
        if frames and str(outer.f_globals.get("__name__")).startswith("quorate.core."):
            break
        frames.append((outer.f_code, outer.f_lineno))
        outer = outer.f_back
    return frames


class RealEntropy:
    """Jitter from a generator that is seeded by the operating system, tokens from the system itself."""

    def __init__(self) -> None:
        self._random = random.Random(secrets.randbits(128))

    def random(self) -> float:
        return self._random.random()

    def token(self, size_bytes: int) -> bytes:
        return secrets.token_bytes(size_bytes)


class RealServer:
    """A listening socket of asyncio or uvloop."""

    def __init__(self, server: asyncio.Server, port: int) -> None:
        self._server = server
        self._port = port

    def port(self) -> int:
        return self._port

    def close(self) -> None:
        loop = asyncio.get_running_loop()
        if not isinstance(loop, asyncio.SelectorEventLoop):
            self._server.close()
            return
        # Accept nothing more, and close a turn later: until Python 3.12 a connection that was accepted in the turn
        # before a close is lost without being closed (https://github.com/python/cpython/issues/109564).
        for listening in self._server.sockets:
            loop.remove_reader(listening.fileno())
        loop.call_soon(self._server.close)

    async def wait_closed(self) -> None:
        # asyncio's own wait_closed also waits for the accepted connections (Python 3.12), which stay here.
        # asyncio closes the socket at once, uvloop in the turn of the loop after the next.
        for _ in range(3):
            await asyncio.sleep(0)


class RealNetwork:
    """TCP by the running loop, asyncio's or uvloop's."""

    async def create_server(
        self,
        factory: Callable[[], asyncio.Protocol],
        host: str,
        port: int,
        *,
        ssl_context: ssl.SSLContext | None = None,
    ) -> Server:
        """Listen on every address that `host` stands for (with port 0, each may get a port of its own)."""
        server = await asyncio.get_running_loop().create_server(
            factory,
            host,
            port,
            ssl=ssl_context,
            ssl_handshake_timeout=None if ssl_context is None else TLS_HANDSHAKE_S,
            # On Windows the option would let two processes listen on one port.
            reuse_address=sys.platform != "win32",
            start_serving=False,
        )
        sockets = server.sockets
        chosen: int = sockets[0].getsockname()[1]
        for listening in sockets:
            _tune(listening)  # inherited by the connections that it accepts
        await server.start_serving()
        return RealServer(server, chosen)

    async def create_connection(
        self,
        factory: Callable[[], asyncio.Protocol],
        host: str,
        port: int,
        *,
        ssl_context: ssl.SSLContext | None = None,
    ) -> asyncio.Transport:
        transport, _ = await asyncio.get_running_loop().create_connection(
            factory,
            host,
            port,
            ssl=ssl_context,
            ssl_handshake_timeout=None if ssl_context is None else TLS_HANDSHAKE_S,
        )
        _tune(transport.get_extra_info("socket"))
        return transport


def _tune(connection: Any) -> None:
    """No delay, small buffers. A socket that refuses is slower, not wrong."""
    for level, option, value in (
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES),
        (socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER_BYTES),
    ):
        try:
            connection.setsockopt(level, option, value)
        except (OSError, AttributeError):
            continue


def _sync_fd(fd: int, whole: bool) -> None:
    """Return when the file's bytes and size (with `whole`, also its other metadata) are on the disk."""
    if sys.platform == "darwin":
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)  # fsync alone leaves them in the drive's cache there
    elif whole or not hasattr(os, "fdatasync"):
        os.fsync(fd)
    else:
        os.fdatasync(fd)


class RealFile:
    """A file descriptor opened for reading and appending; `RealDisk.open` makes it."""

    def __init__(self, fd: int, executor: ThreadPoolExecutor) -> None:
        self._fd = fd
        self._executor = executor
        self._syncing: Future[None] | None = None
        self._cut = False

    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def read(self, offset: int, size_bytes: int) -> bytes:
        parts: list[bytes] = []
        while size_bytes > 0:
            if sys.platform == "win32":
                os.lseek(self._fd, offset, os.SEEK_SET)
                part = os.read(self._fd, size_bytes)
            else:
                part = os.pread(self._fd, size_bytes, offset)
            if not part:
                break
            parts.append(part)
            offset += len(part)
            size_bytes -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def append(self, data: bytes) -> None:
        written = os.write(self._fd, data)
        if written < len(data):  # a full disk or a limit: the next write says which
            rest = memoryview(data)[written:]
            while rest:
                rest = rest[os.write(self._fd, rest) :]

    def truncate(self, size_bytes: int) -> None:
        self._cut = True
        os.ftruncate(self._fd, size_bytes)

    async def sync(self) -> None:
        if self._fd < 0:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        whole, self._cut = self._cut, False
        self._syncing = self._executor.submit(_sync_fd, self._fd, whole)
        await asyncio.wrap_future(self._syncing)

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        if self._syncing is None or self._syncing.done():
            os.close(fd)
        else:  # behind the sync that uses it (its caller was cancelled), lest that meet a reused number
            self._executor.submit(os.close, fd)


class RealDirectoryLock:
    """An advisory lock on the file `lock`. The kernel lets go of it when the process ends."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def release(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class RealDisk:
    """Files below `root`, which is made with mode 0700 on first use; files have mode 0600.

    All syncs run on one thread of its own, in the order asked for, so that the loop never waits for the disk.
    """

    def __init__(self, root: str | Path) -> None:
        self._root = Path(root)
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="quorate-disk")
        self._outer: list[Path] = []

    def describe(self, path: str = "") -> str:
        return str(self._root / path)

    def open(self, path: str, *, create: bool = False) -> File:
        flags = os.O_RDWR | os.O_APPEND | (os.O_CREAT if create else 0)
        flags |= getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        return RealFile(os.open(self._at(path), flags, 0o600), self._executor)

    def exists(self, path: str) -> bool:
        return self._at(path).exists()

    def list(self, path: str = "") -> list[str]:
        try:
            return sorted(os.listdir(self._at(path)))
        except FileNotFoundError:
            return []

    def make_dir(self, path: str = "") -> None:
        missing = self._at(path)
        made: list[Path] = []
        while not missing.is_dir():
            made.append(missing)
            missing = missing.parent
        for directory in reversed(made):
            directory.mkdir(mode=0o700, exist_ok=True)
            if directory == self._root or directory in self._root.parents:
                self._outer.append(directory.parent)

    def rename(self, source: str, target: str) -> None:
        os.replace(self._at(source), self._at(target))

    def remove(self, path: str) -> None:
        os.unlink(self._at(path))

    async def sync_dir(self, path: str = "") -> None:
        """As the port says. The entry of a root that was made here is made durable too."""
        if sys.platform == "win32":  # has no way to; its file systems journal such changes
            return
        directories = [*self._outer, self._at(path)]
        await asyncio.wrap_future(self._executor.submit(_sync_directories, directories))
        self._outer.clear()

    def lock(self) -> DirectoryLock:
        """Take the directory. `BlockingIOError.strerror` names the process that holds it, as far as known."""
        self.make_dir()
        fd = os.open(self._at("lock"), os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            if sys.platform == "win32":
                os.lseek(fd, 1 << 30, os.SEEK_SET)  # beyond the text, which others may read
                msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
            else:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            os.lseek(fd, 0, os.SEEK_SET)
            holder = os.read(fd, 64).decode("ascii", "replace").strip() or "unknown"
            os.close(fd)
            raise BlockingIOError(errno.EWOULDBLOCK, f"held by process {holder}") from error
        except BaseException:
            os.close(fd)
            raise
        os.ftruncate(fd, 0)
        os.lseek(fd, 0, os.SEEK_SET)
        os.write(fd, b"%d\n" % os.getpid())
        return RealDirectoryLock(fd)

    def close(self) -> None:
        """Wait for the syncs that were asked for and end the thread. Close the files first."""
        self._executor.shutdown(wait=True)

    def _at(self, path: str) -> Path:
        if path.startswith("/") or ".." in path.split("/"):
            raise ValueError(f"{path!r} leads out of the data directory: give a path relative to it")
        return self._root / path


def _sync_directories(directories: list[Path]) -> None:
    for directory in directories:
        fd = os.open(directory, os.O_RDONLY)
        try:
            _sync_fd(fd, True)
        finally:
            os.close(fd)


def real_runtime(data_dir: str | Path | None = None) -> Runtime:
    """The real ports; without `data_dir` the node keeps nothing on disk."""
    network: Network = RealNetwork()
    clock: Clock = RealClock()
    entropy: Entropy = RealEntropy()
    disk: Disk | None = None if data_dir is None else RealDisk(data_dir)
    watch = partial(RealLoopWatch, clock)
    return Runtime(network=network, clock=clock, entropy=entropy, disk=disk, watch_loop=watch)


def file_mode(path: str | Path) -> int:
    """Permission bits of a file, such as 0o600. Raises `OSError`."""
    return os.stat(path).st_mode & 0o7777


def read_file(path: str | Path) -> bytes:
    """All of a file. Raises `OSError`."""
    return Path(path).read_bytes()


def write_file(path: str | Path, data: bytes) -> None:
    """Write a file for people or programs to read, whole or not at all; directories are made. Raises `OSError`.

    It replaces one of this name, and is not synced: nothing that a node depends on is written so.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    try:
        temporary.write_bytes(data)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def create_private_file(path: str | Path, data: bytes) -> None:
    """Make a file with mode 0600 that appears whole or not at all. Raises `FileExistsError`, `OSError`.

    Of several processes that do it at the same time, one succeeds and the others can read its bytes at once.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    try:
        _create_file(temporary, data)
        try:
            os.link(temporary, target)  # unlike a rename, refuses to replace
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links: exclusive, though not whole at once
            _create_file(target, data)
    finally:
        temporary.unlink(missing_ok=True)


def _create_file(path: Path, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
        _sync_fd(fd, True)
    except BaseException:
        path.unlink()
        raise
    finally:
        os.close(fd)


def make_temporary_dir(prefix: str) -> Path:
    """A new directory for this user alone, where the system keeps temporary ones. Raises `OSError`."""
    return Path(tempfile.mkdtemp(prefix=prefix))


def remove_tree(path: str | Path) -> None:
    """Remove a directory and all that is in it; what cannot be removed stays."""
    shutil.rmtree(path, ignore_errors=True)
