"""Leadership given away on purpose, before a node is drained: to whom, and whether it has worked.

Safety never rests on it: whoever takes over is elected as any leader is (Raft dissertation 3.10).
"""

import asyncio

from quorate.core import Clock, timeout

from .raft import PeerState
from .replica import Replica


class Handover:
    """For one store. `patience_s`: for how long a peer counts as living after its last answer, and may take to take over."""

    def __init__(self, name: str, replica: Replica, clock: Clock, patience_s: float) -> None:
        self._name = name
        self._replica = replica
        self._clock = clock
        self._patience_s = patience_s
        self._waiting: dict[asyncio.Future[None], None] = {}  # in the order of their calls

    async def run(self) -> bool:
        """Hand over if this node leads. True when another node has taken over."""
        target = self._best()
        if target is None:
            return False
        changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[changed] = None
        try:
            self._replica.transfer(target)
            async with timeout(self._clock, 2 * self._patience_s):
                await changed
        except TimeoutError:
            return False
        finally:
            self._waiting.pop(changed, None)
        return not self._replica.stopped and not self._replica.leading()

    def notice(self) -> None:
        """Something about the leadership has changed, or the replica has ended."""
        if self._replica.stopped or self._replica.raft.leader not in (None, self._name):
            for changed in self._waiting:
                if not changed.done():
                    changed.set_result(None)

    def _best(self) -> str | None:
        """The voter that knows most, of those that have answered of late."""
        if not self._replica.leading():
            return None
        since = self._clock.monotonic() - self._patience_s
        living = {
            peer: progress
            for peer, progress in self._replica.raft.progress().items()
            if progress.contact >= since
        }

        def fitness(peer: str) -> tuple[bool, int, float, str]:
            progress = living[peer]
            connected = progress.state is PeerState.REPLICATE
            return connected, progress.match_index, progress.contact, peer

        return max(living, key=fitness, default=None)
