"""Why a partition has no order: the smallest window, and a line that says what was expected.

The *culprit* is the first completion that fits no order: with the history cut before it there is one, with it there
is none. (Operations under way at the cut are taken with what is known of them later, and may have had no effect.)

The *window* is the culprit and the fewest operations beside it that still rule it out, when every other operation is
excused: it may have taken effect in its time, or not at all. None can be left out: with one more excused there is an
order. So a stale read comes with the write that it missed, and not with the hundred writes before.

Both are searched for within a budget of steps. When it is used up, the culprit may be later and the window larger than
they need be; that the window cannot be explained stays true. What must never happen here: a window that can be. Pure.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from quorate.jepsen_like.record import Window

from .models import ABSENT, Effect, Model, Refusal, State
from .operations import Operation
from .search import Search

SHOWN = 3  # states named in the line
SHARES = 8
LEAST_SHARE = 1_000


class Budget:
    """Steps that may yet be spent. No search gets more than a part of them, so that one hard one leaves some over."""

    def __init__(self, steps: int) -> None:
        self._left = steps

    def search(self, operations: Sequence[Operation], initial: State) -> Search:
        """A search that has come as far as the budget allows."""
        search = Search(operations, initial)
        share = min(self._left, LEAST_SHARE + self._left // SHARES)
        search.advance(share, states=share)
        self._left -= search.steps
        return search

    def impossible(self, operations: Sequence[Operation], initial: State) -> bool | None:
        """Whether these have no order; None when the budget does not suffice to tell."""
        outcome = self.search(operations, initial).outcome
        return None if outcome is None else outcome == "invalid"


def explain(key: str | None, operations: Sequence[Operation], model: Model, *, max_steps: int) -> Window:
    """The window of a partition that has no order."""
    budget = Budget(max_steps)
    until = _first_bad(operations, model.initial, budget)
    cut = _cut(operations, until)
    culprit = next(operation for operation in cut if operation.completed == until)
    kept = _shrink(cut, culprit, model.initial, budget)
    why = _expectation(cut, culprit, model, budget)
    if why is None:
        others = len(kept) - 1
        why = f"{culprit.effect.text} fits into no order with the {others} other operations of this window"
        if not others:
            why = f"{culprit.effect.text} fits nowhere, whatever else took effect"
    entries = {operation.invoked for operation in kept}
    entries |= {operation.completed for operation in kept if operation.completed is not None}
    return Window(key, tuple(sorted(entries)), until, why)


def _cut(operations: Sequence[Operation], until: int) -> list[Operation]:
    """What had been invoked before entry `until`; what completes later may take effect or not."""
    cut: list[Operation] = []
    for operation in operations:
        if operation.invoked > until:
            break
        if operation.completed is None or operation.completed <= until:
            cut.append(operation)
        elif not operation.effect.reads:
            cut.append(replace(operation, completed=None, excused=False))
    return cut


def _first_bad(operations: Sequence[Operation], initial: State, budget: Budget) -> int:
    """The first completion without which there is an order, and with which there is none."""
    completions = sorted(operation.completed for operation in operations if operation.completed is not None)
    low, high = 0, len(completions) - 1  # it is in completions[low:high + 1]
    while low < high:
        middle = (low + high) // 2
        match budget.impossible(_cut(operations, completions[middle]), initial):
            case None:
                break
            case True:
                high = middle
            case False:
                low = middle + 1
    return completions[high]


def _shrink(cut: Sequence[Operation], culprit: Operation, initial: State, budget: Budget) -> list[Operation]:
    """The culprit and the fewest others that rule it out."""
    needed = [
        operation
        for operation in cut
        if operation.completed is not None and operation is not culprit and not operation.excused
    ]
    needed.sort(key=lambda operation: (_tells(operation.effect), operation.invoked))
    size = max(1, len(needed))
    while needed:
        start = 0
        while start < len(needed):
            fewer = needed[:start] + needed[start + size :]
            if _still_impossible(cut, fewer, culprit, initial, budget):
                needed = fewer
            else:
                start += size
        if size == 1:
            break
        size = (size + 1) // 2
    return [*needed, culprit]


def _tells(effect: Effect) -> int:
    """How much an operation tells in a window: what tells least is tried first to be excused."""
    return 0 if effect.reads else 1 if effect.frees else 2


def _still_impossible(
    cut: Sequence[Operation], needed: Sequence[Operation], culprit: Operation, initial: State, budget: Budget
) -> bool:
    keep = {id(operation) for operation in needed} | {id(culprit)}
    eased = [
        operation
        if id(operation) in keep or operation.completed is None
        else replace(operation, excused=True)
        for operation in cut
        if id(operation) in keep or not operation.effect.reads
    ]
    return budget.impossible(eased, initial) is True


def _expectation(cut: Sequence[Operation], culprit: Operation, model: Model, budget: Budget) -> str | None:
    """What the object can be while the culprit is under way; None when that is not why it does not fit, or unknown."""
    others = [_beside_a_probe(operation) for operation in cut if operation is not culprit]
    possible: list[State] = []
    while len(possible) <= SHOWN:
        probe = replace(culprit, effect=_probe(frozenset(possible)), excused=False)
        search = budget.search([*others, probe], (model.initial, ABSENT))
        if search.outcome is None:
            return None
        if search.outcome == "invalid":
            break
        _, state = cast("tuple[State, State]", search.final)
        if not isinstance(culprit.effect.step(state), Refusal):
            return None
        possible.append(state)
    if not possible:
        return None
    shown = sorted(model.show(state) for state in possible[:SHOWN])
    if len(possible) > SHOWN:
        shown.append("others")
    options = shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} or {shown[-1]}"
    return f"{culprit.effect.text}, but {model.noun} can only be {options} here"


def _beside_a_probe(operation: Operation) -> Operation:
    """The same on states that carry what a probe has seen."""
    plain = operation.effect.step

    def step(state: tuple[State, State]) -> State:
        after = plain(state[0])
        return after if isinstance(after, Refusal) else (after, state[1])

    return replace(operation, effect=replace(operation.effect, step=step))


def _probe(known: frozenset[State]) -> Effect:
    """Takes down the state, if it is none of these."""
    return Effect("probe", lambda state: Refusal.NOW if state[0] in known else (state[0], state[0]), "probe")
