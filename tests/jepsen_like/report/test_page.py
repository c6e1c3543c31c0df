"""The page of one run: complete, closed to the network, the same each time, and proof against what histories hold."""

import base64
import hashlib
import os
import pathlib
import re
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.jepsen_like.history import Completion, History, Op
from quorate.jepsen_like.record import FaultRecord, RunRecord, Window
from quorate.jepsen_like.report import render
from quorate.jepsen_like.report.html import SCRIPTS, STYLES, asset
from quorate.jepsen_like.verdict import Verdict

from .hostile import HOSTILE, hostile_record
from .reading import read
from .synthetic import synthetic_run

ROOT = pathlib.Path(__file__).parents[3]
EMPTY = RunRecord("registry", None, (), 0.0, History(), ())


@pytest.fixture(scope="module")
def record() -> RunRecord:
    return synthetic_run(300)


@pytest.fixture(scope="module")
def text(record: RunRecord) -> str:
    return render(record)


def entries(text: str) -> list[int]:
    """The indices of all entries in the data of the page."""
    marks = read(text).data["marks"]
    assert len({len(column) for column in marks.values()}) == 1
    return sorted(index for index in (*marks["invoked"], *marks["completed"]) if index is not None)


def test_every_entry_of_the_history_is_in_the_data_once(record: RunRecord, text: str) -> None:
    assert entries(text) == list(range(len(record.history)))


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["ok", "fail", "info", "note"])), max_size=30))
def test_every_entry_of_any_history_is_in_the_data_once(steps: list[tuple[int, str]]) -> None:
    history = History()
    under_way: dict[int, Op] = {}
    for time_s, (process, what) in enumerate(steps):
        if process in under_way:
            outcome: Completion = "fail" if what == "fail" else "ok" if what == "ok" else "info"
            history.complete(time_s, under_way.pop(process), outcome)
        elif what == "note":
            history.note(time_s, process, "seen", "k", what)
        else:
            under_way[process] = history.invoke(time_s, process, "write", None, what)
    assert entries(render(replace(EMPTY, history=history))) == list(range(len(history)))


def test_an_operation_is_in_the_data_as_it_was_recorded() -> None:
    history = History()
    invoked = history.invoke(1.5, 3, "register", "orders", {"owner": "<n1#2:3>"})
    history.complete(1.75, invoked, "ok", {"fence": 12345678901234567890})
    history.invoke(2.0, "3", "whereis", "orders")
    data = read(render(replace(EMPTY, history=history))).data
    marks = data["marks"]
    assert data["rows"] == ["3", "3"] and data["numbered"] == [1, 0]
    assert marks["row"] == [0, 1]
    assert [data["fs"][f] for f in marks["f"]] == ["register", "whereis"]
    assert [data["keys"][key] for key in marks["key"]] == ["orders", "orders"]
    assert marks["from"] == [1_500_000_000, 2_000_000_000] and marks["until"] == [1_750_000_000, None]
    assert marks["outcome"] == [0, 2]
    assert data["values"][marks["asked"][0]] == '{"owner": "<n1#2:3>"}'
    assert data["values"][marks["answer"][0]] == '{"fence": 12345678901234567890}'


def test_one_record_gives_one_page(record: RunRecord, text: str) -> None:
    again = replace(record, history=History.parse(record.history.lines()))
    assert render(again) == text


