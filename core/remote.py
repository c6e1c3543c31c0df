"""Processes of other nodes: signals out to them, signals in from them, and what a lost link means.

For each linked peer this keeps which of our processes are linked to which of theirs, who monitors whom, and which calls
wait for it; all of that belongs to one incarnation of the link and ends with it, so nothing of an old connection can
arrive after a new one was made. The peer is the authority over its processes; when the link goes, every link gets an
exit signal and every monitor a `Down` with "noconnection", and every call `NodeDown`: the processes there may live on.

What must never happen here: bytes from a peer make this node raise, or a signal reaches a process of another life of
the node it was meant for.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any, Protocol

from .answers import decode_answer, decode_reason, encode_error, encode_value
from .backlog import Backlog
from .calls import PendingCall, Request, no_process
from .cell import Cell
from .errors import Busy, CallError, DecodeError, NodeDown, NotCallable, RemoteError
from .kernel import Hear, Kernel
from .pid import NOCONNECTION, NOPROC, Alias, Down, MonitorRef, Pid, RemoteName
from .plain import plain_error
from .signals import (
    Answer,
    Call,
    Demonitor,
    ExitTo,
    Forwarded,
    Gone,
    Link,
    Monitor,
    Send,
    SendAlias,
    SendName,
    Signal,
    Start,
    Unlink,
    Unlinked,
    decode,
    encode,
)
from .telling import Log

log = Log("quorate.process")

Starter = Callable[[str, list[Any], dict[str, Any]], Pid | Awaitable[Pid]]


class Outlet(Protocol):
    """How frames leave: the signal lanes of this node's links."""

    def send_signal(self, peer: str, frame: bytes) -> bool:
        """Queue a frame for a linked peer; False when it is not linked. Raises `Busy`, `TooLarge`."""
        ...

    async def drained(self, peer: str) -> None:
        """Return when there is room again, or no link."""
        ...

    def evict(self, peer: str, reason: str) -> None:
        """Close the link; it is dialled again."""
        ...


class PeerState:
    """What hangs on one incarnation of the link to a peer."""

    __slots__ = (
        "backlog",
        "calls",
        "creation",
        "incarnation",
        "links",
        "name",
        "unlinking",
        "watched",
        "watching",
    )

    def __init__(self, name: str, creation: int, incarnation: int, backlog: Backlog) -> None:
        self.name = name
        self.creation = creation
        self.incarnation = incarnation
        self.backlog = backlog
        self.links: set[tuple[int, int]] = set()  # (serial here, serial there)
        self.unlinking: dict[tuple[int, int], int] = {}  # not acknowledged yet
        self.watched: dict[int, tuple[MonitorRef, Pid, Hear]] = {}  # our monitors of their processes
        self.watching: dict[int, Cell] = {}  # their monitors of ours
        self.calls: dict[int, PendingCall] = {}  # our calls that this peer answers

    def pid(self, serial: int) -> Pid:
        return Pid(self.name, self.creation, serial)


class RemoteReply:
    """Where the answer to another node's call goes."""

    __slots__ = ("alias", "creation", "node", "remote")

    def __init__(self, remote: "RemoteSide", node: str, creation: int, alias: int) -> None:
        self.remote = remote
        self.node = node
        self.creation = creation
        self.alias = alias

    def give(self, value: object) -> None:
        if not self._answer(*encode_value(self.remote.kernel.codec, value)):
            self.refuse(
                RemoteError(
                    "TooLarge", "the result is over the limit of a frame: it was done, but cannot be told"
                )
            )

    def refuse(self, error: Exception) -> None:
        self._answer(*encode_error(self.remote.kernel.codec, error))

    def _answer(self, kind: int, body: bytes) -> bool:
        peer = self.remote.peers.get(self.node)
        if peer is None or peer.creation != self.creation:
            return True
        return peer.backlog.post(encode(Answer(self.alias, self.creation, kind, body)))


