"""A look into servers while they run, and a hand on them: Erlang's `sys`, for every behaviour, here and on other nodes.

    await node.sys.get_state(ref)                       # {"n": 3, "heard": []}
    await node.sys.replace_state(ref, {"n": 0})
    await node.sys.suspend(ref)                         # it handles nothing; what comes waits, in order
    await node.sys.resume(ref)
    await node.sys.trace(ref)                           # its messages and replies go to the log "quorate.trace"

For people and for tests; a program's own questions are methods of its servers. The state of a server is its attributes.
Everything is done by the server itself, between two messages (or two steps of calls of reentrant methods) and ahead of
those that wait, also while it is suspended.
Who may: every node that holds the cookie, which may do anything anyway; nothing is redacted here (crash reports are,
see `GenServer.format_status`).

(https://www.erlang.org/doc/apps/stdlib/sys.html) The server is the authority over its state, its control over whether it
is suspended. What must never happen here: a state is seen while a line of the server runs, or a message is lost.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from .calls import Reply, Request, check_cycle, no_process
from .control import Errand, ProcessControl, control_of, let_go
from .errors import CallError, DecodeError, EncodeError, NotCallable, RemoteError, TooLarge
from .gen_server import GenServer
from .kernel import node_itself
from .pid import Down, ExitSignal, Pid, RemoteName
from .plain import plain_error, show
from .ref import Ref
from .server_cell import ServerCell

if TYPE_CHECKING:
    from .kernel import Kernel

log = logging.getLogger("quorate.trace")

TEXT_LIMIT = 2000  # characters of a value that is shown as text

_SERVICE = "quorate.sys"
Server = Ref[Any] | Pid | RemoteName | str
Change = Mapping[str, Any] | Callable[[dict[str, Any]], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class TraceEvent:
    """A message that a server begins to handle, or an answer that it gives.

    `method` is that of a call, a cast, a reply or an error, else "". `content` is (args, kwargs), the message, the result
    or the error.
    """

    pid: Pid
    direction: Literal["in", "out"]
    kind: Literal["call", "cast", "info", "down", "exit", "reply", "error"]
    method: str
    content: object


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a server did in the `seconds` since it is counted."""

    seconds: float
    messages_in: int
    replies_out: int


