"""The whole engine without links: programs on the simulation's loop, and clocks of nodes on it."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from quorate.jepsen_like.simulation import simulate

T = TypeVar("T")

LIMIT_S = 300.0  # a test that takes longer waits for something that does not come


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` in imaginary time. An exception that reaches the loop's handler fails the test."""
    return simulate(lambda: main, limit_s=LIMIT_S)


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
