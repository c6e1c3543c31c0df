"""One system of `actors.py`, one round: prints its figures as a line of JSON."""

import asyncio
import gc
import importlib
import json
import os
import sys
import time
from collections import deque
from typing import Any

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


async def starts() -> float:
    began = time.perf_counter()
    actors = [RawActor() for _ in range(STARTS)]
    await asyncio.sleep(0)
    per_s = rate(STARTS, began)
    for actor in actors:
        actor.task.cancel()
    await asyncio.sleep(0.1)
    return per_s


async def asyncio_figures() -> dict[str, float]:
    figures: dict[str, float] = {}
    loop = asyncio.get_running_loop()
    server = RawActor()
    await repeat(1_000, lambda: server.call(1))
    figures["start"] = await starts()
    with collected_seldom():
        figures["start_seldom"] = await starts()
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


async def asyncio_million() -> dict[str, float]:
    """As `million_figures` of `actors_ours.py`."""
    kept = [RawActor() for _ in range(MILLION)]
    for actor in kept:
        await actor.call(1)
    gc.collect()
    return {"million": resident() / 1e9}


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
        case "quorate" | "quorate-million":
            from . import actors_ours

            ours = actors_ours.million_figures if "-" in system else actors_ours.quorate_figures
            figures = uvloop.run(ours())
        case "asyncio" | "asyncio-million":
            figures = uvloop.run(asyncio_million() if "-" in system else asyncio_figures())
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
