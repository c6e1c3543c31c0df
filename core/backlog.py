"""Signals of the library's own that find the lane to a peer full: kept, in order, until there is room.

A process that sends to a peer that does not keep up gets `Busy`. An exit, a `Down` or an answer has nobody to be refused
to and must neither be lost nor overtaken, so it waits here, and whatever is sent after it waits (or is refused) too.
"""

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from .errors import Busy, TooLarge
from .telling import Log

if TYPE_CHECKING:
    from .remote import Outlet

log = Log("quorate.process")

BACKLOG_LIMIT_BYTES = 64 * 1024 * 1024  # then the peer is given up: it is too far behind


class Backlog:
    """The signal lane to one incarnation of one peer, as the process side uses it."""

    __slots__ = ("_closed", "_frames", "_loop", "_outlet", "_peer", "_size_bytes", "_task")

    def __init__(self, loop: asyncio.AbstractEventLoop, outlet: "Outlet", peer: str) -> None:
        self._loop = loop
        self._outlet = outlet
        self._peer = peer
        self._frames: deque[bytes] = deque()
        self._size_bytes = 0
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def send(self, frame: bytes, *, must_leave: bool = False) -> None:
        """Send what a process asked to be sent. Raises `Busy` when it would have to wait, `TooLarge`.

        `must_leave`: it has left its mailbox already, so it waits.
        """
        if must_leave:
            if not self.post(frame):
                raise TooLarge(f"{len(frame)} bytes to {self._peer} are over the limit of a frame")
            return
        if self._frames:
            raise Busy(
                f"too much waits for {self._peer} already: nothing was sent; wait until it has read it"
            )
        self._outlet.send_signal(self._peer, frame)

    def post(self, frame: bytes) -> bool:
        """Send what has to be sent, now or as soon as there is room. False: it is too large, and lost."""
        if self._closed:
            return True
        if not self._frames:
            try:
                self._outlet.send_signal(self._peer, frame)
                return True
            except Busy:
                pass
            except TooLarge as error:
                log.error("a signal to %s was lost: %s", self._peer, error)
                return False
        self._frames.append(frame)
        self._size_bytes += len(frame)
        if self._size_bytes > BACKLOG_LIMIT_BYTES:
            self._outlet.evict(
                self._peer, f"it does not keep up: {self._size_bytes} bytes of signals wait for it"
            )
        elif self._task is None:
            self._task = self._loop.create_task(self._drain(), name=f"quorate backlog of {self._peer}")
        return True

    def close(self) -> None:
        """The link is gone, and what waited for it."""
        self._closed = True
        self._frames.clear()
        if self._task is not None:
            self._task.cancel()

    async def _drain(self) -> None:
        try:
            while self._frames and not self._closed:
                await self._outlet.drained(self._peer)
                await asyncio.sleep(0)  # `drained` may return at once; never spin without the loop
                self._send_waiting()
        finally:
            self._task = None

    def _send_waiting(self) -> None:
        while self._frames:
            try:
                self._outlet.send_signal(self._peer, self._frames[0])
            except Busy:
                return
            except TooLarge as error:
                log.error("a signal to %s was lost: %s", self._peer, error)
            self._size_bytes -= len(self._frames.popleft())
