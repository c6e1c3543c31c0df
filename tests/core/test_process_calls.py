"""Cycles of calls: whoever would wait for itself is told at once."""

import asyncio
from typing import Any

import pytest

from quorate.core import CallCycle, GenServer, Node, Process, Ref, RemoteError, RemoteName
from tests.core.conftest import Play
from tests.core.nodes import C, World
from tests.core.servers import Caller, Counter
from tests.support import turns


def test_a_call_to_oneself_raises_at_once_and_names_the_cycle(play: Play) -> None:
    class Selfish(GenServer):
        async def ask(self) -> Any:
            try:
                return await Ref.of(self).call(Selfish.ask)
            except CallCycle as cycle:
                return cycle.path

    async def main(node: Node, world: World) -> None:
        ref = await node.start(Selfish)
        assert await ref.call(Selfish.ask) == (ref.pid, ref.pid)

    play.one(main)


def test_a_cycle_of_calls_raises_at_once_at_the_one_who_closes_it(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        first, second, third = await a.start(Caller), await b.start(Caller), await a.start(Caller)
        await first.call(Caller.call_next, second)
        await second.call(Caller.call_next, third)
        assert await first.call(Caller.ask) == "then then the end"
        await third.call(Caller.call_next, first)
        with pytest.raises(RemoteError) as caught:
            await a.ref(first.pid, Caller).call(Caller.ask)
        assert f"{first.pid} -> {second.pid} -> {third.pid} -> {first.pid}" in caught.value.text
        assert "CallCycle" in caught.value.traceback_text

    anywhere.two(main)


class ByAddress(Caller):
    """Asks whomever an address leads to."""

    def __init__(self, node: Node, name: str, address: RemoteName | str) -> None:
        super().__init__()
        self.node = node
        self.address = address
        self.process.register(name)

    async def ask(self) -> str:
        return await self.node.call(self.address, Caller.ask)


def test_a_cycle_that_is_closed_by_name_is_found_by_the_callee(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        first = await a.start(ByAddress, a, "first", RemoteName(b.name, "second"))
        second = await b.start(ByAddress, b, "second", RemoteName(a.name, "first"))
        with pytest.raises(RemoteError) as caught:
            await a.ref(first.pid, Caller).call(Caller.ask)
        assert f"{first.pid} -> {second.pid} -> {first.pid}" in caught.value.text

    anywhere.two(main)


def test_a_cycle_through_three_nodes_is_found(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        c = await world.node(C)
        world.join(a, c)
        world.join(b, c)
        refs = [await node.start(Caller) for node in (a, b, c)]
        for ref, following in zip(refs, [*refs[1:], refs[0]], strict=True):
            await ref.call(Caller.call_next, following)
        with pytest.raises(RemoteError) as caught:
            await refs[0].call(Caller.ask)
        assert "would wait for itself" in caught.value.text

    play.two(main)


def test_a_cycle_is_found_where_it_would_be_closed_without_a_word_to_another_node(play: Play) -> None:
    class Closing(Caller):
        def __init__(self) -> None:
            super().__init__()
            self.path: tuple[object, ...] = ()

        async def ask(self) -> str:
            assert self.next is not None
            try:
                return await self.next.call(Caller.ask)
            except CallCycle as cycle:
                self.path = cycle.path
                return "found"

        def found(self) -> tuple[object, ...]:
            return self.path

    async def main(a: Node, b: Node, world: World) -> None:
        first, second = await a.start(Caller), await b.start(Closing)
        await first.call(Caller.call_next, a.ref(second.pid, Caller))
        await second.call(Caller.call_next, b.ref(first.pid, Caller))
        world.wire(b, a).paused = True
        call = asyncio.create_task(first.call(Caller.ask))
        await world.settle()
        assert await second.call(Closing.found) == (first.pid, second.pid, first.pid)
        world.resume(b, a)
        assert await call == "then found"

    play.two(main)


def test_a_call_from_a_task_of_the_handler_counts_as_the_handler_s(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        one, two = await node.start(Caller), await node.start(Caller)
        await one.call(Caller.call_next, two)
        await two.call(Caller.call_next, one)
        with pytest.raises(RemoteError) as caught:
            await one.call(Caller.ask_in_groups)
        assert "would wait for itself" in caught.value.traceback_text

    play.one(main)


def test_a_task_that_outlives_its_handler_may_call_its_own_server(play: Play) -> None:
    class Background(GenServer):
        def __init__(self) -> None:
            self.results: list[str] = []
            self.tasks = [asyncio.create_task(self._later("from init"))]

        async def begin(self) -> None:
            self.tasks.append(asyncio.create_task(self._later("from a handler")))

        async def _later(self, text: str) -> None:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            self.results.append(await Ref.of(self).call(Background.echo, text))

        async def work(self) -> None:
            await turns()

        def echo(self, text: str) -> str:
            return text

        def collected(self) -> list[str]:
            return self.results

    async def main(node: Node, world: World) -> None:
        ref = await node.start(Background)
        await ref.call(Background.begin)
        await turns()
        await ref.call(Background.begin)
        await ref.call(Background.work)  # so the call of that task has to wait
        assert await ref.call(Background.collected) == ["from init", "from a handler", "from a handler"]

    play.one(main)


def test_calls_that_cross_but_do_not_wait_for_each_other_are_no_cycle(play: Play) -> None:
    class Diamond(GenServer):
        async def ask_both(self, left: Ref[Caller], right: Ref[Caller]) -> list[str]:
            return list(await asyncio.gather(left.call(Caller.ask), right.call(Caller.ask)))

    async def main(node: Node, world: World) -> None:
        left, right, bottom = [await node.start(Caller) for _ in range(3)]
        await left.call(Caller.call_next, bottom)
        await right.call(Caller.call_next, bottom)
        top = await node.start(Diamond)
        assert await top.call(Diamond.ask_both, left, right) == ["then the end", "then the end"]
        assert await top.call(Diamond.ask_both, left, right) == ["then the end", "then the end"]

    play.one(main)


def test_a_server_that_a_handler_starts_is_not_part_of_its_chain(play: Play) -> None:
    class Parent(GenServer):
        def __init__(self, node: Node) -> None:
            self.node = node
            self.n = 0

        async def begin(self) -> None:
            child = await self.node.start(Caller)
            child.cast(Caller.ask)

            async def body(process: Process) -> None:
                self.n += await Ref.of(self).call(Parent.one)

            self.node.spawn(body)

        def one(self) -> int:
            return 1

        def count(self) -> int:
            return self.n

    async def main(node: Node, world: World) -> None:
        ref = await node.start(Parent, node)
        await ref.call(Parent.begin)
        await turns()
        assert await ref.call(Parent.count) == 1

    play.one(main)


def test_a_task_that_a_new_server_starts_does_not_act_for_whoever_started_it(play: Play) -> None:
    class Child(GenServer):
        def __init__(self, parent: "Ref[Parent]") -> None:
            self.parent = parent
            self.task = asyncio.create_task(self._ask())

        async def _ask(self) -> None:
            results.append(await self.parent.call(Parent.one))

    class Parent(GenServer):
        def __init__(self, node: Node) -> None:
            self.node = node

        async def begin(self) -> None:
            await self.node.start(Child, Ref.of(self))
            await turns(10)

        def one(self) -> int:
            return 1

    results: list[int] = []

    async def main(node: Node, world: World) -> None:
        ref = await node.start(Parent, node)
        await ref.call(Parent.begin)
        await turns()
        assert results == [1]

    play.one(main)


def test_bodies_can_call_servers(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        ref = a.ref((await b.start(Counter)).pid, Counter)
        seen: list[int] = []

        async def body(self: Process) -> None:
            seen.append(await ref.call(Counter.incr, 3))
            seen.append(await ref.call(Counter.slowly))

        await a.down(a.spawn(body))
        assert seen == [3, 4]

    anywhere.two(main)
