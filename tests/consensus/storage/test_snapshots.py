"""Snapshots: whole or absent, never in the way of the loop, and what happens when one does not read back."""

import asyncio
import errno
from dataclasses import replace

import pytest

from quorate.consensus.errors import DiskFailed, LogCorrupt, NewerFormat
from quorate.consensus.raft.types import Configuration, HardState, Snapshot
from quorate.consensus.storage import snapshots
from quorate.consensus.storage.snapshots import decode_head, encode_head, snapshot_index, snapshot_path
from quorate.jepsen_like.disk import SimDisk
from tests.support import SeededEntropy, run, turns

from .model import Opened, batch, open_storage, snapshot_of, state_of

LOG = [(1, b"entry %d" % index) for index in range(1, 41)]


def files(disk: SimDisk) -> list[str]:
    return disk.list("snapshots")


async def started(disk: SimDisk, *, count: int = 40) -> Opened:
    opened = await open_storage(disk)
    opened.storage.write(hard_state=HardState(1), entries=batch(1, LOG[:count]))
    await opened.storage.sync()
    return opened


def test_the_newest_snapshot_comes_back_with_all_that_describes_it() -> None:
    async def main() -> None:
        disk = SimDisk()
        opened = await started(disk)
        await opened.storage.save_snapshot(snapshot_of(LOG[:10]))
        who = Configuration(frozenset({"a", "b"}), frozenset({"c"}), frozenset({"d"}))
        plain = snapshot_of(LOG[:20])
        saved = Snapshot(replace(plain.meta, configuration=who), plain.data)
        await opened.storage.save_snapshot(saved)
        assert opened.storage.snapshot_index == 20
        await opened.close()
        opened = await open_storage(disk)
        assert opened.recovered.snapshot == saved
        assert opened.storage.snapshot_index == 20
        await opened.close()

    run(main())


def test_an_empty_snapshot_comes_back() -> None:
    async def main() -> None:
        disk = SimDisk()
        opened = await started(disk)
        empty = snapshot_of(LOG[:3])
        empty = Snapshot(replace(empty.meta, checksum=0, size_bytes=0), b"")
        await opened.storage.save_snapshot(empty)
        await opened.close()
        opened = await open_storage(disk)
        assert opened.recovered.snapshot == empty
        await opened.close()

    run(main())


def test_the_newest_two_are_kept_and_an_older_one_is_ignored() -> None:
    async def main() -> None:
        disk = SimDisk()
        opened = await started(disk)
        for index in (10, 20, 15, 30, 30, 5):
            await opened.storage.save_snapshot(snapshot_of(LOG[:index]))
        assert [snapshot_index(name) for name in files(disk)] == [20, 30]
        await opened.close()

    run(main())


def test_an_older_snapshot_goes_only_when_the_newer_one_is_durable() -> None:
    """At every crash point there is a snapshot to which the compacted log connects."""

    async def main(moment: int) -> None:
        disk = SimDisk()
        opened = await started(disk, count=20)
        await opened.storage.save_snapshot(snapshot_of(LOG[:20]))
        await opened.close()
        opened = await open_storage(disk)
        opened.storage.compact(20)
        opened.storage.write(entries=batch(21, LOG[20:]))
        saving = asyncio.ensure_future(save_two(opened))
        await turns(moment)
        disk = disk.crash(SeededEntropy(moment), out_of_order=True)
        await asyncio.gather(saving, return_exceptions=True)
        opened = await open_storage(disk)
        assert state_of(opened.recovered).log[:20] == tuple(LOG[:20])
        await opened.close()

    async def save_two(opened: Opened) -> None:
        await opened.storage.save_snapshot(snapshot_of(LOG[:25]))
        await opened.storage.save_snapshot(snapshot_of(LOG[:30]))

    for moment in range(25):
        run(main(moment))


def test_the_loop_goes_on_while_a_large_snapshot_is_written() -> None:
    async def main() -> None:
        disk = SimDisk()
        opened = await started(disk)
        large = [(1, bytes(1_000_000)) for _ in range(12)]
        saving = asyncio.ensure_future(opened.storage.save_snapshot(snapshot_of(large)))
        others = 0
        while not saving.done():
            await asyncio.sleep(0)
            others += 1
        assert others > 40
        await opened.close()

    run(main())


def test_a_large_snapshot_is_synced_in_pieces_lest_the_log_wait_for_all_of_it() -> None:
    async def main() -> None:
        disk = SimDisk()
        opened = await started(disk)
        large = [(1, bytes(1_000_000)) for _ in range(12)]
        disk.freeze()
        saving = asyncio.ensure_future(opened.storage.save_snapshot(snapshot_of(large)))
        await turns(200)
        temporary = f"snapshots/{files(disk)[0]}"
        assert len(disk.content(temporary)) <= snapshots.SYNC_BYTES + 2 * snapshots.CHUNK_BYTES
        disk.thaw()
        await saving
        await opened.close()

    run(main())


