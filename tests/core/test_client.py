"""The command-line client: asks, is answered, and says clearly why not."""

import asyncio

import pytest

from quorate.core import (
    CallTimeout,
    ConfigError,
    CookieMismatch,
    EncodeError,
    HandshakeFailed,
    LinkError,
    RemoteError,
    Runtime,
    TooLarge,
    VersionMismatch,
)
from quorate.core.client import AdminClient
from quorate.core.frames import Channel, Internal, Lane, encode_frame
from quorate.core.handshake import HELLO_BYTES, Hello, Role
from quorate.core.link_config import LinkConfig
from quorate.core.real import RealClock, RealEntropy, RealNetwork
from tests.core.link_support import (
    COOKIE,
    Knot,
    both_loops,
    names_of,
    raw_ident,
    raw_lane,
    raw_server,
    run_on,
    running,
    until,
)
from tests.support import ManualClock, turns


def client_of(
    address: str, cookie: bytes = COOKIE, clock: ManualClock | None = None, timeout_s: float = 5.0
) -> AdminClient:
    runtime = Runtime(network=RealNetwork(), clock=clock or RealClock(), entropy=RealEntropy())
    return AdminClient(runtime, address, cookie, timeout_s=timeout_s)


@both_loops
def test_a_client_asks_and_is_answered_and_is_no_peer(loop: str) -> None:
    async def main() -> None:
        (a,) = names_of("a")
        knot = Knot(a)
        async with running(knot):
            async with client_of(a) as client:
                assert client.node == a
                assert await client.request("status") == ["status", None]
                args = {"deep": [1, 2.5, None, True, "text", b"bytes", {"x": [1]}]}
                assert await client.request("echo", args) == ["echo", args]
            async with client_of(a.partition("@")[2]) as client:
                assert client.node == a
            assert knot.recorder.events == []
            assert knot.links.connected() == {}
            await until(lambda: knot.links.open_connections() == 0)

    run_on(loop, main())


@both_loops
def test_requests_are_answered_as_they_are_done_not_as_they_came(loop: str) -> None:
    async def main() -> None:
        (a,) = names_of("a")
        knot = Knot(a)
        gate = asyncio.Event()

        async def admin(op: str, args: object) -> object:
            if op == "slow":
                await gate.wait()
            else:
                gate.set()
            return op

        knot.recorder.on_admin = admin
        async with running(knot), client_of(a) as client:
            answers = await asyncio.gather(client.request("slow"), client.request("quick"))
            assert list(answers) == ["slow", "quick"]

    run_on(loop, main())


def test_an_error_of_the_node_comes_back_with_its_type_and_message() -> None:
    async def main() -> None:
        (a,) = names_of("a")
        knot = Knot(a)

        async def admin(op: str, args: object) -> object:
            raise ConfigError(f"there is no operation {op!r}")

        knot.recorder.on_admin = admin
        async with running(knot), client_of(a) as client:
            with pytest.raises(RemoteError) as raised:
                await client.request("dance")
            assert raised.value.type_name == "ConfigError"
            assert raised.value.text == "there is no operation 'dance'"

    run_on("asyncio", main())


def test_a_result_that_cannot_travel_or_is_too_large_is_an_error_and_the_client_goes_on() -> None:
    async def main() -> None:
        (a,) = names_of("a")
        knot = Knot(a, config=LinkConfig(control_frame_limit_bytes=2048))

        async def admin(op: str, args: object) -> object:
            return {"object": object(), "large": b"x" * 4096}.get(op, "fine")

        knot.recorder.on_admin = admin
        async with running(knot), client_of(a) as client:
            with pytest.raises(RemoteError, match="the result cannot travel"):
                await client.request("object")
            with pytest.raises(RemoteError, match="over the limit of 2048"):
                await client.request("large")
            with pytest.raises(TooLarge, match="over the limit of 2048"):
                await client.request("x", b"x" * 4096)
            with pytest.raises(EncodeError, match="arguments of 'x'"):
                await client.request("x", object())
            assert await client.request("y") == "fine"

    run_on("asyncio", main())


def test_a_request_without_an_answer_times_out_and_a_late_answer_harms_nobody() -> None:
    async def main() -> None:
        (a,) = names_of("a")
        knot, clock, gate = Knot(a), ManualClock(), asyncio.Event()

        async def admin(op: str, args: object) -> object:
            await gate.wait()
            return op

        knot.recorder.on_admin = admin
        async with running(knot), client_of(a, clock=clock) as client:
            slow = asyncio.create_task(client.request("slow", timeout_s=2.0))
            await turns(20)
            clock.advance(2.1)
            with pytest.raises(CallTimeout, match="no answer to 'slow' within 2 s"):
                await slow
            gate.set()
            assert await client.request("next") == "next"

    run_on("asyncio", main())


