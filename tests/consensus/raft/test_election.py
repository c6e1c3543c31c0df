"""Elections: pre-votes, votes, stickiness, and when a leader gives up."""

import pytest

from quorate.consensus.raft import Role
from quorate.consensus.raft.messages import (
    AppendReply,
    AppendRequest,
    Heartbeat,
    HeartbeatReply,
    VoteReply,
    VoteRequest,
)

from .harness import ELECTION_S, HEARTBEAT_S, Cluster, batch


def granted(cluster: Cluster, sender: str, to: str) -> list[bool]:
    """Take the answers to vote requests off a link."""
    return [x.granted for x in cluster.take(sender, to, VoteReply) if isinstance(x, VoteReply)]


def test_a_follower_that_hears_nothing_first_asks_whether_it_could_win() -> None:
    cluster = Cluster()
    cluster.timeout("a")
    cluster.pump("a")
    assert (cluster.role("a"), cluster["a"].term) == (Role.PRE_CANDIDATE, 0)
    (request,) = cluster.take("a", "b")
    assert request == VoteRequest(1, request.round, 0, 0, pre=True, transfer=False)


def test_a_candidate_with_the_votes_of_a_majority_leads() -> None:
    cluster = Cluster("abcde")
    cluster.cut("de", "abc")
    cluster.elect("a", "abc")
    assert (cluster.role("a"), cluster["a"].term, cluster["a"].leader) == (Role.LEADER, 1, "a")
    assert {cluster[x].leader for x in "bc"} == {"a"}


def test_election_timeouts_lie_between_one_and_two_times_the_setting() -> None:
    deadlines = [Cluster("abc", seed)["a"].deadline() for seed in range(50)]
    assert ELECTION_S <= min(deadlines) < 1.1 * ELECTION_S
    assert 1.9 * ELECTION_S < max(deadlines) < 2 * ELECTION_S


def test_a_node_that_reaches_nobody_keeps_its_term() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster.cut("c", "ab")
    for _ in range(20):
        cluster.timeout("c")
        cluster.settle("c")
    assert (cluster.role("c"), cluster["c"].term) == (Role.PRE_CANDIDATE, 1)


def test_a_node_that_comes_back_disturbs_nobody() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster.cut("c", "ab")
    cluster.propose("a")
    cluster.settle()
    cluster.timeout("c")
    cluster.pump("c")
    cluster.heal()
    cluster.timeout("c")
    cluster.settle()
    cluster.heartbeat("a")
    assert (cluster.role("a"), cluster["a"].term) == (Role.LEADER, 1)
    assert (cluster.role("c"), cluster["c"].leader) == (Role.FOLLOWER, "a")
    assert cluster.values("c") == cluster.values("a")


def test_a_pre_candidate_refused_by_a_majority_follows_again_in_the_same_term() -> None:
    cluster = Cluster(checked=False)
    cluster.timeout("a")
    cluster.pump("a")
    round_ = cluster.take("a", "b")[0].round
    cluster.hand("b", "a", VoteReply(0, round_, False, True))
    assert cluster.role("a") is Role.PRE_CANDIDATE
    cluster.hand("c", "a", VoteReply(0, round_, False, True))
    assert (cluster.role("a"), cluster["a"].term) == (Role.FOLLOWER, 0)


@pytest.mark.parametrize(
    ("last_term", "last_index", "expected"),
    [(2, 3, True), (2, 4, True), (3, 1, True), (2, 2, False), (1, 9, False), (0, 0, False)],
)
@pytest.mark.parametrize("pre", [True, False])
def test_a_vote_goes_only_to_a_log_that_is_at_least_as_up_to_date(
    last_term: int, last_index: int, expected: bool, pre: bool
) -> None:
    """The voter's log has the terms 1, 1, 2."""
    cluster = Cluster(checked=False)
    cluster.hand("c", "a", AppendRequest(2, 1, 0, 0, 0, batch((1, b"x"), (1, b"y"), (2, b"z"))))
    cluster.sync("a")
    cluster.nodes["a"].now += ELECTION_S
    cluster.hand("b", "a", VoteRequest(5, 7, last_index, last_term, pre, False))
    cluster.sync("a")
    cluster.pump("a")
    assert granted(cluster, "a", "b") == [expected]


