"""A reader of EDN, the notation that Jepsen writes its histories in.

    for line, value in read_edn(text): ...      # every top-level value, and the line on which it begins

nil, true, false, numbers, strings and characters become what they are in JSON; keywords and symbols become `Keyword`
and `Symbol`; lists and vectors, lists; sets, `EdnSet`; maps, dicts whose keys are texts. A tag (`#inst "..."`, a
record such as `#jepsen.history.Op{...}`) is dropped and its value kept; `#_` drops the value too. What must never
happen here: an ill-formed text that is read as something. Pure. (https://github.com/edn-format/edn)
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from quorate.jepsen_like.history import HistoryError

_TOKEN = re.compile(
    r"""[\s,]+ | ;[^\n]*
    | (?P<string>"(?:[^"\\]|\\.)*")
    | (?P<open>\#\{|[(\[{])
    | (?P<close>[)\]}])
    | (?P<discard>\#_)
    | (?P<tag>\#[A-Za-z][\w.*+!?$%&=<>/-]*)
    | (?P<char>\\(?:newline|return|space|tab|formfeed|backspace|u[0-9A-Fa-f]{4}|[^\s])(?![\w]))
    | (?P<atom>[^\s,;"()\[\]{}\\\#][^\s,;"()\[\]{}\\]*)""",
    re.VERBOSE | re.DOTALL,
)
_CLOSES = {"(": ")", "[": "]", "{": "}", "#{": "}"}
_INTEGER = re.compile(r"[+-]?(?:0|[1-9]\d*)N?")
_FLOAT = re.compile(r"[+-]?(?:0|[1-9]\d*)(?:\.\d*)?(?:[eE][+-]?\d+)?M?")
_NAME = re.compile(r"[A-Za-z*+!_?$%&=<>./|'-][\w*+!?$%&=<>.:/|'\#-]*")
_ESCAPE = re.compile(r"\\(u[0-9A-Fa-f]{4}|[0-7]{1,3}|.)", re.DOTALL)
_ESCAPES = {"t": "\t", "r": "\r", "n": "\n", "b": "\b", "f": "\f", "\\": "\\", '"': '"'}
_CHARACTERS = {
    "newline": "\n",
    "return": "\r",
    "space": " ",
    "tab": "\t",
    "formfeed": "\f",
    "backspace": "\b",
}
_CONSTANTS = {"nil": None, "true": True, "false": False}


class Keyword(str):
    """`:name`, without the colon."""

    __slots__ = ()


class Symbol(str):
    """A bare name."""

    __slots__ = ()


class EdnSet(list[Any]):
    """The elements of a `#{...}`, as written."""

    __slots__ = ()


class _Open:
    """A collection that is not closed yet, or the text as a whole. `prefixes` are tags and discards that wait."""

    __slots__ = ("bracket", "line", "prefixes", "values")

    def __init__(self, bracket: str, line: int) -> None:
        self.bracket = bracket
        self.line = line
        self.values: list[Any] = []
        self.prefixes: list[str] = []


def read_edn(text: str) -> Iterator[tuple[int, Any]]:
    """Every top-level value with the line on which it begins; lines count from 1. Raises `HistoryError`."""
    for line, value, _ in _read(text):
        yield line, value


def read_edn_entries(text: str) -> Iterator[tuple[int, Any]]:
    """The entries of a history: top-level values, or the elements of the one vector or list that holds them all."""
    for line, value, lines in _read(text):
        if isinstance(value, list) and not isinstance(value, EdnSet) and _holds_entries(value):
            yield from zip(lines, value, strict=True)
        else:
            yield line, value


def _holds_entries(value: list[Any]) -> bool:
    return all(isinstance(element, dict | list) for element in value)


def _read(text: str) -> Iterator[tuple[int, Any, list[int]]]:
    stack = [_Open("", 1)]
    lines: list[int] = []  # where the elements of the top-level collection begin
    at, line = 0, 1
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            raise HistoryError(f"line {line}: {text[at : at + 20].splitlines()[0]!r} is no EDN")
        at, here = token.end(), line
        line += token.group().count("\n")
        kind, word = token.lastgroup, token.group()
        if kind is None:
            continue
        top = stack[-1]
        if kind in ("discard", "tag"):
            top.prefixes.append(kind)
            continue
        if kind == "open":
            stack.append(_Open(word, here))
            continue
        if kind == "close":
            value, here = _close(stack, word, here)
            top = stack[-1]
        else:
            value = _scalar(kind, word, here)
        if _discarded(top):
            continue
        if len(stack) == 1:
            yield here, value, lines
            lines = []
        else:
            top.values.append(value)
            if len(stack) == 2:
                lines.append(here)
    _finish(stack, line)


def _finish(stack: list[_Open], line: int) -> None:
    if len(stack) > 1:
        raise HistoryError(f"line {line}: the {stack[-1].bracket!r} of line {stack[-1].line} is never closed")
    if stack[0].prefixes:
        raise HistoryError(f"line {line}: the text ends after a tag or #_")


def _discarded(top: _Open) -> bool:
    """Whether `#_` stands before the value that is complete now; tags are passed over."""
    while top.prefixes:
        if top.prefixes.pop() == "discard":
            return True
    return False


def _close(stack: list[_Open], word: str, line: int) -> tuple[Any, int]:
    done = stack[-1]
    if len(stack) == 1 or _CLOSES[done.bracket] != word:
        raise HistoryError(f"line {line}: {word!r} closes nothing that is open")
    if done.prefixes:
        raise HistoryError(f"line {line}: nothing follows a tag or #_")
    stack.pop()
    match done.bracket:
        case "{":
            if len(done.values) % 2:
                raise HistoryError(f"line {done.line}: a map with a key without a value")
            keys = [key if isinstance(key, str) else json.dumps(key) for key in done.values[::2]]
            if len(set(keys)) < len(keys):
                raise HistoryError(f"line {done.line}: a map with a key twice")
            return dict(zip(keys, done.values[1::2], strict=True)), done.line
        case "#{":
            return EdnSet(done.values), done.line
    return done.values, done.line


def _scalar(kind: str, word: str, line: int) -> Any:
    if kind == "string":
        return _ESCAPE.sub(lambda found: _unescape(found.group(1), line), word[1:-1])
    if kind == "char":
        name = word[1:]
        return _CHARACTERS.get(name) or (chr(int(name[1:], 16)) if len(name) == 5 else name)
    if word in _CONSTANTS:
        return _CONSTANTS[word]
    if word[0] == ":" and _NAME.fullmatch(word, 1):
        return Keyword(word[1:])
    if _INTEGER.fullmatch(word):
        return int(word.rstrip("N"))
    if _FLOAT.fullmatch(word):
        return float(word.rstrip("M"))
    if _NAME.fullmatch(word):
        return Symbol(word)
    raise HistoryError(f"line {line}: {word!r} is no EDN")


def _unescape(what: str, line: int) -> str:
    if what[0] == "u" and len(what) == 5:
        return chr(int(what[1:], 16))
    if what[0] in "01234567":
        return chr(int(what, 8))
    if what not in _ESCAPES:
        raise HistoryError(f"line {line}: a string with the escape \\{what}")
    return _ESCAPES[what]
