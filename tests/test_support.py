"""The test helpers themselves: a helper that lies makes every test lie."""

import asyncio

import pytest

from quorate.core.runtime import Clock, Entropy
from tests.support import ManualClock, SeededEntropy, run, turns


def test_timers_fire_in_order_of_their_time_and_see_that_time() -> None:
    clock = ManualClock(start_s=0.0)
    seen: list[tuple[str, float]] = []
    clock.call_later(2.0, lambda: seen.append(("b", clock.monotonic())))
    clock.call_later(1.0, lambda: seen.append(("a", clock.monotonic())))
    clock.call_later(1.0, lambda: clock.call_later(0.5, lambda: seen.append(("c", clock.monotonic()))))
    clock.advance(1.9)
    assert seen == [("a", 1.0), ("c", 1.5)]
    clock.advance(0.1)
    assert seen[-1] == ("b", 2.0)
    assert clock.monotonic() == 2.0


def test_a_cancelled_timer_never_fires_and_is_not_waited_for() -> None:
    clock = ManualClock()
    seen: list[int] = []
    timer = clock.call_later(1.0, seen.append, 1)
    timer.cancel()
    assert clock.next_due() is None
    clock.advance(5.0)
    assert seen == []


def test_a_timer_of_no_delay_runs_in_a_later_turn_but_never_at_once() -> None:
    async def main() -> None:
        clock = ManualClock()
        seen: list[int] = []
        clock.call_later(0.0, seen.append, 1)
        assert seen == []
        await turns(2)
        assert seen == [1]

    run(main())


def test_pass_time_lets_tasks_run_between_timers() -> None:
    async def main() -> list[float]:
        clock = ManualClock(start_s=0.0)
        woken: list[float] = []

        async def ticker() -> None:
            for _ in range(3):
                event = asyncio.Event()
                clock.call_later(1.0, event.set)
                await event.wait()
                woken.append(clock.monotonic())

        task = asyncio.get_running_loop().create_task(ticker())
        await clock.pass_time(3.0)
        await task
        return woken

    assert run(main()) == [1.0, 2.0, 3.0]


def test_skipped_time_makes_timers_late_and_runs_none() -> None:
    clock = ManualClock(start_s=0.0)
    seen: list[float] = []
    clock.call_later(1.0, lambda: seen.append(clock.monotonic()))
    clock.skip(10.0)
    assert seen == []
    clock.advance(0.0)
    assert seen == [10.0]


def test_the_wall_clock_jumps_alone() -> None:
    clock = ManualClock(start_s=5.0, wall_s=100.0)
    clock.jump_wall(-50.0)
    assert (clock.monotonic(), clock.wall()) == (5.0, 50.0)


def test_an_exception_in_a_callback_fails_the_run() -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 // 0)
        await turns(2)

    with pytest.raises(AssertionError) as failure:
        run(main())
    assert isinstance(failure.value.__cause__, ZeroDivisionError)


def test_one_seed_gives_one_sequence() -> None:
    a, b, c = SeededEntropy(1), SeededEntropy(1), SeededEntropy(2)
    assert [a.token(8), a.random()] == [b.token(8), b.random()]
    assert SeededEntropy(1).token(8) != c.token(8)


def test_the_helpers_have_the_shape_of_the_ports() -> None:
    clock: Clock = ManualClock()
    entropy: Entropy = SeededEntropy()
    assert clock.wall() > 0 and 0 <= entropy.random() < 1
