"""Situations in which stock PySyncObj 0.3.17 loses acknowledged writes or leaves callers waiting, on the whole raft engine.

The letters are those of the audit's proofs; each docstring says what stock does, and what holds here. What is
decided by the Raft core alone (a4 to a8, b1, b2) has its counterparts in `raft/test_pysyncobj_hazards.py`.
"""

import asyncio
import pickle
import random
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest

from quorate.consensus import (
    Event,
    KeyValue,
    Lane,
    NoQuorum,
    OutcomeUnknown,
    Put,
    RaftStore,
    StoreError,
    commands,
    protocol,
)
from quorate.core import DecodeError
from quorate.jepsen_like.disk import SimDisk
from tests.support import SeededEntropy, turns

from .raft_world import World, outcome_of, put
from .virtual import run_virtual


async def keys(store: RaftStore, prefix: bytes = b"") -> list[bytes]:
    return [item.key for item in await store.range(prefix, timeout_s=20.0)]


async def killed_and_started(world: World, *names: str, power_lost: bool = False) -> None:
    for name in names:
        world.kill(name, power_lost=world.entropy if power_lost else None)
    await world.start(*names)
    await world.ready()


def test_a1_an_old_leader_that_was_stopped_and_resumed_acknowledges_nothing_of_its_own() -> None:
    """Stock: SIGSTOP of the leader; the others go on and make a snapshot; SIGCONT. The old leader receives the
    snapshot's chunks, which raise its commit index to its own end, applies what nobody else ever saw, and tells its
    clients SUCCESS. Here: those writes are done by the new leader or not at all, and the answer is what happened.
    """

    async def main() -> None:
        async with World(snapshot_after_bytes=4000) as world:
            old = await world.led_by("a")
            await put(old, b"base")
            world.hold = lambda source, target, lane, payload: source == "a"  # as if stopped while it sends
            writing = [asyncio.ensure_future(outcome_of(put(old, b"lost/%d" % n))) for n in range(5)]
            await turns(5)
            world.sleep_node("a")
            await world.until(lambda: world["b"].leads() or world["c"].leads())
            new = world["b"] if world["b"].leads() else world["c"]
            for number in range(150):
                await put(new, b"new/%d" % (number % 20), bytes(100))
            assert new._replica.raft.first_index > old.status().applied_index + 1
            world.hold = None
            world.wake("a")
            answers = await asyncio.gather(*writing)
            there = await keys(new)
            for number, answer in enumerate(answers):
                if isinstance(answer, KeyValue):
                    assert b"lost/%d" % number in there
                else:
                    assert isinstance(answer, OutcomeUnknown)
            await world.ready()
            assert await keys(old) == await keys(world["b"]) == await keys(world["c"])

    run_virtual(main())


class StoppingDisk(SimDisk):
    """Stops for good at its `stop_at`-th sync: whoever waits for that one waits until the disk's death."""

    stop_at = 1 << 30
    reached = 0

    async def reach_platter(self) -> None:
        self.reached += 1
        if self.reached >= self.stop_at:
            self.freeze()
        await super().reach_platter()


@pytest.mark.parametrize("power_lost", [False, True], ids=["killed", "power lost"])
def test_a2_a_node_that_dies_at_any_point_of_a_snapshot_keeps_its_log(power_lost: bool) -> None:
    """Stock: kill -9 while a full dump is written, or before the journal is compacted; on restart the journal, which
    does not begin where the dump ends, is cleared, with everything acknowledged since the fork. Here: at each sync of
    a snapshot and of what follows it, what had been acknowledged is there after the restart.
    """

    async def one(stop_at: int, seed: int) -> bool:
        """False: the disk was never stopped, the run is over before."""
        world = World("a", seed=seed, snapshot_after_bytes=1500)
        disk = world.members["a"].disk = StoppingDisk("a")
        async with world:
            await world.ready()
            disk.stop_at, disk.reached = stop_at, 0
            done: list[bytes] = []
            writing = asyncio.ensure_future(_write_many(world["a"], done, 40))
            await world.pass_time(1.0)
            stopped = disk.frozen_syncs() > 0
            world.kill("a", power_lost=SeededEntropy(seed) if power_lost else None)
            await writing
            await world.start("a")
            there = await keys(world["a"])
            assert set(done) <= set(there), (stop_at, seed)
            await put(world["a"], b"after")
            return stopped

    for seed in range(3):
        stop_at = 1
        while run_virtual(one(stop_at, seed)):
            stop_at += 1
        assert stop_at > 40


