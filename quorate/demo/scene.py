"""What the steps of the demo share: the cluster, the load, the history, and what the parent knows of the names.

The parent hears of everything through pipes that no fault touches, and writes it down in one history. Times of claims
are those of the witnesses (one clock for all processes of a machine); the order of effects is that of their arrival
here, where the store outside of the cluster is.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from quorate.core import Clock, QuorateError, sleep, timeout
from quorate.jepsen_like.history import History

from .client import Load
from .cluster import Child, ChildError, ChildGone, Cluster
from .effects import EffectsStore
from .report import Check, Reporter, StepReport
from .settings import COUNTERS, NAMES, counter_of, name_of

T = TypeVar("T")

_POLL_S = 0.03
_QUIET_S = 0.6


class StepFailed(QuorateError):
    """Something that must happen did not happen in time; what comes after would mean nothing."""


@dataclass(frozen=True, slots=True)
class Running:
    """Where a counter runs, since which fence, and what it holds."""

    value: int
    fence: int
    node: str


class Scene:
    """Made with the cluster's events as its only input; the steps read and command it."""

    def __init__(self, clock: Clock, reporter: Reporter) -> None:
        self.clock = clock
        self.names = [name_of(number) for number in range(NAMES)]
        self.keys = [counter_of(number) for number in range(COUNTERS)]
        self.history = History(origin_s=clock.monotonic())
        self.effects = EffectsStore(self.history)
        self.fences: dict[str, int] = {}  # of every name, as its registration returned it
        self.held: dict[str, dict[str, int]] = {}  # by life of a node: name -> fence, as witnessed
        self.released_while_valid = 0
        self.reconciled: list[dict[str, Any]] = []
        self.drained: dict[str, str] = {}
        self.cut: Child | None = None  # the node that is cut off, or was
        self.parked: dict[str, int] = {}  # the counters that ran there, and their fences
        self._reporter = reporter
        self._step = StepReport("")
        self._tasks: list[asyncio.Task[Any]] = []

    def join(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.load = Load(cluster, self.clock, self.history, self.keys)

    def meanwhile(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Begin something that goes on beside the step; it is cancelled at the end of the run."""
        task = asyncio.ensure_future(work)
        self._tasks.append(task)
        return task

    async def close(self) -> None:
        """End the load, whatever else goes on, and all processes."""
        self.load.cancel()
        for task in self._tasks:
            task.cancel()
        await self.cluster.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.load.ended()

    # -- telling -------------------------------------------------------------------------------------------

    def enter(self, step: StepReport) -> None:
        self._step = step

    def check(self, what: str, held: bool, found: str = "") -> None:
        """Something that was checked."""
        check = Check(what, held, found)
        self._step.checks.append(check)
        self._reporter.check(check)

    def note(self, text: str) -> None:
        """What is going on now."""
        self._step.notes.append(text)
        self._reporter.note(text)

    # -- hearing -------------------------------------------------------------------------------------------

    def hear(self, child: Child, record: dict[str, Any]) -> None:
        """An event of a node."""
        match record:
            case {"event": "held", "key": key, "fence": fence, "at": at}:
                self.held.setdefault(child.id, {})[key] = fence
                self.history.note(at, child.id, "held", key, {"fence": fence, "owner": child.id})
            case {"event": "released", "key": key, "fence": fence, "at": at, "valid": valid}:
                self.held.setdefault(child.id, {}).pop(key, None)
                self.released_while_valid += bool(valid)
                self.history.note(at, child.id, "released", key, {"fence": fence, "owner": child.id})
            case {"event": "effect", "key": key, "fence": fence}:
                self.effects.take(self.clock.monotonic(), child, key, fence)
            case {"event": "reconciled"}:
                self.reconciled.append(record)
            case {"event": "drained", "report": report}:
                self.drained[child.id] = report

    def buried(self, child: Child, at: float) -> None:
        """A process was dead at this time for certain: so were its claims."""
        for key, fence in self.held.pop(child.id, {}).items():
            self.history.note(at, child.id, "released", key, {"fence": fence, "owner": child.id})

    # -- asking --------------------------------------------------------------------------------------------

    async def until(self, what: str, holds: Callable[[], Awaitable[bool]], within_s: float = 15.0) -> float:
        """Ask again and again until something holds; return after how many seconds. Raises `StepFailed`."""
        started = self.clock.monotonic()
        try:
            async with timeout(self.clock, within_s):
                while True:
                    try:
                        if await holds():
                            return self.clock.monotonic() - started
                    except (ChildError, ChildGone):
                        pass  # nobody can say at this moment
                    await sleep(self.clock, _POLL_S)
        except TimeoutError:
            raise StepFailed(f"not within {within_s:g} s: {what}") from None

    async def leader(self, among: list[Child] | None = None) -> Child:
        """The node that all of these take for the leader, all of them with a session. Raises `StepFailed`."""
        asked = among or self.cluster.serving
        found: list[Child] = []

        async def agreed() -> bool:
            answers = await asyncio.gather(*(child.request("status") for child in asked))
            leaders = {answer["leader"] for answer in answers}
            if len(leaders) != 1 or not all(answer["session_valid"] for answer in answers):
                return False
            found[:] = [child for child in asked if child.node in leaders]
            return bool(found)

        await self.until("all nodes have a session and agree on the leader", agreed)
        return found[0]

    async def running(self, keys: list[str], at: Child) -> dict[str, Running]:
        """Where these counters run, as they say themselves when a node asks them."""
        answer = await at.request("read", keys=keys)
        return {key: Running(**reading) for key, reading in answer.items()}

    async def at_work(self, keys: list[str], within_s: float = 15.0) -> float:
        """Wait until each of these counters has acknowledged an increment that was not acknowledged when this began."""
        before = {key: self.load.acknowledged[key] for key in keys}

        async def all_went_on() -> bool:
            return all(self.load.acknowledged[key] > before[key] for key in keys)

        return await self.until("every counter acknowledges an increment", all_went_on, within_s)

    async def settled(self) -> None:
        """Wait until every node runs counters and none has moved for a while: after a node came back some move to it."""
        places: dict[str, str] = {}
        since = self.clock.monotonic()

        async def quiet() -> bool:
            nonlocal since
            running = await self.running(self.keys, self.cluster.serving[0])
            now = {key: one.node for key, one in running.items()}
            if now != places:
                places.clear()
                places.update(now)
                since = self.clock.monotonic()
            everywhere = len(set(now.values())) == len(self.cluster.serving)
            return everywhere and self.clock.monotonic() - since >= _QUIET_S

        self.note("waiting until the counters have moved to their places")
        await self.until("the counters have moved to their places", quiet)

    async def agree_on_names(self) -> tuple[bool, str]:
        """Whether look-ups of all names from every node give the same process and the fence that is known here."""
        children = self.cluster.serving
        views: list[dict[str, list[Any]]] = await asyncio.gather(
            *(child.request("lookup", names=self.names) for child in children)
        )
        wrong = [
            name
            for name in self.names
            if any(view.get(name) != views[0].get(name) for view in views)
            or views[0].get(name, [None, None])[1] != self.fences.get(name)
        ]
        asked = len(children) * len(self.names)
        if wrong:
            seen = [view.get(wrong[0]) for view in views]
            known = self.fences.get(wrong[0])
            return False, f"{len(wrong)} differ, the first is {wrong[0]}: {seen}, known: {known}"
        return True, f"{asked:,} linearizable look-ups from {len(children)} nodes"

    async def take_over_names(self, names: list[str], children: list[Child]) -> tuple[bool, str, int]:
        """Have these nodes register names that others had, as soon as they are free.

        Returns whether each got a higher fence than before, what was measured, and how many attempts were refused.
        """
        started = self.clock.monotonic()
        shares = [names[number :: len(children)] for number in range(len(children))]
        answers = await asyncio.gather(
            *(child.request("take", names=share) for child, share in zip(children, shares, strict=True))
        )
        fences: dict[str, int] = {}
        for answer in answers:
            fences |= answer["fences"]
        higher = sum(fences.get(name, 0) > self.fences[name] for name in names)
        self.fences |= fences
        took_s = self.clock.monotonic() - started
        refused = sum(answer["refused"] for answer in answers)
        return higher == len(names), f"{higher} of {len(names)} within {took_s:.2f} s", refused
