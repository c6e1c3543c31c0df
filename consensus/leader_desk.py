"""The leader's side of a store: it takes questions from every node's store and answers what only a leader may.

It owns the sessions' lifetimes (`LeaderSessions`) while its replica leads and has applied an entry of its own term;
keepalives that come before that wait for it. What must never happen here: a `Confirmed` or a `Gone` without a quorum
round that began after the question arrived; an expiry that is announced to the holder and never proposed.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence

from quorate.core import Clock

from . import commands
from .applier import Applied
from .errors import NotLeader, Overloaded, StoreError
from .protocol import Answer, Barrier, Confirmed, Gone, Keepalive, Propose, Question, Refused, Why
from .replica import Replica
from .sessions import LeaderSessions

log = logging.getLogger("quorate.consensus")

Reply = Callable[[Answer], object]


class LeaderDesk:
    """Answers questions by one replica. `tick` must be called every now and then while the store runs."""

    def __init__(self, replica: Replica, clock: Clock) -> None:
        self._replica = replica
        self._clock = clock
        self._sessions = LeaderSessions()
        self._term = 0  # in which `_sessions` counts; 0 while it does not
        self._early: list[tuple[Keepalive, Reply]] = []  # came before this leader was ready

    def ask(self, question: Question, reply: Reply) -> None:
        """Take a question; `reply` is called at most once, now or later."""
        self.refresh()
        try:
            match question:
                case Propose(_, command):
                    self._replica.propose(command, lambda error: self._refuse(question, reply, error))
                case Barrier():
                    self._after_round(question, lambda index: Confirmed(question.id, index), reply)
                case Keepalive() if self._term:
                    self._keepalive(question, reply)
                case Keepalive():
                    self._replica.check_leading()
                    self._early.append((question, reply))
        except StoreError as error:
            self._refuse(question, reply, error)

    def refresh(self) -> None:
        """Notice that leadership was won or lost. A new leader gives every session its full lifetime."""
        term = self._replica.raft.term if self._replica.ready_to_lead() else 0
        if term != self._term:
            self._term = term
            if term:
                self._sessions.became_leader(self._clock.monotonic(), self._replica.machine.sessions())
            else:
                self._sessions.deposed()
        if self._early and (term or not self._replica.leading()):
            early, self._early = self._early, []
            for question, reply in early:
                self.ask(question, reply)

    def applied(self, entries: Sequence[Applied]) -> None:
        """Follow the sessions that these entries opened and ended."""
        if not self._term:
            return
        now = self._clock.monotonic()
        for entry in entries:
            outcome = entry.outcome
            if outcome.closed:
                self._sessions.closed(outcome.closed)
            if outcome.opened is not None:
                self._sessions.opened(outcome.opened, now)

    def tick(self) -> None:
        """Propose the expiry of sessions whose time is over."""
        self.refresh()
        if not self._term:
            return
        late = self._sessions.expired(self._clock.monotonic())
        if not late:
            return
        log.info("sessions %s have not been heard of: expiring them", ", ".join(map(str, late)))
        try:
            self._replica.propose(
                commands.encode(commands.ExpireSessions(late)),
                lambda error: self._sessions.not_proposed(late),
            )
        except StoreError:
            self._sessions.not_proposed(late)

    def _keepalive(self, question: Keepalive, reply: Reply) -> None:
        session, received_at, term = question.session, self._clock.monotonic(), self._term

        def answer(index: int) -> Answer | None:
            self.refresh()
            if self._term != term:
                return Refused(question.id, Why.NOT_LEADER, self._replica.raft.leader or "")
            if self._sessions.touch(session, received_at):
                return Confirmed(question.id, index)
            if self._sessions.expiring(session) or self._replica.machine.applied_index >= index:
                return Gone(question.id, session)
            return None  # its opening may be among what is committed and not applied here: it will ask again

        self._after_round(question, answer, reply)

    def _after_round(self, question: Question, answer: Callable[[int], Answer | None], reply: Reply) -> None:
        """Answer once a quorum has confirmed that this replica still leads."""

        def done(future: asyncio.Future[int]) -> None:
            error = future.exception()
            if error is not None:
                self._refuse(question, reply, error)
            elif (said := answer(future.result())) is not None:
                reply(said)

        self._replica.read_index().add_done_callback(done)

    def _refuse(self, question: Question, reply: Reply, error: BaseException) -> None:
        match error:
            case NotLeader():
                why = Why.NOT_LEADER
            case Overloaded():
                why = Why.OVERLOADED
            case _:
                why = Why.STOPPED
        reply(Refused(question.id, why, self._replica.raft.leader or ""))
