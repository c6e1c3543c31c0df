"""The links of one node: who is connected, who is to be, and what goes to and fro.

`Links` is the authority over a node's connections; `connected()` is the truth about them on this node. It puts
together the halves that make links (`dialing.py`, `accepting.py`) by the rules of `admission.py`, keeps those that
are up, spreads the names of the nodes it has met, and tells a `LinkListener`, always on the loop and in this
order per peer: `link_up`, any number of `received`, `link_down`.

What must never happen here: the `link_down` of an earlier incarnation after the `link_up` of a later one, or a
frame of an incarnation outside of its up and down.
"""

import asyncio
import errno
import logging
import ssl
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

from .accepting import Accepting
from .address import NodeName, parse_seed
from .admin import AdminSession
from .codec import pack, unpack
from .connection import Connection, LinkCounters
from .dialing import Dialing
from .discovery import Discovery
from .endpoint import Endpoint
from .errors import ConfigError, DecodeError, LinkError
from .frames import Channel
from .handshake import Refusal
from .ident import Ident
from .link import Link, Peer
from .link_config import LinkConfig
from .runtime import Runtime, Server
from .slots import Slot, Slots
from .timers import sleep, timeout

log = logging.getLogger("quorate.links")

_NAMES_LIMIT = 4096  # of nodes that others told of


class LinkListener(Protocol):
    """Who is told. All but `admin` are plain calls on the loop and must not block; they may call `Links` back."""

    def link_up(self, peer: Peer) -> None:
        """A link was made; `send` to this peer works from here on."""
        ...

    def link_down(self, peer: Peer, reason: str) -> None:
        """That link, told by `peer.incarnation`, is over. The peer may be well: nothing is known of it."""
        ...

    def received(self, peer: Peer, channel: Channel, payload: bytes | memoryview) -> None:
        """One message, in the order sent within its lane."""
        ...

    async def admin(self, op: str, args: object) -> object:
        """A request of a command-line client that has proven the cookie. What it raises goes back as text."""
        ...


