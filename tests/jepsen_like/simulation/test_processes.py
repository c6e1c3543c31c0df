"""Nodes as simulated processes: started, killed, crashed, paused, stopped, with clocks that err."""

import asyncio
from contextvars import ContextVar

import pytest

from quorate.core import ConfigError, GenServer, sleep
from quorate.jepsen_like.simulation import (
    NodeDied,
    NodeIsDown,
    SimEvent,
    Simulation,
    SimulationError,
    simulate,
)
from quorate.presets import Preset


class Clerk(GenServer):
    def name(self) -> str:
        return self.pid.node


def alone(**options: object) -> Simulation:
    """One node: what happens to processes needs no cluster."""
    return Simulation(nodes=1, **options)  # type: ignore[arg-type]  # passed on


def test_nodes_are_open_and_see_each_other_and_have_the_names_that_were_asked_for() -> None:
    async def main() -> None:
        async with Simulation(nodes=["red", "blue", "green"], exports=[Clerk]) as sim:
            assert sim.names == ("red", "blue", "green") and sim.full("red") == "sim@red:9000"
            assert sim.short("sim@red:9000") == "red"
            await sim.run_for(1.0)
            assert all(sim.running(name) and sim.ready(name) and sim.boot(name) == 1 for name in sim.names)
            ref = await sim.node("red").start_on(sim.full("blue"), Clerk)
            assert await ref.call(Clerk.name) == "sim@blue:9000"
            assert sim.leader() in sim.names

    simulate(main)


def test_names_that_are_wrong_are_errors() -> None:
    async def main() -> None:
        async with alone() as sim:
            for wrong in (lambda: sim.kill("n9"), lambda: sim.link("n1", "n9"), lambda: sim.skew("n1", 0.0)):
                with pytest.raises(ConfigError):
                    wrong()

    simulate(main)
    for nodes in (0, ["a", "a"]):
        with pytest.raises(ConfigError):
            Simulation(nodes=nodes)


def test_it_lives_on_imaginary_time_only() -> None:
    async def main() -> None:
        with pytest.raises(ConfigError, match="simulate"):
            async with alone():
                pass

    asyncio.run(main())


def test_work_in_a_process_gives_its_result_and_its_error_to_who_awaits_it() -> None:
    async def main() -> None:
        async def good() -> int:
            await asyncio.sleep(3.0)
            return 7

        async def bad() -> None:
            raise LookupError("so")

        async with alone() as sim:
            assert await sim.start("n1", good()) == 7
            with pytest.raises(LookupError, match="so"):
                await sim.start("n1", bad())

    simulate(main)


def test_work_that_fails_and_that_nobody_awaits_fails_the_run() -> None:
    async def main() -> None:
        async def bad() -> None:
            raise LookupError("so")

        async with alone() as sim:
            sim.start("n1", bad())
            await sim.run_for(1.0)

    with pytest.raises(SimulationError, match="so"):
        simulate(main)


def test_work_that_its_caller_cancels_is_cancelled() -> None:
    async def main() -> None:
        async with alone() as sim:
            work = sim.start("n1", sleep(sim.clock, 1000.0))
            work.cancel()
            with pytest.raises(asyncio.CancelledError):
                await work

    simulate(main)


@pytest.mark.parametrize("how", ["kill", "crash"])
def test_of_a_process_that_ended_no_line_runs_any_more_and_who_waits_for_it_learns_so(how: str) -> None:
    did: list[str] = []

    async def work(sim: Simulation) -> None:
        try:
            while True:
                await sleep(sim.node("n1").runtime.clock, 0.1)
                did.append("work")
        finally:
            did.append("finally")

    async def main() -> None:
        async with alone() as sim:
            awaited, _forgotten = sim.start("n1", work(sim)), sim.start("n1", work(sim))
            await sim.run_for(1.05)
            assert len(did) == 20
            (sim.kill if how == "kill" else sim.crash)("n1")
            with pytest.raises(NodeDied, match="n1 ended before this was over"):
                await awaited
            for call in (sim.node, sim.clock_of, sim.kill, sim.crash, sim.pause):
                with pytest.raises(NodeIsDown):
                    call("n1")
            with pytest.raises(NodeIsDown):
                sim.start("n1", work(sim))
            await sim.run_for(100.0)
            assert not sim.running("n1") and not sim.ready("n1")
            sim.restart("n1")
            sim.restart("n1")  # harmless while it runs
            await sim.up("n1")
            await sim.run_for(10.0)
            assert len(did) == 20 and sim.boot("n1") == 2

    simulate(main)


