"""Links on real sockets when all is well: who finds whom, what arrives, what is refused by its sender."""

import asyncio
import logging

import pytest

from quorate.core import Busy, ConfigError, LinkError, TooLarge
from quorate.core.codec import pack
from quorate.core.discovery import Static
from quorate.core.frames import Channel, Internal, encode_frame
from quorate.core.link import Peer
from quorate.core.link_config import LinkConfig
from quorate.core.links import Links
from tests.core.link_support import (
    COOKIE,
    Knot,
    Recorder,
    both_loops,
    free_port,
    names_of,
    raw_ident,
    raw_link,
    run_on,
    running,
    told_in_order,
    until,
)
from tests.support import turns

KIB, MIB = 1024, 1024 * 1024


@both_loops
def test_three_nodes_that_know_one_seed_find_one_another(loop: str) -> None:
    async def main() -> None:
        a, b, c = names_of("abc")
        knots = [Knot(a), Knot(b, seeds=[a]), Knot(c, seeds=[a])]
        async with running(*knots):
            for knot in knots:
                await knot.until_linked(*({a, b, c} - {knot.name}))
            assert knots[1].links.known() == {a, c}
            for knot in knots:
                assert all(len(knot.recorder.ups(name)) == 1 for name in {a, b, c} - {knot.name})
                told_in_order(knot.recorder)

    run_on(loop, main())


@both_loops
def test_a_bare_address_and_a_name_both_serve_as_a_seed(loop: str) -> None:
    async def main() -> None:
        a, b, c = names_of("abc")
        knots = [Knot(a), Knot(b, seeds=[a.partition("@")[2]]), Knot(c, seeds=[a])]
        async with running(*knots):
            await knots[0].until_linked(b, c)

    run_on(loop, main())


@both_loops
def test_messages_arrive_whole_and_in_the_order_sent_within_their_lane(loop: str) -> None:
    async def main() -> None:
        a, b = names_of("ab")
        left, right = Knot(a), Knot(b, seeds=[a])
        async with running(left, right):
            await left.until_linked(b)
            sizes = [0, 1, 100, 70 * KIB, 3, MIB, 5, 300 * KIB]
            sent = {
                channel: [bytes([50 * channel + n]) * size for n, size in enumerate(sizes * 3)]
                for channel in Channel
            }
            for n in range(len(sizes) * 3):
                for channel in Channel:
                    assert left.links.send(b, channel, sent[channel][n])
                await asyncio.sleep(0)
            for channel in Channel:
                await right.recorder.until_received(a, channel, len(sizes) * 3)
                assert right.recorder.received_by[a, channel] == sent[channel]

    run_on(loop, main())


@both_loops
def test_what_is_sent_in_one_turn_of_the_loop_leaves_in_one_write(loop: str) -> None:
    async def main() -> None:
        a, b = names_of("ab")
        left, right = Knot(a), Knot(b, seeds=[a])
        async with running(left, right):
            await left.until_linked(b)
            await turns(5)
            before = left.links.counters.writes
            for n in range(1000):
                left.links.send(b, Channel.SIGNALS, b"%d" % n)
            assert left.links.counters.writes == before
            await turns(1)
            assert left.links.counters.writes == before + 1
            await right.recorder.until_received(a, Channel.SIGNALS, 1000)

    run_on(loop, main())


@both_loops
def test_what_was_sent_before_a_stop_arrives_and_the_peer_is_told_why_the_link_ended(loop: str) -> None:
    async def main() -> None:
        a, b = names_of("ab")
        left, right = Knot(a), Knot(b, seeds=[a])
        async with running(right):
            async with running(left):
                await left.until_linked(b)
                for n in range(200):
                    left.links.send(b, Channel.SIGNALS, b"%d" % n * 1000)
            assert left.links.open_connections() == 0
            assert left.recorder.downs(b)[0][4] == f"{a} is stopping"
            await right.until_alone()
            assert len(right.recorder.received_by[a, Channel.SIGNALS]) == 200
            assert f"{a} is stopping" in right.recorder.downs(a)[0][4]

    run_on(loop, main())


