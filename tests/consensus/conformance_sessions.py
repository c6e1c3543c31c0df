"""Conformance: the session of a node, what belongs to it, and how it ends."""

import asyncio
from collections.abc import Callable

import pytest

from quorate.consensus.errors import NoQuorum, SessionLost
from quorate.consensus.store import Event, Put, SessionInfo, Store, session_alive

from .conformance_frame import CUT, RESTART, SUSPEND, Cluster, case
from .conformance_keys import put
from .conformance_watches import follow


def told_of(store: Store) -> list[tuple[int, bool]]:
    """What a subscriber of the node's session is told from now on."""
    told: list[tuple[int, bool]] = []
    store.session.subscribe(lambda session, opened: told.append((session, opened)))
    return told


def gone(seen: list[Event], key: bytes) -> Callable[[], bool]:
    return lambda: any(event.key == key and event.now is None for event in seen)


@case(nodes=3)
async def every_node_holds_one_session_that_all_can_see(c: Cluster) -> None:
    infos = await c.do(c.stores[1].sessions())
    assert [info.id for info in infos] == sorted(store.session.id for store in c.stores)
    for store in c.stores:
        (info,) = [info for info in infos if info.id == store.session.id]
        assert info.ttl_s == c.timing.session_ttl_s
        assert info.holder in store.status().voters and info.creation >= 1
    assert await c.do(c.stores[2].sessions()) == infos


@case(nodes=3)
async def a_session_lives_as_long_as_its_node_is_connected(c: Cluster) -> None:
    ids = [store.session.id for store in c.stores]
    told = [told_of(store) for store in c.stores]
    most_s = c.timing.session_ttl_s * (1 - c.timing.drift)
    for _ in range(12):
        await c.pass_time(c.timing.session_ttl_s / 3)
        for store in c.stores:
            assert store.session.valid()
            assert 0 < store.session.valid_for_s() <= most_s
    assert [store.session.id for store in c.stores] == ids
    assert told == [[], [], []]


@case(nodes=3)
async def a_key_of_a_session_goes_when_its_node_closes(c: Cluster) -> None:
    store, other = c.followers()
    session = store.session.id
    seen, told = follow(other), told_of(store)
    item = await put(c, store, b"owned", b"v", session)
    free = await put(c, store, b"free")
    assert item.session == session
    await c.do(store.close())
    assert (store.session.id, store.session.valid(), told) == (0, False, [(session, False)])
    assert store.session.valid_for_s() <= 0
    await c.until(gone(seen, b"owned"), within_s=c.timing.session_ttl_s * 0.5)
    removal = seen[-1]
    assert (removal.now, removal.before) == (None, item) and removal.revision > free.mod_revision
    assert await c.do(other.range(b"")) == [free]
    assert session not in [info.id for info in await c.do(other.sessions())]
    with pytest.raises(SessionLost):
        await c.do(other.txn([], [Put(b"owned", b"", session)]))
    assert not (await c.do(other.txn([session_alive(session)], []))).succeeded


@case(CUT, nodes=3)
async def a_node_that_is_cut_off_knows_that_its_session_is_over_before_anybody_acts_on_it(c: Cluster) -> None:
    cut, other = c.followers()
    session = cut.session.id
    told, ends = told_of(cut), list[tuple[bool, list[tuple[int, bool]]]]()
    await put(c, cut, b"owned", b"v", session)
    await c.until(lambda: other.peek(b"owned").value is not None)
    other.watch(b"owned", lambda events: ends.append((cut.session.valid(), list(told))))
    await c.cut(cut)
    await c.until(lambda: ends, within_s=c.timing.session_ttl_s * 1.6)
    assert ends == [(False, [(session, False)])]
    assert cut.session.id == 0 and cut.session.valid_for_s() <= 0
    await c.pass_time(c.timing.session_ttl_s)
    assert told == [(session, False)]
    await c.heal(cut)
    await c.until(cut.session.valid)
    assert cut.session.id > session
    assert told == [(session, False), (cut.session.id, True)]
    await put(c, cut, b"owned", b"again", cut.session.id)


