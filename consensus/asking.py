"""The client's side of a store: what it has asked the leader and not yet heard of.

Writes are known to be done when the local replica applies them, so they need no answer; they are resent until
then, and are done once however often they were sent. Reads and keepalives ask the leader for an index. Nothing
here sends by itself: `Ask` is given by the store. What must never happen here: an error that says "nothing
happened" about a write of which a copy may still be on its way; a caller who is left without an answer.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from .errors import NoQuorum, OutcomeUnknown, Overloaded, SessionLost, StoreError
from .machine import Outcome, Status, error_of
from .protocol import Barrier, Confirmed, Propose, Question, Refused, Why

RETRIES_GROW = 3  # each resend waits twice as long as the one before, so many times

Ask = Callable[[Question], str | None]
"""Send a question to the leader; gives the leader's name, or None when it is not known or not connected.

Answers come later, never before it returns. It does not raise.
"""


class ClientGone(SessionLost):
    """The session of the request itself is over, and no copy of it was done. It can be asked under another session."""


@dataclass(slots=True, eq=False)
class Write:
    """A command on its way. `copies` were sent and not refused; any of them may be in somebody's log."""

    command: bytes
    deadline: float
    done: asyncio.Future[Outcome]
    id: int
    copies: int = 0
    sends: int = 0
    first_sent_at: float = 0.0
    asked: str | None = None
    asked_at: float = 0.0
    skipped: bool = False  # entries were skipped since it was first sent: it may have been applied unseen


class Writes:
    """Commands that this node wants in the log."""

    def __init__(self, ask: Ask, next_id: Callable[[], int], retry_s: float) -> None:
        self._ask = ask
        self._next_id = next_id
        self._retry_s = retry_s
        self._by_command: dict[bytes, Write] = {}
        self._by_id: dict[int, Write] = {}

    def __len__(self) -> int:
        """How many are on their way."""
        return len(self._by_id)

    def add(self, command: bytes, deadline: float, now: float) -> Write:
        """Start sending `command` until it is applied or `deadline` passes. Commands must be unique."""
        assert command not in self._by_command, "a command is on its way already"
        write = Write(command, deadline, asyncio.get_running_loop().create_future(), self._next_id())
        self._by_command[command] = self._by_id[write.id] = write
        self._send(write, now)
        return write

    def drop(self, write: Write) -> None:
        """Stop sending it. What has been sent may still be applied."""
        self._by_command.pop(write.command, None)
        self._by_id.pop(write.id, None)

    def applied(self, command: bytes, outcome: Outcome) -> None:
        """The local replica applied this command, whoever wanted it."""
        write = self._by_command.get(command)
        if write is None:
            return
        if outcome.status is Status.OVERLOADED and write.copies > 1:
            write.copies -= 1  # this one did nothing, another may be luckier
            return
        self.drop(write)
        if not write.done.done():
            write.done.set_result(outcome)

    def error(self, write: Write, outcome: Outcome) -> StoreError | None:
        """What to tell the caller of a write with this outcome; None when it was done.

        The replica sees every copy in the order of the log. A session that was over at the first of them was over
        at all of them, unless entries were skipped.
        """
        if outcome.status is Status.CLIENT_GONE and not write.skipped:
            return ClientGone(f"{outcome.detail}; nothing was done")
        return error_of(outcome, sent_once=write.copies <= 1)

    def refused(self, peer: str, refusal: Refused) -> None:
        """The store of `peer` did not take a copy. It is sent again at the next tick, or when the leader changes.

        (Not at once: two stores that take one another for the leader would keep everybody busy.)
        """
        write = self._by_id.get(refusal.id)
        if write is None:
            return
        write.copies -= 1
        if write.asked == peer:
            write.asked = None
        if refusal.why is Why.OVERLOADED and not write.copies:
            self._fail(write, Overloaded("the leader has too much to do; nothing happened, try again later"))

    def skipped(self, now: float) -> None:
        """The local replica became a snapshot: what it skipped may have held any of these. Ask again at once."""
        for write in list(self._by_id.values()):
            write.skipped = True
            self._send(write, now)

    def resend(self, now: float) -> None:
        """The leader has changed: whoever waits asks the new one."""
        for write in list(self._by_id.values()):
            self._send(write, now)

    def peer_down(self, peer: str) -> None:
        """The connection to `peer` broke: what was on its way there may be lost."""
        for write in self._by_id.values():
            if write.asked == peer:
                write.asked = None

    def tick(self, now: float) -> None:
        """Fail what is late, resend what has waited long."""
        for write in list(self._by_id.values()):
            if now >= write.deadline:
                self._fail(write, no_answer(write.copies))
            elif write.asked is None or now >= write.asked_at + self._patience_s(write):
                self._send(write, now)

    def fail_all(self, error: Callable[[int], Exception]) -> None:
        """End every write with `error(copies sent)`."""
        for write in list(self._by_id.values()):
            self._fail(write, error(write.copies))

    def _patience_s(self, write: Write) -> float:
        """How long to wait for an answer: longer and longer, for each copy is one more entry for a busy leader."""
        return self._retry_s * (1 << min(write.sends - 1, RETRIES_GROW))

    def _send(self, write: Write, now: float) -> None:
        write.asked = self._ask(Propose(write.id, write.command))
        if write.asked is not None:
            write.asked_at = now
            if not write.sends:
                write.first_sent_at = now
            write.copies += 1
            write.sends += 1

    def _fail(self, write: Write, error: Exception) -> None:
        self.drop(write)
        if not write.done.done():
            write.done.set_exception(error)


