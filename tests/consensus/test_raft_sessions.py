"""Sessions on the raft engine: who may believe in one, until when, and what ends it."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from quorate.consensus import Event, Lane, RaftStore, Timing, commands, protocol
from tests.support import turns

from .raft_world import World, put
from .virtual import run_virtual

TIMING = Timing.local()
TTL_S = TIMING.session_ttl_s
BELIEF_S = TTL_S * (1 - TIMING.drift)


def removal_of(store: RaftStore, key: bytes, then: Callable[[], object] = lambda: None) -> list[float]:
    """Will hold when this store saw that the key was removed. `then` is called at that moment."""
    moments: list[float] = []

    def seen(events: Sequence[Event]) -> None:
        if any(event.now is None for event in events):
            moments.append(asyncio.get_running_loop().time())
            then()

    store.watch(key, seen)
    return moments


def believed_by(store: RaftStore, believed: list[int]) -> Callable[[], None]:
    """Notes in which session the store's node believes when it is called."""
    return lambda: believed.append(store.session.id)


def told_of(store: RaftStore) -> list[tuple[int, bool]]:
    told: list[tuple[int, bool]] = []
    store.session.subscribe(lambda session, opened: told.append((session, opened)))
    return told


@pytest.mark.parametrize("holder", ["a", "b"])
def test_the_session_of_a_node_that_was_killed_ends_after_its_lifetime_and_not_before(holder: str) -> None:
    async def main() -> None:
        async with World() as world:
            await world.led_by("a")
            session = world[holder].session.id
            await put(world[holder], b"owned", b"", session)
            gone = removal_of(world["c"], b"owned")
            await world.pass_time(3.0)
            killed_at = asyncio.get_running_loop().time()
            world.kill(holder)
            await world.until(lambda: gone)
            lived_s = gone[0] - killed_at
            # Its last keepalive was confirmed up to one keepalive time ago. A new leader begins anew.
            least_s = TTL_S - TIMING.keepalive_s - 0.05 if holder == "b" else TTL_S
            assert least_s <= lived_s <= TTL_S + 3 * TIMING.election_s
            assert session not in [info.id for info in await world["c"].sessions()]

    run_virtual(main())


def test_a_new_leader_gives_every_session_its_whole_lifetime_again() -> None:
    async def main() -> None:
        async with World("abcde") as world:
            await world.led_by("a")
            await put(world["b"], b"owned", b"", world["b"].session.id)
            gone = removal_of(world["c"], b"owned")
            world.kill("b")
            changed_at = 0.0
            for _ in range(4):  # each time before the session would have ended
                await world.pass_time(TTL_S * 0.6)
                leader = world.leader()
                assert leader is not None and await leader.transfer_leadership()
                changed_at = asyncio.get_running_loop().time()
                assert not gone
            await world.until(lambda: gone)
            assert gone[0] >= changed_at + TTL_S - 0.05

    run_virtual(main())


def test_a_deposed_leader_extends_no_session_of_those_who_are_with_it() -> None:
    """The holder still talks to the old leader, which still believes in itself. Neither may go on believing."""

    async def main() -> None:
        async with World("abcde") as world:
            await world.led_by("a")
            session = world["b"].session.id
            await put(world["b"], b"owned", b"", session)
            believed: list[bool] = []
            told = told_of(world["b"])
            gone = removal_of(world["c"], b"owned", lambda: believed.append(world["b"].session.valid()))
            world.cut = {(x, y) for x in "ab" for y in "cde"} | {(x, y) for x in "cde" for y in "ab"}
            cut_at = asyncio.get_running_loop().time()
            await world.until(lambda: not world["b"].session.valid())
            assert asyncio.get_running_loop().time() - cut_at <= BELIEF_S + 0.05
            await world.until(lambda: gone)
            assert believed == [False] and told == [(session, False)]

    run_virtual(main())


@pytest.mark.parametrize("seed", range(6))
def test_clocks_that_run_apart_as_far_as_allowed_do_not_let_two_believe(seed: int) -> None:
    """The holder's clock is as slow, and everybody else's as fast, as `Timing.drift` allows for."""

    async def main() -> None:
        slow, fast = 1 - TIMING.drift / 2, 1 + TIMING.drift / 2
        async with World(seed=seed, rates={"a": fast, "b": slow, "c": fast}) as world:
            await world.led_by("a")
            for round_ in range(8):
                await world.ready()
                session = world["b"].session.id
                await put(world["b"], b"owned", b"", session)
                believed: list[int] = []
                gone = removal_of(world["c"], b"owned", believed_by(world["b"], believed))
                await world.pass_time(world.entropy.random())
                if round_ % 2:
                    world.isolate("b")
                else:  # what it says arrives, and what it is told does not
                    world.cut = {("a", "b"), ("c", "b")}
                while not gone:
                    await world.pass_time(0.005)
                assert session not in believed
                world.heal()

    run_virtual(main())


