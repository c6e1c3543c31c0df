"""What a node of the demo can be asked by its parent, each operation by its name."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from quorate.consensus import NoQuorum, Overloaded, StoreStopped
from quorate.core import Busy, CallCycle, EncodeError, NoProcess, NotCallable, Ref, TooLarge
from quorate.jepsen_like.network import FaultyNetwork
from quorate.node import Node
from quorate.registry import Name

from .counter import Counter, Reading
from .holding import Holding
from .settings import INCREMENT_S

_NOTHING_HAPPENED = (
    NoQuorum,
    Overloaded,
    StoreStopped,
    Busy,
    CallCycle,
    EncodeError,
    NoProcess,
    NotCallable,
    TooLarge,
)


def failure(error: BaseException) -> dict[str, Any]:
    """An error as a record. `certain`: nothing happened; else nobody knows."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return {
        "type": type(error).__name__,
        "text": str(error),
        "certain": isinstance(error, _NOTHING_HAPPENED),
    }


class Operations:
    """The operations of one node: `run("lookup", {"names": […]})` calls `lookup(names=[…])`."""

    def __init__(self, node: Node, holding: Holding, network: FaultyNetwork) -> None:
        self._node = node
        self._holding = holding
        self._network = network
        self._counters: dict[str, Ref[Counter]] = {}
        self._by_name: dict[str, Callable[..., Awaitable[Any]]] = {
            "status": self.status,
            "register": self._holding.register,
            "take": self._holding.take,
            "lookup": self._holding.lookup,
            "probe": self._holding.probe,
            "start": self.start,
            "increment": self.increment,
            "read": self.read,
            "move": self.move,
            "isolate": self.isolate,
            "heal": self.heal,
        }

    async def run(self, op: str, args: dict[str, Any]) -> Any:
        return await self._by_name[op](**args)

    async def status(self) -> dict[str, Any]:
        """Whom this node takes for the leader, and whether its session can be relied on."""
        store = self._node.store
        return {"leader": store.status().leader, "session_valid": store.session.valid()}

    async def start(self, keys: list[str]) -> None:
        """Have the cluster run these counters."""
        for key in keys:
            await self._counter(key)

    async def increment(self, key: str) -> int:
        counter = await self._counter(key)
        return await counter.within(INCREMENT_S).call(Counter.increment)

    async def read(self, keys: list[str]) -> dict[str, dict[str, Any]]:
        """Key -> value, fence, node: as the counters say themselves."""
        found: dict[str, Reading] = {}
        for key in keys:
            counter = await self._counter(key)
            found[key] = await counter.within(INCREMENT_S).call(Counter.read)
        return {key: asdict(reading) for key, reading in found.items()}

    async def move(self, key: str, to: str) -> None:
        await self._node.singletons.move(Name(Counter, key), to)

    async def isolate(self) -> dict[str, Any]:
        """Cut this node off, at its network port. When, and for how long its session was still certain then."""
        self._network.isolate()
        return {
            "at": self._node.runtime.clock.monotonic(),
            "session_for_s": self._node.store.session.valid_for_s(),
        }

    async def heal(self) -> dict[str, Any]:
        """Undo `isolate`; what the cut did."""
        evidence = asdict(self._network.evidence)
        self._network.heal()
        return evidence

    async def _counter(self, key: str) -> Ref[Counter]:
        counter = self._counters.get(key)
        if counter is None:
            counter = self._counters[key] = await self._node.singleton(Name(Counter, key))
        return counter
