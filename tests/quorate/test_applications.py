"""Applications of a whole node: their place between everything else that starts and stops."""

import asyncio
from typing import Any

import pytest

import quorate
from quorate import ApplicationFailed, child
from quorate.jepsen_like import Simulation, simulate
from tests.core.trees import Book, Worker
from tests.quorate.node_in_thread import free_port
from tests.support import run


class Clerk(quorate.GenServer):
    """Claims a name while it lives, and is not through before it has given it back."""

    def __init__(self, node: quorate.Node, book: Book) -> None:
        self.node = node
        self.book = book
        self.continue_with()

    async def handle_continue(self, info: object) -> None:
        await self.node.registry.register("clerk", self.pid)

    def ready(self) -> bool:
        return True

    def crash(self) -> None:
        raise ValueError("boom")

    async def terminate(self, reason: object) -> None:
        valid_for_s = self.node.store.session.valid_for_s()
        entry = await self.node.registry.lookup("clerk")
        self.book.append(("stop", f"session {valid_for_s > 0}, name {entry is not None}"))


class Office(quorate.Application):
    def __init__(self, book: Book) -> None:
        self.book = book

    async def start(self, node: quorate.Node) -> quorate.Ref[quorate.Supervisor]:
        assert node.singletons is not None
        specs = [child(Worker, self.book, "w"), child(Clerk, node, self.book).options(name="clerk")]
        return await node.start(quorate.Supervisor, specs, intensity=0)


class Broken(quorate.Application):
    async def start(self, node: quorate.Node) -> Any:
        raise OSError("no device")


def alone(name: str, applications: list[quorate.Application]) -> quorate.Node:
    return quorate.Node(name, cookie="test", applications=applications)


async def a_name() -> str:
    return f"a@127.0.0.1:{await free_port()}"


def test_an_application_stops_while_the_node_still_has_its_session_and_its_names() -> None:
    async def main() -> None:
        book: Book = []
        async with alone(await a_name(), [Office(book)]) as node:
            assert await node.call("clerk", Clerk.ready)
            assert list(node.applications()) == ["Office"]
        assert book == [("start", "w"), ("stop", "session True, name True"), ("stop", "w")]

    run(main())


def test_the_node_has_failed_when_a_permanent_application_ends() -> None:
    async def main() -> None:
        async with alone(await a_name(), [Office([])]) as node:
            failed = asyncio.create_task(node.failed())
            with pytest.raises(quorate.RemoteError):
                await node.call("clerk", Clerk.crash)
            error = await failed
            assert isinstance(error, ApplicationFailed)
            assert (error.application, error.reason) == ("Office", "shutdown")

    run(main())


def test_a_node_whose_application_does_not_start_is_not_opened_and_leaves_nothing() -> None:
    async def main() -> None:
        book: Book = []
        name = await a_name()
        node = alone(name, [Office(book), Broken()])
        with pytest.raises(ApplicationFailed, match="'Broken' could not be started: OSError: no device"):
            await node.open()
        assert book[-1] == ("stop", "w")
        assert node.processes() == []
        async with alone(name, [Office([])]):  # the port is free
            pass

    run(main())


def test_an_application_runs_on_a_node_of_the_simulation() -> None:
    book: Book = []

    async def main() -> None:
        async with Simulation(seed=3, nodes=1) as sim:
            node = await sim.up("n1")

            async def inside() -> None:
                await node.start_application(Office(book))
                assert await node.call("clerk", Clerk.ready)

            await sim.start("n1", inside())
            await sim.stop("n1")

    simulate(main)
    assert book == [("start", "w"), ("stop", "session True, name True"), ("stop", "w")]