def test_a_node_that_starts_again_ends_its_predecessors_session_at_once() -> None:
    async def main() -> None:
        async with World() as world:
            await world.led_by("a")
            old = world["b"].session.id
            await put(world["b"], b"owned", b"", old)
            gone = removal_of(world["c"], b"owned")
            world.kill("b", power_lost=world.entropy)
            started_at = asyncio.get_running_loop().time()
            await world.start("b")
            await world.until(world["b"].session.valid)
            assert gone and gone[0] - started_at < TTL_S / 4
            assert world["b"].session.id > old

    run_virtual(main())


def test_a_node_whose_successor_has_a_session_asks_no_more_often_than_that_can_end() -> None:
    """Its directory was copied, or put back from an older copy. It gets a session when the other one has ended."""

    async def main() -> None:
        async with World() as world:
            await world.led_by("a")
            data_dir = world.members["b"].data_dir
            assert data_dir is not None
            other = commands.OpenSession(b"another", "b", 99, data_dir.dir_id, 3 * TTL_S)
            index = world["a"].status().applied_index
            old = world["b"].session.id
            await world["a"].write(commands.encode(other), world.clocks["a"].monotonic() + 1.0)
            await world.until(lambda: not world["b"].session.valid())
            await world.until(world["b"].session.valid)
            assert world["b"].session.id > old
            assert world["a"].status().applied_index - index < 12

    run_virtual(main())


def test_a_loss_is_told_in_the_turn_in_which_it_can_be_seen() -> None:
    async def main() -> None:
        async with World() as world:
            await world.led_by("a")
            session, told = world["b"].session.id, told_of(world["b"])
            world.isolate("b")
            while world["b"].session.valid():
                assert told == []
                await world.pass_time(0.001)
            await turns(2)
            assert told == [(session, False)]
            await world.pass_time(TTL_S)
            assert told == [(session, False)]
            world.heal()
            await world.until(world["b"].session.valid)
            assert told[1:] == [(world["b"].session.id, True)]

    run_virtual(main())


def test_a_node_that_was_paused_believes_in_nothing_when_it_wakes() -> None:
    async def main() -> None:
        async with World() as world:
            for name in ("a", "b"):  # the leader, and a follower
                await world.led_by("a")
                session, told = world[name].session.id, told_of(world[name])
                world.clocks[name].skip(BELIEF_S)  # before any timer and any message
                assert not world[name].session.valid()
                assert (world[name].session.id, world[name].session.valid_for_s()) == (0, 0.0)
                await turns(3)
                assert told == [(session, False)]
                await world.until(world[name].session.valid)
                assert world[name].session.id > session

    run_virtual(main())


@pytest.mark.parametrize("seed", range(8))
def test_the_session_after_a_heal_is_opened_once_and_stays(seed: int) -> None:
    """However long ago the node first asked for it: what is told open is not lost in the next moment."""

    async def main() -> None:
        async with World(seed=seed) as world:
            await world.led_by("a")
            told = told_of(world["b"])
            if seed % 2:
                world.isolate("b")
            else:
                world.cut = {("a", "b"), ("c", "b")}
            await world.pass_time(TTL_S + 2 * world.entropy.random())
            world.heal()
            await world.until(world["b"].session.valid)
            await world.pass_time(2 * TTL_S)
            assert [opened for _, opened in told] == [False, True] and world["b"].session.valid()

    run_virtual(main())


def test_a_paused_holder_is_expired_and_learns_it_before_it_does_anything() -> None:
    async def main() -> None:
        async with World() as world:
            await world.led_by("a")
            session, told = world["b"].session.id, told_of(world["b"])
            await put(world["b"], b"owned", b"", session)
            gone = removal_of(world["c"], b"owned")
            order: list[str] = []
            world["b"].watch(b"owned", lambda events: order.append("event"))
            world["b"].session.subscribe(lambda session, opened: order.append("told"))
            world.sleep_node("b")
            await world.until(lambda: gone)
            assert not world["b"].session.valid()  # whoever asks first
            world.wake("b")
            await world.until(lambda: len(order) >= 2)
            assert told[0] == (session, False) and order[:2] == ["told", "event"]

    run_virtual(main())


def test_the_holder_knows_of_the_end_before_it_is_told_of_its_keys() -> None:
    """The store ends a session although its holder is well; it must not see its key go and still believe."""

    async def main() -> None:
        async with World() as world:
            await world.led_by("a")
            session = world["b"].session.id
            await put(world["b"], b"owned", b"", session)
            believed: list[bool] = []
            gone = removal_of(world["b"], b"owned", lambda: believed.append(world["b"].session.valid()))
            deadline = world.clocks["c"].monotonic() + 1.0
            await world["c"].write(commands.encode(commands.CloseSession(session)), deadline)
            await world.until(lambda: gone)
            assert believed == [False]
            await world.until(world["b"].session.valid)
            assert world["b"].session.id > session

    run_virtual(main())


