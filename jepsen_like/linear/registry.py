"""The model of a registry of names: each has one owner or none, and fences only grow.

    register    invoked with {"owner"}; ok {"owner", "fence"}; fail {"error": "taken", "owner", "fence"} has seen that
                owner (a read); any other fail did not happen
    unregister  {"owner", "fence"}, fence null: whichever it has; ok: it was released ({"released": false}: it was not
                this owner's); without an answer it may yet happen
    whereis     ok null or {"owner", "fence"}
    expire      no key, {"holder": "n1#3"[, "fences_below": n]}: from its invocation on, what owners of that holder
                (the part of their name before ":") have registered (under fences below n) may be released, each name
                by itself, any number of times; `ok`: by then it has happened, and after it happens no more

A registration is legal when the name is free and its fence is above all that were seen for the name, or when that
owner has the name already, under the same fence. A registration without an answer may have happened under a fence
that nobody knows (see `Tenure`).
"""

from collections.abc import Callable
from typing import Any

from quorate.jepsen_like.history import Op, Pair

from .models import UNTOUCHED, Effect, Model, Refusal, Rules, State, Tenure, malformed

FUNCTIONS = frozenset({"register", "unregister", "whereis", "expire"})


def registry() -> Model:
    """Names are free at first; fences are numbers from 0 on."""
    return Model("registry", "the name", UNTOUCHED, FUNCTIONS, _effect, str, frozenset({"expire"}))


def _effect(pair: Pair, rules: Rules) -> Effect | None:
    match pair.invoked.f:
        case "register":
            return _register(pair)
        case "unregister":
            return _unregister(pair)
        case "whereis":
            if pair.outcome != "ok" or pair.completed is None:
                return None
            return _free() if pair.completed.value is None else _owned(*_claim(pair.completed), "whereis")
    return None if pair.outcome == "fail" else _expire(pair.invoked)


def _register(pair: Pair) -> Effect | None:
    if pair.outcome == "fail" and pair.completed is not None:
        match pair.completed.value:
            case {"error": "taken"}:
                return _owned(*_claim(pair.completed), "register found it taken by")
        return None
    asked, _ = _claim(pair.invoked)
    owner, fence = asked, None
    if pair.outcome == "ok" and pair.completed is not None:
        owner, fence = _claim(pair.completed)
        if owner != asked or fence is None:
            raise malformed(pair.completed, f"owner {asked!r} and a fence")

    def step(tenure: Tenure) -> State:
        return tenure.taken(owner, fence) if tenure.owner is None else tenure.seen(owner, fence)

    return Effect(
        ("register", owner, fence),
        step,
        f"register for {owner}" + ("" if fence is None else f" with fence {fence}"),
        eager=True,
        losable=True,
    )


def _unregister(pair: Pair) -> Effect | None:
    owner, fence = _claim(pair.invoked)
    if pair.outcome == "fail":
        return None
    under = "" if fence is None else f" with fence {fence}"
    if pair.outcome == "ok" and pair.completed is not None:
        match pair.completed.value:
            case {"released": False}:
                return Effect(
                    ("not owned", owner, fence),
                    lambda tenure: (
                        Refusal.NOW if tenure.owner == owner and fence in (None, tenure.fence) else tenure
                    ),
                    f"unregister for {owner}{under} released nothing",
                    eager=True,
                    reads=True,
                )

    def step(tenure: Tenure) -> State:
        seen = tenure.seen(owner, fence)
        return seen if isinstance(seen, Refusal) else seen.freed()

    return Effect(
        ("unregister", owner, fence), step, f"unregister for {owner}{under}", frees=True, losable=True
    )


def _owned(owner: str, fence: int | None, verb: str) -> Effect:
    under = "" if fence is None else f" with fence {fence}"
    return Effect(
        ("owned", owner, fence),
        lambda tenure: tenure.seen(owner, fence),
        f"{verb} {owner}{under}",
        eager=True,
        reads=True,
        losable=True,
    )


def _free() -> Effect:
    return Effect(
        "free",
        lambda tenure: tenure if tenure.owner is None else Refusal.NOW,
        "whereis nobody",
        eager=True,
        reads=True,
    )


def _expire(op: Op) -> Effect:
    match op.value:
        case {"holder": str(holder), **rest} if not rest.keys() - {"fences_below"}:
            below = rest.get("fences_below")
        case _:
            raise malformed(op, '{"holder": text[, "fences_below": number]}')
    if below is not None and not isinstance(below, int):
        raise malformed(op, '{"holder": text[, "fences_below": number]}')
    prefix = f"{holder}:"

    def step(tenure: Tenure) -> State:
        if tenure.owner is None or not tenure.owner.startswith(prefix):
            return tenure
        return tenure.freed() if below is None or tenure.highest < below else tenure

    return Effect(
        ("expire", holder, below),
        step,
        f"the session of {holder} ended" + ("" if below is None else f" (fences below {below})"),
        frees=True,
        repeats=True,
        concerns=_registers_for(prefix),
        bounded=below is not None,
    )


def _registers_for(prefix: str) -> Callable[[Any], bool]:
    def concerns(name: Any) -> bool:
        match name:
            case ("register", str(owner), _):
                return owner.startswith(prefix)
        return False

    return concerns


def _claim(op: Op) -> tuple[str, int | None]:
    match op.value:
        case {"owner": str(owner), **rest}:
            fence = rest.get("fence")
            if fence is None or (isinstance(fence, int) and not isinstance(fence, bool)):
                return owner, fence
    raise malformed(op, '{"owner": text, "fence": number or null}')
