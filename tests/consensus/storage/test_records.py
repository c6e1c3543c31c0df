"""The framing of records: what was encoded is decoded, and nothing else ever is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.consensus.raft.types import EntryBatch, HardState, TermRun
from quorate.consensus.storage.records import (
    HEAD_BYTES,
    Framing,
    Kind,
    pack,
    pack_entries,
    pack_hard_state,
    unpack_entries,
    unpack_hard_state,
)
from quorate.core import DecodeError

DIR_ID = b"0123456789abcdef"
FRAMING = Framing.of(DIR_ID, 3, 7)
NUMBERS = st.integers(0, (1 << 64) - 1)


@given(st.sampled_from(Kind), st.integers(0, 1000), NUMBERS, NUMBERS, st.binary(max_size=300), st.data())
def test_what_was_encoded_is_decoded(
    kind: Kind, offset: int, index: int, term: int, payload: bytes, data: st.DataObject
) -> None:
    durable = data.draw(st.integers(0, offset))
    encoded = FRAMING.encode(kind, offset, durable, index, term, payload)
    record = FRAMING.decode(bytes(offset) + encoded + b"what follows", offset)
    assert record is not None
    assert (record.offset, record.end) == (offset, offset + HEAD_BYTES + len(payload))
    assert (record.kind, record.creation, record.durable) == (kind, 7, durable)
    assert (record.index, record.term, bytes(record.payload)) == (index, term, payload)


@given(st.binary(max_size=60), st.data())
def test_a_changed_bit_is_never_decoded(payload: bytes, data: st.DataObject) -> None:
    encoded = bytearray(FRAMING.encode(Kind.ENTRIES, 0, 0, 5, 2, payload))
    encoded[data.draw(st.integers(0, len(encoded) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert FRAMING.decode(bytes(encoded), 0) is None


def test_a_shortened_record_is_never_decoded() -> None:
    encoded = FRAMING.encode(Kind.ENTRIES, 0, 0, 5, 2, b"payload")
    for length in range(len(encoded)):
        assert FRAMING.decode(encoded[:length], 0) is None


@pytest.mark.parametrize(
    "other",
    [Framing.of(DIR_ID, 4, 7), Framing.of(b"another director", 3, 7)],
    ids=["segment", "directory"],
)
def test_a_record_of_elsewhere_is_never_decoded(other: Framing) -> None:
    encoded = FRAMING.encode(Kind.DURABLE, 0, 0, 5, 2)
    assert FRAMING.decode(encoded, 0) is not None
    assert other.decode(encoded, 0) is None


@given(st.integers(1, 1 << 20))
def test_a_record_at_another_offset_is_never_decoded(offset: int) -> None:
    encoded = FRAMING.encode(Kind.DURABLE, 0, 0, 5, 2)
    assert FRAMING.decode(bytes(offset) + encoded, offset) is None


def test_a_record_cannot_claim_that_bytes_behind_it_are_durable() -> None:
    encoded = FRAMING.encode(Kind.DURABLE, 0, 1, 5, 2)
    assert FRAMING.decode(encoded, 0) is None


@given(st.integers(0, 1 << 60), st.none() | st.text(min_size=1))
def test_a_hard_state_comes_back(term: int, vote: str | None) -> None:
    state = HardState(term, vote)
    assert unpack_hard_state(term, memoryview(pack_hard_state(state))) == state


@given(
    st.integers(1, 1 << 60),
    st.lists(st.tuples(st.integers(0, 9), st.lists(st.binary(), min_size=1)), min_size=1),
)
def test_entries_come_back(first_index: int, groups: list[tuple[int, list[bytes]]]) -> None:
    runs = tuple(TermRun(term, len(data)) for term, data in groups)
    batch = EntryBatch(first_index, runs, [entry for _, data in groups for entry in data])
    assert unpack_entries(first_index, memoryview(pack_entries(batch))) == batch


def test_entries_may_be_any_sequence() -> None:
    class View(tuple[bytes, ...]):
        __slots__ = ()

    for data in ([b"1", b"2"], (b"1", b"2"), View((b"1", b"2"))):
        batch = EntryBatch(1, (TermRun(1, 2),), data)
        assert unpack_entries(1, memoryview(pack_entries(batch))).data == [b"1", b"2"]


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xc1", pack([]), pack([[1, 2], [b"one"]]), pack([[1], [b"one"]]), pack([[], []]), pack([1, 2])],
)
def test_what_holds_no_entries_is_a_decode_error(payload: bytes) -> None:
    with pytest.raises(DecodeError):
        unpack_entries(1, memoryview(payload))


@pytest.mark.parametrize("payload", [b"", pack([1]), pack(["a", "b"]), pack([b"a"])])
def test_what_holds_no_vote_is_a_decode_error(payload: bytes) -> None:
    with pytest.raises(DecodeError):
        unpack_hard_state(1, memoryview(payload))