class Sleeper(GenServer):
    """Its handler waits by asyncio, as users' do, in a context that the library makes."""

    did: list[str] = []  # noqa: RUF012 -- one for all

    async def handle_info(self, message: object) -> None:
        try:
            for _ in range(5):
                await asyncio.sleep(1.0)
                Sleeper.did.append("slept")
                await asyncio.gather(self.turn(), self.turn())
        finally:
            Sleeper.did.append("finally")

    async def turn(self) -> None:
        await asyncio.sleep(0)
        Sleeper.did.append("turn")


@pytest.mark.parametrize("how", ["kill", "crash"])
def test_handlers_of_the_nodes_own_processes_are_paused_and_killed_with_it(how: str) -> None:
    async def main() -> None:
        Sleeper.did.clear()
        async with alone() as sim:
            ref = await sim.node("n1").start(Sleeper)
            ref.send("go")  # by the test itself: what it leads to is the process's all the same
            await sim.run_for(1.5)
            assert Sleeper.did == ["slept", "turn", "turn"]
            sim.pause("n1", 50.0)
            await sim.run_for(49.0)
            assert len(Sleeper.did) == 3
            await sim.run_for(1.5)
            assert Sleeper.did == ["slept", "turn", "turn"] * 2
            (sim.kill if how == "kill" else sim.crash)("n1")
            await sim.run_for(50.0)
            assert len(Sleeper.did) == 6

    simulate(main)


def test_handlers_of_the_nodes_own_processes_go_by_its_clock_and_connect_from_its_host() -> None:
    async def main() -> None:
        class Caller(GenServer):
            async def call_out(self) -> float:
                loop = asyncio.get_running_loop()
                before = loop.time()
                with pytest.raises(ConnectionRefusedError):
                    await asyncio.open_connection("localhost", 81)
                await asyncio.sleep(10.0)
                return loop.time() - before

        async with alone() as sim:
            sim.skew("n1", 2.0)
            ref = await sim.node("n1").start(Caller)
            start = sim.now
            assert await ref.within(60.0).call(Caller.call_out) == pytest.approx(10.0, abs=0.01)
            assert sim.now - start == pytest.approx(5.0, abs=0.01)

    simulate(main)


def test_leaving_the_simulation_ends_its_processes_without_a_word() -> None:
    async def main() -> None:
        async with alone() as sim:
            sim.start("n1", sleep(sim.clock, 1000.0))
            waited = sim.start("n1", sleep(sim.clock, 1000.0))
        with pytest.raises(NodeDied, match="the simulation ended"):
            await waited

    simulate(main)


def test_what_happens_to_processes_is_told_in_order_with_its_time() -> None:
    async def main() -> None:
        async with alone(start=False) as sim:
            events: list[SimEvent] = []
            sim.on_event(events.append)
            assert not sim.running("n1")
            sim.restart("n1")
            await sim.up("n1")
            await sim.run_for(10.0 - sim.now)
            sim.pause("n1", 2.0)
            await sim.run_for(5.0)
            sim.kill("n1")
            sim.restart("n1")
            await sim.up("n1")
            sim.crash("n1")
            sim.restart("n1")
            await sim.up("n1")
            await sim.stop("n1", drain_s=1.0)
            assert [event.kind for event in events] == [
                "started", "ready", "paused", "resumed", "killed", "started", "ready", "crashed", "started", "ready",
                "stopped",
            ]  # fmt: skip
            assert [event.at_s for event in events[2:5]] == pytest.approx([10.0, 12.0, 15.0])
            assert {event.node for event in events} == {"n1"}

    simulate(main)


