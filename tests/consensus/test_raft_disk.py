"""The raft engine on disks that fail, fill, stall or forget: the node ends, the others go on, nothing acknowledged is lost."""

import asyncio
import errno

import pytest

from quorate.consensus import (
    DataDir,
    DataDirInUse,
    DiskFailed,
    LogCorrupt,
    OutcomeUnknown,
    Put,
    RaftStore,
    Timing,
    TxnResult,
    WrongDataDir,
    open_data_dir,
)
from quorate.consensus.recovery import RaftStoreConfig
from quorate.core import ConfigError, DataDirError
from quorate.jepsen_like.disk import Operation, SimDisk
from tests.support import SeededEntropy

from .raft_world import World, outcome_of, put
from .virtual import VirtualClock, run_virtual


async def count(store: RaftStore) -> TxnResult:
    return await store.txn([], [Put(b"n", bytes(100))], timeout_s=20.0)


def break_disk(disk: SimDisk, how: str) -> None:
    match how:
        case "full":
            disk.set_capacity(sum(len(disk.content(path)) for path in disk.files()) + 40)
        case "no append":
            disk.fail("append", error=errno.EIO)
        case "no sync":
            disk.fail("sync", error=errno.EIO)
        case "no snapshot":
            disk.fail("append", lambda path: "snapshots/" in path, error=errno.ENOSPC)
        case "no sync of snapshots":
            disk.fail("sync", lambda path: "snapshots" in path, error=errno.EIO)


@pytest.mark.parametrize("role", ["leader", "follower"])
@pytest.mark.parametrize("how", ["full", "no append", "no sync", "no snapshot", "no sync of snapshots"])
def test_a_node_whose_disk_fails_ends_and_the_others_go_on(how: str, role: str) -> None:
    async def main() -> None:
        async with World(snapshot_after_bytes=5000) as world:
            await world.led_by("a")
            name = "a" if role == "leader" else "b"
            store, failures = world[name], list[Exception]()
            store.subscribe_failure(failures.append)
            told: list[bool] = []
            store.session.subscribe(lambda session, opened: told.append(opened))
            done = [await count(world["c"]) for _ in range(10)]
            break_disk(world.disk(name), how)
            answers: list[TxnResult | Exception] = []

            async def work(on: RaftStore) -> None:
                answers.extend([await outcome_of(count(on)) for _ in range(60)])

            await asyncio.gather(work(store), work(world["c"]))
            await world.until(lambda: failures)
            assert [type(failure) for failure in failures] == [DiskFailed]
            assert told == [False] and not store.session.valid() and not store.leads()
            status = store.status()
            assert (status.role, status.leader) == ("stopped", None)
            done += [answer for answer in answers if isinstance(answer, TxnResult)]
            errors = [answer for answer in answers if isinstance(answer, Exception)]
            assert {type(error) for error in errors} <= {DiskFailed, OutcomeUnknown}
            unknown = sum(isinstance(error, OutcomeUnknown) for error in errors)
            assert len(answers) == 120 and unknown <= 2
            item = await world["c"].get(b"n")
            assert item is not None and len(done) <= item.version <= len(done) + unknown
            versions = [result.results[0].version for result in done if result.results[0]]
            assert len(set(versions)) == len(versions)
            # Once the disk is mended it starts again, and knows everything.
            await world.stop(name)
            world.disk(name).mend()
            world.disk(name).set_capacity(None)
            world.members[name].disk = world.disk(name).crash(world.entropy)
            await world.start(name)
            assert await world[name].get(b"n") == item

    run_virtual(main())


@pytest.mark.parametrize("seed", range(5))
def test_what_a_failed_sync_left_in_the_kernels_memory_is_not_taken_for_durable_later(seed: int) -> None:
    """The kernel says that a page is clean after it failed to write it. The process starts again on the same kernel,
    reads its log from there, and goes on; then the power goes."""

    async def main() -> None:
        async with World(seed=seed) as world:
            await world.led_by("a")
            store = world["b"]
            fault = world.disk("b").fail("sync", lambda path: "log/" in path)
            for _ in range(5):
                await outcome_of(count(world["a"]))
            await world.until(lambda: store.status().role == "stopped")
            world.kill("b")
            world.disk("b").mend(fault)
            await world.start("b")
            for _ in range(5):
                await count(world["b"])
            world.kill("b", power_lost=world.entropy)
            world.kill("a", power_lost=world.entropy)
            await world.start("b")
            item = await world["b"].get(b"n")
            assert item is not None and item.version >= 10

    run_virtual(main())


def test_a_power_cut_of_all_nodes_loses_nothing_that_was_acknowledged() -> None:
    async def main() -> None:
        async with World(snapshot_after_bytes=4000) as world:
            done = 0
            for round_ in range(12):
                await world.ready()
                answers: list[object] = []

                async def work(store: RaftStore, answers: list[object] = answers) -> None:
                    while True:
                        answers.append(await outcome_of(count(store)))

                working = [asyncio.ensure_future(work(store)) for store in world.stores for _ in range(3)]
                await world.pass_time(0.05 + 0.1 * world.entropy.random())
                done += sum(isinstance(answer, TxnResult) for answer in answers)
                for name in "abc":
                    world.kill(name, power_lost=world.entropy)
                for task in working:
                    task.cancel()
                await asyncio.gather(*working, return_exceptions=True)
                await world.start()
                item = await world["abc"[round_ % 3]].get(b"n")
                assert item is not None and item.version >= done
                done = item.version  # those in flight may have been done as well

    run_virtual(main())


