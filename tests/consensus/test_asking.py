"""Writes and reads on their way to a leader: what is resent when, and which error is true."""

import asyncio

import pytest

from quorate.consensus.asking import Barriers, ClientGone, Write, Writes
from quorate.consensus.errors import (
    NoQuorum,
    OutcomeUnknown,
    Overloaded,
    SessionLost,
    StoreError,
    StoreStopped,
)
from quorate.consensus.machine import Outcome, Status
from quorate.consensus.protocol import Confirmed, Propose, Question, Refused, Why
from quorate.consensus.store import TxnResult
from tests.support import run, turns

RETRY_S = 1.0
DONE = Outcome(Status.DONE, 5, TxnResult(True, 5))


class Line:
    """A leader who is asked: `leader` is who is known to lead, None for nobody."""

    def __init__(self) -> None:
        self.leader: str | None = "a"
        self.asked: list[tuple[str, Question]] = []
        self.last_id = 100

    def ask(self, question: Question) -> str | None:
        if self.leader is not None:
            self.asked.append((self.leader, question))
        return self.leader

    def new_id(self) -> int:
        self.last_id += 1
        return self.last_id


def new_writes() -> tuple[Writes, Line]:
    line = Line()
    return Writes(line.ask, line.new_id, RETRY_S), line


def error_of(writes: Writes, write: Write) -> BaseException | StoreError | None:
    """What its caller is told; None when it was done."""
    failure = write.done.exception()
    return failure if failure is not None else writes.error(write, write.done.result())


def refusal(write: Write, why: Why = Why.NOT_LEADER, leader: str = "") -> Refused:
    return Refused(write.id, why, leader)


def test_a_write_that_never_left_has_not_happened() -> None:
    async def main() -> None:
        writes, line = new_writes()
        line.leader = None
        write = writes.add(b"x", 3.0, 0.0)
        for now in (1.0, 2.0, 2.9):
            writes.tick(now)
        assert not write.done.done()
        writes.tick(3.0)
        assert isinstance(error_of(writes, write), NoQuorum) and len(writes) == 0

    run(main())


def test_a_write_that_left_is_unknown_and_one_whose_copies_were_all_refused_is_not() -> None:
    async def main() -> None:
        writes, line = new_writes()
        left, refused, half = (writes.add(key, 3.0, 0.0) for key in (b"left", b"refused", b"half"))
        writes.refused("a", refusal(refused))
        line.leader = "b"
        writes.resend(0.1)
        writes.refused("b", refusal(refused))
        writes.refused("b", refusal(half))
        line.leader = None
        writes.tick(3.0)
        assert isinstance(error_of(writes, left), OutcomeUnknown)
        assert isinstance(error_of(writes, refused), NoQuorum)
        assert isinstance(error_of(writes, half), OutcomeUnknown)  # the copy to a may have been taken

    run(main())


def test_a_refusal_is_not_answered_at_once_lest_two_stores_play_ball() -> None:
    async def main() -> None:
        writes, line = new_writes()
        write = writes.add(b"x", 60.0, 0.0)
        for _ in range(10):
            writes.refused("a", refusal(write, leader="b"))
        assert len(line.asked) == 1
        writes.tick(0.01)
        assert len(line.asked) == 2

    run(main())


def test_a_late_refusal_of_an_old_leader_does_not_recall_the_copy_to_the_new_one() -> None:
    async def main() -> None:
        writes, line = new_writes()
        write = writes.add(b"x", 60.0, 0.0)
        line.leader = "b"
        writes.resend(0.1)
        writes.refused("a", refusal(write))
        writes.tick(0.2)
        assert [leader for leader, _ in line.asked] == ["a", "b"] and write.copies == 1

    run(main())


def test_resends_become_rarer_because_every_copy_is_one_more_entry() -> None:
    async def main() -> None:
        writes, line = new_writes()
        writes.add(b"x", 1e9, 0.0)
        sent_at: list[float] = []
        for step in range(1, 400):
            before = len(line.asked)
            writes.tick(step / 10)
            if len(line.asked) > before:
                sent_at.append(step / 10)
        assert sent_at == [1.0, 3.0, 7.0, 15.0, 23.0, 31.0, 39.0]

    run(main())


