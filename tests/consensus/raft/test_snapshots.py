"""Snapshots: compaction, chunks, checksums, and what a follower refuses."""

from dataclasses import replace

import crc32c
import pytest

from quorate.consensus.raft import Configuration, Message, PeerState, Snapshot, SnapshotMeta
from quorate.consensus.raft.messages import (
    AppendReply,
    AppendRequest,
    Heartbeat,
    HeartbeatReply,
    SnapshotChunk,
    SnapshotReply,
)

from .harness import HEARTBEAT_S, Cluster, batch
from .machine import Machine

ABC = Configuration(frozenset("abc"))


def behind(**limits: int) -> Cluster:
    """`a` leads; `c` was cut off while `a` took 20 commands, made a snapshot and compacted."""
    cluster = Cluster("abc", 0, True, **limits)
    cluster.elect("a")
    cluster.propose("a", 2)
    cluster.settle()
    cluster.cut("c", "ab")
    cluster.propose("a", 20)
    cluster.settle()
    cluster.snapshot("a")
    return cluster


def image(count: int, term: int) -> Snapshot:
    """The snapshot of a machine that has applied so many commands of one term."""
    machine = Machine()
    machine.entries = [(term, b"s%d" % at) for at in range(count)]
    return machine.snapshot(ABC)


def chunk(
    snapshot: Snapshot, term: int, start: int = 0, end: int | None = None, round_: int = 1
) -> SnapshotChunk:
    return SnapshotChunk(term, round_, snapshot.meta, start, snapshot.data[start:end])


def chunks_on_their_way(cluster: Cluster) -> list[Message]:
    """Let heartbeats pass until `a` sends the first chunks to `c`, and take those."""
    for _ in range(10):
        cluster.advance("a", HEARTBEAT_S)
        for _ in range(5):
            cluster.pump("a")
            if chunks := cluster.take("a", "c", SnapshotChunk):
                return chunks
            mail, cluster.soup = cluster.soup, []
            for letter in mail:
                cluster.deliver(letter)
                cluster.pump(letter.to)
    raise AssertionError("no chunk is sent")


def test_compaction_keeps_some_entries_for_followers_a_little_behind() -> None:
    cluster = behind(trailing_entries=5)
    snapshot = cluster["a"].snapshot
    assert snapshot is not None
    assert (snapshot.meta.index, cluster["a"].first_index) == (23, 19)
    assert cluster["a"].term_at(18) == 1
    assert cluster["a"].term_at(17) is None


def test_a_follower_far_behind_gets_a_snapshot_and_what_follows_it() -> None:
    cluster = behind()
    cluster.propose("a", 2)
    cluster.settle()
    cluster.heal()
    cluster.heartbeat("a")
    cluster.heartbeat("a")
    assert cluster.values("c") == cluster.values("a")
    assert cluster["c"].snapshot == cluster["a"].snapshot
    assert cluster["a"].progress()["c"].state is PeerState.REPLICATE
    cluster.propose("a")
    cluster.settle()
    assert cluster.values("c") == cluster.values("a")


def test_a_follower_that_needs_only_kept_entries_gets_no_snapshot() -> None:
    cluster = behind(trailing_entries=100)
    cluster.heal()
    cluster.heartbeat("a")
    cluster.heartbeat("a")
    assert cluster.values("c") == cluster.values("a")
    assert cluster["c"].snapshot is None


def test_a_snapshot_travels_in_chunks_a_few_at_a_time() -> None:
    cluster = behind(snapshot_chunk_bytes=10, max_inflight_chunks=3)
    cluster.heal()
    chunks, sent = [], chunks_on_their_way(cluster)
    while sent:
        assert len(sent) <= 3
        chunks += [x for x in sent if isinstance(x, SnapshotChunk)]
        for message in sent:
            cluster.hand("a", "c", message)
        for reply in cluster.take("c", "a"):
            cluster.hand("c", "a", reply)
        sent = cluster.take("a", "c", SnapshotChunk)
    assert cluster["a"].snapshot is not None
    assert b"".join(x.data for x in chunks) == cluster["a"].snapshot.data
    assert {len(x.data) for x in chunks[:-1]} == {10}


