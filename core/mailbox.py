"""Mailboxes that grow: a limit, what becomes of a message beyond it, and who waits for room.

The kernel has one `Crowding`, which knows only the mailboxes that are over their limit now: a process whose mailbox is not
costs nothing here. What must never happen: a `Down`, an exit signal or another message of the library is lost.
"""

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from .calls import Request
from .errors import Busy, ConfigError, MailboxFull
from .pid import MAILBOX_FULL, Down, ExitSignal, HandlerGone, NodeLost, NodeUp
from .telling import Log

if TYPE_CHECKING:
    from .cell import Cell

log = Log("quorate.process")

MailboxPolicy = Literal["warn", "drop", "refuse", "kill"]
_NEVER_LOST = (Down, ExitSignal, HandlerGone, NodeUp, NodeLost)


@dataclass(frozen=True, slots=True)
class MailboxLimit:
    """How many messages may wait in a mailbox, and what becomes of one more. Raises `ConfigError`.

    - "warn": it is kept, and the log says so, again each time the mailbox has doubled;
    - "drop": it is dropped, and a call of a method raises `MailboxFull`;
    - "refuse": the same, and a `send` or `cast` of this node raises `Busy` (`Process.send_patiently` waits for room; of
      a sender on another node the message is dropped, for nobody can be told);
    - "kill": the process ends with the reason "mailbox_full", whether it traps exits or not.

    `Down`, `ExitSignal`, `HandlerGone`, `NodeUp`, `NodeLost` and what was sent to a priority alias are always kept.
    """

    messages: int = 100_000
    policy: MailboxPolicy = "warn"

    def __post_init__(self) -> None:
        if self.messages < 1 or self.policy not in get_args(MailboxPolicy):
            raise ConfigError(f"{self} is no limit: 1 message or more, and one of {get_args(MailboxPolicy)}")


USUAL_LIMIT = MailboxLimit()


class _Crowded:
    """One mailbox that is, or was, over its limit."""

    __slots__ = ("lost", "tell_at", "waiting")

    def __init__(self, tell_at: int) -> None:
        self.lost = 0
        self.tell_at = tell_at  # the mailbox's size, or the number of lost messages, at which the log says so
        self.waiting: list[asyncio.Future[None]] = []


class Crowding:
    """The mailboxes of a node that are over their limits."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.crowded: dict[int, _Crowded] = {}
        self._loop = loop

    def admits(self, cell: "Cell", limit: MailboxLimit, message: object, size: int) -> bool:
        """Whether one more message may enter a mailbox that is at its limit; if not, who sent it is told.

        Raises `Busy` when the sender is to be refused.
        """
        state = self.crowded.get(cell.pid.serial)
        if state is None:
            state = self.crowded[cell.pid.serial] = _Crowded(size if limit.policy == "warn" else 1)
        if limit.policy == "warn":
            if size >= state.tell_at:
                state.tell_at = 2 * size
                _report(cell, limit, f"{size} messages wait in its mailbox", size)
            return True
        if isinstance(message, _NEVER_LOST) or getattr(message, "_quorate_internal", False):
            return True
        if limit.policy == "kill":
            _report(cell, limit, f"{size} messages wait in its mailbox: it is killed", size)
            cell.begin_exit(MAILBOX_FULL)
        else:
            state.lost += 1
            if state.lost >= state.tell_at:
                state.tell_at = 2 * state.lost
                _report(cell, limit, f"its mailbox is full, {state.lost} messages were not taken", size)
        self._tell_sender(cell, limit, message)
        return False

    def _tell_sender(self, cell: "Cell", limit: MailboxLimit, message: object) -> None:
        text = f"{limit.messages} messages wait for {cell.describe()} already: nothing was sent"
        if type(message) is Request and message.reply is not None:
            message.refuse(MailboxFull(text))
        elif limit.policy == "refuse":
            raise Busy(f"{text}; wait until it has handled some")

    def eased(self, cell: "Cell", size: int) -> None:
        """Messages have left a mailbox. At half its limit there is room again."""
        if cell.limit is None or size <= cell.limit.messages // 2:
            self.forget(cell.pid.serial)

    def forget(self, serial: int) -> None:
        state = self.crowded.pop(serial, None)
        for future in () if state is None else state.waiting:
            if not future.done():
                future.set_result(None)

    async def room(self, serial: int) -> None:
        """Return when there is room in that mailbox, or no such process."""
        state = self.crowded.get(serial)
        if state is not None:
            future: asyncio.Future[None] = self._loop.create_future()
            state.waiting.append(future)
            await future


def _report(cell: "Cell", limit: MailboxLimit, what: str, size: int) -> None:
    log.warning(
        "%s: %s (limit %d, policy %s)",
        cell.describe(),
        what,
        limit.messages,
        limit.policy,
        extra={
            "quorate": {"event": "mailbox", "pid": cell.pid, "size": size, "limit": limit.messages}
            | {"policy": limit.policy}
        },
    )