@both_loops
def test_nobody_there_another_cookie_and_no_answer_are_told_apart(loop: str) -> None:
    async def main() -> None:
        a, b = names_of("ab")
        with pytest.raises(LinkError, match=f"nobody listens at {a.partition('@')[2]}"):
            await client_of(a).connect()
        async with running(Knot(a)):
            with pytest.raises(CookieMismatch, match="holds another cookie"):
                await client_of(a, cookie=b"wrong").connect()
            with pytest.raises(HandshakeFailed, match=f"answers as {a}, not as x@"):
                await client_of("x@" + a.partition("@")[2]).connect()
        async with raw_server(b) as accepted:
            clock = ManualClock()
            dial = asyncio.create_task(client_of(b, clock=clock).connect())
            await until(lambda: bool(accepted) and len(accepted[0].data) == HELLO_BYTES)
            clock.advance(5.1)
            with pytest.raises(HandshakeFailed, match=r"did not answer|no answer in time"):
                await dial
            dial = asyncio.create_task(client_of(b).connect())
            await until(lambda: len(accepted) == 2)
            accepted[1].write(Hello(Role.NODE, Lane.CONTROL, b"n" * 32, 8, 9).encode())
            with pytest.raises(VersionMismatch):
                await dial

    run_on(loop, main())


@both_loops
def test_a_client_that_is_cancelled_at_any_moment_leaves_nothing(loop: str) -> None:
    async def main() -> None:
        (a,) = names_of("a")
        knot = Knot(a)
        async with running(knot):
            for moment in range(30):
                client = client_of(a)
                connecting = asyncio.create_task(client.connect())
                await turns(moment)
                connecting.cancel()
                await asyncio.gather(connecting, return_exceptions=True)
                await client.close()
            await until(lambda: knot.links.open_connections() == 0)

    run_on(loop, main())


def test_an_address_that_is_none_is_a_config_error() -> None:
    with pytest.raises(ConfigError):
        client_of("nowhere")


def test_requests_that_wait_fail_when_the_node_stops() -> None:
    async def main() -> None:
        (a,) = names_of("a")
        knot, started = Knot(a), asyncio.Event()

        async def admin(op: str, args: object) -> object:
            started.set()
            await asyncio.Event().wait()
            return None

        knot.recorder.on_admin = admin
        async with running(knot):
            client = client_of(a)
            with pytest.raises(LinkError, match="not connected"):
                await client.request("early")
            await client.connect()
            waiting = asyncio.create_task(client.request("for ever"))
            await started.wait()
        with pytest.raises(LinkError, match="was lost"):
            await waiting
        with pytest.raises(LinkError, match="is over"):
            await client.request("late")
        await client.close()
        await client.close()

    run_on("asyncio", main())


def test_a_client_that_asks_nothing_for_long_is_closed_but_not_while_a_request_runs() -> None:
    async def main() -> None:
        (a,) = names_of("a")
        clock, gate, started = ManualClock(), asyncio.Event(), asyncio.Event()
        knot = Knot(a, clock=clock, config=LinkConfig(client_idle_s=60.0))

        async def admin(op: str, args: object) -> object:
            started.set()
            await gate.wait()
            return op

        knot.recorder.on_admin = admin
        async with running(knot), client_of(a) as client:
            clock.advance(50.0)
            slow = asyncio.create_task(client.request("slow"))
            await started.wait()
            clock.advance(100.0)
            gate.set()
            assert await slow == "slow"
            await turns(5)
            clock.advance(61.0)
            await until(lambda: knot.links.open_connections() == 0)
            with pytest.raises(LinkError):
                await client.request("late")

    run_on("asyncio", main())


@pytest.mark.parametrize(
    "payload",
    [
        encode_frame(Internal.REQUEST, b"\xc1"),
        encode_frame(Internal.REQUEST, b"\x93\x01\x02\x03"),
        encode_frame(Channel.SIGNALS, b"x"),
        encode_frame(Internal.GOODBYE, b"x"),
    ],
)
def test_a_client_that_sends_what_is_no_request_is_closed(payload: bytes) -> None:
    async def main() -> None:
        (a,) = names_of("a")
        knot = Knot(a)
        async with running(knot):
            lane = await raw_lane(a, raw_ident("client"), role=Role.CLIENT)
            lane.write(payload)
            await lane.until_over()
            assert knot.recorder.received_by == {}

    run_on("asyncio", main())


def test_more_clients_and_more_requests_than_the_limit_are_closed() -> None:
    async def main() -> None:
        (a,) = names_of("a")
        knot = Knot(a, config=LinkConfig(clients_limit=2))

        async def admin(op: str, args: object) -> object:
            await asyncio.Event().wait()
            return None

        knot.recorder.on_admin = admin
        async with running(knot):
            clients = [await raw_lane(a, raw_ident("client"), role=Role.CLIENT) for _ in range(3)]
            await clients[2].until_over()
            assert knot.refused("overloaded") == 1
            for n in range(65):
                clients[0].write(encode_frame(Internal.REQUEST, bytes([0x93, n, 0xA1, 0x78, 0xC0])))
            await clients[0].until_over()
            await clients[1].close()

    run_on("asyncio", main())


def test_a_node_that_answers_nonsense_ends_the_connection() -> None:
    """Such a node holds the cookie, so this is a bug in it; the client says what it got and hangs no longer."""

    async def main() -> None:
        (a,) = names_of("a")
        knot = Knot(a)
        async with running(knot), client_of(a) as client:
            session = next(iter(knot.links._clients))

            async def admin(op: str, args: object) -> object:
                session._connection.send(Internal.REPLY, b"\xc1")
                await asyncio.Event().wait()
                return None

            knot.recorder.on_admin = admin
            session._handler = knot.recorder.admin
            with pytest.raises(LinkError, match="sent no reply"):
                await client.request("x")

    run_on("asyncio", main())
