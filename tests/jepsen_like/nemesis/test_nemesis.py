"""Every kind of fault, on a real simulated cluster: it bites, it is undone, and what it leaves is what its record says."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from quorate.jepsen_like.history import History
from quorate.jepsen_like.nemesis import KINDS, Fault, Nemesis, StillDown, plan
from quorate.jepsen_like.record import FaultRecord
from quorate.jepsen_like.simulation import Simulation, Stream, simulate

from .load import an_example, write_all

Body = Callable[[Simulation], Coroutine[Any, Any, None]]


def on_a_cluster(
    body: Body, *, nodes: int = 5, seed: int = 1, snapshot_after_bytes: int | None = None
) -> None:
    """Run `body` on a cluster that has been under load for a while."""

    async def main() -> None:
        async with Simulation(seed=seed, nodes=nodes, snapshot_after_bytes=snapshot_after_bytes) as sim:
            load = write_all(sim)
            await sim.run_for(2.0)
            await body(sim)
            assert not any(task.done() for task in load)

    simulate(main)


def state_of_faults(sim: Simulation) -> dict[str, Any]:
    """All that a fault can change and must put back."""
    links = [sim.link(a, b) for a in sim.names for b in sim.names if a != b]
    return {
        "links": [
            (link.cuts, link.holds, link.latency_s, link.jitter_s, link.bandwidth_bytes_s, link.slowed)
            for link in links
        ],
        "hosts": [(host.up, host.deaf, host.read_bytes_s) for host in map(sim.host, sim.names)],
        "clocks": [
            (sim.clock_of(name).rate, round(sim.clock_of(name).wall_offset_s, 6)) for name in sim.names
        ],
        "disks": [
            (disk.latency_s, disk.free_bytes(), disk.frozen_syncs()) for disk in map(sim.disk, sim.names)
        ],
        "paused": [sim.paused(name) for name in sim.names],
    }


async def syncs_succeed(sim: Simulation, nodes: Sequence[str]) -> None:
    """A probe file can be written and synced on the disks of these nodes."""
    for name in nodes:
        file = sim.disk(name).open("probe", create=True)
        file.append(b"x")
        await file.sync()
        file.close()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "rot-snapshot"])
def test_each_kind_bites_and_is_undone(kind: str) -> None:
    async def body(sim: Simulation) -> None:
        before = state_of_faults(sim)
        nemesis = Nemesis(sim, [an_example(kind)])
        await nemesis.run()
        (record,) = nemesis.records
        assert record.kind == kind and record.evidence > 0 and record.detail
        assert record.until_ns is not None and record.until_ns - record.from_ns >= 2_000_000_000
        assert not nemesis.skipped and not nemesis.findings
        sound = [name for name in sim.names if name not in nemesis.lost]
        assert nemesis.lost == (set(record.nodes) if kind == "rot-log" else set())
        for name in sound:
            await sim.up(name)
        if not nemesis.lost:
            assert state_of_faults(sim) == before, "before heal_all: each fault undoes what it did"
        await syncs_succeed(sim, sound)
        await nemesis.heal_all()
        assert all(sim.ready(name) for name in sound)

    on_a_cluster(body)


def test_a_snapshot_that_rots_is_found_at_the_next_start() -> None:
    async def body(sim: Simulation) -> None:
        while not sim.disk("n2").list("snapshots"):
            await sim.run_for(0.5)
        nemesis = Nemesis(sim, [an_example("rot-snapshot")])
        await nemesis.run()
        (record,) = nemesis.records
        assert record.nodes == ("n2",) and record.evidence == 1
        assert "n2 refused to start" in record.detail or "could do without" in record.detail
        await nemesis.heal_all()
        assert not nemesis.findings

    on_a_cluster(body, nodes=3, snapshot_after_bytes=4096)


# Targets


def test_a_fault_whose_target_is_down_takes_the_next_node_that_runs() -> None:
    async def body(sim: Simulation) -> None:
        plan = [Fault(0.0, "kill-one", 3.0, ("n2",)), Fault(1.0, "pause-one", 1.0, ("n2",))]
        nemesis = Nemesis(sim, plan)
        await nemesis.run()
        assert [record.nodes for record in nemesis.records] == [("n2",), ("n3",)]

    on_a_cluster(body, nodes=3)


def test_a_fault_that_finds_nobody_is_skipped_and_is_no_fault() -> None:
    async def body(sim: Simulation) -> None:
        plan = [Fault(0.0, "crash-all", 3.0), Fault(1.0, "kill-one", 1.0, ("n2",))]
        nemesis = Nemesis(sim, plan)
        await nemesis.run()
        assert [record.kind for record in nemesis.records] == ["crash-all"]
        assert [skipped.fault for skipped in nemesis.skipped] == [plan[1]]

    on_a_cluster(body, nodes=3)


def test_a_cut_that_nobody_could_notice_is_no_fault() -> None:
    async def body(sim: Simulation) -> None:
        plan = [Fault(0.0, "crash-all", 9.0), Fault(1.0, "partition-halves", 2.0, ("n1",))]
        nemesis = Nemesis(sim, plan, patience_s=1.0)
        await nemesis.run()
        assert [record.kind for record in nemesis.records] == ["crash-all"]
        assert [skipped.fault.kind for skipped in nemesis.skipped] == ["partition-halves"]

    on_a_cluster(body, nodes=3)


@pytest.mark.parametrize("kind", ["partition-leader", "kill-leader", "crash-leader", "pause-leader"])
def test_faults_of_the_leader_hit_whoever_leads_at_that_time(kind: str) -> None:
    async def body(sim: Simulation) -> None:
        leader = sim.leader()
        other = next(name for name in sim.names if name != leader)
        nemesis = Nemesis(sim, [Fault(0.0, kind, 2.0, (other,)), Fault(4.0, kind, 1.0, (other,))])
        running = asyncio.create_task(nemesis.run())
        await sim.run_for(3.9)
        second = sim.leader()
        await running
        assert leader is not None and second not in (None, leader)
        assert [record.nodes for record in nemesis.records] == [(leader,), (second,)]

    on_a_cluster(body, nodes=3)


def test_without_a_leader_the_named_node_is_hit() -> None:
    async def body(sim: Simulation) -> None:
        plan = [Fault(0.0, "kill-minority", 4.0, ("n1", "n2")), Fault(3.0, "pause-leader", 0.5, ("n3",))]
        nemesis = Nemesis(sim, plan)
        await nemesis.run()
        assert nemesis.records[1].nodes == ("n3",)

    on_a_cluster(body, nodes=3)


def test_a_plan_for_more_nodes_than_there_are_is_carried_out_on_those_there_are() -> None:
    async def body(sim: Simulation) -> None:
        plan = [
            Fault(0.0, "partition-ring", 1.0, ("n5", "n1", "n4", "n2", "n3")),
            Fault(0.0, "partition-bridge", 1.0, ("n5", "n1", "n4", "n2", "n3")),
            Fault(0.0, "partition-halves", 1.0, ("n4", "n5")),
            Fault(0.0, "kill-one", 1.0, ("n5",)),
        ]
        nemesis = Nemesis(sim, plan, patience_s=0.5)
        await nemesis.run()
        assert {record.kind for record in nemesis.records} == {"partition-bridge", "kill-one"}
        assert {skipped.fault.kind for skipped in nemesis.skipped} == {"partition-ring", "partition-halves"}

    on_a_cluster(body, nodes=3)


# Overlapping faults


def test_a_partition_that_ends_leaves_the_cuts_of_another_as_they_are() -> None:
    async def body(sim: Simulation) -> None:
        plan = [
            Fault(0.0, "partition-one", 4.0, ("n1",)),
            Fault(0.5, "partition-halves", 1.0, ("n1", "n2")),
            Fault(0.5, "link-hold", 1.0, ("n1", "n2")),
        ]
        nemesis = Nemesis(sim, plan)
        running = asyncio.create_task(nemesis.run())
        await sim.run_for(1.0)
        assert (sim.link("n1", "n3").cuts, sim.link("n2", "n3").cuts, sim.link("n1", "n2").holds) == (2, 1, 1)
        await sim.run_for(2.0)
        assert (sim.link("n1", "n3").cuts, sim.link("n2", "n3").cuts, sim.link("n1", "n2").holds) == (1, 0, 0)
        await running
        assert not any(sim.link(a, b).blocked for a in sim.names for b in sim.names if a != b)

    on_a_cluster(body, nodes=3)


def test_latencies_and_bandwidths_of_one_link_add_up_and_go_one_by_one() -> None:
    async def body(sim: Simulation) -> None:
        before = state_of_faults(sim)["links"]
        link = sim.link("n1", "n2")
        base_s = link.latency_s
        plan = [
            Fault(0.0, "link-latency", 3.0, ("n1",), 0.1),
            Fault(0.5, "link-latency", 1.0, ("n2",), 0.2),
            Fault(0.5, "link-bandwidth", 3.5, ("n1",), 9000.0),
        ]
        nemesis = Nemesis(sim, plan)
        running = asyncio.create_task(nemesis.run())
        await sim.run_for(1.0)
        assert link.latency_s == pytest.approx(base_s + 0.15) and link.bandwidth_bytes_s == 9000.0
        await sim.run_for(1.0)
        assert link.latency_s == pytest.approx(base_s + 0.05) and link.slowed
        await sim.run_for(1.5)
        assert link.latency_s == base_s and link.bandwidth_bytes_s == 9000.0
        await running
        assert state_of_faults(sim)["links"] == before

    on_a_cluster(body, nodes=3)


def test_a_node_stays_down_as_long_as_any_fault_holds_it_down() -> None:
    async def body(sim: Simulation) -> None:
        plan = [
            Fault(0.0, "disk-full", 1.0, ("n1",), 1e9),
            Fault(0.2, "crash-one", 3.0, ("n1",)),
            Fault(0.5, "kill-all", 1.0),
        ]
        nemesis = Nemesis(sim, plan, patience_s=0.0)
        running = asyncio.create_task(nemesis.run())
        await sim.run_for(1.2)
        assert [sim.running(name) for name in sim.names] == [False, False, False], (
            "whatever its disk's fault does"
        )
        await sim.run_for(0.8)
        assert [sim.running(name) for name in sim.names] == [False, True, True]
        await running
        assert sim.running("n1")

    on_a_cluster(body, nodes=3)


def test_the_end_of_a_pause_leaves_the_next_life_of_the_process_alone() -> None:
    async def body(sim: Simulation) -> None:
        plan = [Fault(0.0, "pause-one", 2.0, ("n1",)), Fault(0.5, "kill-all", 0.5)]
        nemesis = Nemesis(sim, plan)
        running = asyncio.create_task(nemesis.run())
        await sim.run_for(1.5)
        assert sim.running("n1") and not sim.paused("n1")
        sim.pause("n1")  # somebody else's
        await running
        assert sim.paused("n1")
        assert nemesis.records[0].evidence > 0, "counted though the process was killed"

    on_a_cluster(body, nodes=3)


def test_a_node_whose_disk_is_broken_is_started_when_it_is_mended_and_not_before() -> None:
    async def body(sim: Simulation) -> None:
        nemesis = Nemesis(sim, [Fault(0.0, "disk-sync-error", 5.0, ("n1",))])
        boots = sim.boot("n1")
        running = asyncio.create_task(nemesis.run())
        await sim.run_for(4.9)
        assert not sim.running("n1") and sim.boot("n1") == boots
        await running
        await sim.up("n1")
        assert sim.boot("n1") == boots + 1

    on_a_cluster(body, nodes=3)


def test_a_node_that_is_killed_while_its_disk_is_broken_comes_back_when_it_is_mended() -> None:
    async def body(sim: Simulation) -> None:
        nemesis = Nemesis(sim, [Fault(0.0, "disk-full", 5.0, ("n1",)), Fault(0.05, "kill-all", 0.5)])
        await nemesis.run()
        await sim.up("n1")
        assert not nemesis.findings

    on_a_cluster(body, nodes=3)


def test_two_faults_never_have_the_same_disk() -> None:
    async def body(sim: Simulation) -> None:
        plan = [Fault(0.1 * at, "disk-slow", 2.0, ("n1",), 0.01) for at in range(4)]
        nemesis = Nemesis(sim, plan)
        await nemesis.run()
        assert [record.nodes for record in nemesis.records] == [("n1",), ("n2",), ("n3",)]
        assert len(nemesis.skipped) == 1

    on_a_cluster(body, nodes=3)


def test_a_disk_is_free_again_when_its_fault_is_over() -> None:
    async def body(sim: Simulation) -> None:
        plan = [Fault(float(at), "disk-slow", 0.5, ("n1",), 0.01) for at in range(2)]
        nemesis = Nemesis(sim, plan)
        await nemesis.run()
        assert [record.nodes for record in nemesis.records] == [("n1",), ("n1",)]

    on_a_cluster(body, nodes=3)


def test_a_swizzle_takes_nodes_away_in_one_order_and_brings_them_back_in_another() -> None:
    async def body(sim: Simulation) -> None:
        fault = Fault(0.0, "partition-swizzle", 4.0, ("n1", "n2", "n2", "n1"))
        nemesis = Nemesis(sim, [fault])
        running = asyncio.create_task(nemesis.run())
        seen: list[tuple[int, int]] = []
        while not running.done():
            now = (sim.link("n1", "n3").cuts, sim.link("n2", "n3").cuts)
            if not seen or seen[-1] != now:
                seen.append(now)
            await sim.run_for(0.05)
        assert seen == [(0, 0), (1, 0), (1, 1), (1, 0)]
        assert sim.link("n1", "n3").cuts == 0

    on_a_cluster(body, nodes=3)


# Evidence


def test_a_fault_goes_on_until_it_has_bitten() -> None:
    async def main() -> None:
        async with Simulation(seed=1, nodes=3) as sim:
            await sim.run_for(2.0)
            nemesis = Nemesis(sim, [Fault(0.0, "disk-sync-error", 1.0, ("n1",))])
            running = asyncio.create_task(nemesis.run())
            await sim.run_for(4.0)
            assert nemesis.busy and nemesis.records[0].evidence == 0, "nobody writes yet"
            load = write_all(sim)
            await running
            (record,) = nemesis.records
            assert record.evidence > 0 and record.until_ns is not None
            assert 4.0 <= (record.until_ns - record.from_ns) / 1e9 < 6.0
            assert load

    simulate(main)


def test_a_disk_that_nobody_used_was_not_at_fault() -> None:
    async def main() -> None:
        async with Simulation(seed=1, nodes=3) as sim:
            await sim.run_for(2.0)
            began_s = sim.now
            nemesis = Nemesis(sim, [Fault(0.0, "disk-write-error", 1.0, ("n1",))], patience_s=3.0)
            await nemesis.run()
            assert 4.0 <= sim.now - began_s < 4.5, "it waits for a while"
            assert nemesis.records == () and len(nemesis.skipped) == 1

    simulate(main)


def test_a_fault_that_could_have_bitten_and_did_not_has_a_record_without_evidence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def body(sim: Simulation) -> None:
        nemesis = Nemesis(sim, [Fault(0.0, "partition-one", 1.0, ("n1",))], patience_s=3.0)
        monkeypatch.setattr(sim, "cut", lambda *link, one_way: None)
        await nemesis.run()
        (record,) = nemesis.records
        assert record.evidence == 0 and record.until_ns is not None and not nemesis.skipped
        assert 4.0 <= (record.until_ns - record.from_ns) / 1e9 < 4.5

    on_a_cluster(body, nodes=3)


# The end


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_heal_all_ends_whatever_is_under_way(seed: int) -> None:
    async def body(sim: Simulation) -> None:
        before = state_of_faults(sim)
        kinds = [kind for kind in KINDS if not kind.startswith("rot") and KINDS[kind].takes != "none"]
        order = Stream(seed, "order").sample(kinds, len(kinds))
        faults = [an_example(kind, at_s=0.2 * at, for_s=100.0) for at, kind in enumerate(order)]
        nemesis = Nemesis(sim, [*faults, an_example("pause-all", at_s=6.0), an_example("kill-all", at_s=6.5)])
        running = asyncio.create_task(nemesis.run())
        await sim.run_for(7.0)
        assert nemesis.busy
        healed_s = sim.now
        await nemesis.heal_all()
        await running
        assert sim.now < healed_s + 5.0
        assert not nemesis.busy and len(nemesis.records) >= 12
        assert all(record.until_ns is not None for record in nemesis.records)
        assert all(sim.ready(name) for name in sim.names)
        assert state_of_faults(sim) == before
        await syncs_succeed(sim, sim.names)
        await sim.run_for(10.0)
        assert sim.leader() is not None and not nemesis.findings

    on_a_cluster(body, seed=seed)


def test_disks_rot_on_a_minority_at_most_and_the_others_go_on() -> None:
    async def body(sim: Simulation) -> None:
        plan = [Fault(float(at), "rot-log", 0.5, (f"n{at + 1}",), float(at)) for at in range(5)]
        nemesis = Nemesis(sim, [*plan, Fault(6.0, "crash-all-out-of-order", 1.0)])
        await nemesis.run()
        await nemesis.heal_all()
        assert nemesis.lost == {"n1", "n2"}
        assert [record.evidence for record in nemesis.records] == [1, 1, 3]
        assert len(nemesis.skipped) == 3 and not nemesis.findings
        assert [sim.running(name) for name in sim.names] == [False, False, True, True, True]
        value = await sim.start("n3", sim.node("n3").store.get(b"load/n3"))
        assert value is not None

    on_a_cluster(body)


def test_a_node_that_does_not_come_back_is_named() -> None:
    async def body(sim: Simulation) -> None:
        nemesis = Nemesis(sim, [], heal_s=5.0)
        sim.kill("n2")
        path = "log/0000000000000001.log"
        sim.disk("n2").flip(path, len(sim.disk("n2").durable_content(path)) // 3)
        with pytest.raises(StillDown, match="n2 did not come back within 5 s") as caught:
            await nemesis.heal_all()
        assert caught.value.nodes == ("n2",)
        assert nemesis.findings and "n2 refused" in nemesis.findings[0], "no fault of the plan explains it"
        assert nemesis.lost == frozenset()

    on_a_cluster(body, nodes=3)


def test_faults_and_the_heal_are_noted_in_the_history() -> None:
    history = History()

    async def body(sim: Simulation) -> None:
        nemesis = Nemesis(sim, [Fault(1.0, "pause-one", 1.0, ("n2",))], history)
        await nemesis.run()
        await nemesis.heal_all()

    on_a_cluster(body, nodes=3)
    told = [(op.f, op.type, op.process, op.value, round(op.time_s - history[0].time_s, 3)) for op in history]
    pause = {"kind": "pause-one", "nodes": ["n2"]}
    assert told == [
        ("fault", "info", "nemesis", pause, 0.0),
        ("fault over", "info", "nemesis", pause, 1.0),
        ("healed", "info", "nemesis", {"lost": []}, 1.0),
    ]


def test_the_same_plan_on_the_same_seed_does_the_same() -> None:
    def once() -> tuple[str, tuple[FaultRecord, ...]]:
        told: list[tuple[str, tuple[FaultRecord, ...]]] = []

        async def body(sim: Simulation) -> None:
            nemesis = Nemesis(sim, plan(Stream(5, "plan"), nodes=sim.names, time_s=20.0))
            await nemesis.run()
            await nemesis.heal_all()
            told.append((sim.trace_hash(), nemesis.records))

        on_a_cluster(body)
        return told[0]

    assert once() == once()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_random_plans_bite_and_heal(seed: int) -> None:
    async def body(sim: Simulation) -> None:
        nemesis = Nemesis(sim, plan(Stream(seed, "plan"), nodes=sim.names, time_s=30.0))
        await nemesis.run()
        await nemesis.heal_all()
        assert nemesis.records and all(record.evidence for record in nemesis.records)
        assert not nemesis.findings
        await sim.run_for(5.0)
        assert sim.leader() is not None

    on_a_cluster(body, seed=seed, snapshot_after_bytes=16384)
