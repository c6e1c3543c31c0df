"""One node of a benchmark, as a process of its own: takes operations as JSON lines and answers with seconds.

python -m benchmarks.child NAME VOTERS DATA_DIR PRESET
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import quorate
from quorate import OutcomeUnknown, QuorateError


class Idle(quorate.GenServer):
    """A process to be registered."""


class Bench:
    def __init__(self, node: quorate.Node) -> None:
        self._node = node
        self._tags = 0

    async def register(self, clients: int, each: int) -> float:
        """Seconds for so many clients to start and register `each` processes one after another."""
        node, tag = self._node, self._tags
        self._tags += 1

        async def one(client: int) -> None:
            for number in range(each):
                ref = await node.start(Idle)
                await node.registry.register(f"{node.name}/{tag}/{client}/{number}", ref)

        return await _timed(asyncio.gather(*(one(client) for client in range(clients))))

    async def whereis(self, clients: int, each: int) -> float:
        async def one(client: int) -> None:
            for _ in range(each):
                await self._node.registry.whereis(f"{self._node.name}/0/0/0")

        return await _timed(asyncio.gather(*(one(client) for client in range(clients))))

    async def peek(self, clients: int, each: int) -> float:
        async def one() -> None:
            peek, name = self._node.registry.peek, f"{self._node.name}/0/0/0"
            for _ in range(each):
                peek(name)

        return await _timed(one())

    async def write(self, clients: int, each: int) -> float:
        """Seconds until the next registration succeeds, asked again and again."""

        async def one() -> None:
            ref = await self._node.start(Idle)
            while True:
                self._tags += 1
                try:
                    await self._node.registry.register(f"{self._node.name}/write/{self._tags}", ref)
                    return
                except OutcomeUnknown:
                    continue
                except QuorateError:
                    await asyncio.sleep(0.002)

        return await _timed(one())

    async def status(self, clients: int, each: int) -> Any:
        return self._node.status()


async def _timed(work: Awaitable[object]) -> float:
    started = time.perf_counter()
    await work
    return time.perf_counter() - started


async def main(name: str, voters: str, data_dir: str, preset: str) -> None:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with quorate.Node(
        name, cookie="benchmark", voters=voters.split(","), data_dir=data_dir, preset=preset
    ) as node:
        bench = Bench(node)
        print(json.dumps({"ready": name}), flush=True)
        while line := await reader.readline():
            request = json.loads(line)
            operation: Callable[[int, int], Awaitable[Any]] = getattr(bench, request["op"])
            result = await operation(request.get("clients", 1), request.get("each", 1))
            print(json.dumps({"result": result}), flush=True)


if __name__ == "__main__":
    quorate.run(main(*sys.argv[1:5]))
