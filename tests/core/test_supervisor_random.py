"""Whatever happens to a tree: nothing is left over, nothing runs twice, and what runs is what the supervisors say."""

import asyncio
from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from quorate.core import CallError, Node, Pid, Process, Supervisor, child
from tests.core.nodes import World, run_on
from tests.core.trees import Book, Failing, Trapping, Worker, body

NAMES = ["server", "trapping", "flaky", "body", "outer"]
SUPERVISORS = ["root", "inner"]
EVENTS = st.one_of(
    st.tuples(
        st.just("exit"), st.sampled_from([*NAMES, "inner"]), st.sampled_from(["kill", "normal", "boom"])
    ),
    st.tuples(st.just("crash"), st.sampled_from(NAMES)),
    st.tuples(st.just("terminate"), st.sampled_from(NAMES)),
    st.tuples(st.just("restart"), st.sampled_from(NAMES)),
    st.tuples(st.just("start")),
    st.tuples(st.just("device"), st.booleans()),
    st.tuples(st.just("settle")),
    st.tuples(st.just("wait"), st.sampled_from([0.5, 6.0])),
    st.tuples(st.just("exit"), st.just("root"), st.sampled_from(["kill", "shutdown"])),
)


async def slow(self: Process, book: Book) -> None:
    """Takes its time to stop."""
    book.append(("start", "slow"))
    try:
        await self.receive()
    finally:
        await self.receive(lambda message: False, timeout_s=0.2)
        book.append(("stop", "slow"))


class Tree:
    """A supervisor with a supervisor in it, and children of every kind."""

    def __init__(self, node: Node, world: World, strategy: Any) -> None:
        self.node = node
        self.world = world
        self.strategy = strategy
        self.book: Book = []
        self.device: list[Any] = [1]
        self.extra = 0

    async def start(self) -> None:
        inner = child(
            Supervisor,
            [
                child(Worker, self.book, "server").options(id="server", name="server"),
                child(Trapping, self.book, "trapping").options(
                    id="trapping", name="trapping", restart="transient"
                ),
                child(Failing, self.book, "flaky", self.device).options(id="flaky", name="flaky"),
                child(body, self.book, "body").options(id="body", name="body"),
            ],
            strategy=self.strategy,
        )
        outer = child(Worker, self.book, "outer").options(id="outer", name="outer")
        root = await self.node.start(
            Supervisor, [inner.options(id="inner", name="inner"), outer, child(slow, self.book)], intensity=5
        )
        self.root = root.pid

    async def play(self, event: tuple[Any, ...]) -> None:
        node = self.node
        match event:
            case "exit", name, reason:
                pid = self.root if name == "root" else node.whereis(name)
                if pid is not None:
                    node.exit(pid, reason)
            case "crash", name:
                pid = node.whereis(name)
                if pid is not None and name == "body":
                    node.send(pid, "boom")
                elif pid is not None:
                    node.ref(pid, Worker).cast(Worker.crash)
            case ("terminate" | "restart") as what, name:
                method = Supervisor.terminate_child if what == "terminate" else Supervisor.restart_child
                self.ask("root" if name == "outer" else "inner", method, name)
            case ("start",):
                self.extra += 1
                self.ask(
                    "inner",
                    Supervisor.start_child,
                    child(Worker, self.book, "x").options(id=f"x{self.extra}"),
                )
            case "device", there:
                self.device[:] = [1] * 5 * there
            case ("settle",):
                await self.world.settle()
            case "wait", seconds:
                await self.world.clock.pass_time(seconds, turns_each=5)

    def ask(self, name: str, method: Any, *args: Any) -> None:
        pid = self.root if name == "root" else self.node.whereis(name)
        if pid is not None:
            self.node.ref(pid, Supervisor).cast(method, *args)

    async def check(self) -> None:
        """All that runs is a child that its supervisor says is running, linked to it, and there once."""
        for _ in range(10):
            await self.world.clock.pass_time(
                0.3
            )  # what is slow has stopped, and what was to be retried has been
        expected: list[Pid] = []
        todo = [self.root]
        while todo:
            pid = todo.pop()
            try:
                children = await self.node.ref(pid, Supervisor).call(Supervisor.which_children)
            except CallError:
                continue
            expected.append(pid)
            info = self.node.process_info(pid)
            assert info is not None
            running = [one.pid for one in children if one.pid is not None]
            assert set(running) <= set(info.links) <= {*running, self.root}
            todo += [one.pid for one in children if one.supervisor and one.pid is not None]
            expected += [one.pid for one in children if not one.supervisor and one.pid is not None]
        assert sorted(expected) == sorted(self.node.processes())


@settings(max_examples=150, deadline=None)
@given(
    strategy=st.sampled_from(["one_for_one", "one_for_all", "rest_for_one"]),
    events=st.lists(EVENTS, max_size=20),
)
def test_a_tree_is_whole_after_whatever_happened_to_it(strategy: str, events: list[tuple[Any, ...]]) -> None:
    async def main() -> None:
        world = World()
        node = await world.node()
        tree = Tree(node, world, strategy)
        try:
            await tree.start()
            tree.device[:] = [1] * 5
            for event in events:
                await tree.play(event)
            await tree.check()
        finally:
            closing = asyncio.create_task(world.close())
            await world.clock.pass_time(6.0)
            await closing
        assert node.processes() == []
        started = Counter(name for what, name in tree.book if what == "start")
        stopped = Counter(name for what, name in tree.book if what == "stop")
        assert stopped <= started

    run_on("asyncio", main)
