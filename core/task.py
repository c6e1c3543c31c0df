"""Tasks: processes that run one function and give its result to whoever awaits it (Elixir's `Task`).

    async def fetch(url: str) -> bytes: ...

    task = await self.tasks.run(fetch, url)              # linked to this process
    page = await task                                    # the type checkers know: bytes

    async for page in node.tasks.stream(fetch, urls, max_concurrency=20):
        ...
    task = await node.tasks.on("b@10.0.0.2:9101").run(fetch, url)     # exported on both nodes

What a task raised is raised where it is awaited: the exception itself, or `RemoteError` when it ran on another node. When
it was ended from outside, or by `raise Exit(...)`, that is `CalleeExited`; `NodeDown` when the link to its node was lost.
Cancelling the code that awaits a task shuts the task down, as with asyncio's own; giving up on its `timeout_s` does too.

A linked task and its caller share their fate, as Erlang's links do: if one fails so does the other. Who wants to catch
what a task raises takes `run_nolink` (or traps exits). When not to use it: what needs neither a life of its own nor
another node is a plain `await`, or an `asyncio.TaskGroup`.

The process of a task is the authority over its outcome, a `Task` holds a copy. What must never happen here: an outcome
is told before the function's `finally` blocks are through, or twice.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable
from contextlib import suppress
from contextvars import Context, copy_context
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, TypeVar, cast, overload

from .activation import Steps
from .calls import PendingCall, Reply, Request, process_here
from .cell import ALIVE
from .errors import CalleeExited, CallTimeout, DecodeError, NotCallable, QuorateError, RemoteError
from .export import Exports
from .handlers import awaiting
from .kernel import node_itself
from .pid import NOCONNECTION, SHUTDOWN, NodeLost, Pid
from .plain import plain_error, show
from .process import BodyCell
from .remote import RemoteReply
from .task_stream import Window
from .timers import timeout

if TYPE_CHECKING:
    from .kernel import Kernel

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")

_START, _STOP = "quorate.task.start", "quorate.task.stop"  # services of a node
OnTimeout = Literal["exit", "kill_task"]


class Task(Generic[R_co]):
    """A running task. `await task` gives its result, as often as it is awaited; `task.pid` is its process."""

    __slots__ = ("_kernel", "_outcome", "_owner", "pid")

    def __init__(self, kernel: "Kernel", pid: Pid, owner: Pid | None, outcome: "Outcome") -> None:
        self.pid = pid
        self._kernel = kernel
        self._owner = owner
        self._outcome = outcome

    def __await__(self) -> Generator[Any, None, R_co]:
        return self.result().__await__()

    async def result(self, timeout_s: float | None = None) -> R_co:
        """Wait for the result. After `timeout_s` seconds the task is shut down and `TimeoutError` is raised.

        Raises what the task raised (`RemoteError` for a task of another node), `CalleeExited` when it was ended, `NodeDown`.
        When the waiting is cancelled the task is shut down, and the cancellation goes on when its `finally` blocks are
        through.
        """
        try:
            async with timeout(self._kernel.clock, timeout_s):
                await asyncio.wait([self._outcome.future])
        except TimeoutError:
            await self.shutdown()
            raise TimeoutError(f"{self} gave no result in {timeout_s:g} s: it was shut down") from None
        except asyncio.CancelledError:
            await self.shutdown()
            raise
        return cast("R_co", self._outcome.future.result())

    async def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until it is over, for `timeout_s` seconds at most, and leave it alone otherwise; whether it is."""
        try:
            async with timeout(self._kernel.clock, timeout_s):
                await asyncio.wait([self._outcome.future])
        except TimeoutError:
            return False
        return True

    def done(self) -> bool:
        """Whether it is over: awaiting it returns, or raises, at once."""
        return self._outcome.future.done()

    def cancel(self) -> None:
        """Ask it to end, with the reason "shutdown": what it awaits is cancelled. Its owner is unlinked first.

        Returns at once. Awaiting it raises `CalleeExited` then, unless its function catches that and returns.
        """
        if self.done():
            return
        kernel = self._kernel
        if self._owner is not None:
            here, other = (self.pid, self._owner) if kernel.is_here(self.pid) else (self._owner, self.pid)
            cell = kernel.find(here)
            if cell is not None:
                kernel.unlink(cell, other)
        kernel.exit(kernel.pid, self.pid, SHUTDOWN)

    async def shutdown(self) -> None:
        """`cancel`, and wait until it is over; that its node's exit deadline bounds (5 s)."""
        self.cancel()
        await asyncio.wait([self._outcome.future])

    def __repr__(self) -> str:
        return f"Task({self._outcome.method} {self.pid}{' done' if self.done() else ''})"


