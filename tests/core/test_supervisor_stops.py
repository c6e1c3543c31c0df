"""How supervisors stop their children: in time, by force, and whatever the children do about it."""

import asyncio
from typing import Any

import pytest

from quorate.core import Node, Process, Supervisor, child
from quorate.core.activation import KEPT_S
from tests.core.conftest import Play
from tests.core.nodes import World
from tests.core.trees import Book, Stubborn, Trapping, Worker, body, crash, deaf, pid_of, statuses


def slow_body(book: Book, release: asyncio.Event) -> Any:
    async def slow(self: Process) -> None:
        try:
            await self.receive()
        finally:
            await release.wait()
            book.append(("stop", "slow"))

    return slow


def test_a_child_that_does_not_stop_in_time_is_killed(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    async def main(node: Node, world: World) -> None:
        book: Book = []
        for spec in (
            child(Stubborn, book, "s").options(shutdown_s=2.0),
            child(slow_body(book, asyncio.Event())).options(shutdown_s=2.0, id="slow"),
            child(deaf, book).options(shutdown_s=2.0),
        ):
            tree = await node.start(Supervisor, [child(Worker, book, "first"), spec])
            await world.settle()
            down = asyncio.create_task(node.down(await pid_of(tree, spec.id)))
            node.exit(tree.pid, "shutdown")
            await world.clock.pass_time(1.9)
            assert not down.done()
            await world.clock.pass_time(0.2)
            assert down.result().reason == "killed"
            assert node.processes() == []
        assert book.count(("stop", "first")) == 3
        assert ("heard", "shutdown") in book
        assert ("stop", "slow") not in book  # abandoned
        told = [one.__dict__["quorate"] for one in caplog.records if one.name == "quorate.supervisor"]
        assert [(one["child"], one["reason"], one["decision"]) for one in told] == [
            (id, "killed", "it had 2 s to stop") for id in ("Stubborn", "slow", "deaf")
        ]

    play.one(main)


def test_a_child_may_take_longer_than_the_usual_deadline_when_its_spec_says_so(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        for shutdown_s in (20.0, None):
            book: Book = []
            release = asyncio.Event()
            tree = await node.start(
                Supervisor,
                [child(slow_body(book, release)).options(shutdown_s=shutdown_s)],
            )
            await world.settle()
            node.exit(tree.pid, "shutdown")
            await world.clock.pass_time(19.0)
            assert book == []
            release.set()
            await world.settle()
            assert book == [("stop", "slow")]
            assert node.processes() == []

    play.one(main)


def test_a_child_without_a_deadline_is_waited_for_until_somebody_kills_it(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        tree = await node.start(Supervisor, [child(Stubborn, [], "s").options(shutdown_s=None)])
        pid = await pid_of(tree, "Stubborn")
        node.exit(tree.pid, "shutdown")
        await world.clock.pass_time(1000.0)
        assert node.processes() == [tree.pid, pid]
        node.exit(pid, "kill")
        await world.clock.pass_time(5.0)
        assert node.processes() == []

    play.one(main)


def test_a_child_that_stopped_in_time_leaves_no_timer(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        tree = await node.start(Supervisor, [child(Worker, [], "w").options(shutdown_s=2.0)])
        await tree.within(10.0).call(Supervisor.terminate_child, "Worker")
        await world.clock.pass_time(KEPT_S)
        due = world.clock.next_due()
        assert due is None or due > world.clock.monotonic() + 2.0

    play.one(main)


def test_brutal_kill_asks_nobody(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        book: Book = []
        tree = await node.start(Supervisor, [child(Stubborn, book, "s").options(shutdown_s="brutal_kill")])
        down = asyncio.create_task(node.down(await pid_of(tree, "Stubborn")))
        await world.settle()
        await tree.call(Supervisor.terminate_child, "Stubborn")
        assert (await down).reason == "killed"
        assert book == [("start", "s")]

    play.one(main)


def test_a_server_that_traps_exits_obeys_its_own_supervisor_and_nobody_else(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        book: Book = []
        tree = await node.start(Supervisor, [child(Trapping, book, "t")])
        pid = await pid_of(tree, "Trapping")
        node.exit(pid, "please")
        await world.settle()
        assert book == [("start", "t"), ("heard", "please")]
        await tree.call(Supervisor.terminate_child, "Trapping")
        assert book == [("start", "t"), ("heard", "please"), ("stop", "t")]

    play.one(main)


def test_a_supervisor_obeys_its_node_and_its_own_supervisor_and_nobody_else(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        async def sender(self: Process, reason: object) -> None:
            self.link(tree.pid)
            self.exit(tree.pid, reason)

        tree = await node.start(Supervisor, [child(Worker, [], "w")])
        for reason in ("shutdown", "normal", ValueError("x")):
            node.spawn(sender, reason)
            await world.settle()
        assert await statuses(tree) == {"Worker": "running"}
        node.exit(tree.pid, "normal")
        assert (await node.down(tree.pid)).reason == "normal"
        assert node.processes() == []

    play.one(main)


def test_children_do_not_outlive_a_supervisor_that_is_killed(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        book: Book = []
        inner = child(Supervisor, [child(Trapping, book, "t"), child(body, book, "b")])
        tree = await node.start(Supervisor, [child(Worker, book, "w"), inner])
        await world.settle()
        node.exit(tree.pid, "kill")
        await world.settle()
        assert node.processes() == []

    play.one(main)


def test_a_supervisor_told_to_exit_in_the_middle_of_a_restart_finishes_that_first_or_never(
    play: Play,
) -> None:
    async def main(node: Node, world: World) -> None:
        book: Book = []
        release = asyncio.Event()
        tree = await node.start(
            Supervisor,
            [
                child(Worker, book, "a").options(id="a"),
                child(Worker, book, "b").options(id="b"),
                child(slow_body(book, release)).options(id="c", shutdown_s=60.0),
            ],
            strategy="one_for_all",
        )
        await world.settle()
        book.clear()
        await crash(node, world, await pid_of(tree, "b"))  # it waits for c now
        node.exit(tree.pid, "shutdown")
        await world.settle()
        assert book == [("stop", "b")]
        release.set()
        await world.settle()
        assert book == [("stop", "b"), ("stop", "slow"), ("stop", "a")]
        assert node.processes() == []

    play.one(main)


def test_the_node_closes_although_a_supervisor_was_killed_and_left_a_child_that_traps(
    play: Play,
) -> None:
    async def main(node: Node, world: World) -> None:
        book: Book = []
        tree = await node.start(Supervisor, [child(deaf, book).options(shutdown_s=None)])
        await world.settle()
        closing = asyncio.create_task(node.close())
        await world.settle()
        assert not closing.done()
        node.exit(tree.pid, "kill")
        await world.settle()
        assert closing.done()

    play.one(main)


def test_terminate_of_a_child_may_raise(play: Play) -> None:
    class Rude(Worker):
        async def terminate(self, reason: object) -> None:
            raise RuntimeError("no")

    async def main(node: Node, world: World) -> None:
        book: Book = []
        tree = await node.start(Supervisor, [child(Worker, book, "w"), child(Rude, book, "r")])
        node.exit(tree.pid, "shutdown")
        assert (await node.down(tree.pid)).reason == "shutdown"
        assert book[-1] == ("stop", "w")

    play.one(main)


# -- significant children ----------------------------------------------------------------------------------


@pytest.mark.parametrize("auto_shutdown", ["any_significant", "all_significant"])
def test_the_end_of_significant_children_is_the_end_of_the_supervisor(play: Play, auto_shutdown: Any) -> None:
    async def main(node: Node, world: World) -> None:
        book: Book = []
        key = child(body, book, "s").options(restart="transient", significant=True)
        tree = await node.start(
            Supervisor,
            [child(Worker, book, "w"), key.options(id="1"), key.options(id="2")],
            auto_shutdown=auto_shutdown,
        )
        await world.settle()
        node.send(await pid_of(tree, "1"), "normal")
        await world.settle()
        if auto_shutdown == "all_significant":
            assert await statuses(tree) == {"Worker": "running", "1": "stopped", "2": "running"}
            node.send(await pid_of(tree, "2"), "normal")
            await world.settle()
        assert node.processes() == []
        assert book[-1] == ("stop", "w")

    play.one(main)


def test_a_significant_child_that_was_terminated_on_purpose_ends_nothing(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        key = child(body, [], "s").options(restart="temporary", significant=True)
        tree = await node.start(Supervisor, [child(Worker, [], "w"), key], auto_shutdown="any_significant")
        await tree.call(Supervisor.terminate_child, "body")
        assert await statuses(tree) == {"Worker": "running"}

    play.one(main)
