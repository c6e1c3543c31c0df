"""Lines of JSON through the pipes between the demo and its nodes.

Requests `{"id", "op", "args"}` go in, answers `{"id", "result"}` or `{"id", "error"}` and events `{"event", …}` come
out. The pipes are outside of the cluster: no fault of the demo touches them.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

LINE_LIMIT_BYTES = 8 * 1024 * 1024  # a look-up of a thousand names is one line


class Pipes:
    """The ends of the pipes in a node's process: stdin and stdout."""

    def __init__(
        self, reader: asyncio.StreamReader, transport: asyncio.WriteTransport, writing: "_Writing"
    ) -> None:
        self._reader = reader
        self._transport = transport
        self._writing = writing

    @classmethod
    async def open(cls) -> "Pipes":
        """Take over stdin and stdout of this process."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=LINE_LIMIT_BYTES)
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        transport, writing = await loop.connect_write_pipe(_Writing, sys.stdout)
        return cls(reader, transport, writing)

    def tell(self, record: dict[str, Any]) -> None:
        """Send a line; what the parent has not read yet waits in memory."""
        self._transport.write(encode(record))

    async def lines(self) -> AsyncIterator[dict[str, Any]]:
        """What the parent says, until it is gone."""
        async for line in read_lines(self._reader):
            yield line

    async def close(self) -> None:
        """Return when all that was told has left, or the parent is gone."""
        self._transport.close()
        await self._writing.lost.wait()


class _Writing(asyncio.BaseProtocol):
    def __init__(self) -> None:
        self.lost = asyncio.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()

    def pause_writing(self) -> None:
        """Nothing is ever dropped: the parent reads all the time."""

    def resume_writing(self) -> None:
        """See `pause_writing`."""


def encode(record: dict[str, Any]) -> bytes:
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"


async def read_lines(reader: asyncio.StreamReader) -> AsyncIterator[dict[str, Any]]:
    """The records of a stream until its end; a line that the death of its writer has cut short is none."""
    while True:
        try:
            line = await reader.readline()
        except ConnectionError:
            return
        if not line.endswith(b"\n"):
            return
        yield json.loads(line)
