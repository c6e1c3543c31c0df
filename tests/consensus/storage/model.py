"""A replica that uses `RaftStorage` on a `SimDisk`, and a record of all that it may find after a crash.

Every change makes a new logical state (hard state, whole log from entry 1 on); `history` holds them in order and `safe`
is the position of the newest that was promised to be durable. After a crash exactly the states from `safe` on
are legal. A snapshot's data is the log that it stands for, so what is recovered can be compared with all of it.
"""

import asyncio
import contextlib
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import msgpack
from crc32c import crc32c

from quorate.consensus.errors import DiskFailed, StoreStopped
from quorate.consensus.raft.types import (
    Configuration,
    EntryBatch,
    HardState,
    Recovered,
    Snapshot,
    SnapshotMeta,
    TermRun,
)
from quorate.consensus.storage.datadir import DataDir, open_data_dir
from quorate.consensus.storage.records import pack
from quorate.consensus.storage.storage import RaftStorage
from quorate.core import Disk
from quorate.jepsen_like.disk import SimDisk
from tests.support import SeededEntropy

NODE = "a@10.0.0.1:9101"
VOTERS = Configuration(frozenset({NODE, "b@10.0.0.2:9101", "c@10.0.0.3:9101"}))

Entry = tuple[int, bytes]


@dataclass(frozen=True)
class State:
    hard_state: HardState
    log: tuple[Entry, ...]


def batch(first_index: int, entries: list[Entry]) -> EntryBatch:
    """Entries as (term, bytes), in the form in which the core hands them over."""
    runs: list[TermRun] = []
    for term, _ in entries:
        if runs and runs[-1].term == term:
            runs[-1] = TermRun(term, runs[-1].count + 1)
        else:
            runs.append(TermRun(term, 1))
    return EntryBatch(first_index, tuple(runs), [data for _, data in entries])


def snapshot_of(log: tuple[Entry, ...] | list[Entry]) -> Snapshot:
    data = pack([list(entry) for entry in log])
    return Snapshot(SnapshotMeta(len(log), log[-1][0], VOTERS, crc32c(data), len(data)), data)


def state_of(recovered: Recovered) -> State:
    """The whole log that a recovery amounts to; fails where snapshot and entries do not fit together."""
    prefix: list[Entry] = []
    if recovered.snapshot is not None:
        prefix = [(term, data) for term, data in msgpack.unpackb(recovered.snapshot.data)]
        assert recovered.snapshot.meta.index == len(prefix)
        assert recovered.snapshot.meta.term == prefix[-1][0]
    terms = [run.term for run in recovered.entries.runs for _ in range(run.count)]
    entries = list(zip(terms, recovered.entries.data, strict=True))
    first = recovered.entries.first_index
    assert 1 <= first <= len(prefix) + 1
    assert recovered.entries.last_index >= len(prefix)
    assert entries[: len(prefix) - first + 1] == prefix[first - 1 :]
    return State(recovered.hard_state, (*prefix[: first - 1], *entries))


