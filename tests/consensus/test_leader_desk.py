"""The leader's desk: what it confirms, what it denies, and what it lets wait."""

import asyncio
from typing import Any, cast

import pytest

from quorate.consensus import commands
from quorate.consensus.applier import Applied
from quorate.consensus.errors import NotLeader, Overloaded, StoreError, StoreStopped
from quorate.consensus.leader_desk import LeaderDesk
from quorate.consensus.machine import StoreMachine
from quorate.consensus.protocol import (
    Answer,
    Barrier,
    Confirmed,
    Gone,
    Keepalive,
    Propose,
    Question,
    Refused,
    Why,
)
from quorate.consensus.replica import Replica
from tests.support import ManualClock, run, turns

TTL_S = 3.0


class FakeRaft:
    term = 4
    leader: str | None = "me"
    commit_index = 9


class FakeReplica:
    """A replica whose state the test sets, and whose reads it answers."""

    def __init__(self) -> None:
        self.raft = FakeRaft()
        self.machine = StoreMachine()
        self.ready = True
        self.leads = True
        self.stopped: StoreError | None = None
        self.proposed: list[tuple[bytes, Any]] = []
        self.reads: list[asyncio.Future[int]] = []

    def leading(self) -> bool:
        return self.leads and self.stopped is None

    def ready_to_lead(self) -> bool:
        return self.leading() and self.ready

    def check_leading(self) -> None:
        if self.stopped is not None:
            raise self.stopped
        if not self.leads:
            raise NotLeader(self.raft.leader)

    def propose(self, command: bytes, refused: Any) -> None:
        self.check_leading()
        self.proposed.append((command, refused))

    def read_index(self) -> "asyncio.Future[int]":
        self.check_leading()
        self.reads.append(asyncio.get_running_loop().create_future())
        return self.reads[-1]

    async def confirm(self, index: int = 9) -> None:
        """A quorum answers all reads."""
        reads, self.reads = self.reads, []
        for read in reads:
            read.set_result(index)
        await turns(2)

    async def depose(self) -> None:
        """Another one leads now."""
        self.leads, self.raft.leader = False, "other"
        reads, self.reads = self.reads, []
        for read in reads:
            read.set_exception(NotLeader("other"))
        await turns(2)


class Desk:
    def __init__(self) -> None:
        self.replica = FakeReplica()
        self.clock = ManualClock(100.0)
        self.desk = LeaderDesk(cast(Replica, self.replica), self.clock)
        self.answers: list[Answer] = []
        self.index = 0

    def ask(self, question: Question) -> None:
        self.desk.ask(question, self.answers.append)

    def open_session(self, *, announce: bool = True) -> int:
        """Apply an entry that opens one."""
        self.index += 1
        command = commands.encode(commands.OpenSession(b"%d" % self.index, "n", 1, b"", TTL_S))
        outcome = self.replica.machine.apply(self.index, command)
        if announce:
            self.desk.applied([Applied(self.index, 4, command, outcome)])
        return outcome.session

    def proposals(self) -> list[commands.Command]:
        return [commands.decode(command) for command, _ in self.replica.proposed]


def test_nothing_is_confirmed_before_a_quorum_has_answered_what_was_asked_afterwards() -> None:
    async def main() -> None:
        desk = Desk()
        desk.desk.refresh()
        session = desk.open_session()
        desk.ask(Barrier(1))
        desk.ask(Keepalive(2, session))
        await turns(5)
        assert desk.answers == [] and len(desk.replica.reads) == 2
        await desk.replica.confirm(9)
        assert desk.answers == [Confirmed(1, 9), Confirmed(2, 9)]

    run(main())


def test_a_keepalive_prolongs_nothing_when_its_round_fails_or_another_term_has_begun() -> None:
    async def main() -> None:
        for again in (False, True):
            desk = Desk()
            desk.desk.refresh()
            session = desk.open_session()
            desk.ask(Keepalive(2, session))
            if again:  # deposed and elected again while the answer was under way
                desk.replica.raft.term = 6
                await desk.replica.confirm()
            else:
                await desk.replica.depose()
            assert [type(answer) for answer in desk.answers] == [Refused]
            assert cast(Refused, desk.answers[0]).why is Why.NOT_LEADER

    run(main())