class RemoteSide:
    """See `Remote`. One per node, made with its kernel."""

    def __init__(self, outlet: Outlet) -> None:
        self.kernel: Kernel  # set by the node, which makes both
        self.peers: dict[str, PeerState] = {}
        self.start_exported: Starter
        self.dropped_messages = 0
        self._outlet = outlet
        self._starting: set[asyncio.Task[None]] = set()  # supervisors that others started here
        self._calls: dict[int, PeerState] = {}  # which peer a pending call waits for

    # -- the links -----------------------------------------------------------------------------------------

    def link_up(self, name: str, creation: int, incarnation: int) -> None:
        backlog = Backlog(self.kernel.loop, self._outlet, name)
        self.peers[name] = PeerState(name, creation, incarnation, backlog)

    def link_down(self, name: str, incarnation: int) -> bool:
        """All that hung on this incarnation is over. False when it was replaced already."""
        peer = self.peers.get(name)
        if peer is None or peer.incarnation != incarnation:
            return False
        del self.peers[name]
        peer.backlog.close()
        for ours, theirs in sorted(peer.links):
            here = Pid(self.kernel.name, self.kernel.creation, ours)
            self.kernel.signal(self.kernel.emit_exit, peer.pid(theirs), here, NOCONNECTION, True)
        for number, cell in peer.watching.items():
            if cell.watchers is not None:
                cell.watchers.pop(self._their_ref(peer, number), None)
        for ref, target, hear in peer.watched.values():
            self.kernel.signal(hear, Down(ref, target, NOCONNECTION))
        for alias, call in peer.calls.items():
            self._calls.pop(alias, None)
            call.refuse(
                NodeDown(
                    f"the link to {name} was lost during the call of {call.method}: the outcome is unknown"
                )
            )
        return True

    def received(self, name: str, incarnation: int, frame: bytes | memoryview) -> None:
        """A frame of a peer. One that is no signal ends the link."""
        peer = self.peers.get(name)
        if peer is None or peer.incarnation != incarnation:
            return
        try:
            signal = decode(frame)
            _HANDLERS[type(signal)](self, peer, signal)
        except DecodeError as error:
            log.error("%s sent a frame that is no signal, the link is closed: %s", name, error)
            self._outlet.evict(name, f"a bad frame: {error}")

    # -- out: what the kernel asks (see `Remote`) ----------------------------------------------------------

    def send(self, to: Pid | RemoteName | Alias, message: object, *, must_leave: bool = False) -> None:
        """`must_leave`: it waits for room in a full lane, where it would raise `Busy`."""
        peer = self.peers.get(to.node)
        if peer is None:
            return
        body = self.kernel.codec.encode(message)
        if isinstance(to, RemoteName):
            peer.backlog.send(encode(SendName(to.name, body)), must_leave=must_leave)
        elif to.creation == peer.creation:
            number = to.serial if isinstance(to, Pid) else to.id
            kind = Send if isinstance(to, Pid) else SendAlias
            peer.backlog.send(encode(kind(number, to.creation, body)), must_leave=must_leave)

    def request(self, to: Pid | RemoteName, request: Request, *, must_leave: bool = False) -> None:
        peer = self.peers.get(to.node)
        if peer is None or (isinstance(to, Pid) and to.creation > peer.creation):
            request.refuse(self._not_linked(to.node))
            return
        if isinstance(to, Pid) and to.creation != peer.creation:
            request.refuse(no_process(to))
            return
        args = self.kernel.codec.encode_call(request.args, request.kwargs)
        alias, node, creation = self._reply_address(peer, request.reply)
        serial, life, name = (
            (to.serial, to.creation, "") if isinstance(to, Pid) else (0, peer.creation, to.name)
        )
        call = Call(serial, life, name, request.method, args, alias, node, creation, request.chain)
        peer.backlog.send(encode(call), must_leave=must_leave)  # when it raises, the caller forgets the alias

    def start(self, node: str, name: str, args: bytes, pending: PendingCall) -> None:
        """Ask a peer to start what it exports as `name`; the answer is a pid."""
        peer = self.peers.get(node)
        if peer is None:
            pending.refuse(self._not_linked(node))
            return
        alias = self._expect(peer, pending)
        peer.backlog.send(encode(Start(name, args, alias, self.kernel.creation)))

    def link(self, source: Pid, target: Pid) -> None:
        peer, gone = self._living(target)
        if peer is None:
            self.kernel.signal(self.kernel.emit_exit, target, source, gone, True)
            return
        pair = (source.serial, target.serial)
        peer.unlinking.pop(pair, None)
        peer.links.add(pair)
        peer.backlog.post(encode(Link(source.serial, target.serial, target.creation)))

    def unlink(self, source: Pid, target: Pid) -> None:
        peer, _ = self._living(target)
        if peer is not None:
            pair = (source.serial, target.serial)
            peer.links.discard(pair)
            number = peer.unlinking[pair] = self.kernel.new_id()
            peer.backlog.post(encode(Unlink(source.serial, target.serial, target.creation, number)))

    def exit(self, source: Pid, target: Pid, reason: object, *, linked: bool) -> None:
        peer, _ = self._living(target)
        if peer is not None:
            if linked:
                peer.links.discard((source.serial, target.serial))
            body = self.kernel.codec.encode_reason(reason)
            peer.backlog.post(
                encode(ExitTo(source.serial, target.serial, target.creation, int(linked), body))
            )

    def monitor(self, ref: MonitorRef, target: Pid, hear: Hear) -> None:
        peer, gone = self._living(target)
        if peer is None:
            self.kernel.answer_soon(hear, Down(ref, target, gone))
            return
        peer.watched[ref.id] = (ref, target, hear)
        peer.backlog.post(encode(Monitor(ref.id, target.serial, target.creation)))

    def demonitor(self, ref: MonitorRef, target: Pid) -> None:
        peer = self.peers.get(target.node)
        if peer is not None and peer.watched.pop(ref.id, None) is not None:
            peer.backlog.post(encode(Demonitor(ref.id)))

    def _living(self, target: Pid) -> tuple[PeerState | None, str]:
        """The peer on which a pid may live; else why it does not, or cannot be reached."""
        peer = self.peers.get(target.node)
        if peer is None or target.creation > peer.creation:
            return None, NOCONNECTION
        return (peer, "") if target.creation == peer.creation else (None, NOPROC)

    def _not_linked(self, node: str) -> NodeDown:
        return NodeDown(f"there is no link to {node} now: nothing was sent")

    # -- pending calls -------------------------------------------------------------------------------------

    def _reply_address(self, peer: PeerState, reply: object) -> tuple[int, str, int]:
        if isinstance(reply, PendingCall):
            return self._expect(peer, reply), "", self.kernel.creation
        if isinstance(
            reply, RemoteReply
        ):  # a call from elsewhere is sent on: its caller is told, for the sake of NodeDown
            origin = self.peers.get(reply.node)
            if origin is not None and origin.creation == reply.creation and origin is not peer:
                origin.backlog.post(encode(Forwarded(reply.alias, reply.creation, peer.name)))
            return reply.alias, reply.node, reply.creation
        return 0, "", 0

    def _expect(self, peer: PeerState, pending: PendingCall) -> int:
        alias = self.kernel.new_id()
        peer.calls[alias] = pending
        self._calls[alias] = peer
        pending.forget = partial(self._forget, alias)
        return alias

    def expect(self, node: str, pending: PendingCall) -> int:
        """See `Remote`."""
        peer = self.peers.get(node)
        if peer is None:
            raise self._not_linked(node)
        return self._expect(peer, pending)

    def _forget(self, alias: int) -> None:
        self._take(alias)

    def _take(self, alias: int) -> PendingCall | None:
        """The call that waits under this alias, if any, which it does no more."""
        peer = self._calls.pop(alias, None)
        return peer.calls.pop(alias, None) if peer is not None else None

    def pending_calls(self) -> int:
        return len(self._calls)

    # -- in: what peers tell -------------------------------------------------------------------------------

    def _cell(self, serial: int, creation: int) -> Cell | None:
        return self.kernel.cells.get(serial) if creation == self.kernel.creation else None

    def _on_send(self, peer: PeerState, signal: Send) -> None:
        self._deliver(peer, self._cell(signal.to, signal.creation), signal.body)

    def _on_send_name(self, peer: PeerState, signal: SendName) -> None:
        self._deliver(peer, self.kernel.named(signal.name), signal.body)

    def _on_send_alias(self, peer: PeerState, signal: SendAlias) -> None:
        alias = Alias(self.kernel.name, signal.creation, signal.alias)
        if self.kernel.has_alias(alias):
            message = self._read(peer, signal.body)
            if message is not None:
                self._accepted(self.kernel.send, alias, message[0])

    def _deliver(self, peer: PeerState, cell: Cell | None, body: bytes) -> None:
        if cell is not None:
            message = self._read(peer, body)
            if message is not None:
                self._accepted(cell.accept, message[0])

    def _accepted(self, act: Callable[..., object], *args: object) -> None:
        """Do it; a message for which there is no room in the mailbox is dropped, for its sender cannot be told."""
        try:
            act(*args)
        except Busy:
            self.dropped_messages += 1

    def _read(self, peer: PeerState, body: bytes) -> tuple[Any] | None:
        """The message in a body; None when it cannot be read here, which spoils it alone."""
        try:
            return (self.kernel.codec.decode(body),)
        except DecodeError as error:
            self.dropped_messages += 1
            log.warning("a message from %s was dropped: %s", peer.name, error)
            return None

    def _on_call(self, peer: PeerState, signal: Call) -> None:
        reply = None
        if signal.alias:
            reply = RemoteReply(self, signal.reply_node or peer.name, signal.reply_creation, signal.alias)
        to: Pid | str = signal.name or Pid(self.kernel.name, signal.creation, signal.to)
        try:
            args, kwargs = self.kernel.codec.decode_call(signal.args)
        except DecodeError as error:
            log.warning("a call of %s from %s cannot be read here: %s", signal.method, peer.name, error)
            if reply is not None:
                reply.refuse(
                    NotCallable(
                        f"the arguments cannot be read on {self.kernel.name}: {error}: nothing happened"
                    )
                )
            return
        self._accepted(
            self.kernel.request, to, Request(signal.method, tuple(args), kwargs, reply, signal.chain)
        )

    def _on_start(self, peer: PeerState, signal: Start) -> None:
        reply = RemoteReply(self, peer.name, signal.reply_creation, signal.alias)
        try:
            started = self.start_exported(signal.name, *self.kernel.codec.decode_call(signal.args))
        except Exception as error:  # noqa: BLE001 -- an __init__ may raise anything; the one who asked is told
            reply.refuse(error if isinstance(error, CallError) else RemoteError(*plain_error(error)))
            return
        if isinstance(started, Pid):
            reply.give(started)
        else:
            task = self.kernel.loop.create_task(self._answer_when_started(reply, started))
            self._starting.add(task)
            task.add_done_callback(self._starting.discard)

    async def _answer_when_started(self, reply: RemoteReply, started: Awaitable[Pid]) -> None:
        """For a supervisor, which starts others first."""
        try:
            reply.give(await started)
        except Exception as error:  # noqa: BLE001 -- as above
            reply.refuse(error if isinstance(error, CallError) else RemoteError(*plain_error(error)))

    def _on_answer(self, peer: PeerState, signal: Answer) -> None:
        pending = self._take(signal.alias) if signal.creation == self.kernel.creation else None
        if pending is None:
            return  # too late: nobody waits any more
        try:
            value, error = decode_answer(self.kernel.codec, signal.kind, signal.body)
        except DecodeError as bad:
            pending.refuse(bad)
            raise
        if error is None:
            pending.give(value)
        else:
            pending.refuse(error)

    def _on_forwarded(self, peer: PeerState, signal: Forwarded) -> None:
        pending = self._take(signal.alias) if signal.creation == self.kernel.creation else None
        if pending is None:
            return
        now = self.peers.get(signal.node)
        if signal.node == self.kernel.name or now is None:
            now = peer  # it comes back to us, or by way of a node we are not linked to: the sender's fate decides
        now.calls[signal.alias] = pending
        self._calls[signal.alias] = now

    def _on_exit(self, peer: PeerState, signal: ExitTo) -> None:
        cell = self._cell(signal.to, signal.creation)
        if cell is None:
            return
        if signal.linked:
            peer.links.discard((signal.to, signal.source))
        reason = decode_reason(self.kernel.codec, signal.reason)
        self.kernel.signal(
            self.kernel.emit_exit, peer.pid(signal.source), cell.pid, reason, bool(signal.linked)
        )

    def _on_link(self, peer: PeerState, signal: Link) -> None:
        pair = (signal.to, signal.source)
        if pair in peer.unlinking:
            return  # it crossed our Unlink, which undoes it there
        cell = self._cell(signal.to, signal.creation)
        if cell is None:
            here = Pid(self.kernel.name, signal.creation, signal.to)
            self.exit(here, peer.pid(signal.source), NOPROC, linked=True)
            return
        peer.links.add(pair)
        self.kernel.add_link(cell, peer.pid(signal.source))

    def _on_unlink(self, peer: PeerState, signal: Unlink) -> None:
        peer.links.discard((signal.to, signal.source))
        cell = self._cell(signal.to, signal.creation)
        if cell is not None and cell.links is not None:
            cell.links.discard(peer.pid(signal.source))
        peer.backlog.post(encode(Unlinked(signal.to, signal.source, peer.creation, signal.id)))

    def _on_unlinked(self, peer: PeerState, signal: Unlinked) -> None:
        pair = (signal.to, signal.source)
        if peer.unlinking.get(pair) == signal.id:
            del peer.unlinking[pair]

    def _on_monitor(self, peer: PeerState, signal: Monitor) -> None:
        cell = self._cell(signal.to, signal.creation)
        if cell is None:
            peer.backlog.post(encode(Gone(signal.id, self.kernel.codec.encode(NOPROC))))
            return
        peer.watching[signal.id] = cell
        self.kernel.add_watcher(
            cell, self._their_ref(peer, signal.id), partial(self._tell_gone, peer, signal.id)
        )

    def _on_demonitor(self, peer: PeerState, signal: Demonitor) -> None:
        cell = peer.watching.pop(signal.id, None)
        if cell is not None and cell.watchers is not None:
            cell.watchers.pop(self._their_ref(peer, signal.id), None)

    def _tell_gone(self, peer: PeerState, number: int, down: Down) -> None:
        if peer.watching.pop(number, None) is not None and self.peers.get(peer.name) is peer:
            peer.backlog.post(encode(Gone(number, self.kernel.codec.encode_reason(down.reason))))

    def _on_gone(self, peer: PeerState, signal: Gone) -> None:
        known = peer.watched.pop(signal.id, None)
        if known is not None:
            ref, target, hear = known
            self.kernel.signal(hear, Down(ref, target, decode_reason(self.kernel.codec, signal.reason)))

    def _their_ref(self, peer: PeerState, number: int) -> MonitorRef:
        return MonitorRef(peer.name, peer.creation, number)

    async def drained(self, node: str) -> None:
        """Return when there may be room again in the lane to a node."""
        await self._outlet.drained(node)
        await asyncio.sleep(0)  # what waits for it already is first

    def linked_peers(self) -> Iterator[tuple[str, int]]:
        """Name and creation of each linked node."""
        return ((peer.name, peer.creation) for peer in self.peers.values())


_HANDLERS: dict[type[Signal], Callable[[RemoteSide, PeerState, Any], None]] = {
    Send: RemoteSide._on_send,
    SendName: RemoteSide._on_send_name,
    SendAlias: RemoteSide._on_send_alias,
    Call: RemoteSide._on_call,
    Answer: RemoteSide._on_answer,
    Forwarded: RemoteSide._on_forwarded,
    ExitTo: RemoteSide._on_exit,
    Link: RemoteSide._on_link,
    Unlink: RemoteSide._on_unlink,
    Unlinked: RemoteSide._on_unlinked,
    Monitor: RemoteSide._on_monitor,
    Demonitor: RemoteSide._on_demonitor,
    Gone: RemoteSide._on_gone,
    Start: RemoteSide._on_start,
}
