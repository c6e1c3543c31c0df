"""A name that a process of this node owns, for as long as it does.

The store is the authority over ownership; a claim is what this node may rely on, by its own clock, without asking. It
ends once and never comes back: a name that is registered again has a new claim with a higher fence.
"""

import asyncio

from quorate.consensus import Session
from quorate.core import Pid

from .errors import ClaimLost


class Claim:
    """`name` belongs to `pid`. Give `fence` to every store outside that can refuse a lower one.

    The fence is the store's revision at which the name was registered; it only grows from owner to owner.
    """

    __slots__ = ("_leaving", "_over", "_session", "_waiting", "fence", "name", "pid", "session_id")

    def __init__(self, name: object, pid: Pid, fence: int, session: Session, session_id: int) -> None:
        self.name = name
        self.pid = pid
        self.fence = fence
        self.session_id = session_id
        self._session = session
        self._over = False
        self._leaving = False
        self._waiting: list[asyncio.Future[None]] = []

    def valid(self) -> bool:
        """The name is certainly ours at this moment. Ask right before each act in its name."""
        return not self._over and not self._leaving and self._session.id == self.session_id

    def check(self) -> None:
        """Raise `ClaimLost` unless the claim is valid."""
        if not self.valid():
            raise ClaimLost(self.name, self.fence)

    async def lost(self) -> None:
        """Return when the claim is over: lost, or given up by `unregister`, or by the death of the process."""
        if self._over:
            return
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(over)
        try:
            await over
        finally:
            if over in self._waiting:
                self._waiting.remove(over)

    @property
    def leaving(self) -> bool:
        """For the registry: the name is being given up, and nobody knows how far that is."""
        return self._leaving

    @leaving.setter
    def leaving(self, leaving: bool) -> None:
        self._leaving = leaving

    def end(self) -> bool:
        """For the registry: the claim is over. False when it was before."""
        if self._over:
            return False
        self._over = True
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)
        self._waiting.clear()
        return True

    def __repr__(self) -> str:
        state = "valid" if self.valid() else "lost"
        return f"Claim({self.name!r}, {self.pid}, fence={self.fence}, {state})"
