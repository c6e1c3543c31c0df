"""Sentences of the Raft paper (extended version) as tests; the section is named in each.

What the other test modules of this folder show in detail is not repeated here.
"""

import pytest

from quorate.consensus.raft import Role
from quorate.consensus.raft.messages import (
    AppendReply,
    AppendRequest,
    Heartbeat,
    SnapshotChunk,
    VoteReply,
    VoteRequest,
)

from .harness import ELECTION_S, HEARTBEAT_S, Cluster, batch

VOTES = (VoteRequest, VoteReply)


def terms(cluster: Cluster, node_id: str) -> list[int | None]:
    core = cluster[node_id]
    return [core.term_at(index) for index in range(core.first_index, core.last_index + 1)]


def test_if_one_servers_current_term_is_smaller_than_the_others_it_takes_the_larger_one() -> None:
    """5.1"""
    for message in (
        VoteRequest(9, 1, 0, 0, False, False),
        Heartbeat(9, 1, 0),
        AppendReply(9, 1, False, 0, 0),
        VoteReply(9, 1, False, False),
    ):
        cluster = Cluster(checked=False)
        cluster.hand("b", "a", message)
        assert cluster["a"].term == 9


def test_if_a_leader_discovers_that_its_term_is_out_of_date_it_reverts_to_follower_state() -> None:
    """5.1"""
    cluster = Cluster(checked=False)
    cluster.elect("a")
    cluster.hand("b", "a", AppendReply(2, 1, False, 0, 0))
    assert (cluster.role("a"), cluster["a"].term, cluster["a"].leader) == (Role.FOLLOWER, 2, None)


def test_if_a_server_receives_a_request_with_a_stale_term_it_rejects_the_request() -> None:
    """5.1"""
    cluster = Cluster(checked=False)
    cluster.hand("b", "a", Heartbeat(5, 1, 0))
    cluster.take("a", "b")
    for message in (
        AppendRequest(4, 1, 0, 0, 0, batch((4, b"x"))),
        Heartbeat(4, 1, 0),
        VoteRequest(4, 1, 9, 4, False, False),
    ):
        cluster.hand("c", "a", message)
        (reply,) = cluster.take("a", "c")
        assert reply.term == 5
        assert getattr(reply, "success", None) is not True and getattr(reply, "granted", None) is not True
    assert (cluster["a"].last_index, cluster["a"].leader) == (0, "b")


def test_a_server_remains_in_follower_state_as_long_as_it_receives_messages_from_a_leader() -> None:
    """5.2"""
    cluster = Cluster()
    cluster.elect("a")
    cluster.pass_time(20 * ELECTION_S)
    assert [cluster.role(x) for x in "abc"] == [Role.LEADER, Role.FOLLOWER, Role.FOLLOWER]
    assert cluster["a"].term == 1


def test_if_votes_are_split_each_candidate_times_out_and_a_new_election_decides() -> None:
    """5.2"""
    cluster = Cluster("abcd")
    cluster.cut("a", "d")
    cluster.cut("b", "c")
    for node_id in "ab":
        cluster.timeout(node_id)
        cluster.pump(node_id)
    cluster.settle(kinds=VOTES)
    assert [cluster[x].vote for x in "abcd"] == ["a", "b", "a", "b"]
    assert Role.LEADER not in [cluster.role(x) for x in "abcd"]
    cluster.heal()
    cluster.pass_time(10 * ELECTION_S)
    (leader,) = [x for x in "abcd" if cluster.role(x) is Role.LEADER]
    assert cluster[leader].term > 1


