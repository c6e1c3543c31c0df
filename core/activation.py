"""Through what asyncio drives the coroutines of a process: a task, and the `Activation` that is the task's body.

A coroutine of a server takes its first step at once, as the task it belongs to (`asyncio.current_task()` is that task),
in the turn of whoever has it handled; only what has to wait is left to the task. A server's task is kept a while for
its next messages (`KeptTasks`), since making one costs more than most messages do.
What must never happen here: an exception of a process reaches the loop, a line of a process runs while its gate is
closed or after it was declared dead, or a cancellation that was meant for one message hits the next.
"""

import asyncio
from asyncio import _enter_task, _leave_task, current_task
from collections.abc import Coroutine, Generator
from contextvars import Context
from types import GeneratorType, coroutine
from typing import Any, Protocol

from .calls import HANDLING, Handling
from .plain import show
from .runtime import Clock, Timer
from .scheduler import Scheduler
from .telling import Log

log = Log("quorate.process")

Steps = Coroutine[Any, Any, Any]
PLACES_LIMIT = 10  # of the awaits, one inside the other, that a report names
KEPT_S = 1.0
KEPT_TASKS = 1_000  # per node, about 1 kB each
_NOTHING = object()  # is awaited


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
        """No coroutine is left to step."""
        ...

    def broken(self, error: BaseException) -> None: ...

    def describe(self) -> str: ...


class Finished:
    """What a driver yields when a coroutine has returned `value`."""

    __slots__ = ("value",)

    value: Any


Driver = Generator[Any, Any, None]


@coroutine
def _drive(finished: Finished) -> Driver:
    """Runs coroutines one after the other, with no exception to say that one has returned: that is twice as fast."""
    order = yield finished
    while True:
        handling, steps = order
        HANDLING.set(handling)
        finished.value = yield from steps
        order = yield finished


