"""One TCP connection of a link or of a client: first its handshake, then frames.

An `asyncio.Protocol` that moves bytes between a transport and two pure machines, `Handshake` and `FrameParser`.
The authority over a connection is this object; who it belongs to decides what its events mean. After `close` or
`abort` no frame is delivered any more. What must never happen here: a byte is given to the frame parser before
the handshake is open.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Protocol, cast

from .frames import HEADER, HEADER_BYTES, FrameParser
from .handshake import Acceptor, Dialer, Event, Failed, Opened
from .runtime import Clock, Timer

_HELD_LIMIT_BYTES = 64 * 1024  # of frames that arrive before the other lane is through
_CHUNK_BYTES = 256 * 1024  # the most that goes to the transport in one write, give or take a frame


@dataclass(slots=True)
class LinkCounters:
    """What one node's links counted since the start. Owned by `Links`; everybody else only reads.

    `refused` counts, by reason, connections that were turned away here, whoever dialled them.
    """

    refused: dict[str, int] = field(default_factory=dict)
    links_made: int = 0
    links_lost: int = 0
    frames_sent: int = 0
    frames_received: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    dropped: int = 0  # frames of the control lane that found its buffer full
    busy: int = 0  # signals that found theirs full: the sender got `Busy`
    writes: int = 0  # calls to a transport: frames_sent / writes is how well frames are coalesced
    listener_errors: int = 0  # exceptions out of the listener: bugs, which are logged

    def refuse(self, reason: str) -> None:
        self.refused[reason] = self.refused.get(reason, 0) + 1


class ConnectionOwner(Protocol):
    """Whoever a connection belongs to while it is in its handshake, and who keeps account of it to its end."""

    def connection_opened(self, connection: "Connection") -> None:
        """The transport is there."""
        ...

    def handshake_event(self, connection: "Connection", event: Event) -> None: ...

    def connection_closed(self, connection: "Connection", reason: str) -> None:
        """The transport is gone; called once after `connection_opened`."""
        ...


class FrameSink(Protocol):
    """Whoever takes the frames of an open connection."""

    def frame(self, connection: "Connection", channel: int, payload: bytes) -> None: ...

    def lane_over(self, connection: "Connection", reason: str) -> None:
        """No more frames come: the peer closed, the network failed, or a frame broke the rules."""
        ...


class Connection(asyncio.Protocol):
    """See the module's docstring. Frames of one loop turn leave in one `transport.write`."""

    def __init__(
        self,
        handshake: Dialer | Acceptor,
        owner: ConnectionOwner,
        clock: Clock,
        counters: LinkCounters,
        *,
        close_s: float,
    ) -> None:
        self.handshake = handshake
        self.heard = False  # bytes came since somebody set this to False
        self.paused = False  # the transport pushes back
        self._owner = owner
        self._clock = clock
        self._counters = counters
        self._close_s = close_s
        self._transport: asyncio.Transport | None = None
        self._timer: Timer | None = None
        self._sink: FrameSink | None = None
        self._parser: FrameParser | None = None
        self._held: list[bytes] = []
        self._out: list[bytes | memoryview] = []  # headers and payloads of this turn
        self._out_bytes = 0  # in `_out` and `_chunks`
        self._chunk_bytes = 0  # in `_out`
        self._chunks: deque[bytes] = deque()  # what is too much for one write, in order, before `_out`
        self._flushing = False
        self._closing = False
        self._lost = False
        self._reason = ""
        self._drained: list[asyncio.Future[None]] = []

    # -- asyncio's side ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._owner.connection_opened(self)
        if self._closing:  # before there was a transport, or by the owner just now
            self._transport.abort()
            return
        remaining_s = self.handshake.deadline - self._clock.monotonic()
        self._timer = self._clock.call_later(max(0.0, remaining_s), self._expire)
        self._push_handshake()

    def data_received(self, data: bytes) -> None:
        self.heard = True
        self._counters.bytes_received += len(data)
        if self._closing:
            return
        if self._sink is not None:
            self._parse(data)
        elif self._parser is not None:
            self._hold(data)
        else:
            self._handshake_events(self.handshake.receive(data))

    def eof_received(self) -> None:
        if not self._closing:
            self._reason = self._reason or "the peer closed the connection"
            self._handshake_events(self.handshake.eof())

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        if self._transport is None or self._lost:
            return
        self._lost = True
        told = self._closing
        self._closing = True
        if exc is not None:
            self._reason = self._reason or f"the connection was lost: {exc}"
        reason = self._reason or "the connection was closed"
        if not told:
            self._handshake_events(self.handshake.eof(), even_closing=True)
        self._wake_drained()
        self._forget_output()
        if self._sink is not None and not told:
            self._sink.lane_over(self, reason)
        self._sink = None
        self._owner.connection_closed(self, reason)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self._flush()

    # -- the handshake -------------------------------------------------------------------------------------

    def advance(self, events: list[Event] | None = None) -> None:
        """Write what the handshake has to say, after its owner moved it; `events` came of that move."""
        self._handshake_events(events or [])

    def _handshake_events(self, events: list[Event], even_closing: bool = False) -> None:
        self._push_handshake()
        for event in events:
            if self._closing and not even_closing:
                return
            match event:
                case Opened(rest=rest):
                    self._stop_timer()
                    self._parser = FrameParser(1)  # replaced by `attach`; until then bytes are held
                    if rest:
                        self._hold(rest)
                case Failed():
                    self._stop_timer()
            self._owner.handshake_event(self, event)

    def _push_handshake(self) -> None:
        out = self.handshake.bytes_to_send()
        if out and self._transport is not None and not self._transport.is_closing():
            self._counters.bytes_sent += len(out)
            self._transport.write(out)

    def _expire(self) -> None:
        self._handshake_events(self.handshake.expire(self._clock.monotonic()))
        if not self._closing and self._parser is None:  # a timer that fired early
            self._timer = self._clock.call_later(0.001, self._expire)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _hold(self, data: bytes) -> None:
        self._held.append(data)
        if self._transport is not None and sum(map(len, self._held)) > _HELD_LIMIT_BYTES:
            self._transport.pause_reading()

    # -- frames --------------------------------------------------------------------------------------------

    def attach(self, sink: FrameSink, *, frame_limit_bytes: int) -> None:
        """Deliver frames to `sink` from now on, those first that arrived already."""
        self._sink = sink
        self._parser = FrameParser(frame_limit_bytes)
        held, self._held = self._held, []
        if self._transport is not None and held and not self._transport.is_closing():
            self._transport.resume_reading()
        for data in held:
            if not self._closing:
                self._parse(data)

    def send(self, channel: int, payload: bytes | memoryview) -> None:
        """Queue a frame; it leaves in this turn of the loop unless the transport pushes back."""
        if self._closing:
            return
        self._counters.frames_sent += 1
        self._out.append(HEADER.pack(len(payload), channel))
        self._out.append(payload)
        size = HEADER_BYTES + len(payload)
        self._out_bytes += size
        self._chunk_bytes += size
        if self._chunk_bytes >= _CHUNK_BYTES:
            self._seal()
        if not self._flushing and not self.paused:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait here because the transport pushes back, or for the end of this turn of the loop."""
        return self._out_bytes

    @property
    def transport_bytes(self) -> int:
        """Bytes that wait in the transport, because the kernel does not take them."""
        if self._transport is None or self._transport.is_closing():
            return 0
        return self._transport.get_write_buffer_size()

    async def drained(self, level_bytes: int) -> None:
        """Return when at most `level_bytes` wait here, or the connection is over."""
        while not self._closing and self._out_bytes > level_bytes:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._drained.append(waiter)
            await waiter

    def _parse(self, data: bytes) -> None:
        assert self._parser is not None and self._sink is not None
        parser, sink, counters = self._parser, self._sink, self._counters
        for channel, payload in parser.feed(data):
            counters.frames_received += 1
            sink.frame(self, channel, payload)
            if self._closing:
                return
        if parser.error is not None:
            sink.lane_over(self, parser.error)

    def _flush(self) -> None:
        self._flushing = False
        if self._out:
            self._seal()
        while self._chunks and not self.paused and self._transport is not None:
            if self._transport.is_closing():
                return
            self._write(self._chunks.popleft())
        self._wake_drained()

    def _seal(self) -> None:
        """Make one string of what was queued, so that a million small frames that wait are not two million objects."""
        self._chunks.append(b"".join(self._out))
        self._out.clear()
        self._chunk_bytes = 0

    def _write(self, data: bytes) -> None:
        assert self._transport is not None
        self._out_bytes -= len(data)
        self._counters.writes += 1
        self._counters.bytes_sent += len(data)
        self._transport.write(data)

    def _forget_output(self) -> None:
        self._out.clear()
        self._chunks.clear()
        self._out_bytes = self._chunk_bytes = 0

    def _wake_drained(self) -> None:
        waiters, self._drained = self._drained, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    # -- the end -------------------------------------------------------------------------------------------

    @property
    def closing(self) -> bool:
        return self._closing

    def close(self, reason: str) -> None:
        """Deliver nothing more, let what was sent leave within `close_s`, then close."""
        if self._closing:
            return
        self._begin_closing(reason)
        if self._transport is None:
            return
        if self._out:
            self._seal()
        while self._chunks and not self._transport.is_closing():
            self._write(self._chunks.popleft())
        self._transport.close()
        self._timer = self._clock.call_later(self._close_s, self._transport.abort)

    def abort(self, reason: str) -> None:
        """Deliver nothing more and close at once, whatever waits."""
        if not self._closing:
            self._begin_closing(reason)
        self._forget_output()
        if self._transport is not None:
            self._transport.abort()

    def not_made(self, reason: str) -> None:
        """Whoever was making the connection failed or gave up, perhaps when the transport was there already.

        uvloop then closes the transport without a `connection_lost`, so that is called here.
        """
        self.abort(reason)
        self.connection_lost(None)

    def _begin_closing(self, reason: str) -> None:
        self._closing = True
        self._reason = self._reason or reason
        self._stop_timer()
        self._held.clear()
        self._wake_drained()