def test_a_paused_process_does_nothing_and_then_all_that_was_due() -> None:
    async def main() -> None:
        async with alone() as sim:
            ticks: list[float] = []

            async def work() -> None:
                while True:
                    await asyncio.sleep(1.0)
                    ticks.append(sim.now)

            sim.start("n1", work())
            await sim.run_for(2.5)
            assert len(ticks) == 2
            sim.pause("n1")
            held = sim.held_callbacks("n1")
            await sim.run_for(100.0)
            assert (
                len(ticks) == 2 and sim.paused("n1") and sim.ready("n1") and sim.held_callbacks("n1") > held
            )
            sim.resume("n1")
            sim.resume("n1")  # harmless
            await sim.run_for(1.5)
            assert len(ticks) == 4 and not sim.paused("n1")

    simulate(main)


def test_a_pause_that_was_ended_early_does_not_end_the_next_one() -> None:
    async def main() -> None:
        async with alone() as sim:
            sim.pause("n1", 5.0)
            await sim.run_for(1.0)
            sim.resume("n1")
            sim.pause("n1", 10.0)
            await sim.run_for(9.0)
            assert sim.paused("n1")
            await sim.run_for(1.5)
            assert not sim.paused("n1")
            sim.pause("n1", 5.0)
            sim.kill("n1")
            sim.restart("n1")
            sim.pause("n1", 10.0)
            await sim.run_for(7.0)
            assert sim.paused("n1")

    simulate(main)


def test_a_timer_of_the_nodes_clock_is_the_processs_whoever_sets_it() -> None:
    async def main() -> None:
        async with alone() as sim:
            fired: list[float] = []
            for delay_s in (1.0, 30.0):
                sim.clock_of("n1").call_later(delay_s, lambda: fired.append(sim.now))
            sim.pause("n1", 5.0)
            start = sim.now
            await sim.run_for(10.0)
            assert fired == pytest.approx([start + 5.0])
            sim.kill("n1")
            await sim.run_for(100.0)
            assert len(fired) == 1

    simulate(main)


def test_a_process_that_pauses_itself_wakes_again() -> None:
    async def main() -> None:
        async with alone() as sim:

            async def work() -> float:
                sim.pause("n1", 5.0)
                await asyncio.sleep(1.0)
                return sim.now

            start = sim.now
            assert await sim.start("n1", work()) - start == pytest.approx(5.0)

    simulate(main)


def test_works_of_one_process_have_context_variables_of_their_own() -> None:
    variable: ContextVar[int] = ContextVar("variable", default=0)

    async def main() -> None:
        async def work(value: int) -> int:
            variable.set(value)
            await asyncio.sleep(1.0)
            return variable.get()

        async with alone() as sim:
            assert await asyncio.gather(*(sim.start("n1", work(value)) for value in (1, 2))) == [1, 2]

    simulate(main)


def test_the_others_carry_on_without_a_paused_leader_and_it_follows_when_it_is_back() -> None:
    async def main() -> None:
        async with Simulation(seed=3) as sim:
            await sim.run_for(2.0)
            old = sim.leader()
            assert old is not None
            sim.pause(old, 5.0)
            await sim.run_for(4.0)
            assert sim.leader() not in (old, None)
            await sim.run_for(5.0)
            assert sim.leader() not in (old, None)
            assert sim.node(old).status()["store"]["role"] == "follower"

    simulate(main)


def test_a_stopped_node_hands_over_and_another_leads() -> None:
    async def main() -> None:
        async with Simulation(seed=2) as sim:
            await sim.run_for(2.0)
            old = sim.leader()
            assert old is not None
            await sim.stop(old)
            assert not sim.running(old)
            assert sim.leader() not in (old, None)  # at once: it was transferred
            with pytest.raises(NodeIsDown):
                await sim.stop(old)

    simulate(main)


