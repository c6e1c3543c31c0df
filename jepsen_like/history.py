"""Histories: what clients tried, what came of it, and when, in the form that Jepsen uses.

    history = History()
    started = history.invoke(now_s, process=3, f="increment", key="c7", value=1)
    history.complete(now_s, started, "ok", value=42)
    text = history.dump()          # JSON lines: index, time_ns, process, type, f, key, value

An operation is two entries: an `invoke`, and its completion: `ok` (it happened), `fail` (it certainly did not) or
`info` (nobody knows; it may yet happen). An `invoke` without a completion is the same as `info`. A process of a
history is one line of thought: it has at most one operation under way, and after an `info` it is not used again
(`new_process`). Witnesses, who tell of what they saw and not of what they asked for, write an `ok` alone (`note`).
Clients are numbers; everybody else (nodes that witness, the nemesis) has a name. A nemesis notes what it does as `info`,
as Jepsen's does: it is neither asked for nor answered by the system under test.

Values are JSON: null, true, false, numbers that are finite, texts, lists, and objects whose keys are texts. They are copied
when they are recorded, so that what happens to them later changes nothing, and tuples become lists, so that a history
which was written down and read again is equal to itself. Anything else is refused at once and not when it is too late.

The authority over the order of a history is its index: the order in which one recorder learned of things. Times are
of one clock. What must never happen here: an entry is changed after it was recorded, or a completion precedes its
invocation. Pure: no clock, no file. (The form: https://github.com/jepsen-io/history)
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from math import isfinite
from typing import Any, Literal, cast, get_args

from quorate.core import QuorateError

OpType = Literal["invoke", "ok", "fail", "info"]
Completion = Literal["ok", "fail", "info"]
Process = int | str

_NS = 1_000_000_000
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False).encode


class HistoryError(QuorateError):
    """A text is no history, or an entry cannot follow those before it; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Op:
    """One entry. `time_ns` counts from an arbitrary start; `value` is any JSON value, and depends on `f`."""

    index: int
    time_ns: int
    process: Process
    type: OpType
    f: str
    key: str | None = None
    value: Any = None

    @property
    def time_s(self) -> float:
        return self.time_ns / _NS


@dataclass(frozen=True, slots=True)
class Pair:
    """An operation: its invocation, and its completion if there is one."""

    invoked: Op
    completed: Op | None

    @property
    def outcome(self) -> Completion:
        """ "info" also when nothing came back."""
        if self.completed is None:
            return "info"
        assert self.completed.type != "invoke"
        return self.completed.type


