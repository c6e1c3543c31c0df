"""Situations in which stock PySyncObj 0.3.17 loses acknowledged writes, and what holds here.

The letters are those of the audit's proofs. What concerns the disk (a2, a3, a9) is tested with the log on
disk; membership changes (a11) do not exist yet: voters are fixed.
"""

from dataclasses import replace

from quorate.consensus.raft import PeerState, Role, Snapshot
from quorate.consensus.raft.messages import (
    AppendReply,
    AppendRequest,
    SnapshotChunk,
    SnapshotReply,
    VoteReply,
    VoteRequest,
)

from .harness import ELECTION_S, HEARTBEAT_S, Cluster

VOTES = (VoteRequest, VoteReply)


def test_a1_a_snapshot_chunk_commits_nothing_of_the_receivers_own_tail() -> None:
    """Stock: a snapshot message has no previous entry, yet raises the commit index to the receiver's end.

    An old leader whose tail nobody has applies and acknowledges that tail. Here a chunk says nothing about
    the log; the tail goes when the whole snapshot is verified.
    """
    cluster = Cluster(snapshot_chunk_bytes=16, trailing_entries=0)
    cluster.elect("a")
    cluster.propose("a")
    cluster.settle()
    cluster.cut("a", "bc")
    lost = cluster.propose("a", 5)
    cluster.settle("a")
    cluster.elect("b", "bc")
    cluster.propose("b", 30)
    cluster.settle("bc")
    cluster.snapshot("b")
    cluster.heal()
    chunks = 0
    for _ in range(200):
        for node_id in "bc":
            cluster.advance(node_id, HEARTBEAT_S / 4)
            cluster.pump(node_id)
        while cluster.soup:
            letter = cluster.soup.pop(0)
            chunks += letter.to == "a" and isinstance(letter.message, SnapshotChunk)
            cluster.deliver(letter)
            cluster.pump(letter.to)
            cluster.sync(letter.to)
            cluster.pump(letter.to)
            assert not set(lost) & set(cluster.values("a"))
    assert chunks > 5
    assert cluster.values("a") == cluster.values("b") == cluster.values("c")


def test_a4_an_answer_given_to_an_earlier_leadership_is_never_counted() -> None:
    """Stock: answers carry no term. One of term 1 is counted in term 3, for entries its sender never saw.

    A write that two of five have is acknowledged, and lost with those two. Here an answer carries the term,
    and counts in that term only.
    """
    cluster = Cluster("abcde")
    cluster.elect("a")
    cluster.cut("a", "bcd")
    cluster.propose("a", 17)
    cluster.settle("ae", synced="e", kinds=(AppendRequest,))
    stale = cluster.take("e", "a", AppendReply)
    assert max(x.index for x in stale if isinstance(x, AppendReply)) == 18
    cluster.cut("e", "abcd")
    cluster.elect("b", "bcd")
    cluster.heal()
    cluster.cut("e", "abcd")
    cluster.heartbeat("b", "ab")
    cluster.heartbeat("b", "ab")
    assert cluster["a"].term_at(2) == 2  # what it had alone is gone
    cluster.cut("b", "acd")
    cluster.elect("a", "acd", kinds=VOTES)
    cluster.cut("d", "ac")
    cluster.propose("a", 20)
    cluster.settle("ac")
    committed = cluster["a"].commit_index
    cluster.heal()
    for reply in stale:
        cluster.hand("e", "a", reply)
    assert cluster["a"].commit_index == committed
    assert cluster["a"].progress()["e"].match_index == 0
    assert cluster.values("a") == []


def test_a5_a_late_message_of_an_old_connection_removes_nothing() -> None:
    """Stock: every append removes whatever is behind its previous entry, matching or not.

    A message from an old connection makes a follower forget what it has acknowledged. Here only an entry of
    another term removes anything.
    """
    cluster = Cluster()
    cluster.elect("a")
    cluster.cut("c", "ab")
    cluster.propose("a")
    cluster.pump("a")
    late = cluster.take("a", "b", AppendRequest)
    cluster["a"].unreachable("b", cluster.nodes["a"].now)
    data = [b"1", *cluster.propose("a", 26)]
    cluster.settle("ab")
    assert cluster.values("a") == data
    for message in late:
        cluster.hand("a", "b", message)
    assert cluster["b"].last_index == 28
    cluster.crash("a")
    cluster.heal()
    cluster.elect("b", "bc")
    assert cluster.values("c") == data


def test_a6_a_snapshot_that_cannot_be_used_is_not_acknowledged() -> None:
    """Stock: a snapshot that does not load is answered with success and the receiver's own end.

    The leader then counts the receiver's own tail. Here the receiver refuses it, the leader's idea of it does
    not move, and nothing is committed by it.
    """
    cluster = Cluster(trailing_entries=0)
    cluster.elect("b")
    cluster.cut("b", "ac")
    cluster.propose("b", 40)
    cluster.settle("b")
    cluster.elect("a", "ac")
    cluster.propose("a", 10)
    cluster.settle("ac")
    snapshot = cluster.nodes["a"].machine.snapshot(cluster.configuration)
    # What b receives is not what was announced, as when its version cannot make sense of it.
    damaged = Snapshot(replace(snapshot.meta, checksum=snapshot.meta.checksum ^ 1), snapshot.data)
    cluster.nodes["a"].disk.save_own_snapshot(damaged, 0)
    cluster["a"].compact(damaged)
    cluster.crash("c")
    cluster.soup.clear()
    cluster.heal()
    refused = 0
    for _ in range(10):
        cluster.advance("a", HEARTBEAT_S)
        for _ in range(10):
            for node_id in "ab":
                cluster.pump(node_id)
                cluster.sync(node_id)
            mail, cluster.soup = cluster.soup, []
            for letter in mail:
                refused += isinstance(letter.message, SnapshotReply) and not letter.message.accepted
                letter_to = cluster.nodes[letter.to]
                if letter_to.raft is not None:  # past the invariants: the damage is counted as a violation
                    letter_to.raft.step(letter.sender, letter.message, letter_to.now)
    assert 0 < cluster["b"].violations <= refused
    progress = cluster["a"].progress()["b"]
    assert (progress.state, progress.match_index) == (PeerState.SNAPSHOT, 0)
    before = cluster["a"].commit_index
    cluster["a"].propose([b"precious"], cluster.nodes["a"].now)
    assert (cluster["a"].commit_index, cluster["b"].commit_index) == (before, 1)
    assert b"precious" not in cluster.values("a")