async def _write_many(store: RaftStore, done: list[bytes], count: int) -> None:
    for number in range(count):
        key = b"k/%03d" % number
        if not isinstance(await outcome_of(store.txn([], [Put(key, bytes(100))])), StoreError):
            done.append(key)


def test_a3_a_follower_that_dies_while_it_compacts_keeps_what_it_acknowledged() -> None:
    """Stock: the journal is compacted in place, by clearing it and adding the rest one by one; kill -9 in between
    loses entries that the follower had acknowledged, and with the leader gone they are gone. Here: the follower dies
    at each of its syncs while it makes snapshots, the leader is lost, and the two that stay know every write.
    """

    async def one(stop_at: int) -> bool:
        world = World(seed=stop_at, snapshot_after_bytes=1500)
        disk = world.members["b"].disk = StoppingDisk("b")
        async with world:
            leader = await world.led_by("a")
            world.isolate("c")  # so that each write is on a and b
            disk.stop_at, disk.reached = stop_at, 0
            done: list[bytes] = []
            writing = asyncio.ensure_future(_write_many(leader, done, 40))
            await world.until(lambda: disk.frozen_syncs() or writing.done())
            stopped = disk.frozen_syncs() > 0
            world.kill("b", power_lost=world.entropy)
            world.kill("a", power_lost=world.entropy)
            await writing
            world.heal()
            await world.start("b")
            assert set(done) <= set(await keys(world["c"])), stop_at
            return stopped

    stop_at = 1
    while run_virtual(one(stop_at)):
        stop_at += 1 if stop_at < 30 else 3
    assert stop_at > 40


def test_a9_power_that_fails_right_after_the_last_acknowledgement_costs_nothing() -> None:
    """Stock: never syncs; a power cut of all three nodes loses every write since the kernel last wrote back. Here."""

    async def main() -> None:
        async with World() as world:
            await world.ready()
            writers = world.stores
            await asyncio.gather(*[put(writers[n % 3], b"early/%d" % n) for n in range(20)])
            await asyncio.gather(*[put(writers[n % 3], b"late/%d" % n) for n in range(200)])
            await killed_and_started(world, "a", "b", "c", power_lost=True)
            assert len(await keys(world["b"], b"early/")) == 20
            assert len(await keys(world["c"], b"late/")) == 200

    run_virtual(main())


def test_a10_a_callback_that_raises_applies_nothing_twice() -> None:
    """Stock: a client's callback that raises (set_result on a cancelled future) leaves the command applied and not
    counted as applied: it is applied once more, on that replica alone. Here: the callback's error is logged.
    """

    async def main() -> None:
        async with World() as world:
            leader = await world.led_by("a")
            cancelled: asyncio.Future[object] = asyncio.get_running_loop().create_future()
            cancelled.cancel()

            def callback(events: Sequence[Event]) -> None:
                cancelled.set_result(events)

            leader.watch(b"counter", callback)
            leader.session.subscribe(lambda session, opened: cancelled.set_result(session))
            caller = asyncio.ensure_future(put(leader, b"counter"))
            await asyncio.sleep(0)
            caller.cancel()  # the caller has gone too
            await put(world["b"], b"counter")
            for store in world.stores:
                item = await store.get(b"counter")
                assert item is not None and item.version == 2
            assert len({store._replica.machine.snapshot() for store in world.stores}) == 1

    run_virtual(main())


def test_a12_answers_to_an_earlier_start_of_a_node_answer_nothing() -> None:
    """Stock: forwarded commands are numbered from 1 by each process and answered to the node; after kill -9 and
    restart, the answer to the old request 1 acknowledges the new request 1, which never reached any log. Here: numbers
    of one start are never those of another, and a write is done when it is applied, whatever anybody answers.
    """

    async def main() -> None:
        async with World() as world:
            leader = await world.led_by("a")
            old = await put(leader, b"k", b"old")
            last = world["b"]._line.new_id()
            used = range(max(0, last - 100), last + 100)
            read_at = leader.status().commit_index
            world.kill("b")
            world.hold = lambda source, target, lane, payload: target == "b" and bool(world.stores)
            new = await put(leader, b"k", b"new")
            await world.start("b")
            world.hold = lambda source, target, lane, payload: lane is Lane.STORE and target == "b"
            await world.until(lambda: world["b"].status().applied_index >= read_at)
            writing = asyncio.ensure_future(outcome_of(world["b"].write(_open_session(), 1e9)))
            reading = asyncio.ensure_future(world["b"].get(b"k", timeout_s=20.0))
            await world.pass_time(0.02)
            for number in [*used, *range(300)]:
                for answer in (
                    protocol.Confirmed(number, 1),
                    protocol.Refused(number, protocol.Why.OVERLOADED, "a"),
                    protocol.Gone(number, 1),
                ):
                    world["b"].receive("a", Lane.STORE, protocol.encode(answer))
            await turns(10)
            assert not reading.done()
            assert not isinstance(writing.done() and writing.result(), StoreError)
            world.hold = None
            assert await reading == new != old
            assert not isinstance(await writing, StoreError)

    run_virtual(main())


