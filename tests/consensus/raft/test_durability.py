"""What is durable before what leaves: votes, terms, acknowledgements, and writes that overtake each other."""

import pytest

from quorate.consensus.raft import HardState, Role
from quorate.consensus.raft.messages import (
    AppendReply,
    AppendRequest,
    Heartbeat,
    HeartbeatReply,
    VoteReply,
    VoteRequest,
)

from .harness import ELECTION_S, Cluster, batch


def replies(cluster: Cluster, to: str) -> list[tuple[bool, int]]:
    """What `a` has acknowledged to a leader."""
    return [(x.success, x.index) for x in cluster.take("a", to, AppendReply) if isinstance(x, AppendReply)]


def test_a_vote_is_durable_before_it_is_answered() -> None:
    cluster = Cluster(checked=False)
    cluster.hand("b", "a", VoteRequest(3, 1, 0, 0, False, False))
    assert cluster.take("a", "b") == []
    assert cluster.nodes["a"].disk.pending[0].hard_state == HardState(3, "b")
    cluster.sync("a")
    cluster.pump("a")
    assert cluster.take("a", "b") == [VoteReply(3, 1, True, False)]


def test_a_vote_that_was_answered_is_remembered_after_a_crash() -> None:
    cluster = Cluster(checked=False)
    cluster.hand("b", "a", VoteRequest(3, 1, 0, 0, False, False))
    cluster.sync("a")
    cluster.crash("a")
    cluster.start("a")
    assert (cluster["a"].term, cluster["a"].vote) == (3, "b")
    cluster.hand("c", "a", VoteRequest(3, 1, 0, 0, False, False))
    assert cluster.take("a", "c") == [VoteReply(3, 1, False, False)]


def test_a_vote_of_which_a_crash_left_nothing_was_answered_to_nobody() -> None:
    cluster = Cluster(checked=False)
    cluster.hand("b", "a", VoteRequest(3, 1, 0, 0, False, False))
    cluster.crash("a")
    cluster.start("a")
    assert (cluster["a"].term, cluster.soup) == (0, [])
    cluster.hand("c", "a", VoteRequest(3, 1, 0, 0, False, False))
    cluster.sync("a")
    cluster.pump("a")
    assert cluster.take("a", "c") == [VoteReply(3, 1, True, False)]


def test_a_new_term_is_durable_before_votes_are_asked_for_in_it() -> None:
    cluster = Cluster(checked=False)
    cluster.timeout("a")
    cluster.pump("a")
    round_ = cluster.take("a", "b")[0].round
    cluster.hand("b", "a", VoteReply(1, round_, True, True))
    assert cluster.role("a") is Role.CANDIDATE
    assert cluster.take("a", "b") == []
    cluster.sync("a")
    cluster.pump("a")
    (request,) = cluster.take("a", "b")
    assert isinstance(request, VoteRequest) and not request.pre


def test_an_own_vote_counts_when_it_is_durable() -> None:
    """A lone voter whose vote is not on its disk would lead a term that it forgets in a crash."""
    cluster = Cluster("a")
    cluster.timeout("a")
    cluster.pump("a")
    assert cluster.role("a") is Role.CANDIDATE
    cluster.crash("a")
    cluster.start("a")
    assert cluster["a"].term == 0
    cluster.elect("a")
    assert cluster.role("a") is Role.LEADER


def test_entries_are_durable_before_they_are_acknowledged() -> None:
    cluster = Cluster(checked=False)
    cluster.hand("b", "a", AppendRequest(1, 1, 0, 0, 0, batch((1, b"x"), (1, b"y"))))
    assert replies(cluster, "b") == []
    cluster.sync("a")
    cluster.pump("a")
    assert replies(cluster, "b") == [(True, 2)]


def test_several_writes_are_outstanding_and_each_releases_what_waited_for_it() -> None:
    cluster = Cluster(checked=False)
    for index in (1, 2, 3):
        prev = (index - 1, min(index - 1, 1))
        cluster.hand("b", "a", AppendRequest(1, index, *prev, 0, batch((1, b"x"), first_index=index)))
    assert [write.seq for write in cluster.nodes["a"].disk.pending] == [1, 2, 3]
    assert replies(cluster, "b") == []
    cluster.sync("a", 2)
    cluster.pump("a")
    assert replies(cluster, "b") == [(True, 1), (True, 2)]
    cluster.sync("a")
    cluster.pump("a")
    assert replies(cluster, "b") == [(True, 3)]


