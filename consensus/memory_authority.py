"""The one truth behind all stores of the `memory` engine, and who of them leads.

`MemoryAuthority` holds the one `StoreMachine` and orders all commands by carrying them out at once. Lifetimes
of sessions are counted on the clock of the member that leads, which is the first one that is connected; a new
leader gives every session its full time, as a new Raft leader does. While nobody is connected nothing
happens.
"""

from typing import Protocol

from quorate.core import Clock, Entropy, Timer

from .commands import Command, ExpireSessions, encode
from .machine import Outcome, StoreMachine
from .sessions import LeaderSessions


class Member(Protocol):
    """A store of the cluster, as the authority sees it."""

    @property
    def holder(self) -> str: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def connected(self) -> bool: ...

    def receive(self, index: int, outcome: Outcome) -> None:
        """An entry was committed; take note of it in the next turn of the loop."""
        ...

    def wake(self) -> None:
        """Something has changed: look at everything in the next turn of the loop."""
        ...


class MemoryAuthority:
    """Keys, sessions, members and the leader. Calls nobody but `Member`, which waits for the loop."""

    def __init__(self, entropy: Entropy) -> None:
        self._tokens = entropy
        self._machine = StoreMachine()
        self._lifetimes = LeaderSessions()
        self._members: list[Member] = []  # neither closed nor crashed, in order of arrival
        self._leader: Member | None = None
        self._term = 0
        self._dir_ids: dict[str, bytes] = {}
        self._timer: Timer | None = None

    @property
    def machine(self) -> StoreMachine:
        """The truth, for tests to look at."""
        return self._machine

    @property
    def leader(self) -> Member | None:
        """The first member that is connected."""
        return self._leader

    @property
    def term(self) -> int:
        """How often somebody became leader."""
        return self._term

    @property
    def members(self) -> tuple[Member, ...]:
        """All members that run, connected or not, in the order in which they came."""
        return tuple(self._members)

    def join(self, member: Member) -> bytes:
        """A member came. Returns the identity of its (imaginary) data directory, the same at every start."""
        self._members.append(member)
        self.elect()
        return self._dir_ids.setdefault(member.holder, self.token())

    def leave(self, member: Member) -> None:
        """A member was closed or crashed."""
        self._members.remove(member)
        self.elect()

    def elect(self) -> None:
        """Members or connections have changed: the first connected member leads."""
        leader = next((member for member in self._members if member.connected), None)
        if leader is self._leader:
            return
        self._leader = leader
        self._lifetimes.deposed()
        if leader is not None:
            self._term += 1
            self._lifetimes.became_leader(leader.clock.monotonic(), self._machine.sessions())
        self._watch_lifetimes()
        for member in self._members:
            member.wake()

    def commit(self, command: Command | bytes) -> tuple[int, Outcome]:
        """Do one command, and let every connected member hear of it in the next turn of the loop."""
        assert self._leader is not None, "a command without a leader"
        index = self._machine.applied_index + 1
        outcome = self._machine.apply(index, command if isinstance(command, bytes) else encode(command))
        if outcome.opened is not None:
            self._lifetimes.opened(outcome.opened, self._leader.clock.monotonic())
        self._lifetimes.closed(outcome.closed)
        if outcome.opened is not None or outcome.closed:
            self._watch_lifetimes()
        for member in self._members:
            member.receive(index, outcome)
        return index, outcome

    def touch(self, session: int) -> bool:
        """A keepalive arrived. False: the session is over, or about to be."""
        return self._leader is not None and self._lifetimes.touch(session, self._leader.clock.monotonic())

    def token(self) -> bytes:
        """A nonce, or an identity."""
        return self._tokens.token(16)

    def _watch_lifetimes(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = self._lifetimes.deadline()
        if self._leader is not None and deadline is not None:
            clock = self._leader.clock
            self._timer = clock.call_later(max(0.0, deadline - clock.monotonic()), self._expire)

    def _expire(self) -> None:
        if self._leader is None:
            return
        late = self._lifetimes.expired(self._leader.clock.monotonic())
        if late:
            self.commit(ExpireSessions(late))
        self._watch_lifetimes()
