"""How a `GenServer` runs: messages one at a time, `def` methods without any task, `async def` methods in one.

The cell takes messages off its mailbox in `_pump`, which runs inside the process's own context, either in a turn of
the scheduler or, behind an `async def` handler, in that handler's task. So an idle server is a record and the user's
object, and a busy one handles many messages per turn. What must never happen here: two messages are in progress at
once, or one starts while the process is held or its gate is closed.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import copy_context
from inspect import isawaitable
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from .calls import HANDLING, Answer, Handling, PendingCall, Request, no_process
from .cell import ALIVE, EXITING, NOT_NOW, Cell
from .control import Errand
from .crash import ServerStatus, report_late
from .errors import CalleeExited, CallError, NotCallable, RemoteError
from .exits import is_word
from .gen_server import GenServer
from .pid import CANCELLED, KILLED, Down, Exit, ExitSignal, Pid
from .plain import plain_error, show
from .scheduler import Steps

if TYPE_CHECKING:
    from .kernel import Kernel

_NOTHING = object()  # no message is in progress
_TERMINATE = object()  # `terminate` is


class ServerCell(Cell):
    """A process whose body is a `GenServer`."""

    __slots__ = ("_budget", "_current", "_handling", "_said_goodbye", "server")

    def __init__(self, kernel: "Kernel", pid: Pid, context: Any, server: GenServer) -> None:
        super().__init__(kernel, pid, context, type(server).__qualname__)
        self.server = server
        self._current: object = _NOTHING
        self._handling: Handling | None = None
        self._said_goodbye = False
        self._budget = 0

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
            if not self.scheduled and type(message) is Request and self._begin_task(message):
                return
            self.mailbox = deque((message,))
        else:
            self.mailbox.append(message)
        if not self.scheduled:
            self.kernel.scheduler.wake(self)

    def run(self, budget: int) -> int:
        """A turn: handle up to `budget` messages. See `Runnable`."""
        self._budget = budget
        steps = self.context.run(self._pump)
        if steps is None:
            self.rest()
        else:
            self.activation = self.kernel.scheduler.start(self, steps, self.context, self.label)
        return budget - self._budget

    def rest(self) -> None:
        """Nothing is in progress: wait for the next turn, or for the next message."""
        self.activation = None
        if self.state == EXITING or (self.state == ALIVE and self._may_take()):
            self.scheduled = True
            self.kernel.scheduler.requeue(self)
        else:
            self.scheduled = False
            if not self.mailbox:
                self.mailbox = None

    def _may_take(self) -> bool:
        if self.control is not None:
            return self.control.has_errand() or (bool(self.mailbox) and self.control.may_handle())
        return bool(self.mailbox)

    def _pump(self) -> Steps | None:
        """Handle messages until one has to be awaited (its coroutine is returned), none is left, or the budget is."""
        while self._budget > 0:
            if self.state != ALIVE:
                return self._say_goodbye() if self.state == EXITING else None
            item: object = None
            if self.control is not None:
                item = self.control.next_errand()
                if item is None and not self.control.may_handle():
                    return None
            if item is None:
                if not self.mailbox:
                    return None
                item = self.mailbox.popleft()
            self._budget -= 1
            steps = self._begin(item)
            if steps is not None:
                return steps
        return None

    # -- an idle server, without a turn of the scheduler ---------------------------------------------------

    def at_once(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """See `Cell.at_once`: a `def` method runs here and now, in the process's own context."""
        method = self.server._quorate_plain.get(name)
        if (
            method is None
            or self.scheduled
            or self.mailbox is not None
            or self.control is not None
            or self.state != ALIVE
        ):
            return NOT_NOW
        self.scheduled = True  # whatever comes meanwhile waits its turn
        scheduler = self.kernel.scheduler
        began = scheduler.monotonic()
        try:
            result = self.context.run(method, self.server, *args, **kwargs)
        except BaseException as error:  # noqa: BLE001 -- as in `_begin`
            answer = Answer()
            self._current = Request(name, args, kwargs, answer)
            self._failed(error, frames=1)
            self.rest()
            raise answer.error from answer.error.__cause__
        if scheduler.monotonic() - began > scheduler.slow_s:
            scheduler.report_slow(self.describe(), scheduler.monotonic() - began)
        if type(result) is CoroutineType:
            pending = PendingCall(self.kernel.loop.create_future(), name, self.pid)
            self._start_task(Request(name, args, kwargs, pending), result)
            return pending
        if self.mailbox is None and self.state == ALIVE and self.control is None:
            self.scheduled = False
        else:
            self.rest()
        return result

    def _begin_task(self, request: Request) -> bool:
        """Begin an `async def` method in its task, which first runs in a later turn of the loop. False: it is none."""
        server = self.server
        method = server._quorate_methods.get(request.method)
        if method is None or request.method in server._quorate_plain or self.control is not None:
            return False
        self.scheduled = True
        self._current = request
        try:
            steps = method(server, *request.args, **request.kwargs)  # no line of it runs yet
        except BaseException as error:  # noqa: BLE001 -- as in `_begin`
            self._failed(error, frames=1)
            self.rest()
            return True
        self._start_task(request, steps)
        return True

    def _start_task(self, request: Request, steps: Steps) -> None:
        self._current = request
        self._handling = Handling((*request.chain, self.pid) if request.chain else (self.pid,))
        self.context.run(HANDLING.set, self._handling)
        self.activation = self.kernel.scheduler.start(self, steps, self.context, self.label)

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
            result = _awaiting(result)
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
                raise _Refused(
                    NotCallable(f"{self.label} has no public method {item.method!r:.100}: nothing happened")
                )
            return method(server, *item.args, **item.kwargs)
        if kind is Errand:
            return item.function(server)
        if kind is Down:
            return server.handle_down(item)
        if kind is ExitSignal:
            return server.handle_exit(item)
        return server.handle_info(item)

    def _over(self) -> object:
        """Nothing is in progress any more; what was."""
        item, self._current = self._current, _NOTHING
        if self._handling is not None:
            self._handling.done = True
            self._handling = None
        return item

    def _succeeded(self, value: object) -> None:
        item = self._over()
        if type(item) is Request or type(item) is Errand:
            item.give(value)

    def _failed(self, error: BaseException, *, frames: int = 0) -> None:
        """A handler raised. What becomes of the process, and what its caller is told.

        `frames` of ours stand above the method when it was just being called; 0 when it was resumed.
        """
        item = self._current
        if isinstance(error, _Refused):
            self._tell(item, error.answer)
        elif type(item) is Errand and self.state == ALIVE and not isinstance(error, Exit):
            item.fail(error)
        elif isinstance(error, asyncio.CancelledError) and (self.state != ALIVE or not self.gate_open()):
            why = self.reason if self.state != ALIVE else "its gate closed"
            self._tell(
                item, CalleeExited(f"{self.pid} was stopped while it handled the call: {show(why)}", why)
            )
        elif frames and type(item) is Request and _did_not_fit(error, frames):
            self._tell(item, NotCallable(f"{self.label}.{item.method}: {error}: nothing happened"))
        elif isinstance(error, Exit):
            self._tell(item, CalleeExited(f"{self.pid} ended itself: {show(error.reason)}", error.reason))
            self.ended(error.reason)
        elif isinstance(error, asyncio.CancelledError):
            self._tell(item, CalleeExited(f"{self.pid} was cancelled while it handled the call", CANCELLED))
            self.ended(CANCELLED)
        else:
            self._crash(item, error)
        self._over()
        if isinstance(error, KeyboardInterrupt):
            self.kernel.scheduler.pass_on(error)

    def _crash(self, item: object, error: BaseException) -> None:
        if self.state == ALIVE:
            self.crashed(error)
        else:
            report_late(self, error, "while it was exiting")
        answer = RemoteError(*plain_error(error))
        answer.__cause__ = error
        self._tell(item, answer)

    def _tell(self, item: object, error: CallError) -> None:
        if type(item) is Request:
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
            self._gone()
            return None
        self._failed(error)
        return self._following()

    def _following(self) -> Steps | None:
        """The next coroutine for the same task; none when the process ends: `terminate` gets a task of its own,
        which nobody has cancelled."""
        return self._pump() if self.state == ALIVE else None

    # -- its end -------------------------------------------------------------------------------------------

    def wind_down(self) -> None:
        if self.activation is not None:
            self.arm_deadline()
            self.activation.cancel()
        elif not self.scheduled:
            if type(self.server).terminate is GenServer.terminate and self.control is None:
                self.finish()
            else:
                self.kernel.scheduler.wake(self)

    def _say_goodbye(self) -> Steps | None:
        """The process is EXITING and nothing is in progress: run `terminate`, then finish."""
        if self._said_goodbye or is_word(self.reason, KILLED):
            self._gone()
            return None
        self._said_goodbye = True
        self._current = _TERMINATE
        try:
            result = self.server.terminate(self.reason)
        except BaseException as error:  # noqa: BLE001 -- as above
            return self.raised(error)
        if not isawaitable(result):
            self._gone()
            return None
        self.arm_deadline()
        return _awaiting(result)

    def _gone(self) -> None:
        self._over()
        self.finish()

    def finish(self) -> None:
        """See `Cell.finish`. Whoever waits for a message in progress is told too."""
        if self._current is not _NOTHING:
            self._tell(
                self._over(),
                CalleeExited(
                    f"{self.pid} was stopped while it handled the call: {show(self.reason)}", self.reason
                ),
            )
        super().finish()
        if self.control is not None:
            self.control.close(CalleeExited(f"{self.pid} has ended: {show(self.reason)}", self.reason))

    # -- people --------------------------------------------------------------------------------------------

    def last_message(self) -> object:
        return None if self._current is _NOTHING else self._current

    def initial_call(self) -> str:
        return f"{type(self.server).__module__}.{self.label}"

    def status_of_crash(self, error: BaseException) -> ServerStatus:
        server = self.server
        return server.format_status(ServerStatus(server._quorate_state(), self.last_message(), error))

    def status(self) -> str:
        if self._current is not _NOTHING:
            return "running"
        if self.control is not None and not self.control.may_handle():
            return "suspended" if self.control.suspended else "held"
        return "scheduled" if self.scheduled else "idle"


