"""Reading entries of a history: what a checker needs of one, or a `HistoryError` that names it by index.

What must never happen here: a malformed entry is passed over, because a checker that skips what it does not
understand is blind.
"""

from collections.abc import Iterable

from quorate.jepsen_like.history import HistoryError, Op

Id = int | str


def key_of(op: Op) -> str:
    if op.key is None:
        raise HistoryError(f"entry {op.index}: {op.f!r} needs a key")
    return op.key


def integer(op: Op, value: object) -> int:
    if not isinstance(value, int):
        raise _malformed(op, "a number")
    return value


def amount_of(op: Op) -> int:
    """What a counter was to grow by: 1 when nothing is said. It never shrinks, or its bounds would mean nothing."""
    amount = 1 if op.value is None else integer(op, op.value)
    if amount < 0:
        raise _malformed(op, "a number that is not negative")
    return amount


def fence_and_owner(op: Op) -> tuple[int, str]:
    match op.value:
        case {"fence": int(fence), "owner": str(owner)}:
            return fence, owner
    raise _malformed(op, "a fence and an owner")


def id_of(op: Op, field: str = "id") -> Id:
    """The number or text that this field of the value holds."""
    match op.value:
        case {**value} if isinstance(found := value.get(field), int | str):
            return found
    raise _malformed(op, f"{field!r}, a number or a text")


def text_of(op: Op, field: str) -> str:
    match op.value:
        case {**value} if isinstance(found := value.get(field), str):
            return found
    raise _malformed(op, f"{field!r}, a text")


def entries(indices: Iterable[int]) -> str:
    """ "entry 3", or "entries 3 and 7"."""
    shown = [str(index) for index in indices]
    if len(shown) == 1:
        return f"entry {shown[0]}"
    return f"entries {', '.join(shown[:-1])} and {shown[-1]}"


def _malformed(op: Op, wanted: str) -> HistoryError:
    return HistoryError(f"entry {op.index}: {op.f!r} needs {wanted}, and has the value {op.value!r}")
