"""Liveness after heal: when nothing is broken any more, everything works again within a bound.

The history is the authority. What must never happen here: a probe that still hangs at the end passes as not yet
answered.
"""

from collections.abc import Collection
from math import inf

from quorate.jepsen_like.history import History, Pair
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
    until_s: float | None = None,
) -> Verdict:
    """After the heal every name is acknowledged within `limit_s` of its first probe, and from then on every probe is.

    Expects a note of f `healed` when the last fault has ended (the last such note counts), and pairs of `f`, whose
    key is the name, invoked after it, the first at once: anything that must succeed in a healthy cluster, such as a
    registration of a name that nobody else wants. A name may be probed again and again: within `limit_s` (seconds)
    of the first probe others may fail or hang; a name of which none was acknowledged by then is `invalid`, and so
    is each later probe that is not acknowledged within `limit_s` of its invocation. Unknown are names of `names`
    that nobody probed, a history without heal, and one that ends before the limit: the run was watched until
    `until_s`, in seconds of the history, or without it until the last entry, whichever is later. (TigerBeetle's
    liveness mode; what it is to find is erlang/otp#6524: registrations that hang for hours after a heal.)
    """
    heals = history.notes(healed)
    if not heals:
        return judge("liveness", [], 0, "no probes", doubts=["no heal was noted"] if len(history) else [])
    heal = heals[-1]
    probes: dict[str, list[Pair]] = {}
    for pair in history.pairs(f):
        if pair.invoked.index > heal.index:
            probes.setdefault(key_of(pair.invoked), []).append(pair)
    limit_ns = round(limit_s * _NS)
    end_ns = max([round((until_s or 0.0) * _NS), *(op.time_ns for op in history)])
    problems: list[str] = []
    doubts = [f"{name!r} was never probed" for name in sorted(set(names or ()) - probes.keys())]
    slowest_ns = 0.0
    for name, pairs in sorted(probes.items()):
        slowest_ns = max(slowest_ns, min(map(_acknowledged_ns, pairs)) - heal.time_ns)
        for group in _groups(pairs, limit_ns):
            until_ns = group[0].invoked.time_ns + limit_ns
            if min(map(_acknowledged_ns, group)) <= until_ns:
                continue
            if end_ns < until_ns:
                doubts.append(f"{name!r}: {_show(group)} acknowledged, but the history ends before the limit")
            else:
                problems.append(f"{name!r}: {_show(group)} acknowledged within {limit_s:g} s")
    summary = f"{len(probes):,} names probed after the heal (entry {heal.index})"
    if not problems and not doubts and probes:
        summary += f"; the last one was acknowledged {slowest_ns / 1e6:,.0f} ms after it"
    return judge("liveness", problems, len(probes), summary, doubts=doubts)


def _groups(pairs: list[Pair], limit_ns: int) -> list[list[Pair]]:
    """The probes within the limit of the first, of which one must do; and each later one alone."""
    until_ns = pairs[0].invoked.time_ns + limit_ns
    early = [pair for pair in pairs if pair.invoked.time_ns <= until_ns]
    return [early, *([pair] for pair in pairs if pair.invoked.time_ns > until_ns)]


def _acknowledged_ns(pair: Pair) -> float:
    return pair.completed.time_ns if pair.completed is not None and pair.outcome == "ok" else inf


def _show(pairs: list[Pair]) -> str:
    last = pairs[-1]
    told = [last.invoked.index] if last.completed is None else [last.invoked.index, last.completed.index]
    if len(pairs) == 1:
        return f"a probe ({entries(told)}) was not"
    return f"none of {len(pairs)} probes (the last: {entries(told)}) was"
