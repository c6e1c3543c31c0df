"""Snapshots on disk: one file each, written beside its place and renamed into it when it is durable.

    magic 8 | format 2, pad 2 | header length 4 | CRC32C of header and the fields before 4 | header | data

The header is msgpack: index, term, configuration, size and CRC32C of the data. A file under its final name is whole
unless the disk has rotted. What must never happen here: that the loop is blocked for long (a snapshot is written
and synced in chunks), or that an old snapshot is removed before a newer one is durable.
"""

import asyncio
import logging
import struct

from crc32c import crc32c

from quorate.consensus.errors import LogCorrupt, NewerFormat
from quorate.consensus.raft.types import Configuration, Snapshot, SnapshotMeta
from quorate.core import DecodeError, Disk

from .records import pack, unpack

logger = logging.getLogger(__name__)

DIRECTORY = "snapshots"
FORMAT = 1
CHUNK_BYTES = 256 * 1024
SYNC_BYTES = 4 * 1024 * 1024
"""A snapshot is synced every so often, lest the log's own syncs queue behind one long one."""
KEPT = 2

_HEAD = struct.Struct("<8sHxxII")
_MAGIC = b"quorsnap"


class SnapshotFiles:
    """The directory of snapshots. `indexes` are those that are known to be whole, in order."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self.indexes: list[int] = []

    async def clean(self) -> None:
        """Remove what a crash left unfinished, and make what was found durable under its name. Raises `OSError`."""
        for name in self._disk.list(DIRECTORY):
            if name.endswith(".tmp"):
                self._disk.remove(f"{DIRECTORY}/{name}")
        await self._disk.sync_dir(DIRECTORY)

    async def load_newest(self) -> tuple[Snapshot | None, list[LogCorrupt]]:
        """The newest that verifies, and what is wrong with the newer ones. Raises `NewerFormat`, `OSError`."""
        numbers = [n for name in self._disk.list(DIRECTORY) if (n := snapshot_index(name)) is not None]
        problems: list[LogCorrupt] = []
        for at in range(len(numbers) - 1, -1, -1):
            try:
                snapshot = await self._load(numbers[at])
            except LogCorrupt as problem:
                problems.append(problem)
                continue
            self.indexes = numbers[: at + 1]
            return snapshot, problems
        return None, problems

    async def save(self, snapshot: Snapshot) -> None:
        """Return when the snapshot is durable under its name; then remove all but the newest.

        Raises `OSError`, and `ValueError` when the data is not what its description says.
        """
        path = snapshot_path(snapshot.meta.index)
        temporary = path + ".tmp"
        head = encode_head(snapshot.meta)
        file = self._disk.open(temporary, create=True)
        try:
            if file.size():
                file.truncate(0)
            file.append(head)
            checksum = 0
            for start in range(0, len(snapshot.data), CHUNK_BYTES):
                chunk = snapshot.data[start : start + CHUNK_BYTES]
                checksum = crc32c(chunk, checksum)
                file.append(chunk)
                if start and start % SYNC_BYTES == 0:
                    await file.sync()
                else:
                    await asyncio.sleep(0)
            if (len(snapshot.data), checksum) != (snapshot.meta.size_bytes, snapshot.meta.checksum):
                raise ValueError(f"the snapshot at {snapshot.meta.index} is not what its checksum says")
            await file.sync()
        finally:
            file.close()
        self._disk.rename(temporary, path)
        await self._disk.sync_dir(DIRECTORY)
        self.indexes = sorted({*self.indexes, snapshot.meta.index})[-KEPT:]
        for name in self._disk.list(DIRECTORY):
            index = snapshot_index(name)
            if index is not None and index not in self.indexes:
                self._disk.remove(f"{DIRECTORY}/{name}")

    async def _load(self, index: int) -> Snapshot:
        path = snapshot_path(index)
        where = self._disk.describe(path)
        file = self._disk.open(path)
        try:
            meta, start = decode_head(file.read(0, CHUNK_BYTES), where)
            if file.size() != start + meta.size_bytes or meta.index != index:
                raise _corrupt(where, start)
            parts: list[bytes] = []
            checksum = 0
            for offset in range(start, file.size(), CHUNK_BYTES):
                parts.append(file.read(offset, CHUNK_BYTES))
                checksum = crc32c(parts[-1], checksum)
                await asyncio.sleep(0)
        finally:
            file.close()
        if checksum != meta.checksum:
            raise _corrupt(where, start)
        return Snapshot(meta, b"".join(parts))


def snapshot_path(index: int) -> str:
    """Relative to the data directory."""
    return f"{DIRECTORY}/{index:020d}.snapshot"


def snapshot_index(name: str) -> int | None:
    """The index in a file name; None for other files."""
    stem, dot, suffix = name.partition(".")
    return int(stem) if dot and suffix == "snapshot" and len(stem) == 20 and stem.isdecimal() else None


def encode_head(meta: SnapshotMeta) -> bytes:
    """Everything in front of the data."""
    who = meta.configuration
    names = [sorted(who.voters), sorted(who.outgoing), sorted(who.learners)]
    header = pack([meta.index, meta.term, names, meta.size_bytes, meta.checksum])
    head = _HEAD.pack(_MAGIC, FORMAT, len(header), 0)[:-4]
    return head + crc32c(header, crc32c(head)).to_bytes(4, "little") + header


def decode_head(data: bytes, where: str) -> tuple[SnapshotMeta, int]:
    """The description and where the data begins. Raises `LogCorrupt`, `NewerFormat`."""
    if len(data) < _HEAD.size:
        raise _corrupt(where, 0)
    magic, version, length, crc = _HEAD.unpack_from(data)
    end = _HEAD.size + length
    header = data[_HEAD.size : end]
    if magic != _MAGIC or crc != crc32c(header, crc32c(data[: _HEAD.size - 4])):
        raise _corrupt(where, 0)
    if version > FORMAT:
        raise NewerFormat(
            f"{where} is in format {version} and this version of quorate knows format {FORMAT}: it was written by a "
            f"newer one. Start the node with that version (or a newer one)"
        )
    try:
        match unpack(header):
            case [int(index), int(term), [voters, outgoing, learners], int(size_bytes), int(checksum)]:
                who = Configuration(_names(voters), _names(outgoing), _names(learners))
                return SnapshotMeta(index, term, who, checksum, size_bytes), end
    except DecodeError:
        pass
    raise _corrupt(where, 0)


def _names(value: object) -> frozenset[str]:
    if not isinstance(value, list):
        raise DecodeError("a set of names is no list")
    return frozenset(map(str, value))


def _corrupt(where: str, offset: int) -> LogCorrupt:
    return LogCorrupt(f"{where} does not read back", path=where, offset=offset)
