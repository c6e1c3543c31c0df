"""The log on disk: appended to by one replica, synced by groups, read back at start (`replay.py`).

`append` puts records into the kernel's hands; `sync` returns when everything that was appended before it survives a
loss of power. Callers of `sync` share one `fdatasync`: those who come while one runs are covered by the next. Raft's
shell lets nothing leave the node before the sync that covers what it depends on.

The Wal owns the segment files. What must never happen here: that `sync` returns for bytes that are not on the disk;
that a failed sync is tried again (the kernel may have dropped the bytes and will say yes, see "fsyncgate"), so one
failure ends the Wal; that a segment gets its header before the one before it is synced whole.
"""

import asyncio
import logging

from quorate.consensus.errors import DiskFailed, StoreStopped
from quorate.consensus.raft.types import EntryBatch, HardState
from quorate.core import Disk, File, TooLarge

from .records import MAX_PAYLOAD_BYTES, Framing, Kind, pack_entries, pack_hard_state
from .replay import Replayed, SealedSegment
from .segments import DIRECTORY, SegmentHeader, encode_start, segment_path
from .shape import LogShape, require_successor

logger = logging.getLogger(__name__)

SEGMENT_BYTES = 64 * 1024 * 1024
"""A segment that has grown to this is sealed and the next one begun."""

_Item = tuple[Kind, int, int, bytes]


