"""Keeps this node's one session: opens it, keeps it alive, tells of its loss, and opens the next.

`HolderSession` is the authority over whether the session can be relied on; the keeper gives it time and answers. What must never happen here: a session that was told lost is relied on again.
"""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from quorate.core import Clock, Entropy, Timer

from . import commands
from .asking import no_answer
from .commands import CloseSession, OpenSession
from .errors import NoQuorum, StoreError, StoreStopped
from .machine import Outcome, Status
from .node_session import NodeSession
from .protocol import Confirmed, Keepalive, Question
from .sessions import HolderSession
from .store import SessionInfo, Timing

log = logging.getLogger("quorate.consensus")

NONCE_BYTES = 16
PENDING_LIMIT = 4000  # requests of one node that wait for a session; just under what a session remembers
TOKENS_LIMIT = 64  # keepalives whose answers are waited for


@dataclass(frozen=True, slots=True)
class Holder:
    """For whom sessions are opened: a node, its incarnation, and its data directory."""

    name: str
    creation: int
    dir_id: bytes


class StoreOfKeeper(Protocol):
    """What a keeper needs of its store."""

    def ask(self, question: Question) -> str | None: ...

    def new_id(self) -> int: ...

    def confirmed_at(self, sent_at: float, index: int) -> None: ...

    def check_running(self) -> None: ...

    async def write(self, command: bytes, deadline: float) -> Outcome: ...


class SessionKeeper:
    """Works for one store, whose `session` it provides. `tick` must be called every now and then while the store runs."""

    def __init__(
        self, *, holder: Holder, timing: Timing, clock: Clock, entropy: Entropy, store: StoreOfKeeper
    ) -> None:
        self._identity = holder
        self._timing = timing
        self._clock = clock
        self._entropy = entropy
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._holder = HolderSession(drift=timing.drift, keepalive_s=timing.keepalive_s)
        self.session = NodeSession(clock, self._holder, self._settle_soon)
        self._waiting: list[tuple[float, asyncio.Future[None]]] = []
        self._tokens: dict[int, tuple[int, float]] = {}  # question id -> (holder's token, sent at)
        self._opening: asyncio.Task[None] | None = None
        self._timer: Timer | None = None
        self._closing = False
        self.unanswered: dict[int, None] = {}  # sequences of requests that still wait, in order

    async def opened(self, deadline: float) -> int:
        """The id of a valid session, waiting for one. Raises `NoQuorum` at the deadline, `StoreStopped`, `DiskFailed`."""
        while True:
            self._store.check_running()
            if session := self.session.id:
                return session
            if len(self._waiting) >= PENDING_LIMIT:
                raise NoQuorum("too many requests wait for a session already; nothing happened")
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((deadline, waiter))
            await waiter

    def tick(self, now: float) -> None:
        """Open a session when there is none; send a keepalive when one is due; fail those who wait too long."""
        self._settle()
        due = self._holder.next_keepalive()
        if due is not None and now >= due:
            self._send_keepalive(now)
        elif due is None and self._opening is None and not self._closing:
            self._opening = asyncio.get_running_loop().create_task(self._open())
        for deadline, waiter in self._waiting:
            if now >= deadline and not waiter.done():
                waiter.set_exception(no_answer(0))
        self._waiting = [entry for entry in self._waiting if not entry[1].done()]

    def leader_changed(self) -> None:
        """A new leader may never have heard of this node's last keepalive: send one at once."""
        if self.session.valid():
            self._send_keepalive(self._clock.monotonic())

    def confirmed(self, answer: Confirmed) -> None:
        """The leader confirmed a keepalive (or something else that is not ours)."""
        token, sent_at = self._tokens.pop(answer.id, (0, 0.0))
        if token:
            self._store.confirmed_at(sent_at, answer.index)
            self._holder.confirmed(token, self._clock.monotonic())
            self._settle()

    def sessions_closed(self, sessions: Iterable[int]) -> None:
        """The store ended these sessions, or is about to."""
        for session in sessions:
            self._holder.gone(session)
        self._settle()

    def stopped(self) -> None:
        """The store has ended: whoever relied on the session must not any longer."""
        self._closing = True
        self._holder.closing()
        self._settle()
        if self._timer is not None:
            self._timer.cancel()
        if self._opening is not None:
            self._opening.cancel()
        for _, waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(StoreStopped("the store was closed; nothing happened"))
        self._waiting.clear()

    async def close(self) -> None:
        """Give the session up, and have the store know it at once if that can be done within a heartbeat or two."""
        self._closing = True
        if self._opening is not None:
            self._opening.cancel()
        session = self._holder.closing()
        self._settle()
        if session:
            deadline = self._clock.monotonic() + 4 * self._timing.heartbeat_s
            try:
                await self._store.write(commands.encode(CloseSession(session)), deadline)
            except StoreError as error:
                log.info("session %d could not be closed and will expire: %s", session, error)

    async def _open(self) -> None:
        """Open one session; `tick` starts this again until there is one."""
        nonce = self._entropy.token(NONCE_BYTES)
        command = commands.encode(
            OpenSession(
                nonce,
                self._identity.name,
                self._identity.creation,
                self._identity.dir_id,
                self._timing.session_ttl_s,
            )
        )
        first_sent_at = self._clock.monotonic()
        try:
            outcome = await self._store.write(command, first_sent_at + self._timing.session_ttl_s)
        except StoreError as error:
            log.debug("no session yet: %s", error)
            return
        finally:
            self._opening = None
        if outcome.status is Status.DONE and outcome.opened is not None and not self._closing:
            self._take(outcome.opened, first_sent_at)

    def _take(self, info: SessionInfo, first_sent_at: float) -> None:
        if not self._holder.opened(info, first_sent_at, self._clock.monotonic()):
            return
        self.unanswered = {}
        self._settle()
        for _, waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
        self._waiting.clear()

    def _send_keepalive(self, now: float) -> None:
        token = self._holder.sending(now)
        number = self._store.new_id()
        self._tokens[number] = (token, now)
        self._store.ask(Keepalive(number, self._holder.id))
        while len(self._tokens) > TOKENS_LIMIT:
            del self._tokens[next(iter(self._tokens))]

    def _settle_soon(self) -> None:
        self._loop.call_soon(self._settle)

    def _settle(self) -> None:
        """Tell of a loss or an opening, and wake up again when the session may be gone if nothing prolongs it."""
        self.session.settle()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._holder.id:
            remaining_s = max(0.0, self._holder.valid_until - self._clock.monotonic())
            self._timer = self._clock.call_later(remaining_s, self._settle)
