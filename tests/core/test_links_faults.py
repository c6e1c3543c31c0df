"""Silence, partitions, pauses: when a link is given up, and how it comes back."""

import asyncio
import dataclasses
import itertools

import pytest

from quorate.core.frames import Channel, Internal, encode_frame
from quorate.core.link_config import LinkConfig
from quorate.core.real import RealNetwork
from quorate.jepsen_like.network import FaultyNetwork
from tests.core.link_support import (
    Knot,
    both_loops,
    names_of,
    raw_ident,
    raw_link,
    run_on,
    running,
    stopped,
    told_in_order,
    until,
)
from tests.support import ManualClock, turns

B = "b@127.0.0.1:1"


@both_loops
def test_a_node_that_is_cut_off_loses_its_links_on_both_sides_and_has_them_again_after_the_heal(
    loop: str,
) -> None:
    async def main() -> None:
        a, b, c = names_of("abc")
        network = FaultyNetwork(RealNetwork())
        soon = dataclasses.replace(LinkConfig.local(), handshake_s=0.5)
        knots = [Knot(a), Knot(b, seeds=[a]), Knot(c, seeds=[a], network=network, config=soon)]
        async with running(*knots):
            for knot in knots:
                await knot.until_linked(*({a, b, c} - {knot.name}))
            network.isolate()
            await knots[2].until_alone()
            for knot in knots[:2]:
                await knot.recorder.until(lambda knot=knot: c not in knot.links.connected())  # type: ignore[misc]  # bound
                assert "nothing was heard for" in knot.recorder.downs(c)[0][4]
            assert knots[0].links.connected().keys() == {b}, "the others keep theirs"
            await until(lambda: knots[2].problem_with(a) is not None)
            network.heal()
            for knot in knots:
                await knot.until_linked(*({a, b, c} - {knot.name}))
                told_in_order(knot.recorder)
            assert knots[0].recorder.downs(b) == []
            assert network.evidence.bytes_held_in + network.evidence.bytes_held_out > 0
            assert network.evidence.connects_blocked > 0
            network.heal()

    run_on(loop, main())


@both_loops
def test_a_cut_that_heals_before_the_timeout_costs_nothing(loop: str) -> None:
    async def main() -> None:
        a, b = names_of("ab")
        network = FaultyNetwork(RealNetwork())
        left, right = Knot(a, clock=ManualClock()), Knot(b, seeds=[a], network=network)
        async with running(left, right):
            await left.until_linked(b)
            await right.until_linked(a)
            network.isolate()
            for n in range(10):
                left.links.send(b, Channel.SIGNALS, b"to %d" % n)
                right.links.send(a, Channel.SIGNALS, b"fro %d" % n)
            await turns(20)
            network.heal()
            await left.recorder.until_received(b, Channel.SIGNALS, 10)
            await right.recorder.until_received(a, Channel.SIGNALS, 10)
            assert right.recorder.received_by[a, Channel.SIGNALS] == [b"to %d" % n for n in range(10)]
            assert left.recorder.downs(b) == right.recorder.downs(a) == []

    run_on(loop, main())


@both_loops
def test_nothing_of_an_earlier_link_arrives_after_the_next_one_is_up(loop: str) -> None:
    async def main() -> None:
        a, b = names_of("ab")
        network = FaultyNetwork(RealNetwork())
        left, right = Knot(a), Knot(b, seeds=[a], network=network)
        async with running(left, right):
            await left.until_linked(b)
            await right.until_linked(a)
            network.isolate()
            right.links.send(a, Channel.SIGNALS, b"held")
            left.links.send(b, Channel.SIGNALS, b"held")
            await left.until_alone()
            await right.until_alone()
            network.heal()
            await left.until_linked(b)
            await right.until_linked(a)
            right.links.send(a, Channel.SIGNALS, b"fresh")
            left.links.send(b, Channel.SIGNALS, b"fresh")
            await left.recorder.until_received(b, Channel.SIGNALS, 1)
            await right.recorder.until_received(a, Channel.SIGNALS, 1)
            assert left.recorder.received_by[b, Channel.SIGNALS] == [b"fresh"]
            assert right.recorder.received_by[a, Channel.SIGNALS] == [b"fresh"]

    run_on(loop, main())


@both_loops
def test_a_peer_that_went_away_is_dialled_until_it_is_back(loop: str) -> None:
    async def main() -> None:
        a, b = names_of("ab")
        left, right = Knot(a, seeds=[b]), Knot(b)
        async with running(left):
            async with running(right):
                await left.until_linked(b)
            await left.until_alone()
            await until(lambda: "nobody listens" in str(left.problem_with(b)))
            async with running(Knot(b, creation=2)):
                await left.until_linked(b)
                assert left.links.connected()[b].creation == 2
                assert left.problem_with(b) is None

    run_on(loop, main())


@both_loops
@pytest.mark.parametrize("speaks", ["control", "signals", "neither"])
def test_a_silent_lane_is_given_up_after_the_timeout_even_when_the_other_speaks(
    loop: str, speaks: str
) -> None:
    async def main() -> None:
        (a,) = names_of("a")
        clock = ManualClock()
        knot = Knot(a, clock=clock, config=LinkConfig(heartbeat_s=0.5, heartbeat_timeout_s=2.5))
        async with running(knot):
            link = await raw_link(a, raw_ident(B))
            await knot.until_linked(B)
            ticks = 0
            while knot.links.connected():
                if speaks != "neither":
                    received = knot.links.counters.frames_received
                    getattr(link, speaks).write(encode_frame(Internal.HEARTBEAT, b""))
                    await until(lambda received=received: knot.links.counters.frames_received > received)  # type: ignore[misc]  # bound
                clock.advance(0.5)
                ticks += 1
                assert ticks < 10
            assert ticks in (5, 6)
            silent = "signal" if speaks == "control" else "control"
            assert knot.recorder.downs(B)[0][4].endswith(f"on the {silent} lane")
            await link.close()

    run_on(loop, main())


