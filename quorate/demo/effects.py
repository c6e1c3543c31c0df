"""A store outside of the cluster, as a bank or a device would be: it takes effects that carry a fence, and refuses
one that is lower than any it has seen for that key. It is the last line of defence, and it knows nothing of Raft.
"""

from quorate.jepsen_like.history import History

from .cluster import Child


class EffectsStore:
    """The authority over which effects were accepted, in which order: it records them as it takes them."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._highest: dict[str, int] = {}
        self.accepted = 0
        self.refused = 0

    def highest(self, key: str) -> int:
        """The highest fence that was seen for a key."""
        return self._highest.get(key, 0)

    def take(self, time_s: float, child: Child, key: str, fence: int) -> bool:
        """Whether it was accepted."""
        accepted = fence >= self._highest.get(key, 0)
        if accepted:
            self._highest[key] = fence
            self.accepted += 1
        else:
            self.refused += 1
        self._history.note(
            time_s,
            f"effects of {child.id}",
            "effect",
            key,
            {"fence": fence, "owner": child.id},
            type_="ok" if accepted else "fail",
        )
        return accepted
