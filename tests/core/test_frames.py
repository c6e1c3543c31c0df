"""Frames come out of the stream whole and in order, however it was cut, and never over the limit."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.core.frames import HEADER, HEADER_BYTES, Channel, FrameParser, Lane, encode_frame

frames = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=300)), max_size=20)


def chunks_of(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


@given(frames, st.lists(st.integers(0, 10_000), max_size=30))
def test_frames_come_out_as_they_went_in_whatever_the_chunks(
    sent: list[tuple[int, bytes]], cuts: list[int]
) -> None:
    stream = b"".join(encode_frame(channel, payload) for channel, payload in sent)
    parser = FrameParser(300)
    received = [frame for chunk in chunks_of(stream, cuts) for frame in parser.feed(chunk)]
    assert received == sent
    assert parser.error is None
    assert parser.pending_bytes == 0


@given(
    frames, st.integers(301, 2**32 - 1), st.binary(max_size=50), st.lists(st.integers(0, 10_000), max_size=30)
)
def test_a_frame_over_the_limit_ends_the_stream_after_the_frames_before_it(
    sent: list[tuple[int, bytes]], size: int, rest: bytes, cuts: list[int]
) -> None:
    stream = b"".join(encode_frame(channel, payload) for channel, payload in sent)
    stream += HEADER.pack(size, 7) + rest
    parser = FrameParser(300)
    received = [frame for chunk in chunks_of(stream, cuts) for frame in parser.feed(chunk)]
    assert received == sent
    assert parser.error is not None
    assert str(size) in parser.error
    assert "300" in parser.error
    assert parser.feed(encode_frame(1, b"later")) == []


@given(st.binary(max_size=2000), st.lists(st.integers(0, 10_000), max_size=30))
def test_arbitrary_bytes_never_make_the_parser_hold_more_than_one_frame(data: bytes, cuts: list[int]) -> None:
    parser = FrameParser(100)
    for chunk in chunks_of(data, cuts):
        parser.feed(chunk)
        assert parser.pending_bytes <= 100 + HEADER_BYTES


def test_a_frame_of_exactly_the_limit_passes() -> None:
    parser = FrameParser(5)
    assert parser.feed(encode_frame(1, b"12345")) == [(1, b"12345")]
    assert parser.feed(encode_frame(1, b"123456")) == []
    assert parser.error is not None


def test_a_frame_without_payload_needs_only_its_header() -> None:
    assert FrameParser(5).feed(encode_frame(16, b"")) == [(16, b"")]


@pytest.mark.parametrize("limit", [0, -1, 2**32])
def test_a_limit_that_cannot_be_is_refused(limit: int) -> None:
    with pytest.raises(ValueError, match="limit_bytes"):
        FrameParser(limit)


def test_only_signals_go_by_the_signal_lane() -> None:
    assert [channel.lane for channel in Channel] == [Lane.SIGNALS, Lane.CONTROL, Lane.CONTROL, Lane.CONTROL]
