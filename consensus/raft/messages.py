"""What replicas say to each other, and its form on the wire.

Every message has a `term` and a `round`. A candidacy and every burst of messages of a leader have a round of
their own, and an answer repeats the round of what it answers. Term and round together say which leadership,
and which moment of it, an answer belongs to: one that comes late is known for what it is.

`encode` gives a list of plain values for msgpack, led by the number of the type; `decode` takes such a list
apart and raises `ValueError` unless every value has the right type and range. A number, once given to a
type, is never used for another; a new field means a new number.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from .types import Configuration, EntryBatch, NodeId, SnapshotMeta, TermRun

LIMIT = 1 << 62  # of every number on the wire: room for adding to it without leaving 64 bits


@dataclass(frozen=True, slots=True)
class VoteRequest:
    """A candidate asks for a vote in `term` (paper 5.2), or if it would get one (`pre`, dissertation 9.6).

    `transfer`: the leader itself asked for this election, so its followers need not stick to it.
    """

    term: int
    round: int
    last_index: int
    last_term: int
    pre: bool
    transfer: bool


@dataclass(frozen=True, slots=True)
class VoteReply:
    """Granted in `term`; or refused by a replica that is in `term`."""

    term: int
    round: int
    granted: bool
    pre: bool


@dataclass(frozen=True, slots=True)
class AppendRequest:
    """Entries after `prev_index` (paper, figure 2, AppendEntries); none to ask whether that one matches."""

    term: int
    round: int
    prev_index: int
    prev_term: int
    commit_index: int
    entries: EntryBatch = field(repr=False)


@dataclass(frozen=True, slots=True)
class AppendReply:
    """`success`: everything up to `index` is durable here and is the leader's.

    Otherwise the entry before the sent ones does not match; the place to try next is the last entry up to
    `index` with a term of at most `hint_term`.
    """

    term: int
    round: int
    success: bool
    index: int
    hint_term: int


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The leader lives. `commit_index` is not beyond what this follower has acknowledged.

    Round 0 wants no answer.
    """

    term: int
    round: int
    commit_index: int


@dataclass(frozen=True, slots=True)
class HeartbeatReply:
    """The follower is in this term still, and knows entries up to `commit_index` to be committed."""

    term: int
    round: int
    commit_index: int


@dataclass(frozen=True, slots=True)
class SnapshotChunk:
    """A part of a snapshot. It says nothing about the follower's log, and nothing about what is committed."""

    term: int
    round: int
    meta: SnapshotMeta
    offset: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SnapshotReply:
    """The follower has the first `offset` bytes of the snapshot of entry `index`; send what follows.

    Not `accepted`: the chunk did not fit behind those bytes, or the whole did not have its checksum. A
    snapshot that was installed is acknowledged by an `AppendReply`.
    """

    term: int
    round: int
    accepted: bool
    index: int
    offset: int


@dataclass(frozen=True, slots=True)
class TimeoutNow:
    """The leader hands over: campaign at once (dissertation 3.10)."""

    term: int
    round: int


Message: TypeAlias = (
    VoteRequest
    | VoteReply
    | AppendRequest
    | AppendReply
    | Heartbeat
    | HeartbeatReply
    | SnapshotChunk
    | SnapshotReply
    | TimeoutNow
)


def encode(message: Message) -> list[object]:
    """The message as a list of integers, booleans, strings, bytes and lists."""
    match message:
        case AppendRequest(term, round_, prev_index, prev_term, commit_index, entries):
            runs = [[run.term, run.count] for run in entries.runs]
            return [3, term, round_, prev_index, prev_term, commit_index, runs, entries.data]
        case AppendReply(term, round_, success, index, hint_term):
            return [4, term, round_, success, index, hint_term]
        case Heartbeat(term, round_, commit_index):
            return [5, term, round_, commit_index]
        case HeartbeatReply(term, round_, commit_index):
            return [6, term, round_, commit_index]
        case VoteRequest(term, round_, last_index, last_term, pre, transfer):
            return [1, term, round_, last_index, last_term, pre, transfer]
        case VoteReply(term, round_, granted, pre):
            return [2, term, round_, granted, pre]
        case SnapshotChunk(term, round_, meta, offset, data):
            return [7, term, round_, _encode_meta(meta), offset, data]
        case SnapshotReply(term, round_, accepted, index, offset):
            return [8, term, round_, accepted, index, offset]
        case TimeoutNow(term, round_):
            return [9, term, round_]


def decode(values: object) -> Message:
    """The message that `encode` made into `values`. Raises `ValueError` for anything else."""
    fields = _list(values, "message")
    kind = _number(fields[0], "type") if fields else 0
    if kind not in _DECODERS:
        raise ValueError(f"no message has the type {kind}")
    length, decoder = _DECODERS[kind]
    if len(fields) != length:
        raise ValueError(f"a message of type {kind} has {length} fields, not {len(fields)}")
    return decoder(fields)


def _decode_vote_request(f: Sequence[object]) -> VoteRequest:
    return VoteRequest(
        _term(f[1]),
        _number(f[2], "round"),
        _number(f[3], "last_index"),
        _number(f[4], "last_term"),
        _flag(f[5], "pre"),
        _flag(f[6], "transfer"),
    )


def _decode_vote_reply(f: Sequence[object]) -> VoteReply:
    # A refusal can come from a replica that is in no term yet.
    return VoteReply(
        _number(f[1], "term"), _number(f[2], "round"), _flag(f[3], "granted"), _flag(f[4], "pre")
    )


