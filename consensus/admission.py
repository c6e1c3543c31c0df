"""How many requests of a node are under way at once: what its session may make the replicas remember.

Every replica keeps the results of a session's requests until the client has them, and refuses what would be too many.
So a request waits here, in order of arrival, until there is a valid session and room under it. `Requests`
is the authority over the sequence numbers of one session. What must never happen here: a number used twice; one that
counts as answered while its caller still waits.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from .clients import REMEMBERED_LIMIT, REMEMBERED_LIMIT_BYTES
from .errors import Overloaded

WINDOW = REMEMBERED_LIMIT // 2  # sequences from the first unanswered one on
WINDOW_BYTES = REMEMBERED_LIMIT_BYTES // 2  # of the same requests together, before one more waits
WAITING_LIMIT = 100_000  # callers that wait for their turn


class Requests:
    """The requests of one session: their numbers, from 1, and which of them have been answered. Pure."""

    def __init__(self, session: int) -> None:
        self.session = session
        self.floor = 1
        """Every request below was answered (or given up), and its result is needed no more."""
        self._sizes: deque[int] = deque()  # of the requests from `floor` on
        self._size_bytes = 0
        self._ended: set[int] = set()

    def room(self) -> bool:
        """One more may begin."""
        return len(self._sizes) < WINDOW and self._size_bytes < WINDOW_BYTES

    def begin(self) -> int:
        """A request begins. Returns its number."""
        self._sizes.append(0)
        return self.floor + len(self._sizes) - 1

    def weigh(self, sequence: int, size_bytes: int) -> None:
        """What a request that has begun weighs; once."""
        self._sizes[sequence - self.floor] = size_bytes
        self._size_bytes += size_bytes

    def end(self, sequence: int) -> None:
        """Nobody waits for this request any more; once."""
        self._ended.add(sequence)
        while self.floor in self._ended:
            self._ended.remove(self.floor)
            self._size_bytes -= self._sizes.popleft()
            self.floor += 1


class Admission:
    """Gives callers their turn, first come, first served. `session` is the id of a valid session now, or 0."""

    def __init__(self, session: Callable[[], int]) -> None:
        self._session = session
        self._requests = Requests(0)
        self._waiting: deque[tuple[float, asyncio.Future[tuple[Requests, int]]]] = deque()

    def __len__(self) -> int:
        """How many callers wait."""
        return len(self._waiting)

    def may_enter(self) -> bool:
        """A request would get its turn at once."""
        return not self._waiting and self._room()

    async def enter(self, deadline: float) -> tuple[Requests, int]:
        """Wait for a turn; the number is the caller's, who must `leave` with it in any case.

        Raises `Overloaded`, and whatever `tick` or `fail_all` are told to raise.
        """
        if self.may_enter():
            return self._requests, self._requests.begin()
        if len(self._waiting) >= WAITING_LIMIT:
            raise Overloaded(
                f"{WAITING_LIMIT} requests of this node wait already; nothing happened, slow down"
            )
        turn: asyncio.Future[tuple[Requests, int]] = asyncio.get_running_loop().create_future()
        self._waiting.append((deadline, turn))
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.leave(*turn.result())
            raise

    def leave(self, requests: Requests, sequence: int) -> None:
        """The request has ended, however it did."""
        requests.end(sequence)
        self.admit()

    def admit(self) -> None:
        """Let in who can go: there may be room, or a session."""
        while self._waiting and self._room():
            _, turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result((self._requests, self._requests.begin()))

    def tick(self, now: float, late: Callable[[], Exception]) -> None:
        """Fail who has waited until his deadline."""
        if any(now >= deadline or turn.done() for deadline, turn in self._waiting):
            waiting, self._waiting = self._waiting, deque()
            for deadline, turn in waiting:
                if turn.done():
                    continue
                if now >= deadline:
                    turn.set_exception(late())
                else:
                    self._waiting.append((deadline, turn))

    def fail_all(self, error: Callable[[], Exception]) -> None:
        """Nobody gets a turn any more."""
        waiting, self._waiting = self._waiting, deque()
        for _, turn in waiting:
            if not turn.done():
                turn.set_exception(error())

    def _room(self) -> bool:
        session = self._session()
        if not session:
            return False
        if session != self._requests.session:
            self._requests = Requests(session)
        return self._requests.room()
