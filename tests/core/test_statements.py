"""The statements of the design about processes (its section 4), and the traps of the field, each a test of that name.

Each runs on asyncio's loop, on uvloop and in the simulation, with both processes on one node and on two that are linked in
memory; and on a cluster of the simulation, where the links are the library's own on a network with delays. What lies behind
each in detail is tested where it is made.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from quorate.core import (
    CallCycle,
    CallTimeout,
    Exit,
    ExitSignal,
    GenServer,
    Node,
    NoProcess,
    Pid,
    Process,
    ProcessConfig,
    Ref,
    RemoteError,
    RemoteName,
    Supervisor,
    child,
)
from quorate.jepsen_like.simulation import Simulation, simulate
from tests.core.nodes import ALL_LOOPS, A, B, World, run_on
from tests.support import turns


class Stage:
    """Two nodes (or one, twice), and what a test may do to them. `a` and `b` change when a node is restarted."""

    a: Node
    b: Node

    async def settle(self) -> None:
        """Let everything that is on its way arrive."""
        raise NotImplementedError

    async def pass_time(self, seconds: float) -> None:
        raise NotImplementedError

    async def cut(self) -> None:
        """Lose the link; return when both nodes have noticed."""
        raise NotImplementedError

    async def join(self) -> None:
        raise NotImplementedError

    async def restart_b(self) -> None:
        """End b's process at once, and start it again."""
        raise NotImplementedError

    async def on_b(self, work: Awaitable[Any]) -> Any:
        """Do something as part of b's process."""
        return await work


class InMemory(Stage):
    def __init__(self, world: World, a: Node, b: Node) -> None:
        self.world = world
        self.a = a
        self.b = b

    async def settle(self) -> None:
        await self.world.settle()

    async def pass_time(self, seconds: float) -> None:
        await self.world.clock.pass_time(seconds)

    async def cut(self) -> None:
        self.world.cut(self.a, self.b)
        await self.world.settle()

    async def join(self) -> None:
        self.world.join(self.a, self.b)
        await self.world.settle()

    async def restart_b(self) -> None:
        await self.cut()
        await self.b.close()
        self.b = await self.world.node(B, creation=self.b.creation + 1, exports=self.a.exports)
        await self.join()


class Cluster(Stage):
    def __init__(self, sim: Simulation) -> None:
        self.sim = sim
        self.a = sim.node("n1")
        self.b = sim.node("n2")

    async def settle(self) -> None:
        await self.sim.run_for(1.0)

    async def pass_time(self, seconds: float) -> None:
        await self.sim.run_for(seconds)

    async def linked(self, wanted: bool) -> None:
        while (self.b.name in self.a.nodes()) != wanted or (self.a.name in self.b.nodes()) != wanted:
            await self.sim.run_for(0.5)
        await self.sim.run_for(1.0)

    async def cut(self) -> None:
        self.sim.cut("n1", "n2")
        await self.linked(False)

    async def join(self) -> None:
        self.sim.heal()
        await self.linked(True)

    async def restart_b(self) -> None:
        self.sim.kill("n2")
        self.sim.restart("n2")
        self.b = await self.sim.up("n2")
        await self.linked(True)

    async def on_b(self, work: Awaitable[Any]) -> Any:
        async def whole() -> Any:
            return await work

        return await self.sim.start("n2", whole())


Act = Callable[[Stage], Awaitable[None]]


class Theatre:
    """Where a statement is tested."""

    def __init__(self, loop: str, place: str) -> None:
        self.loop = loop
        self.place = place

    def play(self, act: Act, config: ProcessConfig | None = None) -> None:
        if self.place == "cluster":
            simulate(lambda: self._in_cluster(act))
        else:
            run_on(self.loop, lambda: self._in_memory(act, config))

    async def _in_memory(self, act: Act, config: ProcessConfig | None) -> None:
        world = World(config)
        a = b = await world.node(A)
        if self.place == "there":
            b = await world.node(B, exports=a.exports)
            world.join(a, b)
        await act(InMemory(world, a, b))
        await world.close()

    async def _in_cluster(self, act: Act) -> None:
        async with Simulation(seed=4, nodes=["n1", "n2", "n3"]) as sim:
            stage = Cluster(sim)
            await stage.linked(True)
            await act(stage)


