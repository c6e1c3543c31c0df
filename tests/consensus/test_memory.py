"""The memory engine beyond the port: its clocks, its leader, and the troubles that it can cause on demand."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from quorate.consensus.commands import CloseSession
from quorate.consensus.errors import NoQuorum, OutcomeUnknown, StoreStopped
from quorate.consensus.memory import MemoryBackend, MemoryStore
from quorate.consensus.store import VALUE_LIMIT_BYTES, Put, Store, Timing
from quorate.core import TooLarge
from tests.support import ManualClock, SeededEntropy, run, turns

T = TypeVar("T")

TIMING = Timing.local()
TTL_S = TIMING.session_ttl_s


class Two:
    """Two nodes, each with its clock; `a` came first and leads."""

    def __init__(self) -> None:
        self.backend = MemoryBackend(TIMING, SeededEntropy())
        self.clock_a, self.clock_b = ManualClock(100.0), ManualClock(9000.0)
        self.a = self.backend.connect("a", 1, self.clock_a)
        self.b = self.backend.connect("b", 1, self.clock_b)
        self.told: list[tuple[str, int, bool]] = []
        for name, store in (("a", self.a), ("b", self.b)):
            self.listen(name, store)

    def listen(self, name: str, store: MemoryStore) -> None:
        store.session.subscribe(lambda session, opened: self.told.append((name, session, opened)))

    async def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.05)):
            await self.clock_a.pass_time(0.05, turns_each=3)
            await self.clock_b.pass_time(0.05, turns_each=3)


def two(body: Callable[[Two], Awaitable[None]]) -> None:
    async def main() -> None:
        world = Two()
        await turns()
        assert world.told == [("a", 1, True), ("b", 2, True)]
        world.told.clear()
        await body(world)

    run(main())


async def sent(operation: Awaitable[T], then: Callable[[], object]) -> T:
    """The result of an operation; `then` is called when it has been sent, before the answer, which takes a turn."""
    asyncio.get_running_loop().call_soon(then)
    return await operation


async def fails(operation: Awaitable[object], clock: ManualClock, after_s: float) -> BaseException:
    """The error of an operation that must last exactly so long."""
    task = asyncio.ensure_future(operation)
    await clock.pass_time(after_s - 0.01)
    assert not task.done()
    await clock.pass_time(0.02)
    assert task.done()
    error = task.exception()
    assert error is not None
    return error


def test_a_store_alone_works_with_a_backend_of_its_own() -> None:
    async def main() -> None:
        store: Store = MemoryStore(ManualClock(), SeededEntropy(), "alone@h:1")
        result = await store.txn([], [Put(b"k", b"v")])
        assert store.peek(b"k").value == result.results[0]
        assert store.leads() and store.status().leader == "alone@h:1"
        assert (await store.sessions())[0].ttl_s == Timing.lan().session_ttl_s
        await store.close()

    run(main())


def test_nothing_waits_for_time_while_all_is_well() -> None:
    """Sessions open and operations end by turns of the loop alone, so tests need not move any clock."""

    async def body(w: Two) -> None:
        await w.b.txn([], [Put(b"k", b"v", w.b.session.id)])
        assert await w.a.get(b"k") is not None
        w.b.disconnect()
        w.b.connect_again()
        assert await w.b.get(b"k") is not None
        w.a.disconnect()
        await turns()
        assert w.b.leads() and w.b.status().leader == "b" and w.a.status().leader is None
        assert w.a.status().role == "disconnected"

    two(body)


def test_the_leader_is_the_first_that_is_connected_and_everybody_hears_of_changes_at_once() -> None:
    async def body(w: Two) -> None:
        heard: list[tuple[str, str | None]] = []
        w.a.subscribe_leader(lambda name: heard.append(("a", name)))
        w.b.subscribe_leader(lambda name: heard.append(("b", name)))
        w.a.disconnect()
        await turns()
        assert heard == [("a", None), ("b", "b")] and w.backend.term == 2
        w.a.connect_again()
        await turns()
        assert heard[2:] == [("a", "a"), ("b", "a")] and w.a.leads() and not w.b.leads()

    two(body)


def test_a_cut_off_node_gets_no_quorum_when_its_time_is_up_and_no_sooner() -> None:
    async def body(w: Two) -> None:
        w.b.disconnect()
        for operation in (w.b.get(b"k", timeout_s=0.3), w.b.txn([], [], timeout_s=0.3)):
            assert isinstance(await fails(operation, w.clock_b, 0.3), NoQuorum)
        assert isinstance(await fails(w.b.sessions(), w.clock_b, TIMING.request_s), NoQuorum)

    two(body)


def test_what_is_too_large_is_refused_at_once_also_by_a_node_that_is_cut_off() -> None:
    async def body(w: Two) -> None:
        w.b.disconnect()
        with pytest.raises(TooLarge):
            await w.b.txn([], [Put(b"k", b"v" * (VALUE_LIMIT_BYTES + 1))])

    two(body)


def test_a_lost_reply_is_an_outcome_unknown_and_the_change_is_there() -> None:
    async def body(w: Two) -> None:
        w.b.lose_next_reply()
        error = await fails(w.b.txn([], [Put(b"k", b"v")], timeout_s=0.3), w.clock_b, 0.3)
        assert isinstance(error, OutcomeUnknown)
        assert w.a.peek(b"k").value is not None
        await w.b.txn([], [Put(b"k", b"v")])

    two(body)


def test_a_cut_between_a_request_and_its_answer_leaves_the_outcome_unknown_unless_it_heals() -> None:
    async def body(w: Two) -> None:
        lost = sent(w.b.txn([], [Put(b"k", b"1")], timeout_s=0.3), w.b.disconnect)
        assert isinstance(await fails(lost, w.clock_b, 0.3), OutcomeUnknown)
        w.b.connect_again()
        await turns()
        found = asyncio.ensure_future(sent(w.b.txn([], [Put(b"k", b"2")], timeout_s=5.0), w.b.disconnect))
        await w.clock_b.pass_time(0.1)
        assert not found.done()
        w.b.connect_again()
        result = await found
        assert result.results[0] is not None and result.results[0].version == 2

    two(body)


def test_the_state_is_not_called_fresh_between_the_heal_and_the_news() -> None:
    async def body(w: Two) -> None:
        w.b.disconnect()
        await w.a.txn([], [Put(b"k", b"v")])
        await w.clock_b.pass_time(1.0)
        w.b.connect_again()
        assert w.b.peek(b"k").value is None and w.b.peek(b"k").age_s == pytest.approx(1.0)
        await turns()
        assert w.b.peek(b"k").value is not None and w.b.peek(b"k").age_s == 0.0

    two(body)


def test_a_node_that_was_paused_knows_on_waking_that_its_session_may_be_gone() -> None:
    async def body(w: Two) -> None:
        assert w.b.session.valid() and w.b.session.id == 2
        w.clock_b.skip(TTL_S)  # no timer has run
        assert w.b.session.id == 0 and not w.b.session.valid() and w.b.session.valid_for_s() == 0.0
        assert w.told == []  # never from inside the question
        await turns()
        assert w.told[0] == ("b", 2, False)
        assert w.told[1] == ("b", w.b.session.id, True) and w.b.session.id > 2

    two(body)


def test_a_session_that_somebody_closed_is_lost_at_once() -> None:
    async def body(w: Two) -> None:
        w.backend.commit(CloseSession(2))
        result = await w.b.txn([], [Put(b"k", b"v")])  # before the news has reached the node
        assert result.succeeded
        assert w.told == [("b", 2, False), ("b", w.b.session.id, True)]

    two(body)


def test_a_session_that_was_closed_during_a_cut_is_lost_when_the_cut_heals() -> None:
    async def body(w: Two) -> None:
        w.b.disconnect()
        w.backend.commit(CloseSession(2))
        await turns()
        assert w.b.session.valid()  # it cannot know
        w.b.connect_again()
        await turns()
        assert w.told == [("b", 2, False), ("b", w.b.session.id, True)]

    two(body)


def test_the_answer_to_a_keepalive_is_lost_in_a_cut() -> None:
    async def body(w: Two) -> None:
        w.clock_b.skip(TIMING.keepalive_s)
        w.clock_b.advance(0.0)  # the keepalive has left, its answer is on the way
        left_s = w.b.session.valid_for_s()
        w.b.disconnect()
        await turns()
        assert w.b.session.valid_for_s() == left_s

    two(body)


def test_an_open_whose_answer_came_too_late_is_closed_and_another_one_is_made() -> None:
    async def main() -> None:
        backend, clock = MemoryBackend(TIMING, SeededEntropy()), ManualClock()
        backend.connect("other", 1, ManualClock())
        store = backend.connect("slow", 1, clock)
        while len(backend.machine.sessions()) < 2:
            await turns(1)
        late = backend.machine.sessions()[1].id
        clock.skip(TTL_S)
        await turns()
        assert store.session.id > late
        assert [info.id for info in backend.machine.sessions()] == [1, store.session.id]

    run(main())


def test_an_open_whose_answer_was_cut_off_is_taken_up_when_the_cut_heals_in_time() -> None:
    async def main() -> None:
        backend, clock = MemoryBackend(TIMING, SeededEntropy()), ManualClock()
        for ends_early in (False, True):
            other = backend.connect("other", 1, ManualClock())
            store = backend.connect("cut", 1, clock)
            living = len(backend.machine.sessions())
            while len(backend.machine.sessions()) < living + 2:
                await turns(1)
            opened = backend.machine.sessions()[-1].id
            store.disconnect()
            await clock.pass_time(TTL_S / 2)
            assert not store.session.valid()
            if ends_early:
                backend.commit(CloseSession(opened))
            store.connect_again()
            await turns()
            assert store.session.id > opened if ends_early else store.session.id == opened
            assert [info.id for info in backend.machine.sessions()][-1] == store.session.id
            await store.close()
            await other.close()

    run(main())


def test_a_crash_tells_nobody_and_its_session_ends_on_the_clock_of_the_leader() -> None:
    async def body(w: Two) -> None:
        await w.b.txn([], [Put(b"k", b"v", 2)])
        heard: list[object] = []
        w.b.watch(b"", heard.append)
        w.b.subscribe_leader(heard.append)
        with pytest.raises(OutcomeUnknown):
            await sent(w.b.txn([], [Put(b"late", b"")]), w.b.crash)
        w.b.crash()
        with pytest.raises(StoreStopped):
            await w.b.get(b"k")
        await w.clock_b.pass_time(10 * TTL_S)
        assert w.a.peek(b"k").value is not None  # the leader's clock stood still
        await w.clock_a.pass_time(TTL_S + 0.01)
        assert w.a.peek(b"k").value is None
        assert (w.told, heard, w.b.session.id) == ([], [], 0)
        assert w.clock_b.next_due() is None

    two(body)


def test_a_new_leader_gives_every_session_its_full_time_on_its_own_clock() -> None:
    async def body(w: Two) -> None:
        await w.a.txn([], [Put(b"k", b"v", 1)])
        await w.pass_time(TTL_S / 2)
        w.a.crash()
        await w.clock_b.pass_time(TTL_S - 0.01)
        assert w.b.peek(b"k").value is not None
        await w.clock_b.pass_time(0.02)
        assert w.b.peek(b"k").value is None

    two(body)


def test_while_nobody_is_connected_no_session_ends() -> None:
    async def body(w: Two) -> None:
        w.a.disconnect()
        w.b.disconnect()
        await w.pass_time(5 * TTL_S)
        assert [info.id for info in w.backend.machine.sessions()] == [1, 2]
        assert w.told == [("a", 1, False), ("b", 2, False)]
        assert w.backend.leader is None and w.backend.machine.revision == 2
        w.a.connect_again()
        await w.pass_time(TTL_S + 0.1)
        assert [info.id for info in w.backend.machine.sessions()] == [w.a.session.id]

    two(body)


def test_an_older_start_of_a_node_gets_no_session_while_a_newer_one_lives(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def body(w: Two) -> None:
        newer = w.backend.connect("b", 3, w.clock_b)
        await turns()
        assert newer.session.valid() and w.told == [("b", 2, False)]
        older = w.backend.connect("b", 2, w.clock_b)
        with caplog.at_level(logging.ERROR, logger="quorate.consensus"):
            await turns()
            assert not older.session.valid()
            assert 0 < len(caplog.records) < 3  # the starts 1 and 2, once each
        await newer.close()
        await w.pass_time(2 * TTL_S)
        assert older.session.valid()

    two(body)


def test_a_store_that_is_closed_ends_what_waits_in_it() -> None:
    async def body(w: Two) -> None:
        answered = asyncio.ensure_future(w.b.txn([], [Put(b"k", b"v")]))
        await asyncio.sleep(0)
        await asyncio.gather(w.b.close(), w.b.close())
        assert (await answered).succeeded  # its answer was on the way
        w.a.disconnect()
        waiting = [asyncio.ensure_future(op) for op in (w.a.txn([], [Put(b"k", b"")]), w.a.get(b"k"))]
        await turns()
        await w.a.close()
        for task in waiting:
            assert isinstance(task.exception(), StoreStopped)
        assert w.told == [("b", 2, False), ("a", 1, False)]
        assert w.clock_a.next_due() is None and w.clock_b.next_due() is None

    two(body)


def test_an_idle_cluster_writes_nothing() -> None:
    async def body(w: Two) -> None:
        await w.b.close()
        before = w.backend.machine.applied_index
        await w.pass_time(5 * TTL_S)
        assert w.backend.machine.applied_index == before

    two(body)
