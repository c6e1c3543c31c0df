"""When processes run: a run queue per node, and the object through which asyncio drives a process's coroutine.

The scheduler is the authority over turns: it takes one place in the loop's queue however many processes are
ready, gives each at most `slice_messages` before the next has its turn, and returns to the loop after
`turn_messages`, so that nobody starves the node's sockets and timers. What must never happen here: an exception
of a process reaches the loop, or a process runs inside another step of itself.
"""

import asyncio
import contextvars
from collections import deque
from collections.abc import Coroutine
from typing import Any, NoReturn, Protocol

from .plain import show
from .runtime import Clock, StackWatch
from .telling import Log

log = Log("quorate.process")

Steps = Coroutine[Any, Any, Any]
PLACES_LIMIT = 10  # of the awaits, one inside the other, that a report names


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


class Stepped(Protocol):
    """What an `Activation` steps: a process, as far as its coroutines are concerned."""

    def gate_open(self) -> bool:
        """Whether its code may run now."""
        ...

    def returned(self, value: object) -> Steps | None:
        """A coroutine of the process returned; the next one to step, if there is one."""
        ...

    def raised(self, error: BaseException) -> Steps | None:
        """A coroutine of the process raised; the next one to step, if there is one."""
        ...

    def rest(self) -> None:
        """No coroutine is left to step: the task ends."""
        ...

    def broken(self, error: BaseException) -> None: ...

    def describe(self) -> str: ...


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
        self._ready: deque[Runnable] = deque()
        self._armed = False
        self._at_once = turn_messages
        self._context = contextvars.copy_context()  # of who opens the node; processes run in their own
        self.monotonic = clock.monotonic
        self.stacks: StackWatch | None = None
        self.slow_reports = 0

    def may_run_at_once(self) -> bool:
        """Whether a call of an idle server may be handled in its caller's turn: so many may in a row, then one goes
        round the loop, so that a caller which always has its answer at once cannot keep the loop to itself.
        """
        if self._at_once:
            self._at_once -= 1
            return True
        self._at_once = self._turn_messages
        return False

    def wake(self, process: Runnable) -> None:
        """Give `process` a turn, unless it is about to have one or is having it."""
        if process.scheduled:
            return
        process.scheduled = True
        self.requeue(process)

    def requeue(self, process: Runnable) -> None:
        """Give a process that is `scheduled` already another turn, behind the others."""
        self._ready.append(process)
        if not self._armed:
            self._armed = True
            self.loop.call_soon(self._turn, context=self._context)

    def _turn(self) -> None:
        self._armed = False
        ready = self._ready
        budget = self._turn_messages
        began = self.monotonic()
        while ready and budget > 0:
            process = ready.popleft()
            try:
                budget -= process.run(min(budget, self.slice_messages)) + 1
            except BaseException as error:
                log.exception("bug in quorate: a turn of %s failed", process.describe())
                process.broken(error)
                if isinstance(error, KeyboardInterrupt):
                    self.pass_on(error)
            ended = self.monotonic()
            if ended - began > self.slow_s:
                self.report_slow(process.describe(), ended - began)
            began = ended
        if ready and not self._armed:
            self._armed = True
            self.loop.call_soon(self._turn, context=self._context)

    def report_slow(self, who: str, seconds: float, where: str = "") -> None:
        """A process held the loop for too long: nothing else of this node could run.

        `where`: what is known of the place, for when nobody saw the stack while it was held.
        """
        self.slow_reports += 1
        stack = None if self.stacks is None else self.stacks.stack_since(self.monotonic() - seconds)
        log.warning(
            "%s held the event loop for %.3f s: use `await asyncio.to_thread(...)` for work that blocks%s",
            who,
            seconds,
            f"; it was here:\n{stack}" if stack else f"; {where}" if where else "",
            extra={
                "quorate": {"event": "slow", "who": who, "seconds": seconds, "where": where, "stack": stack}
            },
        )

    def pass_on(self, error: KeyboardInterrupt) -> None:
        """Let the user's Ctrl-C stop the program, after the process in which it arrived has ended in order."""
        self.loop.call_soon(_raise, error)

    def start(self, stepped: Stepped, steps: Steps, context: contextvars.Context, name: str) -> "Activation":
        """Run a coroutine of a process in a task of its own."""
        activation = Activation(self, stepped, steps)
        activation.task = asyncio.Task(activation, loop=self.loop, name=name, context=context)
        return activation


