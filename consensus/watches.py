"""Who wants to be told of changes, what they are told, and how old a node's knowledge is. All pure.

`Watches` and `Subscribers` own nothing but their lists. They are called by the shell of an engine, from the
loop and never from inside an operation of the store. Callbacks belong to others: one that raises is logged
and harms neither the others nor the caller, because an engine whose loop is left in the middle of an entry is
worth nothing.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import ParamSpec

from .store import Event, KeyValue

P = ParamSpec("P")
WatchCallback = Callable[[Sequence[Event]], None]

logger = logging.getLogger("quorate.consensus")


def call_isolated(callback: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
    """Call; log whatever it raises, a cancelled future's error included, except the end of the program."""
    try:
        callback(*args, **kwargs)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:
        logger.exception("a callback of the store raised; the store goes on: %r", callback)


class Subscription:
    """A running watch or subscription: the `Watch` of the port."""

    __slots__ = ("_forget", "active")

    def __init__(self, forget: Callable[["Subscription"], None]) -> None:
        self._forget = forget
        self.active = True

    def cancel(self) -> None:
        """No further callback runs, not even one that is due in this very moment."""
        if self.active:
            self.active = False
            self._forget(self)


class Subscribers:
    """Callbacks that are all told the same, in the order in which they came."""

    def __init__(self) -> None:
        self._callbacks: dict[Subscription, Callable[..., object]] = {}

    def add(self, callback: Callable[..., object]) -> Subscription:
        subscription = Subscription(self._forget)
        self._callbacks[subscription] = callback
        return subscription

    def tell(self, *args: object) -> None:
        """Call everybody who is subscribed now and still is when its turn comes."""
        for subscription, callback in list(self._callbacks.items()):
            if subscription.active:
                call_isolated(callback, *args)

    def clear(self) -> None:
        """Cancel everybody."""
        for subscription in list(self._callbacks):
            subscription.cancel()

    def _forget(self, subscription: Subscription) -> None:
        self._callbacks.pop(subscription, None)


class Watches:
    """Watches of prefixes. An event costs a look-up per length of prefix that is watched, not per watch."""

    def __init__(self) -> None:
        self._by_prefix: dict[bytes, dict[Subscription, WatchCallback]] = {}
        self._lengths: list[int] = []

    def add(self, prefix: bytes, callback: WatchCallback) -> Subscription:
        def forget(subscription: Subscription) -> None:
            watching = self._by_prefix.get(prefix)
            if watching is not None:
                watching.pop(subscription, None)
                if not watching:
                    del self._by_prefix[prefix]
                    self._lengths = sorted({len(watched) for watched in self._by_prefix})

        subscription = Subscription(forget)
        self._by_prefix.setdefault(prefix, {})[subscription] = callback
        self._lengths = sorted({*self._lengths, len(prefix)})
        return subscription

    def dispatch(self, events: Iterable[Event]) -> None:
        """Call each watch once with its events, in their order. A watch made meanwhile gets none of them."""
        due: dict[Subscription, tuple[WatchCallback, list[Event]]] = {}
        for event in events:
            key = event.key
            for length in self._lengths:
                if length > len(key):
                    break
                for subscription, callback in self._by_prefix.get(key[:length], {}).items():
                    due.setdefault(subscription, (callback, []))[1].append(event)
        for subscription, (callback, matching) in due.items():
            if subscription.active:
                call_isolated(callback, tuple(matching))

    def clear(self) -> None:
        """Cancel everybody."""
        for watching in list(self._by_prefix.values()):
            for subscription in list(watching):
                subscription.cancel()


def difference(
    before: Mapping[bytes, KeyValue], after: Mapping[bytes, KeyValue], revision: int
) -> tuple[Event, ...]:
    """The events that lead from one state to a later one, as of `revision` (the later state's).

    For a node that skipped the entries in between. Each key is told as it is now; what it was meanwhile is
    lost. A key that was removed and made anew is told as a removal (dated at its new creation) and a
    creation, because whoever held the old one no longer does. A removal without more is dated at `revision`,
    the latest it can be. In order of revisions, then keys.
    """
    events: list[tuple[int, bytes, int, Event]] = []
    for key, now in after.items():
        was = before.get(key)
        if was is now or was == now:
            continue
        if was is not None and was.create_revision != now.create_revision:
            removal = Event(key, now.create_revision, None, was)
            events.append((now.create_revision, key, 0, removal))
            was = None
        events.append((now.mod_revision, key, 1, Event(key, now.mod_revision, now, was)))
    for key, was in before.items():
        if key not in after:
            events.append((revision, key, 0, Event(key, revision, None, was)))
    events.sort(key=lambda entry: entry[:3])
    return tuple(event for _, _, _, event in events)


class Freshness:
    """How old the state applied on this node is, in seconds of its own monotonic clock.

    A read or keepalive that was SENT at `sent_at` and confirmed by the leader with index `i` proves: whoever
    has applied `i` knows everything that had been acknowledged to anybody at `sent_at`.
    """

    def __init__(self) -> None:
        self._as_of = float("-inf")
        self._applied_index = 0
        self._waiting: list[tuple[int, float]] = []  # confirmed, not yet applied; both parts grow

    def confirmed(self, sent_at: float, index: int) -> None:
        """A read or keepalive sent at `sent_at` was confirmed with `index`."""
        if index <= self._applied_index:
            self._as_of = max(self._as_of, sent_at)
            return
        if any(known <= index and sent >= sent_at for known, sent in self._waiting):
            return
        self._waiting = [(known, sent) for known, sent in self._waiting if known < index or sent > sent_at]
        self._waiting.append((index, sent_at))
        self._waiting.sort()

    def applied(self, index: int) -> None:
        """This node has applied everything up to `index`."""
        self._applied_index = max(self._applied_index, index)
        while self._waiting and self._waiting[0][0] <= self._applied_index:
            self._as_of = max(self._as_of, self._waiting.pop(0)[1])

    def age_s(self, now: float) -> float:
        """The truth is at most this much younger than what is applied here; inf: never confirmed."""
        return max(0.0, now - self._as_of)
