"""Links, monitors and exit signals: the statements of the design, here and across nodes."""

import asyncio
import logging
import sys
from typing import Any

import pytest

from quorate.core import Down, Exit, ExitSignal, GenServer, MonitorRef, Node, Pid, Process, RemoteError
from tests.core.conftest import Play
from tests.core.nodes import World
from tests.support import turns


async def wait(self: Process) -> None:
    """Do nothing, for ever."""
    await self.receive(lambda message: False)


async def trap(self: Process, seen: list[Any], *links: Pid) -> None:
    """Trap exits, link, and note what arrives."""
    self.trap_exits = True
    for pid in links:
        self.link(pid)
    while True:
        seen.append(await self.receive())


async def linked(self: Process, *links: Pid) -> None:
    for pid in links:
        self.link(pid)
    await wait(self)


async def watch(self: Process, seen: list[Any], *targets: Pid) -> None:
    for pid in targets:
        self.monitor(pid)
    while True:
        seen.append(await self.receive())


async def obedient(self: Process) -> None:
    """Link and unlink as told."""
    while True:
        match await self.receive():
            case ("link", pid):
                self.link(pid)
            case ("unlink", pid):
                self.unlink(pid)


async def end(self: Process, reason: object) -> None:
    """Wait for a message, then end."""
    await self.receive()
    raise Exit(reason)


class Reasons:
    """Why processes ended, noted as it happens."""

    def __init__(self, *watched: tuple[Node, Pid]) -> None:
        self.of: dict[Pid, object] = {}
        for node, pid in watched:
            node.watch(pid, self._note)

    def _note(self, down: Down) -> None:
        self.of[down.pid] = down.reason


# -- exit signals -----------------------------------------------------------------------------------------


