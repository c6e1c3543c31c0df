"""Snapshots on the raft engine: taken, sent, received, and what those who waited are told."""

import asyncio
from collections.abc import Sequence

import pytest

from quorate.consensus import (
    Delete,
    Event,
    KeyValue,
    Lane,
    NoQuorum,
    OutcomeUnknown,
    Put,
    RaftStore,
    commands,
)
from quorate.consensus.applier import Applied
from quorate.consensus.raft import decode, encode
from quorate.consensus.raft.messages import AppendReply, AppendRequest, SnapshotChunk
from quorate.core import pack, unpack
from tests.support import turns

from .raft_world import World, outcome_of, put
from .virtual import run_virtual

SMALL = 3000  # bytes of log between snapshots


async def fill(store: RaftStore, count: int, prefix: bytes = b"fill/") -> list[KeyValue]:
    return [await put(store, prefix + b"%d" % (number % 10), bytes(100)) for number in range(count)]


def snapshots(world: World, name: str) -> list[str]:
    return [path for path in world.disk(name).files() if path.endswith(".snapshot")]


def follow(store: RaftStore) -> tuple[dict[bytes, KeyValue], list[Event]]:
    """What a watcher believes who does nothing but follow events; each has to fit what came before."""
    state: dict[bytes, KeyValue] = {}
    seen: list[Event] = []

    def callback(events: Sequence[Event]) -> None:
        for event in events:
            assert event.before == state.get(event.key), event
            assert not seen or event.revision >= seen[-1].revision
            seen.append(event)
            if event.now is None:
                del state[event.key]
            else:
                state[event.key] = event.now

    store.watch(b"", callback)
    return state, seen


def test_a_node_that_was_cut_off_for_long_catches_up_by_a_snapshot_and_tells_the_difference() -> None:
    async def main() -> None:
        async with World(snapshot_after_bytes=SMALL) as world:
            leader = await world.led_by("a")
            state, seen = follow(world["b"])
            for key in (b"kept", b"gone", b"changed", b"anew"):
                await put(leader, key)
            await world.until(lambda: len(seen) == 4)
            world.isolate("b")
            await put(leader, b"changed", b"2")
            await leader.txn([], [Delete(b"gone"), Delete(b"anew")])
            await put(leader, b"anew", b"2")
            await fill(leader, 200)
            applied = world["b"].status().applied_index
            world.heal()
            truth = {item.key: item for item in await world["b"].range(b"")}
            assert leader._replica.raft.first_index > applied + 1  # so the log alone could not have done it
            assert state == truth
            assert sorted(truth)[:3] == [b"anew", b"changed", b"fill/0"] and b"gone" not in truth
            assert world["b"]._replica.machine.snapshot() == leader._replica.machine.snapshot()
            await fill(world["b"], 10)
            assert (await world["c"].get(b"fill/9")) == state[b"fill/9"]

    run_virtual(main())


def test_writes_that_were_done_in_what_a_snapshot_skipped_are_answered_with_what_they_did() -> None:
    async def main() -> None:
        async with World(snapshot_after_bytes=SMALL) as world:
            leader = await world.led_by("a")
            store = world["b"]
            await put(store, b"n")
            world.hold = lambda source, target, lane, payload: target == "b" and lane is Lane.RAFT
            writing = [
                asyncio.ensure_future(store.txn([], [Put(b"n", b"%d" % number)], timeout_s=20.0))
                for number in range(30)
            ]
            await world.pass_time(0.05)
            item = await leader.get(b"n")
            assert item is not None and item.version == 31  # done, and b knows nothing of it
            await fill(leader, 200)
            world.hold = None
            results = await asyncio.gather(*writing)
            assert [result.results[0].version for result in results if result.results[0]] == list(
                range(2, 32)
            )
            assert snapshots(world, "b")
            item = await store.get(b"n")
            assert item is not None and item.version == 31

    run_virtual(main())


