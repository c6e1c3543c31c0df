"""Each planted bug, looked at where it stands: with it the library does the wrong thing, without it the right one.

So a change of the library that leaves a planted bug without effect is noticed here, and not as a bug that survives.
"""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from quorate.consensus import Delete, NoQuorum, OutcomeUnknown, Put, RaftStore, Session, SessionInfo
from quorate.consensus.commands import OpenSession, Request, Txn, encode
from quorate.consensus.leader_desk import LeaderDesk
from quorate.consensus.machine import StoreMachine
from quorate.consensus.protocol import Keepalive
from quorate.consensus.raft import Configuration, EntryBatch, HardState, RaftConfig, Recovered
from quorate.consensus.raft.journal import Journal
from quorate.consensus.raft.leader import Leader
from quorate.consensus.replica import Replica
from quorate.consensus.sessions import HolderSession, LeaderSessions
from quorate.consensus.storage.records import Framing, Kind
from quorate.core import Pid, Process, ProcessControl
from quorate.core.calls import PendingCall
from quorate.jepsen_like.simulation import Simulation, simulate
from quorate.registry import Claim, Registry
from quorate.registry.host import Host
from quorate.registry.keeper import Keeper
from quorate.registry.ownership import Own, Ownership, Phase
from quorate.registry.running import Running
from tests.consensus.raft_world import World as StoreWorld
from tests.consensus.raft_world import put
from tests.consensus.virtual import run_virtual
from tests.core.nodes import A, B
from tests.core.nodes import World as ProcessWorld
from tests.support import ManualClock, run

from .bugs import BUGS

ABC = Configuration(frozenset("abc"))


def journal() -> Journal:
    return Journal(Recovered(HardState(), None, EntryBatch(1, (), ())))


def leader(of: Journal, term: int = 1) -> Leader:
    """`a` leads, and everything that it has is durable."""
    of.enter_term(term, "a")
    leading = Leader(RaftConfig(id="a", configuration=ABC), of, 0, 0.0)
    of.persisted(of.take_write()[0], "a")
    return leading


def a_vote_is_written() -> bool:
    one = journal()
    one.enter_term(1, None)
    one.vote_for("b")
    return one.take_write()[1] == HardState(1, "b")


def an_entry_that_one_has_is_not_committed() -> bool:
    one = journal()
    leader(one).maybe_commit()
    return one.commit_index == 0


def an_entry_of_an_earlier_term_waits_for_one_of_this_term() -> bool:
    one = journal()
    one.enter_term(1, None)
    one.append([b"old"])
    leading = leader(one, term=2)
    leading.peers["b"].maybe_match(1)
    leading.maybe_commit()
    return one.commit_index == 0


def a_read_waits_for_a_quorum() -> bool:
    leading = leader(journal())
    leading.round = 5
    leading.reads.add(1)
    leading.reads.begin_round(5, 0)
    leading._confirm_reads()
    return leading.reads.pending()


def a_write_waits_for_the_disks() -> bool:
    answers: list[bool] = []

    async def main() -> None:
        async with StoreWorld() as world:
            store = await world.ready()
            for name in world.names:
                world.disk(name).freeze()
            try:
                await store.txn([], [Put(b"k", b"v")], timeout_s=0.5)
            except OutcomeUnknown:
                answers.append(True)
            else:
                answers.append(False)

    run_virtual(main())
    return answers == [True]


def a_record_with_a_changed_byte_is_none() -> bool:
    framing = Framing.of(b"directory", 1, 1)
    record = bytearray(framing.encode(Kind.ENTRIES, 0, 0, 1, 1, b"payload"))
    assert framing.decode(bytes(record), 0) is not None
    record[-1] ^= 1
    return framing.decode(bytes(record), 0) is None


def machine_with_a_session() -> StoreMachine:
    machine = StoreMachine()
    machine.apply(1, encode(OpenSession(b"nonce", "n", 1, b"", 3.0)))
    return machine


def a_request_is_done_once() -> bool:
    machine = machine_with_a_session()
    for index in (2, 3):
        machine.apply(index, encode(Request(1, 1, 0, Txn((), (Put(b"k", b"v"),), ()))))
    found = machine.get(b"k")
    return found is not None and found.version == 1


def a_snapshot_holds_every_session() -> bool:
    machine, copy = machine_with_a_session(), StoreMachine()
    copy.restore(machine.snapshot())
    return copy.sessions() == machine.sessions() != []


def a_key_that_is_removed_and_put_again_is_another() -> bool:
    fences: list[int] = []

    async def main() -> None:
        async with StoreWorld() as world:
            store = await world.ready()
            before = await put(store, b"k")
            result = await store.txn([], [Delete(b"k"), Put(b"k", b"v")])
            after = result.results[-1]
            assert after is not None
            fences.extend((before.create_revision, after.create_revision))

    run_virtual(main())
    return fences[1] > fences[0]


