"""Whole nodes on real sockets: processes of one work with those of the other, through loss, restart and end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from quorate.core import (
    CalleeExited,
    CallTimeout,
    Channel,
    Down,
    ExitSignal,
    Exports,
    LinkConfig,
    LinkError,
    Links,
    Node,
    NodeDown,
    NodeLost,
    NodeUp,
    NoProcess,
    Process,
    TooLarge,
    real_runtime,
)
from tests.core.link_support import COOKIE, both_loops, free_port, run_on
from tests.core.servers import Counter
from tests.core.test_process_exits import trap, wait, watch


@asynccontextmanager
async def node(
    name: str, *, creation: int = 1, seeds: tuple[str, ...] = (), exports: Exports | None = None
) -> AsyncIterator[Node]:
    runtime = real_runtime()
    made = Node(name, runtime=runtime, creation=creation, exports=exports)
    links = Links(
        runtime,
        name=name,
        creation=creation,
        cookie=COOKIE,
        listener=made,
        seeds=seeds,
        config=LinkConfig.local(),
    )
    made.attach(links)
    async with made:
        yield made


def fresh_name(app: str) -> str:
    return f"{app}@127.0.0.1:{free_port()}"


async def until(condition: Callable[[], bool]) -> None:
    """Return when the condition holds; it is looked at every few milliseconds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 -- what is waited for is told to processes, not to the test
            await asyncio.sleep(0.005)


@both_loops
def test_calls_casts_and_messages_reach_processes_of_another_node(loop: str) -> None:
    async def main() -> None:
        one, two = fresh_name("one"), fresh_name("two")
        exports = Exports()
        exports.export(Counter)
        async with node(one, exports=exports) as a, node(two, exports=exports, seeds=(one,)) as b:
            await b.connect(one)
            await a.connect(two)
            ref = await a.start_on(two, Counter, start=5)
            assert ref.pid.node == two
            ref.cast(Counter.incr, 2)
            ref.send(("plain", a.pid))
            assert await ref.call(Counter.slowly, by=3) == 10
            assert await ref.call(Counter.what_was_heard) == [("plain", a.pid)]
            results = await asyncio.gather(*(ref.call(Counter.incr) for _ in range(500)))
            assert results == list(range(11, 511))
            large = b"x" * 5_000_000
            assert await ref.call(Counter.echo, large) == large
            with pytest.raises(TooLarge):
                await ref.call(Counter.echo, b"x" * 17_000_000)
            with pytest.raises(CallTimeout):
                await ref.within(0.05).call(Counter.hang)

    run_on(loop, main())


@both_loops
def test_links_monitors_and_exits_work_between_nodes(loop: str) -> None:
    async def main() -> None:
        one, two = fresh_name("one"), fresh_name("two")
        async with node(one) as a, node(two, seeds=(one,)) as b:
            await b.connect(one)
            seen: list[Any] = []
            target = b.spawn(wait)
            a.spawn(trap, seen, target)
            a.spawn(watch, seen, target)
            await until(
                lambda: (
                    (info := b.process_info(target)) is not None
                    and bool(info.links)
                    and info.monitored_by == 1
                )
            )
            a.exit(target, ("gone", 1))
            await until(lambda: len(seen) == 2)
            assert {type(item) for item in seen} == {Down, ExitSignal}
            assert {item.reason for item in seen} == {("gone", 1)}

    run_on(loop, main())


@both_loops
def test_a_node_that_ends_is_noticed_and_its_successor_is_another(loop: str) -> None:
    async def main() -> None:
        one, two = fresh_name("one"), fresh_name("two")
        events: list[Any] = []
        seen: list[Any] = []
        async with node(one, seeds=(two,)) as a:
            a.on_nodes(events.append)
            async with node(two, creation=1) as b:
                await a.connect(two)
                old = await b.start(Counter)
                old_ref = a.ref(old.pid, Counter)
                a.spawn(watch, seen, old.pid)
                assert await old_ref.call(Counter.incr) == 1
                hanging = asyncio.create_task(old_ref.call(Counter.hang))
                await until(
                    lambda: (info := b.process_info(old.pid)) is not None and info.status == "running"
                )
            with pytest.raises(CalleeExited):
                await hanging
            await until(lambda: len(events) == 2)
            assert [down.reason for down in seen] == ["shutdown"]
            with pytest.raises(NodeDown):
                await old_ref.call(Counter.incr)
            async with node(two, creation=2) as b:
                await a.connect(two)
                new = await b.start(Counter)
                assert new.pid.serial == old.pid.serial
                with pytest.raises(NoProcess):
                    await old_ref.call(Counter.incr)
                assert await a.ref(new.pid, Counter).call(Counter.value) == 0
            await until(lambda: len(events) == 4)
            assert events == [NodeUp(two, 1), NodeLost(two, 1), NodeUp(two, 2), NodeLost(two, 2)]

    run_on(loop, main())


@both_loops
def test_a_flood_of_messages_arrives_whole_and_in_order(loop: str) -> None:
    async def main() -> None:
        one, two = fresh_name("one"), fresh_name("two")
        async with node(one) as a, node(two, seeds=(one,)) as b:
            await b.connect(one)
            seen: list[int] = []

            async def collect(self: Process) -> None:
                while len(seen) < 20_000:
                    seen.append(await self.receive())

            collector = b.spawn(collect)
            gone = asyncio.create_task(b.down(collector))
            for start in range(0, 20_000, 1000):
                for number in range(start, start + 1000):
                    a.send(collector, number)
                await asyncio.sleep(0)
            assert (await gone).reason == "normal"
            assert seen == list(range(20_000))

    run_on(loop, main())


def test_channels_and_admin_requests_reach_their_handlers() -> None:
    async def main() -> None:
        one, two = fresh_name("one"), fresh_name("two")
        async with node(one) as a, node(two, seeds=(one,)) as b:
            await b.connect(one)
            got: list[Any] = []
            a.on_channel(Channel.RAFT, lambda peer, payload: got.append((peer, payload)))
            a.on_channel(Channel.STORE, lambda peer, payload: 1 // 0)
            assert b.send_channel(one, Channel.STORE, b"raises there")
            assert b.send_channel(one, Channel.RAFT, b"payload")
            assert b.send_channel(one, Channel.SERVICE, b"nobody listens")
            assert not b.send_channel("nobody@127.0.0.1:1", Channel.RAFT, b"x")
            await until(lambda: bool(got))
            assert got == [(two, b"payload")]

            async def double(args: Any) -> int:
                return int(args) * 2

            a.add_admin("double", double)
            assert await a.admin("double", 21) == 42

    run_on("asyncio", main())


def test_connecting_to_a_node_that_is_not_there_fails_in_time_and_goes_on_dialling() -> None:
    async def main() -> None:
        one, two = fresh_name("one"), fresh_name("two")
        async with node(one) as a:
            with pytest.raises(LinkError, match="dialled on"):
                await a.connect(two, timeout_s=0.05)
            async with node(two):
                await until(lambda: a.nodes() == [two])

    run_on("asyncio", main())
