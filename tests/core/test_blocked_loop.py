"""Processes that hold the event loop: the report says who, for how long, and where."""

import asyncio
import gc
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
import uvloop

from quorate.core import (
    ConfigError,
    GenServer,
    GenStatem,
    Network,
    Node,
    Process,
    ProcessConfig,
    RealClock,
    Runtime,
    raises,
    real_runtime,
)
from quorate.core.real import RealLoopWatch
from tests.core.conftest import Play
from tests.core.nodes import LOOPS, A, World, run_on
from tests.support import ManualClock, SeededEntropy, turns

TRIES = 20


class Blocker(GenServer):
    """Holds the loop for a second, as far as the clock can tell."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock

    def block(self) -> None:
        self.clock.skip(1.0)

    @raises(ValueError)
    def block_in_vain(self) -> None:
        self.clock.skip(1.0)
        raise ValueError("in vain")

    async def block_slowly(self) -> None:
        await asyncio.sleep(0)
        self.clock.skip(1.0)
        await self._pause()

    async def _pause(self) -> None:
        await asyncio.sleep(0)
        await asyncio.sleep(0)


class Gate(GenStatem[str]):
    """Holds the loop before the first wait of its entry into a state."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.goto("shut")

    def open(self) -> None:
        self.goto("open")

    async def handle_enter(self, previous: str) -> None:
        if self.state == "open":
            self.clock.skip(1.0)
        await asyncio.sleep(0)


class Calm(GenServer):
    def rest(self) -> None:
        pass


class FakeWatch:
    """Looks every quarter of a second."""

    tick_s = 0.25

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.asked: list[float] = []
        self.stopped = 0
        self.collecting = 0.0

    @property
    def tick(self) -> float:
        return self.clock.monotonic() // self.tick_s * self.tick_s

    def held_since(self, tick: float) -> float:
        return tick + self.tick_s

    def stack_since(self, began: float) -> str | None:
        self.asked.append(began)
        return "line 7 in guilty"

    def collecting_s(self, began: float) -> float:
        return self.collecting

    def stop(self) -> None:
        self.stopped += 1


