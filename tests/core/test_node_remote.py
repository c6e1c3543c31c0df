"""Processes of other nodes when links come and go: what is lost, what is told, and what never arrives."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from quorate.core import (
    Busy,
    CalleeExited,
    Channel,
    ConfigError,
    DecodeError,
    Down,
    Exit,
    ExitSignal,
    GenServer,
    Node,
    NodeDown,
    NodeLost,
    NodeUp,
    NoProcess,
    NotCallable,
    Pid,
    Process,
    Ref,
    RemoteError,
    RemoteName,
    backlog,
    pack,
)
from quorate.core.signals import Call, ExitTo, Link, Monitor, Send, encode
from tests.core.conftest import Play
from tests.core.nodes import B, C, MemoryLinks, World
from tests.core.servers import Counter
from tests.core.test_process_exits import trap, wait, watch
from tests.support import turns


async def collect(self: Process, into: list[Any]) -> None:
    while True:
        into.append(await self.receive())


def state_left(node: Node, peer: str) -> tuple[int, ...]:
    """How much hangs on the link to a peer."""
    state = node._remote.peers[peer]
    return len(state.links), len(state.watched), len(state.watching), len(state.calls), len(state.unlinking)


# -- a lost link ------------------------------------------------------------------------------------------


def test_a_lost_link_gives_noconnection_to_links_and_monitors_on_both_sides(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        here: list[Any] = []
        there: list[Any] = []
        one, two = a.spawn(trap, here), b.spawn(trap, there)
        a.spawn(watch, here, two)
        b.spawn(watch, there, one)

        async def links_them(self: Process) -> None:
            self.link(two)
            self.trap_exits = True
            here.append((await self.receive()).reason)

        linker = a.spawn(links_them)
        await world.settle()
        world.cut(a, b)
        await world.settle()
        assert sorted(str(getattr(item, "reason", item)) for item in here) == ["noconnection"] * 2
        assert [type(item) for item in there] == [ExitSignal, Down]
        assert there[0] == ExitSignal(linker, "noconnection")
        assert (there[1].pid, there[1].reason) == (one, "noconnection")
        info = b.process_info(two)
        assert info is not None
        assert info.links == ()
        assert info.monitored_by == 0

    play.two(main)


def test_a_lost_link_fails_the_calls_that_wait_for_the_other_node(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        ref = a.ref((await b.start(Counter)).pid, Counter)
        call = asyncio.create_task(ref.call(Counter.hang))
        await world.settle()
        world.cut(a, b)
        with pytest.raises(NodeDown, match="unknown"):
            await call
        assert a.pending_calls() == 0
        with pytest.raises(NodeDown, match="nothing was sent"):
            await ref.call(Counter.incr)
        ref.cast(Counter.incr)  # dropped silently

    play.two(main)


def test_linking_and_monitoring_without_a_link_gives_noconnection(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        here: list[Any] = []
        target = b.spawn(wait)
        world.cut(a, b)
        a.spawn(trap, here, target)
        a.spawn(watch, here, target)
        await world.settle()
        assert [(type(item), item.pid, item.reason) for item in here] == [
            (ExitSignal, target, "noconnection"),
            (Down, target, "noconnection"),
        ]

    play.two(main)


def test_nothing_of_an_old_connection_arrives_after_a_reconnect(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        seen: list[Any] = []
        collector = b.spawn(collect, seen)
        world.wire(a, b).paused = True
        old = world.wire(a, b)
        for number in range(5):
            a.send(collector, ("old", number))
        a.exit(collector, "old")
        world.cut(a, b)
        world.join(a, b)
        a.send(collector, ("new", 0))
        # Whatever the network still delivers of the old connection carries the old incarnation.
        peer = b._remote.peers[a.name]
        for channel, payload in old.frames:
            stale = world._links[b.name].peers[a.name]
            b.received(
                type(stale)(a.name, a.creation, peer.incarnation - 1, frozenset(), stale.address),
                channel,
                payload,
            )
        await world.settle()
        assert seen == [("new", 0)]
        assert b.process_info(collector) is not None

    play.two(main)


def test_a_down_of_an_old_connection_does_not_erase_the_new_one(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        events: list[Any] = []
        old = world._links[a.name].peers[b.name]
        world.cut(a, b)
        world.join(a, b)
        a.on_nodes(events.append)
        a.link_down(old, "late news")
        assert a.nodes() == [b.name]
        assert events == []

    play.two(main)


def test_after_a_reconnect_links_and_monitors_can_be_made_again_and_old_ones_are_gone(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        seen: list[Any] = []
        target = b.spawn(trap, [])
        a.spawn(trap, seen, target)
        a.spawn(watch, seen, target)
        await world.settle()
        world.cut(a, b)
        world.join(a, b)
        await world.settle()
        assert [item.reason for item in seen] == ["noconnection", "noconnection"]
        b_target = b.process_info(target)
        assert b_target is not None
        assert (b_target.links, b_target.monitored_by) == ((), 0)
        a.spawn(watch, seen, target)
        await world.settle()
        b.exit(target, "kill")
        await world.settle()
        assert [item.reason for item in seen[2:]] == ["killed"]
        assert state_left(a, b.name) == state_left(b, a.name) == (0, 0, 0, 0, 0)

    play.two(main)


def test_a_late_answer_is_dropped_before_any_mailbox(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        ref = a.ref((await b.start(Counter)).pid, Counter)
        world.wire(b, a).paused = True
        call = asyncio.create_task(ref.within(1.0).call(Counter.incr))
        await world.clock.pass_time(1.1)
        assert call.exception() is not None
        world.resume(b, a)
        await world.settle()
        assert await ref.call(Counter.value) == 1
        assert state_left(a, b.name) == (0, 0, 0, 0, 0)

    play.two(main)


# -- creations --------------------------------------------------------------------------------------------


def test_a_pid_of_a_node_that_was_restarted_is_dead(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        seen: list[Any] = []
        old = b.spawn(wait)
        old_counter = a.ref((await b.start(Counter)).pid, Counter)
        world.cut(a, b)
        await b.close()
        again = await world.node(B, creation=2, exports=a.exports)
        world.join(a, again)
        fresh = again.spawn(collect, seen)
        counter = await again.start(Counter)
        assert (old.serial, old_counter.pid.serial) == (fresh.serial, counter.pid.serial)
        assert old != fresh
        a.send(old, "for the dead")
        a.exit(old, "kill")
        with pytest.raises(NoProcess):
            await old_counter.call(Counter.incr)
        old_counter.cast(Counter.incr)
        told: list[Any] = []
        a.spawn(trap, told, old)
        a.spawn(watch, told, old)
        again.send(old, "from its own node")
        again.spawn(watch, told, old)
        await world.settle()
        assert seen == []
        assert [item.reason for item in told] == ["noproc"] * 3
        assert await counter.call(Counter.value) == 0

    play.two(main)


def test_a_frame_for_another_life_of_the_node_reaches_nobody(play: Play) -> None:
    """Also when the sender's view of the link was wrong: the creation is in the frame."""

    async def main(a: Node, b: Node, world: World) -> None:
        seen: list[Any] = []
        told: list[Any] = []
        collector = b.spawn(collect, seen)
        counter = await b.start(Counter)
        peer = world._links[b.name].peers[a.name]
        body = a.kernel.codec.encode("x")
        serial = collector.serial
        for signal in (
            Send(serial, 9, body),
            ExitTo(1, serial, 9, 0, a.kernel.codec.encode("kill")),
            Call(counter.pid.serial, 9, "", "incr", a.kernel.codec.encode_call((), {}), 0, "", 1, ()),
            Link(1, serial, 9),
            Monitor(5, serial, 9),
        ):
            b.received(peer, Channel.SIGNALS, encode(signal))
        await world.settle()
        assert (seen, told) == ([], [])
        assert await counter.call(Counter.value) == 0
        info = b.process_info(collector)
        assert info is not None
        assert (info.links, info.monitored_by) == ((), 0)

    play.two(main)


