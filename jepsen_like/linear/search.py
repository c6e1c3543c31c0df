"""The search for an order: Wing and Gong's, with Lowe's cache of states, for one partition.

    search = Search(operations, initial)
    search.advance(4_000, states=1_000_000)     # as often as wanted; `outcome` is None until it is known

A configuration is what has been placed in the order so far and the state that this leads to. It is written as the
operations that are *open*: not placed yet, and invoked before the earliest completion of one that is not placed. Those
are exactly the ones that may come next; everything before them is placed, everything after cannot be yet. The open
operations (numbered by completion) and the state are therefore a whole configuration, small however long the history
is, and one that was seen before is not searched again. Success: every completed operation is placed. Operations
without a completion are optional.

What keeps it small, each without loss:

- An operation that changes nothing wherever it is possible (`eager`) is placed as soon as it is possible.
- Of open operations with the same effect only the one that is completed first is tried; of optional ones with the same
  effect the one that was invoked first.
- An optional operation is not tried where it changes nothing. A configuration that spent more optional operations than
  another, equal one is not searched.
- A configuration is given up at once when an open operation, or the next to come of those of which one can tell, can
  never be placed any more (`Refusal.LOST`).

An `excused` operation may be passed over, when its completion is the next or when it is lost. One that `repeats` may be placed and stay.

The search is the authority over `outcome`: "invalid" is only said when every configuration has been tried. What must
never happen here: giving up (for steps or memory) that looks like an answer. Pure.

(Wing & Gong, "Testing and verifying concurrent objects", 1993; Lowe, "Testing for linearizability", 2017; Horn &
Kroening, "Faster linearizability checking via P-compositionality", 2015)
"""

from bisect import insort
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Literal

from .models import ABSENT, Effect, Refusal
from .operations import Operation

_NOW, _LOST = -1, -2  # in a row of moves: no state
_NOTHING = -1  # in a candidate: no open operation is placed
_NEVER = float("inf")

Candidate = tuple[
    int, int, int
]  # which open operation is placed, the state after it, the optional ones spent
Frame = tuple[
    list[int], int, list[Candidate]
]  # open operations, how many were invoked, what is still to be tried