def test_a_leader_brings_the_logs_of_figure_7_into_agreement() -> None:
    """5.3, figure 7: missing entries, extra uncommitted entries, both."""
    cluster = Cluster("abcdefg")
    logs = {
        "a": [1, 1, 1, 4, 4, 5, 5, 6, 6],
        "b": [1, 1, 1, 4],
        "c": [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
        "d": [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
        "e": [1, 1, 1, 4, 4, 4, 4],
        "f": [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
        "g": [1, 1, 1, 4, 4, 5, 5, 6, 6, 6],
    }
    for node_id, log in logs.items():
        cluster.load(node_id, log, 7)
    cluster.elect("g")
    assert cluster["g"].term == 8
    for _ in range(3):
        cluster.heartbeat("g")
    assert {x: terms(cluster, x) for x in logs} == {x: [*logs["g"], 8] for x in logs}
    assert len({tuple(cluster.values(x)) for x in logs}) == 1


@pytest.mark.parametrize(
    ("voter", "grants"), [*zip("abef", [True] * 4, strict=True), ("c", False), ("d", False)]
)
def test_the_voter_denies_its_vote_if_its_own_log_is_more_up_to_date(voter: str, grants: bool) -> None:
    """5.4.1, for the candidate of figure 7, whose last entry is 10 of term 6."""
    last = {"a": (6, 9), "b": (4, 4), "c": (6, 11), "d": (7, 12), "e": (4, 7), "f": (3, 11)}[voter]
    cluster = Cluster("ag", checked=False)
    cluster.load("a", [last[0]] * last[1], 7)
    cluster.hand("g", "a", VoteRequest(8, 1, 10, 6, False, False))
    cluster.sync("a")
    cluster.pump("a")
    (reply,) = cluster.take("a", "g", VoteReply)
    assert isinstance(reply, VoteReply) and reply.granted is grants


def test_a_leader_never_overwrites_or_deletes_entries_in_its_own_log() -> None:
    """5.3, Leader Append-Only"""
    cluster = Cluster(checked=False)
    cluster.elect("a")
    cluster.propose("a", 3)
    cluster.settle()
    for message in (
        AppendRequest(1, 1, 0, 0, 0, batch((1, b"other"))),
        AppendRequest(1, 1, 1, 1, 4, batch((1, b"other"), first_index=2)),
    ):
        cluster.hand("b", "a", message)
    assert (cluster["a"].last_index, cluster.role("a"), cluster["a"].violations) == (4, Role.LEADER, 2)


def test_a_leader_cannot_determine_commitment_using_entries_of_older_terms() -> None:
    """5.4.2, figure 8: an entry of term 2 on a majority, and yet overwritten by one of term 3."""
    cluster = Cluster("abcde", max_batch_entries=1, max_inflight=1)
    for node_id, log in {"a": [1, 2], "b": [1, 2], "c": [1], "d": [1], "e": [1, 3]}.items():
        cluster.load(node_id, log, 3)
    cluster.cut("e", "abcd")
    cluster.elect(
        "a", "abcd", kinds=VOTES
    )  # (c): S1 leads term 4 and goes on replicating its entry of term 2
    cluster.soup = [x for x in cluster.soup if x.to in "cd"]
    for follower in "cd":
        for _ in range(2):  # refused behind entry 2, accepted behind entry 1
            for message in cluster.take("a", follower, AppendRequest):
                cluster.hand("a", follower, message)
            cluster.sync(follower)
            cluster.pump(follower)
            for message in cluster.take(follower, "a"):
                cluster.hand(follower, "a", message)
        assert terms(cluster, follower) == [1, 2]
    assert cluster["a"].progress()["c"].match_index == cluster["a"].progress()["d"].match_index == 2
    assert cluster["a"].commit_index == 0
    cluster.crash("a")  # (d): S5 is elected by S2, S3 and S4 and overwrites the entry with its own
    cluster.soup.clear()
    cluster.heal()
    cluster.elect("e", "bcde")
    cluster.start("a")
    cluster.heartbeat("e")
    cluster.heartbeat("e")
    assert [terms(cluster, x)[:2] for x in "abcde"] == [[1, 3]] * 5


def test_once_an_entry_of_its_own_term_is_committed_all_before_it_are_committed_indirectly() -> None:
    """5.4.2, figure 8 (e)"""
    cluster = Cluster("abcde")
    for node_id, log in {"a": [1, 2], "b": [1, 2], "c": [1], "d": [1], "e": [1, 3]}.items():
        cluster.load(node_id, log, 3)
    cluster.cut("e", "abcd")
    cluster.elect("a", "abcd")
    assert (cluster["a"].commit_index, terms(cluster, "a")) == (3, [1, 2, 4])
    cluster.crash("a")
    cluster.heal()
    cluster.elect("b", "bcde")
    cluster.heartbeat("b")
    assert terms(cluster, "e")[:3] == [1, 2, 4]


def test_requests_are_idempotent() -> None:
    """5.5: a follower that gets an AppendEntries with entries that are in its log already ignores those."""
    cluster = Cluster()
    cluster.elect("a")
    cluster.propose("a", 3)
    cluster.pump("a")
    messages = cluster.take("a", "b")
    for _ in range(3):
        for message in messages:
            cluster.hand("a", "b", message)
    cluster.settle()
    assert terms(cluster, "b") == [1, 1, 1, 1]
    assert cluster.values("b") == cluster.values("a")


def test_servers_disregard_vote_requests_when_they_believe_a_current_leader_exists() -> None:
    """6, third issue (removed servers)"""
    cluster = Cluster()
    cluster.elect("a")
    cluster.cut("a", "c")
    for _ in range(20):
        cluster.heartbeat("a", "ab")
        cluster.timeout("c")
        cluster.settle("bc")
    assert (cluster.role("a"), {cluster[x].term for x in "abc"}) == (Role.LEADER, {1})


def test_a_follower_retains_what_follows_a_snapshot_that_describes_a_prefix_of_its_log() -> None:
    """7: ...entries following the snapshot are still valid and must be retained."""
    cluster = Cluster(trailing_entries=0)
    cluster.elect("a")
    cluster.propose("a", 4)
    cluster.settle()
    cluster.snapshot("a")
    snapshot = cluster["a"].snapshot
    assert snapshot is not None
    cluster.crash("b")
    cluster.start("b")  # its commit index is unknown again
    cluster.propose("a", 2)
    cluster.settle(synced="a")
    cluster.hand("a", "b", SnapshotChunk(1, 1, snapshot.meta, 0, b""))
    assert (cluster["b"].commit_index, cluster["b"].last_index) == (5, cluster["a"].last_index)


def test_each_leader_commits_a_blank_entry_at_the_start_of_its_term() -> None:
    """8"""
    cluster = Cluster()
    cluster.elect("a")
    cluster.elect("b")
    assert [data for _, data in cluster.nodes["c"].machine.entries] == [b"", b""]
    assert terms(cluster, "c") == [1, 2]


def test_a_leader_exchanges_heartbeats_with_a_majority_before_it_answers_a_read() -> None:
    """8"""
    cluster = Cluster("abcde")
    cluster.elect("a")
    cluster.read("a")
    cluster.pump("a")
    assert cluster.served == {}
    assert all(isinstance(cluster.take("a", x)[0], Heartbeat) for x in "bcde")
    cluster.advance("a", HEARTBEAT_S)
    cluster.settle()
    assert cluster.served == {1: 1}
