"""The processes of one node and the signals between them: links, monitors, exits, messages, names, calls.

The kernel is the authority over which processes exist here, their local names, and who is linked to and monitors
whom on this node. What lies on other nodes it asks of its `Remote`. It dispatches exits from a queue of its own, so
that a chain of ten thousand linked processes is no deeper on the stack than two. What must never happen here: a
signal overtakes another of the same pair, or an exception of a user's code comes out of a signal.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from .activation import KeptTasks
from .calls import Deadlines, PendingCall, Request, chain_here, check_cycle, no_process
from .cell import ALIVE, NOT_NOW, STATES, Cell
from .codec import Codec
from .errors import Busy, CallCycle, CallError, ConfigError, LocalNameTaken, QuorateError, RemoteError
from .mailbox import USUAL_LIMIT, Crowding, MailboxLimit
from .oversight import Oversight
from .pid import NOPROC, SHUTDOWN, Alias, Down, MonitorRef, Pid, RemoteName
from .plain import plain_error, show
from .runtime import Clock
from .scheduler import Scheduler
from .telling import Log
from .timers import MessageTimer

if TYPE_CHECKING:
    from .task import Tasks

log = Log("quorate.process")

Hear = Callable[[Down], object]
Target = Pid | RemoteName | str
Service = Callable[[Request], object]  # answers by `give` or `refuse`, now or later; what it raises is told


@dataclass(frozen=True, slots=True)
class ProcessConfig:
    """How the processes of a node are run. Times in seconds. Raises `ConfigError`."""

    call_timeout_s: float = 5.0  # of a call without `within`
    exit_deadline_s: float = 5.0  # for `finally` and `terminate`, before a process is abandoned; inf: never
    slow_s: float = (
        0.2  # a process that holds the loop for longer, by up to a quarter, is reported; inf: none is
    )
    slice_messages: int = 128  # one process handles at most so many before another has its turn
    turn_messages: int = 1024  # all processes together, before the loop looks at sockets and timers
    mailbox: MailboxLimit | None = USUAL_LIMIT  # of each process, unless it sets its own; None: no limit

    def __post_init__(self) -> None:
        for name in ("call_timeout_s", "exit_deadline_s", "slow_s"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be over 0 seconds, not {getattr(self, name)}")
        for name in ("slice_messages", "turn_messages"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be 1 or more, not {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """What `process_info` shows of a process of this node."""

    pid: Pid
    kind: str  # the body or the class
    name: str | None
    state: str  # alive, exiting
    status: str  # idle, running, waiting, held
    mailbox: int
    links: tuple[Pid, ...]
    monitors: int  # that it holds
    monitored_by: int
    trap_exits: bool
    aliases: int = 0
    handling: str = ""  # the message or call in progress, for people
    where: str = ""  # where its code is suspended, outermost first
    reentrant_calls: int = 0  # in progress beside
    owed_answers: int = 0  # to calls that will be answered later
    mailbox_limit: MailboxLimit | None = None


class Remote(Protocol):
    """Processes of other nodes, as a kernel sees them."""

    def send(self, to: Pid | RemoteName | Alias, message: object, *, must_leave: bool = False) -> None: ...

    def request(self, to: Pid | RemoteName, request: Request, *, must_leave: bool = False) -> None: ...

    def link(self, source: Pid, target: Pid) -> None: ...

    def unlink(self, source: Pid, target: Pid) -> None: ...

    def exit(self, source: Pid, target: Pid, reason: object, *, linked: bool) -> None: ...

    def monitor(self, ref: MonitorRef, target: Pid, hear: Hear) -> None: ...

    def demonitor(self, ref: MonitorRef, target: Pid) -> None: ...

    async def drained(self, node: str) -> None: ...

    def expect(self, node: str, pending: PendingCall) -> int:
        """The number under which that node can answer `pending`. Raises `NodeDown` when there is no link."""
        ...


class Kernel:
    """The process table of one node, and all that passes between its processes."""

    def __init__(
        self,
        name: str,
        creation: int,
        *,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        codec: Codec,
        config: ProcessConfig,
        remote: Remote,
    ) -> None:
        self.name = name
        self.creation = creation
        self.loop = loop
        self.clock = clock
        self.codec = codec
        self.config = config
        self.remote = remote
        self.pid = Pid(name, creation, 0)
        self.scheduler = Scheduler(
            loop,
            clock,
            slice_messages=config.slice_messages,
            turn_messages=config.turn_messages,
            slow_s=config.slow_s,
        )
        self.kept_tasks = KeptTasks(self.scheduler, clock)
        self.deadlines = Deadlines(clock)
        self.cells: dict[int, Cell] = {}
        self.services: dict[str, Service] = {}  # what nodes ask of this one, by name: see `node_itself`
        self.tasks: Tasks  # set by the node
        self.crashes = 0
        self.oversight: dict[int, Oversight] = {}  # of supervised processes, by serial
        self._names: dict[str, Cell] = {}
        self._aliases: dict[int, Cell] = {}
        self._urgent: set[int] = set()  # those of them that are for priority messages
        self.crowding = Crowding(loop)
        self._node_watchers: dict[int, Cell] = {}
        self._timers: dict[int, dict[MessageTimer, None]] = {}  # of messages to processes here, by serial
        self._callbacks: dict[MonitorRef, tuple[Pid, Hear]] = {}
        self._serials = itertools.count(1)
        self._ids = itertools.count(1)
        self._signals: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._dispatching = False
        self._stopping = False
        self._empty: asyncio.Future[None] | None = None

    # -- the table -----------------------------------------------------------------------------------------

    def new_pid(self) -> Pid:
        """A pid that was never used. Raises `RuntimeError` when the node is stopping."""
        if self._stopping:
            raise RuntimeError(f"node {self.name} is stopping: it starts no process any more")
        return Pid(self.name, self.creation, next(self._serials))

    def new_id(self) -> int:
        """A number for a reference of this node, never used before."""
        return next(self._ids)

    def adopt(self, cell: Cell) -> None:
        self.cells[cell.pid.serial] = cell

    def is_here(self, pid: Pid) -> bool:
        """Whether a pid belongs to a node of this name, of whatever creation."""
        return pid.node == self.name

    def find(self, pid: Pid) -> Cell | None:
        """The process of this node with that pid, if it lives (or is about to end)."""
        return self.cells.get(pid.serial) if pid.creation == self.creation and pid.node == self.name else None

    def bury(self, cell: Cell) -> None:
        """A cell has become DEAD: what it held is free first, then links and monitors are told."""
        self.cells.pop(cell.pid.serial, None)
        self.kept_tasks.release(cell)
        if cell.name is not None:
            self._names.pop(cell.name, None)
        for alias in cell.aliases or ():
            self._aliases.pop(alias, None)
            self._urgent.discard(alias)
        if self.crowding.crowded:
            self.crowding.forget(cell.pid.serial)
        self._node_watchers.pop(cell.pid.serial, None)
        if self._timers:
            for timer in list(self._timers.pop(cell.pid.serial, ())):
                timer.cancel()
        oversight = self.oversight.pop(cell.pid.serial, None)
        for ref, target in (cell.watching or {}).items():
            self.release(ref, target)
        for farewell in cell.farewells():
            self.signal(farewell)
        links, cell.links = cell.links, None
        watchers, cell.watchers, cell.watching = cell.watchers, None, None
        for pid in sorted(links or ()):
            self.signal(self.emit_exit, cell.pid, pid, cell.reason, True)
        for ref, hear in (watchers or {}).items():
            self.signal(hear, Down(ref, cell.pid, cell.reason))
        if self._stopping and oversight is not None and oversight.supervises:
            self._stop_orphans(cell.pid)
        if self._empty is not None and not self.cells and not self._empty.done():
            self._empty.set_result(None)

    def signal(self, act: Callable[..., object], *args: object) -> None:
        """Do `act(*args)` after all signals that were emitted before it. At once, unless one is being done."""
        self._signals.append((act, args))
        if self._dispatching:
            return
        self._dispatching = True
        try:
            while self._signals:
                act, args = self._signals.popleft()
                try:
                    act(*args)
                except (
                    BaseException
                ) as error:  # those that wait behind it are told, whatever a callback raises
                    log.exception("a signal failed: %s", show(act))
                    if isinstance(error, KeyboardInterrupt):
                        self.scheduler.pass_on(error)
        finally:
            self._dispatching = False

    async def stop(self) -> None:
        """End all processes with the reason "shutdown", whether they trap exits or not; return when all are gone.

        The children of a supervisor are stopped by it, in its order.
        """
        self._stopping = True
        for cell in list(self.cells.values()):
            oversight = self.oversight.get(cell.pid.serial)
            if oversight is None or self.find(oversight.parent) is None:
                cell.begin_exit(SHUTDOWN)
        if self.cells:
            if self._empty is None:
                self._empty = self.loop.create_future()
            await asyncio.shield(self._empty)  # others may wait for it too
        self.deadlines.close()
        self.kept_tasks.close()
        self.scheduler.watch.stop()

    def _stop_orphans(self, parent: Pid) -> None:
        """A supervisor has died while the node stops, and can stop its children no more."""
        for serial, oversight in list(self.oversight.items()):
            if oversight.parent == parent:
                self.cells[serial].begin_exit(SHUTDOWN)

    def info(self, pid: Pid) -> ProcessInfo | None:
        cell = self.find(pid)
        if cell is None:
            return None
        handling = cell.last_message()
        return ProcessInfo(
            pid=cell.pid,
            kind=cell.label,
            name=cell.name,
            state=STATES[cell.state],
            status=cell.status(),
            mailbox=cell.waiting(),
            links=tuple(sorted(cell.links or ())),
            monitors=len(cell.watching or ()),
            monitored_by=len(cell.watchers or ()),
            trap_exits=cell.trapping,
            aliases=len(cell.aliases or ()),
            handling="" if handling is None else show(handling),
            where=cell.where(),
            reentrant_calls=len(extras.running) if (extras := getattr(cell, "extras", None)) else 0,
            owed_answers=len(extras.owed) if extras else 0,
            mailbox_limit=cell.limit,
        )

    # -- names and aliases ---------------------------------------------------------------------------------

    def register(self, cell: Cell, name: str) -> None:
        """Give a process its one local name. Raises `LocalNameTaken`, `ValueError` when it has one already."""
        if cell.state != ALIVE:
            return
        if not isinstance(name, str) or not name:
            raise ValueError(f"a local name is a string and not empty, not {show(name)}")
        owner = self._names.get(name)
        if owner is cell:
            return
        if owner is not None:
            raise LocalNameTaken(f"the local name {name!r} belongs to {owner.pid}", owner.pid)
        if cell.name is not None:
            raise ValueError(f"{cell.pid} is registered as {cell.name!r} already: unregister that first")
        self._names[name] = cell
        cell.name = name

    def unregister(self, cell: Cell) -> None:
        if cell.name is not None:
            del self._names[cell.name]
            cell.name = None

    def named(self, name: str) -> Cell | None:
        return self._names.get(name)

    def new_alias(self, cell: Cell, *, priority: bool = False) -> Alias:
        alias = Alias(self.name, self.creation, self.new_id())
        if cell.state == ALIVE:
            self._aliases[alias.id] = cell
            if priority:
                self._urgent.add(alias.id)
            if cell.aliases is None:
                cell.aliases = set()
            cell.aliases.add(alias.id)
        return alias

    def drop_alias(self, cell: Cell, alias: Alias) -> bool:
        """Switch an alias off; False when it was off already or is not this process's."""
        if cell.aliases is None or alias.id not in cell.aliases or alias.creation != self.creation:
            return False
        cell.aliases.discard(alias.id)
        self._urgent.discard(alias.id)
        return self._aliases.pop(alias.id, None) is not None

    def has_alias(self, alias: Alias) -> bool:
        return alias.creation == self.creation and alias.id in self._aliases

    # -- messages and calls --------------------------------------------------------------------------------

    def send(self, to: Pid | RemoteName | Alias | str, message: object) -> None:
        """Send a message; to nobody, when there is no such process.

        Raises `EncodeError` and the like for other nodes, `Busy` when there is no room.
        """
        cell: Cell | None
        if type(to) is Pid and (cell := self.cells.get(to.serial)) is not None and cell.pid is to:
            cell.accept(message)  # what the rest comes to, most often
            return
        if isinstance(to, str):
            cell = self._names.get(to)
        elif type(to) not in _ADDRESSES:
            raise _no_address(to, "a pid, an alias or a name")
        elif to.node != self.name:
            self.remote.send(to, message)
            return
        elif type(to) is Pid:
            cell = self.find(to)
        elif type(to) is Alias:
            cell = self._aliases.get(to.id) if to.creation == self.creation else None
            if cell is not None and to.id in self._urgent:
                cell.accept_first(message)
                return
        else:
            cell = self._names.get(to.name) if type(to) is RemoteName else None
        if cell is not None:
            cell.accept(message)

    async def send_patiently(self, to: Pid | RemoteName | Alias | str, message: object) -> None:
        """`send`, as soon as there is room for it."""
        while True:
            try:
                self.send(to, message)
            except Busy:
                await self._room(to)
            else:
                return

    async def _room(self, to: Pid | RemoteName | Alias | str) -> None:
        if not isinstance(to, str) and to.node != self.name:
            await self.remote.drained(to.node)
            return
        cell: Cell | None = None
        if isinstance(to, Pid):
            cell = self.find(to)
        elif isinstance(to, Alias):
            cell = self._aliases.get(to.id)
        else:
            cell = self._names.get(to if isinstance(to, str) else to.name)
        if cell is not None:
            await self.crowding.room(cell.pid.serial)

    def request(self, to: Target, request: Request) -> None:
        """Deliver a call or a cast."""
        if isinstance(to, str):
            cell = self._names.get(to)
        elif type(to) not in (Pid, RemoteName):
            raise _no_address(to, "a pid or a name")
        elif to.node != self.name:
            self.remote.request(to, request)
            return
        else:
            cell = self.find(to) if type(to) is Pid else self._names.get(str(getattr(to, "name", "")))
        if cell is None:
            self._ask_node(to, request)
            return
        try:
            check_cycle(request.chain, cell.pid)
        except CallCycle as cycle:
            request.refuse(cycle)
            return
        cell.accept(request)

    def _ask_node(self, to: Target, request: Request) -> None:
        """No process has that address: it may be the node itself that is asked, for one of its services."""
        service = self.services.get(request.method) if to in (self.pid, node_itself(self.name)) else None
        if service is None:
            request.refuse(no_process(to))
            return
        try:
            service(request)
        except CallError as error:
            request.refuse(error)
        except Exception as error:  # noqa: BLE001 -- the one who asked is told
            request.refuse(RemoteError(*plain_error(error)))

    def forward(self, to: Pid | RemoteName, message: object) -> None:
        """Send on what was taken from a mailbox; a call is answered from there. A full lane does not refuse it.

        What cannot travel, or finds a mailbox full, is lost, and logged; a caller is told.
        """
        try:
            if to.node == self.name:
                if type(message) is Request:
                    self.request(to, message)
                else:
                    self.send(to, message)
            elif type(message) is Request:
                self.remote.request(to, message, must_leave=True)
            else:
                self.remote.send(to, message, must_leave=True)
        except QuorateError as error:
            log.warning("a message was lost on its way to %s: %s", to, error)
            if type(message) is Request:
                message.refuse(RemoteError(*plain_error(error)))

    async def call(
        self,
        to: Target,
        method: str,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        timeout_s: float | None,
    ) -> Any:
        """Call a method of a process and wait for its answer; see `Ref.call` for the errors."""
        cell = self.find(to) if type(to) is Pid else None
        if cell is not None and self.scheduler.at_once_left > 0:
            self.scheduler.at_once_left -= 1
            answer = cell.at_once(method, args, kwargs)
            if type(answer) is PendingCall:
                return await self.wait_for(answer, timeout_s)
            if answer is not NOT_NOW:
                return answer
        return await self.ask(to, method, args, kwargs, timeout_s)

    async def ask(
        self,
        to: Target,
        method: str,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        timeout_s: float | None,
    ) -> Any:
        """`call`, by way of the mailbox."""
        chain = chain_here()
        if chain and isinstance(to, Pid):
            check_cycle(chain, to)
        pending = PendingCall(self.loop.create_future(), method, to)
        request = Request(method, args, kwargs, pending, chain)
        return await self.wait_for(pending, timeout_s, lambda _: self.request(to, request))

    async def wait_for(
        self,
        pending: PendingCall,
        timeout_s: float | None,
        begin: Callable[[PendingCall], None] | None = None,
    ) -> Any:
        """Begin a call and wait for its answer; whatever ends the wait, nothing of it stays behind."""
        if timeout_s is not None:
            self.deadlines.add(timeout_s, pending)
        try:
            if begin is not None:
                begin(pending)
                if pending.future.done():  # who asks again and again whether it is there yet lets others run
                    await asyncio.sleep(0)
            return await pending.future
        finally:
            if timeout_s is not None:
                self.deadlines.discard(timeout_s, pending)
            if pending.forget is not None:  # it was sent to another node
                pending.forget()
            pending.close()

    # -- links, monitors, exits ----------------------------------------------------------------------------

    def link(self, cell: Cell, target: Pid) -> None:
        """Link two processes; once per pair. A dead target answers with an exit signal "noproc"."""
        _check_pid(target)
        if target == cell.pid or cell.state != ALIVE or (cell.links is not None and target in cell.links):
            return
        self.add_link(cell, target)
        if not self.is_here(target):
            self.remote.link(cell.pid, target)
            return
        other = self.find(target)
        if other is None:
            self.signal(self.emit_exit, target, cell.pid, NOPROC, True)
        else:
            self.add_link(other, cell.pid)

    def add_link(self, cell: Cell, target: Pid) -> None:
        """One side of a link."""
        if cell.links is None:
            cell.links = set()
        cell.links.add(target)

    def unlink(self, cell: Cell, target: Pid) -> None:
        """Undo a link: no exit signal of it arrives after this returns."""
        if cell.links is None or target not in cell.links:
            return
        cell.links.discard(target)
        if not self.is_here(target):
            self.remote.unlink(cell.pid, target)
            return
        other = self.find(target)
        if other is not None and other.links is not None:
            other.links.discard(cell.pid)

    def exit(self, source: Pid, target: Pid, reason: object) -> None:
        """Send an explicit exit signal."""
        _check_pid(target)
        self.emit_exit(source, target, reason, False)

    def emit_exit(self, source: Pid, target: Pid, reason: object, linked: bool) -> None:
        if not self.is_here(target):
            self.remote.exit(source, target, reason, linked=linked)
            return
        cell = self.find(target)
        if cell is not None:
            cell.exit_signal(source, reason, linked=linked)

    def monitor(self, cell: Cell, target: Pid) -> MonitorRef:
        """Exactly one `Down` will reach `cell`, unless it demonitors. (A monitor of oneself is a ref and nothing else.)"""
        _check_pid(target)
        ref = MonitorRef(self.name, self.creation, self.new_id())
        if cell.state == ALIVE and target != cell.pid:
            if cell.watching is None:
                cell.watching = {}
            cell.watching[ref] = target
            self._watch(ref, target, cell.hear_down)
        return ref

    def demonitor(self, cell: Cell, ref: MonitorRef, *, flush: bool) -> None:
        target = cell.watching.pop(ref, None) if cell.watching is not None else None
        if target is not None:
            self.release(ref, target)
        elif flush and cell.mailbox:
            kept = [message for message in cell.mailbox if type(message) is not Down or message.ref != ref]
            cell.mailbox = deque(kept) or None  # another one: who waits in `receive` has to look again

    def watch(self, target: Pid, callback: Hear) -> MonitorRef:
        """A monitor for code that is no process: `callback(down)` runs once, on the loop, as soon as it is known.

        It never runs before this returns, nor after `unwatch`. What it raises is logged.
        """
        _check_pid(target)
        ref = MonitorRef(self.name, self.creation, self.new_id())
        self._callbacks[ref] = (target, callback)
        self._watch(ref, target, self._hear_for_callback)
        return ref

    def unwatch(self, ref: MonitorRef) -> None:
        target, _ = self._callbacks.pop(ref, (None, None))
        if target is not None:
            self.release(ref, target)

    def _hear_for_callback(self, down: Down) -> None:
        _, callback = self._callbacks.pop(down.ref, (None, None))
        if callback is not None:
            callback(down)

    def _watch(self, ref: MonitorRef, target: Pid, hear: Hear) -> None:
        if not self.is_here(target):
            self.remote.monitor(ref, target, hear)
            return
        cell = self.find(target)
        if cell is not None:
            self.add_watcher(cell, ref, hear)
        else:
            self.answer_soon(hear, Down(ref, target, NOPROC))

    def answer_soon(self, hear: Hear, down: Down) -> None:
        """Tell a watcher what is known already, but not before its call of `monitor` has returned."""
        self.loop.call_soon(self.signal, hear, down)

    def add_watcher(self, cell: Cell, ref: MonitorRef, hear: Hear) -> None:
        """`hear(down)` will be called when the process is dead."""
        if cell.watchers is None:
            cell.watchers = {}
        cell.watchers[ref] = hear

    def release(self, ref: MonitorRef, target: Pid) -> None:
        """Take a monitor off its target."""
        if not self.is_here(target):
            self.remote.demonitor(ref, target)
            return
        cell = self.find(target)
        if cell is not None and cell.watchers is not None:
            cell.watchers.pop(ref, None)

    # -- nodes ---------------------------------------------------------------------------------------------

    def monitor_nodes(self, cell: Cell, wanted: bool) -> None:
        """Whether a process gets `NodeUp` and `NodeLost` messages from now on."""
        if wanted and cell.state == ALIVE:
            self._node_watchers[cell.pid.serial] = cell
        else:
            self._node_watchers.pop(cell.pid.serial, None)

    def announce(self, event: object) -> None:
        for cell in list(self._node_watchers.values()):
            cell.accept(event)

    # -- timers --------------------------------------------------------------------------------------------

    def send_after(self, delay_s: float, to: Pid | RemoteName | Alias | str, message: object) -> MessageTimer:
        """Send a message in `delay_s` seconds, unless the timer is cancelled.

        Raises `EncodeError` and `TooLarge` now for what cannot travel to another node. When there is no room for it
        then, it is lost, and logged. When the process `to` of this node ends, the timer is cancelled.
        """
        if type(to) not in (str, *_ADDRESSES):
            raise _no_address(to, "a pid, an alias or a name")
        if not isinstance(to, str) and to.node != self.name:
            self.codec.encode(message)
        act = partial(self._send_late, to, message)
        if type(to) is not Pid or to.node != self.name:
            return MessageTimer(self.clock, delay_s, act)
        if self.find(to) is not None:
            return MessageTimer(self.clock, delay_s, act, self._timers.setdefault(to.serial, {}))
        timer = MessageTimer(self.clock, delay_s, act)
        timer.cancel()
        return timer

    def _send_late(self, to: Pid | RemoteName | Alias | str, message: object) -> None:
        try:
            self.send(to, message)
        except QuorateError as error:
            log.warning("a message to %s was lost when its time had come: %s", to, error)


_ADDRESSES = (Pid, Alias, RemoteName)


def _no_address(target: object, wanted: str) -> TypeError:
    return TypeError(
        f"{show(target)} is not {wanted}: the pid of a ref is `ref.pid`, that of a name `whereis(name)`"
    )


def _check_pid(target: object) -> None:
    """Before anything is noted down: a process must be able to end whatever it was given. Raises `TypeError`."""
    if type(target) is not Pid:
        raise _no_address(target, "a pid")


def node_itself(node: str) -> RemoteName:
    """The address of a node, whatever its creation: calls to it are answered by the `services` of its kernel."""
    return RemoteName(node, "")
