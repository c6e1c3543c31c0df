"""Ports for the demo's nodes that nobody uses."""

import asyncio

from quorate.core import Entropy, Network, QuorateError

_FIRST, _LAST = 20_000, 32_000  # below the ports that systems give to outgoing connections


async def free_ports(network: Network, entropy: Entropy, count: int) -> list[int]:
    """Different ports of 127.0.0.1 on which nobody listens at this moment. Raises `QuorateError`."""
    found: list[int] = []
    for _ in range(200):
        port = _FIRST + int(entropy.random() * (_LAST - _FIRST))
        if port in found:
            continue
        try:
            server = await network.create_server(asyncio.Protocol, "127.0.0.1", port)
        except OSError:
            continue
        server.close()
        await server.wait_closed()
        found.append(port)
        if len(found) == count:
            return found
    raise QuorateError(f"no {count} free ports found on 127.0.0.1 between {_FIRST} and {_LAST}")
