"""Processes whose body is a coroutine: `async def body(self: Process, *args)`, started with `node.spawn`.

    async def counter(self: Process, start: int) -> None:
        n = start
        while True:
            match await self.receive():
                case ("add", by):
                    n += by
                case ("get", sender):
                    self.send(sender, n)

A body may use anything that asyncio offers. When it returns the process ends with the reason "normal"; when it raises,
with the exception as the reason; `raise Exit(reason)` ends it on purpose. Killing it cancels what it awaits and runs
its `finally` blocks. (When not to use it: for request and answer a `GenServer` is shorter and faster.)
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import copy_context
from itertools import islice
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, overload

from .activation import Activation, Steps
from .calls import HANDLING, Handling, Request
from .cell import ALIVE, EXITING, Cell
from .crash import report_late
from .errors import NotCallable
from .handlers import NOTHING
from .mailbox import MailboxLimit, MailboxPolicy
from .match import Match, matches
from .pid import CANCELLED, NORMAL, Alias, Exit, MonitorRef, Pid, RemoteName
from .timers import MessageTimer, check_delay

if TYPE_CHECKING:
    from .kernel import Kernel
    from .task import Tasks

P = ParamSpec("P")
M = TypeVar("M")


class Process:
    """A process as its own code sees it. Its methods are for that code alone; all but `receive` return at once."""

    __slots__ = ("_cell",)

    def __init__(self, cell: Cell) -> None:
        self._cell = cell

    @property
    def pid(self) -> Pid:
        return self._cell.pid

    @property
    def trap_exits(self) -> bool:
        """Whether exit signals (but "kill") become `ExitSignal` messages. Default False."""
        return self._cell.trapping

    @trap_exits.setter
    def trap_exits(self, trapping: bool) -> None:
        self._cell.trapping = trapping

    def send(self, to: Pid | RemoteName | Alias | str, message: object) -> None:
        """Send a message to a pid, an alias or a name. What nobody can receive is dropped silently.

        Within the node the object itself is passed: do not change it afterwards. Raises `EncodeError` or `TooLarge`
        for what cannot travel to another node, `Busy` when too much waits to be sent there, or in its mailbox (`MailboxLimit`).
        """
        self._cell.kernel.send(to, message)

    async def send_patiently(self, to: Pid | RemoteName | Alias | str, message: object) -> None:
        """`send`; where that raises `Busy` it waits until there is room: in the lane to the node, or in a mailbox with
        the policy "refuse". Others may be served first meanwhile.
        """
        await self._cell.kernel.send_patiently(to, message)

    @overload
    async def receive(self, match: type[M], timeout_s: float | None = None) -> M: ...
    @overload
    async def receive(self, match: Match = None, timeout_s: float | None = None) -> Any: ...
    async def receive(self, match: Any = None, timeout_s: float | None = None) -> Any:
        """Take the first message that matches (see `matches`); the others stay, in order.

        Raises `TimeoutError` when there is none within `timeout_s` seconds (0: none is there now).
        """
        cell = self._cell
        if not isinstance(cell, BodyCell):
            raise TypeError(f"{cell.describe()} has no receive: its messages come to its methods and hooks")
        if match is None and (message := cell.take_now()) is not NOTHING:
            return message
        return await cell.receive(match, timeout_s)

    def link(self, pid: Pid) -> None:
        """Link with a process: when one ends, the other gets an exit signal. Linking twice changes nothing."""
        self._cell.kernel.link(self._cell, pid)

    def unlink(self, pid: Pid) -> None:
        """Undo a link. No exit signal of it arrives afterwards; one that is in the mailbox already stays there."""
        self._cell.kernel.unlink(self._cell, pid)

    def monitor(self, pid: Pid) -> MonitorRef:
        """Watch a process: one `Down` comes when it ends ("noproc": there was none; "noconnection": node lost)."""
        return self._cell.kernel.monitor(self._cell, pid)

    def demonitor(self, ref: MonitorRef, flush: bool = False) -> None:
        """Stop watching; with `flush` a `Down` that is in the mailbox already is removed too."""
        self._cell.kernel.demonitor(self._cell, ref, flush=flush)

    def exit(self, pid: Pid, reason: object) -> None:
        """Send an exit signal. To oneself it takes effect at once, unless it is trapped."""
        self._cell.kernel.exit(self._cell.pid, pid, reason)
        if pid == self._cell.pid and self._cell.state != ALIVE:
            raise Exit(self._cell.reason)

    def register(self, name: str) -> None:
        """Take a name on this node, until the process ends. Raises `LocalNameTaken`."""
        self._cell.kernel.register(self._cell, name)

    def unregister(self) -> None:
        """Give the local name up, if there is one."""
        self._cell.kernel.unregister(self._cell)

    def whereis(self, name: str) -> Pid | None:
        """The process of this node with that local name."""
        cell = self._cell.kernel.named(name)
        return None if cell is None else cell.pid

    def alias(self, *, priority: bool = False) -> Alias:
        """A second address of this process, until `unalias`: for replies that may come too late.

        What is sent to a `priority` alias is taken before all other messages that wait, in the order sent: whoever has
        that alias may hurry this process, and nobody else. (EEP 76, https://www.erlang.org/eeps/eep-0076)
        """
        return self._cell.kernel.new_alias(self._cell, priority=priority)

    def unalias(self, alias: Alias) -> bool:
        """Switch an alias off: what is sent to it from now on is dropped. False when it was off already."""
        return self._cell.kernel.drop_alias(self._cell, alias)

    def monitor_nodes(self, wanted: bool = True) -> None:
        """Get `NodeUp` and `NodeLost` messages as links to other nodes come and go, from now on; or no more."""
        self._cell.kernel.monitor_nodes(self._cell, wanted)

    def send_after(self, delay_s: float, to: Pid | RemoteName | Alias | str, message: object) -> MessageTimer:
        """Send a message in `delay_s` seconds, unless the timer is cancelled; also after the end of this process, but not
        after that of `to`, if this is a pid of this node.

        Raises `EncodeError` and `TooLarge` for what cannot travel to another node.
        """
        return self._cell.kernel.send_after(delay_s, to, message)

    def cancel_timer(self, timer: MessageTimer) -> float | None:
        """Cancel a `send_after`. The seconds that were left; None: it was sent (or cancelled) already."""
        left_s = timer.left_s()
        timer.cancel()
        return left_s

    def limit_mailbox(self, messages: int | None, policy: MailboxPolicy = "warn") -> None:
        """Let so many messages wait for this process; see `MailboxLimit`. None: no limit. Default: the node's."""
        self._cell.limit = None if messages is None else MailboxLimit(messages, policy)

    def spawn(
        self,
        body: Callable[Concatenate["Process", P], Awaitable[object]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Pid:
        """Start a process on this node. It runs from the next turn of the loop on."""
        return spawn(self._cell.kernel, body, args, kwargs).pid

    def spawn_link(
        self,
        body: Callable[Concatenate["Process", P], Awaitable[object]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Pid:
        """`spawn` and `link` in one. (From a process that is ending: the child is told of its end.)"""
        child = spawn(self._cell.kernel, body, args, kwargs)
        self._cell.kernel.link(child, self._cell.pid)
        return child.pid

    def spawn_monitor(
        self,
        body: Callable[Concatenate["Process", P], Awaitable[object]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> tuple[Pid, MonitorRef]:
        """`spawn` and `monitor` in one."""
        pid = spawn(self._cell.kernel, body, args, kwargs).pid
        return pid, self.monitor(pid)

    @property
    def tasks(self) -> "Tasks":
        """Functions as processes that are linked to this one: `await self.tasks.run(fn, *args)`. See `Tasks`."""
        return self._cell.kernel.tasks.of(self._cell.pid)

    def __repr__(self) -> str:
        return f"Process({self._cell.describe()})"


class BodyCell(Cell):
    """A process with a coroutine as its body, and one task while it lives."""

    __slots__ = ("_quota", "_waiter")

    def __init__(self, kernel: "Kernel", pid: Pid, context: Any, label: str) -> None:
        super().__init__(kernel, pid, context, label)
        self._waiter: asyncio.Future[None] | None = None
        self._quota = kernel.config.slice_messages

    def begin(self, steps: Steps) -> None:
        self.context.run(HANDLING.set, Handling((self.pid,)))
        self.activation = Activation(self.kernel.scheduler, self, steps, self.context, self.label)

    # -- the mailbox ---------------------------------------------------------------------------------------

    def accept(self, message: object) -> None:
        if type(message) is Request:
            message.refuse(
                NotCallable(f"{self.describe()} is no GenServer, it has no methods: nothing happened")
            )
        elif self.state == ALIVE:
            if self.mailbox is None:
                self.mailbox = deque((message,))
            elif (limit := self.limit) is None or len(self.mailbox) < limit.messages or self.admits(message):
                self.mailbox.append(message)
            else:
                return
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(None)

    def take_now(self) -> Any:
        """The first message; `NOTHING` when none waits, or when there is more to be thought of: see `receive`."""
        mailbox = self.mailbox
        if (
            mailbox is None
            or self.urgent is not None
            or self._quota <= 1
            or self._waiter is not None
            or self.state != ALIVE
        ):
            return NOTHING
        self._quota -= 1
        message = mailbox.popleft()
        if not mailbox:
            self.mailbox = None
        crowding = self.kernel.crowding
        if crowding.crowded:
            crowding.eased(self, len(mailbox))
        return message

    async def receive(self, match: Any, timeout_s: float | None) -> Any:
        """See `Process.receive`."""
        if self._waiter is not None:
            raise RuntimeError(f"{self.describe()} is in receive already: only one receive at a time")
        self._quota -= 1
        if (
            self._quota <= 0
        ):  # a body that always finds a message never waits: others run every so many messages
            self._quota = self.kernel.config.slice_messages
            await asyncio.sleep(0)
        seen, looked_at = 0, self.mailbox  # so many of these did not match
        timer, due, expired = None, 0.0, timeout_s is not None and timeout_s <= 0
        try:
            while self.state == ALIVE:
                if self.mailbox is not looked_at:
                    seen, looked_at = 0, self.mailbox
                found, seen = self._find(match, seen)
                if found is not None:
                    return found[0]
                if expired:
                    raise TimeoutError(f"no matching message in {timeout_s:g} s")
                self._waiter = self.kernel.loop.create_future()
                if timer is None and timeout_s is not None:
                    check_delay(timeout_s)
                    timer = self.kernel.clock.call_later(timeout_s, self._wake)
                    due = self.kernel.clock.monotonic() + timeout_s
                await self._waiter
                self._quota = self.kernel.config.slice_messages
                expired = timer is not None and self.kernel.clock.monotonic() >= due
            raise asyncio.CancelledError("the process is exiting: nothing reaches its mailbox any more")
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    def accept_first(self, message: object) -> None:
        if self.state == ALIVE:
            if self.urgent is None:
                self.urgent = deque((message,))
            else:
                self.urgent.append(message)
            self._wake()

    def _find(self, match: Any, seen: int) -> tuple[tuple[Any] | None, int]:
        """The first message that matches, taken out; of the mailbox, the first `seen` are known not to."""
        if self.urgent is not None:
            found, _ = _take(self.urgent, match, 0)
            if found is not None:
                if not self.urgent:
                    self.urgent = None
                return found, seen
        mailbox = self.mailbox
        if not mailbox:
            return None, 0
        found, seen = _take(mailbox, match, seen)
        if not mailbox:
            self.mailbox = None
        if found is not None and self.kernel.crowding.crowded:
            self.kernel.crowding.eased(self, len(mailbox))
        return found, seen

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # -- its end -------------------------------------------------------------------------------------------

    def wind_down(self) -> None:
        assert self.activation is not None
        self.arm_deadline()
        self.activation.cancel()

    def returned(self, value: object) -> Steps | None:
        self.ended(NORMAL)
        return None

    def raised(self, error: BaseException) -> Steps | None:
        if self.state == EXITING:
            if not isinstance(error, asyncio.CancelledError | Exit):
                report_late(self, error, "while it was exiting")
        elif isinstance(error, Exit):
            self.ended(error.reason)
        elif isinstance(error, asyncio.CancelledError):
            self.ended(CANCELLED)
        else:
            self.crashed(error)
        if isinstance(error, KeyboardInterrupt):
            self.kernel.scheduler.pass_on(error)
        return None

    def rest(self) -> None:
        self.finish()

    def initial_call(self) -> str:
        code = None if self.activation is None else self.activation.cr_code
        return self.label if code is None else f"{self.label} at {code.co_filename}:{code.co_firstlineno}"

    def status(self) -> str:
        return "waiting" if self._waiter is not None else "running"


def _take(queue: deque[Any], match: Any, seen: int) -> tuple[tuple[Any] | None, int]:
    """The first message after the first `seen` that matches, taken out of its place; and how many do not, before it."""
    if match is None:
        return (queue.popleft(),), 0
    for message in tuple(islice(queue, seen, None)):  # a copy: a predicate may send to its own process
        if matches(match, message):
            del queue[seen]
            return (message,), seen
        seen += 1
    return None, seen


def spawn(
    kernel: "Kernel", body: Callable[..., Awaitable[object]], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> BodyCell:
    """Start a process with a coroutine as its body. Raises `TypeError` for arguments that do not fit."""
    pid = kernel.new_pid()
    label = getattr(body, "__qualname__", type(body).__qualname__)
    cell = BodyCell(kernel, pid, copy_context(), label)
    steps = cell.context.run(body, Process(cell), *args, **kwargs)
    if not isinstance(steps, Coroutine):
        raise TypeError(f"{label} is no coroutine function: a body is written `async def {label}(self, ...)`")
    kernel.adopt(cell)
    cell.begin(steps)
    return cell