HERE = [(loop, "here") for loop in ALL_LOOPS]
THERE = [(loop, "there") for loop in ALL_LOOPS] + [("simulation", "cluster")]


def _name(place: tuple[str, str]) -> str:
    return "-".join(place)


@pytest.fixture(params=HERE + THERE, ids=_name)
def anyhow(request: pytest.FixtureRequest) -> Theatre:
    """On one node, and on two."""
    return Theatre(*request.param)


@pytest.fixture(params=THERE, ids=_name)
def apart(request: pytest.FixtureRequest) -> Theatre:
    """On two nodes."""
    return Theatre(*request.param)


@pytest.fixture(params=HERE, ids=_name)
def at_home(request: pytest.FixtureRequest) -> Theatre:
    """On one node."""
    return Theatre(*request.param)


# -- bodies -----------------------------------------------------------------------------------------------


async def wait(self: Process) -> None:
    await self.receive(lambda message: False)


async def collect(self: Process, seen: list[Any]) -> None:
    while True:
        seen.append(await self.receive())


async def trap(self: Process, seen: list[Any], *links: Pid) -> None:
    self.trap_exits = True
    for pid in links:
        self.link(pid)
    await collect(self, seen)


async def link(self: Process, *pids: Pid) -> None:
    for pid in pids:
        self.link(pid)
    await wait(self)


async def watch(self: Process, seen: list[Any], *pids: Pid) -> None:
    for pid in pids:
        self.monitor(pid)
    await collect(self, seen)


async def leave(self: Process, reason: object) -> None:
    await self.receive()
    raise Exit(reason)


class Reasons:
    """Why processes ended, noted as it happens."""

    def __init__(self, node: Node, *pids: Pid) -> None:
        self.of: dict[Pid, object] = {}
        for pid in pids:
            node.watch(pid, lambda down: self.of.setdefault(down.pid, down.reason))


def reasons(seen: list[Any]) -> list[Any]:
    """The reasons of signals, and other messages as they are."""
    return [getattr(message, "reason", message) for message in seen]


class Counter(GenServer):
    def __init__(self) -> None:
        self.n = 0
        self.release = asyncio.Event()

    def incr(self) -> int:
        self.n += 1
        return self.n

    async def hang(self) -> str:
        await self.release.wait()
        return "late"

    def go(self) -> None:
        self.release.set()


class Link(GenServer):
    """One of those who ask each other."""

    def __init__(self, name: str = "") -> None:
        self.next: Ref[Link] | None = None
        if name:
            self.process.register(name)

    def join(self, following: "Ref[Link]") -> None:
        self.next = following

    async def ask(self) -> str:
        assert self.next is not None
        return await self.next.call(Link.ask)

    async def ask_by_name(self, node: Node, name: str) -> str:
        return await node.call(name, Link.ask)


# -- signals ----------------------------------------------------------------------------------------------


def test_signals_between_one_sender_and_one_receiver_arrive_in_the_order_sent_messages_and_exits_alike(
    anyhow: Theatre,
) -> None:
    async def act(stage: Stage) -> None:
        seen: list[Any] = []
        target = stage.b.spawn(trap, seen)
        await stage.settle()

        async def sender(self: Process) -> None:
            for number in range(50):
                self.send(target, number)
                self.exit(target, f"exit {number}")

        stage.a.spawn(sender)
        await stage.settle()
        assert reasons(seen) == [item for number in range(50) for item in (number, f"exit {number}")]

    anyhow.play(act)


