"""Moves of singletons between living nodes, with messages under way and with deaths at every step."""

import asyncio
from typing import Any

import pytest

from quorate.core import CallError, Pid, Ref
from quorate.registry import Name, Singletons
from quorate.registry.delivery import Flush, Parcel
from quorate.registry.keys import encode_name
from quorate.registry.letters import Letter, Plain, Prepare, Prepared
from quorate.registry.records import decode_handed_over
from quorate.registry.routing import Posted
from tests.registry.support import Ledger, Singles
from tests.support import run, turns


async def ledger(singles: Singles, letter: str = "a", key: str = "x") -> Ref[Ledger]:
    return await singles[letter].get(Name(Ledger, key))


def others(singles: Singles, letter: str) -> list[str]:
    return [other for other in singles.nodes if other != letter]


def test_a_move_takes_the_state_along_and_leaves_no_gap() -> None:
    async def main() -> None:
        Ledger.log.clear()
        async with Singles() as singles:
            ref = await ledger(singles)
            await ref.call(Ledger.add, 5)
            source, old = await ref.call(Ledger.where)
            target = others(singles, source)[0]
            await singles[target].move("x", singles.full(target))
            await singles.runs_on("x", target)
            where, fence = await ref.call(Ledger.where)
            assert where == target and fence > old
            assert await ref.call(Ledger.add, 1) == 6
            steps = [what for _, _, what in Ledger.log if what[0] in ("hand_over", "take_over")]
            assert steps == [("take_over", None), ("hand_over", 5), ("take_over", 5)]

    run(main())


def test_a_singleton_goes_back_where_the_ring_says_when_it_is_no_longer_pinned() -> None:
    async def main() -> None:
        async with Singles() as singles:
            ref = await ledger(singles)
            home, _ = await ref.call(Ledger.where)
            away = others(singles, home)[0]
            await singles["a"].move("x", singles.full(away))
            await singles.runs_on("x", away)
            await singles["a"].move("x", None)
            await singles.runs_on("x", home)

    run(main())


def test_under_load_from_three_nodes_a_move_loses_nothing_repeats_nothing_and_keeps_every_order() -> None:
    """Casts and calls from all nodes all the while; the singleton goes round the cluster."""

    async def main() -> None:
        Ledger.log.clear()
        async with Singles() as singles:
            refs = {letter: await ledger(singles, letter) for letter in "abc"}
            await refs["a"].call(Ledger.add, 0)
            sent = dict.fromkeys("abc", 0)
            calls: list[asyncio.Future[int]] = []
            for round_number in range(6):
                target = "abc"[round_number % 3]
                await singles["a"].move("x", singles.full(target))
                for _ in range(20):
                    for letter, ref in refs.items():
                        for _ in range(3):
                            sent[letter] += 1
                            if sent[letter] % 3:
                                ref.cast(Ledger.add, 1, (letter, sent[letter]))
                            else:
                                calls.append(
                                    asyncio.ensure_future(ref.call(Ledger.add, 1, (letter, sent[letter])))
                                )
                                await asyncio.sleep(0)
                    await turns(2)
                await singles.clock.pass_time(0.2)
            totals = await asyncio.gather(*calls)
            last = await refs["a"].call(Ledger.add, 0)
            assert last == sum(sent.values()) == 1080 and len(set(totals)) == len(totals)
            tags = [what[2] for _, _, what in Ledger.log if what[0] == "add" and what[2]]
            for letter in "abc":
                assert [n for who, n in tags if who == letter] == list(range(1, sent[letter] + 1))
            assert sum(1 for _, _, what in Ledger.log if what[0] == "hand_over") >= 5

    run(main())


