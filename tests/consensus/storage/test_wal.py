"""The log: groups that share a sync, segments that roll and are dropped, and a disk that fails."""

import asyncio
import errno
from collections.abc import Sequence

import pytest

from quorate.consensus.errors import DiskFailed, StoreStopped
from quorate.consensus.raft.types import EntryBatch, HardState, TermRun
from quorate.consensus.storage import records
from quorate.core import TooLarge
from quorate.jepsen_like.disk import SimDisk
from tests.support import SeededEntropy, run, turns

from .model import NODE, entries, open_storage, snapshot_of, state_of


def segments(disk: SimDisk) -> list[int]:
    return [int(name.split(".")[0]) for name in disk.list("log")]


def texts(batch: EntryBatch) -> list[bytes]:
    return list(batch.data)


# Group commit


def test_concurrent_callers_share_one_sync_and_late_ones_the_next() -> None:
    async def main() -> None:
        disk = SimDisk()
        opened = await open_storage(disk)
        storage, before = opened.storage, disk.syncs
        disk.freeze()
        storage.write(entries=entries(1, 1))
        early = [asyncio.ensure_future(storage.sync()) for _ in range(3)]
        await turns()
        storage.write(entries=entries(2, 1))
        late = [asyncio.ensure_future(storage.sync()) for _ in range(3)]
        await turns()
        assert disk.frozen_syncs() == 1
        disk.thaw()
        disk.freeze()
        await turns()
        assert all(task.done() for task in early)
        assert not any(task.done() for task in late)  # what they wrote came after the sync had begun
        assert disk.frozen_syncs() == 1
        disk.thaw()
        await asyncio.gather(*early, *late)
        assert disk.syncs == before + 2
        await opened.close()

    run(main())


def test_a_sync_that_has_nothing_to_cover_touches_no_disk() -> None:
    async def main() -> None:
        disk = SimDisk()
        opened = await open_storage(disk)
        opened.storage.write(entries=entries(1, 1))
        await opened.storage.sync()
        before = disk.syncs
        await opened.storage.sync()
        assert disk.syncs == before
        await opened.close()

    run(main())


def test_what_a_late_caller_wrote_is_durable_when_its_sync_returns() -> None:
    async def main(seed: int) -> None:
        disk = SimDisk()
        opened = await open_storage(disk)
        disk.freeze()
        opened.storage.write(entries=entries(1, 1))
        early = asyncio.ensure_future(opened.storage.sync())
        await turns()
        opened.storage.write(entries=entries(2, 1))
        late = asyncio.ensure_future(opened.storage.sync())
        disk.thaw()
        await asyncio.gather(early, late)
        disk = disk.crash(SeededEntropy(seed))
        opened = await open_storage(disk)
        assert texts(opened.recovered.entries) == [b"1/1", b"1/2"]
        await opened.close()

    for seed in range(10):
        run(main(seed))


def test_a_cancelled_caller_leaves_the_others_their_sync() -> None:
    async def main() -> None:
        disk = SimDisk()
        opened = await open_storage(disk)
        disk.freeze()
        opened.storage.write(entries=entries(1, 1))
        first, second = (asyncio.ensure_future(opened.storage.sync()) for _ in range(2))
        await turns()
        first.cancel()
        await turns()
        assert first.cancelled() and not second.done()
        disk.thaw()
        await second
        await opened.close()

    run(main())


def test_a_write_is_one_append() -> None:
    async def main() -> None:
        disk = SimDisk()
        opened = await open_storage(disk)
        size = len(disk.content("log/0000000000000001.log"))
        disk.set_capacity(sum(len(disk.content(path)) for path in disk.files()) + 60)
        with pytest.raises(DiskFailed):
            opened.storage.write(hard_state=HardState(1, NODE), entries=entries(1, 5))
        # Both records went in one append: it was cut in the middle, not between them.
        assert len(disk.content("log/0000000000000001.log")) == size + 60
        await opened.close()

    run(main())


# Segments


def test_a_full_segment_is_sealed_and_the_next_one_begun() -> None:
    async def main() -> None:
        disk = SimDisk()
        opened = await open_storage(disk, segment_bytes=400)
        for index in range(1, 13):
            opened.storage.write(hard_state=HardState(index, NODE), entries=entries(index, 1, index))
            await opened.storage.sync()
        assert len(segments(disk)) > 3
        await opened.close()
        opened = await open_storage(disk, segment_bytes=400)
        assert state_of(opened.recovered).log == tuple((i, b"%d/%d" % (i, i)) for i in range(1, 13))
        assert opened.recovered.hard_state == HardState(12, NODE)
        await opened.close()

    run(main())


