"""Whether a small history is linearizable, by trying every order. Shares nothing with the checker but the entries.

Fences that nobody knows are guessed, one by one. An operation is a rule from a state to the states that it leads to.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from typing import Any

from quorate.jepsen_like.linear import Rules

from .worlds import EXPIRE, Entry

FENCES = 9  # guesses are below


@dataclass(frozen=True)
class Deed:
    """One operation: between which entries, what was asked, and what was answered ("" when nothing was)."""

    begun: int
    ended: float
    f: str
    asked: Any
    type: str
    told: Any
    excused: bool = False  # it may have had no effect


def deeds_of(entries: list[Entry]) -> list[Deed]:
    answers = {entry.process: (i, entry) for i, entry in enumerate(entries) if entry.type != "invoke"}
    deeds: list[Deed] = []
    for i, entry in enumerate(entries):
        if entry.type == "invoke":
            at, answer = answers.get(entry.process, (inf, Entry(entry.process, "info", entry.f, None)))
            at = inf if answer.type == "info" else at
            deeds.append(Deed(i, at, entry.f, entry.value, answer.type, answer.value))
    return deeds


def is_linearizable(kind: str, entries: list[Entry], rules: Rules) -> bool:
    """Every order of what was answered, with any of what was not, tried."""
    return has_order(kind, [deed for deed in deeds_of(entries) if matters(kind, deed, rules)], rules)


def has_order(kind: str, deeds: list[Deed], rules: Rules) -> bool:
    initial: Any = {"cas-register": None, "kv": "", "mutex": False}.get(kind, (None, -1))
    return _search(kind, frozenset(range(len(deeds))), deeds, initial, rules)


def matters(kind: str, deed: Deed, rules: Rules) -> bool:
    """Jepsen's rules: what failed did not happen, and a read without an answer (or of null) says nothing."""
    if deed.type == "fail":
        if kind == "registry":
            return deed.f == "register" and deed.told.get("error") == "taken"
        return rules == "porcupine" and deed.f in ("cas", "acquire")
    if deed.f in ("read", "get", "whereis"):
        null_says_nothing = deed.f == "read" and rules == "jepsen"
        return deed.type == "ok" and not (null_says_nothing and deed.told is None)
    return True


def _search(kind: str, left: frozenset[int], deeds: list[Deed], state: Any, rules: Rules) -> bool:
    if all(deeds[i].ended == inf for i in left):
        return True
    deadline = min(deeds[i].ended for i in left)
    for i in left:
        deed = deeds[i]
        if deed.begun > deadline:
            continue
        if deed.excused and _search(kind, left - {i}, deeds, state, rules):
            return True
        for after in _then(kind, deed, state, rules):
            if _search(kind, left - {i}, deeds, after, rules):
                return True
            if deed.f == EXPIRE and after != state and _search(kind, left, deeds, after, rules):
                return True
    return False


def _then(kind: str, deed: Deed, state: Any, rules: Rules) -> Iterator[Any]:
    match kind:
        case "cas-register":
            return _register(deed, state, rules)
        case "kv":
            return _kv(deed, state)
        case "mutex":
            return _mutex(deed, state)
        case "fenced-mutex":
            return _fenced(deed, state)
    return _registry(deed, state)


def _register(deed: Deed, state: Any, rules: Rules) -> Iterator[Any]:
    if deed.f == "write":
        yield deed.asked
    elif deed.f == "read":
        if deed.told == state:
            yield state
    elif deed.type == "fail":
        if deed.asked[0] != state:
            yield state
    elif deed.asked[0] == state:
        yield deed.asked[1]


def _kv(deed: Deed, state: Any) -> Iterator[Any]:
    if deed.f == "put":
        yield deed.asked
    elif deed.f == "append":
        yield state + deed.asked
    elif (deed.told or "") == state:
        yield state


def _mutex(deed: Deed, state: Any) -> Iterator[Any]:
    if deed.type == "fail":
        if state:
            yield state
    elif state != (deed.f == "acquire"):
        yield not state


def _fenced(deed: Deed, state: Any) -> Iterator[Any]:
    fence, highest = state
    if deed.type == "fail":
        if fence is not None:
            yield state
    elif deed.f == "release":
        # the answer of a release is not looked at, only what was asked
        if fence is not None and (deed.asked is None or deed.asked["fence"] in (None, fence)):
            yield (None, highest)
    elif fence is None:
        for new in range(highest + 1, FENCES) if deed.type == "info" else [deed.told["fence"]]:
            if new > highest:
                yield (new, new)


def _registry(deed: Deed, state: Any) -> Iterator[Any]:
    owner, highest = state
    told = deed.told
    if deed.f == "register" and deed.type == "fail":
        if owner == told["owner"] and highest == told["fence"]:
            yield state
    elif deed.f == "register":
        if owner is None:
            for new in range(highest + 1, FENCES) if deed.type == "info" else [told["fence"]]:
                if new > highest:
                    yield (deed.asked["owner"], new)
        elif owner == deed.asked["owner"] and (deed.type == "info" or told["fence"] == highest):
            yield state
    elif deed.f == "whereis":
        if (told is None) == (owner is None) and (told is None or told == {"owner": owner, "fence": highest}):
            yield state
    elif deed.f == "unregister":
        own = owner == deed.asked["owner"] and deed.asked["fence"] in (None, highest)
        if deed.type == "ok" and not told["released"]:
            if not own:
                yield state
        elif own:
            yield (None, highest)
    else:
        released = owner is not None and owner.startswith(deed.asked["holder"] + ":")
        released = released and highest < deed.asked.get("fences_below", 1000)
        yield (None, highest) if released else state
