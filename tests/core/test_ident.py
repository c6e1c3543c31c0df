"""Idents survive the wire, and bytes that are none raise `DecodeError` and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.core import DecodeError
from quorate.core.codec import pack, unpack
from quorate.core.ident import Ident

GOOD = Ident("a@h:1", 3, b"r" * 16, frozenset({"x", "y"}), 1024, 4096, b"t" * 16, 9, b"l" * 16)


def test_an_ident_comes_back_as_it_was() -> None:
    assert Ident.decode(GOOD.encode()) == GOOD
    plain = Ident("a@h:1", 0, b"r" * 16)
    assert Ident.decode(plain.encode()) == plain


def test_keys_of_later_versions_are_ignored() -> None:
    assert Ident.decode(pack({**unpack(GOOD.encode()), "shoe_size": 46})) == GOOD


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", 1),
        ("name", "x" * 256),
        ("creation", -1),
        ("creation", True),
        ("creation", "1"),
        ("run", b"short"),
        ("run", None),
        ("features", "abc"),
        ("features", [1]),
        ("features", ["x"] * 257),
        ("token", b"x" * 17),
        ("attempt", 1.5),
        ("lost", []),
        ("signal_limit", None),
    ],
)
def test_a_value_of_the_wrong_kind_is_named(key: str, value: object) -> None:
    with pytest.raises(DecodeError, match="feature" if key == "features" else key):
        Ident.decode(pack({**unpack(GOOD.encode()), key: value}))


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_decode_error(data: bytes) -> None:
    with pytest.raises(DecodeError):
        Ident.decode(data)


@given(
    st.recursive(st.none() | st.integers(-5, 5) | st.binary(max_size=3), lambda x: st.lists(x, max_size=3))
)
def test_values_that_are_no_ident_raise_decode_error(value: object) -> None:
    with pytest.raises(DecodeError):
        Ident.decode(pack(value))
