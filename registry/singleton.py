"""The class that users write: a server of which the cluster keeps exactly one running.

    @dataclass(frozen=True, slots=True)
    class Books:
        balance: int

    class Ledger(Singleton[Books]):
        balance = 0

        def take_over(self, state: Books | None) -> None:
            self.balance = state.balance if state else 0

        def hand_over(self) -> Books:
            return Books(self.balance)

        async def post(self, amount: int) -> int:
            self.balance += amount
            await self.checkpoint(Books(self.balance))
            return self.balance

The host (`host.py`) is the authority over when a singleton runs; the singleton is the authority over its state. It acts
only while its node's session certainly lives: a node that was paused past its lease runs no further line of a handler.
What must never happen in a subclass: an effect on the outside in `hand_over` or `terminate`, for these may run when the
next owner acts already. Effects elsewhere should carry `fence`, so that whoever keeps them can refuse a lower one.

When not to use it: for state that several nodes may serve at once, or that must outlive the cluster without checkpoints.
"""

import asyncio
import logging
import types
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any, Generic, Protocol, TypeVar

from quorate.core import GenServer

log = logging.getLogger("quorate.registry")

State = TypeVar("State")

MESSAGE = "(message)"  # what the host calls to have a plain message handled in its turn
RECONCILE = "(reconcile)"  # and to offer parked state


@dataclass(frozen=True, slots=True)
class Parked(Generic[State]):
    """What an owner that was cut off could not hand over: its state, its fence, and the node that kept it.

    It may be offered more than once; fence and node say whether it was seen before.
    """

    state: State
    fence: int
    node: str


class Keeper(Protocol):
    """What a singleton asks of its host."""

    async def checkpoint(self, fence: int, state: object) -> None: ...


class Singleton(GenServer, Generic[State]):
    """Base of singletons. `__init__` takes no arguments; `name` and `fence` are set before `take_over`.

    Messages and timers that a singleton sends to its own pid stay behind when it moves; what others send to its ref
    follows it.
    """

    name: object = None
    fence: int = 0
    _quorate_keeper: Keeper | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        methods = {
            name: method for name, method in cls._quorate_methods.items() if not hasattr(Singleton, name)
        }
        cls._quorate_set_methods({**methods, MESSAGE: _message, RECONCILE: _reconcile})

    def take_over(self, state: State | None) -> Awaitable[None] | None:
        """Begin, or go on, with `state`: what `hand_over` or the last checkpoint gave; None: there never was any.

        Also called on the same instance when a handoff was called off. May be `async def`. No message is handled
        before it is through. When it raises, the singleton is started again after a delay.
        """
        return None

    def hand_over(self) -> Awaitable[State] | State | None:
        """Give the state away: to the next owner, or to be parked. May be `async def`; must have no effects outside.

        No message is in progress, unless the node lost its session and the handler in progress was broken off. When
        it raises, the singleton is started again from its last checkpoint.
        """
        return None

    def reconcile(self, parked: Parked[State]) -> Awaitable[None] | None:
        """State of an earlier owner that was cut off is here. May be `async def`. The default logs it and lets it go.

        Handled as a message, in turn. When it raises, the singleton crashes, and the state is offered again later.
        """
        log.warning("%r lets go of what %s had parked with fence %d", self.name, parked.node, parked.fence)
        return None

    async def checkpoint(self, state: State) -> None:
        """Make `state` durable: after a crash the next owner takes over from it, or from a later one.

        A reply that is given after this returned is never lost. Raises `ClaimLost` (another owner may act: nothing
        was stored), `NoQuorum` (nothing was stored), `OutcomeUnknown`, `EncodeError`, `TooLarge` (1 MiB).
        """
        keeper = self._quorate_keeper
        if keeper is None:
            raise RuntimeError(f"{type(self).__qualname__} is not run as a singleton: it has no checkpoints")
        await keeper.checkpoint(self.fence, state)


def _message(server: Singleton[Any], message: object) -> object:
    return server.handle_info(message)


def _reconcile(server: Singleton[Any], parked: Parked[Any]) -> object:
    return server.reconcile(parked)


def begin(server: Singleton[Any], state: object, gate: Callable[[], bool]) -> Awaitable[None]:
    """`take_over`, of which no further line runs once `gate()` is False."""
    return gated(_take_over(server, state), gate)


async def _take_over(server: Singleton[Any], state: object) -> None:
    result = server.take_over(state)
    if isawaitable(result):
        await result


async def release(server: Singleton[Any]) -> object:
    """`hand_over`, awaited if it has to be."""
    result = server.hand_over()
    return await result if isawaitable(result) else result


@types.coroutine
def gated(steps: Any, gate: Callable[[], bool]) -> Generator[Any, Any, Any]:
    """Await the coroutine `steps`, asking `gate()` before each resumption; closed, it gets `CancelledError`."""
    error: BaseException | None = None
    while True:
        if error is None and not gate():
            error = asyncio.CancelledError("the gate of the process is closed")
        try:
            if error is None:
                awaited = steps.send(None)
            else:
                thrown, error = error, None
                awaited = steps.throw(thrown)
        except StopIteration as stop:
            return stop.value
        try:
            yield awaited
        except BaseException as raised:  # noqa: BLE001 -- it is thrown into `steps`, whatever it is
            error = raised
