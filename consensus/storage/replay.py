"""Reading the log back at start: from the segments to the hard state and the entries.

`read_log` changes nothing on the disk, so that a log which is refused stays as it was found; `repair` does the little
that a crash may have left to do, once the rest of the recovery has agreed. The segments are the authority over
what this replica has promised; what must never happen here is a guess about a record that had been synced.
"""

import asyncio
import logging
from dataclasses import dataclass, field

from quorate.consensus.errors import LogCorrupt
from quorate.consensus.raft.types import HardState
from quorate.core import DecodeError, Disk

from .records import Kind, Record, unpack_entries, unpack_hard_state
from .segments import (
    ADVICE,
    DIRECTORY,
    Scan,
    SegmentHeader,
    require_torn,
    require_whole,
    scan,
    segment_number,
    segment_path,
)
from .shape import LogShape, require_successor

logger = logging.getLogger(__name__)

CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class SealedSegment:
    """A segment that is not written any more; `last_index` is where the log ended when it was sealed."""

    number: int
    last_index: int


@dataclass(slots=True)
class Replayed:
    """What the segments say. `data[0]` is entry `shape.base + 1`.

    `sizes` holds (last index, bytes) of each entries record. `last_number` is 0 when there is no segment yet.
    `last_bytes` of the last segment are valid. `dropped` and `leftovers` are for `repair`.
    """

    hard_state: HardState = field(default_factory=HardState)
    shape: LogShape = field(default_factory=LogShape)
    data: list[bytes] = field(default_factory=list)
    segments: list[SealedSegment] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    last_number: int = 0
    last_bytes: int = 0
    dropped: int | None = None
    leftovers: list[int] = field(default_factory=list)


async def read_log(disk: Disk, dir_id: bytes, *, must_exist: bool) -> Replayed:
    """Read all segments. Raises `LogCorrupt`, `NewerFormat`, `OSError`.

    `must_exist`: this directory has held a log before, so an empty one means that it was taken away.
    """
    numbers = [n for name in disk.list(DIRECTORY) if (n := segment_number(name)) is not None]
    reader = _Reader(disk, dir_id)
    last: Scan | None = None
    if numbers:
        last = reader.scan(numbers[-1])
        if last.header is None:
            # A crash between the creation of a segment and the sync of its header leaves this.
            require_torn(last, reader.where(last.number))
            reader.out.dropped = numbers.pop()
            if numbers and numbers[-1] != last.number - 1:
                raise _missing(reader, last.number - 1)
            last = None
    run = _last_run(numbers)
    reader.out.leftovers = numbers[: len(numbers) - len(run)]
    if not run and must_exist:
        raise LogCorrupt(
            f"{disk.describe(DIRECTORY)} holds no usable log, and this node had one: what it has promised to the "
            f"others is lost. {ADVICE}",
            path=disk.describe(DIRECTORY),
        )
    following: Scan | None = None
    for number in run:
        found = following or reader.scan(number)
        following = None
        if number != run[-1]:
            following = last if last and last.number == number + 1 else reader.scan(number + 1)
        reader.replay(found, following)
        await asyncio.sleep(0)
    return reader.out


async def repair(disk: Disk, replayed: Replayed) -> None:
    """Cut off the torn tail and make what was read durable: it may have been in the kernel's memory only.

    A sync alone would not do. When an earlier run ended at a failed sync, the kernel may hold bytes that the disk does
    not have, and take them for written. So the last segment is written anew, and takes its own place.
    """
    for number in replayed.leftovers:
        disk.remove(segment_path(number))
    if replayed.dropped is not None:
        logger.warning("%s was never begun: removed", disk.describe(segment_path(replayed.dropped)))
        disk.remove(segment_path(replayed.dropped))
    if replayed.last_number:
        await _write_anew(disk, segment_path(replayed.last_number), replayed.last_bytes)
    await disk.sync_dir(DIRECTORY)


