"""A connection that looks after itself: a state machine between those who ask and a server that comes and goes.

    python connection.py

        ┌──────────────┐  opened   ┌───────────┐
        │  Connecting  ├──────────>│ Connected │
        └─┬──────────^─┘           └─────┬─────┘
    failed│          │after a while      │lost
        ┌─v──────────┴─┐                 │
        │    Paused    │<────────────────┘
        └──────────────┘

Who asks while there is no connection waits until there is one. Whoever had asked when it was lost is told. The pauses
between attempts grow. The program plays the server too: it is not there at first, then it is, and then it dies once.
"""

import argparse
import asyncio
import sys
from collections import deque
from collections.abc import Awaitable
from dataclasses import dataclass

import quorate

# -- what the machine hears from the process that holds its socket -------------------------------------------


@dataclass(frozen=True, slots=True)
class Opened:
    writer: asyncio.StreamWriter


@dataclass(frozen=True, slots=True)
class Line:
    text: str


async def socket(self: quorate.Process, owner: quorate.Pid, host: str, port: int) -> None:
    """One connection, from its beginning to its end. It is linked with the machine: neither outlives the other."""
    try:
        reader, writer = await asyncio.open_connection(host, port)
    except OSError as error:
        raise quorate.Exit(f"no connection: {error.strerror or error}") from None
    try:
        self.send(owner, Opened(writer))
        while line := await reader.readline():
            self.send(owner, Line(line.decode().strip()))
    finally:
        writer.close()
    raise quorate.Exit("the server hung up")


# -- the machine ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Connecting:
    attempt: int


@dataclass(frozen=True, slots=True)
class Paused:
    attempt: int  # that failed; 0: it was connected


@dataclass(frozen=True, slots=True)
class Connected:
    pass


class Lost(Exception):
    """The connection was lost before the answer came: it may have been done or not."""


class Connection(quorate.GenStatem[Connecting | Paused | Connected]):
    """Asks a server that answers each line with a line, in order."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.socket: quorate.Pid | None = None
        self.writer: asyncio.StreamWriter | None = None
        self.waiting: deque[quorate.From[str]] = deque()
        self.process.trap_exits = True
        self.goto(Connecting(attempt=1))

    def ask(self, question: str) -> str:
        """An event from outside; what becomes of it depends on the state."""
        match self.state:
            case Connecting() | Paused():
                self.postpone()
            case Connected():
                assert self.writer is not None
                self.writer.write(question.encode() + b"\n")
                asker: quorate.From[str] = self.asker()
                self.waiting.append(asker)
                return asker.later()

    def handle_enter(self, previous: Connecting | Paused | Connected) -> Awaitable[None] | None:
        match self.state:
            case Connecting(attempt):
                print(f"connecting, attempt {attempt}", flush=True)
                self.socket = self.process.spawn_link(socket, self.pid, self.host, self.port)
                self.state_timeout(2.0, self._give_up)
            case Connected():
                print("connected", flush=True)
            case Paused(attempt):
                self.state_timeout(min(2.0, 0.05 * 2**attempt), self.goto, Connecting(attempt + 1))
                while self.waiting:
                    self.waiting.popleft().fail(Lost("the connection was lost before the answer came"))
        return None

    def handle_info(self, message: object) -> None:
        match self.state, message:
            case Connecting(), Opened(writer):
                self.writer = writer
                self.goto(Connected())
            case Connected(), Line(text):
                self.waiting.popleft().reply(text)

    def handle_exit(self, signal: quorate.ExitSignal) -> None:
        if signal.pid != self.socket:
            raise quorate.Exit(signal.reason)  # whoever that was, it ends us as it would end any process
        print(signal.reason, flush=True)
        match self.state:
            case Connecting(attempt):
                self.goto(Paused(attempt))
            case Connected():
                self.goto(Paused(attempt=0))

    def _give_up(self) -> None:
        assert self.socket is not None
        self.process.exit(self.socket, "no connection: it took too long")


# -- the other side, and what the program does ---------------------------------------------------------------


class Sums:
    """A server that adds; that of another team."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.writers: list[asyncio.StreamWriter] = []

    async def start(self, after_s: float = 0.0) -> None:
        await asyncio.sleep(after_s)
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", self.port)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        while line := await reader.readline():
            if line.strip() == b"die":
                self.die()
            else:
                writer.write(b"%d\n" % sum(map(int, line.split(b"+"))))
        writer.close()

    def die(self) -> None:
        self.server.close()
        for writer in self.writers:
            writer.close()
        self.writers.clear()


async def main(base_port: int) -> None:
    sums = Sums(base_port + 1)
    async with quorate.Node(f"asking@127.0.0.1:{base_port}", cookie="only-an-example") as node:
        connection = (await node.start(Connection, "127.0.0.1", sums.port)).within(None)
        answer, _ = await asyncio.gather(connection.call(Connection.ask, "1 + 2"), sums.start(after_s=0.5))
        print("1 + 2 =", answer, flush=True)
        print("3 + 4 =", await connection.call(Connection.ask, "3 + 4"), flush=True)
        try:
            await connection.call(Connection.ask, "die")
        except Lost as error:
            print("die:", error, flush=True)
        answer, _ = await asyncio.gather(connection.call(Connection.ask, "5 + 6"), sums.start())
        print("5 + 6 =", answer, flush=True)
    sums.die()
    await sums.server.wait_closed()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "port", nargs="?", type=int, default=9101, help="of the node (9101); the next is the server's"
    )
    try:
        asyncio.run(main(parser.parse_args().port))
    except KeyboardInterrupt:
        sys.exit("ended before all was asked")
    except (quorate.QuorateError, OSError) as error:
        sys.exit(str(error))
