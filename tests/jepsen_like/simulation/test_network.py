"""The network between simulated processes behaves as TCP does, in what it gives and in how it fails."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorate.jepsen_like.simulation import SimulationError
from quorate.jepsen_like.simulation.stream import HIGH_BYTES, WINDOW_BYTES
from tests.jepsen_like.simulation.wires import PORT, Side, Wires, on_wires

LATENCY_S = 0.010


def test_data_arrives_after_the_latency_of_its_direction() -> None:
    async def test(wires: Wires) -> None:
        a, b = await wires.pair()
        wires.link("b", "a").latency_s = 0.5
        start = wires.now
        a.end.write(b"there")
        b.end.write(b"back!")
        await wires.sleep(1.0)
        assert (b.at(5) - start, a.at(5) - start) == pytest.approx((LATENCY_S, 0.5))

    on_wires(test)


def test_a_connection_takes_a_round_trip() -> None:
    async def test(wires: Wires) -> None:
        a = Side()
        wires.listen("b", Side)
        await wires.dial("a", "b", a)
        assert a.at("made") == pytest.approx(2 * LATENCY_S)

    on_wires(test)


def test_jitter_delays_but_never_reorders() -> None:
    async def test(wires: Wires) -> None:
        a, b = await wires.pair()
        start = wires.now
        delays = []
        for number in range(200):
            a.end.write(bytes([number]))
            await wires.sleep(0.0001)
        await wires.sleep(1.0)
        assert b.data == bytes(range(200))
        delays = [when - start - 0.0001 * number for number, (when, what) in enumerate(b.log[1:])]
        assert min(delays) >= LATENCY_S - 1e-6 and max(delays) < LATENCY_S + 0.006
        assert max(delays) > LATENCY_S + 0.002

    on_wires(test, jitter_s=0.005)


def test_bandwidth_is_shared_by_what_is_sent() -> None:
    async def test(wires: Wires) -> None:
        a, b = await wires.pair()
        link = wires.link("a", "b")
        link.bandwidth_bytes_s = 1000.0
        start = wires.now
        for _ in range(5):
            a.end.write(bytes(100))
        await wires.sleep(2.0)
        assert b.log[-1][0] - start == pytest.approx(0.5 + LATENCY_S)
        assert len(b.data) == 500

    on_wires(test)


def test_a_link_that_gets_faster_lets_nothing_overtake() -> None:
    async def test(wires: Wires) -> None:
        a, b = await wires.pair()
        wires.link("a", "b").latency_s = 3.0
        a.end.write(b"first")
        wires.link("a", "b").latency_s = 0.001
        a.end.write(b"second")
        await wires.sleep(4.0)
        assert b.data == b"firstsecond"

    on_wires(test)


def test_each_side_is_called_in_its_own_process() -> None:
    async def test(wires: Wires) -> None:
        a, b = await wires.pair()
        a.end.write(bytes(WINDOW_BYTES + 2 * HIGH_BYTES))
        b.end.write(b"x")
        await wires.sleep(1.0)
        assert {"pause", "resume"} <= set(a.told())
        b.end.close()
        await wires.sleep(1.0)
        assert (a.groups, b.groups) == ({"a", None}, {"b"})  # the test itself wrote into a

    on_wires(test)


# -- cuts --------------------------------------------------------------------------------------------------


def test_behind_a_cut_data_waits_and_arrives_when_a_retransmission_would() -> None:
    async def test(wires: Wires) -> None:
        a, b = await wires.pair()
        wires.cut("a", "b")
        start = wires.now
        a.end.write(b"one")
        await wires.sleep(1.0)
        a.end.write(b"two")
        assert not b.data and wires.link("a", "b").held_bytes == 6
        wires.mend("a", "b")  # timers at 0.2, 0.6 and 1.4 s after the first was lost
        await wires.sleep(5.0)
        assert b.data == b"onetwo" and a.told() == ["made"]
        assert b.log[1][0] - start == pytest.approx(1.4 + LATENCY_S)

    on_wires(test)


def test_the_longer_the_cut_the_longer_the_wait_after_it_up_to_a_minute() -> None:
    async def test(wires: Wires) -> None:
        a, b = await wires.pair()
        wires.cut("a", "b")
        a.end.write(b"one")
        await wires.sleep(600.0)
        wires.mend("a", "b")
        start = wires.now
        await wires.sleep(61.0)
        assert 1.0 < b.log[1][0] - start <= 60.0

    on_wires(test)


def test_a_short_heal_between_two_cuts_does_not_start_the_retransmissions_anew() -> None:
    async def test(wires: Wires) -> None:
        a, b = await wires.pair()
        start = wires.now
        wires.cut("a", "b")
        a.end.write(b"one")
        await wires.sleep(1.0)
        wires.mend("a", "b")
        await wires.sleep(0.001)
        wires.cut("a", "b")
        await wires.sleep(2.0)
        wires.mend("a", "b")
        await wires.sleep(60.0)
        assert b.log[1][0] - start == pytest.approx(6.2 - 3.2 + LATENCY_S)  # 0.2, 0.6, 1.4, 3.0

    on_wires(test)


def test_a_cut_of_one_direction_leaves_the_other_until_the_window_is_full() -> None:
    async def test(wires: Wires) -> None:
        a, b = await wires.pair()
        wires.cut("a", "b")
        b.end.write(b"hello")
        await wires.sleep(1.0)
        assert a.data == b"hello"
        b.end.write(bytes(2 * WINDOW_BYTES))
        await wires.sleep(10.0)
        assert len(a.data) == WINDOW_BYTES  # no acknowledgement gets back
        assert b.told() == ["made", "pause"]
        wires.mend("a", "b")
        await wires.sleep(1.0)
        assert len(a.data) == 2 * WINDOW_BYTES + 5 and b.told() == ["made", "pause", "resume"]

    on_wires(test)


def test_cuts_nest() -> None:
    async def test(wires: Wires) -> None:
        a, b = await wires.pair()
        wires.cut("a", "b")
        wires.cut("a", "b")
        a.end.write(b"x")
        wires.mend("a", "b")
        await wires.sleep(100.0)
        assert not b.data
        wires.mend("a", "b")
        await wires.sleep(100.0)
        assert b.data == b"x"

    on_wires(test)


def test_what_is_held_comes_at_once_when_it_is_released() -> None:
    async def test(wires: Wires) -> None:
        a, b = await wires.pair()
        link = wires.link("a", "b")
        link.holds = 1
        a.end.write(b"one")
        await wires.sleep(7.0)
        assert not b.data and link.held_bytes == 3
        link.holds = 0
        link.changed()
        start = wires.now
        await wires.sleep(1.0)
        assert b.log[1][0] == pytest.approx(start)

    on_wires(test)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("write"), st.integers(1, 400_000)),
            st.tuples(st.just("sleep"), st.floats(0.0, 3.0)),
            st.tuples(st.sampled_from(["cut", "hold", "cut back", "heal", "slow reader", "pause", "resume"])),
        ),
        min_size=5,
        max_size=40,
    ),
    ending=st.sampled_from(["nothing", "close", "abort", "kill", "reset"]),
)
def test_a_stream_never_loses_repeats_or_reorders_bytes_in_the_middle(
    seed: int, steps: list[tuple[str, int] | tuple[str, float] | tuple[str]], ending: str
) -> None:
    async def test(wires: Wires) -> None:
        a, b = await wires.pair()
        there, back = wires.link("a", "b"), wires.link("b", "a")
        sent = bytearray()

        def heal() -> None:
            for link in (there, back):
                link.cuts = link.holds = 0
                link.changed()

        for step in steps:
            match step:
                case ("write", size):
                    piece = bytes((len(sent) + i) * 7919 >> 3 & 255 for i in range(min(1000, int(size))))
                    data = (piece * (int(size) // len(piece) + 1))[: int(size)]
                    sent += data
                    a.end.write(data)
                case ("sleep", seconds):
                    await wires.sleep(seconds)
                case ("cut",):
                    there.cuts += 1
                case ("hold",):
                    there.holds += 1
                case ("cut back",):
                    back.cuts += 1
                case ("heal",):
                    heal()
                case ("slow reader",):
                    wires.hosts["b"].read_bytes_s = 50_000.0
                case ("pause",):
                    b.end.pause_reading()
                case _:
                    b.end.resume_reading()
            assert sent.startswith(b.data)
        match ending:
            case "close":
                a.end.close()
            case "abort":
                a.end.abort()
            case "kill":
                wires.kill("a")
            case "reset":
                wires.network.reset("a", "b")
        await wires.sleep(1.0)
        heal()
        wires.hosts["b"].read_bytes_s = None
        b.end.resume_reading()
        await wires.sleep(500.0)
        assert sent.startswith(b.data)
        if ending in ("nothing", "close"):
            assert sent == b.data
            assert b.told().count("eof") == (ending == "close")
        b.end.write(b"?")  # whoever sends learns that the other end is gone
        await wires.sleep(100.0)
        assert (b.told()[-1] in ("lost", "ConnectionResetError")) == (ending != "nothing")

    on_wires(test, seed, jitter_s=0.004)


# -- resets, half-open connections -------------------------------------------------------------------------


def test_a_reset_ends_both_ends_and_says_how_many_connections_there_were() -> None:
    async def test(wires: Wires) -> None:
        a, b = await wires.pair()
        a.end.write(b"lost on its way")
        assert wires.network.reset("a", "c") == 0
        assert wires.network.reset("b", "a") == 1
        await wires.sleep(1.0)
        assert a.told() == b.told() == ["made", "ConnectionResetError"] and not b.data
        assert wires.network.reset("a", "b") == 0
        a.end.write(b"after")  # into nothing, as asyncio
        await wires.sleep(1.0)
        assert not b.data

    on_wires(test)


def test_a_half_open_connection_takes_what_is_written_until_it_is_full_and_never_answers() -> None:
    async def test(wires: Wires) -> None:
        a, b = await wires.pair()
        assert wires.network.half_open("a", "b") == 1
        b.end.write(bytes(WINDOW_BYTES))
        await wires.sleep(100.0)
        assert a.told() == ["made", "ConnectionResetError"] and not a.data
        assert b.told() == ["made"]
        b.end.write(bytes(HIGH_BYTES + 1))
        await wires.sleep(1000.0)
        assert b.told() == ["made", "pause"]

    on_wires(test)


# -- slow and deaf -----------------------------------------------------------------------------------------


def test_a_slow_reader_gets_its_bytes_per_second_and_its_peer_is_told_to_stop_writing() -> None:
    async def test(wires: Wires) -> None:
        a, b = await wires.pair()
        wires.hosts["b"].read_bytes_s = 10_000.0
        start, size = wires.now, WINDOW_BYTES + HIGH_BYTES + 1
        a.end.write(bytes(size))
        assert not a.writable
        await wires.sleep(10.0)
        assert len(b.data) == pytest.approx(100_000, abs=2000) and wires.hosts["b"].slow_bytes == len(b.data)
        await wires.sleep(size / 10_000)
        assert len(b.data) == size and a.writable
        assert b.log[-1][0] - start == pytest.approx(size / 10_000, abs=0.5)
        assert a.told() == ["made", "pause", "resume"]
        resumed = a.at("resume")  # when all but the window and the low-water mark is read
        assert resumed - start == pytest.approx((HIGH_BYTES + 1 - HIGH_BYTES // 4) / 10_000, abs=0.5)

    on_wires(test)


def test_a_slow_reader_reads_all_its_connections_in_turn() -> None:
    async def test(wires: Wires) -> None:
        pairs = [await wires.pair() for _ in range(3)]
        wires.hosts["b"].read_bytes_s = 3000.0
        for a, _ in pairs:
            a.end.write(bytes(10_000))
        await wires.sleep(5.0)
        assert [len(b.data) for _, b in pairs] == pytest.approx([5000] * 3, abs=600)

    on_wires(test)


def test_a_reader_that_is_slow_no_longer_gets_the_rest_soon() -> None:
    async def test(wires: Wires) -> None:
        a, b = await wires.pair()
        wires.hosts["b"].read_bytes_s = 10.0
        a.end.write(bytes(100_000))
        await wires.sleep(1.0)
        wires.hosts["b"].read_bytes_s = None
        await wires.sleep(1.0)
        assert len(b.data) == 100_000

    on_wires(test)


def test_a_process_that_reads_no_more_holds_its_peer_up_and_reads_on_where_it_was() -> None:
    async def test(wires: Wires) -> None:
        a, b = await wires.pair()
        b.end.pause_reading()
        a.end.write(bytes(range(200)) * 5000)
        await wires.sleep(10.0)
        assert not b.data and not a.writable and not b.end.is_reading()
        b.end.resume_reading()
        await wires.sleep(10.0)
        assert b.data == bytes(range(200)) * 5000 and a.writable

    on_wires(test)


def test_a_paused_process_holds_its_peer_up_and_then_reads_everything() -> None:
    async def test(wires: Wires) -> None:
        a, b = await wires.pair()
        wires.loop.pause(wires.groups["b"])
        a.end.write(bytes(1_000_000))
        await wires.sleep(10.0)
        assert not b.data and not a.writable and a.end.get_write_buffer_size() == 1_000_000 - WINDOW_BYTES
        wires.loop.resume(wires.groups["b"])
        await wires.sleep(10.0)
        assert len(b.data) == 1_000_000 and a.writable

    on_wires(test)


def test_a_deaf_server_is_connected_to_and_does_not_learn_of_it_until_it_hears_again() -> None:
    async def test(wires: Wires) -> None:
        wires.hosts["b"].deaf = True
        a, b = Side(), Side()
        wires.listen("b", lambda: b)
        await wires.dial("a", "b", a)
        a.end.write(b"anybody there?")
        await wires.sleep(60.0)
        assert a.told() == ["made"] and b.told() == [] and wires.hosts["b"].deaf_accepts == 1
        wires.hosts["b"].deaf = False
        await wires.sleep(1.0)
        assert b.told() == ["made"] and b.data == b"anybody there?"

    on_wires(test)


def test_a_deaf_server_that_is_killed_ends_the_connections_it_never_accepted() -> None:
    async def test(wires: Wires) -> None:
        wires.hosts["b"].deaf = True
        a, b = Side(), Side()
        wires.listen("b", lambda: b)
        await wires.dial("a", "b", a)
        a.end.write(b"anybody there?")
        await wires.sleep(1.0)
        wires.kill("b")
        wires.hosts["b"].deaf = False
        await wires.sleep(1.0)
        assert a.told() == ["made", "ConnectionResetError"] and b.told() == []

    on_wires(test)


# -- connecting --------------------------------------------------------------------------------------------


def test_where_nobody_listens_a_connection_is_refused_after_a_round_trip() -> None:
    async def test(wires: Wires) -> None:
        with pytest.raises(ConnectionRefusedError, match="'b', 7000"):
            await wires.dial("a", "b", Side())
        assert wires.now == pytest.approx(2 * LATENCY_S)

    on_wires(test)


def test_a_host_that_does_not_exist_is_an_error_that_names_those_that_do() -> None:
    async def test(wires: Wires) -> None:
        with pytest.raises(OSError, match="'nowhere' is no host of this simulation: a, b, c"):
            await wires.dial("a", "nowhere", Side())

    on_wires(test)


def test_a_port_in_use_is_an_error_until_it_is_free() -> None:
    async def test(wires: Wires) -> None:
        first = wires.listen("b", Side)
        with pytest.raises(OSError, match="in use"):
            wires.listen("b", Side)
        first.close()
        again = wires.listen("b", Side)
        first.close()  # harmless for the one that listens now
        assert again.is_serving() and not first.is_serving()
        assert wires.listen("b", Side, port=0).port() != wires.listen("b", Side, port=0).port()

    on_wires(test)


@pytest.mark.parametrize("direction", ["ab", "ba"])
def test_a_connection_attempt_during_a_cut_waits_and_succeeds_after_the_heal(direction: str) -> None:
    async def test(wires: Wires) -> None:
        wires.cut(*direction)
        a = Side()
        wires.listen("b", Side)
        dialling = wires.dial("a", "b", a)
        await wires.sleep(10.0)
        assert not dialling.done() and wires.link(*direction).blocked_connects == 1
        wires.mend(*direction)
        await dialling
        assert a.at("made") == pytest.approx(15.0 + 2 * LATENCY_S)  # attempts after 1, 3, 7 and 15 s

    on_wires(test)


def test_an_attempt_whose_packet_a_cut_swallows_is_made_again() -> None:
    async def test(wires: Wires) -> None:
        a, b = Side(), Side()
        wires.listen("b", lambda: b)
        dialling = wires.dial("a", "b", a)
        await wires.sleep(LATENCY_S / 2)
        wires.cut("a", "b")
        await wires.sleep(5.0)
        assert not dialling.done() and not b.told()
        wires.mend("a", "b")
        await dialling
        assert a.told() == b.told() == ["made"]

    on_wires(test)


def test_an_attempt_whose_answer_a_cut_holds_up_is_through_after_the_heal() -> None:
    async def test(wires: Wires) -> None:
        a, b = Side(), Side()
        wires.listen("b", lambda: b)
        dialling = wires.dial("a", "b", a)
        await wires.sleep(LATENCY_S * 1.5)
        wires.cut("b", "a")
        await wires.sleep(5.0)
        assert not dialling.done() and b.told() == ["made"]
        wires.mend("b", "a")
        await dialling
        assert a.told() == b.told() == ["made"]

    on_wires(test)


def test_an_attempt_that_its_caller_gives_up_leaves_nothing() -> None:
    async def test(wires: Wires) -> None:
        b = Side()
        wires.listen("b", lambda: b)
        dialling = wires.dial("a", "b", Side())
        await wires.sleep(1.5 * LATENCY_S)
        dialling.cancel()
        await wires.sleep(1.0)
        assert b.told() == ["made", "ConnectionResetError"]
        assert not wires.hosts["a"].ends and not wires.hosts["b"].ends

    on_wires(test)


def test_a_server_that_speaks_first_is_heard_whatever_the_jitter() -> None:
    async def test(wires: Wires) -> None:
        wires.listen("b", lambda: Side(greet=b"220 ready"))
        for _ in range(50):
            a = Side()
            await wires.dial("a", "b", a)
            await wires.sleep(0.1)
            assert a.data == b"220 ready" and a.log[0][1] == "made"

    on_wires(test, jitter_s=0.05)


# -- ending ------------------------------------------------------------------------------------------------


def test_a_close_comes_behind_all_data_also_what_waits_for_room() -> None:
    async def test(wires: Wires) -> None:
        a, b = await wires.pair()
        a.end.write(bytes(1_000_000))
        a.end.close()
        assert a.end.is_closing()
        await wires.sleep(10.0)
        assert len(b.data) == 1_000_000 and b.told() == ["made", "eof", "lost"]
        assert a.told()[-1] == "lost"
        assert not wires.hosts["a"].ends and not wires.hosts["b"].ends

    on_wires(test)


def test_a_close_behind_a_cut_is_learnt_of_after_the_heal() -> None:
    async def test(wires: Wires) -> None:
        a, b = await wires.pair()
        wires.cut("a", "b")
        wires.cut("b", "a")
        a.end.write(b"bye")
        a.end.close()
        await wires.sleep(5.0)
        assert a.told() == ["made", "lost"] and b.told() == ["made"]
        wires.mend("a", "b")
        wires.mend("b", "a")
        await wires.sleep(5.0)
        assert b.data == b"bye" and b.told() == ["made", "eof", "lost"]

    on_wires(test)


def test_after_a_close_no_data_is_handed_over_any_more() -> None:
    async def test(wires: Wires) -> None:
        a, b = await wires.pair()
        b.end.pause_reading()
        a.end.write(bytes(WINDOW_BYTES + 1))
        a.end.close()  # it has to wait for the reader
        b.end.write(b"late")
        await wires.sleep(1.0)
        assert not a.data and a.told() == ["made"]
        b.end.resume_reading()
        await wires.sleep(1.0)
        assert not a.data and a.told() == ["made", "lost"]
        assert b.told()[-1] in ("ConnectionResetError", "lost")

    on_wires(test)


def test_a_close_with_unread_data_resets_the_peer() -> None:
    async def test(wires: Wires) -> None:
        a, b = await wires.pair(a=Side(keep=True))
        b.end.pause_reading()
        a.end.write(b"nobody will read this")
        await wires.sleep(1.0)
        b.end.close()
        await wires.sleep(1.0)
        assert a.told() == ["made", "ConnectionResetError"] and b.told() == ["made", "lost"]

    on_wires(test)


def test_data_for_a_closed_connection_is_answered_by_a_reset_also_when_a_cut_delays_it() -> None:
    async def test(wires: Wires) -> None:
        a, b = await wires.pair(a=Side(keep=True))
        b.end.close()
        await wires.sleep(1.0)
        assert a.told() == ["made", "eof"]
        wires.cut("b", "a")
        a.end.write(b"are you there?")
        await wires.sleep(10.0)
        assert a.told() == ["made", "eof"]
        wires.mend("b", "a")
        await wires.sleep(100.0)
        assert a.told() == ["made", "eof", "ConnectionResetError"]

    on_wires(test)


def test_an_end_of_data_is_told_once_however_often_room_was_made_before_it() -> None:
    async def test(wires: Wires) -> None:
        a, b = await wires.pair(b=Side(keep=True))
        for _ in range(20):
            a.end.write(bytes(WINDOW_BYTES // 7))
        a.end.write_eof()
        await wires.sleep(1.0)
        a.end.close()
        await wires.sleep(1.0)
        assert b.told() == ["made", "eof"] and len(b.data) == 20 * (WINDOW_BYTES // 7)

    on_wires(test)


def test_a_reset_behind_a_cut_is_lost_and_the_peer_learns_when_it_sends() -> None:
    async def test(wires: Wires) -> None:
        a, b = await wires.pair()
        wires.cut("a", "b")
        a.end.write(b"never sent again")
        a.end.abort()
        await wires.sleep(1.0)
        wires.mend("a", "b")
        await wires.sleep(100.0)
        assert b.told() == ["made"] and not b.data
        b.end.write(b"x")
        await wires.sleep(1.0)
        assert b.told() == ["made", "ConnectionResetError"]

    on_wires(test)


def test_a_close_whose_unread_data_is_still_under_way_is_an_end_and_then_a_reset() -> None:
    async def test(wires: Wires) -> None:
        a, b = await wires.pair(a=Side(keep=True))
        a.end.write(b"not there yet")
        b.end.close()
        await wires.sleep(LATENCY_S * 1.5)
        assert a.told() == ["made", "eof"]
        await wires.sleep(LATENCY_S)
        assert a.told() == ["made", "eof", "ConnectionResetError"]

    on_wires(test)


def test_retransmissions_begin_anew_after_something_got_through() -> None:
    async def test(wires: Wires) -> None:
        a, b = await wires.pair()
        for _ in range(2):
            before = len(b.data)
            wires.cut("a", "b")
            a.end.write(b"x")
            await wires.sleep(1.0)
            wires.mend("a", "b")
            start = wires.now
            await wires.sleep(30.0)
            assert len(b.data) == before + 1 and b.log[-1][0] - start == pytest.approx(0.4 + LATENCY_S)

    on_wires(test)


def test_a_reset_ends_also_a_connection_that_waits_to_be_closed() -> None:
    async def test(wires: Wires) -> None:
        a, b = await wires.pair()
        b.end.pause_reading()
        a.end.write(bytes(1_000_000))
        a.end.close()
        await wires.sleep(1.0)
        assert a.told() == ["made", "pause"]
        b.end.abort()
        await wires.sleep(1.0)
        assert a.told() == ["made", "pause", "ConnectionResetError"] and not wires.hosts["a"].ends

    on_wires(test)


def test_data_that_reaches_a_killed_process_is_answered_by_a_reset() -> None:
    async def test(wires: Wires) -> None:
        a, _ = await wires.pair(a=Side(keep=True))
        a.end.write(b"under way")
        await wires.sleep(LATENCY_S / 2)
        wires.kill("b")
        await wires.sleep(5.0)
        assert a.told() == ["made", "eof", "ConnectionResetError"]

    on_wires(test)


def test_half_a_close_leaves_the_other_direction() -> None:
    async def test(wires: Wires) -> None:
        a, b = await wires.pair(b=Side(keep=True))
        a.end.write(bytes(WINDOW_BYTES + 10))
        a.end.write_eof()
        with pytest.raises(RuntimeError, match="after write_eof"):
            a.end.write(b"x")
        await wires.sleep(1.0)
        b.end.write(b"answer")
        await wires.sleep(1.0)
        assert b.told() == ["made", "eof"] and a.data == b"answer" and len(b.data) == WINDOW_BYTES + 10
        b.end.close()
        await wires.sleep(1.0)
        assert a.told()[-2:] == ["eof", "lost"] and b.told() == ["made", "eof", "lost"]

    on_wires(test)


def test_an_abort_drops_what_waits_and_resets_the_peer() -> None:
    async def test(wires: Wires) -> None:
        a, b = await wires.pair()
        a.end.write(bytes(1_000_000))
        a.end.abort()
        await wires.sleep(1.0)
        assert a.told()[-1] == "lost" and b.told() == ["made", "ConnectionResetError"]
        assert a.end.get_write_buffer_size() == 0 and len(b.data) <= WINDOW_BYTES

    on_wires(test)


def test_what_a_protocol_raises_ends_its_connection_and_fails_the_run() -> None:
    class Broken(Side):
        def data_received(self, data: bytes) -> None:
            raise LookupError("broken")

    async def test(wires: Wires) -> None:
        a, b = await wires.pair(b=Broken())
        a.end.write(b"x")
        await wires.sleep(1.0)
        assert b.told() == ["made", "LookupError"] and a.told() == ["made", "eof", "lost"]

    with pytest.raises(SimulationError, match="a protocol raised LookupError: broken"):
        on_wires(test)


# -- processes and machines --------------------------------------------------------------------------------


def test_the_peers_of_a_killed_process_see_the_end_of_what_it_sent_and_it_is_told_nothing() -> None:
    async def test(wires: Wires) -> None:
        a, b = await wires.pair()
        a.end.write(b"last words")
        wires.kill("a")
        await wires.sleep(1.0)
        assert a.told() == ["made"] and b.data == b"last words" and b.told() == ["made", "eof", "lost"]

    on_wires(test)


def test_the_peers_of_a_killed_process_that_had_not_read_everything_see_a_reset() -> None:
    async def test(wires: Wires) -> None:
        a, b = await wires.pair()
        wires.loop.pause(wires.groups["a"])
        b.end.write(b"unread")
        await wires.sleep(1.0)
        wires.kill("a")
        await wires.sleep(1.0)
        assert a.told() == ["made"] and not a.data and b.told() == ["made", "ConnectionResetError"]

    on_wires(test)


def test_a_killed_process_behind_a_cut_is_learnt_of_after_the_heal() -> None:
    async def test(wires: Wires) -> None:
        _, b = await wires.pair()
        for direction in ("ab", "ba"):
            wires.cut(*direction)
        wires.kill("a")
        b.end.write(b"hello?")
        await wires.sleep(10.0)
        assert b.told() == ["made"]
        for direction in ("ab", "ba"):
            wires.mend(*direction)
        await wires.sleep(20.0)
        assert b.told()[-1] in ("lost", "ConnectionResetError")

    on_wires(test)


def test_a_killed_process_listens_no_more() -> None:
    async def test(wires: Wires) -> None:
        wires.listen("b", Side)
        wires.kill("b")
        with pytest.raises(ConnectionRefusedError):
            await wires.dial("a", "b", Side())
        wires.boot("b")
        wires.listen("b", Side)

    on_wires(test)


def test_the_peers_of_a_machine_that_lost_power_hear_nothing_and_get_a_reset_once_it_is_back() -> None:
    async def test(wires: Wires) -> None:
        a, b = await wires.pair()
        b.end.write(b"never heard")
        wires.power_off("b")
        a.end.write(b"anybody?")
        await wires.sleep(100.0)
        assert a.told() == ["made"] and not a.data and b.told() == ["made"]
        wires.boot("b")
        await wires.sleep(0.001)
        assert a.told() == ["made"]
        await wires.sleep(60.0)  # the next retransmission
        assert a.told() == ["made", "ConnectionResetError"]

    on_wires(test)


def test_the_peer_of_a_machine_that_lost_power_stays_connected_as_long_as_it_is_silent() -> None:
    async def test(wires: Wires) -> None:
        a, _ = await wires.pair()
        wires.power_off("b")
        await wires.sleep(10.0)
        wires.boot("b")
        await wires.sleep(1000.0)
        assert a.told() == ["made"]
        a.end.write(b"x")
        await wires.sleep(1.0)
        assert a.told() == ["made", "ConnectionResetError"]

    on_wires(test)


def test_connecting_to_a_machine_without_power_waits_until_it_is_back() -> None:
    async def test(wires: Wires) -> None:
        wires.power_off("b")
        dialling = wires.dial("a", "b", Side())
        await wires.sleep(100.0)
        assert not dialling.done()
        wires.boot("b")
        wires.listen("b", Side)
        await dialling

    on_wires(test)


# -- users' own asyncio code -------------------------------------------------------------------------------


def test_streams_of_asyncio_work_between_processes() -> None:
    async def test(wires: Wires) -> None:
        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while line := await reader.readline():
                writer.write(line.upper())
                await writer.drain()
            writer.close()
            await writer.wait_closed()

        async def serve() -> None:
            server = await asyncio.start_server(echo, "0.0.0.0", PORT)
            assert server.sockets[0].getsockname() == ("b", PORT)
            async with server:
                await server.serve_forever()

        async def ask() -> list[bytes]:
            await asyncio.sleep(0.1)
            reader, writer = await asyncio.open_connection("b", PORT)
            assert writer.get_extra_info("peername") == ("b", PORT)
            answers = []
            for word in (b"one\n", b"two\n"):
                writer.write(word)
                await writer.drain()
                answers.append(await reader.readline())
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()
            return answers

        serving = wires.run("b", serve())
        assert await wires.run("a", ask()) == [b"ONE\n", b"TWO\n"]
        serving.cancel()
        await asyncio.wait([serving])

    on_wires(test, jitter_s=0.01)


def test_a_small_http_server_and_its_client_work_through_a_cut() -> None:
    async def test(wires: Wires) -> None:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            request = await reader.readuntil(b"\r\n\r\n")
            body = request.split()[1] * 50_000
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()
            writer.close()

        async def get(path: bytes) -> bytes:
            async with asyncio.timeout(30.0):
                reader, writer = await asyncio.open_connection("b", 80)
                writer.write(b"GET %b HTTP/1.1\r\nHost: b\r\n\r\n" % path)
                head = await reader.readuntil(b"\r\n\r\n")
                body = await reader.readexactly(int(head.split()[-1]))
                writer.close()
                return body

        server = await wires.run("b", asyncio.start_server(handle, port=80))
        getting = wires.run("a", get(b"/index.html"))
        await wires.sleep(2.5 * LATENCY_S)
        for direction in ("ab", "ba"):
            wires.cut(*direction)
        await wires.sleep(5.0)
        assert not getting.done()
        for direction in ("ab", "ba"):
            wires.mend(*direction)
        assert await getting == b"/index.html" * 50_000
        server.close()

    on_wires(test)


def test_a_client_that_has_waited_long_enough_gives_up_by_the_clock_of_its_process() -> None:
    async def test(wires: Wires) -> None:
        wires.groups["a"].set_rate(2.0, wires.now)
        wires.cut("a", "b")

        async def impatient() -> None:
            async with asyncio.timeout(10.0):
                await asyncio.open_connection("b", 80)

        with pytest.raises(TimeoutError):
            await wires.run("a", impatient())
        assert wires.now == pytest.approx(5.0)

    on_wires(test)
