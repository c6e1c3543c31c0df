"""The records of singletons in the store, as values and as bytes. Pure. (`keys.py` says where they are.)

What every node must be able to read is plain; the state of a singleton is the user's, encoded apart.
"""

from dataclasses import dataclass

from quorate.consensus import KeyValue
from quorate.core import Codec, DecodeError, Pid

from .ownership import Own

CHECKPOINT_ON_MOVE_BYTES = 256 * 1024  # a handed-over state up to this size is stored as a checkpoint too
HANDED_OVER_LIMIT = 32


@dataclass(frozen=True, slots=True)
class Want:
    """A singleton that should run: the exported name of its class, its name, and the node it is pinned to."""

    kind: str
    key: object
    pin: str | None = None
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state that the ownership `fence` left, encoded."""

    fence: int
    data: bytes


def encode_want(codec: Codec, want: Want) -> bytes:
    return codec.encode([want.kind, want.key, want.pin])


def decode_want(codec: Codec, item: KeyValue) -> Want:
    """Raises `DecodeError`."""
    match codec.decode(item.value):
        case [str(kind), key, (str() | None) as pin]:
            return Want(kind, key, pin, item.mod_revision)
    raise _bad(item)


def encode_assignment(codec: Codec, node: str) -> bytes:
    return codec.encode([node])


def decode_assignment(codec: Codec, item: KeyValue) -> str:
    """The node. Raises `DecodeError`."""
    match codec.decode(item.value):
        case [str(node)]:
            return node
    raise _bad(item)


def encode_own(codec: Codec, own: Own) -> bytes:
    return codec.encode([own.node, own.creation, own.host, own.after, own.attempt])


def decode_own(codec: Codec, item: KeyValue) -> Own:
    """Raises `DecodeError`."""
    match codec.decode(item.value):
        case [str(node), int(creation), Pid() as host, int(after), int(attempt)]:
            return Own(node, creation, host, after, attempt, item.mod_revision, item.session)
    raise _bad(item)


def encode_checkpoint(codec: Codec, checkpoint: Checkpoint) -> bytes:
    return codec.encode([checkpoint.fence, checkpoint.data], "checkpoint")


def decode_checkpoint(codec: Codec, item: KeyValue) -> Checkpoint:
    """Raises `DecodeError`."""
    match codec.decode(item.value):
        case [int(fence), bytes(data)]:
            return Checkpoint(fence, data)
    raise _bad(item)


def encode_handed_over(codec: Codec, fences: tuple[int, ...]) -> bytes:
    return codec.encode(list(fences[-HANDED_OVER_LIMIT:]))


def decode_handed_over(codec: Codec, item: KeyValue | None) -> tuple[int, ...]:
    """The fences of the last ownerships that were handed over. Raises `DecodeError`."""
    if item is None:
        return ()
    fences = codec.decode(item.value)
    if isinstance(fences, list) and all(isinstance(fence, int) for fence in fences):
        return tuple(fences)
    raise _bad(item)


def _bad(item: KeyValue) -> DecodeError:
    return DecodeError(f"{item.key!r} holds no such record")
