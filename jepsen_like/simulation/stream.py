"""A simulated TCP connection: two ends, and a pipe in each direction.

A `Pipe` carries what one end writes to the other, in order: pieces of data, then perhaps an end (`FIN`) or a reset. It is
the authority over what is under way. An `End` is the `asyncio.Transport` that a protocol holds, and what the kernel of its
host knows of the connection; it lives on when its process dies, as a socket does, just long enough to say so.

What must never happen here: bytes lost, repeated or reordered inside a stream, or a protocol called in the context of
another process than its own.
"""

import asyncio
from collections import deque
from contextvars import Context
from typing import TYPE_CHECKING, Any, Literal

from .links import RETRANSMIT_S, LinkState, retry_at

if TYPE_CHECKING:
    from .network import Host, SimNetwork

WINDOW_BYTES = 256 * 1024  # under way in one direction, as the kernel's two buffers hold it
HIGH_BYTES = 64 * 1024
SPLIT_CHANCE = 1 / 64  # of a piece to arrive in two

FIN: Literal["fin"] = "fin"
RST: Literal["rst"] = "rst"
Piece = bytes | Literal["fin", "rst"]


class Pipe:
    """One direction of a connection, from `source` to `target`."""

    __slots__ = (
        "_acked",
        "_last_at",
        "_link",
        "_network",
        "_queue",
        "_timer",
        "lost",
        "source",
        "target",
        "unacked",
    )

    def __init__(self, network: "SimNetwork", link: LinkState, source: "End", target: "End") -> None:
        self._network = network
        self._link = link
        self.source = source
        self.target = target
        self.unacked = 0
        self.lost = False  # nothing comes through any more, and nobody is told
        self._acked = 0  # delivered, of which the sender does not know yet
        self._queue: deque[tuple[float, Piece]] = deque()
        self._last_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def push(self, piece: Piece) -> None:
        """Send. Data counts as under way until the sender knows that it was delivered."""
        if self.lost:
            return
        now, link, network = self._network.loop.now, self._link, self._network
        at = now + link.latency_s + link.jitter_s * network.draw()
        if piece.__class__ is bytes:
            size = len(piece)
            self.unacked += size
            if link.bandwidth_bytes_s is not None:
                link.free_at = max(now, link.free_at) + size / link.bandwidth_bytes_s
                at += link.free_at - now
            if link.slowed:
                link.delayed_bytes += size
            if size > 1 and network.draw() < SPLIT_CHANCE:
                assert isinstance(piece, bytes)
                cut = 1 + int(network.draw() * (size - 1))
                self._queue.append((max(at, self._last_at), piece[:cut]))
                piece = piece[cut:]
                at += link.jitter_s * network.draw()
        self._last_at = at = max(at, self._last_at)
        self._queue.append((at, piece))
        if self._timer is None:
            self._arm(self._queue[0][0])

    def clear(self) -> None:
        """What is under way gets lost."""
        self._queue.clear()
        self._disarm()

    def die(self) -> None:
        """Lose what is under way, and all that follows, in silence."""
        self.lost = True
        self.clear()

    def rearm(self) -> None:
        """The target's process is gone: its kernel goes on without it."""
        if self._timer is not None:
            self._disarm()
            if self._queue:
                self._arm(self._queue[0][0])

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, at: float) -> None:
        target = self.target
        context = self._network.world if target.closed else target.context
        self._timer = self._network.loop.call_at_world(at, self._fire, (), context)

    def _fire(self) -> None:
        """The first piece is there (or would be)."""
        self._timer = None
        queue, network, link, target = self._queue, self._network, self._link, self.target
        now = network.loop.now
        while queue:
            at, piece = queue[0]
            if at > now:
                self._arm(at)
                return
            if link.cuts or link.holds:
                self._wait_for_link(now)
                return
            if not target.host.up:
                self._wait_for_host(now)
                return
            if target.closed:
                self.clear()
                if piece.__class__ is bytes and not self.source.closed:
                    target.out.push_reset()
                return
            if target.reading_paused and piece is not RST:
                return  # `End.resume_reading` goes on
            host = target.host
            if host.read_bytes_s is not None and piece.__class__ is bytes:
                if host.read_free_at > now + 1e-9:
                    self._arm(host.read_free_at)
                    return
                host.read_free_at = now + len(piece) / host.read_bytes_s
                host.slow_bytes += len(piece)
            queue.popleft()
            if piece.__class__ is bytes:
                assert isinstance(piece, bytes)
                self._delivered(len(piece))
                link.delivered += 1
                network.delivered(now, self.source.host, host, piece)
                target.protocol.data_received(piece)  # type: ignore[union-attr]
            elif piece is FIN:
                target.peer_finished()
            else:
                target.lose(ConnectionResetError(104, "Connection reset by peer"))

    def resume(self) -> None:
        """The target reads again, or what was in the way is gone."""
        if self._timer is None and self._queue:
            self._arm(max(self._queue[0][0], self._network.loop.now))

    def push_reset(self) -> None:
        """The kernel of the source has forgotten this connection and says so, once; it sends nothing again either."""
        if self._link.cuts:
            self.clear()
        else:
            self.push(RST)

    def _wait_for_link(self, now: float) -> None:
        link = self._link
        link.held_bytes += sum(len(piece) for _, piece in self._queue if piece.__class__ is bytes)
        cut = link.cuts > 0
        if cut and self._queue[0][1] is RST:
            self.clear()  # it is sent once, and lost
            return

        def whole() -> None:
            if not self._queue or self._timer is not None:
                return
            at = retry_at(now, self._network.loop.now, RETRANSMIT_S) if cut else self._network.loop.now
            self._arm(at)

        link.waiting.append(whole)

    def _wait_for_host(self, now: float) -> None:
        """The machine is off. When it is back it does not know of this connection."""
        if self._queue[0][1] is RST:
            self.clear()
            return

        def back() -> None:
            if self._queue and self._timer is None:
                self._arm(retry_at(now, self._network.loop.now, RETRANSMIT_S))

        self.target.host.waiting.append(back)

    def _delivered(self, size: int) -> None:
        """Tell the sender, whom the news reaches unless the way back is blocked."""
        self._acked += size
        back = self.target.out._link
        if not back.blocked:
            self._acknowledge()
        elif self._acked == size:
            back.waiting.append(self._acknowledge)

    def _acknowledge(self) -> None:
        acked, self._acked = self._acked, 0
        self.unacked -= acked
        source = self.source
        if source.waits_for_room and not source.closed:
            self._network.loop.call_soon(source.room, context=source.context)


