"""Whatever connects and does not behave is turned away, counted, and costs nobody else anything."""

import asyncio
from collections.abc import Callable

import pytest

from quorate.core import CookieMismatch, HandshakeFailed, LinkError, VersionMismatch
from quorate.core.frames import HEADER, Channel, Internal, Lane, encode_frame
from quorate.core.handshake import HELLO_BYTES, Failure, Hello, Refusal, Role
from quorate.core.link_config import LinkConfig
from tests.core.link_support import (
    Knot,
    RawLink,
    Refused,
    both_loops,
    names_of,
    raw_dial,
    raw_ident,
    raw_lane,
    raw_link,
    raw_server,
    run_on,
    running,
    told_in_order,
    until,
)
from tests.support import ManualClock, turns

KIB, MIB = 1024, 1024 * 1024


@both_loops
def test_another_cookie_is_refused_and_the_dialer_is_told_what_to_do(loop: str) -> None:
    async def main() -> None:
        a, b = names_of("ab")
        left, right = Knot(a), Knot(b, seeds=[a], cookie=b"another")
        async with running(left, right):
            await until(lambda: left.refused("wrong_cookie") >= 2)
            await until(lambda: right.problem_with(a) is not None)
            problem = right.problem_with(a)
            assert isinstance(problem, CookieMismatch)
            assert "QUORATE_COOKIE" in str(problem)
            assert left.recorder.events == right.recorder.events == []

    run_on(loop, main())


@both_loops
@pytest.mark.parametrize(
    "garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\0", b"\x16\x03\x01\x02\x00\x01\x00", b"QUORUM" + b"\xff" * 100]
)
def test_garbage_is_closed_at_once_and_counted(loop: str, garbage: bytes) -> None:
    async def main() -> None:
        (a,) = names_of("a")
        knot = Knot(a, clock=ManualClock())
        async with running(knot):
            stranger = await raw_dial(a)
            stranger.write(garbage)
            await stranger.until_over()
            assert sum(knot.links.counters.refused.values()) == 1
            await until(lambda: knot.links.open_connections() == 0)

    run_on(loop, main())


def test_a_peer_of_another_protocol_version_is_refused_and_learns_ours() -> None:
    async def main() -> None:
        (a,) = names_of("a")
        knot = Knot(a)
        async with running(knot):
            stranger = await raw_dial(a)
            stranger.write(Hello(Role.NODE, Lane.CONTROL, b"n" * 32, version_min=2, version_max=3).encode())
            assert len(await stranger.until(HELLO_BYTES)) == HELLO_BYTES
            await stranger.until_over()
            assert knot.refused("version") == 1

    run_on("asyncio", main())


def test_a_node_that_dials_another_protocol_version_says_which_two_they_are() -> None:
    async def main() -> None:
        a, b = names_of("ab")
        async with raw_server(a) as accepted:
            knot = Knot(b, seeds=[a])
            async with running(knot):
                await until(lambda: bool(accepted))
                await accepted[0].until(HELLO_BYTES)
                accepted[0].write(
                    Hello(Role.NODE, Lane.CONTROL, b"n" * 32, version_min=7, version_max=9).encode()
                )
                await until(lambda: knot.problem_with(a) is not None)
                problem = knot.problem_with(a)
                assert isinstance(problem, VersionMismatch)
                assert "versions 7 to 9, this side 1 to 1" in str(problem)

    run_on("asyncio", main())


@both_loops
def test_a_dial_that_is_accepted_and_never_answered_ends_at_its_deadline(loop: str) -> None:
    async def main() -> None:
        a, b = names_of("ab")
        clock = ManualClock()
        async with raw_server(a) as accepted:
            knot = Knot(b, seeds=[a], clock=clock, config=LinkConfig(handshake_s=5.0))
            async with running(knot):
                await until(lambda: bool(accepted))
                await accepted[0].until(HELLO_BYTES)
                clock.advance(4.9)
                await turns(50)
                assert knot.problem_with(a) is None
                clock.advance(0.2)
                await accepted[0].until_over()
                await until(lambda: knot.problem_with(a) is not None)
                problem = knot.problem_with(a)
                assert isinstance(problem, HandshakeFailed)
                assert "did not answer within 5 s" in str(problem) or "no answer in time" in str(problem)
                await turns(20)
                clock.advance(0.1)
                await until(lambda: len(accepted) == 2)

    run_on(loop, main())


