"""Answers to calls between nodes: a value, or one of the errors a call can end with. Pure."""

from typing import Any

from .codec import Codec
from .errors import (
    CallCycle,
    CalleeExited,
    CallError,
    DecodeError,
    EncodeError,
    MailboxFull,
    NodeDown,
    NoProcess,
    NotCallable,
    RemoteError,
    TooLarge,
)
from .pid import Pid
from .plain import plain_error

VALUE, RAISED, NO_PROCESS, NOT_CALLABLE, CYCLE, EXITED, NODE_DOWN, TOLD, FULL = range(9)
_BUILTINS: dict[str, type[Exception]] = {
    kind.__name__: kind
    for kind in (
        *(
            ArithmeticError,
            AssertionError,
            ConnectionError,
            EOFError,
            Exception,
            FileExistsError,
            FileNotFoundError,
        ),
        *(IndexError, KeyError, LookupError, NotImplementedError, OSError, OverflowError, PermissionError),
        *(RuntimeError, TimeoutError, TypeError, ValueError, ZeroDivisionError),
    )
}  # those that are no more than their arguments
_TEXTS: dict[int, type[CallError]] = {
    NO_PROCESS: NoProcess,
    NOT_CALLABLE: NotCallable,
    NODE_DOWN: NodeDown,
    FULL: MailboxFull,
}


def encode_value(codec: Codec, value: object) -> tuple[int, bytes]:
    """Kind and body for what a method returned. What cannot travel becomes the error that says so."""
    try:
        return VALUE, codec.encode(value, "result")
    except (EncodeError, TooLarge) as error:
        return encode_error(codec, RemoteError(*plain_error(error)))


def encode_error(codec: Codec, error: Exception) -> tuple[int, bytes]:
    """Kind and body for an error of a call, or for an exception that a method raised on purpose for its caller."""
    if not isinstance(error, CallError):
        return _encode_told(codec, error)
    if isinstance(error, CallCycle):
        return CYCLE, codec.encode([str(error), list(error.path)])
    if isinstance(error, CalleeExited):
        return EXITED, codec.encode([str(error), codec.encode_reason(error.reason)])
    for kind, exception in _TEXTS.items():
        if isinstance(error, exception):
            return kind, codec.encode(str(error))
    return RAISED, codec.encode(list(plain_error(error)))


def _encode_told(codec: Codec, error: Exception) -> tuple[int, bytes]:
    """Exceptions of exported types and simple built-in ones go as they are."""
    try:
        body: object = error
        if _BUILTINS.get(type(error).__name__) is type(error):
            body = [type(error).__name__, list(error.args), *plain_error(error)]
        return TOLD, codec.encode(body)
    except (EncodeError, TooLarge):
        return RAISED, codec.encode(list(plain_error(error)))


def _told(name: str, args: list[Any], plain: list[str]) -> Exception:
    kind = _BUILTINS.get(name)
    if kind is None:
        return RemoteError(*plain)
    try:
        error = kind(*args)
    except Exception:  # noqa: BLE001 -- what a peer sends as arguments may not be such
        return RemoteError(*plain)
    error.__cause__ = RemoteError(*plain)
    return error


def decode_reason(codec: Codec, body: bytes) -> object:
    """An exit reason from another node; one that cannot be read here is told by a `RemoteError`."""
    try:
        return codec.decode(body)
    except DecodeError as error:
        return RemoteError("DecodeError", f"the reason cannot be read here: {error}")


def decode_answer(codec: Codec, kind: int, body: bytes) -> tuple[Any, Exception | None]:
    """The value, or the error to raise. Raises `DecodeError` for a kind that is none."""
    try:
        value = codec.decode(body)
    except DecodeError as error:
        return None, DecodeError(f"the answer cannot be read here: {error}")
    match kind, value:
        case 0, _:  # VALUE
            return value, None
        case 1, [str(name), str(text), str(trace)]:  # RAISED
            return None, RemoteError(name, text, trace)
        case 4, [str(text), [*path]] if all(isinstance(part, Pid) for part in path):  # CYCLE
            return None, CallCycle(text, tuple(path))
        case 5, [str(text), bytes(reason)]:  # EXITED
            return None, CalleeExited(text, decode_reason(codec, reason))
        case 7, Exception():  # TOLD
            return None, value
        case 7, [str(name), [*args], str(type_name), str(text), str(trace)]:
            return None, _told(name, args, [type_name, text, trace])
        case ((2 | 3 | 6 | 8), str(text)):
            return None, _TEXTS[kind](text)
    raise DecodeError(f"an answer of kind {kind} has another shape")
