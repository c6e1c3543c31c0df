"""How processes end: `finally` blocks and their deadline, what a body may raise, and how the node survives it."""

import asyncio
import contextlib
import gc
import logging
from typing import Any

import pytest

from quorate.core import Exit, GenServer, Node, Process, Supervisor, child, reentrant
from tests.core.conftest import Play
from tests.core.nodes import World
from tests.support import turns


async def wait(self: Process) -> None:
    await self.receive(lambda message: False)


def test_killing_a_process_cancels_what_it_awaits_and_runs_its_finally_blocks(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        seen: list[Any] = []

        async def body(self: Process) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                seen.append("cancelled")
                raise
            finally:
                await asyncio.sleep(0)
                seen.append("closed")

        for reason, expected in (("kill", "killed"), ("shutdown", "shutdown")):
            pid = node.spawn(body)
            await turns()
            node.exit(pid, reason)
            assert (await node.down(pid)).reason == expected
        assert seen == ["cancelled", "closed"] * 2

    play.one(main)


def test_a_process_killed_before_its_first_turn_never_begins(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        seen: list[Any] = []

        async def body(self: Process) -> None:
            seen.append("began")

        pid = node.spawn(body)
        node.exit(pid, "kill")
        assert (await node.down(pid)).reason == "killed"
        assert seen == []

    play.one(main)


def test_down_comes_only_when_the_finally_blocks_are_through(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        release = asyncio.Event()

        async def body(self: Process) -> None:
            self.register("clerk")
            try:
                await self.receive()
            finally:
                await release.wait()

        pid = node.spawn(body)
        await turns()
        node.exit(pid, "gone")
        down = asyncio.create_task(node.down(pid))
        await turns()
        info = node.process_info(pid)
        assert info is not None
        assert (info.state, info.name, down.done()) == ("exiting", "clerk", False)
        node.send(pid, "too late")
        info = node.process_info(pid)
        assert info is not None
        assert info.mailbox == 0
        release.set()
        assert (await down).reason == "gone"
        assert node.whereis("clerk") is None

    play.one(main)


def test_a_body_that_does_not_end_in_time_is_abandoned_and_no_line_of_it_runs_again(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(node: Node, world: World) -> None:
        lines: list[str] = []
        wake = asyncio.Event()

        async def stubborn(self: Process) -> None:
            while True:
                try:
                    await wake.wait()
                    lines.append("woken")
                    wake.clear()
                except asyncio.CancelledError:
                    lines.append("refused")

        pid = node.spawn(stubborn)
        await turns()
        down = asyncio.create_task(node.down(pid))
        node.exit(pid, "shutdown")
        await world.clock.pass_time(4.9)
        assert lines == ["refused"]
        assert not down.done()
        wake.set()
        await turns()
        assert lines == ["refused", "woken"]
        await world.clock.pass_time(0.2)
        assert (await down).reason == "shutdown"
        assert "abandoned" in caplog.text
        wake.set()
        await turns()
        assert lines == ["refused", "woken"]
        assert node.processes() == []

    play.one(main)
    gc.collect()


def test_a_kill_during_a_slow_end_changes_the_reason(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        async def slow(self: Process) -> None:
            try:
                await self.receive()
            finally:
                await asyncio.Event().wait()

        pid = node.spawn(slow)
        await turns()
        down = asyncio.create_task(node.down(pid))
        node.exit(pid, "shutdown")
        await turns()
        assert not down.done()
        node.exit(pid, "another")
        await turns()
        assert not down.done()
        node.exit(pid, "kill")
        assert (await down).reason == "killed"

    play.one(main)


def test_what_a_finally_block_raises_is_logged_and_does_not_change_the_reason(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(node: Node, world: World) -> None:
        async def body(self: Process) -> None:
            try:
                await self.receive()
            finally:
                raise ValueError("in finally")

        pid = node.spawn(body)
        await turns()
        node.exit(pid, "gone")
        assert (await node.down(pid)).reason == "gone"
        assert "in finally" in caplog.text

    play.one(main)


def test_receive_in_a_finally_block_does_not_wait_for_messages_that_cannot_come(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        async def body(self: Process) -> None:
            try:
                await self.receive()
            finally:
                await self.receive()

        pid = node.spawn(body)
        await turns()
        node.exit(pid, "gone")
        assert (await node.down(pid)).reason == "gone"

    play.one(main)


@pytest.mark.parametrize(
    "error",
    [ValueError("x"), SystemExit(3), GeneratorExit(), RecursionError(), MemoryError(), BaseException("base")],
)
def test_whatever_a_body_raises_the_node_lives_on(
    play: Play, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(node: Node, world: World) -> None:
        async def body(self: Process) -> None:
            await asyncio.sleep(0)
            raise error

        down = await node.down(node.spawn(body))
        assert down.reason is error
        assert (await node.down(node.spawn(turn))).reason == "normal"
        assert "crashed" in caplog.text

    async def turn(self: Process) -> None:
        await asyncio.sleep(0)

    play.one(main)


def test_endless_recursion_in_a_body_ends_that_process_alone(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        def deeper(n: int) -> int:
            return deeper(n + 1) + 1

        async def body(self: Process) -> None:
            deeper(0)

        assert isinstance((await node.down(node.spawn(body))).reason, RecursionError)

    play.one(main)


def test_an_exception_whose_repr_raises_is_reported_all_the_same(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    class Nasty(Exception):
        def __repr__(self) -> str:
            raise ValueError("no repr")

        __str__ = __repr__

    async def main(node: Node, world: World) -> None:
        async def body(self: Process) -> None:
            raise Nasty

        assert isinstance((await node.down(node.spawn(body))).reason, Nasty)

    caplog.set_level(
        logging.CRITICAL
    )  # the traceback formatter of the standard library would stumble over it too
    play.one(main)


def test_ctrl_c_in_a_body_ends_the_process_and_then_stops_the_program(play: Play) -> None:
    reasons: list[Any] = []

    async def main(node: Node, world: World) -> None:
        async def body(self: Process) -> None:
            raise KeyboardInterrupt

        pid = node.spawn(body)
        node.watch(pid, lambda down: reasons.append(down.reason))
        await asyncio.Event().wait()

    with pytest.raises(KeyboardInterrupt):
        play.one(main)
    assert isinstance(reasons[0], KeyboardInterrupt)


@pytest.mark.parametrize("where", ["terminate", "callback"])
def test_ctrl_c_at_the_end_of_a_process_stops_the_program_too(play: Play, where: str) -> None:
    reasons: list[Any] = []

    class Ending(GenServer):
        def terminate(self, reason: object) -> None:
            if where == "terminate":
                raise KeyboardInterrupt

    def callback(down: Any) -> None:
        if where == "callback":
            raise KeyboardInterrupt

    async def main(node: Node, world: World) -> None:
        ref = await node.start(Ending)
        node.watch(ref.pid, callback)
        node.watch(ref.pid, lambda down: reasons.append(down.reason))
        node.exit(ref.pid, "enough")
        await asyncio.Event().wait()

    with pytest.raises(KeyboardInterrupt):
        play.one(main)
    assert reasons == ["enough"]


def test_exit_passes_an_except_exception_on_its_way(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        async def body(self: Process) -> None:
            try:
                raise Exit("on purpose")
            except Exception:  # noqa: BLE001 -- as careless code does
                await self.receive()

        assert (await node.down(node.spawn(body))).reason == "on purpose"

    play.one(main)


def test_cancelling_the_task_of_a_body_ends_the_process(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        tasks: list[asyncio.Task[Any]] = []

        async def body(self: Process) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.append(task)
            await self.receive()

        pid = node.spawn(body)
        await turns()
        tasks[0].cancel()
        assert (await node.down(pid)).reason == "cancelled"

    play.one(main)


def test_the_task_of_a_process_is_shown_with_its_process_and_its_stack(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        async def named(self: Process) -> None:
            self.register("clerk")
            await asyncio.sleep(0)
            await self.receive()

        pid = node.spawn(named)
        await turns()
        [task] = [task for task in asyncio.all_tasks() if "clerk" in repr(task)]
        assert str(pid) in repr(task)
        assert task.get_stack()[-1].f_code.co_name == "named"

    play.one(main)


def test_a_body_that_blocks_the_loop_is_reported(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    async def main(node: Node, world: World) -> None:
        async def blocking(self: Process) -> None:
            await asyncio.sleep(0)
            world.clock.skip(0.3)  # as a call that blocks for so long

        async def quick(self: Process) -> None:
            await asyncio.sleep(0)
            world.clock.skip(0.1)

        await node.down(node.spawn(quick))
        assert caplog.records == []
        pid = node.spawn(blocking)
        await node.down(pid)
        [record] = caplog.records
        assert record.levelno == logging.WARNING
        assert "blocking" in record.getMessage()
        assert "0.300 s" in record.getMessage()

    play.one(main)


def test_closing_the_node_ends_all_processes_and_waits_for_them(play: Play) -> None:
    reasons: dict[str, Any] = {}

    async def main(node: Node, world: World) -> None:
        async def trapping(self: Process) -> None:
            self.trap_exits = True
            try:
                while True:
                    await self.receive()
            finally:
                await asyncio.sleep(0)
                reasons["trapping"] = "closed"
                with pytest.raises(RuntimeError, match="stopping"):
                    self.spawn(wait)

        for name, body in (("trapping", trapping), ("plain", wait)):
            pid = node.spawn(body)
            node.watch(pid, lambda down, name=name: reasons.setdefault(f"{name} down", down.reason))  # type: ignore[misc]
        await turns()

    play.one(main)
    assert reasons == {"trapping": "closed", "trapping down": "shutdown", "plain down": "shutdown"}


def test_two_hundred_crashes_in_a_row_leave_nothing_behind(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        async def crash(self: Process) -> None:
            raise ValueError("again")

        for _ in range(200):
            await node.down(node.spawn(crash))
        await turns()
        assert node.processes() == []
        assert node.kernel.crashes == 200

    play.one(main)


def test_many_processes_run_in_few_turns_of_the_loop(play: Play) -> None:
    """A turn of the loop is not spent per message or per process."""

    class Counter(GenServer):
        def __init__(self) -> None:
            self.n = 0

        def incr(self) -> None:
            self.n += 1

        def count(self) -> int:
            return self.n

    async def main(node: Node, world: World) -> None:
        refs = [await node.start(Counter) for _ in range(200)]
        for ref in refs:
            for _ in range(3):
                ref.cast(Counter.incr)
        await turns(4)
        assert {await ref.call(Counter.count) for ref in refs} == {3}
        assert [node.process_info(ref.pid).status for ref in refs] == ["idle"] * 200  # type: ignore[union-attr]

    play.one(main)


def test_a_child_that_is_spawned_in_a_finally_block_ends_with_its_parent(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        async def parent(self: Process) -> None:
            try:
                await wait(self)
            finally:
                self.spawn_link(wait)

        for reason in ("boom", "kill"):
            pid = node.spawn(parent)
            await turns()
            node.exit(pid, reason)
            await turns()
            assert node.processes() == []

    play.one(main)


def test_who_is_killed_at_its_end_has_no_longer_than_who_is_killed_before(play: Play) -> None:
    class Slow(GenServer):
        async def terminate(self, reason: object) -> None:
            while True:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.Event().wait()

        @reentrant
        async def refuse(self) -> None:
            await self.terminate("never")

    async def main(node: Node, world: World) -> None:
        for shutdown_s in (60.0, None):
            for busy in (False, True):
                spec = child(Slow).options(shutdown_s=shutdown_s, name="slow", restart="temporary")
                tree = await node.start(Supervisor, [spec])
                pid = node.whereis("slow")
                assert pid is not None
                if busy:
                    node.ref(pid, Slow).cast(Slow.refuse)
                    await turns()
                node.exit(pid, "enough")
                await world.clock.pass_time(1.0)
                down = asyncio.create_task(node.down(pid))
                node.exit(pid, "kill")
                await world.clock.pass_time(4.9)
                assert not down.done()
                await world.clock.pass_time(0.2)
                assert (await down).reason == "killed"
                node.exit(tree.pid, "shutdown")
                await node.down(tree.pid)

    play.one(main)


def test_a_node_may_be_closed_twice_at_a_time(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        async def slow(self: Process) -> None:
            try:
                await wait(self)
            finally:
                await turns(5)

        node.spawn(slow)
        await turns()
        given_up = asyncio.create_task(node.close())
        others = [asyncio.create_task(node.close()) for _ in range(2)]
        await turns(2)
        given_up.cancel()
        await asyncio.gather(*others)
        assert node.processes() == []

    play.one(main)
