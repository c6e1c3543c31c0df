"""The way from one store to whichever leads, and back: questions out, answers in.

It owns nothing but the numbering of this store's questions. What must never happen here: an answer to an earlier start
of this node is taken for one to this start; a message that leaves after the end; an exception of the network's that
reaches those who send.
"""

import asyncio
import logging
from collections.abc import Callable

from quorate.core import DecodeError, Entropy, TooLarge

from . import commands, protocol
from .leader_desk import LeaderDesk
from .protocol import Answer, Confirmed, Gone, Propose, Question, Refused
from .replica import Replica
from .transport import Lane, Transport

log = logging.getLogger("quorate.consensus")


class Outbox:
    """Sends, or drops when there is nobody to send to, until it is closed."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._closed = False

    def close(self) -> None:
        self._closed = True

    def send(self, peer: str, lane: Lane, payload: bytes) -> bool:
        """False: it has certainly not left."""
        if self._closed:
            return False
        try:
            return self._transport.send(peer, lane, payload)
        except Exception:
            log.exception("a message of %d bytes to %s could not be sent", len(payload), peer)
            return True

    def send_raft(self, peer: str, payload: bytes) -> bool:
        return self.send(peer, Lane.RAFT, payload)


class LeaderLine:
    """Serves the store called `name`. `answered(peer, answer)` is called from the loop, never from inside `ask`."""

    def __init__(
        self,
        name: str,
        outbox: Outbox,
        replica: Replica,
        desk: LeaderDesk,
        entropy: Entropy,
        answered: Callable[[str, Answer], None],
    ) -> None:
        self._name = name
        self._outbox = outbox
        self._replica = replica
        self._desk = desk
        self._answered = answered
        self._loop = asyncio.get_running_loop()
        # Far from where any other start of this node is, lest an answer to that one pass for one to this.
        self._last_id = int.from_bytes(entropy.token(7), "big")

    def new_id(self) -> int:
        """An id for a question."""
        self._last_id += 1
        return self._last_id

    def ask(self, question: Question) -> str | None:
        """Send a question to the leader: its name, or None when it is not known or not connected."""
        leader = self._replica.raft.leader
        if leader is None:
            return None
        if leader != self._name:
            sent = self._outbox.send(leader, Lane.STORE, protocol.encode(question))
            return leader if sent else None
        self._desk.ask(question, lambda answer: self._loop.call_soon(self._answered, self._name, answer))
        return leader

    def receive(self, peer: str, payload: bytes) -> None:
        """A question or an answer of another store's.

        Raises `DecodeError` for bytes that are neither, and for a proposal that no store of this version makes.
        """
        message = protocol.decode(payload)
        if isinstance(message, Confirmed | Gone | Refused):
            self._answered(peer, message)
            return
        if isinstance(message, Propose):
            try:
                commands.admit(message.command)
            except (ValueError, TooLarge) as error:
                raise DecodeError(f"{peer} proposed what is no command: {error}") from error
        self._desk.ask(message, lambda answer: self._outbox.send(peer, Lane.STORE, protocol.encode(answer)))
