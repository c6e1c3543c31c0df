"""From a history to the operations that a search orders, one partition per key.

What is left of an operation is its effect and two places in the history: it takes effect after the entry `invoked`
and before the entry `completed`; without `completed` it may take effect at any later time, or never. Operations that
say nothing (reads without an answer, what certainly did not happen) are left out here, and so is whatever the model
knows nothing of, which is counted. Entries of a process named nemesis are not operations.

What must never happen here: an operation that really happened is left out, or one gets a narrower place than the
history gives it.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from quorate.core import ConfigError
from quorate.jepsen_like.history import History, Pair

from .models import ABSENT, Effect, Model, Rules, cas_register, fenced_mutex, key_value, mutex
from .registry import registry

MODEL_NAMES = ("cas-register", "kv", "mutex", "fenced-mutex", "registry")


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation. `excused`: it may also have had no effect, though it was completed."""

    invoked: int
    completed: int | None
    effect: Effect
    excused: bool = False


@dataclass(frozen=True, slots=True)
class Partitions:
    """The operations by key, each in the order of invocation, and how many entries of which f were passed over."""

    operations: Mapping[str | None, tuple[Operation, ...]]
    passed_over: Mapping[str, int]


def find_model(name: str, *, initial: object = ABSENT) -> Model:
    """The model of that name. Raises `ConfigError` for an unknown one, or an initial value that it does not take."""
    match name:
        case "cas-register":
            return cas_register() if initial is ABSENT else cas_register(initial)
        case "kv":
            return key_value() if initial is ABSENT else key_value(initial)
    if name not in MODEL_NAMES:
        raise ConfigError(f"no model {name!r}; there are {', '.join(MODEL_NAMES)}")
    if initial is not ABSENT:
        raise ConfigError(f"the model {name!r} takes no initial value")
    return {"mutex": mutex, "fenced-mutex": fenced_mutex, "registry": registry}[name]()


def partition(history: History, model: Model, rules: Rules = "jepsen") -> Partitions:
    """The operations of each key. Raises `HistoryError` for values that the model cannot read."""
    found: dict[str | None, list[Operation]] = {}
    general: list[Operation] = []
    passed_over: Counter[str] = Counter()
    for pair in history.pairs():
        if _is_nemesis(pair):
            continue
        if pair.invoked.f not in model.functions:
            passed_over[pair.invoked.f] += 1
            continue
        effect = model.effect(pair, rules)
        everywhere = pair.invoked.f in model.everywhere
        operations = general if everywhere else found.setdefault(pair.invoked.key, [])
        if effect is None:
            continue
        completed = None if pair.outcome == "info" or pair.completed is None else pair.completed.index
        operations.append(Operation(pair.invoked.index, completed, effect))
    for operations in found.values():
        _add_general(operations, general)
    return Partitions({key: tuple(operations) for key, operations in found.items()}, passed_over)


def _is_nemesis(pair: Pair) -> bool:
    return isinstance(pair.invoked.process, str) and pair.invoked.process.startswith("nemesis")


def _add_general(operations: list[Operation], general: list[Operation]) -> None:
    """Add to a key's operations those that come to every key, where they can matter."""
    if not general:
        return
    names = {operation.effect.name for operation in operations}
    doubtful = {operation.effect.name for operation in operations if operation.completed is None}
    for operation in general:
        concerns = operation.effect.concerns
        if concerns is None or any(map(concerns, names)):
            spares = operation.effect.bounded and concerns is not None and any(map(concerns, doubtful))
            operations.append(replace(operation, excused=spares))
    operations.sort(key=lambda operation: operation.invoked)