class Activation(Coroutine[Any, Any, None]):
    """The coroutine that asyncio sees as the body of a process's task.

    It stands between the task and the process's own coroutines for three reasons: before *each* resumption it asks
    the process's gate, and throws `CancelledError` in when that is closed; it lets no exception out; and when one
    message is done it goes on with the next in the same task. While nothing is in progress the task ends, or waits for
    a future of its own if it is kept.
    """

    __slots__ = (
        "_awaited",
        "_context",
        "_driver",
        "_kept",
        "_parked",
        "_scheduler",
        "_stepped",
        "_steps",
        "abandoned",
        "finished",
        "task",
    )

    def __init__(
        self,
        scheduler: Scheduler,
        stepped: Stepped,
        steps: Steps | None,
        context: Context,
        name: str,
        *,
        kept: bool = False,
    ) -> None:
        self._scheduler = scheduler
        self._stepped = stepped
        self._steps: Steps | Driver | None = steps
        self._driver: Driver | None = None
        self.finished = Finished()
        self._context = context
        self._kept = kept
        self.abandoned = False
        self._awaited: Any = _NOTHING  # what the first step awaits, until the task is told
        self._parked: asyncio.Future[None] | None = None  # what the task waits for while it is kept
        self.task: asyncio.Task[None] = asyncio.Task(self, loop=scheduler.loop, name=name, context=context)

    # -- the first step ------------------------------------------------------------------------------------

    def first_step(self, handling: Handling, steps: Steps) -> Any:
        """Step a coroutine for the first time, here and now, as a step of this task: what it awaits is returned, or
        `finished` with its value. What it raises is raised.

        (https://docs.python.org/3/library/asyncio-extending.html#task-lifetime-support)
        """
        driver: Any = self._driver
        if driver is None:
            driver = _drive(self.finished)
            driver.send(None)
            self._driver = driver
        loop, task = self._scheduler.loop, self.task
        outer = current_task(loop)
        if outer is not None:
            _leave_task(loop, outer)
        _enter_task(loop, task)
        try:
            return self._context.run(driver.send, (handling, steps))
        except BaseException:
            self._driver = None
            raise
        finally:
            _leave_task(loop, task)
            if outer is not None:
                _enter_task(loop, outer)

    def go_on(self, awaited: Any) -> None:
        """The task takes over: the coroutine of `first_step` waits for `awaited`."""
        self._steps = self._driver
        self._awaited = awaited
        self._unpark()

    def begin_later(self, handling: Handling, steps: Steps) -> None:
        """The task takes over a coroutine of which no line has run."""
        self._context.run(HANDLING.set, handling)
        self._steps = steps
        self._unpark()

    def begin(self, steps: Steps) -> None:
        """Step a coroutine now, as a step of this task. What it has to wait for, the task waits for."""
        self._steps = steps
        scheduler = self._scheduler
        loop, task = scheduler.loop, self.task
        outer = current_task(loop)
        if outer is not None:
            _leave_task(loop, outer)
        _enter_task(loop, task)
        scheduler.depth += 1
        try:
            awaited = self._context.run(self._advance, None)
        finally:
            scheduler.depth -= 1
            _leave_task(loop, task)
            if outer is not None:
                _enter_task(loop, outer)
        if awaited is not self:
            self._awaited = awaited
            self._unpark()

    # -- the task ------------------------------------------------------------------------------------------

    def send(self, value: Any) -> Any:
        self._parked = None
        if self._steps is None:
            return self._pause()
        awaited, self._awaited = self._awaited, _NOTHING
        return self._step(None) if awaited is _NOTHING else awaited

    def throw(self, kind: Any, value: Any = None, trace: Any = None) -> Any:
        error = value if isinstance(value, BaseException) else kind
        error = error if isinstance(error, BaseException) else error()
        self._parked = None
        if self._steps is None:
            raise StopIteration  # cancelled while nothing was in progress
        awaited, self._awaited = self._awaited, _NOTHING
        if awaited is not _NOTHING and isinstance(error, asyncio.CancelledError):
            if not self.task.cancelling():  # it was cancelled in the first step, and that was taken back
                return awaited
            cancelled = asyncio.isfuture(awaited) and not self.abandoned and awaited.cancel(*error.args)
            if cancelled:  # as of any task: who is cancelled cancels what he waits for, and that wakes him
                return awaited
        return self._step(error)

    def close(self) -> None:
        if self._steps is not None:
            self._steps.close()

    def __await__(self) -> Any:
        raise RuntimeError("a process is not awaited: monitor it")

    def cancel(self) -> None:
        """Cancel what the process awaits."""
        self.task.cancel()

    def abandon(self) -> None:
        """Run no further line of it, whatever it catches: the process has been declared dead."""
        self.abandoned = True
        self.task.cancel()

    def is_clean(self) -> bool:
        """Whether the task may go on with another message: no cancellation is left behind by the last."""
        return not self.task.cancelling()

    def is_ready(self) -> bool:
        """Whether the task waits for another message, and may take it."""
        if self._parked is not None:
            return not self._parked.done()
        return not (self.abandoned or self.task.done() or self.task.cancelling())

    def release(self) -> None:
        """Keep the task no longer: it ends when nothing is in progress."""
        self._kept = False
        self._unpark()

    def _unpark(self) -> None:
        if self._parked is not None and not self._parked.done():
            self._parked.set_result(None)

    def _pause(self) -> Any:
        """Nothing is in progress: the task waits for the next message, if it is kept."""
        if not self._kept or self.abandoned or self.task.cancelling():
            raise StopIteration
        self._parked = parked = self._scheduler.loop.create_future()
        parked._asyncio_future_blocking = True  # as `await parked` would say
        return parked

    # -- steps ---------------------------------------------------------------------------------------------

    def _step(self, error: BaseException | None) -> Any:
        scheduler = self._scheduler
        tick = scheduler.watch.tick
        try:
            awaited = self._advance(error)
        finally:
            if scheduler.watch.tick != tick:
                scheduler.ticked(self._stepped.describe, tick, went_on(self._steps))
        return self._pause() if awaited is self else awaited

    def _advance(self, error: BaseException | None) -> Any:
        """Step until something has to be awaited, which is returned; `self`: nothing is in progress any more."""
        stepped = self._stepped
        steps = self._steps
        while steps is not None:
            if self.abandoned:
                self._drop(steps)
                return self
            if error is None and not stepped.gate_open():
                error = asyncio.CancelledError("the gate of the process is closed")
            try:
                if error is None:
                    awaited = steps.send(None)
                else:
                    thrown, error = error, None
                    awaited = steps.throw(thrown)
                if awaited is not self.finished:
                    return awaited
                value, awaited.value = awaited.value, None
                following = self._after(stepped.returned, value)
            except StopIteration as stop:
                following = self._after(stepped.returned, stop.value)
            except BaseException as failure:  # noqa: BLE001 -- whatever a process raises is its own end alone
                self._driver = None
                following = self._after(stepped.raised, failure)
            self._steps = steps = following
        if not self.abandoned:
            self._after(lambda _: stepped.rest(), None)
        return self

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

    def _drop(self, steps: Steps | Driver) -> None:
        self._steps = self._driver = None
        try:
            steps.close()
        except BaseException as error:  # noqa: BLE001 -- code that refuses to end is left to the garbage collector
            log.warning("%s refused to end: %s", self._stepped.describe(), show(error))

    # -- people --------------------------------------------------------------------------------------------

    def where(self) -> str:
        """Where its code is suspended, for people."""
        return _place(self._steps)

    def _code(self, name: str) -> Any:
        steps = self._steps.gi_yieldfrom if isinstance(self._steps, GeneratorType) else self._steps
        return getattr(steps, name, None)

    # What debuggers and task printers look for in a coroutine.
    @property
    def __name__(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]  # made when asked for
        return self._stepped.describe()

    @property
    def cr_code(self) -> Any:
        return self._code("cr_code")

    @property
    def cr_frame(self) -> Any:
        return self._code("cr_frame")

    @property
    def cr_running(self) -> bool:
        return bool(self._code("cr_running"))

    @property
    def cr_suspended(self) -> bool:
        return bool(self._code("cr_suspended"))

    @property
    def cr_await(self) -> Any:
        return self._code("cr_await")


