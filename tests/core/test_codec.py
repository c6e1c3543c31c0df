"""Values as bytes: what travels, what does not and is named, and what bytes from elsewhere can never do."""

import contextlib
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from enum import Enum, IntEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.core import (
    Alias,
    Codec,
    ConfigError,
    DecodeError,
    Down,
    EncodeError,
    ExitSignal,
    Exports,
    HandlerGone,
    MonitorRef,
    NodeLost,
    NodeUp,
    Pid,
    RemoteError,
    RemoteName,
    TooLarge,
    canonical,
    pack,
    unpack,
)

PID = Pid("a@127.0.0.1:9101", 3, 41)
REF = MonitorRef("a@127.0.0.1:9101", 3, 7)


@dataclass(frozen=True, slots=True)
class Deposit:
    account: str
    amount: int = 0
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Positive:
    n: int

    def __post_init__(self) -> None:
        if self.n <= 0:
            raise ValueError("not positive")


class Colour(Enum):
    RED = 1
    BLUE = object()


class Level(IntEnum):
    LOW = 1


def exports() -> Exports:
    made = Exports()
    for thing in (Deposit, Positive, Colour, Level):
        made.export(thing)
    return made


CODEC = Codec(exports())

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.sampled_from([PID, REF, Colour.RED, Colour.BLUE, Level.LOW])
    | st.datetimes(timezones=st.none() | st.just(UTC))
)
hashable = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4).map(tuple) | st.frozensets(inner, max_size=4),
    max_leaves=8,
)
values = st.recursive(
    hashable,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=5).map(tuple)
        | st.sets(hashable, max_size=5)
        | st.dictionaries(hashable, inner, max_size=5)
        | st.builds(Deposit, st.text(), st.integers(), st.lists(st.text(), max_size=3).map(tuple))
    ),
    max_leaves=20,
)


def same(one: Any, other: Any) -> bool:
    """Equal, and of the same types all the way down."""
    if type(one) is not type(other) or one != other:
        return False
    if isinstance(one, list | tuple):
        return all(map(same, one, other))
    if isinstance(one, dict):
        return all(same(part, other[key]) for key, part in one.items())
    return True


@given(values)
def test_a_value_comes_back_equal_and_of_the_same_types(value: Any) -> None:
    assert same(CODEC.decode(CODEC.encode(value)), value)


@pytest.mark.parametrize(
    "value",
    [
        PID,
        REF,
        Alias("a@127.0.0.1:9101", 3, 9),
        RemoteName("a@127.0.0.1:9101", "clerk"),
        Down(REF, PID, ("any", {"reason"})),
        ExitSignal(PID, None),
        HandlerGone(PID, "log", ("swapped", "other")),
        NodeUp("a@127.0.0.1:9101", 3),
        NodeLost("a@127.0.0.1:9101", 3, "why"),
        2**64 - 1,
        -(2**63),
        2**64,
        -(2**63) - 1,
        10**500,
        datetime(2026, 11, 22, 14, 41, tzinfo=timezone(timedelta(hours=-5))),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_kind_of_value_travels(value: object) -> None:
    decoded = CODEC.decode(CODEC.encode([value]))
    assert decoded == [value]
    assert type(decoded[0]) is type(value)


def test_an_exception_travels_in_its_plain_form() -> None:
    try:
        raise KeyError("which")
    except KeyError as error:
        travelled = CODEC.decode(CODEC.encode(error))
    assert isinstance(travelled, RemoteError)
    assert (travelled.type_name, travelled.text) == ("KeyError", "'which'")
    assert "in test_an_exception_travels" in travelled.traceback_text
    again = CODEC.decode(CODEC.encode(travelled))
    assert (again.type_name, again.traceback_text) == (travelled.type_name, travelled.traceback_text)


def test_the_text_of_an_exception_may_be_anything() -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise ValueError

    assert CODEC.decode(CODEC.encode(Odd())).text == "(its text cannot be made)"
    assert CODEC.decode(CODEC.encode(ValueError("\ud800"))).text == "?"
    assert len(CODEC.decode(CODEC.encode(ValueError("x" * 10**6))).text) == 10_000


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (object(), "args"),
        ([1, object()], "args[1]"),
        ([1, {"socket": object()}], "args[1]['socket']"),
        ((1, (2, [3, len])), "args[1][1][1]"),
        ({("k", 1): {2: print}}, "args[('k', 1)][2]"),
        ({1, len}, "args{}"),
        (Deposit("x", 1, (object(),)), "args.tags[0]"),  # type: ignore[arg-type]
        ([Deposit(len)], "args[0].account"),  # type: ignore[arg-type]
        (["fine", "\ud800"], "args[1]"),
        ({Ellipsis: 1}, "key Ellipsis of args"),
        ([type("Point", (), {})()], "args[0]"),
        ([type("Text", (str,), {})("a str of another class")], "args[0]"),
    ],
)
def test_the_part_that_cannot_travel_is_named(value: object, path: str) -> None:
    with pytest.raises(EncodeError) as caught:
        CODEC.encode(value, "args")
    assert caught.value.path == path
    assert str(caught.value).startswith(path)


