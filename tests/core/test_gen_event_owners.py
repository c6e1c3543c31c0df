"""Event managers: the owners of handlers, and how managers end."""

import asyncio
import contextlib
from typing import Any

import pytest

from quorate.core import (
    CalleeExited,
    EventHandler,
    Events,
    Exit,
    ExitSignal,
    GenEvent,
    HandlerGone,
    HandlerRef,
    Node,
    Pid,
    Process,
    Supervisor,
    child,
)
from tests.core.conftest import Play
from tests.core.handlers import HEARD, Fragile, Keeper, Numbers, events_on
from tests.core.nodes import World
from tests.support import turns


@pytest.fixture(autouse=True)
def _nothing_heard() -> None:
    HEARD.clear()


# -- owners -----------------------------------------------------------------------------------------------


class Owner:
    """A process that adds a handler under its supervision, and keeps what it receives."""

    def __init__(self, events: Events[int], *, trap: bool) -> None:
        self.events = events
        self.trap = trap
        self.got: list[Any] = []
        self.ref: HandlerRef[Fragile] | None = None

    async def body(self, process: Process) -> None:
        process.trap_exits = self.trap
        self.ref = await self.events.supervised_by(process.pid).add_as(f"of {process.pid}", Fragile)
        while True:
            message = await process.receive()
            self.got.append(message)
            if message == "end":
                raise Exit("tired")


async def owner_of(node: Node, events: Events[int], world: World, *, trap: bool = False) -> tuple[Owner, Pid]:
    owner = Owner(events, trap=trap)

    async def owning(self: Process) -> None:
        await owner.body(self)

    pid = node.spawn(owning)
    await world.settle()
    return owner, pid


