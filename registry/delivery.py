"""What a host does with the messages that reach it for one singleton: a pure state machine, one per name.

Every message is addressed to one ownership (a fence). A host accepts it only while it has exactly that ownership;
passes it on when it moved that ownership elsewhere; sends it back when that ownership has ended without a
successor; and keeps it while its own copy of the store is too old to know. So everything that was sent under one
address meets one fate and stays in order.

The authority over ownership is the store (`ownership.py` follows it). What must never happen here: a message that is
accepted twice, or after a later one of the same sender; a message that vanishes without a word to its router.

Every method returns the effects to perform, in order.
"""

from collections import OrderedDict
from dataclasses import dataclass, replace

from quorate.core import Pid

from .routing import Owner, Posted

OWNERSHIPS_LIMIT = 64  # past ones kept per name to forward from: routers follow at once, names move rarely


@dataclass(frozen=True, slots=True)
class Parcel:
    """A message under way from a router to the ownership `fence`."""

    router: Pid
    fence: int
    message: Posted


@dataclass(frozen=True, slots=True)
class Flush:
    """A mark behind the messages of a router that were addressed to the ownership `fence`.

    Hosts on its way raise `torn` to the last message of the router which they sent on, or sent back, or answered, over a
    link that was lost afterwards. The router has seen in the store that all ownerships up to the fence
    `over` have ended: a host that has not seen so yet answers when it has.
    """

    router: Pid
    fence: int
    token: int
    over: int = 0
    torn: int = 0


@dataclass(frozen=True, slots=True)
class Accept:
    """Hand this message to the singleton."""

    parcel: Parcel


@dataclass(frozen=True, slots=True)
class Forward:
    """Send this on to another host."""

    to: Pid
    item: Parcel | Flush


@dataclass(frozen=True, slots=True)
class Bounce:
    """Send this message back to its router: it was not handled and will not be."""

    parcel: Parcel


@dataclass(frozen=True, slots=True)
class Flushed:
    """Answer a flush. Not `alive`: the ownership is over and its unhandled messages have gone back."""

    router: Pid
    token: int
    owner: Owner
    torn: int
    alive: bool


@dataclass(frozen=True, slots=True)
class Lost:
    """Tell a router that what was forwarded from the ownership `via` may be lost."""

    router: Pid
    via: int


Effect = Accept | Forward | Bounce | Flushed | Lost


class _Ownership:
    """What was accepted under one fence, and where the singleton went from there."""

    __slots__ = ("accepted", "next")

    def __init__(self) -> None:
        self.accepted: dict[Pid, int] = {}  # the last sequence taken in, by router
        self.next: Owner | None = None

    def takes(self, item: Parcel | Flush) -> bool:
        """False for what its router has given up and gone past: it must not come after what followed it."""
        if isinstance(item, Flush):
            return True
        sequence = item.message.sequence
        if sequence <= self.accepted.get(item.router, 0):
            return False
        self.accepted[item.router] = sequence
        return True