class Rude(tzinfo):
    """Whatever is asked of it, it raises."""

    def __repr__(self) -> str:
        raise OSError("no repr")

    def utcoffset(self, when: datetime | None) -> Any:
        raise OSError("no offset")

    dst = tzname = utcoffset


def test_whatever_the_parts_of_a_value_raise_the_one_that_cannot_travel_is_named() -> None:
    half = object.__new__(Deposit)  # without its fields
    for value, path in (
        ({"a": {Rude(): 1}}, "key <Rude whose repr raised OSError> of args['a']"),
        ([{Rude(): 1}, object()], "key <Rude whose repr raised OSError> of args[0]"),
        ([1, datetime(2026, 1, 1, tzinfo=Rude())], "args[1]"),
        ([half], "args[0]"),
    ):
        with pytest.raises(EncodeError) as caught:
            CODEC.encode(value, "args")
        assert caught.value.path == path


def test_an_exit_reason_is_never_refused() -> None:
    for reason in ({Rude(): 1}, [datetime(2026, 1, 1, tzinfo=Rude())], object.__new__(Deposit)):
        assert isinstance(CODEC.decode(CODEC.encode_reason(reason)), str)


def test_arguments_that_cannot_travel_are_named_by_place_or_keyword() -> None:
    with pytest.raises(EncodeError) as caught:
        CODEC.encode_call((1, [object()]), {})
    assert caught.value.path == "args[1][0]"
    with pytest.raises(EncodeError) as caught:
        CODEC.encode_call((), {"socket": object()})
    assert caught.value.path == "kwargs['socket']"


def test_what_is_nested_too_deep_or_inside_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    deep: Any = ()
    for _ in range(100):
        deep = (deep,)
    for value in (endless, deep):
        with pytest.raises(EncodeError, match=r"nested|recursion"):
            CODEC.encode(value)
        with pytest.raises(EncodeError):
            canonical(value)
    with pytest.raises(EncodeError):
        pack(endless)


def test_what_is_too_large_is_refused_with_its_size() -> None:
    small = Codec(limit_bytes=100)
    assert small.decode(small.encode("x" * 90)) == "x" * 90
    with pytest.raises(TooLarge) as caught:
        small.encode("x" * 101)
    assert (caught.value.size_bytes, caught.value.limit_bytes) == (103, 100)
    with pytest.raises(DecodeError, match="limit"):
        small.decode(CODEC.encode("x" * 101))


def test_a_reason_always_travels() -> None:
    assert CODEC.decode(CODEC.encode_reason(("fine", 1))) == ("fine", 1)
    assert "object object" in CODEC.decode(CODEC.encode_reason(object()))
    assert len(CODEC.decode(CODEC.encode_reason("x" * 10**6))) == 200


