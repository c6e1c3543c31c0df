"""A command-line client: dials one node, proves the cookie, asks, and is answered.

    async with AdminClient(runtime, "a@127.0.0.1:9101", cookie) as client:
        status = await client.request("status")

It is no node: it has no name, nobody is told of it, and it takes one connection. When not to use it: between
nodes, whose processes have calls for that. It owns its connection; requests are independent of one another, and a
request whose answer did not come may or may not have been carried out.
"""

import asyncio
import ssl
from types import TracebackType
from typing import Self

from .address import parse_seed
from .admin import decode_reply, encode_request
from .connection import Connection
from .dialing import Abandoned, LaneDial, connect_error
from .endpoint import Endpoint
from .errors import CallTimeout, DecodeError, HandshakeFailed, LinkError, RemoteError, TooLarge
from .frames import Internal, Lane
from .handshake import Role
from .link_config import LinkConfig
from .runtime import Runtime
from .timers import timeout

_NAME = "client"


class AdminClient:
    """One connection to the node at `address` (`app@host:port` or `host:port`). Use it as a context manager.

    `timeout_s` bounds the connecting, and each request that sets no bound of its own. Raises `ConfigError` for an
    address that is none.
    """

    def __init__(
        self,
        runtime: Runtime,
        address: str,
        cookie: bytes,
        *,
        timeout_s: float = 5.0,
        client_ssl: ssl.SSLContext | None = None,
    ) -> None:
        self._runtime = runtime
        self._address, self._expected = parse_seed(address)
        self._timeout_s = timeout_s
        self._endpoint = Endpoint(
            runtime=runtime,
            name=_NAME,
            creation=0,
            cookie=cookie,
            config=LinkConfig(handshake_s=timeout_s),
            client_ssl=client_ssl,
        )
        self._connection: Connection | None = None
        self._limit_bytes = 0
        self._requests = 0
        self._waiting: dict[int, asyncio.Future[tuple[bool, object, str]]] = {}
        self._over: str | None = None
        self.node = ""

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def connect(self) -> None:
        """Dial. Afterwards `node` is the name of the node.

        Raises `LinkError` (nobody listens), `CookieMismatch`, `VersionMismatch`, `HandshakeFailed` (no answer, or
        somebody else answers).
        """
        dial = LaneDial(self._endpoint, self._address, Lane.CONTROL, Role.CLIENT)
        try:
            async with timeout(self._runtime.clock, self._timeout_s):
                ident = await dial.identified()
                if self._expected is not None and ident.name != self._expected:
                    raise HandshakeFailed(f"{self._address} answers as {ident.name}, not as {self._expected}")
                await dial.opened(self._endpoint.ident())
        except TimeoutError as error:
            raise HandshakeFailed(f"{self._address} did not answer within {self._timeout_s:g} s") from error
        except (OSError, UnicodeError) as error:
            raise connect_error(self._address, error) from error
        except Abandoned as error:
            raise HandshakeFailed(f"the handshake with {self._address} failed: {error}") from error
        else:
            self.node = ident.name
            self._limit_bytes = ident.control_limit_bytes
            self._connection = dial.connection
            self._connection.attach(self, frame_limit_bytes=self._endpoint.config.signal_frame_limit_bytes)
        finally:
            dial.forget()
            if self._connection is None:
                dial.connection.abort("the dial was given up")
                await self._endpoint.all_closed()

    async def request(self, op: str, args: object = None, *, timeout_s: float | None = None) -> object:
        """Ask for `op` with plain values as `args`, and return the plain value that is the answer.

        Raises `RemoteError` (the node's own error, with its message), `CallTimeout`, `LinkError` (the connection
        was lost), `EncodeError`, `TooLarge`.
        """
        if self._connection is None:
            raise LinkError("the client is not connected: use `async with`, or await connect() first")
        self._requests += 1
        number = self._requests
        payload = encode_request(number, op, args)
        if len(payload) > self._limit_bytes:
            raise TooLarge(
                f"the request of {len(payload)} bytes is over the limit of {self._limit_bytes} of {self.node}",
                size_bytes=len(payload),
                limit_bytes=self._limit_bytes,
            )
        if self._over is not None:
            raise LinkError(f"the connection to {self.node} is over: {self._over}")
        bound_s = self._timeout_s if timeout_s is None else timeout_s
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            self._connection.send(Internal.REQUEST, payload)
            async with timeout(self._runtime.clock, bound_s):
                succeeded, result, text = await answer
        except TimeoutError as error:
            raise CallTimeout(f"{self.node} gave no answer to {op!r} within {bound_s:g} s") from error
        finally:
            del self._waiting[number]
        if not succeeded:
            raise RemoteError(str(result), text)
        return result

    async def close(self) -> None:
        """Close the connection; requests that wait fail with `LinkError`."""
        self._end("the client closed it")
        await self._endpoint.all_closed()

    # -- the connection's side -----------------------------------------------------------------------------

    def frame(self, connection: Connection, channel: int, payload: bytes) -> None:
        if channel != Internal.REPLY:
            return
        try:
            number, succeeded, result, text = decode_reply(payload)
        except DecodeError as error:
            self._end(f"the node sent no reply: {error}")
            return
        answer = self._waiting.get(number)
        if answer is not None and not answer.done():
            answer.set_result((succeeded, result, text))

    def lane_over(self, connection: Connection, reason: str) -> None:
        self._end(reason)

    def _end(self, reason: str) -> None:
        if self._over is not None:
            return
        self._over = reason
        if self._connection is not None:
            self._connection.close(reason)
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(LinkError(f"the connection to {self.node} was lost: {reason}"))