@dataclass(slots=True, eq=False)
class _Round:
    """One question to the leader for everybody who waited when it was asked."""

    id: int
    asked: str
    sent_at: float
    waiting: list["_Reader"]
    index: int | None = None


@dataclass(slots=True, eq=False)
class _Reader:
    deadline: float
    done: asyncio.Future[None]


class Barriers:
    """Linearizable reads: those that arrive while a round is under way share the next one (ReadIndex, dissertation 6.4).

    `confirmed(sent_at, index)` is called when a round was confirmed, before its readers go on. `applied_index` is what the local
    state covers already.
    """

    def __init__(
        self,
        ask: Ask,
        next_id: Callable[[], int],
        now: Callable[[], float],
        retry_s: float,
        confirmed: Callable[[float, int], None],
        applied_index: int,
    ) -> None:
        self._ask = ask
        self._next_id = next_id
        self._now = now
        self._retry_s = retry_s
        self._confirmed = confirmed
        self._loop = asyncio.get_running_loop()
        self._next: list[_Reader] = []
        self._round: _Round | None = None
        self._applied_index = applied_index
        self._starting = False

    def __len__(self) -> int:
        """How many readers wait."""
        return len(self._next) + (len(self._round.waiting) if self._round is not None else 0)

    async def wait(self, deadline: float) -> None:
        """Return when the local state covers all that was acknowledged before the call. Raises `NoQuorum`."""
        reader = _Reader(deadline, self._loop.create_future())
        self._next.append(reader)
        if self._round is None and not self._starting:
            self._starting = True
            self._loop.call_soon(self._start)
        await reader.done

    def answered(self, answer: Confirmed) -> None:
        """The leader answered a `Barrier`."""
        current = self._round
        if current is not None and current.id == answer.id and current.index is None:
            current.index = answer.index
            self._maybe_finish()

    def refused(self, refusal: Refused) -> None:
        """A store did not take a `Barrier`. It is asked again at the next tick, or when the leader changes."""
        if self._round is not None and self._round.id == refusal.id and self._round.index is None:
            self._abandon()

    def applied(self, index: int) -> None:
        """The local state covers `index`."""
        self._applied_index = index
        if self._round is not None:
            self._maybe_finish()

    def resend(self) -> None:
        """The leader has changed."""
        if self._round is not None and self._round.index is None:
            self._abandon()
        self._start()

    def peer_down(self, peer: str) -> None:
        """The connection to `peer` broke: what was on its way there may be lost."""
        if self._round is not None and self._round.index is None and self._round.asked == peer:
            self._abandon()

    def tick(self, now: float) -> None:
        """Fail readers that are late, ask again what was not answered."""
        self._next = [reader for reader in self._next if not self._late(reader, now)]
        current = self._round
        if current is not None:
            current.waiting = [reader for reader in current.waiting if not self._late(reader, now)]
            if current.index is None and now >= current.sent_at + self._retry_s:
                self._abandon()
        self._start()

    def fail_all(self, error: Callable[[], Exception]) -> None:
        """End every reader with an error."""
        self._abandon()
        readers, self._next = self._next, []
        for reader in readers:
            if not reader.done.done():
                reader.done.set_exception(error())

    def _start(self) -> None:
        self._starting = False
        if self._round is not None or not self._next:
            return
        number, sent_at = self._next_id(), self._now()
        asked = self._ask(Barrier(number))
        if asked is not None:
            self._round = _Round(number, asked, sent_at, self._next)
            self._next = []

    def _abandon(self) -> None:
        """Whoever waited for this round waits for the next one."""
        if self._round is not None:
            self._next = self._round.waiting + self._next
            self._round = None

    def _maybe_finish(self) -> None:
        current = self._round
        assert current is not None
        if current.index is None or current.index > self._applied_index:
            return
        self._round = None
        self._confirmed(current.sent_at, current.index)
        for reader in current.waiting:
            if not reader.done.done():
                reader.done.set_result(None)
        self._start()

    def _late(self, reader: _Reader, now: float) -> bool:
        if now < reader.deadline:
            return reader.done.done()
        if not reader.done.done():
            reader.done.set_exception(no_answer(0))
        return True


def no_answer(copies: int) -> NoQuorum | OutcomeUnknown:
    """The error of an operation whose deadline passed after so many copies had left."""
    if copies:
        return OutcomeUnknown(
            "no majority answered in time; the change may have happened, or may still happen"
        )
    return NoQuorum("no majority of the voters answers; nothing happened, try again later")