def test_over_a_lost_connection_a_suffix_may_be_missing_and_nothing_arrives_late_or_out_of_order(
    apart: Theatre,
) -> None:
    async def act(stage: Stage) -> None:
        seen: list[Any] = []
        target = stage.b.spawn(collect, seen)
        await stage.settle()
        lives = []
        for life in range(3):
            for number in range(20):
                stage.a.send(target, (life, number))
            if isinstance(stage, Cluster):
                await stage.sim.run_for(0.0004)  # some of them are under way
            lives.append(life)
            await stage.cut()
            stage.a.send(target, (life, "while it was cut"))
            await stage.join()
        stage.a.send(target, "after all")
        await stage.settle()
        assert seen.pop() == "after all"
        for life in lives:
            arrived = [number for of, number in seen if of == life]
            assert arrived == list(range(len(arrived)))
        assert seen == sorted(seen, key=lambda item: item[0])

    apart.play(act)


def test_a_kill_cannot_be_trapped_and_its_target_dies_with_killed(anyhow: Theatre) -> None:
    async def act(stage: Stage) -> None:
        seen: list[Any] = []
        target = stage.b.spawn(trap, seen)
        ends = Reasons(stage.a, target)
        await stage.settle()
        stage.a.exit(target, "kill")
        await stage.settle()
        assert (ends.of, seen) == ({target: "killed"}, [])

    anyhow.play(act)


def test_a_kill_that_arrives_through_a_link_can_be_trapped_and_is_unchanged(anyhow: Theatre) -> None:
    async def act(stage: Stage) -> None:
        seen: list[Any] = []
        one = stage.b.spawn(leave, "kill")
        trapping, plain = stage.a.spawn(trap, seen, one), stage.a.spawn(link, one)
        ends = Reasons(stage.b, plain)
        await stage.settle()
        stage.a.send(one, "go")
        await stage.settle()
        assert seen == [ExitSignal(one, "kill")]
        assert ends.of == {plain: "kill"}
        assert stage.a.process_info(trapping) is not None

    anyhow.play(act)


def test_normal_from_another_process_is_ignored_unless_trapped(anyhow: Theatre) -> None:
    async def act(stage: Stage) -> None:
        seen: list[Any] = []
        plain, trapping = stage.b.spawn(wait), stage.b.spawn(trap, seen)
        await stage.settle()

        async def sender(self: Process) -> None:
            self.exit(plain, "normal")
            self.exit(trapping, "normal")

        source = stage.a.spawn(sender)
        await stage.settle()
        assert stage.b.process_info(plain) is not None
        assert seen == [ExitSignal(source, "normal")]

    anyhow.play(act)


def test_exit_of_oneself_with_normal_ends_the_process(anyhow: Theatre) -> None:
    async def act(stage: Stage) -> None:
        reached: list[str] = []

        async def body(self: Process) -> None:
            await self.receive()
            self.exit(self.pid, "normal")
            reached.append("the line after")

        pid = stage.b.spawn(body)
        ends = Reasons(stage.a, pid)
        await stage.settle()
        stage.a.send(pid, "go")
        await stage.settle()
        assert (ends.of, reached) == ({pid: "normal"}, [])

    anyhow.play(act)


# -- links and monitors -----------------------------------------------------------------------------------


def test_a_link_is_one_per_pair_and_bidirectional(anyhow: Theatre) -> None:
    async def act(stage: Stage) -> None:
        for from_the_linker in (True, False):
            seen: list[Any] = []
            other = stage.b.spawn(trap, seen)
            linker = stage.a.spawn(link, other, other, other)
            await stage.settle()
            info = stage.b.process_info(other)
            assert info is not None
            assert info.links == (linker,)
            ends = Reasons(stage.a, linker)
            ended = linker if from_the_linker else other
            stage.a.exit(ended, "kill")
            await stage.settle()
            assert ends.of == {linker: "killed"}
            assert seen == ([ExitSignal(linker, "killed")] if from_the_linker else [])

    anyhow.play(act)


