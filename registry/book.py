"""What a node knows of singletons: the store's records, decoded, kept up to date by watches.

A cache: the store is the authority. `own_revision` of a name grows with each change of its owner that was seen.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, TypeVar

from quorate.consensus import Event, KeyValue, Store
from quorate.core import Codec, DecodeError

from .keys import ASSIGNMENTS, MEMBERS, OWNERS, WANTS
from .members import Member, decode_member
from .ownership import Own, Target
from .records import Want, decode_assignment, decode_own, decode_want

log = logging.getLogger("quorate.registry")

T = TypeVar("T")


class BookReader(Protocol):
    """Who is told of changes; the book has them already."""

    def want_changed(self, name: bytes) -> None: ...

    def place_changed(self, name: bytes) -> None:
        """The assignment of a name, or what is known of the node it is assigned to."""
        ...

    def owner_changed(self, name: bytes, own: Own | None, revision: int) -> None: ...

    def members_changed(self) -> None: ...


class Book:
    """The records as this node last knew them. `open` reads what there is, then follows."""

    def __init__(self, store: Store, codec: Codec, reader: BookReader) -> None:
        self.wants: dict[bytes, Want] = {}
        self.places: dict[bytes, tuple[str, int]] = {}  # node and revision
        self.owners: dict[bytes, Own] = {}
        self.members: dict[str, Member] = {}
        self.known_revision = 0  # all changes of owners up to here have been told
        self._store = store
        self._codec = codec
        self._reader = reader
        self._next_known = 0
        self._watches = [
            store.watch(WANTS, partial(self._each, self._want)),
            store.watch(MEMBERS, partial(self._each, self._member)),
            store.watch(ASSIGNMENTS, partial(self._each, self._place)),
            store.watch(OWNERS, partial(self._each, self._owner)),
        ]

    def open(self) -> None:
        """Take in, and tell, what the store's copy on this node holds already."""
        takes = (
            (WANTS, self._want),
            (MEMBERS, self._member),
            (ASSIGNMENTS, self._place),
            (OWNERS, self._owner),
        )
        for prefix, take in takes:
            for item in self._store.peek_range(prefix).value:
                take(item.key, item, item.mod_revision)

    def close(self) -> None:
        for watch in self._watches:
            watch.cancel()

    def tick(self) -> None:
        """Now and then: what the store's copy had reached the last time, has been told by now."""
        self.known_revision = max(self.known_revision, self._next_known)
        self._next_known = self._store.status().revision

    def place(self, name: bytes) -> tuple[Target | None, int]:
        """Where a singleton is assigned to, with the host there if that node lives; and since which revision."""
        node, revision = self.places.get(name, (None, 0))
        if node is None:
            return None, revision
        member = self.members.get(node)
        return Target(node, member.host if member is not None else None), revision

    def _each(self, take: Callable[[bytes, KeyValue | None, int], None], events: Sequence[Event]) -> None:
        for event in events:
            take(event.key, event.now, event.revision)

    def _read(self, decode: Callable[[Codec, KeyValue], T], item: KeyValue | None) -> T | None:
        if item is None:
            return None
        try:
            return decode(self._codec, item)
        except DecodeError as error:
            log.error("a record of singletons cannot be read here: %s", error)
            return None

    def _want(self, key: bytes, item: KeyValue | None, revision: int) -> None:
        name = key[len(WANTS) :]
        _set(self.wants, name, self._read(decode_want, item))
        self._reader.want_changed(name)

    def _place(self, key: bytes, item: KeyValue | None, revision: int) -> None:
        name = key[len(ASSIGNMENTS) :]
        node = self._read(decode_assignment, item)
        _set(self.places, name, None if node is None else (node, revision))
        self._reader.place_changed(name)

    def _owner(self, key: bytes, item: KeyValue | None, revision: int) -> None:
        name = key[len(OWNERS) :]
        own = self._read(decode_own, item)
        _set(self.owners, name, own)
        self._reader.owner_changed(name, own, revision)

    def _member(self, key: bytes, item: KeyValue | None, revision: int) -> None:
        node = key[len(MEMBERS) :].decode(errors="replace")
        before, now = self.members.get(node), self._read(decode_member, item)
        _set(self.members, node, now)
        if before != now:
            self._reader.members_changed()
        if (before and before.host) != (now and now.host):
            for name in [name for name, (where, _) in self.places.items() if where == node]:
                self._reader.place_changed(name)


K = TypeVar("K")


def _set(table: dict[K, T], key: K, value: T | None) -> None:
    if value is None:
        table.pop(key, None)
    else:
        table[key] = value
