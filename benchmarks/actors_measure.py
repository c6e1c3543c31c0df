"""What the children of `actors.py` share: how much of each, and how time and memory are taken."""

import asyncio
import gc
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

IDLE = 100_000
MILLION = 1_000_000
STARTS = 20_000
CALLS = 50_000
ONE_WAY = 300_000
CALLERS, EACH = 100, 500
RING, LAPS = 1_000, 100


@contextmanager
def collected_seldom() -> Iterator[None]:
    """With the garbage collector set as docs/processes.md advises for very many processes."""
    usual = gc.get_threshold()
    gc.set_threshold(100_000, 20, 50)
    try:
        yield
    finally:
        gc.set_threshold(*usual)


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
