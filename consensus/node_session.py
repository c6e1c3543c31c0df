"""The session of a node as its own code sees it: the `Session` of the port over a `HolderSession`.

`HolderSession` is the authority over what the node may believe; this reads the clock for it and tells whoever
subscribed. Subscribers are told from `settle` only, which an engine calls from the loop.
"""

from collections.abc import Callable

from quorate.core import Clock

from .sessions import HolderSession
from .store import NO_SESSION
from .watches import Subscribers, Subscription


class NodeSession:
    """What `Store.session` is.

    `lapsed` is called, from inside `valid` and the like, when a session is first seen to be over: it has to
    see to it that `settle` runs in a later turn of the loop.
    """

    def __init__(self, clock: Clock, holder: HolderSession, lapsed: Callable[[], object]) -> None:
        self._clock = clock
        self._holder = holder
        self._lapsed = lapsed
        self._subscribers = Subscribers()
        self._told = NO_SESSION  # the session whose opening was told, and whose loss was not yet

    @property
    def id(self) -> int:
        return self._holder.id if self.valid() else NO_SESSION

    def valid(self) -> bool:
        if self._holder.valid(self._clock.monotonic()):
            return True
        if self._told != NO_SESSION:
            self._lapsed()
        return False

    def valid_for_s(self) -> float:
        if not self.valid():
            return 0.0
        return max(0.0, self._holder.valid_until - self._clock.monotonic())

    def subscribe(self, callback: Callable[[int, bool], None]) -> Subscription:
        return self._subscribers.add(callback)

    def unsubscribe_all(self) -> None:
        """Tell nobody anything from now on."""
        self._subscribers.clear()

    def settle(self) -> None:
        """Tell the subscribers what has happened since the last time: at most a loss, then an opening."""
        if self._told not in (NO_SESSION, self._believed()):
            lost, self._told = self._told, NO_SESSION
            self._subscribers.tell(lost, False)
        believed = self._believed()  # anew: a callback may have ended the store
        if self._told == NO_SESSION != believed:
            self._told = believed
            self._subscribers.tell(believed, True)

    def _believed(self) -> int:
        return self._holder.id if self._holder.valid(self._clock.monotonic()) else NO_SESSION