def test_what_is_written_while_the_next_segment_is_made_goes_into_it() -> None:
    async def main(moment: int) -> None:
        disk = SimDisk()
        opened = await open_storage(disk, segment_bytes=300)
        storage = opened.storage
        storage.write(entries=entries(1, 20))
        syncing = asyncio.ensure_future(storage.sync())
        await turns(moment)
        storage.write(hard_state=HardState(2, NODE), entries=entries(21, 2, 2))
        storage.write(entries=entries(22, 2, 2))
        await asyncio.gather(syncing, storage.sync())
        disk = disk.crash(SeededEntropy(moment))
        opened = await open_storage(disk)
        assert texts(opened.recovered.entries)[19:] == [b"1/20", b"2/21", b"2/22", b"2/23"]
        assert opened.recovered.hard_state == HardState(2, NODE)
        await opened.close()

    for moment in range(10):
        run(main(moment))


def test_a_segment_is_sealed_before_the_next_one_has_a_header() -> None:
    """At every crash point of a roll: what was written before it is there, or was never promised."""

    async def main(moment: int) -> None:
        disk = SimDisk()
        opened = await open_storage(disk, segment_bytes=300)
        opened.storage.write(entries=entries(1, 20))
        await opened.storage.sync()
        opened.storage.write(entries=entries(21, 1))
        syncing = asyncio.ensure_future(opened.storage.sync())
        await turns(moment)
        promised = 21 if syncing.done() else 20
        disk = disk.crash(SeededEntropy(moment), out_of_order=True)
        await asyncio.gather(syncing, return_exceptions=True)
        opened = await open_storage(disk)
        assert promised <= len(opened.recovered.entries) <= 21
        await opened.close()

    for moment in range(12):
        run(main(moment))


def test_every_start_begins_a_segment_of_its_own() -> None:
    async def main() -> None:
        disk = SimDisk()
        for start in range(1, 4):
            opened = await open_storage(disk)
            assert segments(disk) == list(range(1, start + 1))
            opened.storage.write(entries=entries(start, 1))
            await opened.close()

    run(main())


def test_only_segments_that_hold_nothing_behind_the_index_are_dropped() -> None:
    async def main() -> None:
        disk = SimDisk()
        for start in range(4):  # entries 1-10, 11-20, 21-30, 31-40 in segments 1 to 4
            opened = await open_storage(disk)
            opened.storage.write(entries=entries(start * 10 + 1, 10))
            await opened.close()
        opened = await open_storage(disk)
        log = state_of(opened.recovered).log
        await opened.storage.save_snapshot(snapshot_of(log[:35]))
        for index, left in [(9, [1, 2, 3, 4, 5]), (10, [2, 3, 4, 5]), (29, [3, 4, 5]), (35, [4, 5])]:
            opened.storage.compact(index)
            assert segments(disk) == left
        with pytest.raises(ValueError, match="no snapshot"):
            opened.storage.compact(36)
        await opened.close()
        opened = await open_storage(disk)
        assert opened.recovered.entries.first_index == 31
        assert state_of(opened.recovered).log == log
        await opened.close()

    run(main())


def test_a_segment_that_begins_by_replacing_a_dropped_tail_reads_back() -> None:
    async def main() -> None:
        disk = SimDisk()
        opened = await open_storage(disk)
        opened.storage.write(hard_state=HardState(5), entries=entries(1, 120, 5))
        await opened.close()
        opened = await open_storage(disk)  # segment 2 says that the log ends at 120
        opened.storage.write(hard_state=HardState(6), entries=entries(90, 41, 6))
        await opened.close()
        opened = await open_storage(disk)
        log = state_of(opened.recovered).log
        await opened.storage.save_snapshot(snapshot_of(log[:125]))
        opened.storage.compact(125)
        assert segments(disk) == [2, 3]
        await opened.close()
        opened = await open_storage(disk)
        assert opened.recovered.entries.first_index == 90
        assert state_of(opened.recovered).log == log
        await opened.close()

    run(main())


