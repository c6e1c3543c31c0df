"""How long a session lives: the leader's side, which may end it, and the holder's side, which relies on it.

Both are pure: time is an argument, always seconds of the monotonic clock of the node on which the object
lives. The state machine is the authority over which sessions exist. `LeaderSessions` decides when one is
*proposed* to be expired; `HolderSession` decides until when its node may act under one.

Why nobody acts under a session that was expired
------------------------------------------------
Claim: at no real instant does a holder's `valid` say yes after an expiry was proposed that is ever applied.

Let `ttl` be the session's lifetime, and let the rate of every clock be from `1 - drift / 2` to
`1 + drift / 2`.

1. *One keepalive, one leader.* The holder counts `ttl * (1 - drift)` from the moment it SENT the keepalive;
   the leader counts `ttl` from the moment it received it, or later. In real seconds the holder's count lasts
   at most `ttl * (1 - drift) / (1 - drift / 2)`, the leader's at least `ttl / (1 + drift / 2)`. The first is
   the smaller, because `(1 - drift) * (1 + drift / 2)` is `1 - drift / 2 - drift**2 / 2`, and it begins
   earlier. How long messages travel does not matter: delay only ever shortens what the holder believes.
2. *A refusal is final.* `expired` marks the sessions that it returns, and from then on `touch` refuses them.
   So no keepalive is confirmed after an expiry was proposed, even when it was received before. Keepalives
   confirmed earlier had moved the leader's deadline, so by 1 they have run out on the holder's side.
3. *A deposed leader extends nothing.* The engine calls `touch` only after a quorum round that BEGAN after the
   keepalive was received has confirmed its leadership. Say another leader is elected. Its majority and the
   round's share a replica, which answered the round before it voted. So the keepalive had been sent, and
   received, before that election was won. A keepalive that reaches a deposed leader later finds no such
   round.
4. *A new leader starts from nothing.* It calls `became_leader` once it has applied the first entry of its own
   term, which is after its election, and gives every session that lives then its whole ttl. By 3, every
   keepalive that an earlier leader confirmed was sent before that moment, so 1 holds between the holder and
   the new leader too. It confirms no keepalive before. So when it confirms one, its first entry is on a
   majority, and what an earlier leader proposed is either before that entry, and then the session was ended
   and is refused, or can never be applied any more.
5. *Opening.* The holder counts from when it FIRST sent the open with that nonce; the leader counts from when
   it applied the entry, which is later. An open that is answered with a session that an earlier copy opened
   extends nothing.
6. *Never again.* A holder that has once seen its session past its time, or was told that it is gone, never
   believes in that id again, whatever late confirmation arrives. What was told "lost" stays lost.
7. *A closing without expiry* happens only by the holder's own wish (it stops believing first, `closing`),
   when a later incarnation of the same data directory opens a session (its lock proves that the holder is
   dead), or when the holder's kernel testifies to its death.

What the argument needs of clocks is their rate, never their value, and that they count while the machine
sleeps (`Clock.monotonic`). A holder that was paused sees on waking that the time is over, because `valid`
reads the clock anew at every question.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from .store import NO_SESSION, SessionInfo


@dataclass(slots=True)
class _Lease:
    """A session as the leader counts it."""

    ttl_s: float
    deadline: float


class LeaderSessions:
    """The lifetimes of all sessions, on the clock of the node that leads. Empty on every other node."""

    def __init__(self) -> None:
        self._leases: dict[int, _Lease] = {}
        self._expiring: set[int] = (
            set()
        )  # refused for ever; their expiry is in the log, or has to be proposed
        self._unproposed: set[int] = set()  # those of them whose proposal did not get into the log

    def became_leader(self, now: float, sessions: Iterable[SessionInfo]) -> None:
        """Give every session its full ttl from `now`.

        To be called with the machine's living sessions right after the first entry of the leader's own term
        was applied there, not before; until then no keepalive may be answered.
        """
        self.deposed()
        for info in sessions:
            self._leases[info.id] = _Lease(info.ttl_s, now + info.ttl_s)

    def deposed(self) -> None:
        """Forget everything: this node does not lead any more."""
        self._leases.clear()
        self._expiring.clear()
        self._unproposed.clear()

    def opened(self, info: SessionInfo, now: float) -> None:
        """The leader applied the entry that opened a session. One that is known keeps its deadline."""
        if info.id not in self._leases:
            self._leases[info.id] = _Lease(info.ttl_s, now + info.ttl_s)

    def closed(self, sessions: Iterable[int]) -> None:
        """The leader applied an entry that ended these sessions."""
        for session in sessions:
            self._leases.pop(session, None)
            self._expiring.discard(session)
            self._unproposed.discard(session)

    def touch(self, session: int, received_at: float) -> bool:
        """A keepalive received at `received_at` was confirmed by a quorum round begun after that.

        True: the session has its full ttl from then, and the holder may be told so. False: it is over or
        about to be, and the holder must be told that it is gone. A keepalive that overtook a later one
        shortens nothing.
        """
        lease = self._leases.get(session)
        if lease is None or session in self._expiring:
            return False
        lease.deadline = max(lease.deadline, received_at + lease.ttl_s)
        return True

    def expired(self, now: float) -> tuple[int, ...]:
        """The sessions to expire through the log now, by id. Each is returned once, and refused from now on."""
        late = [
            session
            for session, lease in self._leases.items()
            if lease.deadline <= now and session not in self._expiring
        ]
        self._expiring.update(late)
        late.extend(self._unproposed)
        self._unproposed.clear()
        return tuple(sorted(late))

    def not_proposed(self, sessions: Iterable[int]) -> None:
        """The expiry of these did not get into the log: `expired` returns them again. They stay refused."""
        self._unproposed.update(session for session in sessions if session in self._expiring)

    def expiring(self, session: int) -> bool:
        """Its expiry was returned by `expired` and has not been applied yet."""
        return session in self._expiring

    def deadline(self) -> float | None:
        """When `expired` will next have something to return; None while there is nothing to wait for.

        Keepalives may have moved it when that time has come.
        """
        if self._unproposed:
            return min(
                lease.deadline for session, lease in self._leases.items() if session in self._unproposed
            )
        return min(
            (lease.deadline for session, lease in self._leases.items() if session not in self._expiring),
            default=None,
        )


class HolderSession:
    """The one session of a node, as the node itself may rely on it.

    `drift` and `keepalive_s` are those of `Timing`. An object serves for all sessions that a node holds one
    after another; `id` is 0 while it holds none.
    """

    def __init__(self, *, drift: float, keepalive_s: float) -> None:
        assert 0.0 <= drift < 1.0 and keepalive_s > 0.0
        self._drift = drift
        self._keepalive_s = keepalive_s
        self._id = NO_SESSION
        self._lifetime_s = 0.0
        self._valid_until = float("-inf")
        self._highest_id = NO_SESSION
        self._last_sent = float("-inf")
        self._tokens = 0
        self._in_flight: dict[int, float] = {}  # token -> when it was sent, oldest first

    @property
    def id(self) -> int:
        """The session believed in; 0 when there is none. Believing is not enough to act: see `valid`."""
        return self._id

    @property
    def valid_until(self) -> float:
        """The first moment at which it may be gone; minus infinity when there is none."""
        return self._valid_until

    def opened(self, info: SessionInfo, first_sent_at: float, now: float) -> bool:
        """The store answered an open. `first_sent_at` is when the first copy of that open left.

        False: this session must not be relied on, because the answer took too long or because it was given up
        or another one is held. It should be closed (which is harmless if it is over), and a new one be opened
        with a new nonce if none is held.
        """
        lifetime_s = info.ttl_s * (1.0 - self._drift)
        if self._id != NO_SESSION:
            return info.id == self._id and self.valid(now)
        if info.id <= self._highest_id or now >= first_sent_at + lifetime_s:
            return False
        self._id = self._highest_id = info.id
        self._lifetime_s = lifetime_s
        self._valid_until = first_sent_at + lifetime_s
        self._last_sent = now
        return True

    def sending(self, now: float) -> int:
        """A keepalive for `id` is about to leave. Returns the token that its answer has to bring back."""
        assert self._id != NO_SESSION, "a keepalive without a session"
        self._last_sent = now
        self._tokens += 1
        self._in_flight[self._tokens] = now
        for token, sent_at in list(self._in_flight.items()):  # what cannot prolong anything is not waited for
            if sent_at + self._lifetime_s > now:
                break
            del self._in_flight[token]
        return self._tokens

    def confirmed(self, token: int, now: float) -> bool:
        """The leader confirmed a keepalive. True when the session is certainly valid at `now`.

        A confirmation that comes out of order shortens nothing; one that comes too late changes nothing.
        """
        sent_at = self._in_flight.pop(token, None)
        if not self.valid(now):
            return False
        if sent_at is not None:
            self._valid_until = max(self._valid_until, sent_at + self._lifetime_s)
        return True

    def valid(self, now: float) -> bool:
        """The session certainly lives at `now`. Once it was not, its id is given up for ever."""
        if now < self._valid_until:
            return True
        self._give_up()
        return False

    def valid_for_s(self, now: float) -> float:
        """For how many more seconds it certainly lives; 0 when it may be gone."""
        return self._valid_until - now if self.valid(now) else 0.0

    def gone(self, session: int) -> bool:
        """Somebody who knows says that `session` is over. True when it was the one believed in."""
        if session == NO_SESSION or session != self._id:
            return False
        self._give_up()
        return True

    def closing(self) -> int:
        """Stop relying on the session, in order to have it closed. Returns its id, 0 when there was none."""
        session = self._id
        self._give_up()
        return session

    def next_keepalive(self) -> float | None:
        """When the next keepalive has to leave; None while there is no session.

        It does not wait for the answer to the last one: with a lost message the session still lives on the
        next.
        """
        return self._last_sent + self._keepalive_s if self._id != NO_SESSION else None

    def _give_up(self) -> None:
        self._id = NO_SESSION
        self._valid_until = float("-inf")
        self._in_flight.clear()
