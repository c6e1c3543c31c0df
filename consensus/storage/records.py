"""How one record of the log looks as bytes. Pure framing: it knows neither files nor what Raft means by an entry.

    magic 4 | crc 4 | length 4 | creation 4 | kind 1, pad 3 | durable 8 | index 8 | term 8 | payload `length`

All integers are little-endian. The CRC32C covers everything behind itself and is seeded with the directory, the
segment and the offset of the record, so that a record which once stood elsewhere never passes; `creation` (which start
of the node wrote it) does the same for an earlier file of the same number.

`durable` is how many bytes of this segment had been synced when the record was written. It is the only way to tell, at
the next start, a write that was torn by a crash from a synced record that has rotted: see `segments.py`.

What must never happen here: that a record is accepted of which a bit has changed.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import msgpack
from crc32c import crc32c

from quorate.consensus.raft.types import EntryBatch, HardState, TermRun
from quorate.core import DecodeError

MAGIC = b"\xb6Qr\xd9"
MAX_PAYLOAD_BYTES = 1 << 30

_TAIL = struct.Struct("<IIBxxxQQQ")
_CRC = struct.Struct("<I")
HEAD_BYTES = len(MAGIC) + _CRC.size + _TAIL.size


class Kind(IntEnum):
    """What a record says."""

    HEADER = 1
    """First in each segment: where the log stands. `index` and `term` are those of the last entry before it."""
    HARD_STATE = 2
    """Term and vote."""
    ENTRIES = 3
    """A batch of entries, the first of which has `index` and `term`. It replaces whatever stood there and behind."""
    RESET = 4
    """A snapshot up to `index` (of `term`) stands for everything so far; the next entry is `index + 1`."""
    DURABLE = 5
    """Nothing but its `durable` field."""


_KINDS = frozenset(int(kind) for kind in Kind)


@dataclass(frozen=True, slots=True)
class Record:
    """A record that verified. `offset` and `end` are positions in the segment; `payload` is a view of it."""

    offset: int
    end: int
    kind: int
    creation: int
    durable: int
    index: int
    term: int
    payload: memoryview


@dataclass(frozen=True, slots=True)
class Framing:
    """What the records of one segment have in common."""

    seed: int
    creation: int

    @classmethod
    def of(cls, dir_id: bytes, segment: int, creation: int) -> "Framing":
        return cls(crc32c(dir_id + segment.to_bytes(8, "little")), creation)

    def encode(
        self, kind: Kind, offset: int, durable: int, index: int, term: int, payload: bytes = b""
    ) -> bytes:
        """The bytes of a record that will stand at `offset`."""
        assert len(payload) <= MAX_PAYLOAD_BYTES
        tail = _TAIL.pack(len(payload), self.creation, kind, durable, index, term)
        crc = crc32c(payload, crc32c(tail, self._seed_at(offset)))
        return b"".join((MAGIC, _CRC.pack(crc), tail, payload))

    def decode(self, data: bytes, offset: int) -> Record | None:
        """The record that stands whole and unchanged at `offset`, by whichever start of the node; else None."""
        head_end = offset + HEAD_BYTES
        if head_end > len(data) or data[offset : offset + 4] != MAGIC:
            return None
        length, creation, kind, durable, index, term = _TAIL.unpack_from(data, offset + 8)
        end = head_end + length
        if length > MAX_PAYLOAD_BYTES or end > len(data) or kind not in _KINDS or durable > offset:
            return None
        view = memoryview(data)
        crc = crc32c(view[offset + 8 : end], self._seed_at(offset))
        if crc != _CRC.unpack_from(data, offset + 4)[0]:
            return None
        return Record(offset, end, kind, creation, durable, index, term, view[head_end:end])

    def _seed_at(self, offset: int) -> int:
        # For fixed bytes the CRC is a one-to-one function of its seed: another offset is always another CRC.
        return self.seed ^ (offset & 0xFFFFFFFF)


def pack_hard_state(state: HardState) -> bytes:
    """The payload of a hard state record (its term is in the head)."""
    return pack([state.vote])


def unpack_hard_state(term: int, payload: memoryview) -> HardState:
    """Raises `DecodeError`."""
    match unpack(payload):
        case [None]:
            return HardState(term, None)
        case [str(vote)]:
            return HardState(term, vote)
    raise DecodeError("a hard state record does not hold a vote")


def pack_entries(batch: EntryBatch) -> bytes:
    """The payload of an entries record: the term runs, flattened, and the byte strings."""
    data = batch.data
    runs = [number for run in batch.runs for number in (run.term, run.count)]
    return pack([runs, data if isinstance(data, list | tuple) else list(data)])


def unpack_entries(first_index: int, payload: memoryview) -> EntryBatch:
    """Raises `DecodeError`."""
    match unpack(payload):
        case [list(numbers), list(data)] if len(numbers) % 2 == 0:
            runs = tuple(map(TermRun, numbers[::2], numbers[1::2]))
            if sum(numbers[1::2]) == len(data) > 0:
                return EntryBatch(first_index, runs, data)
    raise DecodeError("an entries record does not hold entries")


def pack(value: Sequence[object]) -> bytes:
    """msgpack, typed."""
    packed = msgpack.packb(value)
    assert isinstance(packed, bytes)
    return packed


def unpack(payload: bytes | memoryview) -> object:
    """msgpack, typed. Raises `DecodeError`."""
    try:
        value: object = msgpack.unpackb(payload)
    except (
        Exception
    ) as error:  # msgpack raises what it likes; the CRC has passed, so any of it means the same
        raise DecodeError(f"a record is no msgpack: {error}") from error
    return value
