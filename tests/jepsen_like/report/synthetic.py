"""A run as the simulation would leave it, made up: five nodes, twenty clients, faults, leaders, owners, a failing window.

`synthetic_run` is deterministic: one seed and size, one record. With `fails` the history ends in a window that no
order of its operations explains.
"""

import heapq
import random
from dataclasses import dataclass, field
from typing import Any

from quorate.jepsen_like.history import Completion, History, Op
from quorate.jepsen_like.record import FaultRecord, LeaderRecord, RunRecord, Window
from quorate.jepsen_like.verdict import Verdict

NODES = ("n1", "n2", "n3", "n4", "n5")
S = 1_000_000_000


@dataclass
class _Run:
    random: random.Random
    time_s: float
    names: int
    faults: list[FaultRecord] = field(default_factory=list)
    history: History = field(default_factory=History)
    queue: list[tuple[float, int, Any]] = field(default_factory=list)
    holders: dict[str, tuple[int, str]] = field(default_factory=dict)
    fence: int = 0
    tie: int = 0

    def at(self, time_s: float, action: Any) -> None:
        self.tie += 1
        heapq.heappush(self.queue, (time_s, self.tie, action))

    def trouble(self, time_s: float) -> bool:
        return any(f.from_ns <= time_s * S <= (f.until_ns or 1e18) for f in self.faults)


def synthetic_run(
    operations: int = 2000, *, seed: int = 7, time_s: float = 60.0, clients: int = 20, fails: bool = True
) -> RunRecord:
    """About `operations` operations of `clients` clients in `time_s` seconds."""
    run = _Run(random.Random(seed), time_s, names=8)
    run.faults = _faults(run)
    pause_s = time_s * clients / operations / 1.6
    for _ in range(clients):
        process = run.history.new_process()
        run.at(run.random.uniform(0, pause_s), _client(run, process, pause_s))
    while run.queue:
        now_s, _, action = heapq.heappop(run.queue)
        if now_s > time_s - 2 and not getattr(action, "ending", False):
            continue
        action(now_s)
    windows = (_failing_window(run),) if fails else ()
    return RunRecord(
        workload="registry",
        seed=seed,
        nodes=NODES,
        time_s=time_s,
        history=run.history,
        verdicts=_verdicts(run, windows),
        faults=tuple(run.faults),
        leaders=_leaders(run),
        windows=windows,
        trace_hash="9f0c5e1b7a6d4c38a1f2b3c4d5e6f708",
        command=f"quorate jepsen sim --workload registry --nodes 5 --seed {seed} --faults all --time {time_s:.0f}",
        figures={
            "messages": 184_233,
            "bytes": 31_220_114,
            "connections": 212,
            "wall_s": 1.83,
            "faults": "all",
        },
    )


def _client(run: _Run, process: int, pause_s: float) -> Any:
    def begin(now_s: float) -> None:
        name = f"name-{run.random.randrange(run.names)}"
        f = run.random.choices(("whereis", "register", "unregister"), (6, 3, 1))[0]
        node = run.random.choice(NODES)
        held = run.holders.get(name)
        if f == "unregister" and (held is None or run.random.random() < 0.7):
            f = "register"
        value: Any = None
        if f == "register":
            value = {"owner": f"<{node}#{1 + int(now_s // 25)}:{process * 31 % 97}>"}
        elif f == "unregister" and held is not None:
            value = {"owner": held[1], "fence": held[0]}
        invoked = run.history.invoke(now_s, process, f, name, value)
        took_s = run.random.lognormvariate(-5.2, 0.5) * (1 if f == "whereis" else 3)
        if run.trouble(now_s):
            took_s *= run.random.choice((1,) * 20 + (2, 5, 40))
        if run.trouble(now_s) and run.random.random() < 0.012:
            if run.random.random() < 0.5:
                run.history.complete(now_s, invoked, "info", {"error": "timeout"})
            again = run.history.new_process()
            run.at(now_s + 0.5, _client(run, again, pause_s))
            return
        end = _end(run, invoked, pause_s)
        run.at(now_s + took_s, end)

    return begin


def _end(run: _Run, invoked: Op, pause_s: float) -> Any:
    def end(now_s: float) -> None:
        name = invoked.key
        assert name is not None and isinstance(invoked.process, int)
        outcome, value = _answer(run, now_s, invoked, name)
        run.history.complete(now_s, invoked, outcome, value)
        run.at(now_s + run.random.expovariate(1 / pause_s), _client(run, invoked.process, pause_s))

    end.ending = True  # type: ignore[attr-defined]  # an operation under way still ends when the time is over
    return end


def _answer(run: _Run, now_s: float, invoked: Op, name: str) -> tuple[Completion, Any]:
    held = run.holders.get(name)
    if invoked.f == "whereis":
        return "ok", None if held is None else {"owner": held[1], "fence": held[0]}
    if invoked.f == "register":
        if held is not None:
            return "fail", {"error": "taken", "owner": held[1], "fence": held[0]}
        run.fence += 1
        owner = str(invoked.value["owner"])
        run.holders[name] = (run.fence, owner)
        run.history.note(now_s, owner[1:3], "held", name, {"fence": run.fence, "owner": owner})
        return "ok", {"owner": owner, "fence": run.fence}
    if held is None or held[0] != invoked.value["fence"]:
        return "fail", {"error": "not-owner"}
    del run.holders[name]
    run.history.note(now_s, held[1][1:3], "released", name, {"fence": held[0], "owner": held[1]})
    return "ok", {"released": True}


