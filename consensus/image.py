"""The state machine as bytes: what a snapshot holds.

A sequence of records, each its length in four bytes and one msgpack value: a header, the sessions by id, then
blocks of keys in order. Everything has one order only, so equal states have equal bytes. Integrity on disk
and on the wire is the business of the snapshot that carries the bytes (`raft.types.SnapshotMeta.checksum`);
`read_image` still believes nothing.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from quorate.core import DecodeError, pack, unpack

from .clients import Remembered, SessionState
from .store import NO_SESSION, KeyValue, SessionInfo, TxnResult

MAGIC = "quorate-store"
FORMAT = 1
BLOCK_KEYS = 1000  # keys per piece: a few hundred microseconds of work

_fields = attrgetter("key", "value", "create_revision", "mod_revision", "version", "session")


@dataclass(frozen=True, slots=True)
class Image:
    """A state that no longer changes. Sessions are bytes already, keys are shared with the machine."""

    header: bytes
    sessions: bytes
    keys: list[KeyValue]

    @classmethod
    def of(
        cls, applied_index: int, revision: int, sessions: Iterable[SessionState], keys: list[KeyValue]
    ) -> "Image":
        """Capture a state. `keys` must be in order and belong to the image alone from now on."""
        packed = [_record(_pack_session(state)) for state in sessions]
        header = _record((MAGIC, FORMAT, applied_index, revision, len(packed), len(keys)))
        return cls(header, b"".join(packed), keys)

    def chunks(self) -> Iterator[bytes]:
        """The bytes, piece by piece, so that a caller can do other work in between."""
        yield self.header
        if self.sessions:
            yield self.sessions
        for start in range(0, len(self.keys), BLOCK_KEYS):
            yield _record(list(map(_fields, self.keys[start : start + BLOCK_KEYS])))


@dataclass(frozen=True, slots=True)
class Content:
    """What an image holds. The sessions' sets of keys are still empty."""

    applied_index: int
    revision: int
    sessions: list[SessionState]
    keys: list[KeyValue]


def read_image(data: bytes) -> Content:
    """Read what `Image.chunks` wrote. Raises `ValueError` for anything else."""
    records = _records(data)
    try:
        content = _read(records)
        _check(content)
        if next(records, None) is not None:
            raise ValueError("there is something behind the last key")
    except DecodeError as error:
        if isinstance(error.__cause__, MemoryError):
            raise error.__cause__ from None  # the bytes may be as good as any
        raise ValueError(f"no image of the store: {error}") from error
    except StopIteration:
        raise ValueError("no image of the store: it ends too early") from None
    except (TypeError, ValueError) as error:
        raise ValueError(f"no image of the store: {error}") from error
    return content


def _record(value: object) -> bytes:
    packed = pack(value)
    return len(packed).to_bytes(4, "big") + packed


def _records(data: bytes) -> Iterator[Any]:
    view, start = memoryview(data), 0
    while start < len(data):
        end = start + 4 + int.from_bytes(view[start : start + 4], "big")
        if start + 4 > len(data) or end > len(data):
            raise ValueError("it ends in the middle of a record")
        yield unpack(view[start + 4 : end], use_list=False)
        start = end


def _read(records: Iterator[Any]) -> Content:
    magic, version, applied_index, revision, session_count, key_count = next(records)
    if magic != MAGIC:
        raise ValueError("it begins with something else")
    if version != FORMAT:
        raise ValueError(f"it has format {version}, this version of quorate reads {FORMAT}")
    for number in (applied_index, revision, session_count, key_count):
        _integer(number)
    sessions = [_unpack_session(next(records)) for _ in range(session_count)]
    keys: list[KeyValue] = []
    while len(keys) < key_count:
        block = next(records)
        if not block:
            raise ValueError("a block without keys")
        keys.extend([_unpack_key(item) for item in block])
    if len(keys) != key_count:
        raise ValueError("more keys than announced")
    return Content(applied_index, revision, sessions, keys)


def _check(content: Content) -> None:
    living = {state.info.id for state in content.sessions}
    ids = [state.info.id for state in content.sessions]
    if ids != sorted(living) or (ids and not NO_SESSION < ids[0] <= ids[-1] <= content.revision):
        raise ValueError("sessions out of order")
    if len({(state.info.holder, state.nonce) for state in content.sessions}) != len(ids):
        raise ValueError("a nonce has two sessions")
    previous: bytes | None = None
    for item in content.keys:
        if previous is not None and previous >= item.key:
            raise ValueError("keys out of order")
        if item.session != NO_SESSION and item.session not in living:
            raise ValueError("a key of a session that is over")
        if not 0 < item.create_revision <= item.mod_revision <= content.revision or item.version < 1:
            raise ValueError("a key with impossible revisions")
        previous = item.key


def _pack_session(state: SessionState) -> tuple[Any, ...]:
    info = state.info
    remembered = [(sequence, _pack_result(result)) for sequence, result in sorted(state.remembered.items())]
    return info.id, info.holder, info.creation, info.ttl_s, state.nonce, state.dir_id, state.floor, remembered


def _unpack_session(raw: Any) -> SessionState:
    session, holder, creation, ttl_s, nonce, dir_id, floor, remembered = raw
    if (
        type(holder) is not str
        or type(ttl_s) is not float
        or type(nonce) is not bytes
        or type(dir_id) is not bytes
    ):
        raise ValueError("a session's fields have wrong types")
    state = SessionState(
        SessionInfo(_integer(session), holder, _integer(creation), ttl_s), nonce, dir_id, _integer(floor)
    )
    previous = state.floor - 1
    for sequence, result in remembered:
        if _integer(sequence) <= previous:
            raise ValueError("remembered requests out of order")
        state.remember(sequence, _unpack_result(result))
        previous = sequence
    return state


def _pack_result(result: Remembered) -> int | tuple[Any, ...]:
    if isinstance(result, int):
        return result
    items = [None if item is None else _fields(item) for item in result.results]
    return result.succeeded, result.revision, items


def _unpack_result(raw: Any) -> Remembered:
    if type(raw) is int:
        return _integer(raw)
    succeeded, revision, items = raw
    if type(succeeded) is not bool:
        raise ValueError("a remembered result has wrong types")
    results = tuple([None if item is None else _unpack_key(item) for item in items])
    return TxnResult(succeeded, _integer(revision), results)


def _unpack_key(raw: Any) -> KeyValue:
    key, value, create_revision, mod_revision, version, session = raw
    if type(key) is not bytes or type(value) is not bytes:
        raise ValueError("a key's fields have wrong types")
    if type(create_revision) is not int or type(mod_revision) is not int:
        raise ValueError("a key's revisions must be integers")
    return KeyValue(key, value, create_revision, mod_revision, _integer(version), _integer(session))


def _integer(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"an integer is needed, not {type(value).__name__}")
    return value
