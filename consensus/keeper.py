"""Keeps this node's one session: opens it, keeps it alive, tells of its loss, and opens the next.

`HolderSession` is the authority over whether the session can be relied on; the keeper gives it time and answers. What must never happen here: a
session that was told lost is relied on again.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

from quorate.core import Clock, Entropy, Timer

from . import commands
from .commands import CloseSession, OpenSession
from .errors import SessionLost, StoreError
from .leader_line import LeaderLine
from .machine import Outcome
from .node_session import NodeSession
from .protocol import Confirmed, Keepalive
from .sessions import HolderSession
from .store import Timing

log = logging.getLogger("quorate.consensus")

NONCE_BYTES = 16
TOKENS_LIMIT = 64  # keepalives whose answers are waited for


@dataclass(frozen=True, slots=True)
class Holder:
    """For whom sessions are opened: a node, its incarnation, and its data directory."""

    name: str
    creation: int
    dir_id: bytes


class SessionKeeper:
    """Works for one store, whose `session` it provides. `tick` must be called every now and then while the store runs.

    `write(command, deadline)` has a command applied, or raises a `StoreError`; it gives its outcome, and when it first
    left. `confirmed_at(sent_at, index)` is told what keepalives prove. `opened` is called when there is a new session, before its subscribers are told. Raises `EncodeError` or
    `TooLarge` for a holder or a lifetime that no session can have.
    """

    def __init__(
        self,
        *,
        holder: Holder,
        timing: Timing,
        clock: Clock,
        entropy: Entropy,
        line: LeaderLine,
        write: Callable[[bytes, float], Coroutine[Any, Any, tuple[Outcome, float]]],
        confirmed_at: Callable[[float, int], None],
        opened: Callable[[], object],
    ) -> None:
        self._identity = holder
        self._timing = timing
        self._clock = clock
        self._entropy = entropy
        self._line = line
        self._write = write
        self._confirmed_at = confirmed_at
        self._opened = opened
        self._loop = asyncio.get_running_loop()
        self._holder = HolderSession(drift=timing.drift, keepalive_s=timing.keepalive_s)
        self.session = NodeSession(clock, self._holder, self._settle_soon)
        self._tokens: dict[int, tuple[int, float]] = {}  # question id -> (holder's token, sent at)
        self._opening: asyncio.Task[None] | None = None
        self._open_after = clock.monotonic()
        self._timer: Timer | None = None
        self._settling = False
        self._closing = False
        self._open_command()  # whatever is wrong with it, let it be known at once

    def tick(self, now: float) -> None:
        """Open a session when there is none; send a keepalive when one is due."""
        self._settle()
        if self._closing:
            return
        due = self._holder.next_keepalive()
        if due is not None:
            if now >= due:
                self._send_keepalive(now)
        elif self._opening is None and now >= self._open_after:
            self._opening = self._loop.create_task(self._open())

    def leader_changed(self) -> None:
        """A new leader may never have heard of this node's last keepalive: send one at once."""
        if self.session.valid():
            self._send_keepalive(self._clock.monotonic())

    def confirmed(self, answer: Confirmed) -> None:
        """The leader confirmed a keepalive (or something else that is not ours)."""
        token, sent_at = self._tokens.pop(answer.id, (0, 0.0))
        if token:
            self._confirmed_at(sent_at, answer.index)
            self._holder.confirmed(token, self._clock.monotonic())
            self._settle()

    def sessions_closed(self, sessions: Iterable[int]) -> None:
        """The store ended these sessions, or is about to."""
        if self._holder.id in sessions:
            self._holder.gone(self._holder.id)
            self._settle()

    def stopped(self) -> None:
        """The store has ended: whoever relied on the session must not any longer."""
        self._closing = True
        self._holder.closing()
        self._settle()
        if self._opening is not None:
            self._opening.cancel()

    async def close(self) -> None:
        """Give the session up, and have the store know it at once if that can be done within a heartbeat or two."""
        self._closing = True
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        session = self._holder.closing()
        self._settle()
        if session:
            deadline = self._clock.monotonic() + 4 * self._timing.heartbeat_s
            try:
                await self._write(commands.encode(CloseSession(session)), deadline)
            except StoreError as error:
                log.info("session %d could not be closed and will expire: %s", session, error)

    async def _open(self) -> None:
        """Open one session; `tick` starts this again until there is one."""
        give_up_at = self._clock.monotonic() + self._timing.session_ttl_s
        try:
            outcome, first_sent_at = await self._write(self._open_command(), give_up_at)
        except (
            SessionLost
        ) as error:  # a later start of this directory has one: until that has ended there is none here
            log.error("%s gets no session: %s", self._identity.name, error)
            self._open_after = self._clock.monotonic() + self._timing.session_ttl_s
            return
        except StoreError as error:
            log.debug("no session yet: %s", error)
            return
        finally:
            self._opening = None
        now = self._clock.monotonic()
        assert outcome.opened is not None
        if self._holder.opened(outcome.opened, first_sent_at, now):
            if now >= first_sent_at + self._timing.keepalive_s:  # much of its time has passed already
                self._send_keepalive(now)
            self._opened()
            self._settle()
        # Else it was too late to rely on it: nobody keeps it alive, and it will expire.

    def _open_command(self) -> bytes:
        holder, nonce = self._identity, self._entropy.token(NONCE_BYTES)
        return commands.encode(
            OpenSession(nonce, holder.name, holder.creation, holder.dir_id, self._timing.session_ttl_s)
        )

    def _send_keepalive(self, now: float) -> None:
        token = self._holder.sending(now)
        number = self._line.new_id()
        self._tokens[number] = (token, now)
        self._line.ask(Keepalive(number, self._holder.id))
        while len(self._tokens) > TOKENS_LIMIT:
            del self._tokens[next(iter(self._tokens))]

    def _settle_soon(self) -> None:
        if not self._settling:
            self._settling = True
            self._loop.call_soon(self._settle)

    def _settle(self) -> None:
        """Tell of a loss or an opening, and wake up again when the session may be gone if nothing prolongs it."""
        self._settling = False
        self.session.settle()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._holder.id:
            remaining_s = max(0.0, self._holder.valid_until - self._clock.monotonic())
            self._timer = self._clock.call_later(remaining_s, self._settle)
