"""Histories for tests of checkers: written in a line per entry, or made from one by taking entries out and putting some in."""

import json
from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import Any

from quorate.jepsen_like.history import History, Op


def from_steps(*steps: str, key: str | None = "x") -> History:
    """Each step is "process type f", and perhaps a value in JSON; a millisecond apart, as in Jepsen's tests."""
    history = History()
    open_: dict[int, Op] = {}
    for number, step in enumerate(steps):
        process, type_, f, *rest = step.split(" ", 3)
        value: Any = json.loads(rest[0]) if rest else None
        if type_ == "invoke":
            open_[int(process)] = history.invoke(number / 1000, int(process), f, key, value)
        else:
            assert type_ in ("ok", "fail", "info")
            history.complete(number / 1000, open_.pop(int(process)), type_, value)  # type: ignore[arg-type]
    return history


def rebuilt(entries: Iterable[Op]) -> History:
    """The history of these entries in this order, numbered anew."""
    return History.parse(json.dumps(asdict(replace(op, index=index))) for index, op in enumerate(entries))
