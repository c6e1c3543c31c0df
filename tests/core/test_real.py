"""The real side of the ports, against the real kernel: loopback sockets and files below `tmp_path`."""

import asyncio
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, cast

import pytest
import uvloop

from quorate.core import real
from quorate.core.real import (
    RealClock,
    RealDisk,
    RealEntropy,
    RealNetwork,
    create_private_file,
    file_mode,
    read_file,
    real_runtime,
)
from tests.support import run

Runner = Callable[[Coroutine[Any, Any, Any]], Any]
LOOPS = pytest.mark.parametrize("runner", [run, uvloop.run], ids=["asyncio", "uvloop"])


# Clock and entropy


def test_the_clock_counts_the_time_that_the_machine_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    slept = {time.CLOCK_MONOTONIC: 100.0, time.CLOCK_BOOTTIME: 1100.0}
    monkeypatch.setattr(time, "clock_gettime", slept.__getitem__)
    assert RealClock().monotonic() == 1100.0


def test_a_sandbox_without_that_clock_gets_the_ordinary_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(clock_id: int) -> float:
        raise PermissionError(clock_id)

    monkeypatch.setattr(time, "clock_gettime", refused)
    before = time.monotonic()
    assert before <= RealClock().monotonic() <= time.monotonic()


def test_the_wall_clock_is_the_epoch_s() -> None:
    before = time.time()
    assert before <= RealClock().wall() <= time.time()


@LOOPS
def test_a_timer_runs_in_a_later_turn_of_the_loop_unless_it_is_cancelled(runner: Runner) -> None:
    async def main() -> None:
        clock = RealClock()
        ran: list[str] = []
        done = asyncio.Event()
        clock.call_later(0.0, ran.append, "cancelled").cancel()
        clock.call_later(0.0, ran.append, "kept")
        clock.call_later(0.002, done.set)
        assert ran == []
        await done.wait()
        assert ran == ["kept"]

    runner(main())


def test_two_sources_of_entropy_have_nothing_in_common() -> None:
    one, other = RealEntropy(), RealEntropy()
    assert [one.random() for _ in range(4)] != [other.random() for _ in range(4)]
    assert all(0.0 <= one.random() < 1.0 for _ in range(100))
    assert len(one.token(16)) == 16
    assert one.token(16) != one.token(16)


# Network


class Echo(asyncio.Protocol):
    def __init__(self) -> None:
        self.received = bytearray()
        self.changed = asyncio.Event()
        self.transport: asyncio.Transport | None = None
        self.echo = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are none by isinstance
        self.changed.set()

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.changed.set()
        if self.echo:
            assert self.transport is not None
            self.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.changed.clear()
            await self.changed.wait()


class EchoServer(Echo):
    def __init__(self) -> None:
        super().__init__()
        self.echo = True


@LOOPS
def test_bytes_go_and_come_back(runner: Runner) -> None:
    async def main() -> None:
        network = RealNetwork()
        server = await network.create_server(EchoServer, "127.0.0.1", 0)
        client = Echo()
        transport = await network.create_connection(lambda: client, "127.0.0.1", server.port())
        transport.write(b"hello")
        await client.until(lambda: client.received == b"hello")
        transport.close()
        await client.until(lambda: client.transport is None)
        server.close()
        await server.wait_closed()

    runner(main())


@LOOPS
def test_both_ends_send_at_once_and_hold_little_in_the_kernel(runner: Runner) -> None:
    async def main() -> None:
        network = RealNetwork()
        accepted = Echo()
        server = await network.create_server(lambda: accepted, "127.0.0.1", 0)
        transport = await network.create_connection(Echo, "127.0.0.1", server.port())
        await accepted.until(lambda: accepted.transport is not None)
        assert accepted.transport is not None
        for end in (transport, accepted.transport):
            connection = end.get_extra_info("socket")
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):  # Linux books twice what was asked for
                assert connection.getsockopt(socket.SOL_SOCKET, option) <= 2 * real.SOCKET_BUFFER_BYTES
        transport.close()
        await accepted.until(lambda: accepted.transport is None)
        server.close()
        await server.wait_closed()

    runner(main())


