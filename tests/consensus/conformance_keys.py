"""Conformance: keys, transactions, reads, limits, deadlines."""

import asyncio

import pytest

from quorate.consensus.errors import NoQuorum, OutcomeUnknown, SessionLost, StoreStopped
from quorate.consensus.store import (
    KEY_LIMIT_BYTES,
    NO_SESSION,
    OPS_LIMIT,
    VALUE_LIMIT_BYTES,
    Compare,
    Delete,
    Get,
    KeyValue,
    Op,
    Put,
    Store,
    TxnResult,
    absent,
    created_at,
    present,
    session_alive,
    unchanged,
)
from quorate.core import EncodeError, TooLarge

from .conformance_frame import CUT, Cluster, case


async def put(c: Cluster, store: Store, key: bytes, value: bytes = b"v", session: int = 0) -> KeyValue:
    result = await c.do(store.txn([], [Put(key, value, session)]))
    assert result.results[0] is not None
    return result.results[0]


@case()
async def a_key_carries_who_made_it_changed_it_and_how_often(c: Cluster) -> None:
    (store,) = c.stores
    first = await put(c, store, b"k", b"1")
    second = await put(c, store, b"k", b"2")
    assert first == KeyValue(b"k", b"1", first.create_revision, first.create_revision, 1, NO_SESSION)
    assert second == KeyValue(b"k", b"2", first.create_revision, second.mod_revision, 2, NO_SESSION)
    assert second.mod_revision > first.mod_revision
    assert await c.do(store.get(b"k")) == second
    await c.do(store.txn([], [Delete(b"k")]))
    assert await c.do(store.get(b"k")) is None
    third = await put(c, store, b"k")
    assert (third.version, third.create_revision) == (1, third.mod_revision)
    assert third.create_revision > second.mod_revision + 1  # the removal had a revision of its own


@case()
async def a_transaction_does_one_branch_in_order_at_one_revision(c: Cluster) -> None:
    (store,) = c.stores
    old = await put(c, store, b"old")
    then: list[Op] = [Put(b"new", b"1"), Get(b"new"), Delete(b"old"), Delete(b"nothing"), Get(b"old")]
    result = await c.do(store.txn([present(b"old")], then, [Put(b"else", b"")]))
    new = KeyValue(b"new", b"1", result.revision, result.revision, 1)
    assert result == TxnResult(True, result.revision, (new, new, old, None, None))
    again = await c.do(store.txn([present(b"old")], then, [Get(b"new"), Put(b"else", b"")]))
    assert (again.succeeded, again.results[0]) == (False, new)
    assert [item.key for item in await c.do(store.range(b""))] == [b"else", b"new"]


@case()
async def what_changes_nothing_has_no_revision_of_its_own(c: Cluster) -> None:
    (store,) = c.stores
    kept = await put(c, store, b"k")
    for ops in ([], [Get(b"k")], [Delete(b"nothing")]):
        assert (await c.do(store.txn([], ops))).revision == kept.mod_revision
    assert (await c.do(store.txn([absent(b"k")], [Put(b"k", b"")]))).revision == kept.mod_revision
    assert (await put(c, store, b"k")).mod_revision == kept.mod_revision + 1


@case()
async def compares_hold_when_they_should(c: Cluster) -> None:
    (store,) = c.stores
    made = await put(c, store, b"k", b"u")
    now = await put(c, store, b"k", b"v")
    truths = [
        absent(b"nothing"),
        present(b"k"),
        created_at(b"k", made.create_revision),
        unchanged(b"k", now.mod_revision),
        unchanged(b"nothing", 0),
        Compare(b"k", "version", ">", 1),
        Compare(b"k", "version", "<", 3),
        Compare(b"k", "mod", "!=", made.mod_revision),
        Compare(b"k", "value", "==", b"v"),
        Compare(b"k", "value", ">", b"u"),
        Compare(b"k", "value", "<", b"va"),
        Compare(b"nothing", "value", "==", b""),
        Compare(b"nothing", "create", "==", 0),
        session_alive(store.session.id),
    ]
    lies = [
        absent(b"k"),
        present(b"nothing"),
        created_at(b"k", now.mod_revision),
        unchanged(b"k", made.mod_revision),
        Compare(b"k", "value", "==", b"u"),
        Compare(b"k", "version", ">", 2),
        session_alive(store.session.id + 1000),
        session_alive(NO_SESSION),
    ]
    assert (await c.do(store.txn(truths, []))).succeeded
    for lie in lies:
        assert not (await c.do(store.txn([lie], []))).succeeded
        assert not (await c.do(store.txn([*truths, lie], []))).succeeded


