"""How the messages of one node to one singleton find its owner: a pure state machine, one per name.

The authority over who owns a singleton is the store; this machine only remembers what it was told, and what it
has sent where. A message is addressed to one *ownership* (a host and a fence), never to "whoever owns it now":
all that was sent under one address takes one path, so it stays in order, wherever the singleton has moved meanwhile.
What must never happen here: a message sent to a later owner while an earlier one of this node may still be on
its way to it, and a message sent again that may have been handled.

    IDLE       no owner is known: messages are held
    DIRECT     messages go to `label`, the ownership they are addressed to
    SWITCHING  the owner has changed, or messages came back: new ones are held, and a flush runs behind what was
               sent. When it is answered, everything sent has either arrived at the owner that answered, or come back
    CUT        the owner's host cannot be reached, but the store still says that it owns: messages are held

Every method returns the effects to perform, in order.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from quorate.core import Pid

HELD_LIMIT = 10_000


@dataclass(frozen=True, slots=True)
class Owner:
    """One ownership of a singleton: the host process that has it, and the fence that it got with it."""

    host: Pid
    fence: int


@dataclass(frozen=True, slots=True)
class Posted:
    """A message of this node. `sequence` grows with each sending, `call` says that somebody awaits an answer."""

    sequence: int
    body: object
    call: bool


@dataclass(frozen=True, slots=True)
class Send:
    """Send this message to the owner's host, addressed to this ownership."""

    owner: Owner
    message: Posted


@dataclass(frozen=True, slots=True)
class SendFlush:
    """Send a flush behind everything that was sent to `owner`. All ownerships up to the fence `over` have ended."""

    owner: Owner
    token: int
    over: int


class Failure(Enum):
    """Why a message will get no answer."""

    UNKNOWN = "unknown"  # the path to the owner was lost: it may or may not have been handled
    OVERLOADED = "overloaded"  # too many wait already: it was not handled
    CLOSED = "closed"  # the node stops: it was not handled


@dataclass(frozen=True, slots=True)
class Fail:
    """Tell whoever sent this message that it failed (a message without an answer is only counted)."""

    message: Posted
    failure: Failure


Effect = Send | SendFlush | Fail


class Phase(Enum):
    IDLE = "idle"
    DIRECT = "direct"
    SWITCHING = "switching"
    CUT = "cut"


