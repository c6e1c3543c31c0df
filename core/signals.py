"""What one node tells another about processes: the signals, and their form on the wire. Pure.

A frame is a msgpack array of the signal's number and its fields; values of users (`body`, `args`, `reason`) are bytes
inside it that a `Codec` made, so that a value nobody here knows spoils one message and not the link. The sender of a
frame is the peer of its link: only the serial of the sending process is in it. Addressed processes carry their
creation, so that no signal ever reaches a process of another life of the node.

What must never happen here: `decode` accepts a frame whose shape is not exactly that of one signal, or raises anything
but `DecodeError`.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

from .codec import pack, unpack
from .errors import DecodeError
from .pid import Pid

CHAIN_LIMIT = 1000  # processes that wait for one another
_LIMIT = 2**63


@dataclass(frozen=True, slots=True)
class Signal:
    """One signal. Serials, creations and ids are integers from 0."""

    op: ClassVar[int] = 0


@dataclass(frozen=True, slots=True)
class Send(Signal):
    """A message to a pid."""

    op: ClassVar[int] = 1
    to: int
    creation: int
    body: bytes


@dataclass(frozen=True, slots=True)
class SendName(Signal):
    """A message to a local name of the receiving node."""

    op: ClassVar[int] = 2
    name: str
    body: bytes


@dataclass(frozen=True, slots=True)
class SendAlias(Signal):
    """A message to an alias of a process."""

    op: ClassVar[int] = 3
    alias: int
    creation: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Call(Signal):
    """A call of a method, of the process `to` or (when that is 0) the one named `name`.

    The answer goes to `alias` on `reply_node` ("": the sender of this frame); alias 0: a cast, no answer. `chain` holds
    (node, creation, serial) of each process that waits for it.
    """

    op: ClassVar[int] = 4
    to: int
    creation: int
    name: str
    method: str
    args: bytes
    alias: int
    reply_node: str
    reply_creation: int
    chain: tuple[Pid, ...]


@dataclass(frozen=True, slots=True)
class Answer(Signal):
    """The answer to a call or a start; `kind` says how to read `body` (`answers.py`)."""

    op: ClassVar[int] = 5
    alias: int
    creation: int
    kind: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Forwarded(Signal):
    """The call behind `alias` was sent on to `node`: it is lost only if that node is lost."""

    op: ClassVar[int] = 6
    alias: int
    creation: int
    node: str


@dataclass(frozen=True, slots=True)
class ExitTo(Signal):
    """An exit signal; `linked` is 1 when a link carried it and 0 when it was sent explicitly."""

    op: ClassVar[int] = 7
    source: int
    to: int
    creation: int
    linked: int
    reason: bytes


@dataclass(frozen=True, slots=True)
class Link(Signal):
    """`source` has linked itself to `to`."""

    op: ClassVar[int] = 8
    source: int
    to: int
    creation: int


@dataclass(frozen=True, slots=True)
class Unlink(Signal):
    """`source` has unlinked itself from `to`; to be acknowledged with `id`."""

    op: ClassVar[int] = 9
    source: int
    to: int
    creation: int
    id: int


@dataclass(frozen=True, slots=True)
class Unlinked(Signal):
    """The acknowledgement of an `Unlink` of `to`."""

    op: ClassVar[int] = 10
    source: int
    to: int
    creation: int
    id: int


@dataclass(frozen=True, slots=True)
class Monitor(Signal):
    """Somebody there monitors `to`; `id` is the sender's."""

    op: ClassVar[int] = 11
    id: int
    to: int
    creation: int


@dataclass(frozen=True, slots=True)
class Demonitor(Signal):
    """The monitor `id` of the sender is no longer wanted."""

    op: ClassVar[int] = 12
    id: int


@dataclass(frozen=True, slots=True)
class Gone(Signal):
    """What the receiver monitors with `id` is gone."""

    op: ClassVar[int] = 13
    id: int
    reason: bytes


@dataclass(frozen=True, slots=True)
class Start(Signal):
    """Start what is exported there as `name`; the answer to `alias` is its pid."""

    op: ClassVar[int] = 14
    name: str
    args: bytes
    alias: int
    reply_creation: int


_SIGNALS: tuple[type[Signal], ...] = (
    Send,
    SendName,
    SendAlias,
    Call,
    Answer,
    Forwarded,
    ExitTo,
    Link,
    Unlink,
    Unlinked,
    Monitor,
    Demonitor,
    Gone,
    Start,
)
_SHAPES: dict[int, tuple[type[Signal], tuple[Any, ...]]] = {
    kind.op: (kind, tuple(field.type for field in dataclasses.fields(kind))) for kind in _SIGNALS
}

_NAMES = {kind.op: tuple(field.name for field in dataclasses.fields(kind)) for kind in _SIGNALS}


def encode(signal: Signal) -> bytes:
    """The frame of a signal."""
    fields: list[Any] = [getattr(signal, name) for name in _NAMES[signal.op]]
    if isinstance(signal, Call):
        fields[-1] = [[pid.node, pid.creation, pid.serial] for pid in signal.chain]
    return pack([signal.op, *fields])


def decode(data: bytes | memoryview) -> Signal:
    """The signal in a frame. Raises `DecodeError`."""
    fields = unpack(data)
    if type(fields) is not list or not fields or type(fields[0]) is not int:
        raise DecodeError("no signal: an array that begins with a number was expected")
    op = fields.pop(0)
    known = _SHAPES.get(op)
    if known is None:
        raise DecodeError(f"unknown signal {op}")
    kind, shape = known
    if len(fields) != len(shape):
        raise DecodeError(f"{kind.__name__} has {len(shape)} fields, not {len(fields)}")
    for index, expected in enumerate(shape):
        value = fields[index]
        if expected is int:
            if type(value) is not int or not 0 <= value < _LIMIT:
                raise DecodeError(f"field {index} of {kind.__name__} is no number from 0 to 2^63")
        elif expected is bytes or expected is str:
            if type(value) is not expected:
                raise DecodeError(f"field {index} of {kind.__name__} is not {expected.__name__}")
        else:
            fields[index] = _chain(value)
    return kind(*fields)


def _chain(value: object) -> tuple[Pid, ...]:
    if type(value) is not list or len(value) > CHAIN_LIMIT:
        raise DecodeError(f"a chain of calls is a list of at most {CHAIN_LIMIT} pids")
    return tuple(_pid(part) for part in value)


def _pid(value: object) -> Pid:
    match value:
        case [str(node), int(creation), int(serial)]:
            return Pid(node, creation, serial)
    raise DecodeError("no pid: [node, creation, serial] was expected")
