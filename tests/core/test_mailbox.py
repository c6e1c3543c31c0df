"""Mailboxes: limits and what becomes of a message beyond them, priority messages, and messages that will be sent."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import quorate
from quorate.core import (
    Alias,
    Busy,
    CallError,
    ConfigError,
    Down,
    EncodeError,
    ExitSignal,
    GenServer,
    MailboxFull,
    MailboxLimit,
    MailboxPolicy,
    Node,
    Pid,
    Process,
    ProcessConfig,
)
from tests.core.conftest import Play
from tests.core.nodes import World
from tests.core.servers import Counter
from tests.support import turns


async def collector(self: Process, into: list[Any], gate: asyncio.Event) -> None:
    """Takes nothing until the gate is open."""
    self.trap_exits = True
    await gate.wait()
    while True:
        into.append(await self.receive())


class Slow(GenServer):
    """Handles nothing until the gate is open."""

    def __init__(self, messages: int | None, policy: MailboxPolicy) -> None:
        self.process.limit_mailbox(messages, policy)
        self.gate = asyncio.Event()
        self.heard: list[Any] = []

    async def wait(self) -> None:
        await self.gate.wait()

    def count(self) -> int:
        return len(self.heard)

    def note(self, value: object) -> None:
        self.heard.append(value)

    def handle_info(self, message: Any) -> None:
        self.heard.append(message)


async def slow_on(a: Node, b: Node, messages: int | None, policy: MailboxPolicy) -> tuple[Any, Slow]:
    """A server that is busy, as a sees it, and its object."""
    pid = (await b.start(Slow, messages, policy)).pid
    ref = a.ref(pid, Slow)
    ref.cast(Slow.wait)
    return ref, b.kernel.cells[pid.serial].server  # type: ignore[attr-defined]


# -- limits -----------------------------------------------------------------------------------------------


def test_a_mailbox_over_its_limit_is_reported_once_and_again_when_it_has_doubled(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(node: Node, world: World) -> None:
        pid = node.spawn(collector, [], asyncio.Event())
        for number in range(45):
            node.send(pid, number)
        info = node.process_info(pid)
        assert info is not None
        assert (info.mailbox, info.mailbox_limit) == (45, MailboxLimit(10, "warn"))
        sizes = [vars(record)["quorate"]["size"] for record in caplog.records if hasattr(record, "quorate")]
        assert sizes == [10, 20, 40]

    with caplog.at_level(logging.WARNING, "quorate.process"):
        play.one(main, ProcessConfig(mailbox=MailboxLimit(10, "warn")))


def test_a_node_warns_of_a_hundred_thousand_messages_unless_told_otherwise(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        info = node.process_info(node.spawn(collector, [], asyncio.Event()))
        assert info is not None
        assert info.mailbox_limit == MailboxLimit(100_000, "warn")

    play.one(main)


def test_beyond_a_limit_that_drops_the_newest_is_lost_and_a_caller_is_told(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        ref, server = await slow_on(a, b, 3, "drop")
        await world.settle()
        for number in range(5):
            ref.send(number)
        ref.cast(Slow.note, "lost too")
        await world.settle()
        with pytest.raises(MailboxFull, match=r"3 messages wait for .* already"):
            await ref.call(Slow.count)
        server.gate.set()
        assert await retried(lambda: ref.call(Slow.count), world) == 3
        assert server.heard == [0, 1, 2]

    anywhere.two(main)


async def retried(call: Callable[[], Awaitable[Any]], world: World) -> Any:
    """As a caller does who heeds `Busy`."""
    while True:
        try:
            return await call()
        except Busy:
            await world.settle()


def test_beyond_a_limit_that_refuses_a_sender_of_this_node_gets_busy(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref, server = await slow_on(node, node, 2, "refuse")
        await world.settle()
        for number in range(2):
            ref.send(number)
        with pytest.raises(Busy, match="nothing was sent; wait"):
            ref.send(2)
        with pytest.raises(Busy, match="nothing was sent; wait"):
            ref.cast(Slow.note, 2)
        timer = node.send_after(1.0, ref.pid, "by a timer")
        await world.clock.pass_time(2.0)
        assert timer.left_s() is None
        with pytest.raises(MailboxFull) as full:
            await ref.call(Slow.count)
        assert isinstance(full.value, CallError)
        server.gate.set()
        await world.settle()
        ref.send("again")
        assert await ref.call(Slow.count) == 3

    play.one(main)


def test_beyond_a_limit_that_refuses_a_message_of_another_node_is_lost_and_the_link_lives(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        ref, server = await slow_on(a, b, 2, "refuse")
        await world.settle()
        alias = b.kernel.new_alias(b.kernel.cells[ref.pid.serial])
        for number in range(4):
            ref.send(number)
        ref.cast(Slow.note, "lost")
        a.send(alias, "lost as well")
        await world.settle()
        assert b.kernel.remote.dropped_messages == 4  # type: ignore[attr-defined]
        server.gate.set()
        await world.settle()
        assert await ref.call(Slow.count) == 2
        assert a.nodes() == [b.name]

    play.two(main)


def test_a_patient_sender_waits_for_room_in_a_mailbox_and_in_a_lane(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        ref, server = await slow_on(a, b, 2, "refuse")
        await world.settle()
        if a is not b:
            world.wire(a, b).full = True

        async def sender(self: Process, count: int) -> None:
            for number in range(count):
                await self.send_patiently(ref.pid, number)

        pids = [a.spawn(sender, 1 if a is not b else 10), a.spawn(sender, 1)]
        await world.settle()
        assert all(a.process_info(pid) is not None for pid in pids)
        if a is not b:
            world.wire(a, b).full = False
        server.gate.set()
        await world.settle()
        assert all(a.process_info(pid) is None for pid in pids)
        assert len(server.heard) == (2 if a is not b else 11)
        assert b.kernel.crowding.crowded == {}

    anywhere.two(main)


@pytest.mark.parametrize("address", ["pid", "name", "alias"])
def test_a_patient_sender_goes_on_when_the_receiver_is_gone(play: Play, address: str) -> None:
    async def main(node: Node, world: World) -> None:
        ref, _ = await slow_on(node, node, 1, "refuse")
        cell = node.kernel.cells[ref.pid.serial]
        node.kernel.register(cell, "slow")
        to: Any = {"pid": ref.pid, "name": "slow", "alias": node.kernel.new_alias(cell)}[address]
        await world.settle()
        ref.send("full")

        async def sender(self: Process) -> None:
            await self.send_patiently(to, "never")

        pid = node.spawn(sender)
        await world.settle()
        assert node.process_info(pid) is not None
        node.exit(ref.pid, "kill")
        await world.settle()
        assert node.process_info(pid) is None

    play.one(main)


def test_there_is_room_again_at_half_the_limit_and_when_a_body_has_ended(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        seen: list[Any] = []
        steps = asyncio.Semaphore(0)

        async def slow(self: Process) -> None:
            self.limit_mailbox(4, "refuse")
            while True:
                await steps.acquire()
                seen.append(await self.receive())

        async def sender(self: Process, to: Pid, message: str) -> None:
            await self.send_patiently(to, message)

        pid = node.spawn(slow)
        await world.settle()
        for number in range(4):
            node.send(pid, number)
        waiting = node.spawn(sender, pid, "fifth")
        await world.settle()
        steps.release()
        await world.settle()
        assert node.process_info(waiting) is not None
        steps.release()
        await world.settle()
        assert node.process_info(waiting) is None
        node.send(pid, "sixth")
        with pytest.raises(Busy):
            node.send(pid, "seventh")
        waiting = node.spawn(sender, pid, "eighth")
        await world.settle()
        node.exit(pid, "kill")
        await world.settle()
        assert node.process_info(waiting) is None
        assert node.kernel.crowding.crowded == {}

    play.one(main)


def test_a_limit_that_kills_ends_the_process_though_it_traps_exits(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        seen: list[Any] = []
        pid = b.spawn(collector, seen, asyncio.Event())
        down = asyncio.create_task(a.down(pid))
        await world.settle()
        for number in range(6):
            a.send(pid, number)
        assert (await down).reason == "mailbox_full"
        assert seen == []

    anywhere.two(main, ProcessConfig(mailbox=MailboxLimit(5, "kill")))


@pytest.mark.parametrize("policy", ["drop", "refuse", "kill"])
def test_no_limit_loses_a_down_or_an_exit(play: Play, policy: MailboxPolicy) -> None:
    async def main(node: Node, world: World) -> None:
        seen: list[Any] = []
        gate = asyncio.Event()

        async def watcher(self: Process) -> None:
            self.limit_mailbox(1, policy)
            self.trap_exits = True
            for _ in range(3):
                pid, _ = self.spawn_monitor(short)
                self.link(pid)
            await gate.wait()
            while True:
                seen.append(await self.receive())

        async def short(self: Process) -> None: ...

        node.spawn(watcher)
        await world.settle()
        gate.set()
        await world.settle()
        assert [type(message) for message in seen].count(Down) == 3
        assert [type(message) for message in seen].count(ExitSignal) == 3

    play.one(main)


def test_a_limit_can_be_lifted_and_must_be_one(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref, server = await slow_on(node, node, None, "kill")
        for number in range(200):
            ref.send(number)
        server.gate.set()
        assert await ref.call(Slow.count) == 200

    play.one(main)
    for messages, policy in ((0, "warn"), (5, "suspend")):
        with pytest.raises(ConfigError, match="is no limit"):
            MailboxLimit(messages, policy)  # type: ignore[arg-type]


# -- priority messages ------------------------------------------------------------------------------------


def test_what_is_sent_to_a_priority_alias_is_taken_first_and_in_order(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        seen: list[Any] = []
        gate = asyncio.Event()
        addresses: list[Alias] = []

        async def body(self: Process) -> None:
            addresses.extend([self.alias(priority=True), self.alias()])
            await gate.wait()
            while True:
                seen.append(await self.receive())

        pid = b.spawn(body)
        await world.settle()
        urgent, plain = addresses
        for number in range(3):
            a.send(pid, f"pid {number}")
            a.send(plain, f"alias {number}")
            a.send(urgent, f"urgent {number}")
        await world.settle()
        info = b.process_info(pid)
        assert info is not None
        assert (info.mailbox, info.aliases) == (9, 2)
        gate.set()
        await world.settle()
        assert seen[:3] == ["urgent 0", "urgent 1", "urgent 2"]
        assert seen[3:] == [f"{way} {number}" for number in range(3) for way in ("pid", "alias")]

    anywhere.two(main)


def test_a_priority_message_that_does_not_match_waits_ahead_of_the_others(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        seen: list[Any] = []

        async def body(self: Process) -> None:
            urgent = self.alias(priority=True)
            for message in (1, "one", 2):
                self.send(self.pid, message)
            self.send(urgent, "first")
            self.send(urgent, 0)
            seen.append(await self.receive(int))
            seen.append(await self.receive(2))
            task = asyncio.create_task(self.receive(float))
            await asyncio.sleep(0)
            self.send(urgent, 0.5)
            seen.append(await task)
            seen.extend([await self.receive() for _ in range(3)])

        pid = node.spawn(body)
        assert (await node.down(pid)).reason == "normal"
        assert seen == [0, 2, 0.5, "first", 1, "one"]

    play.one(main)


def test_a_server_handles_priority_messages_first_and_none_after_its_alias_is_off(anywhere: Play) -> None:
    class Hasty(Slow):
        def give_alias(self) -> Alias:
            return self.process.alias(priority=True)

        def take_alias(self, alias: Alias) -> bool:
            return self.process.unalias(alias)

    async def main(a: Node, b: Node, world: World) -> None:
        pid = (await b.start(Hasty, 1, "kill")).pid
        ref = a.ref(pid, Hasty)
        server: Slow = b.kernel.cells[pid.serial].server  # type: ignore[attr-defined]
        alias = await ref.call(Hasty.give_alias)
        ref.cast(Hasty.wait)
        await world.settle()
        ref.send("plain")
        a.send(alias, "urgent")
        a.send(alias, "no limit holds for it")
        await world.settle()
        server.gate.set()
        await world.settle()
        assert server.heard == ["urgent", "no limit holds for it", "plain"]
        assert await ref.call(Hasty.take_alias, alias)
        a.send(alias, "late")
        await world.settle()
        assert len(server.heard) == 3
        assert b.kernel._urgent == set()

    anywhere.two(main)


@pytest.mark.parametrize("what", ["message", "priority message", "errand"])
def test_what_comes_while_a_call_is_handled_at_once_is_handled_next(play: Play, what: str) -> None:
    class Hurrying(GenServer):
        def __init__(self) -> None:
            self.heard: list[object] = []
            self.alias = self.process.alias(priority=True)

        def hurry(self, node: Node) -> None:
            if what == "errand":
                node.control(self.pid).post(lambda server: server.heard.append(what))
            else:
                node.send(self.pid if what == "message" else self.alias, what)

        async def hurry_too(self, node: Node) -> None:
            self.hurry(node)

        def handle_info(self, message: Any) -> None:
            self.heard.append(message)

    async def main(node: Node, world: World) -> None:
        for method in (Hurrying.hurry, Hurrying.hurry_too):
            ref = await node.start(Hurrying)
            server: Any = node.kernel.cells[ref.pid.serial].server  # type: ignore[attr-defined]
            await ref.call(method, node)
            await world.settle()
            assert server.heard == [what]

    play.one(main)


def test_priority_messages_end_with_their_process_and_move_with_a_mailbox(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Counter)
        cell = node.kernel.cells[ref.pid.serial]
        urgent = node.kernel.new_alias(cell, priority=True)
        control = node.control(ref.pid)
        control.hold()
        ref.send("plain")
        node.send(urgent, "urgent")
        assert control.take_mailbox() == ["urgent", "plain"]
        other = await node.start(Counter)
        control.redirect(other.pid)
        node.send(urgent, "forwarded")
        await world.settle()
        assert await other.call(Counter.what_was_heard) == ["forwarded"]
        node.exit(ref.pid, "kill")
        await world.settle()
        node.send(urgent, "to nobody")
        assert node.kernel._urgent == set()

    play.one(main)


# -- messages that will be sent ---------------------------------------------------------------------------


def test_cancel_timer_tells_the_time_that_was_left(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        seen: list[Any] = []
        heard: list[Any] = []
        target = b.spawn(collector, heard, opened())

        async def body(self: Process) -> None:
            early, late = self.send_after(1.0, target, "sent"), self.send_after(9.0, target, "never")
            await self.receive()
            seen.extend([early.left_s(), late.left_s(), self.cancel_timer(early), self.cancel_timer(late)])
            seen.extend([late.left_s(), self.cancel_timer(late)])

        pid = a.spawn(body)
        await world.clock.pass_time(3.0)
        a.send(pid, "go")
        await world.clock.pass_time(20.0)
        assert seen == [None, 6.0, None, 6.0, None, None]
        assert heard == ["sent"]

    anywhere.two(main)


def opened() -> asyncio.Event:
    gate = asyncio.Event()
    gate.set()
    return gate


def test_what_cannot_travel_is_refused_when_the_timer_is_set_and_names_the_part(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        pid = Pid(b.name, b.creation, 1)
        with pytest.raises(EncodeError, match=r"message\[1\]\['socket'\] \(builtins.object\) cannot be sent"):
            a.send_after(1.0, pid, (1, {"socket": object()}))
        assert world.clock.next_due() is None

    play.two(main)


# -- what cannot travel -----------------------------------------------------------------------------------


def test_a_message_that_contains_itself_is_refused_at_the_sender_and_passed_within_the_node(
    play: Play,
) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        endless: list[Any] = []
        endless.append((endless,))
        heard: list[Any] = []
        here, there = (node.spawn(collector, heard, opened()) for node in (a, b))
        with pytest.raises(EncodeError, match=r"message \(builtins.list\) cannot be sent: nested"):
            a.send(there, endless)
        a.send(here, endless)
        await world.settle()
        assert len(heard) == 1
        assert heard[0] is endless
        ref = a.ref((await b.start(Counter)).pid, Counter)
        with pytest.raises(EncodeError, match="args"):
            await ref.call(Counter.echo, endless)
        assert await ref.call(Counter.value) == 0

    play.two(main)


def test_an_argument_that_cannot_travel_is_refused_at_the_caller_and_named(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        ref = a.ref((await b.start(Counter)).pid, Counter)
        with pytest.raises(EncodeError) as refused:
            await ref.call(Counter.echo, [1, {"socket": object()}])
        assert refused.value.path == "args[0][1]['socket']"
        with pytest.raises(EncodeError, match=r"kwargs\['value'\]"):
            ref.cast(Counter.echo, value=object())
        assert a.pending_calls() == 0
        assert await ref.call(Counter.value) == 0

    play.two(main)


# -- process_info -----------------------------------------------------------------------------------------


def test_process_info_tells_where_a_process_waits_and_what_it_handles(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref, _ = await slow_on(node, node, 7, "drop")
        pid = node.spawn(collector, [], asyncio.Event())
        await world.settle()
        server, body = node.process_info(ref.pid), node.process_info(pid)
        assert server is not None
        assert body is not None
        assert (server.handling, server.status, server.mailbox_limit) == (
            "wait()",
            "running",
            MailboxLimit(7, "drop"),
        )
        assert "in Slow.wait" in server.where
        assert "in collector" in body.where
        assert set(node.processes()) == {ref.pid, pid}

    play.one(main)


def test_a_node_of_a_cluster_takes_limits_for_its_processes() -> None:
    limit = MailboxLimit(3, "drop")
    node = quorate.Node("a@127.0.0.1:9101", cookie="x", processes=ProcessConfig(mailbox=limit))
    assert node._config.mailbox == limit


def test_timers_of_messages_to_a_process_end_with_it(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        async def busy(self: Process) -> None:
            for _ in range(5):
                self.send_after(3600.0, self.pid, "late")
            await self.receive()

        before = alive_timers(world)
        pids = [node.spawn(busy) for _ in range(20)]
        await turns()
        timer = node.send_after(3600.0, pids[0], "later")
        assert alive_timers(world) == before + 101
        for pid in pids:
            node.exit(pid, "kill")
        await turns()
        assert alive_timers(world) == before
        assert timer.left_s() is None
        assert node.send_after(3600.0, pids[0], "too late").left_s() is None
        assert node.kernel._timers == {}

    play.one(main)


def alive_timers(world: World) -> int:
    return sum(not timer.cancelled for _, _, timer in world.clock._timers)