def _open_session() -> bytes:
    return commands.encode(commands.OpenSession(b"nonce of a test", "somebody", 1, b"", 5.0))


def test_a13_a_poisonous_command_harms_nobody_now_or_later() -> None:
    """Stock: a replicated method that raises stops every replica, also after a restart, since it is in the journal.
    Here: a command that makes no sense is refused at the door; one that got into the log is an entry that does nothing,
    the same on every replica.
    """

    async def main() -> None:
        async with World(snapshot_after_bytes=3000) as world:
            leader = await world.led_by("a")
            poison = [
                b"x",
                b"\xc1",
                bytes(50),
                b"\x91\x04",
                b"\x93\x04\x01\x01",
                pickle.dumps(Poison()),
                b"\x80",
            ]
            poison += [
                commands.encode(commands.CloseSession(10**9)),
                b"\x92\x03\x90",
                b"\x96\x01\xa0\xa0\x00\xa0\x00",
            ]
            for command in poison:
                with suppress(DecodeError):
                    leader.receive("b", Lane.STORE, protocol.encode(protocol.Propose(1, command)))
                leader._replica.propose(command, lambda error: None)
            await put(leader, b"b")
            index = leader.status().applied_index
            assert index >= len(poison)
            await killed_and_started(world, "a", "b", "c")
            for store in world.stores:
                await put(store, b"c")
                assert await keys(store) == [b"b", b"c"]
            assert len({store._replica.machine.revision for store in world.stores}) == 1

    run_virtual(main())


@pytest.mark.slow
def test_a15_65537_commands_between_two_ticks_are_65537_commands() -> None:
    """Stock, in its fast mode: the 65,537th command issued between two ticks raises BlockingIOError after it was
    queued, and is applied nevertheless. Here: all are done, each once, in order.
    """

    async def main() -> None:
        async with World("a") as world:
            store = await world.ready()
            count = 65_537
            results = await asyncio.gather(
                *[store.txn([], [Put(b"k", b"")], timeout_s=300.0) for _ in range(count)]
            )
            assert [result.results[0].version for result in results if result.results[0]] == list(
                range(1, count + 1)
            )

    run_virtual(main())


def test_c1_an_isolated_leader_serves_no_old_value() -> None:
    """Stock: reads are local; an isolated old leader says it leads and serves the old value for 30 s. Here: it
    says that there is no quorum, and what it knows by itself has an age.
    """

    async def main() -> None:
        async with World() as world:
            old = await world.led_by("a")
            await put(old, b"owner", b"v1")
            world.isolate("a")
            cut_at = asyncio.get_running_loop().time()
            reads = [asyncio.ensure_future(outcome_of(old.get(b"owner", timeout_s=3.0)))]
            await world.until(lambda: world["b"].leads() or world["c"].leads())
            await put(world["b"], b"owner", b"v2")
            while old.leads() or old.status().leader is not None:
                reads.append(asyncio.ensure_future(outcome_of(old.get(b"owner", timeout_s=3.0))))
                await world.pass_time(0.01)
            assert asyncio.get_running_loop().time() - cut_at < 1.0
            assert {type(answer) for answer in await asyncio.gather(*reads)} == {NoQuorum}
            assert old.peek(b"owner").age_s >= 2.0

    run_virtual(main())