def a_watch_is_told_of_what_a_snapshot_skipped() -> bool:
    before, after = StoreMachine(), machine_with_a_session()
    after.apply(2, encode(Request(1, 1, 0, Txn((), (Put(b"k", b"v"),), ()))))
    told: list[object] = []
    nothing = SimpleNamespace(skipped=lambda now: None)
    store = SimpleNamespace(
        _replica=SimpleNamespace(machine=after),
        _keeper=SimpleNamespace(session=SimpleNamespace(id=0)),
        _watches=SimpleNamespace(dispatch=told.extend),
        _applied_up_to=lambda index: None,
        _writes=nothing,
        _clock=SimpleNamespace(monotonic=lambda: 0.0),
    )
    RaftStore.on_restored(cast(RaftStore, store), before)
    return len(told) == 1


def held() -> HolderSession:
    holder = HolderSession(drift=0.1, keepalive_s=0.5)
    assert holder.opened(SessionInfo(1, "n", 1, 3.0), 0.0, 0.0)
    return holder


def a_session_lasts_from_the_sending_of_its_keepalive() -> bool:
    holder = held()
    token = holder.sending(1.0)
    holder.confirmed(token, 2.0)
    return holder.valid_until < 4.0


def a_new_leader_gives_sessions_their_lifetime() -> bool:
    sessions = LeaderSessions()
    sessions.became_leader(10.0, [SessionInfo(1, "n", 1, 3.0)])
    return sessions.expired(12.0) == ()


def a_keepalive_is_confirmed_by_a_quorum() -> bool:
    answers: list[object] = []

    async def main() -> None:
        replica = SimpleNamespace(
            raft=SimpleNamespace(term=1, commit_index=1, leader="me"),
            read_index=asyncio.get_running_loop().create_future,
            ready_to_lead=lambda: True,
            machine=machine_with_a_session(),
        )
        desk = LeaderDesk(cast(Replica, replica), ManualClock())
        desk.ask(Keepalive(1, 1), answers.append)

    run(main())
    return answers == []


def a_name_cannot_be_had_without_a_quorum() -> bool:
    async def idle(self: Process) -> None:
        await self.receive()

    async def main() -> bool:
        async with Simulation(seed=1, nodes=3) as sim:
            sim.isolate("n1")
            node = sim.node("n1")

            async def register() -> bool:
                try:
                    await node.registry.register("name", node.spawn(idle), timeout_s=1.0)
                except (NoQuorum, OutcomeUnknown):
                    return True
                return False

            return await sim.start("n1", register())

    return simulate(main)


def a_dead_owners_name_is_removed() -> bool:
    removed: list[bytes] = []
    registry = SimpleNamespace(
        _forget=lambda key, claim: True, _remove_soon=lambda key, fence, session: removed.append(key)
    )
    claim = Claim("name", Pid("n", 1, 1), 5, cast(Session, SimpleNamespace(id=7)), 7)
    Registry._give_up(cast(Registry, registry), b"key", claim)
    return removed == [b"key"]


def a_claim_ends_with_its_session() -> bool:
    session = cast(Session, SimpleNamespace(id=0))
    return not Claim("name", Pid("n", 1, 1), 5, session, 7).valid()


def the_gate_closes_with_the_session() -> bool:
    keeper = SimpleNamespace(host=SimpleNamespace(store=SimpleNamespace(session=SimpleNamespace(id=0))))
    running = SimpleNamespace(own=SimpleNamespace(session=7))
    return not Keeper._gate(cast(Keeper, keeper), cast(Running, running))()


class HeldProcess:
    """What a keeper holds of a process."""

    def __init__(self) -> None:
        self.held = False

    def hold(self) -> None:
        self.held = True

    def release(self) -> None:
        self.held = False

    async def drain(self) -> None:
        pass

    async def run(self, function: object) -> str:
        return "state"


def a_singleton_that_has_handed_over_handles_nothing() -> bool:
    process = HeldProcess()

    async def main() -> None:
        async with ProcessWorldOf() as world:
            host = SimpleNamespace(
                clock=world.clock,
                config=SimpleNamespace(drain_s=1.0),
                codec=SimpleNamespace(encode=lambda value, what: b"state"),
            )
            keeper = object.__new__(Keeper)  # of which nothing but these is looked at
            keeper.host, keeper.term = cast(Host, host), "name"
            keeper.machine = cast(Ownership, SimpleNamespace(attempt=1, phase=Phase.LEAVING))
            running = Running(Own("n", 1, Pid("n", 1, 1)))
            running.control = cast(ProcessControl, process)
            assert await keeper._take_state(running)

    run(main())
    return process.held


