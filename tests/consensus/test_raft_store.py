"""The raft engine as a whole: what writers and readers are told, through every change of leader, and how it ends."""

import asyncio
from typing import Any

import pytest

from quorate.consensus import (
    DiskFailed,
    Event,
    Get,
    KeyValue,
    Lane,
    NoQuorum,
    OutcomeUnknown,
    Put,
    RaftStore,
    StoreStopped,
    TxnResult,
    absent,
    commands,
    protocol,
)
from quorate.core import DecodeError, pack
from tests.support import eager_tasks, turns

from .raft_world import World, outcome_of, put
from .virtual import run_virtual


async def increment(store: RaftStore, timeout_s: float = 30.0) -> TxnResult:
    """Count in a way that shows every time it is done: the version of the key grows."""
    return await store.txn([], [Put(b"n", b"")], timeout_s=timeout_s)


def test_a_follower_in_the_minority_says_that_nothing_happened_once_it_knows_of_no_leader() -> None:
    async def main() -> None:
        async with World() as world:
            await world.led_by("a")
            world.isolate("b")
            left = asyncio.ensure_future(outcome_of(world["b"].txn([], [Put(b"left", b"")], timeout_s=1.0)))
            await world.until(lambda: world["b"].status().leader is None)
            stayed = await outcome_of(world["b"].txn([], [Put(b"stayed", b"")], timeout_s=1.0))
            assert isinstance(await left, OutcomeUnknown)  # it was given to the network
            assert isinstance(stayed, NoQuorum)
            for read in (world["b"].get(b"k"), world["b"].range(b""), world["b"].sessions()):
                assert isinstance(await outcome_of(read), NoQuorum)

    run_virtual(main())


def test_a_leader_in_the_minority_does_not_know_of_writes_that_are_in_its_log() -> None:
    async def main() -> None:
        async with World() as world:
            old = await world.led_by("a")
            world.isolate("a")
            writing = asyncio.ensure_future(outcome_of(put(old, b"k", b"old")))
            await world.until(lambda: world.leader() in (world["b"], world["c"]))
            await put(world["b"], b"k", b"new")
            assert isinstance(await writing, OutcomeUnknown)
            world.heal()
            item = await world["a"].get(b"k")
            assert item is not None and (item.value, item.version) == (b"new", 1)

    run_virtual(main())


@pytest.mark.parametrize("how", ["killed", "isolated", "transferred", "paused"])
def test_writes_go_on_through_a_change_of_leader_and_each_is_done_once(how: str) -> None:
    async def main() -> None:
        async with World() as world:
            await world.led_by("a")
            writers = [world["b"], world["c"]]
            done: list[TxnResult] = []

            async def write(store: RaftStore) -> None:
                for _ in range(60):
                    done.append(await increment(store))
                    await asyncio.sleep(0.01)

            writing = [asyncio.ensure_future(write(store)) for store in writers]
            await world.pass_time(0.1)
            if how == "killed":
                world.kill("a")
            elif how == "isolated":
                world.isolate("a")
            elif how == "paused":
                world.sleep_node("a")
            else:
                assert await world["a"].transfer_leadership()
            await asyncio.gather(*writing)
            item = await world["b"].get(b"n")
            assert item is not None and item.version == len(done) == 120
            versions = [result.results[0].version for result in done if result.results[0]]
            assert sorted(versions) == list(range(1, 121))
            world.wake("a")

    run_virtual(main())


def test_what_an_old_leader_was_asked_the_new_one_is_asked_at_once() -> None:
    async def main() -> None:
        async with World() as world:
            await world.led_by("a")
            store = world["b"]
            store._writes._retry_s = store._barriers._retry_s = 1e9
            world.isolate("a")
            writing = asyncio.ensure_future(increment(store))
            reading = asyncio.ensure_future(store.get(b"n", timeout_s=30.0))
            await writing
            await reading

    run_virtual(main())


def test_a_request_whose_copies_are_all_in_the_log_is_done_once_and_each_gets_the_first_result() -> None:
    async def main() -> None:
        async with World() as world:
            await world.led_by("a")
            copies: list[bytes] = []

            def doubled(source: str, target: str, lane: Lane, payload: bytes) -> bool:
                if lane is Lane.STORE and isinstance(protocol.decode(payload), protocol.Propose):
                    copies.append(payload)
                    world.carry(source, target, lane, payload)  # and once more, by returning False
                return False

            world.hold = doubled
            results = [await increment(world["b"]) for _ in range(20)]
            assert len(copies) >= 20
            assert [result.results[0].version for result in results if result.results[0]] == list(
                range(1, 21)
            )

    run_virtual(main())


