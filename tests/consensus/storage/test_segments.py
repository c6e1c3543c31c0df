"""One segment: what it begins with, and the judgement between a torn write and rot."""

import pytest
from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st

from quorate.consensus.errors import LogCorrupt, NewerFormat
from quorate.consensus.raft.types import HardState
from quorate.consensus.storage.records import Framing, Kind
from quorate.consensus.storage.segments import (
    FORMAT,
    PREAMBLE_BYTES,
    Scan,
    SegmentHeader,
    encode_start,
    require_torn,
    require_whole,
    scan,
    segment_number,
    segment_path,
)

DIR_ID = b"0123456789abcdef"
HEADER = SegmentHeader(3, 9, HardState(5, "a@h:1"), 41, 5, 1234)
START = encode_start(DIR_ID, HEADER)
FRAMING = Framing.of(DIR_ID, 3, 9)


def record(offset: int, durable: int = 0, payload: bytes = b"payload", creation: int = 9) -> bytes:
    return Framing.of(DIR_ID, 3, creation).encode(Kind.ENTRIES, offset, durable, 42, 5, payload)


def scanned(data: bytes) -> Scan:
    return scan(data, 3, DIR_ID, "a:/log/3")


def test_a_segment_tells_how_things_stood_when_it_began() -> None:
    found = scanned(START)
    assert found.header == HEADER
    assert (found.end, found.size, found.records, found.evidence) == (len(START), len(START), (), 0)


def test_records_are_found_in_order() -> None:
    first = record(len(START))
    second = record(len(START) + len(first))
    found = scanned(START + first + second)
    assert [item.offset for item in found.records] == [len(START), len(START) + len(first)]
    assert found.end == found.size


def test_an_unsynced_tail_is_torn() -> None:
    torn = record(len(START))[:-1]
    found = scanned(START + torn)
    assert found.end == len(START) < found.size
    require_torn(found, "a:/log/3")


def test_an_unsynced_write_that_survived_a_torn_one_is_no_evidence() -> None:
    """Both were in flight when power was lost, and the disk took the later one first."""
    torn = bytes(len(record(len(START))))
    later = record(len(START) + len(torn), durable=len(START))
    found = scanned(START + torn + later)
    assert found.end == len(START)
    require_torn(found, "a:/log/3")


def test_a_later_record_that_knows_of_a_sync_is_evidence() -> None:
    rotten = bytes(len(record(len(START))))
    at = len(START) + len(rotten)
    found = scanned(START + rotten + record(at, durable=at))
    with pytest.raises(
        LogCorrupt, match=f"a:/log/3 is corrupt at byte {len(START)}: .*first {at} bytes"
    ) as corrupt:
        require_torn(found, "a:/log/3")
    assert (corrupt.value.path, corrupt.value.offset) == ("a:/log/3", len(START))
    assert "Nothing was changed" in str(corrupt.value)


def test_evidence_is_found_behind_any_garbage() -> None:
    garbage = b"\xb6Qr\xd9" * 5 + record(0) + b"\xb6Qr"
    at = len(START) + len(garbage)
    assert scanned(START + garbage + record(at, durable=at)).evidence == at


@given(st.data())
def test_a_flipped_bit_in_what_was_synced_is_always_detected(data: st.DataObject) -> None:
    first = record(len(START))
    at = len(START) + len(first)
    segment = bytearray(START + first + record(at, durable=at))
    where = data.draw(st.integers(0, at - 1))
    segment[where] ^= 1 << data.draw(st.integers(0, 7))
    found = scanned(bytes(segment))
    assert found.end <= where
    with pytest.raises(LogCorrupt):
        require_torn(found, "a:/log/3")


def test_a_record_of_an_earlier_start_of_the_node_ends_the_segment_and_is_no_evidence() -> None:
    """A file of that number was made before, by a start that did not live to use it; its blocks came back."""
    stale = record(len(START), creation=8)
    at = len(START) + len(stale)
    stale += record(at, durable=at, creation=8)
    found = scanned(START + stale)
    assert found.records == () and found.end == len(START)
    require_torn(found, "a:/log/3")


def test_a_segment_whose_header_was_torn_has_none() -> None:
    for length in range(len(START)):
        found = scanned(START[:length])
        assert found.header is None and found.end == 0
        require_torn(found, "a:/log/3")


def test_a_segment_whose_header_rotted_is_corrupt_if_it_was_used() -> None:
    rotten = bytes(len(START)) + record(len(START), durable=len(START))
    with pytest.raises(LogCorrupt):
        require_torn(scanned(rotten), "a:/log/3")


def test_another_segment_s_header_is_none() -> None:
    assert scan(START, 4, DIR_ID, "a:/log/4").header is None
    assert scan(START, 3, b"another director", "a:/log/3").header is None


def test_a_newer_format_is_told_from_rot() -> None:
    preamble = START[:8] + (FORMAT + 1).to_bytes(2, "little") + START[10:12]
    data = preamble + crc32c(preamble).to_bytes(4, "little") + START[PREAMBLE_BYTES:]
    with pytest.raises(NewerFormat, match=rf"a:/log/3 is in format {FORMAT + 1} .* newer"):
        scanned(data)


def test_a_sealed_segment_is_whole_and_as_long_as_the_next_one_says() -> None:
    first = record(len(START))
    whole = scanned(START + first)
    require_whole(whole, whole.size, "a:/log/3")
    for broken, expected in [
        (scanned(START), whole.size),  # records are gone without a trace
        (whole, len(START)),
        (scanned(START + first[:-1]), whole.size - 1),
        (scanned(b""), 0),
    ]:
        with pytest.raises(LogCorrupt, match="does not read back"):
            require_whole(broken, expected, "a:/log/3")


def test_file_names_go_back_and_forth() -> None:
    assert segment_number(segment_path(12).rpartition("/")[2]) == 12
    for name in ("12.log", "0000000000000012.tmp", "x000000000000012.log", "0000000000000012"):
        assert segment_number(name) is None
