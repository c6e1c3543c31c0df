"""Making what fails smaller: fewer items that still fail, then shorter faults.

    small = ddmin(operations, lambda some: verdict_of(some) == "invalid")
    plan = shrink(plan, fails)

`ddmin` is Zeller and Hildebrandt's ("Simplifying and Isolating Failure-Inducing Input", TSE 2002) and serves any list:
faults, operations, nodes. What comes back is 1-minimal, as long as the budget of tries lasts: without any one of its items
it does not fail. The strategies are generators that yield a candidate and are sent the verdict, so the same code serves
a `fails` that is a plain function and one that is awaited. What must never happen here: that something comes back which
was not seen to fail.
"""

from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Generic, TypeVar

from .fault import Fault, Plan
from .kinds import PlanError, kind_of
from .planning import SHORTEST_S

T = TypeVar("T")
Steps = Generator[tuple[T, ...], bool, tuple[T, ...]]

TRIES = 400


def ddmin(items: Sequence[T], fails: Callable[[tuple[T, ...]], bool], *, tries: int = TRIES) -> tuple[T, ...]:
    """A sublist of `items`, in their order, for which `fails` is true as for all of them, after `tries` calls at most.

    Raises `ValueError` when `items` themselves do not fail.
    """
    every = tuple(range(len(items)))  # places, since items need not be hashable, nor different
    places = _drive(_ddmin_steps(every), every, lambda places: fails(tuple(items[p] for p in places)), tries)
    return tuple(items[place] for place in places)


async def ddmin_async(
    items: Sequence[T], fails: Callable[[tuple[T, ...]], Awaitable[bool]], *, tries: int = TRIES
) -> tuple[T, ...]:
    """`ddmin` with a `fails` that is awaited."""
    every = tuple(range(len(items)))
    places = await _drive_async(
        _ddmin_steps(every), every, lambda places: fails(tuple(items[p] for p in places)), tries
    )
    return tuple(items[place] for place in places)


def shrink(plan: Sequence[Fault], fails: Callable[[Plan], bool], *, tries: int = TRIES) -> Plan:
    """A smaller plan for which `fails` is true as for this one, after `tries` calls at most.

    Fewer faults first, then shorter ones, then fewer nodes in each, then fewer faults once more. Raises `ValueError`
    when `plan` itself does not fail.
    """
    return _drive(_shrink_steps(tuple(plan)), tuple(plan), fails, tries)


async def shrink_async(
    plan: Sequence[Fault], fails: Callable[[Plan], Awaitable[bool]], *, tries: int = TRIES
) -> Plan:
    """`shrink` with a `fails` that is awaited."""
    return await _drive_async(_shrink_steps(tuple(plan)), tuple(plan), fails, tries)


def _drive(
    steps: Steps[T], whole: tuple[T, ...], fails: Callable[[tuple[T, ...]], bool], tries: int
) -> tuple[T, ...]:
    search = _Search(steps, whole)
    while (candidate := search.candidate) is not None and search.tried < tries:
        search.learn(fails(candidate))
    return search.smallest()


async def _drive_async(
    steps: Steps[T], whole: tuple[T, ...], fails: Callable[[tuple[T, ...]], Awaitable[bool]], tries: int
) -> tuple[T, ...]:
    search = _Search(steps, whole)
    while (candidate := search.candidate) is not None and search.tried < tries:
        search.learn(await fails(candidate))
    return search.smallest()


class _Search(Generic[T]):
    """Steps under way: the next candidate that was never tried, and the last that failed."""

    def __init__(self, steps: Steps[T], whole: tuple[T, ...]) -> None:
        self.candidate: tuple[T, ...] | None = whole
        self.tried = 0
        self._steps = steps
        self._known: dict[tuple[T, ...], bool] = {}
        self._smallest: tuple[T, ...] | None = None

    def learn(self, failed: bool) -> None:
        """What `fails` said of the candidate. Raises `ValueError` when the first one passes."""
        assert self.candidate is not None
        self.tried += 1
        self._known[self.candidate] = failed
        if failed:
            self._smallest = self.candidate
        elif self._smallest is None:
            raise ValueError("this does not fail as it is: there is nothing to make smaller")
        self._advance(None if self.tried == 1 else failed)

    def smallest(self) -> tuple[T, ...]:
        """The last candidate that failed."""
        assert self._smallest is not None, "a budget of no tries"
        return self._smallest

    def _advance(self, verdict: bool | None) -> None:
        try:
            candidate = next(self._steps) if verdict is None else self._steps.send(verdict)
            while candidate in self._known:
                failed = self._known[candidate]
                if failed:
                    self._smallest = candidate
                candidate = self._steps.send(failed)
            self.candidate = candidate
        except StopIteration:
            self.candidate = None


def _ddmin_steps(items: tuple[T, ...]) -> Steps[T]:
    if items and (yield ()):
        return ()
    parts = 2
    while len(items) >= 2:
        bounds = [len(items) * part // parts for part in range(parts + 1)]
        chunks = [(low, high) for low, high in pairwise(bounds) if low < high]
        smaller: tuple[T, ...] | None = None
        for low, high in chunks:
            if (yield items[low:high]):
                smaller, parts = items[low:high], 2
                break
        if smaller is None:
            for low, high in chunks:
                rest = items[:low] + items[high:]
                if len(chunks) > 2 and (yield rest):
                    smaller, parts = rest, max(parts - 1, 2)
                    break
        if smaller is not None:
            items = smaller
        elif parts >= len(items):
            break
        else:
            parts = min(len(items), parts * 2)
    return items


def _shrink_steps(plan: Plan) -> Steps[Fault]:
    plan = yield from _ddmin_steps(plan)
    for position in range(len(plan)):
        plan = yield from _shorten(plan, position)
        plan = yield from _narrow(plan, position)
    return (yield from _ddmin_steps(plan))


def _shorten(plan: Plan, position: int) -> Steps[Fault]:
    """Halve a duration as long as it fails, then try three quarters of what is left."""
    for factor in (0.5, 0.75):
        while (for_s := round(plan[position].for_s * factor, 3)) >= SHORTEST_S:
            shorter = _with(plan, position, replace(plan[position], for_s=for_s))
            if not (yield shorter):
                break
            plan = shorter
    return plan


def _narrow(plan: Plan, position: int) -> Steps[Fault]:
    """Take nodes away one by one, where a fault of fewer nodes is a fault of the same kind."""
    if kind_of(plan[position].kind).takes not in ("half", "third", "side", "minority"):
        return plan
    for node in plan[position].nodes:
        fewer = tuple(name for name in plan[position].nodes if name != node)
        try:
            narrower = _with(plan, position, replace(plan[position], nodes=fewer))
        except PlanError:
            continue  # it was the last
        if (yield narrower):
            plan = narrower
    return plan


def _with(plan: Plan, position: int, fault: Fault) -> Plan:
    return (*plan[:position], fault, *plan[position + 1 :])
