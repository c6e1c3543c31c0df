"""First steps under attack: stacks that are full, cancellations that are taken back, contexts, gates, and the order of messages."""

import asyncio
import gc
import inspect
import sys
import weakref
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorate.core import CalleeExited, GenServer, GenStatem, Node, NoProcess, ProcessConfig, Ref, RemoteError
from tests.core.conftest import Play
from tests.core.nodes import World, run_on
from tests.support import turns


class Value:
    """Something that can be watched as it goes."""


class Server(GenServer):
    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.go = asyncio.Event()

    async def note(self, what: Any = None) -> Any:
        self.heard.append(what)
        return what

    async def note_later(self, what: Any) -> None:
        await asyncio.sleep(0)
        self.heard.append(what)

    def note_now(self, what: Any) -> None:
        self.heard.append(what)

    def handle_info(self, message: Any) -> None:
        self.heard.append(message)

    def ask_by_def(self, others: "list[Ref[Server]]") -> Any:
        return others[0].call(Server.ask_by_def, others[1:]) if others else self.note(len(self.heard))

    async def fail(self) -> None:
        raise ValueError("the method's own")

    def fail_now(self) -> None:
        raise ValueError("the method's own")

    async def take_a_cancellation_back(self) -> str:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        task.uncancel()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            return "cancelled"
        return "not cancelled"

    async def state_of_task(self) -> str:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().call_soon(lambda: self.heard.append(task.get_coro()))
        await asyncio.sleep(0)
        await self.go.wait()
        return ""

    async def close_its_gate(self, node: Node) -> str:
        node.control(self.pid).set_gate(lambda: False)
        return "said behind the gate"


class Door(GenStatem[str]):
    def __init__(self) -> None:
        self.goto("open")

    def ask(self, others: "list[Ref[Door]]") -> Any:
        return others[0].call(Door.ask, others[1:]) if others else 1


def depths() -> range:
    """How deep a function may call itself so that the stack is full, or nearly so, in what it then does."""
    room = sys.getrecursionlimit() - len(inspect.stack(0))
    return range(room - 60, room)


def server_of(node: Node, ref: Ref[Server]) -> Server:
    server: Server = node.kernel.cells[ref.pid.serial].server  # type: ignore[attr-defined]
    return server


@pytest.mark.parametrize("kind", [Server, Door])
def test_a_chain_of_def_methods_that_return_coroutines_may_be_longer_than_the_stack(
    play: Play, kind: type[GenServer]
) -> None:
    async def main(node: Node, world: World) -> None:
        refs: list[Any] = [await node.start(kind) for _ in range(600)]
        method = Server.ask_by_def if kind is Server else Door.ask
        assert await refs[0].call(method, refs[1:]) is not None

    play.one(main)


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
def test_a_caller_whose_stack_is_full_leaves_the_server_at_work() -> None:
    async def deep(depth: int, ref: Ref[Server], method: Any) -> None:
        if depth:
            await deep(depth - 1, ref, method)
        else:
            await ref.call(method, "deep")

    async def main() -> None:
        # (asyncio itself cannot make or wake a task on a full stack, and tells of it)
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        world = World()
        node = await world.node()
        full = 0
        for depth in depths():
            for method in (Server.note, Server.note_now, Server.note_later):
                ref = await node.start(Server)
                await ref.call(Server.note)
                try:
                    await deep(depth, ref, method)
                except RecursionError:
                    full += 1
                    assert await ref.call(Server.note, "after") == "after"
                except RemoteError:  # the method itself had begun
                    assert node.kernel.find(ref.pid) is None
        assert full
        await world.close()
        gc.collect()

    asyncio.run(main())


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
def test_a_sender_whose_stack_is_full_does_not_stop_the_node(play: Play) -> None:
    def deep(depth: int, ref: Ref[Server]) -> None:
        if depth:
            deep(depth - 1, ref)
        else:
            ref.send("deep")

    async def main(node: Node, world: World) -> None:
        full = 0
        for depth in depths():
            ref = await node.start(Server)
            await turns(3)
            try:
                deep(depth, ref)
            except RecursionError:
                full += 1
                other = await node.start(Server)
                other.send("to another")
                ref.send("after")
                await turns(3)
                assert server_of(node, ref).heard[-1] == "after"
        assert full

    play.one(main)


