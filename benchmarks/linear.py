"""The linearizability checker: 10,000 operations of 50 clients on 10 keys, of which every one is as it should be.

The histories are made beforehand, from a seed: each operation takes effect at a random moment between its invocation
and its completion. What is timed is the judgement alone, from history to verdict.
"""

import random
import time
from collections.abc import Callable
from typing import Any

from quorate.jepsen_like.history import History, Op
from quorate.jepsen_like.linear import Rules, check_linearizable

from .table import Row, measured

OPERATIONS = 10_000
CLIENTS = 50
KEYS = 10
ROUNDS = 5
LOST = 0.02  # of the answers, in the history that has lost ones

Answer = tuple[Any, str, Any]  # the state afterwards, the type of the completion, its value
Question = Callable[[random.Random], tuple[str, Any]]
Behaviour = Callable[[Any, str, Any], Answer]


def register_question(rng: random.Random) -> tuple[str, Any]:
    f = rng.choice(("read", "write", "cas"))
    return f, {"read": None, "write": rng.randrange(5), "cas": [rng.randrange(5), rng.randrange(5)]}[f]


def register(state: Any, f: str, value: Any) -> Answer:
    if f == "read":
        return state, "ok", state
    if f == "write":
        return value, "ok", value
    return (value[1], "ok", value) if state == value[0] else (state, "fail", value)


def text_question(rng: random.Random) -> tuple[str, Any]:
    f = rng.choices(("get", "append", "put"), (50, 45, 5))[0]
    return f, None if f == "get" else f"{rng.randrange(10_000)} "


def text(state: Any, f: str, value: Any) -> Answer:
    state = state or ""
    if f == "get":
        return state, "ok", state
    return value if f == "put" else state + value, "ok", value


def history(question: Question, behaviour: Behaviour, *, lost: float, seed: int = 1) -> History:
    """Clients that ask as fast as they are answered; one whose answer is lost goes on under a new number."""
    rng = random.Random(seed)
    made = History()
    states: dict[str | None, Any] = {}
    waiting: list[list[Any]] = []  # invocation, its answer once it has taken effect
    free = [made.new_process() for _ in range(CLIENTS)]
    asked, now_s = 0, 0.0
    while asked < OPERATIONS or waiting:
        now_s += 0.0001
        place = rng.randrange(CLIENTS)
        if place >= len(waiting):
            if asked < OPERATIONS:
                asked += 1
                client = free.pop(rng.randrange(len(free)))
                f, value = question(rng)
                waiting.append([made.invoke(now_s, client, f, f"k{rng.randrange(KEYS)}", value), None])
            continue
        invoked: Op = waiting[place][0]
        if waiting[place][1] is None:
            state, *answer = behaviour(states.get(invoked.key), invoked.f, invoked.value)
            states[invoked.key] = state
            waiting[place][1] = answer
            continue
        type_, value = waiting.pop(place)[1]
        if rng.random() < lost:
            made.complete(now_s, invoked, "info")
            free.append(made.new_process())
        else:
            made.complete(now_s, invoked, type_, value)
            assert isinstance(invoked.process, int)
            free.append(invoked.process)
    return made


def run() -> list[Row]:
    cases: list[tuple[str, str, Rules, History]] = [
        ("register", "cas-register", "jepsen", history(register_question, register, lost=0.0)),
        (
            "register, failed cas count",
            "cas-register",
            "porcupine",
            history(register_question, register, lost=0.0),
        ),
        ("register, 2 % lost", "cas-register", "porcupine", history(register_question, register, lost=LOST)),
        ("kv with append", "kv", "jepsen", history(text_question, text, lost=0.0)),
        ("kv with append, 2 % lost", "kv", "jepsen", history(text_question, text, lost=LOST)),
    ]
    rows: list[Row] = []
    for name, model, rules, made in cases:
        rounds: list[float] = []
        steps = 0
        for _ in range(ROUNDS):
            started = time.perf_counter()
            result = check_linearizable(made, model, rules=rules)
            rounds.append((time.perf_counter() - started) * 1000)
            assert result.verdict.valid, result.verdict
            steps = result.steps
        title = f"linearizable, {OPERATIONS:,} x {CLIENTS}, {name}"
        rows.append(measured(title, "quorate", "ms", rounds, f"{len(made):,} entries, {steps:,} steps"))
    return rows
