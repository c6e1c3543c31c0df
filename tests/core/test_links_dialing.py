"""What a node does as a dialer, seen from an acceptor that is spoken by hand."""

import dataclasses

import pytest

from quorate.core.frames import Channel, encode_frame
from quorate.core.link_config import LinkConfig
from tests.core.link_support import (
    Knot,
    RawPeer,
    both_loops,
    names_of,
    raw_accept,
    raw_ident,
    raw_link,
    raw_server,
    run_on,
    running,
    until,
)
from tests.support import ManualClock, turns


@both_loops
def test_frames_that_come_before_the_other_lane_is_through_are_kept_until_the_link_is_up(loop: str) -> None:
    async def main() -> None:
        a, b = names_of("ab")
        async with raw_server(a) as accepted:
            knot = Knot(b, seeds=[a])
            async with running(knot):
                ident = raw_ident(a)
                await until(lambda: len(accepted) == 1)
                await raw_accept(accepted[0], ident)
                early = [b"%d" % n * 5000 for n in range(60)]
                await until(lambda: len(accepted) == 2)
                for payload in early:
                    before = knot.links.counters.bytes_received
                    accepted[0].write(encode_frame(Channel.RAFT, payload))
                    if before < 60_000:  # from about there on the node does not read any more
                        await until(lambda before=before: knot.links.counters.bytes_received > before)  # type: ignore[misc]  # bound
                await until(lambda: knot.links.counters.bytes_received > 60_000)
                assert knot.recorder.received_by == {}
                await raw_accept(accepted[1], ident)
                accepted[1].write(encode_frame(Channel.SIGNALS, b"signal"))
                await knot.recorder.until_received(a, Channel.RAFT, 60)
                await knot.recorder.until_received(a, Channel.SIGNALS, 1)
                assert knot.recorder.received_by[a, Channel.RAFT] == early
                assert knot.recorder.events[0][0] == "up"

    run_on(loop, main())


def test_two_nodes_behind_one_address_are_not_taken_for_one() -> None:
    async def main() -> None:
        a, b = names_of("ab")
        async with raw_server(a) as accepted:
            knot = Knot(b, seeds=[a])
            async with running(knot):
                await until(lambda: len(accepted) == 1)
                await raw_accept(accepted[0], raw_ident(a, run=b"1" * 16))
                await until(lambda: len(accepted) == 2)
                with pytest.raises(ConnectionError):
                    await raw_accept(accepted[1], raw_ident(a, run=b"2" * 16))
                await until(lambda: "stands for several nodes" in str(knot.problem_with(a)))
                assert knot.recorder.events == []

    run_on("asyncio", main())


@both_loops
def test_a_dial_names_the_link_that_was_lost_before_it_and_numbers_itself(loop: str) -> None:
    async def main() -> None:
        a, b = names_of("ab")
        async with raw_server(a) as accepted:
            knot = Knot(b)
            async with running(knot):
                link = await raw_link(b, raw_ident(a, token=b"T" * 16))
                await knot.until_linked(a)
                await link.close()
                await until(lambda: len(accepted) == 1)
                first = await raw_accept(accepted[0], raw_ident(a))
                assert (first.name, first.lost) == (b, b"T" * 16)
                await until(lambda: len(accepted) == 2)
                for lane in accepted:
                    await lane.close()
                await until(lambda: len(accepted) == 3)
                second = await raw_accept(accepted[2], raw_ident(a))
                assert second.lost == b"T" * 16
                assert second.attempt > first.attempt
                assert second.token != first.token

    run_on(loop, main())


async def dialled_and_linked(knot: Knot, accepted: list[RawPeer], name: str) -> None:
    """Be the acceptor of both lanes of the next link."""
    count = len(accepted) // 2 * 2
    for n in range(2):
        await until(lambda n=n: len(accepted) > count + n)  # type: ignore[misc]  # bound
        await raw_accept(accepted[count + n], raw_ident(name, run=b"r" * 16))
    await knot.until_linked(name)


def test_a_link_that_held_is_redialled_quickly_and_one_that_breaks_at_once_ever_more_slowly() -> None:
    async def main() -> None:
        a, b = names_of("ab")
        clock = ManualClock()
        config = LinkConfig(
            heartbeat_s=10.0, heartbeat_timeout_s=50.0, backoff_first_s=0.1, backoff_max_s=6.4, stall_s=1000.0
        )

        async def redial_after(accepted: list[RawPeer], knot: Knot, lived_s: float) -> float:
            """Let the link live, break it, and return how long the next dial takes to come."""
            for _ in range(int(lived_s / 5.0)):
                for lane in accepted[-2:]:
                    lane.write(encode_frame(Channel.RAFT if lane is accepted[-2] else Channel.SIGNALS, b"x"))
                received = knot.links.counters.frames_received
                await until(lambda received=received: knot.links.counters.frames_received >= received + 2)  # type: ignore[misc]  # bound
                clock.advance(5.0)
            for lane in accepted[-2:]:
                await lane.close()
            await knot.until_alone()
            await turns(20)
            count, began = len(accepted), clock.monotonic()
            while len(accepted) == count:
                clock.advance(0.05)
                await turns(20)
            return clock.monotonic() - began

        async with raw_server(a) as accepted:
            knot = Knot(b, seeds=[a], clock=clock, config=config)
            async with running(knot):
                gaps = []
                for _ in range(5):
                    await dialled_and_linked(knot, accepted, a)
                    gaps.append(await redial_after(accepted, knot, 0.0))
                assert gaps[0] <= 0.2
                assert gaps[4] >= 0.8
                await dialled_and_linked(knot, accepted, a)
                assert await redial_after(accepted, knot, 60.0) <= 0.2

    run_on("asyncio", main())


def test_a_dial_by_another_address_of_a_linked_peer_is_given_up_quietly() -> None:
    async def main() -> None:
        a, b = names_of("ab")
        port = a.rpartition(":")[2]
        config = dataclasses.replace(LinkConfig.local(), listen_host="127.0.0.1")
        left, right = Knot(a, config=config), Knot(b, seeds=[a, f"localhost:{port}"])
        async with running(left, right):
            await right.until_linked(a)
            await until(lambda: right.links.open_connections() == 2 and left.links.open_connections() == 2)
            await turns(50)
            assert right.links.problems() == {}
            assert len(left.recorder.events) == len(right.recorder.events) == 1

    run_on("asyncio", main())


def test_a_peer_that_answers_with_a_name_that_is_none_is_not_linked() -> None:
    async def main() -> None:
        a, b = names_of("ab")
        async with raw_server(a) as accepted:
            knot = Knot(b, seeds=[a])
            async with running(knot):
                await until(lambda: len(accepted) == 1)
                with pytest.raises(ConnectionError):
                    await raw_accept(accepted[0], raw_ident("nobody"))
                await until(lambda: "a name that is none" in str(knot.problem_with(a)))

    run_on("asyncio", main())


def test_a_peer_to_be_left_alone_is_not_linked_by_an_address_that_did_not_say_who_it_is() -> None:
    async def main() -> None:
        a, b = names_of("ab")
        left, right = Knot(a), Knot(b, seeds=[a.partition("@")[2]])
        right.links.disconnect(a)
        async with running(left, right):
            await until(lambda: "told to disconnect from" in str(right.problem_with(a)))
            assert left.recorder.events == right.recorder.events == []

    run_on("asyncio", main())
