"""Random plans: which faults, when, for how long, on whom.

    plan(Stream(7, "plan"), nodes=["n1", "n2", "n3"], kinds="partition,kill", time_s=60.0)

Swarm testing: each plan first draws its own character (a subset of the kinds, how dense, how long, how many at a time), so
that over many seeds there are runs of one kind alone, in which nothing else hides what it does, and runs of many together.
(Groce et al., "Swarm Testing", ISSTA 2012; the swarm options of TigerBeetle's VOPR.) A plan is decided before the run and
knows nothing of it. Faults begin when the cluster has had a moment to form, and the last part of the time is free of them.

What must never happen here: more rotten disks than a minority, which would end the cluster for good. Pure.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from quorate.consensus import Timing
from quorate.jepsen_like.simulation import Stream

from .fault import Fault, Plan
from .kinds import KINDS, Kind, PlanError, select

MOST_FAULTS = 300
"""No plan has more."""
LEAST_FAULTS = 4
"""So many are planned at least, if each is short: a run with one fault proves little."""
ROT = "rot"
SHORTEST_S = 0.05
"""No fault of a plan is shorter, however little time there is."""


def minority(count: int) -> int:
    """The largest minority of so many nodes."""
    return (count - 1) // 2


@dataclass(frozen=True, slots=True)
class Swarm:
    """The character of one plan.

    `gap_s` is the mean time from the beginning of one fault to that of the next, `stretch` multiplies durations,
    `overlap` is how many may be under way at a time.
    """

    kinds: tuple[str, ...]
    gap_s: float
    stretch: float
    overlap: int

    @classmethod
    def draw(cls, rng: Stream, kinds: Sequence[str], lifetime_s: float) -> "Swarm":
        """A random non-empty subset of `kinds`, by groups first, and random knobs; `lifetime_s` is a session's.

        Rot does not come alone if anything else may: there may be nothing yet that could rot.
        """
        groups = list(dict.fromkeys(KINDS[kind].group for kind in kinds))
        chosen: list[str] = []
        subset = _subset(rng, groups)
        if subset == [ROT] and len(groups) > 1:
            subset.append(rng.choice([group for group in groups if group != ROT]))
        for group in subset:
            chosen += _subset(rng, [kind for kind in kinds if KINDS[kind].group == group])
        return cls(
            tuple(chosen),
            gap_s=lifetime_s * _skewed(rng, 0.25, 2.5),
            stretch=_skewed(rng, 0.4, 1.5),
            overlap=rng.choice((1, 1, 2, 3, 4)),
        )


def plan(
    rng: Stream,
    *,
    nodes: Sequence[str],
    kinds: str | Iterable[str] = "all",
    time_s: float,
    timing: Timing | None = None,
    calm_s: float | None = None,
) -> Plan:
    """A random plan for a run of `time_s` seconds; the last `calm_s` of them are free of faults.

    `kinds` is what `select` takes; those that make no sense in so small a cluster are left out. `timing` (default:
    `Timing.lan()`) scales durations with the session's lifetime, and its `drift` bounds the rates of clocks. `calm_s`
    is by default two session lifetimes, and a quarter of the time at most. At least one fault is planned. Raises `PlanError`
    when no kind remains, or there is no time for any.
    """
    timing = timing or Timing.lan()
    lifetime_s = timing.session_ttl_s
    usable = [kind for kind in select(kinds) if KINDS[kind].min_nodes <= len(nodes)]
    if not usable:
        raise PlanError(f"none of these kinds of fault makes sense with {len(nodes)} node(s)")
    if calm_s is None:
        calm_s = min(2.0 * lifetime_s, time_s / 4.0)
    end_s = time_s - calm_s
    begin_s = min(0.5 * lifetime_s, end_s / 4.0)
    if end_s - begin_s < 2.0 * SHORTEST_S:
        raise PlanError(f"{time_s} s, of which {calm_s} s are calm, leave no time for a fault")
    swarm = Swarm.draw(rng, usable, lifetime_s)
    return _fill(rng, swarm, tuple(nodes), timing, begin_s, end_s)


def _fill(
    rng: Stream, swarm: Swarm, nodes: tuple[str, ...], timing: Timing, begin_s: float, end_s: float
) -> Plan:
    faults: list[Fault] = []
    under_way: list[float] = []  # when each of them ends
    at_s = begin_s
    rotten = 0
    while len(faults) < MOST_FAULTS:
        under_way = [until_s for until_s in under_way if until_s > at_s]
        if len(under_way) >= swarm.overlap:
            at_s = min(under_way)
            continue
        if end_s - at_s < SHORTEST_S:
            break
        kind = KINDS[rng.choice(swarm.kinds)]
        if kind.group == ROT:
            rotten += 1
        if rotten > minority(len(nodes)) and kind.group == ROT:
            rest = [name for name in swarm.kinds if KINDS[name].group != ROT]
            if not rest:
                break
            kind = KINDS[rng.choice(rest)]
        longest_s = min(kind.longest * swarm.stretch * timing.session_ttl_s, end_s - at_s)
        shortest_s = min(max(SHORTEST_S, kind.shortest * timing.session_ttl_s), longest_s)
        fault = _draw(rng, kind, nodes, timing, at_s, _skewed(rng, shortest_s, longest_s))
        faults.append(fault)
        under_way.append(fault.until_s)
        at_s += min(_skewed(rng, 0.1 * swarm.gap_s, 3.0 * swarm.gap_s), (end_s - begin_s) / LEAST_FAULTS)
    return tuple(faults)


def _draw(
    rng: Stream, kind: Kind, nodes: tuple[str, ...], timing: Timing, at_s: float, for_s: float
) -> Fault:
    amount = every_s = 0.0
    if kind.name == "clock-rate":
        half = timing.drift / 2.0
        amount = 1.0 + (half if rng.chance(0.5) else rng.uniform(0.1 * half, half)) * rng.choice((1.0, -1.0))
    elif kind.group == ROT:
        amount = rng.random()
    elif kind.amounts is not None:
        amount = _skewed(rng, max(1e-3, kind.amounts[0]), kind.amounts[1])
    if kind.group == "clock" and kind.name != "clock-rate" and rng.chance(0.5):
        amount = -amount
    if kind.periods_s is not None:
        every_s = _skewed(rng, *kind.periods_s)
    return Fault(
        round(at_s, 3),
        kind.name,
        round(for_s, 3),
        _nodes(rng, kind, nodes),
        round(amount, 4),
        round(every_s, 3),
    )


def _nodes(rng: Stream, kind: Kind, nodes: tuple[str, ...]) -> tuple[str, ...]:
    count = len(nodes)
    match kind.takes:
        case "none":
            return ()
        case "one":
            size = 1
        case "two":
            size = 2
        case "third":
            size = max(1, (count - 1) // 3)
        case "half":
            size = count // 2
        case "minority":
            size = 1 + rng.below(minority(count))
        case "side":
            size = 1 + rng.below(count - 1)
        case _:
            size = count
    drawn = rng.sample(nodes, size)
    if kind.name == "partition-swizzle":
        drawn = drawn[: 1 + rng.below(count)]
        drawn += rng.sample(drawn, len(drawn))
    return tuple(drawn)


def _subset(rng: Stream, names: Sequence[str]) -> list[str]:
    """A random non-empty subset in the order of `names`: one alone, all, or each by a coin."""
    shape = rng.random()
    if shape < 0.25 or len(names) == 1:
        return [rng.choice(names)]
    if shape < 0.4:
        return list(names)
    return [name for name in names if rng.chance(0.5)] or [rng.choice(names)]


def _skewed(rng: Stream, low: float, high: float) -> float:
    """Between the two, as likely in each tenfold as in any other: short and long both are common."""
    return float(low * (high / low) ** rng.random()) if high > low > 0.0 else high
