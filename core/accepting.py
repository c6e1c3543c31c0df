"""The accepting half: connections that others made, from their first byte until they are a link's lane.

It owns accepted connections while they are in their handshake and while the first lane of a link waits for the
second. What must never happen here: a peer takes part before `admission.py` has let it.
"""

import logging
from collections.abc import Callable
from typing import Protocol

from .address import NodeName
from .admission import Attempt, Inbound, judge_inbound
from .connection import Connection
from .endpoint import Endpoint
from .errors import ConfigError
from .frames import Lane
from .handshake import Acceptor, Event, Failed, Identified, Refusal, Role, State
from .ident import Ident
from .link import PROBE_BYTES, Link
from .runtime import Timer
from .slots import Slot, Slots

log = logging.getLogger("quorate.links")


class Gate(Protocol):
    """What the accepting half asks of `Links`."""

    def refusal(self, name: str) -> Refusal | None:
        """Why no link with this name is wanted at all, if so."""
        ...

    def evict(self, name: str, reason: str) -> None:
        """Drop whatever there is with this peer; if it is a link, the listener hears that it is down."""
        ...

    def establish(self, slot: Slot, ident: Ident, control: Connection, signals: Connection) -> None: ...

    def client(self, connection: Connection) -> bool:
        """Take a command-line client that is proven; False when there are too many."""
        ...


