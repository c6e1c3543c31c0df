"""Time that is imaginary, order, processes that pause and end, and what is said when nothing will ever happen."""

import asyncio
import gc
import itertools
import sys
import time
from collections.abc import AsyncIterator
from contextvars import Context
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.core import sleep
from quorate.jepsen_like.simulation import Hang, SimClock, Simulation, SimulationError, WorldClock, simulate
from quorate.jepsen_like.simulation.loop import Group, SimLoop, current_group
from quorate.jepsen_like.simulation.tape import Stream


def loop() -> SimLoop:
    running = asyncio.get_running_loop()
    assert isinstance(running, SimLoop)
    return running


def test_time_jumps_over_a_year_without_waiting() -> None:
    async def main() -> float:
        await asyncio.sleep(365 * 86400.0)
        return loop().time()

    before = time.monotonic()
    assert simulate(main, limit_s=None) == 365 * 86400.0
    assert time.monotonic() - before < 3600


def test_time_stands_still_while_anything_is_ready() -> None:
    async def main() -> None:
        fired: list[float] = []
        loop().call_later(0.001, lambda: fired.append(loop().now))
        for _ in range(1000):
            await asyncio.sleep(0)
            assert loop().now == 0.0 and not fired
        await asyncio.sleep(0.002)
        assert fired == [0.001]

    simulate(main)


@given(st.lists(st.sampled_from([0.0, 0.1, 0.1, 0.25, 1.0, 7.0]), max_size=20))
def test_timers_fire_in_order_of_time_and_equal_ones_in_order_of_their_making(delays: list[float]) -> None:
    async def main() -> list[tuple[float, int]]:
        fired: list[tuple[float, int]] = []
        for number, delay in enumerate(delays):
            loop().call_at(delay, fired.append, (delay, number))
        await asyncio.sleep(8.0)
        return fired

    assert simulate(main) == sorted((delay, number) for number, delay in enumerate(delays))


def test_cancelled_timers_never_fire_however_many_there_are() -> None:
    async def main() -> list[int]:
        fired: list[int] = []
        timers = [loop().call_later(1.0 + number % 7, fired.append, number) for number in range(2000)]
        for number, timer in enumerate(timers):
            if number % 100:
                timer.cancel()
        await asyncio.sleep(10.0)
        return sorted(fired)

    assert simulate(main) == list(range(0, 2000, 100))


def test_ready_callbacks_run_in_the_order_of_their_making() -> None:
    assert order_of_turn(None) == list(range(200))


def order_of_turn(seed: int | None) -> list[int]:
    async def main() -> list[int]:
        loop().shuffler = None if seed is None else Stream(seed, "scheduling")
        ran: list[int] = []
        for number in range(200):
            loop().call_soon(ran.append, number)
        await asyncio.sleep(1.0)
        return ran

    return simulate(main)


@given(st.integers(0, 1000))
def test_a_seeded_order_is_a_permutation_and_the_same_for_the_same_seed(seed: int) -> None:
    ran = order_of_turn(seed)
    assert sorted(ran) == list(range(200)) and ran != list(range(200))
    assert order_of_turn(seed) == ran


def test_other_seeds_give_other_orders() -> None:
    assert len({tuple(order_of_turn(seed)) for seed in range(10)}) == 10


def test_the_code_of_a_process_knows_whose_it_is_also_in_tasks_and_timers_that_it_makes() -> None:
    async def main() -> None:
        group = Group("p")
        seen: list[Group | None] = []

        async def inner() -> None:
            seen.append(current_group())

        async def body() -> None:
            seen.append(current_group())
            await asyncio.create_task(inner())
            loop().call_later(1.0, lambda: seen.append(current_group()))

        await loop().create_task(body(), context=group.context)
        await asyncio.sleep(2.0)
        assert seen == [group, group, group] and current_group() is None

    simulate(main)


def test_a_paused_process_runs_nothing_and_then_everything_in_order() -> None:
    async def main() -> None:
        group, did = Group("p"), list[object]()

        def begin() -> None:
            for delay in (0.3, 0.1, 0.2, 5.0):
                loop().call_later(delay, lambda delay=delay: did.append(delay))  # type: ignore[misc]
            loop().call_soon(did.append, "soon")

        group.context.run(begin)
        loop().pause(group)
        await asyncio.sleep(4.0)
        assert did == [] and group.held_count == 4
        group.context.run(loop().call_soon, did.append, "late")
        loop().resume(group)
        await asyncio.sleep(0.5)
        assert did == ["soon", 0.1, 0.2, 0.3, "late"]
        await asyncio.sleep(1.0)
        assert did[-1] == 5.0

    simulate(main)