def test_a_broken_connection_to_the_one_who_was_asked_makes_the_next_tick_ask_again() -> None:
    async def main() -> None:
        writes, line = new_writes()
        writes.add(b"x", 60.0, 0.0)
        writes.peer_down("b")
        writes.tick(0.1)
        assert len(line.asked) == 1
        writes.peer_down("a")
        writes.tick(0.2)
        assert len(line.asked) == 2

    run(main())


def test_overload_is_said_only_when_no_copy_can_be_taken_any_more() -> None:
    async def main() -> None:
        writes, line = new_writes()
        one, two = writes.add(b"one", 60.0, 0.0), writes.add(b"two", 60.0, 0.0)
        line.leader = "b"
        writes.resend(0.1)
        writes.refused("a", refusal(one))
        writes.refused("b", refusal(one, Why.OVERLOADED))
        writes.refused("b", refusal(two, Why.OVERLOADED))
        assert isinstance(error_of(writes, one), Overloaded)
        assert not two.done.done()
        writes.applied(b"two", DONE)
        assert error_of(writes, two) is None

    run(main())


def test_of_two_copies_that_the_replicas_find_too_many_the_second_decides() -> None:
    async def main() -> None:
        writes, _ = new_writes()
        overloaded = Outcome(Status.OVERLOADED, 5, detail="too many")
        lucky, unlucky = writes.add(b"lucky", 60.0, 0.0), writes.add(b"unlucky", 60.0, 0.0)
        writes.resend(0.1)
        for command in (b"lucky", b"unlucky"):
            writes.applied(command, overloaded)
        assert not lucky.done.done() and not unlucky.done.done()
        writes.applied(b"lucky", DONE)
        writes.applied(b"unlucky", overloaded)
        assert error_of(writes, lucky) is None
        assert isinstance(error_of(writes, unlucky), Overloaded)

    run(main())


def test_a_session_that_is_over_is_certain_unless_entries_were_skipped() -> None:
    async def main() -> None:
        writes, _ = new_writes()
        gone = Outcome(Status.CLIENT_GONE, 5, session=3, detail="the session 3 is over")
        seen, skipped = writes.add(b"seen", 60.0, 0.0), writes.add(b"skipped", 60.0, 0.0)
        writes.resend(0.1)
        writes.applied(b"seen", gone)
        writes.skipped(0.2)
        writes.applied(b"skipped", gone)
        assert isinstance(error_of(writes, seen), ClientGone)
        told = error_of(writes, skipped)
        assert isinstance(told, OutcomeUnknown) and not isinstance(told, SessionLost)

    run(main())


def test_what_is_applied_is_done_whoever_proposed_it_and_only_once() -> None:
    async def main() -> None:
        writes, _ = new_writes()
        write = writes.add(b"x", 60.0, 0.0)
        writes.applied(b"y", DONE)
        assert not write.done.done()
        writes.applied(b"x", DONE)
        writes.applied(b"x", Outcome(Status.STALE, 6))
        writes.refused("a", refusal(write))
        writes.tick(1e6)
        assert error_of(writes, write) is None and write.done.result() is DONE

    run(main())


def test_the_end_tells_those_whose_copies_left_that_nobody_knows() -> None:
    async def main() -> None:
        writes, line = new_writes()
        left = writes.add(b"left", 60.0, 0.0)
        line.leader = None
        stayed = writes.add(b"stayed", 60.0, 0.0)
        writes.fail_all(lambda copies: OutcomeUnknown("?") if copies else StoreStopped("nothing"))
        assert isinstance(error_of(writes, left), OutcomeUnknown)
        assert isinstance(error_of(writes, stayed), StoreStopped)

    run(main())


# Reads