class ProcessWorldOf:
    """Two linked nodes in memory."""

    async def __aenter__(self) -> ProcessWorld:
        self.world = ProcessWorld()
        self.world.join(await self.world.node(A), await self.world.node(B))
        return self.world

    async def __aexit__(self, *_: object) -> None:
        await self.world.close()


def received_by_a_process(send: Callable[[ProcessWorld, Callable[[object], None]], Any]) -> list[object]:
    """What a process of `b` gets while `send` lets `a` send to it."""
    got: list[object] = []

    async def listen(self: Process) -> None:
        while True:
            got.append(await self.receive())

    async def main() -> None:
        async with ProcessWorldOf() as world:
            pid = world.nodes[B].spawn(listen)
            await world.settle()
            await send(world, lambda message: world.nodes[A].send(pid, message))

    run(main())
    return got


async def reconnect(world: ProcessWorld) -> None:
    a, b = world.nodes[A], world.nodes[B]
    await world.settle()
    world.cut(a, b)
    await world.settle()
    world.join(a, b)
    await world.settle()


def a_message_arrives_once() -> bool:
    async def send(world: ProcessWorld, tell: Callable[[object], None]) -> None:
        tell(1)
        await reconnect(world)

    return received_by_a_process(send) == [1]


def what_is_sent_without_a_link_is_lost() -> bool:
    async def send(world: ProcessWorld, tell: Callable[[object], None]) -> None:
        a, b = world.nodes[A], world.nodes[B]
        world.cut(a, b)
        tell(1)
        world.join(a, b)
        tell(2)
        await world.settle()
        await world.clock.pass_time(5.0)

    return received_by_a_process(send) == [2]


def two_calls_have_two_numbers() -> bool:
    numbers: list[int] = []

    async def main() -> None:
        async with ProcessWorldOf() as world:
            remote = world.nodes[A]._remote
            for _ in range(2):
                call = PendingCall(asyncio.get_running_loop().create_future(), "method", B)
                numbers.append(remote._expect(remote.peers[B], call))
                assert call.forget is not None
                call.forget()

    run(main())
    return numbers[0] != numbers[1]


def the_loss_of_a_link_is_told_to_monitors() -> bool:
    told: list[object] = []

    async def idle(self: Process) -> None:
        await self.receive()

    async def main() -> None:
        async with ProcessWorldOf() as world:
            a, b = world.nodes[A], world.nodes[B]
            a.watch(b.spawn(idle), told.append)
            await world.settle()
            world.cut(a, b)
            await world.settle()

    run(main())
    return len(told) == 1


RIGHT: dict[str, Callable[[], bool]] = {
    "vote-not-stored": a_vote_is_written,
    "acknowledged-before-replication": an_entry_that_one_has_is_not_committed,
    "old-entries-committed-by-counting": an_entry_of_an_earlier_term_waits_for_one_of_this_term,
    "stale-read": a_read_waits_for_a_quorum,
    "acknowledged-before-fsync": a_write_waits_for_the_disks,
    "torn-record-accepted": a_record_with_a_changed_byte_is_none,
    "retried-request-applied-twice": a_request_is_done_once,
    "snapshot-forgets-session": a_snapshot_holds_every_session,
    "fence-repeats": a_key_that_is_removed_and_put_again_is_another,
    "watch-misses-a-snapshot": a_watch_is_told_of_what_a_snapshot_skipped,
    "name-stays-with-the-dead": a_dead_owners_name_is_removed,
    "session-counted-from-receipt": a_session_lasts_from_the_sending_of_its_keepalive,
    "acts-after-its-lease": a_claim_ends_with_its_session,
    "session-expired-by-a-fresh-leader": a_new_leader_gives_sessions_their_lifetime,
    "keepalive-without-quorum": a_keepalive_is_confirmed_by_a_quorum,
    "registration-without-quorum": a_name_cannot_be_had_without_a_quorum,
    "gate-left-open": the_gate_closes_with_the_session,
    "handoff-loses-state": a_singleton_that_has_handed_over_handles_nothing,
    "duplicate-after-reconnect": a_message_arrives_once,
    "reordered-after-reconnect": what_is_sent_without_a_link_is_lost,
    "late-reply-delivered": two_calls_have_two_numbers,
    "lost-down": the_loss_of_a_link_is_told_to_monitors,
}


def test_every_planted_bug_is_looked_at() -> None:
    assert set(RIGHT) == set(BUGS)


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_makes_wrong_what_is_right_without_it(name: str) -> None:
    right = RIGHT[name]
    assert right()
    with BUGS[name].plant():
        assert not right()
    assert right()