def test_a_message_to_nobody_is_not_sent() -> None:
    async def main() -> None:
        (a,) = names_of("a")
        knot = Knot(a)
        assert knot.links.send("b@127.0.0.1:1", Channel.SIGNALS, b"x") is False
        async with running(knot):
            assert knot.links.send("b@127.0.0.1:1", Channel.SIGNALS, b"x") is False
            await knot.links.drained("b@127.0.0.1:1")

    run_on("asyncio", main())


def test_a_message_over_the_limit_of_either_node_is_refused_to_its_sender() -> None:
    async def main() -> None:
        a, b = names_of("ab")
        small = LinkConfig(signal_frame_limit_bytes=2 * KIB, control_frame_limit_bytes=KIB)
        left, right = Knot(a), Knot(b, seeds=[a], config=small)
        async with running(left, right):
            await left.until_linked(b)
            await right.until_linked(a)
            for knot, peer in ((left, b), (right, a)):
                for channel, limit in ((Channel.SIGNALS, 2 * KIB), (Channel.RAFT, KIB)):
                    assert knot.links.send(peer, channel, b"x" * limit)
                    with pytest.raises(TooLarge) as raised:
                        knot.links.send(peer, channel, b"x" * (limit + 1))
                    assert (raised.value.size_bytes, raised.value.limit_bytes) == (limit + 1, limit)
            await right.recorder.until(lambda: len(right.recorder.received_by) == 2)
            assert left.recorder.downs(b) == []

    run_on("asyncio", main())


@both_loops
def test_a_peer_that_does_not_read_makes_signals_busy_and_drops_control_messages(loop: str) -> None:
    async def main() -> None:
        (a,) = names_of("a")
        config = LinkConfig(signal_buffer_bytes=MIB, control_buffer_bytes=MIB)
        knot = Knot(a, config=config)
        async with running(knot):
            link = await raw_link(a, raw_ident("b@127.0.0.1:1"))
            await knot.until_linked("b@127.0.0.1:1")
            link.signals.transport.pause_reading()
            link.control.transport.pause_reading()
            with pytest.raises(Busy, match="wait for b@"):
                for _ in range(1000):
                    knot.links.send("b@127.0.0.1:1", Channel.SIGNALS, b"s" * 100 * KIB)
                    await asyncio.sleep(0)
            results = []
            for _ in range(200):
                results.append(knot.links.send("b@127.0.0.1:1", Channel.RAFT, b"r" * 100 * KIB))
                await asyncio.sleep(0)
            assert results[0] is True
            assert results[-1] is False
            assert knot.links.counters.dropped == results.count(False)
            assert knot.links.counters.busy == 1
            waiting = asyncio.create_task(knot.links.drained("b@127.0.0.1:1"))
            await turns(20)
            assert not waiting.done()
            link.signals.transport.resume_reading()
            await waiting
            assert knot.links.send("b@127.0.0.1:1", Channel.SIGNALS, b"room again")
            await link.close()

    run_on(loop, main())


def test_who_waits_for_room_is_woken_when_the_link_ends() -> None:
    async def main() -> None:
        (a,) = names_of("a")
        knot = Knot(a, config=LinkConfig(signal_buffer_bytes=MIB))
        async with running(knot):
            link = await raw_link(a, raw_ident("b@127.0.0.1:1"))
            await knot.until_linked("b@127.0.0.1:1")
            link.signals.transport.pause_reading()
            with pytest.raises(Busy):
                for _ in range(1000):
                    knot.links.send("b@127.0.0.1:1", Channel.SIGNALS, b"s" * 100 * KIB)
                    await asyncio.sleep(0)
            waiting = asyncio.create_task(knot.links.drained("b@127.0.0.1:1"))
            await turns(5)
            await link.control.close()
            await waiting
            await knot.until_alone()
            await link.close()

    run_on("asyncio", main())