def test_a_repeated_message_is_not_acknowledged_before_the_first_one_is_durable() -> None:
    cluster = Cluster(checked=False)
    message = AppendRequest(1, 1, 0, 0, 0, batch((1, b"x")))
    cluster.hand("b", "a", message)
    cluster.hand("b", "a", message)
    assert replies(cluster, "b") == []
    cluster.sync("a")
    cluster.pump("a")
    assert replies(cluster, "b") == [(True, 1), (True, 1)]
    cluster.hand("b", "a", message)
    assert replies(cluster, "b") == [(True, 1)]


def test_a_refusal_and_a_heartbeat_wait_for_no_disk() -> None:
    cluster = Cluster(checked=False)
    cluster.hand("b", "a", AppendRequest(1, 1, 5, 1, 0, batch(first_index=6)))
    cluster.hand("b", "a", Heartbeat(1, 2, 0))
    assert cluster.take("a", "b") == [AppendReply(1, 1, False, 0, 0), HeartbeatReply(1, 2, 0)]


def test_a_term_is_durable_before_old_entries_are_acknowledged_in_it() -> None:
    cluster = Cluster(checked=False)
    cluster.hand("b", "a", AppendRequest(1, 1, 0, 0, 0, batch((1, b"x"))))
    cluster.sync("a")
    cluster.pump("a")
    assert replies(cluster, "b") == [(True, 1)]
    cluster.hand("c", "a", AppendRequest(2, 1, 1, 1, 0, batch(first_index=2)))
    assert replies(cluster, "c") == []
    cluster.sync("a")
    cluster.pump("a")
    assert replies(cluster, "c") == [(True, 1)]


def test_what_an_overtaken_write_makes_durable_ends_where_the_later_one_began() -> None:
    """Entries 2 and 3 of term 1 are on their way to the disk when term 2 replaces entry 2."""
    cluster = Cluster(checked=False)
    cluster.hand("b", "a", AppendRequest(1, 1, 0, 0, 0, batch((1, b"1"))))
    cluster.sync("a")
    cluster.hand("b", "a", AppendRequest(1, 2, 1, 1, 0, batch((1, b"2"), (1, b"3"), first_index=2)))
    cluster.hand("c", "a", AppendRequest(2, 3, 1, 1, 0, batch((2, b"x"), (2, b"y"), first_index=2)))
    cluster.take("a", "b")
    cluster.sync("a", 1)
    cluster.pump("a")
    assert cluster["a"].durable_index == 1
    assert replies(cluster, "c") == []
    cluster.sync("a", 1)
    cluster.pump("a")
    assert cluster["a"].durable_index == 3
    assert replies(cluster, "c") == [(True, 3)]


def test_what_was_held_for_an_earlier_term_is_not_said_any_more() -> None:
    cluster = Cluster(checked=False)
    cluster.hand("b", "a", AppendRequest(1, 1, 0, 0, 0, batch((1, b"1"))))
    cluster.hand("c", "a", Heartbeat(2, 1, 0))
    cluster.sync("a")
    cluster.pump("a")
    assert cluster.take("a", "b") == []


def test_entries_are_applied_when_they_are_committed_and_durable_here() -> None:
    cluster = Cluster(checked=False)
    cluster.hand("b", "a", AppendRequest(1, 1, 0, 0, 2, batch((1, b"1"), (1, b"2"))))
    assert (cluster["a"].commit_index, cluster.values("a")) == (2, [])
    cluster.sync("a")
    cluster.pump("a")
    assert cluster.values("a") == [b"1", b"2"]
    assert cluster["a"].applied_index == 2


def test_a_write_that_was_never_asked_for_cannot_be_durable() -> None:
    cluster = Cluster()
    with pytest.raises(ValueError, match="write 1 is durable, but 0 was the last"):
        cluster["a"].persisted(1, 0.0)


def test_what_was_not_handed_out_cannot_be_applied() -> None:
    cluster = Cluster()
    with pytest.raises(ValueError, match="not handed out"):
        cluster["a"].applied(1)


def test_the_write_of_a_restarted_node_continues_its_log() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster.propose("a", 3)
    cluster.settle()
    cluster.crash("c")
    cluster.propose("a", 2)
    cluster.settle()
    cluster.start("c")
    cluster.heartbeat("a")
    cluster.heartbeat("a")
    assert cluster.values("c") == cluster.values("a")
    assert len(cluster.nodes["c"].disk.entries) == 6


def test_all_nodes_crash_at_once_and_nothing_committed_is_lost() -> None:
    cluster = Cluster("abcde")
    cluster.elect("a")
    data = cluster.propose("a", 5)
    cluster.settle()
    for node_id in "abcde":
        cluster.crash(node_id)
    for node_id in "abcde":
        cluster.start(node_id)
        cluster.nodes[node_id].now += ELECTION_S
    cluster.elect("e")
    assert [cluster.values(x) for x in "abcde"] == [data] * 5