@case()
async def a_range_has_the_keys_with_a_prefix_in_order_of_the_keys(c: Cluster) -> None:
    (store,) = c.stores
    names = [b"n/b", b"n/a", b"n/\xff", b"n", b"n0", b"m", b"n/a/1", b"\xff\xff"]
    await c.do(store.txn([], [Put(name, b"") for name in names]))
    for prefix in (b"", b"n/", b"n/a", b"\xff", b"nothing"):
        wanted = sorted(name for name in names if name.startswith(prefix))
        assert [item.key for item in await c.do(store.range(prefix))] == wanted
        assert [item.key for item in store.peek_range(prefix).value] == wanted


@case(nodes=3)
async def what_one_node_was_told_is_done_every_node_reads(c: Cluster) -> None:
    for number in range(12):
        writer, reader = c.stores[number % 3], c.stores[(number + 1 + number // 3) % 3]
        written = await put(c, writer, b"k", b"%d" % number)
        assert await c.do(reader.get(b"k")) == written
        assert await c.do(reader.range(b"k")) == [written]


@case(nodes=3)
async def of_many_that_create_one_key_at_once_one_succeeds(c: Cluster) -> None:
    async def create(number: int) -> bool:
        result = await c.stores[number % 3].txn([absent(b"k")], [Put(b"k", b"%d" % number)], [Get(b"k")])
        return bool(result.succeeded)

    outcomes = await c.do(asyncio.gather(*[create(number) for number in range(30)]))
    assert sum(outcomes) == 1
    winner = await c.do(c.stores[0].get(b"k"))
    assert winner is not None and winner.value == b"%d" % outcomes.index(True)


@case(nodes=3)
async def no_change_is_lost_or_done_twice_among_concurrent_ones(c: Cluster) -> None:
    async def increment(number: int) -> None:
        store = c.stores[number % 3]
        while True:
            now = await store.get(b"n")
            value, revision = (int(now.value), now.mod_revision) if now is not None else (0, 0)
            result = await store.txn([unchanged(b"n", revision)], [Put(b"n", b"%d" % (value + 1))])
            if result.succeeded:
                return

    await c.do(asyncio.gather(*[increment(number) for number in range(12)]))
    total = await c.do(c.stores[0].get(b"n"))
    assert total is not None and (total.value, total.version) == (b"12", 12)


@case()
async def many_transactions_of_one_node_may_be_under_way_each_is_done_once(c: Cluster) -> None:
    (store,) = c.stores
    results = await c.do(asyncio.gather(*[store.txn([], [Put(b"k", b"%d" % n)]) for n in range(300)]))
    assert len({result.revision for result in results}) == 300
    last = await c.do(store.get(b"k"))
    assert last is not None and last.version == 300


@case()
async def what_is_over_a_limit_is_refused_and_nothing_happens(c: Cluster) -> None:
    (store,) = c.stores
    value = b"v" * VALUE_LIMIT_BYTES
    too_much: list[list[Op]] = [
        [Put(b"k" * (KEY_LIMIT_BYTES + 1), b"")],
        [Get(b"k" * (KEY_LIMIT_BYTES + 1))],
        [Put(b"k", value + b"v")],
        [Put(b"k", b"v")] * (OPS_LIMIT + 1),
        [Put(b"k", value)] * 20,
    ]
    for ops in too_much:
        with pytest.raises(TooLarge):
            await c.do(store.txn([], ops))
    with pytest.raises(TooLarge):
        await c.do(store.txn([absent(b"k" * (KEY_LIMIT_BYTES + 1))], []))
    assert await c.do(store.range(b"")) == []
    await put(c, store, b"k" * KEY_LIMIT_BYTES, value)


@case()
async def a_value_of_a_wrong_type_is_refused_and_nothing_happens(c: Cluster) -> None:
    (store,) = c.stores
    with pytest.raises(EncodeError):
        await c.do(store.txn([], [Put(b"a", b"1"), Put("b", b"2")]))  # type: ignore[arg-type]
    assert await c.do(store.range(b"")) == []
    await put(c, store, b"a")


@case()
async def a_put_that_names_a_dead_session_fails_the_whole_transaction(c: Cluster) -> None:
    (store,) = c.stores
    dead = store.session.id + 1000
    with pytest.raises(SessionLost):
        await c.do(store.txn([], [Put(b"a", b"1"), Put(b"b", b"2", dead)]))
    assert await c.do(store.range(b"")) == []
    assert (await c.do(store.txn([absent(b"a")], [Put(b"a", b"1")], [Put(b"a", b"1", dead)]))).succeeded


@case(nodes=3)
async def a_transaction_whose_caller_gave_up_harms_no_other(c: Cluster) -> None:
    store = c.followers()[0]
    for _ in range(3):
        task = asyncio.ensure_future(store.txn([], [Put(b"given up", b"")]))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await put(c, store, b"k")
    assert await c.do(store.get(b"k")) is not None


@case(CUT, nodes=3)
async def without_a_majority_nothing_is_promised_and_the_majority_goes_on(c: Cluster) -> None:
    cut, others = c.followers()[0], [c.leader(), c.followers()[1]]
    await c.cut(cut)
    with pytest.raises((NoQuorum, OutcomeUnknown)):  # it may have left before the cut was noticed
        await c.do(cut.txn([], [Put(b"early", b"")], timeout_s=2.0))
    await c.until(lambda: cut.status().leader is None)
    with pytest.raises(NoQuorum):
        await c.do(cut.txn([], [Put(b"late", b"")], timeout_s=2.0))
    for read in (cut.get(b"k"), cut.range(b""), cut.sessions()):
        with pytest.raises(NoQuorum):
            await c.do(read)
    for other in others:
        await put(c, other, b"k", b"from the majority")
    await c.heal(cut)
    item = await c.do(cut.get(b"k"))
    assert item is not None and item.value == b"from the majority"
    assert await c.do(cut.get(b"late")) is None


@case(CUT, nodes=3)
async def a_deadline_is_kept(c: Cluster) -> None:
    cut = c.followers()[0]
    await c.cut(cut)
    await c.until(lambda: cut.status().leader is None)
    for timeout_s in (0.2, 1.0):
        with pytest.raises(NoQuorum):
            await c.do(cut.get(b"k", timeout_s=timeout_s), within_s=timeout_s + c.timing.request_s / 2)
    with pytest.raises(NoQuorum):
        await c.do(cut.txn([], [Get(b"k")]), within_s=c.timing.request_s * 2)


@case(CUT, nodes=3)
async def a_request_that_waits_is_done_when_the_cut_heals_in_time(c: Cluster) -> None:
    cut = c.followers()[0]
    await c.cut(cut)
    await c.pass_time(0.05)
    waiting = asyncio.ensure_future(cut.txn([], [Put(b"k", b"")], timeout_s=30.0))
    reading = asyncio.ensure_future(cut.get(b"other", timeout_s=30.0))
    await c.pass_time(0.3)
    assert not waiting.done() and not reading.done()
    await c.heal(cut)
    assert (await c.do(waiting)).succeeded
    assert await c.do(reading) is None
    item = await c.do(c.leader().get(b"k"))
    assert item is not None and item.version == 1


@case(CUT, nodes=3)
async def when_the_leader_is_cut_off_another_leads_and_nothing_acknowledged_is_lost(c: Cluster) -> None:
    leader, others = c.leader(), c.followers()
    written = await put(c, leader, b"k")
    await c.cut(leader)
    await c.until(lambda: sum(other.leads() for other in others) == 1)
    await c.until(lambda: not leader.leads())
    for other in others:
        assert await c.do(other.get(b"k")) == written
    await put(c, others[0], b"k", b"newer")
    with pytest.raises((NoQuorum, OutcomeUnknown)):
        await c.do(leader.get(b"k", timeout_s=1.0))
    await c.heal(leader)
    item = await c.do(leader.get(b"k"))
    assert item is not None and item.value == b"newer"


@case(nodes=3)
async def a_closed_store_refuses_everything_and_may_be_closed_again(c: Cluster) -> None:
    store = c.followers()[0]
    await put(c, store, b"k")
    await c.do(store.close())
    await c.do(store.close())
    for operation in (store.txn([], []), store.get(b"k"), store.range(b""), store.sessions()):
        with pytest.raises(StoreStopped):
            await c.do(operation)
    assert not store.leads()
    await put(c, c.leader(), b"k")


@case(nodes=3)
async def the_status_tells_who_leads_and_how_far_everybody_is(c: Cluster) -> None:
    written = await put(c, c.followers()[0], b"k")
    await c.until(lambda: all(store.status().revision == written.mod_revision for store in c.stores))
    states = [store.status() for store in c.stores]
    (leader,) = {status.leader for status in states}
    assert leader in states[0].voters and len(states[0].voters) == 3
    assert [status.role for status in states].count("leader") == 1
    assert len({status.engine for status in states}) == 1
    for status, store in zip(states, c.stores, strict=True):
        assert status.keys == 1 and status.session == store.session.id
        assert 0 < status.applied_index <= status.commit_index and status.term > 0
