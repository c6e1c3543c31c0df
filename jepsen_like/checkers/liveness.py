"""Liveness after heal: when nothing is broken any more, everything works again within a bound.

The history is the authority. What must never happen here: a probe that still hangs at the end passes as not yet
answered.
"""

from collections.abc import Collection
from dataclasses import dataclass
from math import inf

from quorate.jepsen_like.history import History, Op, Pair
from quorate.jepsen_like.verdict import Verdict, judge

from .entries import entries, key_of

_NS = 1_000_000_000


def check_liveness(
    history: History,
    *,
    limit_s: float,
    f: str = "probe",
    healed: str = "healed",
    names: Collection[str] | None = None,
) -> Verdict:
    """Every name that is probed after the heal is acknowledged within `limit_s` of it, and from then on every probe is.

    Expects a note of f `healed` when the last fault has ended (the last such note counts), and pairs of `f`, whose key is
    the name, invoked after it: anything that must succeed in a healthy cluster, such as a registration of a name that
    nobody else wants. A name may be probed again and again: until `limit_s` (seconds) after the heal probes may fail or
    hang; a name of which none was acknowledged by then is `invalid`, and so is each later probe that is not
    acknowledged within `limit_s` of its invocation. Unknown are names of `names` that nobody probed, a history
    without heal, and one that ends before the limit. (TigerBeetle's liveness mode; erlang/otp#6524 is what it finds.)
    """
    heals = history.notes(healed)
    if not heals:
        return judge("liveness", [], 0, "no heal", doubts=["no heal was noted"] if len(history) else [])
    limit_ns = round(limit_s * _NS)
    window = _Window(heals[-1], limit_ns, max(op.time_ns for op in history))
    probes: dict[str, list[Pair]] = {}
    for pair in history.pairs(f):
        if pair.invoked.index > window.heal.index:
            probes.setdefault(key_of(pair.invoked), []).append(pair)
    problems: list[str] = []
    doubts = [f"{name!r} was never probed" for name in sorted(set(names or ()) - probes.keys())]
    slowest_ns = 0.0
    for name, pairs in sorted(probes.items()):
        first_ns = min(map(_acknowledged_ns, pairs))
        slowest_ns = max(slowest_ns, first_ns - window.heal.time_ns)
        for pair in (pair for pair in pairs if pair.invoked.time_ns > window.limit_at_ns):
            _sort_out(
                f"{name!r}: a probe ({_entries_of(pair)})",
                pair.invoked.time_ns,
                [pair],
                window,
                problems,
                doubts,
            )
        _sort_out(f"{name!r}: {_count(pairs)}", window.heal.time_ns, pairs, window, problems, doubts)
    summary = f"{len(probes):,} names probed after the heal (entry {window.heal.index})"
    if not problems and not doubts and probes:
        summary += f"; the last one was acknowledged {slowest_ns / 1e6:,.0f} ms after it"
    return judge("liveness", problems, len(probes), summary, doubts=doubts)


@dataclass(frozen=True, slots=True)
class _Window:
    """From when on what must work, and how far the history reaches."""

    heal: Op
    limit_ns: int
    end_ns: int

    @property
    def limit_at_ns(self) -> int:
        return self.heal.time_ns + self.limit_ns


def _sort_out(
    what: str, from_ns: int, pairs: list[Pair], window: _Window, problems: list[str], doubts: list[str]
) -> None:
    """One of these had to be acknowledged within the limit from `from_ns`."""
    until_ns = from_ns + window.limit_ns
    if min(map(_acknowledged_ns, pairs)) <= until_ns:
        return
    if window.end_ns < until_ns:
        doubts.append(f"{what} not acknowledged, but the history ends before the limit")
    else:
        problems.append(f"{what} not acknowledged within {window.limit_ns / _NS:g} s")


def _acknowledged_ns(pair: Pair) -> float:
    return pair.completed.time_ns if pair.completed is not None and pair.outcome == "ok" else inf


def _count(pairs: list[Pair]) -> str:
    shown = _entries_of(pairs[-1])
    return (
        f"its probe ({shown}) was"
        if len(pairs) == 1
        else f"none of {len(pairs)} probes (the last: {shown}) was"
    )


def _entries_of(pair: Pair) -> str:
    return entries(
        [pair.invoked.index] if pair.completed is None else [pair.invoked.index, pair.completed.index]
    )
