"""The page in a browser: its script runs to its end, whatever the history holds."""

import html
import pathlib
import re
import shutil
import subprocess

import pytest

from quorate.jepsen_like.history import History
from quorate.jepsen_like.record import RunRecord
from quorate.jepsen_like.report import render

from .hostile import hostile_record
from .synthetic import synthetic_run

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None
)


def document(record: RunRecord, folder: pathlib.Path, fragment: str = "") -> str:
    """What the browser has made of the page when it is done."""
    assert BROWSER is not None
    file = folder / "report.html"
    file.write_text(render(record), encoding="utf-8")
    options = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run")
    shown = ("--window-size=1400,9000", "--virtual-time-budget=2000")  # high enough that everything is drawn
    return subprocess.run(
        [
            BROWSER,
            *options,
            *shown,
            f"--user-data-dir={folder / 'profile'}",
            "--dump-dom",
            file.as_uri() + fragment,
        ],
        check=True,
        capture_output=True,
        timeout=90,
        encoding="utf-8",
    ).stdout


def told(dom: str, name: str) -> str | None:
    found = re.search(rf'<html [^>]*data-{name}="([^"]*)"', dom)
    return None if found is None else html.unescape(found[1])


@pytest.mark.slow
@pytest.mark.skipif(
    BROWSER is None, reason="no Chromium or Chrome is installed: the page's script cannot be run"
)
@pytest.mark.parametrize(
    "record",
    [
        synthetic_run(300),
        hostile_record(),
        RunRecord("registry", None, (), 0.0, History(), ()),
    ],
    ids=["failing", "hostile", "empty"],
)
def test_the_script_of_the_page_runs_without_an_error(record: RunRecord, tmp_path: pathlib.Path) -> None:
    dom = document(record, tmp_path)
    assert told(dom, "report") == "ready"
    tracks = re.findall(r'<canvas role="img" aria-label="(\w+)', dom)
    if len(record.history):
        assert tracks == ["overview", "axis", "Faults", "Nodes", "Ownership", "Processes", "Latency", "Rate"]
        begun = len(record.history.pairs())
        assert re.search(rf"In view: .* {begun:,} operations? begun", dom)


@pytest.mark.slow
@pytest.mark.skipif(
    BROWSER is None, reason="no Chromium or Chrome is installed: the page's script cannot be run"
)
def test_a_link_to_a_span_of_time_shows_that_span(tmp_path: pathlib.Path) -> None:
    record = synthetic_run(300)
    dom = document(record, tmp_path, "#from=10&to=20.5&find=f:whereis")
    wanted = [p for p in record.history.pairs("whereis") if 10 * 10**9 <= p.invoked.time_ns <= 20.5 * 10**9]
    assert told(dom, "report") == "ready"
    assert f"In view: 10 s to 20.5 s, {len(wanted)} operations begun" in dom
