"""The frame of the conformance suite: what an engine has to offer, and how cases are declared and run.

An engine takes part by an `Engine` whose `start` opens a `Cluster`::

    async with engine.start(3) as cluster:
        cluster.stores           # three nodes of one cluster, running

A cluster implements `pass_time`, and those of `cut`/`heal`, `suspend`/`resume`, `crash`/`restart` that its
engine lists in `can`; cases that need more are not made for it. Operations are awaited through `do`, which
lets time pass meanwhile, so that clocks moved by hand and real ones do equally well.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from quorate.consensus.store import Store, Timing

T = TypeVar("T")

CUT = "cut"  # a node can be cut off from all others, and connected again
SUSPEND = "suspend"  # a node can be kept from sending keepalives
RESTART = "restart"  # a node can be killed and started again on what its disk holds


class Cluster(ABC):
    """A running cluster of one engine."""

    timing: Timing
    stores: list[Any]
    step_s = 0.01  # how finely time passes in `do` and `until`

    @abstractmethod
    async def pass_time(self, seconds: float) -> None:
        """Let that much time pass on every node, with turns of the loop."""

    async def cut(self, store: Store) -> None:
        """Cut the store's node off from all others, in both directions."""
        raise NotImplementedError

    async def heal(self, store: Store) -> None:
        """End the cut."""
        raise NotImplementedError

    async def suspend(self, store: Store) -> None:
        """Keep the node from sending keepalives and from opening sessions."""
        raise NotImplementedError

    async def resume(self, store: Store) -> None:
        raise NotImplementedError

    async def crash(self, store: Store) -> None:
        """Kill the store's node: it stops at once and tells nobody."""
        raise NotImplementedError

    async def restart(self, store: Store) -> Store:
        """Start the node of a crashed store again; its new store takes the old one's place in `stores`."""
        raise NotImplementedError

    async def do(self, operation: Awaitable[T], *, within_s: float = 60.0) -> T:
        """Await an operation while time passes. Fails if it has not ended within so many seconds."""
        task = asyncio.ensure_future(operation)
        try:
            await self.until(task.done, within_s=within_s)
        finally:
            if not task.done():
                task.cancel()
        return await task

    async def until(self, condition: Callable[[], object], *, within_s: float = 30.0) -> None:
        """Let time pass until the condition holds. Fails if it does not within so many seconds."""
        passed_s = 0.0
        while not condition():
            assert passed_s < within_s, "what was waited for did not happen"
            await self.pass_time(self.step_s)
            passed_s += self.step_s

    async def ready(self) -> None:
        """Every node has a session, and one leads."""
        await self.until(lambda: all(store.session.valid() for store in self.stores))
        await self.until(lambda: sum(store.leads() for store in self.stores) == 1)

    def leader(self) -> Store:
        (leader,) = [store for store in self.stores if store.leads()]
        return leader  # type: ignore[no-any-return]

    def followers(self) -> list[Store]:
        return [store for store in self.stores if not store.leads()]


@dataclass(frozen=True)
class Engine:
    """How to start clusters of one engine, and what can be done to them."""

    name: str
    start: Callable[[int], AbstractAsyncContextManager[Cluster]]
    can: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True)
class Case:
    """One statement of the port, as a test on a cluster of so many nodes."""

    check: Callable[[Cluster], Coroutine[Any, Any, None]]
    nodes: int
    needs: frozenset[str]

    @property
    def name(self) -> str:
        return self.check.__name__

    def suits(self, engine: Engine) -> bool:
        return self.needs <= engine.can

    async def run(self, engine: Engine) -> None:
        async with engine.start(self.nodes) as cluster:
            await cluster.ready()
            await self.check(cluster)


CASES: list[Case] = []


def case(
    *needs: str, nodes: int = 1
) -> Callable[
    [Callable[[Cluster], Coroutine[Any, Any, None]]], Callable[[Cluster], Coroutine[Any, Any, None]]
]:
    """Declare a case. Its name is the statement."""

    def declare(
        check: Callable[[Cluster], Coroutine[Any, Any, None]],
    ) -> Callable[[Cluster], Coroutine[Any, Any, None]]:
        CASES.append(Case(check, nodes, frozenset(needs)))
        return check

    return declare
