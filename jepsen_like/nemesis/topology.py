"""Which links each kind of partition cuts: directed pairs `(from, to)` over which nothing arrives. Pure.

The shapes are Jepsen's (`jepsen.nemesis`: one, halves, majorities ring, bridge, minority third) and FoundationDB's
swizzle. The ring is the general one: nodes stand on a circle and each sees as many neighbours on both sides as make a
majority with itself, so it exists for every cluster of four or more. What must never happen here: a pair of a node and
itself, or an order that depends on anything but the arguments.
"""

from collections.abc import Sequence

Link = tuple[str, str]


def between(side: Sequence[str], names: Sequence[str]) -> list[Link]:
    """Both ways between `side` and everybody else."""
    others = [name for name in names if name not in side]
    return [link for a in side for b in others for link in ((a, b), (b, a))]


def from_side(side: Sequence[str], names: Sequence[str]) -> list[Link]:
    """Only what `side` sends to everybody else."""
    return [(a, b) for a in side for b in names if b not in side]


def ring(circle: Sequence[str]) -> list[Link]:
    """All but each node's nearest neighbours: a majority of all, itself included. Nothing for fewer than four."""
    count = len(circle)
    reach = (count // 2 + 1) // 2  # on either side
    links: list[Link] = []
    for i in range(count):
        for j in range(count):
            apart = min((i - j) % count, (j - i) % count)
            if apart > reach:
                links.append((circle[i], circle[j]))
    return links


def bridge(order: Sequence[str]) -> list[Link]:
    """The first sees everybody; of the rest, the first half and the second do not see each other."""
    rest = order[1:]
    middle = (len(rest) + 1) // 2
    return between(rest[:middle], rest)


def all_of(node: str, names: Sequence[str]) -> list[Link]:
    """Every link of one node, both ways."""
    return between([node], names)