@both_loops
def test_a_stranger_that_drips_bytes_is_closed_at_the_deadline_of_the_whole_handshake(loop: str) -> None:
    async def main() -> None:
        (a,) = names_of("a")
        clock = ManualClock()
        knot = Knot(a, clock=clock, config=LinkConfig(handshake_s=5.0))
        async with running(knot):
            silent, dripping = await raw_dial(a), await raw_dial(a)
            await until(lambda: knot.links.open_connections() == 2)
            hello = Hello(Role.NODE, Lane.CONTROL, b"n" * 32).encode()
            for n in range(4):
                dripping.write(hello[n : n + 1])
                await until(lambda n=n: knot.links.counters.bytes_received == n + 1)  # type: ignore[misc]  # bound
                clock.advance(1.0)
            assert not silent.over.is_set()
            assert not dripping.over.is_set()
            clock.advance(1.0)
            await silent.until_over()
            await dripping.until_over()
            assert knot.refused("timeout") == 2

    run_on(loop, main())


def test_more_strangers_than_the_limit_are_closed_at_once() -> None:
    async def main() -> None:
        (a,) = names_of("a")
        knot = Knot(a, clock=ManualClock(), config=LinkConfig(handshakes_limit=3))
        async with running(knot):
            strangers = [await raw_dial(a) for _ in range(5)]
            await until(lambda: knot.refused("overloaded") == 2)
            await until(lambda: sum(stranger.over.is_set() for stranger in strangers) == 2)
            for stranger in strangers:
                await stranger.close()
            await until(lambda: knot.links.open_connections() == 0)
            link = await raw_link(a, raw_ident("b@127.0.0.1:1"))
            await knot.until_linked("b@127.0.0.1:1")
            await link.close()

    run_on("asyncio", main())


def test_a_first_lane_whose_second_does_not_come_is_closed_and_nobody_is_told() -> None:
    async def main() -> None:
        (a,) = names_of("a")
        clock = ManualClock()
        knot = Knot(a, clock=clock, config=LinkConfig(handshake_s=5.0))
        async with running(knot):
            lane = await raw_lane(a, raw_ident("b@127.0.0.1:1"))
            clock.advance(5.1)
            await lane.until_over()
            assert knot.refused("incomplete") == 1
            assert knot.recorder.events == []

    run_on("asyncio", main())


@pytest.mark.parametrize("wrong", ["token", "run", "name", "nothing before it"])
def test_a_second_lane_that_does_not_belong_to_the_first_is_refused(wrong: str) -> None:
    async def main() -> None:
        (a,) = names_of("a")
        knot = Knot(a)
        ident = raw_ident("b@127.0.0.1:1", run=b"r" * 16, token=b"t" * 16)
        other = {
            "token": raw_ident("b@127.0.0.1:1", run=b"r" * 16, token=b"x" * 16),
            "run": raw_ident("b@127.0.0.1:1", run=b"x" * 16, token=b"t" * 16),
            "name": raw_ident("c@127.0.0.1:1", run=b"r" * 16, token=b"t" * 16),
            "nothing before it": ident,
        }[wrong]
        async with running(knot):
            first = None if wrong == "nothing before it" else await raw_lane(a, ident)
            with pytest.raises(Refused) as raised:
                await raw_lane(a, other, Lane.SIGNALS)
            assert raised.value.failed.refusal is Refusal.DUPLICATE
            assert knot.recorder.events == []
            if first is not None:
                second = await raw_lane(a, ident, Lane.SIGNALS)
                await knot.until_linked("b@127.0.0.1:1")
                await RawLink(first, second).close()

    run_on("asyncio", main())


