"""Links under TLS, mutual: the same behaviour, and whoever has no certificate does not even reach the handshake."""

import ssl
from pathlib import Path

import pytest

from quorate.core import LinkError, Runtime
from quorate.core.client import AdminClient
from quorate.core.frames import Channel
from quorate.core.real import RealClock, RealEntropy, RealNetwork
from quorate.jepsen_like.network import FaultyNetwork
from tests.core.link_support import (
    COOKIE,
    Knot,
    both_loops,
    names_of,
    raw_dial,
    run_on,
    running,
    told_in_order,
    until,
)

# Made for these tests alone: self-signed, for 127.0.0.1 and localhost, valid until 2120.
KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgMq3ftypCosVWt9mN
dG2EkF3Zi/Pj0h/7UrIDApEmofehRANCAAR5vvCczohphT4U05uDNynrGTn11y3P
+h7Fd8DXVO5llSxCSJnz7cli241eybcNR8zijRXx29cC3DtjZGbAOrvh
-----END PRIVATE KEY-----
"""
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBbjCCARWgAwIBAgIBATAKBggqhkjOPQQDAjAYMRYwFAYDVQQDDA1xdW9yYXRl
IHRlc3RzMCAXDTIwMDEwMTAwMDAwMFoYDzIxMjAwMTAxMDAwMDAwWjAYMRYwFAYD
VQQDDA1xdW9yYXRlIHRlc3RzMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEeb7w
nM6IaYU+FNObgzcp6xk59dctz/oexXfA11TuZZUsQkiZ8+3JYtuNXsm3DUfM4o0V
8dvXAtw7Y2RmwDq74aNOMEwwGgYDVR0RBBMwEYcEfwAAAYIJbG9jYWxob3N0MA8G
A1UdEwEB/wQFMAMBAf8wHQYDVR0OBBYEFNbZQUfS0Qo89ynySMRghpA9mJBWMAoG
CCqGSM49BAMCA0cAMEQCIDjalE6Gq5NVUQ+1u10kQ2iFJ9QdID6vVpHkCk5RdM09
AiB45vzACESGYca1nA1YA4t/eMvX8BV/xuzqLEAX7hFFwg==
-----END CERTIFICATE-----
"""


@pytest.fixture
def tls(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Contexts for the server and the client side; each side asks the other for its certificate."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    key.write_text(KEY)
    certificate.write_text(CERTIFICATE)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificate))
    server.verify_mode = ssl.CERT_REQUIRED
    client = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(certificate))
    for context in (server, client):
        context.load_cert_chain(certificate, key)
    return server, client


@both_loops
def test_links_and_clients_work_under_mutual_tls(
    loop: str, tls: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    async def main() -> None:
        a, b = names_of("ab")
        left = Knot(a, server_ssl=tls[0], client_ssl=tls[1])
        right = Knot(b, seeds=[a], server_ssl=tls[0], client_ssl=tls[1])
        async with running(left, right):
            await left.until_linked(b)
            await right.until_linked(a)
            right.links.send(a, Channel.SIGNALS, b"x" * 3_000_000)
            left.links.send(b, Channel.RAFT, b"y" * 100_000)
            await left.recorder.until_received(b, Channel.SIGNALS, 1)
            await right.recorder.until_received(a, Channel.RAFT, 1)
            assert left.recorder.received_by[b, Channel.SIGNALS] == [b"x" * 3_000_000]
            runtime = Runtime(network=RealNetwork(), clock=RealClock(), entropy=RealEntropy())
            async with AdminClient(runtime, a, COOKIE, client_ssl=tls[1]) as client:
                assert await client.request("x") == ["x", None]

    run_on(loop, main())


@both_loops
def test_a_cut_under_tls_heals_like_any_other(loop: str, tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    async def main() -> None:
        a, b = names_of("ab")
        network = FaultyNetwork(RealNetwork())
        left = Knot(a, server_ssl=tls[0], client_ssl=tls[1])
        right = Knot(b, seeds=[a], server_ssl=tls[0], client_ssl=tls[1], network=network)
        async with running(left, right):
            await left.until_linked(b)
            network.isolate()
            await left.until_alone()
            await right.until_alone()
            network.heal()
            await left.until_linked(b)
            await right.until_linked(a)
            network.reset_all()
            await right.recorder.until(lambda: len(right.recorder.ups(a)) == 3)
            await left.until_linked(b)
            told_in_order(left.recorder)
            told_in_order(right.recorder)

    run_on(loop, main())


def test_without_tls_or_without_a_certificate_nobody_gets_in(
    tls: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    async def main() -> None:
        a, b, c = names_of("abc")
        nobody = ssl.create_default_context(ssl.Purpose.SERVER_AUTH)
        nobody.load_verify_locations(cadata=CERTIFICATE)
        left = Knot(a, server_ssl=tls[0], client_ssl=tls[1])
        plain = Knot(b, seeds=[a])
        bare = Knot(c, seeds=[a], client_ssl=nobody)
        async with running(left, plain, bare):
            await until(lambda: isinstance(plain.problem_with(a), LinkError))
            await until(lambda: isinstance(bare.problem_with(a), LinkError))
            stranger = await raw_dial(a)
            stranger.write(b"GET / HTTP/1.1\r\n\r\n")
            await stranger.until_over()
            assert left.recorder.events == plain.recorder.events == bare.recorder.events == []

    run_on("asyncio", main())
