"""Supervisors as processes: their children start in order, are restarted, and stop in reverse."""

import asyncio
import logging
from typing import Any

import pytest

from quorate.core import (
    CalleeExited,
    ChildCounts,
    ChildExists,
    ChildRunning,
    ChildSpec,
    ChildStartFailed,
    ConfigError,
    LocalNameTaken,
    MailboxLimit,
    MailboxPolicy,
    Node,
    NoSuchChild,
    NotCallable,
    Pid,
    Process,
    ProcessConfig,
    RemoteError,
    Supervisor,
    SupervisorError,
    child,
)
from tests.core.conftest import Play
from tests.core.nodes import World
from tests.core.trees import Book, Failing, Worker, body, crash, pid_of, some, statuses


class Shop(Supervisor):
    """Three workers that need each other in turn."""

    strategy = "rest_for_one"

    def __init__(self, book: Book, prefix: str = "") -> None:
        super().__init__(
            [child(Worker, book, prefix + name).options(id=name, name=prefix + name) for name in "abc"]
        )


ALL_STARTED = [("start", "a"), ("start", "b"), ("start", "c")]
ALL_STOPPED = [("stop", "c"), ("stop", "b"), ("stop", "a")]


# -- start and stop ----------------------------------------------------------------------------------------


def test_children_start_in_order_and_stop_in_reverse_when_the_node_closes(play: Play) -> None:
    book: Book = []

    async def main(node: Node, world: World) -> None:
        shop = await node.start(Shop, book)
        assert book == ALL_STARTED
        assert [(one.id, one.status) for one in await shop.call(Shop.which_children)] == [
            ("a", "running"),
            ("b", "running"),
            ("c", "running"),
        ]

    play.one(main)
    assert book == ALL_STARTED + ALL_STOPPED


