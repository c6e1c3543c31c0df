"""Quorate's figures for `actors.py`: each function takes one, on a node that the others have used before it."""

import asyncio
import gc
import time

import quorate

from .actors_measure import (
    CALLERS,
    CALLS,
    EACH,
    IDLE,
    LAPS,
    MILLION,
    ONE_WAY,
    RING,
    STARTS,
    by_many,
    collected_seldom,
    rate,
    repeat,
    resident,
    timed,
)


class Server(quorate.GenServer):
    def __init__(self) -> None:
        self.total = 0

    def add(self, n: int) -> int:
        self.total += n
        return self.total

    async def add_async(self, n: int) -> int:
        self.total += n
        return self.total


async def idle(self: quorate.Process) -> None:
    await self.receive()


async def sink(self: quorate.Process, done: "asyncio.Future[None]") -> None:
    for _ in range(ONE_WAY):
        await self.receive()
    done.set_result(None)


async def hop(self: quorate.Process, following: quorate.Pid) -> None:
    while True:
        self.send(following, await self.receive())


async def last(self: quorate.Process, done: "asyncio.Future[None]") -> None:
    first = await self.receive()
    for _ in range(LAPS - 1):
        self.send(first, await self.receive())
    await self.receive()
    done.set_result(None)


def bench_node() -> quorate.Node:
    return quorate.Node("bench@127.0.0.1:19398", cookie="benchmark")


async def quorate_figures() -> dict[str, float]:
    async with bench_node() as node:
        ref = await node.start(Server)
        await repeat(1_000, lambda: ref.call(Server.add, 1))
        figures = {"start": await starts(node)}
        with collected_seldom():
            figures["start_seldom"] = await starts(node)
        figures["memory"] = await memory_of_servers(node)
        figures["memory_body"] = await memory_of_bodies(node)
        figures["one_way"] = await one_way(node)
        call = ref.call
        figures["call"] = await timed(CALLS, repeat(CALLS, lambda: call(Server.add, 1)))
        figures["call_async"] = await timed(CALLS, repeat(CALLS, lambda: call(Server.add_async, 1)))
        figures["callers"] = await timed(CALLERS * EACH, by_many(lambda: call(Server.add, 1)))
        figures["ring"] = await ring(node)
    return figures


async def starts(node: quorate.Node) -> float:
    began = time.perf_counter()
    refs = [await node.start(Server) for _ in range(STARTS)]
    per_s = rate(STARTS, began)
    for each in refs:
        node.exit(each.pid, "kill")
    return per_s


async def memory_of_servers(node: quorate.Node) -> float:
    gc.collect()
    before = resident()
    kept = [await node.start(Server) for _ in range(IDLE)]
    each_bytes = (resident() - before) / IDLE
    for each in kept:
        node.exit(each.pid, "kill")
    return each_bytes


async def memory_of_bodies(node: quorate.Node) -> float:
    gc.collect()
    before = resident()
    pids = [node.spawn(idle) for _ in range(IDLE)]
    await asyncio.sleep(0.5)
    each_bytes = (resident() - before) / IDLE
    for pid in pids:
        node.exit(pid, "kill")
    del pids
    await asyncio.sleep(0.5)
    gc.collect()
    return each_bytes


async def one_way(node: quorate.Node) -> float:
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    pid = node.spawn(sink, done)
    await asyncio.sleep(0)
    began = time.perf_counter()
    for number in range(ONE_WAY):
        node.send(pid, number)
    await done
    return rate(ONE_WAY, began)


async def ring(node: quorate.Node) -> float:
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    end = following = node.spawn(last, done)
    for _ in range(RING - 1):
        following = node.spawn(hop, following)
    node.send(end, following)
    await asyncio.sleep(0.1)
    began = time.perf_counter()
    node.send(following, 1)
    await done
    return rate(RING * LAPS, began)


async def million_figures() -> dict[str, float]:
    """All memory of this process, the interpreter too, with a million servers that have answered a call and are idle."""
    async with bench_node() as node:
        kept = [await node.start(Server) for _ in range(MILLION)]
        for ref in kept:
            await ref.call(Server.add, 1)
        gc.collect()
        return {"million": resident() / 1e9}