class Tasks:
    """Starts tasks: `process.tasks` on behalf of a process, `node.tasks` from anywhere.

    `node.tasks` links to the process whose code calls it, if that is one. `on(node)` starts them on another node.
    """

    __slots__ = ("_exports", "_kernel", "_node", "_owner")

    def __init__(
        self, kernel: "Kernel", exports: Exports, *, owner: Pid | None = None, node: str | None = None
    ) -> None:
        self._kernel = kernel
        self._exports = exports
        self._owner = owner
        self._node = kernel.name if node is None else node

    def of(self, owner: Pid) -> "Tasks":
        """The same, on behalf of that process."""
        return Tasks(self._kernel, self._exports, owner=owner, node=self._node)

    def on(self, node: str) -> "Tasks":
        """The same, on the node of that name. Its functions must be exported there and here (`node.export`)."""
        return Tasks(self._kernel, self._exports, owner=self._owner, node=node)

    async def run(self, fn: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs) -> Task[R]:
        """Run `await fn(*args)` in a process that is linked to the caller, if the caller is a process.

        Raises `TypeError` for what is no `async def` or for arguments that do not fit it; for another node
        `ConfigError` when `fn` is not exported here, `NotCallable` when it is not there, `RemoteError` for arguments that
        do not fit, `NodeDown`, `CallTimeout`, `EncodeError`, `TooLarge`, `Busy`.
        """
        owner = self._caller()
        return await self._run(fn, args, kwargs, owner)

    async def run_nolink(
        self, fn: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Task[R]:
        """`run` without a link: what it raises is raised where it is awaited, and nowhere else."""
        return await self._run(fn, args, kwargs, None)

    async def start(self, fn: Callable[P, Awaitable[object]], /, *args: P.args, **kwargs: P.kwargs) -> Pid:
        """Run it for what it does: nobody waits for a result, nothing is linked."""
        if self._node == self._kernel.name:
            return start_task(self._kernel, fn, args, kwargs, None, None).pid
        return await self._start_there(fn, args, kwargs, None, None)

    @overload
    def stream(
        self,
        fn: Callable[[T], Awaitable[R]],
        items: Iterable[T],
        *,
        max_concurrency: int = 8,
        ordered: bool = True,
        timeout_s: float | None = 5.0,
        on_timeout: Literal["exit"] = "exit",
        return_exceptions: Literal[False] = False,
    ) -> AsyncGenerator[R, None]: ...
    @overload
    def stream(
        self,
        fn: Callable[[T], Awaitable[R]],
        items: Iterable[T],
        *,
        max_concurrency: int = 8,
        ordered: bool = True,
        timeout_s: float | None = 5.0,
        on_timeout: Literal["kill_task"],
        return_exceptions: Literal[False] = False,
    ) -> AsyncGenerator[R | TimeoutError, None]: ...
    @overload
    def stream(
        self,
        fn: Callable[[T], Awaitable[R]],
        items: Iterable[T],
        *,
        max_concurrency: int = 8,
        ordered: bool = True,
        timeout_s: float | None = 5.0,
        on_timeout: OnTimeout = "exit",
        return_exceptions: Literal[True],
    ) -> AsyncGenerator[R | Exception, None]: ...
    def stream(
        self,
        fn: Callable[[T], Awaitable[R]],
        items: Iterable[T],
        *,
        max_concurrency: int = 8,
        ordered: bool = True,
        timeout_s: float | None = 5.0,
        on_timeout: OnTimeout = "exit",
        return_exceptions: bool = False,
    ) -> AsyncGenerator[Any, None]:
        """`async for result in tasks.stream(fetch, urls)`: a task for each item, `max_concurrency` at a time.

        Items are taken as results are: no more than `max_concurrency` tasks run or have results that wait. Results come
        in the order of the items, or (`ordered=False`) as they are ready. What a task raises is raised here as soon as
        it happens, and ends the stream; with `return_exceptions` it is given in its place, as `asyncio.gather` does.
        A task that takes longer than `timeout_s` seconds is shut down: then `TimeoutError` ends the stream, or (with
        `on_timeout="kill_task"`) is given in its place.

        However the stream ends, the tasks that still run are shut down: also when the process that began it ends, when
        the link to their node is lost, or when the loop is left early (then at once under `async with
        contextlib.aclosing(...)`). The tasks are not linked.
        """
        if max_concurrency < 1:
            raise ValueError(f"max_concurrency must be 1 or more, not {max_concurrency}")
        if timeout_s is not None and not timeout_s > 0:
            raise ValueError(f"a timeout must be over 0 seconds, not {timeout_s:g}")
        if on_timeout not in ("exit", "kill_task"):
            raise ValueError(f"on_timeout is 'exit' or 'kill_task', not {on_timeout!r:.100}")
        kept: tuple[type[Exception], ...] = (Exception,) if return_exceptions else ()
        window = Window(self._kernel, max_concurrency, timeout_s, ordered=ordered)
        return self._stream(fn, items, window, kept, keep_late=return_exceptions or on_timeout == "kill_task")

    # -- inside --------------------------------------------------------------------------------------------

    def _caller(self) -> Pid | None:
        """The process on whose behalf a task is started: the one that was named, or whose code runs."""
        return self._owner if self._owner is not None else process_here()

    async def _run(
        self,
        fn: Callable[..., Awaitable[R]],
        args: Any,
        kwargs: Any,
        owner: Pid | None,
        *,
        of_stream: bool = False,
    ) -> Task[R]:
        kernel = self._kernel
        outcome = Outcome(kernel.loop.create_future(), _label(fn), self._node)
        if self._node == kernel.name:
            pid = start_task(kernel, fn, args, kwargs, outcome, owner).pid
        else:
            on_behalf = kernel.pid if of_stream else owner  # of this node: it ends when the link does
            pid = await self._start_there(fn, args, kwargs, outcome, on_behalf)
        return Task(kernel, pid, owner, outcome)

    async def _start_there(
        self,
        fn: Callable[..., Awaitable[object]],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        outcome: "Outcome | None",
        owner: Pid | None,
    ) -> Pid:
        kernel, name, there = self._kernel, self._exports.name_of(fn), node_itself(self._node)
        packed = kernel.codec.encode_call(args, kwargs)
        number = kernel.remote.expect(self._node, outcome) if outcome is not None else 0
        try:
            pid = await kernel.call(
                there, _START, (name, packed, owner, number), {}, kernel.config.call_timeout_s
            )
        except BaseException as error:
            if outcome is not None and outcome.forget is not None:
                outcome.forget()
                if isinstance(error, asyncio.CancelledError | CallTimeout):
                    _try_to_stop(kernel, self._node, number)  # it may have begun: nobody would know
            raise
        return cast("Pid", pid)

    async def _stream(
        self,
        fn: Callable[[T], Awaitable[R]],
        items: Iterable[T],
        window: "Window",
        kept: tuple[type[Exception], ...],
        *,
        keep_late: bool,
    ) -> AsyncGenerator[Any, None]:
        kernel, caller = self._kernel, self._caller()
        watch = kernel.watch(caller, lambda _: window.cancel()) if caller is not None else None
        try:
            source, more = iter(items), True
            while True:
                while more and window.has_room():
                    for item in source:
                        window.add(await self._run(fn, (item,), {}, None, of_stream=True))
                        break
                    else:
                        more = False
                if window.is_empty():
                    return
                await window.change()
                for place in window.ended:
                    error = place.error()
                    if error is not None and not isinstance(error, kept) and not (place.late and keep_late):
                        raise error
                ready = window.take()
                if ready is not None:
                    error = ready.error()
                    yield ready.task._outcome.future.result() if error is None else error
        finally:
            if watch is not None:
                kernel.unwatch(watch)
            await window.close()

    # -- what other nodes ask ------------------------------------------------------------------------------

    def serve(self) -> None:
        """Let other nodes start tasks here: of functions that are exported."""
        self._kernel.services[_START] = self._on_start
        self._kernel.services[_STOP] = self._on_stop

    def _on_start(self, request: Request) -> None:
        match request.args:
            case (str(name), bytes(packed), (None | Pid()) as owner, int(number)):
                args, kwargs = self._kernel.codec.decode_call(packed)
            case _:
                raise DecodeError("the start of a task has another shape")
        fn = self._exports.startable(name)
        if fn is None or isinstance(fn, type):
            raise NotCallable(
                f"{self._kernel.name} exports no function as {name!r:.200} that a task could run: nothing happened"
            )
        reply, asked = None, request.reply
        if number and isinstance(asked, RemoteReply):
            reply = RemoteReply(asked.remote, asked.node, asked.creation, number)
        of_stream = owner is not None and owner.serial == 0  # a node itself
        linked_to = None if of_stream else owner
        cell = Context().run(start_task, self._kernel, fn, tuple(args), kwargs, reply, linked_to)
        if of_stream:
            self._kernel.monitor_nodes(cell, True)
        request.give(cell.pid)

    def _on_stop(self, request: Request) -> None:
        """Its caller has given up on its start."""
        for cell in list(self._kernel.cells.values()):
            if isinstance(cell, TaskCell) and cell.answers_to(request.args):
                cell.begin_exit(SHUTDOWN)


class Outcome(PendingCall):
    """How a task ended, once it has: at the side of who awaits it. Nobody need ask."""

    __slots__ = ()

    def refuse(self, error: Exception) -> None:
        self.fail(error)

    def fail(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)
            self.future.exception()  # asyncio would complain of one that is never asked for


class TaskCell(BodyCell):
    """The process of a task. It has no mailbox: messages to it are dropped.

    One that gets `NodeLost` messages belongs to a stream of another node, and ends when the link to that is lost.
    """

    __slots__ = ("_reply",)

    def __init__(self, kernel: "Kernel", pid: Pid, context: Context, label: str, reply: Reply | None) -> None:
        super().__init__(kernel, pid, context, label)
        self._reply = reply

    def accept(self, message: object) -> None:
        if type(message) is Request:
            super().accept(message)
        elif type(message) is NodeLost and self._is_of(message.node, message.creation):
            self.begin_exit(NOCONNECTION)

    def _is_of(self, node: str, creation: int) -> bool:
        reply = self._reply
        return isinstance(reply, RemoteReply) and (reply.node, reply.creation) == (node, creation)

    def answers_to(self, address: tuple[Any, ...]) -> bool:
        reply = self._reply
        return isinstance(reply, RemoteReply) and (reply.node, reply.creation, reply.alias) == address

    def returned(self, value: object) -> Steps | None:
        reply, self._reply = self._reply, None
        if reply is not None:
            reply.give(value)
        return super().returned(value)

    def raised(self, error: BaseException) -> Steps | None:
        alive = self.state == ALIVE
        following = super().raised(error)
        if alive and self.reason is error and isinstance(error, Exception):
            reply, self._reply = self._reply, None
            if isinstance(reply, Outcome):
                reply.fail(error)
            elif reply is not None:
                reply.refuse(RemoteError(*plain_error(error)))
        return following

    def finish(self) -> None:
        reply, self._reply = self._reply, None
        if reply is not None:
            reply.refuse(CalleeExited(f"task {self.describe()} has ended: {show(self.reason)}", self.reason))
        super().finish()


def start_task(
    kernel: "Kernel",
    fn: Callable[..., Awaitable[object]],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    reply: Reply | None,
    owner: Pid | None,
) -> TaskCell:
    """Start the process of a task. Raises `TypeError` for arguments that do not fit."""
    pid, label, context = kernel.new_pid(), _label(fn), copy_context()
    result = context.run(fn, *args, **kwargs)
    if not isawaitable(result):
        raise TypeError(
            f"{label} is no coroutine function: a task is written `async def`; for work that blocks, await "
            "`asyncio.to_thread(...)` in it"
        )
    cell = TaskCell(kernel, pid, context, label, reply)
    kernel.adopt(cell)
    cell.begin(result if asyncio.iscoroutine(result) else awaiting(result))
    if owner is not None:
        kernel.link(cell, owner)  # if that has ended, this is the end of the task too, before its first line
    return cell


def _label(fn: object) -> str:
    return getattr(fn, "__qualname__", type(fn).__qualname__)


def _try_to_stop(kernel: "Kernel", node: str, number: int) -> None:
    address = (kernel.name, kernel.creation, number)
    with suppress(QuorateError):
        kernel.request(node_itself(node), Request(_STOP, address, {}, None))
