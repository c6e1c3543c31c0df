"""Models: what an object is, as plain functions from a state to the next.

    model = find_model("cas-register", initial=0)
    effect = model.effect(pair, "jepsen")       # what this operation does, or None when it says nothing
    effect.step(0)                              # the state after it, or a Refusal

A model reads the operations of a history once and makes an `Effect` of each; the search then only applies effects to
states, which are hashable and never changed. A model judges no order and knows no time: that is the search's. What
must never happen here: an effect that depends on anything but the state, or that refuses what a real object would do.

    cas-register  f read, write (value), cas ([old, new])
    kv            f get, put, append; per key; values are texts; what was never put reads as "" or null
    mutex         f acquire, release (by anybody)
    fenced-mutex  the same; `ok` of acquire carries {"fence": n}, higher than any before; release may carry one
    registry      per name: f register, unregister, whereis, expire; see `registry.py`

Rules (`Rules`): under "jepsen" a `fail` did not happen, and a register's read of null says nothing (it is how Jepsen
writes a read that never answered). Under "porcupine" a failed cas has seen another value, a failed acquire has found
the mutex held, and a read of null has read null. Under both, what has no known outcome may take effect at any later
time or never, and a read without an answer says nothing.
"""

import json
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

from quorate.core import ConfigError
from quorate.jepsen_like.history import HistoryError, Op, Pair

Rules = Literal["jepsen", "porcupine"]
State = Hashable


class Refusal(Enum):
    """What a step gives in place of a state."""

    NOW = "impossible in this state"
    LOST = "impossible in this state and in all that follow from it, unless a rescuer comes"


class Absent(Enum):
    """No value where None would be one."""

    ABSENT = "absent"


ABSENT = Absent.ABSENT


@dataclass(frozen=True, slots=True, eq=False)
class Effect:
    """What an operation does to the state.

    `name` tells effects apart: of two with equal names the steps are the same function. `text` is for people.
    `eager`: wherever the step is possible and changes nothing, it may as well be taken at once (a read; not a write of
    the value that stands there, which may be needed later). `reads`: it only observes, so that leaving it out allows
    more, never less. `frees`: it only undoes what another did (for explanations: the
    other tells more). `repeats`: it may happen any number of times. `losable`: the
    step may say `Refusal.LOST`. `resets`: the state that it leads to from anywhere. `rescued_by`: when it was lost,
    whether a reset to that state would help; None: nothing does. `concerns`: for an effect that comes
    to every key, whether it can matter beside an effect of that name; `bounded`: whether it might spare an owner
    whose fence is unknown.
    """

    name: Hashable
    step: Callable[[Any], State]
    text: str
    eager: bool = False
    reads: bool = False
    frees: bool = False
    repeats: bool = False
    losable: bool = False
    resets: State = ABSENT
    rescued_by: Callable[[Any], bool] | None = None
    concerns: Callable[[Any], bool] | None = None
    bounded: bool = False


@dataclass(frozen=True, slots=True)
class Model:
    """An object: its first state, what each operation does to it, and words. `functions` are the f's that it knows."""

    name: str
    noun: str
    initial: State
    functions: frozenset[str]
    effect: Callable[[Pair, Rules], Effect | None]
    show: Callable[[Any], str]
    everywhere: frozenset[str] = frozenset()


def value_of(pair: Pair) -> Any:
    """What the completion says."""
    return None if pair.completed is None else pair.completed.value


def malformed(op: Op, wanted: str) -> HistoryError:
    shown = json.dumps(op.value, default=str)
    return HistoryError(f"entry {op.index}: {op.f!r} has the value {shown} where {wanted} was expected")


def freeze(value: Any) -> State:
    """A JSON value as something hashable; true and 1 stay different."""
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, list | tuple):
        return ("list", *map(freeze, value))
    if isinstance(value, dict):
        return ("map", *sorted((str(key), freeze(part)) for key, part in value.items()))
    assert isinstance(value, Hashable)
    return value


