"""Reads that wait for the core to confirm them: a future each, from the question to its one answer.

Owned by `Replica`. What must never happen here: a future that stays without an answer when its leadership or its
replica has ended.
"""

import asyncio
from collections.abc import Sequence

from .errors import NotLeader
from .raft import ProposalRefused, Raft


class ReadIndexes:
    """The questions of one replica. Their futures raise `NotLeader` when they cannot be answered."""

    def __init__(self, raft: Raft) -> None:
        self._raft = raft
        self._loop = asyncio.get_running_loop()
        self._open: dict[int, asyncio.Future[int]] = {}
        self._new: list[int] = []
        self._last = 0

    def ask(self) -> asyncio.Future[int]:
        """An index that covers all that was acknowledged before this call. `feed` has to follow."""
        self._last += 1
        future: asyncio.Future[int] = self._loop.create_future()
        self._open[self._last] = future
        self._new.append(self._last)
        return future

    def feed(self, now: float) -> None:
        """Hand what was asked to the core."""
        new, self._new = self._new, []
        for context in new:
            try:
                self._raft.read(context, now)
            except ProposalRefused as refused:
                self._fail(context, refused.leader)

    def answer(self, confirmed: Sequence[tuple[int, int]], failed: Sequence[int]) -> None:
        """What a `Ready` says of them."""
        for context, index in confirmed:
            future = self._open.pop(context, None)
            if future is not None and not future.done():
                future.set_result(index)
        for context in failed:
            self._fail(context, self._raft.leader)

    def fail_all(self) -> None:
        """The replica has ended."""
        for context in list(self._open):
            self._fail(context, None)

    def _fail(self, context: int, leader: str | None) -> None:
        future = self._open.pop(context, None)
        if future is not None and not future.done():
            future.set_exception(NotLeader(leader))
