"""EDN is read as its description says, and what is none is refused with the line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.jepsen_like.history import HistoryError
from quorate.jepsen_like.linear.edn import EdnSet, Keyword, Symbol, read_edn, read_edn_entries


def values(text: str) -> list[object]:
    return [value for _, value in read_edn(text)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("nil", None),
        ("true", True),
        ("false", False),
        ("42", 42),
        ("-7", -7),
        ("+7", 7),
        ("12345678901234567890N", 12345678901234567890),
        ("1.5", 1.5),
        ("-1e3", -1000.0),
        ("2.50M", 2.5),
        ('"a b"', "a b"),
        (r'"tab\t quote\" back\\ \u00e9"', 'tab\t quote" back\\ é'),
        ('"two\nlines"', "two\nlines"),
        (r"\a", "a"),
        (r"\newline", "\n"),
        (r"\u0041", "A"),
        (":timed-out", Keyword("timed-out")),
        (":some.ns/name", Keyword("some.ns/name")),
        ("symbol", Symbol("symbol")),
        ("-", Symbol("-")),
        ("[]", []),
        ("()", []),
        ("{}", {}),
        ("[1, 2 3]", [1, 2, 3]),
        ("(1 (2 [3]))", [1, [2, [3]]]),
        ("#{3 1}", EdnSet([3, 1])),
        ('{:a 1, "b" [2], 3 {}}', {"a": 1, "b": [2], "3": {}}),
        ('#inst "2020-01-01"', "2020-01-01"),
        ("#jepsen.history.Op{:index 0}", {"index": 0}),
        ("[1 #_2 3]", [1, 3]),
        ("[1 #_ #_ 2 3 4]", [1, 4]),
        ("[1 #_ #tag [2] 3]", [1, 3]),
        ("[#a #b 1]", [1]),
        ("[1 ; two ]\n 3]", [1, 3]),
        ("[:a:b]", [Keyword("a:b")]),
    ],
)
def test_each_form_is_read(text: str, value: object) -> None:
    found = values(text)
    assert found == [value]
    assert type(found[0]) is type(value)


def test_true_and_one_are_told_apart() -> None:
    assert [type(value) for value in values("true 1 1.0")] == [bool, int, float]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[1\n 2", r"line 2: the '\[' of line 1 is never closed"),
        ("1\n]", r"line 2: '\]' closes nothing that is open"),
        ("[1}", r"line 1: '}' closes nothing that is open"),
        ("{:a}", "line 1: a map with a key without a value"),
        ("{:a 1 :a 2}", "line 1: a map with a key twice"),
        ('\n"open', "line 2: .* is no EDN"),
        (r'"\q"', r"line 1: a string with the escape \\q"),
        ("01", "line 1: '01' is no EDN"),
        ("1x", "line 1: '1x' is no EDN"),
        (":", "line 1: ':' is no EDN"),
        ("#", "line 1: '#' is no EDN"),
        ("[#_]", "line 1: nothing follows a tag or #_"),
        ("#tag", "line 1: the text ends after a tag or #_"),
        ("@x", "line 1: '@x' is no EDN"),
    ],
)
def test_what_is_no_edn_is_refused_with_its_line(text: str, complaint: str) -> None:
    with pytest.raises(HistoryError, match=complaint):
        values(text)


def test_values_come_with_their_lines() -> None:
    assert list(read_edn("1\n\n[2\n3]\n;4\n5")) == [(1, 1), (3, [2, 3]), (6, 5)]
    assert list(read_edn_entries("; one\n[{:a 1}\n\n {:a\n 2}]")) == [(2, {"a": 1}), (4, {"a": 2})]
    assert list(read_edn_entries("{:a 1}\n{:a 2}")) == [(1, {"a": 1}), (2, {"a": 2})]


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(st.characters(exclude_categories=["Cs", "Cc"]))
    | st.from_regex(r"[a-z][a-z-]{0,8}", fullmatch=True).map(Keyword)
)
TREES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.from_regex(r"[a-z]{1,5}", fullmatch=True).map(Keyword), inner)
    ),
    max_leaves=20,
)


def write(value: object) -> str:
    match value:
        case None:
            return "nil"
        case True | False:
            return "true" if value else "false"
        case Keyword():
            return f":{value}"
        case str():
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        case list():
            return "[" + " ".join(map(write, value)) + "]"
        case dict():
            return "{" + ", ".join(f"{write(key)} {write(part)}" for key, part in value.items()) + "}"
    return str(value)


@given(TREES)
def test_what_is_written_is_read_again(tree: object) -> None:
    assert values(write(tree)) == [tree]


@given(st.text(alphabet='[]{}()#_:;"\\ \nab1.-N@,', max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        values(text)
    except HistoryError as error:
        assert str(error).startswith("line ")
