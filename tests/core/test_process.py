"""Messages and mailboxes of processes whose body is a coroutine."""

import asyncio
import contextvars
from typing import Any

import pytest

from quorate.core import (
    Alias,
    EncodeError,
    LocalNameTaken,
    Node,
    Pid,
    Process,
    ProcessConfig,
    RemoteError,
    RemoteName,
)
from tests.core.conftest import Play
from tests.core.nodes import LOOPS, World
from tests.support import turns

COLOUR = contextvars.ContextVar("colour", default="none")


async def collect(self: Process, into: list[Any], count: int = 1_000_000) -> None:
    """Put what arrives into a list of the test (so: on the test's own node)."""
    while count > 0:
        into.append(await self.receive())
        count -= 1


async def forward(self: Process, to: Pid) -> None:
    while True:
        self.send(to, await self.receive())


def test_messages_of_one_sender_arrive_in_the_order_sent(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        seen: list[Any] = []
        collector = b.spawn(collect, seen)

        async def sender(self: Process) -> None:
            for number in range(500):
                self.send(collector, number)

        a.spawn(sender)
        await world.settle()
        await turns(500)
        assert seen == list(range(500))

    anywhere.two(main)


def test_a_message_sent_before_an_exit_signal_arrives_before_it(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        seen: list[Any] = []

        async def trapping(self: Process) -> None:
            self.trap_exits = True
            while True:
                seen.append(await self.receive())

        target = b.spawn(trapping)
        await turns()

        async def sender(self: Process) -> None:
            self.send(target, 1)
            self.exit(target, "first")
            self.send(target, 2)
            self.exit(target, "second")

        a.spawn(sender)
        await world.settle()
        assert [getattr(item, "reason", item) for item in seen] == [1, "first", 2, "second"]

    anywhere.two(main)


def test_a_message_to_nobody_is_dropped_silently(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        gone = b.spawn(collect, [], 0)
        await world.settle()
        a.send(gone, "hello")
        a.send(Pid(b.name, b.creation, 4711), "hello")
        a.send("no such name", "hello")
        a.send(RemoteName(b.name, "no such name"), "hello")
        a.send(Alias(b.name, b.creation, 99), "hello")
        a.send(Pid("nobody@127.0.0.1:1", 1, 1), "hello")
        await world.settle()

    anywhere.two(main)


def test_receive_takes_the_first_that_matches_and_leaves_the_others_in_order(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        seen: list[Any] = []

        async def body(self: Process) -> None:
            seen.append(await self.receive(str))
            seen.append(await self.receive(("pair", int, ...)))
            seen.append(await self.receive(lambda message: message == 3))
            seen.append(await self.receive(bytes | float))
            seen.extend([await self.receive(), await self.receive(), await self.receive()])

        pid = node.spawn(body)
        for message in (1, ("pair", "no", 0), "text", 2, ("pair", 5, None), 3, 2.5):
            node.send(pid, message)
        await turns()
        assert seen == ["text", ("pair", 5, None), 3, 2.5, 1, ("pair", "no", 0), 2]

    play.one(main)


def test_a_message_that_arrives_while_receive_waits_for_another_is_kept(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        seen: list[Any] = []

        async def body(self: Process) -> None:
            seen.append(await self.receive("go"))
            seen.extend([await self.receive(), await self.receive()])

        pid = node.spawn(body)
        for message in (1, 2, "go"):
            await turns()
            assert seen == []
            node.send(pid, message)
        await turns()
        assert seen == ["go", 1, 2]

    play.one(main)


def test_receive_times_out_and_takes_nothing(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        seen: list[Any] = []

        async def body(self: Process) -> None:
            with pytest.raises(TimeoutError):
                await self.receive(int, timeout_s=0)
            with pytest.raises(TimeoutError):
                await self.receive(int, timeout_s=2.0)
            seen.append("timed out")
            seen.append(await self.receive())

        pid = node.spawn(body)
        node.send(pid, "text")
        await world.clock.pass_time(1.9)
        assert seen == []
        await world.clock.pass_time(0.2)
        assert seen == ["timed out", "text"]
        assert world.clock.next_due() is None

    play.one(main)


def test_a_receive_that_asyncio_cancels_loses_no_message(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        seen: list[Any] = []

        async def body(self: Process) -> None:
            try:
                async with asyncio.timeout(0.001):
                    await self.receive()
            except TimeoutError:
                node.send(self.pid, "kept")
            seen.append(await self.receive())

        pid = node.spawn(body)
        assert (await node.down(pid)).reason == "normal"
        assert seen == ["kept"]

    play.one(main)


def test_two_receives_at_once_are_refused(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        errors: list[BaseException] = []

        async def body(self: Process) -> None:
            try:
                await asyncio.gather(self.receive(), self.receive())
            except RuntimeError as error:
                errors.append(error)

        node.spawn(body)
        await turns()
        assert len(errors) == 1

    play.one(main)


def test_a_predicate_that_raises_does_so_in_receive_and_the_message_stays(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        seen: list[Any] = []

        async def body(self: Process) -> None:
            with pytest.raises(ZeroDivisionError):
                await self.receive(lambda message: 1 // 0)
            seen.append(await self.receive())

        node.send(node.spawn(body), "stays")
        await turns()
        assert seen == ["stays"]

    play.one(main)


def test_a_predicate_may_send_to_its_own_process(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        seen: list[Any] = []

        async def body(self: Process) -> None:
            seen.append(await self.receive(lambda message: self.send(self.pid, "more")))

        pid = node.spawn(body)
        node.send(pid, 1)
        await turns(4)
        info = node.process_info(pid)
        assert info is not None
        assert info.mailbox > 1

    play.one(main)


def test_a_name_leads_to_its_process_from_here_and_from_elsewhere(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        seen: list[Any] = []

        async def named(self: Process) -> None:
            self.register("clerk")
            self.register("clerk")  # its own already
            await collect(self, seen)

        pid = b.spawn(named)
        await turns()
        assert b.whereis("clerk") == pid
        b.send("clerk", "here")
        a.send(RemoteName(b.name, "clerk"), "from anywhere")
        await world.settle()
        assert seen == ["here", "from anywhere"]

    anywhere.two(main)


def test_a_local_name_belongs_to_one_process_at_a_time(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        errors: list[BaseException] = []

        async def holder(self: Process) -> None:
            self.register("one")
            try:
                self.register("two")
            except ValueError as error:
                errors.append(error)
            await self.receive()
            self.unregister()
            await self.receive()

        async def other(self: Process) -> None:
            try:
                self.register("one")
            except LocalNameTaken as error:
                errors.append(error)
                assert error.owner == first

        first = node.spawn(holder)
        await turns()
        node.spawn(other)
        await turns()
        assert [type(error) for error in errors] == [ValueError, LocalNameTaken]
        node.send(first, "give it up")
        await turns()
        assert node.whereis("one") is None
        assert node.process_info(first) is not None

    play.one(main)


def test_what_is_sent_to_an_alias_that_was_switched_off_is_dropped(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        seen: list[Any] = []
        aliases: list[Alias] = []

        async def body(self: Process) -> None:
            aliases.append(self.alias())
            seen.append(await self.receive())
            assert self.unalias(aliases[0])
            assert not self.unalias(aliases[0])
            seen.append(await self.receive())

        pid = b.spawn(body)
        await turns()
        a.send(aliases[0], "in time")
        await world.settle()
        a.send(aliases[0], "late")
        await world.settle()
        assert seen == ["in time"]
        info = b.process_info(pid)
        assert info is not None
        assert info.mailbox == 0

    anywhere.two(main)


def test_an_alias_ends_with_its_process(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        aliases: list[Alias] = []

        async def body(self: Process) -> None:
            aliases.append(self.alias())

        await node.down(node.spawn(body))
        assert not node.kernel.has_alias(aliases[0])

    play.one(main)


def test_send_after_sends_when_the_time_is_up_unless_cancelled(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        seen: list[Any] = []
        pid = node.spawn(collect, seen)

        async def sender(self: Process) -> None:
            self.send_after(2.0, pid, "two")
            self.send_after(1.0, pid, "one")
            self.send_after(1.5, pid, "never").cancel()

        node.spawn(sender)
        await world.clock.pass_time(0.9)
        assert seen == []
        await world.clock.pass_time(5.0)
        assert seen == ["one", "two"]

    play.one(main)


def test_a_body_that_always_finds_a_message_does_not_starve_the_others(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        counts = [0]

        async def greedy(self: Process) -> None:
            while True:
                self.send(self.pid, "again")
                await self.receive()
                counts[0] += 1

        node.spawn(greedy)
        await turns(10)
        assert 10 <= counts[0] <= 10 * 8

    play.one(main, ProcessConfig(slice_messages=8))


def test_context_variables_are_a_process_s_own(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        seen: list[str] = []

        async def body(self: Process, colour: str) -> None:
            seen.append(COLOUR.get())
            COLOUR.set(colour)
            await self.receive()
            seen.append(COLOUR.get())

        COLOUR.set("of the spawner")
        pids = [node.spawn(body, colour) for colour in ("red", "blue")]
        await turns()
        for pid in pids:
            node.send(pid, "go on")
        await turns()
        assert seen == ["of the spawner", "of the spawner", "red", "blue"]
        assert COLOUR.get() == "of the spawner"

    play.one(main)


def test_asyncio_works_in_a_body_as_its_users_know_it(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        seen: list[Any] = []

        async def body(self: Process) -> None:
            task = asyncio.current_task()
            seen.append(task is not None and not task.done())
            async with asyncio.TaskGroup() as group:
                numbers = [group.create_task(asyncio.sleep(0, result=number)) for number in range(3)]
            seen.append([number.result() for number in numbers])
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await asyncio.Event().wait()

        down = await node.down(node.spawn(body))
        assert down.reason == "normal"
        assert seen == [True, [0, 1, 2]]

    play.one(main)


@pytest.mark.parametrize("loop", LOOPS)  # (in a simulation there are no threads)
def test_a_body_may_wait_for_a_thread(loop: str) -> None:
    async def main(node: Node, world: World) -> None:
        seen: list[str] = []

        async def body(self: Process) -> None:
            seen.append(await asyncio.to_thread(lambda: "from a thread"))

        assert (await node.down(node.spawn(body))).reason == "normal"
        assert seen == ["from a thread"]

    Play(loop).one(main)


def test_a_body_that_is_no_coroutine_function_or_gets_wrong_arguments_is_refused_at_once(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        def plain(self: Process) -> None:
            pass

        with pytest.raises(TypeError, match="no coroutine function"):
            node.spawn(plain)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="required positional argument"):
            node.spawn(collect)  # type: ignore[call-arg]
        assert node.processes() == []

    play.one(main)


def test_process_info_tells_what_a_process_does(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        async def body(self: Process) -> None:
            self.register("clerk")
            self.trap_exits = True
            self.link(first)
            self.monitor(first)
            await self.receive("never")

        first = node.spawn(collect, [])
        second = node.spawn(body)
        node.send(second, "waits")
        await turns()
        info = node.process_info(second)
        assert info is not None
        assert (info.name, info.state, info.status, info.mailbox) == ("clerk", "alive", "waiting", 1)
        assert (info.links, info.monitors, info.trap_exits) == ((first,), 1, True)
        watched = node.process_info(first)
        assert watched is not None
        assert (watched.monitored_by, watched.links, watched.kind) == (1, (second,), "collect")
        assert node.processes() == [first, second]
        assert node.process_info(Pid(node.name, node.creation, 99)) is None

    play.one(main)


def test_a_pid_is_shown_as_erlang_shows_it(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        pid = a.spawn(collect, [])
        assert a.show(pid) == "<0.1.0>"
        assert b.show(pid) == str(pid) == repr(pid) == f"<{a.name}/1.1>"

    play.two(main)


def test_a_value_that_cannot_travel_is_refused_at_the_sender_and_named(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        pid = b.spawn(collect, [])
        with pytest.raises(EncodeError) as caught:
            a.send(pid, ("hello", {"handle": asyncio.get_running_loop()}))
        assert caught.value.path == "message[1]['handle']"

    play.two(main)


def test_an_exception_sent_as_a_message_arrives_in_its_plain_form(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        seen: list[Any] = []
        a.send(b.spawn(collect, seen), KeyError("which"))
        await world.settle()
        assert isinstance(seen[0], RemoteError)
        assert (seen[0].type_name, seen[0].text) == ("KeyError", "'which'")

    play.two(main)


def test_a_receive_that_waits_finds_its_message_although_others_before_it_were_flushed(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        got: list[Any] = []
        flush = asyncio.Event()

        async def end(self: Process) -> None:
            pass

        async def body(self: Process) -> None:
            ref = self.monitor(gone)
            await turns()

            async def beside() -> None:
                await flush.wait()
                self.demonitor(ref, flush=True)
                self.send(self.pid, ("wanted", 1))

            async with asyncio.TaskGroup() as group:
                group.create_task(beside())
                got.append(await self.receive(("wanted", int)))
                got.extend([await self.receive(), await self.receive()])

        gone = node.spawn(end)
        await turns()
        pid = node.spawn(body)
        await turns(40)
        node.send(pid, "a")
        node.send(pid, "b")
        await turns()
        flush.set()
        await turns()
        assert got == [("wanted", 1), "a", "b"]

    play.one(main)