def test_a_peer_with_a_name_that_is_none_is_turned_away() -> None:
    async def main() -> None:
        (a,) = names_of("a")
        knot = Knot(a)
        async with running(knot):
            with pytest.raises(Refused) as raised:
                await raw_lane(a, raw_ident("nobody"))
            assert raised.value.failed.failure is Failure.HUNG_UP
            assert knot.refused("malformed") == 1

    run_on("asyncio", main())


def test_a_peer_with_our_own_name_is_refused() -> None:
    async def main() -> None:
        (a,) = names_of("a")
        knot = Knot(a)
        async with running(knot):
            with pytest.raises(Refused) as raised:
                await raw_lane(a, raw_ident(a))
            assert raised.value.failed.refusal is Refusal.NAME_IN_USE

    run_on("asyncio", main())


Breach = Callable[[RawLink], None]
BREACHES: dict[str, tuple[Breach, str]] = {
    "a signal over the limit": (
        lambda link: link.signals.write(HEADER.pack(2 * KIB + 1, Channel.SIGNALS)),
        "signal lane: a frame of 2049 bytes on channel 1 is over the limit of 2048",
    ),
    "a control message over the limit": (
        lambda link: link.control.write(HEADER.pack(4096, Channel.RAFT)),
        "control lane: a frame of 4096 bytes on channel 2 is over the limit of 1024",
    ),
    "a signal on the control lane": (
        lambda link: link.control.write(encode_frame(Channel.SIGNALS, b"x")),
        "the peer sent a frame of channel SIGNALS on the wrong lane",
    ),
    "a Raft message on the signal lane": (
        lambda link: link.signals.write(encode_frame(Channel.RAFT, b"x")),
        "the peer sent a frame of channel RAFT on the wrong lane",
    ),
    "the signal lane closed": (
        lambda link: link.signals.transport.close(),
        "signal lane: the peer closed the connection",
    ),
    "the control lane closed": (
        lambda link: link.control.transport.close(),
        "control lane: the peer closed the connection",
    ),
    "a farewell": (
        lambda link: link.signals.write(encode_frame(Internal.GOODBYE, b"that is all")),
        "the peer closed the link: that is all",
    ),
}


@both_loops
@pytest.mark.parametrize("breach", list(BREACHES))
def test_a_link_that_breaks_the_rules_or_ends_is_down_with_its_reason(loop: str, breach: str) -> None:
    async def main() -> None:
        (a,) = names_of("a")
        config = LinkConfig(signal_frame_limit_bytes=2 * KIB, control_frame_limit_bytes=KIB)
        knot = Knot(a, config=config)
        async with running(knot):
            link = await raw_link(a, raw_ident("b@127.0.0.1:1"))
            await knot.until_linked("b@127.0.0.1:1")
            link.control.write(encode_frame(Channel.STORE, b"before"))
            link.signals.write(encode_frame(Channel.SIGNALS, b"before"))
            await knot.recorder.until(lambda: len(knot.recorder.received_by) == 2)
            act, reason = BREACHES[breach]
            act(link)
            await knot.until_alone()
            assert [event[4] for event in knot.recorder.downs("b@127.0.0.1:1")] == [reason]
            await link.control.until_over()
            await link.signals.until_over()
            assert sum(map(len, knot.recorder.received_by.values())) == 2
            told_in_order(knot.recorder)

    run_on(loop, main())


