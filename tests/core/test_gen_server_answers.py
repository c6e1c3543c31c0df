"""Servers that answer in other ways than by returning: later, with an exception for the caller alone, at their end."""

import asyncio
from collections import deque
from typing import Any

import pytest

from quorate.core import (
    CalleeExited,
    CallTimeout,
    Exit,
    From,
    GenServer,
    Node,
    NoProcess,
    Ref,
    RemoteError,
    Reply,
    raises,
)
from tests.core.conftest import Play
from tests.core.nodes import World


class OutOfStock(Exception):
    """With an `__init__` that does not take its `args`."""

    def __init__(self, item: str, left: int) -> None:
        super().__init__(f"{item} is out of stock")
        self.item = item
        self.left = left


class Unknown(Exception):
    """Nobody exports this one."""


class Queue(GenServer):
    """Who takes from an empty queue waits until somebody puts."""

    def __init__(self) -> None:
        self.items: deque[str] = deque()
        self.waiting: deque[From[str]] = deque()
        self.log: list[str] = []

    def take(self) -> str:
        if self.items:
            return self.items.popleft()
        asker: From[str] = self.asker()
        self.waiting.append(asker)
        return asker.later()

    async def take_slowly(self) -> str:
        await asyncio.sleep(0)
        return self.take()

    def put(self, item: str) -> None:
        if self.waiting:
            self.reply(self.waiting.popleft(), item)
        else:
            self.items.append(item)

    def refuse(self) -> None:
        self.waiting.popleft().fail(KeyError("closed"))

    def answer_twice(self) -> str:
        asker: From[str] = self.asker()
        self.reply(asker, "first")
        self.reply(asker, "second")
        asker.fail(KeyError("third"))
        return "fourth"

    async def answer_early(self) -> str:
        asker: From[str] = self.asker()
        self.reply(asker, "early")
        await asyncio.sleep(0)
        self.log.append("and then the rest")
        return asker.later()

    def returns_the_wrong_marker(self) -> str:
        return self.waiting[0].later()

    def ask_and_fail(self) -> str:
        self.asker()
        raise KeyError("after all")

    @raises(KeyError)
    def ask_and_refuse(self) -> str:
        self.waiting.append(self.asker())
        raise KeyError("not today")

    def how_many_wait(self) -> int:
        return len([asker for asker in self.waiting if asker.waiting])

    def what_happened(self) -> list[str]:
        return self.log

    def handle_info(self, message: Any) -> None:
        try:
            self.asker()
        except RuntimeError as error:
            self.log.append(str(error))


async def queue_on(a: Node, b: Node) -> Ref[Queue]:
    return a.ref((await b.start(Queue)).pid, Queue)