def test_an_explicit_kill_cannot_be_trapped_and_its_target_dies_with_killed(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        seen: list[Any] = []
        target = b.spawn(trap, seen)
        await turns()
        reasons = Reasons((a, target))
        a.exit(target, "kill")
        await world.settle()
        assert reasons.of == {target: "killed"}
        assert seen == []

    anywhere.two(main)


def test_a_kill_that_arrives_through_a_link_is_unchanged_and_can_be_trapped(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        seen: list[Any] = []
        source = a.spawn(end, "kill")
        trapping, plain = b.spawn(trap, seen, source), b.spawn(linked, source)
        await world.settle()
        reasons = Reasons((b, trapping), (b, plain))
        a.send(source, "end")
        await world.settle()
        assert seen == [ExitSignal(source, "kill")]
        assert reasons.of == {plain: "kill"}

    anywhere.two(main)


def test_who_is_linked_to_a_killed_process_sees_killed(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        seen: list[Any] = []
        target = b.spawn(wait)
        a.spawn(trap, seen, target)
        await world.settle()
        a.exit(target, "kill")
        await world.settle()
        assert seen == [ExitSignal(target, "killed")]

    anywhere.two(main)


def test_normal_from_another_process_is_ignored_unless_trapped(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        seen: list[Any] = []
        trapping, plain = b.spawn(trap, seen), b.spawn(wait)
        await turns()
        for pid in (trapping, plain):
            a.exit(pid, "normal")
        await world.settle()
        assert seen == [ExitSignal(a.pid, "normal")]
        assert b.process_info(plain) is not None

    anywhere.two(main)


def test_a_normal_exit_of_a_linked_process_is_ignored_unless_trapped(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        seen: list[Any] = []
        source = a.spawn(end, "normal")
        b.spawn(trap, seen, source)
        plain = b.spawn(linked, source)
        await world.settle()
        a.send(source, "end")
        await world.settle()
        assert seen == [ExitSignal(source, "normal")]
        info = b.process_info(plain)
        assert info is not None
        assert info.links == ()

    anywhere.two(main)


def test_exit_of_oneself_with_normal_ends_the_process(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        reached: list[str] = []

        async def body(self: Process) -> None:
            self.exit(self.pid, "normal")
            reached.append("after")

        assert (await node.down(node.spawn(body))).reason == "normal"
        assert reached == []

    play.one(main)


def test_exit_of_oneself_is_a_message_when_trapped_and_kill_is_not(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        seen: list[Any] = []

        async def body(self: Process) -> None:
            self.trap_exits = True
            for reason in ("normal", "other"):
                self.exit(self.pid, reason)
                seen.append(await self.receive())
            self.exit(self.pid, "kill")

        pid = node.spawn(body)
        assert (await node.down(pid)).reason == "killed"
        assert seen == [ExitSignal(pid, "normal"), ExitSignal(pid, "other")]

    play.one(main)


@pytest.mark.parametrize("reason", ["shutdown", "noproc", 17, ("tuple", [1]), None, {"why": b"bytes"}])
def test_any_other_reason_ends_who_does_not_trap_and_is_told_unchanged(
    anywhere: Play, reason: object
) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        seen: list[Any] = []
        target = b.spawn(wait)
        a.spawn(trap, seen, target)
        await world.settle()
        reasons = Reasons((a, target))
        a.exit(target, reason)
        await world.settle()
        assert reasons.of == {target: reason}
        assert seen == [ExitSignal(target, reason)]

    anywhere.two(main)


def test_a_reason_that_cannot_travel_goes_as_text(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        target = b.spawn(wait)
        reasons = Reasons((b, target))
        a.exit(target, asyncio.Lock)
        await world.settle()
        assert reasons.of == {target: "<class 'asyncio.locks.Lock'>"}

    play.two(main)


def test_an_exit_signal_to_nobody_does_nothing(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        a.exit(Pid(b.name, b.creation, 99), "kill")
        a.exit(Pid("nobody@127.0.0.1:1", 1, 1), "kill")
        await world.settle()

    anywhere.two(main)


def test_a_crash_is_an_exit_with_the_exception_as_its_reason(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        async def crash(self: Process) -> None:
            await self.receive()
            raise ValueError("on purpose")

        target = b.spawn(crash)
        reasons = Reasons((a, target))
        a.send(target, "crash")
        await world.settle()
        reason = reasons.of[target]
        if a is b:
            assert isinstance(reason, ValueError)
        else:
            assert isinstance(reason, RemoteError)
            assert (reason.type_name, reason.text) == ("ValueError", "on purpose")
            assert "in crash" in reason.traceback_text

    anywhere.two(main)


def test_a_crash_makes_one_structured_log_record_and_an_exit_makes_none(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(node: Node, world: World) -> None:
        async def crash(self: Process) -> None:
            self.register("clerk")
            raise ValueError("on purpose")

        pid = node.spawn(crash)
        await node.down(pid)
        await node.down(node.spawn(linked, pid))
        [record] = caplog.records
        facts: dict[str, Any] = record.__dict__["quorate"]
        assert record.levelno == logging.ERROR
        assert (facts["event"], facts["pid"], facts["name"]) == ("crash", pid, "clerk")
        assert isinstance(facts["reason"], ValueError)
        assert record.exc_info is not None

    caplog.set_level(logging.INFO)
    play.one(main)


# -- links ------------------------------------------------------------------------------------------------


def test_a_link_is_bidirectional(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        for first_ends in (True, False):
            one = b.spawn(wait)
            other = a.spawn(linked, one)
            await world.settle()
            reasons = Reasons((b, one), (a, other))
            a.exit(one if first_ends else other, "gone")
            await world.settle()
            assert reasons.of == {one: "gone", other: "gone"}

    anywhere.two(main)


def test_there_is_one_link_per_pair_however_often_it_is_made(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        seen: list[Any] = []
        target = b.spawn(wait)
        linker = a.spawn(trap, seen, target, target, target)
        await world.settle()
        info = b.process_info(target)
        assert info is not None
        assert info.links == (linker,)
        a.exit(target, "gone")
        await world.settle()
        assert seen == [ExitSignal(target, "gone")]

    anywhere.two(main)


def test_linking_to_a_dead_process_gives_noproc(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        seen: list[Any] = []
        dead = Pid(b.name, b.creation, 99)
        a.spawn(trap, seen, dead)
        plain = a.spawn(linked, dead)
        reasons = Reasons((a, plain))
        await world.settle()
        assert seen == [ExitSignal(dead, "noproc")]
        assert reasons.of == {plain: "noproc"}

    anywhere.two(main)


def test_linking_to_oneself_does_nothing(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        async def body(self: Process) -> None:
            self.link(self.pid)

        pid = node.spawn(body)
        assert (await node.down(pid)).reason == "normal"

    play.one(main)


def test_no_exit_signal_arrives_after_unlink_returned(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        seen: list[Any] = []
        target = b.spawn(wait)

        async def body(self: Process) -> None:
            self.trap_exits = True
            self.link(target)
            await self.receive("unlink")
            self.unlink(target)
            self.unlink(target)  # harmless
            while True:
                seen.append(await self.receive())

        pid = a.spawn(body)
        await world.settle()
        a.send(pid, "unlink")
        await world.settle()
        info = b.process_info(target)
        assert info is not None
        assert info.links == ()
        b.exit(target, "gone")
        await world.settle()
        assert seen == []
        assert a.process_info(pid) is not None

    anywhere.two(main)


def test_an_exit_signal_that_crosses_an_unlink_is_ignored(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        target = b.spawn(wait)

        async def body(self: Process) -> None:
            self.link(target)
            await self.receive("unlink")
            self.unlink(target)
            await wait(self)

        pid = a.spawn(body)
        await world.settle()
        world.wire(b, a).paused = True
        b.exit(target, "gone")
        a.send(pid, "unlink")
        await world.settle()
        world.resume(b, a)
        await world.settle()
        assert a.process_info(pid) is not None

    play.two(main)


def test_links_that_cross_an_unlink_end_the_same_on_both_sides(play: Play) -> None:
    """Linked; then `one` unlinks and links again while `two` unlinks: either both sides have the link or none."""

    async def main(a: Node, b: Node, world: World) -> None:
        one, two = a.spawn(obedient), b.spawn(obedient)
        cases = (
            (["unlink", "link"], ["unlink"]),
            (["unlink", "link", "unlink"], ["unlink"]),
            (["unlink"], ["unlink"]),
            (["unlink", "link"], ["unlink", "link"]),
            (["unlink"], ["unlink", "link"]),
            (["unlink", "link", "unlink"], ["unlink", "link"]),
        )
        for orders, others in cases:
            a.send(one, ("link", two))
            await world.settle()
            for source, target in ((a, b), (b, a)):
                world.wire(source, target).paused = True
            for order in orders:
                a.send(one, (order, two))
            for order in others:
                b.send(two, (order, one))
            await turns()
            for source, target in ((a, b), (b, a)):
                world.resume(source, target)
            await world.settle()
            here, there = a.process_info(one), b.process_info(two)
            assert here is not None
            assert there is not None
            assert bool(here.links) == bool(there.links), (orders, others)
            if orders[-1] == others[-1]:
                assert bool(here.links) == (orders[-1] == "link"), (orders, others)
            b.send(two, ("link", one))
            await world.settle()
            again = a.process_info(one)
            assert again is not None
            assert again.links == (two,), (orders, others)

    play.two(main)


def test_the_acknowledgement_of_an_earlier_unlink_does_not_end_a_later_one(play: Play) -> None:
    """One unlinks, links, unlinks; two has seen only the first unlink when it links: in the end there is no link."""

    async def main(a: Node, b: Node, world: World) -> None:
        one, two = a.spawn(obedient), b.spawn(obedient)
        a.send(one, ("link", two))
        await world.settle()
        world.wire(a, b).paused = True
        for order in ("unlink", "link", "unlink"):
            a.send(one, (order, two))
        await turns()
        world.deliver(a, b, 1)
        b.send(two, ("link", one))
        await world.settle()
        world.resume(a, b)
        await world.settle()
        here, there = a.process_info(one), b.process_info(two)
        assert here is not None
        assert there is not None
        assert (here.links, there.links) == ((), ())

    play.two(main)


def test_a_chain_of_thousands_of_links_ends_without_recursion(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    class Link(GenServer):
        def __init__(self, previous: Pid | None) -> None:
            if previous is not None:
                self.process.link(previous)

    async def main(node: Node, world: World) -> None:
        first = previous = (await node.start(Link, None)).pid
        for _ in range(3_000):
            previous = (await node.start(Link, previous)).pid
        last = asyncio.create_task(node.down(previous))
        await turns(2)
        node.exit(first, "gone")
        assert (await last).reason == "gone"
        assert node.processes() == []
        assert caplog.records == []

    play.one(main)


def test_spawn_link_and_spawn_monitor_are_made_before_the_child_runs(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        seen: list[Any] = []

        async def fails(self: Process) -> None:
            raise Exit("at once")

        async def parent(self: Process) -> None:
            self.trap_exits = True
            child = self.spawn_link(fails)
            assert await self.receive() == ExitSignal(child, "at once")
            child, ref = self.spawn_monitor(fails)
            assert await self.receive() == Down(ref, child, "at once")
            child = self.spawn(fails)
            seen.append("done")

        down = await node.down(node.spawn(parent))
        assert down.reason == "normal"
        assert seen == ["done"]

    play.one(main)


# -- monitors ---------------------------------------------------------------------------------------------


def test_each_monitor_stacks_and_yields_exactly_one_down(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        seen: list[Any] = []
        target = b.spawn(end, "gone")
        a.spawn(watch, seen, target, target, target)
        await world.settle()
        a.send(target, "end")
        await world.settle()
        assert [(down.pid, down.reason) for down in seen] == [(target, "gone")] * 3
        assert len({down.ref for down in seen}) == 3

    anywhere.two(main)


def test_monitoring_a_dead_process_yields_noproc(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        seen: list[Any] = []
        dead = Pid(b.name, b.creation, 99)
        a.spawn(watch, seen, dead)
        await world.settle()
        assert [(down.pid, down.reason) for down in seen] == [(dead, "noproc")]

    anywhere.two(main)


def test_a_monitor_says_nothing_after_demonitor(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        seen: list[Any] = []
        target = b.spawn(end, "gone")

        async def body(self: Process) -> None:
            ref = self.monitor(target)
            kept = self.monitor(target)
            await self.receive("demonitor")
            self.demonitor(ref)
            self.demonitor(ref)  # harmless
            seen.append(kept)
            seen.append(await self.receive())
            await wait(self)

        pid = a.spawn(body)
        await world.settle()
        a.send(pid, "demonitor")
        await world.settle()
        a.send(target, "end")
        await world.settle()
        assert seen[1] == Down(seen[0], target, "gone")
        info = a.process_info(pid)
        assert info is not None
        assert info.mailbox == 0

    anywhere.two(main)


def test_a_down_that_is_on_its_way_is_not_heard_after_demonitor(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        async def body(self: Process, dead: Pid) -> None:
            self.demonitor(self.monitor(dead))
            await wait(self)

        for dead in (Pid(b.name, b.creation, 99), Pid("nobody@127.0.0.1:1", 1, 1)):
            pid = a.spawn(body, dead)
            await world.settle()
            info = a.process_info(pid)
            assert info is not None
            assert info.mailbox == 0

    anywhere.two(main)


def test_demonitor_with_flush_removes_a_down_that_is_in_the_mailbox(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        async def body(self: Process, flush: bool) -> None:
            child, ref = self.spawn_monitor(end, "gone")
            self.send(child, "end")
            await self.receive("go on")
            self.demonitor(ref, flush=flush)
            await self.receive("never")

        for flush, left in ((True, 1), (False, 2)):
            pid = node.spawn(body, flush)
            await turns()
            node.send(pid, "other")
            node.send(pid, "go on")
            await turns()
            info = node.process_info(pid)
            assert info is not None
            assert info.mailbox == left

    play.one(main)


def test_when_down_or_exit_arrives_the_local_name_is_free(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        seen: list[Any] = []

        async def named(self: Process) -> None:
            self.register("clerk")
            await self.receive()

        async def successor(self: Process, pid: Pid, by_link: bool) -> None:
            self.trap_exits = True
            if by_link:
                self.link(pid)
            else:
                self.monitor(pid)
            await self.receive(ExitSignal | Down)
            self.register("clerk")
            seen.append(by_link)

        for by_link in (True, False):
            holder = node.spawn(named)
            await turns()
            node.spawn(successor, holder, by_link)
            await turns()
            node.send(holder, "end")
            await turns()
        assert seen == [True, False]

    play.one(main)


def test_a_process_that_ends_takes_its_monitors_with_it(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        target = b.spawn(wait)
        watcher = a.spawn(watch, [], target, target)
        await world.settle()
        info = b.process_info(target)
        assert info is not None
        assert info.monitored_by == 2
        a.exit(watcher, "gone")
        await world.settle()
        info = b.process_info(target)
        assert info is not None
        assert info.monitored_by == 0

    anywhere.two(main)


def test_plain_code_can_watch_a_process_and_change_its_mind(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        downs: list[Down] = []
        target = b.spawn(end, "gone")
        wanted: MonitorRef = a.watch(target, downs.append)
        a.unwatch(a.watch(target, downs.append))
        a.unwatch(a.watch(Pid(b.name, b.creation, 99), downs.append))
        await world.settle()
        a.send(target, "end")
        await world.settle()
        assert downs == [Down(wanted, target, "gone")]

    anywhere.two(main)


def test_waiting_for_the_end_of_a_process_can_be_given_up(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        target = b.spawn(wait)
        waiting = asyncio.create_task(a.down(target))
        await world.settle()
        waiting.cancel()
        await world.settle()
        info = b.process_info(target)
        assert info is not None
        assert info.monitored_by == 0

    anywhere.two(main)


def test_a_callback_that_raises_keeps_nobody_from_hearing(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(node: Node, world: World) -> None:
        downs: list[Down] = []
        target = node.spawn(end, "gone")
        node.watch(target, lambda down: 1 // 0)
        node.watch(target, lambda down: sys.exit("never"))
        node.watch(target, downs.append)
        node.send(target, "end")
        await turns()
        assert len(downs) == 1
        assert "ZeroDivisionError" in caplog.text
        assert "SystemExit" in caplog.text

    play.one(main)


@pytest.mark.parametrize("how", ["monitor", "link", "exit", "unlink"])
def test_what_is_no_pid_is_refused_and_the_end_of_who_gave_it_is_told(play: Play, how: str) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Quiet)
        for wrong in (ref, "a name", None):
            errors: list[str] = []

            async def body(self: Process, wrong: Any = wrong, errors: list[str] = errors) -> None:
                await self.receive()
                try:
                    getattr(self, how)(wrong, *(["x"] if how == "exit" else []))
                except TypeError as error:
                    errors.append(str(error))

            pid = node.spawn(body)
            down = asyncio.create_task(node.down(pid))
            await turns()
            node.send(pid, "go on")
            await turns()
            assert down.done()
            assert all("is not a pid" in text for text in errors)
            assert len(errors) == (how != "unlink")  # that of what is not linked does nothing

    play.one(main)


def test_what_is_no_pid_cannot_be_watched_and_what_is_no_text_is_no_name(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        with pytest.raises(TypeError, match="is not a pid"):
            node.watch("a name", print)  # type: ignore[arg-type]
        cell = node.kernel.find((await node.start(Quiet)).pid)
        assert cell is not None
        with pytest.raises(ValueError, match="is a string and not empty, not 5"):
            node.kernel.register(cell, 5)  # type: ignore[arg-type]

    play.one(main)


def test_what_is_no_address_is_refused_with_advice(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref: Any = await node.start(Quiet)
        with pytest.raises(
            TypeError, match=r"is not a pid, an alias or a name: the pid of a ref is `ref\.pid`"
        ):
            node.send(ref, "x")
        with pytest.raises(TypeError, match="is not a pid, an alias or a name"):
            node.send_after(1.0, ref, "x")
        with pytest.raises(TypeError, match="is not a pid or a name"):
            await node.call(ref, Quiet.greet)

    play.one(main)


class Quiet(GenServer):
    def greet(self) -> str:
        return "hello"
