"""Log and snapshots together: what fits, what is refused, and every crash point of what changes both."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from quorate.consensus.errors import DiskFailed, LogCorrupt
from quorate.consensus.raft.types import EntryBatch, HardState
from quorate.consensus.storage.datadir import open_data_dir
from quorate.consensus.storage.records import Framing, Kind, pack_entries, pack_hard_state
from quorate.consensus.storage.segments import SegmentHeader, encode_start, segment_path
from quorate.consensus.storage.storage import RaftStorage
from quorate.core import DataDirError
from quorate.jepsen_like.disk import SimDisk
from tests.support import SeededEntropy, run, turns

from .model import NODE, Entry, Opened, batch, entries, open_storage, snapshot_of, state_of

LOG: list[Entry] = [(1, b"entry %d" % index) for index in range(1, 21)]
OTHER: list[Entry] = LOG[:5] + [(3, b"other %d" % index) for index in range(6, 31)]


async def written(disk: SimDisk, log: list[Entry], *, term: int = 1) -> Opened:
    opened = await open_storage(disk)
    opened.storage.write(hard_state=HardState(term, NODE), entries=batch(1, log))
    await opened.storage.sync()
    return opened


def test_a_new_directory_holds_nothing() -> None:
    async def main() -> None:
        opened = await open_storage(SimDisk())
        recovered = opened.recovered
        assert (recovered.hard_state, recovered.snapshot) == (HardState(), None)
        assert recovered.entries == EntryBatch(1, (), [])
        assert opened.storage.bytes_since_snapshot == 0
        await opened.close()

    run(main())


def test_a_replaced_tail_is_replaced_after_a_restart_too() -> None:
    async def main() -> None:
        disk = SimDisk()
        opened = await written(disk, LOG)
        opened.storage.write(hard_state=HardState(3, NODE), entries=batch(6, OTHER[5:8]))
        await opened.close()
        opened = await open_storage(disk)
        assert state_of(opened.recovered).log == tuple(OTHER[:8])
        assert opened.recovered.hard_state == HardState(3, NODE)
        await opened.close()

    run(main())


# Received snapshots


def test_behind_a_received_snapshot_the_log_goes_on_at_the_next_index() -> None:
    async def main() -> None:
        disk = SimDisk()
        opened = await written(disk, LOG[:3])
        opened.storage.write(hard_state=HardState(3, NODE))
        await opened.storage.save_snapshot(snapshot_of(OTHER[:25]))
        opened.storage.write(entries=batch(26, OTHER[25:]))
        await opened.close()
        opened = await open_storage(disk)
        assert state_of(opened.recovered).log == tuple(OTHER)
        assert opened.recovered.entries.first_index == 26
        opened.storage.compact(25)
        await opened.close()
        opened = await open_storage(disk)
        assert state_of(opened.recovered).log == tuple(OTHER)
        await opened.close()

    run(main())


def test_a_received_snapshot_that_contradicts_the_log_replaces_all_of_it() -> None:
    async def main() -> None:
        disk = SimDisk()
        opened = await written(disk, LOG)
        opened.storage.write(hard_state=HardState(3, NODE))
        await opened.storage.save_snapshot(snapshot_of(OTHER[:10]))
        await opened.close()
        opened = await open_storage(disk)
        assert state_of(opened.recovered).log == tuple(OTHER[:10])
        await opened.close()

    run(main())


def test_a_received_snapshot_that_the_log_contains_leaves_what_follows_it() -> None:
    """It may have been acknowledged: to drop it would lose it."""

    async def main() -> None:
        disk = SimDisk()
        opened = await written(disk, LOG)
        await opened.storage.save_snapshot(snapshot_of(LOG[:10]))
        opened.storage.write(entries=batch(21, LOG[:2]))
        await opened.close()
        opened = await open_storage(disk)
        assert state_of(opened.recovered).log == tuple(LOG + LOG[:2])
        await opened.close()

    run(main())


def test_at_every_crash_point_a_received_snapshot_is_there_with_its_log_or_not_at_all() -> None:
    async def main(moment: int, log: list[Entry], out_of_order: bool) -> str:
        disk = SimDisk()
        opened = await written(disk, log)
        opened.storage.write(hard_state=HardState(3, NODE))
        await opened.storage.sync()

        async def receive() -> None:
            await opened.storage.save_snapshot(snapshot_of(OTHER[:25]))
            opened.storage.write(entries=batch(26, OTHER[25:]))
            await opened.storage.sync()

        receiving = asyncio.ensure_future(receive())
        await turns(moment)
        done = receiving.done()
        disk = disk.crash(SeededEntropy(moment), out_of_order=out_of_order)
        await asyncio.gather(receiving, return_exceptions=True)
        again = await open_storage(disk)
        found = state_of(again.recovered)
        assert found.hard_state == HardState(3, NODE)
        what = {tuple(log): "old", tuple(OTHER[:25]): "snapshot", tuple(OTHER): "new"}[found.log]
        assert what == "new" or not done
        again.storage.write(entries=entries(len(found.log) + 1, 2, 3))
        await again.close()
        again = await open_storage(disk)
        assert state_of(again.recovered).log[:-2] == found.log
        await again.close()
        return what

    for log in (LOG[:3], LOG, LOG + LOG):
        for out_of_order in (False, True):
            seen = {run(main(moment, log, out_of_order)) for moment in range(20)}
            assert seen == {"old", "snapshot", "new"}


def test_a_received_snapshot_that_rotted_after_it_was_acknowledged_stops_the_node() -> None:
    """Also right after a loss of power: that the log begins behind it was durable when `save_snapshot` returned."""

    async def main(seed: int) -> None:
        disk = SimDisk()
        opened = await written(disk, LOG[:3])
        await opened.storage.save_snapshot(snapshot_of(LOG))
        disk = disk.crash(SeededEntropy(seed))
        disk.flip(f"snapshots/{disk.list('snapshots')[0]}", 90)
        with pytest.raises(LogCorrupt):
            await open_storage(disk)

    for seed in range(10):
        run(main(seed))


def test_term_and_log_are_durable_before_a_snapshot_of_them() -> None:
    async def main(seed: int) -> None:
        disk = SimDisk()
        opened = await open_storage(disk)
        opened.storage.write(hard_state=HardState(1, NODE), entries=batch(1, LOG))
        await opened.storage.save_snapshot(snapshot_of(LOG[:10]))
        opened = await open_storage(disk.crash(SeededEntropy(seed)))
        assert state_of(opened.recovered).log == tuple(LOG)
        assert opened.recovered.hard_state == HardState(1, NODE)
        await opened.close()

    for seed in range(10):
        run(main(seed))


def test_entries_may_be_written_while_an_own_snapshot_is_saved() -> None:
    async def main() -> None:
        disk = SimDisk()
        opened = await written(disk, LOG)
        saving = asyncio.ensure_future(opened.storage.save_snapshot(snapshot_of(LOG[:20])))
        log = list(LOG)
        for number in range(10):
            await asyncio.sleep(0)
            log.append((1, b"meanwhile %d" % number))
            opened.storage.write(entries=batch(len(log), log[-1:]))
        await saving
        await opened.close()
        opened = await open_storage(disk)
        assert state_of(opened.recovered).log == tuple(log)
        await opened.close()

    run(main())


# Starting


Life = Callable[[SimDisk], Awaitable[None]]


async def rolling(disk: SimDisk) -> None:
    opened = await open_storage(disk, segment_bytes=300)
    for index in range(1, 9):
        opened.storage.write(hard_state=HardState(index, NODE), entries=entries(index, 3, index))
        await opened.storage.sync()


async def compacting(disk: SimDisk) -> None:
    opened = await open_storage(disk, segment_bytes=200)
    for index in range(1, 6):
        opened.storage.write(entries=batch(index, LOG[index - 1 : index]))
        await opened.storage.sync()
    for index in (3, 5):
        await opened.storage.save_snapshot(snapshot_of(LOG[:index]))
        opened.storage.compact(index)
        opened.storage.write(entries=batch(index + 1, LOG[index:]))
        await opened.storage.sync()


async def catching_up(disk: SimDisk) -> None:
    opened = await open_storage(disk, segment_bytes=200)
    opened.storage.write(entries=batch(1, LOG[:3]))
    await opened.storage.save_snapshot(snapshot_of(LOG[:10]))
    opened.storage.compact(10)
    opened.storage.write(entries=batch(11, LOG[10:]))
    await opened.storage.sync()


@pytest.mark.parametrize("life", [rolling, compacting, catching_up])
def test_what_a_killed_process_left_is_made_durable_before_anything_is_built_on_it(life: Life) -> None:
    """Killed at any moment, then power is lost at any moment of the next start: what that start saw is there."""

    async def main(killed_at: int, lost_at: int, seed: int) -> bool:
        disk = SimDisk()
        living = asyncio.ensure_future(life(disk))
        await turns(killed_at)
        over = living.done()
        disk = disk.kill()
        living.cancel()
        await asyncio.gather(living, return_exceptions=True)
        starting = asyncio.ensure_future(open_storage(disk))
        await turns(lost_at)
        seen = state_of(starting.result().recovered) if starting.done() else None
        disk = disk.crash(SeededEntropy(seed), out_of_order=seed % 2 == 0)
        await asyncio.gather(starting, return_exceptions=True)
        opened = await open_storage(disk)
        assert seen is None or state_of(opened.recovered) == seen
        await opened.close()
        return over

    killed_at, over = 0, False
    while not over:
        for lost_at in range(2, 26):
            over = run(main(killed_at, lost_at, killed_at * 31 + lost_at))
        killed_at += 1
    assert killed_at > 20


def test_what_a_failed_sync_left_in_the_kernel_s_memory_is_written_anew() -> None:
    """The kernel takes such bytes for written: they read back, and no sync brings them to the disk any more."""

    async def main(seed: int) -> None:
        disk = SimDisk()
        opened = await written(disk, LOG[:3])
        opened.storage.write(entries=batch(4, LOG[3:]))
        disk.fail("sync")
        with pytest.raises(DiskFailed):
            await opened.storage.sync()
        await opened.close()
        disk.mend()
        disk = disk.kill()
        opened = await open_storage(disk)
        seen = state_of(opened.recovered).log
        assert seen == tuple(LOG)
        opened = await open_storage(disk.crash(SeededEntropy(seed)))
        assert state_of(opened.recovered).log == seen
        await opened.close()

    for seed in range(10):
        run(main(seed))


def test_a_torn_tail_is_cut_off_and_said(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        disk = SimDisk("a")
        opened = await written(disk, LOG[:3])
        opened.storage.write(entries=batch(4, LOG[3:]))
        disk = disk.kill()
        file = disk.open(segment_path(1))
        whole = file.size()
        file.truncate(whole - 5)
        opened = await open_storage(disk)
        assert state_of(opened.recovered).log == tuple(LOG[:3])
        await opened.close()
        opened = await open_storage(disk)
        assert state_of(opened.recovered).log == tuple(LOG[:3])
        await opened.close()

    with caplog.at_level(logging.WARNING):
        run(main())
    assert "a:/log/0000000000000001.log" in caplog.text and "cut off" in caplog.text
    assert len([record for record in caplog.records if "cut off" in record.message]) == 1


def test_a_log_that_is_refused_is_left_as_it_was() -> None:
    async def main() -> None:
        disk = SimDisk("a")
        opened = await written(disk, LOG)
        await opened.close()
        disk.flip(segment_path(1), len(disk.content(segment_path(1))) // 2)
        disk.open("snapshots/00000000000000000009.snapshot.tmp", create=True).append(b"1")
        before = {path: disk.content(path) for path in disk.files() if path != "identity"}
        for _ in range(2):
            with pytest.raises(
                LogCorrupt, match=r"a:/log/0000000000000001.log is corrupt at byte \d+: .*Put back"
            ):
                await open_storage(disk)
        assert before == {path: disk.content(path) for path in disk.files() if path != "identity"}

    run(main())


def damaged(disk: SimDisk, harm: str) -> None:
    match harm:
        case "first segment is missing":
            disk.remove(segment_path(1))
        case "middle segment is missing":
            disk.remove(segment_path(2))
        case "sealed segment is short of a record":
            file = disk.open(segment_path(2))
            file.truncate(file.size() - 44)
        case "sealed segment goes on":
            disk.open(segment_path(2)).append(b"more")
        case "sealed segment has lost its header":
            disk.flip(segment_path(2), 20)
        case "last segment is missing and the next was never begun":
            disk.rename(segment_path(4), segment_path(5))
            disk.open(segment_path(5)).truncate(7)
        case "segments are swapped":
            disk.rename(segment_path(1), "log/x")
            disk.rename(segment_path(2), segment_path(1))
            disk.rename("log/x", segment_path(2))
        case _:
            raise AssertionError(harm)


@pytest.mark.parametrize(
    "harm",
    [
        "first segment is missing",
        "middle segment is missing",
        "sealed segment is short of a record",
        "sealed segment goes on",
        "sealed segment has lost its header",
        "last segment is missing and the next was never begun",
        "segments are swapped",
    ],
)
def test_a_damaged_log_stops_the_node(harm: str) -> None:
    async def main() -> None:
        disk = SimDisk("a")
        for start in range(3):
            opened = await open_storage(disk)
            opened.storage.write(entries=batch(start * 5 + 1, LOG[start * 5 : start * 5 + 5]))
            await opened.close()
        await (await open_storage(disk)).close()
        damaged(disk, harm)
        with pytest.raises(LogCorrupt, match="a:/log"):
            await open_storage(disk)

    run(main())


def test_a_segment_that_contradicts_the_one_before_it_stops_the_node() -> None:
    """Every CRC holds, and yet the two do not belong together."""

    async def main(header: SegmentHeader) -> None:
        disk = SimDisk("a")
        opened = await written(disk, LOG)
        await opened.close()
        size = len(disk.content(segment_path(1)))
        data_dir = await open_data_dir(disk, NODE, token=SeededEntropy(5).token)
        file = disk.open(segment_path(2), create=True)
        file.append(
            encode_start(
                data_dir.dir_id,
                SegmentHeader(2, 2, header.hard_state, header.last_index, header.last_term, size),
            )
        )
        with pytest.raises(LogCorrupt, match="it begins at"):
            await RaftStorage.open(data_dir)

    for hard_state, last_index, last_term in [
        (HardState(1, None), 20, 1),
        (HardState(1, NODE), 19, 1),
        (HardState(1, NODE), 20, 2),
    ]:
        run(main(SegmentHeader(2, 2, hard_state, last_index, last_term, 0)))


@pytest.mark.parametrize(
    ("kind", "index", "term", "payload", "why"),
    [
        (Kind.ENTRIES, 22, 1, pack_entries(entries(22, 1)), "do not follow a log that ends at 20"),
        (Kind.ENTRIES, 21, 0, pack_entries(entries(21, 1, 0)), "follows term 1"),
        (Kind.ENTRIES, 21, 1, b"no entries", "no msgpack|does not hold entries"),
        (Kind.HARD_STATE, 0, 0, pack_hard_state(HardState(0, None)), "term 0 follows term 1"),
        (Kind.HARD_STATE, 0, 1, pack_hard_state(HardState(1, "b")), "in the same term 1"),
        (Kind.HEADER, 20, 1, b"", "a second header"),
    ],
    ids=["gap", "term goes down", "no entries", "old term", "second vote", "second header"],
)
def test_a_record_that_cannot_follow_the_one_before_it_stops_the_node(
    kind: Kind, index: int, term: int, payload: bytes, why: str
) -> None:
    """Its CRC holds, so it is no torn write: somebody wrote it, and the log cannot be what it says."""

    async def main() -> None:
        disk = SimDisk("a")
        opened = await written(disk, LOG)
        framing = Framing.of(opened.data_dir.dir_id, 1, 1)
        disk = disk.kill()
        file = disk.open(segment_path(1))
        offset = file.size()
        file.append(framing.encode(kind, offset, offset, index, term, payload))
        with pytest.raises(LogCorrupt, match=f"corrupt at byte {offset}: .*({why})") as corrupt:
            await open_storage(disk)
        assert corrupt.value.offset == offset

    run(main())


def test_a_log_of_another_directory_stops_the_node() -> None:
    async def main() -> None:
        ours, theirs = SimDisk("a"), SimDisk("b")
        await (await written(ours, LOG)).close()
        data_dir = await open_data_dir(theirs, NODE, token=SeededEntropy(6).token)
        storage, _ = await RaftStorage.open(data_dir)
        await storage.close()
        data_dir.close()
        file = theirs.open(segment_path(1))
        file.truncate(0)
        file.append(ours.content(segment_path(1)))
        with pytest.raises(LogCorrupt):
            await open_storage(theirs)

    run(main())


@pytest.mark.parametrize("operation", ["read", "append", "sync"])
def test_a_disk_that_fails_at_start_is_said_clearly_and_loses_nothing(operation: str) -> None:
    async def main() -> None:
        disk = SimDisk("a")
        await (await written(disk, LOG)).close()
        matches = lambda path: path.startswith("log")
        match operation:
            case "read":
                disk.fail("read", matches)
            case "append":
                disk.fail("append", matches)
            case _:
                disk.fail("sync", matches)
        with pytest.raises(DataDirError, match="a:/ cannot be used"):
            await open_storage(disk)
        disk.mend()
        opened = await open_storage(disk)
        assert state_of(opened.recovered).log == tuple(LOG)
        await opened.close()

    run(main())


# When to make a snapshot


def test_it_counts_what_no_snapshot_stands_for() -> None:
    async def main() -> None:
        disk = SimDisk()
        opened = await open_storage(disk)
        data = [b"x" * 1000] * 10
        opened.storage.write(entries=batch(1, [(1, entry) for entry in data]))
        assert 10_000 < opened.storage.bytes_since_snapshot < 10_500
        await opened.close()
        opened = await open_storage(disk)
        assert 10_000 < opened.storage.bytes_since_snapshot < 10_500
        log: list[Entry] = [(1, entry) for entry in data]
        saving = asyncio.ensure_future(opened.storage.save_snapshot(snapshot_of(log)))
        await turns(2)
        opened.storage.write(entries=batch(11, log[:3]))
        await saving
        assert 3_000 < opened.storage.bytes_since_snapshot < 3_200
        await opened.close()
        opened = await open_storage(disk)
        assert 3_000 < opened.storage.bytes_since_snapshot < 3_200
        await opened.close()

    run(main())