@LOOPS
def test_a_closed_server_frees_its_port_and_leaves_its_connections(runner: Runner) -> None:
    async def main() -> None:
        network = RealNetwork()
        server = await network.create_server(EchoServer, "127.0.0.1", 0)
        port = server.port()
        client = Echo()
        transport = await network.create_connection(lambda: client, "127.0.0.1", port)
        transport.write(b"1")
        await client.until(lambda: client.received == b"1")
        with pytest.raises(OSError):
            await network.create_server(Echo, "127.0.0.1", port)
        server.close()
        await server.wait_closed()
        with socket.socket() as free:
            free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            free.bind(("127.0.0.1", port))
            free.listen()
        again = await network.create_server(Echo, "127.0.0.1", port)
        assert again.port() == port
        transport.write(b"2")
        await client.until(lambda: client.received == b"12")
        transport.close()
        await client.until(lambda: client.transport is None)
        again.close()
        await again.wait_closed()

    runner(main())


@LOOPS
def test_nobody_there_is_an_oserror(runner: Runner) -> None:
    async def main() -> None:
        network = RealNetwork()
        server = await network.create_server(Echo, "127.0.0.1", 0)
        port = server.port()
        server.close()
        await server.wait_closed()
        with pytest.raises(OSError):
            await network.create_connection(Echo, "127.0.0.1", port)

    runner(main())


@LOOPS
def test_a_tls_context_is_used_by_whoever_connects(runner: Runner) -> None:
    async def main() -> None:
        network = RealNetwork()
        accepted = Echo()
        server = await network.create_server(lambda: accepted, "127.0.0.1", 0)
        connecting = asyncio.ensure_future(
            network.create_connection(
                Echo, "127.0.0.1", server.port(), ssl_context=ssl.create_default_context()
            )
        )
        await accepted.until(lambda: len(accepted.received) > 5)
        assert accepted.received[:2] == b"\x16\x03"  # a TLS handshake record
        assert accepted.transport is not None
        accepted.transport.abort()
        with pytest.raises(OSError):
            await connecting
        server.close()
        await server.wait_closed()

    runner(main())


@LOOPS
def test_a_tls_context_is_demanded_by_whoever_listens(runner: Runner) -> None:
    async def main() -> None:
        network = RealNetwork()
        served = EchoServer()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server = await network.create_server(lambda: served, "127.0.0.1", 0, ssl_context=context)
        client = Echo()
        transport = await network.create_connection(lambda: client, "127.0.0.1", server.port())
        transport.write(b"plain text is no handshake")
        await client.until(lambda: client.transport is None)
        assert served.received == b""
        server.close()
        await server.wait_closed()

    if runner is run:
        asyncio.run(main())
    else:
        runner(main())


# Disk


@LOOPS
def test_what_was_appended_reads_back(runner: Runner, tmp_path: Path) -> None:
    async def main() -> None:
        disk = RealDisk(tmp_path / "deep" / "data")
        assert disk.list() == []
        disk.make_dir("log")
        file = disk.open("log/1", create=True)
        file.append(b"hello ")
        file.append(b"world")
        await file.sync()
        assert file.size() == 11
        assert file.read(6, 100) == b"world"
        file.truncate(5)
        file.append(b"!")
        await file.sync()
        assert file.read(0, 100) == b"hello!"
        file.close()
        disk.rename("log/1", "log/2")
        await disk.sync_dir("log")
        await disk.sync_dir()
        assert disk.list("log") == ["2"]
        assert disk.exists("log/2") and not disk.exists("log/1")
        disk.remove("log/2")
        assert disk.list("log") == []
        with pytest.raises(FileNotFoundError):
            disk.open("log/2")
        assert disk.describe("log/2") == str(tmp_path / "deep" / "data" / "log" / "2")
        disk.close()

    runner(main())


def test_nobody_else_may_read_what_is_kept(tmp_path: Path) -> None:
    disk = RealDisk(tmp_path / "data")
    disk.make_dir("log")
    disk.open("log/1", create=True).close()
    assert file_mode(tmp_path / "data") == 0o700
    assert file_mode(tmp_path / "data" / "log") == 0o700
    assert file_mode(tmp_path / "data" / "log" / "1") == 0o600
    lock = disk.lock()
    assert file_mode(tmp_path / "data" / "lock") == 0o600
    lock.release()
    disk.close()


def test_a_short_write_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    disk = RealDisk(tmp_path)
    file = disk.open("1", create=True)
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda fd, data: write(fd, bytes(data[:3])))
        file.append(b"0123456789")
    assert file.read(0, 100) == b"0123456789"
    file.close()
    disk.close()


def test_a_sync_is_of_the_data_and_after_a_cut_of_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, str]] = []

    def recorder(name: str) -> Callable[[int], None]:
        return lambda fd: calls.append((name, threading.current_thread().name))

    async def main() -> None:
        disk = RealDisk(tmp_path)
        file = disk.open("1", create=True)
        file.append(b"12")
        await file.sync()
        file.truncate(1)
        await file.sync()
        await file.sync()
        await disk.sync_dir()
        file.close()
        disk.close()

    monkeypatch.setattr(os, "fdatasync", recorder("fdatasync"))
    monkeypatch.setattr(os, "fsync", recorder("fsync"))
    run(main())
    assert [name for name, _ in calls] == ["fdatasync", "fsync", "fdatasync", "fsync"]
    assert {thread for _, thread in calls} == {"quorate-disk_0"}


