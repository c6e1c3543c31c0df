"""A simulated TCP connection: two ends, and a pipe in each direction.

A `Pipe` carries what one end writes to the other, in order: pieces of data, then perhaps an end (`FIN`) or a reset. It is
the authority over what is under way. An `End` is the `asyncio.Transport` that a protocol holds, and what the kernel of its
host knows of the connection; it lives on when its process dies, as a socket does, just long enough to say so.

What must never happen here: bytes lost, repeated or reordered inside a stream, or a protocol called in the context of
another process than its own.
"""

import asyncio
import errno
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any, Literal

from .links import RETRANSMIT_S, LinkState, retry_at

if TYPE_CHECKING:
    from .network import Host, SimNetwork

WINDOW_BYTES = 256 * 1024  # under way in one direction, as the kernel's two buffers hold it
HIGH_BYTES = 64 * 1024
SPLIT_CHANCE = 1 / 64  # of a piece to arrive in two
SLOW_READ_S = 0.1  # a slow reader reads as much at once as it may in this time

FIN: Literal["fin"] = "fin"
RST: Literal["rst"] = "rst"
Piece = bytes | Literal["fin", "rst"]


class Pipe:
    """One direction of a connection, from `source` to `target`."""

    __slots__ = (
        "_acked",
        "_link",
        "_network",
        "_queue",
        "_since",
        "_timer",
        "_waits",
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
        self._queue: deque[tuple[float, Piece]] = (
            deque()
        )  # when each may arrive, and not before those ahead of it
        self._timer: asyncio.Handle | None = None
        self._waits = False  # a link or a host will tell when it is whole again
        self._since: float | None = None  # when the first piece should have arrived that was not let through

    def push(self, piece: Piece) -> None:
        """Send. Data counts as under way until the sender knows that it was delivered."""
        data = piece.__class__ is bytes
        size = len(piece)
        if data:
            self.unacked += size
        if self.lost:
            return
        link, network = self._link, self._network
        now = network.loop.now
        at = now + link.latency_s + link.jitter_s * network.draw()
        if data:
            if link.bandwidth_bytes_s is not None:
                link.free_at = max(now, link.free_at) + size / link.bandwidth_bytes_s
                at += link.free_at - now
            if link.slowed:
                link.delayed_bytes += size
            if self._waits and link.blocked:
                link.held_bytes += size
            if size > 1 and network.draw() < SPLIT_CHANCE:
                assert isinstance(piece, bytes)
                cut = 1 + int(network.draw() * (size - 1))
                self._queue.append((at, piece[:cut]))
                piece = piece[cut:]
                at += link.jitter_s * network.draw()
        self._queue.append((at, piece))
        if self._timer is None and not self._waits:
            self._arm(self._queue[0][0])

    def push_reset(self) -> None:
        """The kernel of the source has forgotten this connection and says so, once; it sends nothing again either."""
        if self._link.cuts:
            self.clear()
        else:
            self.push(RST)

    def unread(self) -> bool:
        """Data has arrived that the target's process has not read."""
        if not self._queue or self._waits or self._link.blocked:
            return False
        at, piece = self._queue[0]
        return at <= self._network.loop.now and piece.__class__ is bytes

    def clear(self) -> None:
        """What is under way gets lost."""
        self._queue.clear()
        self._disarm()

    def die(self) -> None:
        """Lose what is under way, and all that follows, in silence."""
        self.lost = True
        self.clear()

    def resume(self) -> None:
        """The target reads again, or its kernel goes on without a process."""
        self._disarm()
        if self._queue and not self._waits:
            self._arm(self._queue[0][0])

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, at: float) -> None:
        target, loop = self.target, self._network.loop
        context = self._network.world if target.closed else target.context
        self._timer = loop.call_at_world(max(loop.now, at), self._fire, (), context)

    def _fire(self) -> None:
        """The first piece is there (or would be)."""
        self._timer = None
        queue, link, target = self._queue, self._link, self.target
        now = self._network.loop.now
        while queue and self._timer is None:
            at, piece = queue[0]
            if at > now:
                self._arm(at)
            elif link.cuts or link.holds:
                if not self._lose_reset(piece):
                    link.held_bytes += sum(len(piece) for _, piece in queue if piece.__class__ is bytes)
                    self._wait(link.waiting, now, again=link.cuts > 0)
                return
            elif not target.host.up:  # when it is back it does not know of this connection
                if not self._lose_reset(piece):
                    self._wait(target.host.waiting, now, again=True)
                return
            elif target.closed:
                self._refuse(piece, now)
                return
            elif piece is RST:
                self.clear()
                target.lose(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"))
            elif not target.reads():
                return  # `resume` goes on
            elif piece is FIN:
                queue.popleft()
                target.peer_finished()
            else:
                assert isinstance(piece, bytes)
                self._deliver(piece, now)

    def _deliver(self, piece: bytes, now: float) -> None:
        queue, target = self._queue, self.target
        host = target.host
        if host.read_bytes_s is not None:
            if host.read_free_at > now + 1e-9:
                self._arm(host.read_free_at)
                return
            bite = max(1, int(host.read_bytes_s * SLOW_READ_S))
            if len(piece) > bite:
                queue[0] = (queue[0][0], piece[bite:])
                piece = piece[:bite]
            else:
                queue.popleft()
            host.read_free_at = now + len(piece) / host.read_bytes_s
            host.slow_bytes += len(piece)
            self._timer = self._network.loop.call_soon(self._read_on, context=target.context)
        else:
            queue.popleft()
        self._since = None
        self._delivered(len(piece))
        self._link.delivered += 1
        self._network.delivered(now, self.source.host, host, piece)
        protocol: Any = target.protocol
        try:
            protocol.data_received(piece)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 -- as asyncio's transports: it ends the connection
            target.fail(error)

    def _read_on(self) -> None:
        """A slow reader takes the next piece later, after those of other connections that wait for it already."""
        self._timer = None
        if self._queue:
            self._arm(max(self._queue[0][0], self.target.host.read_free_at))

    def _refuse(self, piece: Piece, now: float) -> None:
        """The kernel of the target does not know the connection (any more)."""
        back = self.target.out
        if piece.__class__ is not bytes or self.source.closed:
            self.clear()
        elif back._link.blocked:  # the source hears nothing, and sends again until it does
            self._wait(back._link.waiting, now, again=True)
        else:
            self.clear()
            back.push_reset()

    def _lose_reset(self, piece: Piece) -> bool:
        """A reset is sent once: what stands in its way swallows it. (A hold does not.)"""
        if piece is RST and (self._link.cuts or not self.target.host.up):
            self.clear()
            return True
        return False

    def _wait(self, waiting: list[Callable[[], None]], now: float, *, again: bool) -> None:
        """Go on when told by `waiting`: at once, or when the retransmission timer fires that runs since the loss."""
        if self._since is None:
            self._since = now
        self._waits = True

        def whole() -> None:
            self._waits = False
            if self._queue and self._timer is None:
                now = self._network.loop.now
                since = now if self._since is None else self._since
                self._arm(retry_at(since, now, RETRANSMIT_S) if again else now)

        waiting.append(whole)

    def _delivered(self, size: int) -> None:
        """Tell the sender, whom the news reaches unless the way back is blocked."""
        self._acked += size
        back = self.target.out._link
        if not (back.cuts or back.holds):
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
        self._eof = False  # nothing more may be written
        self._finished = False  # FIN has been sent

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

    def reads(self) -> bool:
        """There is a process that wants data."""
        return not self.reading_paused and not self._closing and self.protocol is not None

    def pause_reading(self) -> None:
        self.reading_paused = True

    def resume_reading(self) -> None:
        if self.reading_paused:
            self.reading_paused = False
            self.into.resume()

    def begin(self, protocol: asyncio.BaseProtocol) -> None:
        """The process has the connection from now on. What the protocol raises ends it."""
        self.protocol = protocol
        try:
            protocol.connection_made(self)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 -- the loop's handler decides
            self.fail(error)
            return
        self.into.resume()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = high if high is not None else (HIGH_BYTES if low is None else 4 * low)
        self._low = low if low is not None else self._high // 4

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def get_write_buffer_size(self) -> int:
        return self._buffered

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if data.__class__ is not bytes:
            data = bytes(memoryview(data))
        if self._eof:
            raise RuntimeError("Cannot call write() after write_eof()")
        if self._closing or not data:
            return
        assert isinstance(data, bytes)
        if not self._buffer:
            room = WINDOW_BYTES - self.out.unacked
            if room >= len(data):
                self.out.push(data)
                return
            if room > 0:
                self.out.push(data[:room])
                data = data[room:]
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
        if not self._eof and not self._closing:
            self._eof = True
            self._drained()

    def close(self) -> None:
        """Send what was written, then end. Nothing is read from now on."""
        if not self._closing:
            self._closing = True
            self._drained()

    def abort(self) -> None:
        """End now; the peer gets a reset."""
        self._closing = True
        if not self.closed:
            self._drop_buffer()
            self.out.push_reset()
            self._soon_over(None)

    # -- the kernel's side ---------------------------------------------------------------------------------

    def room(self) -> None:
        """The peer has read: write what waits."""
        if self.closed:
            return
        buffer = self._buffer
        while buffer and (room := WINDOW_BYTES - self.out.unacked) > 0:
            data = buffer.popleft()
            if len(data) > room:
                buffer.appendleft(data[room:])
                data = data[:room]
            self._buffered -= len(data)
            self.out.push(data)
        self._drained()
        if self._writing_paused and self._buffered <= self._low and not self.closed:
            self._writing_paused = False
            self.get_protocol().resume_writing()

    def _drained(self) -> None:
        """What was asked for behind the last byte, if that has left."""
        if self._buffer or self.closed:
            return
        self.waits_for_room = False
        if self._closing:
            self._release()
            self._soon_over(None)
        elif self._eof:
            self._finish()

    def _release(self) -> None:
        """Close the socket: an end for the peer, or a reset, if it sent what nobody has read (RFC 2525, 2.17)."""
        if self.into.unread():
            self.out.push_reset()
        else:
            self._finish()

    def _finish(self) -> None:
        if not self._finished:
            self._finished = True
            self.out.push(FIN)

    def _drop_buffer(self) -> None:
        self._buffer.clear()
        self._buffered = 0

    def peer_finished(self) -> None:
        """The peer will write nothing more."""
        try:
            keep = self.protocol.eof_received() if isinstance(self.protocol, asyncio.Protocol) else None
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 -- as asyncio's transports: it ends the connection
            self.fail(error)
            return
        if not keep:
            self.close()

    def fail(self, error: BaseException) -> None:
        """The protocol raised: the connection ends, and the loop's handler learns why."""
        self._network.loop.call_exception_handler(
            {
                "message": f"a protocol raised {type(error).__name__}: {error}",
                "exception": error,
                "transport": self,
                "protocol": self.protocol,
            }
        )
        if not self.closed:
            self._release()
            self.lose(error if isinstance(error, Exception) else None)

    def lose(self, error: Exception | None) -> None:
        """The connection is over here, at once."""
        self._closing = True
        if not self.closed:
            self._drop_buffer()
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
        self.closed = self._closing = True
        self.host.ends.pop(self, None)
        self.into.resume()

    def abandon(self) -> None:
        """The process of this end was killed: its kernel closes the socket for it."""
        self._drop_buffer()
        self._release()
        self.forget()

    def vanish(self) -> None:
        """The machine of this end lost power: what is under way from here is lost, nobody is told."""
        self._drop_buffer()
        self.forget()
        self.out.clear()