def test_a_session_ends_when_its_last_confirmed_keepalive_is_a_lifetime_old() -> None:
    async def main() -> None:
        desk = Desk()
        desk.desk.refresh()
        session, other = desk.open_session(), desk.open_session()
        desk.clock.skip(2.0)
        desk.ask(Keepalive(1, session))  # received here: it counts from now
        desk.clock.skip(0.5)
        await desk.replica.confirm()
        desk.clock.skip(0.5)
        desk.desk.tick()
        assert desk.proposals() == [commands.ExpireSessions((other,))]
        desk.clock.skip(1.9)
        desk.desk.tick()
        assert len(desk.proposals()) == 1
        desk.clock.skip(0.1)
        desk.desk.tick()
        assert desk.proposals()[1:] == [commands.ExpireSessions((session,))]
        desk.ask(Keepalive(2, session))
        await desk.replica.confirm()
        assert desk.answers == [Confirmed(1, 9), Gone(2, session)]

    run(main())


@pytest.mark.parametrize("error", [NotLeader("me"), Overloaded("full")])
def test_an_expiry_that_does_not_get_into_the_log_is_proposed_again(error: StoreError) -> None:
    async def main() -> None:
        desk = Desk()
        desk.desk.refresh()
        session = desk.open_session()
        desk.clock.skip(TTL_S)
        desk.desk.tick()
        desk.desk.tick()
        assert len(desk.replica.proposed) == 1
        desk.replica.proposed[0][1](error)
        desk.desk.tick()
        assert desk.proposals() == [commands.ExpireSessions((session,))] * 2

    run(main())


def test_a_session_that_is_not_applied_here_yet_is_not_denied() -> None:
    async def main() -> None:
        desk = Desk()
        desk.desk.refresh()
        unknown = 77
        desk.ask(Keepalive(1, unknown))
        await desk.replica.confirm(index=5)  # committed up to 5, applied up to 0
        assert desk.answers == []
        for _ in range(5):
            desk.open_session()
        desk.ask(Keepalive(2, unknown))
        await desk.replica.confirm(index=5)
        assert desk.answers == [Gone(2, unknown)]

    run(main())


def test_a_new_leader_counts_from_its_own_beginning_and_lets_keepalives_wait_until_then() -> None:
    async def main() -> None:
        desk = Desk()
        desk.replica.ready = False
        session = desk.open_session(announce=False)
        desk.ask(Keepalive(1, session))
        desk.clock.skip(100.0)
        desk.desk.tick()
        assert desk.answers == [] and desk.replica.proposed == [] and desk.replica.reads == []
        desk.replica.ready = True
        desk.desk.tick()
        await desk.replica.confirm()
        assert desk.answers == [Confirmed(1, 9)] and desk.replica.proposed == []

    run(main())


@pytest.mark.parametrize("end", ["deposed", "stopped"])
def test_keepalives_that_wait_for_a_leader_that_never_got_ready_are_sent_on(end: str) -> None:
    async def main() -> None:
        desk = Desk()
        desk.replica.ready = False
        desk.ask(Keepalive(1, 5))
        if end == "deposed":
            await desk.replica.depose()
        else:
            desk.replica.stopped = StoreStopped("over")
        desk.desk.refresh()
        why = Why.NOT_LEADER if end == "deposed" else Why.STOPPED
        assert desk.answers == [Refused(1, why, desk.replica.raft.leader or "")]
        desk.desk.refresh()
        assert len(desk.answers) == 1

    run(main())


def test_refusals_say_why_and_who_leads() -> None:
    async def main() -> None:
        desk = Desk()
        desk.ask(Propose(1, b"x"))
        desk.replica.proposed[0][1](Overloaded("full"))
        desk.replica.proposed[0][1](NotLeader("me"))
        await desk.replica.depose()
        for question in (Propose(2, b"x"), Barrier(3), Keepalive(4, 5)):
            desk.ask(question)
        assert desk.answers == [
            Refused(1, Why.OVERLOADED, "me"),
            Refused(1, Why.NOT_LEADER, "me"),
            Refused(2, Why.NOT_LEADER, "other"),
            Refused(3, Why.NOT_LEADER, "other"),
            Refused(4, Why.NOT_LEADER, "other"),
        ]

    run(main())