def test_a_clock_that_is_fast_is_so_for_the_port_for_asyncio_and_after_a_restart() -> None:
    async def main() -> None:
        async with alone() as sim:
            sim.skew("n1", 2.0)
            await sim.run_for(5.0)
            for _ in range(2):
                clock = sim.clock_of("n1")
                reads, before, world = clock.reads_monotonic, clock.monotonic(), sim.now
                assert clock.reads_monotonic == reads + 1 and clock.rate == 2.0
                await sim.run_for(10.0)
                assert clock.monotonic() - before == pytest.approx(20.0)

                async def by_asyncio() -> float:
                    loop = asyncio.get_running_loop()
                    before = loop.time()
                    await asyncio.sleep(8.0)
                    return loop.time() - before

                world = sim.now
                assert await sim.start("n1", by_asyncio()) == pytest.approx(8.0)
                assert sim.now - world == pytest.approx(4.0)
                await sim.start("n1", sleep(clock, 8.0))
                assert sim.now - world == pytest.approx(8.0)
                sim.kill("n1")
                sim.restart("n1")
                await sim.up("n1")

    simulate(main)


def test_a_wall_clock_that_jumps_leaves_the_monotonic_one_alone_and_stays_moved_after_a_restart() -> None:
    async def main() -> None:
        async with alone() as sim:
            clock = sim.clock_of("n1")
            wall, monotonic = clock.wall(), clock.monotonic()
            sim.jump("n1", -3600.0)
            assert clock.wall() - wall == -3600.0 and clock.monotonic() == monotonic
            assert clock.wall_offset_s == -3600.0 and clock.reads_wall >= 2
            world = sim.now
            sim.crash("n1")
            sim.restart("n1")
            await sim.up("n1")
            assert sim.clock_of("n1").wall() - wall == pytest.approx(sim.now - world - 3600.0)

    simulate(main)


def test_monotonic_clocks_of_nodes_and_of_boots_have_nothing_to_do_with_each_other() -> None:
    async def main() -> None:
        async with Simulation(nodes=2) as sim:
            first = [sim.clock_of(name).monotonic() for name in sim.names]
            sim.kill("n1")
            sim.restart("n1")
            assert len({*map(round, first), round(sim.clock_of("n1").monotonic())}) == 3

    simulate(main)


# -- the disk ----------------------------------------------------------------------------------------------


def test_what_a_node_wrote_survives_a_kill_whole_and_a_crash_as_far_as_it_was_synced() -> None:
    async def main() -> None:
        async with alone() as sim:
            creations = [sim.node("n1").creation]
            for fault in (sim.kill, sim.crash, sim.crash):
                fault("n1")
                sim.restart("n1")
                creations.append((await sim.up("n1")).creation)
            assert creations == sorted(set(creations))  # counted on the disk

    simulate(main)


def crashed_content(seed: int) -> tuple[bytes, bytes]:
    async def main() -> tuple[bytes, bytes]:
        async with alone(seed=seed) as sim:
            disk = sim.disk("n1")

            async def write() -> None:
                file = disk.open("file", create=True)
                await disk.sync_dir()
                file.append(b"synced ")
                await file.sync()
                for number in range(50):
                    file.append(b"%02d " % number)

            await sim.start("n1", write())
            before = disk.content("file")
            sim.crash("n1")
            return before, sim.disk("n1").content("file")

    return simulate(main)


def test_a_crash_keeps_a_part_of_what_was_not_synced_that_the_seed_decides() -> None:
    kept: list[bytes] = []
    for seed in range(10):
        before, after = crashed_content(seed)
        assert before.startswith(after) and after.startswith(b"synced ")
        assert crashed_content(seed) == (before, after)
        kept.append(after)
    assert len(set(kept)) > 5


def test_a_slow_disk_slows_its_node_and_counts_so() -> None:
    async def main() -> float:
        async with Simulation(nodes=3, seed=4) as sim:
            await sim.run_for(2.0)
            for name in sim.names:
                sim.disk(name).latency_s = 0.05
            delayed = sim.disk("n1").delayed_syncs
            node = sim.node("n1")
            ref = await node.start(Clerk)
            start = sim.now
            await sim.start("n1", register(sim, "n1", ref.pid))
            assert sim.disk("n1").delayed_syncs > delayed and sim.disk("n1").syncs > 0
            return sim.now - start

    async def register(sim: Simulation, name: str, pid: object) -> None:
        await sim.node(name).registry.register("clerk", pid)  # type: ignore[call-overload]

    assert 0.05 <= simulate(main) < 1.0


