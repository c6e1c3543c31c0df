"""All that one Raft replica keeps: its hard state, its log and its snapshots, in one data directory.

`RaftStorage` is for the shell of the Raft core: it writes what `ready()` says, syncs, and only then sends. The files are
the authority over what this replica has promised to the others; the core holds a copy of it in memory.

How log and snapshots fit together at every crash point:

* A snapshot of this replica's own state stands beside a log that reaches it: nothing changes in the log.
* A received one that the log does not reach, or contradicts, is made durable first; then a reset record says in the log
  that it stands for everything so far; then entries behind it may follow. A crash between the two leaves a
  snapshot that the log does not reach, and recovery lets the log begin anew behind it, as Raft does.
* Segments are removed only up to a durable snapshot, and the first that stays says where the log stood before it.

So whatever a crash leaves is a state that the replica was in: the last synced one, and a prefix of what was
written since. What must never happen here: entries that do not connect to the snapshot below them.
"""

import asyncio
import logging

from quorate.consensus.errors import LogCorrupt
from quorate.consensus.raft.types import EntryBatch, HardState, Recovered, Snapshot

from .datadir import DataDir, refused
from .replay import Replayed, read_log, repair
from .segments import ADVICE, DIRECTORY
from .snapshots import SnapshotFiles
from .wal import SEGMENT_BYTES, Wal

logger = logging.getLogger(__name__)


class RaftStorage:
    """Open it with `RaftStorage.open`. One `DiskFailed` from any method ends all of them."""

    def __init__(self, wal: Wal, snapshots: SnapshotFiles, unsaved_bytes: int) -> None:
        self._wal = wal
        self._snapshots = snapshots
        self._saving = asyncio.Lock()
        self._unsaved_bytes = unsaved_bytes

    @classmethod
    async def open(
        cls, data_dir: DataDir, *, segment_bytes: int = SEGMENT_BYTES
    ) -> tuple["RaftStorage", Recovered]:
        """Read everything back. A torn tail is cut off and logged; nothing else is changed before all has verified.

        Raises `LogCorrupt`, `NewerFormat`, and `DataDirError` when the operating system refuses.
        """
        disk = data_dir.disk
        try:
            snapshots = SnapshotFiles(disk)
            snapshot, problems = await snapshots.load_newest()
            replayed = await read_log(disk, data_dir.dir_id, must_exist=data_dir.log_begun)
            _require_connected(replayed, snapshot, problems, disk.describe(DIRECTORY))
            await snapshots.clean()
            await repair(disk, replayed)
            anew = _begins_anew(replayed, snapshot)
            wal = await Wal.open(
                disk, data_dir.dir_id, data_dir.creation, replayed, segment_bytes=segment_bytes
            )
            try:
                if anew and snapshot is not None:
                    wal.reset(snapshot.meta.index, snapshot.meta.term)
                    await wal.sync()
                await data_dir.mark_log_begun()
            except BaseException:
                await wal.close()
                raise
        except OSError as error:
            raise refused(disk, error) from error
        index = snapshot.meta.index if snapshot else 0
        unsaved_bytes = sum(size for last, size in replayed.sizes if last > index)
        entries = EntryBatch(wal.shape.base + 1, wal.shape.runs(), [] if anew else replayed.data)
        recovered = Recovered(replayed.hard_state, snapshot, entries)
        return cls(wal, snapshots, unsaved_bytes), recovered

    @property
    def bytes_since_snapshot(self) -> int:
        """Bytes of entries in the log for which no snapshot stands (about): the shell snapshots by it."""
        return self._unsaved_bytes + self._wal.entry_bytes

    @property
    def snapshot_index(self) -> int:
        """Index of the newest durable snapshot; 0 without one."""
        return self._snapshots.indexes[-1] if self._snapshots.indexes else 0

    def write(self, *, hard_state: HardState | None = None, entries: EntryBatch | None = None) -> None:
        """Append, without waiting for the disk: durable after the next `sync`.

        Entries replace what stands at their indexes and everything behind. Raises `DiskFailed`, `StoreStopped`,
        `TooLarge`, and `ValueError` for what Raft never does (a gap, a term that goes down, a second vote).
        """
        if entries is not None and entries.data and entries.first_index <= self.snapshot_index:
            raise ValueError(
                f"entries from {entries.first_index} on would replace some up to {self.snapshot_index}, for which a "
                f"snapshot stands"
            )
        self._wal.append(hard_state, entries)

    async def sync(self) -> None:
        """Return when everything written before the call survives a loss of power. Raises `DiskFailed`."""
        await self._wal.sync()

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        """Return when the snapshot is durable and the log connects to it, for own and for received ones.

        For a received one that is ahead of the log, write no entries behind it before this returns. An older one than
        the newest saved is ignored. What was written before the call is durable too when this returns, so that term
        and log never stand behind a snapshot of this replica's own. Raises `DiskFailed`, `StoreStopped`.
        """
        before = self._wal.entry_bytes
        await self._wal.sync()
        async with self._saving:
            meta = snapshot.meta
            if meta.index <= self.snapshot_index:
                return
            try:
                await self._snapshots.save(snapshot)
            except OSError as error:
                raise self._wal.fail(error) from error
            if self._wal.shape.term_at(meta.index) != meta.term:
                self._wal.reset(meta.index, meta.term)
                await self._wal.sync()
            self._unsaved_bytes = -before

    def compact(self, index: int) -> None:
        """Remove log segments that hold nothing behind `index`. Raises `DiskFailed`, `StoreStopped`.

        `index` is that of a durable snapshot or lower (`ValueError`): the caller keeps what slow followers need.
        """
        if index > self.snapshot_index:
            raise ValueError(f"no snapshot stands for the entries up to {index}")
        self._wal.compact(index)

    def abandon(self) -> None:
        """Stop as a killed process does: nothing more is written, not even the evidence that something was synced."""
        self._wal.abandon()

    async def close(self) -> None:
        """Sync what is pending and close the files. The data directory stays open; a failing disk is only logged."""
        await self._wal.close()


def _require_connected(
    replayed: Replayed, snapshot: Snapshot | None, problems: list[LogCorrupt], log: str
) -> None:
    """A snapshot that is missing or does not verify is no harm as long as the log reaches back beyond it."""
    index = snapshot.meta.index if snapshot else 0
    if replayed.shape.base > index:
        what = str(problems[0]) if problems else f"no snapshot reaches the log in {log}"
        where = problems[0].path if problems else log
        raise LogCorrupt(
            f"{what}, and the log begins at entry {replayed.shape.base + 1} while the newest usable snapshot ends "
            f"at {index}. {ADVICE}",
            path=where,
            offset=problems[0].offset if problems else 0,
        )
    for problem in problems:
        logger.warning("%s: skipped, the log reaches back beyond it", problem)


def _begins_anew(replayed: Replayed, snapshot: Snapshot | None) -> bool:
    """The log does not reach the snapshot or contradicts it: it begins anew behind it (Raft paper, section 7)."""
    if snapshot is None:
        return False
    shape, meta = replayed.shape, snapshot.meta
    if meta.index == shape.base and shape.base_term is None:
        return False
    return shape.term_at(meta.index) != meta.term