def test_an_old_leader_that_is_given_a_snapshot_says_success_of_nothing_that_is_not_in_it() -> None:
    """The new leader's snapshot and the end of the old leadership can come in one and the same turn."""

    async def main() -> None:
        async with World(snapshot_after_bytes=SMALL) as world:
            old = await world.led_by("a")
            told: list[str | None] = []
            old.subscribe_leader(told.append)
            await put(old, b"before")
            world.sleep_node("a")
            world.isolate("a")
            writing = [asyncio.ensure_future(outcome_of(put(old, b"lost%d" % n))) for n in range(5)]
            reading = asyncio.ensure_future(outcome_of(old.get(b"before", timeout_s=20.0)))
            await world.until(lambda: world.leader() in (world["b"], world["c"]))
            new = world.leader()
            assert new is not None
            await fill(new, 200)
            world.heal()
            await world.pass_time(0.2)
            world.wake("a")
            answers = await asyncio.gather(*writing)
            assert isinstance(await reading, KeyValue)
            truth = {item.key for item in await new.range(b"")}
            for number, answer in enumerate(answers):
                if isinstance(answer, KeyValue):  # it went to the new leader in time
                    assert b"lost%d" % number in truth
                else:
                    assert isinstance(answer, OutcomeUnknown | NoQuorum)
            assert told[-1] == world.name_of(new) == old.status().leader
            assert not old.leads()
            assert len(old._writes) == len(old._barriers) == 0 and not old._replica._reads._open

    run_virtual(main())


def test_a_snapshot_that_ends_a_leadership_is_told_like_any_other_end() -> None:
    """One message can depose a leader and replace its state. Its readers and subscribers must hear of it."""

    async def main() -> None:
        async with World(snapshot_after_bytes=SMALL) as world:
            old = await world.led_by("a")
            told: list[str | None] = []
            old.subscribe_leader(told.append)
            world.sleep_node("a")
            await world.until(lambda: world["b"].leads() or world["c"].leads())
            name = "b" if world["b"].leads() else "c"
            new = world[name]
            await fill(new, 100)
            reading = asyncio.ensure_future(old.get(b"fill/1", timeout_s=20.0))
            await turns(5)
            assert old.leads() and len(old._replica._reads._open) == 1  # it knows of nothing
            raft = new._replica.raft
            snapshot = raft.snapshot
            assert snapshot is not None
            chunk = SnapshotChunk(raft.term, 1, snapshot.meta, 0, snapshot.data)
            old.receive(name, Lane.RAFT, pack(encode(chunk)))
            await turns(20)
            assert told == [name] and not old._replica._reads._open
            assert old._replica.machine.applied_index == snapshot.meta.index
            world.wake("a")
            assert await reading == await new.get(b"fill/1")

    run_virtual(main())


def test_a_node_whose_disk_is_slow_with_a_snapshot_still_answers_its_leader() -> None:
    """With the third node gone the leader depends on it: were it silent, the leader would have to step down."""

    async def main() -> None:
        async with World(snapshot_after_bytes=SMALL) as world:
            leader = await world.led_by("a")
            world.isolate("b")
            await fill(leader, 200)
            term = leader.status().term
            frozen = world.disk("b")
            frozen.freeze()
            world.heal()
            await world.until(lambda: world["b"]._replica._installing)
            world.isolate("c")
            await world.pass_time(6 * world.timing.election_s)
            assert leader.leads() and leader.status().term == term
            assert world["b"]._replica._installing
            frozen.thaw()
            await put(leader, b"after")
            assert await world["b"].get(b"after") is not None

    run_virtual(main())


def test_a_session_that_ended_in_what_a_snapshot_skipped_is_lost_before_anything_else_is_told() -> None:
    async def main() -> None:
        async with World(snapshot_after_bytes=SMALL) as world:
            leader = await world.led_by("a")
            store, session = world["b"], world["b"].session.id
            await put(store, b"owned", b"", session)
            await world.until(lambda: store.peek(b"owned").value is not None)
            believed: list[int] = []
            store.watch(b"", lambda events: believed.append(store.session.id))
            world.hold = lambda source, target, lane, payload: target == "b" and lane is Lane.RAFT
            deadline = world.clocks["a"].monotonic() + 1.0
            await leader.write(commands.encode(commands.CloseSession(session)), deadline)
            await asyncio.gather(*[put(leader, b"%d" % number, bytes(100)) for number in range(100)])
            await world.until(lambda: leader._replica.raft.first_index > 20)
            assert store.session.id == session  # how could it know
            world.hold = None
            await world.until(lambda: believed)
            assert snapshots(world, "b") and session not in believed
            assert (await store.get(b"owned")) is None

    run_virtual(main())


