"""A node: its processes, and its place among other nodes.

    async with Node("app@127.0.0.1:9101", runtime=runtime, creation=1) as node:
        ref = await node.start(Counter, start=3)
        print(await ref.call(Counter.incr, by=2))

The node puts a kernel (processes here), a remote side (processes there) and a link layer together and is the authority
over none of their state itself. It belongs to the loop on which it was entered. Everything here is for plain asyncio
code as well as for processes.
"""

import asyncio
import contextvars
import math
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Protocol, Self, TypeVar, cast, overload

from .address import NodeName
from .application import Application, Applications
from .calls import PendingCall
from .codec import Code, Codec
from .control import ProcessControl, control_of
from .crash import outward
from .errors import ApplicationFailed, ConfigError, DecodeError, LinkError, NoProcess, NotCallable
from .export import Exports
from .frames import Channel
from .gen_server import GenServer
from .kernel import Hear, Kernel, ProcessConfig, ProcessInfo
from .link import Peer
from .pid import SHUTDOWN, Alias, Down, MonitorRef, NodeLost, NodeUp, Pid, RemoteName
from .process import Process, spawn
from .ref import Ref
from .remote import RemoteSide
from .runtime import Runtime
from .server_cell import ServerCell
from .starting import start
from .supervisor import ChildCounts, ChildInfo, Supervisor, begin
from .sys import Sys
from .task import Tasks
from .telling import Log
from .timers import MessageTimer, timeout

log = Log("quorate.node")

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
S = TypeVar("S", bound=GenServer)
ChannelHandler = Callable[[str, bytes], object]
AdminHandler = Callable[[Any], Awaitable[object]]
NodeEvent = NodeUp | NodeLost


