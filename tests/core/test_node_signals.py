"""Signals on the wire: each comes back as it was, and nothing else is taken for one."""

import contextlib
import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.core import (
    CallCycle,
    CalleeExited,
    CallError,
    CallTimeout,
    Codec,
    DecodeError,
    NodeDown,
    NoProcess,
    NotCallable,
    Pid,
    QuorateError,
    RemoteError,
    answers,
    decode_answer,
    encode_error,
    encode_value,
    pack,
    signals,
    unpack,
)

numbers = st.integers(0, 2**63 - 1)
pids = st.builds(Pid, st.text(max_size=20), numbers, numbers)
KINDS = [
    kind
    for kind in vars(signals).values()
    if isinstance(kind, type) and issubclass(kind, signals.Signal) and kind is not signals.Signal
]


def field_values(kind: Any) -> st.SearchStrategy[Any]:
    if kind is int:
        return numbers
    if kind is str:
        return st.text(max_size=30)
    return st.binary(max_size=30) if kind is bytes else st.lists(pids, max_size=4).map(tuple)


def any_signal() -> st.SearchStrategy[signals.Signal]:
    return st.one_of(
        *(
            st.builds(kind, *(field_values(field.type) for field in dataclasses.fields(kind)))
            for kind in KINDS
        )
    )


def test_each_signal_has_a_number_of_its_own() -> None:
    assert len({kind.op for kind in KINDS}) == len(KINDS) == 14


@given(any_signal())
def test_a_signal_comes_back_as_it_was(signal: signals.Signal) -> None:
    assert signals.decode(signals.encode(signal)) == signal
    assert signals.decode(memoryview(signals.encode(signal))) == signal


@given(any_signal(), st.data())
def test_a_spoiled_signal_is_a_signal_or_a_decode_error(signal: signals.Signal, data: st.DataObject) -> None:
    frame = bytearray(signals.encode(signal))
    frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(frame)))
    for spoiled in (bytes(frame), bytes(frame[:cut])):
        with contextlib.suppress(DecodeError):
            assert isinstance(signals.decode(spoiled), signals.Signal)


@given(
    any_signal(),
    st.integers(0, 12),
    st.one_of(st.none(), st.booleans(), st.floats(), st.just([]), st.just(-1)),
)
def test_a_field_of_another_type_is_a_decode_error(signal: signals.Signal, index: int, wrong: Any) -> None:
    fields = unpack(signals.encode(signal))
    index = index % (len(fields) - 1) + 1
    if type(wrong) is list and isinstance(fields[index], list):
        return
    fields[index] = wrong
    with pytest.raises(DecodeError):
        signals.decode(pack(fields))


# -- answers ----------------------------------------------------------------------------------------------

CODEC = Codec()
PATH = (Pid("a@h:1", 1, 1), Pid("b@h:1", 1, 2), Pid("a@h:1", 1, 1))


@pytest.mark.parametrize(
    "error",
    [
        NoProcess("no process"),
        NotCallable("no method"),
        NodeDown("the link was lost"),
        CallCycle("a cycle", PATH),
        CalleeExited("it ended", ("because", 1)),
        RemoteError("ValueError", "text", "traceback"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_of_a_call_comes_back_as_it_was(error: CallError) -> None:
    _, decoded = decode_answer(CODEC, *encode_error(CODEC, error))
    assert type(decoded) is type(error)
    assert str(decoded) == str(error)
    assert vars(decoded) == vars(error)


def test_any_other_error_comes_back_as_a_remote_error() -> None:
    _, decoded = decode_answer(CODEC, *encode_error(CODEC, CallTimeout("too long")))
    assert isinstance(decoded, RemoteError)
    assert decoded.text == "too long"


def test_a_value_comes_back_and_one_that_cannot_travel_is_an_error() -> None:
    assert decode_answer(CODEC, *encode_value(CODEC, (1, None))) == ((1, None), None)
    _, error = decode_answer(CODEC, *encode_value(CODEC, [object()]))
    assert isinstance(error, RemoteError)
    assert "result[0]" in error.text


def test_a_reason_that_cannot_be_read_here_spoils_neither_the_error_nor_the_link() -> None:
    unreadable = b"\xc7\x00\x63"
    body = CODEC.encode(["it ended", unreadable])
    _, error = decode_answer(CODEC, answers.EXITED, body)
    assert isinstance(error, CalleeExited)
    assert isinstance(error.reason, RemoteError)


def test_a_value_that_cannot_be_read_here_is_an_error_for_the_caller_alone() -> None:
    _, error = decode_answer(CODEC, answers.VALUE, b"\xc1")
    assert isinstance(error, QuorateError)


@pytest.mark.parametrize(
    ("kind", "value"), [(9, None), (1, "text"), (2, 5), (4, ["cycle", [1]]), (5, ["ended"]), (6, None)]
)
def test_an_answer_of_another_shape_is_a_decode_error(kind: int, value: object) -> None:
    with pytest.raises(DecodeError):
        decode_answer(CODEC, kind, CODEC.encode(value))
