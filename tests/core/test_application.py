"""Applications start and stop with their node, in order, and their end has the meaning that they say."""

import asyncio
import logging
from typing import Any

import pytest

from quorate.core import (
    Application,
    ApplicationFailed,
    ConfigError,
    Exit,
    Node,
    Pid,
    Ref,
    Supervisor,
    child,
)
from tests.core.conftest import Play
from tests.core.nodes import World
from tests.core.trees import Book, Failing, Worker, body


class Shop(Application):
    """A supervisor with one worker."""

    def __init__(self, book: Book, name: str, kind: Any = "permanent") -> None:
        self.book = book
        self.name = name
        self.kind = kind

    async def start(self, node: Node) -> Ref[Supervisor]:
        return await node.start(Supervisor, [child(Worker, self.book, self.name)])

    async def stop(self, node: Node) -> None:
        self.book.append(("closed", self.name))


def failures(node: Node) -> list[ApplicationFailed]:
    """What the node will be told."""
    told: list[ApplicationFailed] = []
    applications = node._applications
    assert applications is not None
    applications._failed = told.append
    return told


def test_applications_stop_in_reverse_with_the_node(play: Play) -> None:
    book: Book = []

    async def main(node: Node, world: World) -> None:
        one = await node.start_application(Shop(book, "one"))
        two = await node.start_application(Shop(book, "two"))
        assert node.applications() == {"one": one, "two": two}

    play.one(main)
    assert book == [
        ("start", "one"),
        ("start", "two"),
        ("stop", "two"),
        ("closed", "two"),
        ("stop", "one"),
        ("closed", "one"),
    ]


def test_an_application_stops_although_nobody_waits_for_it_any_more(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        book: Book = []
        await node.start_application(Shop(book, "shop"))
        stopping = asyncio.create_task(node.stop_application("shop"))
        await asyncio.sleep(0)
        stopping.cancel()
        await world.settle()
        assert book == [("start", "shop"), ("stop", "shop"), ("closed", "shop")]
        assert node.applications() == {}
        await node.start_application(Shop(book, "shop"))

    play.one(main)


def test_an_application_stops_by_itself_and_can_be_started_again(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        told = failures(node)
        book: Book = []
        shop = Shop(book, "shop")
        await node.start_application(shop)
        with pytest.raises(ConfigError, match="'shop' runs already"):
            await node.start_application(Shop(book, "shop"))
        await node.stop_application("shop")
        assert book == [("start", "shop"), ("stop", "shop"), ("closed", "shop")]
        with pytest.raises(ConfigError, match="no application 'shop'"):
            await node.stop_application("shop")
        await node.start_application(shop)
        assert list(node.applications()) == ["shop"]
        assert told == []

    play.one(main)


@pytest.mark.parametrize("kind", ["permanent", "transient", "temporary"])
@pytest.mark.parametrize("reason", ["shutdown", "broken"])
def test_the_kind_of_an_application_says_whether_its_end_is_the_nodes(
    play: Play, kind: Any, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(node: Node, world: World) -> None:
        told = failures(node)
        book: Book = []
        root = await node.start_application(Shop(book, "shop", kind))
        node.exit(root, reason)
        await world.settle()
        fatal = kind == "permanent" or (kind == "transient" and reason == "broken")
        assert [(error.application, error.reason) for error in told] == [("shop", reason)] * fatal
        assert node.applications() == {}
        assert book[-1] == ("closed", "shop")
        (record,) = [one for one in caplog.records if one.name == "quorate.application"]
        assert record.__dict__["quorate"]["fatal"] == fatal
        assert record.levelno == (logging.ERROR if fatal else logging.WARNING)

    play.one(main)


def test_an_application_that_cannot_start_says_why_and_leaves_nothing(play: Play) -> None:
    book: Book = []

    class Broken(Application):
        async def start(self, node: Node) -> Ref[Supervisor]:
            return await node.start(Supervisor, [child(Worker, book, "w"), child(Failing, book, "f", [])])

    class Refusing(Application):
        async def start(self, node: Node) -> Pid:
            raise Exit("no")

    class Empty(Application):
        async def start(self, node: Node) -> Pid:
            return None  # type: ignore[return-value]

    async def main(node: Node, world: World) -> None:
        with pytest.raises(ApplicationFailed, match=r"'Broken' could not be started.*no device") as failed:
            await node.start_application(Broken())
        assert failed.value.__cause__ is failed.value.reason
        for _ in range(2):
            with pytest.raises(ApplicationFailed, match="'Refusing' could not"):
                await node.start_application(Refusing())
        with pytest.raises(ApplicationFailed, match="a process of this node that lives"):
            await node.start_application(Empty())
        with pytest.raises(ApplicationFailed, match="needs an `async def start"):
            await node.start_application(Application())
        with pytest.raises(ConfigError, match=r"give an instance, as in applications=\[Shop\(\)\]"):
            await node.start_application(Broken)  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="kind is one of"):
            await node.start_application(Shop(book, "x", "eternal"))
        assert (node.applications(), node.processes()) == ({}, [])

    play.one(main)


@pytest.mark.parametrize("how", ["raises", "hangs", "exits", "cancels"])
def test_the_stop_of_an_application_cannot_keep_the_others_from_stopping(play: Play, how: str) -> None:
    class Rude(Shop):
        async def stop(self, node: Node) -> None:
            match how:
                case "raises":
                    raise RuntimeError("no")
                case "exits":
                    raise Exit("no")
                case "cancels":
                    raise asyncio.CancelledError
            await asyncio.Event().wait()

    async def main(node: Node, world: World) -> None:
        book: Book = []
        await node.start_application(Shop(book, "first"))
        await node.start_application(Rude(book, "rude"))
        closing = asyncio.create_task(node.close())
        await world.clock.pass_time(5.0)
        assert closing.done()
        assert book[-2:] == [("stop", "first"), ("closed", "first")]

    play.one(main)


def test_the_root_of_an_application_may_be_any_process(play: Play) -> None:
    book: Book = []

    class Bare(Application):
        async def start(self, node: Node) -> Pid:
            return node.spawn(body, book, "bare")

    async def main(node: Node, world: World) -> None:
        await node.start_application(Bare())
        await world.settle()
        await node.stop_application("Bare")
        assert book == [("start", "bare"), ("stop", "bare")]

    play.one(main)


def test_a_node_that_is_not_open_has_no_applications(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        closed = Node(node.name, runtime=node.runtime, creation=2)
        with pytest.raises(RuntimeError, match="is not open"):
            await closed.start_application(Shop([], "x"))
        await closed.close()

    play.one(main)
