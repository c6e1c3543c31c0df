"""Faults at the network port behave as dropped packets, leave evidence, and heal without a byte out of order."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import pytest

from quorate.core import ConfigError
from quorate.core.real import RealNetwork
from quorate.jepsen_like.network import FaultyNetwork
from tests.core.link_support import PATIENCE_S, RawPeer, both_loops, run_on, until
from tests.support import ManualClock, turns

KIB = 1024


class Owner(RawPeer):
    """What a user's protocol sees of a connection."""

    def __init__(self) -> None:
        super().__init__()
        self.error: Exception | None = None
        self.paused = asyncio.Event()
        self.resumed = asyncio.Event()
        self.ended = False
        self.half_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert self._transport is None, "made twice"
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        assert not self.over.is_set(), "lost twice"
        self.error = exc
        super().connection_lost(exc)

    def eof_received(self) -> bool:
        self.ended = True
        return self.half_open

    def pause_writing(self) -> None:
        self.paused.set()

    def resume_writing(self) -> None:
        self.resumed.set()

    async def until_made(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await self.made.wait()


class Pair:
    """`near` has its connection through the faulty network, `far` sees the plain one."""

    def __init__(self, network: FaultyNetwork, near: Owner, far: Owner, port: int) -> None:
        self.network, self.near, self.far, self.port = network, near, far, port
        self.fars = [far]  # with what was accepted later


@contextlib.asynccontextmanager
async def dialled(clock: ManualClock | None = None) -> AsyncIterator[Pair]:
    """The faulty side dials."""
    network, fars = FaultyNetwork(RealNetwork(), clock), list[Owner]()

    class Far(Owner):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            fars.append(self)

    server = await RealNetwork().create_server(Far, "127.0.0.1", 0)
    near = Owner()
    await network.create_connection(lambda: near, "127.0.0.1", server.port())
    await until(lambda: bool(fars))
    pair = Pair(network, near, fars[0], server.port())
    pair.fars = fars
    try:
        yield pair
    finally:
        server.close()
        network.heal()
        await near.close()
        for far in fars:
            await far.close()
        await server.wait_closed()


@contextlib.asynccontextmanager
async def accepted() -> AsyncIterator[Pair]:
    """The faulty side is dialled."""
    network, near = FaultyNetwork(RealNetwork()), Owner()
    server = await network.create_server(lambda: near, "127.0.0.1", 0)
    far = Owner()
    await RealNetwork().create_connection(lambda: far, "127.0.0.1", server.port())
    await near.until_made()
    try:
        yield Pair(network, near, far, server.port())
    finally:
        server.close()
        network.heal()
        await near.close()
        await far.close()
        await server.wait_closed()


Side = Callable[[], AbstractAsyncContextManager[Pair]]


@both_loops
@pytest.mark.parametrize("side", [dialled, accepted])
def test_without_faults_it_is_the_network_it_wraps(loop: str, side: Side) -> None:
    async def main() -> None:
        async with side() as pair:
            pair.near.write(b"to and")
            assert await pair.far.until(6) == b"to and"
            pair.far.write(b"fro")
            assert await pair.near.until(3) == b"fro"
            assert pair.near.transport.get_extra_info("peername") is not None
            pair.near.transport.close()
            await pair.near.until_over()
            await pair.far.until_over()
            assert pair.near.error is None
            evidence = pair.network.evidence
            assert (evidence.bytes_held_in, evidence.bytes_held_out, evidence.bytes_lost) == (0, 0, 0)

    run_on(loop, main())


@both_loops
@pytest.mark.parametrize("side", [dialled, accepted])
def test_isolated_bytes_neither_leave_nor_arrive_and_come_in_order_after_the_heal(
    loop: str, side: Side
) -> None:
    async def main() -> None:
        async with side() as pair:
            pair.network.isolate()
            for n in range(100):
                pair.near.write(b"%03d" % n)
                pair.far.write(b"%03d" % n)
                if n % 10 == 0:
                    await asyncio.sleep(0)
            await until(lambda: pair.network.evidence.bytes_held_in == 300)
            assert not pair.near.data
            assert not pair.far.data
            assert pair.network.evidence.bytes_held_out == 300
            pair.network.heal()
            pair.near.write(b"end")
            pair.far.write(b"end")
            expected = b"".join(b"%03d" % n for n in range(100)) + b"end"
            assert await pair.far.until(303) == expected
            assert await pair.near.until(303) == expected
            assert pair.network.evidence.bytes_lost == 0

    run_on(loop, main())


@both_loops
def test_a_dial_while_isolated_hangs_until_the_heal_or_until_its_caller_gives_up(loop: str) -> None:
    async def main() -> None:
        async with dialled() as pair:
            pair.network.isolate()
            owner, patient = Owner(), Owner()
            impatient = asyncio.create_task(
                pair.network.create_connection(lambda: owner, "127.0.0.1", pair.port)
            )
            dial = asyncio.create_task(
                pair.network.create_connection(lambda: patient, "127.0.0.1", pair.port)
            )
            await turns(20)
            assert not impatient.done()
            assert pair.network.evidence.connects_blocked == 2
            impatient.cancel()
            await asyncio.gather(impatient, return_exceptions=True)
            pair.network.heal()
            await dial
            assert patient.made.is_set()
            assert not owner.made.is_set()
            await patient.close()

    run_on(loop, main())


@both_loops
def test_a_connection_that_arrives_while_isolated_is_not_seen_before_the_heal(loop: str) -> None:
    async def main() -> None:
        network, near, far = FaultyNetwork(RealNetwork()), Owner(), Owner()
        server = await network.create_server(lambda: near, "127.0.0.1", 0)
        network.isolate()
        await RealNetwork().create_connection(lambda: far, "127.0.0.1", server.port())
        far.write(b"hello")
        await until(lambda: network.evidence.bytes_held_in == 5)
        assert not near.made.is_set()
        assert network.evidence.accepts_blocked == 1
        network.heal()
        assert await near.until(5) == b"hello"
        await near.close()
        await far.close()
        server.close()
        await server.wait_closed()

    run_on(loop, main())


@both_loops
def test_a_server_that_closed_meanwhile_never_sees_what_arrived_while_isolated(loop: str) -> None:
    async def main() -> None:
        network, far = FaultyNetwork(RealNetwork()), Owner()
        made: list[Owner] = []

        def make() -> Owner:
            made.append(Owner())
            return made[-1]

        server = await network.create_server(make, "127.0.0.1", 0)
        network.isolate()
        await RealNetwork().create_connection(lambda: far, "127.0.0.1", server.port())
        await until(lambda: network.evidence.accepts_blocked == 1)
        server.close()
        network.heal()
        await far.until_over()
        assert made == []
        await server.wait_closed()

    run_on(loop, main())


@both_loops
@pytest.mark.parametrize("how", ["close", "abort"])
def test_who_closes_while_isolated_is_done_at_once_and_the_other_end_learns_it_at_the_heal(
    loop: str, how: str
) -> None:
    async def main() -> None:
        async with dialled() as pair:
            pair.network.isolate()
            pair.near.write(b"never arrives")
            getattr(pair.near.transport, how)()
            await pair.near.until_over()
            await turns(50)
            assert not pair.far.over.is_set()
            assert pair.network.evidence.closes_hidden == 1
            assert pair.network.evidence.bytes_lost == len(b"never arrives")
            pair.network.heal()
            await pair.far.until_over()
            assert pair.far.data == b""

    run_on(loop, main())


@both_loops
def test_an_end_that_came_while_isolated_is_seen_at_the_heal_behind_the_bytes_before_it(loop: str) -> None:
    async def main() -> None:
        async with dialled() as pair:
            pair.network.isolate()
            pair.far.write(b"last words")
            pair.far.transport.close()
            await pair.far.until_over()
            await until(lambda: pair.network.evidence.bytes_held_in == 10)
            assert not pair.near.over.is_set()
            assert not pair.near.ended
            pair.network.heal()
            await pair.near.until_over()
            assert pair.near.data == b"last words"
            assert pair.near.ended

    run_on(loop, main())


@both_loops
def test_a_reset_that_came_while_isolated_is_seen_at_the_heal_and_the_bytes_with_it_are_lost(
    loop: str,
) -> None:
    async def main() -> None:
        async with dialled() as pair:
            pair.far.transport.pause_reading()
            pair.near.write(b"never read, which makes the close a reset")
            await asyncio.sleep(0)
            pair.network.isolate()
            pair.far.write(b"lost")
            await until(lambda: pair.network.evidence.bytes_held_in == 4)
            pair.far.transport.abort()
            await pair.far.until_over()
            await until(lambda: pair.network.evidence.bytes_lost == 4)
            assert not pair.near.over.is_set()
            pair.network.heal()
            await pair.near.until_over()
            assert isinstance(pair.near.error, ConnectionResetError)
            assert not pair.near.data

    run_on(loop, main())


@both_loops
@pytest.mark.parametrize("patient", [True, False])
def test_a_dial_that_is_cut_while_it_is_under_way_hangs_like_one_that_began_later(
    loop: str, patient: bool
) -> None:
    async def main() -> None:
        async with dialled() as pair:
            owner = Owner()
            dial = asyncio.create_task(pair.network.create_connection(lambda: owner, "127.0.0.1", pair.port))
            await asyncio.sleep(0)
            pair.network.isolate()
            await until(lambda: len(pair.fars) == 2)
            await until(lambda: pair.network.evidence.connects_blocked == 1)
            assert not dial.done()
            assert not owner.made.is_set()
            if patient:
                pair.network.heal()
                await dial
                owner.write(b"at last")
                assert await pair.fars[1].until(7) == b"at last"
                await owner.close()
            else:
                dial.cancel()
                await asyncio.gather(dial, return_exceptions=True)
                assert not pair.fars[1].over.is_set()
                pair.network.heal()
                await pair.fars[1].until_over()
                assert not owner.made.is_set()

    run_on(loop, main())


@both_loops
def test_a_half_closed_connection_still_carries_the_other_half(loop: str) -> None:
    async def main() -> None:
        async with dialled() as pair:
            pair.far.half_open = True
            pair.near.write(b"question")
            pair.near.transport.write_eof()
            await pair.far.until(8)
            await until(lambda: pair.far.ended)
            pair.far.write(b"answer")
            assert await pair.near.until(6) == b"answer"

    run_on(loop, main())


@both_loops
def test_a_writer_that_is_cut_off_is_told_to_pause_and_after_the_heal_to_resume(loop: str) -> None:
    async def main() -> None:
        async with dialled() as pair:
            pair.network.isolate()
            for _ in range(16):
                pair.near.write(b"x" * 64 * KIB)
            assert pair.near.paused.is_set()
            assert pair.near.transport.get_write_buffer_size() > 0
            pair.network.heal()
            await pair.far.until(16 * 64 * KIB)
            async with asyncio.timeout(PATIENCE_S):
                await pair.near.resumed.wait()

    run_on(loop, main())


@both_loops
def test_what_arrives_while_isolated_is_held_only_up_to_a_limit(loop: str) -> None:
    """The far side fills its own buffers and has to wait, as it would have to with dropped packets."""

    async def main() -> None:
        async with dialled() as pair:
            pair.network.isolate()
            pair.far.write(b"x" * 4096 * KIB)
            async with asyncio.timeout(PATIENCE_S):
                await pair.far.paused.wait()
            await turns(200)
            assert pair.network.evidence.bytes_held_in < 1024 * KIB
            pair.network.heal()
            assert len(await pair.near.until(4096 * KIB)) == 4096 * KIB

    run_on(loop, main())


@both_loops
def test_a_cut_touches_only_connections_dialled_to_that_address(loop: str) -> None:
    async def main() -> None:
        async with dialled() as cut_off, dialled() as other:
            network = cut_off.network
            second = Owner()
            await network.create_connection(lambda: second, "127.0.0.1", other.port)
            await until(lambda: len(other.fars) == 2)
            network.cut("127.0.0.1", cut_off.port)
            cut_off.near.write(b"held")
            second.write(b"passes")
            assert await other.fars[1].until(6) == b"passes"
            assert cut_off.far.data == b""
            assert network.evidence.bytes_held_out == 4
            dial = asyncio.create_task(network.create_connection(Owner, "127.0.0.1", cut_off.port))
            await turns(20)
            assert not dial.done()
            dial.cancel()
            await asyncio.gather(dial, return_exceptions=True)
            network.mend("127.0.0.1", cut_off.port)
            assert await cut_off.far.until(4) == b"held"
            await second.close()

    run_on(loop, main())


@both_loops
def test_reset_all_ends_every_connection_with_an_error(loop: str) -> None:
    async def main() -> None:
        async with dialled() as pair:
            assert pair.network.reset_all() == 1
            await pair.near.until_over()
            await pair.far.until_over()
            assert isinstance(pair.near.error, ConnectionResetError)
            assert pair.network.evidence.resets == 1
            assert pair.network.reset_all() == 0

    run_on(loop, main())


@both_loops
def test_bytes_are_delayed_by_the_clock_in_each_direction_and_keep_their_order(loop: str) -> None:
    async def main() -> None:
        clock = ManualClock()
        async with dialled(clock) as pair:
            pair.network.delay(0.2)
            pair.near.write(b"one")
            pair.far.write(b"uno")
            await until(lambda: pair.network.evidence.bytes_delayed == 6)
            pair.network.delay(0.0)
            pair.near.write(b"two")
            clock.advance(0.1)
            await turns(20)
            assert not pair.near.data
            assert not pair.far.data
            clock.advance(0.11)
            assert await pair.far.until(6) == b"onetwo"
            assert await pair.near.until(3) == b"uno"

    run_on(loop, main())


def test_delayed_bytes_still_leave_when_their_writer_has_closed() -> None:
    async def main() -> None:
        clock = ManualClock()
        async with dialled(clock) as pair:
            pair.network.delay(0.2)
            pair.near.write(b"farewell")
            pair.near.transport.close()
            clock.advance(0.3)
            assert await pair.far.until(8) == b"farewell"
            await pair.near.until_over()
            await pair.far.until_over()

    run_on("asyncio", main())


def test_a_reader_that_paused_gets_nothing_before_it_resumes() -> None:
    async def main() -> None:
        async with dialled() as pair:
            pair.near.transport.pause_reading()
            assert not pair.near.transport.is_reading()
            pair.network.isolate()
            pair.far.write(b"hello")
            pair.network.heal()
            await turns(50)
            assert pair.near.data == b""
            pair.near.transport.resume_reading()
            assert await pair.near.until(5) == b"hello"

    run_on("asyncio", main())


def test_a_delay_needs_a_clock_and_a_time_that_can_be() -> None:
    with pytest.raises(ConfigError, match="clock"):
        FaultyNetwork(RealNetwork()).delay(0.1)
    with pytest.raises(ConfigError, match="negative"):
        FaultyNetwork(RealNetwork(), ManualClock()).delay(-0.1)
