"""Of several connections with one peer one survives: dials that cross, restarts, names that are claimed twice."""

import asyncio
import random

import pytest

from quorate.core import NameInUse
from quorate.core.frames import Channel, Internal, Lane, encode_frame
from quorate.core.handshake import Refusal
from quorate.core.link_config import LinkConfig
from quorate.core.real import RealClock, RealNetwork
from quorate.jepsen_like.network import FaultyNetwork
from tests.core.link_support import (
    Knot,
    RawLink,
    Refused,
    both_loops,
    names_of,
    raw_ident,
    raw_lane,
    raw_link,
    run_on,
    running,
    stopped,
    told_in_order,
    until,
)
from tests.support import ManualClock, turns

B = "b@127.0.0.1:1"


async def settled(left: Knot, right: Knot) -> None:
    """Both are linked and no other connection is left: wait for that, and that it stays."""

    def both() -> bool:
        return all(
            set(knot.links.connected()) == {other.name} and knot.links.open_connections() == 2
            for knot, other in ((left, right), (right, left))
        )

    await until(both)
    await turns(20)
    assert both()


async def agree(left: Knot, right: Knot, mark: bytes) -> None:
    """What is sent on the link of one arrives by the link of the other, on both lanes and both ways."""
    for knot, other in ((left, right), (right, left)):
        for channel in (Channel.SIGNALS, Channel.RAFT):
            before = len(other.recorder.received_by.get((knot.name, channel), ()))
            assert knot.links.send(other.name, channel, mark)
            await other.recorder.until_received(knot.name, channel, before + 1)
            assert other.recorder.received_by[knot.name, channel][-1] == mark


@both_loops
@pytest.mark.parametrize("jitter_s", [0.0, 0.003])
def test_of_dials_that_cross_one_link_survives_and_nobody_sees_it_flap(loop: str, jitter_s: float) -> None:
    """Fifty times: both nodes start and dial at once, each with its own delays on the wire."""

    async def main() -> None:
        chance = random.Random(loop)
        for round_ in range(50 if jitter_s == 0.0 else 12):
            a, b = names_of("ab")
            nets = [FaultyNetwork(RealNetwork(), RealClock()) for _ in range(2)]
            for net in nets:
                net.delay(jitter_s * chance.random())
            left, right = Knot(a, seeds=[b], network=nets[0]), Knot(b, seeds=[a], network=nets[1])
            try:
                await asyncio.gather(left.links.start(), right.links.start())
                for _ in range(chance.randrange(5)):
                    left.links.connect(b)
                    right.links.connect(a)
                    await turns(chance.randrange(10))
                await settled(left, right)
                await agree(left, right, b"round %d" % round_)
                for knot, peer in ((left, b), (right, a)):
                    assert [event[0] for event in knot.recorder.events] == ["up"], knot.recorder.events
                    assert knot.links.connected()[peer].incarnation == 1
            finally:
                await asyncio.gather(left.links.stop(), right.links.stop())

    run_on(loop, main())


@both_loops
@pytest.mark.parametrize("faulty", [False, True])
def test_a_stop_at_any_moment_of_a_dial_ends_everything(loop: str, faulty: bool) -> None:
    """uvloop closes a connection whose making is cancelled without telling its protocol."""

    async def main() -> None:
        for moment in range(60):
            a, b = names_of("ab")
            nets = [FaultyNetwork(RealNetwork()) if faulty else RealNetwork() for _ in range(2)]
            knots = [Knot(a, seeds=[b], network=nets[0]), Knot(b, seeds=[a], network=nets[1])]
            for knot in knots:
                await knot.links.start()
            await turns(moment)
            for knot in knots:
                await stopped(knot)
                assert knot.links.open_connections() == 0
                told_in_order(knot.recorder)

    run_on(loop, main())


@both_loops
def test_links_that_are_reset_again_and_again_come_back_as_one_and_are_told_in_order(loop: str) -> None:
    async def main() -> None:
        chance = random.Random(loop)
        names = names_of("abc")
        nets = [FaultyNetwork(RealNetwork(), RealClock()) for _ in names]
        knots = [Knot(name, seeds=names, network=net) for name, net in zip(names, nets, strict=True)]

        def meshed() -> bool:
            return all(
                len(knot.links.connected()) == 2 and knot.links.open_connections() == 4 for knot in knots
            )

        async with running(*knots):
            for _ in range(6):
                await until(meshed)
                for net in nets:
                    net.delay(0.002 * chance.random())
                for _ in range(chance.randrange(1, 4)):
                    chance.choice(nets).reset_all()
                    await turns(chance.randrange(30))
            await until(meshed)
            for net in nets:
                net.delay(0.0)
            for knot in knots:
                told_in_order(knot.recorder)
                incarnations = [event[3] for event in knot.recorder.events if event[0] == "up"]
                assert incarnations == sorted(set(incarnations))
            await agree(knots[0], knots[1], b"at last")
            await agree(knots[1], knots[2], b"at last")
            assert sum(net.evidence.resets for net in nets) > 0

    run_on(loop, main())


