"""Supervisors of many children that come and go, and of partitions."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.core import (
    ChildCounts,
    ConfigError,
    DynamicSupervisor,
    EncodeError,
    Node,
    NoProcess,
    NoSuchChild,
    NotCallable,
    Partitions,
    PartitionSupervisor,
    Process,
    Ref,
    Supervisor,
    SupervisorError,
    TooManyChildren,
    child,
)
from quorate.core.partition_supervisor import partition_of
from tests.core.conftest import Play
from tests.core.nodes import World
from tests.core.trees import Book, Worker, body, crash, pid_of
from tests.support import turns


def test_many_children_of_one_spec_come_and_go(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        book: Book = []
        pool = await node.start(DynamicSupervisor)
        spec = child(Worker, book, "w")
        pids = [await pool.call(DynamicSupervisor.start_child, spec) for _ in range(50)]
        assert len(set(pids)) == 50
        await crash(node, world, pids[7])
        shown = await pool.call(DynamicSupervisor.which_children)
        assert {one.id for one in shown} == {"Worker"}
        assert pids[7] not in {one.pid for one in shown}
        assert await pool.call(DynamicSupervisor.count_children) == ChildCounts(50, 50, 0, 50)
        await pool.call(DynamicSupervisor.terminate_child, pids[8])
        assert (await pool.call(DynamicSupervisor.count_children)).specs == 49
        with pytest.raises(NoSuchChild):
            await pool.call(DynamicSupervisor.terminate_child, pids[8])

    play.one(main)


def test_a_child_that_ended_for_good_is_forgotten(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        pool = await node.start(DynamicSupervisor)
        for restart, reason, left in (
            ("temporary", "broken", 0),
            ("transient", "normal", 0),
            ("transient", "broken", 1),
        ):
            spec = child(body, [], "b").options(restart=restart)  # type: ignore[arg-type]
            pid = await pool.call(DynamicSupervisor.start_child, spec)
            await world.settle()
            node.send(pid, reason)
            await world.settle()
            assert (await pool.call(DynamicSupervisor.count_children)).specs == left

    play.one(main)


def test_children_of_a_dynamic_supervisor_stop_at_once(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        async def slow(self: Process) -> None:
            try:
                await self.receive()
            finally:
                await asyncio.Event().wait()

        pool = await node.start(DynamicSupervisor)
        for _ in range(20):
            await pool.call(DynamicSupervisor.start_child, child(slow).options(shutdown_s=3.0))
        await world.settle()
        node.exit(pool.pid, "shutdown")
        await world.clock.pass_time(3.0)
        assert node.processes() == []

    play.one(main)


def test_a_dynamic_supervisor_has_a_limit_if_it_is_given_one(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        pool = await node.start(DynamicSupervisor, max_children=2)
        first = await pool.call(DynamicSupervisor.start_child, child(Worker, [], "1"))
        await pool.call(DynamicSupervisor.start_child, child(Worker, [], "2"))
        with pytest.raises(TooManyChildren, match="there are 2 children, and max_children is 2"):
            await pool.call(DynamicSupervisor.start_child, child(Worker, [], "3"))
        await pool.call(DynamicSupervisor.terminate_child, first)
        await pool.call(DynamicSupervisor.start_child, child(Worker, [], "3"))
        with pytest.raises(ConfigError):
            await node.start(DynamicSupervisor, max_children=-1)

    play.one(main)


def test_a_dynamic_supervisor_keeps_nothing_that_could_be_restarted_or_deleted(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        pool = await node.start(DynamicSupervisor)
        for method in (DynamicSupervisor.restart_child, DynamicSupervisor.delete_child):
            with pytest.raises(NotCallable):
                await pool.call(method, "w")

    play.one(main)


def test_restarts_of_all_dynamic_children_count_together(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        pool = await node.start(DynamicSupervisor, intensity=2)
        for name in "abc":
            pid = await pool.call(DynamicSupervisor.start_child, child(Worker, [], name))
            assert node.process_info(pool.pid) is not None
            await crash(node, world, pid)
        assert node.processes() == []

    play.one(main)


# -- partitions --------------------------------------------------------------------------------------------


def test_each_key_has_its_partition_also_after_a_restart(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        pool = await node.start(
            PartitionSupervisor,
            lambda number: child(Worker, [], str(number)).options(name="shard"),
            4,
        )
        workers = Partitions(pool, Worker)
        keys = [f"key {number}" for number in range(40)]
        homes = {key: await workers.ref_for(key).call(Worker.who) for key in keys}
        assert set(homes.values()) == {"0", "1", "2", "3"}
        assert homes == {key: str(partition_of(key, 4)) for key in keys}
        ref: Ref[Worker] = workers.ref_for("key 1")
        assert await pool.call(PartitionSupervisor.ref_for, "key 1") == ref
        assert await pool.call(PartitionSupervisor.pid_for, "key 1") == ref.pid
        assert node.whereis(f"shard/{homes['key 1']}") == ref.pid
        await crash(node, world, ref.pid)
        assert workers.ref_for("key 1") != ref
        assert {key: await workers.ref_for(key).call(Worker.who) for key in keys} == homes

    play.one(main)


def test_a_partition_that_is_not_there_is_an_error_and_the_others_go_on(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        pool = await node.start(PartitionSupervisor, child(Worker, [], "w"), 2)
        workers = Partitions(pool, Worker)
        here, there = (next(key for key in range(100) if partition_of(key, 2) == number) for number in (0, 1))
        await pool.call(PartitionSupervisor.terminate_child, "0")
        with pytest.raises(NoSuchChild, match="partition 0 is stopped"):
            workers.ref_for(here)
        with pytest.raises(NoSuchChild):
            await pool.call(PartitionSupervisor.ref_for, here)
        assert await workers.ref_for(there).call(Worker.who) == "w"
        await pool.call(PartitionSupervisor.restart_child, "0")
        assert await workers.ref_for(here).call(Worker.who) == "w"
        with pytest.raises(EncodeError):
            workers.ref_for(object())
        with pytest.raises(SupervisorError, match="nothing happened"):
            await pool.call(PartitionSupervisor.ref_for, object())
        with pytest.raises(NotCallable):
            await pool.call(PartitionSupervisor.start_child, child(Worker, [], "x"))
        node.exit(pool.pid, "kill")
        await world.settle()
        with pytest.raises(NoProcess):
            workers.ref_for(here)

    play.one(main)


def test_there_is_at_least_one_partition(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        with pytest.raises(ConfigError, match="1 or more partitions, not 0"):
            await node.start(PartitionSupervisor, child(Worker, [], "w"), 0)

    play.one(main)


@given(
    st.one_of(st.text(), st.integers(-(2**63), 2**63 - 1), st.tuples(st.text(), st.integers(0, 9))),
    st.integers(1, 50),
)
def test_a_key_has_one_partition(key: object, partitions: int) -> None:
    number = partition_of(key, partitions)
    assert 0 <= number < partitions
    assert partition_of(key, partitions) == number


def test_partitions_of_known_keys_are_the_same_in_every_release() -> None:
    assert [partition_of(key, 8) for key in ("customer 17", "", 0, ("a", 1))] == [7, 0, 3, 3]


# -- together ----------------------------------------------------------------------------------------------


def test_supervisors_of_all_kinds_are_children_of_each_other(play: Play) -> None:
    book: Book = []

    async def main(node: Node, world: World) -> None:
        tree = await node.start(
            Supervisor,
            [
                child(DynamicSupervisor, max_children=5).options(name="jobs"),
                child(PartitionSupervisor, child(Worker, book, "p"), 2),
            ],
        )
        jobs = node.whereis("jobs")
        assert jobs is not None
        await node.call("jobs", DynamicSupervisor.start_child, child(Worker, book, "job"))
        assert len(node.processes()) == 6
        counts = await tree.call(Supervisor.count_children)
        assert (counts.supervisors, counts.workers) == (2, 0)
        node.exit(jobs, "kill")
        await world.settle()
        assert node.whereis("jobs") not in (None, jobs)
        assert await pid_of(tree, "DynamicSupervisor") == node.whereis("jobs")
        await turns()
        assert len(node.processes()) == 5

    play.one(main)
    assert book.count(("stop", "p")) == 2