@case(CUT, nodes=3)
async def a_session_outlives_a_cut_that_is_shorter_than_its_time(c: Cluster) -> None:
    cut = c.followers()[0]
    session, told = cut.session.id, told_of(cut)
    await put(c, cut, b"owned", b"v", session)
    await c.cut(cut)
    await c.pass_time(c.timing.session_ttl_s * 0.3)
    await c.heal(cut)
    await c.pass_time(c.timing.session_ttl_s * 2)
    assert (cut.session.id, cut.session.valid(), told) == (session, True, [])
    assert await c.do(cut.get(b"owned")) is not None


@case(CUT, nodes=3)
async def a_change_of_leader_ends_no_session_but_that_of_the_one_who_is_gone(c: Cluster) -> None:
    leader, others = c.leader(), c.followers()
    told = [told_of(store) for store in others]
    lost = told_of(leader)
    session = leader.session.id
    await put(c, leader, b"owned", b"v", session)
    await c.cut(leader)
    await c.until(lambda: others[0].peek(b"owned").value is None)
    assert lost == [(session, False)]
    await c.pass_time(c.timing.session_ttl_s * 2)
    assert told == [[], []]
    assert all(store.session.valid() for store in others)


@case(SUSPEND, nodes=3)
async def a_node_without_keepalives_loses_its_session_first_and_its_keys_then(c: Cluster) -> None:
    store, other = c.followers()
    session, told, seen = store.session.id, told_of(store), follow(other)
    await put(c, store, b"owned", b"v", session)
    await c.suspend(store)
    await c.until(lambda: not store.session.valid())
    assert not gone(seen, b"owned")()
    await c.until(gone(seen, b"owned"))
    assert told == [(session, False)]
    waiting = asyncio.ensure_future(store.txn([], [Put(b"waited", b"")], timeout_s=30.0))
    with pytest.raises(NoQuorum):
        await c.do(store.txn([], [Put(b"refused", b"")], timeout_s=0.5))
    assert await c.do(store.get(b"owned")) is None and not waiting.done()
    await c.resume(store)
    await c.until(store.session.valid)
    assert (await c.do(waiting)).succeeded and await c.do(store.get(b"refused")) is None
    assert told[1:] == [(store.session.id, True)] and store.session.id > session


@case(CUT, nodes=3)
async def who_cancelled_is_not_told_of_sessions(c: Cluster) -> None:
    cut = c.followers()[0]
    told: list[int] = []
    kept = told_of(cut)

    def broken(session: int, opened: bool) -> None:
        raise ValueError("from a callback of a test")

    watch = cut.session.subscribe(lambda session, opened: told.append(session))
    cut.session.subscribe(broken)
    watch.cancel()
    await c.cut(cut)
    await c.until(lambda: kept)
    assert told == []


@case(RESTART, nodes=3)
async def a_node_that_was_killed_and_started_again_ends_its_old_session_at_once(c: Cluster) -> None:
    store, other = c.followers()
    old = await c.do(other.sessions())
    mine = store.session.id
    seen = follow(other)
    await put(c, store, b"owned", b"v", mine)
    kept = await put(c, store, b"free")
    await c.crash(store)
    again = await c.restart(store)
    await c.until(again.session.valid, within_s=c.timing.session_ttl_s * 0.8)
    new = again.session.id
    assert new > mine
    await c.until(gone(seen, b"owned"), within_s=c.timing.session_ttl_s * 0.1)
    infos = {info.id: info for info in await c.do(again.sessions())}
    before: SessionInfo = next(info for info in old if info.id == mine)
    assert mine not in infos
    assert (infos[new].holder, infos[new].creation > before.creation) == (before.holder, True)
    assert await c.do(again.range(b"")) == [kept]


@case(RESTART, nodes=3)
async def the_session_of_a_node_that_was_killed_ends_when_its_time_is_over(c: Cluster) -> None:
    store, other = c.followers()
    seen = follow(other)
    await put(c, store, b"owned", b"v", store.session.id)
    await c.crash(store)
    c.stores.remove(store)
    await c.pass_time(c.timing.session_ttl_s * 0.5)
    assert not gone(seen, b"owned")()
    await c.until(gone(seen, b"owned"), within_s=c.timing.session_ttl_s)
