"""Linearizable reads without a write to the log (ReadIndex, dissertation 6.4).

`Leader` owns it. Reads that arrive between two Readies share one round: the commit index of that moment,
confirmed when a quorum has answered a message sent after it. An answer to anything sent earlier proves
nothing, because the leader may have been deposed in between.
"""

from collections import deque

from .types import NodeId

MAX_ROUNDS = 4  # further reads gather for the next round


class Reads:
    """The reads of one leadership that are not confirmed yet, and those that are."""

    __slots__ = ("_rounds", "_waiting", "confirmed")

    def __init__(self) -> None:
        self._waiting: list[int] = []
        self._rounds: deque[tuple[int, int, list[int]]] = deque()  # (round, index, contexts)
        self.confirmed: list[tuple[int, int]] = []

    def add(self, context: int) -> None:
        self._waiting.append(context)

    def wants_round(self) -> bool:
        """There are reads that wait for a round to begin, and it may begin."""
        return bool(self._waiting) and len(self._rounds) < MAX_ROUNDS

    def begin_round(self, round_: int, commit_index: int) -> None:
        """Everything that waits shall see the log up to `commit_index`."""
        self._rounds.append((round_, commit_index, self._waiting))
        self._waiting = []

    def pending(self) -> bool:
        return bool(self._rounds)

    def confirm(self, round_: int) -> None:
        """A quorum has answered a message of `round_` or later."""
        while self._rounds and self._rounds[0][0] <= round_:
            _, index, contexts = self._rounds.popleft()
            self.confirmed += [(context, index) for context in contexts]

    def take_confirmed(self) -> list[tuple[int, int]]:
        confirmed, self.confirmed = self.confirmed, []
        return confirmed

    def unconfirmed(self) -> list[int]:
        """Contexts of all reads that have no answer."""
        return [context for _, _, contexts in self._rounds for context in contexts] + self._waiting


class Transfer:
    """A leadership that is being handed to `target`; given up at `deadline`."""

    __slots__ = ("deadline", "target", "told")

    def __init__(self, target: NodeId, deadline: float) -> None:
        self.target = target
        self.deadline = deadline
        self.told = False