def test_a7_a_vote_that_left_a_node_is_on_its_disk() -> None:
    """Stock: term and vote are written without sync, and read with a bare except.

    After a power cut a node votes twice in one term: two leaders of the same term. Here a vote leaves when
    it is durable, so it is remembered, or it was never given.
    """
    for kept in (0, 1):
        cluster = Cluster()
        cluster.cut("c", "ab")
        cluster.timeout("a")
        cluster.settle("ab", synced="a", kinds=VOTES)
        assert cluster.role("a") is Role.CANDIDATE
        assert cluster["b"].vote == "a"
        cluster.crash("b", kept)
        cluster.start("b")
        cluster.heal()
        cluster.settle("ab", kinds=VOTES)
        cluster.cut("a", "bc")
        cluster.nodes["c"].now += ELECTION_S
        for _ in range(3):
            cluster.timeout("c")
            cluster.settle("bc", kinds=VOTES)
        leaders = {cluster[x].term: x for x in "abc" if cluster.role(x) is Role.LEADER}
        assert leaders.get(1) != "c" or kept == 0  # and the invariants see to it that there is only one
        cluster.heal()
        cluster.pass_time(5 * ELECTION_S)
        assert sum(cluster.role(x) is Role.LEADER for x in "abc") == 1


def test_a8_no_commit_index_outlives_the_entries_it_speaks_of() -> None:
    """Stock: the commit index is kept apart from the log. After a power cut it is beyond the log's end.

    A leader then acknowledges every new write at once, with no follower at all. Here the commit index is
    not kept; and what was acknowledged is on the disks of a majority, whatever the power cut takes.
    """
    cluster = Cluster()
    cluster.elect("a")
    data = cluster.propose("a", 50)
    cluster.settle()
    cluster.propose("a", 50)
    cluster.pump("a")
    for node_id in "abc":
        cluster.crash(node_id)
    cluster.soup.clear()
    for node_id in "abc":
        cluster.start(node_id)
        assert cluster[node_id].commit_index == 0
    cluster.elect("a")
    assert cluster.values("a")[:50] == data
    cluster.cut("a", "bc")
    before = cluster["a"].commit_index
    alone = cluster.propose("a")
    cluster.settle()
    assert cluster["a"].commit_index == before
    assert alone[0] not in cluster.values("a")


def test_b1_nodes_that_come_back_from_a_minute_alone_depose_nobody() -> None:
    """Stock: two of five, cut off, raise the term by 80 a minute, and depose the leader at the heal."""
    cluster = Cluster("abcde")
    cluster.elect("a")
    cluster.cut("de", "abc")
    cluster.pass_time(60.0)
    assert {cluster[x].term for x in "abcde"} == {1}
    cluster.heal()
    for _ in range(40):
        cluster.pass_time(HEARTBEAT_S)
        assert (cluster.role("a"), cluster["a"].term) == (Role.LEADER, 1)
    assert {cluster[x].leader for x in "bcde"} == {"a"}


def test_b2_a_link_that_fails_one_way_deposes_nobody() -> None:
    """Stock: with A to C lost and C to A working, C campaigns for ever: 66 terms a minute, writes fail."""
    cluster = Cluster()
    cluster.elect("a")
    cluster.cuts = {("a", "c")}
    for _ in range(60):
        cluster.pass_time(1.0)
        cluster.propose("a")
        cluster.settle()
        assert (cluster.role("a"), cluster["a"].term) == (Role.LEADER, 1)
    assert len(cluster.values("b")) == 60
    cluster.heal()
    cluster.pass_time(1.0)
    assert cluster.values("c") == cluster.values("a")
    assert {cluster[x].term for x in "abc"} == {1}


def test_c1_a_leader_that_is_cut_off_serves_no_old_value_and_gives_up() -> None:
    """Stock: reads are local; a leader that was cut off serves the old value for 30 s.

    Here a read needs a round with a quorum, and a leader without a quorum gives up after an election timeout.
    """
    cluster = Cluster()
    cluster.elect("a")
    cluster.propose("a")
    cluster.settle()
    cluster.cut("a", "bc")
    cluster.elect("b", "bc")
    cluster.propose("b")
    cluster.settle("bc")
    context = cluster.read("a")
    cluster.pass_time(ELECTION_S * 1.1)
    assert (cluster.role("a"), cluster["a"].leader) == (Role.FOLLOWER, None)
    assert (cluster.served, cluster.failed) == ({}, {context})
