"""The store's state machine: what the log's entries do to keys and sessions.

Every replica applies the same entries in the same order to one `StoreMachine`, and the machine is the
authority for everything that the store knows: keys, sessions, revisions, and which requests were done
already. It is pure. It must never read a clock, draw randomness, iterate a set where the order shows, or
raise because of what an entry holds: an entry that cannot be carried out has an `Outcome` that says so, the
same on every replica.

Statements that hold after every entry (`check` asserts those that can be seen in a state):

* `revision` is the number of entries that changed keys or sessions. All changes of one entry share a
  revision; none is used twice, and none is given back.
* A session's id is the revision that opened it, so ids grow and are never used again.
* A key's session lives. A session's end removes its keys in the same entry.
* A request of a living session is done at most once. Its result is remembered until the client says that it
  needs it no longer; from then on the request is refused.

Where requests of a session come out of order, or twice, or both, see `_request`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from . import commands
from .clients import Remembered, SessionState
from .commands import CloseSession, OpenSession, Request, Txn
from .errors import OutcomeUnknown, Overloaded, SessionLost, StoreError
from .image import Image, read_image
from .keyspace import KeySpace
from .store import NO_SESSION, Compare, Delete, Event, KeyValue, Op, Put, SessionInfo, TxnResult


class Status(IntEnum):
    """What became of an entry. Only `DONE` has changed keys or sessions (or answered a request)."""

    DONE = 0
    EMPTY = 1  # the entry that a new leader appends in its own term
    REJECTED = 2  # no command of this version
    SESSION_LOST = 3  # a Put names a session that is over
    CLIENT_GONE = 4  # the request's own session is over; an earlier copy may have been done while it lived
    STALE = 5  # the client had said that it needs the result no longer; an earlier copy may have been done
    OVERLOADED = 6  # the client has too many requests unacknowledged; a later copy may still be done
    SUPERSEDED = 7  # an open of an incarnation whose successor has a session


@dataclass(frozen=True, slots=True)
class Outcome:
    """What applying one entry did. `revision` is the machine's afterwards.

    `result` belongs to a request that is done; `replayed` says that it was done by an earlier copy. `session`
    is the one opened or found by an `OpenSession`, or the one that is over. `closed` are the sessions that
    this entry ended, by id. `events` are the changes of keys, in the order in which they happened.
    """

    status: Status
    revision: int
    result: TxnResult | None = None
    events: tuple[Event, ...] = ()
    session: int = NO_SESSION
    opened: SessionInfo | None = None
    closed: tuple[int, ...] = ()
    replayed: bool = False
    detail: str = ""


def error_of(outcome: Outcome, *, sent_once: bool) -> StoreError | None:
    """What the caller of a request is told when it was not done; None when it was.

    `sent_once` says that this outcome belongs to the only copy that ever left. Without it a refusal of one
    copy proves nothing about the others.
    """
    status = outcome.status
    if status is Status.DONE:
        return None
    if status is Status.SESSION_LOST:
        return SessionLost(f"session {outcome.session}, which a put names, is over; nothing was done")
    if status is Status.REJECTED:
        return StoreError(f"the replicas do not know this request ({outcome.detail}); nothing was done")
    if not sent_once:
        return OutcomeUnknown(
            f"this copy was refused ({outcome.detail}); another may have been done, or may yet"
        )
    if status is Status.OVERLOADED:
        return Overloaded(f"{outcome.detail}; nothing was done")
    return SessionLost(f"{outcome.detail}; nothing was done")


class StoreMachine:
    """Keys, sessions and requests done, as of one log entry."""

    def __init__(self) -> None:
        self._keys = KeySpace()
        self._sessions: dict[int, SessionState] = {}  # by id, in order of ids
        self._by_nonce: dict[tuple[str, bytes], int] = {}
        self._revision = 0
        self._applied_index = 0

    # Reading

    @property
    def revision(self) -> int:
        """The revision of the last change."""
        return self._revision

    @property
    def applied_index(self) -> int:
        """Index of the last entry applied."""
        return self._applied_index

    def __len__(self) -> int:
        """How many keys there are."""
        return len(self._keys)

    def get(self, key: bytes) -> KeyValue | None:
        return self._keys.get(key)

    def range(self, prefix: bytes) -> list[KeyValue]:
        """All keys with a prefix, in order of the keys."""
        return self._keys.range(prefix)

    def keys(self) -> Mapping[bytes, KeyValue]:
        """All keys, read-only and live, in no order that means anything (for `watches.difference`)."""
        return self._keys.view()

    def sessions(self) -> list[SessionInfo]:
        """The sessions that live, by id."""
        return [state.info for state in self._sessions.values()]

    def session(self, session: int) -> SessionInfo | None:
        """A living session; None when it is over or never was."""
        state = self._sessions.get(session)
        return state.info if state is not None else None

    # Applying

    def apply(self, index: int, command: bytes) -> Outcome:
        """Carry out the log entry at `index`. Indices grow; they may leave out entries of other kinds."""
        assert index > self._applied_index, f"entry {index} after entry {self._applied_index}"
        self._applied_index = index
        if not command:
            return Outcome(Status.EMPTY, self._revision)
        try:
            decoded = commands.decode(command)
        except ValueError as error:
            return Outcome(Status.REJECTED, self._revision, detail=str(error))
        if isinstance(decoded, Request):
            return self._request(decoded)
        if isinstance(decoded, OpenSession):
            return self._open(decoded)
        if isinstance(decoded, CloseSession):
            return self._end((decoded.session,))
        return self._end(decoded.sessions)

    def _request(self, request: Request) -> Outcome:
        """Do a request, unless it was done or may have been.

        Copies of requests come in any order. The client's `acked_below` divides them: what is under the
        highest one seen was answered, so a copy of it is an echo; what is above and remembered was done; the
        rest is new. The distance between the two is bounded, and with it what a session can make replicas
        remember.
        """
        client = self._sessions.get(request.session)
        if client is None:
            detail = f"the session {request.session} that made the request is over"
            return Outcome(Status.CLIENT_GONE, self._revision, session=request.session, detail=detail)
        sequence = request.sequence
        client.acknowledge(request.acked_below)
        if sequence < client.floor:
            return Outcome(
                Status.STALE, self._revision, detail=f"request {sequence} was acknowledged by its client"
            )
        known = client.remembered.get(sequence)
        if known is not None:
            return self._answer(known, (), replayed=True)
        if not client.has_room_for(sequence):
            detail = f"session {request.session} has too many requests unacknowledged"
            return Outcome(Status.OVERLOADED, self._revision, detail=detail)
        events: list[Event] = []
        result = self._transact(request.txn, events)
        client.remember(sequence, result)
        return self._answer(result, tuple(events), replayed=False)

    def _answer(self, result: Remembered, events: tuple[Event, ...], *, replayed: bool) -> Outcome:
        if isinstance(result, TxnResult):
            return Outcome(Status.DONE, self._revision, result, events, replayed=replayed)
        return Outcome(Status.SESSION_LOST, self._revision, session=result, replayed=replayed)

    def _transact(self, txn: Txn, events: list[Event]) -> Remembered:
        """Do a transaction; the id of the dead session when a put names one, with nothing done."""
        succeeded = True
        for compare in txn.if_:
            if not self._holds(compare):
                succeeded = False
                break
        branch = txn.then if succeeded else txn.else_
        for op in branch:  # the only thing that can fail, looked at before anything is changed
            if isinstance(op, Put) and op.session != NO_SESSION and op.session not in self._sessions:
                return op.session
        revision = self._revision + 1
        results = tuple([self._do(op, revision, events) for op in branch])
        if events:
            self._revision = revision
        return TxnResult(succeeded, self._revision, results)

    def _holds(self, compare: Compare) -> bool:
        target, value = compare.target, compare.value
        if target == "session":
            return value in self._sessions
        item = self._keys.get(compare.key)
        actual: int | bytes
        if target == "value":
            actual = item.value if item is not None else b""
        elif item is None:
            actual = 0
        elif target == "version":
            actual = item.version
        elif target == "create":
            actual = item.create_revision
        else:
            actual = item.mod_revision
        op = compare.op
        if op == "==":
            return actual == value
        if op == "!=":
            return actual != value
        if op == "<":
            return actual < value  # type: ignore[operator]  # decode made sure that both are of one type
        return actual > value  # type: ignore[operator]

    def _do(self, op: Op, revision: int, events: list[Event]) -> KeyValue | None:
        key = op.key
        before = self._keys.get(key)
        if isinstance(op, Put):
            session = op.session
            if before is None:
                now = KeyValue(key, op.value, revision, revision, 1, session)
            else:
                now = KeyValue(key, op.value, before.create_revision, revision, before.version + 1, session)
                if before.session != session and before.session != NO_SESSION:
                    self._sessions[before.session].keys.discard(key)
            if session != NO_SESSION:
                self._sessions[session].keys.add(key)
            self._keys.put(now)
            events.append(Event(key, revision, now, before))
            return now
        if isinstance(op, Delete) and before is not None:
            self._remove(before, revision, events)
        return before

    def _remove(self, item: KeyValue, revision: int, events: list[Event]) -> None:
        if item.session != NO_SESSION:
            self._sessions[item.session].keys.discard(item.key)
        self._keys.remove(item.key)
        events.append(Event(item.key, revision, None, item))

    def _open(self, command: OpenSession) -> Outcome:
        known = self._by_nonce.get((command.holder, command.nonce))
        if known is not None:
            opened = self._sessions[known].info
            return Outcome(Status.DONE, self._revision, session=known, opened=opened, replayed=True)
        ended: list[int] = []
        if command.dir_id:
            for session, state in self._sessions.items():
                if state.info.holder == command.holder and state.dir_id == command.dir_id:
                    if state.info.creation > command.creation:
                        detail = f"creation {state.info.creation} of {command.holder} has a session already"
                        return Outcome(Status.SUPERSEDED, self._revision, session=session, detail=detail)
                    if state.info.creation < command.creation:
                        ended.append(session)
        self._revision += 1
        events: list[Event] = []
        self._close(ended, events)
        opened = SessionInfo(self._revision, command.holder, command.creation, command.ttl_s)
        self._admit(SessionState(opened, command.nonce, command.dir_id))
        return Outcome(
            Status.DONE,
            self._revision,
            None,
            tuple(events),
            session=opened.id,
            opened=opened,
            closed=tuple(ended),
        )

    def _end(self, sessions: Iterable[int]) -> Outcome:
        ended = sorted({session for session in sessions if session in self._sessions})
        events: list[Event] = []
        if ended:
            self._revision += 1
            self._close(ended, events)
        return Outcome(Status.DONE, self._revision, None, tuple(events), closed=tuple(ended))

    def _close(self, sessions: list[int], events: list[Event]) -> None:
        """End living sessions and remove their keys, in order of the keys, at the current revision."""
        orphans: list[bytes] = []
        for session in sessions:
            state = self._sessions.pop(session)
            del self._by_nonce[(state.info.holder, state.nonce)]
            orphans.extend(state.keys)
        for key in sorted(orphans):
            before = self._keys.remove(key)
            assert before is not None, f"{key!r} belongs to a session and does not exist"
            events.append(Event(key, self._revision, None, before))

    def _admit(self, state: SessionState) -> None:
        self._sessions[state.info.id] = state
        self._by_nonce[(state.info.holder, state.nonce)] = state.info.id

    # Snapshots

    def capture(self) -> Image:
        """The whole state at this entry, to be written now or later: what is applied meanwhile is not in it.

        Takes a few milliseconds for 100,000 keys. Equal states have equal images, byte for byte, on every
        replica.
        """
        return Image.of(self._applied_index, self._revision, self._sessions.values(), self._keys.range(b""))

    def snapshot(self) -> bytes:
        """The whole state at this entry. `capture().chunks()` gives the same bytes piece by piece."""
        return b"".join(self.capture().chunks())

    def restore(self, data: bytes) -> None:
        """Become the state that `data`, made by `snapshot`, stands for.

        Raises `ValueError` for anything else, and then nothing has changed here. What the holder of a watch
        missed is told by `watches.difference` between `keys()` copied before and `keys()` after.
        """
        content = read_image(data)
        self._keys = KeySpace(content.keys)
        self._sessions = {}
        self._by_nonce = {}
        for state in content.sessions:
            self._admit(state)
        for item in content.keys:
            if item.session != NO_SESSION:
                self._sessions[item.session].keys.add(item.key)
        self._revision = content.revision
        self._applied_index = content.applied_index

    def check(self) -> None:
        """Assert whatever can be seen to hold in a state. For tests and simulations: it reads every key."""
        assert list(self._sessions) == sorted(self._sessions)
        for session, state in self._sessions.items():
            assert NO_SESSION < session <= self._revision
            assert self._by_nonce[(state.info.holder, state.nonce)] == session
            owned = {item.key for item in self._keys.view().values() if item.session == session}
            assert owned == state.keys, f"session {session} has {state.keys}, its keys are {owned}"
            state.check()
        assert len(self._by_nonce) == len(self._sessions)
        previous = None
        for item in self._keys.range(b""):
            assert previous is None or previous < item.key
            assert 0 < item.create_revision <= item.mod_revision <= self._revision and item.version >= 1
            assert item.session == NO_SESSION or item.session in self._sessions
            previous = item.key
