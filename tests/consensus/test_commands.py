"""Commands as bytes: what was encoded is decoded, everything else is refused, limits are named."""

import math
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorate.consensus.commands import (
    COMMAND_LIMIT_BYTES,
    CloseSession,
    Command,
    ExpireSessions,
    OpenSession,
    Request,
    Txn,
    admit,
    decode,
    encode,
)
from quorate.consensus.store import (
    KEY_LIMIT_BYTES,
    OPS_LIMIT,
    VALUE_LIMIT_BYTES,
    Compare,
    Delete,
    Get,
    Put,
    absent,
    session_alive,
)
from quorate.core import EncodeError, TooLarge, pack, unpack
from tests.consensus import strategies

REQUEST = Request(7, 5, 3, Txn((absent(b"k"),), (Put(b"k", b"v", 7), Get(b"j")), (Delete(b"k"),)))
OPEN = OpenSession(b"nonce", "a@h:1", 2, b"dir", 3.0)


def request(*then: Put | Delete | Get, if_: tuple[Compare, ...] = ()) -> Request:
    return Request(1, 1, 1, Txn(if_, then))


@given(strategies.commands())
def test_what_was_encoded_is_decoded(command: Command) -> None:
    assert decode(encode(command)) == command
    assert admit(encode(command)) == command


def test_the_bytes_of_commands_stay_what_they_are_because_logs_on_disk_hold_them() -> None:
    assert unpack(encode(REQUEST)) == [
        *(4, 7, 5, 3),
        [[b"k", 2, 0, 0]],
        [[0, b"k", b"v", 7], [2, b"j"]],
        [[1, b"k"]],
    ]
    assert unpack(encode(OPEN)) == [1, b"nonce", "a@h:1", 2, b"dir", 3.0]
    assert unpack(encode(CloseSession(9))) == [2, 9]
    assert unpack(encode(ExpireSessions((9, 8)))) == [3, [9, 8]]
    every = [
        Compare(b"k", "create", "==", 1),
        Compare(b"k", "mod", "!=", 1),
        Compare(b"k", "version", "<", 1),
    ]
    every += [Compare(b"k", "value", ">", b"v"), session_alive(4)]
    assert unpack(encode(request(if_=tuple(every))))[4] == [
        [b"k", 0, 0, 1],
        [b"k", 1, 1, 1],
        [b"k", 2, 2, 1],
        [b"k", 3, 3, b"v"],
        [b"", 4, 0, 4],
    ]


def refused(data: bytes) -> bool:
    """Decoding ends in a command or a `ValueError`; anything else escapes and fails the test."""
    try:
        decode(data)
    except ValueError:
        return True
    return False


@given(st.binary(max_size=60))
def test_any_bytes_are_decoded_or_refused_with_a_value_error(data: bytes) -> None:
    refused(data)


terms = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.binary(max_size=5)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@given(st.integers(0, 6), st.lists(terms, max_size=6))
def test_any_msgpack_is_decoded_or_refused_with_a_value_error(kind: int, rest: list[object]) -> None:
    refused(pack([kind, *rest]))


@given(strategies.commands(), st.data())
@settings(max_examples=300)
def test_a_damaged_command_is_refused_or_is_another_command(command: Command, data: st.DataObject) -> None:
    encoded = bytearray(encode(command))
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] = data.draw(st.integers(0, 255))
    if not refused(bytes(encoded)):
        decoded = decode(bytes(encoded))
        with suppress(EncodeError, TooLarge):  # limits are for those who propose
            assert decode(encode(decoded)) == decoded
    assert refused(encode(command)[:at])


@pytest.mark.parametrize(
    "raw",
    [
        [],
        [True, 1],
        [5, 1],
        [2],
        [2, -1],
        [2, 2**63],
        [2, True],
        [2, 1.0],
        [3, 7],
        [3, [7, None]],
        [4, 7, 5, 3, [], []],
        [4, 7, 3, 5, [], [], []],  # acknowledged above the sequence
        [4, True, 5, 3, [], [], []],
        [4, 7, 2**63, 3, [], [], []],
        [4, 7, 5, 3, None, [], []],
        [4, 7, 5, 3, [[b"k", 5, 0, 1]], [], []],
        [4, 7, 5, 3, [[b"k", -1, 0, 1]], [], []],
        [4, 7, 5, 3, [[b"k", 0, 4, 1]], [], []],
        [4, 7, 5, 3, [[b"k", 0, 0, b"1"]], [], []],
        [4, 7, 5, 3, [[b"k", 3, 0, 1]], [], []],
        [4, 7, 5, 3, [["k", 0, 0, 1]], [], []],
        [4, 7, 5, 3, [[b"k", 0, 0]], [], []],
        [4, 7, 5, 3, [], [[0, b"k", "v", 0]], []],
        [4, 7, 5, 3, [], [[0, b"k", b"v", -1]], []],
        [4, 7, 5, 3, [], [[0, b"k", b"v"]], []],
        [4, 7, 5, 3, [], [[1, "k"]], []],
        [4, 7, 5, 3, [], [[3, b"k"]], []],
        [4, 7, 5, 3, [], [[]], []],
        [4, 7, 5, 3, [], [7], []],
        [1, "nonce", "a", 1, b"d", 3.0],
        [1, b"nonce", b"a", 1, b"d", 3.0],
        [1, b"nonce", "a", 1, b"d", 0.0],
        [1, b"nonce", "a", 1, b"d", math.nan],
        [1, b"nonce", "a", 1, b"d", math.inf],
        [1, b"nonce", "a", 1, b"d", 3],
        [1, b"nonce", "a", -1, b"d", 3.0],
        {"kind": 4},
        7,
    ],
)
def test_a_command_that_is_off_in_any_part_is_refused(raw: object) -> None:
    with pytest.raises(ValueError):
        decode(pack(raw))