def test_requests_under_a_session_that_has_just_ended_are_done_under_the_next() -> None:
    async def main() -> None:
        async with World() as world:
            await world.led_by("a")
            store, session = world["b"], world["b"].session.id
            deadline = world.clocks["c"].monotonic() + 1.0
            ending = asyncio.ensure_future(
                world["a"].write(commands.encode(commands.CloseSession(session)), deadline)
            )
            await asyncio.sleep(0)
            results = await asyncio.gather(*[put(store, b"k") for _ in range(50)])
            await ending
            assert sorted(item.version for item in results) == list(range(1, 51))
            await world.until(store.session.valid)
            assert store.session.id > session

    run_virtual(main())


def test_an_expiry_that_a_transfer_of_leadership_keeps_out_of_the_log_is_proposed_again() -> None:
    async def main() -> None:
        async with World() as world:
            leader = await world.led_by("a")
            await put(world["b"], b"owned", b"", world["b"].session.id)
            gone = removal_of(world["a"], b"owned")
            world.kill("b")
            # The leader is asked to hand over, again and again, to one that is never told to campaign.
            timeout_now = bytes((0x93, 9))
            world.hold = lambda source, target, lane, payload: (
                lane is Lane.RAFT and payload.startswith(timeout_now)
            )
            raft = leader._replica.raft
            for _ in range(int(2 * TTL_S / 0.01)):
                raft.transfer("c", world.clocks["a"].monotonic())
                await world.pass_time(0.01)
            assert not gone and raft.term == leader.status().term
            await world.until(lambda: gone, within_s=2.0)
            assert leader.leads()

    run_virtual(main())


def test_a_leader_that_is_slow_to_write_does_not_deny_sessions_that_it_has_not_applied() -> None:
    """Its followers commit and apply before it does. A session it does not know yet is not one that is over."""

    async def main() -> None:
        async with World() as world:
            await world.led_by("a")
            world.kill("b")
            world.disk("a").freeze()  # from now on only b and c hold what is new durably
            await world.start("b")
            await world.until(world["b"].session.valid)
            session, told = world["b"].session.id, told_of(world["b"])
            assert world["a"]._replica.machine.session(session) is None
            await world.pass_time(BELIEF_S * 0.6)
            assert told == []
            world.disk("a").thaw()
            await world.pass_time(3 * TTL_S)
            assert told == [] and world["b"].session.id == session and world["a"].leads()

    run_virtual(main())


def test_a_holder_counts_from_when_it_asked_however_late_the_answer_comes() -> None:
    async def main() -> None:
        async with World() as world:
            await world.led_by("a")
            session, believed = world["b"].session.id, list[int]()
            await put(world["b"], b"owned", b"", session)
            gone = removal_of(world["c"], b"owned", believed_by(world["b"], believed))

            def late(*message: Any) -> bool:
                _, target, lane, _ = message
                if target != "b" or lane is not Lane.STORE:
                    return False
                asyncio.get_running_loop().call_later(BELIEF_S * 0.6, world.carry, *message)
                return True

            world.hold = late
            await world.pass_time(3 * TTL_S)  # it lives on answers that are that old
            assert world["b"].session.id == session
            world.cut = {("b", "a"), ("b", "c")}  # the last answers arrive when little time is left
            await world.until(lambda: gone)
            assert session not in believed
            world.hold = None

    run_virtual(main())


def test_a_new_session_counts_from_when_it_was_first_asked_for() -> None:
    async def main() -> None:
        async with World() as world:
            await world.led_by("a")
            world.kill("b")
            await world.start("b")
            store, asked_at = world["b"], list[float]()

            def late(source: str, target: str, lane: Lane, payload: bytes) -> bool:
                if source == "b" and lane is Lane.STORE and not asked_at:
                    asked_at.append(world.clocks["b"].monotonic())
                return bool(asked_at) and target == "b" and world.clocks["b"].monotonic() < asked_at[0] + 0.4

            world.hold = late
            await world.until(store.session.valid)
            now = world.clocks["b"].monotonic()
            assert now > asked_at[0] + 0.4
            assert store.session.valid_for_s() <= asked_at[0] + BELIEF_S - now + 1e-6

    run_virtual(main())


def test_late_answers_to_keepalives_of_an_earlier_session_prolong_nothing() -> None:
    async def main() -> None:
        async with World() as world:
            await world.led_by("a")
            first, kept = world["b"].session.id, list[tuple[str, str, Lane, bytes]]()

            def keep(source: str, target: str, lane: Lane, payload: bytes) -> bool:
                if target == "b" and lane is Lane.STORE:
                    message = protocol.decode(payload)
                    if isinstance(message, protocol.Confirmed):
                        kept.append((source, target, lane, payload))
                        return True
                return False

            world.hold = keep
            await world.until(lambda: not world["b"].session.valid())
            await world.until(world["b"].session.valid)
            assert world["b"].session.id > first and len(kept) >= 3
            left_s = world["b"].session.valid_for_s()
            for message in kept[:3]:
                world.carry(*message)
            await world.pass_time(0.01)
            assert world["b"].session.valid_for_s() <= left_s
            world.hold = None

    run_virtual(main())