def test_any_bytes_keep_a_link_alive_heartbeats_or_not() -> None:
    async def main() -> None:
        (a,) = names_of("a")
        clock = ManualClock()
        knot = Knot(a, clock=clock, config=LinkConfig(heartbeat_s=0.5, heartbeat_timeout_s=2.5))
        async with running(knot):
            link = await raw_link(a, raw_ident(B))
            await knot.until_linked(B)
            for n in range(10):
                link.control.write(encode_frame(Channel.RAFT, b"r"))
                link.signals.write(encode_frame(Channel.SIGNALS, b"s"))
                await knot.recorder.until_received(B, Channel.RAFT, n + 1)
                await knot.recorder.until_received(B, Channel.SIGNALS, n + 1)
                clock.advance(2.0)
            assert knot.recorder.downs(B) == []
            await link.close()

    run_on("asyncio", main())


def test_heartbeats_go_over_both_lanes_while_nothing_else_does() -> None:
    async def main() -> None:
        (a,) = names_of("a")
        clock = ManualClock()
        knot = Knot(a, clock=clock, config=LinkConfig(heartbeat_s=0.5, heartbeat_timeout_s=2.5))
        async with running(knot):
            link = await raw_link(a, raw_ident(B))
            await knot.until_linked(B)
            for _ in range(3):
                clock.advance(0.5)
                await turns(5)
            for lane in (link.control, link.signals):
                await lane.until(15)
                assert link.frames(lane) == [(Internal.HEARTBEAT, b"")] * 3
            await link.close()

    run_on("asyncio", main())


def test_a_node_that_was_paused_does_not_take_its_own_absence_for_the_silence_of_its_peers() -> None:
    async def main() -> None:
        (a,) = names_of("a")
        clock = ManualClock()
        knot = Knot(a, clock=clock, config=LinkConfig(heartbeat_s=0.5, heartbeat_timeout_s=2.5))
        async with running(knot):
            link = await raw_link(a, raw_ident(B))
            await knot.until_linked(B)
            clock.skip(60.0)  # as a process that was stopped sees it: time went on, no timer ran
            clock.advance(0.0)
            assert knot.links.connected().keys() == {B}
            for lane in (link.control, link.signals):
                lane.write(encode_frame(Internal.HEARTBEAT, b""))
            await until(lambda: knot.links.counters.frames_received >= 2)
            clock.advance(2.0)
            assert knot.recorder.downs(B) == []
            await link.close()

    run_on("asyncio", main())


@both_loops
def test_a_stop_behind_a_cut_does_not_hang(loop: str) -> None:
    async def main() -> None:
        a, b = names_of("ab")
        network = FaultyNetwork(RealNetwork())
        left, right = Knot(a), Knot(b, seeds=[a], network=network)
        async with running(left):
            await right.links.start()
            await right.until_linked(a)
            network.isolate()
            right.links.send(a, Channel.SIGNALS, b"x" * 4_000_000)
            await stopped(right)
            assert right.links.open_connections() == 0
            network.heal()
            await left.until_alone()

    run_on(loop, main())


@both_loops
def test_a_stop_waits_for_a_peer_that_does_not_read_only_for_a_while(loop: str) -> None:
    async def main() -> None:
        (a,) = names_of("a")
        clock = ManualClock()
        knot = Knot(a, clock=clock, config=LinkConfig(close_s=1.0))
        async with running(knot):
            link = await raw_link(a, raw_ident(B))
            await knot.until_linked(B)
            link.signals.transport.pause_reading()
            knot.links.send(B, Channel.SIGNALS, b"x" * 16_000_000)
            await turns(20)
            stop = asyncio.create_task(knot.links.stop())
            await turns(50)
            assert not stop.done()
            clock.advance(1.1)
            await stop
            await link.close()

    run_on(loop, main())


def test_dials_of_a_dead_peer_come_ever_more_slowly_up_to_the_limit_with_jitter() -> None:
    async def main() -> None:
        a, b = names_of("ab")
        clock = ManualClock()
        config = LinkConfig(backoff_first_s=0.1, backoff_max_s=1.6)
        network = FaultyNetwork(RealNetwork())
        knot = Knot(b, seeds=[a], clock=clock, config=config, network=network)
        dials: list[float] = []
        connect = network.create_connection

        async def counted(*args: object, **more: object) -> asyncio.Transport:
            dials.append(clock.monotonic())
            return await connect(*args, **more)  # type: ignore[arg-type]  # as it was given

        network.create_connection = counted  # type: ignore[method-assign]  # the same but for counting
        async with running(knot):
            while len(dials) < 10:
                count = len(dials)
                await until(lambda: clock.next_due() is not None and not knot.links.open_connections())
                await turns(20)
                if len(dials) == count:
                    clock.advance(0.01)
        gaps = [later - earlier for earlier, later in itertools.pairwise(dials)]
        for n, gap in enumerate(gaps):
            whole_s = min(1.6, 0.1 * 2**n)
            assert whole_s / 2 - 0.001 <= gap <= whole_s + 0.02, gaps

    run_on("asyncio", main())


def test_connect_does_not_wait_for_the_backoff() -> None:
    async def main() -> None:
        a, b = names_of("ab")
        clock = ManualClock()
        left, right = Knot(a), Knot(b, clock=clock)
        async with running(right):
            right.links.connect(a)
            await until(lambda: right.problem_with(a) is not None)
            async with running(left):
                await turns(20)
                right.links.connect(a)
                await right.until_linked(a)

    run_on("asyncio", main())