def show_value(state: Any) -> str:
    """A frozen value as JSON, cut when it is long."""
    text = json.dumps(_thaw(state), ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:28]}…{text[-28:]}"


def _thaw(state: Any) -> Any:
    match state:
        case ("bool", value):
            return value
        case ("list", *parts):
            return [_thaw(part) for part in parts]
        case ("map", *parts):
            return {key: _thaw(part) for key, part in parts}
    return state


# -- register with compare-and-set ---------------------------------------------------------------------------


def cas_register(initial: Any = None) -> Model:
    """One value, null at first unless `initial` says otherwise."""
    return Model(
        "cas-register",
        "the register",
        freeze(initial),
        frozenset({"read", "write", "cas"}),
        _register_effect,
        show_value,
    )


def _register_effect(pair: Pair, rules: Rules) -> Effect | None:
    outcome = pair.outcome
    match pair.invoked.f:
        case "read":
            seen = value_of(pair)
            if outcome != "ok" or (seen is None and rules == "jepsen"):
                return None
            return _sees(freeze(seen), "read")
        case "write":
            return None if outcome == "fail" else _sets(freeze(pair.invoked.value), "write")
    match pair.invoked.value:
        case [old, new]:
            was, becomes = freeze(old), freeze(new)
        case _:
            raise malformed(pair.invoked, "[old, new]")
    swap = f"cas {show_value(was)} to {show_value(becomes)}"
    if outcome != "fail":
        return Effect(
            ("cas", was, becomes),
            lambda state: becomes if state == was else Refusal.NOW,
            swap,
            eager=was == becomes,
        )
    if rules == "jepsen":
        return None
    return Effect(
        ("cas failed", was),
        lambda state: Refusal.NOW if state == was else state,
        f"{swap} failed",
        eager=True,
        reads=True,
    )


def _sees(wanted: State, verb: str) -> Effect:
    return Effect(
        ("sees", wanted),
        lambda state: state if state == wanted else Refusal.NOW,
        f"{verb} {show_value(wanted)}",
        eager=True,
        reads=True,
    )


def _sets(value: State, verb: str) -> Effect:
    return Effect(("sets", value), lambda state: value, f"{verb} {show_value(value)}", resets=value)


# -- keys and values -----------------------------------------------------------------------------------------


def key_value(initial: Any = None) -> Model:
    """Texts by key, each empty at first unless `initial` says otherwise."""
    if initial is None:
        initial = ""
    if not isinstance(initial, str):
        raise ConfigError(f"the values of the model 'kv' are texts; {initial!r} cannot be the initial one")
    functions = frozenset({"get", "put", "append"})
    return Model("kv", "the key", initial, functions, _key_value_effect, show_value)


def _key_value_effect(pair: Pair, rules: Rules) -> Effect | None:
    if pair.invoked.f == "get":
        return _gets(_text(pair.completed)) if pair.outcome == "ok" and pair.completed else None
    if pair.outcome == "fail":
        return None
    value = _text(pair.invoked)
    if pair.invoked.f == "put":
        return _sets(value, "put")
    return Effect(
        ("append", value), lambda state: state + value, f"append {show_value(value)}", eager=value == ""
    )


def _gets(wanted: str) -> Effect:
    def step(state: str) -> State:
        if state == wanted:
            return state
        return Refusal.NOW if wanted.startswith(state) else Refusal.LOST

    return Effect(
        ("gets", wanted),
        step,
        f"get {show_value(wanted)}",
        eager=True,
        reads=True,
        losable=True,
        rescued_by=wanted.startswith,
    )


def _text(op: Op) -> str:
    if op.value is None and op.f == "get":
        return ""
    if not isinstance(op.value, str):
        raise malformed(op, "a text")
    return op.value


# -- mutexes -------------------------------------------------------------------------------------------------


def mutex() -> Model:
    """Free or held. Whoever releases a held one has the right to: owners are not looked at (as in Knossos)."""
    return Model("mutex", "the mutex", False, frozenset({"acquire", "release"}), _mutex_effect, _show_held)


