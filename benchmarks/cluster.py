"""Three nodes in three processes with logs on disk: registrations, look-ups, and the time without a leader."""

import asyncio
import json
import signal
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from . import erlang, etcd
from .table import Row, measured

ROUNDS = 5
FAILOVER_ROUNDS = 10
PEER_FAILOVER_ROUNDS = 5


class Child:
    """A node that runs `benchmarks.child`."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.process = process

    async def line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        text = await asyncio.wait_for(self.process.stdout.readline(), 60)
        if not text:
            raise RuntimeError(f"{self.name} ended")
        answer: dict[str, Any] = json.loads(text)
        return answer

    async def ask(self, op: str, clients: int = 1, each: int = 1) -> Any:
        assert self.process.stdin is not None
        request = json.dumps({"op": op, "clients": clients, "each": each})
        self.process.stdin.write(request.encode() + b"\n")
        return (await self.line())["result"]


class Cluster:
    """Three children; `async with Cluster(folder, preset) as cluster`."""

    def __init__(self, folder: Path, preset: str) -> None:
        self.folder = folder
        self.preset = preset
        self.names = [f"{app}@127.0.0.1:{port}" for app, port in zip("abc", etcd.free_ports(3), strict=True)]
        self.children: list[Child] = []

    async def __aenter__(self) -> Self:
        self.children = [await self.start(i) for i in range(3)]
        await asyncio.gather(*(child.line() for child in self.children))
        await asyncio.gather(*(child.ask("write") for child in self.children))
        return self

    async def start(self, i: int) -> Child:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.child",
            self.names[i], ",".join(self.names), str(self.folder / str(i)), self.preset,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        return Child(self.names[i], process)

    async def __aexit__(self, *exc: object) -> None:
        for child in self.children:
            if child.process.returncode is None:
                child.process.send_signal(signal.SIGKILL)
            await child.process.wait()

    async def leader(self) -> int:
        """Which child leads."""
        while True:
            for i, child in enumerate(self.children):
                if (await child.ask("status"))["store"]["role"] == "leader":
                    return i
            await asyncio.sleep(0.02)


async def registry_rows() -> list[Row]:
    """Our figures and the peers', round by round in turn, each asked of a node that does not lead."""
    rows: dict[str, list[float]] = {"register_1": [], "register_64": [], "whereis_100": [], "peek": []}
    with TemporaryDirectory() as folder:
        async with Cluster(Path(folder), "lan") as cluster:
            asked = cluster.children[(await cluster.leader() + 1) % 3]
            await asked.ask("register", 1, 50)
            for _ in range(ROUNDS):
                rows["register_1"].append(300 / await asked.ask("register", 1, 300))
                rows["register_64"].append(64 * 40 / await asked.ask("register", 64, 40))
                rows["whereis_100"].append(100 * 200 / await asked.ask("whereis", 100, 200))
                rows["peek"].append(200_000 / await asked.ask("peek", 1, 200_000))
    found = _rows("quorate", rows, "3 processes, durable")
    if erlang.installed():
        found += _rows("Erlang global", await erlang.global_figures(ROUNDS), "3 nodes, not durable")
    if etcd.installed():
        with TemporaryDirectory() as folder:
            found += _rows("etcd", await etcd.figures(Path(folder), ROUNDS), "3 members, Python client aetcd")
    return found


def _rows(system: str, figures: dict[str, list[float]], note: str) -> list[Row]:
    titles = {
        "register_1": "register, 1 client",
        "register_64": "register, 64 clients",
        "whereis_100": "look-up, linearizable, 100 clients",
        "peek": "look-up, local",
    }
    return [measured(titles[key], system, "per s", rounds, note) for key, rounds in figures.items()]


async def failover_seconds(preset: str, rounds: int) -> list[float]:
    """Seconds from the leader's SIGKILL until the next registration through another node has succeeded."""
    seconds: list[float] = []
    with TemporaryDirectory() as folder:
        async with Cluster(Path(folder), preset) as cluster:
            for _ in range(rounds):
                leader = await cluster.leader()
                asked = cluster.children[(leader + 1) % 3]
                started = time.perf_counter()
                cluster.children[leader].process.send_signal(signal.SIGKILL)
                await asked.ask("write")
                seconds.append(time.perf_counter() - started)
                await cluster.children[leader].process.wait()
                cluster.children[leader] = await cluster.start(leader)
                await cluster.children[leader].line()
                await cluster.children[leader].ask("write")
    return seconds


async def failover_rows() -> list[Row]:
    rows = []
    for preset in ("lan", "local"):
        seconds = await failover_seconds(preset, FAILOVER_ROUNDS)
        rows.append(measured("leader killed → next write", "quorate", "s", seconds, f"preset {preset}"))
    if etcd.installed():
        with TemporaryDirectory() as folder:
            seconds = await etcd.failover(Path(folder), PEER_FAILOVER_ROUNDS)
            rows.append(measured("leader killed → next write", "etcd", "s", seconds, "default timeouts"))
    return rows


def registry() -> list[Row]:
    return asyncio.run(registry_rows())


def failover() -> list[Row]:
    return asyncio.run(failover_rows())