def test_bytes_behind_the_command_are_refused() -> None:
    with pytest.raises(ValueError):
        decode(encode(CloseSession(1)) + b"\x00")


def test_a_holder_that_is_no_text_is_refused() -> None:
    with pytest.raises(ValueError):
        decode(encode(OPEN).replace(b"a@h:1", b"a\xffh:1"))


@pytest.mark.parametrize(
    "command",
    [
        request(Put(b"k" * (KEY_LIMIT_BYTES + 1), b"")),
        request(Delete(b"k" * (KEY_LIMIT_BYTES + 1))),
        request(Get(b"k" * (KEY_LIMIT_BYTES + 1))),
        request(Put(b"k", b"v" * (VALUE_LIMIT_BYTES + 1))),
        request(if_=(absent(b"k" * (KEY_LIMIT_BYTES + 1)),)),
        request(if_=(Compare(b"k", "value", "==", b"v" * (VALUE_LIMIT_BYTES + 1)),)),
        request(*[Get(b"k")] * (OPS_LIMIT + 1)),
        request(if_=(absent(b"k"),) * (OPS_LIMIT + 1)),
        Request(1, 1, 1, Txn((), (), (Get(b"k"),) * (OPS_LIMIT + 1))),
        request(*[Put(b"k", b"v" * VALUE_LIMIT_BYTES)] * (COMMAND_LIMIT_BYTES // VALUE_LIMIT_BYTES)),
    ],
)
def test_what_is_over_a_limit_is_too_large(command: Command) -> None:
    with pytest.raises(TooLarge, match="limit"):
        encode(command)


def test_what_is_just_within_the_limits_passes() -> None:
    full = request(Put(b"k" * KEY_LIMIT_BYTES, b"v" * VALUE_LIMIT_BYTES))
    assert decode(encode(full)) == full
    many = Request(1, 1, 1, Txn((absent(b"k"),) * OPS_LIMIT, (Get(b"k"),) * OPS_LIMIT))
    assert decode(encode(many)) == many


@pytest.mark.parametrize(
    ("command", "path"),
    [
        (request(Put("k", b"v")), "then[0].key"),  # type: ignore[arg-type]
        (request(Get(b"k"), Put(b"k", None)), "then[1].value"),  # type: ignore[arg-type]
        (request(Put(b"k", b"v", -1)), "then[0].session"),
        (request("k"), "then[0]"),  # type: ignore[arg-type]
        (request(if_=(absent("k"),)), "if_[0].key"),  # type: ignore[arg-type]
        (request(if_=(Compare(b"k", "value", "==", 1),)), "if_[0].value"),
        (request(if_=(Compare(b"k", "mod", "==", b"1"),)), "if_[0].value"),
        (request(if_=(Compare(b"k", "mod", "==", True),)), "if_[0].value"),
        (request(if_=(Compare(b"k", "mod", "==", 2**63),)), "if_[0].value"),
        (request(if_=(Compare(b"k", "lease", "==", 1),)), "if_[0]"),  # type: ignore[arg-type]
        (request(if_=(Compare(b"k", "mod", ">=", 1),)), "if_[0]"),  # type: ignore[arg-type]
        (request(if_=(session_alive(-1),)), "if_[0].value"),
        (Request(1, 2, 3, Txn((), ())), "acked_below"),
        (Request(-1, 2, 1, Txn((), ())), "session"),
        (CloseSession(2**63), "session"),
        (OpenSession(b"n", "a" * 600, 1, b"", 1.0), "holder"),
        (OpenSession(b"n", "\ud800", 1, b"", 1.0), "holder"),
        (OpenSession(b"n", b"a", 1, b"", 1.0), "holder"),  # type: ignore[arg-type]
        (OpenSession(b"n", "a", 1, b"", "1"), "ttl_s"),  # type: ignore[arg-type]
        (OpenSession(b"n", "a", 1, b"", math.nan), "ttl_s"),
        (OpenSession(b"n", "a", 1, b"", 1e9), "ttl_s"),
    ],
)
def test_a_value_of_a_wrong_type_is_named(command: Command, path: str) -> None:
    with pytest.raises(EncodeError) as raised:
        encode(command)
    assert raised.value.path == path


def test_a_command_from_another_node_is_held_to_the_limits_too() -> None:
    oversized = pack([4, 1, 1, 1, [], [[0, b"k" * (KEY_LIMIT_BYTES + 1), b"", 0]], []])
    assert isinstance(decode(oversized), Request)  # in a log it means what it says
    with pytest.raises(TooLarge):
        admit(oversized)
    with pytest.raises(ValueError):
        admit(b"\xc1")
    with pytest.raises(ValueError):
        admit(pack([1, b"n", "a", 1, b"", 1e9]))