class Owner(Stepped, Protocol):
    """A process whose task may be kept."""

    @property
    def context(self) -> Context: ...

    @property
    def label(self) -> str: ...


class KeptTasks:
    """The tasks of the servers of one node that may soon have another message to handle.

    Each is kept for up to `KEPT_S` seconds, busy or not: so a server that is idle has none.
    """

    __slots__ = ("_clock", "_scheduler", "_tasks", "_timer")

    def __init__(self, scheduler: Scheduler, clock: Clock) -> None:
        self._scheduler = scheduler
        self._clock = clock
        self._tasks: dict[object, Activation] = {}
        self._timer: Timer | None = None

    def of(self, owner: Owner) -> Activation:
        """The task in which a server's next coroutine runs."""
        kept = self._tasks.get(owner)
        if kept is not None and kept.is_ready():
            return kept
        self.release(owner)
        if len(self._tasks) >= KEPT_TASKS:
            self.release(next(iter(self._tasks)))
        made = Activation(self._scheduler, owner, None, owner.context, owner.label, kept=True)
        self._tasks[owner] = made
        if self._timer is None:
            self._timer = self._clock.call_later(KEPT_S, self._release_all)
        return made

    def release(self, owner: object) -> None:
        """Let the task of a process end, if it has one that is kept."""
        if self._tasks:
            kept = self._tasks.pop(owner, None)
            if kept is not None:
                kept.release()

    def close(self) -> None:
        """Keep none any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._release_all()

    def _release_all(self) -> None:
        self._timer = None
        tasks, self._tasks = self._tasks, {}
        for kept in tasks.values():
            kept.release()


def went_on(steps: Any) -> str:
    """Where a coroutine went on to, for a report of what lies before that place; "" if it has ended."""
    place = _place(steps)
    return f"it went on to {place}" if place else ""


def _place(steps: Any) -> str:
    """Where a coroutine is suspended, outermost first; "" if it is not."""
    places: list[str] = []
    if isinstance(steps, GeneratorType):
        steps = steps.gi_yieldfrom
    while steps is not None and len(places) < PLACES_LIMIT:
        frame = getattr(steps, "cr_frame", None)
        if frame is None:
            break
        code = frame.f_code
        places.append(f"{code.co_filename}:{frame.f_lineno} in {code.co_qualname}")
        steps = steps.cr_await
    return ", ".join(places)