def _decode_append_request(f: Sequence[object]) -> AppendRequest:
    term = _term(f[1])
    prev_index, prev_term = _number(f[3], "prev_index"), _number(f[4], "prev_term")
    data = _list(f[7], "entries")
    if not set(map(type, data)) <= {bytes}:
        raise ValueError("an entry is not bytes")
    runs = []
    count, low = 0, max(1, prev_term)
    for values in _list(f[6], "runs"):
        run = _list(values, "run")
        if len(run) != 2:
            raise ValueError("a run is a term and a count")
        runs.append(TermRun(_number(run[0], "term of a run"), _number(run[1], "count of a run")))
        if not low <= runs[-1].term <= term or runs[-1].count < 1:
            raise ValueError(f"a run of {runs[-1].count} entries of term {runs[-1].term} after term {low}")
        low = runs[-1].term + 1
        count += runs[-1].count
    if count != len(data):
        raise ValueError(f"{len(data)} entries, but terms for {count}")
    if prev_term > term or (prev_index == 0) != (prev_term == 0):
        raise ValueError(f"entry {prev_index} has no term {prev_term} in term {term}")
    entries = EntryBatch(prev_index + 1, tuple(runs), data)  # type: ignore[arg-type] # all bytes: seen above
    return AppendRequest(
        term, _number(f[2], "round"), prev_index, prev_term, _number(f[5], "commit"), entries
    )


def _decode_append_reply(f: Sequence[object]) -> AppendReply:
    return AppendReply(
        _term(f[1]),
        _number(f[2], "round"),
        _flag(f[3], "success"),
        _number(f[4], "index"),
        _number(f[5], "hint_term"),
    )


def _decode_heartbeat(f: Sequence[object]) -> Heartbeat:
    return Heartbeat(_term(f[1]), _number(f[2], "round"), _number(f[3], "commit_index"))


def _decode_heartbeat_reply(f: Sequence[object]) -> HeartbeatReply:
    return HeartbeatReply(_term(f[1]), _number(f[2], "round"), _number(f[3], "commit_index"))


def _decode_snapshot_chunk(f: Sequence[object]) -> SnapshotChunk:
    meta = _decode_meta(f[3])
    term, offset, data = _term(f[1]), _number(f[4], "offset"), f[5]
    if type(data) is not bytes:
        raise ValueError("the data of a snapshot is not bytes")
    if offset + len(data) > meta.size_bytes:
        raise ValueError(f"a chunk that ends at {offset + len(data)} of {meta.size_bytes} bytes")
    if meta.term > term:
        raise ValueError(f"a snapshot of term {meta.term} in term {term}")
    return SnapshotChunk(term, _number(f[2], "round"), meta, offset, data)


def _decode_snapshot_reply(f: Sequence[object]) -> SnapshotReply:
    return SnapshotReply(
        _term(f[1]),
        _number(f[2], "round"),
        _flag(f[3], "accepted"),
        _number(f[4], "index"),
        _number(f[5], "offset"),
    )


def _decode_timeout_now(f: Sequence[object]) -> TimeoutNow:
    return TimeoutNow(_term(f[1]), _number(f[2], "round"))


_DECODERS: dict[int, tuple[int, Callable[[Sequence[object]], Message]]] = {
    1: (7, _decode_vote_request),
    2: (5, _decode_vote_reply),
    3: (8, _decode_append_request),
    4: (6, _decode_append_reply),
    5: (4, _decode_heartbeat),
    6: (4, _decode_heartbeat_reply),
    7: (6, _decode_snapshot_chunk),
    8: (6, _decode_snapshot_reply),
    9: (3, _decode_timeout_now),
}


def _encode_meta(meta: SnapshotMeta) -> list[object]:
    members = meta.configuration
    sets = [sorted(members.voters), sorted(members.outgoing), sorted(members.learners)]
    return [meta.index, meta.term, sets, meta.checksum, meta.size_bytes]


def _decode_meta(value: object) -> SnapshotMeta:
    values = _list(value, "meta")
    if len(values) != 5:
        raise ValueError("a snapshot is described by five values")
    sets = _list(values[2], "configuration")
    if len(sets) != 3:
        raise ValueError("a configuration is three sets of ids")
    configuration = Configuration(_ids(sets[0]), _ids(sets[1]), _ids(sets[2]))
    index, term = _number(values[0], "index"), _number(values[1], "term of a snapshot")
    if index < 1 or term < 1 or not configuration.voters:
        raise ValueError("a snapshot has an index, a term and voters")
    return SnapshotMeta(
        index, term, configuration, _number(values[3], "checksum"), _number(values[4], "size_bytes")
    )


def _list(value: object, what: str) -> Sequence[object]:
    if type(value) is list or type(value) is tuple:
        return value
    raise ValueError(f"{what} is not a list")


def _number(value: object, what: str) -> int:
    if type(value) is int and 0 <= value < LIMIT:
        return value
    raise ValueError(f"{what} is not a number from 0 to 2**62")


def _term(value: object) -> int:
    term = _number(value, "term")
    if term < 1:
        raise ValueError("nobody asks or leads in term 0")
    return term


def _flag(value: object, what: str) -> bool:
    if value is True or value is False:
        return value
    raise ValueError(f"{what} is neither true nor false")


def _ids(value: object) -> frozenset[NodeId]:
    ids = _list(value, "set of ids")
    for one in ids:
        if type(one) is not str or not 0 < len(one) <= 255:
            raise ValueError("an id is a string of 1 to 255 characters")
    return frozenset(ids)  # type: ignore[arg-type] # all strings: seen above
