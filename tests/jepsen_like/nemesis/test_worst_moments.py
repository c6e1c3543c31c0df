"""Faults that wait for the moment at which they hurt most: each finds it, on a real simulated cluster."""

import asyncio

from quorate.jepsen_like.nemesis import Fault, Nemesis
from quorate.jepsen_like.simulation import SimEvent, Simulation

from .test_nemesis import on_a_cluster


def test_a_fading_leader_gets_late_answers_when_nobody_hears_it_any_more() -> None:
    async def body(sim: Simulation) -> None:
        leader = sim.leader()
        assert leader is not None
        others = [name for name in sim.names if name != leader]
        nemesis = Nemesis(sim, [Fault(0.0, "partition-fading-leader", 3.0, ("n1",), 0.4)])
        running = asyncio.ensure_future(nemesis.run())
        await sim.run_for(0.5)
        assert all(sim.link(other, leader).slowed and not sim.link(leader, other).slowed for other in others)
        assert not any(sim.link(leader, other).blocked for other in others)
        await sim.run_for(0.65)
        assert all(
            sim.link(leader, other).blocked and not sim.link(other, leader).blocked for other in others
        )
        delivered = sum(sim.link(other, leader).delivered for other in others)
        await sim.run_for(0.1)
        assert sum(sim.link(other, leader).delivered for other in others) > delivered
        await running
        (record,) = nemesis.records
        assert record.nodes == (leader,) and record.evidence > 0
        assert not any(link.slowed or link.blocked for link in sim.network.links())

    on_a_cluster(body)


def test_all_are_killed_as_soon_as_somebody_is_elected_and_before_anybody_follows() -> None:
    async def body(sim: Simulation) -> None:
        before = sim.leader()
        events: list[SimEvent] = []
        sim.on_event(events.append)
        nemesis = Nemesis(sim, [Fault(0.0, "kill-all-elected", 3.0, (), 0.1)])
        await nemesis.run()
        await nemesis.heal_all()
        killed = [event for event in events if event.kind == "killed"]
        assert killed[0].node == before and {event.node for event in killed} == set(sim.names)
        assert killed[0].at_s + 0.4 < killed[1].at_s == killed[-1].at_s
        (record,) = nemesis.records
        assert "had just been elected" in record.detail and record.evidence == 5

    on_a_cluster(body)


def test_the_power_goes_while_syncs_are_under_way_everywhere() -> None:
    async def body(sim: Simulation) -> None:
        usual_s = {name: sim.disk(name).latency_s for name in sim.names}
        nemesis = Nemesis(sim, [Fault(0.0, "crash-all-syncing", 2.0, (), 0.3)])
        crashed: list[SimEvent] = []
        sim.on_event(lambda event: crashed.append(event) if event.kind == "crashed" else None)
        await nemesis.run()
        assert {event.node for event in crashed} == set(sim.names)
        await nemesis.heal_all()
        assert {name: sim.disk(name).latency_s for name in sim.names} == usual_s
        (record,) = nemesis.records
        at_stake = int(record.detail.split()[3])
        assert record.evidence == 5 and at_stake > 5

    on_a_cluster(body)


def test_all_links_and_all_disks_can_be_slow_at_once() -> None:
    async def body(sim: Simulation) -> None:
        plan = [Fault(0.0, "link-latency-all", 2.0, (), 0.1), Fault(0.0, "disk-slow-all", 2.0, (), 0.1)]
        nemesis = Nemesis(sim, plan)
        running = asyncio.ensure_future(nemesis.run())
        await sim.run_for(1.0)
        assert all(link.slowed for link in sim.network.links())
        assert all(sim.disk(name).latency_s > 0.1 for name in sim.names)
        await running
        assert not any(link.slowed for link in sim.network.links())
        assert all(record.evidence > 0 and set(record.nodes) == set(sim.names) for record in nemesis.records)

    on_a_cluster(body)