def test_a_deposed_leader_serves_no_read() -> None:
    async def main() -> None:
        async with World() as world:
            old = await world.led_by("a")
            await put(old, b"k", b"old")
            world.isolate("a")
            reads = [asyncio.ensure_future(outcome_of(old.get(b"k", timeout_s=2.0)))]
            for _ in range(200):
                await world.pass_time(0.005)
                reads.append(asyncio.ensure_future(outcome_of(old.get(b"k", timeout_s=2.0))))
                if world.leader() not in (None, old):
                    break
            await put(world["b"], b"k", b"new")
            reads.append(asyncio.ensure_future(outcome_of(old.get(b"k", timeout_s=2.0))))
            assert {type(answer) for answer in await asyncio.gather(*reads)} == {NoQuorum}
            cached = old.peek(b"k")
            assert cached.value is not None and cached.value.value == b"old" and cached.age_s > 1.0

    run_virtual(main())


def test_a_read_on_a_follower_that_lags_waits_until_it_has_what_was_acknowledged() -> None:
    async def main() -> None:
        async with World() as world:
            leader = await world.led_by("a")
            world.hold = lambda source, target, lane, payload: target == "b" and lane is Lane.RAFT
            world["b"].peer_down("c")
            written = await put(leader, b"k")
            reading = asyncio.ensure_future(world["b"].get(b"k", timeout_s=5.0))
            await world.pass_time(0.05)
            assert not reading.done() and world["b"].peek(b"k").value is None
            world.hold = None
            assert await reading == written

    run_virtual(main())


def test_what_a_node_knows_is_never_older_than_it_says() -> None:
    async def main() -> None:
        async with World() as world:
            leader = await world.led_by("a")
            loop, acknowledged = asyncio.get_running_loop(), list[tuple[float, int]]()

            async def write() -> None:
                for _ in range(300):
                    item = await put(leader, b"k")
                    acknowledged.append((loop.time(), item.version))
                    await asyncio.sleep(0.01)

            writing = asyncio.ensure_future(write())
            looked = 0
            while not writing.done():
                await world.pass_time(0.007)
                if looked == 150:
                    world.isolate("b")
                elif looked == 300:
                    world.heal()
                looked += 1
                for name in "abc":
                    cached = world[name].peek(b"k")
                    known = cached.value.version if cached.value is not None else 0
                    then = loop.time() - cached.age_s
                    assert known >= max((version for at, version in acknowledged if at <= then), default=0)
            await writing
            assert looked > 400
            fresh = world["b"].peek(b"k")
            assert fresh.age_s < 1.0

    run_virtual(main())


def test_twenty_thousand_transactions_in_one_turn_are_all_done_in_order() -> None:
    async def main() -> None:
        async with World() as world:
            await world.led_by("a")
            store = world["b"]
            results = await asyncio.gather(
                *[store.txn([], [Put(b"k", b"%d" % n)], timeout_s=60.0) for n in range(20_000)]
            )
            revisions = [result.revision for result in results]
            assert revisions == sorted(set(revisions)) and len(revisions) == 20_000
            for other in world.stores:
                item = await other.get(b"k")
                assert item is not None and (item.value, item.version) == (b"19999", 20_000)

    run_virtual(main())


def test_a_flood_that_nobody_answers_ends_in_errors_that_are_true_and_leaves_nothing_behind() -> None:
    async def main() -> None:
        async with World() as world:
            await world.led_by("a")
            store = world["b"]
            world.isolate("b")
            answers = await asyncio.gather(*[outcome_of(increment(store, 1.0)) for _ in range(5000)])
            kinds = [type(answer) for answer in answers]
            assert set(kinds) == {OutcomeUnknown, NoQuorum}
            world.heal()
            await world.ready()
            assert len(store._writes) == len(store._admission) == len(store._barriers) == 0
            item = await store.get(b"n")
            done = item.version if item is not None else 0
            assert done <= kinds.count(OutcomeUnknown)

    run_virtual(main())


