"""Leadership transfer (dissertation 3.10)."""

import pytest

from quorate.consensus.raft import ProposalRefused, Refusal, Role
from quorate.consensus.raft.messages import TimeoutNow, VoteRequest

from .harness import ELECTION_S, Cluster


def test_leadership_moves_without_any_timeout() -> None:
    cluster = Cluster("abcde")
    cluster.elect("a")
    cluster.propose("a", 3)
    cluster["a"].transfer("d", cluster.nodes["a"].now)
    cluster.settle()
    assert (cluster.role("d"), cluster["d"].term) == (Role.LEADER, 2)
    assert [cluster[x].leader for x in "abce"] == ["d"] * 4
    assert len(cluster.values("d")) == 3


def test_a_target_that_is_behind_is_brought_up_to_date_first() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster.cut("c", "ab")
    cluster.propose("a", 10)
    cluster.settle()
    cluster.heal()
    cluster["a"].transfer("c", cluster.nodes["a"].now)
    cluster.pump("a")
    assert cluster.take("a", "c", TimeoutNow) == []
    for _ in range(3):
        if cluster.role("a") is Role.LEADER:
            cluster.heartbeat("a")
    assert cluster.role("c") is Role.LEADER
    assert len(cluster.values("c")) == 10


def test_proposals_are_refused_while_leadership_moves() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster.cut("c", "a")
    cluster["a"].transfer("c", cluster.nodes["a"].now)
    with pytest.raises(ProposalRefused) as refused:
        cluster.propose("a")
    assert refused.value.reason is Refusal.TRANSFERRING


def test_a_transfer_that_does_not_happen_is_given_up_after_an_election_timeout() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster.cut("c", "a")
    begun = cluster.nodes["a"].now
    cluster["a"].transfer("c", begun)
    while cluster.nodes["a"].now < begun + ELECTION_S:
        cluster.timeout("a")
        cluster.settle("ab")
    cluster.propose("a")
    cluster.settle()
    assert cluster.values("b") == [b"1"]


def test_the_target_asks_for_votes_in_the_leaders_name() -> None:
    """Its request overrides the stickiness of followers that hear their leader well."""
    cluster = Cluster()
    cluster.elect("a")
    cluster.heartbeat("a")
    cluster["a"].transfer("b", cluster.nodes["a"].now)
    cluster.pump("a")
    cluster.hand("a", "b", cluster.take("a", "b", TimeoutNow)[0])
    cluster.sync("b")
    cluster.pump("b")
    (request,) = cluster.take("b", "c")
    assert request == VoteRequest(2, request.round, 1, 1, pre=False, transfer=True)


def test_a_late_order_to_campaign_is_ignored() -> None:
    cluster = Cluster(checked=False)
    cluster.elect("a")
    cluster.elect("b")
    cluster.hand("a", "c", TimeoutNow(1, 5))
    assert (cluster.role("c"), cluster["c"].term) == (Role.FOLLOWER, 2)
    cluster.hand("a", "c", TimeoutNow(2, 5))  # a does not lead term 2
    assert (cluster.role("c"), cluster["c"].term) == (Role.FOLLOWER, 2)


def test_a_leader_may_transfer_to_itself_and_only_to_voters() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster["a"].transfer("a", 0.0)
    cluster.propose("a")
    with pytest.raises(ValueError):
        cluster["a"].transfer("x", 0.0)
    with pytest.raises(ProposalRefused):
        cluster["b"].transfer("c", 0.0)
