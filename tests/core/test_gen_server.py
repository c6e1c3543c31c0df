"""Servers: calls and casts, their deadlines, and how their methods run."""

import asyncio
from typing import Any

import pytest

from quorate.core import (
    CalleeExited,
    CallTimeout,
    GenServer,
    Node,
    NoProcess,
    NotCallable,
    Pid,
    Process,
    ProcessConfig,
    Ref,
    RemoteError,
    RemoteName,
)
from quorate.core.activation import KEPT_S
from tests.core.conftest import Play
from tests.core.nodes import World
from tests.core.servers import Counter
from tests.support import turns


async def there(a: Node, b: Node, **kwargs: Any) -> Ref[Counter]:
    """A counter on b, as a sees it."""
    return a.ref((await b.start(Counter, **kwargs)).pid, Counter)


# -- calls and casts --------------------------------------------------------------------------------------


def test_a_call_gives_what_the_method_returns(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        ref = await there(a, b, start=3)
        assert await ref.call(Counter.incr, by=2) == 5
        assert await ref.call(Counter.slowly, 4) == 9
        assert await a.call(ref.pid, Counter.value) == 9
        for value in (None, [1, (2, 3)], {"a": {1, 2}}, 2**100, ref, ref.pid):
            assert await ref.call(Counter.echo, value) == value

    anywhere.two(main)


def test_calls_and_casts_of_one_caller_are_handled_in_order(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        ref = await there(a, b)
        for number in range(300):
            ref.send(number)
            ref.cast(Counter.slowly if number % 7 == 0 else Counter.incr)
        assert await ref.call(Counter.value) == 300
        assert await ref.call(Counter.what_was_heard) == list(range(300))

    anywhere.two(main)


def test_one_message_is_handled_at_a_time(play: Play) -> None:
    class Careful(GenServer):
        def __init__(self) -> None:
            self.inside = 0
            self.most = 0

        async def enter(self) -> int:
            self.inside += 1
            self.most = max(self.most, self.inside)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            self.inside -= 1
            return self.most

        def quick(self) -> int:
            assert self.inside == 0
            return self.most

    async def main(node: Node, world: World) -> None:
        ref = await node.start(Careful)
        calls = [ref.call(Careful.enter) if n % 2 else ref.call(Careful.quick) for n in range(40)]
        assert max(await asyncio.gather(*calls)) == 1

    play.one(main)


def test_a_call_can_be_made_by_name_here_and_elsewhere(anywhere: Play) -> None:
    class Named(Counter):
        def __init__(self) -> None:
            super().__init__(7)
            self.process.register("clerk")

    async def main(a: Node, b: Node, world: World) -> None:
        await b.start(Named)
        assert await b.call("clerk", Counter.value) == 7
        assert await a.call(RemoteName(b.name, "clerk"), Counter.value) == 7
        with pytest.raises(NoProcess):
            await a.call(RemoteName(b.name, "nobody"), Counter.value)
        with pytest.raises(NoProcess):
            await a.call("nobody", Counter.value)

    anywhere.two(main)


def test_a_call_of_a_dead_process_raises_no_process(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        with pytest.raises(NoProcess):
            await a.call(Pid(b.name, b.creation, 99), Counter.value)
        a.ref(Pid(b.name, b.creation, 99), Counter).cast(Counter.incr)

    anywhere.two(main)


def test_a_process_without_methods_refuses_calls(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        async def body(self: Process) -> None:
            await self.receive()

        pid = b.spawn(body)
        with pytest.raises(NotCallable):
            await a.call(pid, Counter.value)
        assert b.process_info(pid) is not None

    anywhere.two(main)


class Exposed(Counter):
    attribute = print

    @staticmethod
    def static() -> str:
        return "static"

    @classmethod
    def of_class(cls) -> str:
        return "class"

    @property
    def prop(self) -> str:
        return "prop"

    def _private(self) -> str:
        return "private"

    def generator(self) -> Any:
        yield 1

    def public(self) -> str:
        return "public"


def test_only_public_methods_of_the_class_can_be_called(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        ref = await b.start(Exposed)
        assert await a.call(ref.pid, Exposed.public) == "public"
        assert await a.call(ref.pid, Counter.value) == 0  # of a base
        refused = [
            "_private",
            "__init__",
            "handle_info",
            "handle_down",
            "handle_exit",
            "terminate",
            "pid",
            "process",
            "static",
            "of_class",
            "prop",
            "generator",
            "attribute",
            "no_such_method",
        ]
        for name in refused:
            with pytest.raises(NotCallable):
                await a.kernel.call(ref.pid, name, (), {}, 5.0)
        assert b.process_info(ref.pid) is not None

    anywhere.two(main)


def test_the_names_of_a_behaviour_are_hooks_of_its_subclasses(play: Play) -> None:
    class Behaviour(GenServer, behaviour=True):
        def hook(self) -> str:
            return "hook"

    class User(Behaviour):
        def hook(self) -> str:
            return "mine"

        def method(self) -> str:
            return "method"

    async def main(node: Node, world: World) -> None:
        ref = await node.start(User)
        assert await ref.call(User.method) == "method"
        with pytest.raises(NotCallable):
            await ref.call(User.hook)

    play.one(main)


def test_arguments_that_do_not_fit_harm_nobody(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        ref = await there(a, b)
        for method in ("incr", "slowly"):
            for args, kwargs in (((1, 2), {}), ((), {"wrong": 1}), ((1,), {"by": 2})):
                with pytest.raises(NotCallable, match="nothing happened"):
                    await a.kernel.call(ref.pid, method, args, kwargs, 5.0)
        assert await ref.call(Counter.value) == 0

    anywhere.two(main)


def test_a_type_error_inside_a_method_is_a_crash_like_any_other(play: Play) -> None:
    class Wrong(GenServer):
        def now(self) -> None:
            raise TypeError("inside")

        async def later(self) -> None:
            raise TypeError("inside")

    async def main(node: Node, world: World) -> None:
        for method in (Wrong.now, Wrong.later):
            ref = await node.start(Wrong)
            with pytest.raises(RemoteError):
                await ref.call(method)
            await turns()
            assert node.process_info(ref.pid) is None

    play.one(main)


def test_a_method_that_raises_ends_the_server_and_its_caller_is_told(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        for method in (Counter.fail, Counter.fail_slowly):
            ref = await there(a, b)
            down = asyncio.create_task(a.down(ref.pid))
            await world.settle()
            with pytest.raises(RemoteError) as caught:
                await ref.call(method, "on purpose")
            assert (caught.value.type_name, caught.value.text) == ("ValueError", "on purpose")
            assert f"in {method.__name__}" in caught.value.traceback_text
            reason = (await down).reason
            assert isinstance(reason, ValueError if a is b else RemoteError)
            if a is b:
                assert caught.value.__cause__ is reason

    anywhere.two(main)


def test_calls_that_wait_in_the_mailbox_of_a_server_that_ends_were_never_begun(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        ref = await there(a, b)
        results = await asyncio.gather(
            ref.call(Counter.hang),
            ref.call(Counter.incr),
            kill_later(a, ref.pid, world),
            return_exceptions=True,
        )
        assert isinstance(results[0], CalleeExited)
        assert results[0].reason == "killed"
        assert isinstance(results[1], NoProcess)

    anywhere.two(main)


async def kill_later(node: Node, pid: Pid, world: World) -> None:
    await world.settle()
    node.exit(pid, "kill")


def test_a_server_can_end_itself(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        ref = await there(a, b)
        down = asyncio.create_task(a.down(ref.pid))
        await world.settle()
        with pytest.raises(CalleeExited) as caught:
            await ref.call(Counter.leave, "tired")
        assert caught.value.reason == "tired"
        assert (await down).reason == "tired"

    anywhere.two(main)


# -- deadlines --------------------------------------------------------------------------------------------


def test_a_call_times_out_after_five_seconds_or_as_long_as_within_says(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        ref = await there(a, b)
        plain, short, endless = (
            asyncio.create_task(r.call(Counter.hang)) for r in (ref, ref.within(0.5), ref.within(None))
        )
        await world.clock.pass_time(0.4)
        assert not short.done()
        await world.clock.pass_time(0.2)
        assert short.done()
        await world.clock.pass_time(4.3)
        assert not plain.done()
        await world.clock.pass_time(0.2)
        for call in (plain, short):
            with pytest.raises(CallTimeout, match="the outcome is unknown"):
                await call
        await world.clock.pass_time(10_000)
        assert not endless.done()
        endless.cancel()
        with pytest.raises(ValueError, match="over 0"):
            ref.within(0)

    anywhere.two(main)


def test_a_call_that_timed_out_leaves_nothing_behind(anywhere: Play) -> None:
    class Patient(GenServer):
        def __init__(self) -> None:
            self.release = asyncio.Event()

        async def wait(self) -> str:
            await self.release.wait()
            return "late"

    async def main(a: Node, b: Node, world: World) -> None:
        server: list[Patient] = []

        class Here(Patient):
            def __init__(self) -> None:
                super().__init__()
                server.append(self)

        ref = a.ref((await b.start(Here)).pid, Here)
        seen: list[Any] = []

        async def caller(self: Process) -> None:
            with pytest.raises(CallTimeout):
                await ref.within(1.0).call(Here.wait)
            seen.append(await self.receive())

        pid = a.spawn(caller)
        await world.clock.pass_time(2.0)
        assert len(a.kernel.deadlines) == 0
        assert a.pending_calls() == 0
        server[0].release.set()
        await world.settle()
        info = a.process_info(pid)
        assert info is not None
        assert (info.mailbox, seen) == (0, [])
        a.send(pid, "the next message")
        await turns()
        assert seen == ["the next message"]

    anywhere.two(main)


def test_a_call_that_its_caller_cancels_leaves_nothing_behind(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        ref = await there(a, b)
        call = asyncio.create_task(ref.call(Counter.hang))
        await world.settle()
        assert len(a.kernel.deadlines) == 1
        call.cancel()
        await turns()
        assert len(a.kernel.deadlines) == 0
        assert a.pending_calls() == 0

    anywhere.two(main)


def test_a_server_that_ends_while_it_calls_leaves_no_call_behind(anywhere: Play) -> None:
    class Asking(GenServer):
        async def ask(self, ref: Ref[Counter]) -> None:
            await ref.call(Counter.hang)

    async def main(a: Node, b: Node, world: World) -> None:
        ref = await there(a, b)
        asking = await a.start(Asking)
        asking.cast(Asking.ask, ref)
        await world.settle()
        a.exit(asking.pid, "kill")
        await world.settle()
        assert a.process_info(asking.pid) is None
        assert len(a.kernel.deadlines) == 0
        assert a.pending_calls() == 0

    anywhere.two(main)


def test_deadlines_of_many_calls_need_one_timer_and_each_is_kept(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Counter)
        calls = []
        for _ in range(5):
            calls.append(asyncio.create_task(ref.call(Counter.hang)))
            await turns()
            world.clock.advance(1.0)
        assert len(world.clock._timers) == 1
        for index in range(5):
            await world.clock.pass_time(0.01)
            assert [call.done() for call in calls] == [True] * (index + 1) + [False] * (4 - index)
            await world.clock.pass_time(0.99)
        for call in calls:
            with pytest.raises(CallTimeout):
                await call

    play.one(main)


def test_timeouts_of_a_thousand_lengths_leave_few_timers_behind_and_each_is_kept(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Counter)
        other = await node.start(Counter)
        for index in range(1000):
            await ref.within(100 + index / 7).call(Counter.slowly)
        assert len([timer for _, _, timer in world.clock._timers if not timer.cancelled]) < 100
        assert len(node.kernel.deadlines._waiting) < 100
        for length_s in (1.0, 2.0, 1.0):  # used, dropped and used again
            call = asyncio.create_task(other.within(length_s).call(Counter.hang))
            await world.clock.pass_time(length_s + 0.01)
            with pytest.raises(CallTimeout):
                await call
            for index in range(100):
                await ref.within(length_s + index / 7).call(Counter.slowly)

    play.one(main)


# -- how they run ---------------------------------------------------------------------------------------


def test_an_async_method_has_a_task_of_its_own_in_which_asyncio_works(play: Play) -> None:
    class Modern(GenServer):
        async def work(self) -> list[Any]:
            task = asyncio.current_task()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await asyncio.Event().wait()
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(asyncio.sleep(0, n)) for n in range(3)]
            return [task is not None and task is asyncio.current_task(), [t.result() for t in tasks]]

    async def main(node: Node, world: World) -> None:
        ref = await node.start(Modern)
        assert await ref.call(Modern.work) == [True, [0, 1, 2]]

    play.one(main)


def test_an_idle_server_has_no_task_no_queue_and_no_timer(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Counter)
        before = asyncio.all_tasks()
        await ref.call(Counter.incr)
        await ref.call(Counter.slowly)
        await world.clock.pass_time(KEPT_S)  # a server that has just used a task keeps it a moment
        cell = node.kernel.find(ref.pid)
        assert cell is not None
        assert asyncio.all_tasks() == before
        assert (cell.mailbox, cell.activation, cell.scheduled, cell.deadline) == (None, None, False, None)

    play.one(main)


def test_a_server_that_sends_to_itself_for_ever_does_not_starve_the_others(play: Play) -> None:
    class Greedy(GenServer):
        def __init__(self) -> None:
            self.n = 0

        def again(self) -> None:
            self.n += 1
            Ref.of(self).cast(Greedy.again)

        async def again_slowly(self) -> None:
            self.n += 1
            Ref.of(self).cast(Greedy.again_slowly)

        def count(self) -> int:
            return self.n

    async def main(node: Node, world: World) -> None:
        for method in (Greedy.again, Greedy.again_slowly):
            greedy, other = await node.start(Greedy), await node.start(Counter)
            greedy.cast(method)
            for _ in range(10):
                await other.call(Counter.incr)
            assert await greedy.call(Greedy.count) < 10 * 8 * 8
            node.exit(greedy.pid, "kill")

    play.one(main, ProcessConfig(slice_messages=8, turn_messages=16))


def test_a_server_with_a_full_mailbox_lets_others_have_their_turn_in_between(play: Play) -> None:
    order: list[str] = []

    class Noting(GenServer):
        def note(self, name: str) -> None:
            order.append(name)

    async def main(node: Node, world: World) -> None:
        full, other = await node.start(Noting), await node.start(Noting)
        for _ in range(100):
            full.cast(Noting.note, "full")
        other.cast(Noting.note, "other")
        await turns(2)
        assert order.index("other") == 8
        assert len(order) == 101

    play.one(main, ProcessConfig(slice_messages=8))


@pytest.mark.parametrize("by_node", [False, True])
def test_who_calls_idle_servers_one_after_the_other_lets_others_have_their_turn(
    play: Play, by_node: bool
) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Counter)
        heard: list[str] = []
        asyncio.get_running_loop().call_soon(heard.append, "another")
        for _ in range(17):
            await (node.call(ref.pid, Counter.incr) if by_node else ref.call(Counter.incr))
        assert heard == ["another"]

    play.one(main, ProcessConfig(slice_messages=8, turn_messages=16))


def test_ctrl_c_in_a_method_ends_the_server_and_then_stops_the_program(play: Play) -> None:
    class Interrupted(GenServer):
        def now(self) -> None:
            raise KeyboardInterrupt

    reasons: list[Any] = []

    async def main(node: Node, world: World) -> None:
        ref = await node.start(Interrupted)
        node.watch(ref.pid, lambda down: reasons.append(down.reason))
        ref.cast(Interrupted.now)
        await asyncio.Event().wait()

    with pytest.raises(KeyboardInterrupt):
        play.one(main)
    assert isinstance(reasons[0], KeyboardInterrupt)


def test_a_result_that_cannot_travel_is_an_error_for_the_caller_alone(play: Play) -> None:
    class Odd(GenServer):
        def give(self) -> Any:
            return ["fine", asyncio.get_running_loop()]

    async def main(a: Node, b: Node, world: World) -> None:
        ref = a.ref((await b.start(Odd)).pid, Odd)
        with pytest.raises(RemoteError, match=r"result\[1\]"):
            await ref.call(Odd.give)
        assert b.process_info(ref.pid) is not None

    play.two(main)


def test_a_method_that_blocks_the_loop_is_reported(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    async def main(node: Node, world: World) -> None:
        class Blocking(GenServer):
            def block(self) -> None:
                world.clock.skip(0.5)

            async def block_later(self) -> None:
                await asyncio.sleep(0)
                world.clock.skip(0.6)

        ref = await node.start(Blocking)
        await ref.call(Blocking.block)
        await ref.call(Blocking.block_later)
        await turns()
        texts = [record.getMessage() for record in caplog.records]
        assert len(texts) == 2
        assert "Blocking" in texts[0]
        assert "0.500 s" in texts[0]
        assert "0.600 s" in texts[1]

    play.one(main)


def test_a_ref_is_a_value(play: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        ref = await b.start(Counter)
        same = a.ref(ref.pid, Counter)
        assert same == ref.within(3)
        assert hash(same) == hash(ref)
        assert same != await b.start(Counter)
        assert same != ref.pid
        assert repr(ref) == f"Ref({ref.pid})"

    play.two(main)
