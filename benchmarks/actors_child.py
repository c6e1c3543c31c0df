"""One system of `actors.py`, one round: prints its figures as a line of JSON."""

import asyncio
import gc
import importlib
import json
import os
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

IDLE = 100_000
STARTS = 20_000
CALLS = 50_000
ONE_WAY = 300_000
CALLERS, EACH = 100, 500
RING, LAPS = 1_000, 100


def resident() -> int:
    """Bytes of memory that this process has in use."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def rate(count: int, began: float) -> float:
    return count / (time.perf_counter() - began)


async def timed(count: int, work: Awaitable[object]) -> float:
    began = time.perf_counter()
    await work
    return rate(count, began)


async def repeat(times: int, act: Callable[[], Awaitable[object]]) -> None:
    for _ in range(times):
        await act()


async def by_many(act: Callable[[], Awaitable[object]]) -> None:
    await asyncio.gather(*(repeat(EACH, act) for _ in range(CALLERS)))


async def quorate_figures() -> dict[str, float]:
    import quorate

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

    figures: dict[str, float] = {}
    loop = asyncio.get_running_loop()
    async with quorate.Node("bench@127.0.0.1:19398", cookie="benchmark") as node:
        ref = await node.start(Server)
        await repeat(1_000, lambda: ref.call(Server.add, 1))
        began = time.perf_counter()
        refs = [await node.start(Server) for _ in range(STARTS)]
        figures["start"] = rate(STARTS, began)
        for each in refs:
            node.exit(each.pid, "kill")
        refs.clear()
        gc.collect()
        before = resident()
        kept = [await node.start(Server) for _ in range(IDLE)]
        figures["memory"] = (resident() - before) / IDLE
        for each in kept:
            node.exit(each.pid, "kill")
        del kept
        gc.collect()
        before = resident()
        pids = [node.spawn(idle) for _ in range(IDLE)]
        await asyncio.sleep(0.5)
        figures["memory_body"] = (resident() - before) / IDLE
        for pid in pids:
            node.exit(pid, "kill")
        del pids
        await asyncio.sleep(0.5)
        gc.collect()

        done: asyncio.Future[None] = loop.create_future()
        pid = node.spawn(sink, done)
        await asyncio.sleep(0)
        began = time.perf_counter()
        for number in range(ONE_WAY):
            node.send(pid, number)
        await done
        figures["one_way"] = rate(ONE_WAY, began)
        call = ref.call
        figures["call"] = await timed(CALLS, repeat(CALLS, lambda: call(Server.add, 1)))
        figures["call_async"] = await timed(CALLS, repeat(CALLS, lambda: call(Server.add_async, 1)))
        figures["callers"] = await timed(CALLERS * EACH, by_many(lambda: call(Server.add, 1)))
        done = loop.create_future()
        end = following = node.spawn(last, done)
        for _ in range(RING - 1):
            following = node.spawn(hop, following)
        node.send(end, following)
        await asyncio.sleep(0.1)
        began = time.perf_counter()
        node.send(following, 1)
        await done
        figures["ring"] = rate(RING * LAPS, began)
    return figures


class RawActor:
    """What one writes without a library: a task, a deque, a future that wakes it, a future per answer."""

    __slots__ = ("mailbox", "task", "total", "waiter")

    def __init__(self) -> None:
        self.mailbox: deque[tuple[int, asyncio.Future[int] | None]] = deque()
        self.waiter: asyncio.Future[None] | None = None
        self.total = 0
        self.task = asyncio.create_task(self.run())

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while not self.mailbox:
                self.waiter = loop.create_future()
                await self.waiter
            number, answer = self.mailbox.popleft()
            self.total += number
            if answer is not None:
                answer.set_result(self.total)

    def send(self, number: int, answer: "asyncio.Future[int] | None" = None) -> None:
        self.mailbox.append((number, answer))
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    async def call(self, number: int) -> int:
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.send(number, answer)
        return await answer


class RawSink(RawActor):
    __slots__ = ("done", "left")

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(self.left):
            while not self.mailbox:
                self.waiter = loop.create_future()
                await self.waiter
            self.mailbox.popleft()
        self.done.set_result(None)

    def __init__(self, left: int, done: "asyncio.Future[None]") -> None:
        self.left, self.done = left, done
        super().__init__()


class RawHop(RawActor):
    __slots__ = ("following",)

    def __init__(self, following: RawActor) -> None:
        self.following = following
        super().__init__()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while not self.mailbox:
                self.waiter = loop.create_future()
                await self.waiter
            self.following.send(self.mailbox.popleft()[0])


class RawLast(RawSink):
    __slots__ = ("first",)
    first: RawActor

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for lap in range(self.left):
            while not self.mailbox:
                self.waiter = loop.create_future()
                await self.waiter
            number, _ = self.mailbox.popleft()
            if lap < self.left - 1:
                self.first.send(number)
        self.done.set_result(None)


async def asyncio_figures() -> dict[str, float]:
    figures: dict[str, float] = {}
    loop = asyncio.get_running_loop()
    server = RawActor()
    await repeat(1_000, lambda: server.call(1))
    began = time.perf_counter()
    actors = [RawActor() for _ in range(STARTS)]
    await asyncio.sleep(0)
    figures["start"] = rate(STARTS, began)
    for actor in actors:
        actor.task.cancel()
    await asyncio.sleep(0.1)
    actors.clear()
    gc.collect()
    before = resident()
    kept = [RawActor() for _ in range(IDLE)]
    await asyncio.sleep(0.5)
    figures["memory"] = figures["memory_body"] = (resident() - before) / IDLE
    for actor in kept:
        actor.task.cancel()
    await asyncio.sleep(0.5)
    del kept
    gc.collect()
    done: asyncio.Future[None] = loop.create_future()
    sink = RawSink(ONE_WAY, done)
    await asyncio.sleep(0)
    began = time.perf_counter()
    for number in range(ONE_WAY):
        sink.send(number)
    await done
    figures["one_way"] = rate(ONE_WAY, began)
    figures["call"] = figures["call_async"] = await timed(CALLS, repeat(CALLS, lambda: server.call(1)))
    figures["callers"] = await timed(CALLERS * EACH, by_many(lambda: server.call(1)))
    done = loop.create_future()
    end = RawLast(LAPS, done)
    following: RawActor = end
    for _ in range(RING - 1):
        following = RawHop(following)
    end.first = following
    await asyncio.sleep(0.1)
    began = time.perf_counter()
    following.send(1)
    await done
    figures["ring"] = rate(RING * LAPS, began)
    return figures


def pykka_figures() -> dict[str, float]:
    pykka: Any = importlib.import_module("pykka")

    class Server(pykka.ThreadingActor):  # type: ignore[misc]
        total = 0

        def add(self, n: int) -> int:
            self.total += n
            return self.total

    proxy: Any = Server.start().proxy()
    try:
        began = time.perf_counter()
        for _ in range(5_000):
            proxy.add(1).get()
        return {"call": rate(5_000, began)}
    finally:
        pykka.ActorRegistry.stop_all()


async def xoscar_figures() -> dict[str, float]:
    xoscar: Any = importlib.import_module("xoscar")

    class Server(xoscar.Actor):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.total = 0

        def add(self, n: int) -> int:
            self.total += n
            return self.total

        async def add_async(self, n: int) -> int:
            self.total += n
            return self.total

    await xoscar.create_actor_pool("127.0.0.1:19399", n_process=0)
    ref: Any = await xoscar.create_actor(Server, address="127.0.0.1:19399", uid="bench")
    figures: dict[str, float] = {}
    figures["call"] = await timed(10_000, repeat(10_000, lambda: ref.add(1)))
    figures["call_async"] = await timed(10_000, repeat(10_000, lambda: ref.add_async(1)))
    return figures


def thespian_figures() -> dict[str, float]:
    actors: Any = importlib.import_module("thespian.actors")

    class Server(actors.Actor):  # type: ignore[misc]
        total = 0

        def receiveMessage(self, message: int, sender: Any) -> None:
            self.total += message
            self.send(sender, self.total)

    system = actors.ActorSystem("simpleSystemBase")
    address = system.createActor(Server)
    began = time.perf_counter()
    for _ in range(5_000):
        system.ask(address, 1)
    figures = {"call": rate(5_000, began)}
    system.shutdown()
    return figures


def main(system: str) -> None:
    import uvloop

    figures: dict[str, float]
    match system:
        case "quorate":
            figures = uvloop.run(quorate_figures())
        case "asyncio":
            figures = uvloop.run(asyncio_figures())
        case "xoscar":
            figures = asyncio.run(xoscar_figures())
        case "pykka":
            figures = pykka_figures()
        case _:
            figures = thespian_figures()
    print(json.dumps(figures), flush=True)
    os._exit(0)  # without waiting for a hundred thousand tasks


if __name__ == "__main__":
    main(sys.argv[1])
