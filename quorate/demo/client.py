"""The client of the demo: increments counters through all nodes, all the while, and keeps the history of it.

The client is the authority over what was acknowledged. What must never happen here: an increment that may have happened
is recorded as failed, or one that was acknowledged is not recorded.
"""

import asyncio
import itertools
from collections import Counter as Tally
from collections.abc import Callable

from quorate.core import Clock, sleep
from quorate.jepsen_like.history import Completion, History

from .cluster import Child, ChildError, ChildGone, Cluster
from .settings import PAUSE_S, WORKERS_PER_NODE


class Load:
    """Increments of `keys`, a few under way at each node that takes part."""

    def __init__(self, cluster: Cluster, clock: Clock, history: History, keys: list[str]) -> None:
        self._cluster = cluster
        self._clock = clock
        self._history = history
        self._keys = keys
        self._next_key = itertools.cycle(keys)
        self._tasks: list[asyncio.Task[None]] = []
        self._excused: set[str] = set()  # nodes that get no new increments
        self._busy: Tally[str] = Tally()
        self._errors: Tally[str] = Tally()
        self._stopping = False
        self.outcomes: Tally[Completion] = Tally()
        self.acknowledged: Tally[str] = Tally()  # by key
        self.acknowledged_via: Tally[str] = Tally()  # by node

    def start(self) -> None:
        for name in self._cluster.names:
            self._tasks += [asyncio.ensure_future(self._work(name)) for _ in range(WORKERS_PER_NODE)]

    async def stop(self) -> None:
        """Return when nothing is under way any more."""
        self._stopping = True
        await asyncio.gather(*self._tasks)

    def cancel(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def ended(self) -> None:
        """Return when all workers have ended, whatever ended them."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def excuse(self, name: str) -> None:
        """Give a node no new increments, and return when it has none under way."""
        self._excused.add(name)
        while self._busy[name]:
            await sleep(self._clock, PAUSE_S)

    def readmit(self, name: str) -> None:
        self._excused.discard(name)

    def errors(self) -> str:
        """What went wrong how often, for the report."""
        return ", ".join(f"{count} {kind}" for kind, count in self._errors.most_common(4))

    async def burst(self, key: str, count: int, again: Callable[[], bool]) -> "Tally[Completion]":
        """At least `count` increments of one counter, through all nodes at once, and more while `again()`."""
        outcomes: Tally[Completion] = Tally()
        numbers = itertools.count()

        async def work(child: Child) -> None:
            process = self._history.new_process()
            while next(numbers) < count or again():
                outcome = await self._increment(child, key, process)
                outcomes[outcome] += 1
                if outcome == "info":
                    process = self._history.new_process()

        async with asyncio.TaskGroup() as group:
            for child in self._cluster.serving:
                for _ in range(2):
                    group.create_task(work(child))
        return outcomes

    async def _work(self, name: str) -> None:
        process = self._history.new_process()
        while not self._stopping:
            child = self._cluster.children[name]
            if child.serving and name not in self._excused:
                self._busy[name] += 1
                outcome = await self._increment(child, next(self._next_key), process)
                self._busy[name] -= 1
                if outcome == "info":
                    process = self._history.new_process()
            await sleep(self._clock, PAUSE_S)

    async def _increment(self, child: Child, key: str, process: int) -> Completion:
        answer = child.begin("increment", key=key)
        invoked = self._history.invoke(self._clock.monotonic(), process, "increment", key, 1)
        outcome: Completion
        value: int | str
        try:
            value = await answer
            outcome = "ok"
        except ChildError as error:
            outcome, value = "fail" if error.certain else "info", str(error)
            self._errors[error.kind] += 1
        except ChildGone as error:
            outcome, value = "info", str(error)
            self._errors[type(error).__name__] += 1
        self._history.complete(self._clock.monotonic(), invoked, outcome, value)
        self.outcomes[outcome] += 1
        if outcome == "ok":
            self.acknowledged[key] += 1
            self.acknowledged_via[child.node] += 1
        return outcome
