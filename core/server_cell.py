"""How a `GenServer` runs: messages one at a time, `def` methods without any task, `async def` methods in one.

The cell takes messages off its mailbox in `_pump`, which runs inside the process's own context, either in a turn of
the scheduler or, behind an `async def` handler, in that handler's task. So an idle server is a record and the user's
object, and a busy one handles many messages per turn. Calls of `@reentrant` methods run beside, in tasks of their own
(`server_extras.py`); calls of idle servers need no turn at all (`prompt_cell.py`). What must never happen here: two other messages are in progress at once, or one starts while the
process is held or its gate is closed.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from inspect import isawaitable
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from .activation import Steps
from .calls import HANDLING, Handling, Request, no_process
from .cell import ALIVE, DEAD, EXITING, Cell
from .control import Errand
from .crash import ServerStatus, report_late
from .errors import CalleeExited, NotCallable, RemoteError
from .exits import is_word
from .gen_server import GenServer
from .handlers import NOTHING, Refused, awaiting, did_not_fit
from .pid import CANCELLED, KILLED, NO_REPLY, Down, Exit, ExitSignal, Pid
from .plain import plain_error, show
from .replies import LATER, From, for_the_caller
from .scheduler import log
from .server_extras import Continue, Extras, IdleTimeout, ReentrantCall

if TYPE_CHECKING:
    from .kernel import Kernel

_TERMINATE = object()  # `terminate` is


class ServerCell(Cell):
    """A process whose body is a `GenServer`."""

    __slots__ = ("_budget", "_current", "_handling", "_plain", "_said_goodbye", "extras", "server")

    def __init__(self, kernel: "Kernel", pid: Pid, context: Any, server: GenServer) -> None:
        # (`super()` would take a tenth longer, and a start is to be quick.)
        Cell.__init__(self, kernel, pid, context, type(server).__qualname__)
        self.server = server
        self._plain = server._quorate_plain
        self._current: object = NOTHING
        self._handling: Handling | None = None
        self._said_goodbye = False
        self._budget = 0
        self.extras: Extras | None = None

    def initialised(self) -> None:
        """`__init__` is through (for behaviours). What it raises refuses the start."""

    # -- the mailbox ---------------------------------------------------------------------------------------

    def accept(self, message: object) -> None:
        if self.state != ALIVE:
            if type(message) is Request:
                message.refuse(no_process(self.pid))
            return
        if self.control is not None and self.control.redirected(message):
            return
        if self.mailbox is None:
            self.mailbox = deque((message,))
        elif (limit := self.limit) is None or len(self.mailbox) < limit.messages or self.admits(message):
            self.mailbox.append(message)
        else:
            return
        if not self.scheduled:
            self.kernel.scheduler.wake(self)

    def accept_first(self, message: object) -> None:
        if self.state != ALIVE or (self.control is not None and self.control.redirected(message)):
            return
        if self.urgent is None:
            self.urgent = deque((message,))
        else:
            self.urgent.append(message)
        if not self.scheduled:
            self.kernel.scheduler.wake(self)

    def run(self, budget: int) -> int:
        """A turn: handle up to `budget` messages. See `Runnable`."""
        self._budget = budget
        steps = self.context.run(self._pump)
        if steps is None:
            self.rest()
        else:
            self.activation = self.kernel.kept_tasks.of(self)
            self.activation.begin(steps)
        return budget - self._budget

    def rest(self) -> None:
        """Nothing is in progress (but reentrant calls): wait for the next turn, or for the next message."""
        self.activation = None
        if self.kernel.crowding.crowded:
            self.kernel.crowding.eased(self, self.waiting())
        if not self.urgent:
            self.urgent = None
        if self._has_work():
            self.scheduled = True
            self.kernel.scheduler.requeue(self)
        else:
            self.scheduled = False
            if not self.mailbox:
                self.mailbox = None
            if self.extras is not None:
                self.extras.resting(self)

    def at_rest(self) -> bool:
        """Nothing is in progress, and nothing waits that may begin."""
        running = self.extras is not None and self.extras.running
        return self.state == ALIVE and not self.scheduled and not running

    def go_on(self) -> None:
        """Something changed: take a turn if there is something to do."""
        if not self.scheduled and self._has_work():
            self.kernel.scheduler.wake(self)

    def _has_work(self) -> bool:
        if self.state == ALIVE:
            return self._may_take()
        return self.state == EXITING and not (self.extras is not None and self.extras.running)

    def _may_take(self) -> bool:
        return self._source() is not None

    def _source(self) -> deque[Any] | None:
        """Where the next item is to be taken from, now; None: nothing may begin."""
        extras, control = self.extras, self.control
        if extras is None and control is None:
            return self.urgent or self.mailbox or None
        if extras is not None and extras.continues and (control is None or control.gate_open()):
            return None if extras.starting else extras.continues
        if control is not None:
            errands = control.errands()
            if errands:
                beside = extras is None or not extras.running or errands[0].beside
                return errands if beside else None
            if not control.may_handle():
                return None
        waiting = self.urgent or self.mailbox
        if waiting:
            held_up = extras is not None and extras.starting and not self._is_reentrant(waiting[0])
            return None if held_up else waiting
        return extras.timed_out if extras is not None and extras.timed_out else None

    def _is_reentrant(self, item: object) -> bool:
        return type(item) is Request and item.method in self.server._quorate_reentrant

    def _next_item(self) -> Any:
        """The next item; `NOTHING` if none may begin."""
        source = self._source()
        if source is None:
            return NOTHING
        item = source.popleft()
        if self.extras is not None and type(item) is not Errand:
            self.extras.active = True
            self.extras.timed_out.clear()
        return item

    def _pump(self) -> Steps | None:
        """Handle messages until one has to be awaited (its coroutine is returned), none is left, or the budget is."""
        while self._budget > 0:
            if self.state != ALIVE:
                return self._say_goodbye() if self.state == EXITING else None
            if self.extras is None and self.control is None and self.urgent is None:
                if not self.mailbox:
                    return None
                item = self.mailbox.popleft()
            else:
                item = self._next_item()
                if item is NOTHING:
                    return None
            self._budget -= 1
            steps = self._begin(item)
            if steps is not None:
                return steps
        return None

    # -- calls beside one another --------------------------------------------------------------------------

    def _start_reentrant(self, request: Request, steps: Steps) -> None:
        extras = self.need_extras()
        call = ReentrantCall(self, request)
        extras.running[call] = None
        extras.starting += 1
        context = self.context.copy()
        context.run(HANDLING.set, call)
        call.start(steps, context)
        self._current = NOTHING

    def reentrant_began(self) -> None:
        """One has come to its first await, or to its end."""
        extras = self.need_extras()
        extras.starting -= 1
        if not extras.starting:
            self.go_on()

    def reentrant_returned(self, call: ReentrantCall, value: object) -> None:
        call.done = True
        try:
            self._give(call.request, value)
        except Exception as error:  # noqa: BLE001 -- as in `_begin`
            self.reentrant_raised(call, error)

    def reentrant_raised(self, call: ReentrantCall, error: BaseException) -> None:
        call.done = True
        living = self.state == ALIVE
        self._react(call.request, error, gate_open=call.gate_open())
        if living and self.state == EXITING:
            self.need_extras().running.pop(call, None)
            self.wind_down()

    def reentrant_over(self, call: ReentrantCall) -> None:
        """Its task ends."""
        extras = self.need_extras()
        extras.running.pop(call, None)
        extras.active = True
        if self.at_rest() and not self._has_work():
            extras.resting(self)
        self.go_on()

    # -- what extras are for -------------------------------------------------------------------------------

    def need_extras(self) -> Extras:
        if self.extras is None:
            self.extras = Extras()
        return self.extras

    def asked(self) -> From[Any]:
        """See `GenServer.asker`."""
        handling = HANDLING.get()
        if type(handling) is ReentrantCall and handling.cell is self and not handling.done:
            request = handling.request
        else:
            current = self.current_request()
            if current is None:
                raise RuntimeError(f"{self.describe()} handles no call now: ask for its asker in a method")
            request = current
        if request.reply is not None:
            self.need_extras().owed[request] = None
        return From(self, request)

    def current_request(self) -> Request | None:
        """The call or cast that is being handled."""
        return self._current if type(self._current) is Request else None

    def owes(self, request: Request) -> bool:
        return self.extras is not None and request in self.extras.owed

    def pay(self, request: Request) -> bool:
        """The answer to a request is about to be given; False: it was."""
        if not self.owes(request):
            return False
        self.need_extras().owed.pop(request)
        return True

    def add_continue(self, info: object) -> None:
        """See `GenServer.continue_with`."""
        if self.state == ALIVE:
            self.need_extras().continues.append(Continue(info))
            self.go_on()

    def idle_timeout_s(self) -> float | None:
        return None if self.extras is None else self.extras.idle_s

    def set_idle_timeout(self, timeout_s: float | None) -> None:
        """See `GenServer.idle_timeout_s`."""
        if self.state == ALIVE and (timeout_s is not None or self.extras is not None):
            self.need_extras().set_idle(self, timeout_s)

    # -- one message ---------------------------------------------------------------------------------------

    def _begin(self, item: Any) -> Steps | None:
        """Begin to handle a message. A coroutine is returned when it has to be awaited; else it is done."""
        self._current = item
        if self.control is not None:
            self.control.begins(item)
        try:
            result = self._invoke(item)
        except BaseException as error:  # noqa: BLE001 -- whatever a method raises is its process's end alone
            self._failed(error, frames=2)
            return None
        if type(result) is not CoroutineType:
            if type(item) is Request or not isawaitable(result):
                self._succeeded(result)
                return None
            result = awaiting(result)
        elif self._is_reentrant(item):
            self._start_reentrant(item, result)
            return None
        chain = item.chain if type(item) is Request else ()
        self._handling = Handling((*chain, self.pid))
        HANDLING.set(self._handling)
        steps: Steps = result
        return steps

    def _invoke(self, item: Any) -> Any:
        server = self.server
        kind = type(item)
        if kind is Request:
            method = server._quorate_methods.get(item.method)
            if method is None:
                raise Refused(
                    NotCallable(f"{self.label} has no public method {item.method!r:.100}: nothing happened")
                )
            return method(server, *item.args, **item.kwargs)
        if kind is Errand:
            return item.function(server)
        if kind is Down:
            return server.handle_down(item)
        if kind is ExitSignal:
            return server.handle_exit(item)
        if kind is Continue:
            return server.handle_continue(item.info)
        if kind is IdleTimeout:
            return server.handle_timeout()
        return server.handle_info(item)

    def _over(self) -> object:
        """Nothing is in progress any more; what was."""
        item, self._current = self._current, NOTHING
        if self._handling is not None:
            self._handling.done = True
            self._handling = None
        return item

    def _succeeded(self, value: object) -> None:
        item = self._over()
        if type(item) is Request:
            try:
                self._give(item, value)
            except Exception as error:  # noqa: BLE001 -- as in `_begin`
                self._react(item, error)
        elif type(item) is Errand:
            item.give(value)

    def _give(self, request: Request, value: object) -> None:
        """Answer a call with what its method returned. Raises `RuntimeError` when nobody could ever answer it."""
        if value is LATER:
            if request.is_open() and not self.owes(request):
                raise RuntimeError(f"{request.method} returned later() of another call: nobody could answer")
            return
        if self.extras is not None:
            self.extras.owed.pop(request, None)
        request.give(value)

    def _failed(self, error: BaseException, *, frames: int = 0) -> None:
        """A handler raised. What becomes of the process, and what its caller is told.

        `frames` of ours stand above the method when it was just being called; 0 when it was resumed.
        """
        self._react(self._current, error, gate_open=self.gate_open(), frames=frames)
        self._over()

    def _react(self, item: object, error: BaseException, *, gate_open: bool = True, frames: int = 0) -> None:
        if isinstance(error, Refused):
            self._tell(item, error.answer)
        elif type(item) is Errand and self.state == ALIVE and not isinstance(error, Exit):
            item.fail(error)
        elif isinstance(error, asyncio.CancelledError) and (self.state != ALIVE or not gate_open):
            why = self.reason if self.state != ALIVE else "its gate closed"
            stopped = CalleeExited(f"{self.pid} was stopped while it handled the call: {show(why)}", why)
            if self.state == ALIVE:
                self._tell(item, stopped)
            else:
                self._tell_at_the_end(item, stopped)
        elif frames and type(item) is Request and did_not_fit(error, frames):
            self._tell(item, NotCallable(f"{self.label}.{item.method}: {error}: nothing happened"))
        elif type(item) is Request and (told := self._for_the_caller(item, error)) is not None:
            self._tell(item, told)
        elif isinstance(error, Exit):
            if type(item) is Request and error.reply is not NO_REPLY and item.reply is not None:
                self._take_leave_of(item, partial(item.give, error.reply))
            else:
                why = error.reason
                self._tell_at_the_end(item, CalleeExited(f"{self.pid} ended itself: {show(why)}", why))
            self.ended(error.reason)
        elif isinstance(error, asyncio.CancelledError):
            self._tell_at_the_end(
                item, CalleeExited(f"{self.pid} was cancelled while it handled the call", CANCELLED)
            )
            self.ended(CANCELLED)
        else:
            self._crash(item, error)
        if isinstance(error, KeyboardInterrupt):
            self.kernel.scheduler.pass_on(error)

    def _for_the_caller(self, request: Request, error: BaseException) -> Exception | None:
        """What a method raised on purpose for its caller, if it did."""
        told = for_the_caller(self.server._quorate_methods.get(request.method), error)
        if told is not None and request.reply is None:
            log.debug("%s answered a cast of %s with %s", self.describe(), request.method, show(told))
        return told

    def _tell_at_the_end(self, item: object, error: Exception) -> None:
        """Tell a caller when the process has ended, `terminate` and all: then its name is free and its files are closed."""
        if type(item) is Request and self.state != DEAD:
            self._take_leave_of(item, partial(item.refuse, error))
        else:
            self._tell(item, error)

    def _take_leave_of(self, request: Request, answer: Callable[[], object]) -> None:
        extras = self.need_extras()
        extras.owed.pop(request, None)
        extras.farewells.append(answer)
        extras.wait_for_end.update(dict.fromkeys(request.chain))

    def _crash(self, item: object, error: BaseException) -> None:
        if self.state == ALIVE:
            current, self._current = self._current, item  # for the report
            self.crashed(error)
            self._current = current
        else:
            report_late(self, error, "while it was exiting")
        answer = RemoteError(*plain_error(error))
        answer.__cause__ = error
        self._tell_at_the_end(item, answer)

    def _tell(self, item: object, error: Exception) -> None:
        if type(item) is Request:
            if self.extras is not None:
                self.extras.owed.pop(item, None)
            item.refuse(error)
        elif type(item) is Errand:
            item.fail(error)

    # -- what the task of an `async def` handler tells (see `Stepped`) -------------------------------------

    def gate_open(self) -> bool:
        if self.control is None or self._current is _TERMINATE or type(self._current) is Errand:
            return True
        return self.control.gate_open()

    def returned(self, value: object) -> Steps | None:
        if self._current is _TERMINATE:
            self._gone()
            return None
        if not self.gate_open():
            self._failed(asyncio.CancelledError("the gate of the process is closed"))
        else:
            self._succeeded(value)
        return self._following()

    def raised(self, error: BaseException) -> Steps | None:
        if self._current is _TERMINATE:
            if not isinstance(error, Exit | asyncio.CancelledError):
                report_late(self, error, "in terminate")
            if isinstance(error, KeyboardInterrupt):
                self.kernel.scheduler.pass_on(error)
            self._gone()
            return None
        self._failed(error)
        return self._following()

    def _following(self) -> Steps | None:
        """The next coroutine for the same task; none when the process ends: `terminate` gets a task of its own,
        which nobody has cancelled."""
        clean = self.activation is not None and self.activation.is_clean()
        return self._pump() if clean and self.state == ALIVE else None

    # -- its end -------------------------------------------------------------------------------------------

    def ended(self, reason: object) -> None:
        """See `Cell.ended`. Reentrant calls in progress are cancelled; `terminate` waits for their end."""
        super().ended(reason)
        if self.extras is not None:
            self.extras.set_idle(self, None)
            self.extras.continues.clear()
            if self.extras.running:
                self.arm_deadline()
                self.cancel_steps(own=False)

    def cancel_steps(self, *, own: bool = True) -> None:
        """Cancel what its handlers await; all of them, or (not `own`) just the reentrant ones."""
        if own and self.activation is not None:
            self.activation.cancel()
        if self.extras is not None:
            for call in list(self.extras.running):
                if not call.done:
                    call.cancel()

    def interrupt(self) -> None:
        """Break off the handlers in progress, but no errand."""
        self.cancel_steps(own=type(self._current) is not Errand)

    def wind_down(self) -> None:
        if self.activation is not None:
            self.arm_deadline()
            self.activation.cancel()
        elif self.extras is not None and self.extras.running:
            self.arm_deadline()
        elif not self.scheduled:
            if type(self.server).terminate is GenServer.terminate and self.control is None:
                self.finish()
            else:
                self.kernel.scheduler.wake(self)

    def _say_goodbye(self) -> Steps | None:
        """The process is EXITING and nothing is in progress: run `terminate`, then finish."""
        if self.extras is not None and self.extras.running:
            return None  # the last of them wakes us
        if self._said_goodbye or is_word(self.reason, KILLED):
            self._gone()
            return None
        self._said_goodbye = True
        self._current = _TERMINATE
        if self.extras is not None and self.extras.wait_for_end:
            self._handling = Handling((*self.extras.wait_for_end, self.pid))
            HANDLING.set(self._handling)
        try:
            result = self.server.terminate(self.reason)
        except BaseException as error:  # noqa: BLE001 -- as above
            return self.raised(error)
        if not isawaitable(result):
            self._gone()
            return None
        self.arm_deadline()
        # (a coroutine itself, unwrapped: one that is cancelled before its first step is not one that nobody awaited)
        return result if type(result) is CoroutineType else awaiting(result)

    def _gone(self) -> None:
        self._over()
        self.finish()

    def finish(self) -> None:
        """See `Cell.finish`. Whoever waits for a message in progress is told too."""
        if self._current is not NOTHING:
            self._tell(
                self._over(),
                CalleeExited(
                    f"{self.pid} was stopped while it handled the call: {show(self.reason)}", self.reason
                ),
            )
        extras = self.extras
        if extras is not None:
            self._settle(extras)
        super().finish()
        if self.control is not None:
            self.control.close(CalleeExited(f"{self.pid} has ended: {show(self.reason)}", self.reason))
        self._let_go()

    def farewells(self) -> Sequence[Callable[[], object]]:
        if self.extras is None:
            return ()
        farewells, self.extras.farewells = self.extras.farewells, []
        return farewells

    def _let_go(self) -> None:
        """What the server held is free now: it and its record refer to each other no more.

        Not of a class that makes its objects in its own way, as a `dict` does: that is left to the garbage collector. The
        record of a supervisor says why it could not start.
        """
        kind = type(self.server)
        if kind.__new__ is object.__new__ and not getattr(kind, "_quorate_supervises", False):
            self.server = kind.__new__(kind)

    def _settle(self, extras: Extras) -> None:
        """No line of a reentrant call runs from now on, and nobody waits for an answer any more."""
        extras.stop_timer()
        why = CalleeExited(f"{self.pid} ended before it answered: {show(self.reason)}", self.reason)
        for call in list(extras.running):
            if not call.done:
                self._tell(call.request, why)
            if call.activation is not None:
                call.activation.abandon()
        extras.running.clear()
        owed, extras.owed = extras.owed, {}
        for request in owed:
            request.refuse(why)

    # -- people --------------------------------------------------------------------------------------------

    def last_message(self) -> object:
        return None if type(self._current) is object else self._current

    def initial_call(self) -> str:
        return f"{type(self.server).__module__}.{self.label}"

    def status_of_crash(self, error: BaseException | None) -> ServerStatus:
        server = self.server
        return server.format_status(ServerStatus(server._quorate_state(), self.last_message(), error))

    def status(self) -> str:
        if self._current is not NOTHING:
            return "running"
        if self.extras is not None and self.extras.running:
            return "waiting"
        if self.control is not None and not self.control.may_handle():
            return "suspended" if self.control.suspended else "held"
        return "scheduled" if self.scheduled else "idle"