class Accepting:
    """The owner of accepted connections."""

    def __init__(self, endpoint: Endpoint, slots: Slots, gate: Gate) -> None:
        self._endpoint = endpoint
        self._slots = slots
        self._gate = gate
        self._clock = endpoint.runtime.clock
        self._closed = False
        self._unfinished: dict[Connection, None] = {}  # in the order in which they came
        self._waiting: dict[Connection, tuple[Slot, Timer]] = {}  # first lanes that wait for the second

    def protocol(self) -> Connection:
        """The factory for the server."""
        return self._endpoint.accepted(self)

    def close(self, reason: str) -> None:
        """Drop all that are not through, and all that still come."""
        self._closed = True
        for connection in list(self._unfinished):
            connection.abort(reason)
        self._unfinished.clear()

    # -- a connection's side -------------------------------------------------------------------------------

    def connection_opened(self, connection: Connection) -> None:
        self._endpoint.opened(connection)
        if self._closed:
            connection.abort("this node is stopping")
            return
        if len(self._unfinished) >= self._endpoint.config.handshakes_limit:
            self._endpoint.counters.refuse("overloaded")
            connection.abort("too many handshakes at once")
            return
        self._unfinished[connection] = None

    def connection_closed(self, connection: Connection, reason: str) -> None:
        self._unfinished.pop(connection, None)
        waiting = self._waiting.pop(connection, None)
        if waiting is not None:
            slot, timer = waiting
            timer.cancel()
            if self._slots.free(slot):
                self._endpoint.counters.refuse("incomplete")
        self._endpoint.closed(connection)

    def handshake_event(self, connection: Connection, event: Event) -> None:
        match event:
            case Identified(ident=ident):
                self._identified(connection, ident)
            case Failed(failure=failure, detail=detail, refusal=refusal):
                self._unfinished.pop(connection, None)
                self._endpoint.counters.refuse(failure.value if refusal is None else refusal.name.lower())
                log.debug("%s: a connection came to nothing: %s", self._endpoint.name, detail)
                connection.close(detail)
            case _:
                self._unfinished.pop(connection, None)

    # -- decisions -----------------------------------------------------------------------------------------

    def _identified(self, connection: Connection, ident: Ident) -> None:
        hello = connection.handshake.peer_hello
        assert hello is not None
        if hello.role is Role.CLIENT:
            self._accept(connection)
            if not connection.closing and not self._gate.client(connection):
                self._endpoint.counters.refuse("overloaded")
                connection.close("too many clients at once")
            return
        try:
            NodeName.parse(ident.name)
        except ConfigError as error:
            self._endpoint.counters.refuse("malformed")
            connection.abort(f"the peer's name is none: {error}")
            return
        if hello.lane is Lane.CONTROL:
            self._judge(connection, ident)
        else:
            self._join(connection, ident)

    def _judge(self, connection: Connection, ident: Ident) -> None:
        """Decide on a first lane; called again when something that it waited for has become clear."""
        if connection.closing or connection.handshake.state is not State.DECIDING:
            return
        refusal = self._gate.refusal(ident.name)
        if refusal is not None:
            self._refuse(connection, refusal)
            return
        match judge_inbound(self._endpoint.name, ident, self._slots.current(ident.name)):
            case Inbound.ACCEPT:
                self._admit(connection, ident)
            case Inbound.REPLACE:
                self._gate.evict(ident.name, self._why_replaced(ident))
                self._admit(connection, ident)
            case Inbound.PROBE:
                self._probe(connection, ident)
            case Refusal() as refused:
                self._refuse(connection, refused)

    def _why_replaced(self, ident: Ident) -> str:
        current = self._slots.current(ident.name)
        if current is None or current.run == ident.run:
            return "the peer lost it and made a new one"
        return f"the peer was restarted: creation {ident.creation} follows {current.creation}"

    def _admit(self, connection: Connection, ident: Ident) -> None:
        if connection.closing or self._slots.current(ident.name) is not None:
            return  # the listener, told of the eviction, has done something about this peer
        attempt = Attempt(
            ident.name, ident.creation, ident.run, ident.token, ident.attempt, dialled_here=False
        )
        slot = self._slots.take(attempt, connection.abort)
        timer = self._clock.call_later(
            self._endpoint.config.handshake_s, connection.abort, "the second lane did not come"
        )
        self._waiting[connection] = (slot, timer)
        self._accept(connection)

    def _join(self, connection: Connection, ident: Ident) -> None:
        """A second lane: it must name the first one that waits."""
        slot = self._slots.get(ident.name)
        control = next((first for first, waiting in self._waiting.items() if waiting[0] is slot), None)
        if (
            slot is None
            or control is None
            or control.closing
            or (slot.attempt.run, slot.attempt.token) != (ident.run, ident.token)
        ):
            self._refuse(connection, Refusal.DUPLICATE)
            return
        self._waiting.pop(control)[1].cancel()
        self._accept(connection)
        self._gate.establish(slot, ident, control, connection)

    def _probe(self, connection: Connection, ident: Ident) -> None:
        """Another process claims the name of a linked peer: refuse it if that peer lives."""
        slot = self._slots.get(ident.name)
        assert slot is not None and slot.link is not None
        link = slot.link
        name_in_use = self._name_in_use(connection, link)
        link.probe(self._endpoint.runtime.entropy.token(PROBE_BYTES), name_in_use)
        self._clock.call_later(self._endpoint.config.probe_s, self._probed, connection, ident, link)

    def _name_in_use(self, connection: Connection, link: Link) -> Callable[[], None]:
        def answered() -> None:
            if not connection.closing and connection.handshake.state is State.DECIDING:
                log.warning(
                    "%s: another node claims the name %s while that one is linked and answers",
                    self._endpoint.name,
                    link.peer.name,
                )
                self._refuse(connection, Refusal.NAME_IN_USE)

        return answered

    def _probed(self, connection: Connection, ident: Ident, link: Link) -> None:
        if connection.closing or connection.handshake.state is not State.DECIDING:
            return
        slot = self._slots.get(ident.name)
        if slot is not None and slot.link is link:
            self._gate.evict(ident.name, "it did not answer when another node came with its name")
        self._judge(connection, ident)

    def _accept(self, connection: Connection) -> None:
        assert isinstance(connection.handshake, Acceptor)
        connection.advance(connection.handshake.accept())

    def _refuse(self, connection: Connection, refusal: Refusal) -> None:
        assert isinstance(connection.handshake, Acceptor)
        connection.advance(connection.handshake.refuse(refusal))