class Wal:
    """Open it with `Wal.open`. Not safe for use from more than one loop."""

    def __init__(
        self, disk: Disk, dir_id: bytes, creation: int, replayed: Replayed, segment_bytes: int
    ) -> None:
        self.shape: LogShape = replayed.shape
        self.entry_bytes = 0
        """Bytes of entries appended since it was opened."""
        self._disk = disk
        self._dir_id = dir_id
        self._creation = creation
        self._segment_bytes = segment_bytes
        self._hard_state = replayed.hard_state
        self._sealed = list(replayed.segments)
        # The segment that is written.
        self._number = replayed.last_number
        self._size = replayed.last_bytes
        self._file: File | None = None
        self._framing = Framing(0, 0)
        self._durable_bytes = 0
        # While the next segment is made, what is appended waits here.
        self._rolling = False
        self._held: list[_Item] = []
        # Appends are counted; `_durable` of them survive a loss of power.
        self._appended = 0
        self._durable = 0
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._syncer: asyncio.Task[None] | None = None
        self._failure: str | None = None
        self._closed = False

    @classmethod
    async def open(
        cls,
        disk: Disk,
        dir_id: bytes,
        creation: int,
        replayed: Replayed,
        *,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> "Wal":
        """Go on behind a log that was read and repaired, in a new segment. Raises `OSError`."""
        wal = cls(disk, dir_id, creation, replayed, segment_bytes)
        try:
            await wal._begin_segment()
        except BaseException as error:
            wal.fail(error)
            await wal.close()
            raise
        return wal

    def append(self, hard_state: HardState | None, entries: EntryBatch | None) -> None:
        """Write a hard state, entries, or both; they are durable after the next `sync`.

        Entries replace what stands at their indexes and everything behind. Raises `DiskFailed`, `StoreStopped`,
        `TooLarge`, and `ValueError` for what Raft never does: a gap, a term that goes down, a second vote.
        """
        self._require_usable()
        items: list[_Item] = []
        if hard_state is not None:
            require_successor(self._hard_state, hard_state)
            items.append((Kind.HARD_STATE, 0, hard_state.term, pack_hard_state(hard_state)))
        if entries is not None and entries.data:
            payload = pack_entries(entries)
            if len(payload) > MAX_PAYLOAD_BYTES:
                raise TooLarge(
                    f"{len(payload)} bytes of entries are over the log's limit: write them in smaller batches",
                    size_bytes=len(payload),
                    limit_bytes=MAX_PAYLOAD_BYTES,
                )
            self.shape.append(entries.first_index, entries.runs)
            self.entry_bytes += len(payload)
            items.append((Kind.ENTRIES, entries.first_index, entries.runs[0].term, payload))
        if hard_state is not None:
            self._hard_state = hard_state
        if items:
            self._put(items)

    def reset(self, index: int, term: int) -> None:
        """A durable snapshot stands for everything up to `index`; the next entry is `index + 1`."""
        self._require_usable()
        self.shape.reset(index, term)
        self._put([(Kind.RESET, index, term, b"")])

    async def sync(self) -> None:
        """Return when everything appended before the call survives a loss of power.

        Raises `DiskFailed`: then nothing is known about what was appended since the last sync that returned.
        """
        self._require_usable()
        target = self._appended
        if self._durable >= target:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((target, waiter))
        if self._syncer is None or self._syncer.done():
            self._syncer = asyncio.create_task(self._sync_until_idle())
        await waiter
        if self._durable < target:
            self._require_usable()

    def compact(self, index: int) -> None:
        """Remove the segments that hold no entry behind `index`, for which a durable snapshot stands.

        The removals need no sync: a segment that comes back after a crash does no harm. Raises `DiskFailed`.
        """
        self._require_usable()
        try:
            while self._sealed and self._sealed[0].last_index <= index:
                self._disk.remove(segment_path(self._sealed[0].number))
                del self._sealed[0]
        except OSError as error:
            raise self.fail(error) from error

    async def close(self) -> None:
        """Sync what is pending, with the evidence that it was synced, and close. A failing disk is only logged."""
        if self._closed:
            return
        try:
            if self._failure is None:
                await self.sync()
            if self._syncer is not None:  # it may be beginning a segment
                await asyncio.wait([self._syncer])
            if self._failure is None and self._file is not None:
                await self._file.sync()
        except (DiskFailed, OSError) as error:
            logger.warning("the log was closed without a last sync: %s", error)
        finally:
            self._closed = True
            if self._file is not None:
                self._file.close()

    def abandon(self) -> None:
        """Close at once: nothing more is written. A sync that is under way may end, nobody hears of it."""
        if self._closed:
            return
        self._closed = True
        self._failure = self._failure or "the log was abandoned"
        if self._syncer is not None:
            self._syncer.cancel()
        self._wake(None)
        if self._file is not None:
            self._file.close()

    def fail(self, error: BaseException) -> DiskFailed:
        """End the Wal because of `error`. Returns what to raise."""
        if self._failure is None:
            reason = (error.strerror or str(error)) if isinstance(error, OSError) else repr(error)
            self._failure = (
                f"{self._disk.describe(DIRECTORY)}: {reason}. The node takes no further part; what it had not yet "
                f"confirmed may be lost, what it had is not. Mend the disk (or free space) and start the node again"
            )
            logger.error("%s", self._failure)
        self._wake(None)
        return DiskFailed(self._failure)

    def _require_usable(self) -> None:
        if self._failure is not None:
            raise DiskFailed(self._failure)
        if self._closed:
            raise StoreStopped("the log was closed")

    def _put(self, items: list[_Item]) -> None:
        self._appended += 1
        if self._rolling:
            self._held += items
        else:
            self._write(items)

    def _write(self, items: list[_Item]) -> None:
        """One `File.append`. Raises `DiskFailed`."""
        assert self._file is not None
        framing, durable, offset = self._framing, self._durable_bytes, self._size
        parts: list[bytes] = []
        for kind, index, term, payload in items:
            parts.append(framing.encode(kind, offset, durable, index, term, payload))
            offset += len(parts[-1])
        try:
            self._file.append(parts[0] if len(parts) == 1 else b"".join(parts))
        except OSError as error:
            raise self.fail(error) from error
        self._size = offset

    async def _sync_until_idle(self) -> None:
        try:
            while self._waiters:
                await self._sync_once()
                if self._size >= self._segment_bytes:
                    await self._begin_segment()
        except OSError as error:
            self.fail(error)
        except DiskFailed:
            pass  # `fail` has told everybody
        except BaseException as error:
            self.fail(error)
            raise
        finally:
            self._syncer = None

    async def _sync_once(self) -> None:
        """One sync for everybody who waits now. Raises `OSError`, `DiskFailed`."""
        assert self._file is not None
        appended, size = self._appended, self._size
        await self._file.sync()
        self._durable, self._durable_bytes = appended, size
        self._wake(appended)
        # The evidence that this much was synced. It must be in the kernel's hands when the callers go on, and it
        # is: `_wake` lets them run in the next turn of the loop.
        self._write([(Kind.DURABLE, self.shape.last, self.shape.last_term, b"")])

    def _wake(self, durable: int | None) -> None:
        """Wake those whose appends are covered; with None, everybody."""
        waiting: list[tuple[int, asyncio.Future[None]]] = []
        for target, waiter in self._waiters:
            if durable is not None and target > durable:
                waiting.append((target, waiter))
            elif not waiter.done():
                waiter.set_result(None)
        self._waiters = waiting

    async def _begin_segment(self) -> None:
        """Seal the segment that is written and begin the next one. Raises `OSError`, `DiskFailed`."""
        self._rolling = True
        appended = self._appended
        header = SegmentHeader(
            self._number + 1,
            self._creation,
            self._hard_state,
            self.shape.last,
            self.shape.last_term,
            self._size,
        )
        if self._file is not None:
            await self._file.sync()
            self._durable = appended
            self._wake(appended)
            self._file.close()
            self._sealed.append(SealedSegment(self._number, header.last_index))
        path = segment_path(header.number)
        file = self._file = self._disk.open(path, create=True)
        if file.size():
            file.truncate(0)
        start = encode_start(self._dir_id, header)
        file.append(start)
        await file.sync()
        await self._disk.sync_dir(DIRECTORY)
        self._number, self._size, self._durable_bytes = header.number, len(start), len(start)
        self._framing = Framing.of(self._dir_id, header.number, self._creation)
        self._rolling = False
        held, self._held = self._held, []
        self._write([(Kind.DURABLE, header.last_index, header.last_term, b""), *held])
