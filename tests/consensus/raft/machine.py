"""A state machine that remembers everything that it has applied."""

import crc32c
import msgpack

from quorate.consensus.raft import Configuration, EntryBatch, Snapshot, SnapshotMeta

from .disk import Entry, unroll


class Machine:
    """The entries from index 1 on, in order."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    @property
    def index(self) -> int:
        return len(self.entries)

    def commands(self) -> list[bytes]:
        return [data for _, data in self.entries if data]

    def apply(self, batch: EntryBatch) -> None:
        assert batch.first_index == self.index + 1, f"entry {batch.first_index} after {self.index}"
        self.entries += unroll(batch)

    def snapshot(self, configuration: Configuration) -> Snapshot:
        data = bytes(msgpack.packb(self.entries) or b"")
        meta = SnapshotMeta(self.index, self.entries[-1][0], configuration, crc32c.crc32c(data), len(data))
        return Snapshot(meta, data)

    def restore(self, snapshot: Snapshot) -> None:
        self.entries = [(term, data) for term, data in msgpack.unpackb(snapshot.data)]
        assert self.index == snapshot.meta.index
