"""Names as the store keeps them, and what the answers of the store to a registration mean. Pure.

The store is the authority over who owns a name; a node is the authority over whether its own processes live, and over
the sessions that it has given up.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from quorate.consensus import KeyValue, TxnResult
from quorate.core import Codec, DecodeError, GenServer, Pid

from .keys import NAMES, decode_name, encode_name

S_co = TypeVar("S_co", bound=GenServer, covariant=True)


@dataclass(frozen=True, slots=True)
class Name(Generic[S_co]):
    """A typed name: `LEDGER = Name(Ledger, "billing/ledger")`; look-ups of it give a `Ref[Ledger]`.

    `key` is what counts: two names with one key are one name, whatever their `kind`.
    """

    kind: type[S_co]
    key: object


@dataclass(frozen=True, slots=True)
class Entry:
    """A name, who owns it since which fence, and what else was registered with it."""

    name: object
    pid: Pid
    fence: int
    metadata: object
    session: int


def key_of(name: object) -> bytes:
    """The store key of a name (typed or any term). Raises `EncodeError`, `TooLarge`."""
    return NAMES + encode_name(term_of(name))


def term_of(name: object) -> object:
    """The term that a typed name stands for; any other name stands for itself."""
    return name.key if isinstance(name, Name) else name


def encode_record(codec: Codec, pid: Pid, metadata: object) -> bytes:
    """Raises `EncodeError` that names the part of `metadata` that cannot be stored."""
    return codec.encode([pid, metadata], "name record")


def decode_entry(codec: Codec, item: KeyValue) -> Entry:
    """Raises `DecodeError`."""
    record = codec.decode(item.value)
    if not (isinstance(record, list) and len(record) == 2 and isinstance(record[0], Pid)):
        raise DecodeError(f"{item.key!r} holds no name record")
    name = decode_name(item.key[len(NAMES) :])
    return Entry(name, record[0], item.create_revision, record[1], item.session)


@dataclass(frozen=True, slots=True)
class Won:
    """The name is ours since `fence`."""

    fence: int


@dataclass(frozen=True, slots=True)
class Replace:
    """What stands there is ours and dead: put the new owner in its place, if it still stands there."""

    fence: int


@dataclass(frozen=True, slots=True)
class Taken:
    """Somebody else owns it."""

    owner: Entry


@dataclass(frozen=True, slots=True)
class Gone:
    """It was taken a moment ago and is free now: try again."""


Decision = Won | Replace | Taken | Gone


def decide(
    codec: Codec, result: TxnResult, pid: Pid, session: int, is_dead_here: Callable[[Pid], bool]
) -> Decision:
    """What a registration of `pid` under `session` has come to: `result` ends with a put, or else with a get.

    `is_dead_here` says of a pid that it belongs to this start of this node and is dead.
    """
    item = result.results[-1]
    if item is None:
        return Gone()
    if result.succeeded:
        return Won(item.create_revision)
    owner = decode_entry(codec, item)
    if owner.pid == pid and owner.session == session:
        return Won(owner.fence)
    ours = (owner.pid.node, owner.pid.creation) == (pid.node, pid.creation)
    if is_dead_here(owner.pid) or (ours and owner.session < session):
        return Replace(owner.fence)  # dead, or registered in a session that this node has given up
    return Taken(owner)
