"""What hosts and routers tell each other about one singleton: the bodies of their letters. All frozen values.

`delivery.py` and `routing.py` bring `Parcel`, `Flush`, `Bounce`, `Flushed` and `Lost`. The contents of messages and the
state of singletons travel as bytes inside, so that what one node cannot decode harms one message and nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from quorate.core import Codec, Exports, Pid

from .delivery import Bounce, Flush, Flushed, Lost, Parcel
from .routing import Owner, Posted

FORMAT = 1  # part of every exported name: another shape is another name


@dataclass(frozen=True, slots=True)
class Letter:
    """Something about the singleton called `name` (in its bytes)."""

    name: bytes
    item: object


@dataclass(frozen=True, slots=True)
class Call:
    """A call or cast, within a node."""

    method: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    chain: tuple[Pid, ...]


@dataclass(frozen=True, slots=True)
class PackedCall:
    """A call or cast, between nodes."""

    method: str
    arguments: bytes
    chain: tuple[Pid, ...]


@dataclass(frozen=True, slots=True)
class Plain:
    """A plain message, within a node."""

    message: object


@dataclass(frozen=True, slots=True)
class PackedPlain:
    """A plain message, between nodes."""

    message: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to the call `sequence` of a router, as `core` encodes answers."""

    sequence: int
    kind: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Prepare:
    """Keep this state: it is yours if the store makes you the owner after `fence`. `host` awaits `Prepared`."""

    host: Pid
    fence: int
    attempt: int
    state: bytes


@dataclass(frozen=True, slots=True)
class Prepared:
    """The state is kept, for as long as this session lives. `session` 0: it is not, look for somebody else."""

    fence: int
    attempt: int
    session: int


@dataclass(frozen=True, slots=True)
class Forget:
    """What was prepared with this fence is not needed."""

    fence: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Offer:
    """State that was parked on `node` with `fence`. `host` awaits `Taken`."""

    host: Pid
    node: str
    fence: int
    state: bytes


@dataclass(frozen=True, slots=True)
class Taken:
    """The owner has reconciled itself with what was parked with this fence, or has had it before."""

    fence: int


def export_letters(exports: Exports) -> None:
    """Let these travel. Harmless when they do already."""
    kinds = (Letter, PackedCall, PackedPlain, Answer, Prepare, Prepared, Forget, Offer, Taken)
    for kind in (*kinds, Owner, Posted, Parcel, Flush, Bounce, Flushed, Lost):
        exports.export(kind, f"quorate.singleton.{FORMAT}.{kind.__name__}")


def pack_content(codec: Codec, content: object) -> object:
    """The contents of a message for another node. Raises `EncodeError`, `TooLarge`."""
    if isinstance(content, Call):
        return PackedCall(content.method, codec.encode_call(content.args, content.kwargs), content.chain)
    if isinstance(content, Plain):
        return PackedPlain(codec.encode(content.message))
    return content


def unpack_content(codec: Codec, content: object) -> Call | Plain:
    """The contents of a message as the owner needs them. Raises `DecodeError`."""
    if isinstance(content, PackedCall):
        args, kwargs = codec.decode_call(content.arguments)
        return Call(content.method, tuple(args), kwargs, content.chain)
    if isinstance(content, PackedPlain):
        return Plain(codec.decode(content.message))
    assert isinstance(content, Call | Plain)
    return content
