"""Counters: nothing acknowledged is lost, nothing is counted that nobody tried, no reply comes from old state.

Pure: the history is the authority, and what a counter is read as is an argument or part of it. What must never happen
here: the loss in one counter is hidden by a surplus in another.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from quorate.jepsen_like.history import History, Op
from quorate.jepsen_like.verdict import Verdict, judge

from .entries import amount_of, entries, integer, key_of


@dataclass(slots=True)
class _Count:
    acknowledged: int = 0
    attempted: int = 0


def check_counters(history: History, finals: Mapping[str, int], *, f: str = "increment") -> Verdict:
    """Nothing acknowledged is lost and nothing is counted that nobody tried: acknowledged <= value <= attempted.

    Expects pairs of `f` with a key, invoked with the amount (null: 1), never a negative one. `finals` are the
    values read when nothing was under way any more. What failed for certain is not counted as attempted; what is
    unknown is. (Jepsen's counter checker, for final reads.)
    """
    counts: dict[str, _Count] = {}
    for pair in history.pairs(f):
        amount = amount_of(pair.invoked)
        count = counts.setdefault(key_of(pair.invoked), _Count())
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
    unread = [f"{key} was never read" for key in sorted(counts.keys() - finals.keys())]
    acknowledged = sum(count.acknowledged for count in counts.values())
    attempted = sum(count.attempted for count in counts.values())
    summary = (
        f"{len(counts)} counters: {acknowledged:,} acknowledged <= {sum(finals.values()):,} counted "
        f"<= {attempted:,} attempted"
    )
    return judge("counters", problems, len(counts), summary, doubts=unread)


def check_counter_replies(history: History, *, f: str = "increment") -> Verdict:
    """Replies are what one counter would give: no value twice, and never one that an earlier reply had passed.

    Expects pairs of `f` with a key, invoked with the amount; `ok` carries the counter's value after it. "Earlier"
    is acknowledged before the other was invoked, by the history's index. An owner that woke up late and answered
    from old state would show here, even when the last value is right.
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
            floors[op.index] = highest.get(key_of(op), 0)
        elif op.type == "ok" and op.index in completions:
            invoked = completions[op.index].invoked
            key, reply = key_of(op), integer(op, op.value)
            if (earlier := seen.get((key, reply))) is not None:
                problems.append(f"{key}: entries {earlier.index} and {op.index} both got the value {reply}")
            seen[key, reply] = op
            wanted = floors[invoked.index] + amount_of(invoked)
            if reply < wanted:
                problems.append(
                    f"{key}: entry {op.index} got {reply}, but {floors[invoked.index]} had been acknowledged "
                    f"before it was invoked (entry {invoked.index})"
                )
            highest[key] = max(highest.get(key, 0), reply)
    return judge("replies", problems, len(seen), f"{len(seen):,} replies, each new and none of them late")


def check_counter_reads(history: History, *, f: str = "increment", read: str = "read") -> Verdict:
    """Every read, at any time, is between what was acknowledged before it began and what was attempted before it ended.

    Expects increments as `check_counters` does, and pairs of f `read` whose `ok` carries the value. Weaker than
    linearizability, and linear in the length of the history. (Jepsen's counter checker.)
    """
    problems: list[str] = []
    lowest: dict[int, int] = {}  # by index of a read's invocation: what had been acknowledged then
    counts: dict[str, _Count] = {}
    outcomes = {pair.invoked.index: pair for pair in (*history.pairs(f), *history.pairs(read))}
    ends = {pair.completed.index: pair for pair in outcomes.values() if pair.completed is not None}
    reads = 0
    for op in history:
        if (pair := outcomes.get(op.index) or ends.get(op.index)) is None:
            continue
        count = counts.setdefault(key_of(op), _Count())
        if op.f == f and pair.outcome != "fail":
            if op.type == "invoke":
                count.attempted += amount_of(op)
            elif op.type == "ok":
                count.acknowledged += amount_of(pair.invoked)
        elif op.f == read and op.type == "invoke":
            lowest[op.index] = count.acknowledged
        elif op.f == read and op.type == "ok":
            reads += 1
            low, value = lowest[pair.invoked.index], integer(op, op.value)
            if not low <= value <= count.attempted:
                problems.append(
                    f"{key_of(op)}: {entries((pair.invoked.index, op.index))} read {value}, which is not between "
                    f"{low} (acknowledged before) and {count.attempted} (attempted until then)"
                )
    return judge("counter reads", problems, reads, f"{reads:,} reads, each within its bounds")