def test_the_window_moves_past_a_request_that_was_lost_without_failing_the_others() -> None:
    """Results are remembered from the oldest unanswered request on: it must not make the later ones too many."""

    async def main() -> None:
        async with World() as world:
            await world.led_by("a")
            store, lost = world["b"], list[bytes]()

            def lose_first(source: str, target: str, lane: Lane, payload: bytes) -> bool:
                if source == "b" and lane is Lane.STORE and b"first" in payload and not lost:
                    lost.append(payload)
                    return True
                return False

            world.hold = lose_first
            first = asyncio.ensure_future(put(store, b"first"))
            await asyncio.sleep(0)
            others = await asyncio.gather(*[increment(store) for _ in range(6000)])
            assert len(others) == 6000 and lost
            assert (await first).version == 1

    run_virtual(main())


def test_callers_who_give_up_leave_nothing_behind() -> None:
    async def main() -> None:
        async with World() as world:
            await world.ready()
            store = world["b"]
            world.isolate("b")
            callers: list[asyncio.Future[Any]] = []
            callers += [asyncio.ensure_future(increment(store)) for _ in range(5000)]
            callers += [asyncio.ensure_future(store.get(b"n")) for _ in range(100)]
            await world.pass_time(0.1)
            for caller in callers:
                caller.cancel()
            await asyncio.gather(*callers, return_exceptions=True)
            world.heal()
            await world.ready()
            await world.pass_time(0.1)
            assert len(store._writes) == len(store._admission) == len(store._barriers) == 0
            await asyncio.gather(*[increment(store) for _ in range(3000)])

    run_virtual(main())


def test_leadership_goes_to_a_voter_that_lives() -> None:
    async def main() -> None:
        async with World() as world:
            leader = await world.led_by("a")
            told: list[str | None] = []
            world["b"].subscribe_leader(told.append)
            world.kill("c")  # its log is as long as that of the living one, and its name is the greater
            assert await leader.transfer_leadership()
            assert world["b"].status().leader == "b" and told[-1] == "b"
            assert not leader.leads()
            assert not await leader.transfer_leadership()  # not any more its to give
            await put(leader, b"k")
            world.isolate("b")
            assert not await world["b"].transfer_leadership()  # nobody is there to take it

    run_virtual(main())


def test_what_leaves_during_a_transfer_is_done_by_the_next_leader() -> None:
    async def main() -> None:
        async with World() as world:
            leader = await world.led_by("a")
            handing = asyncio.ensure_future(leader.transfer_leadership())
            await asyncio.sleep(0)
            results = await asyncio.gather(*[increment(store) for store in world.stores for _ in range(30)])
            assert await handing
            assert len({result.revision for result in results}) == 90

    run_virtual(main())


def test_the_leader_says_overloaded_of_what_its_log_does_not_take() -> None:
    async def main() -> None:
        async with World() as world:
            leader = await world.led_by("a")
            world.hold = lambda source, target, lane, payload: source == "a" and lane is Lane.RAFT
            big = [b"%d" % n + bytes(1_000_000) for n in range(4)]
            stuck = [asyncio.ensure_future(outcome_of(put(world["a"], b"k", value))) for value in big]
            raft = leader._replica.raft
            raft._leader._uncommitted_bytes += 64 << 20  # type: ignore[union-attr]
            await asyncio.sleep(0.001)
            refused = await outcome_of(world["b"].txn([], [Put(b"k", b"")], timeout_s=0.1))
            assert isinstance(refused, Exception) and "nothing happened" in str(refused)
            world.hold = None
            for task in stuck:
                await task

    run_virtual(main())


def test_nothing_runs_on_after_a_close() -> None:
    async def main() -> None:
        async with World() as world:
            await world.ready()
            store = world["b"]
            work: list[asyncio.Future[Any]] = []
            work += [asyncio.ensure_future(outcome_of(increment(store))) for _ in range(50)]
            work += [asyncio.ensure_future(outcome_of(store.get(b"n"))) for _ in range(5)]
            await asyncio.sleep(0)
            await asyncio.gather(world.stop("b"), store.close(), store.close())
            for answer in await asyncio.gather(*work):
                assert isinstance(answer, TxnResult | KeyValue | StoreStopped | OutcomeUnknown | None)
            for operation in (store.txn([], []), store.get(b"n"), store.range(b""), store.sessions()):
                assert isinstance(await outcome_of(operation), StoreStopped)
            await world.stop()
            await asyncio.sleep(0)
            assert asyncio.all_tasks() == {asyncio.current_task()}
            assert not [handle for handle in asyncio.get_running_loop()._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]

    run_virtual(main())


