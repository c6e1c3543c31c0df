"""Monitors: each yields exactly one DOWN when its target is dead, and none that is not true.

The monitoring processes are the authority over what they asked for and what they got; who is dead, whoever saw it die
says. What must never happen here: a DOWN that never came passes because another monitor got two.
"""

from dataclasses import dataclass, field

from quorate.jepsen_like.history import Completion, History, HistoryError, Op
from quorate.jepsen_like.verdict import Verdict, judge

from .entries import Id, entries, id_of, text_of

_NS = 1_000_000_000
LOST_SIGHT = "noconnection"
_Key = tuple[str, Id]  # the monitoring process, its ref


@dataclass(slots=True)
class _Monitor:
    """One monitor: the entry that asked for it, what came of that, and what followed."""

    ref: Id
    asked: Op
    target: str
    outcome: Completion
    downs: list[Op] = field(default_factory=list)
    ended: Op | None = None


def check_downs(history: History, *, settle_s: float = 0.0, until_s: float | None = None) -> Verdict:
    """At the end every monitor of a dead process has had exactly one DOWN; of a living one none but `noconnection`.

    Expects entries in which a process is named as in its life, and only in that one life:

        "monitor"    by the monitoring process, {"ref": int or str, "target": name}: a note once it is set, or a pair
                     (`fail`: it was not set; unknown: perhaps). A process uses a ref once
        "down"       a note by the same process, {"ref", "reason": any}, as it gets it
        "demonitor"  a note by the same process, {"ref"}, and {"flush": true} if a DOWN in the mailbox was taken out
        "died"       a note by whoever saw it, {"target": name}, of any process that monitors or is monitored, and of
                     any target that never lived

    The history must go on until after the heal, when DOWNs had time to come: who died less than `settle_s` seconds
    (default 0) before its end may still owe some. Its end is `until_s`, in seconds of the history, until which the
    run was watched, or the last entry, whichever is later. A DOWN for a living process is `invalid` unless its
    reason is "noconnection", which only says that sight of it was lost; so is one that came before the death. A
    monitor whose own process died, or that was taken back, may have had its DOWN or not. (Erlang reference manual,
    "Monitors": "exactly one 'DOWN' message"; `demonitor/2`.)
    """
    monitors, strays = _monitors(history)
    deaths: dict[str, Op] = {}
    for op in history.notes("died"):
        deaths.setdefault(text_of(op, "target"), op)
    end_ns = max([round((until_s or 0.0) * _NS), *(op.time_ns for op in history)])
    settled_ns = end_ns - round(settle_s * _NS)
    problems = strays
    owed = 0
    for monitor in monitors.values():
        death = deaths.get(monitor.target)
        owes = (
            death is not None
            and death.time_ns <= settled_ns
            and monitor.outcome == "ok"
            and monitor.ended is None
            and str(monitor.asked.process) not in deaths
        )
        owed += owes or bool(monitor.downs)
        problems += _judged(monitor, death, owes)
    told = sum(len(monitor.downs) for monitor in monitors.values())
    summary = f"{len(monitors):,} monitors, {owed:,} of them had a DOWN coming, {told:,} came"
    return judge("downs", problems, owed, summary)


def _monitors(history: History) -> tuple[dict[_Key, _Monitor], list[str]]:
    """All monitors with their DOWNs, and the DOWNs that belong to none."""
    monitors: dict[_Key, _Monitor] = {}
    asked: dict[int, Completion] = {pair.invoked.index: pair.outcome for pair in history.pairs("monitor")}
    for op in history.notes("monitor"):
        asked[op.index] = "ok"
    for index in sorted(asked):
        op = history[index]
        monitor = _Monitor(id_of(op, "ref"), op, text_of(op, "target"), asked[index])
        if (other := monitors.setdefault((str(op.process), monitor.ref), monitor)) is not monitor:
            raise HistoryError(
                f"{entries((other.asked.index, op.index))} both have the ref {monitor.ref!r} of {op.process}: it must be unique"
            )
    for op in history.notes("demonitor"):
        if (found := monitors.get((str(op.process), id_of(op, "ref")))) is None:
            raise HistoryError(f"entry {op.index}: {op.process} has no monitor {id_of(op, 'ref')!r}")
        found.ended = op
    strays: list[str] = []
    for op in history.notes("down"):
        ref = id_of(op, "ref")
        found = monitors.get((str(op.process), ref))
        if found is None or found.asked.index > op.index:
            strays.append(
                f"entry {op.index}: {op.process} got a DOWN for {ref!r}, under which it monitored nobody"
            )
        else:
            found.downs.append(op)
    return monitors, strays


def _judged(monitor: _Monitor, death: Op | None, owes: bool) -> list[str]:
    shown = f"{monitor.asked.process} monitors {monitor.target} (entry {monitor.asked.index})"
    downs, ended = monitor.downs, monitor.ended
    problems: list[str] = []
    if owes and not downs:
        assert death is not None
        problems.append(f"{shown}, which died (entry {death.index}), and got no DOWN")
    if len(downs) > 1:
        problems.append(f"{shown} and got {len(downs)} DOWNs ({entries([op.index for op in downs])})")
    if downs and monitor.outcome == "fail":
        problems.append(f"{shown}, which failed, and got a DOWN (entry {downs[0].index})")
    if ended is not None and ended.value.get("flush") and any(op.index > ended.index for op in downs):
        problems.append(
            f"{shown}, took it back (entry {ended.index}), and got a DOWN (entry {downs[-1].index})"
        )
    for op in downs:
        reason = op.value.get("reason")
        if reason == LOST_SIGHT:
            continue
        if death is None:
            problems.append(f"{shown}, which lives, and got a DOWN with {reason!r} (entry {op.index})")
        elif op.time_ns < death.time_ns:
            problems.append(
                f"{shown} and got a DOWN with {reason!r} (entry {op.index}) before it died (entry {death.index})"
            )
    return problems