class LinkLayer(Protocol):
    """What a node needs of its links; `Links` is the real one."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def send(self, peer: str, channel: Channel, payload: bytes) -> bool: ...

    async def drained(self, peer: str) -> None: ...

    def connect(self, peer_name: str) -> None: ...

    def evict(self, name: str, reason: str) -> None: ...

    def connected(self) -> Mapping[str, Peer]: ...


class Subscription:
    """`cancel()` ends it: no further callback."""

    __slots__ = ("_callback", "_callbacks")

    def __init__(
        self, callbacks: list[Callable[[NodeEvent], object]], callback: Callable[[NodeEvent], object]
    ) -> None:
        self._callbacks = callbacks
        self._callback = callback
        callbacks.append(callback)

    def cancel(self) -> None:
        if self._callback in self._callbacks:
            self._callbacks.remove(self._callback)


class Node:
    """One node. `creation` must grow with each start of a node of this name.

    `exports` may be shared by the nodes of one program. Without a link layer (`attach`) the node is alone. Raises
    `ConfigError` for a name that is none.
    """

    def __init__(
        self,
        name: str,
        *,
        runtime: Runtime,
        creation: int,
        exports: Exports | None = None,
        config: ProcessConfig | None = None,
    ) -> None:
        NodeName.parse(name)
        if creation < 1:
            raise ConfigError(f"the creation of a node must be 1 or more, not {creation}")
        self.name = name
        self.creation = creation
        self.runtime = runtime
        self.exports = exports if exports is not None else Exports()
        self._config = config or ProcessConfig()
        self._kernel: Kernel | None = None
        self._applications: Applications | None = None
        for kind in (ChildInfo, ChildCounts):
            self.exports.export(kind)
        self._remote = RemoteSide(self)
        self._links: LinkLayer | None = None
        self._channels: dict[Channel, ChannelHandler] = {}
        self._admin: dict[str, AdminHandler] = {}
        self._on_nodes: list[Callable[[NodeEvent], object]] = []

    # -- life ----------------------------------------------------------------------------------------------

    def attach(self, links: LinkLayer) -> None:
        """Give the node its links, made with this node as their listener. `open` starts them, `close` stops them."""
        if self._kernel is not None:
            raise RuntimeError(f"node {self.name} is open already: attach its links before")
        self._links = links

    async def open(self) -> None:
        """Begin to run on this loop. Raises `LinkError` when its address cannot be listened on."""
        if self._kernel is not None:
            raise RuntimeError(f"node {self.name} is open already")
        codec = Codec(self.exports)
        kernel = Kernel(
            self.name,
            self.creation,
            loop=asyncio.get_running_loop(),
            clock=self.runtime.clock,
            codec=codec,
            config=self._config,
            remote=self._remote,
        )
        if self.runtime.watch_loop is not None and self._config.slow_s < math.inf:
            kernel.scheduler.watch = self.runtime.watch_loop(self._config.slow_s)
        codec.extend(Ref, Code.REF, lambda ref: ref.pid, lambda pid: _ref(kernel, pid))
        self._kernel = self._remote.kernel = kernel
        kernel.tasks = Tasks(kernel, self.exports)
        kernel.tasks.serve()
        Sys(kernel).serve()
        self._applications = Applications(kernel, self, self.application_failed)
        self._remote.start_exported = self._start_exported
        if self._links is not None:
            await self._links.start()

    async def close(self) -> None:
        """Stop the applications, end all other processes with the reason "shutdown", and take leave of the other nodes."""
        await self.stop_applications()
        if self._kernel is not None:
            await self._kernel.stop()
            if self._links is not None:
                await self._links.stop()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def kernel(self) -> Kernel:
        """The processes of this node, for other parts of the library. Raises `RuntimeError` before `open`."""
        if self._kernel is None:
            raise RuntimeError(f"node {self.name} is not open: use `async with node:`")
        return self._kernel

    @property
    def pid(self) -> Pid:
        """Who sends what plain asyncio code sends: the node itself."""
        return self.kernel.pid

    # -- applications --------------------------------------------------------------------------------------

    async def start_application(self, application: Application) -> Pid:
        """Start an application; it stops with the node, in reverse order. Says which process is its root.

        Raises `ApplicationFailed`, whose cause is the application's error, and `ConfigError`.
        """
        return await self._the_applications().start(application)

    async def stop_application(self, name: str) -> None:
        """Stop an application and wait until it has ended. Raises `ConfigError` when there is none of that name."""
        await self._the_applications().stop(name)

    async def stop_applications(self) -> None:
        """Stop all applications, the last first."""
        if self._applications is not None:
            await self._applications.stop_all()

    def applications(self) -> dict[str, Pid]:
        """The applications that run, in the order of their start, with the process at the root of each."""
        return self._the_applications().running()

    def application_failed(self, error: ApplicationFailed) -> None:
        """An application has ended without which this node is no use. (It is in the log already.)"""

    def _the_applications(self) -> Applications:
        if self._applications is None:
            raise RuntimeError(f"node {self.name} is not open: use `async with node:`")
        return self._applications

    # -- starting processes --------------------------------------------------------------------------------

    def spawn(
        self, body: Callable[Concatenate[Process, P], Awaitable[object]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Pid:
        """Start `async def body(self, *args)` as a process. It runs from the next turn of the loop on."""
        return spawn(self.kernel, body, args, kwargs).pid

    async def start(self, server: Callable[P, S], /, *args: P.args, **kwargs: P.kwargs) -> Ref[S]:
        """Start a `GenServer`: `ref = await node.start(Counter, start=3)`. Raises what its `__init__` raises.

        A `Supervisor` has started its children when this returns. Raises `ChildStartFailed` when it could not.
        """
        cell = start(self.kernel, server, args, kwargs)
        if isinstance(cell.server, Supervisor):
            await _begun(cell)
        return Ref(self.kernel, cell.pid)

    def export(self, thing: T, name: str | None = None) -> T:
        """Let other nodes start a server class or body, or let a dataclass or enum travel. See `Exports.export`."""
        return self.exports.export(thing, name)

    async def start_on(
        self, node: str, server: Callable[P, S], /, *args: P.args, **kwargs: P.kwargs
    ) -> Ref[S]:
        """Start an exported server class on another node.

        Raises `RemoteError` when its `__init__` raised there, and otherwise as `Ref.call`; `ConfigError` when it is not
        exported here.
        """
        return Ref(self.kernel, await self._ask_start(node, server, args, kwargs))

    async def spawn_on(
        self,
        node: str,
        body: Callable[Concatenate[Process, P], Awaitable[object]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Pid:
        """Start an exported body on another node. Raises as `start_on`."""
        return await self._ask_start(node, body, args, kwargs)

    async def _ask_start(
        self, node: str, thing: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Pid:
        kernel, name = self.kernel, self.exports.name_of(thing)
        if node == self.name:
            started = self._start_exported(name, list(args), kwargs)
            return started if isinstance(started, Pid) else await started
        packed = kernel.codec.encode_call(args, kwargs)
        pid = await kernel.wait_for(
            PendingCall(kernel.loop.create_future(), f"the start of {name}", node),
            self._config.call_timeout_s,
            lambda pending: self._remote.start(node, name, packed, pending),
        )
        return cast("Pid", pid)

    def _start_exported(self, name: str, args: list[Any], kwargs: dict[str, Any]) -> Pid | Awaitable[Pid]:
        thing = self.exports.startable(name)
        if thing is None:
            raise NotCallable(
                f"{self.name} exports nothing as {name!r:.200} that could be started: nothing happened"
            )
        context, arguments = contextvars.Context(), tuple(args)
        if isinstance(thing, type):
            cell = context.run(start, self.kernel, thing, arguments, kwargs)
            return _begun(cell) if isinstance(cell.server, Supervisor) else cell.pid
        return context.run(spawn, self.kernel, thing, arguments, kwargs).pid

    @property
    def tasks(self) -> Tasks:
        """Functions as processes, whose results are awaited: `await node.tasks.run(fn, *args)`. See `Tasks`."""
        return self.kernel.tasks

    @property
    def sys(self) -> Sys:
        """A look into servers, and a hand on them: `await node.sys.get_state(ref)`. See `Sys`."""
        return Sys(self.kernel)

    # -- talking to processes ------------------------------------------------------------------------------

    def ref(self, pid: Pid, server: type[S]) -> Ref[S]:
        """A typed address for a pid. That it is a `server`, the caller says."""
        return Ref(self.kernel, pid)

    def send(self, to: Pid | RemoteName | Alias | str, message: object) -> None:
        """As `Process.send`, from plain asyncio code."""
        (self._kernel or self.kernel).send(to, message)

    def send_after(self, delay_s: float, to: Pid | RemoteName | Alias | str, message: object) -> MessageTimer:
        """Send a message in `delay_s` seconds, unless the timer is cancelled."""
        return self.kernel.send_after(delay_s, to, message)

    @overload
    def call(
        self,
        to: Pid | RemoteName | str,
        method: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Coroutine[Any, Any, R]: ...
    @overload
    def call(
        self,
        to: Pid | RemoteName | str,
        method: Callable[Concatenate[Any, P], R],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Coroutine[Any, Any, R]: ...
    def call(
        self, to: Pid | RemoteName | str, method: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Coroutine[Any, Any, Any]:
        """As `Ref.call`, by pid or name: `await node.call("counter", Counter.incr, by=2)`."""
        return self.kernel.call(to, method.__name__, args, kwargs, self._config.call_timeout_s)

    def exit(self, pid: Pid, reason: object) -> None:
        """Send an exit signal, from the node itself."""
        self.kernel.exit(self.kernel.pid, pid, reason)

    def watch(self, pid: Pid, callback: Hear) -> MonitorRef:
        """Monitor a process from plain code: `callback(down)` runs once, on the loop, as soon as it is known.

        It never runs before this returns, nor after `unwatch`. What it raises is logged.
        """
        return self.kernel.watch(pid, callback)

    def unwatch(self, ref: MonitorRef) -> None:
        """Undo `watch`."""
        self.kernel.unwatch(ref)

    async def down(self, pid: Pid) -> Down:
        """Wait until a process is gone; says why."""
        gone: asyncio.Future[Down] = self.kernel.loop.create_future()
        ref = self.kernel.watch(pid, lambda down: None if gone.done() else gone.set_result(down))
        try:
            return await gone
        finally:
            self.kernel.unwatch(ref)

    def whereis(self, name: str) -> Pid | None:
        """The process with that local name on this node."""
        cell = self.kernel.named(name)
        return None if cell is None else cell.pid

    def processes(self) -> list[Pid]:
        """All processes of this node, oldest first."""
        return [cell.pid for cell in self.kernel.cells.values()]

    def pending_calls(self) -> int:
        """How many calls from here wait for an answer of another node."""
        return self._remote.pending_calls()

    def process_info(self, pid: Pid) -> ProcessInfo | None:
        """What a process of this node does; None when there is none such."""
        return self.kernel.info(pid)

    def outward(self, pid: Pid) -> tuple[str, dict[str, str] | None]:
        """What a server is handling and its attributes, as text and as `format_status` lets them be seen; None: no server.

        Raises `NoProcess`.
        """
        cell = self.kernel.find(pid)
        if cell is None:
            raise NoProcess(f"there is no process {pid} on {self.name}")
        return outward(cell)

    def show(self, pid: Pid) -> str:
        """As Erlang does: `<0.41.0>` for a process of this node."""
        return pid.show(self.name, self.creation)

    def control(self, pid: Pid) -> ProcessControl:
        """The control of a `GenServer` of this node (for layers above). Raises `NoProcess`."""
        cell = self.kernel.find(pid)
        if not isinstance(cell, ServerCell):
            raise NoProcess(f"there is no GenServer {pid} on {self.name}")
        control = control_of(cell)
        control.kept = True
        return control

    def forward(self, messages: list[object], to: Pid | RemoteName) -> None:
        """Send messages that `ProcessControl.take_mailbox` gave to another process, in order. Calls are answered there."""
        for message in messages:
            self.kernel.forward(to, message)

    # -- other nodes ---------------------------------------------------------------------------------------

    def nodes(self) -> list[str]:
        """The nodes that are linked now, sorted."""
        return sorted(self._remote.peers)

    def creation_of(self, node: str) -> int | None:
        """The creation of a linked node (or of this one)."""
        if node == self.name:
            return self.creation
        peer = self._remote.peers.get(node)
        return None if peer is None else peer.creation

    async def connect(self, node: str, timeout_s: float = 5.0) -> None:
        """Keep a link to a node from now on, and wait for it. Raises `LinkError` when it takes longer."""
        if self._links is None:
            raise LinkError(f"node {self.name} has no links: it is alone")
        self._links.connect(node)
        up = asyncio.Event()
        subscription = self.on_nodes(
            lambda event: up.set() if event == NodeUp(node, event.creation) else None
        )
        try:
            async with timeout(self.runtime.clock, timeout_s):
                while node not in self._remote.peers:
                    await up.wait()
        except TimeoutError:
            raise LinkError(f"no link to {node} within {timeout_s:g} s: it is dialled on") from None
        finally:
            subscription.cancel()

    def on_nodes(self, callback: Callable[[NodeEvent], object]) -> Subscription:
        """Call `callback(NodeUp | NodeLost)` as links come and go. What it raises is logged."""
        return Subscription(self._on_nodes, callback)

    def on_channel(self, channel: Channel, handler: ChannelHandler) -> None:
        """Call `handler(peer_name, payload)` for each message of a channel but SIGNALS. What it raises is logged."""
        if channel == Channel.SIGNALS or channel in self._channels:
            raise ConfigError(f"channel {channel.name} has its handler already")
        self._channels[channel] = handler

    def send_channel(self, peer: str, channel: Channel, payload: bytes) -> bool:
        """Send one message on a channel. False: it was not, there is no link (or no room). Raises `TooLarge`."""
        return self._links is not None and self._links.send(peer, channel, payload)

    def add_admin(self, op: str, handler: AdminHandler) -> None:
        """Answer a command-line client's `op` with `await handler(args)`: plain values only."""
        if op in self._admin:
            raise ConfigError(f"the operation {op!r} has its handler already")
        self._admin[op] = handler

    # -- what the links tell (see `LinkListener`) ----------------------------------------------------------

    def link_up(self, peer: Peer) -> None:
        self._remote.link_up(peer.name, peer.creation, peer.incarnation)
        self._announce(NodeUp(peer.name, peer.creation))

    def link_down(self, peer: Peer, reason: str) -> None:
        if self._remote.link_down(peer.name, peer.incarnation):
            self._announce(NodeLost(peer.name, peer.creation, reason))

    def received(self, peer: Peer, channel: Channel, payload: bytes | memoryview) -> None:
        if channel == Channel.SIGNALS:
            self._remote.received(peer.name, peer.incarnation, payload)
            return
        handler = self._channels.get(channel)
        if handler is not None:
            try:
                handler(peer.name, bytes(payload))
            except Exception:
                log.exception("%s: the handler of channel %s raised", self.name, channel.name)

    async def admin(self, op: str, args: object) -> object:
        handler = self._admin.get(op)
        if handler is None:
            raise ConfigError(f"node {self.name} knows no operation {op!r:.100}")
        return await handler(args)

    def _announce(self, event: NodeEvent) -> None:
        self.kernel.announce(event)
        for callback in list(self._on_nodes):
            try:
                callback(event)
            except Exception:
                log.exception("%s: a callback for %s raised", self.name, event)

    # -- what the remote side asks (see `Outlet`) ----------------------------------------------------------

    def send_signal(self, peer: str, frame: bytes) -> bool:
        return self._links is not None and self._links.send(peer, Channel.SIGNALS, frame)

    async def drained(self, peer: str) -> None:
        if self._links is not None:
            await self._links.drained(peer)

    def evict(self, peer: str, reason: str) -> None:
        if self._links is not None:
            self._links.evict(peer, reason)


async def _begun(cell: ServerCell) -> Pid:
    """Wait until a supervisor has started its children; one for which nobody waits any more ends."""
    try:
        await begin(cell)
    except asyncio.CancelledError:
        cell.begin_exit(SHUTDOWN)
        raise
    return cell.pid


def _ref(kernel: Kernel, pid: object) -> Ref[GenServer]:
    if not isinstance(pid, Pid):
        raise DecodeError("a ref holds a pid")
    return Ref(kernel, pid)