async def _write_anew(disk: Disk, path: str, size_bytes: int) -> None:
    """Replace a segment by a copy of its first `size_bytes`, atomically. Raises `OSError`."""
    file, copy = disk.open(path), disk.open(path + ".tmp", create=True)
    try:
        if file.size() > size_bytes:
            logger.warning(
                "%s: %d bytes behind byte %d are what a crash left of an unsynced write: cut off",
                disk.describe(path),
                file.size() - size_bytes,
                size_bytes,
            )
        if copy.size():
            copy.truncate(0)
        for start in range(0, size_bytes, CHUNK_BYTES):
            copy.append(file.read(start, min(CHUNK_BYTES, size_bytes - start)))
            await asyncio.sleep(0)
        await copy.sync()
    finally:
        file.close()
        copy.close()
    disk.rename(path + ".tmp", path)


def _last_run(numbers: list[int]) -> list[int]:
    """The consecutive numbers at the end. Others are segments whose removal a crash has undone."""
    first = len(numbers) - 1
    while first > 0 and numbers[first - 1] == numbers[first] - 1:
        first -= 1
    return numbers[max(0, first) :]


class _Reader:
    """The state of a replay."""

    def __init__(self, disk: Disk, dir_id: bytes) -> None:
        self._disk = disk
        self._dir_id = dir_id
        self._begun = False
        self.out = Replayed()

    def where(self, number: int) -> str:
        return self._disk.describe(segment_path(number))

    def scan(self, number: int) -> Scan:
        file = self._disk.open(segment_path(number))
        try:
            data = file.read(0, file.size())
        finally:
            file.close()
        return scan(data, number, self._dir_id, self.where(number))

    def replay(self, found: Scan, following: Scan | None) -> None:
        """Apply one segment; `following` is the next one, None behind the last."""
        where = self.where(found.number)
        if following is None:
            require_torn(found, where)
        elif following.header is None:
            raise self._corrupt(following.number, following.end, "its header does not read back")
        else:
            require_whole(found, following.header.previous_bytes, where)
        if found.header is None:
            raise self._corrupt(found.number, found.end, "its header does not read back")
        self._begin(found.header)
        for record in found.records:
            try:
                self._apply(record)
            except (ValueError, DecodeError) as error:
                raise self._corrupt(found.number, record.offset, str(error)) from error
        self.out.segments.append(SealedSegment(found.number, self.out.shape.last))
        self.out.last_number, self.out.last_bytes = found.number, found.end

    def _begin(self, header: SegmentHeader) -> None:
        out = self.out
        if not self._begun:
            self._begun = True
            out.hard_state = header.hard_state
            out.shape = LogShape(header.last_index, header.last_term)
            return
        stands = (out.hard_state, out.shape.last, out.shape.last_term)
        says = (header.hard_state, header.last_index, header.last_term)
        if stands != says:
            raise self._corrupt(
                header.number, 0, f"it begins at {says} and the segment before it ends at {stands}"
            )

    def _apply(self, record: Record) -> None:
        out = self.out
        match record.kind:
            case Kind.HARD_STATE:
                state = unpack_hard_state(record.term, record.payload)
                require_successor(out.hard_state, state)
                out.hard_state = state
            case Kind.ENTRIES:
                batch = unpack_entries(record.index, record.payload)
                kept = batch.first_index - 1 - out.shape.base
                out.shape.append(batch.first_index, batch.runs)
                del out.data[max(0, kept) :]
                out.data.extend(batch.data)
                out.sizes.append((batch.last_index, record.end - record.offset))
            case Kind.RESET:
                out.shape.reset(record.index, record.term)
                out.data.clear()
            case Kind.HEADER:
                raise ValueError("a second header stands inside the segment")

    def _corrupt(self, number: int, offset: int, why: str) -> LogCorrupt:
        where = self.where(number)
        return LogCorrupt(f"{where} is corrupt at byte {offset}: {why}. {ADVICE}", path=where, offset=offset)


def _missing(reader: _Reader, number: int) -> LogCorrupt:
    where = reader.where(number)
    return LogCorrupt(f"{where} is missing and it had been written. {ADVICE}", path=where)