def test_a_log_that_begins_right_behind_an_older_snapshot_is_kept_when_the_newer_one_rots() -> None:
    """The term at which it begins is not known any more: it stood in the segment that was dropped."""

    async def main() -> None:
        disk = SimDisk()
        opened = await open_storage(disk)
        opened.storage.write(hard_state=HardState(5), entries=entries(1, 120, 5))
        await opened.storage.save_snapshot(snapshot_of([(5, data) for data in entries(1, 89, 5).data]))
        await opened.close()
        opened = await open_storage(disk)
        opened.storage.write(hard_state=HardState(6), entries=entries(90, 41, 6))
        await opened.close()
        opened = await open_storage(disk)
        log = state_of(opened.recovered).log
        await opened.storage.save_snapshot(snapshot_of(log[:125]))
        opened.storage.compact(125)
        await opened.close()
        disk.flip("snapshots/00000000000000000125.snapshot", 100)
        opened = await open_storage(disk)
        assert opened.storage.snapshot_index == 89
        assert state_of(opened.recovered).log == log
        await opened.close()

    run(main())


def test_segments_whose_removal_a_crash_undid_do_no_harm() -> None:
    async def main(seed: int) -> None:
        disk = SimDisk()
        for start in range(4):
            opened = await open_storage(disk)
            opened.storage.write(entries=entries(start * 10 + 1, 10))
            await opened.close()
        opened = await open_storage(disk)
        log = state_of(opened.recovered).log
        await opened.storage.save_snapshot(snapshot_of(log[:38]))
        opened.storage.compact(30)
        disk = disk.crash(SeededEntropy(seed), out_of_order=True)
        opened = await open_storage(disk)
        assert state_of(opened.recovered).log == log
        await opened.close()

    for seed in range(16):  # any of the three may come back, also the one in the middle
        run(main(seed))


# Failing disks


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_a_failed_sync_ends_the_log_and_is_never_tried_again(error: int) -> None:
    async def main() -> None:
        disk = SimDisk("a")
        opened = await open_storage(disk)
        storage = opened.storage
        storage.write(entries=entries(1, 1))
        fault = disk.fail("sync", error=error)
        waiting = [asyncio.ensure_future(storage.sync()) for _ in range(2)]
        for outcome in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(outcome, DiskFailed)
        disk.mend(fault)  # the disk says that it is well again; the bytes are gone all the same
        before = disk.syncs
        with pytest.raises(DiskFailed, match=r"a:/log: .*Mend the disk"):
            await storage.sync()
        with pytest.raises(DiskFailed):
            storage.write(entries=entries(2, 1))
        with pytest.raises(DiskFailed):
            storage.compact(0)
        with pytest.raises(DiskFailed):
            await storage.save_snapshot(snapshot_of([(1, b"1/1")]))
        await opened.close()
        assert disk.syncs == before

    run(main())


def test_on_a_full_disk_the_log_ends_and_what_was_synced_is_recovered() -> None:
    async def main(room: int) -> None:
        disk = SimDisk()
        opened = await open_storage(disk)
        opened.storage.write(hard_state=HardState(1, NODE), entries=entries(1, 3))
        await opened.storage.sync()
        disk.set_capacity(sum(len(disk.content(path)) for path in disk.files()) + room)
        with pytest.raises(DiskFailed, match="No space left"):
            opened.storage.write(entries=entries(4, 3))
        with pytest.raises(DiskFailed):
            await opened.storage.sync()
        await opened.close()
        disk.set_capacity(None)
        opened = await open_storage(disk)
        assert len(state_of(opened.recovered).log) == 3
        assert opened.recovered.hard_state == HardState(1, NODE)
        opened.storage.write(entries=entries(4, 1))
        await opened.close()

    for room in (0, 1, 30, 60):
        run(main(room))


def test_a_disk_that_fills_up_with_a_segment_s_evidence_fails_nobody_who_was_synced() -> None:
    async def main() -> None:
        disk = SimDisk()
        opened = await open_storage(disk)
        opened.storage.write(entries=entries(1, 3))
        disk.set_capacity(sum(len(disk.content(path)) for path in disk.files()) + 3)
        await opened.storage.sync()
        with pytest.raises(DiskFailed):
            await opened.storage.sync()
        await opened.close()

    run(main())


@pytest.mark.parametrize("operation", ["append", "sync"])
def test_a_disk_that_fails_while_a_segment_is_made_ends_the_log(operation: str) -> None:
    async def main() -> None:
        disk = SimDisk()
        opened = await open_storage(disk, segment_bytes=300)
        opened.storage.write(entries=entries(1, 20))
        if operation == "append":
            disk.fail("append", lambda path: path.endswith("2.log"))
        else:
            disk.fail("sync", lambda path: path.endswith("2.log"))
        await opened.storage.sync()  # it is durable; what fails is what comes next
        await turns()
        with pytest.raises(DiskFailed):
            opened.storage.write(entries=entries(21, 1))
        with pytest.raises(DiskFailed):
            await opened.storage.sync()
        await opened.close()
        disk.mend()
        opened = await open_storage(disk)
        assert len(opened.recovered.entries) == 20
        await opened.close()

    run(main())