def test_a_message_in_progress_is_finished_before_the_singleton_hands_over() -> None:
    async def main() -> None:
        Ledger.log.clear()
        async with Singles() as singles:
            ref = await ledger(singles)
            source, _ = await ref.call(Ledger.where)
            here = await ledger(singles, source)
            event = asyncio.Event()
            waiting = asyncio.ensure_future(here.call(Ledger.wait, event))
            await turns()
            target = others(singles, source)[0]
            await singles["a"].move("x", singles.full(target))
            await singles.clock.pass_time(1.0)
            assert singles.owner("x") == source
            event.set()
            assert await waiting == "done"
            await singles.runs_on("x", target)

    run(main())


def test_a_move_is_called_off_when_the_message_in_progress_takes_too_long_and_tried_again() -> None:
    async def main() -> None:
        async with Singles() as singles:
            ref = await ledger(singles)
            source, fence = await ref.call(Ledger.where)
            here = (await ledger(singles, source)).within(None)
            event = asyncio.Event()
            waiting = asyncio.ensure_future(here.call(Ledger.wait, event))
            await turns()
            target = others(singles, source)[0]
            await singles["a"].move("x", singles.full(target))
            await singles.clock.pass_time(40.0, 4)
            assert (singles.owner("x"), singles.fence("x")) == (source, fence)
            event.set()
            assert await waiting == "done"
            await singles.runs_on("x", target)

    run(main())


@pytest.mark.parametrize("how", ["the target dies", "it is sent back"])
def test_a_move_that_is_called_off_before_the_state_was_given_away_leaves_the_state_alone(how: str) -> None:
    async def main() -> None:
        Ledger.log.clear()
        async with Singles() as singles:
            ref = await ledger(singles)
            await ref.call(Ledger.add, 5)
            source, _ = await ref.call(Ledger.where)
            here = (await ledger(singles, source)).within(None)
            event = asyncio.Event()
            waiting = asyncio.ensure_future(here.call(Ledger.wait, event))
            behind = asyncio.ensure_future(here.call(Ledger.add, 1))
            await turns()
            target = others(singles, source)[0]
            await singles[source].move("x", singles.full(target))
            await singles.clock.pass_time(1.0)
            if how == "the target dies":
                singles.kill(target)
            else:
                await singles[source].move("x", singles.full(source))
            await singles.clock.pass_time(1.0)
            event.set()
            assert await waiting == "done"
            assert await behind == 6
            assert [what for _, _, what in Ledger.log if what == ("take_over", None)] == [("take_over", None)]

    run(main())