def test_each_monitor_stacks_and_yields_exactly_one_down_with_the_reason_or_noproc(anyhow: Theatre) -> None:
    async def act(stage: Stage) -> None:
        seen: list[Any] = []
        target = stage.b.spawn(leave, "enough")
        await stage.settle()
        stage.a.spawn(watch, seen, target, target)
        await stage.settle()
        stage.a.send(target, "go")
        await stage.settle()
        stage.a.spawn(watch, seen, target)
        await stage.settle()
        assert [(down.pid, down.reason) for down in seen] == [
            (target, "enough"),
            (target, "enough"),
            (target, "noproc"),
        ]
        assert len({down.ref for down in seen}) == 3

    anyhow.play(act)


def test_a_lost_connection_yields_one_noconnection_for_each_monitor_and_link_and_is_no_proof_of_death(
    apart: Theatre,
) -> None:
    async def act(stage: Stage) -> None:
        seen: list[Any] = []
        target, watched = stage.b.spawn(wait), stage.b.spawn(wait)
        await stage.settle()
        stage.a.spawn(watch, seen, watched, watched)
        trapped: list[Any] = []
        stage.a.spawn(trap, trapped, target)
        await stage.settle()
        await stage.cut()
        assert reasons(seen) == ["noconnection"] * 2
        assert trapped == [ExitSignal(target, "noconnection")]
        stage.a.spawn(watch, seen, watched)
        await stage.settle()
        assert reasons(seen) == ["noconnection"] * 3
        await stage.join()
        await stage.settle()
        assert len(seen) == 3
        assert (
            stage.b.process_info(target) is None
        )  # by its link, which it did not trap; what is watched lives on:
        assert stage.b.process_info(watched) is not None

    apart.play(act)


def test_the_process_behind_a_noconnection_may_live_on_and_answers_after_the_reconnect(
    apart: Theatre,
) -> None:
    async def act(stage: Stage) -> None:
        seen: list[Any] = []
        ref = stage.a.ref((await stage.b.start(Counter)).pid, Counter)
        assert await ref.call(Counter.incr) == 1
        stage.a.spawn(watch, seen, ref.pid)
        await stage.settle()
        await stage.cut()
        assert reasons(seen) == ["noconnection"]
        await stage.join()
        assert await ref.call(Counter.incr) == 2

    apart.play(act)


def test_when_down_or_exit_arrives_the_dead_process_s_local_name_is_already_free(anyhow: Theatre) -> None:
    async def act(stage: Stage) -> None:
        found: list[Any] = []

        async def named(self: Process) -> None:
            self.register("the name")
            await self.receive()

        async def successor(self: Process, target: Pid, how: str) -> None:
            self.trap_exits = True
            if how == "monitor":
                self.monitor(target)
            else:
                self.link(target)
            await self.receive()
            found.append((how, stage.b.whereis("the name")))

        for how in ("monitor", "link"):
            target = stage.b.spawn(named)
            await stage.settle()
            assert stage.b.whereis("the name") == target
            stage.a.spawn(successor, target, how)
            await stage.settle()
            stage.a.send(RemoteName(stage.b.name, "the name"), "go")
            await stage.settle()
        assert found == [("monitor", None), ("link", None)]

    anyhow.play(act)


def test_a_down_of_an_old_connection_does_not_erase_what_was_learned_after_the_reconnect(
    apart: Theatre,
) -> None:
    async def act(stage: Stage) -> None:
        seen: list[Any] = []
        target = stage.b.spawn(leave, "the true reason")
        await stage.settle()
        stage.a.spawn(watch, seen, target)
        await stage.settle()
        await stage.cut()
        await stage.join()
        stage.a.spawn(watch, seen, target)
        await stage.settle()
        assert reasons(seen) == ["noconnection"]
        stage.a.send(target, "go")
        await stage.settle()
        assert reasons(seen) == ["noconnection", "the true reason"]

    apart.play(act)


# -- calls ------------------------------------------------------------------------------------------------