class Delivery:
    """The state machine of one name on one host."""

    __slots__ = ("_forwarded", "_me", "_owned", "_ownerships", "_returned", "_revision", "_torn", "_waiting")

    def __init__(self, me: Pid) -> None:
        self._me = me
        self._owned = 0
        self._revision = 0  # the store's revision up to which this host knows who owned the singleton
        self._ownerships: OrderedDict[int, _Ownership] = (
            OrderedDict()
        )  # this host's: the present and what moved
        self._waiting: list[
            Parcel | Flush
        ] = []  # addressed to ownerships that this host does not know of yet
        self._forwarded: dict[
            Pid, dict[tuple[Pid, int], int]
        ] = {}  # by host; of (router, via) the last sequence
        self._returned: dict[Pid, int] = {}  # the last sequence that was answered or sent back, by router
        self._torn: dict[Pid, int] = {}  # up to here that may be lost

    @property
    def owned(self) -> int:
        """The fence of the ownership that this host has; 0: none."""
        return self._owned

    @property
    def waiting(self) -> bool:
        """Something waits until this host knows more."""
        return bool(self._waiting)

    def senders(self) -> list[Pid]:
        """The routers that have sent something to the present ownership."""
        ownership = self._ownerships.get(self._owned)
        return list(ownership.accepted) if ownership is not None else []

    def arrived(self, item: Parcel | Flush) -> list[Effect]:
        """A message or a flush came from a router, or was forwarded by another host."""
        ownership = self._ownerships.get(item.fence)
        if ownership is None:
            if item.fence > self._revision:
                self._waiting.append(item)
                return []
            return self._refuse(item)
        return self._pass_on(item, ownership) if ownership.takes(item) else []

    def gained(self, fence: int) -> list[Effect]:
        """This host has the ownership `fence` now (its process need not have started)."""
        assert not self._owned and fence not in self._ownerships
        self._owned = fence
        self._open(fence)
        return self.learned(fence)

    def renewed(self, fence: int) -> list[Effect]:
        """This host has its ownership under a new fence, without a gap: nothing changes for the messages."""
        assert 0 < self._owned < fence
        self._ownerships[self._owned].next = Owner(self._me, fence)
        self._owned = fence
        self._open(fence)
        return self.learned(fence)

    def moved(self, to: Owner, unhandled: list[Parcel]) -> list[Effect]:
        """The ownership has gone to another host; the singleton's unhandled messages, in order, go after it."""
        assert self._owned
        ownership, via = self._ownerships[self._owned], self._owned
        ownership.next = to
        self._owned = 0
        effects: list[Effect] = [self._forward(parcel, via, to) for parcel in unhandled]
        return effects + self.learned(to.fence)

    def ended(self, unhandled: list[Parcel]) -> list[Effect]:
        """The ownership is over without a successor; the singleton's unhandled messages, in order, go back."""
        fence, self._owned = self._owned, 0
        self._ownerships.pop(fence, None)
        return [*map(self._bounce, unhandled), *self.learned(fence)]

    def learned(self, revision: int) -> list[Effect]:
        """This host knows of all ownerships up to this revision of the store (`gained` was called for its own)."""
        self._revision = max(self._revision, revision)
        waiting, self._waiting = self._waiting, []
        effects: list[Effect] = []
        for item in waiting:
            effects += self.arrived(item)
        return effects

    def answered(self, router: Pid, sequence: int) -> None:
        """The answer to this call was sent to its router."""
        self._returned[router] = max(sequence, self._returned.get(router, 0))

    def host_down(self, host: Pid) -> list[Effect]:
        """The link to this host, which may be a router, is lost, and perhaps some of what was sent there."""
        if host in self._returned:
            self._tear(host, self._returned[host])
        forwarded = self._forwarded.pop(host, {})
        for (router, _), sequence in forwarded.items():
            self._tear(router, sequence)
        return [Lost(router, via) for router, via in sorted(forwarded)]

    def router_gone(self, router: Pid) -> None:
        """This router's node is over for good: nothing more of it will come."""
        self._returned.pop(router, None)
        self._torn.pop(router, None)
        for ownership in self._ownerships.values():
            ownership.accepted.pop(router, None)

    def _pass_on(self, item: Parcel | Flush, ownership: _Ownership) -> list[Effect]:
        """Accept it, or send it where the ownership it is addressed to went."""
        if ownership.next is not None:
            if ownership.next.host == self._me:
                return self.arrived(replace(item, fence=ownership.next.fence))
            return [self._forward(item, item.fence, ownership.next)]
        if isinstance(item, Flush):
            if item.over >= item.fence:
                self._waiting.append(item)  # until it is known what became of this ownership
                return []
            return [self._flushed(item, alive=True)]
        return [Accept(item)]

    def _forward(self, item: Parcel | Flush, via: int, to: Owner) -> Forward:
        sequence = item.message.sequence if isinstance(item, Parcel) else 0
        sent = self._forwarded.setdefault(to.host, {})
        sent[item.router, via] = max(sequence, sent.get((item.router, via), 0))
        if isinstance(item, Flush):
            return Forward(to.host, replace(item, fence=to.fence, torn=self._torn_for(item)))
        return Forward(to.host, replace(item, fence=to.fence))

    def _refuse(self, item: Parcel | Flush) -> list[Effect]:
        if isinstance(item, Flush):
            return [self._flushed(item, alive=False)]
        return [self._bounce(item)]

    def _bounce(self, parcel: Parcel) -> Bounce:
        self.answered(parcel.router, parcel.message.sequence)
        return Bounce(parcel)

    def _flushed(self, flush: Flush, *, alive: bool) -> Flushed:
        owner = Owner(self._me, flush.fence)
        return Flushed(flush.router, flush.token, owner, self._torn_for(flush), alive)

    def _tear(self, router: Pid, sequence: int) -> None:
        self._torn[router] = max(sequence, self._torn.get(router, 0))

    def _torn_for(self, flush: Flush) -> int:
        return max(flush.torn, self._torn.get(flush.router, 0))

    def _open(self, fence: int) -> None:
        self._ownerships[fence] = _Ownership()
        while len(self._ownerships) > OWNERSHIPS_LIMIT:
            past, _ = self._ownerships.popitem(last=False)
            for host, sent in self._forwarded.items():
                self._forwarded[host] = {key: last for key, last in sent.items() if key[1] != past}