# -- bad frames -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\xc1",
        b"\x93\x01",
        pack(7),
        pack([]),
        pack(["send"]),
        pack([99]),
        pack([0, 1]),
        pack([1, 1]),
        pack([1, 1, 1, b"x", 1]),
        pack([1, "1", 1, b"x"]),
        pack([1, True, 1, b"x"]),
        pack([1, -1, 1, b"x"]),
        pack([1, 2**63, 1, b"x"]),
        pack([2, b"name", b"x"]),
        pack([4, 1, 1, "", "incr", b"", 1, "", 1, [["a", 1]]]),
        pack([4, 1, 1, "", "incr", b"", 1, "", 1, [[]] * 2000]),
        pack([1, 1, 1, b"x"]) + b"more",
        pack([5, 1, 1, 77, b"\xc0"]),
    ],
)
def test_a_frame_that_is_no_signal_ends_the_link_and_nothing_else(
    play: Play, frame: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        ref = await b.start(Counter)
        call = asyncio.create_task(a.ref(ref.pid, Counter).call(Counter.hang))
        await world.settle()
        alias = next(iter(a._remote._calls))
        if frame == pack([5, 1, 1, 77, b"\xc0"]):
            bad = pack([5, alias, 1, 77, b"\xc0"])
            a.received(world._links[a.name].peers[b.name], Channel.SIGNALS, bad)
        else:
            b.received(world._links[b.name].peers[a.name], Channel.SIGNALS, frame)
        await world.settle()
        assert a.nodes() == b.nodes() == []
        assert "no signal, the link is closed" in caplog.text
        with pytest.raises((NodeDown, DecodeError)):
            await call
        assert b.process_info(ref.pid) is not None

    play.two(main)


def test_a_value_that_cannot_be_read_here_spoils_its_message_alone(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    @dataclass(frozen=True)
    class Known:
        n: int

    async def main(a: Node, b: Node, world: World) -> None:
        c = await world.node(C)  # knows no `Known`
        world.join(a, c)
        a.export(Known, "known")
        seen: list[Any] = []
        collector = c.spawn(collect, seen)
        counter = a.ref((await c.start(Counter)).pid, Counter)
        a.send(collector, Known(1))
        a.send(collector, "next")
        with pytest.raises(NotCallable, match="known"):
            await counter.call(Counter.echo, Known(2))
        counter.cast(Counter.echo, Known(3))
        a.exit(collector, ("because", Known(4)))
        await world.settle()
        assert seen == ["next"]
        assert c.process_info(collector) is None
        assert c.nodes() == [a.name]
        assert "was dropped" in caplog.text

    play.two(main)


# -- starting elsewhere -----------------------------------------------------------------------------------


async def exported_body(self: Process, into: Pid) -> None:
    self.send(into, ("hello from", self.pid))
    await self.receive()


class Refusing(GenServer):
    def __init__(self, error: str) -> None:
        raise ValueError(error)


def test_exported_classes_and_bodies_can_be_started_on_another_node(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        seen: list[Any] = []
        for thing in (Counter, exported_body, Refusing):
            a.export(thing)
        ref: Ref[Counter] = await a.start_on(b.name, Counter, start=5)
        assert ref.pid.node == b.name
        assert await ref.call(Counter.incr) == 6
        collector = a.spawn(collect, seen)
        pid = await a.spawn_on(b.name, exported_body, collector)
        await world.settle()
        assert seen == [("hello from", pid)]
        with pytest.raises((RemoteError, ValueError), match="no thanks"):
            await a.start_on(b.name, Refusing, "no thanks")
        with pytest.raises((RemoteError, TypeError)):
            await a.start_on(b.name, Counter, wrong=1)  # type: ignore[call-arg]

    anywhere.two(main)


def test_what_is_not_exported_cannot_be_started(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        with pytest.raises(ConfigError, match="not exported"):
            await a.start_on(b.name, Counter)
        c = await world.node(C)
        world.join(a, c)
        a.export(Counter)
        with pytest.raises(NotCallable, match="exports nothing"):
            await a.start_on(c.name, Counter)
        with pytest.raises(NodeDown):
            await a.start_on("nobody@127.0.0.1:1", Counter)
        assert c.processes() == []
        assert a.pending_calls() == 0

    play.two(main)


def test_a_server_that_refuses_to_start_elsewhere_says_why(play: Play) -> None:
    class Shy(GenServer):
        def __init__(self) -> None:
            raise Exit("not now")

    async def main(a: Node, b: Node, world: World) -> None:
        a.export(Shy)
        with pytest.raises(CalleeExited) as caught:
            await a.start_on(b.name, Shy)
        assert caught.value.reason == "not now"

    play.two(main)


# -- a slow peer ------------------------------------------------------------------------------------------


def test_a_sender_to_a_full_lane_gets_busy_and_exits_and_answers_wait_in_order(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        seen: list[Any] = []
        told: list[Any] = []
        collector = b.spawn(collect, seen)
        victims = [a.spawn(wait), a.spawn(wait)]
        counter = await a.start(Counter)
        b.spawn(trap, told, *victims)
        await world.settle()
        call = asyncio.create_task(b.ref(counter.pid, Counter).call(Counter.incr))
        world.wire(a, b).full = True
        a.exit(victims[0], "first")
        await world.settle()
        for _ in range(2):
            with pytest.raises(Busy):
                a.send(collector, "refused")
        with pytest.raises(Busy):
            await a.ref((await b.start(Counter)).pid, Counter).call(Counter.incr)
        assert a.pending_calls() == 0
        world.wire(a, b).full = False  # there is room, but what waits goes first
        with pytest.raises(Busy):
            a.send(collector, "refused")
        a.kernel.find(victims[1]).broken(ValueError("second"))  # type: ignore[union-attr]  # ends at once
        await world.settle()
        a.send(collector, "accepted")
        await world.settle()
        assert await call == 1
        assert seen == ["accepted"]
        assert told[0] == ExitSignal(victims[0], "first")
        assert (told[1].pid, told[1].reason.text) == (victims[1], "second")

    play.two(main)


def test_messages_on_their_way_to_another_process_wait_for_room(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        old, new = await a.start(Counter), await b.start(Counter)
        control = a.control(old.pid)
        control.hold()
        call = asyncio.create_task(old.call(Counter.incr))
        old.send("first")
        await turns()
        world.wire(a, b).full = True
        control.redirect(new.pid)
        old.send("second")
        await world.settle()
        assert not call.done()
        world.wire(a, b).full = False
        assert await call == 1
        assert await new.call(Counter.what_was_heard) == ["first", "second"]

    play.two(main)


def test_a_forwarded_message_that_cannot_travel_is_logged_and_its_caller_told(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        old, new = await a.start(Counter), await b.start(Counter)
        a.control(old.pid).redirect(new.pid)
        assert a.control(old.pid).held
        old.send(object())
        with pytest.raises(RemoteError, match="cannot be sent"):
            await old.call(Counter.echo, object())
        with pytest.raises(RemoteError, match="limit of a frame"):
            await old.call(Counter.echo, "x" * 2_000_000)
        assert caplog.text.count("was lost on its way") == 3
        assert a.pending_calls() == 0

    play.two(main)


def test_a_result_over_the_limit_of_a_frame_is_an_error_for_the_caller_alone(play: Play) -> None:
    class Large(Counter):
        def large(self) -> str:
            return "x" * 2_000_000

    async def main(a: Node, b: Node, world: World) -> None:
        ref = a.ref((await b.start(Large)).pid, Large)
        with pytest.raises(RemoteError, match="over the limit"):
            await ref.call(Large.large)
        assert await ref.call(Counter.incr) == 1

    play.two(main)


def test_nothing_is_kept_of_links_and_monitors_of_processes_that_ended(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        for first_ends in (True, False):
            one, two = a.spawn(trap, []), b.spawn(trap, [])
            a.spawn(trap, [], two)
            b.spawn(trap, [], one)
            a.spawn(watch, [], two)
            b.spawn(watch, [], one)
            await world.settle()
            assert state_left(a, b.name) != (0, 0, 0, 0, 0)
            ending = ((a, one), (b, two)) if first_ends else ((b, two), (a, one))
            for node, pid in ending:
                node.exit(pid, "kill")
            await world.settle()
            assert state_left(a, b.name) == state_left(b, a.name) == (0, 0, 0, 0, 0)

    play.two(main)


def test_a_peer_that_never_keeps_up_is_given_up(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "BACKLOG_LIMIT_BYTES", 2000)

    async def main(a: Node, b: Node, world: World) -> None:
        told: list[Any] = []
        watched = [a.spawn(wait) for _ in range(50)]
        b.spawn(watch, told, *watched)
        await world.settle()
        world.wire(a, b).full = True
        for pid in watched:
            a.exit(pid, "x" * 100)
        await world.settle()
        assert a.nodes() == []
        assert {down.reason for down in told} == {"noconnection"}
        links: MemoryLinks = world._links[a.name]
        assert "does not keep up" in links.evicted[0]

    play.two(main)


# -- nodes ------------------------------------------------------------------------------------------------


def test_node_events_reach_processes_and_callbacks_until_they_want_no_more(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        seen: list[Any] = []
        heard: list[Any] = []

        async def observer(self: Process) -> None:
            self.monitor_nodes()
            while True:
                seen.append(await self.receive())
                if len(seen) == 2:
                    self.monitor_nodes(False)

        watcher = a.spawn(observer)
        a.spawn(observer_that_ends)
        await turns()
        assert list(a.kernel._node_watchers) == [watcher.serial]
        subscription = a.on_nodes(heard.append)
        world.cut(a, b, "a reason")
        await turns()
        world.join(a, b)
        await turns()
        subscription.cancel()
        world.cut(a, b)
        await turns()
        expected = [NodeLost(b.name, 1, "a reason"), NodeUp(b.name, 1)]
        assert seen == heard == expected
        assert seen[0].reason == "a reason"

    async def observer_that_ends(self: Process) -> None:
        self.monitor_nodes()

    play.two(main)


def test_a_callback_for_nodes_that_raises_keeps_nobody_from_hearing(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        heard: list[Any] = []
        a.on_nodes(lambda event: 1 // 0)
        a.on_nodes(heard.append)
        world.cut(a, b)
        assert len(heard) == 1
        assert "ZeroDivisionError" in caplog.text

    play.two(main)


def test_links_and_monitors_work_across_a_name_and_a_ref_that_travelled(play: Play) -> None:
    class Subscriber(Counter):
        async def subscribe(self, to: Ref[Counter]) -> int:
            self.process.monitor(to.pid)
            return await to.call(Counter.incr, 10)

    async def main(a: Node, b: Node, world: World) -> None:
        target = await a.start(Counter)
        subscriber = await b.start(Subscriber)
        assert await a.ref(subscriber.pid, Subscriber).call(Subscriber.subscribe, target) == 10
        a.exit(target.pid, "gone")
        await world.settle()
        assert await subscriber.call(Counter.what_was_heard) == [("down", target.pid, "gone")]
        a.send(RemoteName(b.name, "nobody"), "dropped")

    play.two(main)


def test_a_process_can_send_its_pid_and_be_answered(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        async def echo(self: Process) -> None:
            while True:
                _, sender = await self.receive(("ping", Pid))
                self.send(sender, ("ping", self.pid))

        seen: list[Any] = []

        async def client(self: Process, to: Pid) -> None:
            self.send(to, ("ping", self.pid))
            seen.append(await self.receive())

        server = b.spawn(echo)
        await a.down(a.spawn(client, server))
        assert seen == [("ping", server)]

    play.two(main)