def test_lost_and_doubled_and_reordered_chunks_are_made_good() -> None:
    for lost in range(4):
        cluster = behind(snapshot_chunk_bytes=16, max_inflight_chunks=4)
        cluster.heal()
        chunks = chunks_on_their_way(cluster)
        assert len(chunks) == 4
        for message in [*chunks[:lost], *reversed(chunks[lost + 1 :]), *chunks[:lost]]:
            cluster.hand("a", "c", message)
        for _ in range(20):
            cluster.heartbeat("a")
        assert cluster.values("c") == cluster.values("a")


def test_an_installed_snapshot_is_acknowledged_when_it_is_durable() -> None:
    cluster = Cluster(checked=False)
    snapshot = image(10, 2)
    cluster.hand("b", "a", chunk(snapshot, 3))
    assert cluster.take("a", "b") == []
    assert cluster["a"].commit_index == 10
    assert len(cluster.values("a")) == 10
    cluster.sync("a")
    cluster.pump("a")
    assert cluster.take("a", "b") == [AppendReply(3, 1, True, 10, 0)]


def test_entries_follow_a_snapshot_only_behind_its_index_and_term() -> None:
    cluster = Cluster(checked=False)
    cluster.hand("b", "a", chunk(image(10, 2), 5))
    cluster.sync("a")
    cluster.pump("a")
    cluster.take("a", "b")
    for prev_term, success in ((5, False), (1, False), (2, True)):
        cluster.hand("b", "a", AppendRequest(5, 2, 10, prev_term, 0, batch((5, b"x"), first_index=11)))
        cluster.sync("a")
        cluster.pump("a")
        (reply,) = cluster.take("a", "b")
        assert isinstance(reply, AppendReply) and reply.success is success


def test_a_snapshot_that_has_not_its_checksum_is_refused() -> None:
    cluster = Cluster(checked=False)
    snapshot = image(10, 2)
    damaged = Snapshot(snapshot.meta, snapshot.data[:-1] + b"?")
    cluster.hand("b", "a", chunk(damaged, 3, 0, 9))
    cluster.hand("b", "a", chunk(damaged, 3, 9))
    cluster.sync("a")
    cluster.pump("a")
    assert cluster.take("a", "b") == [SnapshotReply(3, 1, True, 10, 9), SnapshotReply(3, 1, False, 10, 0)]
    assert (cluster["a"].snapshot, cluster["a"].commit_index, cluster["a"].violations) == (None, 0, 1)
    assert cluster.nodes["a"].disk.snapshot is None
    cluster.hand("b", "a", chunk(snapshot, 3))
    assert cluster["a"].commit_index == 10


def test_a_leader_does_not_storm_a_follower_that_refuses_its_snapshot() -> None:
    cluster = behind(snapshot_chunk_bytes=10, max_inflight_chunks=3)
    cluster.heal()
    first = chunks_on_their_way(cluster)
    for _ in range(10):
        for message in first:
            cluster.hand("c", "a", SnapshotReply(1, message.round, False, 23, 0))
    assert (len(first), cluster.take("a", "c", SnapshotChunk)) == (3, [])
    assert len(chunks_on_their_way(cluster)) == 3


def test_an_old_snapshot_takes_nothing_back_and_is_not_acknowledged() -> None:
    cluster = Cluster(checked=False)
    cluster.hand("b", "a", AppendRequest(3, 1, 0, 0, 12, batch(*[(2, b"%d" % at) for at in range(12)])))
    cluster.sync("a")
    cluster.pump("a")
    cluster.take("a", "b")
    for snapshot in (image(10, 2), image(10, 1), image(12, 2)):
        cluster.hand("b", "a", chunk(snapshot, 3))
        assert cluster.take("a", "b") == [AppendReply(3, 1, False, 12, 2)]
    assert (cluster["a"].last_index, cluster["a"].commit_index, cluster["a"].snapshot) == (12, 12, None)


