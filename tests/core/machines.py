"""State machines that several tests use."""

import asyncio
from collections.abc import Awaitable
from enum import Enum
from typing import Any

from quorate.core import (
    GenStatem,
    Node,
    Ref,
)


class Lock(Enum):
    LOCKED = "locked"
    OPEN = "open"


class Door(GenStatem[Lock]):
    """Opens with a code, for five seconds. Whoever walks through waits until it is open."""

    def __init__(self, code: str = "1234") -> None:
        self.code = code
        self.log: list[Any] = []
        self.goto(Lock.LOCKED)

    def unlock(self, code: str) -> bool:
        match self.state:
            case Lock.LOCKED:
                if code == self.code:
                    self.goto(Lock.OPEN)
                    self.state_timeout(5.0, self._relock)
                return code == self.code
            case Lock.OPEN:
                return True

    def lock(self) -> None:
        self.goto(Lock.LOCKED)

    def walk_through(self, who: str) -> str:
        if self.state is Lock.LOCKED:
            self.postpone()
        self.log.append(who)
        return who

    async def walk_slowly(self, who: str) -> str:
        await asyncio.sleep(0)
        if self.state is Lock.LOCKED:
            self.postpone()
        await asyncio.sleep(0)
        self.log.append(who)
        return who

    def seen(self) -> list[Any]:
        return self.log

    def where(self) -> str:
        return self.state.value

    def handle_enter(self, previous: Lock) -> Awaitable[None] | None:
        self.log.append((previous.value, self.state.value))
        return None

    def _relock(self) -> None:
        self.log.append("relocked")
        self.goto(Lock.LOCKED)


async def door(a: Node, b: Node) -> Ref[Door]:
    """A door of the second node, started by the first one."""
    a.export(Door)
    return await a.start_on(b.name, Door)
