"""The client's side of a store: what it has asked the leader and not yet heard of.

Writes are known to be done when the local replica applies them, so they need no answer; they are resent until
then, and are done once however often they were sent. Reads and keepalives ask the leader for an index. Nothing
here sends by itself: `Ask` is given by the store. What must never happen here: an error that says "nothing
happened" about a write of which a copy may still be on its way.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from .errors import NoQuorum, OutcomeUnknown, Overloaded, StoreError
from .machine import Outcome, Status, error_of
from .protocol import Barrier, Confirmed, Propose, Question, Refused, Why

Ask = Callable[[Question], str | None]
"""Send a question to the leader; gives the leader's name, or None when it is not known or not connected."""


@dataclass(slots=True, eq=False)
class Write:
    """A command on its way. `copies` were sent and not refused; any of them may be in somebody's log."""

    command: bytes
    deadline: float
    done: asyncio.Future[Outcome]
    id: int = 0
    copies: int = 0
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

    def add(self, command: bytes, deadline: float, now: float) -> Write:
        """Start sending `command` until it is applied or `deadline` passes. Commands must be unique."""
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
            return  # another copy may be luckier
        self.drop(write)
        if not write.done.done():
            write.done.set_result(outcome)

    def error(self, write: Write, outcome: Outcome) -> StoreError | None:
        """What to tell the caller of a write with this outcome; None when it was done.

        The replica sees every copy in the order of the log. A session that was over at the first of them was over
        at all of them, unless entries were skipped.
        """
        first_seen = outcome.status is Status.CLIENT_GONE and not write.skipped
        return error_of(outcome, sent_once=write.copies <= 1 or first_seen)

    def refused(self, refusal: Refused, now: float) -> None:
        """The leader's store did not take a copy."""
        write = self._by_id.get(refusal.id)
        if write is None or write.asked is None:
            return
        asked, write.asked = write.asked, None
        write.copies -= 1
        if refusal.why is Why.OVERLOADED and not write.copies:
            self._fail(write, Overloaded("the leader has too much to do; nothing happened, try again later"))
        elif refusal.leader and refusal.leader != asked:
            self._send(write, now)

    def skipped(self) -> None:
        """The local replica became a snapshot: what it skipped may have held any of these. Ask again at once."""
        for write in self._by_id.values():
            write.skipped = True

    def resend(self, now: float, *, to: str | None) -> None:
        """The leader changed to `to`: whoever asked another one asks again."""
        for write in list(self._by_id.values()):
            if write.asked != to or write.skipped:
                self._send(write, now)

    def tick(self, now: float) -> None:
        """Fail what is late, resend what has waited long."""
        for write in list(self._by_id.values()):
            if now >= write.deadline:
                self._fail(write, no_answer(write.copies))
            elif write.asked is None or now >= write.asked_at + self._retry_s:
                self._send(write, now)

    def fail_all(self, error: Callable[[int], Exception]) -> None:
        """End every write with `error(copies sent)`."""
        for write in list(self._by_id.values()):
            self._fail(write, error(write.copies))

    def _send(self, write: Write, now: float) -> None:
        write.asked = self._ask(Propose(write.id, write.command))
        if write.asked is not None:
            write.copies += 1
            write.asked_at = now

    def _fail(self, write: Write, error: Exception) -> None:
        self.drop(write)
        if not write.done.done():
            write.done.set_exception(error)


@dataclass(slots=True, eq=False)
class _Round:
    """One question to the leader for everybody who waited when it was asked."""

    id: int
    asked: str | None
    sent_at: float
    waiting: list["_Reader"]
    index: int | None = None


@dataclass(slots=True, eq=False)
class _Reader:
    deadline: float
    done: asyncio.Future[None]


class Barriers:
    """Linearizable reads: those that arrive while a round is under way share the next one (ReadIndex, dissertation 6.4).

    `confirmed(sent_at, index)` is called when a round was confirmed, before its readers go on.
    """

    def __init__(
        self,
        ask: Ask,
        next_id: Callable[[], int],
        now: Callable[[], float],
        retry_s: float,
        confirmed: Callable[[float, int], None],
    ) -> None:
        self._ask = ask
        self._next_id = next_id
        self._now = now
        self._retry_s = retry_s
        self._confirmed = confirmed
        self._loop = asyncio.get_running_loop()
        self._next: list[_Reader] = []
        self._round: _Round | None = None
        self._applied_index = 0
        self._starting = False

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
        """The leader's store did not take a `Barrier`."""
        if self._round is not None and self._round.id == refusal.id:
            elsewhere = bool(refusal.leader) and refusal.leader != self._round.asked
            self._abandon()
            if elsewhere:
                self._start()

    def applied(self, index: int) -> None:
        """The local state covers `index`."""
        self._applied_index = index
        if self._round is not None:
            self._maybe_finish()

    def resend(self, *, to: str | None) -> None:
        """The leader changed to `to`."""
        if self._round is not None and self._round.index is None and self._round.asked != to:
            self._abandon()
        if self._round is None and self._next:
            self._start()

    def tick(self, now: float) -> None:
        """Fail readers that are late, ask again what was not answered."""
        self._next = [reader for reader in self._next if not self._late(reader, now)]
        current = self._round
        if current is not None:
            current.waiting = [reader for reader in current.waiting if not self._late(reader, now)]
            if current.index is None and now >= current.sent_at + self._retry_s:
                self._abandon()
        if self._round is None and self._next:
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
        current = self._round = _Round(number, None, sent_at, [])
        asked = self._ask(Barrier(number))  # which may answer at once, through `refused`
        if self._round is not current:
            return
        if asked is None:
            self._round = None
            return
        current.asked = asked
        current.waiting, self._next = self._next, []

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
        if self._next:
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