def test_a_snapshot_of_what_the_log_holds_already_is_not_installed() -> None:
    """The entry of its index has its term: the log up to it is the leader's, and what follows may stay."""
    cluster = Cluster(checked=False)
    cluster.hand("b", "a", AppendRequest(3, 1, 0, 0, 0, batch(*[(2, b"%d" % at) for at in range(12)])))
    cluster.hand("b", "a", chunk(image(10, 2), 3, 0, 7))
    assert (cluster["a"].commit_index, cluster["a"].last_index) == (10, 12)
    assert cluster["a"].snapshot is None
    assert cluster.take("a", "b") == []  # not durable yet
    cluster.sync("a")
    cluster.pump("a")
    assert cluster.take("a", "b") == [AppendReply(3, 1, True, 12, 0), AppendReply(3, 1, True, 10, 0)]


def test_a_snapshot_replaces_a_log_that_differs() -> None:
    cluster = Cluster(checked=False)
    cluster.hand("b", "a", AppendRequest(1, 1, 0, 0, 0, batch(*[(1, b"%d" % at) for at in range(12)])))
    cluster.hand("c", "a", chunk(image(10, 2), 3))
    assert (cluster["a"].first_index, cluster["a"].last_index) == (11, 10)
    cluster.sync("a")
    cluster.crash("a")
    cluster.start("a")
    assert (cluster["a"].commit_index, cluster["a"].last_index, cluster["a"].term_at(10)) == (10, 10, 2)
    assert len(cluster.values("a")) == 10


def test_chunks_say_nothing_about_the_log() -> None:
    """A follower with an own tail that nobody else has, in the middle of receiving a snapshot."""
    cluster = Cluster(checked=False)
    cluster.hand("b", "a", AppendRequest(1, 1, 0, 0, 2, batch(*[(1, b"%d" % at) for at in range(12)])))
    cluster.sync("a")
    cluster.pump("a")
    cluster.take("a", "b")
    snapshot = image(10, 2)
    cluster.hand("c", "a", chunk(snapshot, 3, 0, 20))
    cluster.hand("c", "a", Heartbeat(3, 2, 10))
    assert cluster.take("a", "c") == [SnapshotReply(3, 1, True, 10, 20), HeartbeatReply(3, 2, 2)]
    assert cluster["a"].commit_index == 2


def test_a_chunk_of_another_snapshot_starts_anew() -> None:
    cluster = Cluster(checked=False)
    first, second = image(10, 2), image(14, 2)
    cluster.hand("b", "a", chunk(first, 3, 0, 20))
    cluster.hand("b", "a", chunk(second, 3, 20, 40))
    cluster.hand("b", "a", chunk(second, 3, 0, 20))
    cluster.hand("b", "a", chunk(first, 3, 20, 40))
    answers = [
        (x.accepted, x.index, x.offset) for x in cluster.take("a", "b") if isinstance(x, SnapshotReply)
    ]
    assert answers == [(True, 10, 20), (False, 14, 0), (True, 14, 20), (False, 10, 0)]


def test_a_snapshot_of_another_configuration_is_refused() -> None:
    cluster = Cluster(checked=False)
    snapshot = image(10, 2)
    foreign = replace(snapshot, meta=replace(snapshot.meta, configuration=Configuration(frozenset("abx"))))
    cluster.hand("b", "a", chunk(foreign, 3))
    assert cluster.take("a", "b") == [SnapshotReply(3, 1, False, 10, 0)]
    assert (cluster["a"].commit_index, cluster["a"].violations) == (0, 1)


def test_an_empty_snapshot_travels_too() -> None:
    cluster = Cluster(checked=False, trailing_entries=0)
    cluster.elect("a")
    cluster.propose("a", 5)
    cluster.settle("ab")
    empty = Snapshot(SnapshotMeta(6, 1, ABC, crc32c.crc32c(b""), 0), b"")
    cluster["a"].compact(empty)
    cluster["a"].unreachable("c", 0.0)
    cluster.pump("a")
    (question,) = cluster.take("a", "c", AppendRequest)[-1:]
    cluster.hand("c", "a", AppendReply(1, question.round, False, 0, 0))
    (sent,) = cluster.take("a", "c", SnapshotChunk)
    cluster["c"].step("a", sent, 0.0)
    assert cluster["c"].snapshot == empty


