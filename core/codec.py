"""Values as bytes: the only user of msgpack. Never pickle, never eval.

Two levels. `pack` and `unpack` are raw msgpack for records that a part of the library lays out itself. A `Codec`
carries the values of users between nodes: on top of msgpack's own types (None, bool, int, float, str, bytes, list,
dict) it keeps tuples apart from lists, and knows sets, ints of any size, aware and naive datetimes, pids and what
belongs to them, exceptions in a plain form, and the frozen dataclasses, enums and exception types that were exported by name.
An exported class itself travels as its name.
`canonical` encodes equal values to equal bytes, whatever the order of a dict or PYTHONHASHSEED, for use as keys.

What must never happen here: a value of a type that nobody exported comes out of a decoder, or bytes from
elsewhere make it raise anything but `DecodeError`. bytearray and memoryview travel as bytes.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import Enum, IntEnum
from typing import Any, Protocol, cast

import msgpack

from .errors import DecodeError, EncodeError, QuorateError, RemoteError, TooLarge
from .pid import Alias, Down, ExitSignal, HandlerGone, MonitorRef, NodeLost, NodeUp, Pid, RemoteName
from .plain import plain_error, show

SIZE_LIMIT_BYTES = 16 * 1024 * 1024 - 1024  # of one value; under the link's limit on a frame
REASON_LIMIT_BYTES = 256 * 1024  # of an exit reason
DEPTH_LIMIT = 64  # of tuples, sets and messages inside one another; lists and dicts: msgpack's 511


class Code(IntEnum):
    """Extension types on the wire. A number is never given a second meaning."""

    TUPLE = 1
    SET = 2
    FROZENSET = 3
    BIG_INT = 4
    PID = 5
    ALIAS = 6
    REF = 7
    MONITOR_REF = 8
    ERROR = 9
    MESSAGE = 10
    ENUM = 11
    DATETIME = 12
    DOWN = 13
    EXIT_SIGNAL = 14
    REMOTE_NAME = 15
    NODE_UP = 16
    NODE_LOST = 17
    EXCEPTION = 18
    CLASS = 19
    HANDLER_GONE = 20


_AS_FLOAT, _AS_DATETIME = 1, 3  # how msgpack gives its own timestamps, which nothing here makes
_SETS: dict[type, Code] = {set: Code.SET, frozenset: Code.FROZENSET}


class MessageTypes(Protocol):
    """Which dataclasses and enums may travel, and under which names (`Exports` implements it)."""

    def message_name(self, kind: type) -> str | None: ...

    def message_type(self, name: str) -> type | None: ...

    def class_named(self, name: str) -> type | None: ...


class NoMessages:
    """Nothing is exported."""

    def message_name(self, kind: type) -> str | None:
        return None

    def message_type(self, name: str) -> type | None:
        return None

    def class_named(self, name: str) -> type | None:
        return None


# -- raw msgpack ------------------------------------------------------------------------------------------


def pack(value: object) -> bytes:
    """Raw msgpack, for records that the library lays out itself. Tuples become lists.

    Raises `EncodeError` for what msgpack does not know, or when nested too deep.
    """
    try:
        return cast("bytes", msgpack.packb(value))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise EncodeError(f"cannot be packed: {error}") from error


def unpack(data: bytes | bytearray | memoryview, *, use_list: bool = True) -> Any:
    """The value that `pack` made; arrays come as lists, or as tuples without `use_list`. Bytes stay bytes.

    Raises `DecodeError` for anything else, including bytes that follow the value.
    """
    try:
        return msgpack.unpackb(
            data, use_list=use_list, strict_map_key=False, ext_hook=_no_extensions, timestamp=_AS_FLOAT
        )
    except QuorateError:
        raise
    except (ValueError, TypeError, OverflowError, RecursionError, MemoryError) as error:
        raise DecodeError(f"no valid msgpack: {_say(error)}") from error


def _no_extensions(code: int, data: bytes) -> object:
    raise DecodeError(f"unexpected msgpack extension {code}")


# -- values of users --------------------------------------------------------------------------------------


class Codec:
    """Encodes and decodes values for one node; `messages` says which dataclasses and enums may travel."""

    def __init__(self, messages: MessageTypes | None = None, *, limit_bytes: int = SIZE_LIMIT_BYTES) -> None:
        self.limit_bytes = limit_bytes
        self._messages: MessageTypes = messages if messages is not None else NoMessages()
        self._depth = 0
        self._encoders: dict[type, tuple[int, Callable[[Any], object]]] = {
            tuple: (Code.TUPLE, list),
            Pid: (Code.PID, lambda pid: [pid.node, pid.creation, pid.serial]),
            Alias: (Code.ALIAS, lambda alias: [alias.node, alias.creation, alias.id]),
            MonitorRef: (Code.MONITOR_REF, lambda ref: [ref.node, ref.creation, ref.id]),
            RemoteName: (Code.REMOTE_NAME, lambda name: [name.node, name.name]),
            Down: (Code.DOWN, lambda down: [down.ref, down.pid, down.reason]),
            ExitSignal: (Code.EXIT_SIGNAL, lambda signal: [signal.pid, signal.reason]),
            HandlerGone: (Code.HANDLER_GONE, lambda gone: [gone.manager, gone.handler, gone.reason]),
            NodeUp: (Code.NODE_UP, lambda up: [up.node, up.creation]),
            NodeLost: (Code.NODE_LOST, lambda lost: [lost.node, lost.creation, lost.reason]),
            datetime: (Code.DATETIME, datetime.isoformat),
        }
        self._decoders: dict[int, Callable[[Any], object]] = {
            Code.TUPLE: _tuple,
            Code.SET: _set,
            Code.FROZENSET: lambda body: frozenset(_set(body)),
            Code.PID: lambda body: Pid(*_fields(body, str, int, int)),
            Code.ALIAS: lambda body: Alias(*_fields(body, str, int, int)),
            Code.MONITOR_REF: lambda body: MonitorRef(*_fields(body, str, int, int)),
            Code.REMOTE_NAME: lambda body: RemoteName(*_fields(body, str, str)),
            Code.DOWN: lambda body: Down(*_fields(body, MonitorRef, Pid, object)),
            Code.EXIT_SIGNAL: lambda body: ExitSignal(*_fields(body, Pid, object)),
            Code.HANDLER_GONE: lambda body: HandlerGone(*_fields(body, Pid, str, object)),
            Code.CLASS: self._class,
            Code.NODE_UP: lambda body: NodeUp(*_fields(body, str, int)),
            Code.NODE_LOST: lambda body: NodeLost(*_fields(body, str, int, str)),
            Code.DATETIME: lambda body: datetime.fromisoformat(*_fields([body], str)),
            Code.ERROR: lambda body: RemoteError(*_fields(body, str, str, str)),
            Code.MESSAGE: self._message,
            Code.ENUM: self._enum,
            Code.EXCEPTION: self._exception,
        }

    def extend(
        self, kind: type, code: int, to_plain: Callable[[Any], object], from_plain: Callable[[Any], object]
    ) -> None:
        """Carry values of `kind` as extension `code`: `to_plain` gives a value this codec knows already.

        `from_plain` may raise `DecodeError`.
        """
        self._encoders[kind] = (code, to_plain)
        self._decoders[code] = from_plain

    # -- encoding

    def encode(self, value: object, what: str = "message") -> bytes:
        """Bytes for another node. `what` begins the path in errors: `message[1].socket`.

        Raises `EncodeError` that names the offending part, `TooLarge`.
        """
        self._depth = 0
        try:
            data = self._pack(value)
        except Exception as error:  # an attribute or a time zone of the user's may raise anything
            raise self._explain(value, what, error) from error
        if len(data) > self.limit_bytes:
            raise TooLarge(
                f"{what} of {len(data)} bytes is over the limit of {self.limit_bytes}: make it smaller",
                size_bytes=len(data),
                limit_bytes=self.limit_bytes,
            )
        return data

    def encode_call(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> bytes:
        """The arguments of a call; errors name `args[0]` or `kwargs['by']`."""
        try:
            return self.encode([list(args), dict(kwargs)], "arguments")
        except EncodeError:
            self.encode(list(args), "args")
            self.encode(dict(kwargs), "kwargs")
            raise

    def encode_reason(self, reason: object) -> bytes:
        """An exit reason; what cannot travel, or is long, goes as its `repr`, for an exit is never refused."""
        try:
            data = self.encode(reason, "reason")
        except (EncodeError, TooLarge):
            return self.encode(show(reason), "reason")
        return data if len(data) <= REASON_LIMIT_BYTES else self.encode(show(reason), "reason")

    def _pack(self, value: object) -> bytes:
        return cast("bytes", msgpack.packb(value, default=self._extension, strict_types=True))

    def _extension(self, value: object) -> object:
        """What msgpack does not know itself, as an extension. Sets are sorted: equal runs make equal bytes."""
        self._depth += 1
        if self._depth > DEPTH_LIMIT:
            raise EncodeError(f"nested more than {DEPTH_LIMIT} deep")
        try:
            return msgpack.ExtType(*self._body(value))
        finally:
            self._depth -= 1

    def _body(self, value: Any) -> tuple[int, bytes]:
        kind = type(value)
        known = self._encoders.get(kind)
        if known is not None:
            return known[0], self._pack(known[1](value))
        if kind is int:
            return Code.BIG_INT, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)
        if kind is set or kind is frozenset:
            header: bytes = msgpack.Packer().pack_array_header(len(value))
            return _SETS[kind], header + b"".join(sorted(map(self._pack, value)))
        if kind is type:
            known_as = self._messages.message_name(value)
            if known_as is None:
                raise EncodeError(f"the class {value.__qualname__} is not exported")
            return Code.CLASS, self._pack(known_as)
        name = self._messages.message_name(kind)
        if name is not None:
            if isinstance(value, Exception):
                return Code.EXCEPTION, self._pack_exception(name, value)
            if isinstance(value, Enum):
                return Code.ENUM, self._pack([name, value.name])
            fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
            return Code.MESSAGE, self._pack([name, fields])
        if isinstance(value, BaseException):
            return Code.ERROR, self._pack(list(plain_error(value)))
        raise EncodeError(f"{kind.__module__}.{kind.__qualname__} cannot travel")

    def _pack_exception(self, name: str, error: Exception) -> bytes:
        """An exception of an exported type. Of attributes that cannot travel it loses its type, and not its text."""
        plain = list(plain_error(error))
        try:
            return self._pack([name, list(error.args), dict(vars(error)), *plain])
        except Exception:  # noqa: BLE001 -- as in `encode`
            return self._pack(["", [], {}, *plain])

    def _explain(self, value: object, what: str, error: Exception) -> EncodeError:
        """Find the smallest part that cannot be encoded alone, and name it."""
        text = _why(error)
        too_deep = isinstance(error, RecursionError) or "recursion" in text or "nested" in text
        path, part, why = (what, value, None) if too_deep else self._blame(value, what)
        advice = why if why is not None else text
        kind = type(part)
        return EncodeError(
            f"{path} ({kind.__module__}.{kind.__qualname__}) cannot be sent: {advice}; send plain values, tuples, "
            "sets, pids, refs, or frozen dataclasses exported with node.export()",
            path,
        )

    def _blame(self, value: object, path: str) -> tuple[str, object, str | None]:
        for name, part in self._parts(value, path):
            if self._refusal(part) is not None:
                return self._blame(part, name)
        return path, value, self._refusal(value)

    def _refusal(self, value: object) -> str | None:
        self._depth = 0
        try:
            self._pack(value)
        except Exception as error:  # noqa: BLE001 -- as in `encode`
            return _why(error)
        return None

    def _parts(self, value: Any, path: str) -> list[tuple[str, object]]:
        if isinstance(value, dict):
            keys: list[tuple[str, object]] = [(f"key {show(key, 100)} of {path}", key) for key in value]
            return keys + [(f"{path}[{show(key, 100)}]", part) for key, part in value.items()]
        if isinstance(value, list | tuple):
            return [(f"{path}[{index}]", part) for index, part in enumerate(value)]
        if isinstance(value, set | frozenset):
            return [(f"{path}{{}}", part) for part in value]
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            if self._messages.message_name(type(value)) is None and type(value) not in self._encoders:
                return []
            fields = [field.name for field in dataclasses.fields(value)]
            return [(f"{path}.{name}", getattr(value, name)) for name in fields if _has(value, name)]
        return []

    # -- decoding

    def decode(self, data: bytes) -> Any:
        """The value that a codec with the same exports encoded. Raises `DecodeError`, and nothing else."""
        if len(data) > self.limit_bytes:
            raise DecodeError(f"{len(data)} bytes are over the limit of {self.limit_bytes}")
        self._depth = 0
        return self._unpack(data)

    def decode_call(self, data: bytes) -> tuple[list[Any], dict[str, Any]]:
        """The arguments that `encode_call` encoded."""
        args, kwargs = _fields(self.decode(data), list, dict)
        if not all(type(key) is str for key in kwargs):
            raise DecodeError("keyword arguments need names")
        return args, kwargs

    def _unpack(self, data: bytes) -> Any:
        try:
            return msgpack.unpackb(
                data, ext_hook=self._unextend, strict_map_key=False, timestamp=_AS_DATETIME
            )
        except QuorateError:
            raise
        except (ValueError, TypeError, OverflowError, RecursionError, MemoryError) as error:
            raise DecodeError(f"no valid value: {_say(error)}") from error

    def _unextend(self, code: int, data: bytes) -> object:
        if code == Code.BIG_INT:
            return int.from_bytes(data, "big", signed=True)
        decoder = self._decoders.get(code)
        if decoder is None:
            raise DecodeError(f"unknown extension type {code}")
        self._depth += 1
        if self._depth > DEPTH_LIMIT:
            raise DecodeError(f"nested more than {DEPTH_LIMIT} deep")
        try:
            return decoder(self._unpack(data))
        finally:
            self._depth -= 1

    def _message(self, body: Any) -> object:
        name, fields = _fields(body, str, dict)
        kind = self._messages.message_type(name)
        if kind is None or not dataclasses.is_dataclass(kind):
            raise DecodeError(f"no message type {name!r:.200} is exported on this node: node.export() it")
        try:
            return kind(**fields)
        except Exception as error:  # __post_init__ is the user's
            raise DecodeError(f"fields do not make a {name!r:.200}: {_say(error)}") from error

    def _exception(self, body: Any) -> object:
        """An exception of an exported type, without a call of its `__init__`; of another type: in its plain form."""
        name, args, attributes, *plain = _fields(body, str, list, dict, str, str, str)
        kind = self._messages.message_type(name)
        if kind is None or not issubclass(kind, Exception) or not all(type(key) is str for key in attributes):
            return RemoteError(*plain)
        try:
            error = kind.__new__(kind, *args)
            error.args = tuple(args)
            vars(error).update(attributes)
        except Exception:  # noqa: BLE001 -- __new__ is the user's
            return RemoteError(*plain)
        error.__cause__ = RemoteError(*plain)
        return error

    def _class(self, body: Any) -> object:
        name = _fields([body], str)[0]
        kind = self._messages.class_named(name)
        if kind is None:
            raise DecodeError(f"no class {name!r:.200} is exported on this node: node.export() it")
        return kind

    def _enum(self, body: Any) -> object:
        name, member = _fields(body, str, str)
        kind = self._messages.message_type(name)
        if kind is None or not issubclass(kind, Enum) or member not in kind.__members__:
            raise DecodeError(f"no enum {name!r:.200} with a member {member!r:.200} is exported on this node")
        return kind[member]


def _fields(body: Any, *kinds: type) -> Any:
    """`body` as a list of exactly these types (`object`: any)."""
    if type(body) is not list or len(body) != len(kinds):
        raise DecodeError(f"expected {len(kinds)} fields")
    for part, kind in zip(body, kinds, strict=True):
        if kind is not object and type(part) is not kind:
            raise DecodeError(f"expected {kind.__name__}, found {type(part).__name__}")
    return body


def _tuple(body: Any) -> tuple[Any, ...]:
    if type(body) is not list:
        raise DecodeError("expected the members of a tuple")
    return tuple(body)


def _set(body: Any) -> set[Any]:
    if type(body) is not list:
        raise DecodeError("expected the members of a set")
    return set(body)


def _has(value: object, name: str) -> bool:
    try:
        return hasattr(value, name)
    except Exception:  # noqa: BLE001 -- a property of the user's may raise anything
        return False


def _why(error: Exception) -> str:
    """An exception in words, if it has any."""
    try:
        return str(error) or type(error).__name__
    except Exception:  # noqa: BLE001 -- the user's __str__ may raise anything
        return type(error).__name__


def _say(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:500]


# -- canonical bytes --------------------------------------------------------------------------------------

_CANONICAL = Codec()


def canonical(value: object) -> bytes:
    """Equal values give equal bytes, in every process and release: for names that become keys.

    Dicts and sets are sorted by the bytes of their keys; -0.0 counts as 0.0. Types stay apart: 1, 1.0 and True are
    three names, and so are ("a", 1) and ["a", 1]. `Codec.decode` reads it. Raises `EncodeError` (not a number; a
    value that only the exports of one node could explain), `TooLarge`.
    """
    return _CANONICAL.encode(_ordered(value, 0), "name")


def _ordered(value: Any, depth: int) -> Any:
    """The same value with its dicts in order of their encoded keys, so that msgpack writes them so."""
    if depth > DEPTH_LIMIT:
        raise EncodeError(f"nested more than {DEPTH_LIMIT} deep", "name")
    kind = type(value)
    if kind is float:
        if math.isnan(value):
            raise EncodeError("not a number is never equal to itself, so it cannot be a name", "name")
        return value + 0.0  # -0.0 becomes 0.0
    if kind is dict:
        pairs = [(_ordered(key, depth + 1), _ordered(part, depth + 1)) for key, part in value.items()]
        return dict(sorted(pairs, key=lambda pair: _CANONICAL.encode(pair[0], "name")))
    if kind is list or kind is tuple or kind is set or kind is frozenset:
        return kind(_ordered(part, depth + 1) for part in value)
    return value