def test_a_new_root_is_made_durable_in_the_directory_above_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))

    async def main() -> None:
        disk = RealDisk(tmp_path / "a" / "b")
        disk.make_dir("log")
        await disk.sync_dir()
        await disk.sync_dir()
        disk.close()

    run(main())
    above = [str(tmp_path), str(tmp_path / "a")]
    assert synced == [*above, str(tmp_path / "a" / "b"), str(tmp_path / "a" / "b")]


def test_a_failing_sync_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(fd: int) -> None:
        raise OSError(5, "Input/output error")

    async def main() -> None:
        disk = RealDisk(tmp_path)
        file = disk.open("1", create=True)
        file.append(b"1")
        with pytest.raises(OSError, match="Input/output"):
            await file.sync()
        file.close()
        with pytest.raises(OSError):
            await file.sync()
        disk.close()

    monkeypatch.setattr(os, "fdatasync", fails)
    run(main())


def test_the_loop_goes_on_during_a_sync_and_a_close_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller that was cancelled closes the file; the number must not be reused below the sync that uses it."""
    begun, go_on = threading.Event(), threading.Event()
    synced: list[str] = []

    def slow(fd: int) -> None:
        begun.set()
        assert go_on.wait(30)
        synced.append(os.readlink(f"/proc/self/fd/{fd}"))

    async def main() -> None:
        disk = RealDisk(tmp_path)
        file = disk.open("1", create=True)
        syncing = asyncio.ensure_future(file.sync())
        assert await asyncio.get_running_loop().run_in_executor(None, begun.wait, 30)
        syncing.cancel()
        await asyncio.gather(syncing, return_exceptions=True)
        file.close()
        other = disk.open("2", create=True)
        go_on.set()
        other.close()
        disk.close()

    monkeypatch.setattr(os, "fdatasync", slow)
    run(main())
    assert synced == [str(tmp_path / "1")]


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "log/../../x"])
def test_no_path_leads_out_of_the_directory(tmp_path: Path, path: str) -> None:
    disk = RealDisk(tmp_path)
    with pytest.raises(ValueError, match="leads out"):
        disk.open(path)
    disk.close()


def test_the_lock_excludes_the_same_process_too(tmp_path: Path) -> None:
    one, other = RealDisk(tmp_path), RealDisk(tmp_path)
    lock = one.lock()
    with pytest.raises(BlockingIOError) as refused:
        other.lock()
    assert refused.value.strerror == f"held by process {os.getpid()}"
    lock.release()
    lock.release()
    other.lock().release()
    one.close()
    other.close()


HOLDER = """
import sys
from quorate.core.real import RealDisk
lock = RealDisk(sys.argv[1]).lock()
print("held", flush=True)
sys.stdin.read()
"""


def test_the_lock_excludes_another_process_and_ends_with_it(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        disk = RealDisk(tmp_path)
        with pytest.raises(BlockingIOError) as refused:
            disk.lock()
        assert refused.value.strerror == f"held by process {holder.pid}"
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        disk.lock().release()
        disk.close()


# What the command needs


def test_a_private_file_appears_whole_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "cookie"
    create_private_file(path, b"secret")
    assert read_file(path) == b"secret"
    assert file_mode(path) == 0o600
    with pytest.raises(FileExistsError):
        create_private_file(path, b"other")
    assert read_file(path) == b"secret"
    assert os.listdir(tmp_path) == ["cookie"]


def test_a_private_file_needs_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(source: object, target: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    create_private_file(tmp_path / "cookie", b"secret")
    assert read_file(tmp_path / "cookie") == b"secret"
    with pytest.raises(FileExistsError):
        create_private_file(tmp_path / "cookie", b"other")
    assert os.listdir(tmp_path) == ["cookie"]


def test_a_private_file_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, data: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        create_private_file(tmp_path / "cookie", b"secret")
    assert os.listdir(tmp_path) == []


def test_a_node_that_keeps_nothing_has_no_disk(tmp_path: Path) -> None:
    assert real_runtime().disk is None
    disk = real_runtime(tmp_path).disk
    assert isinstance(disk, RealDisk)
    assert disk.describe("log") == str(tmp_path / "log")
    disk.close()
