"""The port of the coordination store: keys with revisions, transactions, sessions, watches.

The store is the authority for names, sessions and assignments. `registry/` is written on this port alone;
engines implement it (`raft`, `memory`) and pass one conformance suite.

Every change of the store has a *revision*, an integer that only grows, for ever. A key carries the revision
that created it, the one that changed it last, and a version that counts its changes since creation. A key may
belong to a *session*, and goes when the session ends. (The model is etcd's, https://etcd.io/docs/v3.5/learning/data_model/.)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Literal, NamedTuple, Protocol, TypeVar

T = TypeVar("T")

NO_SESSION = 0
KEY_LIMIT_BYTES = 4 * 1024
VALUE_LIMIT_BYTES = 1024 * 1024
OPS_LIMIT = 128  # operations in one branch of a transaction


@dataclass(frozen=True, slots=True)
class KeyValue:
    """A key as it stood at some revision."""

    key: bytes
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    session: int = NO_SESSION


@dataclass(frozen=True, slots=True)
class Compare:
    """One condition of a transaction. An absent key has revisions and version 0 and the value b"".

    `target` "session" takes `value` as a session id and ignores `key` and `op`: it holds while that session lives.
    """

    key: bytes
    target: Literal["create", "mod", "version", "value", "session"]
    op: Literal["==", "!=", "<", ">"]
    value: int | bytes


def absent(key: bytes) -> Compare:
    """The key does not exist."""
    return Compare(key, "version", "==", 0)


def present(key: bytes) -> Compare:
    """The key exists."""
    return Compare(key, "version", ">", 0)


def created_at(key: bytes, revision: int) -> Compare:
    """The key exists and was created at this revision (so it is the same one, whatever it holds now)."""
    return Compare(key, "create", "==", revision)


def unchanged(key: bytes, mod_revision: int) -> Compare:
    """Nobody has changed the key since `mod_revision` (0: it still does not exist)."""
    return Compare(key, "mod", "==", mod_revision)


def session_alive(session: int) -> Compare:
    """The session has not ended."""
    return Compare(b"", "session", "==", session)


@dataclass(frozen=True, slots=True)
class Put:
    """Set a key. With a session, the key goes when that session ends; a dead session fails the transaction."""

    key: bytes
    value: bytes
    session: int = NO_SESSION


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a key; harmless when it is absent. Its result is the key as it was, or None."""

    key: bytes


@dataclass(frozen=True, slots=True)
class Get:
    """Read a key inside a transaction. Its result is the key, or None."""

    key: bytes


Op = Put | Delete | Get