class End(asyncio.Transport):
    """One end of a connection, at `host`, for a process that runs in `context`."""

    def __init__(self, network: "SimNetwork", host: "Host", port: int, context: Context) -> None:
        super().__init__()
        self._network = network
        self.host = host
        self.port = port
        self.context = context
        self.closed = False  # for the kernel: the socket is gone
        self.reading_paused = False
        self.waits_for_room = False
        self.protocol: asyncio.BaseProtocol | None = None
        self.out: Pipe = None  # type: ignore[assignment]  # `join` sets them
        self.into: Pipe = None  # type: ignore[assignment]
        self._buffer: deque[bytes] = deque()  # what the pipe has no room for
        self._buffered = 0
        self._high = HIGH_BYTES
        self._low = HIGH_BYTES // 4
        self._writing_paused = False
        self._closing = False
        self._finished = False  # nothing may be written any more

    @staticmethod
    def join(network: "SimNetwork", a: "End", b: "End") -> None:
        """Make a connection of two ends."""
        a.out = b.into = Pipe(network, network.link(a.host.name, b.host.name), a, b)
        b.out = a.into = Pipe(network, network.link(b.host.name, a.host.name), b, a)
        a.host.ends[a] = b.host.ends[b] = None

    @property
    def other(self) -> "End":
        return self.out.target

    # -- asyncio's side ------------------------------------------------------------------------------------

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "peername":
            return (self.other.host.name, self.other.port)
        if name == "sockname":
            return (self.host.name, self.port)
        return default

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        assert self.protocol is not None
        return self.protocol

    def is_closing(self) -> bool:
        return self._closing

    def is_reading(self) -> bool:
        return not self.reading_paused and not self._closing

    def pause_reading(self) -> None:
        self.reading_paused = True

    def resume_reading(self) -> None:
        self.reading_paused = False
        self.into.resume()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = high if high is not None else (HIGH_BYTES if low is None else 4 * low)
        self._low = low if low is not None else self._high // 4

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def get_write_buffer_size(self) -> int:
        return self._buffered

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._finished or self.closed or not data:
            return
        data = bytes(data)
        if not self._buffer and self.out.unacked < WINDOW_BYTES:
            self.out.push(data)
            return
        self._buffer.append(data)
        self._buffered += len(data)
        self.waits_for_room = True
        if self._buffered > self._high and not self._writing_paused:
            self._writing_paused = True
            self.get_protocol().pause_writing()

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        if not self._finished:
            self._finished = True
            if not self._buffer:
                self.out.push(FIN)

    def close(self) -> None:
        """Send what was written, then end."""
        if self._closing:
            return
        self._closing = True
        self.write_eof()
        if not self._buffer:
            self._soon_over(None)

    def abort(self) -> None:
        """End now; the peer gets a reset."""
        self._closing = True
        if not self.closed:
            self._buffer.clear()
            self.out.push_reset()
            self._soon_over(None)

    # -- the kernel's side ---------------------------------------------------------------------------------

    def room(self) -> None:
        """The peer has read: write what waits."""
        while self._buffer and self.out.unacked < WINDOW_BYTES:
            data = self._buffer.popleft()
            self._buffered -= len(data)
            self.out.push(data)
        if not self._buffer:
            self.waits_for_room = False
            if self._finished and not self.closed:
                self.out.push(FIN)
                if self._closing:
                    self._soon_over(None)
        if self._writing_paused and self._buffered <= self._low and not self.closed:
            self._writing_paused = False
            self.get_protocol().resume_writing()

    def peer_finished(self) -> None:
        """The peer will write nothing more."""
        if self._closing or self.protocol is None:
            return
        keep = self.protocol.eof_received() if isinstance(self.protocol, asyncio.Protocol) else None
        if not keep:
            self.close()

    def lose(self, error: Exception | None) -> None:
        """The connection is over here, at once."""
        self._closing = True
        if not self.closed:
            self._buffer.clear()
            self._soon_over(error)

    def _soon_over(self, error: Exception | None) -> None:
        self.forget()
        self._network.loop.call_soon(self._over, error, context=self.context)

    def _over(self, error: Exception | None) -> None:
        protocol, self.protocol = self.protocol, None
        if protocol is not None:
            protocol.connection_lost(error)

    def forget(self) -> None:
        """The kernel of this host does not know the connection any more."""
        self.closed = True
        self._closing = self._finished = True
        self.host.ends.pop(self, None)
        if self.into is not None:
            self.into.rearm()

    def abandon(self) -> None:
        """The process of this end was killed: its kernel closes the socket for it."""
        unread = self.into.unacked > 0
        self._buffer.clear()
        self.forget()
        if unread:
            self.out.push_reset()
        else:
            self.out.push(FIN)

    def vanish(self) -> None:
        """The machine of this end lost power: what is under way from here is lost, nobody is told."""
        self._buffer.clear()
        self.forget()
        self.out.clear()