def test_an_unfinished_snapshot_is_under_no_final_name_and_is_removed_at_start(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main(moment: int) -> bool:
        disk = SimDisk()
        opened = await started(disk)
        saving = asyncio.ensure_future(opened.storage.save_snapshot(snapshot_of(LOG[:30])))
        await turns(moment)
        disk = disk.crash(SeededEntropy(moment), out_of_order=True)
        await asyncio.gather(saving, return_exceptions=True)
        unfinished = any(name.endswith(".tmp") for name in files(disk))
        opened = await open_storage(disk)
        assert state_of(opened.recovered).log == tuple(LOG)
        assert not any(name.endswith(".tmp") for name in files(disk))
        await opened.close()
        return unfinished

    unfinished = [run(main(moment)) for moment in range(12)]
    assert any(unfinished)
    assert "skipped" not in caplog.text


def test_a_snapshot_that_rotted_is_skipped_while_the_log_reaches_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main(kept: int) -> None:
        disk = SimDisk()
        opened = await started(disk)
        for index in (10, 20):
            await opened.storage.save_snapshot(snapshot_of(LOG[:index]))
        await opened.close()
        path = snapshot_path(20)
        disk.flip(path, len(disk.content(path)) - 1)
        if not kept:
            disk.flip(snapshot_path(10), 30)
        opened = await open_storage(disk)
        found = opened.recovered.snapshot
        assert (found.meta.index if found else 0) == kept
        assert state_of(opened.recovered).log == tuple(LOG)
        assert f"disk:/{path} does not read back: skipped" in caplog.text
        await opened.storage.save_snapshot(snapshot_of(LOG[:20]))  # mends it
        assert opened.storage.snapshot_index == 20
        await opened.close()
        opened = await open_storage(disk)
        assert opened.recovered.snapshot == snapshot_of(LOG[:20])
        await opened.close()

    run(main(10))
    run(main(0))


@pytest.mark.parametrize("harm", ["flip", "remove", "shorten"])
def test_a_snapshot_that_the_log_needs_and_that_is_lost_stops_the_node(harm: str) -> None:
    async def main() -> None:
        disk = SimDisk("a")
        opened = await started(disk, count=20)
        await opened.close()
        opened = await open_storage(disk)
        opened.storage.write(entries=batch(21, LOG[20:]))
        for index in (10, 30):
            await opened.storage.save_snapshot(snapshot_of(LOG[:index]))
        opened.storage.compact(30)
        await opened.close()
        path = snapshot_path(30)
        match harm:
            case "flip":
                disk.flip(path, 100)
            case "remove":
                disk.remove(path)
            case "shorten":
                disk.open(path).truncate(100)
        before = {path: disk.content(path) for path in disk.files() if path != "identity"}
        with pytest.raises(LogCorrupt, match=r"the log begins at entry 21 .* ends at 10") as corrupt:
            await open_storage(disk)
        if harm != "remove":
            assert corrupt.value.path == f"a:/{path}"
        assert before == {path: disk.content(path) for path in disk.files() if path != "identity"}

    run(main())


def test_a_snapshot_under_another_one_s_name_does_not_count() -> None:
    async def main() -> None:
        disk = SimDisk()
        opened = await started(disk)
        await opened.storage.save_snapshot(snapshot_of(LOG[:20]))
        await opened.close()
        disk.rename(snapshot_path(20), snapshot_path(30))
        opened = await open_storage(disk)
        assert opened.recovered.snapshot is None
        assert state_of(opened.recovered).log == tuple(LOG)
        await opened.close()

    run(main())


def test_data_that_does_not_match_its_checksum_is_not_saved() -> None:
    async def main() -> None:
        disk = SimDisk()
        opened = await started(disk)
        good = snapshot_of(LOG[:20])
        for meta in (
            replace(good.meta, checksum=good.meta.checksum ^ 1),
            replace(good.meta, size_bytes=good.meta.size_bytes + 1),
        ):
            with pytest.raises(ValueError, match="checksum"):
                await opened.storage.save_snapshot(Snapshot(meta, good.data))
        assert opened.storage.snapshot_index == 0
        await opened.storage.save_snapshot(good)
        assert opened.storage.snapshot_index == 20
        await opened.close()

    run(main())


@pytest.mark.parametrize("operation", ["append", "sync"])
def test_a_disk_that_refuses_a_snapshot_ends_the_storage_and_loses_nothing(operation: str) -> None:
    async def main() -> None:
        disk = SimDisk()
        opened = await started(disk)
        await opened.storage.save_snapshot(snapshot_of(LOG[:10]))
        matches = lambda path: path.startswith("snapshots")
        if operation == "append":
            disk.fail("append", matches, error=errno.ENOSPC)
        else:
            disk.fail("sync", matches)
        with pytest.raises(DiskFailed):
            await opened.storage.save_snapshot(snapshot_of(LOG[:20]))
        with pytest.raises(DiskFailed):
            opened.storage.write(entries=batch(41, LOG[:1]))
        await opened.close()
        disk.mend()
        opened = await open_storage(disk.crash(SeededEntropy(1)))
        assert opened.storage.snapshot_index == 10
        assert state_of(opened.recovered).log == tuple(LOG)
        await opened.close()

    run(main())


def test_a_newer_format_is_told_from_rot() -> None:
    async def main() -> None:
        disk = SimDisk()
        opened = await started(disk)
        await opened.storage.save_snapshot(snapshot_of(LOG[:20]))
        await opened.close()
        monkeypatch = pytest.MonkeyPatch()
        with monkeypatch.context() as patched:
            patched.setattr(snapshots, "FORMAT", 2)
            head = encode_head(snapshot_of(LOG[:20]).meta)
        file = disk.open(snapshot_path(20))
        data = file.read(0, file.size())
        file.truncate(0)
        file.append(head + data[len(head) :])
        with pytest.raises(NewerFormat, match=r"in format 2 .* format 1"):
            await open_storage(disk)

    run(main())


def test_every_changed_bit_of_a_head_is_noticed() -> None:
    head = encode_head(snapshot_of(LOG[:20]).meta)
    assert decode_head(head, "x") == (snapshot_of(LOG[:20]).meta, len(head))
    for at in range(len(head) * 8):
        changed = bytearray(head)
        changed[at // 8] ^= 1 << at % 8
        with pytest.raises(LogCorrupt):
            decode_head(bytes(changed), "x")
