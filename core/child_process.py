"""One child of a supervisor as a process: how it is started, and how it is stopped.

The authority over the table of children is `supervision.py`. What must never happen here: a child runs for one turn of
the loop without being linked to its supervisor, or a stopped child is reported before it is dead.
"""

import asyncio
import math

from . import starting
from .cell import ALIVE, DEAD, EXITING, Cell
from .child_spec import ChildSpec
from .errors import LocalNameTaken
from .kernel import Kernel
from .oversight import Oversight
from .pid import KILL, SHUTDOWN, Down, Pid
from .process import spawn
from .runtime import Timer


def start_child(parent: Cell, spec: ChildSpec) -> Cell:
    """Start a child, linked to its supervisor and with its name. Raises whatever its start raises."""
    kernel = parent.kernel
    owner = kernel.named(spec.name) if spec.name is not None else None
    if owner is not None:
        raise LocalNameTaken(f"the local name {spec.name!r} belongs to {owner.pid}", owner.pid)
    cell: Cell
    if spec.is_server:
        cell = starting.start(kernel, spec.start, spec.args, dict(spec.kwargs))
    else:
        cell = spawn(kernel, spec.start, spec.args, dict(spec.kwargs))
    oversee(cell, parent.pid, spec)
    kernel.link(parent, cell.pid)
    if (
        parent.state != ALIVE
    ):  # the child's own __init__ has seen to that, and a link with it is no longer made
        cell.begin_exit(parent.reason)
    if spec.name is not None:
        try:
            kernel.register(cell, spec.name)
        except BaseException:
            cell.begin_exit(SHUTDOWN)
            raise
    return cell


def oversee(cell: Cell, parent: Pid, spec: ChildSpec | None = None) -> None:
    """Say who supervises a process. Without a spec it is a supervisor that nobody supervises."""
    if cell.state == DEAD:
        return
    before = cell.kernel.oversight.get(cell.pid.serial)
    cell.kernel.oversight[cell.pid.serial] = Oversight(
        parent,
        obedient=spec is None or spec.is_server,
        deadline_s=math.inf if spec is None else spec.deadline_s,
        supervises=spec is None or (before is not None and before.supervises),
    )


class Stopping:
    """One child on its way out. `await gone` says how it ended; `close` when nobody waits for that any more."""

    __slots__ = ("_kernel", "_parent", "_ref", "_timer", "gone", "pid")

    def __init__(self, kernel: Kernel, parent: Pid, pid: Pid, spec: ChildSpec) -> None:
        self.pid = pid
        self.gone: asyncio.Future[Down] = kernel.loop.create_future()
        self._kernel = kernel
        self._parent = parent
        self._ref = kernel.watch(pid, self._is_gone)
        self._timer: Timer | None = None
        if spec.shutdown_s == "brutal_kill":
            kernel.exit(parent, pid, KILL)
            return
        kernel.exit(parent, pid, SHUTDOWN)
        if isinstance(spec.shutdown_s, float | int):
            self._timer = kernel.clock.call_later(spec.shutdown_s, self._time_is_up, spec.shutdown_s)

    def close(self) -> None:
        self._kernel.unwatch(self._ref)
        if self._timer is not None:
            self._timer.cancel()

    def _is_gone(self, down: Down) -> None:
        if not self.gone.done():
            self.gone.set_result(down)

    def _time_is_up(self, after_s: float) -> None:
        """It is killed: at once when its code had the time to end, else as any process is."""
        cell = self._kernel.find(self.pid)
        if cell is not None and cell.state == EXITING:
            cell.overdue(after_s)
        elif cell is not None:
            self._kernel.exit(self._parent, self.pid, KILL)
