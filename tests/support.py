"""What tests of every part share: a runner, a clock that the test moves, and randomness from a seed.

`ManualClock` and `SeededEntropy` implement the ports of `core/runtime.py`, so a test decides what time it is
and nothing ever waits for a real second.
"""

import asyncio
import heapq
import random
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T], *, allow_unhandled: bool = False) -> T:
    """`asyncio.run`, but an exception that reaches the loop's exception handler fails the test.

    (A callback that raised, or a task whose exception nobody retrieved; asyncio itself would only log them.)
    """
    unhandled: list[dict[str, Any]] = []

    async def guarded() -> T:
        if not allow_unhandled:
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: unhandled.append(context))
        return await main

    result = asyncio.run(guarded())
    if unhandled:
        first = unhandled[0]
        raise AssertionError(f"{len(unhandled)} unhandled: {first.get('message')}") from first.get(
            "exception"
        )
    return result


async def turns(count: int = 20) -> None:
    """Let the loop make `count` turns, so that whatever is ready runs, and what that makes ready."""
    for _ in range(count):
        await asyncio.sleep(0)


@contextmanager
def eager_tasks() -> Iterator[None]:
    """Tasks that are made meanwhile take their first step before `create_task` returns.

    As with `asyncio.eager_task_factory`, which there is from Python 3.12 on; but the first step is one of the task
    that makes the new one.
    """
    loop = asyncio.get_running_loop()
    before = loop.get_task_factory()
    loop.set_task_factory(lambda loop, coro, **kwargs: asyncio.Task(_Begun(coro), loop=loop, **kwargs))
    try:
        yield
    finally:
        loop.set_task_factory(before)


class _Begun(Coroutine[Any, Any, T]):
    """A coroutine that has taken its first step already; for a task, which learns of that step in its own first."""

    def __init__(self, coro: Any) -> None:
        self._coro = coro
        self._awaited: Any = None
        self._ended: BaseException | None = None
        try:
            self._awaited = coro.send(None)
        except BaseException as ended:  # noqa: BLE001 -- `StopIteration` among them: it is raised in the task
            self._ended = ended

    def send(self, value: Any) -> Any:
        if self._ended is not None:
            raise self._ended
        awaited, self._awaited = self._awaited, None
        return self._coro.send(value) if awaited is None else awaited

    def throw(self, *error: Any) -> Any:
        self._awaited = None
        return self._coro.throw(*error)

    def close(self) -> None:
        self._coro.close()

    def __await__(self) -> Any:
        raise RuntimeError("it is for a task")


class ManualTimer:
    """A pending callback of `ManualClock`."""

    __slots__ = ("args", "callback", "cancelled", "due")

    def __init__(self, due: float, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.due = due
        self.callback = callback
        self.args = args
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True

    def fire(self) -> None:
        if not self.cancelled:
            self.cancelled = True
            self.callback(*self.args)


class ManualClock:
    """The `Clock` port, moved by the test.

    `advance` runs due timers one by one in order of their time, each at exactly its time, without loop turns
    in between; `pass_time` makes loop turns after each, as real time would. A timer of no delay needs no
    advance: it runs in a later turn of the loop when there is a loop, and at the next advance when there is
    none.
    """

    def __init__(self, start_s: float = 1000.0, wall_s: float = 1_700_000_000.0) -> None:
        self._now = start_s
        self._wall_offset = wall_s - start_s
        self._timers: list[tuple[float, int, ManualTimer]] = []
        self._made = 0

    def monotonic(self) -> float:
        return self._now

    def wall(self) -> float:
        return self._now + self._wall_offset

    def jump_wall(self, seconds: float) -> None:
        """Move the wall clock alone, as an operator or NTP does."""
        self._wall_offset += seconds

    def call_later(self, delay_s: float, callback: Callable[..., object], *args: Any) -> ManualTimer:
        timer = ManualTimer(self._now + max(0.0, delay_s), callback, args)
        if delay_s <= 0.0:
            try:
                asyncio.get_running_loop().call_soon(timer.fire)
                return timer
            except RuntimeError:
                pass
        self._made += 1
        heapq.heappush(self._timers, (timer.due, self._made, timer))
        return timer

    def next_due(self) -> float | None:
        """When the next timer is due, in this clock's monotonic seconds; None without timers."""
        while self._timers and self._timers[0][2].cancelled:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def advance(self, seconds: float) -> None:
        """Move time by `seconds` and run what becomes due, without loop turns in between."""
        end = self._now + seconds
        while self._fire_next(end):
            pass
        self._now = max(self._now, end)

    def skip(self, seconds: float) -> None:
        """Move time without running any timer, as a paused process sees it: late timers run afterwards."""
        self._now += seconds

    async def pass_time(self, seconds: float, turns_each: int = 20) -> None:
        """Move time by `seconds`, with `turns_each` turns of the loop before, after every timer, at the end."""
        end = self._now + seconds
        await turns(turns_each)
        while self._fire_next(end):
            await turns(turns_each)
        self._now = max(self._now, end)
        await turns(turns_each)

    def _fire_next(self, end: float) -> bool:
        due = self.next_due()
        if due is None or due > end:
            return False
        timer = heapq.heappop(self._timers)[2]
        self._now = max(self._now, due)
        timer.fire()
        return True


class SeededEntropy:
    """The `Entropy` port from a seed: the same seed, the same values."""

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)

    def random(self) -> float:
        return self._random.random()

    def token(self, size_bytes: int) -> bytes:
        return self._random.randbytes(size_bytes)