def test_a_voter_has_one_vote_in_a_term() -> None:
    cluster = Cluster(checked=False)
    cluster.hand("b", "a", VoteRequest(1, 1, 0, 0, False, False))
    cluster.hand("c", "a", VoteRequest(1, 1, 9, 9, False, False))
    cluster.hand("b", "a", VoteRequest(1, 2, 0, 0, False, False))
    cluster.sync("a")
    cluster.pump("a")
    assert granted(cluster, "a", "c") == [False]
    assert granted(cluster, "a", "b") == [True, True]
    cluster.hand("c", "a", VoteRequest(2, 3, 9, 9, False, False))
    cluster.sync("a")
    cluster.pump("a")
    assert granted(cluster, "a", "c") == [True]


def test_a_pre_vote_is_no_vote() -> None:
    cluster = Cluster(checked=False)
    cluster.hand("b", "a", VoteRequest(1, 1, 0, 0, True, False))
    cluster.hand("c", "a", VoteRequest(1, 1, 0, 0, True, False))
    assert granted(cluster, "a", "b") == granted(cluster, "a", "c") == [True]
    assert (cluster["a"].term, cluster["a"].vote) == (0, None)


def candidate(cluster: Cluster) -> int:
    """Make `a` a candidate of term 1 with its own vote durable; the round of its candidacy."""
    cluster.timeout("a")
    cluster.pump("a")
    round_ = cluster.take("a", "b")[0].round
    for voter in [x for x in cluster.nodes if x != "a"]:
        cluster.hand(voter, "a", VoteReply(1, round_, True, True))
    cluster.sync("a")
    cluster.pump("a")
    assert cluster.role("a") is Role.CANDIDATE
    return cluster.take("a", "b", VoteRequest)[-1].round


def test_a_voter_counts_once_however_often_it_answers() -> None:
    cluster = Cluster("abcde", checked=False)
    round_ = candidate(cluster)
    for _ in range(3):
        cluster.hand("b", "a", VoteReply(1, round_, True, False))
    assert cluster.role("a") is Role.CANDIDATE
    cluster.hand("c", "a", VoteReply(1, round_, True, False))
    assert cluster.role("a") is Role.LEADER


def test_only_members_count() -> None:
    cluster = Cluster("abcde", checked=False)
    round_ = candidate(cluster)
    for stranger in "xyz":
        cluster["a"].step(stranger, VoteReply(1, round_, True, False), 0.0)
    cluster["a"].step("a", VoteReply(1, round_, True, False), 0.0)
    assert cluster.role("a") is Role.CANDIDATE
    assert cluster["a"].violations == 4


def test_an_answer_to_an_earlier_candidacy_does_not_count() -> None:
    cluster = Cluster(checked=False)
    round_ = candidate(cluster)
    cluster.timeout("a")
    cluster.pump("a")
    assert cluster.role("a") is Role.PRE_CANDIDATE
    cluster.hand("b", "a", VoteReply(1, round_, True, False))
    assert (cluster.role("a"), cluster["a"].term) == (Role.PRE_CANDIDATE, 1)
    cluster.hand("b", "a", VoteReply(2, round_, True, True))  # not the round of this question
    assert (cluster.role("a"), cluster["a"].term) == (Role.PRE_CANDIDATE, 1)


def test_a_refusal_of_a_later_term_ends_a_candidacy() -> None:
    cluster = Cluster(checked=False)
    round_ = candidate(cluster)
    cluster.hand("b", "a", VoteReply(7, round_, False, False))
    assert (cluster.role("a"), cluster["a"].term, cluster["a"].vote) == (Role.FOLLOWER, 7, None)


def test_a_candidate_follows_a_leader_of_its_term() -> None:
    cluster = Cluster(checked=False)
    candidate(cluster)
    cluster.hand("b", "a", Heartbeat(1, 5, 0))
    assert (cluster.role("a"), cluster["a"].leader) == (Role.FOLLOWER, "b")


def test_whoever_is_behind_in_term_is_told_the_term() -> None:
    cluster = Cluster(checked=False)
    cluster.hand("b", "a", Heartbeat(4, 5, 0))
    for request in (VoteRequest(3, 7, 9, 3, False, False), VoteRequest(3, 8, 9, 3, True, False)):
        cluster.hand("c", "a", request)
        assert cluster.take("a", "c") == [VoteReply(4, request.round, False, request.pre)]
    cluster.hand("c", "a", Heartbeat(3, 8, 0))
    assert cluster.take("a", "c") == [AppendReply(4, 8, False, 0, 0)]
    assert cluster["a"].leader == "b"


def test_a_follower_that_hears_its_leader_votes_for_nobody_else() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster.heartbeat("a")
    for pre in (True, False):
        cluster.hand("c", "b", VoteRequest(9, 1, 99, 9, pre, False))
        assert granted(cluster, "b", "c") == [False]
    assert (cluster["b"].term, cluster["b"].leader) == (1, "a")


