"""A hand on one server from outside its methods: a gate, holding its mailbox, errands, forwarding.

For the layers above (singletons, `sys`), never for users' messages; `node.control(pid)` gives it. The control is the
authority over whether its process may begin, or go on with, a message now. What must never happen here: a line of a
handler runs after the gate closed, or a message is lost or changes its place.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, overload

from .calls import Request
from .errors import CallError
from .pid import Pid, RemoteName
from .telling import Log

if TYPE_CHECKING:
    from .server_cell import ServerCell

log = Log("quorate.process")
T = TypeVar("T")


class Errand:
    """Something that the library does as the server, between two messages and ahead of the mailbox."""

    __slots__ = ("beside", "done", "function")

    def __init__(
        self, function: Callable[[Any], Any], done: "asyncio.Future[Any]", *, beside: bool = False
    ) -> None:
        self.function = function
        self.done = done
        self.beside = beside  # it may run while calls of reentrant methods are in progress

    def give(self, value: object) -> None:
        if not self.done.done():
            self.done.set_result(value)

    def fail(self, error: BaseException) -> None:
        if isinstance(error, asyncio.CancelledError | StopIteration):  # a future cannot carry these
            error = CallError(f"the errand was broken off: {type(error).__name__}")
        if not self.done.done():
            self.done.set_exception(error)


class Observer(Protocol):
    """Who is told of a process's messages."""

    def begins(self, item: object) -> None:
        """The process begins to handle a message. Must not raise."""
        ...