class Sys:
    """`node.sys`. A server is given as a ref, a pid, a local name or a `RemoteName`.

    All methods wait for the message in progress, for `timeout_s` seconds at most. They raise `CallTimeout` (it may yet be
    done), `NoProcess`, `NodeDown`, `CalleeExited`, `CallCycle` (a server about itself), and `NotCallable` for a process
    that is no server.
    """

    def __init__(self, kernel: "Kernel") -> None:
        self._kernel = kernel

    async def get_state(self, server: Server, timeout_s: float | None = 5.0) -> dict[str, Any]:
        """The attributes of a server, by name. On this node the values themselves: do not change them.

        From another node, what cannot travel is shown as text.
        """
        state: dict[str, Any] = await self._ask("get_state", server, None, timeout_s)
        return state

    async def replace_state(
        self, server: Server, change: Change, timeout_s: float | None = 5.0
    ) -> dict[str, Any]:
        """Set attributes of a server, and return its new state. What `change` does not name stays as it is.

        `change` is a mapping or, on this node, a function that makes one of the old state. When the function raises,
        nothing is changed and that is told as `RemoteError`.
        """
        if callable(change) and _node_of(server, self._kernel.name) != self._kernel.name:
            raise TypeError("a function cannot travel to another node: give the attributes themselves")
        argument = change if callable(change) else dict(change)
        state: dict[str, Any] = await self._ask("replace_state", server, argument, timeout_s)
        return state

    async def suspend(self, server: Server, timeout_s: float | None = 5.0) -> None:
        """Have it begin no further message until `resume`. What comes waits in order; calls time out meanwhile."""
        await self._ask("suspend", server, None, timeout_s)

    async def resume(self, server: Server, timeout_s: float | None = 5.0) -> None:
        """Go on with the messages that wait. Harmless when it was not suspended."""
        await self._ask("resume", server, None, timeout_s)

    async def trace(
        self,
        server: Server,
        to: Callable[[TraceEvent], object] | bool = True,
        timeout_s: float | None = 5.0,
    ) -> None:
        """Tell of each message that the server begins to handle, and of each answer. False: no more.

        True: to the log "quorate.trace" of the server's own node, at INFO. A function is called there and then, so it
        must be quick, and the server must be on this node; what it raises is logged. It replaces what was before.
        """
        if not isinstance(to, bool) and _node_of(server, self._kernel.name) != self._kernel.name:
            raise TypeError("a function cannot travel to another node: trace to its log, with True")
        await self._ask("trace", server, to, timeout_s)

    async def statistics(
        self, server: Server, count: bool = True, timeout_s: float | None = 5.0
    ) -> Statistics:
        """What it did since it was asked first. `count=False`: count no more, after this answer."""
        seconds, messages, replies = await self._ask("statistics", server, count, timeout_s)
        return Statistics(seconds, messages, replies)

    async def _ask(self, op: str, server: Server, argument: object, timeout_s: float | None) -> Any:
        kernel = self._kernel
        node = _node_of(server, kernel.name)
        args = (op, _target(server), node != kernel.name, argument)
        return await kernel.call(node_itself(node), _SERVICE, args, {}, timeout_s)

    # -- what is asked of this node ------------------------------------------------------------------------

    def serve(self) -> None:
        """Answer this node's own questions, and those of others."""
        self._kernel.services[_SERVICE] = self._on_ask

    def _on_ask(self, request: Request) -> None:
        match request.args:
            case (str(op), (str() | Pid()) as target, bool(travels), argument) if op in _OPERATIONS:
                pass
            case _:
                raise DecodeError("a question for sys has another shape")
        kernel = self._kernel
        cell = kernel.named(target) if isinstance(target, str) else kernel.find(target)
        if cell is None:
            raise no_process(target)
        if not isinstance(cell, ServerCell):
            raise NotCallable(
                f"{cell.describe()} is no GenServer: it cannot be looked into; nothing happened"
            )
        check_cycle(request.chain, cell.pid)
        done = control_of(cell).post(partial(_OPERATIONS[op], kernel, cell, travels, argument), beside=True)
        done.add_done_callback(partial(_answer, request, cell))


def _answer(request: Request, cell: ServerCell, done: "asyncio.Future[Any]") -> None:
    error = done.exception()
    let_go(cell)
    if error is None:
        request.give(done.result())
    elif isinstance(error, CallError):
        request.refuse(error)
    else:
        told = RemoteError(*plain_error(error))
        told.__cause__ = error
        request.refuse(told)


def _node_of(server: Server, here: str) -> str:
    if isinstance(server, Ref):
        return server.pid.node
    return here if isinstance(server, str) else server.node


def _target(server: Server) -> Pid | str:
    if isinstance(server, Ref):
        return server.pid
    return server.name if isinstance(server, RemoteName) else server


# -- done by the server itself, as errands ----------------------------------------------------------------


def _get_state(kernel: "Kernel", cell: ServerCell, travels: bool, _: object, server: GenServer) -> object:
    state = server._quorate_state()
    return _travelling(kernel, state) if travels else state


def _replace_state(
    kernel: "Kernel", cell: ServerCell, travels: bool, change: Any, server: GenServer
) -> object:
    changes = change(server._quorate_state()) if callable(change) else change
    if not isinstance(changes, Mapping):
        raise TypeError(f"a state is a mapping of attributes, not {show(changes)}")
    server._quorate_replace(changes)
    return _get_state(kernel, cell, travels, None, server)


def _suspend(kernel: "Kernel", cell: ServerCell, travels: bool, _: object, server: GenServer) -> None:
    control_of(cell).suspend()


def _resume(kernel: "Kernel", cell: ServerCell, travels: bool, _: object, server: GenServer) -> None:
    control_of(cell).resume()


def _trace(kernel: "Kernel", cell: ServerCell, travels: bool, to: Any, server: GenServer) -> None:
    observer = _observer(kernel, control_of(cell))
    observer.sink = to if callable(to) else partial(_log, cell.label) if to else None
    observer.settle()