@both_loops
def test_a_restarted_peer_replaces_its_earlier_life_at_once_though_that_one_never_said_goodbye(
    loop: str,
) -> None:
    async def main() -> None:
        a, b = names_of("ab")
        left = Knot(a, clock=ManualClock())
        async with running(left):
            earlier = await raw_link(a, raw_ident(b, creation=1))
            await left.until_linked(b)
            right = Knot(b, creation=2, seeds=[a])
            async with running(right):
                await left.recorder.until(lambda: len(left.recorder.ups(b)) == 2)
                kinds = [(event[0], event[2]) for event in left.recorder.events]
                assert kinds == [("up", 1), ("down", 1), ("up", 2)]
                told_in_order(left.recorder)
                await earlier.control.until_over()
                await agree(left, right, b"the present")
                assert left.recorder.received_by[b, Channel.RAFT] == [b"the present"]
            await earlier.close()

    run_on(loop, main())


def bare(name: str) -> str:
    """The address in a name, by another host: who dials it does not know whom it will meet."""
    return f"localhost:{name.rpartition(':')[2]}"


def test_a_dialer_that_finds_a_later_life_of_a_linked_peer_replaces_the_earlier_one() -> None:
    """The restarted peer listens, and does not dial."""

    async def main() -> None:
        a, b = names_of("ab")
        left, right = Knot(a, seeds=[bare(b)], config=LinkConfig()), Knot(b, creation=2)
        async with running(left):
            earlier = await raw_link(a, raw_ident(b, creation=1))
            await left.until_linked(b)
            async with running(right):
                await left.recorder.until(lambda: len(left.recorder.ups(b)) == 2)
                assert [(event[0], event[2]) for event in left.recorder.events] == [
                    ("up", 1),
                    ("down", 1),
                    ("up", 2),
                ]
                assert "restarted" in left.recorder.downs(b)[0][4]
            await earlier.close()

    run_on("asyncio", main())


def test_a_dialer_that_finds_another_node_with_the_name_of_a_linked_peer_says_so() -> None:
    async def main() -> None:
        a, b = names_of("ab")
        left, right = Knot(a, seeds=[bare(b)], config=LinkConfig()), Knot(b, creation=1)
        async with running(left):
            link = await raw_link(a, raw_ident(b, creation=1))
            await left.until_linked(b)
            async with running(right):
                await until(lambda: isinstance(left.links.problems().get(bare(b)), NameInUse))
                assert "two nodes must not have one name" in str(left.links.problems()[bare(b)])
                assert len(left.recorder.events) == 1
                assert right.recorder.events == []
            await link.close()

    run_on("asyncio", main())


@both_loops
@pytest.mark.parametrize("creation", [5, 4])
def test_a_name_of_a_living_peer_is_refused_to_another_and_the_link_is_left_alone(
    loop: str, creation: int
) -> None:
    async def main() -> None:
        a, b = names_of("ab")
        left, right = Knot(a), Knot(b, creation=5, seeds=[a])
        async with running(left, right):
            await left.until_linked(b)
            with pytest.raises(Refused) as raised:
                await raw_lane(a, raw_ident(b, creation=creation))
            assert raised.value.failed.refusal is Refusal.NAME_IN_USE
            assert left.refused("name_in_use") == 1
            await agree(left, right, b"undisturbed")
            assert len(left.recorder.events) == len(right.recorder.events) == 1

    run_on(loop, main())


def test_a_node_whose_name_is_in_use_is_told_to_stop_or_change_it() -> None:
    async def main() -> None:
        a, b = names_of("ab")
        left, right = Knot(a), Knot(b, creation=5, seeds=[a])
        twin = Knot(
            b, creation=5, seeds=[a], config=LinkConfig(listen_host="127.0.0.2", backoff_first_s=0.01)
        )
        async with running(left, right, twin):
            await right.until_linked(a)
            await until(lambda: isinstance(twin.problem_with(a), NameInUse))
            assert "stop that one, or start this one under another name" in str(twin.problem_with(a))
            assert twin.recorder.events == []

    run_on("asyncio", main())


