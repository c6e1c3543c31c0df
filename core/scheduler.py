"""When processes run: a run queue per node.

The scheduler is the authority over turns: it takes one place in the loop's queue however many processes are
ready, gives each at most `slice_messages` before the next has its turn, and returns to the loop after
`turn_messages`, so that nobody starves the node's sockets and timers. Calls of idle servers are handled in their
callers' turns, but only so many in a row: then one goes through the queue, and so round the loop. What must never
happen here: a process runs inside another step of itself.
"""

import asyncio
import contextvars
import math
from collections import deque
from collections.abc import Callable
from typing import NoReturn, Protocol

from .runtime import Clock, LoopWatch
from .telling import Log

log = Log("quorate.process")

DEPTH_LIMIT = 10  # of calls that are handled in their callers' turns, one inside the other


class Runnable(Protocol):
    """What can wait for its turn."""

    scheduled: bool  # in the queue, or running: not to be queued again

    def run(self, budget: int) -> int:
        """Handle up to `budget` messages; return how many it were."""
        ...

    def broken(self, error: BaseException) -> None:
        """`run` itself failed, which is a bug of this library: end the process."""
        ...

    def describe(self) -> str: ...


class ClockWatch:
    """The `LoopWatch` of a loop without threads, as in a simulation: it always looks, and sees the time alone."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    @property
    def tick(self) -> float:
        return self._clock.monotonic()

    def held_since(self, tick: float) -> float:
        return tick

    def stack_since(self, began: float) -> str | None:
        return None

    def collecting_s(self, began: float) -> float:
        return 0.0

    def stop(self) -> None:
        pass


class Scheduler:
    """The run queue of one node."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        *,
        slice_messages: int,
        turn_messages: int,
        slow_s: float,
    ) -> None:
        self.loop = loop
        self.slice_messages = slice_messages
        self._clock = clock
        self._turn_messages = turn_messages
        self.slow_s = slow_s
        self.ready: deque[Runnable] = deque()
        self._armed = False
        self.at_once_left = (
            turn_messages  # calls that may be handled in their callers' turns before the next turn
        )
        self._context = contextvars.copy_context()  # of who opens the node; processes run in their own
        self.watch: LoopWatch = ClockWatch(clock)
        self._turned = -math.inf  # when the last turn began
        self.slow_reports = 0
        self.depth = 0  # of calls that are handled in their callers' turns, one inside the other

    def wake(self, process: Runnable) -> None:
        """Give `process` a turn, unless it is about to have one or is having it."""
        if process.scheduled:
            return
        self.ready.append(process)
        process.scheduled = True
        if not self._armed:
            self.arm()

    def requeue(self, process: Runnable) -> None:
        """Give a process that is `scheduled` already another turn, behind the others."""
        self.ready.append(process)
        if not self._armed:
            self.arm()

    def arm(self) -> None:
        """See that the queue has a turn."""
        self.loop.call_soon(self._turn, context=self._context)
        self._armed = True  # not before: a sender whose stack is used up gets a RecursionError here

    def _turn(self) -> None:
        self._armed = False
        self.at_once_left = self._turn_messages
        ready = self.ready
        budget = self._turn_messages
        watch = self.watch
        self._turned = self._clock.monotonic()
        while ready and budget > 0:
            process = ready.popleft()
            tick = watch.tick
            try:
                budget -= process.run(min(budget, self.slice_messages)) + 1
            except BaseException as error:
                log.exception("bug in quorate: a turn of %s failed", process.describe())
                process.broken(error)
                if isinstance(error, KeyboardInterrupt):
                    self.pass_on(error)
            if watch.tick != tick:
                self.ticked(process.describe, tick)
        if ready and not self._armed:
            self.arm()

    def ticked(self, describe: Callable[[], str], tick: float, where: str = "") -> None:
        """The watch has looked since `tick`, and one process had the loop meanwhile: report it if it was for too long.

        When exactly it began is not known: soon after that look, and in this turn. `where`: what is known of the
        place, for when nobody saw the stack.
        """
        now = self._clock.monotonic()
        seconds = now - max(self.watch.held_since(tick), self._turned)
        if seconds > self.slow_s:
            self._report_slow(describe(), now - seconds, seconds, where)

    def _report_slow(self, who: str, began: float, seconds: float, where: str) -> None:
        """A process held the loop for too long: nothing else of this node could run.

        A garbage collection holds it too, and whoever has his turn then is not to blame.
        """
        self.slow_reports += 1
        stack = self.watch.stack_since(began)
        collecting_s = self.watch.collecting_s(began)
        log.warning(
            "%s held the event loop for at least %.3f s%s: use `await asyncio.to_thread(...)` for work that blocks%s",
            who,
            seconds,
            f" ({collecting_s:.3f} s of them in garbage collection)" if collecting_s > 0 else "",
            f"; it was here:\n{stack}" if stack else f"; {where}" if where else "",
            extra={
                "quorate": {"event": "slow", "who": who, "seconds": seconds, "where": where, "stack": stack}
                | {"collecting_s": collecting_s}
            },
        )

    def pass_on(self, error: KeyboardInterrupt) -> None:
        """Let the user's Ctrl-C stop the program, after the process in which it arrived has ended in order."""
        self.loop.call_soon(_raise, error)


def _raise(error: BaseException) -> NoReturn:
    raise error
