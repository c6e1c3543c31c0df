"""Turns under a session: numbers are never used twice, the window holds, nobody is forgotten."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from quorate.consensus import admission
from quorate.consensus.admission import WINDOW, WINDOW_BYTES, Admission, Requests
from quorate.consensus.clients import REMEMBERED_LIMIT, REMEMBERED_LIMIT_BYTES
from quorate.consensus.commands import COMMAND_LIMIT_BYTES
from quorate.consensus.errors import NoQuorum, Overloaded, StoreStopped
from tests.support import run, turns


def test_the_window_is_within_what_replicas_remember() -> None:
    assert WINDOW < REMEMBERED_LIMIT
    assert WINDOW_BYTES + COMMAND_LIMIT_BYTES < REMEMBERED_LIMIT_BYTES


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 1 << 20), st.integers(0, 1 << 30)), max_size=200))
def test_numbers_grow_and_the_floor_is_the_oldest_one_that_is_still_wanted(
    steps: list[tuple[bool, int, int]],
) -> None:
    requests = Requests(7)
    wanted: dict[int, int] = {}
    weights: dict[int, int] = {}
    last = 0
    for begin, size_bytes, which in steps:
        if begin and requests.room():
            sequence = requests.begin()
            assert sequence == last + 1
            last = sequence
            requests.weigh(sequence, size_bytes)
            wanted[sequence] = weights[sequence] = size_bytes
        elif wanted:
            sequence = sorted(wanted)[which % len(wanted)]
            del wanted[sequence]
            requests.end(sequence)
        assert requests.floor == min(wanted, default=last + 1)
        held = [weights[sequence] for sequence in range(requests.floor, last + 1)]
        assert requests.room() == (len(held) < WINDOW and sum(held) < WINDOW_BYTES)


class Sessions:
    """The id of the session that is valid; 0 for none."""

    def __init__(self) -> None:
        self.id = 1

    def __call__(self) -> int:
        return self.id


def enter(turnstile: Admission, deadline: float = 1e9) -> "asyncio.Future[tuple[Requests, int]]":
    return asyncio.ensure_future(turnstile.enter(deadline))


def test_who_finds_no_room_is_let_in_later_first_come_first_served() -> None:
    async def main() -> None:
        turnstile = Admission(Sessions())
        inside = [await turnstile.enter(1e9) for _ in range(WINDOW)]
        waiting = [enter(turnstile) for _ in range(5)]
        await turns(3)
        assert len(turnstile) == 5 and not turnstile.may_enter()
        turnstile.leave(*inside[1])  # the oldest one is still there: no result can be forgotten
        await turns(3)
        assert len(turnstile) == 5
        turnstile.leave(*inside[0])
        await turns(3)
        assert [turn.done() for turn in waiting] == [True, True, False, False, False]
        assert [turn.result()[1] for turn in waiting[:2]] == [WINDOW + 1, WINDOW + 2]
        assert not enter(turnstile).done()  # nobody overtakes those who wait

    run(main())


def test_without_a_session_everybody_waits_and_a_new_one_counts_from_one() -> None:
    async def main() -> None:
        session = Sessions()
        turnstile = Admission(session)
        old, sequence = await turnstile.enter(1e9)
        assert (old.session, sequence) == (1, 1)
        session.id = 0
        waiting = [enter(turnstile) for _ in range(3)]
        await turns(3)
        turnstile.admit()
        assert not any(turn.done() for turn in waiting)
        session.id = 9
        turnstile.admit()
        await turns(3)
        assert [(turn.result()[0].session, turn.result()[1]) for turn in waiting] == [(9, 1), (9, 2), (9, 3)]
        turnstile.leave(old, sequence)
        assert waiting[0].result()[0].floor == 1

    run(main())


def test_a_turn_that_nobody_takes_any_more_is_not_lost() -> None:
    async def main() -> None:
        turnstile = Admission(Sessions())
        inside = [await turnstile.enter(1e9) for _ in range(WINDOW)]
        gone, other, next_ = enter(turnstile), enter(turnstile), enter(turnstile)
        await turns(3)
        other.cancel()  # while it waits
        turnstile.leave(*inside[0])
        gone.cancel()  # in the very turn in which it was let in
        await turns(3)
        requests, sequence = inside[1]
        turnstile.leave(requests, sequence)
        await turns(3)
        assert next_.done() and not next_.cancelled()
        for each in [*inside[2:], next_.result()]:
            turnstile.leave(*each)
        assert requests.floor == requests.begin()  # every number has been given back

    run(main())


def test_who_waits_too_long_is_told_so_and_the_others_keep_their_places() -> None:
    async def main() -> None:
        session = Sessions()
        session.id = 0
        turnstile = Admission(session)
        hasty, patient = enter(turnstile, 5.0), enter(turnstile, 50.0)
        await turns(3)
        turnstile.tick(4.9, lambda: NoQuorum("late"))
        assert len(turnstile) == 2
        turnstile.tick(5.0, lambda: NoQuorum("late"))
        await turns(3)
        assert isinstance(hasty.exception(), NoQuorum) and len(turnstile) == 1
        turnstile.fail_all(lambda: StoreStopped("over"))
        await turns(3)
        assert isinstance(patient.exception(), StoreStopped)

    run(main())


def test_the_queue_itself_has_an_end() -> None:
    async def main() -> None:
        session = Sessions()
        session.id = 0
        turnstile = Admission(session)
        limit, admission.WAITING_LIMIT = admission.WAITING_LIMIT, 3
        try:
            waiting = [enter(turnstile) for _ in range(4)]
            await turns(3)
            assert isinstance(waiting[3].exception(), Overloaded)
            assert not any(turn.done() for turn in waiting[:3])
        finally:
            admission.WAITING_LIMIT = limit
        for turn in waiting[:3]:
            turn.cancel()
        await turns(3)

    run(main())
