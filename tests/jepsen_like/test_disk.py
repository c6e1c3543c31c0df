"""The simulated disk: what a crash takes, what it must leave, and that it is the real one's twin otherwise."""

import asyncio
import errno
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.core import Disk
from quorate.core.real import RealDisk
from quorate.jepsen_like.disk import SimDisk
from tests.support import SeededEntropy, run, turns

SEEDS = range(60)


def fates(life: Callable[[SimDisk, int], object], *, out_of_order: bool = False) -> set[object]:
    """What `life` says that the next boot finds, over many seeds. It is called again with the disk after the crash."""
    found: set[object] = set()
    for seed in SEEDS:
        disk = SimDisk()
        life(disk, 0)
        found.add(life(disk.crash(SeededEntropy(seed), out_of_order=out_of_order), 1))
    return found


def write(disk: Disk, path: str, *chunks: bytes) -> None:
    file = disk.open(path, create=True)
    for chunk in chunks:
        file.append(chunk)
    file.close()


def read(disk: Disk, path: str) -> bytes:
    file = disk.open(path)
    data = file.read(0, file.size())
    file.close()
    return data


async def sync(disk: Disk, path: str) -> None:
    file = disk.open(path)
    await file.sync()
    file.close()


async def durable_file(disk: Disk, path: str, *chunks: bytes) -> None:
    write(disk, path, *chunks)
    await sync(disk, path)
    await disk.sync_dir(path.rpartition("/")[0])


# The port


@pytest.mark.parametrize("kind", ["simulated", "real"])
def test_it_does_what_the_real_disk_does(kind: str, tmp_path: Path) -> None:
    async def main() -> None:
        disk: Disk = SimDisk() if kind == "simulated" else RealDisk(tmp_path / "root")
        disk.make_dir()
        disk.make_dir("a/b")
        disk.make_dir("a/b")
        assert disk.list() == ["a"] and disk.list("a") == ["b"] and disk.list("nowhere") == []
        for missing in ("x", "a/x", "nowhere/x"):
            assert not disk.exists(missing)
            with pytest.raises(FileNotFoundError):
                disk.open(missing)
            with pytest.raises(FileNotFoundError):
                disk.remove(missing)
            with pytest.raises(FileNotFoundError):
                disk.rename(missing, missing + "2")
        with pytest.raises(FileNotFoundError):
            disk.open("nowhere/x", create=True)
        file = disk.open("a/x", create=True)
        assert file.size() == 0 and file.read(0, 10) == b""
        file.append(b"")
        file.append(b"hello ")
        file.append(b"world")
        await file.sync()
        assert (file.size(), file.read(3, 4), file.read(9, 9), file.read(99, 1)) == (11, b"lo w", b"ld", b"")
        again = disk.open("a/x", create=True)
        again.append(b"!")
        assert file.size() == 12
        again.truncate(5)
        assert read(disk, "a/x") == b"hello"
        write(disk, "a/y", b"other")
        disk.rename("a/x", "a/y")
        assert disk.list("a") == ["b", "y"] and read(disk, "a/y") == b"hello"
        file.append(b"?")  # the name has gone, the file has not
        assert read(disk, "a/y") == b"hello?"
        disk.remove("a/y")
        assert file.read(0, 99) == b"hello?"
        await disk.sync_dir("a")
        await disk.sync_dir()
        file.close()
        again.close()
        with pytest.raises(OSError):
            file.append(b"1")
        with pytest.raises(OSError):
            await file.sync()
        lock = disk.lock()
        with pytest.raises(BlockingIOError):
            disk.lock()
        lock.release()
        other = disk.lock()
        lock.release()  # a second time: it is another's now
        with pytest.raises(BlockingIOError):
            disk.lock()
        other.release()
        disk.lock().release()
        with pytest.raises(ValueError):
            disk.open("../x")
        if isinstance(disk, RealDisk):
            disk.close()

    run(main())


def test_a_rename_stays_within_its_directory() -> None:
    disk = SimDisk()
    disk.make_dir("a")
    write(disk, "x", b"1")
    with pytest.raises(ValueError, match="same directory"):
        disk.rename("x", "a/x")


# Loss of power


@given(
    st.lists(st.one_of(st.binary(min_size=1, max_size=8), st.just("sync"))),
    st.integers(0, 1 << 30),
)
def test_a_crash_leaves_what_was_synced_and_a_prefix_of_the_rest(steps: list[bytes | str], seed: int) -> None:
    async def main() -> None:
        disk = SimDisk()
        await durable_file(disk, "x")
        file = disk.open("x")
        written, synced = b"", 0
        for step in steps:
            if isinstance(step, bytes):
                file.append(step)
                written += step
            else:
                await file.sync()
                synced = len(written)
        left = read(disk.crash(SeededEntropy(seed)), "x")
        assert written.startswith(left)
        assert len(left) >= synced

    run(main())


