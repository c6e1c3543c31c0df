"""Histories as others write them, from their text.

    JSON lines   ours: {"index":0,"time_ns":0,"process":3,"type":"invoke","f":"read","key":null,"value":null}
    EDN          Jepsen's and Knossos's, a map per line or all in one vector or list:
                 {:process 3, :type :invoke, :f :read, :value nil}; also Porcupine's kv files, which have a :key
    logs         Porcupine's etcd logs: INFO  jepsen.util - 3    :invoke    :cas    [1 2]

Which it is shows in the first character that is no comment. In EDN, keywords become texts, and entries that name no
`:index` are numbered as they come. An entry of an unknown type is an error, and so is one that cannot follow those
before it; the message names the line. What must never happen here: an entry that is skipped in silence. Pure: whoever
calls has read the file.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast, get_args

from quorate.jepsen_like.history import Completion, History, HistoryError, Op, OpType, Process

from .edn import EdnSet, Keyword, read_edn, read_edn_entries

_LOG = re.compile(r"INFO\s+jepsen\.util\s+-\s+(\S+)\s+:(\w+)\s+:([\w-]+)\s+(.*)")
_NS = 1_000_000_000
_FIELDS: tuple[str, ...] = ("process", "type", "f", "value")


@dataclass(frozen=True, slots=True)
class _Entry:
    line: int
    time_ns: int
    process: Process
    type: OpType
    f: str
    key: str | None
    value: Any


def parse_history(text: str) -> History:
    """The history that this text holds, in whichever form. Raises `HistoryError`, which names the line."""
    first = re.search(r"^\s*(?!;)(\S.*)$", text, re.MULTILINE)
    if first is None:
        raise HistoryError("the history is empty")
    start = first.group(1)
    if re.match(r'\{\s*("|\})', start):
        return History.parse(text.splitlines())
    if start.startswith("INFO"):
        return _history(_log_entries(text))
    if start[0] in "{[(#":
        return _history(_edn_entries(text))
    raise HistoryError(
        f"line {text.count(chr(10), 0, first.start(1)) + 1}: neither JSON lines, nor EDN, nor a log of "
        f"jepsen.util: {start[:40]!r}"
    )


def _history(entries: Iterable[_Entry]) -> History:
    history = History()
    under_way: dict[Process, Op] = {}
    for entry in entries:
        time_s = entry.time_ns / _NS
        try:
            if entry.type == "invoke":
                under_way[entry.process] = history.invoke(
                    time_s, entry.process, entry.f, entry.key, entry.value
                )
            elif (invoked := under_way.pop(entry.process, None)) is None:
                _note(history, entry)
            elif (invoked.f, invoked.key) != (entry.f, entry.key):
                raise HistoryError(
                    f"process {entry.process} completes {entry.f!r} of {entry.key!r}, but it has {invoked.f!r} of "
                    f"{invoked.key!r} under way"
                )
            else:
                history.complete(time_s, invoked, entry.type, entry.value)
        except HistoryError as error:
            raise HistoryError(f"line {entry.line}: {error}") from None
    return history


def _note(history: History, entry: _Entry) -> None:
    """What was not asked for: a nemesis tells what it did. A client cannot be told what it did not ask."""
    if isinstance(entry.process, int) and entry.type in ("ok", "fail"):
        raise HistoryError(f"process {entry.process} completes {entry.f!r}, but it has nothing under way")
    history.note(
        entry.time_ns / _NS,
        entry.process,
        entry.f,
        entry.key,
        entry.value,
        type_=cast(Completion, entry.type),
    )


# -- EDN -----------------------------------------------------------------------------------------------------


def _edn_entries(text: str) -> Iterator[_Entry]:
    for number, (line, value) in enumerate(read_edn_entries(text)):
        if isinstance(value, list) and len(value) == 4:  # the oldest form: [process type f value]
            value = dict(zip(_FIELDS, value, strict=True))
        if not isinstance(value, dict):
            raise HistoryError(f"line {line}: a map with :process, :type, :f and :value was expected")
        yield _edn_entry(line, number, value)


def _edn_entry(line: int, number: int, found: dict[str, Any]) -> _Entry:
    missing = [f":{name}" for name in ("process", "type", "f") if name not in found]
    if missing:
        raise HistoryError(f"line {line}: an entry without {', '.join(missing)}")
    process, type_, f, key = found["process"], found["type"], found["f"], found.get("key")
    if type_ not in get_args(OpType):
        raise HistoryError(f"line {line}: {type_!r} is no type; there are {', '.join(get_args(OpType))}")
    if isinstance(process, bool) or not isinstance(process, int | str):
        raise HistoryError(f"line {line}: {process!r} is no process")
    time_ns = found.get("time", number)
    return _Entry(
        line,
        time_ns if isinstance(time_ns, int) else number,
        process if isinstance(process, int) else str(process),
        cast(OpType, str(type_)),
        str(f),
        None if key is None else str(key),
        _plain(found.get("value")),
    )


def _plain(value: Any) -> Any:
    """As in JSON: keywords and symbols are texts, sets are sorted lists."""
    if isinstance(value, EdnSet):
        return sorted((_plain(part) for part in value), key=repr)
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    return str(value) if isinstance(value, str) else value


# -- logs of jepsen.util -------------------------------------------------------------------------------------


def _log_entries(text: str) -> Iterator[_Entry]:
    for line, words in enumerate(text.splitlines(), start=1):
        if not words.strip():
            continue
        found = _LOG.fullmatch(words.strip())
        if found is None:
            raise HistoryError(f"line {line}: no entry of jepsen.util: {words[:60]!r}")
        process, type_, f, rest = found.groups()
        if not process.isdecimal():
            raise HistoryError(f"line {line}: {process!r} is no process")
        try:
            values = [value for _, value in read_edn(rest)]
        except HistoryError as error:
            raise HistoryError(f"line {line}: {rest!r} is no value ({error})") from None
        if type_ not in get_args(OpType) or len(values) != 1:
            raise HistoryError(f"line {line}: a type, an f and one value were expected")
        value = None if isinstance(values[0], Keyword) else _plain(values[0])  # :timed-out and its like
        yield _Entry(line, line, int(process), cast(OpType, type_), f, None, value)
