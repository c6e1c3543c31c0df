"""What all kinds of servers know of a handler: that none is in progress, that it refused, that it did not even begin.

No state. What must never happen here: a method that has begun counts as one whose arguments did not fit, for then its
caller would be told that nothing happened.
"""

from collections.abc import Awaitable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from .errors import CallError

R = TypeVar("R")

NOTHING = object()  # no message is in progress


class Refused(Exception):
    """Carries an answer that does no harm to the server."""

    def __init__(self, answer: CallError) -> None:
        self.answer = answer


def did_not_fit(error: BaseException, frames: int) -> bool:
    """Whether a method was called with arguments that it does not take: then no line of it has run.

    The traceback has `frames` of ours, and one of the method if it began.
    """
    trace = error.__traceback__
    for _ in range(frames - 1):
        trace = trace.tb_next if trace is not None else None
    return isinstance(error, TypeError) and trace is not None and trace.tb_next is None


def run_init(thing: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """The part of `type(thing)(*args, **kwargs)` that comes after `__new__`. Raises `TypeError` for an `async` one."""
    result = type(thing).__init__(thing, *args, **kwargs)
    if result is not None:
        if isinstance(result, Coroutine):
            result.close()
        raise TypeError(f"{type(thing).__qualname__}.__init__ must be a `def` and return None")


async def awaiting(awaitable: Awaitable[R]) -> R:
    """A coroutine of whatever can be awaited."""
    return await awaitable