def test_a_write_is_torn_at_any_byte() -> None:
    async def made() -> SimDisk:
        disk = SimDisk()
        await durable_file(disk, "x")
        write(disk, "x", b"123")
        return disk

    lengths = {len(read(run(made()).crash(SeededEntropy(seed)), "x")) for seed in SEEDS}
    assert lengths == {0, 1, 2, 3}


def test_a_cut_may_be_undone() -> None:
    async def made() -> SimDisk:
        disk = SimDisk()
        await durable_file(disk, "x", b"123")
        file = disk.open("x")
        file.truncate(1)
        file.append(b"ab")
        return disk

    left = {read(run(made()).crash(SeededEntropy(seed)), "x") for seed in SEEDS}
    assert left == {b"123", b"1", b"1a", b"1ab"}


def test_out_of_order_a_later_write_survives_an_earlier_one() -> None:
    async def made() -> SimDisk:
        disk = SimDisk()
        await durable_file(disk, "x", b"0")
        write(disk, "x", b"12", b"34")
        return disk

    left = {read(run(made()).crash(SeededEntropy(seed), out_of_order=True), "x") for seed in SEEDS}
    assert {b"0", b"012", b"01234", b"0\0\x0034", b"0\0\0"} <= left
    assert all(content[:1] == b"0" for content in left)


def test_a_name_needs_a_sync_of_its_directory() -> None:
    def life(disk: SimDisk, boot: int) -> object:
        if boot:
            return tuple(disk.list())
        run(durable_file(disk, "old", b"1"))

        async def main() -> None:
            write(disk, "new", b"2")
            await sync(disk, "new")
            disk.rename("new", "newer")
            disk.remove("old")

        return run(main())

    in_order = {("old",), ("new", "old"), ("newer", "old"), ("newer",)}
    assert fates(life) == in_order
    assert fates(life, out_of_order=True) == in_order | {(), ("new",)}


def test_a_name_that_was_synced_stays() -> None:
    async def main(seed: int) -> None:
        disk = SimDisk()
        disk.make_dir("a")
        await disk.sync_dir()
        await durable_file(disk, "a/x", b"1")
        write(disk, "a/y", b"22")
        await sync(disk, "a/y")
        disk.rename("a/y", "a/x")
        await disk.sync_dir("a")
        disk = disk.crash(SeededEntropy(seed), out_of_order=seed % 2 == 1)
        assert disk.list("a") == ["x"] and read(disk, "a/x") == b"22"

    for seed in SEEDS:
        run(main(seed))


def test_a_directory_that_was_not_synced_above_is_lost_with_all_that_is_in_it() -> None:
    def life(disk: SimDisk, boot: int) -> object:
        if boot:
            return disk.exists("a/x")
        disk.make_dir("a")
        return run(durable_file(disk, "a/x", b"1"))

    assert fates(life) == {True, False}


def test_a_file_that_was_renamed_before_its_sync_may_be_empty_under_its_new_name() -> None:
    def life(disk: SimDisk, boot: int) -> object:
        if boot:
            return read(disk, "x")
        run(durable_file(disk, "x", b"old"))
        write(disk, "x.tmp", b"new")
        disk.rename("x.tmp", "x")
        return run(disk.sync_dir())

    assert b"" in fates(life)


def test_the_same_draws_make_the_same_disk() -> None:
    def left(seed: int) -> dict[str, bytes]:
        disk = SimDisk()
        for number in range(8):
            write(disk, f"{number}", b"%d" % number * 10, b"second" * number)
        disk = disk.crash(SeededEntropy(seed), out_of_order=True)
        return {path: disk.content(path) for path in disk.files()}

    assert left(7) == left(7)
    assert left(7) != left(8)


# The end of a process


def test_a_killed_process_loses_nothing_but_what_it_wrote_is_not_durable_yet() -> None:
    async def made() -> SimDisk:
        disk = SimDisk()
        await durable_file(disk, "x", b"1")
        write(disk, "x", b"2")
        disk = disk.kill()
        assert read(disk, "x") == b"12"
        assert disk.durable_content("x") == b"1"
        return disk

    left = {read(run(made()).crash(SeededEntropy(seed)), "x") for seed in SEEDS}
    assert left == {b"1", b"12"}