def _show_held(state: object) -> str:
    return "held" if state else "free"


def _mutex_effect(pair: Pair, rules: Rules) -> Effect | None:
    if pair.invoked.f == "release":
        if pair.outcome == "fail":
            return None
        return Effect("release", lambda held: False if held else Refusal.NOW, "release", frees=True)
    if pair.outcome == "fail":
        return None if rules == "jepsen" else _finds_held(lambda held: bool(held))
    return Effect("acquire", lambda held: Refusal.NOW if held else True, "acquire")


def _finds_held(is_held: Callable[[Any], bool]) -> Effect:
    return Effect(
        "acquire failed",
        lambda state: state if is_held(state) else Refusal.NOW,
        "acquire failed",
        eager=True,
        reads=True,
    )


@dataclass(frozen=True, slots=True)
class Tenure:
    """Who has something, under which fence, and the highest fence seen.

    `fence` is None while nobody knows it: the owner's registration or acquisition was never answered. It is some
    number from `highest` on, which then is the least that it can be; whoever observes it later fixes it. Nothing but
    "higher than all before" is ever asked of fences, so the least is as good as all the others together.
    """

    owner: str | None
    fence: int | None
    highest: int

    def taken(self, owner: str, fence: int | None) -> State:
        """It was free, and is the owner's now. Without a fence: under an unknown one."""
        if self.owner is not None:
            return Refusal.NOW if fence is None or fence > self.highest else Refusal.LOST
        if fence is None:
            return Tenure(owner, None, self.highest + 1)
        return Tenure(owner, fence, fence) if fence > self.highest else Refusal.LOST

    def seen(self, owner: str, fence: int | None) -> "Tenure | Refusal":
        """This owner has it, under this fence (None: whatever it is)."""
        if self.owner == owner:
            if fence is None or fence == self.fence:
                return self
            if self.fence is None and fence >= self.highest:
                return Tenure(owner, fence, fence)
        return Refusal.NOW if fence is None or fence > self.highest else Refusal.LOST

    def freed(self) -> "Tenure":
        return Tenure(None, None, self.highest)

    def __str__(self) -> str:
        if self.owner is None:
            return "free" if self.highest < 0 else f"free after fence {self.highest}"
        fence = f"fence {self.highest} or more" if self.fence is None else f"fence {self.fence}"
        return f"{self.owner} with {fence}"


UNTOUCHED = Tenure(None, None, -1)
_SOMEBODY = "held"


def fenced_mutex() -> Model:
    """A mutex whose acquisitions are numbered upwards: legal only when it is free and the fence is a new highest."""
    functions = frozenset({"acquire", "release"})
    return Model("fenced-mutex", "the mutex", UNTOUCHED, functions, _fenced_effect, str)


def _fenced_effect(pair: Pair, rules: Rules) -> Effect | None:
    if pair.outcome == "fail":
        failed_to_acquire = pair.invoked.f == "acquire" and rules == "porcupine"
        return _finds_held(lambda tenure: tenure.owner is not None) if failed_to_acquire else None
    if pair.invoked.f == "release":
        return _fenced_release(_fence(pair.invoked, needed=False))
    fence = _fence(pair.completed, needed=True) if pair.outcome == "ok" and pair.completed else None
    return Effect(
        ("acquire", fence),
        lambda tenure: tenure.taken(_SOMEBODY, fence),
        "acquire" if fence is None else f"acquire with fence {fence}",
        losable=True,
    )


def _fenced_release(fence: int | None) -> Effect:
    def step(tenure: Tenure) -> State:
        seen = tenure.seen(_SOMEBODY, fence)
        return seen if isinstance(seen, Refusal) else seen.freed()

    text = "release" if fence is None else f"release of fence {fence}"
    return Effect(("release", fence), step, text, frees=True, losable=True)


def _fence(op: Op, *, needed: bool) -> int | None:
    match op.value:
        case {"fence": int(fence)}:
            return fence
        case None | {"fence": None} if not needed:
            return None
    raise malformed(op, '{"fence": number}')