def test_what_became_ready_in_the_turn_of_the_resumption_stays_behind_what_was_held() -> None:
    async def main() -> None:
        group, did = Group("p"), list[str]()
        loop().pause(group)
        group.context.run(loop().call_soon, did.append, "held")
        await asyncio.sleep(0)
        loop().call_soon(loop().resume, group)
        group.context.run(loop().call_soon, did.append, "new")
        await asyncio.sleep(1.0)
        assert did == ["held", "new"]

    simulate(main)


def test_of_an_ended_process_no_line_runs_not_even_its_finally_blocks() -> None:
    did: list[str] = []

    async def main() -> None:
        group = Group("p")

        async def generator() -> "asyncio.Future[None]":  # keeps an asynchronous generator suspended
            async def numbers() -> AsyncIterator[int]:
                try:
                    yield 1
                finally:
                    did.append("generator")

            async for _ in numbers():
                await asyncio.sleep(1.0)
            raise AssertionError

        async def body() -> None:
            try:
                async with asyncio.timeout(2.0):
                    await asyncio.sleep(1.0)
                    did.append("woke")
            except BaseException as error:
                did.append(repr(error))
                raise
            finally:
                did.append("finally")

        for work in (body, generator):
            loop().create_task(work(), context=group.context)
        del work
        group.context.run(loop().call_soon, did.append, "soon")
        await asyncio.sleep(0.5)
        did.clear()
        loop().end(group)
        await asyncio.sleep(100.0)
        assert did == []
        loop().resume(group)
        group.context.run(loop().call_soon, did.append, "after")
        await asyncio.sleep(1.0)
        assert did == []

    simulate(main)


def test_tasks_of_a_programs_own_factory_are_held_as_others_are() -> None:
    did: list[str] = []

    async def body() -> None:
        try:
            await loop().create_future()  # which nobody else knows
        finally:
            did.append("finally")

    def begin() -> None:
        asyncio.create_task(body())  # noqa: RUF006 -- nobody else holds it, on purpose

    async def main() -> None:
        group = Group("p")
        loop().set_task_factory(lambda loop, coro, **kwargs: asyncio.Task(coro, loop=loop, **kwargs))
        group.context.run(loop().call_soon, begin)
        await asyncio.sleep(1.0)
        loop().end(group)
        gc.collect()
        assert did == []

    simulate(main)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="tasks start eagerly from Python 3.12 on")
def test_tasks_start_eagerly_in_the_process_that_makes_them_and_in_no_other() -> None:
    did: list[str] = []

    async def body() -> None:
        for _ in range(2):
            group = current_group()
            did.append(group.name if group is not None else "world")
            await asyncio.sleep(0)

    def begin() -> None:
        for context in (None, Context()):
            loop().create_task(body(), context=context)
            did.append("made")

    async def main() -> None:
        eager_task_factory: Any = getattr(asyncio, "eager_task_factory", None)
        loop().set_task_factory(eager_task_factory)
        group = Group("p")
        group.context.run(loop().call_soon, begin)
        await asyncio.sleep(1.0)
        assert did == ["p", "made", "p", "made", "p", "p"]
        did.clear()
        loop().pause(group)
        loop().create_task(body(), context=group.context.copy())
        await asyncio.sleep(1.0)
        assert did == []
        loop().resume(group)
        await asyncio.sleep(1.0)
        assert did == ["p", "p"]

    simulate(main)


def test_a_clock_that_runs_fast_is_the_loops_for_its_process() -> None:
    async def main() -> None:
        group = Group("p", local_s=1000.0, rate=2.0)

        async def body() -> tuple[float, float, float]:
            began, world = loop().time(), loop().now
            await asyncio.sleep(10.0)
            try:
                async with asyncio.timeout(4.0):
                    await asyncio.Future()
            except TimeoutError:
                pass
            loop().call_at(loop().time() + 6.0, woken.set_result, None)
            await woken
            return began, loop().time() - began, loop().now - world

        woken: asyncio.Future[None] = loop().create_future()
        began, local, world = await loop().create_task(body(), context=group.context)
        assert (began, local, world) == pytest.approx((1000.0, 20.0, 10.0))

    simulate(main)


def test_a_clock_that_changes_its_rate_goes_on_from_where_it_is() -> None:
    group = Group("p", world_s=5.0, local_s=100.0)
    group.set_rate(1.5, 7.0)
    group.set_rate(0.5, 9.0)
    assert group.local(9.0) == pytest.approx(105.0) and group.local(11.0) == pytest.approx(106.0)
    assert group.world(106.0) == pytest.approx(11.0)


def test_a_hang_is_an_error_that_shows_the_lines_of_all_that_wait() -> None:
    async def forgotten() -> None:
        await asyncio.get_running_loop().create_future()  # nobody sets it

    async def main() -> None:
        waiting = asyncio.create_task(forgotten(), name="the forgotten one")
        await waiting

    with pytest.raises(Hang) as hang:
        simulate(main)
    message = str(hang.value)
    assert "the forgotten one" in message
    here, first = "tests/jepsen_like/simulation/test_loop.py", forgotten.__code__.co_firstlineno
    assert f"{here}:{first + 1} in forgotten" in message and "in main" in message
    assert max(map(len, message.splitlines())) <= 100 and "paused" not in message


