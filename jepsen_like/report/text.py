"""Texts of a run, made fit to be shown: nothing in a history can become markup, script or an invisible character.

Histories hold whatever clients sent, so every text is hostile until it went through here. What must never happen: a
text that reaches a page by another way.
"""

import json
from typing import Any

_NS_UNITS = ((1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs"), (1, "ns"))
_MARKUP = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}


def plain(text: str) -> str:
    """The same text with what cannot be seen, or not be encoded, written as an escape (`\\x00`, `\\ud800`, `\\u202e`)."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode("ascii") for c in text
    )


def escape(text: object) -> str:
    """A text for HTML: as content or between double quotes."""
    shown = plain(str(text))
    for char, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("'", "&#x27;")):
        shown = shown.replace(char, entity)
    return shown


def value_text(value: Any) -> str:
    """A JSON value as JSON; what is none as Python shows it."""
    return plain(json.dumps(value, ensure_ascii=False, default=repr))


def brief(value: Any) -> str:
    """A value for tight places: an object without its punctuation, the rest as JSON."""
    if isinstance(value, dict):
        return plain(", ".join(f"{key} {_bare(item)}" for key, item in value.items()))
    return _bare(value)


def _bare(value: Any) -> str:
    return plain(value) if isinstance(value, str) else value_text(value)


def figure(value: Any) -> str:
    """A figure of a run: numbers with separators, texts as they are, the rest as JSON."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _bare(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"


def embedded(data: object) -> str:
    """JSON that can stand inside a script element: plain ASCII, and no character that HTML knows."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    for char, escaped in _MARKUP.items():
        text = text.replace(char, escaped)
    return text


def duration(ns: float) -> str:
    """Nanoseconds for people, in the unit that fits: `0 s`, `830 µs`, `12.3 ms`, `4.56 s`."""
    for unit_ns, unit in _NS_UNITS:
        if abs(ns) >= unit_ns:
            number = ns / unit_ns
            return f"{number:,.0f} {unit}" if abs(number) >= 999.5 else f"{number:.3g} {unit}"
    return "0 s"


def seconds(ns: float) -> str:
    """A time of the history, in seconds to the microsecond, without idle zeros: `12.5 s`."""
    text = f"{ns / 1e9:,.6f}".rstrip("0").rstrip(".")
    return f"{text} s"


def count(number: int, noun: str) -> str:
    """`1 fault`, `2 faults`, `1,200 operations`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