def test_an_exported_class_travels_as_its_name_and_no_other_does() -> None:
    assert CODEC.decode(CODEC.encode([Deposit, int.__name__])) == [Deposit, "int"]
    with pytest.raises(EncodeError, match=r"message\[0\].*the class int is not exported"):
        CODEC.encode([int])
    data = CODEC.encode(Positive)
    there = Exports()
    there.export(Deposit)
    with pytest.raises(DecodeError, match=r"no class '.*Positive' is exported"):
        Codec(there).decode(data)
    with pytest.raises(DecodeError, match="no class"):
        Codec().decode(data)


def test_a_message_type_that_is_not_exported_there_is_a_decode_error() -> None:
    data = CODEC.encode(Deposit("x"))
    with pytest.raises(DecodeError, match="export"):
        Codec().decode(data)
    with pytest.raises(DecodeError, match="enum"):
        Codec().decode(CODEC.encode(Colour.RED))


def test_a_message_that_its_own_class_refuses_is_a_decode_error() -> None:
    honest = CODEC.encode(Positive(1))
    forged = honest.replace(pack({"n": 1}), pack({"n": 0}))
    assert forged != honest
    with pytest.raises(DecodeError, match="not positive"):
        CODEC.decode(forged)


def test_fields_with_defaults_may_be_missing_and_unknown_ones_may_not() -> None:
    lean, rich = Exports(), Exports()

    @dataclass(frozen=True)
    class Lean:
        a: int

    @dataclass(frozen=True)
    class Rich:
        a: int
        b: int = 2

    lean.export(Lean, "record")
    rich.export(Rich, "record")
    assert Codec(rich).decode(Codec(lean).encode(Lean(1))) == Rich(1, 2)
    with pytest.raises(DecodeError, match="record"):
        Codec(lean).decode(Codec(rich).encode(Rich(1, 2)))


@given(st.binary(max_size=200))
def test_bytes_from_elsewhere_give_a_value_or_a_decode_error(data: bytes) -> None:
    for decode in (CODEC.decode, unpack):
        with contextlib.suppress(DecodeError):
            decode(data)


@given(values, st.data())
def test_spoiled_bytes_give_a_value_or_a_decode_error(value: Any, data: st.DataObject) -> None:
    good = bytearray(CODEC.encode(value))
    at = data.draw(st.integers(0, len(good) - 1))
    good[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(good)))
    for spoiled in (bytes(good), bytes(good[:cut])):
        with contextlib.suppress(DecodeError):
            CODEC.decode(spoiled)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\xdd\xff\xff\xff\xff",  # an array of 4 G members
        b"\xdb\xff\xff\xff\xff",  # a text of 4 GiB
        b"\xc7\x00\x63",  # an unknown extension
        b"\x91" * 2000 + b"\xc0",  # very deep
        b"\x81\x90\x01",  # a list as a key
        b"\xa1\xff",  # no UTF-8
        pack(1) + pack(2),
        b"\xc7\x04\x05\x93\xa1a\x01",  # a pid of two fields
        b"\xd4\x01\x01",  # a tuple that is a number
        b"\xd4\x0c\x01",  # a datetime that is a number
    ],
)
def test_malformed_bytes_are_a_decode_error(data: bytes) -> None:
    with pytest.raises(DecodeError):
        CODEC.decode(data)
    with pytest.raises(DecodeError):
        unpack(data)


def test_no_type_of_msgpack_s_own_comes_out() -> None:
    timestamp = b"\xd6\xff\x00\x00\x00\x01"
    assert CODEC.decode(timestamp) == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
    assert unpack(timestamp) == 1.0
    with pytest.raises(DecodeError):
        CODEC.decode(b"\xc7\x0c\xff" + b"\xff" * 12)


def test_raw_packing_keeps_bytes_and_gives_lists_or_tuples() -> None:
    data = pack((1, b"\x00\xff", ("x", None), {2: [3]}))
    assert unpack(data) == [1, b"\x00\xff", ["x", None], {2: [3]}]
    assert unpack(memoryview(data), use_list=False) == (1, b"\x00\xff", ("x", None), {2: (3,)})
    for value in (object(), {1, 2}, 2**64):
        with pytest.raises(EncodeError):
            pack(value)


