"""The campaign finds planted bugs: a few of each kind here, all of them by `python -m tests.planted`."""

import re

import pytest

from .__main__ import TABLE, main, table
from .bugs import BUGS
from .campaign import Found, search

SEEDS = range(1, 41)  # the first or second finds them, as the harness is now
QUICK = (
    "vote-not-stored",
    "acknowledged-before-replication",
    "old-entries-committed-by-counting",
    "name-stays-with-the-dead",
    "registration-without-quorum",
    "handoff-loses-state",
    "duplicate-after-reconnect",
    "reordered-after-reconnect",
    "late-reply-delivered",
    "lost-down",
)


@pytest.mark.parametrize("name", QUICK)
def test_the_campaign_finds_a_bug_within_a_few_seeds(name: str) -> None:
    found = search(name, SEEDS)
    assert found.seed is not None and found.checkers and found.problem
    assert found.innocent, "the same seed is invalid without the bug"


def test_a_bug_that_no_seed_finds_survives_and_the_command_fails(capsys: pytest.CaptureFixture[str]) -> None:
    found = search("stale-read", range(0))
    assert found.seed is None
    assert "**survives**" in table([found])
    assert main(["--bug", "stale-read", "--seeds", "1..0", "--processes", "1"]) == 1
    assert "SURVIVED: stale-read" in capsys.readouterr().out


def test_a_seed_that_is_invalid_without_the_bug_too_proves_nothing() -> None:
    rows = table([Found("lost-down", 7, 7, ("downs",), "a problem", 1.0, innocent=False)])
    assert "7 (invalid without it as well)" in rows


def test_the_document_has_every_planted_bug_with_the_seed_that_finds_it() -> None:
    rows = re.findall(r"^\| ([a-z-]+) \|.*\| (\d+) \| [\d.]+ \|$", TABLE.read_text(), re.MULTILINE)
    assert [name for name, _ in rows] == list(BUGS)