@pytest.mark.parametrize("fault", ["EIO", "full"])
def test_a_node_whose_disk_fails_ends_and_says_why_and_the_others_go_on(fault: str) -> None:
    async def main() -> None:
        async with Simulation(nodes=3, seed=5) as sim:
            await sim.run_for(2.0)
            events: list[SimEvent] = []
            sim.on_event(events.append)
            disk = sim.disk("n1")
            if fault == "EIO":
                disk.fail("sync")
            else:
                disk.set_capacity(0)
            ref = await sim.node("n2").start(Clerk)
            await sim.node("n2").registry.register("clerk", ref)
            await sim.run_for(5.0)
            assert [(event.kind, event.node) for event in events] == [("failed", "n1")] and events[0].detail
            assert disk.failures > 0 and not sim.running("n1")
            assert await sim.node("n3").registry.whereis("clerk") is not None
            disk.mend()
            disk.set_capacity(None)
            sim.restart("n1")
            await sim.up("n1")
            await sim.run_for(5.0)
            assert await sim.node("n1").registry.whereis("clerk") is not None

    simulate(main)


def test_a_frozen_disk_holds_its_node_up_until_it_thaws() -> None:
    async def main() -> None:
        async with alone(start=False) as sim:
            sim.disk("n1").freeze()
            sim.restart("n1")
            await sim.run_for(100.0)
            assert sim.running("n1") and not sim.ready("n1") and sim.disk("n1").frozen_syncs() == 1
            sim.disk("n1").thaw()
            await sim.up("n1")

    simulate(main)


# -- the network of nodes ----------------------------------------------------------------------------------


def test_an_isolated_leader_steps_down_and_the_others_choose_another() -> None:
    async def main() -> None:
        async with Simulation(nodes=5, seed=6, preset=Preset.LAN) as sim:
            await sim.run_for(2.0)
            old = sim.leader()
            assert old is not None
            sim.isolate(old)
            await sim.run_for(10.0)
            assert sim.leader() not in (old, None) and not sim.node(old).store.leads()
            assert sim.link(old, next(name for name in sim.names if name != old)).held_bytes > 0
            sim.heal()
            await sim.run_for(10.0)
            assert len(sim.node(old).nodes()) == 4

    simulate(main)


def test_faults_of_links_are_undone_one_by_one_or_all_at_once() -> None:
    async def main() -> None:
        async with Simulation(nodes=3, start=False) as sim:
            there, back = sim.link("n1", "n2"), sim.link("n2", "n1")
            sim.cut("n1", "n2")
            sim.cut("n1", "n2", one_way=True)
            sim.mend("n1", "n2")
            assert there.blocked and not back.blocked
            sim.mend("n1", "n2")
            sim.mend("n1", "n2")
            assert not there.blocked and there.cuts == back.cuts == 0
            sim.isolate("n1")
            sim.hold("n2", "n3")
            sim.release("n2", "n3", one_way=True)
            assert there.blocked and back.blocked
            assert not sim.link("n2", "n3").blocked and sim.link("n3", "n2").blocked
            sim.heal()
            assert not any(sim.link(a, b).blocked for a in sim.names for b in sim.names)

    simulate(main)


def test_users_own_connections_live_and_die_with_their_process() -> None:
    async def main() -> None:
        async with Simulation(nodes=2) as sim:
            lines: list[bytes] = []

            async def serve() -> None:
                async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                    while line := await reader.readline():
                        lines.append(line)
                        writer.write(b"ok\n")
                    lines.append(b"end")
                    writer.close()

                server = await asyncio.start_server(handle, "n1", 80)
                await server.serve_forever()

            async def post() -> None:
                _, writer = await asyncio.open_connection("n1", 80)
                while True:
                    writer.write(b"hello\n")
                    await asyncio.sleep(1.0)

            sim.start("n1", serve())
            await sim.run_for(0.1)
            sim.start("n2", post())
            await sim.run_for(2.5)
            assert lines == [b"hello\n"] * 3
            sim.kill("n2")
            await sim.run_for(1.0)
            assert lines == [b"hello\n"] * 3 + [b"end"]

    simulate(main)
