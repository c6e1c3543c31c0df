"""A supervised pool of workers that fetch pages over HTTP from a server that drops every seventh request.

    python pool.py

A worker whose request fails does not catch the error: it crashes. Its supervisor starts another in its place, and the queue,
which monitors whoever it gave a page to, has put that page back. When nothing is left the workers end, and with the
last one of them the pool. The client and the server are plain asyncio.
"""

import argparse
import asyncio
import logging
import sys
from collections import deque

import quorate
from quorate import Down, Process, child

PAGES = 40
WORKERS = 4


class Web(quorate.GenServer):
    """An HTTP server that is not to be relied on; plain asyncio but for its start and its end."""

    def __init__(self) -> None:
        self.requests = 0
        self.server: asyncio.Server | None = None
        self.continue_with()  # whoever asks for the port meanwhile waits

    async def handle_continue(self, info: object) -> None:
        self.server = await asyncio.start_server(self._answer, "127.0.0.1", 0)

    def port(self) -> int:
        assert self.server is not None
        return int(self.server.sockets[0].getsockname()[1])

    async def terminate(self, reason: object) -> None:
        if self.server is not None:
            self.server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.requests += 1
            if self.requests % 7:
                page = f"this is {request.split()[1]}"
                writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(page)}\r\n\r\n{page}".encode())
                await writer.drain()
        finally:
            writer.close()


async def get(port: int, path: str) -> str:
    """The body of a page. Raises `OSError`, `asyncio.IncompleteReadError`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(line for line in head.splitlines() if line.lower().startswith("content-length:"))
        return (await reader.readexactly(int(length.split(":")[1]))).decode()
    finally:
        writer.close()


class Queue(quorate.GenServer):
    """Knows which pages are to be fetched, who fetches which, and what they are."""

    def __init__(self, paths: list[str]) -> None:
        self.waiting = deque(paths)
        self.taken: dict[quorate.Pid, str] = {}
        self.pages: dict[str, str] = {}
        self.lost = 0

    def take(self, worker: quorate.Pid) -> str | None:
        """A page for a worker; None when there is none left."""
        if not self.waiting:
            return None
        self.process.monitor(worker)
        self.taken[worker] = self.waiting.popleft()
        return self.taken[worker]

    def done(self, worker: quorate.Pid, page: str) -> None:
        self.pages[self.taken.pop(worker)] = page

    def handle_down(self, down: Down) -> None:
        path = self.taken.pop(down.pid, None)
        if path is not None:
            self.lost += 1
            self.waiting.append(path)

    def report(self) -> str:
        return f"{len(self.pages)} pages, {self.lost} of them by another worker than the first"


async def work(self: Process, node: quorate.Node) -> None:
    """One worker: it takes pages as long as there are any, and lets what goes wrong be its end."""
    port = await node.call("web", Web.port)
    while (path := await node.call("queue", Queue.take, self.pid)) is not None:
        await node.call("queue", Queue.done, self.pid, await get(port, path))


class Pool(quorate.Supervisor):
    """The workers: each is restarted when it crashes, and when all have done their work the pool ends."""

    intensity = 20
    auto_shutdown = "all_significant"

    def __init__(self, node: quorate.Node) -> None:
        worker = child(work, node).options(restart="transient", significant=True)
        super().__init__([worker.options(id=f"worker {number}") for number in range(WORKERS)])


class Fetcher(quorate.Application):
    """All of it. What stands further down needs what stands above: it is started later and stopped earlier."""

    async def start(self, node: quorate.Node) -> quorate.Ref[quorate.Supervisor]:
        paths = [f"/page/{number}" for number in range(PAGES)]
        return await node.start(
            quorate.Supervisor,
            [
                child(Web).options(name="web"),
                child(Queue, paths).options(name="queue"),
                child(Pool, node).options(name="pool", restart="transient"),
            ],
            strategy="rest_for_one",
        )


async def main(port: int) -> None:
    logging.basicConfig(format="%(message)s")
    logging.getLogger("quorate.process").disabled = True  # its tracebacks: the supervisors' lines are enough
    name, cookie = f"pool@127.0.0.1:{port}", "only-an-example"
    async with quorate.Node(name, cookie=cookie, applications=[Fetcher()]) as node:
        pool = node.whereis("pool")
        if pool is not None:
            await node.down(pool)
        print(await node.call("queue", Queue.report))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("port", nargs="?", type=int, default=9101, help="of the node (9101)")
    try:
        quorate.run(main(parser.parse_args().port))
    except KeyboardInterrupt:
        sys.exit("ended before all was fetched")
    except quorate.QuorateError as error:
        sys.exit(str(error))