def test_a_snapshot_has_to_be_of_what_was_applied() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster.propose("a", 3)
    cluster.settle()
    machine = cluster.nodes["a"].machine
    good = machine.snapshot(ABC)
    for wrong in (
        replace(good, meta=replace(good.meta, index=5)),
        replace(good, meta=replace(good.meta, term=2)),
        replace(good, meta=replace(good.meta, size_bytes=1)),
        replace(good, meta=replace(good.meta, configuration=Configuration(frozenset("ab")))),
    ):
        with pytest.raises(ValueError):
            cluster["a"].compact(wrong)
    cluster["a"].compact(good)
    assert cluster["a"].snapshot == good


def test_an_older_own_snapshot_is_ignored() -> None:
    cluster = Cluster(trailing_entries=0)
    cluster.elect("a")
    cluster.propose("a", 3)
    cluster.settle()
    older = cluster.nodes["a"].machine.snapshot(ABC)
    cluster.propose("a", 3)
    cluster.settle()
    cluster.snapshot("a")
    cluster["a"].compact(older)
    assert cluster["a"].first_index == 8


def test_a_follower_whose_log_parts_before_the_leaders_base_gets_a_snapshot() -> None:
    """It has an own entry at the very index that the leader has compacted up to, of an earlier term."""
    cluster = Cluster(trailing_entries=0)
    cluster.elect("b")
    cluster.cut("b", "ac")
    cluster.propose("b", 40)
    cluster.settle("b")
    cluster.elect("a", "ac")
    cluster.propose("a", 10)
    cluster.settle("ac")
    cluster.snapshot("a")
    cluster["a"].transfer("c", cluster.nodes["a"].now)
    cluster.settle("ac")
    cluster["c"].transfer("a", cluster.nodes["c"].now)
    cluster.settle("ac")
    assert (cluster["a"].first_index, cluster["a"].term_at(12), cluster["b"].term_at(12)) == (13, 2, 1)
    cluster.soup.clear()
    cluster.heal()
    cluster.heartbeat("a")
    cluster.heartbeat("a")
    assert cluster.values("b") == cluster.values("a")


def test_a_crash_between_saving_a_snapshot_and_dropping_the_log_is_mended() -> None:
    """The old log on disk ends before the snapshot, or is another one: it must not be continued."""
    for last in (5, 12):
        cluster = Cluster(checked=False)
        entries = [(1, b"%d" % at) for at in range(last)]
        cluster.hand("b", "a", AppendRequest(1, 1, 0, 0, 0, batch(*entries)))
        cluster.sync("a")
        cluster.hand("c", "a", chunk(image(10, 2), 3))
        cluster.crash("a", torn=2)
        assert (len(cluster.nodes["a"].disk.entries), cluster.nodes["a"].disk.snapshot is None) == (
            last,
            False,
        )
        cluster.start("a")
        assert (cluster["a"].last_index, cluster["a"].term_at(10)) == (10, 2)
        cluster.hand("c", "a", AppendRequest(3, 2, 10, 2, 0, batch((3, b"x"), first_index=11)))
        cluster.sync("a")
        assert cluster.nodes["a"].disk.entries == [(3, b"x")]
        cluster.crash("a")
        cluster.start("a")
        assert (cluster["a"].last_index, cluster["a"].term_at(11)) == (11, 3)


def test_a_follower_compacts_on_its_own() -> None:
    cluster = Cluster(trailing_entries=0)
    cluster.elect("a")
    cluster.propose("a", 6)
    cluster.settle()
    cluster.snapshot("b")
    assert (cluster["b"].first_index, cluster["a"].first_index) == (8, 1)
    cluster.propose("a", 2)
    cluster.settle()
    assert cluster.values("b") == cluster.values("a")


def test_entries_that_a_follower_has_compacted_away_are_its_leaders() -> None:
    cluster = Cluster(trailing_entries=0)
    cluster.elect("a")
    cluster.propose("a", 6)
    cluster.pump("a")
    late = cluster.take("a", "b", AppendRequest)
    cluster["a"].unreachable("b", 0.0)
    cluster.settle()
    cluster.snapshot("b")
    for message in late:
        cluster.hand("a", "b", message)
    assert cluster.take("b", "a")[-1] == AppendReply(1, late[-1].round, True, 7, 0)
    assert (cluster["b"].last_index, cluster["b"].violations) == (7, 0)