class History:
    """A list of entries that only grows. `origin_s` is what times given to it are counted from."""

    def __init__(self, *, origin_s: float = 0.0) -> None:
        self._origin_s = origin_s
        self._ops: list[Op] = []
        self._open: dict[Process, Op] = {}
        self._last_process = -1

    def __len__(self) -> int:
        return len(self._ops)

    def __iter__(self) -> Iterator[Op]:
        return iter(self._ops)

    def __getitem__(self, index: int) -> Op:
        return self._ops[index]

    # -- recording -----------------------------------------------------------------------------------------

    def new_process(self) -> int:
        """A process number that was never used, here or in what was parsed."""
        self._last_process += 1
        return self._last_process

    def invoke(
        self, time_s: float, process: Process, f: str, key: str | None = None, value: Any = None
    ) -> Op:
        """An operation begins. Raises `HistoryError` when one of this process is under way, or for what is no JSON."""
        return self._append(time_s, process, "invoke", f, key, value)

    def complete(self, time_s: float, invoked: Op, type_: Completion, value: Any = None) -> Op:
        """An operation ends; without `value`, or with None, it keeps the invocation's.

        Raises `HistoryError` when it is not under way.
        """
        if self._open.get(invoked.process) is not invoked:
            raise HistoryError(f"operation {invoked.index} of process {invoked.process} is not under way")
        return self._append(
            time_s, invoked.process, type_, invoked.f, invoked.key, invoked.value if value is None else value
        )

    def note(
        self,
        time_s: float,
        process: Process,
        f: str,
        key: str | None = None,
        value: Any = None,
        *,
        type_: Completion = "ok",
    ) -> Op:
        """A witness tells of something, or the nemesis with `type_="info"`.

        Raises `HistoryError` when an operation of this process is under way.
        """
        if process in self._open:
            raise HistoryError(f"process {process} has operation {self._open[process].index} under way")
        return self._append(time_s, process, type_, f, key, value)

    def _append(
        self, time_s: float, process: Process, type_: OpType, f: str, key: str | None, value: Any
    ) -> Op:
        index = len(self._ops)
        if not isinstance(process, int | str) or not (key is None or isinstance(key, str)):
            raise HistoryError(
                f"entry {index}: a process is a number or a text, a key is a text or None; not {process!r}, {key!r}"
            )
        time_ns = round((time_s - self._origin_s) * _NS)
        op = Op(index, time_ns, process, type_, f, key, _json(value, index))
        self._admit(op)
        return op

    def _admit(self, op: Op) -> None:
        under_way = self._open.get(op.process)
        if op.type == "invoke":
            if under_way is not None:
                raise HistoryError(
                    f"entry {op.index}: process {op.process} invokes {op.f!r} while its operation "
                    f"{under_way.index} is under way"
                )
            self._open[op.process] = op
        elif under_way is not None:
            if (under_way.f, under_way.key) != (op.f, op.key):
                raise HistoryError(
                    f"entry {op.index}: process {op.process} completes {op.f!r} of {op.key!r}, but it has "
                    f"{under_way.f!r} of {under_way.key!r} under way"
                )
            del self._open[op.process]
        if isinstance(op.process, int) and op.process > self._last_process:
            self._last_process = op.process
        self._ops.append(op)

    # -- reading -------------------------------------------------------------------------------------------

    def pairs(self, f: str | None = None) -> list[Pair]:
        """The operations (of this `f`), in the order they were invoked; what witnesses noted is none."""
        pairs: dict[int, Pair] = {}
        under_way: dict[Process, Op] = {}
        for op in self._ops:
            if f is not None and op.f != f:
                continue  # a completion has the f of its invocation
            if op.type == "invoke":
                under_way[op.process] = op
                pairs[op.index] = Pair(op, None)
            elif op.process in under_way:
                invoked = under_way.pop(op.process)
                pairs[invoked.index] = Pair(invoked, op)
        return list(pairs.values())

    def notes(self, f: str) -> list[Op]:
        """What witnesses noted under this `f`, in the order recorded."""
        found: list[Op] = []
        under_way: set[Process] = set()
        for op in self._ops:
            if op.f != f:
                continue
            if op.type == "invoke":
                under_way.add(op.process)
            elif op.process in under_way:
                under_way.discard(op.process)
            else:
                found.append(op)
        return found

    # -- text ----------------------------------------------------------------------------------------------

    def lines(self) -> Iterator[str]:
        """Each entry as one line of JSON."""
        for op in self._ops:
            yield _encode(
                {
                    "index": op.index,
                    "time_ns": op.time_ns,
                    "process": op.process,
                    "type": op.type,
                    "f": op.f,
                    "key": op.key,
                    "value": op.value,
                }
            )

    def dump(self) -> str:
        return "".join(line + "\n" for line in self.lines())

    @classmethod
    def parse(cls, lines: Iterable[str]) -> "History":
        """The history that these lines are of; empty ones are skipped. Raises `HistoryError`."""
        history = cls()
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            op = _parse_op(line, number)
            if op.index != len(history):
                raise HistoryError(f"line {number}: index {op.index} where {len(history)} was expected")
            history._admit(op)
        return history


def _json(value: Any, index: int) -> Any:
    """A copy of a value of its own, in the form in which it would be read back."""
    match value:
        case None | bool() | int() | str():
            return value
        case float() if isfinite(value):
            return value
        case dict() if all(isinstance(key, str) for key in value):
            return {key: _json(item, index) for key, item in value.items()}
        case list() | tuple():
            return [_json(item, index) for item in value]
    raise HistoryError(
        f"entry {index}: {value!r} is no value of JSON, and a history could not be written with it"
    )


def _parse_op(line: str, number: int) -> Op:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise HistoryError(f"line {number} is no JSON: {error}") from error
    match record:
        case {
            "index": int(index),
            "time_ns": int(time_ns),
            "process": int() | str() as process,
            "type": str(type_),
            "f": str(f),
            **rest,
        } if type_ in get_args(OpType) and not rest.keys() - {"key", "value"}:
            key = rest.get("key")
            if key is None or isinstance(key, str):
                return Op(index, time_ns, process, cast(OpType, type_), f, key, rest.get("value"))
    wanted = ", ".join(field.name for field in fields(Op))
    raise HistoryError(f"line {number} is no entry: an object with {wanted} was expected")