@dataclass(frozen=True, slots=True)
class TxnResult:
    """What a transaction did: which branch ran, at which revision, and one result per operation of that branch.

    A `Put` gives the `KeyValue` it made, a `Get` the key or None, a `Delete` the key as it was or None.
    """

    succeeded: bool
    revision: int
    results: tuple[KeyValue | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Event:
    """A change of one key. `now` is None when it was removed, `before` None when it was created."""

    key: bytes
    revision: int
    now: KeyValue | None
    before: KeyValue | None


class Cached(NamedTuple, Generic[T]):
    """A value as this node last knew it. The truth is at most `age_s` seconds younger (inf: never confirmed)."""

    value: T
    age_s: float


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """A session as the store knows it."""

    id: int
    holder: str
    creation: int
    ttl_s: float


@dataclass(frozen=True, slots=True)
class Timing:
    """How fast failures are noticed. All in seconds; use a preset unless you have measured.

    An owner counts `session_ttl_s * (1 - drift)` from the moment it sent a keepalive, so clocks may run
    apart by up to `drift` / 2 each and it still knows of the loss before anybody acts on it.
    """

    heartbeat_s: float = 0.1
    election_s: float = 0.5  # each election waits between this and twice this
    session_ttl_s: float = 3.0
    keepalive_s: float = 0.5
    drift: float = 0.1
    request_s: float = 5.0  # default deadline of a store operation

    @classmethod
    def local(cls) -> "Timing":
        """All nodes on one machine or in one rack, for tests and small latencies."""
        return cls(heartbeat_s=0.03, election_s=0.15, session_ttl_s=0.8, keepalive_s=0.15, request_s=3.0)

    @classmethod
    def lan(cls) -> "Timing":
        """One data centre. The default."""
        return cls()

    @classmethod
    def wan(cls) -> "Timing":
        """Between regions."""
        return cls(heartbeat_s=0.5, election_s=2.5, session_ttl_s=15.0, keepalive_s=2.5, request_s=15.0)


class Watch(Protocol):
    """A running watch."""

    def cancel(self) -> None:
        """No further callback runs."""
        ...


class Session(Protocol):
    """The one session that this node holds, as the node itself may rely on it.

    `id` is 0 while there is none. After a loss a new one is opened, with a higher id, as soon as the store answers.
    """

    @property
    def id(self) -> int: ...

    def valid(self) -> bool:
        """The session certainly lives now, by this node's own clock. Check it right before each act."""
        ...

    def valid_for_s(self) -> float:
        """For how many more seconds it certainly lives; 0 or less: it may be gone."""
        ...

    def subscribe(self, callback: Callable[[int, bool], None]) -> Watch:
        """Call `callback(session_id, opened)`: True when a session was opened, False when it may be gone.

        The loss is told at the latest when `valid()` turns false and the loop runs; it is told once per session.
        """
        ...


class Store(Protocol):
    """A replicated map with revisions. All methods are for use on the loop of the node that owns it.

    Operations without an answer within `timeout_s` (default `Timing.request_s`) raise `NoQuorum` when it is certain
    that nothing happened, `OutcomeUnknown` when it is not. Reads raise `NoQuorum` only.
    """

    @property
    def session(self) -> Session: ...

    async def txn(
        self,
        if_: Sequence[Compare],
        then: Sequence[Op],
        else_: Sequence[Op] = (),
        *,
        timeout_s: float | None = None,
    ) -> TxnResult:
        """If every compare holds do `then`, else do `else_`; atomically, and once, however often it was resent.

        Raises `NoQuorum`, `OutcomeUnknown`, `SessionLost` (a `Put` names a session that is over), `TooLarge`,
        `Overloaded`, `StoreStopped`.
        """
        ...

    async def get(self, key: bytes, *, timeout_s: float | None = None) -> KeyValue | None:
        """Linearizable read: at least as new as everything acknowledged to anybody before the call."""
        ...

    async def range(self, prefix: bytes, *, timeout_s: float | None = None) -> list[KeyValue]:
        """Linearizable read of all keys with a prefix, in order of the keys."""
        ...

    async def sessions(self, *, timeout_s: float | None = None) -> list[SessionInfo]:
        """Linearizable: the sessions that live, by id."""
        ...

    def age_s(self) -> float:
        """How many seconds younger than this node's copy the truth can be at most (inf: never confirmed)."""
        ...

    def peek(self, key: bytes) -> Cached[KeyValue | None]:
        """What this node last knew, at once."""
        ...

    def peek_range(self, prefix: bytes) -> Cached[list[KeyValue]]:
        """What this node last knew of all keys with a prefix, at once."""
        ...

    def watch(self, prefix: bytes, callback: Callable[[Sequence[Event]], None]) -> Watch:
        """Call back, in order of revisions, with every later local change of keys with this prefix.

        When this node was far behind and received a snapshot, the differences come as events too: nothing that
        differs is left out, though intermediate values may be.
        """
        ...

    def leads(self) -> bool:
        """This node leads the store now, as far as it knows. For controllers: safety never rests on it."""
        ...

    def subscribe_leader(self, callback: Callable[[str | None], None]) -> Watch:
        """Call `callback(node_name_or_None)` whenever the known leader changes."""
        ...

    def status(self) -> "StoreStatus": ...

    async def close(self) -> None:
        """End the session in the store if that can be done quickly, and stop."""
        ...


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """What `quorate status` shows of the store."""

    engine: str
    role: str
    leader: str | None
    term: int
    commit_index: int
    applied_index: int
    revision: int
    keys: int
    session: int
    voters: tuple[str, ...] = field(default_factory=tuple)
