"""Servers that several tests use."""

import asyncio
from typing import Any

from quorate.core import Down, Exit, ExitSignal, GenServer, Pid, Ref


class Counter(GenServer):
    """Counts, in every way a method can be written."""

    def __init__(self, start: int = 0) -> None:
        self.n = start
        self.heard: list[Any] = []

    def incr(self, by: int = 1) -> int:
        self.n += by
        return self.n

    async def slowly(self, by: int = 1) -> int:
        await asyncio.sleep(0)
        self.n += by
        return self.n

    def value(self) -> int:
        return self.n

    def fail(self, text: str) -> None:
        raise ValueError(text)

    async def fail_slowly(self, text: str) -> None:
        await asyncio.sleep(0)
        raise ValueError(text)

    def leave(self, reason: object) -> None:
        raise Exit(reason)

    async def hang(self) -> None:
        await asyncio.Event().wait()

    def echo(self, value: Any) -> Any:
        return value

    def what_was_heard(self) -> list[Any]:
        return self.heard

    def trap(self, *targets: Pid) -> None:
        self.process.trap_exits = True
        for pid in targets:
            self.process.link(pid)
            self.process.monitor(pid)

    def handle_info(self, message: Any) -> None:
        self.heard.append(message)

    def handle_down(self, down: Down) -> None:
        self.heard.append(("down", down.pid, down.reason))

    def handle_exit(self, signal: ExitSignal) -> None:
        self.heard.append(("exit", signal.pid, signal.reason))


class Caller(GenServer):
    """Calls others, to make chains and cycles."""

    def __init__(self) -> None:
        self.next: Ref[Caller] | None = None

    def call_next(self, ref: "Ref[Caller] | None") -> None:
        self.next = ref

    async def ask(self) -> str:
        """Ask the next one, which asks the next one."""
        if self.next is None:
            return "the end"
        return f"then {await self.next.call(Caller.ask)}"

    async def ask_myself(self) -> str:
        return await Ref.of(self).call(Caller.ask)

    async def ask_in_groups(self) -> str:
        async with asyncio.TaskGroup() as group:
            return await group.create_task(self.ask())

    def name(self) -> str:
        return "a name"
