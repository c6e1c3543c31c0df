"""The linearizability checker: is there one order, in keeping with real time, in which all that was answered is right?

    result = check_linearizable(history, "cas-register", rules="jepsen", initial=0)
    assert result.verdict.valid, result.verdict

Each key is searched by itself (an object of keys is linearizable when each key is). All get a small budget of steps
first, and those that are undecided four times as much in the next round, so that one hard key does not keep the others
from being found wrong. When the steps or the memory are used up the verdict is `unknown`. What must never happen here:
`valid` for a history of which a part was not decided. Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from quorate.core import ConfigError
from quorate.jepsen_like.history import History
from quorate.jepsen_like.record import Window
from quorate.jepsen_like.verdict import Verdict, judge

from .explain import explain
from .models import ABSENT, Model, Rules
from .operations import Partitions, find_model, partition
from .search import Search

MAX_STEPS = 2_000_000
MAX_STATES = 1_000_000
FIRST_ROUND_STEPS = 4_000
LATER_ROUNDS_FACTOR = 4
EXPLAIN_STEPS = 200_000  # for all windows together; about a second
WINDOWS_LIMIT = 5  # keys that are explained; the others are only named


@dataclass(frozen=True, slots=True)
class LinearResult:
    """What was found: the verdict, a window for each key that has no order (the first few), and the cost.

    `steps` are configurations tried, `states` those in memory at the worst moment.
    """

    verdict: Verdict
    windows: tuple[Window, ...] = ()
    steps: int = 0
    states: int = 0


def check_linearizable(
    history: History,
    model: Model | str,
    *,
    rules: Rules = "jepsen",
    initial: object = ABSENT,
    max_steps: int = MAX_STEPS,
    max_states: int = MAX_STATES,
    explain_steps: int = EXPLAIN_STEPS,
) -> LinearResult:
    """Judge a history. `model` is a `Model` or one of `MODEL_NAMES`; `initial` the first value of each object.

    `max_steps` bounds time (about 200,000 to 500,000 a second), `max_states` memory (some 300 bytes each, more for
    long texts); both are for all keys together. `explain_steps` is what may be spent on making windows small, once
    something is wrong; with 0 they are as large as their key. Raises `HistoryError` for values that the model cannot read and
    `ConfigError` for an unknown model or rule, or an initial value where the model takes none.
    """
    if rules not in get_args(Rules):
        raise ConfigError(f"no rules {rules!r}; there are {', '.join(get_args(Rules))}")
    if isinstance(model, str):
        model = find_model(model, initial=initial)
    elif initial is not ABSENT:
        raise ConfigError("a model that is made already has its initial value")
    partitions = partition(history, model, rules)
    searches = {key: Search(operations, model.initial) for key, operations in partitions.operations.items()}
    states = _search(searches, max_steps, max_states)
    explained = [key for key, search in searches.items() if search.outcome == "invalid"][:WINDOWS_LIMIT]
    windows = tuple(
        explain(key, partitions.operations[key], model, max_steps=explain_steps // len(explained))
        for key in explained
    )
    steps = sum(search.steps for search in searches.values())
    return LinearResult(_verdict(partitions, model, searches, windows, steps), windows, steps, states)


def _search(searches: Mapping[str | None, Search], max_steps: int, max_states: int) -> int:
    """Search in rounds, until something is invalid, all is decided, or a budget is used up; the most states held."""
    quota, steps_left, most = FIRST_ROUND_STEPS, max_steps, 0
    held: dict[str | None, int] = {}
    undecided = dict(searches)
    while undecided and steps_left > 0 and sum(held.values()) < max_states:
        for key, search in list(undecided.items()):
            before = search.steps
            search.advance(min(quota, steps_left), states=max_states - sum(held.values()))
            steps_left -= search.steps - before
            held[key] = search.states
            most = max(most, sum(held.values()))
            if search.outcome is not None:
                del undecided[key], held[key]
        if any(search.outcome == "invalid" for search in searches.values()):
            break
        quota *= LATER_ROUNDS_FACTOR
    return most


def _verdict(
    partitions: Partitions,
    model: Model,
    searches: Mapping[str | None, Search],
    windows: tuple[Window, ...],
    steps: int,
) -> Verdict:
    checked = {
        key: sum(operation.completed is not None for operation in operations)
        for key, operations in partitions.operations.items()
    }
    problems = [f"{_place(window.key)}entry {window.culprit}: {window.why}" for window in windows]
    problems += [
        f"{_place(key)}no order explains its {checked[key]:,} answered operations"
        for key, search in searches.items()
        if search.outcome == "invalid" and key not in {window.key for window in windows}
    ]
    doubts = [
        f"{_place(key)}not decided within {search.steps:,} steps and {search.states:,} states"
        for key, search in searches.items()
        if search.outcome is None
    ]
    total = sum(checked.values())
    summary = f"{total:,} answered operations" + ("" if set(checked) <= {None} else _keys(len(checked)))
    summary += f", model {model.name}"
    if partitions.passed_over:
        functions = ", ".join(f"{count:,} {f!r}" for f, count in sorted(partitions.passed_over.items()))
        summary += f", which knows nothing of {functions}"
        if not total:
            doubts.append(f"the model {model.name} knows nothing of {functions}")
    return judge("linearizable", problems, total, summary, doubts=doubts)


def _keys(count: int) -> str:
    return " of 1 key" if count == 1 else f" of {count:,} keys"


def _place(key: str | None) -> str:
    return "" if key is None else f"{key}: "
