"""Keys in memory: a dictionary for look-ups, and their order on demand for ranges.

Owned by whoever holds it: `StoreMachine` its replica's keys, `MemoryStore` its node's view. Nothing here
gives out revisions or decides anything; a `KeyValue` once stored is never altered.

Order is kept lazily, so that an insertion costs one set operation however many keys there are: new keys wait
in a set until somebody asks for a range, removed ones stay in the sorted list until they are many.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from .store import KeyValue

INSORT_LIMIT = 32  # so many new keys are inserted one by one, a memmove each; more are merged by a sort


class KeySpace:
    """Keys and what they hold, with ranges by prefix."""

    __slots__ = ("_items", "_order", "_removed", "_unsorted")

    def __init__(self, items: Iterable[KeyValue] = ()) -> None:
        self._items: dict[bytes, KeyValue] = {item.key: item for item in items}
        self._order = sorted(self._items)
        self._unsorted: set[bytes] = set()  # in _items, not yet in _order
        self._removed: set[bytes] = set()  # in _order, no longer in _items

    def __len__(self) -> int:
        return len(self._items)

    def get(self, key: bytes) -> KeyValue | None:
        return self._items.get(key)

    def view(self) -> Mapping[bytes, KeyValue]:
        """All keys, read-only and live, in no order that means anything."""
        return MappingProxyType(self._items)

    def put(self, item: KeyValue) -> None:
        """Store `item` under its key, replacing what was there."""
        key = item.key
        if key not in self._items:
            if key in self._removed:
                self._removed.discard(key)
            else:
                self._unsorted.add(key)
        self._items[key] = item

    def remove(self, key: bytes) -> KeyValue | None:
        """Take a key out and return what it held; None when it is absent."""
        item = self._items.pop(key, None)
        if item is not None:
            if key in self._unsorted:
                self._unsorted.discard(key)
            else:
                self._removed.add(key)
        return item

    def range(self, prefix: bytes) -> list[KeyValue]:
        """All keys that begin with `prefix`, in order of the keys."""
        self._sort()
        order = self._order
        first = bisect_left(order, prefix)
        end = successor(prefix)
        last = len(order) if end is None else bisect_left(order, end, first)
        items = self._items
        if not self._removed:
            return [items[key] for key in order[first:last]]
        return [items[key] for key in order[first:last] if key in items]

    def _sort(self) -> None:
        if len(self._removed) * 2 > len(self._order):
            removed = self._removed
            self._order = [key for key in self._order if key not in removed]
            removed.clear()
        if len(self._unsorted) <= INSORT_LIMIT:
            for key in self._unsorted:
                insort(self._order, key)
        else:
            self._order.extend(sorted(self._unsorted))
            self._order.sort()  # two sorted runs: one merge
        self._unsorted.clear()


def successor(prefix: bytes) -> bytes | None:
    """The least byte string above everything that begins with `prefix`; None when there is none."""
    head = prefix.rstrip(b"\xff")
    return head[:-1] + bytes((head[-1] + 1,)) if head else None
