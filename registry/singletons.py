"""The singletons of the cluster, as one node sees and serves them.

    singletons = Singletons(node, store, disk=disk)
    await singletons.start()
    ledger = await singletons.get(Name(Ledger, "billing/ledger"))     # Ref[Ledger]: starts or finds it
    balance = await ledger.call(Ledger.post, 10)                      # follows the owner wherever it moves
    report = await singletons.drain(10.0)
    await singletons.stop()

This shell puts the parts together: `book` (what the store says), `controller` (who should have what), `host` (what runs
here), `router` (where messages go), all inside one `post`. It is the authority over this node's member record.
"""

import asyncio
import logging
from dataclasses import dataclass
from typing import Any, TypeVar

from quorate.consensus import Get, Put, SessionLost, Store, StoreError, absent, unchanged
from quorate.core import Disk, Node, Pid, Ref, Timer, sleep, timeout

from .book import Book
from .controller import Controller
from .delivery import Bounce, Flushed, Lost
from .errors import NotASingleton, SingletonConflict, SingletonError
from .host import Host, HostConfig
from .keys import WANTS, encode_name
from .letters import Answer
from .members import Member, encode_member, member_key
from .names import Name, term_of
from .ownership import Own
from .parking import Parking
from .placement import MAX_MOVES, SETTLE_S
from .post import Post
from .records import Want, decode_want, encode_want
from .router import Router
from .singleton import Singleton

log = logging.getLogger("quorate.registry")

S = TypeVar("S", bound=Singleton[Any])
TICK_S = 0.5
RETRY_S = 0.2


@dataclass(frozen=True, slots=True)
class SingletonStatus:
    """One singleton: where it is assigned to, and who owns it since which fence. `phase` is this node's part in it."""

    name: object
    kind: str
    pin: str | None
    assigned: str | None
    owner: str | None
    fence: int
    phase: str


@dataclass(frozen=True, slots=True)
class DrainReport:
    """What became of a drain: how many were handed over, and the names that were not (parked, or given up)."""

    handed_over: int
    left: tuple[object, ...]


