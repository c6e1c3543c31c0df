"""One segment of the log: its file name, how it begins, and the judgement of what a crash left of it. Pure.

    preamble 16 (magic, format version, CRC) | header record | records …

A record is written once and never changed. A segment is sealed (synced whole) before the next one gets its header,
and the header of the next says how long it was. So only the last segment can hold anything unsynced.

A torn write against rot. Where the last segment stops making sense, everything behind is either what a crash left of
writes that nobody had been promised, to be cut off, or something that had been synced and has changed since, which
must stop the node. What tells them apart is evidence behind that place: a valid record whose `durable` field says that
the place had been synced. Such a record is appended after every sync. It is in the kernel's hands when `sync` returns
and on the disk with the next sync, at a clean close, or within the half minute of the kernel's own write-back. So a
change in the bytes of the very last sync, together with a loss of power right after it, is the one case that looks
exactly like a torn write and is taken for one.

What must never happen here: that synced records are cut off while there is evidence for them.
"""

import struct
from dataclasses import dataclass

from crc32c import crc32c

from quorate.consensus.errors import LogCorrupt, NewerFormat
from quorate.consensus.raft.types import HardState
from quorate.core import DecodeError

from .records import MAGIC, Framing, Kind, Record, pack, unpack

DIRECTORY = "log"
FORMAT = 1

_PREAMBLE = struct.Struct("<8sHxxI")
_PREAMBLE_MAGIC = b"quorlog\n"
PREAMBLE_BYTES = _PREAMBLE.size

ADVICE = (
    "Nothing was changed. Put back a copy of the directory that was taken after this node last ran; or, only "
    "while all other voters are up and agree, move the directory away and start the node, and the leader fills a "
    "new one. Never do the latter with two nodes at once"
)


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """How things stood when the segment began, so that the segments before it can be dropped.

    `last_index` and `last_term` are of the last entry before it. `previous_bytes` is the length of the segment before
    it, 0 for the first.
    """

    number: int
    creation: int
    hard_state: HardState
    last_index: int
    last_term: int
    previous_bytes: int


@dataclass(frozen=True, slots=True)
class Scan:
    """What a segment's bytes say. `header` is None when it does not verify.

    `end` is where the valid records end: short of `size` something is wrong there. `evidence` is the largest
    `durable` of the valid records behind that place: above `end`, what is wrong there had been synced.
    """

    number: int
    size: int
    header: SegmentHeader | None
    records: tuple[Record, ...]
    end: int
    evidence: int


def segment_path(number: int) -> str:
    """Relative to the data directory."""
    return f"{DIRECTORY}/{number:016d}.log"


def segment_number(name: str) -> int | None:
    """The number in a file name; None for other files."""
    stem, dot, suffix = name.partition(".")
    return int(stem) if dot and suffix == "log" and len(stem) == 16 and stem.isdecimal() else None


def encode_start(dir_id: bytes, header: SegmentHeader) -> bytes:
    """Preamble and header record."""
    preamble = _PREAMBLE.pack(_PREAMBLE_MAGIC, FORMAT, 0)[:-4]
    framing = Framing.of(dir_id, header.number, header.creation)
    state = header.hard_state
    payload = pack([state.term, state.vote, header.number, header.previous_bytes])
    record = framing.encode(Kind.HEADER, PREAMBLE_BYTES, 0, header.last_index, header.last_term, payload)
    return preamble + crc32c(preamble).to_bytes(4, "little") + record


def scan(data: bytes, number: int, dir_id: bytes, where: str) -> Scan:
    """Read a segment's bytes. Raises `NewerFormat`; judges nothing else."""
    framing = Framing.of(dir_id, number, 0)
    records: list[Record] = []
    header: SegmentHeader | None = None
    end = 0
    if _preamble_holds(data, where):
        first = framing.decode(data, PREAMBLE_BYTES)
        header = _read_header(first, number)
        if header is not None and first is not None:
            end = first.end
            while (record := framing.decode(data, end)) and record.creation == header.creation:
                records.append(record)
                end = record.end
    evidence = 0
    if end < len(data):
        evidence = _evidence_behind(data, end, framing, header.creation if header else None)
    return Scan(number, len(data), header, tuple(records), end, evidence)


def require_whole(found: Scan, expected_bytes: int, where: str) -> None:
    """A sealed segment is whole, and as long as the next one says. Raises `LogCorrupt`."""
    if found.header is None or found.end != found.size or found.size != expected_bytes:
        offset = min(found.end, expected_bytes)
        raise LogCorrupt(
            f"{where} is corrupt at byte {offset}: it was synced whole, with {expected_bytes} bytes, and does "
            f"not read back. {ADVICE}",
            path=where,
            offset=offset,
        )


def require_torn(found: Scan, where: str) -> None:
    """What is wrong at the end of the last segment had not been synced. Raises `LogCorrupt`."""
    if found.evidence > found.end:
        raise LogCorrupt(
            f"{where} is corrupt at byte {found.end}: a later record says that the first {found.evidence} bytes "
            f"were synced, and they do not read back. {ADVICE}",
            path=where,
            offset=found.end,
        )


def _preamble_holds(data: bytes, where: str) -> bool:
    if len(data) < PREAMBLE_BYTES:
        return False
    magic, version, crc = _PREAMBLE.unpack_from(data)
    if magic != _PREAMBLE_MAGIC or crc != crc32c(data[: PREAMBLE_BYTES - 4]):
        return False
    if version > FORMAT:
        raise NewerFormat(
            f"{where} is in format {version} and this version of quorate knows format {FORMAT}: it was written by "
            f"a newer one. Start the node with that version (or a newer one)"
        )
    return bool(version == FORMAT)


def _read_header(record: Record | None, number: int) -> SegmentHeader | None:
    if record is None or record.kind != Kind.HEADER:
        return None
    match unpack(record.payload):
        case [int(term), str() | None as vote, int(own), int(previous_bytes)] if own == number:
            state = HardState(term, vote)
            return SegmentHeader(number, record.creation, state, record.index, record.term, previous_bytes)
    raise DecodeError("a segment header record does not hold a header")


def _evidence_behind(data: bytes, start: int, framing: Framing, creation: int | None) -> int:
    """The largest `durable` of any valid record behind `start`. Unsynced writes may have survived out of order."""
    evidence = 0
    at = data.find(MAGIC, start)
    while at >= 0:
        record = framing.decode(data, at)
        if record is not None and creation in (None, record.creation):
            evidence = max(evidence, record.durable)
            at = data.find(MAGIC, record.end)
        else:
            at = data.find(MAGIC, at + 1)
    return evidence