class Route:
    """The state machine of one name on one node. `reachable` says whether a host can be sent to right now."""

    __slots__ = (
        "_bounced",
        "_dead",
        "_held",
        "_in_flight",
        "_label",
        "_limit",
        "_lost_up_to",
        "_owner",
        "_owner_revision",
        "_phase",
        "_reachable",
        "_sequence",
        "_token",
    )

    def __init__(self, reachable: Callable[[Pid], bool], limit: int = HELD_LIMIT) -> None:
        self._reachable = reachable
        self._limit = limit
        self._phase = Phase.IDLE
        self._owner: Owner | None = None  # as the store was last known to say
        self._owner_revision = 0  # the store's revision at which that held
        self._label: Owner | None = None  # what was sent is addressed to this ownership
        self._dead = 0  # ownerships up to this fence are over, whatever the store was last known to say
        self._token = 0
        self._sequence = 0
        self._lost_up_to = 0  # messages up to this sequence were given up: nothing more is done for them
        self._held: deque[tuple[object, bool]] = deque()
        self._bounced: dict[int, Posted] = {}  # came back unhandled, by sequence; they go before what is held
        self._in_flight: dict[int, Posted] = {}  # calls that were sent and have no answer yet, by sequence

    @property
    def phase(self) -> Phase:
        return self._phase

    @property
    def label(self) -> Owner | None:
        """The ownership that messages are, or were last, addressed to."""
        return self._label

    @property
    def waiting(self) -> int:
        """How many messages are held here."""
        return len(self._held) + len(self._bounced)

    # Messages of this node

    def post(self, body: object, *, call: bool) -> list[Effect]:
        """A process of this node (or one that uses this node's reference) sends a message."""
        if self._phase is Phase.DIRECT:
            assert self._label is not None
            return [self._send(body, call)]
        if self.waiting >= self._limit:
            return [Fail(Posted(0, body, call), Failure.OVERLOADED)]
        self._held.append((body, call))
        return []

    def sent(self, sequence: int) -> Posted | None:
        """A call that is in flight."""
        return self._in_flight.get(sequence)

    def answered(self, sequence: int) -> Posted | None:
        """The answer to a call came: the call, or None when it was given up before."""
        return self._in_flight.pop(sequence, None)

    # What the store says

    def owner_seen(self, owner: Owner | None, revision: int) -> list[Effect]:
        """The store said at `revision` who owns the singleton. What is older than known is ignored."""
        if revision < self._owner_revision:
            return []
        self._owner, self._owner_revision = owner, revision
        if self._phase is Phase.SWITCHING:
            return []
        if self._phase is Phase.DIRECT:
            return [] if self._owner_is_label() else self._switch()
        return self._settle()

    # What hosts say

    def bounced(self, message: Posted) -> list[Effect]:
        """A message that was sent has not been handled and never will be where it was sent to."""
        if message.sequence <= self._lost_up_to:
            return []
        if message.call and self._in_flight.pop(message.sequence, None) is None:
            return []  # it has failed already
        self._bounced[message.sequence] = message
        return self._switch() if self._phase is Phase.DIRECT else []

    def flushed(self, token: int, owner: Owner, torn: int = 0, *, alive: bool) -> list[Effect]:
        """The flush arrived at `owner`, behind all that was sent.

        Answers to calls up to the sequence `torn`, or these calls themselves, may have been lost on their way back.
        Not `alive`: that ownership is over, and what it did not handle has come back before this answer.
        """
        if self._phase is not Phase.SWITCHING or token != self._token:
            return []
        effects = self._fail_calls(torn)
        if not alive:
            self._dead = max(self._dead, owner.fence)
            return effects + self._settle()
        if owner.fence > self._owner_revision:
            self._owner, self._owner_revision = owner, owner.fence
        self._label = owner
        return effects + (
            self._settle() if self._owner_is_label() else self._switch()
        )  # or follow what was sent

    def lost(self, via: int) -> list[Effect]:
        """What had to be forwarded from the ownership `via` to the next one may be lost on the way."""
        if not self._sending() or self._label is None or via < self._label.fence:
            return []  # what was sent had passed there before
        self._dead = max(self._dead, via)
        return self._give_up() + self._settle()

    # What the links say

    def host_down(self, host: Pid) -> list[Effect]:
        """The link to this host is lost: what was on its way to it, or back, may be lost."""
        if not self._sending() or self._label is None or self._label.host != host:
            return []
        effects = self._give_up()
        if not self._owner_is_label():
            self._dead = max(self._dead, self._label.fence)
        return effects + self._settle()

    def host_up(self, host: Pid) -> list[Effect]:
        """This host can be reached (again)."""
        if self._phase is Phase.CUT and self._owner is not None and self._owner.host == host:
            return self._settle()
        return self.tick()

    def host_gone(self, host: Pid) -> list[Effect]:
        """This host's session is over: it acts no more, and nothing of what it holds will be handled."""
        if not self._sending() or self._label is None or self._label.host != host:
            return []
        self._dead = max(self._dead, self._label.fence)
        return self._give_up() + self._settle()

    def tick(self) -> list[Effect]:
        """Ask again, now and then: the answer to a flush may have been lost with a link. Harmless at any time."""
        if self._phase is not Phase.SWITCHING:
            return []
        return [self._flush()]

    def close(self) -> list[Effect]:
        """The node stops: everything that waits or is in flight fails."""
        waiting = [*self._bounced.values(), *(Posted(0, body, call) for body, call in self._held)]
        self._bounced.clear()
        self._held.clear()
        self._phase = Phase.IDLE
        return [*self._give_up(), *(Fail(message, Failure.CLOSED) for message in waiting)]

    # Inside

    def _owner_is_label(self) -> bool:
        return self._owner is not None and self._label is not None and self._owner.fence == self._label.fence

    def _send(self, body: object, call: bool) -> Send:
        assert self._label is not None
        self._sequence += 1
        message = Posted(self._sequence, body, call)
        if call:
            self._in_flight[message.sequence] = message
        return Send(self._label, message)

    def _switch(self) -> list[Effect]:
        self._phase = Phase.SWITCHING
        self._token += 1
        return [self._flush()]

    def _flush(self) -> SendFlush:
        assert self._label is not None
        over = self._owner_revision if self._owner is None else self._owner.fence - 1
        return SendFlush(self._label, self._token, over)

    def _sending(self) -> bool:
        return self._phase is Phase.DIRECT or self._phase is Phase.SWITCHING

    def _give_up(self) -> list[Effect]:
        self._lost_up_to = self._sequence
        return self._fail_calls(self._sequence)

    def _fail_calls(self, up_to: int) -> list[Effect]:
        lost = [sequence for sequence in self._in_flight if sequence <= up_to]
        return [Fail(self._in_flight.pop(sequence), Failure.UNKNOWN) for sequence in lost]

    def _settle(self) -> list[Effect]:
        """Nothing of ours is on its way: go to the owner, when there is one, with what waits here."""
        owner = self._owner
        if owner is None or owner.fence <= self._dead:
            self._phase = Phase.IDLE
            return []
        if not self._reachable(owner.host):
            self._phase = Phase.CUT
            return []
        self._label = owner
        self._phase = Phase.DIRECT
        effects: list[Effect] = []
        for sequence in sorted(self._bounced):
            message = self._bounced[sequence]
            effects.append(self._send(message.body, message.call))
        self._bounced.clear()
        while self._held:
            effects.append(self._send(*self._held.popleft()))
        return effects
