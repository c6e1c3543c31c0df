"""What supervisors do, scenario by scenario, against what Erlang/OTP's own `supervisor` does.

Compared are the order of starts and stops, why each child stops, the tables of children and their counts, the answers to
calls, and with which reason a supervisor ends. What differs on purpose is in a table of `docs/processes.md`: it is left out
of the scenarios, or levelled by `comparable` and by the words of `supervisor_stage.py`. Also left out are coroutines as
children, whose first line runs later than their start, and a time in which a nested supervisor has to stop: OTP warns of it.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.core.erlang import missing
from tests.core.erlang_supervisor import erlang_logs
from tests.core.supervisor_scenarios import Burst, End, Scenario, Signal, Step, scenarios
from tests.core.supervisor_stage import our_log

COUNT = 500


@pytest.fixture
def silent() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.usefixtures("silent")
def test_a_supervisor_does_what_that_of_otp_does(tmp_path: Path) -> None:
    if (why := missing()) is not None:
        pytest.skip(why)
    made = scenarios(COUNT)
    theirs = erlang_logs(made, tmp_path)
    assert len(theirs) == COUNT
    differing = [
        told
        for number, (one, log) in enumerate(zip(made, theirs, strict=True))
        if (told := difference(number, one, log))
    ]
    assert not differing, "\n\n".join([f"{len(differing)} of {COUNT} differ", *differing[:3]])


def difference(number: int, scenario: Scenario, theirs: list[str]) -> str | None:
    """The first step after which something else was seen, with what came before; None: there is none."""
    try:
        ours = our_log(scenario)
    except Exception as error:
        error.add_note(f"in scenario {number}: {scenario}")
        raise
    told = [f"scenario {number}: {scenario.tree}"]
    for index in range(max(len(ours), len(theirs))):
        step = scenario.steps[index - 1] if index else None
        pair = [comparable(step, log[index]) if index < len(log) else "nothing" for log in (ours, theirs)]
        told.append(f"  {step or 'start'}\n    ours: {pair[0]}\n    OTP:  {pair[1]}")
        if pair[0] != pair[1]:
            return "\n".join(told)
    return None


def comparable(step: Step | None, line: str) -> str:
    """A line without what differs on purpose, or has no order.

    Who is killed takes its children with it: here at once, while with OTP those that trap exits end by themselves, all at
    the same time, and a supervisor among them stops its children first.
    """
    if step == End("kill"):
        return line.partition(" | ")[2]
    if not any(kills(one) for one in (step.steps if isinstance(step, Burst) else [step])):
        return line
    events, _, rest = line.partition(" | ")
    kept = sorted(one for one in events.split(", ") if not one.endswith(" killed"))
    return f"{', '.join(kept)} | {rest}"


def kills(step: Step | None) -> bool:
    return step == Signal("n", "kill")
