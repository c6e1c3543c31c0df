"""A consistent-hash ring with virtual nodes and weights (Karger et al., 1997).

Each node stands at several points of a circle of 2**64 places, in proportion to its weight; a key belongs to
the node at the first point at or after the key's own place. When a node joins, keys move only *to* it; when it
leaves, only *from* it. The ring depends on the names and weights of its nodes alone: neither on their order,
nor on the process that computes it.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .encoding import Key, hash64

POINTS_PER_WEIGHT = 160  # a standard deviation of about 8 % of a node's share
MAX_POINTS = 65_536  # of one node


@dataclass(frozen=True, slots=True)
class Move:
    """A key whose owner differs between two rings. `source` or `target` is None for a ring without nodes."""

    key: Key
    source: str | None
    target: str | None


class Ring:
    """An immutable ring over `nodes`: an iterable of names (weight 1 each) or a mapping from name to weight.

    A node of weight 2.0 gets about twice the keys of one of weight 1.0; a weight of 0 gets none.
    `points_per_weight` is the number of virtual nodes per unit of weight; all who share a ring must agree on it.
    Raises `ValueError` for a negative, infinite or absurdly large weight.
    """

    __slots__ = ("_nodes", "_owners", "_points")

    def __init__(
        self, nodes: Iterable[str] | Mapping[str, float], *, points_per_weight: int = POINTS_PER_WEIGHT
    ) -> None:
        weights = dict(nodes) if isinstance(nodes, Mapping) else dict.fromkeys(nodes, 1.0)
        if points_per_weight < 1:
            raise ValueError(f"points_per_weight must be at least 1, not {points_per_weight}")
        placed: list[tuple[int, str]] = []
        for node, weight in weights.items():
            count = _point_count(node, weight, points_per_weight)
            placed.extend((hash64((node, number)), node) for number in range(count))
        placed.sort()  # two nodes on one point: the smaller name comes first, on every machine
        self._points = [point for point, _ in placed]
        self._owners = [node for _, node in placed]
        self._nodes = tuple(sorted(weights.items()))

    @property
    def nodes(self) -> dict[str, float]:
        """The nodes with their weights, by name."""
        return dict(self._nodes)

    def owner(self, key: Key) -> str | None:
        """The node that `key` belongs to, or None when no node has any weight."""
        if not self._points:
            return None
        return self._owners[bisect_left(self._points, hash64(key)) % len(self._points)]

    def owners(self, key: Key, count: int) -> list[str]:
        """The first `count` distinct nodes for `key`, in order of preference; fewer when there are not as many.

        The first is `owner(key)`; each following one is where the key would go if all before it left.
        """
        found: list[str] = []
        size = len(self._points)
        if count <= 0 or not size:
            return found
        start = bisect_left(self._points, hash64(key))
        for step in range(size):
            node = self._owners[(start + step) % size]
            if node not in found:
                found.append(node)
                if len(found) == count:
                    break
        return found

    def moves(self, new: "Ring", keys: Iterable[Key]) -> list[Move]:
        """Those of `keys` whose owner on `new` is another than here, in the order given."""
        pairs = ((key, self.owner(key), new.owner(key)) for key in keys)
        return [Move(key, source, target) for key, source, target in pairs if source != target]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ring) and (self._nodes, self._points) == (other._nodes, other._points)

    def __hash__(self) -> int:
        return hash((self._nodes, len(self._points)))

    def __repr__(self) -> str:
        return f"Ring({self.nodes!r})"


def _point_count(node: str, weight: float, points_per_weight: int) -> int:
    """At least one point for any weight above zero. Raises `ValueError`."""
    if not 0 <= weight * points_per_weight <= MAX_POINTS:
        limit = MAX_POINTS / points_per_weight
        raise ValueError(f"the weight of {node} must be between 0 and {limit:g}, not {weight!r}")
    return max(1, round(weight * points_per_weight)) if weight else 0