def test_the_page_is_the_same_whatever_the_hash_seed() -> None:
    program = (
        "import hashlib; from quorate.jepsen_like.report import render; "
        "from tests.jepsen_like.report.synthetic import synthetic_run; "
        "print(hashlib.sha256(render(synthetic_run(60)).encode()).hexdigest())"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert hashes == {hashlib.sha256(render(synthetic_run(60)).encode()).hexdigest() + "\n"}


def test_the_page_refers_to_nothing_outside_itself(text: str) -> None:
    for name in (*STYLES, *SCRIPTS):
        assert not re.search(r"https?:|//[a-z]+\.|url\(|@import|\bfetch\(|XMLHttpRequest", asset(name)), name
    page = read(text)
    assert not page.all("link") and not page.all("img") and not page.all("iframe") and not page.all("base")
    for element in page.elements:
        assert not element.attributes.keys() & {"src", "srcset", "action", "data", "poster", "style"}, element
        assert element.attributes.get("href", "#").startswith("#"), element


def test_the_policy_of_the_page_lets_only_its_own_script_and_style_in(text: str) -> None:
    page = read(text)
    (policy,) = [e.attributes["content"] for e in page.all("meta") if "http-equiv" in e.attributes]
    script = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    style = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    assert len(script) == len(style) == 1
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    for rule, content in (("script-src", script[0]), ("style-src", style[0])):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"


def test_no_text_of_a_run_becomes_markup() -> None:
    hostile = hostile_record()
    page, tame = read(render(hostile)), read(render(tamed(hostile)))
    assert [(e.tag, sorted(e.attributes)) for e in page.elements] == [
        (e.tag, sorted(e.attributes)) for e in tame.elements
    ]


def tamed(record: RunRecord) -> RunRecord:
    """The same record, with a harmless text in each place; those that are equal stay equal."""
    names = {text: f"text{n}" for n, text in enumerate(HOSTILE)}
    history = History()
    for op in record.history:
        process = str(op.process)
        name = f"node {names[process[5:]]}" if process.startswith("node ") else names[process]
        f = op.f if op.f == "held" else names[op.f]
        key = names[str(op.key)]
        value = {"fence": op.index, "owner": key} if op.f == "held" else key
        if op.type == "invoke":
            history.invoke(op.time_s, name, f, key, {"v": value})
        elif (invoked := history[-1]).type == "invoke":
            history.complete(op.time_s, invoked, op.type, value)
        else:
            history.note(op.time_s, name, f, key, value)
    return replace(
        record,
        workload="tame",
        nodes=tuple(names.values()),
        history=history,
        verdicts=tuple(
            Verdict("v", "invalid", 1, f"the {v.summary == ''}", ("p", "p")) for v in record.verdicts
        ),
        faults=tuple(replace(f, kind=names[f.kind], nodes=("n",), detail="d") for f in record.faults),
        leaders=tuple(replace(leader, node=names[leader.node]) for leader in record.leaders),
        windows=tuple(Window("k", window.indices, 1, "why") for window in record.windows),
        trace_hash="abc",
        command="c",
        figures={f"f{n}": 1 for n in range(len(record.figures))},
    )


def test_a_page_of_hostile_texts_can_be_stored_and_keeps_them_readable() -> None:
    text = render(hostile_record())
    assert read(text.encode("utf-8").decode("utf-8")).data["keys"] == [
        "</script><script>document.documentElement.dataset.report = 'taken'</script>",
        "<!--<script>",
        "<img src=https://example.org/x onerror=alert(1)>",
        '"\' onmouseover="alert(1)" x=\'',
        "]]></failure><testcase name='x'/>",
        "&lt;&#60;&amp;",
        "\\x00\\x07\\x1b[31m\\x7f\\x9f",
        "\\u2028\\u2029\\u202egnp.exe",
        "\\ud800 half a character",
        "\\ufffe\\uffff",
        "${run} `x` \\u003c/script>",
        "__proto__",
        "constructor",
        "",
    ]


def test_the_embedded_data_holds_no_character_that_ends_a_script() -> None:
    text = render(hostile_record())
    data = text[text.index('id="run">') + len('id="run">') :].split("</script>")[0]
    assert "<" not in data and ">" not in data and data.isascii()


def test_on_top_stand_the_outcome_the_seed_and_the_command(record: RunRecord, text: str) -> None:
    page = read(text)
    assert (
        page.all("h1")[0].text.strip() == "registry"
        and page.all("title")[0].text == "invalid: seed 7 · registry"
    )
    assert page.all("span", "big")[0].text == "invalid"
    assert [e.text for e in page.all("code") if e.attributes.get("id") == "command"] == [record.command]


def test_the_failing_window_is_drawn_and_listed_entry_by_entry(record: RunRecord, text: str) -> None:
    (window,) = record.windows
    page = read(text)
    assert page.all("p", "why")[0].text == window.why
    listed = text[text.index('<table class="entries">') :].split("</table>")[0]
    rows = re.findall(r"<tr( class=\"culprit\")?><td class=\"n\">(\d+)</td>", listed)
    assert [int(index) for _, index in rows] == list(window.indices)
    assert [int(index) for chosen, index in rows if chosen] == [window.culprit]
    drawing = text[text.index('<div class="drawing"') :].split("</svg>")[0]
    assert [int(index) for index in re.findall(r">#(\d+)</text>", drawing)] == list(window.indices)
    assert len(re.findall(r'<g class="op [^"]*culprit', drawing)) == 1


def test_a_window_leads_to_its_place_in_the_timeline(record: RunRecord, text: str) -> None:
    (window,) = record.windows
    link = re.search(r'href="#from=([\d.]+)&amp;to=([\d.]+)&amp;entry=(\d+)">Show in the timeline', text)
    assert link is not None and int(link[3]) == window.culprit
    times_s = [record.history[index].time_s for index in window.indices]
    assert float(link[1]) < min(times_s) and max(times_s) < float(link[2])


def test_a_window_names_the_faults_of_its_time() -> None:
    record = synthetic_run(100)
    at_ns = record.history[record.windows[0].culprit].time_ns
    during = FaultRecord("partition-bridge", ("n1", "n2"), at_ns - 10, None, 3, "bytes held")
    before = FaultRecord("clock-jump", ("n5",), 0, 10, 3, "reads")
    text = render(replace(record, faults=(before, during)))
    drawing = text[text.index('<div class="drawing"') :].split("</svg>")[0]
    assert "partition-bridge" in drawing and "clock-jump" not in drawing


def test_a_window_whose_operations_are_in_order_of_time_only_by_index_is_drawn() -> None:
    """The clock of a recorder may stand still: times do not grow, indices do."""
    history = History()
    for process in range(3):
        history.complete(1.0, history.invoke(1.0, process, "read", "k"), "ok", process)
    window = Window("k", tuple(range(6)), 5, "it read 2")
    fault = FaultRecord("kill-one", ("n1",), 1_000_000_000, 1_000_000_000, 1)
    text = render(replace(EMPTY, history=history, windows=(window,), faults=(fault,)))
    assert "nan" not in text[text.index("<svg") : text.index("</svg>")]


def test_a_fault_without_evidence_is_marked(record: RunRecord) -> None:
    bit = FaultRecord("kill-one", ("n1",), 0, 10**9, 4, "connections closed")
    vain = FaultRecord("clock-rate", ("n2",), 0, None, 0, "reads")
    assert not read(render(replace(record, faults=(bit,)))).all("span", "unproven")
    text = render(replace(record, faults=(bit, vain), windows=()))
    assert [e.text for e in read(text).all("span", "unproven")] == ["no evidence that it bit reads"]
    assert [fault["evidence"] for fault in read(text).data["faults"]] == [4, 0]


def test_every_problem_of_every_verdict_is_listed_worst_first() -> None:
    verdicts = (
        Verdict("fences", "valid", 3, "in order"),
        Verdict("claims", "unknown", 0, "too few"),
        Verdict("counters", "invalid", 9, "two are lost", ("c1 is lost", "c2 is lost")),
        Verdict("replies", "invalid", 9, "c3 twice (9 replies)", ("c3 twice",)),
    )
    page = read(render(replace(EMPTY, verdicts=verdicts)))
    assert [e.text for e in page.all("b")] == ["counters", "replies", "claims", "fences"]
    assert {"c1 is lost", "c2 is lost"} <= {e.text for e in page.all("li")}
    assert any("c3 twice" in e.text for e in page.all("span"))


def test_operations_are_counted_by_f_and_outcome() -> None:
    history = History()
    for n, outcome in enumerate(("ok", "ok", "fail", "info", None)):
        invoked = history.invoke(n, n, "read" if n else "write", "k")
        if outcome is not None:
            history.complete(n + 0.25, invoked, outcome)  # type: ignore[arg-type]  # a literal from the tuple
    history.note(9, 9, "held", "k", {"fence": 1, "owner": "<n1#1:1>"})
    text = render(replace(EMPTY, history=history))
    rows = re.findall(r"<tr(?: class=total)?><td>(\w+)</td>((?:<td class=\"n\">[^<]*</td>){5})", text)
    counts = {f: re.findall(r">([^<>]+)</td>", cells) for f, cells in rows}
    assert counts == {
        "read": ["4", "1", "1", "1", "1"],
        "write": ["1", "1", "-", "-", "-"],
        "all": ["5", "2", "1", "1", "1"],
    }
    assert "Notes of witnesses: <b>held</b> 1." in text


def test_a_record_of_nothing_is_a_page_that_says_so() -> None:
    page = read(render(EMPTY))
    said = " ".join(e.text for e in page.all("p"))
    assert page.all("span", "big")[0].text == "unknown"
    for text in (
        "no checker was run",
        "The history is empty",
        "No faults were injected",
        "There is no command",
    ):
        assert text in said


def test_malformed_claims_are_reported_and_no_reason_to_fail() -> None:
    history = History()
    history.note(0, "n1", "released", "orders", {"fence": 3, "owner": "<n1#1:1>"})
    data = read(render(replace(EMPTY, history=history))).data
    assert data["claims"] == [] and "nobody saw it hold" in data["claims_error"]


def test_of_a_long_window_the_last_operations_are_drawn_and_all_are_listed() -> None:
    history = History()
    for process in range(100):
        history.complete(process, history.invoke(process, 0, "read", "k"), "ok", process)
    text = render(
        replace(EMPTY, history=history, windows=(Window("k", tuple(range(200)), 199, "it read 99"),))
    )
    drawing = text[text.index('<div class="drawing"') :].split("</svg>")[0]
    assert [int(index) for index in re.findall(r">#(\d+)</text>", drawing)] == list(range(80, 200))
    assert "40 operations not drawn" in text
    listed = text[text.index('<table class="entries">') :].split("</table>")[0]
    assert listed.count("<tr") == 1 + 200
