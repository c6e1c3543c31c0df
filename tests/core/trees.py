"""Children that the tests of supervisors share, and a book in which they write what happens to them."""

import asyncio
from typing import Any

from quorate.core import Exit, ExitSignal, GenServer, Node, Pid, Process, Ref, Supervisor
from tests.core.nodes import World

Book = list[tuple[str, str]]


class Worker(GenServer):
    """Writes its start and its end into the book."""

    def __init__(self, book: Book, name: str) -> None:
        self.book = book
        self.name = name
        book.append(("start", name))

    def who(self) -> str:
        return self.name

    def crash(self, text: str = "boom") -> None:
        raise ValueError(text)

    def leave(self, reason: object) -> None:
        raise Exit(reason)

    async def terminate(self, reason: object) -> None:
        await asyncio.sleep(0)
        self.book.append(("stop", self.name))


class Stubborn(Worker):
    """Traps exits, and its `terminate` never ends."""

    def __init__(self, book: Book, name: str) -> None:
        super().__init__(book, name)
        self.process.trap_exits = True

    def handle_exit(self, signal: ExitSignal) -> None:
        self.book.append(("heard", str(signal.reason)))

    async def terminate(self, reason: object) -> None:
        await super().terminate(reason)
        await asyncio.Event().wait()


class Trapping(Worker):
    """Traps exits, and does nothing when it hears of one."""

    def __init__(self, book: Book, name: str) -> None:
        super().__init__(book, name)
        self.process.trap_exits = True

    def handle_exit(self, signal: ExitSignal) -> None:
        self.book.append(("heard", str(signal.reason)))


class Failing(Worker):
    """Starts as long as `good` has something in it."""

    def __init__(self, book: Book, name: str, good: list[Any]) -> None:
        if not good:
            book.append(("fail", name))
            raise OSError(f"{name} has no device")
        good.pop()
        super().__init__(book, name)


async def body(self: Process, book: Book, name: str) -> None:
    """A coroutine as a child; ends with the reason that it is sent."""
    book.append(("start", name))
    try:
        raise Exit(await self.receive())
    finally:
        book.append(("stop", name))


async def deaf(self: Process, book: Book) -> None:
    """A coroutine that traps exits and does not care."""
    self.trap_exits = True
    while True:
        book.append(("heard", str((await self.receive(ExitSignal)).reason)))


def some(pid: Pid | None) -> Pid:
    """A pid that must be there."""
    assert pid is not None
    return pid


async def pid_of(tree: Ref[Supervisor], id: str) -> Pid:
    for one in await tree.call(Supervisor.which_children):
        if one.id == id:
            assert one.pid is not None, one
            return one.pid
    raise AssertionError(f"no child {id}")


async def statuses(tree: Ref[Supervisor]) -> dict[str, str]:
    return {one.id: one.status for one in await tree.call(Supervisor.which_children)}


async def crash(node: Node, world: World, pid: Pid | None, text: str = "boom") -> None:
    """Let a worker crash, and everything happen that follows from it."""
    assert pid is not None
    node.ref(pid, Worker).cast(Worker.crash, text)
    await world.settle()