@both_loops
def test_what_a_leaving_peer_has_sent_still_arrives_behind_its_farewell_on_the_other_lane(loop: str) -> None:
    async def main() -> None:
        (a,) = names_of("a")
        knot = Knot(a)
        async with running(knot):
            link = await raw_link(a, raw_ident("b@127.0.0.1:1"))
            await knot.until_linked("b@127.0.0.1:1")
            link.control.write(encode_frame(Internal.GOODBYE, b"that is all"))
            link.control.transport.close()
            await link.control.until_over()
            await turns(20)
            link.signals.write(encode_frame(Channel.SIGNALS, b"last words"))
            link.signals.write(encode_frame(Internal.GOODBYE, b"that is all"))
            await knot.until_alone()
            assert knot.recorder.received_by["b@127.0.0.1:1", Channel.SIGNALS] == [b"last words"]
            assert knot.recorder.downs("b@127.0.0.1:1")[0][4] == "the peer closed the link: that is all"
            await link.close()

    run_on(loop, main())


def test_a_node_that_stops_says_farewell_behind_its_messages_on_both_lanes() -> None:
    async def main() -> None:
        (a,) = names_of("a")
        knot = Knot(a)
        async with running(knot):
            link = await raw_link(a, raw_ident("b@127.0.0.1:1"))
            await knot.until_linked("b@127.0.0.1:1")
            knot.links.send("b@127.0.0.1:1", Channel.SIGNALS, b"last words")
        farewell = (Internal.GOODBYE, f"{a} is stopping".encode())
        for lane in (link.control, link.signals):
            await lane.until_over()
            assert link.frames(lane)[-1] == farewell
        assert (Channel.SIGNALS, b"last words") in link.frames(link.signals)

    run_on("asyncio", main())


def test_a_breach_is_told_to_the_peer_that_committed_it() -> None:
    async def main() -> None:
        (a,) = names_of("a")
        knot = Knot(a, config=LinkConfig(signal_frame_limit_bytes=2 * KIB))
        async with running(knot):
            link = await raw_link(a, raw_ident("b@127.0.0.1:1"))
            await knot.until_linked("b@127.0.0.1:1")
            link.signals.write(HEADER.pack(9999, Channel.SIGNALS))
            await link.control.until_over()
            said = [payload for channel, payload in link.frames(link.control) if channel == Internal.GOODBYE]
            assert len(said) == 1
            assert b"over the limit of 2048" in said[0]
            await link.close()

    run_on("asyncio", main())


def test_channels_of_later_versions_are_ignored() -> None:
    async def main() -> None:
        (a,) = names_of("a")
        knot = Knot(a)
        async with running(knot):
            link = await raw_link(a, raw_ident("b@127.0.0.1:1"))
            for channel in (0, 5, 15, 99, 255):
                link.control.write(encode_frame(channel, b"x"))
                link.signals.write(encode_frame(channel, b"x"))
            link.signals.write(encode_frame(Channel.SIGNALS, b"known"))
            await knot.recorder.until_received("b@127.0.0.1:1", Channel.SIGNALS, 1)
            assert knot.links.connected().keys() == {"b@127.0.0.1:1"}
            await link.close()

    run_on("asyncio", main())


@both_loops
def test_a_peer_that_stops_reading_is_given_up_though_it_still_speaks(loop: str) -> None:
    async def main() -> None:
        (a,) = names_of("a")
        clock = ManualClock()
        config = LinkConfig(
            heartbeat_s=1.0, heartbeat_timeout_s=3.0, stall_s=10.0, signal_buffer_bytes=64 * MIB
        )
        knot = Knot(a, clock=clock, config=config)
        async with running(knot):
            link = await raw_link(a, raw_ident("b@127.0.0.1:1"))
            await knot.until_linked("b@127.0.0.1:1")
            link.signals.transport.pause_reading()
            for _ in range(16):
                knot.links.send("b@127.0.0.1:1", Channel.SIGNALS, b"x" * MIB)
            await turns(50)
            seconds = 0
            while knot.links.connected():
                received = knot.links.counters.frames_received
                link.control.write(encode_frame(Internal.HEARTBEAT, b""))
                link.signals.write(encode_frame(Internal.HEARTBEAT, b""))
                await until(lambda received=received: knot.links.counters.frames_received >= received + 2)  # type: ignore[misc]  # bound
                clock.advance(1.0)
                seconds += 1
                assert seconds < 20
            assert seconds >= 10
            assert (
                knot.recorder.downs("b@127.0.0.1:1")[0][4]
                == "the peer read nothing from the signal lane for 10 s"
            )
            clock.advance(5.0)
            await link.close()

    run_on(loop, main())


