"""The singletons of one node: which run here, and what is kept for others.

The store is the authority over ownership; each `Keeper` follows it for one name. This shell makes keepers when they are
needed, tells them what happens, and offers parked state to living owners. What must never happen here: anything that
waits.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from quorate.consensus import Store
from quorate.core import Node, Pid, TooLarge, exported_servers

from .book import Book
from .keeper import Keeper
from .letters import Offer, Taken
from .ownership import Own
from .parking import Parking
from .post import Post
from .singleton import Singleton

log = logging.getLogger("quorate.registry")

FIRST_OFFER_S, MAX_OFFER_S = 1.0, 60.0


@dataclass(frozen=True, slots=True)
class HostConfig:
    """How patient a host is. All in seconds."""

    drain_s: float = 30.0  # for the message in progress, and for `hand_over`, before a move is called off
    prepare_s: float = 10.0  # for the target to say that it has the state
    park_s: float = 5.0  # for `hand_over` when the session is lost


class Host:
    """See the module. `changed` is called whenever something begins or ends to run here."""

    def __init__(
        self,
        node: Node,
        store: Store,
        book: Book,
        post: Post,
        parking: Parking,
        config: HostConfig,
        changed: Callable[[], object],
    ) -> None:
        self.node = node
        self.kernel = node.kernel
        self.codec = node.kernel.codec
        self.clock = node.runtime.clock
        self.store = store
        self.book = book
        self.post = post
        self.parking = parking
        self.config = config
        self.pid: Pid = post.pid
        self.keepers: dict[bytes, Keeper] = {}
        self.ownership_changed = changed
        self._session = 0
        self._offers: dict[
            bytes, tuple[float, float]
        ] = {}  # by name: when to offer next, the delay after that
        self._closing = False

    def now(self) -> float:
        return self.clock.monotonic()

    def kinds(self) -> frozenset[str]:
        """The exported names of the classes that can run here."""
        servers = exported_servers(self.node.exports)
        return frozenset(name for name, kind in servers.items() if issubclass(kind, Singleton))

    def runs(self, kind: str) -> bool:
        """Whether the class exported as `kind` can run here."""
        thing = self.node.exports.startable(kind)
        return isinstance(thing, type) and issubclass(thing, Singleton)

    def owned(self) -> list[Keeper]:
        """What runs here, or is about to."""
        return [keeper for keeper in self.keepers.values() if keeper.owned]

    # What happens

    def keeper(self, name: bytes) -> Keeper:
        """The keeper of a name; a new one is told what is known."""
        keeper = self.keepers.get(name)
        if keeper is None:
            keeper = self.keepers[name] = Keeper(self, name)
            own = self.book.owners.get(name)
            if self._closing:
                keeper.close()
            keeper.owner_changed(own, own.fence if own is not None else 0)
            keeper.learned(self.book.known_revision)
            keeper.place_changed()
            if self._session:
                keeper.session_opened(self._session)
        return keeper

    def owner_changed(self, name: bytes, own: Own | None, revision: int) -> None:
        keeper = self.keepers.get(name)
        if keeper is not None:
            keeper.owner_changed(own, revision)
        elif own is not None and own.host == self.pid:
            self.keeper(name)
        self._offers.pop(name, None)  # a new owner may take what another one would not

    def place_changed(self, name: bytes) -> None:
        keeper = self.keepers.get(name)
        if keeper is not None:
            keeper.place_changed()
        else:
            where, _ = self.book.place(name)
            if where is not None and where.host == self.pid:
                self.keeper(name)

    def session_changed(self, session: int, opened: bool) -> None:
        self._session = session if opened else 0
        for keeper in list(self.keepers.values()):
            if opened:
                keeper.session_opened(session)
            else:
                keeper.session_lost(session)

    def host_down(self, host: Pid) -> None:
        for keeper in list(self.keepers.values()):
            keeper.host_down(host)

    def letter(self, name: bytes, item: object) -> None:
        if isinstance(item, Taken):
            self.post.task(self.parking.let_go(name, item.fence))
        else:
            self.keeper(name).letter(item)

    def tick(self) -> None:
        """Now and then."""
        for keeper in self.keepers.values():
            if keeper.delivery.waiting:
                keeper.learned(self.book.known_revision)
        now = self.now()
        for name in self.parking.names():
            due, delay_s = self._offers.get(name, (now, FIRST_OFFER_S))
            if now >= due and self._offer(name):
                self._offers[name] = (now + delay_s, min(MAX_OFFER_S, delay_s * 2))

    def close(self) -> None:
        """Acquire nothing any more, and give up what runs."""
        self._closing = True
        for keeper in list(self.keepers.values()):
            keeper.close()

    # Parked state

    def _offer(self, name: bytes) -> bool:
        """Offer what is parked here to whoever owns the singleton now; False: that cannot be done yet."""
        own = self.book.owners.get(name)
        if own is None or not self._session or not self.post.reachable(own.host):
            return False
        for parked in self.parking.of(name):
            if own.fence > parked.fence:
                try:
                    self.post.send(own.host, name, Offer(self.pid, parked.node, parked.fence, parked.data))
                except TooLarge as error:
                    log.error("parked state of %r is too large to be offered: %s", name, error)
        return True