def facts(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    [record] = [each for each in caplog.records if "held the event loop" in each.getMessage()]
    found: dict[str, Any] = record.__dict__["quorate"]
    assert found["where"] in record.getMessage() or found["stack"] in record.getMessage()
    return found


def test_a_method_that_holds_the_loop_is_reported_by_its_name(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Blocker, world.clock)
        await ref.call(Blocker.block)
        found = facts(caplog)
        assert (found["event"], found["seconds"], found["where"]) == ("slow", 1.0, "in block")
        assert found["who"] == f"{ref.pid} (Blocker)"

    play.one(main)


def test_so_is_one_that_raises_then(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Blocker, world.clock)
        with pytest.raises(ValueError, match="in vain"):
            await ref.call(Blocker.block_in_vain)
        assert facts(caplog)["where"] == "in block_in_vain"

    play.one(main)


def test_so_is_the_entry_into_a_state(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Gate, world.clock)
        await world.settle()
        await ref.call(Gate.open)
        await world.settle()
        assert facts(caplog)["who"] == f"{ref.pid} (Gate)"

    play.one(main)


def test_a_coroutine_that_holds_the_loop_is_reported_with_the_place_to_which_it_went_on(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    async def body(self: Process, clock: ManualClock) -> None:
        clock.skip(1.0)
        await self.receive()

    async def main(node: Node, world: World) -> None:
        ref = await node.start(Blocker, world.clock)
        await ref.call(Blocker.block_slowly)
        where = facts(caplog)["where"]
        assert f"it went on to {__file__}:" in where
        assert where.index("in Blocker.block_slowly") < where.index("in Blocker._pause")
        caplog.clear()
        node.spawn(body, world.clock)
        await turns()
        assert "<locals>.body" in facts(caplog)["where"]

    play.one(main)


def test_who_does_not_hold_the_loop_is_not_reported(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Blocker, world.clock)
        await ref.call(Blocker.block)
        assert caplog.records == []

    play.one(main, ProcessConfig(slow_s=1.5))


def test_the_report_has_the_stack_when_somebody_saw_it(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        clock = ManualClock()
        watch, limits = FakeWatch(clock), list[float]()

        def watching(slow_s: float) -> FakeWatch:
            limits.append(slow_s)
            return watch

        runtime = Runtime(cast("Network", None), clock, SeededEntropy(), watch_loop=watching)
        async with Node(A, runtime=runtime, creation=1, config=ProcessConfig(slow_s=0.5)) as node:
            ref = await node.start(Blocker, clock)
            clock.skip(-clock.monotonic() % watch.tick_s + 0.125)
            await ref.call(Blocker.block)
            found = facts(caplog)
            assert (found["stack"], watch.asked) == ("line 7 in guilty", [clock.monotonic() - 0.875])
            assert (found["collecting_s"], watch.stopped) == (0.0, 0)
            assert "garbage" not in caplog.text
            caplog.clear()
            watch.collecting = 0.75
            await ref.call(Blocker.block)
            assert facts(caplog)["collecting_s"] == 0.75
            assert "for at least 0.875 s (0.750 s of them in garbage collection)" in caplog.text
        assert (watch.stopped, limits) == (1, [0.5])

    caplog.set_level(logging.WARNING)
    run_on("asyncio", main)


@pytest.mark.parametrize("loop", LOOPS)
def test_the_real_watch_sees_what_holds_the_loop_while_it_does(loop: str) -> None:
    def guilty(watch: RealLoopWatch, began: float) -> str:
        while (seen := watch.stack_since(began)) is None:
            time.sleep(0.001)
        return seen

    async def main() -> None:
        clock = RealClock()
        watch = RealLoopWatch(clock, 0.02)
        began = clock.monotonic()
        seen = guilty(watch, began)
        assert "in guilty" in seen
        assert "time.sleep(0.001)" in seen or "watch.stack_since" in seen
        assert watch.stack_since(clock.monotonic()) is None  # a later one has nothing to do with it
        watch.stop()

    run_on(loop, main)


def test_the_real_watch_counts_what_full_garbage_collections_take() -> None:
    async def main() -> None:
        clock = RealClock()
        watch = RealLoopWatch(clock, 10.0)
        before = clock.monotonic()
        gc.collect(0)
        assert watch.collecting_s(before) == 0.0
        for _ in range(20):
            gc.collect()
        after = clock.monotonic()
        assert 0.0 < watch.collecting_s(before) <= after - before
        assert watch.collecting_s(after) == 0.0
        watch.stop()
        gc.collect()
        assert watch.collecting_s(after) == 0.0

    run_on("asyncio", main)


@pytest.mark.parametrize("loop", LOOPS)
def test_on_the_real_runtime_a_report_ends_where_the_library_begins(
    loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Sleeper(GenServer):
        def block(self, node: Node) -> None:
            watch, began = node.kernel.scheduler.watch, node.runtime.clock.monotonic()
            while watch.stack_since(began) is None or node.runtime.clock.monotonic() - began < 0.3:
                time.sleep(0.001)

    async def main() -> None:
        node = Node(A, runtime=real_runtime(), creation=1, config=ProcessConfig(slow_s=0.04))
        async with node:
            ref = await node.start(Sleeper)
            await ref.call(Sleeper.block, node)
        stack = facts(caplog)["stack"]
        assert "in block" in stack.splitlines()[0]
        assert "server_cell" not in stack

    caplog.set_level(logging.WARNING)
    run_on(loop, main)


def add_up(size: int) -> float:
    """Holds the interpreter's lock until it is through; for how long."""
    began = time.perf_counter()
    sum(range(size))
    return time.perf_counter() - began


def held_for(seconds: float) -> int:
    """With what size `add_up` takes so long."""
    size = 1_000_000
    while add_up(size) < seconds:
        size *= 2
    return size


@pytest.mark.parametrize("loop", LOOPS)
def test_who_lets_no_other_thread_run_is_reported_too(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    class Adder(GenServer):
        def block(self, size: int) -> None:
            add_up(size)

    size = held_for(0.15)

    async def main() -> None:
        async with Node(A, runtime=real_runtime(), creation=1, config=ProcessConfig(slow_s=0.04)) as node:
            ref = await node.start(Adder)
            for _ in range(TRIES):
                await ref.call(Adder.block, size)
                if caplog.records:
                    break
        assert "in add_up" in facts(caplog)["stack"]

    caplog.set_level(logging.WARNING)
    run_on(loop, main)


async def in_one_of_some_tries(holds: Callable[[], Awaitable[bool]]) -> bool:
    """Whether it does. (A machine may be so busy that it does not each time.)"""
    for _ in range(TRIES):
        if await holds():
            return True
    return False


def tick_after(watch: RealLoopWatch, earlier: float) -> float:
    """When it looks next, after some time. Holds up whoever waits here."""
    while watch.tick <= earlier:
        time.sleep(0.001)
    return watch.tick


@pytest.mark.parametrize("loop", LOOPS)
def test_who_begins_long_after_a_look_is_not_said_to_have_begun_before(loop: str) -> None:
    """The loop may take nearly a tick to answer. From then on it is one tick to the next look."""
    tick_s = 0.2

    def look_and_hold(watch: RealLoopWatch) -> float:
        tick = tick_after(watch, watch.tick)
        time.sleep(0.8 * tick_s)
        return tick

    async def next_soon(watch: RealLoopWatch) -> bool:
        tick = look_and_hold(watch)
        return await asyncio.to_thread(tick_after, watch, tick) - tick < 1.6 * tick_s

    async def main() -> None:
        watch = RealLoopWatch(RealClock(), 4 * tick_s)
        assert await in_one_of_some_tries(lambda: next_soon(watch))
        watch.stop()

    run_on(loop, main)


@pytest.mark.parametrize("loop", LOOPS)
def test_what_another_thread_held_is_not_put_down_to_who_has_the_loop_next(loop: str) -> None:
    size = held_for(0.15)

    clock = RealClock()

    async def is_excused(watch: RealLoopWatch) -> bool:
        tick, took_s = await asyncio.to_thread(lambda: (watch.tick, add_up(size)))
        tick_after(watch, clock.monotonic())
        return watch.held_since(tick) > tick + took_s / 2

    async def main() -> None:
        watch = RealLoopWatch(clock, 0.04)
        assert await in_one_of_some_tries(lambda: is_excused(watch))
        watch.stop()

    run_on(loop, main)


def test_a_turn_of_many_is_not_what_one_of_them_took() -> None:
    """The watch looks seldom: what was before this turn is nobody's of this turn."""
    reported: list[str] = []

    def who() -> str:
        reported.append("it")
        return "it"

    async def main() -> None:
        clock = ManualClock()
        async with Node(
            A,
            runtime=Runtime(cast("Network", None), clock, SeededEntropy()),
            creation=1,
            config=ProcessConfig(slow_s=0.5),
        ) as node:
            scheduler, before = node.kernel.scheduler, clock.monotonic()
            clock.skip(10.0)
            (await node.start(Calm)).cast(Calm.rest)
            await turns()  # one of them is the scheduler's
            clock.skip(0.4)
            scheduler.ticked(who, before)
            assert reported == []
            clock.skip(0.2)
            scheduler.ticked(who, before)
            assert reported == ["it"]

    run_on("asyncio", main)


@pytest.mark.parametrize(
    "wrong", [{"slice_messages": 0}, {"turn_messages": 0}, {"slow_s": 0}, {"call_timeout_s": float("nan")}]
)
def test_a_config_with_which_a_node_would_spin_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        ProcessConfig(**wrong)


def test_an_infinite_limit_reports_nobody_and_watches_nothing() -> None:
    async def main() -> None:
        before = threading.active_count()
        node = Node(A, runtime=real_runtime(), creation=1, config=ProcessConfig(slow_s=float("inf")))
        async with node:
            assert threading.active_count() == before

    run_on("asyncio", main)


def watching() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "quorate-loop-watch"]


def test_a_limit_of_longer_than_a_thread_can_wait_is_as_good_as_any() -> None:
    async def main() -> None:
        before = watching()
        node = Node(A, runtime=real_runtime(), creation=1, config=ProcessConfig(slow_s=1e30))
        async with node:
            [thread] = [each for each in watching() if each not in before]
            thread.join(0.05)
            assert thread.is_alive()
        await asyncio.to_thread(thread.join, 10.0)
        assert not thread.is_alive()

    run_on("asyncio", main)


@pytest.mark.parametrize("loop", LOOPS)
def test_of_a_watch_whose_loop_is_closed_nothing_is_left(loop: str) -> None:
    """Also when it has asked and nobody will ever answer."""

    async def watch_here() -> RealLoopWatch:
        return RealLoopWatch(RealClock(), 0.02)

    before, callbacks = watching(), list(gc.callbacks)
    watched = uvloop.new_event_loop() if loop == "uvloop" else asyncio.new_event_loop()
    watch = watched.run_until_complete(watch_here())
    [thread] = [each for each in watching() if each not in before]
    for _ in range(2):
        tick_after(watch, watch.tick)
    watched.close()
    thread.join(10.0)
    assert not thread.is_alive()
    assert gc.callbacks == callbacks
