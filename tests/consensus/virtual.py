"""An event loop whose time is imaginary, and clocks of nodes on it.

Time stands still while anything is ready to run, and jumps to the next timer when nothing is. So a test of hours takes
seconds, and the same test does the same things in the same order every time. There is no I/O.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

START_S = 1000.0
LIMIT_S = 300.0  # a test that takes longer waits for something that does not come


class VirtualLoop(asyncio.SelectorEventLoop):
    """Run coroutines on it by `run_virtual`. A program that waits for nothing at all fails with `RuntimeError`."""

    def __init__(self) -> None:
        self.now = START_S
        super().__init__(_Jump(self))

    def time(self) -> float:
        return self.now


class _Jump(selectors.SelectSelector):
    """Instead of waiting for I/O, moves the loop's time."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("everybody waits and nothing will ever happen")
        if self._loop.now > START_S + LIMIT_S:
            raise RuntimeError(f"not over after {LIMIT_S:g} seconds: what the test waits for does not happen")
        self._loop.now += max(0.0, timeout)
        return []


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` in imaginary time. An exception that reaches the loop's handler fails the test."""
    unhandled: list[dict[str, Any]] = []

    async def guarded() -> T:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: unhandled.append(context))
        return await main

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        result = runner.run(guarded())
    if unhandled:
        first = unhandled[0]
        raise AssertionError(f"{len(unhandled)} unhandled: {first}") from first.get("exception")
    return result


class VirtualClock:
    """The `Clock` port of one node. It may run at a `rate` other than 1, be paused with its node, and skip ahead."""

    def __init__(self, rate: float = 1.0, offset_s: float = 0.0) -> None:
        self._loop = asyncio.get_running_loop()
        self._rate = rate
        self._offset_s = offset_s
        self._late: list[Callable[[], None]] | None = None

    def monotonic(self) -> float:
        return self._loop.time() * self._rate + self._offset_s

    def wall(self) -> float:
        return 1_700_000_000.0 + self.monotonic()

    def call_later(self, delay_s: float, callback: Callable[..., object], *args: Any) -> "VirtualTimer":
        timer = VirtualTimer(self, callback, args)
        timer.handle = self._loop.call_later(max(0.0, delay_s) / self._rate, timer.fire)
        return timer

    def skip(self, seconds: float) -> None:
        """Move this clock ahead without running any timer."""
        self._offset_s += seconds

    def pause(self) -> None:
        """No timer runs until `resume`; time goes on."""
        if self._late is None:
            self._late = []

    def resume(self) -> None:
        """Run what became due meanwhile, now, in its order."""
        late, self._late = self._late or [], None
        for fire in late:
            fire()

    def postpone(self, fire: Callable[[], None]) -> bool:
        """For timers: True when this one has to wait for `resume`."""
        if self._late is None:
            return False
        self._late.append(fire)
        return True


class VirtualTimer:
    """A pending callback of a `VirtualClock`."""

    def __init__(self, clock: VirtualClock, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        self._clock = clock
        self._callback: Callable[..., object] | None = callback
        self._args = args
        self.handle: asyncio.TimerHandle | None = None

    def cancel(self) -> None:
        self._callback = None
        if self.handle is not None:
            self.handle.cancel()

    def fire(self) -> None:
        if not self._clock.postpone(self.fire) and self._callback is not None:
            self._callback(*self._args)
