"""Event handlers that several tests use."""

import asyncio
from typing import Any

from quorate.core import (
    EventHandler,
    Events,
    Exit,
    GenEvent,
    Node,
    Reply,
    raises,
)

HEARD: list[Any] = []  # what handlers without a `Keeper` of their own have noted


class Numbers(GenEvent[int]):
    """A manager of numbers."""

    def hello(self) -> str:
        return "hello"


class Keeper(EventHandler[int]):
    """Keeps what it hears."""

    def __init__(self, name: str = "keeper", *, state: list[Any] | None = None) -> None:
        self.name = name
        self.heard: list[Any] = state or []

    def handle_event(self, event: int) -> None:
        self.heard.append(event)
        HEARD.append((self.name, event))

    def handle_info(self, message: Any) -> None:
        self.heard.append(message)

    def all(self) -> list[Any]:
        return self.heard

    async def slowly(self, by: int) -> int:
        await asyncio.sleep(0)
        return len(self.heard) + by

    @raises(KeyError)
    def find(self, number: int) -> int:
        if number not in self.heard:
            raise KeyError(number)
        return number

    def refuse(self) -> None:
        self.remove()
        raise Reply(KeyError("refused"))

    def leave(self) -> str:
        self.remove()
        return "bye"

    def fail(self, text: str) -> None:
        raise ValueError(text)

    def exit(self, reason: object) -> None:
        raise Exit(reason)

    def terminate(self, reason: object) -> Any:
        HEARD.append(
            (self.name, "ends", reason if isinstance(reason, str | tuple) else type(reason).__name__)
        )
        return f"{self.name} heard {len(self.heard)}"

    def hand_over(self) -> list[Any]:
        return self.heard

    def take_over(self, state: list[Any]) -> None:
        self.heard = [*state, "taken over"]


class SlowKeeper(Keeper):
    """The same, taking its time with everything."""

    async def handle_event(self, event: int) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        self.heard.append(event)
        HEARD.append((self.name, event))

    async def terminate(self, reason: object) -> Any:
        await asyncio.sleep(0)
        return super().terminate(reason)

    async def hand_over(self) -> list[Any]:  # type: ignore[override]
        await asyncio.sleep(0)
        return super().hand_over()

    async def take_over(self, state: list[Any]) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        super().take_over(state)


class Fragile(Keeper):
    """Raises when it hears an odd number."""

    password = "secret"

    def handle_event(self, event: int) -> None:
        super().handle_event(event)
        if event % 2:
            raise ValueError(f"{event} is odd")


class FragileLater(Keeper):
    """Raises after a while."""

    async def handle_event(self, event: int) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        raise ValueError(f"{event}")


async def events_on(a: Node, b: Node) -> Events[int]:
    """A manager of the second node, started by the first one."""
    for kind in (Keeper, SlowKeeper, Fragile, FragileLater):
        a.export(kind)
    a.export(Numbers)
    return Events(await a.start_on(b.name, Numbers))
