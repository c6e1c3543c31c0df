"""`sleep` and `timeout` by the Clock port: on a clock that the test moves, and once on the real one."""

import asyncio

import pytest

from quorate.core import Process
from quorate.core.real import RealClock
from quorate.core.timers import sleep, timeout
from tests.core.nodes import World
from tests.core.servers import Counter
from tests.support import ManualClock, run, turns


def test_a_sleeper_wakes_when_its_time_has_come_and_not_before() -> None:
    async def main() -> None:
        clock = ManualClock()
        sleeper = asyncio.ensure_future(sleep(clock, 5.0))
        await clock.pass_time(4.9)
        assert not sleeper.done()
        await clock.pass_time(0.1)
        assert sleeper.done()

    run(main())


def test_a_cancelled_sleeper_leaves_no_timer() -> None:
    async def main() -> None:
        clock = ManualClock()
        sleeper = asyncio.ensure_future(sleep(clock, 5.0))
        await turns()
        assert clock.next_due() is not None
        sleeper.cancel()
        await turns()
        assert sleeper.cancelled()
        assert clock.next_due() is None

    run(main())


def test_a_body_that_takes_too_long_is_cancelled() -> None:
    async def main() -> None:
        clock = ManualClock()
        cleaned: list[str] = []

        async def body() -> None:
            async with timeout(clock, 2.0):
                try:
                    await asyncio.Event().wait()
                finally:
                    cleaned.append("yes")

        task = asyncio.ensure_future(body())
        await clock.pass_time(1.9)
        assert not task.done()
        await clock.pass_time(0.1)
        with pytest.raises(TimeoutError):
            await task
        assert cleaned == ["yes"]
        assert task.cancelling() == 0

    run(main())


def test_a_body_in_time_leaves_no_timer() -> None:
    async def main() -> None:
        clock = ManualClock()
        async with timeout(clock, 2.0):
            await turns()
        assert clock.next_due() is None

    run(main())


def test_an_error_of_the_body_passes_unchanged() -> None:
    async def main() -> None:
        with pytest.raises(KeyError):
            async with timeout(ManualClock(), 2.0):
                raise KeyError("x")

    run(main())


def test_a_cancellation_from_elsewhere_is_no_timeout() -> None:
    async def main() -> None:
        async def body() -> None:
            async with timeout(ManualClock(), 2.0):
                await asyncio.Event().wait()

        task = asyncio.ensure_future(body())
        await turns()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())


def test_of_two_timeouts_the_one_that_expired_raises() -> None:
    async def main() -> None:
        clock = ManualClock()
        seen: list[str] = []

        async def body() -> None:
            async with timeout(clock, 9.0):
                try:
                    async with timeout(clock, 1.0):
                        await asyncio.Event().wait()
                except TimeoutError:
                    seen.append("inner")
                await turns()
            seen.append("after")

        task = asyncio.ensure_future(body())
        await clock.pass_time(1.0)
        await task
        assert seen == ["inner", "after"]

    run(main())


def test_no_delay_sets_no_bound_and_a_past_one_expires_at_once() -> None:
    async def main() -> None:
        clock = ManualClock()
        async with timeout(clock, None):
            await turns()
        assert clock.next_due() is None
        with pytest.raises(TimeoutError):
            async with timeout(clock, -1.0):
                await asyncio.Event().wait()

    run(main())


def test_a_timeout_that_fires_when_the_body_was_about_to_go_on_is_a_timeout_still() -> None:
    async def main() -> None:
        clock = ManualClock()
        awaited = asyncio.get_running_loop().create_future()

        async def body() -> str:
            try:
                async with timeout(clock, 1.0):
                    await awaited
            except TimeoutError:
                await turns()  # no cancellation is left over
                return "timeout"
            return "in time"

        task = asyncio.ensure_future(body())
        await turns()
        awaited.set_result(None)
        clock.advance(1.0)
        assert await task == "timeout"

    run(main())


def test_both_work_on_the_real_clock() -> None:
    async def main() -> None:
        clock = RealClock()
        await sleep(clock, 0.001)
        with pytest.raises(TimeoutError):
            async with timeout(clock, 0.001):
                await asyncio.Event().wait()

    run(main())


def test_a_time_that_is_no_number_is_refused_wherever_it_is_given() -> None:
    nan = float("nan")

    async def wait() -> None:
        await asyncio.Event().wait()

    async def body(self: Process, errors: list[str]) -> None:
        for attempt in (self.receive(timeout_s=nan), (await self.tasks.run(wait)).result(timeout_s=nan)):
            try:
                await attempt
            except ValueError as error:
                errors.append(str(error))

    async def main() -> None:
        world = World()
        node = await world.node()
        ref = await node.start(Counter)
        errors: list[str] = []
        pid = node.spawn(body, errors)
        for refused in (
            lambda: node.send_after(nan, ref.pid, "never"),
            lambda: ref.within(nan),
            lambda: node.tasks.stream(asyncio.sleep, [1], timeout_s=nan),
            lambda: RealClock().call_later(nan, print),
        ):
            with pytest.raises(ValueError, match=r"nan|number"):
                refused()
        with pytest.raises(ValueError, match="nan"):
            await node.sys.get_state(ref, timeout_s=nan)
        assert node.kernel.deadlines._waiting == {}
        await node.down(pid)
        assert len(errors) == 2
        await world.close()

    asyncio.run(main())
