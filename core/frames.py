"""Frames: how messages are cut out of a lane's byte stream.

    length of the payload, u32 big-endian | channel, u8 | payload

Pure: bytes in, frames out. A `FrameParser` belongs to one connection; it never holds more than one frame of at
most its limit plus the chunk it was given, and it never looks into a payload. Nothing may be fed to it before
the peer of that connection has proven the cookie.
"""

import struct
from enum import IntEnum

HEADER = struct.Struct(">IB")
HEADER_BYTES = HEADER.size
_LENGTH_MAX = 2**32 - 1


class Lane(IntEnum):
    """The two TCP connections of a link."""

    CONTROL = 1  # heartbeats, Raft, store and service messages: small, and never behind data
    SIGNALS = 2  # what processes send one another

    @property
    def label(self) -> str:
        """The lane in a message to people."""
        return "signal" if self is Lane.SIGNALS else "control"


class Channel(IntEnum):
    """Whose message a frame carries. `SIGNALS` goes by the signal lane, all others by the control lane."""

    SIGNALS = 1
    RAFT = 2
    STORE = 3
    SERVICE = 4

    @property
    def lane(self) -> Lane:
        return Lane.SIGNALS if self is Channel.SIGNALS else Lane.CONTROL


class Internal(IntEnum):
    """Channels of the links themselves; a listener never sees them."""

    HEARTBEAT = 16  # nothing: its arrival is the message
    PROBE = 17  # eight bytes, to be sent back
    ANSWER = 18  # the eight bytes of a probe
    NAMES = 19  # names of nodes that the sender has met
    GOODBYE = 20  # why the sender closes the link, as text
    REQUEST = 21  # of a command-line client
    REPLY = 22  # to a command-line client


def encode_frame(channel: int, payload: bytes | memoryview) -> bytes:
    """One frame as bytes. The caller checks its limit."""
    return HEADER.pack(len(payload), channel) + payload


class FrameParser:
    """Cuts frames of at most `limit_bytes` of payload out of a stream, however it was chunked.

    A frame over the limit ends the parsing as soon as its header is there: `error` says why, the frames before it
    are still returned, and all later bytes are ignored.
    """

    __slots__ = ("_have", "_need", "error", "limit_bytes")

    def __init__(self, limit_bytes: int) -> None:
        if not 0 < limit_bytes <= _LENGTH_MAX:
            raise ValueError(f"limit_bytes must be from 1 to {_LENGTH_MAX}, not {limit_bytes}")
        self.limit_bytes = limit_bytes
        self.error: str | None = None
        self._have = bytearray()  # the beginning of a frame that is not whole yet
        self._need = HEADER_BYTES  # how long `_have` must be before it is worth looking at again

    @property
    def pending_bytes(self) -> int:
        """Bytes of an unfinished frame that are held."""
        return len(self._have)

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Take the next bytes of the stream; return the frames that are whole now as (channel, payload)."""
        if self.error is not None:
            return []
        if self._have:
            self._have += data
            if len(self._have) < self._need:
                return []
            data = bytes(self._have)
            self._have = bytearray()
        return self._cut(data)

    def _cut(self, data: bytes) -> list[tuple[int, bytes]]:
        frames: list[tuple[int, bytes]] = []
        start, end = 0, len(data)
        need = HEADER_BYTES
        while end - start >= HEADER_BYTES:
            size, channel = HEADER.unpack_from(data, start)
            if size > self.limit_bytes:
                self.error = (
                    f"a frame of {size} bytes on channel {channel} is over the limit of {self.limit_bytes}"
                )
                return frames
            body = start + HEADER_BYTES
            if body + size > end:
                need = HEADER_BYTES + size
                break
            start = body + size
            frames.append((channel, data[body:start]))
        if start < end:
            self._have += data[start:] if start else data
        self._need = need
        return frames