def test_a_dead_process_cannot_touch_what_its_successor_has() -> None:
    async def main() -> None:
        disk = SimDisk("a")
        await durable_file(disk, "x", b"1")
        file, lock = disk.open("x"), disk.lock()
        disk.freeze()
        syncing = asyncio.ensure_future(file.sync())
        await turns()
        next_disk = disk.kill()
        held = next_disk.lock()  # the lock of a dead process is free
        lock.release()
        with pytest.raises(BlockingIOError):
            next_disk.lock()
        held.release()
        with pytest.raises(OSError, match="over"):
            await syncing
        for call in (
            lambda: file.append(b"2"),
            lambda: file.read(0, 1),
            file.size,
            lambda: file.truncate(0),
            lambda: disk.open("x"),
            lambda: disk.rename("x", "y"),
            lambda: disk.remove("x"),
            lambda: disk.exists("x"),
            disk.list,
            disk.lock,
            lambda: disk.make_dir("d"),
            disk.kill,
        ):
            with pytest.raises(OSError, match="this run of a is over"):
                call()
        with pytest.raises(OSError, match="over"):
            await disk.sync_dir()
        assert read(next_disk, "x") == b"1"

    run(main())


# Faults


def test_a_full_disk_takes_what_fits() -> None:
    disk = SimDisk(capacity_bytes=5)
    disk.make_dir("a")
    write(disk, "a/x", b"123")
    file = disk.open("y", create=True)
    with pytest.raises(OSError) as full:
        file.append(b"4567")
    assert full.value.errno == errno.ENOSPC
    assert read(disk, "y") == b"45" and disk.free_bytes() == 0
    with pytest.raises(OSError):
        file.append(b"6")
    disk.remove("a/x")
    file.append(b"678")
    disk.set_capacity(None)
    file.append(b"9" * 100)
    assert disk.free_bytes() is None


def test_a_fault_hits_its_operation_on_its_paths_until_it_is_mended() -> None:
    async def main() -> None:
        disk = SimDisk()
        disk.make_dir("log")
        for path in ("log/x", "y"):
            write(disk, path, b"1")
        reading = disk.fail("read", lambda path: path.startswith("log/"))
        appending = disk.fail("append", lambda path: path == "y", error=errno.EROFS)
        with pytest.raises(OSError) as unreadable:
            read(disk, "log/x")
        assert unreadable.value.errno == errno.EIO
        assert read(disk, "y") == b"1"
        write(disk, "log/x", b"2")
        with pytest.raises(OSError) as unwritable:
            write(disk, "y", b"2")
        assert unwritable.value.errno == errno.EROFS
        disk.mend(reading)
        assert read(disk, "log/x") == b"12"
        disk.mend(appending)
        write(disk, "y", b"2")
        disk.fail("sync")
        with pytest.raises(OSError):
            await sync(disk, "y")
        with pytest.raises(OSError):
            await disk.sync_dir()
        disk.mend()
        await sync(disk, "y")

    run(main())


def test_a_failed_sync_drops_the_bytes_and_a_later_one_says_nothing() -> None:
    async def main() -> None:
        disk = SimDisk()
        await durable_file(disk, "x", b"1")
        file = disk.open("x")
        file.append(b"22")
        fault = disk.fail("sync")
        with pytest.raises(OSError):
            await file.sync()
        disk.mend(fault)
        file.append(b"3")
        await file.sync()  # "fsyncgate"
        assert file.read(0, 9) == b"1223"
        assert read(disk.crash(SeededEntropy(1)), "x") == b"1\0\x003"

    run(main())


def test_a_frozen_sync_waits_and_covers_what_was_written_before_it() -> None:
    async def main() -> None:
        disk = SimDisk()
        await durable_file(disk, "x", b"1")
        file = disk.open("x")
        file.append(b"2")
        disk.freeze()
        before = disk.syncs
        syncing = asyncio.ensure_future(file.sync())
        naming = asyncio.ensure_future(disk.sync_dir())
        await turns()
        assert not syncing.done() and not naming.done()
        assert disk.frozen_syncs() == 2 and disk.syncs == before + 2
        file.append(b"3")
        assert disk.durable_content("x") == b"1"
        disk.thaw()
        await asyncio.gather(syncing, naming)
        assert disk.durable_content("x") == b"12"
        assert disk.frozen_syncs() == 0

    run(main())


def test_a_frozen_sync_of_a_directory_covers_the_names_before_it() -> None:
    async def main(seed: int) -> tuple[str, ...]:
        disk = SimDisk()
        write(disk, "x", b"1")
        disk.freeze()
        naming = asyncio.ensure_future(disk.sync_dir())
        await turns()
        write(disk, "y", b"1")
        disk.thaw()
        await naming
        return tuple(disk.crash(SeededEntropy(seed)).list())

    assert {run(main(seed)) for seed in SEEDS} == {("x",), ("x", "y")}


def test_a_flipped_bit_is_there_to_stay() -> None:
    async def main() -> None:
        disk = SimDisk()
        await durable_file(disk, "x", b"abc")
        disk.flip("x", 1, 0x04)
        assert read(disk, "x") == b"afc"
        assert read(disk.crash(SeededEntropy(1)), "x") == b"afc"

    run(main())
