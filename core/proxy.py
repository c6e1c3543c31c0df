"""Processes that are a callback of the library, and other hooks for the layers that put servers under their control.

A proxy is an address like any other (it can be sent to, called, monitored), but what reaches it is given, in order and
at once, to a function of the library: it decides where a message goes, and who answers a call. The function is the
authority over what arrives; the proxy keeps nothing. What must never happen here: code of a user runs in that function.
"""

from collections.abc import Callable
from contextvars import Context
from typing import TypeVar

from .calls import Request, no_process
from .cell import ALIVE, Cell
from .control import ProcessControl
from .export import Exports
from .gen_server import GenServer
from .kernel import Kernel
from .node import Node
from .pid import Pid
from .server_cell import ServerCell
from .starting import start

S = TypeVar("S", bound=GenServer)
Accept = Callable[[object], object]


class Proxy(Cell):
    """A process without code: `accept` gets each message, and each call or cast as a `Request`.

    Exit signals do nothing to it. It ends when the node does, or by `stop_process`.
    """

    __slots__ = ("_accept",)

    def __init__(self, kernel: Kernel, pid: Pid, accept: Accept, label: str) -> None:
        super().__init__(kernel, pid, Context(), label)
        self._accept = accept

    def accept(self, message: object) -> None:
        if self.state == ALIVE:
            self._accept(message)
        elif type(message) is Request:
            message.refuse(no_process(self.pid))

    def exit_signal(self, source: Pid, reason: object, *, linked: bool) -> None:
        if linked and self.links is not None:
            self.links.discard(source)

    def wind_down(self) -> None:
        self.finish()

    def status(self) -> str:
        return "idle"


def start_proxy(node: Node, accept: Accept, label: str) -> Pid:
    """Start a proxy on this node. `accept` must not raise."""
    cell = Proxy(node.kernel, node.kernel.new_pid(), accept, label)
    node.kernel.adopt(cell)
    return cell.pid


def start_held(node: Node, server: Callable[[], S], gate: Callable[[], bool]) -> tuple[S, ProcessControl]:
    """Start a server that handles no message before `release`, and none while `gate()` is False.

    Raises what its `__init__` raises.
    """
    cell = start(node.kernel, server, (), {})
    control = node.control(cell.pid)
    control.hold()
    control.set_gate(gate)
    return cell.server, control  # type: ignore[return-value]  # `start` made it of `server`


def stop_process(node: Node, pid: Pid, reason: object) -> None:
    """Make a process of this node exit, whether it traps exits or not. `terminate` and `finally` run."""
    cell = node.kernel.find(pid)
    if cell is not None:
        cell.begin_exit(reason)


def exported_servers(exports: Exports) -> dict[str, type[GenServer]]:
    """The server classes that a node exports, by name."""
    return {
        name: thing
        for name, thing in exports._things.items()
        if isinstance(thing, type) and issubclass(thing, GenServer)
    }


def interrupt(node: Node, pid: Pid) -> None:
    """Break off the handlers in progress, if there are any: close the gate first, or it just gets a `CancelledError`."""
    cell = node.kernel.find(pid)
    if isinstance(cell, ServerCell):
        cell.interrupt()