def _statistics(
    kernel: "Kernel", cell: ServerCell, travels: bool, count: object, server: GenServer
) -> object:
    observer = _observer(kernel, control_of(cell))
    now = kernel.clock.monotonic()
    if observer.since is None:
        observer.since, observer.messages, observer.replies = now, 0, 0
    counted = [now - observer.since, observer.messages, observer.replies]
    if not count:
        observer.since = None
    observer.settle()
    return counted


_OPERATIONS: dict[str, Callable[["Kernel", ServerCell, bool, Any, GenServer], object]] = {
    "get_state": _get_state,
    "replace_state": _replace_state,
    "suspend": _suspend,
    "resume": _resume,
    "trace": _trace,
    "statistics": _statistics,
}


def _travelling(kernel: "Kernel", state: dict[str, Any]) -> dict[str, Any]:
    """The state for another node: what cannot travel, or is too much, as text."""
    told: dict[str, Any] = {}
    for name, value in state.items():
        try:
            kernel.codec.encode(value)
            told[name] = value
        except (EncodeError, TooLarge):
            told[name] = show(value, TEXT_LIMIT)
    try:
        kernel.codec.encode(told)
    except TooLarge:
        return {name: show(value, TEXT_LIMIT) for name, value in state.items()}
    return told


# -- tracing ----------------------------------------------------------------------------------------------


class Observer:
    """Who is told of a server's messages and answers."""

    __slots__ = ("_control", "_kernel", "messages", "replies", "since", "sink")

    def __init__(self, kernel: "Kernel", control: ProcessControl) -> None:
        self._kernel = kernel
        self._control = control
        self.sink: Callable[[TraceEvent], object] | None = None
        self.since: float | None = None  # when counting began
        self.messages = 0
        self.replies = 0

    def settle(self) -> None:
        """Be asked from now on, if there is anything to do."""
        wanted = self.sink is not None or self.since is not None
        self._control.observer = self if wanted else None

    def begins(self, item: object) -> None:
        """The server begins to handle a message."""
        if type(item) is Errand:
            return
        self.messages += 1
        match item:
            case Request():
                if item.reply is not None and type(item.reply) is not _Overheard:
                    item.reply = _Overheard(self, item.method, item.reply)
                self._tell(
                    "in", "cast" if item.reply is None else "call", item.method, (item.args, item.kwargs)
                )
            case Down():
                self._tell("in", "down", "", item)
            case ExitSignal():
                self._tell("in", "exit", "", item)
            case _:
                self._tell("in", "info", "", item)

    def answers(self, kind: Literal["reply", "error"], method: str, content: object) -> None:
        self.replies += 1
        self._tell("out", kind, method, content)

    def _tell(self, direction: Any, kind: Any, method: str, content: object) -> None:
        if self.sink is None:
            return
        try:
            self.sink(TraceEvent(self._control.pid, direction, kind, method, content))
        except Exception:
            log.exception("the trace of %s raised", self._control.pid)


class _Overheard:
    """Where the answer to a call goes, by way of an observer."""

    __slots__ = ("_method", "_observer", "_reply")

    def __init__(self, observer: Observer, method: str, reply: Reply) -> None:
        self._observer = observer
        self._method = method
        self._reply = reply

    def give(self, value: object) -> None:
        self._observer.answers("reply", self._method, value)
        self._reply.give(value)

    def refuse(self, error: Exception) -> None:
        self._observer.answers("error", self._method, error)
        self._reply.refuse(error)


def _observer(kernel: "Kernel", control: ProcessControl) -> Observer:
    known = control.observer
    return known if isinstance(known, Observer) else Observer(kernel, control)


def _log(label: str, event: TraceEvent) -> None:
    arrow = "got" if event.direction == "in" else "gave"
    what = f"{event.kind} {event.method}" if event.method else event.kind
    log.info(
        "%s (%s) %s %s: %s",
        event.pid,
        label,
        arrow,
        what,
        show(event.content),
        extra={
            "quorate": {
                "event": "trace",
                "pid": event.pid,
                "direction": event.direction,
                "kind": event.kind,
                "method": event.method,
                "content": show(event.content, TEXT_LIMIT),
            }
        },
    )
