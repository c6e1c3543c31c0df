"""Requests of command-line clients: the frames both sides use, and the node's side.

    REQUEST  msgpack [id, operation, arguments]
    REPLY    msgpack [id, True, result]  or  [id, False, type of error, message]

Only plain values travel: None, booleans, numbers, text, bytes, lists and maps. A client is authenticated by the
cookie like a node, but it is no peer: it has one connection, and nobody is told of it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from .codec import pack, unpack
from .connection import Connection
from .endpoint import Endpoint
from .errors import DecodeError, EncodeError
from .frames import Internal
from .runtime import Timer

log = logging.getLogger("quorate.links")

_REQUESTS_LIMIT = 64  # of one client, at once


def encode_request(number: int, op: str, args: object) -> bytes:
    """Raises `EncodeError` for what is not a plain value."""
    return _pack([number, op, args], f"the arguments of {op!r}")


def decode_request(payload: bytes) -> tuple[int, str, object]:
    """Raises `DecodeError`."""
    match unpack(payload):
        case [int(number), str(op), args]:
            return number, op, args
    raise DecodeError("no request: [id, operation, arguments] was expected")


def encode_reply(number: int, result: object) -> bytes:
    """Raises `EncodeError` for what is not a plain value."""
    return _pack([number, True, result], "the result")


def encode_error(number: int, error: BaseException) -> bytes:
    return _pack([number, False, type(error).__name__, str(error)], "the error")


def decode_reply(payload: bytes) -> tuple[int, bool, object, str]:
    """Return (id, True, result, "") or (id, False, type of error, message). Raises `DecodeError`."""
    match unpack(payload):
        case [int(number), True, result]:
            return number, True, result, ""
        case [int(number), False, str(kind), str(text)]:
            return number, False, kind, text
    raise DecodeError("no reply: [id, True, result] or [id, False, type, message] was expected")


def _pack(value: object, what: str) -> bytes:
    try:
        return pack(value)
    except EncodeError as error:
        raise EncodeError(f"{what} cannot travel to or from a client: {error}") from error


class AdminSession:
    """One client at the node: runs its requests, several at once, and closes it when it asks nothing for long."""

    def __init__(
        self,
        connection: Connection,
        endpoint: Endpoint,
        handler: Callable[[str, object], Awaitable[object]],
        ended: Callable[["AdminSession"], None],
    ) -> None:
        self._connection = connection
        self._endpoint = endpoint
        self._handler = handler
        self._ended = ended
        self._tasks: dict[asyncio.Task[None], None] = {}  # in the order in which they began
        self._idle: Timer | None = None
        self._over = False

    def start(self) -> None:
        self._wait_idle()
        self._connection.attach(self, frame_limit_bytes=self._endpoint.config.control_frame_limit_bytes)

    def frame(self, connection: Connection, channel: int, payload: bytes) -> None:
        if channel != Internal.REQUEST:
            self.close("the client sent something that is no request")
            return
        try:
            number, op, args = decode_request(payload)
        except DecodeError as error:
            self.close(str(error))
            return
        if len(self._tasks) >= _REQUESTS_LIMIT:
            self.close("the client asks too much at once")
            return
        self._stop_idle()
        task = asyncio.get_running_loop().create_task(
            self._answer(number, op, args), name=f"quorate admin {op[:40]}"
        )
        self._tasks[task] = None
        task.add_done_callback(self._answered)

    def lane_over(self, connection: Connection, reason: str) -> None:
        self.close(reason)

    def close(self, reason: str) -> None:
        if self._over:
            return
        self._over = True
        self._stop_idle()
        for task in self._tasks:
            task.cancel()
        self._connection.close(reason)
        self._ended(self)

    async def finished(self) -> None:
        """Return when no request runs any more; `close` first."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _answer(self, number: int, op: str, args: object) -> None:
        try:
            reply = encode_reply(number, await self._handler(op, args))
        except Exception as error:
            log.debug("%s: request %r of a client failed", self._endpoint.name, op, exc_info=True)
            reply = encode_error(number, error)
        limit = self._endpoint.config.control_frame_limit_bytes
        if len(reply) > limit:
            reply = encode_error(
                number, EncodeError(f"the result of {len(reply)} bytes is over the limit of {limit}")
            )
        self._connection.send(Internal.REPLY, reply)

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        if not self._tasks and not self._over:
            self._wait_idle()

    def _wait_idle(self) -> None:
        self._stop_idle()
        self._idle = self._endpoint.runtime.clock.call_later(
            self._endpoint.config.client_idle_s, self.close, "the client asked nothing for long"
        )

    def _stop_idle(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
