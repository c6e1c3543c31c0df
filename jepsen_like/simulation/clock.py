"""The clock of one simulated boot. Its rate and its wall-clock jumps are faults; its zero is its own.

The group of the boot (`loop.py`) holds how its time relates to the world's, so that the loop's own time, which users'
asyncio code goes by, is the same clock.
"""

from collections.abc import Callable
from typing import Any

from quorate.core import Timer

from .loop import Group, SimLoop, current_group

LEAST_S = 1e-9
"""The shortest delay of a timer: less might not move a clock that shows 100,000 s, and who waits for it would wait for ever."""
EPOCH_S = 1_700_000_000.0  # the wall clock of the world at its start


class SimClock:
    """The `Clock` port of one boot. `reads_*` count, as evidence that somebody looked."""

    def __init__(self, loop: SimLoop, group: Group) -> None:
        self._loop = loop
        self._group = group
        self.wall_offset_s = 0.0
        self.reads_wall = 0
        self.reads_monotonic = 0

    @property
    def rate(self) -> float:
        """Seconds of this clock per second of the world."""
        return self._group.rate

    def monotonic(self) -> float:
        self.reads_monotonic += 1
        return self._group.local(self._loop.now)

    def wall(self) -> float:
        self.reads_wall += 1
        return EPOCH_S + self._loop.now + self.wall_offset_s

    def call_later(self, delay_s: float, callback: Callable[..., object], *args: Any) -> Timer:
        """As the port says. It runs as the boot's whoever asks: it waits while the boot is paused."""
        group = self._group
        context = None if current_group() is group else group.context
        when = self._loop.now + (max(LEAST_S, delay_s / group.rate) if delay_s > 0 else 0.0)
        return self._loop.call_at_world(when, callback, args, context)


class WorldClock:
    """The world's own time, for tests and workloads: nobody can pause it."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop

    def monotonic(self) -> float:
        return self._loop.now

    def wall(self) -> float:
        return EPOCH_S + self._loop.now

    def call_later(self, delay_s: float, callback: Callable[..., object], *args: Any) -> Timer:
        return self._loop.call_at_world(self._loop.now + max(0.0, delay_s), callback, args, None)