def test_children_stop_in_reverse_when_their_supervisor_is_told_to_exit(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        book: Book = []
        shop = await node.start(Shop, book)
        node.exit(shop.pid, "closing time")
        assert (await node.down(shop.pid)).reason == "closing time"
        assert book == ALL_STARTED + ALL_STOPPED
        assert node.processes() == []

    play.one(main)


def test_a_tree_of_supervisors_stops_leaf_by_leaf(play: Play) -> None:
    book: Book = []

    async def main(node: Node, world: World) -> None:
        await node.start(
            Supervisor,
            [
                child(Shop, book, "1").options(id="one"),
                child(Worker, book, "2"),
                child(Shop, book, "3").options(id="three"),
            ],
        )

    play.one(main)
    started = [name for what, name in book[:7]]
    assert started == ["1a", "1b", "1c", "2", "3a", "3b", "3c"]
    assert [name for what, name in book[7:]] == started[::-1]


def test_when_a_child_cannot_start_those_before_it_are_stopped_and_the_error_says_why(
    play: Play,
) -> None:
    async def main(node: Node, world: World) -> None:
        book: Book = []
        with pytest.raises(
            ChildStartFailed, match=r"could not start its child 'Failing'.*no device"
        ) as failed:
            await node.start(
                Supervisor,
                [
                    child(Worker, book, "a").options(name="a"),
                    child(body, book, "b"),
                    child(Failing, book, "f", []),
                    child(Worker, book, "never").options(id="never"),
                ],
            )
        assert failed.value.child == "Failing"
        assert isinstance(failed.value.reason, OSError)
        assert failed.value.__cause__ is failed.value.reason
        assert ("start", "never") not in book
        assert book[-1] == ("stop", "a")
        assert (node.whereis("a"), node.processes()) == (None, [])

    play.one(main)


def test_the_error_of_a_leaf_comes_out_of_the_start_of_the_root(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        book: Book = []
        inner = child(Supervisor, [child(Worker, book, "b"), child(Failing, book, "f", [])])
        with pytest.raises(ChildStartFailed) as failed:
            await node.start(Supervisor, [child(Worker, book, "a"), inner])
        cause = failed.value.__cause__
        assert isinstance(cause, ChildStartFailed)
        assert isinstance(cause.__cause__, OSError)
        assert str(failed.value) == (
            "Supervisor could not start its child 'Supervisor': ChildStartFailed: "
            "Supervisor could not start its child 'Failing': OSError: f has no device"
        )
        assert [entry for entry in book if entry[0] == "stop"] == [("stop", "b"), ("stop", "a")]
        assert node.processes() == []

    play.one(main)


def test_arguments_that_do_not_fit_are_a_start_that_fails(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        for spec in (
            ChildSpec("x", Worker, ("only one",)),
            ChildSpec("x", body, ()),
            ChildSpec("x", lambda self: None),
        ):
            with pytest.raises(ChildStartFailed) as failed:
                await node.start(Supervisor, [spec])
            assert isinstance(failed.value.__cause__, TypeError)
        assert node.processes() == []

    play.one(main)


def test_a_child_whose_name_is_taken_does_not_start(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        async def owner(self: Process) -> None:
            self.register("clerk")
            await self.receive()

        node.spawn(owner)
        await world.settle()
        book: Book = []
        with pytest.raises(ChildStartFailed) as failed:
            await node.start(Supervisor, [child(Worker, book, "w").options(name="clerk")])
        assert isinstance(failed.value.__cause__, LocalNameTaken)
        assert book == []

    play.one(main)


def test_a_child_that_takes_another_name_than_its_spec_says_does_not_start(play: Play) -> None:
    class Willful(Worker):
        def __init__(self, book: Book) -> None:
            super().__init__(book, "w")
            self.process.register("mine")

    async def main(node: Node, world: World) -> None:
        with pytest.raises(ChildStartFailed, match="registered as 'mine' already"):
            await node.start(Supervisor, [child(Willful, []).options(name="yours")])
        await world.settle()
        assert (node.processes(), node.whereis("mine")) == ([], None)

    play.one(main)


def test_a_start_that_is_cancelled_stops_what_has_started(play: Play) -> None:
    class Slow(Supervisor):
        def __init__(self, book: Book) -> None:
            super().__init__([child(Shop, book), child(Late, book)])

    class Late(Supervisor):
        """Something in it takes for ever to stop, so that its start takes for ever to fail."""

        def __init__(self, book: Book) -> None:
            super().__init__(
                [
                    child(lasting, book).options(shutdown_s=None),
                    child(Supervisor),  # takes a turn of the loop to start
                    child(Failing, book, "f", []),
                ]
            )

    release = asyncio.Event()

    async def lasting(self: Process, book: Book) -> None:
        try:
            await self.receive()
        finally:
            await release.wait()
            book.append(("stop", "lasting"))

    async def main(node: Node, world: World) -> None:
        book: Book = []
        starting = asyncio.create_task(node.start(Slow, book))
        await world.settle()
        starting.cancel()
        await world.settle()
        assert starting.cancelled()
        assert not [entry for entry in book if entry[0] == "stop"]  # in order, so `lasting` is waited for
        release.set()
        await world.settle()
        assert [entry for entry in book if entry[0] == "stop"] == [("stop", "lasting"), *ALL_STOPPED]
        assert node.processes() == []

    play.one(main)


def test_a_supervisor_that_ends_while_it_starts_says_so(play: Play) -> None:
    class Suicidal(Worker):
        def __init__(self, book: Book) -> None:
            super().__init__(book, "s")
            for pid in list(self.process._cell.kernel.cells):
                if pid != self.pid.serial:
                    self.process.exit(self.process._cell.kernel.cells[pid].pid, "kill")

    async def main(node: Node, world: World) -> None:
        with pytest.raises(CalleeExited, match="ended while it started: 'killed'"):
            await node.start(Supervisor, [child(Suicidal, [])])
        await world.settle()
        assert node.processes() == []

    play.one(main)


# -- restarts ----------------------------------------------------------------------------------------------


def test_a_child_that_crashed_is_another_process_of_the_same_name(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        book: Book = []
        await node.start(Supervisor, [child(Worker, book, "w").options(name="w")])
        before = node.whereis("w")
        await crash(node, world, before)
        after = node.whereis("w")
        assert after not in (None, before)
        assert await node.call("w", Worker.who) == "w"
        assert book == [("start", "w"), ("stop", "w"), ("start", "w")]

    play.one(main)


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("one_for_one", ["stop b", "start b"]),
        ("rest_for_one", ["stop b", "stop c", "start b", "start c"]),
        ("one_for_all", ["stop b", "stop c", "stop a", "start a", "start b", "start c"]),
    ],
)
def test_a_strategy_says_who_is_restarted_with_it(play: Play, strategy: Any, expected: list[str]) -> None:
    async def main(node: Node, world: World) -> None:
        book: Book = []
        specs = [child(Worker, book, name).options(id=name, name=name) for name in "abc"]
        await node.start(Supervisor, specs, strategy=strategy)
        book.clear()
        await crash(node, world, node.whereis("b"))
        assert [f"{what} {name}" for what, name in book] == expected

    play.one(main)


@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
@pytest.mark.parametrize("reason", ["normal", "shutdown", ("shutdown", "done"), "broken"])
def test_a_restart_type_says_after_which_ends(play: Play, restart: Any, reason: Any) -> None:
    async def main(node: Node, world: World) -> None:
        book: Book = []
        tree = await node.start(Supervisor, [child(Worker, book, "w").options(restart=restart)])
        node.ref(await pid_of(tree, "Worker"), Worker).cast(Worker.leave, reason)
        await world.settle()
        restarted = restart == "permanent" or (restart == "transient" and reason == "broken")
        expected = {} if restart == "temporary" else {"Worker": "running" if restarted else "stopped"}
        assert await statuses(tree) == expected
        assert book.count(("start", "w")) == 1 + restarted

    play.one(main)


def test_after_too_many_restarts_it_gives_up_stops_all_and_ends_with_shutdown(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "quorate.supervisor")

    async def main(node: Node, world: World) -> None:
        book: Book = []
        shop = await node.start(Supervisor, [child(Shop, book).options(restart="temporary")])
        inner = await pid_of(shop, "Shop")
        for _ in range(4):
            await crash(node, world, node.whereis("b"))
        assert book[-2:] == [("stop", "c"), ("stop", "a")]
        assert node.process_info(inner) is None
        assert await statuses(shop) == {}  # it was temporary, and its own supervisor goes on

    play.one(main)
    records = [one for one in caplog.records if one.name == "quorate.supervisor"]
    decisions = [one.__dict__["quorate"]["decision"] for one in records]
    assert decisions == [
        "restarting (1 of 3 in 5 s)",
        "restarting (2 of 3 in 5 s)",
        "restarting (3 of 3 in 5 s)",
        "gave up (restart 4, and 3 in 5 s are allowed)",
        "not restarted",
    ]
    assert [one.levelname for one in records] == ["WARNING"] * 3 + ["ERROR", "DEBUG"]


def test_restarts_further_apart_than_the_period_are_forgotten(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        tree = await node.start(
            Supervisor, [child(Worker, [], "w").options(name="w")], intensity=1, period_s=5.0
        )
        for _ in range(5):
            await crash(node, world, node.whereis("w"))
            world.clock.advance(5.5)
        assert await statuses(tree) == {"Worker": "running"}

    play.one(main)


def test_a_child_that_cannot_be_restarted_is_tried_again_until_the_supervisor_gives_up(
    play: Play,
) -> None:
    async def main(node: Node, world: World) -> None:
        book: Book = []
        tree = await node.start(Supervisor, [child(Failing, book, "f", [1]).options(name="f")])
        node.ref(await pid_of(tree, "Failing"), Failing).cast(Failing.crash)
        assert (await node.down(tree.pid)).reason == "shutdown"
        assert book == [("start", "f"), ("stop", "f"), *[("fail", "f")] * 3]

    play.one(main)


def test_a_child_that_can_be_restarted_at_the_second_try_runs(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        book: Book = []

        class Flaky(Worker):
            def __init__(self) -> None:
                if len(book) == 2:
                    book.append(("fail", "x"))
                    raise OSError("not yet")
                super().__init__(book, "x")

        tree = await node.start(Supervisor, [child(Flaky), child(Worker, [], "w")], strategy="one_for_all")
        await crash(node, world, await pid_of(tree, "Flaky"))
        assert await statuses(tree) == {"Flaky": "running", "Worker": "running"}
        assert book == [("start", "x"), ("stop", "x"), ("fail", "x"), ("start", "x")]

    play.one(main)


def test_two_hundred_crashes_in_a_second_are_too_many_and_the_node_lives(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        crashes: list[int] = []

        async def crashing(self: Process) -> None:
            crashes.append(1)
            raise ValueError("again")

        tree = await node.start(Supervisor, [child(crashing)])
        assert (await node.down(tree.pid)).reason == "shutdown"
        assert len(crashes) == 4
        crashes.clear()
        patient = await node.start(Supervisor, [child(crashing)], intensity=200, period_s=1.0)
        bystander = await node.start(Worker, [], "bystander")
        down = asyncio.create_task(node.down(patient.pid))
        while not down.done():
            assert await bystander.call(Worker.who) == "bystander"
            await asyncio.sleep(0)
        assert down.result().reason == "shutdown"
        assert len(crashes) == 201

    play.one(main)


# -- what can be asked -------------------------------------------------------------------------------------


def test_children_can_be_added_terminated_restarted_and_deleted(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        book: Book = []
        tree = await node.start(Supervisor)
        first = await tree.call(Supervisor.start_child, child(Worker, book, "1").options(id="1"))
        await tree.call(Supervisor.start_child, child(body, book, "2").options(id="2"))
        await world.settle()
        assert await tree.call(Supervisor.count_children) == ChildCounts(2, 2, 0, 2)
        await tree.call(Supervisor.terminate_child, "1")
        assert await statuses(tree) == {"1": "stopped", "2": "running"}
        again = await tree.call(Supervisor.restart_child, "1")
        assert first != again == await pid_of(tree, "1")
        await tree.call(Supervisor.terminate_child, again)  # by its pid
        await tree.call(Supervisor.delete_child, "1")
        assert await statuses(tree) == {"2": "running"}
        assert book == [("start", "1"), ("start", "2"), ("stop", "1"), ("start", "1"), ("stop", "1")]

    play.one(main)


def test_a_child_that_has_ended_is_not_active_although_its_supervisor_has_not_heard_of_it(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        tree = await node.start(Supervisor, [child(Worker, [], "w")])
        pid = await pid_of(tree, "Worker")
        await node.sys.suspend(tree)
        counting = asyncio.create_task(tree.call(Supervisor.count_children))
        await world.settle()
        node.exit(pid, "kill")  # told behind the call
        await world.settle()
        await node.sys.resume(tree)
        assert await counting == ChildCounts(1, 0, 0, 1)

    play.one(main)


def test_a_child_that_cannot_be_restarted_by_hand_stays_stopped(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        book: Book = []
        tree = await node.start(Supervisor, [child(Failing, book, "f", [1])])
        await tree.call(Supervisor.terminate_child, "Failing")
        for _ in range(9):  # nobody counts these
            with pytest.raises(ChildStartFailed, match="no device"):
                await tree.call(Supervisor.restart_child, "Failing")
        assert await statuses(tree) == {"Failing": "stopped"}

    play.one(main)


def test_what_makes_no_sense_is_refused_and_does_no_harm(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        book: Book = []
        spec = child(Worker, book, "w")
        tree = await node.start(Supervisor, [spec])
        ask = tree.call
        with pytest.raises(ChildExists):
            await ask(Supervisor.start_child, spec)
        with pytest.raises(ChildRunning):
            await ask(Supervisor.restart_child, "Worker")
        with pytest.raises(ChildRunning):
            await ask(Supervisor.delete_child, "Worker")
        with pytest.raises(NoSuchChild):
            await ask(Supervisor.terminate_child, "nobody")
        with pytest.raises(NoSuchChild):
            await ask(Supervisor.terminate_child, tree.pid)
        with pytest.raises(SupervisorError, match="auto_shutdown is never"):
            await ask(Supervisor.start_child, spec.options(id="s", restart="transient", significant=True))
        with pytest.raises(SupervisorError, match="a child is made by"):
            await ask(Supervisor.start_child, Worker)  # type: ignore[call-overload]
        with pytest.raises(ChildStartFailed) as failed:
            await ask(Supervisor.start_child, child(Failing, book, "f", []))
        assert isinstance(failed.value.__cause__, OSError)
        assert await statuses(tree) == {"Worker": "running"}
        assert book == [("start", "w"), ("fail", "f")]

    play.one(main)


def test_a_supervisor_is_asked_from_another_node(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        book: Book = []
        tree = await b.start(Supervisor, [child(Worker, book, "w")])
        there = a.ref(tree.pid, Supervisor)
        pid = await pid_of(tree, "Worker")
        (info,) = await there.call(Supervisor.which_children)
        assert (info.id, info.pid, info.status, info.supervisor) == ("Worker", pid, "running", False)
        await there.call(Supervisor.terminate_child, "Worker")
        assert (await there.call(Supervisor.count_children)).active == 0
        with pytest.raises(NoSuchChild if a is b else RemoteError, match="no child 'x'"):
            await there.call(Supervisor.restart_child, "x")
        assert await there.call(Supervisor.restart_child, "Worker") != pid

    anywhere.two(main)


@pytest.mark.parametrize("rubbish", [None, 7, [1], {}, ("Worker",), ""], ids=repr)
def test_nobody_can_harm_a_supervisor_by_what_he_asks_of_it(anywhere: Play, rubbish: Any) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        tree = await b.start(Supervisor, [child(Worker, [], "w")])
        there = a.ref(tree.pid, Supervisor)
        for method in (
            Supervisor.start_child,
            Supervisor.restart_child,
            Supervisor.terminate_child,
            Supervisor.delete_child,
        ):
            with pytest.raises(SupervisorError if a is b else RemoteError):
                await there.call(method, rubbish)
        wrong: list[Any] = [(), (1, 2, 3)]
        for arguments in wrong:
            with pytest.raises(NotCallable):
                await there.call(Supervisor.terminate_child, *arguments)
        a.send(tree.pid, rubbish)
        assert (await there.call(Supervisor.count_children)).active == 1

    anywhere.two(main)


def test_a_supervisor_that_another_node_starts_has_started_its_children(anywhere: Play) -> None:
    books: dict[str, Book] = {}

    class Exported(Supervisor):
        def __init__(self, key: str, good: int) -> None:
            book = books[key] = []
            super().__init__([child(Worker, book, "a"), child(Failing, book, "f", [1] * good)])

    async def main(a: Node, b: Node, world: World) -> None:
        a.export(Exported)
        tree = await a.start_on(b.name, Exported, "one", 1)
        assert tree.pid.node == b.name
        assert books["one"] == [("start", "a"), ("start", "f")]
        with pytest.raises(ChildStartFailed if a is b else RemoteError, match="no device"):
            await a.start_on(b.name, Exported, "two", 0)
        assert books["two"] == [("start", "a"), ("fail", "f"), ("stop", "a")]

    anywhere.two(main)


# -- settings ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strategy": "one_for_none"}, "strategy is one of one_for_one, one_for_all, rest_for_one"),
        ({"intensity": -1}, "intensity must be 0 or more"),
        ({"period_s": 0}, "period_s must be over 0"),
        ({"auto_shutdown": "maybe"}, "auto_shutdown is one of never"),
        ({"children": [Worker]}, "a child is made by child"),
        (
            {"children": [child(body, [], "x").options(restart="transient", significant=True)]},
            "'body' is significant, and auto_shutdown is never",
        ),
    ],
)
def test_settings_that_make_no_sense_are_refused_at_once(
    play: Play, settings: dict[str, Any], message: str
) -> None:
    async def main(node: Node, world: World) -> None:
        with pytest.raises(ConfigError, match=message):
            await node.start(Supervisor, **settings)
        assert node.processes() == []

    play.one(main)


def test_no_restart_at_all_is_a_setting(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        tree = await node.start(Supervisor, [child(Worker, [], "w")], intensity=0)
        node.exit(await pid_of(tree, "Worker"), "boom")
        assert (await node.down(tree.pid)).reason == "shutdown"

    play.one(main)


def test_two_children_of_one_id_are_refused_at_once(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        with pytest.raises(ChildExists, match=r"options\(id="):
            await node.start(Supervisor, [child(Worker, [], "1"), child(Worker, [], "2")])
        assert node.processes() == []

    play.one(main)


def test_a_subclass_that_forgets_its_base_is_told(play: Play) -> None:
    class Forgetful(Supervisor):
        def __init__(self) -> None:
            self.children = [child(Worker, [], "w")]

    async def main(node: Node, world: World) -> None:
        with pytest.raises(ConfigError, match=r"Forgetful.__init__ must call super\(\).__init__"):
            await node.start(Forgetful)
        await world.settle()
        assert node.processes() == []

    play.one(main)


def test_a_subclass_cannot_put_its_own_code_in_the_way_of_its_base() -> None:
    for hook in ("handle_info", "handle_exit", "terminate"):
        with pytest.raises(TypeError, match=f"Mine.{hook}: a supervisor only supervises"):
            type("Mine", (Supervisor,), {hook: lambda self, message: None, "__qualname__": "Mine"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"id": ""}, "an id is a string"),
        ({"restart": "always"}, "restart is one of permanent, transient, temporary"),
        ({"shutdown_s": -1.0}, "0 or more seconds"),
        ({"shutdown_s": float("nan")}, "0 or more seconds"),
        ({"shutdown_s": "brutal"}, "brutal_kill"),
        ({"significant": True}, "cannot be significant"),
        ({"name": ""}, "a local name"),
    ],
)
def test_a_child_spec_that_makes_no_sense_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        child(Worker, [], "w").options(**options)


def test_only_servers_and_bodies_are_children() -> None:
    with pytest.raises(ConfigError, match="is no GenServer"):
        child(int)  # type: ignore[call-overload]
    with pytest.raises(ConfigError, match="neither a GenServer class nor"):
        child(3)  # type: ignore[call-overload]


def test_a_supervisor_as_a_child_has_as_long_as_it_takes_to_stop_and_others_five_seconds() -> None:
    assert child(Shop, []).shutdown_s is None
    assert child(Worker, [], "w").shutdown_s == 5.0
    assert child(Worker, [], "w").options(restart="temporary").restart == "temporary"
    assert child(body, [], "w").id == "body"


# -- what is told ------------------------------------------------------------------------------------------


def records(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [one.__dict__["quorate"] for one in caplog.records if one.name == "quorate.supervisor"]


def test_each_crash_has_one_record_of_the_supervisors_decision(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(node: Node, world: World) -> None:
        tree = await node.start(Supervisor, [child(Worker, [], "w").options(name="w")])
        pid = node.whereis("w")
        await crash(node, world, pid, "a secret")
        assert records(caplog) == [
            {
                "event": "child",
                "supervisor": tree.pid,
                "child": "Worker",
                "pid": pid,
                "reason": "ValueError",  # its crash report says more, if it may
                "decision": "restarting (1 of 3 in 5 s)",
            }
        ]
        (told,) = [one for one in caplog.records if one.name == "quorate.supervisor"]
        assert f"child 'Worker' {pid} ended: ValueError; restarting (1 of 3 in 5 s)" in told.getMessage()

    play.one(main)


def test_a_start_that_failed_is_told_with_its_error(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    async def main(node: Node, world: World) -> None:
        tree = await node.start(Supervisor, [child(Failing, [], "f", [1])], intensity=1)
        await crash(node, world, await pid_of(tree, "Failing"))
        assert [(one["decision"], one["reason"]) for one in records(caplog)] == [
            ("restarting (1 of 1 in 5 s)", "ValueError"),
            ("gave up (restart 2, and 1 in 5 s are allowed)", "OSError('f has no device')"),
        ]
        last = caplog.records[-1]
        assert (
            "child 'Failing' could not be started: OSError('f has no device'); gave up" in last.getMessage()
        )
        assert last.exc_info is not None
        assert isinstance(last.exc_info[1], OSError)

    play.one(main)


@pytest.mark.parametrize("policy", ["drop", "refuse", "kill"])
def test_no_limit_of_its_mailbox_keeps_a_supervisor_from_trying_again(
    play: Play, policy: MailboxPolicy
) -> None:
    async def main(node: Node, world: World) -> None:
        book: Book = []
        good: list[Any] = [1]
        trees: list[Pid] = []

        class Noisy(Failing):
            """Fills the mailbox of its supervisor to the limit before it fails."""

            def __init__(self) -> None:
                for tree in trees:
                    for _ in range(3):
                        node.send(tree, "noise")
                super().__init__(book, "noisy", good)

        tree = await node.start(Supervisor, [child(Noisy).options(name="noisy")])
        trees.append(tree.pid)
        node.exit(some(node.whereis("noisy")), "boom")
        await world.settle()
        assert book.count(("fail", "noisy")) == 3  # and then it gave up
        assert node.processes() == []

    play.one(main, ProcessConfig(mailbox=MailboxLimit(3, policy)))
