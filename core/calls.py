"""Calls in flight: what a callee is asked, who waits for it, until when, and on whose behalf.

The caller's node is the authority over a pending call: whoever is first of the reply, the deadline, the loss of
the link and the caller's own end decides it, and everything that comes later is dropped before any mailbox.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Protocol, cast

from .errors import CallCycle, CallTimeout, NoProcess
from .pid import Pid
from .runtime import Clock, Timer
from .timers import check_delay


class Reply(Protocol):
    """Where the answer to a request goes; only the first answer counts."""

    def give(self, value: object) -> None: ...

    def refuse(self, error: Exception) -> None: ...


class Request:
    """A call (or a cast: `reply` is None) in a mailbox. `chain` holds the processes that wait for it."""

    __slots__ = ("args", "chain", "kwargs", "method", "reply")

    def __init__(
        self,
        method: str,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        reply: Reply | None,
        chain: tuple[Pid, ...] = (),
    ) -> None:
        self.method = method
        self.args = args
        self.kwargs = kwargs
        self.reply = reply
        self.chain = chain

    def give(self, value: object) -> None:
        if self.reply is not None:
            self.reply.give(value)

    def refuse(self, error: Exception) -> None:
        if self.reply is not None:
            self.reply.refuse(error)

    def is_open(self) -> bool:
        """Whether an answer would go anywhere."""
        reply = self.reply
        return reply is not None and not (type(reply) is PendingCall and reply.future.done())

    def answered(self) -> None:
        """Nothing that is given from now on goes anywhere. (A caller on this node takes no second answer anyway.)"""
        if type(self.reply) is not PendingCall:
            self.reply = None

    def __repr__(self) -> str:
        shown = [repr(arg) for arg in self.args] + [f"{key}={value!r}" for key, value in self.kwargs.items()]
        return f"{self.method}({', '.join(shown)})"


class _Over:
    """In place of the future of a call for which nobody waits any more."""

    def done(self) -> bool:
        return True


_OVER = cast("asyncio.Future[Any]", _Over())


class PendingCall:
    """A caller's side of a call: a future that is settled once."""

    __slots__ = ("forget", "future", "method", "target")

    def __init__(self, future: "asyncio.Future[Any]", method: str, target: object) -> None:
        self.future = future
        self.method = method
        self.target = target
        self.forget: Callable[[], None] | None = None  # takes it out of the tables of the remote side

    def give(self, value: object) -> None:
        if not self.future.done():
            self.future.set_result(value)

    def refuse(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)

    def close(self) -> None:
        """Nobody waits any more. (An error whose traceback leads to the future that has it is freed late.)"""
        self.future = _OVER

    def expire(self, timeout_s: float) -> None:
        self.refuse(
            CallTimeout(
                f"{self.method} of {self.target} gave no answer in {timeout_s:g} s: the outcome is unknown, it may yet happen"
            )
        )


# -- deadlines --------------------------------------------------------------------------------------------


LENGTHS_LIMIT = 64  # so many lengths of timeouts keep their timer although no call waits


class Deadlines:
    """Deadlines of pending calls with one timer per length of timeout, and nothing per call but a dict entry.

    Calls of one length end in the order they began, so only the oldest needs a timer. It stays when all have their
    answer, for the next ones, unless there are many lengths (timeouts that a program has computed).
    """

    __slots__ = ("_clock", "_timers", "_waiting")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: dict[float, dict[PendingCall, float]] = {}
        self._timers: dict[float, Timer] = {}

    def __len__(self) -> int:
        return sum(len(waiting) for waiting in self._waiting.values())

    def add(self, timeout_s: float, call: PendingCall) -> None:
        """Expire `call` after `timeout_s` seconds, unless it is discarded first. Raises `ValueError`."""
        waiting = self._waiting.get(timeout_s)
        if waiting is None:
            check_delay(timeout_s)
            waiting = self._waiting[timeout_s] = {}
        waiting[call] = self._clock.monotonic() + timeout_s
        if timeout_s not in self._timers:
            self._timers[timeout_s] = self._clock.call_later(timeout_s, self._due, timeout_s)

    def discard(self, timeout_s: float, call: PendingCall) -> None:
        waiting = self._waiting.get(timeout_s)
        if waiting is not None:
            waiting.pop(call, None)
            if not waiting and len(self._waiting) > LENGTHS_LIMIT:
                del self._waiting[timeout_s]
                timer = self._timers.pop(timeout_s, None)
                if timer is not None:
                    timer.cancel()

    def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _due(self, timeout_s: float) -> None:
        del self._timers[timeout_s]
        waiting = self._waiting[timeout_s]
        now = self._clock.monotonic()
        for call, deadline in list(waiting.items()):
            if deadline > now:
                self._timers[timeout_s] = self._clock.call_later(deadline - now, self._due, timeout_s)
                return
            del waiting[call]
            call.expire(timeout_s)
        del self._waiting[timeout_s]


# -- chains of calls --------------------------------------------------------------------------------------


class Handling:
    """One message being handled, or the life of a body: calls made on its behalf carry its `chain`.

    Tasks that the handler starts inherit it by their context; once it is `done` they act for themselves.
    """

    __slots__ = ("chain", "done")

    def __init__(self, chain: tuple[Pid, ...]) -> None:
        self.chain = chain  # who waits for whom, the handling process last
        self.done = False

    @property
    def process(self) -> Pid:
        """The handling process."""
        return self.chain[-1]


HANDLING: ContextVar[Handling | None] = ContextVar("quorate_handling", default=None)


def chain_here() -> tuple[Pid, ...]:
    """The processes that wait for what the running code does."""
    handling = HANDLING.get()
    return () if handling is None or handling.done else handling.chain


def process_here() -> Pid | None:
    """The process whose code is running; None in plain asyncio code, and in what a handler has left behind."""
    handling = HANDLING.get()
    return None if handling is None or handling.done else handling.process


def check_cycle(chain: tuple[Pid, ...], target: Pid) -> None:
    """Raise `CallCycle` when `target` waits, itself or through others, for the one who would call it now."""
    if target in chain:
        path = (*chain[chain.index(target) :], target)
        shown = " -> ".join(map(str, path))
        raise CallCycle(f"the call would wait for itself: {shown}; nothing happened", path)


def no_process(what: object) -> NoProcess:
    return NoProcess(f"there is no process {what}: nothing happened")