@pytest.mark.parametrize("told", [True, False], ids=["connection reset", "lost in silence"])
def test_d1_a_forwarded_command_that_is_lost_is_sent_again_to_the_same_leader(told: bool) -> None:
    """Stock: a command lost in a reconnect to the same leader is forgotten; ten minutes later its callback has not
    been called. Here: it is done, soon when the break was noticed, and within its deadline in any case.
    """

    async def main() -> None:
        async with World() as world:
            await world.led_by("a")
            world.hold = lambda source, target, lane, payload: lane is Lane.STORE and source == "b"
            writing = asyncio.ensure_future(put(world["b"], b"k"))
            reading = asyncio.ensure_future(world["b"].get(b"k"))
            await turns(5)
            world.hold = None
            if told:
                world["a"].peer_down("b")
                world["b"].peer_down("a")
            started_at = asyncio.get_running_loop().time()
            assert (await writing).version == 1
            await reading
            assert asyncio.get_running_loop().time() - started_at < (0.1 if told else 0.5)

    run_virtual(main())


def test_d2_a_write_whose_entry_is_skipped_by_a_snapshot_is_answered() -> None:
    """Stock: callbacks wait for their index to be applied; a snapshot that skips it leaves them waiting for ever.
    Here: what may have been skipped is asked again, and the replicas remember what it did.
    """

    async def main() -> None:
        async with World(snapshot_after_bytes=2000) as world:
            leader = await world.led_by("a")
            world.hold = lambda source, target, lane, payload: target == "b" and lane is Lane.RAFT
            writing = asyncio.ensure_future(world["b"].txn([], [Put(b"d2", b"")], timeout_s=30.0))
            await world.pass_time(0.02)
            made = await leader.get(b"d2")
            for number in range(100):
                await put(leader, b"x/%d" % (number % 10), bytes(100))
            world.hold = None
            result = await writing
            assert made is not None and result.results == (made,)

    run_virtual(main())


def test_d3_a_callback_that_raises_at_a_change_of_leader_keeps_nobody_from_following() -> None:
    """Stock: a callback that raises while the waiters of the old leader are failed makes the follower refuse its new
    leader for ever. Here: it follows, and everybody who waited is answered.
    """

    async def main() -> None:
        async with World() as world:
            await world.led_by("a")

            def raising(leader: str | None) -> None:
                raise asyncio.InvalidStateError("from a callback of a test")

            world["b"].subscribe_leader(raising)
            world.hold = lambda source, target, lane, payload: lane is Lane.STORE and target == "a"
            work: list[asyncio.Future[Any]] = []
            work += [asyncio.ensure_future(put(world["b"], b"k/%d" % n)) for n in range(20)]
            work += [asyncio.ensure_future(world["b"].get(b"k/1")) for _ in range(20)]
            await turns(5)
            world.kill("a")
            await asyncio.gather(*work)
            assert world["b"].status().leader in ("b", "c")
            assert len(await keys(world["c"], b"k/")) == 20

    run_virtual(main())


class Poison:
    """Would run if anything unpickled it."""

    ran: list[str] = []  # noqa: RUF012 -- shared on purpose: that is where the evidence would be

    def __reduce__(self) -> tuple[Any, ...]:
        return Poison.ran.append, ("pwned",)


def test_e1_nothing_from_the_wire_is_executed_and_no_bytes_bring_a_store_down() -> None:
    """Stock: one unauthenticated frame is unpickled, and with it any code runs. Here: bytes are msgpack of known
    shapes or refused, and a peer that sends nonsense changes nothing.
    """

    async def main() -> None:
        async with World() as world:
            leader = await world.led_by("a")
            await put(leader, b"k")
            await world.pass_time(0.1)
            rng = random.Random(1)
            frames = [pickle.dumps(Poison(), protocol_) for protocol_ in range(6)]
            good: list[tuple[Lane, bytes]] = []

            def listen(source: str, target: str, lane: Lane, payload: bytes) -> bool:
                good.append((lane, payload))
                return False

            world.hold = listen
            await asyncio.gather(*[put(world["b"], b"k") for _ in range(5)])
            world.hold = None
            frames += [rng.randbytes(rng.randrange(60)) for _ in range(1500)]
            for _, payload in good[:150]:
                damaged = bytearray(payload)
                damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
                frames.append(bytes(damaged[: rng.randrange(1, len(damaged) + 1)]))
            refused = 0
            for frame in frames[:1506]:
                for lane in Lane:
                    try:
                        leader.receive("b", lane, frame)
                    except DecodeError:
                        refused += 1
            assert refused > 2900 and Poison.ran == []
            for frame in frames[1506:]:  # a few of these are messages after all
                for lane in Lane:
                    try:
                        leader.receive("b", lane, frame)
                    except DecodeError:
                        refused += 1
            await world.pass_time(1.0)
            assert (await put(world["c"], b"after")).version == 1
            assert leader.status().role != "stopped"

    run_virtual(main())