def test_a_leader_with_a_quorum_does_not_give_way_to_a_candidate() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster.hand("c", "a", VoteRequest(9, 1, 99, 9, False, False))
    assert (cluster.role("a"), cluster["a"].term) == (Role.LEADER, 1)


def test_a_follower_that_has_not_heard_its_leader_for_an_election_timeout_votes_again() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster.heartbeat("a")
    cluster.nodes["b"].now += ELECTION_S * 0.99
    cluster.hand("c", "b", VoteRequest(2, 1, 99, 9, True, False))
    cluster.nodes["b"].now += ELECTION_S * 0.02
    cluster.hand("c", "b", VoteRequest(2, 2, 99, 9, True, False))
    assert granted(cluster, "b", "c") == [False, True]


def test_a_broken_connection_to_the_leader_ends_the_wait_for_it() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster.crash("a")
    for node_id in "bc":
        node = cluster.nodes[node_id]
        node.core.unreachable("a", node.now)
        assert node.core.leader is None
        assert node.core.deadline() - node.now < HEARTBEAT_S
    first = min("bc", key=lambda x: cluster[x].deadline() - cluster.nodes[x].now)
    cluster.timeout(first)
    cluster.settle()
    assert (cluster.role(first), cluster[first].term) == (Role.LEADER, 2)


def test_those_who_lost_their_leader_take_turns() -> None:
    for seed in range(20):
        cluster = Cluster("abcde", seed)
        cluster.elect("c")
        waits = []
        for node_id in "abde":
            node = cluster.nodes[node_id]
            node.core.unreachable("c", node.now)
            waits.append(node.core.deadline() - node.now)
        turn = HEARTBEAT_S / 4
        assert all(at * turn <= wait < (at + 0.5) * turn + 1e-9 for at, wait in enumerate(waits))


def test_a_broken_connection_to_another_follower_changes_nothing() -> None:
    cluster = Cluster()
    cluster.elect("a")
    before = cluster["b"].deadline()
    cluster["b"].unreachable("c", cluster.nodes["b"].now)
    assert (cluster["b"].deadline(), cluster["b"].leader) == (before, "a")


def test_a_leader_steps_down_when_no_quorum_answers_for_an_election_timeout() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster.heartbeat("a")
    cluster.cut("a", "bc")
    silent_since = cluster.nodes["a"].now
    for _ in range(100):
        if cluster.role("a") is Role.LEADER:
            cluster.timeout("a")
            cluster.pump("a")
    assert cluster.nodes["a"].now == pytest.approx(silent_since + ELECTION_S)
    assert (cluster["a"].term, cluster["a"].leader) == (1, None)


def test_a_leader_stays_as_long_as_a_quorum_answers() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster.cut("c", "ab")
    for _ in range(50):
        cluster.heartbeat("a", "ab")
    assert cluster.role("a") is Role.LEADER


def test_a_leader_that_wakes_after_a_long_pause_does_not_believe_that_it_leads() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster.advance("a", 60.0)
    assert cluster.role("a") is Role.FOLLOWER


def test_a_second_leader_in_a_term_is_not_believed() -> None:
    cluster = Cluster(checked=False)
    cluster.hand("b", "a", Heartbeat(1, 5, 0))
    cluster.hand("c", "a", AppendRequest(1, 5, 0, 0, 0, batch((1, b"x"))))
    assert (cluster["a"].leader, cluster["a"].last_index, cluster["a"].violations) == ("b", 0, 1)


def test_a_lone_voter_leads_at_once_when_its_vote_is_durable() -> None:
    cluster = Cluster("a")
    cluster.timeout("a")
    cluster.pump("a")
    assert cluster.nodes["a"].now == 0.0
    assert cluster.role("a") is Role.CANDIDATE
    cluster.sync("a")
    assert cluster.role("a") is Role.LEADER
    cluster.propose("a")
    cluster.settle()
    assert cluster.values("a") == [b"1"]


def test_an_answer_to_what_was_never_sent_is_not_believed() -> None:
    cluster = Cluster(checked=False)
    cluster.elect("a")
    contact = cluster["a"].progress()["b"].contact
    cluster.nodes["a"].now += ELECTION_S / 2
    cluster.hand("b", "a", HeartbeatReply(1, 1 << 61, 0))
    cluster.hand("b", "a", AppendReply(1, 1, True, 77, 0))
    assert cluster["a"].violations == 2
    assert cluster["a"].progress()["b"].contact == contact
    assert cluster["a"].commit_index == 1