def _faults(run: _Run) -> list[FaultRecord]:
    kinds = (
        ("partition-two", ("n1", "n2"), "bytes held by the cut"),
        ("partition-one", ("n3",), "connects blocked"),
        ("kill-one", ("n4",), "connections closed by the kernel"),
        ("pause-one", ("n2",), "callbacks held"),
        ("clock-rate", ("n5",), "reads of the skewed clock"),
        ("disk-slow", ("n1",), "syncs delayed"),
        ("partition-halves", ("n1", "n2", "n3", "n4", "n5"), "bytes held by the cut"),
    )
    faults: list[FaultRecord] = []
    now_s = run.time_s * 0.08
    while now_s < run.time_s * 0.9:
        kind, nodes, detail = run.random.choice(kinds)
        lasts_s = run.random.uniform(1.0, 5.0)
        evidence = 0 if run.random.random() < 0.12 else run.random.randrange(3, 40_000)
        until = None if now_s + lasts_s > run.time_s * 0.9 else round((now_s + lasts_s) * S)
        faults.append(FaultRecord(kind, nodes, round(now_s * S), until, evidence, detail))
        now_s += run.random.uniform(0.4, 1.6) * lasts_s + 0.6
    return faults


def _leaders(run: _Run) -> tuple[LeaderRecord, ...]:
    records: list[LeaderRecord] = []
    now_s, term, leader = 0.4, 1, "n1"
    while now_s < run.time_s:
        records.append(LeaderRecord(round(now_s * S), leader, term, True))
        now_s += run.random.uniform(4, 14)
        overlap_s = run.random.choice((-0.6, -0.3, 0.4))  # an old leader may think so a while longer
        if now_s < run.time_s:
            records.append(LeaderRecord(round((now_s + overlap_s) * S), leader, term, False))
            term += run.random.choice((1, 1, 2))
            leader = run.random.choice([node for node in NODES if node != leader])
    return tuple(sorted(records, key=lambda record: record.from_ns))


def _failing_window(run: _Run) -> Window:
    """Two clients register one name and both are told that they own it, while a third reads it."""
    history, start_s = run.history, run.time_s - 1.2
    first, second, reader, late = (history.new_process() for _ in range(4))
    one = {"owner": "<n3#2:14>"}
    two = {"owner": "<n4#3:9>"}
    entries = [history.invoke(start_s, first, "register", "orders", one)]
    entries.append(history.invoke(start_s + 0.0042, reader, "whereis", "orders"))
    entries.append(history.complete(start_s + 0.013, entries[0], "ok", {**one, "fence": 901}))
    history.note(start_s + 0.0131, "n3", "held", "orders", {**one, "fence": 901})
    entries.append(history.invoke(start_s + 0.0142, second, "register", "orders", two))
    entries.append(history.complete(start_s + 0.0161, entries[1], "ok", {**one, "fence": 901}))
    entries.append(history.invoke(start_s + 0.0180, late, "unregister", "orders", {**one, "fence": 880}))
    entries.append(history.complete(start_s + 0.4142, entries[3], "ok", {**two, "fence": 902}))
    history.note(start_s + 0.4143, "n4", "held", "orders", {**two, "fence": 902})
    entries.append(history.invoke(start_s + 0.42, reader, "whereis", "orders"))
    entries.append(history.complete(start_s + 0.431, entries[7], "ok", {**one, "fence": 901}))
    history.note(start_s + 0.9, "n3", "released", "orders", {**one, "fence": 901})
    return Window(
        "orders",
        tuple(entry.index for entry in entries),
        culprit=entries[6].index,
        why="registered <n4#3:9> with fence 902, but <n3#2:14> held orders with fence 901 and nothing had released it",
    )


def _verdicts(run: _Run, windows: tuple[Window, ...]) -> tuple[Verdict, ...]:
    operations = len(run.history.pairs())
    linear = (
        Verdict(
            "linearizable",
            "invalid",
            operations,
            f"1 of {run.names + 1} names cannot be explained",
            (windows[0].why,),
        )
        if windows
        else Verdict("linearizable", "valid", operations, f"{run.names} names, {operations:,} operations")
    )
    overlap = "'orders' of <n3#2:14> (fence 901) overlaps 'orders' of <n4#3:9> (fence 902) by 485.7 ms"
    return (
        Verdict("claims", "invalid", 212, overlap, (overlap,))
        if windows
        else Verdict("claims", "valid", 212, "212 claims"),
        linear,
        Verdict("liveness", "valid", 5, "every name could be registered within 1.2 s of the heal"),
        Verdict("convergence", "valid", 5, "five nodes agree 0.8 s after the heal"),
    )