def test_a_port_in_use_is_a_clear_error_and_nothing_is_left_behind() -> None:
    async def main() -> None:
        (a,) = names_of("a")
        first, second = Knot(a), Knot(a)
        async with running(first):
            with pytest.raises(LinkError, match="something else listens there") as raised:
                await second.links.start()
            assert a.rpartition(":")[2] in str(raised.value)
            assert "ss -ltnp" in str(raised.value)
            await second.links.stop()

    run_on("asyncio", main())


def test_a_host_that_is_not_of_this_machine_is_a_clear_error() -> None:
    async def main() -> None:
        knot = Knot("a@192.0.2.1:9101")
        with pytest.raises(LinkError, match="listen_host"):
            await knot.links.start()
        await knot.links.stop()

    run_on("asyncio", main())


def test_a_node_can_listen_elsewhere_than_its_name_says() -> None:
    async def main() -> None:
        a, b = f"a@localhost:{free_port()}", names_of("b")[0]
        left = Knot(a, config=LinkConfig(listen_host="0.0.0.0"))
        right = Knot(b, seeds=[a])
        async with running(left, right):
            await right.until_linked(a)

    run_on("asyncio", main())


@pytest.mark.parametrize("name", ["a", "a@h", "a@h:0"])
def test_a_name_that_is_none_is_a_config_error(name: str) -> None:
    with pytest.raises(ConfigError):
        Knot(name)
    with pytest.raises(ConfigError):
        Knot("a@h:1", seeds=[name])


def test_an_empty_cookie_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="cookie"):
        Knot("a@h:1", cookie=b"")


def test_a_node_does_not_link_to_itself_under_another_address() -> None:
    async def main() -> None:
        (a,) = names_of("a")
        port = a.rpartition(":")[2]
        knot = Knot(a, seeds=[a, f"localhost:{port}"])
        async with running(knot):
            await until(lambda: knot.refused("reflected") >= 2)
            assert knot.recorder.events == []
            assert knot.links.problems() == {}

    run_on("asyncio", main())


@both_loops
def test_disconnect_holds_against_both_sides_until_connect(loop: str) -> None:
    async def main() -> None:
        a, b = names_of("ab")
        left, right = Knot(a), Knot(b, seeds=[a])
        async with running(left, right):
            await left.until_linked(b)
            left.links.disconnect(b)
            assert left.links.connected() == {}
            assert left.recorder.downs(b)[0][4] == f"{a} was told to disconnect"
            await until(lambda: left.refused("unwanted") >= 2)
            await right.until_alone()
            assert "was told to disconnect" in str(right.problem_with(a))
            left.links.connect(b)
            await left.until_linked(b)
            await right.until_linked(a)
            assert right.problem_with(a) is None
            told_in_order(left.recorder)
            told_in_order(right.recorder)

    run_on(loop, main())


def test_features_of_a_peer_are_those_that_both_have() -> None:
    async def main() -> None:
        a, b = names_of("ab")
        left = Knot(a, features=frozenset({"x", "y"}))
        right = Knot(b, seeds=[a], features=frozenset({"y", "z"}), creation=7)
        async with running(left, right):
            await left.until_linked(b)
            peer = left.links.connected()[b]
            assert peer.features == {"y"}
            assert peer.creation == 7
            assert str(peer.address) == b.partition("@")[2]

    run_on("asyncio", main())


def test_peers_that_a_discovery_proposes_are_dialled_and_its_failures_are_not_the_end() -> None:
    class Moody(Static):
        asked = 0

        async def peers(self) -> set[str]:
            self.asked += 1
            if self.asked == 1:
                raise OSError("the name server is asleep")
            return await super().peers()

    async def main() -> None:
        a, b = names_of("ab")
        discovery = Moody([a, b])
        left = Knot(a, discovery=discovery, config=LinkConfig(discovery_s=0.01))
        async with running(left, Knot(b)):
            await left.until_linked(b)
            assert discovery.asked >= 2

    run_on("asyncio", main())


