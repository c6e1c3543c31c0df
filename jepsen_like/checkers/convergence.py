"""Convergence: when all is healed and quiet, every node knows the same, and it is the truth.

The truth is an argument: what the authority (the store, for strong names) says. What must never happen here: nodes
that agree with each other on something false pass.
"""

from collections.abc import Mapping

from quorate.jepsen_like.verdict import Verdict, judge

Holding = tuple[str, int]  # owner, fence


def check_convergence(
    views: Mapping[str, Mapping[str, Holding] | None], truth: Mapping[str, Holding]
) -> Verdict:
    """Every node's view is the truth, name by name: nothing missing, nothing left over, owner and fence the same.

    `views` is, by node, what it answers from what it has at hand: name -> (owner, fence). Read them after the heal
    when nothing has changed for longer than the bound under test. None for a node that gave no answer leaves it
    unknown, as do no nodes and no names at all. (Jepsen's final reads; strong eventual consistency, Shapiro et al.,
    2011.)
    """
    problems: list[str] = []
    doubts: list[str] = []
    checked = 0
    for node, view in sorted(views.items()):
        if view is None:
            doubts.append(f"{node} gave no view")
            continue
        for name in sorted(truth.keys() | view.keys()):
            checked += 1
            if (problem := _difference(view.get(name), truth.get(name))) is not None:
                problems.append(f"{node}: {name!r} {problem}")
    agreeing = len({tuple(sorted(view.items())) for view in views.values() if view is not None})
    summary = f"{len(views):,} nodes, {len(truth):,} names, {agreeing:,} different views"
    return judge("convergence", problems, checked, summary, doubts=doubts)


def _difference(seen: Holding | None, true: Holding | None) -> str | None:
    if seen == true:
        return None
    if seen is None:
        return f"is missing; it is of {_show(true)}"
    if true is None:
        return f"is of {_show(seen)} there, but it is nobody's"
    return f"is of {_show(seen)} there, but it is of {_show(true)}"


def _show(holding: Holding | None) -> str:
    assert holding is not None
    return f"{holding[0]} (fence {holding[1]})"