# -- canonical --------------------------------------------------------------------------------------------


@given(st.dictionaries(hashable, hashable, max_size=6), st.randoms())
def test_canonical_bytes_do_not_depend_on_the_order_of_dicts_and_sets(
    value: dict[Any, Any], random: Any
) -> None:
    items = list(value.items())
    random.shuffle(items)
    if any(isinstance(part, Enum) for part in flat(value)):
        return  # only one node's exports could explain those
    assert canonical(dict(items)) == canonical(value)
    assert canonical([dict(items), set(dict(items))]) == canonical([value, set(value)])


def flat(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for pair in value.items() for part in pair for leaf in flat(part)]
    if isinstance(value, list | tuple | set | frozenset):
        return [leaf for part in value for leaf in flat(part)]
    return [value]


@given(hashable, hashable)
def test_different_names_have_different_canonical_bytes(one: Any, other: Any) -> None:
    if any(isinstance(part, Enum) for part in flat((one, other))):
        return
    if not same(one, other) and repr(one) != repr(other):
        equal_but_of_other_types = one == other
        assert equal_but_of_other_types or canonical(one) != canonical(other)


def test_canonical_bytes_tell_types_apart_and_zeroes_together() -> None:
    for one, other in ((1, 1.0), (1, True), ((1,), [1]), ("a", b"a"), ("1", 1)):
        assert canonical(one) != canonical(other)
    assert canonical((0.0, {-0.0: 1})) == canonical((-0.0, {0.0: 1}))
    assert Codec().decode(canonical({"b": (1,), "a": {2}})) == {"a": {2}, "b": (1,)}


@pytest.mark.parametrize(
    "value", [float("nan"), ("x", float("nan")), object(), Deposit("x"), Colour.RED, len]
)
def test_what_has_no_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(EncodeError):
        canonical(value)


def test_canonical_bytes_are_the_same_in_every_process() -> None:
    code = (
        "from quorate.core import canonical\n"
        "name = {'b': {'x', 'y', 'z', ('t', 1)}, 'a': frozenset(map(str, range(50)))}\n"
        "print(canonical(name).hex())"
    )
    seen = set()
    for seed in ("0", "1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        seen.add(subprocess.check_output([sys.executable, "-c", code], env=environment))
    assert len(seen) == 1


def test_encoded_sets_do_not_depend_on_the_hash_seed_either() -> None:
    code = "from quorate.core import Codec\nprint(Codec().encode({'x', 'y', 'z', 'w'}).hex())"
    seen = {
        subprocess.check_output([sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed})
        for seed in ("0", "1")
    }
    assert len(seen) == 1


# -- exports ----------------------------------------------------------------------------------------------


def test_only_what_was_exported_has_a_name() -> None:
    made = exports()
    name = made.name_of(Deposit)
    assert name == f"{Deposit.__module__}.Deposit"
    assert made.message_type(name) is Deposit
    assert made.startable(name) is None
    assert made.export(Deposit) is Deposit  # again
    with pytest.raises(ConfigError, match="not exported"):
        made.name_of(len)


def test_what_cannot_be_exported_is_refused_with_the_reason() -> None:
    @dataclass
    class Mutable:
        n: int

    def plain() -> None:
        pass

    for thing, why in ((Mutable, "frozen=True"), (plain, "only"), (int, "only"), (5, "only"), ([], "only")):
        with pytest.raises(ConfigError, match=why):
            Exports().export(thing)


def test_a_name_belongs_to_one_export() -> None:
    made = Exports()
    made.export(Deposit, "deposit")
    with pytest.raises(ConfigError, match="exported already"):
        made.export(Positive, "deposit")
    with pytest.raises(ConfigError, match="exported already"):
        made.export(Deposit, "another")
