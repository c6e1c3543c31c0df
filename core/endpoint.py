"""This node as its links know it, and the account of its connections. One per `Links`, shared by its parts."""

import asyncio
import ssl
from dataclasses import dataclass, field

from .connection import Connection, ConnectionOwner, LinkCounters
from .frames import Lane
from .handshake import NONCE_BYTES, Acceptor, Dialer, Hello, Role
from .ident import RUN_BYTES, TOKEN_BYTES, Ident
from .link_config import LinkConfig
from .runtime import Runtime


@dataclass(slots=True)
class Endpoint:
    """Who this node is, what it uses, and which connections it has, from the first byte to the last."""

    runtime: Runtime
    name: str
    creation: int
    cookie: bytes
    config: LinkConfig
    features: frozenset[str] = frozenset()
    server_ssl: ssl.SSLContext | None = None
    client_ssl: ssl.SSLContext | None = None
    counters: LinkCounters = field(default_factory=LinkCounters)
    run: bytes = b""
    connections: dict[Connection, None] = field(default_factory=dict)  # in the order of their opening
    _nonces: dict[bytes, bool] = field(default_factory=dict)  # of dials in progress: has it come back to us?
    _dials: int = 0
    _none_left: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.run = self.runtime.entropy.token(RUN_BYTES)

    def ident(self, *, token: bytes = b"", attempt: int = 0, lost: bytes = b"") -> Ident:
        return Ident(
            name=self.name,
            creation=self.creation,
            run=self.run,
            features=self.features,
            control_limit_bytes=self.config.control_frame_limit_bytes,
            signal_limit_bytes=self.config.signal_frame_limit_bytes,
            token=token,
            attempt=attempt,
            lost=lost,
        )

    def new_token(self) -> bytes:
        return self.runtime.entropy.token(TOKEN_BYTES)

    def new_attempt(self) -> int:
        self._dials += 1
        return self._dials

    def accepted(self, owner: ConnectionOwner) -> Connection:
        """The protocol of a connection that was accepted."""
        handshake = Acceptor(
            nonce=self.runtime.entropy.token(NONCE_BYTES),
            ident=self.ident(),
            cookie=self.cookie,
            deadline=self.runtime.clock.monotonic() + self.config.handshake_s,
            reflected=self._reflected,
        )
        return self._connection(handshake, owner)

    def dialled(self, owner: ConnectionOwner, lane: Lane, role: Role) -> Connection:
        """The protocol of a connection that is made here. The caller drops its nonce by `forget_dial`."""
        hello = Hello(role, lane, self.runtime.entropy.token(NONCE_BYTES))
        self._nonces[hello.nonce] = False
        deadline = self.runtime.clock.monotonic() + self.config.handshake_s
        return self._connection(Dialer(hello=hello, cookie=self.cookie, deadline=deadline), owner)

    def forget_dial(self, connection: Connection) -> None:
        assert isinstance(connection.handshake, Dialer)
        self._nonces.pop(connection.handshake.hello.nonce, None)

    def came_back(self, connection: Connection) -> bool:
        """The hello of this dial arrived at this node itself: the address is our own, or somebody leads it back."""
        assert isinstance(connection.handshake, Dialer)
        return self._nonces.get(connection.handshake.hello.nonce, False)

    def _reflected(self, nonce: bytes) -> bool:
        if nonce not in self._nonces:
            return False
        self._nonces[nonce] = True
        return True

    def _connection(self, handshake: Acceptor | Dialer, owner: ConnectionOwner) -> Connection:
        return Connection(handshake, owner, self.runtime.clock, self.counters, close_s=self.config.close_s)

    def opened(self, connection: Connection) -> None:
        self.connections[connection] = None

    def closed(self, connection: Connection) -> None:
        self.connections.pop(connection, None)
        if not self.connections:
            self._none_left.set()

    async def all_closed(self) -> None:
        """Return when no connection is left."""
        while self.connections:
            self._none_left.clear()
            await self._none_left.wait()
