"""Singletons on three nodes: started once, found from everywhere, alive after what kills their owners."""

import asyncio

import pytest

from quorate.core import Ref
from quorate.hashing import Ring
from quorate.registry import Name, NotASingleton, Singleton, SingletonConflict
from tests.registry.support import Ledger, Singles
from tests.support import run, turns

LEDGER = Name(Ledger, "billing/ledger")


class Other(Singleton[int]):
    pass


async def ledger(singles: Singles, letter: str = "a", key: str = "billing/ledger") -> Ref[Ledger]:
    return await singles[letter].get(Name(Ledger, key))


def test_it_is_started_once_although_three_nodes_ask_and_all_reach_the_same() -> None:
    async def main() -> None:
        Ledger.log.clear()
        async with Singles() as singles:
            refs = await asyncio.gather(*(singles[letter].get(LEDGER) for letter in "abc"))
            totals = [await ref.call(Ledger.add, 1) for ref in refs]
            assert totals == [1, 2, 3]
            takes = [entry for entry in Ledger.log if entry[2] == ("take_over", None)]
            assert len(takes) == 1 and takes[0][1] == singles.fence("billing/ledger") > 0

    run(main())


def test_singletons_move_to_a_node_that_comes_also_when_timers_are_a_little_early(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        async with Singles("ab") as singles:
            for number in range(12):
                await (await ledger(singles, "a", f"room/{number}")).call(Ledger.add, 1)
            exact = singles.clock.call_later
            monkeypatch.setattr(
                singles.clock, "call_later", lambda delay_s, *rest: exact(delay_s - 0.0005, *rest)
            )
            await singles.open("c")
            await singles.until(
                lambda: any(singles.owner(f"room/{number}") == "c" for number in range(12)), 5.0
            )

    run(main())


def test_each_singleton_runs_where_the_ring_says() -> None:
    async def main() -> None:
        async with Singles() as singles:
            ring = Ring([singles.full(letter) for letter in "abc"])
            for number in range(12):
                key = f"room/{number}"
                ref = await ledger(singles, "abc"[number % 3], key)
                where, _ = await ref.call(Ledger.where)
                assert singles.full(where) == ring.owner(key)

    run(main())


def test_calls_casts_and_plain_messages_of_one_sender_are_handled_in_order() -> None:
    async def main() -> None:
        Ledger.log.clear()
        async with Singles() as singles:
            for letter in "abc":
                ref = await ledger(singles, letter)
                ref.cast(Ledger.add, 1, letter)
                ref.send(("hello", letter))
                await ref.call(Ledger.add, 1, letter)
            did = [what for _, _, what in Ledger.log if what != ("take_over", None)]
            assert did == [
                step
                for letter in "abc"
                for step in (("add", 1, letter), ("hello", letter), ("add", 1, letter))
            ]

    run(main())


def test_a_reference_can_be_given_to_another_node() -> None:
    async def main() -> None:
        async with Singles() as singles:
            ref = await ledger(singles, "a")
            codec = singles.nodes["b"].kernel.codec
            there: Ref[Ledger] = codec.decode(singles.nodes["a"].kernel.codec.encode(ref))
            assert await there.call(Ledger.add, 5) == 5

    run(main())


def test_what_is_no_singleton_or_another_class_is_refused() -> None:
    async def main() -> None:
        async with Singles() as singles:
            await ledger(singles)
            with pytest.raises(SingletonConflict):
                await singles["b"].get(Name(Other, "billing/ledger"))
            with pytest.raises(NotASingleton):
                await singles["b"].get("billing/ledger")  # type: ignore[arg-type]  # that is the mistake

    run(main())


def test_when_the_owners_node_dies_it_runs_elsewhere_from_its_checkpoint_after_the_session_is_over() -> None:
    async def main() -> None:
        Ledger.log.clear()
        async with Singles() as singles:
            ref = await ledger(singles, "a", "x")
            await ref.call(Ledger.add, 5)
            await ref.call(Ledger.save)
            await ref.call(Ledger.add, 100)  # not in the checkpoint
            victim, old = await ref.call(Ledger.where)
            survivors = [letter for letter in "abc" if letter != victim]
            ref = await ledger(singles, survivors[0], "x")
            session = singles.stores[victim].session.id
            singles.kill(victim)
            asked = asyncio.ensure_future(ref.within(60).call(Ledger.where))
            while singles.backend.machine.session(session) is not None:
                assert singles.fence("x") == old and not asked.done()
                await singles.clock.pass_time(0.1)
            await singles.until(asked.done)
            where, fence = asked.result()
            assert where in survivors and fence > old
            assert (("x", fence, ("take_over", 5))) in Ledger.log
            assert await ref.call(Ledger.add, 1) == 6

    run(main())


def test_a_singleton_that_crashes_is_started_again_with_a_higher_fence_from_its_checkpoint() -> None:
    async def main() -> None:
        async with Singles() as singles:
            ref = await ledger(singles)
            await ref.call(Ledger.add, 7)
            await ref.call(Ledger.save)
            _, before = await ref.call(Ledger.where)
            ref.cast(Ledger.crash)
            after = asyncio.ensure_future(ref.call(Ledger.add, 1))
            await singles.until(after.done)
            assert after.result() == 8 and singles.fence("billing/ledger") > before

    run(main(), allow_unhandled=True)


def test_messages_that_a_crashed_owner_had_not_begun_are_handled_by_the_next_in_order() -> None:
    async def main() -> None:
        Ledger.log.clear()
        async with Singles() as singles:
            refs = [await ledger(singles, letter) for letter in "abc"]
            for ref in refs:
                await ref.call(Ledger.add, 0)
            await turns()
            refs[0].cast(Ledger.crash)
            for number in range(20):
                for letter, ref in zip("abc", refs, strict=True):
                    ref.cast(Ledger.add, 1, (letter, number))
            done = asyncio.ensure_future(refs[0].call(Ledger.add, 0))
            await singles.until(done.done)
            tags = [
                what[2]
                for _, _, what in Ledger.log
                if isinstance(what, tuple) and what[0] == "add" and what[2]
            ]
            for letter in "abc":
                assert [number for who, number in tags if who == letter] == list(range(20))

    run(main())


def test_when_a_node_joins_singletons_move_to_it_only_after_the_membership_was_quiet() -> None:
    async def main() -> None:
        async with Singles("ab") as singles:
            keys = [f"room/{number}" for number in range(20)]
            ring = Ring([singles.full(letter) for letter in "abc"])
            for key in keys:
                await (await ledger(singles, "a", key)).call(Ledger.add, 1)
            due = {key for key in keys if ring.owner(key) == singles.full("c")}
            assert due
            await singles.open("c")
            await singles.clock.pass_time(1.5)
            assert not any(singles.owner(key) == "c" for key in keys)
            await singles.until(lambda: {key for key in keys if singles.owner(key) == "c"} == due)
            for key in keys:
                assert await (await ledger(singles, "b", key)).call(Ledger.add, 1) == 2

    run(main())


def test_messages_wait_in_order_while_the_lane_to_the_owner_is_full() -> None:
    async def main() -> None:
        Ledger.log.clear()
        async with Singles() as singles:
            owner, _ = await (await ledger(singles)).call(Ledger.where)
            other = next(letter for letter in "abc" if letter != owner)
            ref = await ledger(singles, other)
            await ref.call(Ledger.add, 0)
            lane = singles.wire.ends[singles.full(other)]
            lane.room.clear()
            for number in range(5):
                ref.cast(Ledger.add, 1, (other, number))
            last = asyncio.ensure_future(ref.call(Ledger.add, 1, (other, 5)))
            await turns()
            assert not last.done()
            lane.room.set()
            assert await last == 6
            tags = [what[2] for _, _, what in Ledger.log if what[0] == "add" and what[2]]
            assert tags == [(other, number) for number in range(6)]

    run(main())


def test_a_link_lost_in_the_turn_in_which_its_lane_is_full_is_no_bug(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        async with Singles() as singles:
            owner, _ = await (await ledger(singles)).call(Ledger.where)
            other = next(letter for letter in "abc" if letter != owner)
            ref = await ledger(singles, other)
            await ref.call(Ledger.add, 0)
            singles.wire.ends[singles.full(other)].room.clear()
            ref.cast(Ledger.add, 1)
            singles.wire.cut(singles.full(other), singles.full(owner), "cut")
            await turns()
            assert [record for record in caplog.records if record.levelname == "ERROR"] == []

    run(main())
