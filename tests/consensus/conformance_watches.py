"""Conformance: what a node knows by itself, and how it is told of changes."""

import asyncio
from collections.abc import Sequence

from quorate.consensus.store import Delete, Event, KeyValue, Op, Put, Store

from .conformance_frame import CUT, Cluster, case
from .conformance_keys import put


def follow(store: Store, prefix: bytes = b"") -> list[Event]:
    """All events from now on."""
    seen: list[Event] = []
    store.watch(prefix, seen.extend)
    return seen


def state_after(events: Sequence[Event]) -> dict[bytes, KeyValue]:
    """What events lead to, from nothing; each must fit what came before it."""
    state: dict[bytes, KeyValue] = {}
    for event in events:
        assert event.before == state.get(event.key), event
        if event.now is None:
            del state[event.key]
        else:
            assert event.now.mod_revision == event.revision
            state[event.key] = event.now
    return state


@case()
async def a_watch_tells_what_was_made_changed_and_removed_and_nothing_else(c: Cluster) -> None:
    (store,) = c.stores
    await put(c, store, b"n/before")
    seen = follow(store, b"n/")
    made = await put(c, store, b"n/k", b"1")
    await put(c, store, b"m")
    changed = await put(c, store, b"n/k", b"2")
    removal = await c.do(store.txn([], [Delete(b"n/k"), Delete(b"n/nothing")]))
    assert seen == [
        Event(b"n/k", made.mod_revision, made, None),
        Event(b"n/k", changed.mod_revision, changed, made),
        Event(b"n/k", removal.revision, None, changed),
    ]


@case(nodes=3)
async def callbacks_and_peeks_know_of_a_change_before_its_caller_does(c: Cluster) -> None:
    for store in (c.leader(), c.followers()[0]):
        seen = follow(store)
        for number in range(5):

            async def write(store: Store = store, seen: list[Event] = seen, number: int = number) -> None:
                result = await store.txn([], [Put(b"k", b"%d" % number)])
                assert seen[-1].now == result.results[0] == store.peek(b"k").value

            await c.do(write())


@case()
async def callbacks_run_from_the_loop_and_never_inside_a_call(c: Cluster) -> None:
    (store,) = c.stores
    tasks: list[asyncio.Task[object] | None] = []
    store.watch(b"", lambda events: tasks.append(asyncio.current_task()))
    caller = asyncio.ensure_future(store.txn([], [Put(b"k", b"")]))
    await c.do(caller)
    assert len(tasks) == 1 and tasks[0] is not caller
    operation = store.txn([], [Put(b"k", b"")])
    operation.send(None)  # the call's own first steps, outside any task
    assert len(tasks) == 1
    operation.close()


@case()
async def a_callback_may_use_the_store(c: Cluster) -> None:
    (store,) = c.stores
    answers: list[asyncio.Task[object]] = []
    late: list[Event] = []

    def react(events: Sequence[Event]) -> None:
        if events[0].key == b"question":
            assert store.peek(b"question").value is not None
            store.watch(b"", late.extend)
            answers.append(asyncio.ensure_future(store.txn([], [Put(b"answer", b"")])))

    store.watch(b"", react)
    await put(c, store, b"question")
    await c.do(answers[0])
    assert [event.key for event in late] == [b"answer"]


@case()
async def a_cancelled_watch_hears_nothing_more(c: Cluster) -> None:
    (store,) = c.stores
    seen: list[Event] = []
    watch = store.watch(b"", seen.extend)
    await put(c, store, b"k")
    watch.cancel()
    watch.cancel()
    await put(c, store, b"k")
    assert len(seen) == 1


@case()
async def a_callback_that_raises_harms_neither_the_others_nor_the_caller(c: Cluster) -> None:
    (store,) = c.stores

    def broken(events: Sequence[Event]) -> None:
        raise asyncio.InvalidStateError("from a callback of a test")

    store.watch(b"", broken)
    seen = follow(store)
    for _ in range(3):
        await put(c, store, b"k")
    assert [event.now.version for event in seen if event.now is not None] == [1, 2, 3]


