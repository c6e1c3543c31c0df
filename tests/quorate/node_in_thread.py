"""A node that only answers command-line clients, on a loop and a thread of its own: commands make their own loop."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from quorate.core import Links, Node, RealNetwork, real_runtime

COOKIE = "s3cret"
Handlers = dict[str, Callable[[Any], Awaitable[object]]]


async def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago."""
    server = await RealNetwork().create_server(asyncio.Protocol, "127.0.0.1", 0)
    server.close()
    await server.wait_closed()
    return server.port()


@contextmanager
def answering(handlers: Handlers) -> Iterator[str]:
    """Run the node while the body runs; gives its address, `host:port`."""
    started: list[str] = []
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def main() -> None:
        port = await free_port()
        name = f"a@127.0.0.1:{port}"
        runtime = real_runtime()
        node = Node(name, runtime=runtime, creation=1)
        node.attach(Links(runtime, name=name, creation=1, cookie=COOKIE.encode(), listener=node))
        for op, handler in handlers.items():
            node.add_admin(op, handler)
        async with node:
            started.append(f"127.0.0.1:{port}")
            ready.set()
            await stop.wait()

    def run() -> None:
        try:
            loop.run_until_complete(main())
        finally:
            ready.set()
            loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    ready.wait(10)
    assert started, "the node did not start"
    try:
        yield started[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
