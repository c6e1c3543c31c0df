"""Many runs, for machines and as a list."""

import json
import pickle
import re
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest

from quorate.jepsen_like.history import History
from quorate.jepsen_like.record import RunRecord
from quorate.jepsen_like.report import (
    RunSummary,
    index_page,
    json_lines,
    junit,
    report_name,
    summarise,
)
from quorate.jepsen_like.verdict import Verdict

from .hostile import HOSTILE, hostile_record
from .reading import read
from .synthetic import synthetic_run

GOOD = summarise(synthetic_run(100, seed=1, fails=False))
BAD = summarise(synthetic_run(100, seed=2))
VAIN = replace(
    GOOD, seed=3, outcome="unknown", verdicts=(Verdict("claims", "unknown", 0, "nothing to check"),)
)


def cases_of(text: str) -> list[ElementTree.Element]:
    return ElementTree.fromstring(text.encode("utf-8")).findall("./testsuite/testcase")


def test_a_summary_counts_operations_and_leaves_the_history_behind() -> None:
    record = synthetic_run(100)
    run = summarise(record)
    pairs = record.history.pairs()
    assert run.operation_count == len(pairs)
    assert run.operations["register"]["fail"] == sum(
        pair.outcome == "fail" for pair in pairs if pair.invoked.f == "register"
    )
    assert pickle.loads(pickle.dumps(run)) == run and len(pickle.dumps(run)) < 8_000
    assert (run.outcome, run.reason) == ("invalid", record.windows[0].why)


def test_json_is_one_document_per_run_in_their_order() -> None:
    documents = [json.loads(line) for line in json_lines([BAD, GOOD]).splitlines()]
    assert [document["seed"] for document in documents] == [2, 1]
    assert [document["outcome"] for document in documents] == ["invalid", "valid"]
    first: dict[str, Any] = documents[0]
    assert first["command"] == BAD.command and first["trace_hash"] == BAD.trace_hash
    assert [fault["evidence"] for fault in first["faults"]] == [fault.evidence for fault in BAD.faults]
    assert [verdict["checker"] for verdict in first["verdicts"]] == [
        verdict.checker for verdict in BAD.verdicts
    ]
    assert first["figures"] == BAD.figures and first["operations"] == BAD.operations
    assert first["windows"][0]["culprit"] == BAD.windows[0].culprit


def test_junit_has_a_testcase_per_run_and_passes_only_what_is_valid() -> None:
    text = junit([GOOD, BAD, VAIN])
    suite = ElementTree.fromstring(text.encode("utf-8")).find("testsuite")
    assert suite is not None
    assert [suite.get(name) for name in ("tests", "failures", "errors")] == ["3", "1", "1"]
    good, bad, vain = cases_of(text)
    assert [case.get("name") for case in (good, bad, vain)] == ["seed 1", "seed 2", "seed 3"]
    assert good.find("failure") is None and good.find("error") is None
    failure, error = bad.find("failure"), vain.find("error")
    assert failure is not None and failure.get("message") == BAD.windows[0].why
    assert failure.text is not None and f"replay: {BAD.command}" in failure.text
    assert error is not None and error.get("message") == "claims: nothing to check"


def test_the_time_of_a_testcase_is_what_the_run_took_by_the_wall() -> None:
    (case,) = cases_of(junit([replace(GOOD, figures={"wall_s": 2.5})]))
    assert case.get("time") == "2.500"
    (case,) = cases_of(junit([replace(GOOD, figures={"wall_s": "long"})]))
    assert case.get("time") == "0.000"


def test_a_run_without_verdicts_is_an_error() -> None:
    run = summarise(RunRecord("kv", None, (), 1.0, History(), ()))
    (case,) = cases_of(junit([run]))
    error = case.find("error")
    assert case.get("name") == "run 1" and error is not None and error.get("message") == "no checker was run"


def test_hostile_texts_harm_no_summary() -> None:
    run = summarise(hostile_record())
    (case,) = cases_of(junit([run]))
    assert [child.tag for child in case] == ["properties", "failure"]
    (line,) = json_lines([run]).splitlines()
    assert set(HOSTILE) <= set(json.loads(line)["figures"])
    for link in HOSTILE:
        page = read(index_page([run], [link]).encode("utf-8").decode("utf-8"))
        assert not page.all("script") and not page.all("img")
        assert [sorted(e.attributes) for e in page.all("a")] == [
            ["aria-label", "class", "href", "title"],
            ["href"],
        ]


@pytest.mark.parametrize(
    ("workload", "seed", "name"),
    [
        ("registry", 17, "registry-seed-17.html"),
        ("../../etc/x y", 1, "etc-x-y-seed-1.html"),
        ("", None, "run.html"),
        ("kv", None, "kv.html"),
    ],
)
def test_the_name_of_a_report_stays_in_its_folder(workload: str, seed: int | None, name: str) -> None:
    assert report_name(replace(GOOD, workload=workload, seed=seed)) == name


def listed(runs: list[RunSummary], links: list[str | None]) -> list[str]:
    """The seeds in the table, in their order."""
    text = index_page(runs, links)
    return re.findall(r"seed (\d+)", text[text.index("<tbody>") :].split("</tbody>")[0].split("replay")[0])


def test_the_list_has_the_bad_runs_on_top_and_links_to_their_reports() -> None:
    runs = [GOOD, VAIN, BAD]
    assert listed(runs, [None, None, "bad.html"]) == ["2", "3", "1"]
    page = read(index_page(runs, [None, None, "bad.html"]))
    assert [e.attributes["href"] for e in page.all("a")] == ["bad.html", "bad.html"]
    assert page.all("span", "big")[0].text == "invalid"


def test_the_list_says_the_worst_of_its_runs() -> None:
    for runs, worst in (([GOOD], "valid"), ([GOOD, VAIN], "unknown"), ([], "unknown")):
        page = read(index_page(runs, [None] * len(runs)))
        assert page.all("span", "big")[0].text == worst


def test_a_link_for_each_run_is_wanted() -> None:
    with pytest.raises(ValueError):
        index_page([GOOD, BAD], [None])