def test_a_segment_that_cannot_be_removed_ends_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        disk = SimDisk()
        opened = await open_storage(disk)
        opened.storage.write(entries=entries(1, 5))
        await opened.close()
        opened = await open_storage(disk)
        await opened.storage.save_snapshot(snapshot_of([(1, b"%d" % at) for at in range(4)] + [(1, b"1/5")]))

        def refused(path: str) -> None:
            raise OSError(errno.EROFS, "Read-only file system")

        monkeypatch.setattr(disk, "remove", refused)
        with pytest.raises(DiskFailed, match="Read-only"):
            opened.storage.compact(5)
        with pytest.raises(DiskFailed):
            opened.storage.write(entries=entries(6, 1))
        await opened.close()

    run(main())


# What is not written


def test_what_raft_never_does_is_refused_and_leaves_the_log_usable() -> None:
    async def main() -> None:
        opened = await open_storage(SimDisk())
        storage = opened.storage
        storage.write(hard_state=HardState(3, NODE), entries=entries(1, 3, 3))
        wrong: Sequence[tuple[HardState | None, EntryBatch | None]] = [
            (None, entries(5, 1, 3)),
            (None, entries(4, 1, 2)),
            (HardState(2, None), None),
            (HardState(3, "b@10.0.0.2:9101"), None),
        ]
        for hard_state, batch in wrong:
            with pytest.raises(ValueError):
                storage.write(hard_state=hard_state, entries=batch)
        await storage.save_snapshot(snapshot_of([(3, b"3/1"), (3, b"3/2")]))
        with pytest.raises(ValueError, match="for which a snapshot stands"):
            storage.write(entries=entries(2, 1, 3))
        storage.write(hard_state=HardState(4, None), entries=entries(3, 1, 4))
        await storage.sync()
        await opened.close()

    run(main())


def test_a_batch_over_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        opened = await open_storage(SimDisk())
        big = EntryBatch(1, (TermRun(1, 1),), [b"x" * 200])
        with pytest.raises(TooLarge) as refused:
            opened.storage.write(entries=big)
        assert refused.value.limit_bytes == 100
        opened.storage.write(entries=entries(1, 1))
        await opened.close()

    monkeypatch.setattr(records, "MAX_PAYLOAD_BYTES", 100)
    monkeypatch.setattr("quorate.consensus.storage.wal.MAX_PAYLOAD_BYTES", 100)
    run(main())


def test_an_empty_write_writes_nothing() -> None:
    async def main() -> None:
        disk = SimDisk()
        opened = await open_storage(disk)
        before = {path: disk.content(path) for path in disk.files()}
        opened.storage.write()
        opened.storage.write(entries=EntryBatch(1, (), []))
        await opened.storage.sync()
        assert before == {path: disk.content(path) for path in disk.files()}
        await opened.close()

    run(main())


def test_a_closed_log_says_so() -> None:
    async def main() -> None:
        opened = await open_storage(SimDisk())
        await opened.close()
        await opened.close()
        with pytest.raises(StoreStopped):
            opened.storage.write(entries=entries(1, 1))
        with pytest.raises(StoreStopped):
            await opened.storage.sync()

    run(main())


def test_a_close_syncs_what_was_written_and_the_evidence() -> None:
    async def main() -> None:
        disk = SimDisk()
        opened = await open_storage(disk)
        opened.storage.write(entries=entries(1, 3))
        await opened.close()
        path = "log/0000000000000001.log"
        assert disk.durable_content(path) == disk.content(path)
        assert len(disk.content(path)) > 3

    run(main())


def test_an_abandoned_log_writes_nothing_more_and_tells_whoever_waits() -> None:
    async def main() -> None:
        disk = SimDisk()
        opened = await open_storage(disk)
        opened.storage.write(entries=entries(1, 1))
        disk.freeze()
        waiting = [asyncio.ensure_future(opened.storage.sync())]
        opened.storage.write(entries=entries(2, 1))
        before = {path: disk.content(path) for path in disk.files()}
        await turns()
        waiting.append(asyncio.ensure_future(opened.storage.sync()))
        opened.storage.abandon()
        opened.storage.abandon()
        for outcome in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(outcome, DiskFailed)
        await opened.close()
        assert before == {path: disk.content(path) for path in disk.files()}

    run(main())