class _Refused(Exception):
    """Carries an answer that does no harm to the server."""

    def __init__(self, answer: CallError) -> None:
        self.answer = answer


def _did_not_fit(error: BaseException, frames: int) -> bool:
    """Whether a method was called with arguments that it does not take: then no line of it has run.

    The traceback has `frames` of ours, and one of the method if it began.
    """
    trace = error.__traceback__
    for _ in range(frames - 1):
        trace = trace.tb_next if trace is not None else None
    return isinstance(error, TypeError) and trace is not None and trace.tb_next is None


async def _awaiting(result: Any) -> Any:
    return await result


def start(
    kernel: "Kernel", server_class: Callable[..., GenServer], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> ServerCell:
    """Start a server: its `__init__` runs now, as the new process. Raises what that raises.

    Raises `CalleeExited` when it refused by `raise Exit(reason)`.
    """
    if not (isinstance(server_class, type) and issubclass(server_class, GenServer)):
        raise TypeError(f"{server_class!r} is no GenServer class")
    server = server_class.__new__(server_class)
    kind: type[ServerCell] = server_class._quorate_cell_kind or ServerCell
    cell = kind(kernel, kernel.new_pid(), copy_context(), server)
    server._quorate_cell = cell
    cell.scheduled = True  # nothing is handled before __init__ is through
    kernel.adopt(cell)
    try:
        cell.context.run(_initialise, cell, args, kwargs)
    except Exit as refusal:
        _stillborn(cell, refusal.reason)
        raise CalleeExited(f"{cell.label} refused to start: {show(refusal.reason)}", refusal.reason) from None
    except BaseException as error:
        _stillborn(cell, error)
        raise
    cell.rest()
    return cell


def _initialise(cell: ServerCell, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    HANDLING.set(None)
    server = cell.server
    type(server).__init__(server, *args, **kwargs)
    cell.initialised()


def _stillborn(cell: ServerCell, reason: object) -> None:
    cell.ended(reason)
    cell.finish()