class Reading:
    """Barriers with a line, a time, and what they confirmed."""

    def __init__(self, applied_index: int = 0) -> None:
        self.line = Line()
        self.now = 10.0
        self.confirmed: list[tuple[float, int]] = []
        self.barriers = Barriers(
            self.line.ask,
            self.line.new_id,
            lambda: self.now,
            RETRY_S,
            lambda sent_at, index: self.confirmed.append((sent_at, index)),
            applied_index,
        )

    def wait(self, deadline: float = 1e9) -> "asyncio.Future[None]":
        return asyncio.ensure_future(self.barriers.wait(deadline))

    def answer(self, index: int) -> None:
        self.barriers.answered(Confirmed(self.line.asked[-1][1].id, index))


def test_readers_of_one_turn_share_a_question_and_later_ones_never_its_answer() -> None:
    async def main() -> None:
        reading = Reading(applied_index=7)
        first = [reading.wait() for _ in range(5)]
        await turns(3)
        late = reading.wait()
        await turns(3)
        assert len(reading.line.asked) == 1
        reading.now = 10.2
        reading.answer(7)
        await turns(3)
        assert all(reader.done() for reader in first) and not late.done()
        assert len(reading.line.asked) == 2
        reading.now = 10.5
        reading.answer(7)
        await turns(3)
        assert late.done() and reading.confirmed == [(10.0, 7), (10.2, 7)]  # as of when it was asked

    run(main())


def test_a_read_waits_until_what_was_confirmed_is_applied_and_no_longer() -> None:
    async def main() -> None:
        reading = Reading(applied_index=7)
        covered = reading.wait()
        await turns(3)
        reading.answer(7)  # all of it was applied before anything new came: nothing more will
        await turns(3)
        assert covered.done()
        reader = reading.wait()
        await turns(3)
        reading.answer(9)
        for index in (8, 9):
            assert not reader.done()
            reading.barriers.applied(index)
            await turns(3)
        assert reader.done()

    run(main())


def test_an_answer_to_another_question_is_none() -> None:
    async def main() -> None:
        reading = Reading(applied_index=7)
        reader = reading.wait()
        await turns(3)
        old = reading.line.asked[-1][1].id
        reading.line.leader = "b"
        reading.barriers.resend()
        reading.barriers.answered(Confirmed(old, 1))
        reading.barriers.answered(Confirmed(12345, 1))
        await turns(3)
        assert not reader.done()
        reading.answer(7)
        await turns(3)
        assert reader.done()

    run(main())


@pytest.mark.parametrize("trouble", ["refused", "silence", "connection", "no leader"])
def test_a_question_that_got_lost_is_asked_again(trouble: str) -> None:
    async def main() -> None:
        reading = Reading(applied_index=7)
        if trouble == "no leader":
            reading.line.leader = None
        reader = reading.wait()
        await turns(3)
        if trouble == "refused":
            reading.barriers.refused(Refused(reading.line.asked[-1][1].id, Why.NOT_LEADER, "b"))
            assert len(reading.line.asked) == 1  # not at once
        elif trouble == "connection":
            reading.barriers.peer_down("a")
        elif trouble == "silence":
            reading.now += RETRY_S
        reading.line.leader = "b"
        reading.barriers.tick(reading.now)
        assert reading.line.asked[-1][0] == "b"
        reading.answer(7)
        await turns(3)
        assert reader.done()

    run(main())


def test_readers_who_are_late_hear_that_there_is_no_quorum_and_others_wait_on() -> None:
    async def main() -> None:
        reading = Reading()
        hasty, patient, gone = reading.wait(11.0), reading.wait(20.0), reading.wait(20.0)
        await turns(3)
        queued = reading.wait(11.0)
        await turns(3)
        gone.cancel()
        await turns(3)
        reading.now = 11.0
        reading.barriers.tick(11.0)
        await turns(3)
        for reader in (hasty, queued):
            assert isinstance(reader.exception(), NoQuorum)
        assert not patient.done() and len(reading.barriers) == 1
        reading.barriers.fail_all(lambda: StoreStopped("over"))
        await turns(3)
        assert isinstance(patient.exception(), StoreStopped) and len(reading.barriers) == 0

    run(main())


def test_questions_are_proposals_of_the_command_itself() -> None:
    async def main() -> None:
        writes, line = new_writes()
        write = writes.add(b"x", 60.0, 0.0)
        assert line.asked == [("a", Propose(write.id, b"x"))]

    run(main())