@both_loops
def test_a_name_of_a_peer_that_does_not_answer_is_given_to_the_one_that_claims_it(loop: str) -> None:
    """The linked peer is half open: its connections stand, and nobody is there."""

    async def main() -> None:
        a, b = names_of("ab")
        clock = ManualClock()
        left = Knot(a, clock=clock, config=LinkConfig(probe_s=1.0))
        async with running(left):
            dead = await raw_link(a, raw_ident(b, creation=5))
            await left.until_linked(b)
            claim = asyncio.create_task(raw_link(a, raw_ident(b, creation=5)))
            await until(lambda: any(channel == Internal.PROBE for channel, _ in dead.frames(dead.control)))
            assert not claim.done()
            clock.advance(1.1)
            link = await claim
            await left.recorder.until(lambda: len(left.recorder.ups(b)) == 2)
            told_in_order(left.recorder)
            assert "did not answer" in left.recorder.downs(b)[0][4]
            await dead.close()
            await link.close()

    run_on(loop, main())


def test_a_claim_that_waits_for_a_probe_gets_the_name_when_the_link_ends_meanwhile() -> None:
    async def main() -> None:
        a, b = names_of("ab")
        clock = ManualClock()
        left = Knot(a, clock=clock, config=LinkConfig(probe_s=1.0))
        async with running(left):
            dying = await raw_link(a, raw_ident(b, creation=5))
            await left.until_linked(b)
            claim = asyncio.create_task(raw_link(a, raw_ident(b, creation=5)))
            await until(lambda: any(channel == Internal.PROBE for channel, _ in dying.frames(dying.control)))
            await dying.close()
            await left.until_alone()
            clock.advance(1.1)
            link = await claim
            await left.until_linked(b)
            assert left.refused("name_in_use") == 0
            await link.close()

    run_on("asyncio", main())


def test_a_claimant_that_hangs_up_while_it_waits_changes_nothing() -> None:
    async def main() -> None:
        a, b = names_of("ab")
        clock = ManualClock()
        left = Knot(a, clock=clock, config=LinkConfig(probe_s=1.0))
        async with running(left):
            quiet = await raw_link(a, raw_ident(b, creation=5))
            await left.until_linked(b)
            claim = asyncio.create_task(raw_lane(a, raw_ident(b, creation=5)))
            await until(lambda: any(channel == Internal.PROBE for channel, _ in quiet.frames(quiet.control)))
            claim.cancel()
            await asyncio.gather(claim, return_exceptions=True)
            quiet.control.write(encode_frame(Internal.HEARTBEAT, b""))
            await until(lambda: left.links.open_connections() == 3)
            clock.advance(1.1)
            await turns(20)
            await quiet.close()

    run_on("asyncio", main())


def test_a_later_dial_of_the_same_life_replaces_the_link_and_an_earlier_one_does_not() -> None:
    async def main() -> None:
        (a,) = names_of("a")
        left = Knot(a)
        async with running(left):
            first = await raw_link(a, raw_ident(B, run=b"r" * 16, attempt=10))
            await left.until_linked(B)
            with pytest.raises(Refused) as raised:
                await raw_lane(a, raw_ident(B, run=b"r" * 16, attempt=9))
            assert raised.value.failed.refusal is Refusal.DUPLICATE
            second = await raw_link(a, raw_ident(B, run=b"r" * 16, attempt=11))
            await left.recorder.until(lambda: len(left.recorder.ups(B)) == 2)
            told_in_order(left.recorder)
            for link in (first, second):
                await link.close()

    run_on("asyncio", main())


def test_a_first_lane_is_replaced_by_a_later_one_before_the_link_is_up() -> None:
    async def main() -> None:
        (a,) = names_of("a")
        left = Knot(a)
        async with running(left):
            early = await raw_lane(a, raw_ident(B, run=b"r" * 16, attempt=1))
            late = raw_ident(B, run=b"r" * 16, attempt=2)
            control = await raw_lane(a, late)
            await early.until_over()
            signals = await raw_lane(a, late, Lane.SIGNALS)
            await left.until_linked(B)
            assert len(left.recorder.events) == 1
            await RawLink(control, signals).close()

    run_on("asyncio", main())