def test_a_caller_of_close_who_is_cancelled_does_not_stop_the_closing() -> None:
    async def main() -> None:
        async with World() as world:
            await world.ready()
            session = world["b"].session.id
            store = world["b"]
            closing = asyncio.ensure_future(store.close())
            await asyncio.sleep(0)
            closing.cancel()
            await asyncio.gather(closing, return_exceptions=True)
            await store.close()
            assert store.status().role == "stopped"
            assert session not in [info.id for info in await world["a"].sessions()]

    run_virtual(main())


def test_who_hears_of_the_end_may_close_too_also_where_tasks_begin_at_once() -> None:
    async def main() -> None:
        async with World() as world:
            await world.ready()
            store, session = world["b"], world["b"].session.id
            again: list[asyncio.Future[None]] = []
            store.session.subscribe(lambda *lost: again.append(asyncio.ensure_future(store.close())))
            with eager_tasks():
                await store.close()
            await asyncio.gather(*again)
            assert again and store.status().role == "stopped"
            assert session not in [info.id for info in await world["a"].sessions()]

    run_virtual(main())


def test_an_abandoned_store_says_tells_and_writes_nothing_more() -> None:
    async def main() -> None:
        async with World() as world:
            leader = await world.led_by("a")
            told: list[object] = []
            leader.watch(b"", told.append)
            leader.session.subscribe(lambda session, opened: told.append(opened))
            leader.subscribe_leader(told.append)
            writing = [asyncio.ensure_future(outcome_of(increment(leader))) for _ in range(10)]
            await asyncio.sleep(0)
            files = {p: world.disk("a").content(p) for p in world.disk("a").files()}
            told.clear()
            leader.abandon()
            sent = world.sent  # nobody else sends as long as no time passes
            assert not leader.session.valid() and not leader.leads() and leader.session.id == 0
            for answer in await asyncio.gather(*writing):
                assert isinstance(answer, OutcomeUnknown | StoreStopped)
            await turns(5)
            assert asyncio.all_tasks() == {asyncio.current_task()}
            leader.receive("b", Lane.STORE, protocol.encode(protocol.Barrier(1)))
            leader.peer_down("b")
            await turns(5)
            assert world.sent == sent and told == []
            assert {p: world.disk("a").content(p) for p in world.disk("a").files()} == files
            await leader.close()
            assert {p: world.disk("a").content(p) for p in world.disk("a").files()} == files
            world.members["a"].store = None
            world.members["a"].data_dir.close()  # type: ignore[union-attr]

    run_virtual(main())


def test_a_store_alone_is_its_own_majority() -> None:
    async def main() -> None:
        async with World("a") as world:
            await world.ready()
            results = await asyncio.gather(*[increment(world["a"]) for _ in range(3000)])
            assert len({result.revision for result in results}) == 3000
            assert not await world["a"].transfer_leadership()
            world.kill("a", power_lost=world.entropy)
            await world.start("a")
            item = await world["a"].get(b"n")
            assert item is not None and item.version == 3000

    run_virtual(main())


def test_a_transport_that_raises_harms_nobody() -> None:
    async def main() -> None:
        async with World() as world:
            leader = await world.led_by("a")
            broken = [0]

            def raising(source: str, target: str, lane: Lane, payload: bytes) -> bool:
                if target == "c" and source == "a":
                    broken[0] += 1
                    raise OSError("from the transport of a test")
                return False

            world.hold = raising
            for _ in range(20):
                await increment(leader)
                await increment(world["b"])
            assert broken[0] > 20
            world.hold = None
            item = await world["c"].get(b"n")
            assert item is not None and item.version == 40 and leader.leads()

    run_virtual(main())


def test_a_callback_may_do_what_it_likes_and_is_told_everything_in_order() -> None:
    async def main() -> None:
        async with World() as world:
            leader = await world.led_by("a")
            seen: list[Event] = []
            asked: list[asyncio.Future[Any]] = []

            def callback(events: object) -> None:
                asked.append(asyncio.ensure_future(leader.get(b"n")))
                asked.append(asyncio.ensure_future(leader.txn([absent(b"m")], [Put(b"m", b"")], [Get(b"m")])))
                raise RuntimeError("from a callback of a test")

            leader.watch(b"n", callback)
            leader.watch(b"n", seen.extend)
            await asyncio.gather(*[increment(store) for store in world.stores for _ in range(100)])
            await asyncio.gather(*asked)
            assert [event.now.version for event in seen if event.now] == list(range(1, 301))

    run_virtual(main())