def test_a_dial_of_something_that_hangs_up_or_speaks_otherwise_says_so() -> None:
    async def main() -> None:
        a, b = names_of("ab")
        async with raw_server(a) as accepted:
            knot = Knot(b, seeds=[a])
            async with running(knot):
                await until(lambda: bool(accepted))
                accepted[0].write(b"220 mail.example.org ESMTP\r\n")
                await until(lambda: "not those of a quorate node" in str(knot.problem_with(a)))
                await until(lambda: len(accepted) > 1)
                accepted[1].transport.close()
                await until(lambda: "hung up" in str(knot.problem_with(a)))

    run_on("asyncio", main())


def test_a_dial_of_a_port_where_nobody_listens_says_so() -> None:
    async def main() -> None:
        a, b = names_of("ab")
        knot = Knot(b, seeds=[a])
        async with running(knot):
            await until(lambda: knot.problem_with(a) is not None)
            assert isinstance(knot.problem_with(a), LinkError)
            assert f"nobody listens at {a.partition('@')[2]}" in str(knot.problem_with(a))

    run_on("asyncio", main())


def test_a_dial_that_reaches_another_node_than_expected_says_so() -> None:
    async def main() -> None:
        a, b = names_of("ab")
        expected = "x@" + a.partition("@")[2]
        knot = Knot(b, seeds=[expected])
        async with running(Knot(a), knot):
            await until(lambda: knot.problem_with(a) is not None)
            assert f"answers as {a}; {expected} was expected" in str(knot.problem_with(a))
            assert knot.recorder.events == []

    run_on("asyncio", main())


def test_an_acceptor_that_does_not_hold_the_cookie_gets_no_name_out_of_a_dialer() -> None:
    """It takes any proof; the dialer asks for one in return before it says who it is."""

    async def main() -> None:
        a, b = names_of("ab")
        async with raw_server(a) as accepted:
            knot = Knot(b, seeds=[a])
            async with running(knot):
                await until(lambda: bool(accepted))
                accepted[0].write(Hello(Role.NODE, Lane.CONTROL, b"n" * 32).encode())
                await accepted[0].until(HELLO_BYTES + 32)
                accepted[0].write(b"\0" + b"p" * 32)
                await accepted[0].until_over()
                assert len(accepted[0].data) == HELLO_BYTES + 32
                await until(lambda: isinstance(knot.problem_with(a), CookieMismatch))

    run_on("asyncio", main())


def test_a_recorded_link_cannot_be_played_again() -> None:
    async def main() -> None:
        a, b = names_of("ab")
        recorded: list[bytes] = []

        async def tapped(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            host, port = a.partition("@")[2].split(":")
            there = await asyncio.open_connection(host, int(port))

            async def carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter, keep: bool) -> None:
                while data := await source.read(65536):
                    if keep:
                        recorded.append(data)
                    sink.write(data)
                sink.close()

            await asyncio.gather(carry(reader, there[1], True), carry(there[0], writer, False))

        knot = Knot(a)
        tap_port = int(b.rpartition(":")[2])
        server = await asyncio.start_server(tapped, "127.0.0.1", tap_port)
        async with running(knot):
            lane = await raw_lane(f"x@127.0.0.1:{tap_port}", raw_ident("c@127.0.0.1:1"))
            await lane.close()
            await until(lambda: knot.links.open_connections() == 0)
            replay = await raw_dial(a)
            replay.write(b"".join(recorded))
            await replay.until_over()
            assert knot.refused("wrong_cookie") == 1
        server.close()
        await turns(20)

    run_on("asyncio", main())