def test_a_hang_says_which_processes_are_paused_and_leaves_the_ended_ones_out() -> None:
    async def main() -> None:
        paused, ended = Group("slow"), Group("gone")

        async def body() -> None:
            await asyncio.sleep(1.0)

        waiting = [loop().create_task(body(), context=group.context) for group in (paused, ended)]
        loop().pause(paused)
        loop().end(ended)
        await asyncio.wait(waiting)

    with pytest.raises(Hang, match=r"in slow \(paused\)") as hang:
        simulate(main)
    assert "gone" not in str(hang.value)


def test_a_hang_of_many_tasks_has_a_message_that_can_be_read() -> None:
    async def main() -> None:
        await asyncio.gather(*(asyncio.Event().wait() for _ in range(500)))

    with pytest.raises(Hang, match=r"501 tasks wait[\s\S]*and 461 more"):
        simulate(main)


def test_a_run_that_is_not_over_in_time_is_an_error() -> None:
    async def main() -> None:
        while True:
            await sleep(WorldClock(loop()), 1.0)

    with pytest.raises(Hang, match="not over after 60 simulated seconds"):
        simulate(main, limit_s=60.0)


def test_a_program_that_turns_in_place_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quorate.jepsen_like.simulation.loop.STILL_TURNS", 1000)

    async def main() -> None:
        for _ in range(100):  # these are allowed
            for _ in range(900):
                await asyncio.sleep(0)
            await asyncio.sleep(0.001)
        for _ in itertools.count():
            await asyncio.sleep(0)

    with pytest.raises(Hang, match=r"time stands still since 1000 turns[\s\S]*in main"):
        simulate(main)


def test_an_exception_in_a_callback_fails_the_run() -> None:
    async def main() -> None:
        loop().call_soon(lambda: 1 // 0)
        await asyncio.sleep(1.0)

    with pytest.raises(SimulationError, match=r"1 unhandled.*ZeroDivisionError") as failure:
        simulate(main)
    assert isinstance(failure.value.__cause__, ZeroDivisionError)


def test_a_task_that_fails_and_that_nobody_asks_fails_the_run() -> None:
    async def broken() -> None:
        raise LookupError("nobody asks")

    async def main() -> None:
        task = asyncio.create_task(broken())
        await asyncio.sleep(1.0)
        assert task.done()

    with pytest.raises(SimulationError, match=r"never retrieved.*nobody asks"):
        simulate(main)


def test_what_failed_unseen_before_is_added_to_the_error_of_the_program() -> None:
    async def main() -> None:
        loop().call_soon(lambda: 1 // 0)
        await asyncio.sleep(1.0)
        raise LookupError("later")

    with pytest.raises(LookupError) as failure:
        simulate(main)
    assert any("ZeroDivisionError" in note for note in failure.value.__notes__)


def test_the_result_of_the_program_is_returned_and_its_error_raised() -> None:
    async def main() -> int:
        return 7

    async def wrong() -> None:
        raise LookupError("so")

    assert simulate(main) == 7
    with pytest.raises(LookupError, match="so"):
        simulate(wrong)


def test_tasks_that_are_left_over_are_closed_at_the_end_and_cannot_disturb() -> None:
    ended: list[str] = []

    async def stubborn() -> None:
        try:
            await asyncio.sleep(1000.0)
        finally:
            ended.append("finally")
            await asyncio.sleep(1.0)  # it does not want to end

    async def main() -> None:
        task = asyncio.create_task(stubborn())
        await asyncio.sleep(1.0)
        assert not task.done() and not ended

    simulate(main)
    assert ended == ["finally"]


def test_simulations_follow_each_other_on_one_loop() -> None:
    async def main() -> None:
        for seed in (1, 2):
            async with Simulation(seed=seed, nodes=1) as sim:
                await sleep(sim.clock, 1.0)
                assert sim.ready("n1")

    simulate(main)


def test_a_timer_of_next_to_nothing_moves_the_clock_of_its_node() -> None:
    """Or a deadline that is a rounding error away is waited for at one moment for ever (messages, seed 79)."""

    async def main() -> None:
        group = Group("n1", local_s=100_000.0, rate=0.95)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        clock = SimClock(loop, group)
        for tiny_s in (1e-18, 1e-15, 1e-12):
            before, fired = clock.monotonic(), asyncio.Event()
            clock.call_later(tiny_s, fired.set)
            await fired.wait()
            assert clock.monotonic() > before

    simulate(main)