def test_a_method_can_answer_later(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        ref = await queue_on(a, b)
        takers = [asyncio.create_task(ref.call(Queue.take)) for _ in range(2)]
        takers.append(asyncio.create_task(ref.call(Queue.take_slowly)))
        await world.settle()
        assert [taker.done() for taker in takers] == [False] * 3
        assert await ref.call(Queue.how_many_wait) == 3
        for item in ("one", "two", "three", "four"):
            ref.cast(Queue.put, item)
        assert await asyncio.gather(*takers) == ["one", "two", "three"]
        assert await ref.call(Queue.take) == "four"

    anywhere.two(main)


def test_an_answer_that_comes_after_the_deadline_is_dropped(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        ref = await queue_on(a, b)
        taker = asyncio.create_task(ref.within(1.0).call(Queue.take))
        await world.clock.pass_time(2.0)
        with pytest.raises(CallTimeout, match="take of"):
            await taker
        await ref.call(Queue.put, "late")
        assert await ref.call(Queue.how_many_wait) == 0
        assert a.pending_calls() == 0

    anywhere.two(main)


def test_who_waits_for_a_later_answer_is_told_when_the_server_ends(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        ref = await queue_on(a, b)
        taker = asyncio.create_task(ref.call(Queue.take))
        await world.settle()
        a.exit(ref.pid, "enough")
        with pytest.raises(CalleeExited, match="before it answered: 'enough'"):
            await taker

    anywhere.two(main)


def test_only_the_first_answer_counts(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        ref = await queue_on(a, b)
        assert await ref.call(Queue.answer_twice) == "first"
        assert await ref.call(Queue.answer_early) == "early"
        assert await ref.call(Queue.what_happened) == ["and then the rest"]

    anywhere.two(main)


def test_a_later_answer_can_be_an_exception(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        ref = await queue_on(a, b)
        taker = asyncio.create_task(ref.call(Queue.take))
        await world.settle()
        await ref.call(Queue.refuse)
        with pytest.raises(KeyError, match="closed"):
            await taker

    anywhere.two(main)


def test_a_method_that_asked_for_its_request_and_raises_answers_with_that(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        ref = await queue_on(a, b)
        with pytest.raises(KeyError, match="not today"):
            await ref.call(Queue.ask_and_refuse)
        assert await ref.call(Queue.how_many_wait) == 0
        with pytest.raises(RemoteError, match="KeyError: 'after all'"):
            await ref.call(Queue.ask_and_fail)
        assert (await a.down(ref.pid)).reason is not None

    anywhere.two(main)


def test_a_request_is_there_while_a_call_is_handled_and_at_no_other_time(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        ref = await queue_on(a, b)
        ref.send("hello")
        ref.cast(Queue.take)  # of a cast there is one, and its answer is dropped
        await world.settle()
        log = await ref.call(Queue.what_happened)
        assert len(log) == 1
        assert "handles no call now" in log[0]
        ref.cast(Queue.put, "dropped")
        ref.cast(Queue.put, "kept")
        assert await ref.call(Queue.take) == "kept"

    anywhere.two(main)


def test_a_marker_of_another_call_is_a_crash_and_not_an_endless_wait(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        ref = await queue_on(a, b)
        taker = asyncio.create_task(ref.call(Queue.take))
        await world.settle()
        with pytest.raises(RemoteError, match="later\\(\\) of another call"):
            await ref.call(Queue.returns_the_wrong_marker)
        with pytest.raises(CalleeExited):
            await taker

    anywhere.two(main)


# -- exceptions for the caller ----------------------------------------------------------------------------


class Shop(GenServer):
    def __init__(self) -> None:
        self.sold = 0

    @raises(KeyError, OutOfStock)
    def buy(self, item: str) -> int:
        if item == "unicorn":
            raise KeyError(item)
        if item == "bread":
            raise OutOfStock(item, 2)
        if item == "bug":
            raise ValueError("not declared")
        self.sold += 1
        return self.sold

    @raises(LookupError)
    @raises(Unknown)
    async def order(self, item: str) -> int:
        await asyncio.sleep(0)
        if item == "unknown":
            raise Unknown("never heard of it")
        return self.buy(item)

    def look(self, item: str) -> None:
        try:
            raise Reply(OutOfStock(item, 0))
        except Exception:  # noqa: BLE001 -- that it is not caught here is what is tested
            self.sold = -1

    def reply_with(self, error: str) -> None:
        raise Reply({"stop": StopIteration("odd"), "call": NoProcess("elsewhere")}[error])

    def unserialisable(self) -> None:
        raise Reply(OutOfStock(object(), 0))  # type: ignore[arg-type]  # what a user might do

    def count(self) -> int:
        return self.sold

    def handle_info(self, message: object) -> None:
        raise Reply(KeyError("nobody asked"))


async def shop_on(a: Node, b: Node) -> Ref[Shop]:
    if OutOfStock not in a.exports._names:
        a.export(OutOfStock)
    return a.ref((await b.start(Shop)).pid, Shop)


def test_an_exception_that_is_declared_is_the_caller_s_and_the_server_lives(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        ref = await shop_on(a, b)
        for method in (Shop.buy, Shop.order):
            with pytest.raises(KeyError) as unknown:
                await ref.call(method, "unicorn")
            assert unknown.value.args == ("unicorn",)
            assert isinstance(unknown.value.__cause__, RemoteError) == (a is not b)
        with pytest.raises(OutOfStock) as none_left:
            await ref.call(Shop.buy, "bread")
        assert (none_left.value.item, none_left.value.left) == ("bread", 2)
        assert str(none_left.value) == "bread is out of stock"
        with pytest.raises(RemoteError, match="not declared"):
            await ref.call(Shop.buy, "bug")
        assert (await a.down(ref.pid)).pid == ref.pid

    anywhere.two(main)


def test_reply_answers_with_an_exception_and_no_except_exception_stops_it(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        ref = await shop_on(a, b)
        with pytest.raises(OutOfStock) as none_left:
            await ref.call(Shop.look, "milk")
        assert none_left.value.item == "milk"
        ref.cast(Shop.look, "milk")
        assert await ref.call(Shop.count) == 0

    anywhere.two(main)


def test_the_caller_of_the_same_node_gets_the_very_exception_and_one_elsewhere_its_remote_traceback(
    anywhere: Play,
) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        ref = await shop_on(a, b)
        with pytest.raises(OutOfStock) as none_left:
            await ref.call(Shop.look, "milk")
        cause = none_left.value.__cause__
        if a is b:
            assert cause is None
        else:
            assert isinstance(cause, RemoteError)
        expected = Unknown if a is b else RemoteError
        with pytest.raises(expected, match="never heard of it"):
            await ref.call(Shop.order, "unknown")
        with pytest.raises(OutOfStock if a is b else RemoteError, match="out of stock"):
            await ref.call(Shop.unserialisable)
        assert await ref.call(Shop.count) == 0

    anywhere.two(main)


@pytest.mark.parametrize(
    ("which", "text"), [("stop", "StopIteration: odd"), ("call", "NoProcess: elsewhere")]
)
def test_an_exception_that_would_say_something_else_at_the_caller_comes_as_a_remote_error(
    anywhere: Play, which: str, text: str
) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        ref = await shop_on(a, b)
        with pytest.raises(RemoteError, match=text):
            await ref.call(Shop.reply_with, which)
        assert await ref.call(Shop.count) == 0

    anywhere.two(main)


def test_reply_where_nobody_asked_is_a_crash(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        ref = await node.start(Shop)
        ref.send("hello")
        assert isinstance((await node.down(ref.pid)).reason, Reply)

    play.one(main)


def test_only_exceptions_can_be_declared_or_replied() -> None:
    with pytest.raises(TypeError, match="an exception is needed"):
        Reply("text")  # type: ignore[arg-type]
    wrongs: tuple[Any, ...] = ((), (int,), (BaseException,), (KeyError("x"),))
    for wrong in wrongs:
        with pytest.raises(TypeError, match="exception types"):
            raises(*wrong)


# -- an answer together with the end ----------------------------------------------------------------------


class Account(GenServer):
    def __init__(self) -> None:
        self.process.register("account")
        self.closed = False

    def close(self, reason: str) -> str:
        raise Exit(reason, reply=f"closed: {reason}")

    async def close_slowly(self, reason: str) -> str:
        await asyncio.sleep(0)
        raise Exit(reason, reply=f"closed: {reason}")

    def close_without_a_word(self) -> None:
        raise Exit("over")

    async def terminate(self, reason: object) -> None:
        await asyncio.sleep(0)
        assert not self.closed
        self.closed = True


@pytest.mark.parametrize("slow", [False, True])
def test_a_server_can_answer_and_end_and_its_name_is_free_when_the_answer_comes(
    anywhere: Play, slow: bool
) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        ref = a.ref((await b.start(Account)).pid, Account)
        server = b.kernel.cells[ref.pid.serial].server  # type: ignore[attr-defined]
        method = Account.close_slowly if slow else Account.close
        down = asyncio.create_task(a.down(ref.pid))
        await world.settle()
        assert await ref.call(method, "normal") == "closed: normal"
        assert server.closed
        assert b.whereis("account") is None
        assert (await down).reason == "normal"
        with pytest.raises(NoProcess):
            await ref.call(Account.close_without_a_word)

    anywhere.two(main)


def test_a_server_that_ends_without_an_answer_says_so(anywhere: Play) -> None:
    async def main(a: Node, b: Node, world: World) -> None:
        ref = a.ref((await b.start(Account)).pid, Account)
        with pytest.raises(CalleeExited, match="ended itself: 'over'"):
            await ref.call(Account.close_without_a_word)

    anywhere.two(main)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), "a text"])
def test_nobody_ends_the_program_of_who_asked_by_failing_a_call(anywhere: Play, error: Any) -> None:
    class Malicious(GenServer):
        def ask(self) -> None:
            self.asker().fail(error)

    async def main(a: Node, b: Node, world: World) -> None:
        ref = a.ref((await b.start(Malicious)).pid, Malicious)
        with pytest.raises(RemoteError, match="an exception is needed"):
            await ref.call(Malicious.ask)

    anywhere.two(main)


def test_a_class_that_takes_a_name_every_server_needs_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Wrong\.reply: every GenServer has that name"):

        class Wrong(GenServer):
            def reply(self) -> int:  # type: ignore[override]
                return 1
