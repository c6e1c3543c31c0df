"""Coroutines of servers take their first step at once, as their own task."""

import asyncio
import contextlib
from contextvars import ContextVar
from typing import Any

import pytest

from quorate.core import CalleeExited, CallTimeout, GenServer, Node, Ref, RemoteError
from quorate.core.activation import KEPT_S, KEPT_TASKS
from tests.core.conftest import Play
from tests.core.nodes import World
from tests.support import turns

SEEN: ContextVar[str] = ContextVar("seen", default="nothing")


class Server(GenServer):
    """Does in its first step what the tests ask for."""

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[Any] | None] = []
        self.heard: list[str] = []
        self.go = asyncio.Event()

    async def who(self) -> int:
        self.tasks.append(asyncio.current_task())
        return len(self.tasks)

    async def who_before_and_after(self) -> None:
        self.tasks.append(asyncio.current_task())
        await asyncio.sleep(0)
        self.tasks.append(asyncio.current_task())
        await self.go.wait()
        self.tasks.append(asyncio.current_task())

    async def within(self, delay_s: float) -> str:
        try:
            async with asyncio.timeout(delay_s):
                await self.go.wait()
        except TimeoutError:
            return "too late"
        return "in time"

    async def together(self) -> list[int]:
        async def part(number: int) -> int:
            await asyncio.sleep(0)
            return number

        async with asyncio.TaskGroup() as group:
            parts = [group.create_task(part(number)) for number in range(3)]
        return [part.result() for part in parts]

    async def fail_together(self) -> None:
        async def part() -> None:
            raise ValueError("a part")

        async with asyncio.TaskGroup() as group:
            group.create_task(part())
            await self.go.wait()

    async def cancel_itself(self) -> str:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        return "all the same"

    async def shrug_off_a_cancellation(self) -> None:
        await self.go.wait()
        await self.cancel_itself()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0)

    async def cancel_itself_and_wait(self) -> None:
        await self.cancel_itself()
        await self.go.wait()

    async def wait(self) -> str:
        await self.go.wait()
        return "waited"

    async def set_variable(self) -> str:
        before = SEEN.get()
        SEEN.set("the server's")
        return before

    async def ask(self, others: "list[Ref[Server]]") -> int:
        return 1 + await others[0].call(Server.ask, others[1:]) if others else 1

    async def note_around_a_turn(self) -> None:
        asyncio.get_running_loop().call_soon(self.heard.append, "between")
        self.heard.append("before")
        await asyncio.sleep(0)
        self.heard.append("after")

    async def die_by(self, node: Node) -> None:
        node.exit(self.pid, "why not")
        try:
            await self.go.wait()
        finally:
            self.heard.append("finally")

    async def die_by_while_another_works(self, node: Node) -> None:
        part = asyncio.create_task(self.go.wait())
        self.tasks.append(part)
        node.exit(self.pid, "why not")
        await part

    async def die_at_once_by(self, node: Node) -> str:
        return self.die_in_a_def_by(node)

    def die_in_a_def_by(self, node: Node) -> str:
        node.exit(self.pid, "why not")
        return "said before it ended"


def server_of(node: Node, ref: Ref[Server]) -> Server:
    server: Server = node.kernel.cells[ref.pid.serial].server  # type: ignore[attr-defined]
    return server


def test_a_method_runs_as_a_task_of_its_process_from_its_first_step_to_its_last(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Server)
        server = server_of(node, ref)
        outside = asyncio.current_task()
        call = asyncio.create_task(ref.call(Server.who_before_and_after))
        await turns()
        assert asyncio.current_task() is outside
        server.go.set()
        await call
        await ref.call(Server.who)
        assert asyncio.current_task() is outside
        assert len(set(server.tasks)) == 1
        assert server.tasks[0] not in (None, outside, call)

    play.one(main)


def test_timeouts_and_task_groups_work_from_the_first_step_on(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Server)
        for _ in range(3):
            assert await ref.call(Server.within, 0.01) == "too late"
            assert await ref.call(Server.together) == [0, 1, 2]
        with pytest.raises(RemoteError, match="TaskGroup"):
            await ref.call(Server.fail_together)

    play.one(main)


