"""The wire form of messages: everything comes back as it was, and nothing else gets through."""

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.consensus.raft import Configuration, EntryBatch, Message, SnapshotMeta, TermRun, decode, encode
from quorate.consensus.raft.messages import (
    LIMIT,
    AppendReply,
    AppendRequest,
    Heartbeat,
    HeartbeatReply,
    SnapshotChunk,
    SnapshotReply,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)

META = SnapshotMeta(9, 2, Configuration(frozenset("abc"), frozenset("d"), frozenset("e")), 77, 100)
ENTRIES = EntryBatch(5, (TermRun(2, 1), TermRun(3, 2)), [b"x", b"", b"zz"])
WRONG: list[object] = [None, -1, 1.0, "x", LIMIT, {}, [[[]]], [None]]
EXAMPLES: list[Message] = [
    VoteRequest(3, 7, 12, 2, True, False),
    VoteReply(3, 7, True, False),
    AppendRequest(3, 8, 4, 2, 4, ENTRIES),
    AppendRequest(1, 8, 0, 0, 0, EntryBatch(1, (), [])),
    AppendReply(3, 8, False, 4, 1),
    Heartbeat(3, 0, 4),
    HeartbeatReply(3, 9, 4),
    SnapshotChunk(3, 9, META, 96, b"last"),
    SnapshotReply(3, 9, True, 9, 100),
    TimeoutNow(3, 10),
]


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda x: type(x).__name__)
def test_a_message_comes_through_the_wire_as_it_was(message: Message) -> None:
    assert decode(msgpack.unpackb(msgpack.packb(encode(message)))) == message


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda x: type(x).__name__)
def test_no_field_of_a_message_can_be_left_out_or_of_another_type(message: Message) -> None:
    good = encode(message)
    for at in range(len(good)):
        with pytest.raises(ValueError):
            decode(good[:at] + good[at + 1 :])
        for value in WRONG:
            with pytest.raises(ValueError):
                decode([*good[:at], value, *good[at + 1 :]])
    with pytest.raises(ValueError):
        decode([*good, 1])


def change(path: tuple[int, ...], value: object, of: Message) -> object:
    """The wire form of a message with one value inside it replaced."""
    values: Any = msgpack.unpackb(msgpack.packb(encode(of)))
    inner = values
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return values


APPEND, CHUNK = EXAMPLES[2], EXAMPLES[7]


@pytest.mark.parametrize(
    "values",
    [
        [],
        None,
        17,
        b"bytes",
        [0, 1, 1],
        [10, 1, 1],
        [True, 3, 7, 12, 2, True, False],
        change((1,), 0, APPEND),  # no term 0
        change((6,), [[2, 1], [3, 1]], APPEND),  # terms for two of three entries
        change((6,), [[2, 1], [3, 3]], APPEND),
        change((6,), [[2, 1], [4, 2]], APPEND),  # an entry of a later term than the leader's
        change((6,), [[1, 1], [3, 2]], APPEND),  # terms that fall
        change((6,), [[3, 1], [3, 2]], APPEND),
        change((6,), [[2, 3], [3, 0]], APPEND),  # an empty run
        change((6,), [[2, 1], [3]], APPEND),
        change((6,), [[2, 1, 1], [3, 2]], APPEND),
        change((7,), [b"x", "y", b"z"], APPEND),  # an entry that is not bytes
        change((4,), 4, APPEND),  # an entry before of a later term than the leader's
        change((4,), 0, APPEND),  # term 0 anywhere but at index 0
        change((3,), 0, APPEND),
        change((5,), b"x" * 5, CHUNK),  # beyond the end
        change((5,), "last", CHUNK),
        change((3, 0), 0, CHUNK),
        change((3, 1), 0, CHUNK),
        change((3, 1), 4, CHUNK),  # a snapshot of a later term than the leader's
        change((3, 2), [[], [], []], CHUNK),  # nobody votes
        change((3, 2), [["a"], []], CHUNK),
        change((3, 2, 0), ["a", ""], CHUNK),
        change((3, 2, 0), ["a" * 256], CHUNK),
        change((3, 2, 0), [1], CHUNK),
        change((3,), [9, 2, [["a"], [], []], 77], CHUNK),
    ],
)
def test_what_contradicts_itself_is_no_message(values: object) -> None:
    with pytest.raises(ValueError):
        decode(values)


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 12) | st.binary(max_size=3) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=8),
    max_leaves=20,
)


@given(plain)
def test_decoding_raises_nothing_but_value_errors(values: object) -> None:
    try:
        message = decode(values)
    except ValueError:
        return
    assert decode(encode(message)) == message


@given(st.sampled_from(EXAMPLES), st.lists(st.tuples(st.integers(0, 9), plain), max_size=3))
def test_a_damaged_message_is_refused_or_a_proper_one(
    message: Message, damage: list[tuple[int, Any]]
) -> None:
    values = encode(message)
    for at, value in damage:
        values[at % len(values)] = value
    try:
        result = decode(values)
    except ValueError:
        assert damage
        return
    assert decode(encode(result)) == result