def test_an_unexpected_error_inside_ends_this_store_alone_and_says_so() -> None:
    async def main() -> None:
        async with World() as world:
            leader = await world.led_by("a")
            failures: list[Exception] = []
            leader.subscribe_failure(failures.append)
            told: list[tuple[int, bool]] = []
            leader.session.subscribe(lambda session, opened: told.append((session, opened)))
            leaders: list[str | None] = []
            leader.subscribe_leader(leaders.append)
            session = leader.session.id

            def broken(index: int, command: bytes) -> object:
                raise MemoryError("from the machine of a test")

            leader._replica.machine.apply = broken  # type: ignore[method-assign,assignment]
            writing = await outcome_of(increment(leader))
            assert isinstance(writing, OutcomeUnknown)
            assert [type(failure) for failure in failures] == [StoreStopped]
            assert told == [(session, False)] and not leader.session.valid() and leaders == [None]
            assert isinstance(await outcome_of(leader.get(b"n")), StoreStopped)
            assert (await increment(world["b"])).succeeded  # the others go on
            item = await world["c"].get(b"n")
            assert item is not None and item.version == 2

    run_virtual(main())


def test_an_unexpected_error_in_a_tick_ends_the_store_instead_of_its_deadlines() -> None:
    async def main() -> None:
        async with World() as world:
            await world.ready()
            store, failures = world["b"], list[Exception]()
            store.subscribe_failure(failures.append)
            world.isolate("b")
            waiting = asyncio.ensure_future(outcome_of(increment(store)))
            await asyncio.sleep(0)

            def broken(now: float) -> None:
                raise ZeroDivisionError("from the keeper of a test")

            store._keeper.tick = broken  # type: ignore[method-assign]
            await world.until(lambda: failures)
            assert isinstance(await waiting, OutcomeUnknown)
            assert isinstance(failures[0], StoreStopped) and "ZeroDivisionError" in str(failures[0])

    run_virtual(main())


def test_failed_stores_are_closed_like_others() -> None:
    async def main() -> None:
        async with World() as world:
            await world.ready()
            store = world["b"]
            world.disk("b").fail("sync")
            answer = await outcome_of(increment(store))
            assert isinstance(answer, TxnResult | OutcomeUnknown)
            await world.until(lambda: store.status().role == "stopped")
            assert isinstance(await outcome_of(increment(store)), DiskFailed)
            world.disk("b").mend()
            opened = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            await world.stop("b")
            assert not [task for task in opened if not task.done()]
            assert store._replica._storage._wal._closed
            await world.start("b")  # the directory was let go
            await world.ready()

    run_virtual(main())


def test_garbage_of_peers_is_refused_and_changes_nothing() -> None:
    async def main() -> None:
        async with World() as world:
            leader = await world.led_by("a")
            await increment(leader)
            await world.pass_time(0.1)
            before = [world[name].status().applied_index for name in "abc"]
            garbage = [
                b"",
                b"\x80",
                bytes(40),
                pack([1, 2]),
                pack([9, 1]),
                pack([1, 5, b""]),
                pack([1, -1, b"x"]),
            ]
            garbage += [
                pack([3, 1, -1]),
                pack([6, 1, 9, ""]),
                pack([1, 1, b"x" * (commands.COMMAND_LIMIT_BYTES + 1)]),
            ]
            for lane in Lane:
                for payload in garbage:
                    with pytest.raises(DecodeError):
                        leader.receive("b", lane, payload)
            for stranger in ("z", "a"):
                with pytest.raises(DecodeError):
                    leader.receive(stranger, Lane.STORE, protocol.encode(protocol.Barrier(1)))
            over = commands.OpenSession(b"n", "x", 1, b"", 1.0)
            object.__setattr__(over, "ttl_s", commands.TTL_LIMIT_S)
            beyond = commands.encode(over).replace(pack(commands.TTL_LIMIT_S), pack(commands.TTL_LIMIT_S * 2))
            for command in (b"no command at all", beyond):
                with pytest.raises(DecodeError):
                    leader.receive("b", Lane.STORE, protocol.encode(protocol.Propose(77, command)))
            leader.receive("b", Lane.STORE, protocol.encode(protocol.Confirmed(77, 1)))
            leader.receive("b", Lane.STORE, protocol.encode(protocol.Refused(77, protocol.Why.STOPPED, "z")))
            await world.pass_time(0.1)
            assert [world[name].status().applied_index for name in "abc"] == before
            assert (await increment(leader)).results[0] is not None

    run_virtual(main())