def test_a_cancellation_that_one_message_leaves_behind_does_not_hit_the_next(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Server)
        server = server_of(node, ref)
        for _ in range(3):
            assert await ref.call(Server.cancel_itself) == "all the same"
            waiting = asyncio.create_task(ref.call(Server.wait))
            await turns()
            assert not waiting.done()
            server.go.set()
            assert await waiting == "waited"
            server.go.clear()
        assert await ref.call(Server.cancel_itself) == "all the same"
        assert await ref.call(Server.within, 0.01) == "too late"
        for _ in range(3):
            ref.cast(Server.cancel_itself)
        assert await ref.call(Server.within, 0.01) == "too late"
        for next_waits in (True, False):
            shrugging = asyncio.create_task(ref.call(Server.shrug_off_a_cancellation))
            await turns()
            after = asyncio.create_task(ref.call(Server.together)) if next_waits else None
            await turns()
            server.go.set()
            await shrugging
            server.go.clear()
            if after is not None:
                assert await after == [0, 1, 2]
            assert await ref.call(Server.within, 0.01) == "too late"
        with pytest.raises(RemoteError, match="TaskGroup"):
            await ref.call(Server.fail_together)

    play.one(main)


def test_a_method_that_cancels_itself_is_cancelled_where_it_waits(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Server)
        down = asyncio.ensure_future(node.down(ref.pid))
        with pytest.raises(CalleeExited, match="cancelled"):
            await ref.call(Server.cancel_itself_and_wait)
        assert (await down).reason == "cancelled"

    play.one(main)


def test_what_a_method_sets_in_its_context_stays_there(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Server)
        SEEN.set("the caller's")
        assert await ref.call(Server.set_variable) == "nothing"
        assert await ref.call(Server.set_variable) == "the server's"
        assert SEEN.get() == "the caller's"

    play.one(main)


def test_a_chain_of_calls_may_be_longer_than_the_stack(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        refs = [await node.start(Server) for _ in range(900)]
        assert await refs[0].call(Server.ask, refs[1:]) == 900

    play.one(main)


def test_a_method_that_gives_way_for_a_turn_lets_others_run(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Server)
        for _ in range(3):
            await ref.call(Server.note_around_a_turn)
        ref.cast(Server.note_around_a_turn)
        await turns(10)
        assert server_of(node, ref).heard == ["before", "between", "after"] * 4

    play.one(main)


def test_a_process_that_is_ended_in_its_first_step_runs_its_finally_blocks(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Server)
        server = server_of(node, ref)
        watch = asyncio.create_task(node.down(ref.pid))
        await turns()
        with pytest.raises(CalleeExited, match="why not"):
            await ref.call(Server.die_by, node)
        assert (await watch).reason == "why not"
        assert server.heard == ["finally"]
        ref = await node.start(Server)
        server = server_of(node, ref)
        with pytest.raises(CalleeExited, match="why not"):
            await ref.call(Server.die_by_while_another_works, node)
        await turns()
        assert server.tasks[0] is not None
        assert server.tasks[0].cancelled()
        for method in (Server.die_at_once_by, Server.die_in_a_def_by):
            quick = await node.start(Server)
            watch = asyncio.create_task(node.down(quick.pid))
            await turns()
            with contextlib.suppress(CalleeExited):
                await quick.call(method, node)
            assert (await watch).reason == "why not"

    play.one(main)


def test_a_caller_that_gives_up_leaves_the_method_at_work(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Server)
        server = server_of(node, ref)
        caller = asyncio.create_task(ref.call(Server.who_before_and_after))
        await turns()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        late = asyncio.create_task(ref.within(1.0).call(Server.wait))
        await world.clock.pass_time(1.0)
        with pytest.raises(CallTimeout):
            await late
        server.go.set()
        assert await ref.call(Server.who) == 4

    play.one(main)


def test_tasks_of_servers_are_kept_for_a_moment_and_not_without_number(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        before = len(asyncio.all_tasks())
        refs = [await node.start(Server) for _ in range(KEPT_TASKS + 5)]
        for ref in refs:
            await ref.call(Server.who)
        await turns(10)
        assert len(asyncio.all_tasks()) == before + KEPT_TASKS
        await refs[-1].call(Server.who)
        server = server_of(node, refs[-1])
        assert server.tasks[0] is server.tasks[1]
        node.exit(refs[-1].pid, "kill")
        await turns()
        assert len(asyncio.all_tasks()) == before + KEPT_TASKS - 1
        await world.clock.pass_time(KEPT_S)
        assert len(asyncio.all_tasks()) == before
        waiting = asyncio.create_task(refs[0].call(Server.wait))
        await world.clock.pass_time(KEPT_S)
        server_of(node, refs[0]).go.set()
        assert await waiting == "waited"
        await turns()
        assert len(asyncio.all_tasks()) == before

    play.one(main)