@case(nodes=3)
async def every_node_is_told_of_the_same_changes_in_the_same_order(c: Cluster) -> None:
    followed = [follow(store) for store in c.stores]

    async def write(number: int) -> None:
        key = b"%d" % (number % 5)
        ops: list[Op] = [Delete(key)] if number % 7 == 0 else [Put(key, b"%d" % number), Put(b"all", b"")]
        await c.stores[number % 3].txn([], ops)

    await c.do(asyncio.gather(*[write(number) for number in range(40)]))
    await c.until(lambda: len({len(seen) for seen in followed}) == 1)
    await c.pass_time(1.0)
    assert followed[0] == followed[1] == followed[2]
    revisions = [event.revision for event in followed[0]]
    assert revisions == sorted(revisions) and len(followed[0]) > 60
    assert list(state_after(followed[0]).values()) != []
    assert sorted(state_after(followed[0])) == [item.key for item in await c.do(c.stores[0].range(b""))]


@case(nodes=3)
async def what_a_node_knows_by_itself_is_fresh_while_it_is_connected(c: Cluster) -> None:
    written = await put(c, c.leader(), b"n/k")
    for store in c.stores:
        assert await c.do(store.get(b"n/k")) == written
        peeked = store.peek(b"n/k")
        assert peeked.value == written and 0.0 <= peeked.age_s < 1.0
        assert store.peek_range(b"n/").value == [written]
    await c.pass_time(2 * c.timing.session_ttl_s)  # nothing happens, but keepalives do
    for store in c.stores:
        assert store.peek(b"n/k").age_s <= c.timing.session_ttl_s


@case(CUT, nodes=3)
async def what_a_node_knows_ages_while_it_is_cut_off_and_is_whole_again_afterwards(c: Cluster) -> None:
    cut, other = c.followers()[0], c.leader()
    seen, kept = follow(cut), await put(c, other, b"kept")
    gone, changed, anew = [await put(c, other, key) for key in (b"gone", b"changed", b"anew")]
    await c.until(lambda: cut.peek(b"anew").value == anew)
    await c.pass_time(3.0)
    await c.cut(cut)
    await c.pass_time(0.5)
    await c.do(other.txn([], [Delete(b"gone"), Delete(b"anew"), Put(b"changed", b"2"), Put(b"new", b"")]))
    await c.do(other.txn([], [Put(b"anew", b"2"), Put(b"changed", b"3")]))
    await c.pass_time(2.0)
    assert cut.peek(b"gone").value == gone and cut.peek(b"changed").value == changed
    assert 2.4 <= cut.peek(b"kept").age_s < 4.5
    before = cut.peek(b"kept").age_s
    await c.pass_time(0.5)
    assert cut.peek_range(b"").age_s >= before + 0.4
    await c.heal(cut)
    truth = {item.key: item for item in await c.do(cut.range(b""))}
    assert cut.peek(b"kept").value == kept and cut.peek(b"kept").age_s < 1.0
    await c.until(lambda: state_after(seen) == truth)
    assert sorted(truth) == [b"anew", b"changed", b"kept", b"new"]
    assert [event.revision for event in seen] == sorted(event.revision for event in seen)


@case(nodes=3)
async def everybody_learns_who_leads(c: Cluster) -> None:
    leader = c.leader()
    name = leader.status().leader
    told: list[str | None] = []
    watches = [store.subscribe_leader(told.append) for store in c.followers()]
    await c.do(leader.close())
    c.stores.remove(leader)
    await c.until(lambda: sum(store.leads() for store in c.stores) == 1)
    new = c.leader().status().leader
    await c.until(lambda: told.count(new) == 2)
    assert new not in (None, name)
    assert all(store.status().leader == new for store in c.stores)
    for watch in watches:
        watch.cancel()


@case(CUT, nodes=3)
async def who_is_cut_off_knows_of_no_leader_and_does_not_lead(c: Cluster) -> None:
    leader = c.leader()
    told: list[str | None] = []
    leader.subscribe_leader(told.append)
    await c.cut(leader)
    await c.until(lambda: not leader.leads())
    await c.until(lambda: told[-1:] == [None])
    assert leader.status().leader is None
    await c.heal(leader)
    await c.until(lambda: told[-1] is not None)
