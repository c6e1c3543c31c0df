"""Checkers: pure functions from a history to a verdict.

    verdict = check_counters(history, finals)
    assert verdict.valid, verdict

A verdict is `valid`, `invalid` (with the problems, each naming entries of the history by index) or `unknown`: the
history does not hold enough to say, and an empty one never does. They judge what was recorded and nothing else, so
a recorder that leaves something out makes them blind; what must never happen here is `valid` by default.

What each expects in a history:

    check_counters         pairs of f "increment": invoked with the amount
    check_counter_replies  the same; `ok` carries the counter's value after it
    check_fences           notes of f "effect": `ok` accepted, `fail` refused, value {"fence": int, "owner": str}
    check_claims           notes of f "held" and "released", value {"fence": int, "owner": str}; times of one clock
"""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Literal

from .history import History, HistoryError, Op

Outcome = Literal["valid", "invalid", "unknown"]
PROBLEMS_LIMIT = 20  # listed in a verdict; the rest is counted


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a checker found. `checked` counts the facts that it rests on; `summary` is one line for people."""

    checker: str
    outcome: Outcome
    checked: int
    summary: str
    problems: tuple[str, ...] = ()

    @property
    def valid(self) -> bool:
        return self.outcome == "valid"

    def __str__(self) -> str:
        lines = [f"{self.checker}: {self.outcome}: {self.summary}", *(f"  {text}" for text in self.problems)]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Interval:
    """One owner of one name, as witnessed: from when it knew of its claim to when it knew no longer (inf: it does yet)."""

    key: str
    fence: int
    owner: str
    from_ns: int
    until_ns: float


@dataclass(slots=True)
class _Count:
    acknowledged: int = 0
    attempted: int = 0


def check_counters(history: History, finals: Mapping[str, int], *, f: str = "increment") -> Verdict:
    """Nothing acknowledged is lost and nothing is counted that nobody tried: acknowledged <= value <= attempted.

    `finals` are the values read when nothing was under way any more. What failed for certain is not counted as
    attempted; what is unknown is. (Jepsen's counter checker, for final reads.)
    """
    counts: dict[str, _Count] = {}
    for pair in history.pairs(f):
        amount = _amount(pair.invoked)
        count = counts.setdefault(_key(pair.invoked), _Count())
        if pair.outcome != "fail":
            count.attempted += amount
        if pair.outcome == "ok":
            count.acknowledged += amount
    problems = [
        f"{key} is {finals[key]}: {count.acknowledged} acknowledged, {count.attempted} attempted"
        for key, count in sorted(counts.items())
        if key in finals and not count.acknowledged <= finals[key] <= count.attempted
    ]
    problems += [
        f"{key} is {value}, but nobody ever incremented it"
        for key, value in sorted(finals.items())
        if value and key not in counts
    ]
    unread = sorted(counts.keys() - finals.keys())
    acknowledged = sum(count.acknowledged for count in counts.values())
    attempted = sum(count.attempted for count in counts.values())
    summary = (
        f"{len(counts)} counters: {acknowledged:,} acknowledged <= {sum(finals.values()):,} counted "
        f"<= {attempted:,} attempted"
    )
    if unread:
        summary += f"; {len(unread)} never read ({', '.join(unread[:3])})"
    return _verdict("counters", problems, len(counts), summary, unknown=bool(unread))


def check_counter_replies(history: History, *, f: str = "increment") -> Verdict:
    """Replies are what one counter would give: no value twice, and never one that an earlier reply had passed.

    "Earlier" is acknowledged before the other was invoked, by the history's index. An owner that woke up late and
    answered from old state would show here, even when the last value is right.
    """
    problems: list[str] = []
    seen: dict[tuple[str, int], Op] = {}
    highest: dict[str, int] = {}
    floors: dict[int, int] = {}  # by index of the invocation: what had been acknowledged then
    pairs = history.pairs(f)
    completions = {pair.completed.index: pair for pair in pairs if pair.completed is not None}
    invocations = {pair.invoked.index for pair in pairs}
    for op in history:
        if op.index in invocations:
            floors[op.index] = highest.get(_key(op), 0)
        elif op.type == "ok" and op.index in completions:
            invoked = completions[op.index].invoked
            key, reply = _key(op), _integer(op, op.value)
            if (earlier := seen.get((key, reply))) is not None:
                problems.append(f"{key}: entries {earlier.index} and {op.index} both got the value {reply}")
            seen[key, reply] = op
            wanted = floors[invoked.index] + _amount(invoked)
            if reply < wanted:
                problems.append(
                    f"{key}: entry {op.index} got {reply}, but {floors[invoked.index]} had been acknowledged "
                    f"before it was invoked (entry {invoked.index})"
                )
            highest[key] = max(highest.get(key, 0), reply)
    return _verdict("replies", problems, len(seen), f"{len(seen):,} replies, each new and none of them late")


def check_fences(history: History, *, f: str = "effect") -> Verdict:
    """No effect was accepted from a lower fence after a higher one, and no two owners ever had one fence."""
    problems: list[str] = []
    last: dict[str, Op] = {}
    owners: dict[tuple[str, int], str] = {}
    accepted = refused = 0
    for op in history.notes(f):
        key, (fence, owner) = _key(op), _fence_and_owner(op)
        if owners.setdefault((key, fence), owner) != owner:
            problems.append(
                f"{key}: fence {fence} was used by {owners[key, fence]} and by {owner} (entry {op.index})"
            )
        if op.type != "ok":
            refused += 1
            continue
        accepted += 1
        if key in last and fence < _fence_and_owner(last[key])[0]:
            problems.append(
                f"{key}: fence {fence} was accepted (entry {op.index}) after "
                f"{_fence_and_owner(last[key])[0]} (entry {last[key].index})"
            )
        else:
            last[key] = op
    fences = len(owners)
    summary = f"{accepted:,} effects under {fences:,} fences accepted in order, {refused:,} refused"
    return _verdict("fences", problems, accepted, summary)


def claim_intervals(history: History) -> dict[str, list[Interval]]:
    """Who held each name when, as witnessed, in the order of the fences. Raises `HistoryError` for malformed notes."""
    ends: dict[tuple[str, int, str], int] = {}
    for op in history.notes("released"):
        fence, owner = _fence_and_owner(op)
        place = (_key(op), fence, owner)
        ends[place] = max(ends.get(place, op.time_ns), op.time_ns)
    intervals: dict[str, list[Interval]] = {}
    for op in history.notes("held"):
        fence, owner = _fence_and_owner(op)
        key = _key(op)
        until = ends.pop((key, fence, owner), inf)
        intervals.setdefault(key, []).append(Interval(key, fence, owner, op.time_ns, until))
    if ends:
        key, fence, owner = min(ends)
        raise HistoryError(f"{owner} released {key!r} with fence {fence}, which nobody saw it hold")
    for held in intervals.values():
        held.sort(key=lambda interval: (interval.fence, interval.from_ns))
    return intervals


def check_claims(history: History) -> Verdict:
    """No two owners of a name at once, as witnessed, and every later owner has a higher fence."""
    problems: list[str] = []
    claims = handed_on = 0
    narrowest_ns = inf
    for held in claim_intervals(history).values():
        claims += len(held)
        latest = held[0]  # whoever held it longest of those before
        for earlier, later in itertools.pairwise(held):
            handed_on += 1
            if earlier.until_ns >= latest.until_ns:
                latest = earlier
            gap_ns = later.from_ns - latest.until_ns
            narrowest_ns = min(narrowest_ns, gap_ns)
            if earlier.fence == later.fence:
                problems.append(f"{_show(earlier)} and {_show(later)}: one fence, two claims")
            elif gap_ns <= 0:
                problems.append(f"{_show(latest)} overlaps {_show(later)} by {-gap_ns / 1e6:.1f} ms")
    summary = f"{claims:,} claims, {handed_on:,} of them after another owner's"
    if handed_on and not problems:
        summary += f"; the narrowest gap between two owners was {narrowest_ns / 1e6:,.0f} ms"
    return _verdict("claims", problems, claims, summary)


def _verdict(
    checker: str, problems: Iterable[str], checked: int, summary: str, *, unknown: bool = False
) -> Verdict:
    found = list(problems)
    outcome: Outcome = "invalid" if found else "unknown" if unknown or not checked else "valid"
    if len(found) > PROBLEMS_LIMIT:
        found[PROBLEMS_LIMIT:] = [f"and {len(found) - PROBLEMS_LIMIT} more"]
    if outcome == "invalid":
        summary = f"{found[0]} ({summary})"
    elif not checked:
        summary = "the history holds nothing to check"
    return Verdict(checker, outcome, checked, summary, tuple(found))


def _show(interval: Interval) -> str:
    until = "now" if interval.until_ns == inf else f"{interval.until_ns / 1e9:.6f}"
    return (
        f"{interval.key!r} of {interval.owner} (fence {interval.fence}, "
        f"{interval.from_ns / 1e9:.6f} to {until} s)"
    )


def _key(op: Op) -> str:
    if op.key is None:
        raise HistoryError(f"entry {op.index}: {op.f!r} needs a key")
    return op.key


def _amount(op: Op) -> int:
    return 1 if op.value is None else _integer(op, op.value)


def _integer(op: Op, value: object) -> int:
    if not isinstance(value, int):
        raise HistoryError(f"entry {op.index}: {op.f!r} has the value {value!r} where a number was expected")
    return value


def _fence_and_owner(op: Op) -> tuple[int, str]:
    match op.value:
        case {"fence": int(fence), "owner": str(owner)}:
            return fence, owner
    raise HistoryError(
        f"entry {op.index}: {op.f!r} has the value {op.value!r} where a fence and an owner were expected"
    )