def test_an_owner_is_told_when_its_handler_goes(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        events = await events_on(a, b)
        owner, pid = await owner_of(a, events, world)
        assert owner.ref is not None
        await owner.ref.remove()
        await world.settle()
        assert owner.got == [HandlerGone(events.pid, f"of {pid}", "normal")]
        owner, pid = await owner_of(a, events, world)
        await events.sync_notify(7)
        await world.settle()
        (gone,) = owner.got
        assert "7 is odd" in str(gone.reason)
        owner, pid = await owner_of(a, events, world)
        assert owner.ref is not None
        await owner.ref.swap(Keeper)
        await world.settle()
        assert owner.got == [HandlerGone(events.pid, f"of {pid}", ("swapped", "Keeper"))]
        assert await events.which_handlers() == ["Keeper"]
        a.send(pid, "end")
        await world.settle()
        assert await events.which_handlers() == []  # the new one was its own too

    play.two(main)


def test_an_owner_is_told_however_busy_the_link_is_and_whatever_the_reason(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        events = await events_on(a, b)
        owner, pid = await owner_of(a, events, world)
        world.wire(b, a).full = True
        await Events(b.ref(events.pid, Numbers)).handler(Keeper, f"of {pid}").remove()
        world.wire(b, a).full = False
        await world.settle()
        assert [message.reason for message in owner.got] == ["normal"]
        owner, pid = await owner_of(a, events, world)
        with pytest.raises(CalleeExited):
            await Events(b.ref(events.pid, Numbers)).handler(Keeper, f"of {pid}").call(Keeper.exit, print)
        await world.settle()
        assert [message.reason for message in owner.got] == [repr(print)]
        assert b.process_info(events.pid) is not None

    play.two(main)


def test_an_owner_of_several_handlers_stays_linked_until_the_last_is_gone(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        events = Events(await node.start(Numbers))

        async def owner(self: Process) -> None:
            mine = events.supervised_by(self.pid).within(1.0)
            one, two = await mine.add_as("one", Keeper), await mine.add_as("two", Keeper)
            for ref in (one, two):
                await ref.remove()
                assert isinstance(await self.receive(), HandlerGone)
                info = node.process_info(self.pid)
                assert info is not None
                links.append(len(info.links))
            await self.receive()

        links: list[int] = []
        pid = node.spawn(owner)
        await turns()
        assert links == [1, 0]
        node.exit(pid, "kill")

    play.one(main)


def test_an_owner_is_told_when_a_handler_failed_to_take_its_handlers_place(play: Play) -> None:
    class Hasty(EventHandler[int]):
        def handle_event(self, event: int) -> None:
            self.swap(Keeper, wrong=1)  # type: ignore[call-arg]

    async def main(node: Node, world: World) -> None:
        events = Events(await node.start(Numbers))
        got: list[Any] = []

        async def owner(self: Process) -> None:
            await events.supervised_by(self.pid).add(Hasty)
            while True:
                got.append((await self.receive()).reason)

        node.spawn(owner)
        await turns()
        await events.sync_notify(1)
        await turns()
        assert got[0] == ("swapped", "Hasty")
        assert isinstance(got[1], TypeError)

    play.one(main)


def test_handlers_go_with_their_owner(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        events = await events_on(a, b)
        _, one = await owner_of(a, events, world)
        _, two = await owner_of(a, events, world)
        a.send(one, "end")
        await world.settle()
        assert await events.which_handlers() == [f"of {two}"]
        assert HEARD == [("keeper", "ends", ("stop", "tired"))]
        a.exit(two, "kill")
        await world.settle()
        assert await events.which_handlers() == []
        assert HEARD[1:] == [("keeper", "ends", ("stop", "killed"))]

    play.two(main)


def test_an_owner_survives_the_orderly_end_of_its_manager_and_not_its_death(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        for reason, alive in (("shutdown", True), ("kill", False)):
            events = await events_on(a, b)
            owner, pid = await owner_of(a, events, world)
            b.exit(events.pid, reason)
            await world.settle()
            assert (a.process_info(pid) is not None) is alive
            assert [type(message) for message in owner.got] == ([HandlerGone] if alive else [])
        events = await events_on(a, b)
        owner, pid = await owner_of(a, events, world, trap=True)
        b.exit(events.pid, "kill")
        await world.settle()
        assert owner.got == [ExitSignal(events.pid, "killed")]

    play.two(main)


def test_an_owner_that_was_linked_with_the_manager_before_takes_it_with_it(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        events = Events(await node.start(Numbers))

        async def starter(self: Process) -> None:
            self.link(events.pid)
            await events.supervised_by(self.pid).add(Keeper)
            await self.receive()
            raise Exit("tired")

        pid = node.spawn(starter)
        await turns()
        node.send(pid, "end")
        await turns()
        assert HEARD == [("keeper", "ends", ("stop", "tired"))]
        assert node.process_info(events.pid) is None

    play.one(main)


def test_exits_of_others_end_a_manager_that_owns_to_as_they_end_any_process(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        events = Events(await node.start(Numbers))
        owner, _ = await owner_of(node, events, world)

        async def friend(self: Process) -> None:
            self.link(events.pid)
            raise Exit(await self.receive())

        one, two = node.spawn(friend), node.spawn(friend)
        await turns()
        node.send(one, "normal")
        await turns()
        assert node.process_info(events.pid) is not None
        down = asyncio.create_task(node.down(events.pid))
        await turns()
        node.send(two, "upset")
        assert (await down).reason == "upset"
        await turns()
        assert [message.reason for message in owner.got] == ["shutdown"]
        assert HEARD == [("keeper", "ends", "stop")]

    play.one(main)


def test_a_supervised_manager_is_restarted_with_what_it_installs_and_stopped_in_order(play: Play) -> None:
    class Ready(GenEvent[int]):
        def __init__(self) -> None:
            self.install(Keeper)

    async def main(node: Node, world: World) -> None:
        supervisor = await node.start(Supervisor, [child(Ready).options(id="ready")])

        async def manager() -> Events[int]:
            (info,) = await supervisor.call(Supervisor.which_children)
            assert info.pid is not None
            return Events(node.ref(info.pid, Ready))

        first = await manager()
        node.exit(first.pid, "kill")
        await turns()
        second = await manager()
        assert second != first
        await owner_of(node, second, world)
        await second.sync_notify(2)
        assert HEARD == [("keeper", 2), ("keeper", 2)]
        await supervisor.call(Supervisor.terminate_child, "ready")
        assert HEARD[2:] == [("keeper", "ends", "stop"), ("keeper", "ends", "stop")]

    play.one(main)


def test_a_handler_in_progress_is_cancelled_when_its_manager_is_ended(play: Play) -> None:
    class Hanging(EventHandler[int]):
        async def handle_event(self, event: int) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                HEARD.append("finally")

        def terminate(self, reason: object) -> None:
            HEARD.append(reason)

    async def main(node: Node, world: World) -> None:
        events = Events(await node.start(Numbers))
        await events.add(Hanging)
        waiting = asyncio.create_task(events.sync_notify(1))
        await turns()
        node.exit(events.pid, "shutdown")
        with pytest.raises(CalleeExited):
            await waiting
        with contextlib.suppress(Exception):
            await node.down(events.pid)
        assert HEARD == ["finally", "stop"]

    play.one(main)


def test_an_owner_whose_mailbox_is_full_is_told_and_its_manager_lives(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        got: list[Any] = []

        async def owner(self: Process) -> None:
            self.limit_mailbox(2, "refuse")
            got.append(await self.receive(HandlerGone))

        events = Events(await node.start(Numbers))
        pid = node.spawn(owner)
        await turns()
        await events.supervised_by(pid).add(Fragile)
        for _ in range(2):
            node.send(pid, "something else")
        await events.sync_notify(1)  # of which it breaks
        await turns()
        assert [one.handler for one in got] == ["Fragile"]
        assert await events.which_handlers() == []

    play.one(main)