class Singletons:
    """See the module. Made on the loop of an open node."""

    def __init__(
        self,
        node: Node,
        store: Store,
        *,
        disk: Disk | None = None,
        weight: float = 1.0,
        config: HostConfig | None = None,
        max_moves: int = MAX_MOVES,
        settle_s: float = SETTLE_S,
    ) -> None:
        self._node = node
        self._store = store
        self._clock = node.runtime.clock
        self._codec = node.kernel.codec
        self._weight = weight
        self._draining = False
        self._post = Post(node, self)
        self._book = Book(store, self._codec, self)
        self._parking = Parking(disk)
        self._host = Host(
            node,
            store,
            self._book,
            self._post,
            self._parking,
            config or HostConfig(),
            self._ownership_changed,
        )
        self._router = Router(node, store, self._book, self._post)
        self._controller = Controller(
            node, store, self._book, self._post, max_moves=max_moves, settle_s=settle_s
        )
        self._session_watch = store.session.subscribe(self._session_changed)
        self._leader_watch = store.subscribe_leader(lambda leader: self._controller.changed())
        self._written: tuple[int, Member] | None = None
        self._writing = False
        self._tick_timer: Timer | None = None
        self._changed = asyncio.Event()

    # For users

    async def start(self) -> None:
        """Take part: run what is assigned to this node, and offer what is parked here."""
        self._post.enter(self._book.open)
        if self._store.session.id:
            self._session_changed(self._store.session.id, True)
        self._tick()

    async def get(self, name: Name[S], *, pin: str | None = None, timeout_s: float | None = None) -> Ref[S]:
        """A reference to the singleton, which from now on the cluster keeps running.

        The reference is good before the singleton runs: messages wait for it. (To monitor it says nothing: it names this
        node's way to the singleton, which stays.) `pin` is the node where it should be
        while that lives. Raises `NotASingleton`, `SingletonConflict` (the name is in use for another class),
        `NoQuorum`, `OutcomeUnknown`.
        """
        kind, key = self._kind_of(name), encode_name(name.key)
        known = self._book.wants.get(key)
        if known is None or known.kind != kind or (pin is not None and known.pin != pin):
            await self._want(key, Want(kind, name.key, pin), timeout_s)
        return Ref(self._node.kernel, self._router.line(key).proxy)

    async def move(self, name: object, node: str | None, *, timeout_s: float | None = None) -> None:
        """Pin a singleton to a node, to which it moves when that lives; None: back to where the ring says.

        Returns when the store has it, not when the singleton has moved. Raises `SingletonError` for a name that
        nobody wants, `NoQuorum`, `OutcomeUnknown`.
        """
        key = encode_name(term_of(name))
        while True:
            item = await self._store.get(WANTS + key, timeout_s=timeout_s)
            if item is None:
                raise SingletonError(f"there is no singleton {term_of(name)!r}: get() it first")
            want = decode_want(self._codec, item)
            value = encode_want(self._codec, Want(want.kind, want.key, node))
            guard = unchanged(WANTS + key, item.mod_revision)
            if (await self._store.txn([guard], [Put(WANTS + key, value)], timeout_s=timeout_s)).succeeded:
                return

    def status(self) -> list[SingletonStatus]:
        """All singletons that this node knows of."""
        book = self._book
        found = []
        for name, want in sorted(book.wants.items()):
            own, keeper = book.owners.get(name), self._host.keepers.get(name)
            found.append(
                SingletonStatus(
                    name=want.key,
                    kind=want.kind,
                    pin=want.pin,
                    assigned=book.places.get(name, (None, 0))[0],
                    owner=own.node if own is not None else None,
                    fence=own.fence if own is not None else 0,
                    phase=keeper.machine.phase.value if keeper is not None else "idle",
                )
            )
        return found

    def members(self) -> list[Member]:
        """The nodes whose session lives, as this node last knew."""
        return sorted(self._book.members.values(), key=lambda member: member.node)

    def parked(self) -> int:
        """How many states are parked here for want of a living owner."""
        return len(self._parking)

    async def drain(self, deadline_s: float) -> DrainReport:
        """Hand over everything that runs here, and take nothing any more. Needs a quorum and another node.

        What is not handed over within `deadline_s` seconds is given up with its state as the checkpoint, or parked.
        """
        before = len(self._host.owned())
        self._draining = True
        self._post.enter(self._write_member)
        await self._until(self._empty, deadline_s)
        left = tuple(keeper.term for keeper in self._host.owned())
        await self._give_up()
        return DrainReport(max(0, before - len(left)), left)

    async def stop(self) -> None:
        """Give up what runs here (its state becomes the checkpoint, or is parked), and take part no more."""
        await self._give_up()
        if self._tick_timer is not None:
            self._tick_timer.cancel()
        self._session_watch.cancel()
        self._leader_watch.cancel()
        self._book.close()
        self._controller.close()
        self._router.close()
        await self._post.close()

    # What the parts tell (see `Reader` and `BookReader`)

    def letter(self, name: bytes, item: object) -> None:
        if isinstance(item, Bounce | Flushed | Lost | Answer):
            self._router.letter(name, item)
        else:
            self._host.letter(name, item)

    def host_down(self, host: Pid) -> None:
        self._host.host_down(host)
        self._router.host_down(host)

    def node_up(self, node: str, creation: int) -> None:
        self._router.node_up(node, creation)

    def want_changed(self, name: bytes) -> None:
        self._controller.changed()

    def place_changed(self, name: bytes) -> None:
        self._post.enter(self._host.place_changed, name)
        self._controller.changed()

    def owner_changed(self, name: bytes, own: Own | None, revision: int) -> None:
        self._post.enter(self._host.owner_changed, name, own, revision)
        self._post.enter(self._router.owner_changed, name, own, revision)
        self._controller.changed()

    def members_changed(self) -> None:
        self._controller.members_changed()

    def _session_changed(self, session: int, opened: bool) -> None:
        self._post.enter(self._host.session_changed, session, opened)
        if opened:
            self._post.enter(self._write_member)

    def _ownership_changed(self) -> None:
        self._changed.set()

    def _tick(self) -> None:
        self._tick_timer = self._clock.call_later(TICK_S, self._tick)
        self._book.tick()
        self._post.enter(self._host.tick)
        self._post.enter(self._router.tick)
        self._post.enter(self._write_member)
        self._controller.tick()
        self._changed.set()

    # Inside

    def _kind_of(self, name: Name[S]) -> str:
        kind = name.kind if isinstance(name, Name) else None
        if not (isinstance(kind, type) and issubclass(kind, Singleton)):
            raise NotASingleton(f"{name!r} is no Name(kind, key) with a Singleton class as its kind")
        self._node.exports.export(kind)
        self._post.enter(self._write_member)
        return self._node.exports.name_of(kind)

    async def _want(self, key: bytes, want: Want, timeout_s: float | None) -> None:
        value = encode_want(self._codec, want)
        result = await self._store.txn(
            [absent(WANTS + key)], [Put(WANTS + key, value)], [Get(WANTS + key)], timeout_s=timeout_s
        )
        item = result.results[0]
        if result.succeeded or item is None:
            return
        known = decode_want(self._codec, item)
        if known.kind != want.kind:
            raise SingletonConflict(f"the singleton {want.key!r} is a {known.kind}, not a {want.kind}")
        if want.pin is not None and known.pin != want.pin:
            await self.move(want.key, want.pin, timeout_s=timeout_s)

    def _member(self) -> Member:
        node = self._node
        return Member(
            node.name, node.creation, self._post.pid, self._weight, self._draining, self._host.kinds()
        )

    def _write_member(self) -> None:
        """See to it that the store has this node's record as it should be, in its present session."""
        session = self._store.session.id
        if session and not self._writing and self._written != (session, self._member()):
            self._writing = True
            self._post.task(self._put_member())

    async def _put_member(self) -> None:
        try:
            while True:
                session, member = self._store.session.id, self._member()
                if not session or self._written == (session, member):
                    return
                try:
                    value = encode_member(self._codec, member)
                    await self._store.txn([], [Put(member_key(member.node), value, session)])
                    self._written = (session, member)
                except SessionLost:
                    continue
                except StoreError as error:
                    log.info("the member record of %s is not written yet: %s", member.node, error)
                    await sleep(self._clock, RETRY_S)
        finally:
            self._writing = False

    def _empty(self) -> bool:
        """Nothing runs here, and nothing that was sent here can still have to be forwarded."""
        return not self._host.owned() and not any(keeper.routers for keeper in self._host.keepers.values())

    async def _give_up(self) -> None:
        self._post.enter(self._host.close)
        limit_s = 2 * self._host.config.drain_s + self._host.config.park_s
        await self._until(lambda: not self._host.owned(), limit_s)

    async def _until(self, done: Any, limit_s: float) -> None:
        try:
            async with timeout(self._clock, limit_s):
                while not done():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return
