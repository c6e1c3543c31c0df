"""Ids that must differ: no two operations were ever given the same one.

Pure. What must never happen here: an id that was given to an operation of unknown outcome counts as seen.
"""

from quorate.jepsen_like.history import History, HistoryError, Op
from quorate.jepsen_like.verdict import Verdict, judge

from .entries import Id, entries


def check_unique_ids(history: History, *, f: str = "generate", field: str | None = None) -> Verdict:
    """No two acknowledged operations got the same id, whatever their key.

    Expects pairs of `f` whose `ok` carries the id, an int or str, or with `field` a value that has it there
    (fences, say: `f="register", field="fence"`). (Jepsen's unique-ids checker.)
    """
    got: dict[Id, list[int]] = {}
    acknowledged = 0
    for pair in history.pairs(f):
        if pair.completed is not None and pair.outcome == "ok":
            acknowledged += 1
            got.setdefault(_id(pair.completed, field), []).append(pair.completed.index)
    problems = [
        f"{id_!r} was given {len(indices)} times ({entries(indices)})"
        for id_, indices in got.items()
        if len(indices) > 1
    ]
    return judge(
        "unique ids", problems, acknowledged, f"{acknowledged:,} ids, {len(got):,} of them different"
    )


def _id(op: Op, field: str | None) -> Id:
    value = op.value.get(field) if field is not None and isinstance(op.value, dict) else op.value
    if not isinstance(value, int | str):
        raise HistoryError(f"entry {op.index}: {op.f!r} needs an id, and has the value {op.value!r}")
    return value