class Search:
    """One partition. `steps` and `states` say what it has cost: configurations tried, and remembered."""

    def __init__(self, operations: Sequence[Operation], initial: Hashable) -> None:
        self.outcome: Literal["valid", "invalid"] | None = None
        self.steps = 0
        self.states = 0
        self.final: Hashable = None  # when it is valid: the state at the end of the order that was found
        self._values: list[Hashable] = [initial]
        self._numbers: dict[Hashable, int] = {initial: 0}
        self._rows: list[dict[int, int]] = [{}]  # by state, by class of effects: the next state
        self._effects: list[Effect] = []  # one of each class
        self._classes: dict[Hashable, int] = {}
        self._set_up_completed([operation for operation in operations if operation.completed is not None])
        self._set_up_optional([operation for operation in operations if operation.completed is None])
        self._known: dict[tuple[tuple[int, ...], int], tuple[int, ...]] = {}
        self._stack: list[Frame] = [([], 0, [(_NOTHING, 0, 0)])]

    # -- what is known beforehand --------------------------------------------------------------------------

    def _set_up_completed(self, operations: list[Operation]) -> None:
        operations.sort(key=lambda operation: operation.completed or 0)
        self._completed = [operation.completed or 0 for operation in operations]
        self._invoked = [operation.invoked for operation in operations]
        self._by_invocation = sorted(range(len(operations)), key=self._invoked.__getitem__)
        self._excused = [operation.excused for operation in operations]
        assert not any(op.excused and op.effect.rescued_by for op in operations), "reads are left out instead"
        self._class = [
            self._class_of(operation.effect, alone=operation.excused or operation.effect.repeats)
            for operation in operations
        ]
        self._next_losable = self._losable_ahead()

    def _losable_ahead(self) -> list[int]:
        """For each number of invoked operations: the next one that can be lost, or _NOTHING; empty without any."""
        ahead = [_NOTHING]
        for i in reversed(self._by_invocation):
            losable = self._effects[self._class[i]].losable and not self._excused[i]
            ahead.append(i if losable else ahead[-1])
        ahead.reverse()
        return ahead if ahead[0] != _NOTHING else []

    def _set_up_optional(self, operations: list[Operation]) -> None:
        """Per class: the places of invocation in order, and the bits that count how many are spent."""
        places: dict[int, list[int]] = {}
        for operation in operations:
            places.setdefault(self._class_of(operation.effect), []).append(operation.invoked)
        self._optional: list[tuple[int, list[int], int, int]] = []
        bits = 0
        for kind, invoked in sorted(places.items(), key=lambda item: min(item[1])):
            count = 0 if self._effects[kind].repeats else len(invoked)
            self._optional.append((kind, sorted(invoked), bits, ((1 << count) - 1) << bits))
            bits += count

    def _class_of(self, effect: Effect, *, alone: bool = False) -> int:
        """The number of the effects of this name; `alone`: one of its own."""
        if not alone and effect.name in self._classes:
            return self._classes[effect.name]
        self._effects.append(effect)
        number = len(self._effects) - 1
        if not alone:
            self._classes[effect.name] = number
        return number

    # -- the search ----------------------------------------------------------------------------------------

    def advance(self, steps: int, *, states: int) -> None:
        """Try at most `steps` more configurations, and remember at most `states` more; then `outcome` may be known."""
        most_steps, most_states = self.steps + steps, self.states + states
        stack, known = self._stack, self._known
        while self.outcome is None and self.steps < most_steps and self.states < most_states:
            while stack and not stack[-1][2]:
                stack.pop()
            if not stack:
                self.outcome = "invalid"
                self._forget()
                return
            opened, invoked, candidates = stack[-1]
            placed, state, spent = candidates.pop()
            self.steps += 1
            frame = self._expand(opened, invoked, placed, state, spent)
            if frame is None:
                continue
            if not frame[0]:
                self.outcome = "valid"
                self.final = self._values[state]
                self._forget()
                return
            key = (tuple(frame[0]), state)
            seen = known.get(key, ())
            if any(other | spent == spent for other in seen):
                continue
            known[key] = (*(other for other in seen if other | spent != other), spent)
            self.states += 1
            stack.append(frame)

    def _forget(self) -> None:
        self._known = {}
        self._stack = []

    def _expand(self, before: list[int], invoked: int, placed: int, state: int, spent: int) -> Frame | None:
        """The configuration after `placed` led to `state`; None when it leads nowhere."""
        row, kinds, effects, completed = self._rows[state], self._class, self._effects, self._completed
        places, order, excused = self._invoked, self._by_invocation, self._excused
        opened: list[int] = []
        candidates: list[Candidate] = []
        lost: list[int] = []
        for i in before:
            if i == placed:
                continue
            kind = kinds[i]
            after = row.get(kind)
            if after is None:
                after = self._move(state, kind)
            if (after == state and effects[kind].eager) or (after == _LOST and excused[i]):
                continue
            opened.append(i)
            if after >= 0:
                candidates.append((i, after, spent))
            elif after == _LOST:
                lost.append(i)
        limit = completed[opened[0]] if opened else _NEVER
        while invoked < len(order) and places[i := order[invoked]] < limit:
            invoked += 1
            kind = kinds[i]
            after = row.get(kind)
            if after is None:
                after = self._move(state, kind)
            if (after == state and effects[kind].eager) or (after == _LOST and excused[i]):
                continue
            insort(opened, i)
            limit = completed[opened[0]]
            if after >= 0:
                candidates.append((i, after, spent))
            elif after == _LOST:
                lost.append(i)
        if self._next_losable and (i := self._next_losable[invoked]) != _NOTHING:
            after = row.get(kinds[i])
            if (self._move(state, kinds[i]) if after is None else after) == _LOST:
                lost.append(i)
        if lost and not all(self._may_be_rescued(i, opened, invoked) for i in lost):
            return None
        return opened, invoked, self._candidates(candidates, lost, opened, state, spent, limit)

    def _candidates(
        self,
        found: list[Candidate],
        lost: list[int],
        opened: list[int],
        state: int,
        spent: int,
        limit: float,
    ) -> list[Candidate]:
        """What to try from here, the most promising last: what rescues, then what is completed first."""
        row, kinds = self._rows[state], self._class
        if len(found) > 1:
            found.sort()
            first: dict[int, Candidate] = {}
            for candidate in found:
                first.setdefault(kinds[candidate[0]], candidate)
            found = list(first.values())
            found.reverse()
            if lost:
                self._prefer(found, kinds[lost[0]])
        rare: list[Candidate] = []
        for kind, places, offset, mask in self._optional:
            if places[0] >= limit:
                break
            after = row.get(kind)
            if after is None:
                after = self._move(state, kind)
            if after < 0 or after == state:
                continue
            used = (spent & mask).bit_count()
            if not mask:
                rare.append((_NOTHING, after, spent))
            elif used < len(places) and places[used] < limit:
                rare.append((_NOTHING, after, spent | 1 << (offset + used)))
        rare += [
            (_NOTHING, after, spent)
            for i, after, _ in found
            if after != state and self._effects[kinds[i]].repeats
        ]
        if opened and self._excused[opened[0]]:
            rare.insert(0, (opened[0], state, spent))
        return rare + found if rare else found

    def _prefer(self, candidates: list[Candidate], lost: int) -> None:
        """Put those last that rescue the effects of the class `lost`."""
        rescues: list[Candidate] = []
        others: list[Candidate] = []
        for candidate in candidates:
            then = self._rows[candidate[1]].get(lost)
            then = self._move(candidate[1], lost) if then is None else then
            (others if then == _LOST else rescues).append(candidate)
        candidates[:] = others + rescues

    def _move(self, state: int, kind: int) -> int:
        """The number of the state after an effect of this class, worked out once."""
        effect = self._effects[kind]
        value = effect.step(self._values[state])
        if value is Refusal.NOW:
            number = _NOW
        elif value is Refusal.LOST:
            number = _LOST
        else:
            number = self._numbers.setdefault(value, len(self._values))
            if number == len(self._values):
                self._values.append(value)
                self._rows.append({})
        self._rows[state][kind] = number
        return number

    def _may_be_rescued(self, i: int, opened: list[int], invoked: int) -> bool:
        """Whether an operation that can be placed before `i` leads to a state from which `i` may be possible."""
        helps = self._effects[self._class[i]].rescued_by
        if helps is None:
            return False
        for other in opened:
            if _helps(helps, self._effects[self._class[other]]):
                return True
        for position in range(invoked, len(self._by_invocation)):
            other = self._by_invocation[position]
            if self._invoked[other] > self._completed[i]:
                break
            if _helps(helps, self._effects[self._class[other]]):
                return True
        return any(_helps(helps, self._effects[kind]) for kind, *_ in self._optional)


def _helps(helps: Callable[[Any], bool], effect: Effect) -> bool:
    return effect.resets is not ABSENT and helps(effect.resets)