@pytest.mark.parametrize("seed", range(8))
def test_entries_that_come_right_behind_a_snapshot_are_durable_before_they_are_acknowledged(
    seed: int,
) -> None:
    """A snapshot and entries behind it in one turn; the power goes when the acknowledgement has left."""

    async def main() -> None:
        async with World(seed=seed, snapshot_after_bytes=SMALL) as world:
            leader = await world.led_by("a")
            world.isolate("b")
            await fill(leader, 100)
            raft = leader._replica.raft
            snapshot = raft.snapshot
            assert snapshot is not None
            index, term = snapshot.meta.index, raft.term
            entries = raft._journal.log.batch(index + 1, raft.last_index)
            assert len(entries) >= 1
            acknowledged: list[int] = []

            def listen(source: str, target: str, lane: Lane, payload: bytes) -> bool:
                if source == "b" and lane is Lane.RAFT:
                    reply = decode(unpack(payload))
                    if isinstance(reply, AppendReply) and reply.success:
                        acknowledged.append(reply.index)
                return False

            world.hold = listen
            world.cut.clear()
            world["b"].receive(
                "a", Lane.RAFT, pack(encode(SnapshotChunk(term, 1, snapshot.meta, 0, snapshot.data)))
            )
            append = AppendRequest(term, 1, index, snapshot.meta.term, raft.commit_index, entries)
            world["b"].receive("a", Lane.RAFT, pack(encode(append)))
            while entries.last_index not in acknowledged:
                await turns(1)
            world.isolate("b")
            world.kill("b", power_lost=world.entropy)
            await world.start("b")
            assert world["b"]._replica.raft.last_index >= entries.last_index

    run_virtual(main())


def test_the_log_in_memory_stays_small_however_large_its_entries_are() -> None:
    async def main() -> None:
        async with World(snapshot_after_bytes=200_000) as world:
            leader = await world.led_by("a")
            for number in range(100):
                await put(leader, b"big%d" % (number % 3), bytes(30_000))
            await world.pass_time(0.5)
            for store in world.stores:
                raft = store._replica.raft
                held = raft._journal.log.size_bytes(raft.first_index, raft.last_index)
                assert held < 700_000, held
            assert len(snapshots(world, "a")) <= 2

    run_virtual(main())


def test_a_restart_goes_on_from_the_snapshot_and_the_log_behind_it() -> None:
    async def main() -> None:
        async with World(snapshot_after_bytes=SMALL) as world:
            leader = await world.led_by("a")
            await fill(leader, 130)
            truth = await leader.range(b"")
            for name in "abc":
                world.kill(name, power_lost=world.entropy)
            await world.start()
            await world.ready()
            for store in world.stores:
                assert await store.range(b"") == truth
                store._replica.machine.check()
            assert len({store._replica.machine.snapshot() for store in world.stores}) == 1

    run_virtual(main())


def test_a_long_log_is_applied_in_slices_between_which_the_node_lives() -> None:
    async def main() -> None:
        async with World("a") as world:
            store = await world.ready()
            await asyncio.gather(*[store.txn([], [Put(b"k", b"")]) for _ in range(5000)])
            world.kill("a")
            await world.start("a")
            store, slices = world["a"], list[int]()
            told = store.on_applied

            def on_applied(applied: Sequence[Applied]) -> None:
                slices.append(len(applied))
                told(applied)

            store.on_applied = on_applied  # type: ignore[method-assign]
            item = await store.get(b"k")
            assert item is not None and item.version == 5000
            assert sum(slices) >= 5000 and max(slices) <= 500

    run_virtual(main())
