"""Event managers: events, handlers that come, go and crash, and what is seen from another node."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from quorate.core import (
    CalleeExited,
    Down,
    EncodeError,
    EventHandler,
    Events,
    Exit,
    GenEvent,
    HandlerExists,
    Node,
    NoHandler,
    NotCallable,
    Pid,
    Ref,
    RemoteError,
    ServerStatus,
)
from tests.core.conftest import Play
from tests.core.handlers import HEARD, Fragile, FragileLater, Keeper, Numbers, SlowKeeper, events_on
from tests.core.nodes import World
from tests.support import turns


@pytest.fixture(autouse=True)
def _nothing_heard() -> None:
    HEARD.clear()


class Hidden(EventHandler[int]):
    """With something that no report may show."""

    def __init__(self) -> None:
        self.password = "secret"

    def handle_event(self, event: int) -> None:
        raise ValueError("x")

    def format_status(self, status: Any) -> Any:
        return status.hide("password")


# -- events -----------------------------------------------------------------------------------------------


def test_every_handler_hears_every_event_in_the_order_in_which_they_were_added(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        events = await events_on(a, b)
        for name, kind in (("one", Keeper), ("two", SlowKeeper), ("three", Keeper)):
            await events.add_as(name, kind, name)
        events.notify(1)
        await events.sync_notify(2)
        assert [(name, number) for number in (1, 2) for name in ("one", "two", "three")] == HEARD
        assert await events.which_handlers() == ["one", "two", "three"]

    play.two(main)


def test_a_notification_waits_for_nobody_and_a_synchronous_one_for_every_handler(play: Play) -> None:
    class Gated(EventHandler[int]):
        def __init__(self, gate: asyncio.Event) -> None:
            self.gate = gate

        async def handle_event(self, event: int) -> None:
            await self.gate.wait()

    async def main(node: Node, world: World) -> None:
        events = Events(await node.start(Numbers))
        gate = asyncio.Event()
        await events.add(Gated, gate)
        events.notify(1)
        waiting = asyncio.create_task(events.sync_notify(2))
        await turns()
        assert not waiting.done()
        gate.set()
        await waiting

    play.one(main)


def test_plain_messages_downs_and_exits_come_to_every_handler(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Numbers)
        events = Events(ref)
        one, two = await events.add_as("one", Keeper), await events.add_as("two", Keeper)
        down = Down(node.watch(Pid(node.name, node.creation, 99), print), node.pid, "by hand")
        ref.send("message")
        ref.send(down)
        assert await one.call(Keeper.all) == ["message", down]
        assert await two.call(Keeper.all) == ["message", down]

    play.one(main)


def test_an_own_method_of_a_manager_can_be_called(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        ref = a.ref((await b.start(Numbers)).pid, Numbers)
        assert await ref.call(Numbers.hello) == "hello"
        with pytest.raises(NotCallable):
            await b.kernel.call(ref.pid, "install", (Keeper,), {}, 1.0)

    play.two(main)


def test_a_manager_may_install_handlers_when_it_starts(play: Play) -> None:
    class Ready(GenEvent[int]):
        def __init__(self, name: str) -> None:
            self.install(Keeper, name)

    async def main(node: Node, world: World) -> None:
        events = Events(await node.start(Ready, "installed"))
        await events.sync_notify(1)
        assert HEARD == [("installed", 1)]

    play.one(main)


# -- handlers come and go ---------------------------------------------------------------------------------


def test_methods_of_a_handler_can_be_called(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        events = await events_on(a, b)
        keeper = await events.add(Keeper)
        assert keeper == events.handler(Keeper)
        events.notify(4)
        assert await keeper.call(Keeper.all) == [4]
        assert await keeper.call(Keeper.slowly, by=2) == 3
        with pytest.raises(KeyError):
            await keeper.call(Keeper.find, 5)
        with pytest.raises(NotCallable):
            await keeper.call(Keeper.slowly, 1, 2)  # type: ignore[call-overload]
        with pytest.raises(NotCallable):
            await keeper.call(Keeper.handle_event, 2)
        with pytest.raises(NoHandler):
            await events.handler(Keeper, "another").call(Keeper.all)
        assert await keeper.call(Keeper.find, 4) == 4
        with pytest.raises(KeyError):
            await keeper.call(Keeper.refuse)
        assert await events.which_handlers() == []

    play.two(main)


def test_a_handler_is_removed_by_others_and_by_itself(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        events = await events_on(a, b)
        one, two = await events.add_as("one", Keeper, "one"), await events.add_as("two", SlowKeeper, "two")
        await events.sync_notify(1)
        assert await one.remove("not needed") == "one heard 1"
        assert await two.call(Keeper.leave) == "bye"
        assert await events.which_handlers() == []
        assert HEARD[2:] == [("one", "ends", "not needed"), ("two", "ends", "remove_handler")]
        with pytest.raises(NoHandler):
            await one.remove()
        await events.sync_notify(2)
        assert len(HEARD) == 4

    play.two(main)


def test_an_id_is_given_once(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        events = await events_on(a, b)
        await events.add(Keeper)
        with pytest.raises(HandlerExists, match="'Keeper'"):
            await events.add(Keeper)
        await events.add_as("more", Keeper)
        assert await events.which_handlers() == ["Keeper", "more"]

    play.two(main)


def test_a_handler_that_refuses_is_not_added_and_does_no_harm(play: Play) -> None:
    class Refusing(EventHandler[int]):
        def __init__(self, error: BaseException | None = None) -> None:
            raise error or ValueError("no")

    async def main(a: Node, b: Node, world: World) -> None:
        events: Events[Any] = Events(await b.start(Numbers))
        with pytest.raises(RemoteError, match="no"):
            await events.add(Refusing)
        with pytest.raises(CalleeExited) as caught:
            await events.add(Refusing, Exit("not now"))
        assert caught.value.reason == "not now"
        with pytest.raises(RemoteError, match="unexpected keyword"):
            await events.add(Refusing, wrong=1)  # type: ignore[call-arg]
        with pytest.raises(NotCallable, match="no EventHandler"):
            await events.add(dict)  # type: ignore[type-var]
        assert await events.which_handlers() == []
        keeper = await events.add(Keeper)
        with pytest.raises(RemoteError, match="no"):
            await keeper.swap(Refusing)
        assert await events.which_handlers() == []
        far: Events[Any] = Events(a.ref(events.pid, Numbers))
        with pytest.raises(EncodeError, match="not exported"):
            await far.add(Refusing)

    play.two(main)


@pytest.mark.parametrize("kind", [Keeper, SlowKeeper])
def test_a_handler_takes_the_place_of_another_with_its_state(play: Play, kind: type[Keeper]) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        events = await events_on(a, b)
        old = await events.add_as("old", kind, "old")
        await events.sync_notify(1)
        new = await old.swap_as("new", kind, "new")
        assert await new.call(Keeper.all) == [1, "taken over"]
        assert HEARD[1:] == [("old", "ends", ("swapped", "new"))]
        same = await new.swap_as("new", kind)
        assert same == new
        assert await same.call(Keeper.all) == [1, "taken over", "taken over"]
        fresh = await events.handler(Keeper, "nobody").swap(kind)
        assert await fresh.call(Keeper.all) == []
        with pytest.raises(HandlerExists):
            await fresh.swap_as("new", kind)
        assert await events.which_handlers() == ["new", kind.__name__]

    play.two(main)


def test_a_handler_may_put_another_in_its_place(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    class Caterpillar(Keeper):
        def handle_event(self, event: int) -> None:
            super().handle_event(event)
            if event == 3:
                self.swap(Keeper, "butterfly")
            elif event == 4:
                self.swap(Keeper, wrong=1)  # type: ignore[call-arg]

    async def main(node: Node, world: World) -> None:
        events = Events(await node.start(Numbers))
        for event in (3, 4):
            await events.add_as("it", Caterpillar, "caterpillar")
            await events.sync_notify(event)
            await events.sync_notify(5)
            if event == 3:
                assert await events.handler(Keeper, "it").call(Keeper.all) == [3, "taken over", 5]
                await events.handler(Keeper, "it").remove()
        assert await events.which_handlers() == []
        assert "wrong" in caplog.text

    play.one(main)


# -- crashes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Fragile, FragileLater])
def test_a_handler_that_raises_is_removed_alone(
    play: Play, kind: type[Keeper], caplog: pytest.LogCaptureFixture
) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        caplog.clear()
        events = await events_on(a, b)
        await events.add_as("before", Keeper, "before")
        await events.add_as("fragile", kind, "fragile")
        await events.add_as("after", Keeper, "after")
        await events.sync_notify(3)
        assert await events.which_handlers() == ["before", "after"]
        assert HEARD[-2:] == [("fragile", "ends", "ValueError"), ("after", 3)]
        (record,) = [record for record in caplog.records if hasattr(record, "quorate")]
        told: Any = vars(record)["quorate"]
        assert (told["event"], told["handler"], told["last_message"]) == ("handler_crash", "fragile", "3")
        assert told["state"]["name"] == "'fragile'"
        assert isinstance(told["reason"], ValueError)

    play.two(main)


def test_a_report_shows_what_the_handler_lets_it(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    async def main(node: Node, world: World) -> None:
        events = Events(await node.start(Numbers))
        await events.add(Hidden)
        await events.sync_notify(1)
        assert "Hidden" in caplog.text
        assert "secret" not in str([record.__dict__ for record in caplog.records])

    play.one(main)


def test_a_manager_survives_whatever_the_report_of_a_handler_raises(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    class Unreportable(Fragile):
        def format_status(self, status: ServerStatus) -> ServerStatus:
            raise Exit("secret")

    async def main(node: Node, world: World) -> None:
        events = Events(await node.start(Numbers))
        await events.add(Unreportable)
        await events.add(Keeper)
        await events.sync_notify(1)
        assert await events.which_handlers() == ["Keeper"]
        assert "secret" not in str([record.__dict__ for record in caplog.records])

    play.one(main)


def test_what_a_called_method_raises_removes_the_handler_and_is_told(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        caplog.clear()
        events = await events_on(a, b)
        keeper = await events.add(Keeper)
        with pytest.raises(RemoteError, match="ValueError: x"):
            await keeper.call(Keeper.fail, "x")
        keeper = await events.add(Keeper)
        with pytest.raises(CalleeExited) as caught:
            await keeper.call(Keeper.exit, "enough")
        assert caught.value.reason == "enough"
        assert HEARD == [("keeper", "ends", "ValueError"), ("keeper", "ends", "enough")]
        assert [record for record in caplog.records if hasattr(record, "quorate")] == caplog.records[:1]
        assert await events.which_handlers() == []

    play.two(main)


def test_a_handler_whose_end_fails_is_removed_all_the_same(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    class Stubborn(EventHandler[int]):
        def hand_over(self) -> None:
            raise ValueError("mine")

        def terminate(self, reason: object) -> None:
            raise asyncio.CancelledError("no")

    async def main(node: Node, world: World) -> None:
        events = Events(await node.start(Numbers))
        stubborn = await events.add(Stubborn)
        keeper = await stubborn.swap(Keeper)
        assert await keeper.call(Keeper.all) == []
        await events.add(Stubborn)
        assert await stubborn.remove() is None
        assert await events.which_handlers() == ["Keeper"]
        assert caplog.text.count("Stubborn") >= 3

    play.one(main)


# -- a look from outside ----------------------------------------------------------------------------------


def test_the_state_of_handlers_can_be_seen_and_replaced(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        events = await events_on(a, b)
        keeper = await events.add(Keeper)
        await events.sync_notify(1)
        assert await a.sys.get_state(events.ref) == {"handlers": {"Keeper": {"name": "keeper", "heard": [1]}}}
        await a.sys.replace_state(events.ref, {"handlers": {"Keeper": {"heard": [5]}}, "mood": "fine"})
        assert await keeper.call(Keeper.all) == [5]
        assert (await a.sys.get_state(events.ref))["mood"] == "fine"
        with pytest.raises(RemoteError, match="no handler 'another'"):
            await a.sys.replace_state(events.ref, {"handlers": {"another": {}}})
        with pytest.raises(RemoteError, match="_quorate_cell is not part of the state"):
            await a.sys.replace_state(
                events.ref, {"handlers": {"Keeper": {"heard": [], "_quorate_cell": None}}}
            )
        assert await keeper.call(Keeper.all) == [5]

    play.two(main)


def test_the_names_of_handlers_themselves_are_no_methods() -> None:
    with pytest.raises(TypeError, match=r"Bad\.remove"):

        class Bad(EventHandler[int]):
            def remove(self) -> None:
                pass


# -- values -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spoken:
    text: str


def test_events_of_one_manager_are_equal_and_so_are_its_handlers(play: Play) -> None:
    class Talk(GenEvent[Spoken]):
        pass

    async def main(node: Node, world: World) -> None:
        ref: Ref[Talk] = await node.start(Talk)
        one, same = Events(ref), Events(ref.within(None)).supervised_by(node.pid)
        other = Events(await node.start(Talk))
        assert one == same
        assert hash(one) == hash(same)
        assert one != other
        assert one != ref
        assert one.handler(Keeper) == same.handler(Keeper, "Keeper")
        assert len({one.handler(Keeper), same.handler(Keeper), other.handler(Keeper)}) == 2
        assert repr(one.handler(Keeper)) == f"HandlerRef('Keeper' of {ref.pid})"
        assert repr(one) == f"Events({ref.pid})"
        await one.within(1.0).sync_notify(Spoken("x"))

    play.one(main)
