"""Random histories of one singleton on three nodes, whole, with cuts, pauses, crashes, moves and lost replies."""

import asyncio
from collections.abc import Awaitable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from quorate.core import CallError, Ref
from quorate.registry import Name
from tests.registry.support import Ledger, Singles
from tests.support import run, turns

letters = st.sampled_from("abc")
STEPS = st.one_of(
    st.tuples(st.just("send"), letters),
    st.tuples(st.just("send"), letters),
    st.tuples(st.just("send"), letters),
    st.tuples(st.just("move"), letters),
    st.tuples(st.just("move"), letters),
    st.tuples(st.just("cut"), letters),
    st.tuples(st.just("heal"), letters),
    st.tuples(st.just("part"), letters),
    st.tuples(st.just("join"), letters),
    st.tuples(st.just("store off"), letters),
    st.tuples(st.just("crash"), letters),
    st.tuples(st.just("lose reply"), letters),
    st.tuples(st.just("pause"), letters),
    st.tuples(st.just("turns"), letters),
    st.tuples(st.just("turns"), letters),
    st.tuples(st.just("time"), letters),
    st.tuples(st.just("time"), letters),
)


class History:
    def __init__(self, singles: Singles, refs: dict[str, Ref[Ledger]]) -> None:
        self.singles = singles
        self.refs = refs
        self.sent = dict.fromkeys("abc", 0)
        self.calls: dict[tuple[str, int], asyncio.Future[Any]] = {}
        self.others: list[asyncio.Future[Any]] = []

    async def step(self, operation: str, letter: str) -> None:
        singles = self.singles
        match operation:
            case "send":
                for _ in range(5):
                    await self.send(letter)
            case "move":
                move = singles[letter].move("x", singles.full("abc"[sum(self.sent.values()) % 3]))
                self.others.append(asyncio.ensure_future(_quietly(move)))
            case "cut":
                singles.cut_off(letter)
            case "heal":
                singles.heal(letter)
            case "part":
                singles.wire.cut(singles.full(letter), singles.full("bca"["abc".index(letter)]))
            case "join":
                singles.wire.join(singles.full(letter), singles.full("bca"["abc".index(letter)]))
            case "store off":
                singles.stores[letter].disconnect()
            case "crash":
                self.refs[letter].cast(Ledger.crash)
            case "lose reply":
                singles.stores[letter].lose_next_reply()
            case "pause":
                singles.clock.skip(1.0)
            case "turns":
                await turns(3)
            case _:
                await singles.clock.pass_time(0.7, 6)

    async def send(self, letter: str) -> None:
        self.sent[letter] += 1
        tag = (letter, self.sent[letter])
        if self.sent[letter] % 2:
            self.refs[letter].cast(Ledger.add, 1, tag)
        else:
            self.calls[tag] = asyncio.ensure_future(self.refs[letter].within(None).call(Ledger.add, 1, tag))
            await asyncio.sleep(0)  # it leaves when its task runs

    def check(self) -> None:
        """Nothing is handled twice or out of order, and no lower fence acts after a higher one."""
        acts = [(fence, what) for _, fence, what in Ledger.log if what[0] != "hand_over"]
        fences = [fence for fence, _ in acts]
        assert fences == sorted(fences)
        tags = [what[2] for _, what in acts if what[0] == "add" and what[2]]
        for letter in "abc":
            numbers = [number for who, number in tags if who == letter]
            assert numbers == sorted(set(numbers))
        handled = set(tags)
        for tag, call in self.calls.items():
            if call.done() and call.exception() is None:
                assert tag in handled


async def _quietly(work: Awaitable[object]) -> object:
    try:
        return await work
    except Exception as error:  # noqa: BLE001 -- without a quorum it fails, as it should
        return error


@settings(max_examples=40)
@given(st.lists(STEPS, max_size=40))
def test_in_any_history_a_singleton_acts_alone_in_order_and_in_the_end_it_answers(
    steps: list[tuple[str, str]],
) -> None:
    async def main() -> None:
        Ledger.log.clear()
        async with Singles() as singles:
            refs = {letter: await singles[letter].get(Name(Ledger, "x")) for letter in "abc"}
            await refs["a"].call(Ledger.add, 0)
            history = History(singles, refs)
            for operation, letter in steps:
                await history.step(operation, letter)
                history.check()
            for letter in "abc":
                singles.heal(letter)
            for letter in "abc":
                last = asyncio.ensure_future(refs[letter].within(120).call(Ledger.add, 0))
                await singles.until(last.done, 120.0, 1.0)
                assert isinstance(last.exception() or last.result(), int | CallError)
            pending = [*history.calls.values(), *history.others]
            await singles.until(lambda: all(one.done() for one in pending), 60.0, 1.0)
            final = asyncio.ensure_future(refs["a"].call(Ledger.where))
            await singles.until(final.done)
            assert final.result() == (singles.owner("x"), singles.fence("x"))
            await asyncio.gather(*pending, return_exceptions=True)
            history.check()
            await singles.until(lambda: not any(singles[letter].parked() for letter in "abc"), 120.0, 1.0)
            history.check()

    run(main(), allow_unhandled=True)
