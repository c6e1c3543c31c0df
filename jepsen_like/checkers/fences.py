"""Fences, as a store outside saw them: after a higher one nothing lower is accepted.

The store that took the effects is the authority over their order. What must never happen here: a fence that two
owners shared passes because one of them was refused.
"""

from quorate.jepsen_like.history import History, Op
from quorate.jepsen_like.verdict import Verdict, judge

from .entries import fence_and_owner, key_of


def check_fences(history: History, *, f: str = "effect") -> Verdict:
    """No effect was accepted from a lower fence after a higher one, and no two owners ever had one fence.

    Expects notes of `f` with a key, by the store that took the effects, in its order: `ok` accepted, `fail`
    refused, value {"fence": int, "owner": str}. (Fencing tokens: Kleppmann, "How to do distributed locking", 2016.)
    """
    problems: list[str] = []
    last: dict[str, Op] = {}
    owners: dict[tuple[str, int], str] = {}
    accepted = refused = 0
    for op in history.notes(f):
        key, (fence, owner) = key_of(op), fence_and_owner(op)
        if owners.setdefault((key, fence), owner) != owner:
            problems.append(
                f"{key}: fence {fence} was used by {owners[key, fence]} and by {owner} (entry {op.index})"
            )
        if op.type != "ok":
            refused += 1
            continue
        accepted += 1
        if key in last and fence < fence_and_owner(last[key])[0]:
            problems.append(
                f"{key}: fence {fence} was accepted (entry {op.index}) after "
                f"{fence_and_owner(last[key])[0]} (entry {last[key].index})"
            )
        else:
            last[key] = op
    fences = len(owners)
    summary = f"{accepted:,} effects under {fences:,} fences accepted in order, {refused:,} refused"
    return judge("fences", problems, accepted, summary)
