"""The values by which processes know each other: identities, and what a mailbox tells of links and monitors.

Pure, frozen, hashable; equal on every node. A `Pid` names one life of one process: `creation` tells one start of
its node from the next, so a pid of a restarted node never equals one of its predecessor.
(Erlang: https://www.erlang.org/doc/system/ref_man_processes.html)
"""

from dataclasses import dataclass, field
from typing import Any

NORMAL = "normal"  # the reason of a process that ended as it should
KILL = "kill"  # as the reason of an explicit exit signal: cannot be trapped
KILLED = "killed"  # the reason of a process that died by such a signal
NOPROC = "noproc"  # there is no such process
NOCONNECTION = "noconnection"  # the node cannot be reached; its processes may live on
CANCELLED = "cancelled"  # the task of the process was cancelled, or what it awaited, by asyncio's own means
NO_REPLY = object()  # of an `Exit`
MAILBOX_FULL = "mailbox_full"  # more messages waited than its limit allows, and the policy was "kill"
SHUTDOWN = "shutdown"  # asked to stop, by a supervisor or by its node


@dataclass(frozen=True, slots=True, order=True, init=False)
class Pid:
    """The identity of a process: the name of its node, that node's creation, and a serial number there.

    Serial 0 is the node itself (the sender of what plain asyncio code sends).
    """

    node: str
    creation: int
    serial: int

    def __init__(self, node: str, creation: int, serial: int) -> None:
        _set_node(self, node)  # what a frozen dataclass does by itself takes twice as long
        _set_creation(self, creation)
        _set_serial(self, serial)

    def __str__(self) -> str:
        return f"<{self.node}/{self.creation}.{self.serial}>"

    __repr__ = __str__

    def show(self, node: str, creation: int) -> str:
        """As Erlang shows it on that node: `<0.41.0>` for its own processes, with the node's name for others."""
        return f"<0.{self.serial}.0>" if (self.node, self.creation) == (node, creation) else str(self)


_set_node: Any
_set_creation: Any
_set_serial: Any
_set_node, _set_creation, _set_serial = (vars(Pid)[name].__set__ for name in ("node", "creation", "serial"))


@dataclass(frozen=True, slots=True)
class RemoteName:
    """A process by its local name on a given node: `RemoteName("b@10.0.0.2:9101", "billing")`."""

    node: str
    name: str

    def __str__(self) -> str:
        return f"{self.name} on {self.node}"


@dataclass(frozen=True, slots=True)
class MonitorRef:
    """One monitor; each call of `monitor` makes another. `node` and `creation` are the watching side's."""

    node: str
    creation: int
    id: int


@dataclass(frozen=True, slots=True)
class Alias:
    """A second address of a process, which it can switch off: what is sent to it afterwards is dropped.

    For replies that may come too late. (EEP 53, https://www.erlang.org/eeps/eep-0053)
    """

    node: str
    creation: int
    id: int


@dataclass(frozen=True, slots=True)
class Down:
    """A monitored process is gone: `reason` is its exit reason, "noproc" or "noconnection"."""

    ref: MonitorRef
    pid: Pid
    reason: object


@dataclass(frozen=True, slots=True)
class ExitSignal:
    """An exit signal that reached a process which traps exits: from whom, and the reason."""

    pid: Pid
    reason: object


@dataclass(frozen=True, slots=True)
class HandlerGone:
    """A supervised handler of an event manager was removed: for its owner. See `Events.supervised_by`."""

    manager: Pid
    handler: str
    reason: object


@dataclass(frozen=True, slots=True)
class NodeUp:
    """A link to that node is there (`monitor_nodes`)."""

    node: str
    creation: int


@dataclass(frozen=True, slots=True)
class NodeLost:
    """The link to that node was lost (`monitor_nodes`). The node itself may live on."""

    node: str
    creation: int
    reason: str = field(default="", compare=False)


class Exit(BaseException):
    """`raise Exit(reason)` ends the process that raises it, with that reason and without a crash report.

    With `reply`, the caller of the method that raises it gets that value when the process has ended, `terminate` and all;
    without, `CalleeExited`. A `BaseException`, as `SystemExit` is: an `except Exception` on the way does not stop it.
    """

    def __init__(self, reason: object = NORMAL, *, reply: object = NO_REPLY) -> None:
        super().__init__(reason)
        self.reason = reason
        self.reply = reply