class ProcessControl:
    """The control of one `GenServer` process. All but `run` and `drain` return at once."""

    __slots__ = (
        "_cell",
        "_ended",
        "_errands",
        "_gate",
        "_held",
        "_redirect",
        "_suspended",
        "kept",
        "observer",
    )

    def __init__(self, cell: "ServerCell") -> None:
        self.kept = False  # somebody has it: it must stay the control of its process
        self.observer: Observer | None = None
        self._cell = cell
        self._suspended = False
        self._gate: Callable[[], bool] | None = None
        self._held = False
        self._redirect: Pid | RemoteName | None = None
        self._errands: deque[Errand] = deque()
        self._ended: CallError | None = None

    @property
    def pid(self) -> Pid:
        return self._cell.pid

    # -- the gate ------------------------------------------------------------------------------------------

    def set_gate(self, gate: Callable[[], bool] | None) -> None:
        """Ask `gate()` before each message and before each resumption of an `async def` handler.

        While it is False no message begins: they stay in the mailbox, in order. A handler in progress gets
        `CancelledError` at its next resumption, and at each one after that: nothing but its `except` and `finally`
        lines can still run, and if it catches the error and goes on, the lines up to its next await. Its caller gets
        `CalleeExited` (outcome unknown) and the process lives. Errands and `terminate` are not gated. A gate must be quick and not raise (counts as closed).
        When it has opened again by itself, call `set_gate` or `release` to wake the process.
        """
        self._gate = gate
        self._wake()

    def gate_open(self) -> bool:
        if self._gate is None:
            return True
        try:
            return bool(self._gate())
        except Exception:
            log.exception("the gate of %s raised: taken as closed", self._cell.describe())
            return False

    # -- the mailbox ---------------------------------------------------------------------------------------

    @property
    def held(self) -> bool:
        return self._held

    def hold(self) -> None:
        """Begin no further message until `release`: what arrives waits, in order."""
        self._held = True

    def release(self) -> None:
        """Go on with the mailbox."""
        self._held = False
        self._wake()

    @property
    def suspended(self) -> bool:
        return self._suspended

    def suspend(self) -> None:
        """As `hold`, but apart from it: this one is for people (`sys`), and only `resume` ends it."""
        self._suspended = True

    def resume(self) -> None:
        """Go on, unless it is held too."""
        self._suspended = False
        self._wake()

    async def drain(self) -> None:
        """Return when the messages in progress are done (`hold` first, or the next one begins at once).

        Raises `CalleeExited` when the process ends meanwhile.
        """
        await self.run(_nothing)

    def take_mailbox(self) -> list[object]:
        """Take all messages that were not begun out of the mailbox, in order: for `node.forward` or `put_back`."""
        cell = self._cell
        messages = [*(cell.urgent or ()), *(cell.mailbox or ())]
        cell.urgent = cell.mailbox = None
        return messages

    def put_back(self, messages: Iterable[object]) -> None:
        """Put messages that were taken back in front of the mailbox, in order."""
        kept = deque(messages)
        kept.extend(self._cell.mailbox or ())
        self._cell.mailbox = kept or None
        self._wake()

    def redirect(self, to: Pid | RemoteName) -> None:
        """Forward all that waits and all that will arrive to another process, in order; begin nothing any more.

        Calls are answered from there. The process itself lives on, as a signpost, until it is told to exit.
        """
        self._redirect = to
        self._held = True
        for message in self.take_mailbox():
            self._cell.kernel.forward(to, message)

    # -- errands -------------------------------------------------------------------------------------------

    @overload
    async def run(self, function: Callable[[Any], Awaitable[T]], *, beside: bool = False) -> T: ...
    @overload
    async def run(self, function: Callable[[Any], T], *, beside: bool = False) -> T: ...
    async def run(self, function: Callable[[Any], Any], *, beside: bool = False) -> Any:
        """Do `function(server)` as the process: after the message in progress, ahead of the mailbox, even when held.

        What it returns is awaited if it can be. What it raises is raised here and does the process no harm (but
        `Exit`, which ends it). It waits for the calls of reentrant methods that are in progress, and nothing begins
        meanwhile, unless it may run `beside` them. Raises `CalleeExited` when the process ends first. There is no
        deadline.
        """
        return await self.post(function, beside=beside)

    def post(self, function: Callable[[Any], Any], *, beside: bool = False) -> "asyncio.Future[Any]":
        """`run` without the waiting. Raises `CalleeExited` when the process has ended already."""
        if self._ended is not None:
            raise self._ended
        errand = Errand(function, self._cell.kernel.loop.create_future(), beside=beside)
        self._errands.append(errand)
        self._wake()
        return errand.done

    # -- for the cell --------------------------------------------------------------------------------------

    def may_handle(self) -> bool:
        """Whether the next message may begin."""
        return not self._held and not self._suspended and self.gate_open()

    def begins(self, item: object) -> None:
        """The process begins to handle a message."""
        if self.observer is not None:
            self.observer.begins(item)

    def has_work(self) -> bool:
        """Whether anything here still matters to the process."""
        return (
            self.kept
            or self._held
            or self._suspended
            or self._gate is not None
            or self._redirect is not None
            or self.observer is not None
            or bool(self._errands)
        )

    def errands(self) -> deque[Errand] | None:
        """Those that wait, without the ones at the head that nobody waits for any more; None: there is none."""
        errands = self._errands
        while errands and errands[0].done.done():
            errands.popleft()
        return errands or None

    def has_errand(self) -> bool:
        return self.errands() is not None

    def next_errand(self) -> Errand | None:
        errands = self.errands()
        return None if errands is None else errands.popleft()

    def redirected(self, message: object) -> bool:
        """Whether a message that has just arrived was sent on."""
        if self._redirect is None:
            return False
        self._cell.kernel.forward(self._redirect, message)
        return True

    def close(self, error: CallError) -> None:
        """The process has ended."""
        self._ended = error
        while self._errands:
            self._errands.popleft().fail(error)

    def _wake(self) -> None:
        if self._ended is None:
            self._cell.kernel.scheduler.wake(self._cell)


def control_of(cell: "ServerCell") -> ProcessControl:
    """The control of a process; made when there is none."""
    if cell.control is None:
        cell.control = ProcessControl(cell)
    return cell.control


def let_go(cell: "ServerCell") -> None:
    """Take the control off a process again when nothing needs it: without one it is quicker."""
    if cell.control is not None and not cell.control.has_work():
        cell.control = None


def _nothing(server: object) -> None:
    """The errand of `drain`: that it has its turn is all."""


def is_call(message: object) -> bool:
    """Whether a message from `take_mailbox` is a call or a cast of a method, and not a plain message."""
    return type(message) is Request
