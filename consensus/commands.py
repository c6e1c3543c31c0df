"""What goes into the replicated log, as values and as bytes.

A command is a msgpack array `[kind, ...]`. Whoever proposes checks limits (`encode`, and `admit` for bytes
from another node); whoever applies only decodes. A limit may therefore change between versions without old
entries meaning something else, whereas `decode` must accept and refuse the same bytes in every version that
shares a log. A new kind, or a new field of an old kind, may be proposed only once every voter knows it.

`decode` raises `ValueError` for anything else than a well-formed command, and nothing but `ValueError`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from quorate.core import DecodeError, EncodeError, TooLarge, pack, unpack

from .store import (
    KEY_LIMIT_BYTES,
    NO_SESSION,
    OPS_LIMIT,
    VALUE_LIMIT_BYTES,
    Compare,
    Delete,
    Get,
    Op,
    Put,
)

COMMAND_LIMIT_BYTES = (
    3 * 1024 * 1024
)  # of one encoded command: with what Raft adds, under the limit of a frame
NAME_LIMIT_BYTES = 512  # a holder's node name
TOKEN_LIMIT_BYTES = 64  # a nonce or the identity of a data directory
TTL_LIMIT_S = 24 * 3600.0
_INTEGER_END: Final = 2**63

_OPEN, _CLOSE, _EXPIRE, _REQUEST = 1, 2, 3, 4
_PUT, _DELETE, _GET = 0, 1, 2
_Target = Literal["create", "mod", "version", "value", "session"]
_Relation = Literal["==", "!=", "<", ">"]
_TARGETS: tuple[_Target, ...] = ("create", "mod", "version", "value", "session")
_RELATIONS: tuple[_Relation, ...] = ("==", "!=", "<", ">")
_TARGET_CODES = {name: code for code, name in enumerate(_TARGETS)}
_RELATION_CODES = {name: code for code, name in enumerate(_RELATIONS)}
_VALUE, _SESSION = _TARGET_CODES["value"], _TARGET_CODES["session"]


@dataclass(frozen=True, slots=True)
class OpenSession:
    """Give `holder` a session. `nonce` makes a resent one harmless: one living session per nonce.

    `creation` counts the starts of the node, `dir_id` names its data directory. The directory's lock proves
    that an incarnation with a lower creation is dead, so its sessions are closed at once. An empty `dir_id`
    proves nothing and closes nothing.
    """

    nonce: bytes
    holder: str
    creation: int
    dir_id: bytes
    ttl_s: float


@dataclass(frozen=True, slots=True)
class CloseSession:
    """End one session: its holder has stopped acting under it, or is known to be dead."""

    session: int


@dataclass(frozen=True, slots=True)
class ExpireSessions:
    """End sessions whose time is over by the leader's clock."""

    sessions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Txn:
    """If every compare of `if_` holds do `then`, else `else_`, in order; later operations see earlier ones."""

    if_: tuple[Compare, ...]
    then: tuple[Op, ...]
    else_: tuple[Op, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """A transaction of one client, done once however often it comes.

    `sequence` counts the requests of `session` from 1. Results of sequences below `acked_below` have reached
    the client, which will never ask for them again; so `acked_below <= sequence`.
    """

    session: int
    sequence: int
    acked_below: int
    txn: Txn


Command = OpenSession | CloseSession | ExpireSessions | Request


def encode(command: Command) -> bytes:
    """The bytes of `command`, to be proposed.

    Raises `TooLarge`, and `EncodeError` for a value of a wrong type.
    """
    packed: bytes
    match command:
        case Request():
            packed = _pack_request(command)
        case OpenSession():
            packed = _pack_open(command)
        case CloseSession(session):
            packed = pack((_CLOSE, _integer(session, "session")))
        case ExpireSessions(sessions):
            packed = pack((_EXPIRE, [_integer(session, "sessions") for session in sessions]))
        case _:
            raise EncodeError(f"{type(command).__name__} is no command")
    if len(packed) > COMMAND_LIMIT_BYTES:
        raise TooLarge(
            f"the request has {len(packed)} bytes, the limit is {COMMAND_LIMIT_BYTES}: split it",
            size_bytes=len(packed),
            limit_bytes=COMMAND_LIMIT_BYTES,
        )
    return packed


def admit(data: bytes) -> Command:
    """Decode a command that came from another node and is to be proposed here, and check its limits.

    Raises `ValueError` for bytes that are no command, and `TooLarge`.
    """
    command = decode(data)
    try:
        encode(command)
    except EncodeError as error:  # well-formed for the log, but nothing that a client of this version sends
        raise ValueError(str(error)) from error
    return command


def decode(data: bytes) -> Command:
    """The command that `data` stands for. Raises `ValueError` for anything else."""
    try:
        raw = unpack(data, use_list=False)
    except DecodeError as error:
        if isinstance(error.__cause__, MemoryError):
            raise error.__cause__ from None  # this replica's trouble: it must not look like a refused command
        raise ValueError(str(error)) from error
    if type(raw) is not tuple or not raw or type(raw[0]) is not int:
        raise ValueError("a command is an array that begins with its kind")
    kind = raw[0]
    if kind == _REQUEST:
        return _unpack_request(raw)
    if kind == _OPEN:
        return _unpack_open(raw)
    if kind == _CLOSE:
        _, session = raw
        return CloseSession(_checked_integer(session))
    if kind == _EXPIRE:
        _, sessions = raw
        if type(sessions) is not tuple:
            raise ValueError("sessions must be an array")
        return ExpireSessions(tuple([_checked_integer(session) for session in sessions]))
    raise ValueError(f"unknown kind of command {kind}")


# Encoding


def _pack_request(request: Request) -> bytes:
    _integer(request.session, "session")
    _integer(request.sequence, "sequence")
    _integer(request.acked_below, "acked_below")
    if request.acked_below > request.sequence:
        raise EncodeError("acked_below is above the sequence", "acked_below")
    txn = request.txn
    for part, name in ((txn.if_, "if_"), (txn.then, "then"), (txn.else_, "else_")):
        if len(part) > OPS_LIMIT:
            raise TooLarge(f"{name} has {len(part)} parts, the limit is {OPS_LIMIT}: split the transaction")
    packed = pack(
        (
            _REQUEST,
            request.session,
            request.sequence,
            request.acked_below,
            [_pack_compare(compare, number) for number, compare in enumerate(txn.if_)],
            _pack_ops(txn.then, "then"),
            _pack_ops(txn.else_, "else_"),
        )
    )
    return packed


def _pack_compare(compare: Compare, number: int) -> tuple[bytes, int, int, int | bytes]:
    try:
        target = _TARGET_CODES[compare.target]
        relation = _RELATION_CODES[compare.op]
    except (KeyError, TypeError, AttributeError):
        raise EncodeError(f"{compare!r} is no compare", f"if_[{number}]") from None
    value = compare.value
    if target == _SESSION:
        return b"", target, 0, _integer(value, f"if_[{number}].value")
    if target == _VALUE:
        _bytes(value, f"if_[{number}].value", VALUE_LIMIT_BYTES)
    elif type(value) is not int or not -_INTEGER_END <= value < _INTEGER_END:
        raise EncodeError(f"{compare.target} is compared with an integer", f"if_[{number}].value")
    _bytes(compare.key, f"if_[{number}].key", KEY_LIMIT_BYTES)
    return compare.key, target, relation, value


def _pack_ops(ops: Sequence[Op], branch: str) -> list[tuple[Any, ...]]:
    packed: list[tuple[Any, ...]] = []
    for number, op in enumerate(ops):
        kind = type(op)
        if kind is Put:
            assert isinstance(op, Put)
            if type(op.value) is not bytes or len(op.value) > VALUE_LIMIT_BYTES:
                _bytes(op.value, f"{branch}[{number}].value", VALUE_LIMIT_BYTES)
            _integer(op.session, f"{branch}[{number}].session")
            packed.append((_PUT, op.key, op.value, op.session))
        elif kind is Delete:
            packed.append((_DELETE, op.key))
        elif kind is Get:
            packed.append((_GET, op.key))
        else:
            raise EncodeError(f"{op!r} is no operation", f"{branch}[{number}]")
        if type(op.key) is not bytes or len(op.key) > KEY_LIMIT_BYTES:
            _bytes(op.key, f"{branch}[{number}].key", KEY_LIMIT_BYTES)
    return packed


def _pack_open(command: OpenSession) -> bytes:
    _bytes(command.nonce, "nonce", TOKEN_LIMIT_BYTES)
    _bytes(command.dir_id, "dir_id", TOKEN_LIMIT_BYTES)
    _integer(command.creation, "creation")
    try:
        size_bytes = len(command.holder.encode())
    except (AttributeError, UnicodeEncodeError):
        raise EncodeError("a holder is a string that UTF-8 can say", "holder") from None
    if size_bytes > NAME_LIMIT_BYTES:
        raise EncodeError(f"a holder's name has at most {NAME_LIMIT_BYTES} bytes", "holder")
    if type(command.ttl_s) not in (int, float) or not 0.0 < command.ttl_s <= TTL_LIMIT_S:
        raise EncodeError(f"a session's ttl is above 0 and at most {TTL_LIMIT_S:g} s", "ttl_s")
    fields = command.nonce, command.holder, command.creation, command.dir_id, float(command.ttl_s)
    return pack((_OPEN, *fields))


def _integer(value: object, path: str) -> int:
    if type(value) is not int or not 0 <= value < _INTEGER_END:
        raise EncodeError(f"{path} must be an integer from 0 to 2**63 - 1, not {value!r}", path)
    return value


def _bytes(value: object, path: str, limit_bytes: int) -> None:
    if type(value) is not bytes:
        raise EncodeError(f"{path} must be bytes, not {type(value).__name__}", path)
    if len(value) > limit_bytes:
        raise TooLarge(
            f"{path} has {len(value)} bytes, the limit is {limit_bytes}",
            size_bytes=len(value),
            limit_bytes=limit_bytes,
        )


# Decoding


def _unpack_request(raw: tuple[Any, ...]) -> Request:
    _, session, sequence, acked_below, if_, then, else_ = raw
    if type(session) is not int or type(sequence) is not int or type(acked_below) is not int:
        raise ValueError("session, sequence and acked_below must be integers")
    if not (0 <= session < _INTEGER_END and 0 <= acked_below <= sequence < _INTEGER_END):
        raise ValueError("session, sequence or acked_below out of range")
    if type(if_) is not tuple or type(then) is not tuple or type(else_) is not tuple:
        raise ValueError("the parts of a transaction must be arrays")
    txn = Txn(
        tuple([_unpack_compare(item) for item in if_]) if if_ else (),
        tuple([_unpack_op(item) for item in then]) if then else (),
        tuple([_unpack_op(item) for item in else_]) if else_ else (),
    )
    return Request(session, sequence, acked_below, txn)


def _unpack_compare(raw: object) -> Compare:
    if type(raw) is not tuple:
        raise ValueError("a compare must be an array")
    key, target, relation, value = raw
    if type(key) is not bytes or type(target) is not int or type(relation) is not int:
        raise ValueError("a compare is [key, target, relation, value]")
    if not (0 <= target <= _SESSION and 0 <= relation < 4):
        raise ValueError("unknown target or relation of a compare")
    if type(value) is not (bytes if target == _VALUE else int):
        raise ValueError("a compare's value has the wrong type")
    if type(value) is int and not -_INTEGER_END <= value < _INTEGER_END:
        raise ValueError("a compare's value is out of range")
    if target == _SESSION and (key or relation or _checked_integer(value) < 0):
        raise ValueError("a compare with a session has neither key nor relation")
    return Compare(key, _TARGETS[target], _RELATIONS[relation], value)


def _unpack_op(raw: object) -> Op:
    if type(raw) is not tuple or not raw or type(raw[0]) is not int:
        raise ValueError("an operation must be an array that begins with its kind")
    kind = raw[0]
    if kind == _PUT:
        _, key, value, session = raw
        if type(key) is not bytes or type(value) is not bytes or type(session) is not int:
            raise ValueError("a put is [kind, key, value, session]")
        if not NO_SESSION <= session < _INTEGER_END:
            raise ValueError("session out of range")
        return Put(key, value, session)
    _, key = raw
    if type(key) is not bytes:
        raise ValueError("a key must be bytes")
    if kind == _DELETE:
        return Delete(key)
    if kind == _GET:
        return Get(key)
    raise ValueError(f"unknown kind of operation {kind}")


def _unpack_open(raw: tuple[Any, ...]) -> OpenSession:
    _, nonce, holder, creation, dir_id, ttl_s = raw
    if type(nonce) is not bytes or type(holder) is not str or type(dir_id) is not bytes:
        raise ValueError("nonce and dir_id must be bytes, holder a string")
    if type(ttl_s) is not float or not 0.0 < ttl_s < math.inf:
        raise ValueError("ttl_s must be a finite float above 0")
    return OpenSession(nonce, holder, _checked_integer(creation), dir_id, ttl_s)


def _checked_integer(value: object) -> int:
    if type(value) is not int or not 0 <= value < _INTEGER_END:
        raise ValueError("an integer from 0 to 2**63 - 1 is needed")
    return value
