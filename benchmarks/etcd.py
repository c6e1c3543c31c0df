"""A real etcd cluster of three members on this machine, when `etcd` and the `aetcd` client are installed."""

import asyncio
import importlib
import importlib.util
import shutil
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Self


def installed() -> bool:
    return shutil.which("etcd") is not None and importlib.util.find_spec("aetcd") is not None


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


class Etcd:
    """Three members with their default settings (or those given) in `folder`."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.options = options
        ports = free_ports(6)
        self.client_ports, self.peer_ports = ports[:3], ports[3:]
        self.members: list[asyncio.subprocess.Process] = []

    async def __aenter__(self) -> Self:
        cluster = ",".join(f"m{i}=http://127.0.0.1:{port}" for i, port in enumerate(self.peer_ports))
        for i in range(3):
            peer, client = (
                f"http://127.0.0.1:{self.peer_ports[i]}",
                f"http://127.0.0.1:{self.client_ports[i]}",
            )
            member = await asyncio.create_subprocess_exec(
                "etcd", "--name", f"m{i}", "--data-dir", str(self.folder / f"m{i}"),
                "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                "--listen-client-urls", client, "--advertise-client-urls", client,
                "--initial-cluster", cluster, "--log-level", "error", *self.options,
                stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
            self.members.append(member)
        await self._until_ready()
        return self

    async def __aexit__(self, *exc: object) -> None:
        for member in self.members:
            if member.returncode is None:
                member.send_signal(signal.SIGKILL)
            await member.wait()

    def client(self, member: int = 0) -> Any:
        aetcd: Any = importlib.import_module("aetcd")  # of the dependency group "bench"
        return aetcd.Client("127.0.0.1", self.client_ports[member], timeout=10)

    async def leader(self) -> int:
        """Which member leads."""
        for i in range(3):
            async with self.client(i) as client:
                status = await client.status()
                if status.leader is not None and f"http://127.0.0.1:{self.client_ports[i]}" in (
                    status.leader.client_urls
                ):
                    return i
        raise RuntimeError("etcd has no leader")

    async def _until_ready(self) -> None:
        for _ in range(200):
            try:
                async with self.client() as client:
                    await client.put(b"ready", b"1")
                return
            except Exception:  # noqa: BLE001 -- whatever the client raises: ask again
                await asyncio.sleep(0.1)
        raise RuntimeError("etcd did not start")


async def create_if_absent(client: Any, key: bytes) -> None:
    """What registering a name is in etcd."""
    succeeded, _ = await client.transaction(
        compare=[client.transactions.version(key) == 0],
        success=[client.transactions.put(key, b"owner")],
        failure=[],
    )
    assert succeeded


async def rate(clients: int, each: int, operation: Callable[[int, int], Awaitable[object]]) -> float:
    """Operations per second of so many concurrent clients that do `each` one after another."""

    async def one(client: int) -> None:
        for number in range(each):
            await operation(client, number)

    started = time.perf_counter()
    await asyncio.gather(*(one(client) for client in range(clients)))
    return clients * each / (time.perf_counter() - started)


async def figures(folder: Path, rounds: int) -> dict[str, list[float]]:
    """`register_1`, `register_64`, `whereis_100` and `peek` per second and round, asked of a follower as of a leader."""
    found: dict[str, list[float]] = {"register_1": [], "register_64": [], "whereis_100": [], "peek": []}
    async with Etcd(folder) as etcd, etcd.client() as client:
        for number in range(rounds):
            prefix = b"%d/" % number

            async def register(c: int, n: int, prefix: bytes = prefix) -> None:
                await create_if_absent(client, prefix + b"%d-%d" % (c, n))

            async def alone(c: int, n: int, prefix: bytes = prefix) -> None:
                await create_if_absent(client, prefix + b"alone-%d" % n)

            found["register_1"].append(await rate(1, 200, alone))
            found["register_64"].append(await rate(64, 20, register))
            found["whereis_100"].append(await rate(100, 20, lambda c, n: client.get(b"ready")))
            found["peek"].append(await rate(1, 300, lambda c, n: client.get(b"ready", serializable=True)))
    return found


async def failover(folder: Path, rounds: int) -> list[float]:
    """Seconds from the leader's SIGKILL to the next write that succeeds through another member."""
    seconds: list[float] = []
    for number in range(rounds):
        async with Etcd(folder / str(number)) as etcd:
            leader = await etcd.leader()
            async with etcd.client((leader + 1) % 3) as client:
                started = time.perf_counter()
                etcd.members[leader].send_signal(signal.SIGKILL)
                while True:
                    try:
                        await asyncio.wait_for(client.put(b"k", b"v"), 0.5)
                        break
                    except Exception:  # noqa: BLE001 -- whatever the client raises: ask again
                        await asyncio.sleep(0.005)
                seconds.append(time.perf_counter() - started)
    return seconds