def test_a_listener_that_raises_is_logged_and_takes_no_link_down(caplog: pytest.LogCaptureFixture) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a bug in the listener")

    async def main() -> None:
        a, b = names_of("ab")
        left, right = Knot(a), Knot(b, seeds=[a])
        left.recorder.on_up = fail
        left.recorder.on_received = fail
        async with running(left, right):
            await right.until_linked(a)
            await left.until_linked(b)
            right.links.send(a, Channel.SIGNALS, b"one")
            right.links.send(a, Channel.SIGNALS, b"two")
            await left.recorder.until(lambda: left.links.counters.listener_errors == 3)
            assert left.recorder.received_by[b, Channel.SIGNALS] == [b"one", b"two"]
            assert left.recorder.downs(b) == []

    with caplog.at_level(logging.ERROR):
        run_on("asyncio", main())
    assert "the listener's received raised" in caplog.text


def test_a_listener_may_send_and_disconnect_from_within() -> None:
    async def main() -> None:
        a, b = names_of("ab")
        left, right = Knot(a), Knot(b, seeds=[a])

        def welcome(peer: Peer) -> None:
            for _ in range(3):
                assert left.links.send(peer.name, Channel.SIGNALS, b"welcome")

        left.recorder.on_up = welcome

        def enough(peer: Peer, channel: Channel, payload: bytes) -> None:
            right.links.disconnect(peer.name)

        right.recorder.on_received = enough
        async with running(left, right):
            await right.recorder.until(lambda: len(right.recorder.downs(a)) == 1)
            assert right.recorder.received_by[a, Channel.SIGNALS] == [b"welcome"], (
                "nothing comes after the down"
            )

    run_on("asyncio", main())


def test_a_link_that_its_listener_closes_while_it_comes_up_is_told_up_and_down() -> None:
    async def main() -> None:
        a, b = names_of("ab")
        left, right = Knot(a), Knot(b, seeds=[a])
        left.recorder.on_up = lambda peer: left.links.disconnect(peer.name)
        async with running(left, right):
            await left.recorder.until(lambda: len(left.recorder.downs(b)) == 1)
            told_in_order(left.recorder)
            assert left.links.connected() == {}

    run_on("asyncio", main())


def test_stopping_twice_and_stopping_before_the_start_are_harmless() -> None:
    async def main() -> None:
        knot = Knot(names_of("a")[0])
        await knot.links.stop()
        await knot.links.stop()
        other = Knot(names_of("b")[0])
        async with running(other):
            await other.links.stop()

    run_on("asyncio", main())


def test_a_peer_that_tells_nonsense_names_keeps_its_link_and_nobody_is_dialled() -> None:
    async def main() -> None:
        (a,) = names_of("a")
        knot = Knot(a)
        async with running(knot):
            link = await raw_link(a, raw_ident("b@127.0.0.1:1"))
            await knot.until_linked("b@127.0.0.1:1")
            for payload in (b"\xc1", pack("no list"), pack([1, None, "x", "a@b", a])):
                link.control.write(encode_frame(Internal.NAMES, payload))
            link.control.write(encode_frame(Channel.RAFT, b"still here"))
            await knot.recorder.until(lambda: bool(knot.recorder.received_by))
            assert set(knot.links.problems()) == set()
            await link.close()
            await knot.until_alone()

    run_on("asyncio", main())


def test_links_take_the_default_settings_when_none_are_given() -> None:
    links = Links(Knot("a@h:1").runtime, name="a@h:1", creation=1, cookie=COOKIE, listener=Recorder())
    assert links.name == "a@h:1"
    assert LinkConfig() == LinkConfig.lan()
    assert LinkConfig.local().heartbeat_timeout_s < LinkConfig.lan().heartbeat_timeout_s
    assert LinkConfig.lan().heartbeat_timeout_s < LinkConfig.wan().heartbeat_timeout_s


@pytest.mark.parametrize(
    "wrong",
    [
        {"heartbeat_s": 0.0},
        {"heartbeat_s": 3.0},
        {"backoff_first_s": 0.0},
        {"backoff_first_s": 9.0},
        {"handshake_s": 0.0},
        {"signal_frame_limit_bytes": 10},
        {"control_frame_limit_bytes": 2**31},
        {"handshakes_limit": 0},
    ],
)
def test_settings_that_cannot_work_are_config_errors(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        LinkConfig(**wrong)  # type: ignore[arg-type]  # numbers all
