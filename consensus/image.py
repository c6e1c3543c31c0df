"""The state machine as bytes: what a snapshot holds.

A sequence of msgpack values: a header, one value per session by id, then blocks of keys in order. Everything has
one order only, so equal states have equal bytes. Integrity on disk and on the wire is the business of the
snapshot that carries the bytes (`raft.types.SnapshotMeta.checksum`); `read_image` still believes nothing.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import msgpack

from .clients import Remembered, SessionState
from .store import NO_SESSION, KeyValue, SessionInfo, TxnResult

MAGIC = "quorate-store"
FORMAT = 1
BLOCK_KEYS = 1000  # keys per piece: a few hundred microseconds of work

_pack: Any = msgpack.packb  # (its declared result is wider than bytes)
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
        packed = [_pack(_pack_session(state)) for state in sessions]
        header = _pack((MAGIC, FORMAT, applied_index, revision, len(packed), len(keys)))
        return cls(header, b"".join(packed), keys)

    def chunks(self) -> Iterator[bytes]:
        """The bytes, piece by piece, so that a caller can do other work in between."""
        yield self.header
        if self.sessions:
            yield self.sessions
        for start in range(0, len(self.keys), BLOCK_KEYS):
            yield _pack(list(map(_fields, self.keys[start : start + BLOCK_KEYS])))


@dataclass(frozen=True, slots=True)
class Content:
    """What an image holds. The sessions' sets of keys are still empty."""

    applied_index: int
    revision: int
    sessions: list[SessionState]
    keys: list[KeyValue]


def read_image(data: bytes) -> Content:
    """Read what `Image.chunks` wrote. Raises `ValueError` for anything else."""
    try:
        unpacker = msgpack.Unpacker(use_list=False, max_buffer_size=max(1, len(data)))
        unpacker.feed(data)
        content = _read(unpacker)
        if unpacker.tell() != len(data):
            raise ValueError("there are bytes behind the last key")
    except MemoryError:
        raise
    except (TypeError, IndexError) as error:
        raise ValueError(f"no image of the store: {error}") from error
    except Exception as error:
        raise ValueError(f"no image of the store: {type(error).__name__} {error}") from error
    _check(content)
    return content


def _read(unpacker: Any) -> Content:
    magic, version, applied_index, revision, session_count, key_count = unpacker.unpack()
    if magic != MAGIC:
        raise ValueError("it begins with something else")
    if version != FORMAT:
        raise ValueError(f"it has format {version}, this version of quorate reads {FORMAT}")
    for number in (applied_index, revision, session_count, key_count):
        _integer(number)
    sessions = [_unpack_session(unpacker.unpack()) for _ in range(session_count)]
    keys: list[KeyValue] = []
    while len(keys) < key_count:
        block = unpacker.unpack()
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
        raise ValueError("no image of the store: sessions out of order")
    if len({(state.info.holder, state.nonce) for state in content.sessions}) != len(ids):
        raise ValueError("no image of the store: a nonce has two sessions")
    previous: bytes | None = None
    for item in content.keys:
        if previous is not None and previous >= item.key:
            raise ValueError("no image of the store: keys out of order")
        if item.session != NO_SESSION and item.session not in living:
            raise ValueError("no image of the store: a key of a session that is over")
        if not 0 < item.create_revision <= item.mod_revision <= content.revision or item.version < 1:
            raise ValueError("no image of the store: a key with impossible revisions")
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