class Replica:
    """Drives the storage as Raft's shell does, and keeps the history."""

    def __init__(self, disk: SimDisk, *, segment_bytes: int, seed: int = 0) -> None:
        self.disk = disk
        self.segment_bytes = segment_bytes
        self.entropy = SeededEntropy(seed)
        self.history = [State(HardState(), ())]
        self.safe = 0
        self.synced_bytes: dict[str, int] = {}
        self.evidenced_bytes: dict[str, int] = {}
        """Per file, what was synced before its last sync: for this much the disk holds evidence, come what may."""
        self.committed = 0
        self.made = 0
        self.storage: RaftStorage | None = None
        self.data_dir: DataDir | None = None
        self.tasks: set[asyncio.Task[None]] = set()
        self.receiving: asyncio.Task[None] | None = None
        self.replacing = False
        """What is received is not the log that stands."""

    @property
    def now(self) -> State:
        return self.history[-1]

    # What the shell does

    async def open(self) -> None:
        """Open, and check that what is found is legal. It is durable from now on."""
        self.data_dir = await open_data_dir(self.disk, NODE, token=self.entropy.token)
        try:
            self.storage, recovered = await RaftStorage.open(self.data_dir, segment_bytes=self.segment_bytes)
        except BaseException:
            self.data_dir.close()
            raise
        state = state_of(recovered)
        assert state in self.history[self.safe :], f"{state} is none of {self.history[self.safe :]}"
        self.history, self.safe = [state], 0
        self.committed = max(
            min(self.committed, len(state.log)), recovered.snapshot.meta.index if recovered.snapshot else 0
        )

    async def write(self, *, bump: bool, vote: bool, replace: int, terms: list[int]) -> None:
        """A new term or vote, and entries that replace the last `replace`; `terms` are steps of the term."""
        assert self.storage is not None
        if self.receiving is not None:
            await asyncio.wait([self.receiving])
            self.receiving = None
        state, log = self.now.hard_state, self.now.log
        hard_state = None
        if bump:
            hard_state = HardState(state.term + 1, NODE if vote else None)
        elif vote and state.vote is None:
            hard_state = HardState(state.term, "b@10.0.0.2:9101")
        if hard_state is not None:
            self.history.append(State(hard_state, log))
        term = (hard_state or state).term
        keep = max(self.committed, len(log) - replace)
        new: list[Entry] = []
        low = log[keep - 1][0] if keep else 0
        for step in terms:
            low = min(term, max(low, term - step))
            self.made += 1
            new.append((max(low, 1), b"entry %d" % self.made))
        new = sorted((entry for entry in new if entry[0] <= term), key=lambda entry: entry[0])
        if new:
            self.history.append(State(hard_state or state, (*log[:keep], *new)))
        self.storage.write(hard_state=hard_state, entries=batch(keep + 1, new) if new else None)

    def start_sync(self) -> None:
        storage, version = self.storage, self._written()
        assert storage is not None

        async def sync() -> None:
            await storage.sync()
            self.promise(version)

        self._start(sync())

    def start_own_snapshot(self) -> None:
        """Of the committed entries, beside whatever else goes on."""
        storage, version = self.storage, self._written()
        assert storage is not None
        if self.committed:
            snapshot = snapshot_of(self.now.log[: self.committed])

            async def save() -> None:
                await storage.save_snapshot(snapshot)
                self.promise(version)

            self._start(save())

    def start_received_snapshot(self, *, ahead: int, matching: bool) -> None:
        """One that ends `ahead` entries behind the commit index, of a log that matches this one or does not."""
        storage = self.storage
        assert storage is not None
        if self.receiving is not None:
            return
        log, term = self.now.log, max(self.now.hard_state.term, 1)
        end = self.committed + ahead
        prefix = list(log[: end if matching else self.committed])
        while len(prefix) < end:
            self.made += 1
            prefix.append((term, b"entry %d" % self.made))
        if not prefix:
            return
        self.replacing = False
        if prefix[-1] != (log[end - 1] if end <= len(log) else None):
            if end <= len(log) and log[end - 1][0] == prefix[-1][0]:
                return  # Raft's log matching: equal index and term, equal log
            self.history.append(State(self.now.hard_state, tuple(prefix)))
            self.replacing = True
        version = len(self.history) - 1
        self.committed = max(self.committed, end)

        async def receive() -> None:
            await storage.save_snapshot(snapshot_of(prefix))
            self.promise(version)

        self.receiving = self._start(receive())

    def compact(self, back: int) -> None:
        assert self.storage is not None
        self.storage.compact(max(0, self.storage.snapshot_index - back))

    # What happens to it

    async def settle(self) -> None:
        """Let everything that was started come to its end."""
        await asyncio.gather(*self.tasks)
        self.receiving = None

    async def lose_power(self, *, out_of_order: bool) -> None:
        self.disk = self.disk.crash(self.entropy, out_of_order=out_of_order)
        await self._end()

    async def killed(self) -> None:
        self.disk = self.disk.kill()
        await self._end()

    async def sync_fails(self) -> None:
        """A sync fails, which drops the dirty bytes though they still read back; the process ends, the disk gets well."""
        assert self.storage is not None
        self.disk.fail("sync")
        with contextlib.suppress(DiskFailed):
            await self.storage.sync()
        self.disk.mend()
        await self.killed()

    async def close(self) -> None:
        assert self.storage is not None and self.data_dir is not None
        await self.settle()
        await self.storage.close()
        self.promise(len(self.history) - 1)
        self.data_dir.close()
        await self._end()

    def promise(self, version: int) -> None:
        """A sync has returned that covers `history[version]`."""
        self.safe = max(self.safe, version)
        for path in self.disk.files():
            size = len(self.disk.durable_content(path))
            if size != self.synced_bytes.get(path):
                self.evidenced_bytes[path] = self.synced_bytes.get(path, 0)
                self.synced_bytes[path] = size

    def _written(self) -> int:
        """The newest state that a sync called now covers: a snapshot that is being received is not there yet."""
        received = self.receiving is not None and not self.receiving.done()
        return len(self.history) - (2 if received and self.replacing else 1)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def _end(self) -> None:
        """What was started is cancelled, as the tasks of a dead process are."""
        tasks = list(self.tasks)
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            dead = (asyncio.CancelledError, DiskFailed, StoreStopped, OSError)
            if isinstance(outcome, BaseException) and not isinstance(outcome, dead):
                raise outcome
        self.receiving = self.storage = self.data_dir = None


@dataclass
class Opened:
    """A storage that a test opened by hand."""

    data_dir: DataDir
    storage: RaftStorage
    recovered: Recovered

    async def close(self) -> None:
        await self.storage.close()
        self.data_dir.close()


async def open_storage(disk: Disk, *, node: str = NODE, segment_bytes: int = 1 << 20) -> Opened:
    data_dir = await open_data_dir(disk, node, token=SeededEntropy(5).token)
    try:
        storage, recovered = await RaftStorage.open(data_dir, segment_bytes=segment_bytes)
    except BaseException:
        data_dir.close()
        raise
    return Opened(data_dir, storage, recovered)


def entries(first_index: int, count: int, term: int = 1) -> EntryBatch:
    """`count` entries of one term, each saying its index."""
    return batch(first_index, [(term, b"%d/%d" % (term, first_index + at)) for at in range(count)])