class Lossy:
    """Stops the world of one node when a letter of some kind is about to be read by another."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, kind: type, act: Any) -> None:
        self.hits = 0
        read = Singletons.letter

        def letter(singletons: Singletons, name: bytes, item: object) -> None:
            if isinstance(item, kind) and not self.hits:
                self.hits += 1
                act()
                return
            read(singletons, name, item)

        monkeypatch.setattr(Singletons, "letter", letter)


@pytest.mark.parametrize("step", [Prepare, Prepared])
@pytest.mark.parametrize("victim", ["source", "target"])
def test_if_either_side_dies_in_the_middle_of_a_move_the_singleton_exists_afterwards_once(
    step: type, victim: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        Ledger.log.clear()
        async with Singles() as singles:
            ref = await ledger(singles)
            await ref.call(Ledger.add, 5)
            await ref.call(Ledger.save)
            await ref.call(Ledger.add, 1)
            source, old = await ref.call(Ledger.where)
            target, third = others(singles, source)
            dead = source if victim == "source" else target
            lossy = Lossy(monkeypatch, step, lambda: singles.kill(dead))
            await singles["a"].move("x", singles.full(target))
            await singles.until(lambda: lossy.hits == 1)
            ref = await ledger(singles, third)
            answer = asyncio.ensure_future(ref.within(60).call(Ledger.add, 1))
            await singles.until(answer.done)
            if victim == "source":
                assert answer.result() == 6, "from the checkpoint"
                assert singles.owner("x") != source and singles.fence("x") > old
            else:
                assert answer.result() == 7 and singles.owner("x") == source, "the same instance goes on"
            await singles.clock.pass_time(10.0, 6)
            running = [
                letter
                for letter in singles.nodes
                for state in singles[letter].status()
                if state.phase == "running"
            ]
            assert running == [singles.owner("x")]

    run(main())


def test_if_the_target_dies_right_after_the_commit_it_goes_on_elsewhere_from_what_was_handed_over() -> None:
    async def main() -> None:
        async with Singles() as singles:
            ref = await ledger(singles)
            await ref.call(Ledger.add, 5)
            source, old = await ref.call(Ledger.where)
            target, third = others(singles, source)
            await singles["a"].move("x", singles.full(target))
            for _ in range(1000):
                if singles.owner("x") == target:
                    break
                await asyncio.sleep(0)
            singles.kill(target)
            await turns()  # what leaves before the source knows of the commit goes the way of the target
            ref = await ledger(singles, third)
            answer = asyncio.ensure_future(ref.within(60).call(Ledger.add, 1))
            await singles.until(answer.done)
            assert answer.result() == 6 and singles.owner("x") != target and singles.fence("x") > old

    run(main())


@pytest.mark.parametrize("lost", ["reply", "commit"])
def test_a_commit_of_unknown_outcome_ends_with_one_owner_who_has_the_state(lost: str) -> None:
    """The reply to the commit is lost (so it happened), or the link to the store is cut just before it (so it did not)."""

    async def main() -> None:
        async with Singles() as singles:
            ref = await ledger(singles)
            await ref.call(Ledger.add, 5)
            source, old = await ref.call(Ledger.where)
            target, third = others(singles, source)
            store = singles.stores[source]
            txn = store.txn

            async def lossy(if_: Any, then: Any, else_: Any = (), **kwargs: Any) -> Any:
                moving = any(getattr(op, "key", b"").startswith(b"sh/") for op in then)
                if moving and lost == "reply":
                    store.lose_next_reply()
                elif moving:
                    from quorate.consensus import OutcomeUnknown

                    raise OutcomeUnknown("lost on the way")
                return await txn(if_, then, else_, **kwargs)

            store.txn = lossy  # type: ignore[method-assign]
            ref = await ledger(singles, third)
            await singles["a"].move("x", singles.full(target))
            await singles.clock.pass_time(0.3)
            answer = asyncio.ensure_future(ref.within(60).call(Ledger.add, 1))
            await singles.until(answer.done)
            assert answer.result() == 6 and singles.fence("x") > old
            if lost == "commit":
                assert singles.owner("x") == source, "under a new fence, so that the old commit can only fail"

    run(main())


def test_large_states_move_too() -> None:
    async def main() -> None:
        async with Singles() as singles:
            ref = await singles["a"].get(Name(Bulky, "bulk"))
            for letter in "abc":
                singles.nodes[letter].exports.export(Bulky)
            source = await ref.call(Bulky.fill, 3_000_000)
            target = others(singles, source)[0]
            await singles["a"].move("bulk", singles.full(target))
            await singles.runs_on("bulk", target)
            assert await ref.call(Bulky.size) == 3_000_000

    run(main())


class Bulky(Ledger):
    def __init__(self) -> None:
        self.data = b""

    def take_over(self, state: Any) -> None:
        self.data = state or b""

    def hand_over(self) -> Any:
        return self.data

    def fill(self, size: int) -> str:
        self.data = b"x" * size
        return self.pid.node[0]

    def size(self) -> int:
        return len(self.data)


def test_a_hand_over_that_raises_is_a_crash_and_the_singleton_goes_on_from_its_checkpoint() -> None:
    async def main() -> None:
        async with Singles() as singles:
            for letter in "abc":
                singles.nodes[letter].exports.export(Stubborn)
            ref = await singles["a"].get(Name(Stubborn, "stubborn"))
            await ref.call(Stubborn.add, 5)
            await ref.call(Stubborn.save)
            await ref.call(Stubborn.add, 5)
            source, _ = await ref.call(Stubborn.where)
            target = others(singles, source)[0]
            await singles["a"].move("stubborn", singles.full(target))
            await singles.runs_on("stubborn", target)
            assert await ref.call(Stubborn.add, 1) == 6

    run(main())


class Stubborn(Ledger):
    def hand_over(self) -> int:
        raise RuntimeError("no")


def test_a_state_that_cannot_be_encoded_stays_where_it_is() -> None:
    async def main() -> None:
        async with Singles() as singles:
            for letter in "abc":
                singles.nodes[letter].exports.export(Rooted)
            ref = await singles["a"].get(Name(Rooted, "rooted"))
            await ref.call(Rooted.add, 5)
            source, fence = await ref.call(Rooted.where)
            await singles["a"].move("rooted", singles.full(others(singles, source)[0]))
            await singles.clock.pass_time(3.0)
            assert await ref.call(Rooted.add, 1) == 6
            assert (singles.owner("rooted"), singles.fence("rooted")) == (source, fence)

    run(main())


class Rooted(Ledger):
    def take_over(self, state: Any) -> None:
        self.n = state[0] if state else 0

    def hand_over(self) -> Any:
        return (self.n, object())


def test_a_drained_node_hands_everything_over_and_says_so() -> None:
    async def main() -> None:
        Ledger.log.clear()
        async with Singles() as singles:
            refs = {key: await ledger(singles, "b", key) for key in ("k1", "k2", "k3", "k4", "k5", "k6")}
            for key, ref in refs.items():
                await ref.call(Ledger.add, len(key))
            mine = sorted(key for key in refs if singles.owner(key) == "a")
            assert mine, "the ring gives a something"
            for ref in refs.values():
                for number in range(30):
                    ref.cast(Ledger.add, 1, number)
            draining = asyncio.ensure_future(singles["a"].drain(10.0))
            await singles.until(draining.done)
            assert draining.result().left == () and draining.result().handed_over == len(mine)
            assert all(singles.owner(key) in "bc" for key in refs)
            for key, ref in refs.items():
                assert await ref.call(Ledger.add, 0) == len(key) + 30

    run(main())


def test_a_drain_does_not_wait_for_a_router_that_is_dead() -> None:
    async def main() -> None:
        async with Singles() as singles:
            await singles["a"].get(Name(Ledger, "x"), pin=singles.full("a"))
            await singles.runs_on("x", "a")
            await (await ledger(singles, "c")).call(Ledger.add, 1)
            singles.kill("c")
            await singles.clock.pass_time(1.0)
            started = singles.clock.monotonic()
            draining = asyncio.ensure_future(singles["a"].drain(20.0))
            await singles.until(draining.done)
            assert draining.result().handed_over == 1
            assert singles.clock.monotonic() - started < 10.0

    run(main())


def test_a_drain_does_not_wait_for_a_router_whose_flush_came_before_the_move_was_known() -> None:
    async def main() -> None:
        async with Singles() as singles:
            await singles["a"].get(Name(Ledger, "x"), pin=singles.full("a"))
            await singles.runs_on("x", "a")
            fence = singles.fence("x")
            keeper = singles["a"]._host.keepers[encode_name("x")]
            router = Pid(singles.full("b"), 1, 999)  # as slow to be heard of as the store of b is fast
            keeper.letter(Parcel(router, fence, Posted(1, Plain("a message"), False)))
            keeper.letter(Flush(router, fence, 1, over=fence))
            started = singles.clock.monotonic()
            draining = asyncio.ensure_future(singles["a"].drain(20.0))
            await singles.until(draining.done)
            assert draining.result().handed_over == 1
            assert singles.clock.monotonic() - started < 10.0

    run(main())


def test_a_link_that_was_lost_and_is_back_costs_no_call_of_a_later_move() -> None:
    async def main() -> None:
        async with Singles() as singles:
            await singles["a"].get(Name(Ledger, "x"), pin=singles.full("a"))
            await singles.runs_on("x", "a")
            ref = await ledger(singles, "c")
            await singles["c"].move("x", singles.full("b"))
            await singles.runs_on("x", "b")
            await ref.call(Ledger.add, 1)
            await singles["c"].move("x", singles.full("a"))
            await singles.runs_on("x", "a")
            await ref.call(Ledger.add, 1)
            singles.wire.cut(singles.full("b"), singles.full("c"))
            await turns()
            singles.wire.join_all()
            await turns()
            event = asyncio.Event()
            first = asyncio.ensure_future((await ledger(singles, "a")).call(Ledger.wait, event))
            second = asyncio.ensure_future(ref.call(Ledger.add, 1))
            await turns()
            await singles["c"].move("x", singles.full("b"))
            await turns()
            event.set()
            await singles.runs_on("x", "b")
            assert (await first, await second) == ("done", 3)

    run(main())


def test_what_cannot_be_handed_over_in_time_is_given_up_with_its_state() -> None:
    async def main() -> None:
        async with Singles("a") as singles:
            ref = await ledger(singles)
            await ref.call(Ledger.add, 5)
            draining = asyncio.ensure_future(singles["a"].drain(2.0))
            await singles.until(draining.done)
            assert draining.result().left == ("x",) and draining.result().handed_over == 0
            await singles["a"].stop()
            await singles.nodes["a"].close()
            await singles.stores["a"].close()
            await singles.open("a")
            ref = await ledger(singles)
            answer = asyncio.ensure_future(ref.call(Ledger.add, 1))
            await singles.until(answer.done)
            assert answer.result() == 6, "its last state was its checkpoint"

    run(main())


def test_what_was_given_up_with_its_state_is_not_parked_too() -> None:
    async def main() -> None:
        async with Singles("a") as singles:
            await (await ledger(singles)).call(Ledger.add, 5)
            fence = singles.fence("x")
            await singles["a"].stop()
            assert singles["a"].parked() == 0, "or the next owner would get it twice"
            assert singles.fence("x") == 0
            item = singles.backend.machine.get(b"sh/" + encode_name("x"))
            assert decode_handed_over(singles.nodes["a"].kernel.codec, item) == (fence,)

    run(main())


def test_what_the_store_does_not_take_when_it_is_given_up_is_parked() -> None:
    async def main() -> None:
        async with Singles("a") as singles:
            await (await ledger(singles)).call(Ledger.add, 5)
            singles.stores["a"].disconnect()
            stopping = asyncio.ensure_future(singles["a"].stop())
            await singles.until(stopping.done)
            assert singles["a"].parked() == 1
            singles.stores["a"].connect_again()

    run(main())


def test_calls_under_way_to_a_node_that_dies_fail_with_unknown_outcome_and_later_ones_succeed() -> None:
    async def main() -> None:
        async with Singles() as singles:
            ref = await ledger(singles)
            victim, _ = await ref.call(Ledger.where)
            third = others(singles, victim)[0]
            ref = await ledger(singles, third)
            singles.wire.ends[singles.full(victim)].frozen = True
            lost = asyncio.ensure_future(ref.within(60).call(Ledger.add, 1))
            await turns()
            singles.kill(victim)
            later = asyncio.ensure_future(ref.within(60).call(Ledger.add, 1))
            await singles.until(later.done)
            assert later.result() == 1
            with pytest.raises(CallError, match="unknown"):
                await lost

    run(main())


def test_letters_are_the_only_thing_that_travels_between_hosts() -> None:
    async def main() -> None:
        async with Singles() as singles:
            names = [name for name in singles.exports._things if name.startswith("quorate.singleton.")]
            assert len(names) == 16 and singles.exports.message_name(Letter) in names

    run(main())
