"""A link to one peer: two connections ("lanes") that live and die together, and the heartbeats that judge them.

The authority over a link is this object, from the moment both lanes are through their handshakes until its owner
is told, once, that it is over. Heartbeats go over both lanes: a firewall may forget only the quieter one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from .address import Address
from .connection import Connection, LinkCounters
from .errors import Busy, TooLarge
from .frames import Channel, Internal, Lane
from .heartbeat import Heartbeat, Verdict
from .ident import Ident
from .link_config import LinkConfig
from .runtime import Clock, Timer

PROBE_BYTES = 8
_GOODBYE_LIMIT_BYTES = 512
_SIGNALS = Channel.SIGNALS.value
_CHANNELS = {channel.value: channel for channel in Channel}


@dataclass(frozen=True, slots=True)
class Peer:
    """A node that is linked to this one.

    `creation` tells one life of the node from the next. `incarnation` grows with every link that is made on this
    node, to whomever. `features` are those that both nodes have. `address` is where the name says it listens.
    """

    name: str
    creation: int
    incarnation: int
    features: frozenset[str]
    address: Address


class LinkOwner(Protocol):
    """What a link tells of itself."""

    def link_received(self, link: "Link", channel: Channel, payload: bytes) -> None: ...

    def link_names(self, link: "Link", payload: bytes) -> None:
        """The peer tells names of nodes that it has met."""
        ...

    def link_over(self, link: "Link", reason: str) -> None:
        """Called once, unless the owner closed the link itself."""
        ...


class Link:
    """One incarnation of the connection to a peer. Call `start` when the owner is ready for frames."""

    def __init__(
        self,
        peer: Peer,
        ident: Ident,
        lanes: tuple[Connection, Connection],
        owner: LinkOwner,
        clock: Clock,
        config: LinkConfig,
        counters: LinkCounters,
    ) -> None:
        self.peer = peer
        self.over = False
        self._control, self._signals = lanes
        self._owner = owner
        self._clock = clock
        self._config = config
        self._counters = counters
        self._control_limit = min(config.control_frame_limit_bytes, ident.control_limit_bytes)
        self._signal_limit = min(config.signal_frame_limit_bytes, ident.signal_limit_bytes)
        now = clock.monotonic()
        self._hearts = {
            lane: Heartbeat(config.heartbeat_s, config.heartbeat_timeout_s, now)
            for lane in (Lane.CONTROL, Lane.SIGNALS)
        }
        self._stalled_bytes = dict.fromkeys(Lane, 0)
        self._stalled_since = dict.fromkeys(Lane, now)
        self._timer: Timer | None = None
        self._probes: dict[bytes, Callable[[], None]] = {}
        self._goodbye = ""
        self.made_at = now

    def start(self) -> None:
        """Deliver frames and beat. What arrived already is delivered before this returns."""
        if self.over:
            return
        self._timer = self._clock.call_later(self._config.heartbeat_s, self._tick)
        self._control.attach(self, frame_limit_bytes=self._config.control_frame_limit_bytes)
        if not self.over:
            self._signals.attach(self, frame_limit_bytes=self._config.signal_frame_limit_bytes)

    # -- sending -------------------------------------------------------------------------------------------

    def send(self, channel: Channel, payload: bytes) -> bool:
        """See `Links.send`."""
        if self.over:
            return False
        size = len(payload)
        if channel == _SIGNALS:
            if size > self._signal_limit:
                raise self._too_large("signal", size, self._signal_limit)
            if self._signals.queued_bytes >= self._config.signal_buffer_bytes:
                self._counters.busy += 1
                raise Busy(
                    f"{self._signals.queued_bytes} bytes wait for {self.peer.name} already: nothing was sent; "
                    "wait until it has read them"
                )
            self._signals.send(_SIGNALS, payload)
            return True
        if size > self._control_limit:
            raise self._too_large(f"message on the {channel.name} channel", size, self._control_limit)
        if self._control.queued_bytes >= self._config.control_buffer_bytes:
            self._counters.dropped += 1
            return False
        self._control.send(channel, payload)
        return True

    async def drained(self) -> None:
        """Return when the signal lane has room again, or the link is over."""
        await self._signals.drained(self._config.signal_buffer_bytes // 4)

    def tell_names(self, payload: bytes) -> None:
        self._control.send(Internal.NAMES, payload)

    def probe(self, token: bytes, answered: Callable[[], None]) -> None:
        """Ask the peer for a sign of life; `answered` is called when it comes, if it does. Eight bytes of token."""
        assert len(token) == PROBE_BYTES
        self._probes[token] = answered
        self._control.send(Internal.PROBE, token)

    def _too_large(self, what: str, size: int, limit: int) -> TooLarge:
        return TooLarge(
            f"a {what} of {size} bytes to {self.peer.name} is over the limit of {limit}: make it smaller",
            size_bytes=size,
            limit_bytes=limit,
        )

    # -- frames --------------------------------------------------------------------------------------------

    def frame(self, connection: Connection, channel: int, payload: bytes) -> None:
        if channel == _SIGNALS and connection is self._signals:
            self._owner.link_received(self, Channel.SIGNALS, payload)
            return
        known = _CHANNELS.get(channel)
        if known is not None:
            if (known is Channel.SIGNALS) != (connection is self._signals):
                self._break(f"the peer sent a frame of channel {known.name} on the wrong lane")
                return
            self._owner.link_received(self, known, payload)
        else:
            self._internal(connection, channel, payload)

    def _internal(self, connection: Connection, channel: int, payload: bytes) -> None:
        """Channels that are unknown come from later versions and are not for us; a HEARTBEAT needs only arrive."""
        if channel == Internal.PROBE and len(payload) == PROBE_BYTES:
            connection.send(Internal.ANSWER, payload)
        elif channel == Internal.ANSWER:
            answered = self._probes.pop(payload, None)
            if answered is not None:
                answered()
        elif channel == Internal.NAMES:
            self._owner.link_names(self, payload)
        elif channel == Internal.GOODBYE:
            self._goodbye = payload[:_GOODBYE_LIMIT_BYTES].decode("utf-8", "replace")
            if connection is self._signals:
                self._end(self._goodbye_reason(), tell=False)

    def lane_over(self, connection: Connection, reason: str) -> None:
        if self._goodbye and connection is self._control:
            return  # the peer closes the link; what it sent before is still on its way on the signal lane
        lane = Lane.SIGNALS if connection is self._signals else Lane.CONTROL
        self._break(self._goodbye_reason() if self._goodbye else f"{lane.label} lane: {reason}")

    def _goodbye_reason(self) -> str:
        return f"the peer closed the link: {self._goodbye}"

    # -- life ----------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        now = self._clock.monotonic()
        for lane, connection in ((Lane.CONTROL, self._control), (Lane.SIGNALS, self._signals)):
            heart = self._hearts[lane]
            verdict = heart.tick(now, connection.heard)
            connection.heard = False
            if verdict is Verdict.DEAD:
                self._break(f"nothing was heard for {heart.silent_s(now):.1f} s on the {lane.label} lane")
                return
            if not connection.paused:  # else more than a heartbeat is on its way
                connection.send(Internal.HEARTBEAT, b"")
                self._stalled_since[lane] = now
            elif self._stalled(lane, connection, now):
                self._break(
                    f"the peer read nothing from the {lane.label} lane for {self._config.stall_s:g} s"
                )
                return
        self._timer = self._clock.call_later(self._config.heartbeat_s, self._tick)

    def _stalled(self, lane: Lane, connection: Connection, now: float) -> bool:
        waiting = connection.transport_bytes
        if waiting != self._stalled_bytes[lane]:
            self._stalled_bytes[lane] = waiting
            self._stalled_since[lane] = now
        return now - self._stalled_since[lane] >= self._config.stall_s

    def close(self, reason: str) -> None:
        """End the link from this side: what was sent still leaves, the peer is told why, the owner is not."""
        self._end(reason, tell=True, report=False)

    def _break(self, reason: str) -> None:
        self._end(reason, tell=True)

    def _end(self, reason: str, *, tell: bool, report: bool = True) -> None:
        if self.over:
            return
        self.over = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if tell:
            for connection in (self._control, self._signals):
                connection.send(Internal.GOODBYE, reason.encode()[:_GOODBYE_LIMIT_BYTES])
        for connection in (self._control, self._signals):
            connection.close(reason)
        if report:
            self._owner.link_over(self, reason)