def test_a_call_that_timed_out_leaves_nothing_behind_its_late_reply_is_dropped(anyhow: Theatre) -> None:
    async def act(stage: Stage) -> None:
        ref = stage.a.ref((await stage.b.start(Counter)).pid, Counter)
        seen: list[Any] = []

        async def caller(self: Process) -> None:
            with pytest.raises(CallTimeout):
                await ref.within(1.0).call(Counter.hang)
            seen.append("timed out")
            seen.append(await self.receive())

        pid = stage.a.spawn(caller)
        await stage.pass_time(2.0)
        assert seen == ["timed out"]
        stage.b.kernel.cells[ref.pid.serial].server.release.set()  # type: ignore[attr-defined]  # it answers
        await stage.settle()
        info = stage.a.process_info(pid)
        assert info is not None
        assert (info.mailbox, seen) == (0, ["timed out"])
        assert stage.a.pending_calls() == 0
        assert await ref.call(Counter.incr) == 1

    anyhow.play(act)


def test_a_call_to_oneself_raises_at_once_by_ref_by_name_and_by_way_of_another_node(anyhow: Theatre) -> None:
    async def act(stage: Stage) -> None:
        one = await stage.a.start(Link, "one")
        two = stage.a.ref((await stage.b.start(Link)).pid, Link)
        await one.call(Link.join, one)
        with pytest.raises(RemoteError, match="CallCycle"):
            await one.call(Link.ask)
        one = await stage.a.start(Link, "one more")
        with pytest.raises(RemoteError, match="CallCycle"):
            await one.call(Link.ask_by_name, stage.a, "one more")
        one = await stage.a.start(Link, "and another")
        await one.call(Link.join, two)
        await two.call(Link.join, one)
        with pytest.raises(RemoteError, match=r"CallCycle.*->.*->"):
            await one.call(Link.ask)

    anyhow.play(act)


def test_a_cycle_of_calls_raises_with_its_path_at_the_one_who_would_close_it(anyhow: Theatre) -> None:
    paths: list[tuple[object, ...]] = []

    class Last(Link):
        async def ask(self) -> str:
            assert self.next is not None
            try:
                return await self.next.call(Link.ask)
            except CallCycle as cycle:
                paths.append(cycle.path)
                return "found"

    async def act(stage: Stage) -> None:
        paths.clear()
        one, two = await stage.a.start(Link), stage.a.ref((await stage.b.start(Link)).pid, Link)
        three: Ref[Link] = stage.a.ref((await stage.b.start(Last)).pid, Last)
        for here, there in ((one, two), (two, three), (three, one)):
            await here.call(Link.join, there)
        assert await one.call(Link.ask) == "found"
        assert paths == [(one.pid, two.pid, three.pid, one.pid)]

    anyhow.play(act)


# -- identities -------------------------------------------------------------------------------------------


def test_a_pid_of_a_restarted_node_never_equals_one_of_its_predecessor(apart: Theatre) -> None:
    async def act(stage: Stage) -> None:
        async def spawned() -> list[Pid]:
            return [stage.b.spawn(wait) for _ in range(50)]

        before: list[Pid] = await stage.on_b(spawned())
        name = stage.b.name
        await stage.restart_b()
        after: list[Pid] = await stage.on_b(spawned())
        assert {pid.node for pid in before + after} == {name}
        assert not set(before) & set(after)
        seen: list[Any] = []
        stage.a.spawn(watch, seen, before[0])
        stage.a.send(before[0], "to nobody")
        await stage.settle()
        assert reasons(seen) == ["noproc"]
        with pytest.raises(NoProcess):
            await stage.a.ref(before[0], Counter).call(Counter.incr)
        info = stage.b.process_info(after[0])
        assert info is not None
        assert info.mailbox == 0

    apart.play(act)


def test_a_pid_is_shown_as_erlang_does_on_its_own_node_and_elsewhere(apart: Theatre) -> None:
    async def act(stage: Stage) -> None:
        pid = stage.b.spawn(wait)
        await stage.settle()
        assert stage.b.show(pid) == f"<0.{pid.serial}.0>"
        assert stage.a.show(pid) == f"<{stage.b.name}/{stage.b.creation}.{pid.serial}>"

    apart.play(act)


