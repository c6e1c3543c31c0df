"""What stands between a real connection and its owner, for `FaultyNetwork`.

`Faults` is the state that all taps of one network share; `network.py` is the authority over it. A `Tap` is the
authority over its real transport and owns what it holds, one pipe for each direction.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

from quorate.core import Clock, Timer

_KERNEL_BYTES = 256 * 1024  # what a cut direction takes before it pushes back, as the kernel's buffers do
_HIGH_BYTES = 64 * 1024
Host = tuple[str, int]


@dataclass(slots=True)
class Evidence:
    """What the faults did so far."""

    bytes_held_out: int = 0  # written here while cut
    bytes_held_in: int = 0  # arrived here while cut
    bytes_delayed: int = 0
    bytes_lost: int = 0  # held when their connection was closed
    connects_blocked: int = 0  # dialled here while cut
    accepts_blocked: int = 0  # arrived here while cut
    closes_hidden: int = 0  # ends of connections that the other side could not see
    resets: int = 0


class Faults:
    """What is cut and delayed now, and what it did."""

    def __init__(self, clock: Clock | None) -> None:
        self.clock = clock
        self.isolated = False
        self.cuts: set[Host] = set()
        self.delay_s = 0.0
        self.evidence = Evidence()
        self.taps: set[Tap] = set()  # real connections, and those with news for their owner at the heal

    def passes(self, address: Host | None) -> bool:
        """Bytes pass on a connection dialled to this address (None: an accepted one)."""
        return not self.isolated and (address is None or address not in self.cuts)


class Gate:
    """Whether the server that a connection was accepted by still takes connections."""

    def __init__(self) -> None:
        self.closed = False


@dataclass(slots=True)
class _Item:
    """Something on its way in one direction."""

    kind: Literal["made", "data", "eof", "lost"]
    due: float
    data: bytes = b""
    error: Exception | None = None


class _Pipe:
    """One direction of a connection: items pass in order, each when it is due, none while the pipe is shut."""

    def __init__(self, faults: Faults, open_: Callable[[], bool], deliver: Callable[[_Item], None]) -> None:
        self._faults = faults
        self._open = open_
        self._deliver = deliver
        self._items: deque[_Item] = deque()
        self._timer: Timer | None = None
        self._pumping = False
        self.held_bytes = 0

    def put(self, item: _Item) -> bool:
        """Deliver now, or hold; True when it was held."""
        delay_s = self._faults.delay_s
        if delay_s == 0.0 and not self._items and not self._pumping and self._open():
            self._deliver(item)
            return False
        if delay_s > 0.0 and self._faults.clock is not None:
            item.due = self._faults.clock.monotonic() + delay_s
            self._faults.evidence.bytes_delayed += len(item.data)
        self._items.append(item)
        self.held_bytes += len(item.data)
        self.pump()
        return True

    def pump(self) -> None:
        """Deliver what is due."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._items and self._open() and not self._wait(self._items[0]):
                item = self._items.popleft()
                self.held_bytes -= len(item.data)
                self._deliver(item)
        finally:
            self._pumping = False

    def drop(self) -> int:
        """Forget everything; return how many bytes that were."""
        lost, self.held_bytes = self.held_bytes, 0
        self._items.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return lost

    def __len__(self) -> int:
        return len(self._items)

    def _wait(self, item: _Item) -> bool:
        """The item is not due: come back then."""
        if item.due == 0.0 or self._faults.clock is None:
            return False
        remaining_s = item.due - self._faults.clock.monotonic()
        if remaining_s <= 0.0:
            return False
        if self._timer is None:
            self._timer = self._faults.clock.call_later(remaining_s, self._fire)
        return True

    def _fire(self) -> None:
        self._timer = None
        self.pump()