def test_a_cancellation_that_a_first_step_takes_back_does_not_come(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Server)
        server = server_of(node, ref)
        for _ in range(3):
            call = asyncio.create_task(ref.call(Server.take_a_cancellation_back))
            await turns()
            server.go.set()
            assert await call == "not cancelled"
            server.go.clear()

    play.one(main)


def test_what_a_caller_was_handling_is_no_context_of_what_the_method_raises(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        for method in (Server.fail, Server.fail_now):
            ref = await node.start(Server)
            watch = asyncio.create_task(node.down(ref.pid))
            await turns()
            try:
                raise KeyError("the caller's")
            except KeyError as handled:
                with pytest.raises(RemoteError):
                    await ref.call(method)
                assert handled.__context__ is None
            reason = (await watch).reason
            assert isinstance(reason, ValueError)
            assert reason.__context__ is None

    play.one(main)


def test_a_kept_task_keeps_nothing_of_what_was_returned(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Server)
        server = server_of(node, ref)
        for method in (Server.note, Server.note_later):
            value = Value()
            watch = weakref.ref(value)
            await ref.call(method, value)
            server.heard.clear()
            del value
            await turns()
            gc.collect()
            assert watch() is None

    play.one(main)


def test_the_coroutine_of_a_task_can_be_inspected(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Server)
        server = server_of(node, ref)
        call = asyncio.create_task(ref.call(Server.state_of_task))
        await turns()
        assert inspect.getcoroutinestate(server.heard[0]) == inspect.CORO_SUSPENDED
        server.go.set()
        await call

    play.one(main)


def test_what_a_method_returns_behind_its_gate_is_not_told(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Server)
        with pytest.raises(CalleeExited, match="its gate closed"):
            await ref.call(Server.close_its_gate, node)
        assert node.kernel.find(ref.pid) is not None

    play.one(main)


def test_who_calls_again_and_again_what_is_gone_lets_others_run(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Server)
        node.exit(ref.pid, "kill")
        others: list[str] = []
        asyncio.get_running_loop().call_soon(others.append, "ran")
        for _ in range(100):
            with pytest.raises(NoProcess):
                await ref.call(Server.note)
        assert others == ["ran"]

    play.one(main)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["call", "call a def", "call and wait", "cast", "cast and wait", "send", "turn"])
    ).map(lambda step: step[0]),
    max_size=30,
)


@settings(max_examples=40, deadline=None)
@given(steps=STEPS, at_once=st.sampled_from([1, 2, 5, 1024]))
def test_messages_of_one_sender_are_handled_in_the_order_sent(steps: list[str], at_once: int) -> None:
    async def whole() -> None:
        world = World(ProcessConfig(turn_messages=at_once))
        node = await world.node()
        ref = await node.start(Server)
        calls: list[asyncio.Task[Any]] = []
        for number, step in enumerate(steps):
            match step:
                case "call":
                    await ref.call(Server.note, number)
                case "call a def":
                    await ref.call(Server.note_now, number)
                case "call and wait":
                    calls.append(asyncio.create_task(ref.call(Server.note_later, number)))
                    await turns(1)  # until the task has begun
                case "cast":
                    ref.cast(Server.note, number)
                case "cast and wait":
                    ref.cast(Server.note_later, number)
                case "send":
                    ref.send(number)
                case _:
                    await turns(1)
        await asyncio.gather(*calls)
        await turns(200)
        wanted = [number for number, step in enumerate(steps) if step != "turn"]
        assert server_of(node, ref).heard == wanted
        await world.close()

    run_on("asyncio", whole)