def test_a_look_up_or_a_registration_is_never_blocked_by_a_dead_pid_not_even_by_one_that_is_being_restarted(
    at_home: Theatre,
) -> None:
    class Named(GenServer):
        def __init__(self) -> None:
            self.process.register("the service")

        async def terminate(self, reason: object) -> None:
            await asyncio.sleep(0)

    async def act(stage: Stage) -> None:
        supervisor = await stage.a.start(Supervisor, [child(Named)], intensity=100)
        await stage.settle()
        for _ in range(20):
            pid = stage.a.whereis("the service")
            assert pid is not None
            stage.a.exit(pid, "kill")
            await stage.settle()
            now = stage.a.whereis("the service")
            assert now is not None
            assert now != pid
            assert stage.a.process_info(now) is not None
        stage.a.exit(supervisor.pid, "kill")
        await stage.settle()
        assert stage.a.whereis("the service") is None

        async def taker(self: Process) -> None:
            self.register("the service")

        ends = Reasons(stage.a, stage.a.spawn(taker))
        await stage.settle()
        assert list(ends.of.values()) == ["normal"]

    at_home.play(act)


# -- fairness ---------------------------------------------------------------------------------------------


def test_a_process_that_never_awaits_cannot_starve_its_node(at_home: Theatre) -> None:
    class Busy(GenServer):
        def handle_info(self, message: Any) -> None:
            self.process.send(self.pid, message)

    async def act(stage: Stage) -> None:
        async def greedy(self: Process) -> None:
            while True:
                self.send(self.pid, "again")
                await self.receive()

        async def impatient() -> None:
            counter = await stage.a.start(Counter)
            while True:
                await counter.call(Counter.incr)

        busy = await stage.a.start(Busy)
        busy.send("round and round")
        hungry, caller = stage.a.spawn(greedy), asyncio.create_task(impatient())
        others = [await stage.a.start(Counter) for _ in range(10)]
        for turn in range(1, 6):
            assert await asyncio.gather(*(other.call(Counter.incr) for other in others)) == [turn] * 10
            await turns(2)
        for pid in (busy.pid, hungry):
            stage.a.exit(pid, "kill")
        caller.cancel()

    at_home.play(act)


@pytest.mark.parametrize("kind", ["body", "server"])
def test_a_process_that_blocks_the_loop_is_reported_by_name_and_with_how_long(
    at_home: Theatre, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    async def act(stage: Stage) -> None:
        assert isinstance(stage, InMemory)
        clock = stage.world.clock

        async def blocking(self: Process) -> None:
            self.register("the blocker")
            clock.skip(7.5)

        class Blocking(GenServer):
            def block(self) -> None:
                self.process.register("the blocker")
                clock.skip(7.5)

        if kind == "body":
            stage.a.spawn(blocking)
        else:
            await (await stage.a.start(Blocking)).call(Blocking.block)
        await stage.settle()
        assert "held the event loop for at least 7.500 s" in caplog.text
        assert "locking" in caplog.text

    with caplog.at_level(logging.WARNING, "quorate.process"):
        at_home.play(act)


def test_an_idle_process_has_no_task_no_queue_and_no_timer(at_home: Theatre) -> None:
    async def act(stage: Stage) -> None:
        before = len(asyncio.all_tasks())
        refs = [await stage.a.start(Counter) for _ in range(100)]
        for ref in refs:
            await ref.call(Counter.incr)
        await stage.settle()
        assert len(asyncio.all_tasks()) == before
        for ref in refs:
            cell: Any = stage.a.kernel.cells[ref.pid.serial]
            assert (cell.mailbox, cell.urgent, cell.activation, cell.extras) == (None, None, None, None)
            assert (cell.links, cell.watchers, cell.watching, cell.deadline) == (None, None, None, None)

    at_home.play(act)
