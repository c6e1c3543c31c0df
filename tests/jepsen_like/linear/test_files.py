"""Histories are read in each of the forms, as the same entries, and errors name the line."""

import pytest

from quorate.jepsen_like.history import History, HistoryError
from quorate.jepsen_like.linear import check_linearizable, parse_history


def entries(text: str) -> list[tuple[object, ...]]:
    return [(op.process, op.type, op.f, op.key, op.value) for op in parse_history(text)]


EXPECTED = [
    (3, "invoke", "cas", None, [1, 2]),
    (4, "invoke", "read", None, None),
    (3, "ok", "cas", None, [1, 2]),
    (4, "ok", "read", None, 2),
]
PER_LINE = """\
{:process 3, :type :invoke, :f :cas, :value [1 2]}
{:process 4, :type :invoke, :f :read, :value nil}
{:process 3, :type :ok, :f :cas, :value [1 2]}
{:process 4, :type :ok, :f :read, :value 2}
"""
LOG = """\
INFO  jepsen.util - 3\t:invoke\t:cas\t[1 2]
INFO  jepsen.util - 4   :invoke :read   nil
INFO  jepsen.util - 3\t:ok\t:cas\t[1 2]
INFO  jepsen.util - 4\t:ok\t:read\t2
"""


def as_json_lines() -> str:
    return parse_history(PER_LINE).dump()


@pytest.mark.parametrize(
    "text",
    [
        PER_LINE,
        f"; a comment\n\n[{PER_LINE}]",
        f"({PER_LINE})",
        PER_LINE.replace("{", "#jepsen.history.Op{"),
        "".join(
            f"[{line[10:11]} {line.split(', ')[1].split()[1]} {line.split(', ')[2].split()[1]} "
            f"{line.split(':value ')[1][:-1]}]\n"
            for line in PER_LINE.splitlines()
        ),
        LOG,
        as_json_lines(),
        "\n" + as_json_lines(),
    ],
    ids=["EDN per line", "EDN vector", "EDN list", "EDN records", "EDN tuples", "log", "JSON", "JSON later"],
)
def test_each_form_gives_the_same_entries(text: str) -> None:
    assert entries(text) == EXPECTED


def test_json_lines_come_back_as_they_were() -> None:
    history = History()
    op = history.invoke(0.25, "session/n1#3", "expire", None, {"holder": "n1#3"})
    history.note(0.5, "n1", "held", "x", {"fence": 1})
    history.complete(1.0, op, "info")
    assert list(parse_history(history.dump())) == list(history)


def test_keys_and_times_are_taken_over() -> None:
    history = parse_history(
        '{:process 0, :type :invoke, :f :put, :key "7", :value "x", :time 1500}\n'
        '{:process 0, :type :ok, :f :put, :key "7", :value "x", :time 99286665244}\n'
    )
    assert [(op.key, op.time_ns) for op in history] == [("7", 1500), ("7", 99286665244)]


def test_a_nemesis_is_kept_and_says_what_it_likes() -> None:
    told = entries(
        '[{:process :nemesis, :type :info, :f :start, :value #{:n2 :n1}, :error ["x" {:a :b}]}\n'
        " {:process :nemesis, :type :info, :f :stop, :value {:n1 [:n2]}}]"
    )
    assert told == [
        ("nemesis", "info", "start", None, ["n1", "n2"]),
        ("nemesis", "info", "stop", None, {"n1": ["n2"]}),
    ]


def test_an_answer_that_never_came_is_no_value() -> None:
    text = """\
INFO  jepsen.util - 0\t:invoke\t:read\tnil
INFO  jepsen.util - 0\t:fail\t:read\t:timed-out
INFO  jepsen.util - 1\t:invoke\t:write\t3
INFO  jepsen.util - 1\t:info\t:write\t:timed-out
INFO  jepsen.util - 2\t:invoke\t:read\tnil
INFO  jepsen.util - 2\t:ok\t:read\t3
"""
    history = parse_history(text)
    assert [pair.outcome for pair in history.pairs()] == ["fail", "info", "ok"]
    assert history[1].value is None
    assert check_linearizable(history, "cas-register", rules="porcupine").verdict.valid


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "the history is empty"),
        ("; nothing\n\n", "the history is empty"),
        ("hello\nworld", "line 1: neither JSON lines, nor EDN, nor a log of jepsen.util: 'hello'"),
        ("\n\nhello", "line 3: neither JSON lines"),
        ('{"index": 0}', "line 1 is no entry"),
        (as_json_lines() + "{", "line 5 is no JSON"),
        ("[1 2]", "line 1: a map with :process, :type, :f and :value was expected"),
        ("{:type :ok}", "line 1: an entry without :process, :f"),
        (PER_LINE + "{:process 1 :type :maybe :f :read}", "line 5: 'maybe' is no type"),
        (PER_LINE + "{:process nil :type :ok :f :read}", "line 5: None is no process"),
        (
            PER_LINE + "\n{:process 9 :type :ok :f :read}",
            "line 6: process 9 completes 'read', but it has nothing",
        ),
        (
            PER_LINE + "{:process 3 :type :invoke :f :read}\n" * 2,
            "line 6: entry 5: process 3 invokes 'read' while",
        ),
        (
            PER_LINE + "{:process 3 :type :invoke :f :read}\n{:process 3 :type :ok :f :write}",
            "line 6: process 3 completes 'write' of None, but it has 'read' of None under way",
        ),
        (PER_LINE + "{:process 3 :type", "line 5: the '{' of line 5 is never closed"),
        (LOG + "WARN something", "line 5: no entry of jepsen.util: 'WARN something'"),
        (LOG + "INFO  jepsen.util - x :ok :read nil", "line 5: 'x' is no process"),
        (LOG + "INFO  jepsen.util - 1 :ok :read [1", r"line 5: '\[1' is no value"),
        (LOG + "INFO  jepsen.util - 1 :well :read nil", "line 5: a type, an f and one value were expected"),
        (LOG + "INFO  jepsen.util - 1 :ok :read 1 2", "line 5: a type, an f and one value were expected"),
    ],
)
def test_errors_name_the_line(text: str, complaint: str) -> None:
    with pytest.raises(HistoryError, match=complaint):
        parse_history(text)
