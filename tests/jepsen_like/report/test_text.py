"""Texts that are fit to be shown."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.jepsen_like.report.text import brief, count, duration, embedded, escape, figure, plain, seconds

ANY_TEXT = st.text(st.characters())  # surrogates too


@given(ANY_TEXT)
def test_a_plain_text_can_be_seen_and_stored(text: str) -> None:
    shown = plain(text)
    assert shown.encode("utf-8").decode("utf-8") == shown
    assert all(char.isprintable() or char == "\n" for char in shown)
    assert plain(shown) == shown


@given(ANY_TEXT)
def test_an_escaped_text_has_no_markup(text: str) -> None:
    assert not set("<>\"'") & set(escape(text))


def test_each_character_of_markup_is_escaped() -> None:
    assert escape("<a href=\"x\" title='y'>&amp;</a>") == (
        "&lt;a href=&quot;x&quot; title=&#x27;y&#x27;&gt;&amp;amp;&lt;/a&gt;"
    )


@given(
    st.recursive(
        ANY_TEXT | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner)
    )
)
def test_embedded_data_is_the_same_json_in_harmless_characters(value: object) -> None:
    text = embedded(value)
    assert json.loads(text) == value
    assert text.isascii() and not set("<>&") & set(text)


@pytest.mark.parametrize(
    ("ns", "shown"),
    [
        (0, "0 s"),
        (999, "999 ns"),
        (1_500, "1.5 µs"),
        (12_345_678, "12.3 ms"),
        (999_999_999, "1,000 ms"),
        (4_560_000_000, "4.56 s"),
        (3_600_000_000_000, "3,600 s"),
    ],
)
def test_a_duration_is_in_the_unit_that_fits(ns: int, shown: str) -> None:
    assert duration(ns) == shown


def test_the_rest_of_the_words() -> None:
    assert (seconds(12_500_000_000), seconds(0), seconds(1_000)) == ("12.5 s", "0 s", "0.000001 s")
    assert (count(1, "fault"), count(1200, "fault")) == ("1 fault", "1,200 faults")
    assert brief({"owner": "<n1#2:3>", "fence": 7}) == "owner <n1#2:3>, fence 7"
    assert (brief([0, "x"]), brief("x"), brief(None)) == ('[0, "x"]', "x", "null")
    assert (figure(1234567), figure(1.25), figure(True), figure("all"), figure([1])) == (
        "1,234,567",
        "1.25",
        "true",
        "all",
        "[1]",
    )
