"""Tasks: what their awaiting gives and raises, whose fate they share, how they are cancelled, here and on other nodes."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import pytest

from quorate.core import (
    CalleeExited,
    CallTimeout,
    ConfigError,
    EncodeError,
    Exit,
    ExitSignal,
    GenServer,
    Node,
    NodeDown,
    NotCallable,
    Process,
    RemoteError,
    Task,
    reentrant,
)
from quorate.jepsen_like.simulation import Simulation, simulate
from tests.core.conftest import Play
from tests.core.nodes import World
from tests.core.servers import Counter
from tests.support import turns


async def double(n: int) -> int:
    await asyncio.sleep(0)
    return 2 * n


async def fail(text: str) -> int:
    await asyncio.sleep(0)
    raise ValueError(text)


async def leave(reason: object) -> None:
    raise Exit(reason)


async def hang() -> None:
    await asyncio.Event().wait()


async def give_back(value: Any) -> Any:
    return value


class Gauge:
    """How many run at a time; each waits until it is let go, by the item it was given."""

    def __init__(self) -> None:
        self.running: list[int] = []
        self.most = 0
        self.closed: list[int] = []
        self._gates: dict[int, asyncio.Event] = {}

    def let_go(self, *items: int) -> None:
        for item in items:
            self._gates.setdefault(item, asyncio.Event()).set()

    async def work(self, item: int) -> int:
        self.running.append(item)
        self.most = max(self.most, len(self.running))
        try:
            await self._gates.setdefault(item, asyncio.Event()).wait()
        finally:
            self.running.remove(item)
            self.closed.append(item)
        if item < 0:
            raise ValueError(item)
        return item * 10


async def collect(stream: AsyncIterator[Any], into: list[Any]) -> None:
    async for result in stream:
        into.append(result)  # noqa: PERF401 -- what came before an error counts too


# -- results ----------------------------------------------------------------------------------------------


def test_awaiting_a_task_gives_its_result_as_often_as_it_is_awaited(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        task = await node.tasks.run(double, 21)
        assert not task.done()
        assert node.process_info(task.pid) is not None
        assert (await task, await task.result(), task.done()) == (42, 42, True)
        assert node.processes() == []

    play.one(main)


def test_a_failed_task_raises_the_original_exception_where_it_is_awaited(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        task = await node.tasks.run(fail, "no luck")
        for _ in range(2):
            with pytest.raises(ValueError, match="no luck"):
                await task
        assert node.kernel.crashes == 1

    play.one(main)


def test_a_task_that_fails_and_is_never_awaited_leaves_one_report(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(node: Node, world: World) -> None:
        task = await node.tasks.run(fail, "unseen")
        await node.down(task.pid)
        del task
        await turns()

    with caplog.at_level(logging.ERROR):
        play.one(main)
    (record,) = caplog.records
    assert "unseen" in record.getMessage()


@pytest.mark.parametrize("reason", ["normal", "bored"])
def test_a_task_that_exits_raises_callee_exited_with_its_reason(play: Play, reason: str) -> None:
    async def main(node: Node, world: World) -> None:
        task = await node.tasks.run(leave, reason)
        with pytest.raises(CalleeExited) as caught:
            await task
        assert caught.value.reason == reason

    play.one(main)


def test_a_task_that_is_killed_raises_callee_exited(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        task = await node.tasks.run(hang)
        await turns()
        node.exit(task.pid, "kill")
        with pytest.raises(CalleeExited) as caught:
            await task
        assert caught.value.reason == "killed"

    play.one(main)


def test_a_timeout_error_of_the_function_is_its_own(play: Play) -> None:
    async def late() -> None:
        raise TimeoutError("the database")

    async def main(node: Node, world: World) -> None:
        task = await node.tasks.run(late)
        with pytest.raises(TimeoutError, match="the database"):
            await task.result(timeout_s=5)

    play.one(main)


def test_what_is_no_coroutine_function_or_does_not_fit_is_refused_at_once(play: Play) -> None:
    def plain(n: int) -> int:
        return n

    async def main(node: Node, world: World) -> None:
        with pytest.raises(TypeError, match=r"plain is no coroutine function.*to_thread"):
            await node.tasks.run(plain, 1)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="takes 1 positional"):
            await node.tasks.run(double, 1, 2)  # type: ignore[call-arg]
        assert node.processes() == []

    play.one(main)


def test_any_awaitable_can_be_what_the_function_gives(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        task = await node.tasks.run(lambda: future)
        future.set_result(7)
        assert await task == 7

    play.one(main)


def test_messages_to_a_task_are_dropped_and_calls_refused(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        task = await node.tasks.run(hang)
        await turns()
        node.send(task.pid, "hello")
        info = node.process_info(task.pid)
        assert info is not None
        assert info.mailbox == 0
        with pytest.raises(NotCallable):
            await node.call(task.pid, Gauge.let_go)
        await task.shutdown()

    play.one(main)


# -- fate -------------------------------------------------------------------------------------------------


def test_a_task_that_fails_takes_its_linked_owner_with_it(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        async def owner(self: Process) -> None:
            await self.tasks.run(fail, "together")
            await self.receive()

        down = await node.down(node.spawn(owner))
        assert isinstance(down.reason, ValueError)

    play.one(main)


@pytest.mark.parametrize("reason", ["bye", "kill"])
def test_a_linked_task_ends_with_its_owner_and_its_finally_blocks_run(play: Play, reason: str) -> None:
    async def main(node: Node, world: World) -> None:
        gauge = Gauge()

        async def owner(self: Process) -> None:
            await self.tasks.run(gauge.work, 1)
            await self.receive()

        pid = node.spawn(owner)
        await turns()
        node.exit(pid, reason)
        await node.down(pid)
        await turns()
        assert (gauge.closed, node.processes()) == ([1], [])

    play.one(main)


def test_an_owner_without_a_link_catches_what_its_task_raised(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        async def owner(self: Process) -> None:
            try:
                await (await self.tasks.run_nolink(fail, "alone"))
            except ValueError as error:
                raise Exit(f"caught {error}") from None

        assert (await node.down(node.spawn(owner))).reason == "caught alone"

    play.one(main)


def test_an_owner_that_traps_exits_catches_what_its_task_raised_and_hears_of_it(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        async def owner(self: Process) -> None:
            self.trap_exits = True
            task = await self.tasks.run(fail, "both")
            with pytest.raises(ValueError, match="both"):
                await task
            signal = await self.receive(ExitSignal)
            raise Exit((signal.pid == task.pid, type(signal.reason)))

        assert (await node.down(node.spawn(owner))).reason == (True, ValueError)

    play.one(main)


def test_tasks_that_the_node_starts_are_linked_to_the_process_whose_code_asks(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        gauge = Gauge()

        class Server(GenServer):
            async def begin(self) -> int:
                await node.tasks.run(gauge.work, 1)
                await self.process.tasks.run(gauge.work, 2)
                await node.tasks.run_nolink(gauge.work, 3)
                return 0

        async def outer() -> None:
            await node.tasks.run(gauge.work, 4)
            await hang()

        ref = await node.start(Server)
        assert await ref.call(Server.begin) == 0
        task = await node.tasks.run(outer)
        await turns()
        node.exit(ref.pid, "bye")
        node.exit(task.pid, "bye")
        await turns()
        assert (sorted(gauge.closed), gauge.running) == ([1, 2, 4], [3])

    play.one(main)


def test_a_task_that_a_reentrant_method_starts_belongs_to_its_server_and_not_to_the_caller(
    play: Play,
) -> None:
    async def main(node: Node, world: World) -> None:
        gauge = Gauge()

        class Server(GenServer):
            @reentrant
            async def begin(self) -> None:
                await node.tasks.run(gauge.work, 1)

        async def caller(self: Process) -> None:
            await ref.call(Server.begin)

        ref = await node.start(Server)
        assert (await node.down(node.spawn(caller))).reason == "normal"
        [task] = [pid for pid in node.processes() if pid != ref.pid]
        info = node.process_info(task)
        assert info is not None
        assert info.links == (ref.pid,)

    play.one(main)


def test_start_links_to_nobody_and_gives_the_pid(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        gauge = Gauge()

        async def owner(self: Process) -> None:
            self.send("main", await self.tasks.start(gauge.work, 1))

        async def hear(self: Process) -> None:
            self.register("main")
            pid = await self.receive()
            await turns()
            gauge.let_go(1)
            self.monitor(pid)
            assert (await self.receive()).reason == "normal"
            raise Exit("heard")

        listener = node.spawn(hear)
        node.spawn(owner)
        assert (await node.down(listener)).reason == "heard"

    play.one(main)


# -- cancelling -------------------------------------------------------------------------------------------


def test_cancelling_who_awaits_a_task_ends_it_and_waits_for_its_finally_blocks(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        seen: list[str] = []

        async def work() -> None:
            try:
                await hang()
            finally:
                await asyncio.sleep(0)
                seen.append("closed")

        async def wait() -> None:
            task = await node.tasks.run(work)
            try:
                await task
            finally:
                seen.append("went on")

        waiting = asyncio.ensure_future(wait())
        await turns()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert (seen, node.processes()) == (["closed", "went on"], [])

    play.one(main)


def test_a_result_that_takes_too_long_ends_the_task(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        task = await node.tasks.run(hang)
        waiting = asyncio.ensure_future(task.result(timeout_s=2))
        await world.clock.pass_time(1.9)
        assert not waiting.done()
        await world.clock.pass_time(0.2)
        with pytest.raises(TimeoutError, match="no result in 2 s"):
            await waiting
        assert node.processes() == []

    play.one(main)


def test_wait_leaves_a_task_alone_that_is_not_over_in_time(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        gauge = Gauge()
        task = await node.tasks.run(gauge.work, 1)
        waiting = asyncio.ensure_future(task.wait(timeout_s=2))
        await world.clock.pass_time(2)
        assert await waiting is False
        gauge.let_go(1)
        assert await task.wait() is True
        assert await task == 10

    play.one(main)


def test_a_task_that_is_cancelled_does_not_harm_its_owner(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        async def owner(self: Process) -> None:
            task = await self.tasks.run(hang)
            await asyncio.sleep(0)
            task.cancel()
            task.cancel()
            try:
                await task
            except CalleeExited as error:
                raise Exit(("survived", error.reason)) from None

        assert (await node.down(node.spawn(owner))).reason == ("survived", "shutdown")

    play.one(main)


def test_a_task_may_answer_its_cancellation_with_a_result(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        async def stubborn() -> str:
            try:
                await hang()
            except asyncio.CancelledError:
                return "what I have"
            return "never"

        task = await node.tasks.run(stubborn)
        await turns()
        await task.shutdown()
        assert await task == "what I have"

    play.one(main)


def test_what_a_cancelled_task_raises_at_its_end_is_reported_and_it_was_ended_all_the_same(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(node: Node, world: World) -> None:
        async def clumsy() -> None:
            try:
                await hang()
            finally:
                raise ValueError("in a finally block")

        task = await node.tasks.run(clumsy)
        await turns()
        task.cancel()
        with pytest.raises(CalleeExited) as caught:
            await task
        assert caught.value.reason == "shutdown"
        assert "in a finally block" in caplog.text

    play.one(main)


def test_a_task_that_refuses_to_end_is_abandoned_at_the_deadline(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        async def deaf() -> None:
            while True:
                try:
                    await hang()
                except asyncio.CancelledError:
                    continue

        task = await node.tasks.run(deaf)
        await turns()
        ending = asyncio.ensure_future(task.shutdown())
        await world.clock.pass_time(4.9)
        assert not ending.done()
        await world.clock.pass_time(0.2)
        await ending
        with pytest.raises(CalleeExited):
            await task

    play.one(main)


def test_two_wait_for_one_task_and_cancelling_one_ends_it_for_both(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        task = await node.tasks.run(hang)
        one, other = asyncio.ensure_future(task.result()), asyncio.ensure_future(task.result())
        await turns()
        one.cancel()
        with pytest.raises(asyncio.CancelledError):
            await one
        with pytest.raises(CalleeExited):
            await other

    play.one(main)


# -- other nodes ------------------------------------------------------------------------------------------


def exported(a: Node, b: Node) -> None:
    for fn in (double, fail, leave, hang, give_back):
        a.export(fn)
        b.export(fn)


def test_a_task_runs_on_another_node(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        exported(a, b)
        task = await a.tasks.on(b.name).run(double, n=21)
        assert (task.pid.node, await task) == (b.name, 42)
        pid = await a.tasks.on(b.name).start(double, 1)
        assert (await a.down(pid)).reason in ("normal", "noproc")
        assert a.pending_calls() == 0

    play.two(main)


def test_what_a_task_of_another_node_raised_comes_as_a_remote_error(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        exported(a, b)
        task = await a.tasks.on(b.name).run(fail, "over there")
        with pytest.raises(RemoteError, match="ValueError: over there") as caught:
            await task
        assert "in fail" in caught.value.traceback_text
        left = await a.tasks.on(b.name).run(leave, ("a", 1))
        with pytest.raises(CalleeExited) as exited:
            await left
        assert exited.value.reason == ("a", 1)

    play.two(main)


def test_results_that_cannot_travel_are_told_to_who_awaits_them(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        exported(a, b)
        with pytest.raises(EncodeError, match=r"args\[0\]"):
            await a.tasks.on(b.name).run(give_back, object())
        b.export(unsendable)
        a.exports.export(unsendable)
        task = await a.tasks.on(b.name).run(unsendable)
        with pytest.raises(RemoteError, match="cannot be sent"):
            await task
        assert a.pending_calls() == 0

    play.two(main)


async def unsendable() -> object:
    return object()


def test_a_task_that_cannot_be_started_there_says_so(play: Play) -> None:
    async def unknown() -> None: ...

    async def main(a: Node, b: Node, world: World) -> None:
        with pytest.raises(ConfigError, match="not exported"):
            await a.tasks.on(b.name).run(unknown)
        exported(a, b)
        with pytest.raises(RemoteError, match="takes 1 positional"):
            await a.tasks.on(b.name).run(double, 1, 2)  # type: ignore[call-arg]
        with pytest.raises(NodeDown, match="no link"):
            await a.tasks.on("z@127.0.0.1:9109").run(double, 1)
        a.export(Counter)
        with pytest.raises(NotCallable, match="exports no function"):
            await a.tasks.on(b.name).run(Counter, 1)  # type: ignore[arg-type]
        assert (a.pending_calls(), b.processes()) == (0, [])

    play.two(main)


def test_a_function_that_the_other_node_does_not_export_is_refused(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        other = await world.node("b@127.0.0.1:9102")
        world.join(node, other)
        node.export(double)
        with pytest.raises(NotCallable, match=r"exports no function.*nothing happened"):
            await node.tasks.on(other.name).run(double, 1)
        assert node.pending_calls() == 0

    play.one(main)


def test_a_lost_link_ends_the_waiting_for_a_task_there_with_node_down(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        exported(a, b)
        task = await a.tasks.on(b.name).run(hang)
        world.cut(a, b)
        with pytest.raises(NodeDown):
            await task
        assert len(b.processes()) == 1  # it was linked to nobody: it lives on

    play.two(main)


def test_a_linked_task_of_another_node_shares_the_fate_of_its_owner(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        exported(a, b)

        async def owner(self: Process, fn: Callable[[], Any]) -> None:
            await self.tasks.on(b.name).run(fn)
            await self.receive()

        pid = a.spawn(owner, hang)
        await turns(60)
        assert len(b.processes()) == 1
        a.exit(pid, "bye")
        await turns(60)
        assert b.processes() == []

        async def fails() -> None:
            await fail("from there")

        a.export(fails)
        down = await a.down(a.spawn(owner, fails))
        assert isinstance(down.reason, RemoteError)
        assert down.reason.text == "from there"

        pid = a.spawn(owner, hang)
        await turns(60)
        gone = asyncio.ensure_future(a.down(pid))
        await turns()
        world.cut(a, b)
        assert (await gone).reason == "noconnection"
        await turns()
        assert b.processes() == []

    play.two(main)


def test_cancelling_who_awaits_a_task_of_another_node_ends_it_there(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        exported(a, b)

        async def owner(self: Process) -> None:
            task = await self.tasks.on(b.name).run(hang)
            try:
                await task
            except CalleeExited as error:
                raise Exit(error.reason) from None

        task: Task[None] = await a.tasks.on(b.name).run(hang)
        waiting = asyncio.ensure_future(task.result())
        await turns()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert (b.processes(), a.pending_calls()) == ([], 0)
        pid = a.spawn(owner)
        await turns(60)
        b.exit(b.processes()[0], "enough")
        assert (await a.down(pid)).reason == "enough"

    play.two(main)


def test_a_start_that_was_given_up_leaves_no_task_behind(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        exported(a, b)
        world.wire(b, a).paused = True
        starting = asyncio.ensure_future(a.tasks.on(b.name).run(hang))
        await turns(60)
        assert len(b.processes()) == 1
        starting.cancel()
        await turns(60)
        assert b.processes() == []
        starting = asyncio.ensure_future(a.tasks.on(b.name).run(hang))
        await world.clock.pass_time(5.1, 60)
        with pytest.raises(CallTimeout):
            await starting
        assert (b.processes(), a.pending_calls()) == ([], 0)
        world.resume(b, a)

    play.two(main)


# -- streams ----------------------------------------------------------------------------------------------


def test_a_stream_gives_results_in_the_order_of_the_items(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        results: list[int] = []
        await collect(node.tasks.stream(double, range(100), max_concurrency=7), results)
        assert results == [2 * n for n in range(100)]
        await collect(node.tasks.stream(double, []), results)
        assert (len(results), node.processes()) == (100, [])

    play.one(main)


def test_a_stream_runs_no_more_tasks_at_a_time_than_it_may(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        gauge, results, taken = Gauge(), list[int](), list[int]()

        def items() -> Any:
            for item in range(6):
                taken.append(item)
                yield item

        streaming = asyncio.ensure_future(
            collect(node.tasks.stream(gauge.work, items(), max_concurrency=2), results)
        )
        await turns()
        assert (gauge.running, taken) == ([0, 1], [0, 1])
        gauge.let_go(1)
        await turns()
        assert (gauge.running, results) == ([0], [])  # a result that waits has its place
        gauge.let_go(0)
        await turns()
        assert (gauge.running, results) == ([2, 3], [0, 10])
        gauge.let_go(2, 3, 4, 5)
        await streaming
        assert (gauge.most, results) == (2, [0, 10, 20, 30, 40, 50])

    play.one(main)


def test_an_unordered_stream_gives_results_as_they_are_ready(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        gauge, results = Gauge(), list[int]()
        stream = node.tasks.stream(gauge.work, range(4), max_concurrency=3, ordered=False)
        streaming = asyncio.ensure_future(collect(stream, results))
        for item in (2, 0, 3, 1):
            await turns()
            gauge.let_go(item)
        await streaming
        assert results == [20, 0, 30, 10]

    play.one(main)


def test_a_task_that_fails_ends_its_stream_at_once_and_the_others_are_shut_down(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        gauge, results = Gauge(), list[int]()
        gauge.let_go(-1)
        with pytest.raises(ValueError, match="-1"):
            await collect(node.tasks.stream(gauge.work, [1, -1, 2], max_concurrency=3), results)
        assert (results, sorted(gauge.closed), node.processes()) == ([], [-1, 1, 2], [])

    play.one(main)


def test_exceptions_can_be_had_in_the_place_of_results(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        gauge, results = Gauge(), list[Any]()
        gauge.let_go(1, -1, 2)
        await collect(node.tasks.stream(gauge.work, [1, -1, 2], return_exceptions=True), results)
        assert (results[0], type(results[1]), results[2]) == (10, ValueError, 20)

    play.one(main)


def test_a_task_of_a_stream_that_is_too_slow_ends_it(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        gauge, results = Gauge(), list[int]()
        gauge.let_go(1)
        streaming = asyncio.ensure_future(
            collect(node.tasks.stream(gauge.work, [1, 2, 3], timeout_s=2), results)
        )
        await world.clock.pass_time(2.1)
        with pytest.raises(TimeoutError):
            await streaming
        assert (results, sorted(gauge.closed), node.processes()) == ([10], [1, 2, 3], [])

    play.one(main)


def test_a_task_of_a_stream_that_is_too_slow_can_be_killed_alone(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        gauge, results = Gauge(), list[Any]()
        gauge.let_go(1, 3)
        stream = node.tasks.stream(
            gauge.work, [1, 2, 3], max_concurrency=2, timeout_s=2, on_timeout="kill_task"
        )
        streaming = asyncio.ensure_future(collect(stream, results))
        await world.clock.pass_time(2.1)
        await streaming
        assert (results[0], type(results[1]), results[2]) == (10, TimeoutError, 30)
        failing = asyncio.ensure_future(
            collect(node.tasks.stream(gauge.work, [-1, 5], timeout_s=2, on_timeout="kill_task"), results)
        )
        gauge.let_go(-1)
        with pytest.raises(ValueError, match="-1"):
            await failing

    play.one(main)


def test_a_stream_that_is_left_early_shuts_its_tasks_down(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        gauge = Gauge()
        gauge.let_go(1)
        async with aclosing(node.tasks.stream(gauge.work, [1, 2, 3])) as stream:
            async for result in stream:
                assert result == 10
                break
        assert (sorted(gauge.closed), node.processes()) == ([1, 2, 3], [])
        async for _ in node.tasks.stream(gauge.work, [1, 4, 5]):
            break
        await turns()
        assert (sorted(gauge.closed), node.processes()) == ([1, 1, 2, 3, 4, 5], [])

    play.one(main)


def test_a_stream_leaves_no_timer_behind(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        gauge, results = Gauge(), list[int]()
        await collect(node.tasks.stream(double, [1, 2, 3]), results)
        assert world.clock.next_due() is None
        gauge.let_go(1)
        async with aclosing(node.tasks.stream(gauge.work, [1, 2, 3])) as stream:
            assert await anext(stream) == 10
        assert world.clock.next_due() is None

    play.one(main)


def test_the_tasks_of_a_stream_end_with_the_process_that_began_it(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        gauge, kept = Gauge(), list[Any]()
        gauge.let_go(1)

        async def owner(self: Process) -> None:
            stream = self.tasks.stream(gauge.work, [1, 2, 3])
            kept.append(stream)  # it is not freed with the process
            async for _ in stream:
                await self.receive()

        pid = node.spawn(owner)
        await turns()
        node.exit(pid, "bye")
        await node.down(pid)
        await turns()
        assert (sorted(gauge.closed), node.processes()) == ([1, 2, 3], [])
        await kept.pop().aclose()

    play.one(main)


def test_a_stream_runs_on_another_node(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        exported(a, b)
        results: list[int] = []
        await collect(a.tasks.on(b.name).stream(double, range(5), max_concurrency=2), results)
        assert results == [0, 2, 4, 6, 8]

    play.two(main)


def test_the_tasks_of_a_stream_end_when_the_link_to_their_node_is_lost_and_others_do_not(
    play: Play,
) -> None:
    async def wait_for(n: int) -> None:
        await asyncio.Event().wait()

    async def main(a: Node, b: Node, world: World) -> None:
        a.export(wait_for)
        other = await a.tasks.on(b.name).run_nolink(wait_for, 7)
        results: list[Any] = []
        stream = a.tasks.on(b.name).stream(wait_for, range(5), max_concurrency=2, return_exceptions=True)
        reading = asyncio.create_task(collect(stream, results))
        await world.settle()
        assert len(b.processes()) == 3
        world.cut(a, b)
        await world.settle()
        assert b.processes() == [other.pid]
        assert reading.done()
        with pytest.raises(NodeDown):
            await reading

    play.two(main)


def test_tasks_and_sys_reach_whole_nodes_over_a_network() -> None:
    async def main() -> None:
        async with Simulation(seed=7, nodes=3, exports=[double, hang, Counter]) as sim:
            one, two = await sim.up("n1"), await sim.up("n2")
            await one.connect(two.name)
            assert await (await one.tasks.on(two.name).run(double, 21)) == 42
            ref = await one.start_on(two.name, Counter, start=3)
            assert await one.sys.get_state(ref) == {"n": 3, "heard": []}
            await one.sys.suspend(ref)
            with pytest.raises(CallTimeout):
                await ref.within(1).call(Counter.incr)
            await one.sys.resume(ref)
            assert await ref.call(Counter.incr) == 5
            task = await one.tasks.on(two.name).run(hang)
            sim.isolate("n2")
            with pytest.raises(NodeDown):
                await task
            with pytest.raises(NodeDown):
                await one.sys.get_state(ref)

    simulate(main)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"max_concurrency": 0}, "max_concurrency must be 1 or more"),
        ({"timeout_s": 0}, "over 0 seconds"),
        ({"on_timeout": "ignore"}, "'exit' or 'kill_task'"),
    ],
)
def test_a_stream_refuses_options_that_make_no_sense(play: Play, options: Any, complaint: str) -> None:
    async def main(node: Node, world: World) -> None:
        with pytest.raises(ValueError, match=complaint):
            node.tasks.stream(double, [1], **options)

    play.one(main)


def test_a_task_of_a_process_that_has_ended_never_begins(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(node: Node, world: World) -> None:
        lines: list[str] = []

        async def line() -> None:
            lines.append("begun")

        async def nothing(self: Process) -> None:
            pass

        owner = node.spawn(nothing)
        await turns()
        task = await node.tasks.of(owner).run(line)
        with pytest.raises(CalleeExited) as caught:
            await task
        assert caught.value.reason == "noproc"
        assert lines == [] and node.processes() == []
        assert caplog.records == []

    play.one(main)