class Links:
    """All links of the node `name`, which says where it listens.

    `creation` tells this life of the node from earlier ones: it must grow at each start. `cookie` is the shared
    secret. `seeds` are peers to dial at first (`app@host:port` or `host:port`); more are learned from them, from
    `discovery` and by `connect`, and each is dialled for ever, whenever it is not linked. With `server_ssl` and
    `client_ssl` all connections are TLS. Raises `ConfigError` for names that are none.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        name: str,
        creation: int,
        cookie: bytes,
        listener: LinkListener,
        seeds: Sequence[str] = (),
        config: LinkConfig | None = None,
        features: frozenset[str] = frozenset(),
        discovery: Discovery | None = None,
        server_ssl: ssl.SSLContext | None = None,
        client_ssl: ssl.SSLContext | None = None,
    ) -> None:
        self._name = NodeName.parse(name)
        if not cookie:
            raise ConfigError("the cookie is empty: give all nodes of the cluster the same secret")
        self._endpoint = Endpoint(
            runtime=runtime,
            name=name,
            creation=creation,
            cookie=cookie,
            config=config or LinkConfig(),
            features=features,
            server_ssl=server_ssl,
            client_ssl=client_ssl,
        )
        self._listener = listener
        self._discovery = discovery
        self._slots = Slots(self._slot_freed)
        self._dialing = Dialing(self._endpoint, self._slots, self)
        self._accepting = Accepting(self._endpoint, self._slots, self)
        self._met: set[str] = set()  # names that had a link here, to tell others
        self._unwanted: set[str] = set()
        self._clients: dict[AdminSession, None] = {}  # in the order in which they came
        self._incarnation = 0
        self._stopping = False
        self._server: Server | None = None
        self._discovering: asyncio.Task[None] | None = None
        for seed in seeds:
            self._dialing.add(*parse_seed(seed))

    @property
    def name(self) -> str:
        return self._endpoint.name

    @property
    def counters(self) -> LinkCounters:
        """What was counted since the start; read only."""
        return self._endpoint.counters

    # -- life ----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen, and begin to dial. Raises `LinkError` when the address cannot be listened on."""
        host = self._endpoint.config.listen_host or self._name.host
        try:
            self._server = await self._endpoint.runtime.network.create_server(
                self._accepting.protocol, host, self._name.port, ssl_context=self._endpoint.server_ssl
            )
        except OSError as error:
            raise LinkError(self._cannot_listen(host, error)) from error
        self._dialing.start()
        if self._discovery is not None:
            self._discovering = asyncio.get_running_loop().create_task(
                self._discover(self._discovery), name="quorate discovery"
            )

    async def stop(self) -> None:
        """Tell the peers, let what was sent leave (within `close_s`), and close everything. `link_down` for each."""
        if self._stopping:
            return
        self._stopping = True
        reason = f"{self.name} is stopping"
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
        if self._discovering is not None:
            self._discovering.cancel()
            await asyncio.gather(self._discovering, return_exceptions=True)
        await self._dialing.stop()
        for link in self._slots.links():
            self.evict(link.peer.name, reason)
        self._accepting.close(reason)
        clients = list(self._clients)
        for client in clients:
            client.close(reason)
        for client in clients:
            await client.finished()
        for connection in list(self._endpoint.connections):
            connection.close(reason)
        await self._endpoint.all_closed()

    def _cannot_listen(self, host: str, error: OSError) -> str:
        where = f"{self.name} cannot listen on {host}, port {self._name.port}"
        if error.errno == errno.EADDRINUSE:
            return (
                f"{where}: something else listens there. Stop it (`ss -ltnp 'sport = :{self._name.port}'` shows "
                "what it is), or give this node a name with another port"
            )
        if error.errno == errno.EACCES:
            return f"{where}: not allowed. Ports under 1024 need privileges; take a name with a higher port"
        return (
            f"{where}: {error.strerror or error}. The host of the name must be an address of this machine, or set "
            "listen_host (0.0.0.0, for example) beside it"
        )

    # -- what a node does ----------------------------------------------------------------------------------

    def connected(self) -> Mapping[str, Peer]:
        """The peers that are linked now, by name: a copy."""
        return MappingProxyType({link.peer.name: link.peer for link in self._slots.links()})

    def known(self) -> frozenset[str]:
        """Names of all nodes that were linked here since the start, up or not."""
        return frozenset(self._met)

    def open_connections(self) -> int:
        """TCP connections that exist now: two for each link, and those in their handshake or of clients."""
        return len(self._endpoint.connections)

    def problems(self) -> Mapping[str, LinkError]:
        """By address: why the last dial failed, for those that are dialled in vain now."""
        return {str(address): problem for address, problem in self._dialing.problems()}

    def send(self, peer: str, channel: Channel, payload: bytes) -> bool:
        """Send one message. True: it was queued for the link that is up (it may be lost with it).

        False: there is no link, or on the control lane too much waits already and the message is dropped and
        counted (its users, Raft above all, send again). On the signal lane that raises `Busy` instead, for the
        order of signals allows no gaps; `drained` waits for room. Raises `TooLarge` for a message over the limit of
        either node. All messages that are sent in one turn of the loop leave in one write per lane.
        """
        slot = self._slots.get(peer)
        if slot is None or slot.link is None:
            return False
        return slot.link.send(channel, payload)

    async def drained(self, peer: str) -> None:
        """Return when the signal lane to this peer has room for much more, or there is no link."""
        slot = self._slots.get(peer)
        if slot is not None and slot.link is not None:
            await slot.link.drained()

    def connect(self, peer_name: str) -> None:
        """Dial this peer now, and for ever whenever it is not linked. Raises `ConfigError` for a name that is none.

        Undoes `disconnect`.
        """
        name = NodeName.parse(peer_name)
        self._unwanted.discard(peer_name)
        target = self._dialing.add(name.address, peer_name)
        if target is not None:
            self._dialing.nudge(target)

    def disconnect(self, peer_name: str) -> None:
        """Close the link with this peer, dial it no more and refuse it, until `connect`."""
        self._unwanted.add(peer_name)
        self._dialing.remove(peer_name)
        self.evict(peer_name, f"{self.name} was told to disconnect")

    def evict(self, name: str, reason: str) -> None:
        """Close the link with this peer, or drop the attempt at one; it is made anew as after any other loss."""
        slot = self._slots.get(name)
        if slot is None:
            return
        if slot.link is None:
            self._slots.free(slot)
            slot.cancel(reason)
        else:
            slot.link.close(reason)
            self._down(slot, reason)

    # -- what the halves ask -------------------------------------------------------------------------------

    def refusal(self, name: str) -> Refusal | None:
        if self._stopping:
            return Refusal.DRAINING
        return Refusal.UNWANTED if name in self._unwanted else None

    def establish(self, slot: Slot, ident: Ident, control: Connection, signals: Connection) -> None:
        """Both lanes are through: the link is up."""
        endpoint = self._endpoint
        self._incarnation += 1
        peer = Peer(
            name=ident.name,
            creation=ident.creation,
            incarnation=self._incarnation,
            features=endpoint.features & ident.features,
            address=NodeName.parse(ident.name).address,
        )
        link = Link(
            peer,
            ident,
            (control, signals),
            self,
            endpoint.runtime.clock,
            endpoint.config,
            endpoint.counters,
        )
        self._slots.raise_up(slot, link)
        endpoint.counters.links_made += 1
        self._dialing.linked(peer)
        log.info("%s: link to %s is up (creation %d)", self.name, peer.name, peer.creation)
        self._tell("link_up", self._listener.link_up, peer)
        self._introduce(link)
        link.start()

    def client(self, connection: Connection) -> bool:
        if self._stopping or len(self._clients) >= self._endpoint.config.clients_limit:
            return False
        session = AdminSession(connection, self._endpoint, self._listener.admin, self._clients.pop)
        self._clients[session] = None
        session.start()
        return True

    # -- what a link tells ---------------------------------------------------------------------------------

    def link_received(self, link: Link, channel: Channel, payload: bytes) -> None:
        self._tell("received", self._listener.received, link.peer, channel, payload)

    def link_over(self, link: Link, reason: str) -> None:
        slot = self._slots.get(link.peer.name)
        if slot is not None and slot.link is link:
            self._down(slot, reason)

    def link_names(self, link: Link, payload: bytes) -> None:
        """Names of nodes that the peer has met: proposals, which are dialled. Nobody is ever removed by it."""
        try:
            names = unpack(payload)
        except DecodeError:
            names = None
        if not isinstance(names, list):
            log.warning("%s: %s sent a list of names that is none", self.name, link.peer.name)
            return
        for name in names[:_NAMES_LIMIT]:
            if isinstance(name, str) and name not in self._unwanted and len(self._dialing) < _NAMES_LIMIT:
                try:
                    self._dialing.add(NodeName.parse(name).address, name)
                except ConfigError as error:
                    log.warning("%s: %s told of a name that is none: %s", self.name, link.peer.name, error)

    # -- inside --------------------------------------------------------------------------------------------

    def _introduce(self, link: Link) -> None:
        """Tell the new peer whom we have met, and those we are linked to of the new peer, if it is new."""
        others = sorted(self._met - {link.peer.name})
        for start in range(0, len(others), 256):
            link.tell_names(pack(others[start : start + 256]))
        if link.peer.name not in self._met:
            self._met.add(link.peer.name)
            for other in self._slots.links():
                if other is not link:
                    other.tell_names(pack([link.peer.name]))

    def _down(self, slot: Slot, reason: str) -> None:
        link = slot.link
        assert link is not None
        self._slots.free(slot)
        self._endpoint.counters.links_lost += 1
        log.info("%s: link to %s is down: %s", self.name, link.peer.name, reason)
        self._tell("link_down", self._listener.link_down, link.peer, reason)

    def _slot_freed(self, slot: Slot) -> None:
        self._dialing.slot_freed(slot)

    def _tell(self, what: str, listener: Callable[..., None], *args: object) -> None:
        """Call the listener; a bug in it must not take a link down, nor other listeners' news."""
        try:
            listener(*args)
        except Exception:
            self._endpoint.counters.listener_errors += 1
            log.exception("%s: the listener's %s raised", self.name, what)

    async def _discover(self, discovery: Discovery) -> None:
        """Ask for peers again and again, and dial those that are new."""
        clock, config = self._endpoint.runtime.clock, self._endpoint.config
        while True:
            try:
                async with timeout(clock, config.discovery_s):
                    found = await discovery.peers()
                for text in sorted(found):
                    address, name = parse_seed(text)
                    if name is None or name not in self._unwanted:
                        self._dialing.add(address, name)
            except Exception as error:  # noqa: BLE001 -- a user's discovery; its failures are for the log
                log.warning(
                    "%s: discovery failed, and is asked again: %s", self.name, error or type(error).__name__
                )
            await sleep(clock, config.discovery_s)
