"""Linearizable reads: a round of their own, a commit of their own term, and nothing from an earlier time."""

import pytest

from quorate.consensus.raft import ProposalRefused, Role
from quorate.consensus.raft.messages import Heartbeat, HeartbeatReply

from .harness import ELECTION_S, HEARTBEAT_S, Cluster


def test_a_read_sees_what_was_committed_before_it() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster.propose("a", 3)
    cluster.settle()
    context = cluster.read("a")
    cluster.settle()
    assert cluster.served[context] == 4


def test_reads_between_two_readies_share_one_round() -> None:
    cluster = Cluster()
    cluster.elect("a")
    contexts = [cluster.read("a") for _ in range(5)]
    cluster.pump("a")
    assert len(cluster.take("a", "b")) == 1
    cluster.settle()
    assert sorted(cluster.served) == contexts


def test_a_read_is_not_served_without_a_quorum() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster.cut("a", "bc")
    cluster.read("a")
    cluster.settle()
    cluster.heartbeat("a")
    assert cluster.served == {}


def test_a_leader_that_was_deposed_without_knowing_serves_no_read() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster.cut("a", "bc")
    cluster.elect("b", "bc")
    cluster.propose("b")
    cluster.settle()
    assert cluster.role("a") is Role.LEADER
    context = cluster.read("a")
    cluster.settle()
    assert cluster.served == {}
    cluster.heal()
    cluster.heartbeat("b")
    assert cluster.failed == {context}


def test_an_answer_to_a_message_from_before_the_read_does_not_confirm_it() -> None:
    cluster = Cluster(checked=False)
    cluster.elect("a")
    cluster.advance("a", HEARTBEAT_S)
    cluster.pump("a")
    (earlier,) = cluster.take("a", "b")
    cluster.read("a")
    cluster.pump("a")
    (later,) = cluster.take("a", "b")
    cluster.take("a", "c")
    cluster.hand("b", "a", HeartbeatReply(1, earlier.round, 1))
    assert cluster.served == {}
    cluster.hand("b", "a", HeartbeatReply(1, later.round, 1))
    assert cluster.served == {1: 1}


def test_any_later_answer_confirms_a_read_whose_own_round_was_lost() -> None:
    cluster = Cluster()
    cluster.elect("a")
    context = cluster.read("a")
    cluster.pump("a")
    cluster.take("a", "b")
    cluster.take("a", "c")
    cluster.settle()
    assert cluster.served == {}
    cluster.heartbeat("a")
    assert context in cluster.served


def test_reads_wait_for_the_first_entry_of_the_leaders_own_term_to_be_committed() -> None:
    """Before that it does not know what its predecessors have committed (dissertation 6.4)."""
    cluster = Cluster()
    cluster.elect("a")
    cluster.propose("a")
    cluster.settle("ab")
    cluster.cut("a", "bc")
    for node_id in "bc":
        cluster.nodes[node_id].now += ELECTION_S
    while cluster.role("b") is not Role.LEADER:
        cluster.timeout("b")
        cluster.settle("bc", synced="b")
        cluster.sync("c")
        cluster.settle("bc", synced="")
    context = cluster.read("b")
    cluster.settle("bc", synced="")
    cluster.heartbeat("b", ["b"])
    assert cluster.served == {}
    cluster.settle()
    assert cluster.served == {context: 3}


def test_a_lone_voter_confirms_its_reads_itself() -> None:
    cluster = Cluster("a")
    cluster.elect("a")
    cluster.read("a")
    cluster.pump("a")
    assert cluster.served == {1: 1}


def test_five_need_two_answers() -> None:
    cluster = Cluster("abcde", checked=False)
    cluster.elect("a")
    cluster.read("a")
    cluster.pump("a")
    (beat,) = cluster.take("a", "b")
    cluster.hand("b", "a", HeartbeatReply(1, beat.round, 1))
    cluster.hand("b", "a", HeartbeatReply(1, beat.round, 1))
    assert cluster.served == {}
    cluster.hand("c", "a", HeartbeatReply(1, beat.round, 1))
    assert cluster.served == {1: 1}


def test_reads_that_come_faster_than_answers_gather() -> None:
    cluster = Cluster()
    cluster.elect("a")
    for _ in range(10):
        cluster.read("a")
        cluster.pump("a")
    assert len(cluster.take("a", "b", Heartbeat)) == 4
    cluster.take("a", "c")
    cluster.heartbeat("a")
    assert len(cluster.served) == 10


def test_reads_fail_when_leadership_is_lost() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster.cut("a", "bc")
    first = cluster.read("a")
    cluster.pump("a")
    second = cluster.read("a")
    cluster.advance("a", 10.0)
    cluster.pump("a")
    assert cluster.role("a") is Role.FOLLOWER
    assert cluster.failed == {first, second}
    assert cluster.served == {}


def test_a_read_confirmed_before_leadership_was_lost_is_served() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster.read("a")
    cluster.pump("a")
    cluster.settle("bc")
    for letter in [x for x in cluster.soup if x.to == "b"]:
        cluster.deliver(letter)
    cluster.pump("b")
    (reply,) = cluster.take("b", "a")
    cluster["a"].step("b", reply, cluster.nodes["a"].now)
    cluster.advance("a", 10.0)
    cluster.pump("a")
    assert (cluster.served, cluster.failed) == ({1: 1}, set())


def test_only_a_leader_takes_reads() -> None:
    cluster = Cluster()
    cluster.elect("a")
    with pytest.raises(ProposalRefused) as refused:
        cluster.read("b")
    assert refused.value.leader == "a"