def test_a_follower_whose_disk_stalls_holds_up_nobody() -> None:
    async def main() -> None:
        async with World() as world:
            leader = await world.led_by("a")
            world.disk("b").freeze()
            for _ in range(50):
                await count(leader)
            assert world["b"].session.valid()
            waiting = asyncio.ensure_future(count(world["b"]))
            await world.pass_time(1.0)
            world.disk("b").thaw()
            assert (await waiting).results[0] is not None

    run_virtual(main())


def test_with_the_disks_of_a_majority_stalled_nothing_is_acknowledged() -> None:
    async def main() -> None:
        async with World() as world:
            leader = await world.led_by("a")
            world.disk("a").freeze()
            world.disk("b").freeze()
            answers = [asyncio.ensure_future(outcome_of(put(leader, b"k%d" % n))) for n in range(5)]
            await world.pass_time(1.0)
            assert not any(answer.done() for answer in answers)
            world.kill("a", power_lost=world.entropy)
            world.disk("b").thaw()
            await world.start("a")
            await world.ready()
            for number, answer in enumerate(await asyncio.gather(*answers)):
                assert isinstance(answer, OutcomeUnknown)
                await world["c"].get(b"k%d" % number)

    run_virtual(main())


@pytest.mark.parametrize("operation", ["append", "sync", "read"])
def test_a_disk_that_refuses_at_the_start_is_named_and_nothing_stays_open(operation: Operation) -> None:
    async def main() -> None:
        async with World(snapshot_after_bytes=2000) as world:
            leader = await world.led_by("a")
            for _ in range(60):
                await count(leader)
            world.kill("b")
            disk = world.disk("b")
            for path in ["log/", "snapshots/"]:
                if operation == "append" and path == "snapshots/":
                    continue  # nothing is written there at a start
                disk.fail(operation, lambda where, path=path: path in where or where == path[:-1])  # type: ignore[misc]
                with pytest.raises(DataDirError) as refused:
                    await world.start("b")
                assert "b:/" in str(refused.value)
                disk.mend()
            await world.start("b")  # the lock was let go each time
            assert await world["b"].get(b"n") is not None

    run_virtual(main())


async def open_alone(
    disk: SimDisk, voters: set[str], timing: Timing | None = None
) -> tuple[DataDir, RaftStore]:
    class Nowhere:
        def send(self, peer: str, lane: object, payload: bytes) -> bool:
            return False

    data_dir = await open_data_dir(disk, "a", token=SeededEntropy().token)
    try:
        store = await RaftStore.open(
            name="a",
            data_dir=data_dir,
            clock=VirtualClock(),
            entropy=SeededEntropy(),
            transport=Nowhere(),
            config=RaftStoreConfig(frozenset(voters), timing or Timing.local(), 1000),
        )
    except BaseException:
        data_dir.close()
        raise
    return data_dir, store


def test_settings_that_cannot_work_are_refused_before_anything_is_touched() -> None:
    async def main() -> None:
        disk = SimDisk("a")
        with pytest.raises(ConfigError, match="not among the voters"):
            await open_alone(disk, {"b", "c"})
        with pytest.raises(ConfigError, match="times"):
            await open_alone(disk, {"a"}, Timing(heartbeat_s=1.0, election_s=0.5))
        assert not [path for path in disk.files() if path.startswith("log/")]

    run_virtual(main())


def test_a_directory_that_was_written_with_other_voters_is_refused() -> None:
    """Two sets of voters that both think they are the cluster could have two majorities."""

    async def main() -> None:
        disk = SimDisk("a")
        data_dir, store = await open_alone(disk, {"a"})
        for _ in range(40):
            await count(store)
        await store.close()
        data_dir.close()
        with pytest.raises(WrongDataDir, match="start it with the same voters"):
            await open_alone(disk, {"a", "b", "c"})
        data_dir, store = await open_alone(disk, {"a"})
        with pytest.raises(DataDirInUse):
            await open_data_dir(disk, "a", token=SeededEntropy().token)
        await store.close()
        data_dir.close()

    run_virtual(main())


def test_a_snapshot_of_another_version_is_refused_and_nothing_stays_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        disk = SimDisk("a")
        data_dir, store = await open_alone(disk, {"a"})
        for _ in range(40):
            await count(store)
        await store.close()
        data_dir.close()
        monkeypatch.setattr("quorate.consensus.image.FORMAT", 2)
        with pytest.raises(LogCorrupt, match="format 1"):
            await open_alone(disk, {"a"})
        monkeypatch.undo()
        data_dir, store = await open_alone(disk, {"a"})
        item = await store.get(b"n")
        assert item is not None and item.version == 40
        await store.close()
        data_dir.close()

    run_virtual(main())
