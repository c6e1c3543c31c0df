"""The tasks of one stream that are under way: whose turn it is, who was too slow, and that all are shut down at its end.

The window is the authority over which tasks of its stream run. What must never happen here: more of them than it has
room for run or wait to be taken, or one outlives the stream.
"""

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from .runtime import Timer

if TYPE_CHECKING:
    from .kernel import Kernel
    from .task import Task


class Place:
    """One item of a stream: its task, and whether it was too slow."""

    __slots__ = ("late", "task", "timer")

    def __init__(self, task: "Task[Any]") -> None:
        self.task = task
        self.late = False
        self.timer: Timer | None = None

    def expire(self) -> None:
        if not self.task.done():
            self.late = True
            self.task.cancel()

    def error(self) -> BaseException | None:
        if self.late:
            return TimeoutError(f"{self.task} gave no result in time: it was shut down")
        return self.task._outcome.future.exception()


class Window:
    """The tasks of a stream that run, or whose results were not taken yet."""

    def __init__(self, kernel: "Kernel", size: int, timeout_s: float | None, *, ordered: bool) -> None:
        self.ended: deque[Place] = deque()  # those that are over, in the order in which they ended
        self._kernel = kernel
        self._size = size
        self._timeout_s = timeout_s
        self._ordered = ordered
        self._places: deque[Place] = deque()
        self._changed = asyncio.Event()

    def has_room(self) -> bool:
        return len(self._places) < self._size

    def is_empty(self) -> bool:
        return not self._places

    def add(self, task: "Task[Any]") -> None:
        place = Place(task)
        self._places.append(place)
        task._outcome.future.add_done_callback(lambda _: self._over(place))
        if self._timeout_s is not None:
            place.timer = self._kernel.clock.call_later(self._timeout_s, place.expire)

    async def change(self) -> None:
        """Return when a result can be taken, or when another task has ended."""
        if self._next() is None:
            self._changed.clear()
            await self._changed.wait()

    def take(self) -> Place | None:
        """Whose turn it is, if it is over."""
        place = self._next()
        if place is not None:
            self._places.remove(place)
            self.ended.remove(place)
        return place

    def cancel(self) -> None:
        for place in self._places:
            place.task.cancel()

    async def close(self) -> None:
        """Shut down what still runs, and wait for it."""
        self.cancel()
        for place in self._places:
            if place.timer is not None:
                place.timer.cancel()
        if self._places:
            await asyncio.wait([place.task._outcome.future for place in self._places])

    def _next(self) -> Place | None:
        if not self._ordered:
            return self.ended[0] if self.ended else None
        return self._places[0] if self._places and self._places[0] in self.ended else None

    def _over(self, place: Place) -> None:
        self.ended.append(place)
        self._changed.set()
        if place.timer is not None:
            place.timer.cancel()