class Tap(asyncio.Protocol):
    """Sits between a real transport and the protocol of its owner, who sees a `_TapTransport`."""

    def __init__(
        self,
        faults: Faults,
        factory: Callable[[], asyncio.Protocol],
        address: Host | None,
        gate: Gate,
    ) -> None:
        self._faults = faults
        self._factory = factory
        self._address = address
        self._gate = gate
        self._raw: asyncio.Transport | None = None
        self._owner: asyncio.Protocol | None = None
        self._made: asyncio.Future[asyncio.Transport] | None = None
        self._in = _Pipe(faults, self._in_open, self._arrive)
        self._out = _Pipe(faults, self._passes, self._leave)
        self._raw_over = False
        self._raw_paused = False
        self._choked = False  # the real transport does not read: too much of it is held
        self._introduced = False
        self._hidden = False  # the owner has closed behind a cut: end the real transport at the heal
        self._pushing_back = False
        self.reading = True
        self.closing = False  # the owner closed, or was told that it is over
        self.transport = _TapTransport(self)

    # -- the real transport's side -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._raw = cast(asyncio.Transport, transport)
        self._faults.taps.add(self)
        if self.closing:
            self._end_raw()
        elif self._in.put(_Item("made", 0.0)) and self._address is None and not self._passes():
            self._faults.evidence.accepts_blocked += 1

    def data_received(self, data: bytes) -> None:
        if self.closing:
            return
        if not self._passes():
            self._faults.evidence.bytes_held_in += len(data)
        self._in.put(_Item("data", 0.0, data))
        if self._in.held_bytes > _KERNEL_BYTES:
            self._choked = True
            self._read_raw(False)

    def eof_received(self) -> bool:
        if not self.closing:
            self._in.put(_Item("eof", 0.0))
        # The tap closes the transport itself, when the end may be seen; TLS has no half-closed connections.
        return self.extra("sslcontext", None) is None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._raw_over:
            return
        self._raw_over = True
        if self.closing:
            self._faults.taps.discard(self)
            self._in.drop()
            self._out.drop()
            self._finish(exc)
            return
        if not self._passes():  # ended by the other side: what it had sent went with it
            self._faults.evidence.bytes_lost += self._in.drop() + self._out.drop()
            exc = exc or ConnectionResetError("the other end closed the connection during the cut")
        self._in.put(_Item("lost", 0.0, error=exc))

    def pause_writing(self) -> None:
        self._raw_paused = True
        self._push_back()

    def resume_writing(self) -> None:
        self._raw_paused = False
        self._push_back()

    # -- the pipes -----------------------------------------------------------------------------------------

    def pump(self) -> None:
        """The network changed."""
        if self._hidden:
            if self._passes():
                self._end_raw()
            return
        self._out.pump()
        self._in.pump()

    def _passes(self) -> bool:
        return self._faults.passes(self._address)

    def _in_open(self) -> bool:
        return self._passes() and self.reading

    def _arrive(self, item: _Item) -> None:
        if self.closing:
            return
        if item.kind == "made":
            self._introduce()
        elif item.kind == "lost":
            self.closing = True
            self._out.drop()
            self._faults.taps.discard(self)
            self._finish(item.error)
        elif self._owner is None:
            return
        elif item.kind == "data":
            self._owner.data_received(item.data)
            self._unchoke()
        elif not self._owner.eof_received():
            self.close()

    def _unchoke(self) -> None:
        if self._choked and self._in.held_bytes <= _KERNEL_BYTES:
            self._choked = False
            if self.reading:
                self._read_raw(True)

    def _introduce(self) -> None:
        if self._gate.closed or self._raw_over:
            self.closing = True
            self._end_raw()
            return
        self._introduced = True
        self._owner = self._factory()
        self._owner.connection_made(self.transport)
        if self._made is not None and not self._made.done():
            self._made.set_result(self.transport)

    def _leave(self, item: _Item) -> None:
        if self._raw is None or self._raw_over or self._raw.is_closing():
            return
        if item.kind == "data":
            self._raw.write(item.data)
        elif item.kind == "eof":
            self._raw.write_eof()
        else:
            self._raw.close()
        self._push_back()

    def _push_back(self) -> None:
        """Tell the owner to pause or resume, by what waits in the pipe and in the real transport together."""
        if self._owner is None or self.closing:
            return
        held = self._out.held_bytes
        if not self._pushing_back and (self._raw_paused or held > _KERNEL_BYTES + _HIGH_BYTES):
            self._pushing_back = True
            self._owner.pause_writing()
        elif self._pushing_back and not self._raw_paused and held <= _KERNEL_BYTES:
            self._pushing_back = False
            self._owner.resume_writing()

    # -- the owner's side ----------------------------------------------------------------------------------

    async def established(self) -> asyncio.Transport:
        """Return when the owner has been told of the connection."""
        if not self._introduced:
            if not self._passes():
                self._faults.evidence.connects_blocked += 1
            self._made = asyncio.get_running_loop().create_future()
            await self._made
        return self.transport

    def write(self, data: bytes) -> None:
        if self.closing or not data:
            return
        if not self._passes():
            self._faults.evidence.bytes_held_out += len(data)
        self._out.put(_Item("data", 0.0, data))
        self._push_back()

    def write_eof(self) -> None:
        if not self.closing:
            self._out.put(_Item("eof", 0.0))

    def can_write_eof(self) -> bool:
        return self._raw is not None and self._raw.can_write_eof()

    def set_reading(self, reading: bool) -> None:
        self.reading = reading
        if not reading:
            self._read_raw(False)
            return
        self._in.pump()
        if self.reading and not self._choked:
            self._read_raw(True)

    def _read_raw(self, reading: bool) -> None:
        if self._raw is None or self._raw_over or self._raw.is_closing():  # uvloop raises then
            return
        if reading:
            self._raw.resume_reading()
        else:
            self._raw.pause_reading()

    def waiting_bytes(self) -> int:
        raw = 0 if self._raw is None or self._raw.is_closing() else self._raw.get_write_buffer_size()
        return max(0, self._out.held_bytes - _KERNEL_BYTES) + raw

    def close(self) -> None:
        """The owner closes: what is only delayed still leaves, what a cut holds does not."""
        if self.closing:
            return
        self.closing = True
        self._in.drop()
        if not self._passes():
            self._faults.evidence.bytes_lost += self._out.drop()
            self._end_hidden_or_now()
            asyncio.get_running_loop().call_soon(self._finish, None)
        elif len(self._out):
            self._out.put(_Item("lost", 0.0))  # closes the real transport behind the data
        elif self._raw is not None:
            self._raw.close()

    def abort(self) -> None:
        """The owner closes at once."""
        self.closing = True
        self._in.drop()
        self._faults.evidence.bytes_lost += self._out.drop()
        if self._end_hidden_or_now():
            asyncio.get_running_loop().call_soon(self._finish, None)

    def abandon(self) -> None:
        """Whoever dialled gave up before the connection was made."""
        self.abort()

    def not_made(self) -> None:
        """The dial failed or was given up, perhaps when the transport was there: uvloop then tells nobody."""
        self.abort()
        if self._raw is not None and not self._raw_over:
            self.connection_lost(None)

    def reset(self) -> bool:
        """End it now; False when its owner does not see it (any more)."""
        if self.closing or self._owner is None:
            return False
        self.closing = True
        self._faults.evidence.bytes_lost += self._in.drop() + self._out.drop()
        asyncio.get_running_loop().call_soon(
            self._finish, ConnectionResetError("connection reset by a fault")
        )
        if self._passes():
            self._end_raw()
        return True

    def extra(self, name: str, default: Any) -> Any:
        return default if self._raw is None else self._raw.get_extra_info(name, default)

    def replace_owner(self, owner: asyncio.Protocol) -> None:
        self._owner = owner

    def owner(self) -> asyncio.Protocol | None:
        return self._owner

    def _end_hidden_or_now(self) -> bool:
        """End the real transport; True when that has to wait for the heal, or when it is over already."""
        if self._raw is None:
            return True
        if self._raw_over:
            self._faults.taps.discard(self)
            return True
        if self._passes():
            self._end_raw()
            return False
        if not self._hidden:
            self._hidden = True
            self._faults.evidence.closes_hidden += 1
        return True

    def _finish(self, error: Exception | None) -> None:
        """Tell the owner, once, that it is over."""
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.connection_lost(error)
        if self._made is not None and not self._made.done():
            self._made.set_exception(
                error or ConnectionAbortedError("the connection ended before it was made")
            )

    def _end_raw(self) -> None:
        if self._raw is not None and not self._raw_over:
            self._raw.abort()


class _TapTransport(asyncio.Transport):
    """What the owner's protocol is given."""

    def __init__(self, tap: Tap) -> None:
        super().__init__()
        self._tap = tap

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._tap.extra(name, default)

    def is_closing(self) -> bool:
        return self._tap.closing

    def close(self) -> None:
        self._tap.close()

    def abort(self) -> None:
        self._tap.abort()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._tap.replace_owner(cast(asyncio.Protocol, protocol))

    def get_protocol(self) -> asyncio.BaseProtocol:
        owner = self._tap.owner()
        if owner is None:
            raise RuntimeError("the connection is over")
        return owner

    def is_reading(self) -> bool:
        return self._tap.reading and not self._tap.closing

    def pause_reading(self) -> None:
        self._tap.set_reading(False)

    def resume_reading(self) -> None:
        self._tap.set_reading(True)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._tap.write(bytes(data))

    def writelines(self, list_of_data: Any) -> None:
        self._tap.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        self._tap.write_eof()

    def can_write_eof(self) -> bool:
        return self._tap.can_write_eof()

    def get_write_buffer_size(self) -> int:
        return self._tap.waiting_bytes()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return (_HIGH_BYTES // 4, _HIGH_BYTES)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """The limits stay as they are: they belong to the faults."""