def _place(steps: Any) -> str:
    """Where a coroutine is suspended, outermost first; "" if it is not."""
    places: list[str] = []
    while steps is not None and len(places) < PLACES_LIMIT:
        frame = getattr(steps, "cr_frame", None)
        if frame is None:
            break
        code = frame.f_code
        places.append(f"{code.co_filename}:{frame.f_lineno} in {code.co_qualname}")
        steps = steps.cr_await
    return ", ".join(places)


def _raise(error: BaseException) -> NoReturn:
    raise error


class Activation(Coroutine[Any, Any, None]):
    """The coroutine that asyncio sees as the body of a process's task.

    It stands between the task and the process's own coroutines for three reasons: before *each* resumption it asks
    the process's gate, and throws `CancelledError` in when that is closed; it lets no exception out; and when one
    message is done it goes on with the next in the same task.
    """

    __slots__ = ("_abandoned", "_scheduler", "_stepped", "_steps", "task")

    def __init__(self, scheduler: Scheduler, stepped: Stepped, steps: Steps) -> None:
        self._scheduler = scheduler
        self._stepped = stepped
        self._steps: Steps | None = steps
        self._abandoned = False
        self.task: asyncio.Task[None] | None = None

    def cancel(self) -> None:
        """Cancel what the process awaits."""
        if self.task is not None:
            self.task.cancel()

    def abandon(self) -> None:
        """Run no further line of it, whatever it catches: the process has been declared dead."""
        self._abandoned = True
        self.cancel()

    def where(self) -> str:
        """Where its code is suspended, for people."""
        return _place(self._steps)

    def send(self, value: Any) -> Any:
        return self._step(None)

    def throw(self, kind: Any, value: Any = None, trace: Any = None) -> Any:
        error = value if isinstance(value, BaseException) else kind
        return self._step(error if isinstance(error, BaseException) else error())

    def close(self) -> None:
        if self._steps is not None:
            self._steps.close()

    def __await__(self) -> Any:
        raise RuntimeError("a process is not awaited: monitor it")

    # What debuggers and task printers look for in a coroutine.
    @property
    def __name__(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]  # made when asked for
        return self._stepped.describe()

    @property
    def cr_code(self) -> Any:
        return getattr(self._steps, "cr_code", None)

    @property
    def cr_frame(self) -> Any:
        return getattr(self._steps, "cr_frame", None)

    @property
    def cr_running(self) -> bool:
        return bool(getattr(self._steps, "cr_running", False))

    @property
    def cr_await(self) -> Any:
        return getattr(self._steps, "cr_await", None)

    def _step(self, error: BaseException | None) -> Any:
        scheduler = self._scheduler
        began = scheduler.monotonic()
        try:
            return self._advance(error)
        finally:
            held = scheduler.monotonic() - began
            if held > scheduler.slow_s:
                place = _place(self._steps)  # what held the loop lies before it
                scheduler.report_slow(
                    self._stepped.describe(), held, f"it went on to {place}" if place else ""
                )

    def _advance(self, error: BaseException | None) -> Any:
        stepped = self._stepped
        steps = self._steps
        while steps is not None:
            if self._abandoned:
                self._drop(steps)
                break
            if error is None and not stepped.gate_open():
                error = asyncio.CancelledError("the gate of the process is closed")
            try:
                if error is None:
                    return steps.send(None)
                thrown, error = error, None
                return steps.throw(thrown)
            except StopIteration as stop:
                following = self._after(stepped.returned, stop.value)
            except BaseException as failure:  # noqa: BLE001 -- whatever a process raises is its own end alone
                following = self._after(stepped.raised, failure)
            self._steps = steps = following
        if not self._abandoned:
            self._after(lambda _: stepped.rest(), None)
        raise StopIteration

    def _after(self, hook: Any, outcome: Any) -> Steps | None:
        try:
            following: Steps | None = hook(outcome)
        except BaseException as error:
            log.exception("bug in quorate: a step of %s failed", self._stepped.describe())
            self._stepped.broken(error)
            if isinstance(error, KeyboardInterrupt):
                self._scheduler.pass_on(error)
            return None
        return following

    def _drop(self, steps: Steps) -> None:
        self._steps = None
        try:
            steps.close()
        except BaseException as error:  # noqa: BLE001 -- code that refuses to end is left to the garbage collector
            log.warning("%s refused to end: %s", self._stepped.describe(), show(error))
