"""What a checker says: `valid`, `invalid` or `unknown`, on how many facts, and why.

A value and the one function that makes it, so that all checkers answer alike. What must never happen here: a verdict
that rests on nothing and is called valid.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Outcome = Literal["valid", "invalid", "unknown"]
PROBLEMS_LIMIT = 20  # listed in a verdict; the rest is counted


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a checker found. `checked` counts the facts that it rests on; `summary` is one line for people.

    `problems` is empty when it is valid; otherwise it says what is wrong, or what is missing to say.
    """

    checker: str
    outcome: Outcome
    checked: int
    summary: str
    problems: tuple[str, ...] = ()

    @property
    def valid(self) -> bool:
        return self.outcome == "valid"

    def __str__(self) -> str:
        lines = [f"{self.checker}: {self.outcome}: {self.summary}", *(f"  {text}" for text in self.problems)]
        return "\n".join(lines)


def judge(
    checker: str, problems: Iterable[str], checked: int, summary: str, *, doubts: Iterable[str] = ()
) -> Verdict:
    """Invalid with any problem; else unknown with any doubt, or when nothing was checked; else valid."""
    problems, doubts = list(problems), list(doubts)
    outcome: Outcome = "invalid" if problems else "unknown" if doubts or not checked else "valid"
    reasons = problems or doubts
    if reasons:
        summary = f"{reasons[0]} ({summary})"
    elif not checked:
        summary = "the history holds nothing to check"
    if len(reasons) > PROBLEMS_LIMIT:
        reasons = [*reasons[:PROBLEMS_LIMIT], f"and {len(reasons) - PROBLEMS_LIMIT} more"]
    return Verdict(checker, outcome, checked, summary, tuple(reasons))
