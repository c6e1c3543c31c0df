"""Which message a selective receive takes: a type, a tuple pattern, a predicate, a value, or anything. Pure."""

from collections.abc import Callable
from types import UnionType
from typing import Any

Match = type | UnionType | tuple[object, ...] | Callable[[Any], object] | str | int | bytes | None


def matches(pattern: Any, message: object) -> bool:
    """Whether `message` is what `pattern` asks for.

    None takes anything; a type (or `A | B`) takes its instances; a tuple takes tuples of its length whose parts
    match, where `...` stands for anything, a type or a tuple for itself as here, and any other value for what is
    equal to it; a predicate takes what it is true of (what it raises comes out of `receive`); any other value takes
    what is equal to it.

    >>> matches(("price", str, ...), ("price", "XAU", 2400.5))
    True
    """
    if pattern is None:
        return True
    if isinstance(pattern, type | UnionType):
        return isinstance(message, pattern)
    if isinstance(pattern, tuple):
        return _tuple_matches(pattern, message)
    return bool(pattern(message) if callable(pattern) else pattern == message)


def _tuple_matches(pattern: tuple[object, ...], message: object) -> bool:
    if not isinstance(message, tuple) or len(pattern) != len(message):
        return False
    return all(_part_matches(part, value) for part, value in zip(pattern, message, strict=True))


def _part_matches(part: object, value: object) -> bool:
    if part is ...:
        return True
    if isinstance(part, type | UnionType):
        return isinstance(value, part)
    if isinstance(part, tuple):
        return _tuple_matches(part, value)
    return bool(part == value)
