"""Waiting by the `Clock` port: what `asyncio.sleep` and `asyncio.timeout` are by the loop's clock."""

import asyncio
import math
from collections.abc import Callable
from types import TracebackType
from typing import Self

from .runtime import Clock, Timer


def check_delay(delay_s: float) -> None:
    """Raise `ValueError` for what is not a number: in a loop that is given such a time, no other timer is kept either."""
    if math.isnan(delay_s):
        raise ValueError(f"a time must be a number of seconds, not {delay_s}")


async def sleep(clock: Clock, delay_s: float) -> None:
    """Suspend the caller for `delay_s` seconds of `clock`."""
    woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def wake() -> None:
        if not woken.done():
            woken.set_result(None)

    timer = clock.call_later(delay_s, wake)
    try:
        await woken
    finally:
        timer.cancel()


class MessageTimer:
    """A message that will be sent: made by `send_after`. Its node is the authority over whether it was.

    `among`: the timers of its receiver, in which it is until it is over.
    """

    __slots__ = ("_among", "_clock", "_due_s", "_timer")

    def __init__(
        self,
        clock: Clock,
        delay_s: float,
        act: Callable[[], object],
        among: "dict[MessageTimer, None] | None" = None,
    ) -> None:
        check_delay(delay_s)
        self._clock = clock
        self._among = among
        if among is not None:
            among[self] = None
        self._due_s: float | None = clock.monotonic() + max(0.0, delay_s)
        self._timer = clock.call_later(delay_s, self._fire, act)

    def cancel(self) -> None:
        """Do not send it. Harmless when it was sent, or cancelled, already."""
        self._over()
        self._timer.cancel()

    def left_s(self) -> float | None:
        """Seconds until it is sent; None: it was, or it was cancelled."""
        return None if self._due_s is None else max(0.0, self._due_s - self._clock.monotonic())

    def _fire(self, act: Callable[[], object]) -> None:
        if self._due_s is not None:
            self._over()
            act()

    def _over(self) -> None:
        self._due_s = None
        if self._among is not None:
            self._among.pop(self, None)
            self._among = None


class timeout:
    """`async with timeout(clock, delay_s):` cancels the body when time is up and raises `TimeoutError`.

    `delay_s` of None sets no bound; not a number raises `ValueError`. A cancellation from elsewhere passes through as
    `CancelledError`.
    """

    def __init__(self, clock: Clock, delay_s: float | None) -> None:
        if delay_s is not None:
            check_delay(delay_s)
        self._clock = clock
        self._delay_s = delay_s
        self._timer: Timer | None = None
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._expired = False

    async def __aenter__(self) -> Self:
        self._task = asyncio.current_task()
        if self._task is None:
            raise RuntimeError("timeout() needs a task: use it inside an async function that asyncio runs")
        self._cancelling = self._task.cancelling()
        if self._delay_s is not None:
            self._timer = self._clock.call_later(max(0.0, self._delay_s), self._expire)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if (
            self._expired
            and self._task is not None
            and self._task.uncancel() <= self._cancelling
            and kind is not None
            and issubclass(kind, asyncio.CancelledError)
        ):
            raise TimeoutError from error

    def _expire(self) -> None:
        assert self._task is not None
        self._expired = True
        self._task.cancel()
