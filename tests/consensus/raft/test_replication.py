"""Replication: batches, windows, refusals and hints, the commit index, and what a follower never does."""

import pytest

from quorate.consensus.raft import PeerState, ProposalRefused, Refusal, Role
from quorate.consensus.raft.messages import (
    AppendReply,
    AppendRequest,
    Heartbeat,
    HeartbeatReply,
    Message,
)

from .harness import ELECTION_S, HEARTBEAT_S, Cluster, batch


def appends(messages: list[Message]) -> list[AppendRequest]:
    return [message for message in messages if isinstance(message, AppendRequest)]


def follower_with(*entries: tuple[int, bytes], commit: int = 0) -> Cluster:
    """A cluster in which `a` has these entries, durable, from leader `b` of the last entry's term."""
    cluster = Cluster(checked=False)
    cluster.hand("b", "a", AppendRequest(max(1, entries[-1][0]), 1, 0, 0, commit, batch(*entries)))
    cluster.sync("a")
    cluster.pump("a")
    cluster.take("a", "b")
    return cluster


def answer(cluster: Cluster, sender: str, message: AppendRequest) -> AppendReply:
    """What `a` answers when its disk is quick."""
    cluster.hand(sender, "a", message)
    cluster.sync("a")
    cluster.pump("a")
    (reply,) = cluster.take("a", sender, AppendReply)
    assert isinstance(reply, AppendReply)
    return reply


def terms(cluster: Cluster, node_id: str) -> list[int | None]:
    core = cluster[node_id]
    return [core.term_at(index) for index in range(core.first_index, core.last_index + 1)]


def test_a_command_is_applied_everywhere_in_the_same_order() -> None:
    cluster = Cluster("abcde")
    cluster.elect("c")
    data = [*cluster.propose("c", 3), *cluster.propose("c", 2)]
    cluster.settle()
    assert [cluster.values(x) for x in "abcde"] == [data] * 5


def test_proposals_between_two_readies_leave_in_one_message() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster.propose("a", 3)
    cluster.propose("a", 2)
    cluster.pump("a")
    (message,) = appends(cluster.take("a", "b"))
    assert len(message.entries) == 5


def test_followers_at_the_same_place_are_sent_one_and_the_same_object() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster.propose("a", 3)
    ready = cluster["a"].ready(cluster.nodes["a"].now)
    assert ready is not None
    (_, first), (_, second) = ready.messages
    assert first is second


def test_a_quorum_without_the_leader_commits_but_the_leader_applies_what_is_durable_there() -> None:
    """Dissertation 10.2.1: the leader writes to its disk while its messages are on their way."""
    cluster = Cluster()
    cluster.elect("a")
    cluster.propose("a")
    cluster.settle(synced="bc")
    assert (cluster["a"].commit_index, cluster["a"].durable_index) == (2, 1)
    assert (cluster.values("a"), cluster.values("b")) == ([], [b"1"])
    cluster.settle()
    assert cluster.values("a") == [b"1"]


def test_a_leaders_own_entries_count_when_they_are_durable() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster.cut("a", "c")
    cluster.propose("a")
    cluster.settle(synced="b")
    assert cluster["a"].commit_index == 1
    cluster.settle()
    assert cluster["a"].commit_index == 2


def test_no_more_than_the_window_is_sent_without_an_answer() -> None:
    cluster = Cluster(max_inflight=3, max_batch_entries=2)
    cluster.elect("a")
    cluster.propose("a", 20)
    cluster.pump("a")
    sent = appends(cluster.take("a", "b"))
    assert [len(x.entries) for x in sent] == [2, 2, 2]
    assert cluster["a"].progress()["b"].inflight == 3
    for message in sent[:2]:
        cluster.hand("a", "b", message)
    cluster.sync("b")
    cluster.pump("b")
    for reply in cluster.take("b", "a"):
        cluster.hand("b", "a", reply)
    assert [x.prev_index for x in appends(cluster.take("a", "b"))] == [7, 9]


def test_a_batch_is_bounded_in_bytes() -> None:
    cluster = Cluster(max_batch_bytes=100, max_inflight=100)
    cluster.elect("a")
    cluster.propose("a", 10, size=39)
    cluster.pump("a")
    assert [len(x.entries) for x in appends(cluster.take("a", "b"))] == [2] * 5


def test_an_entry_larger_than_a_batch_travels_alone() -> None:
    cluster = Cluster(max_batch_bytes=100)
    cluster.elect("a")
    cluster.propose("a", 1, size=1000)
    cluster.propose("a", 1, size=10)
    cluster.settle()
    assert len(cluster.values("b")) == 2


def test_proposals_beyond_the_limit_are_refused_until_earlier_ones_are_committed() -> None:
    cluster = Cluster(max_uncommitted_bytes=1000)
    cluster.elect("a")
    cluster.propose("a", 1, size=5000)  # the first is taken, whatever its size
    with pytest.raises(ProposalRefused) as refused:
        cluster.propose("a", 1)
    assert (refused.value.reason, refused.value.leader) == (Refusal.OVERLOADED, "a")
    cluster.settle()
    cluster.propose("a", 1, size=900)
    with pytest.raises(ProposalRefused):
        cluster.propose("a", 1, size=900)


def test_a_new_leader_counts_what_it_inherits_as_uncommitted() -> None:
    cluster = Cluster(max_uncommitted_bytes=1000, max_inflight=1)
    cluster.elect("a")
    cluster.cut("a", "c")
    cluster.propose("a", 1, size=5000)
    cluster.settle("ab", synced="b")
    cluster.crash("a")
    cluster.heal()
    cluster.nodes["c"].now += ELECTION_S
    while cluster.role("b") is not Role.LEADER:
        cluster.timeout("b")
        cluster.settle("bc", synced="b")
        cluster.sync("c")
        cluster.settle("bc", synced="")
    assert cluster["b"].commit_index == 1
    with pytest.raises(ProposalRefused):
        cluster.propose("b", 1)


def test_only_a_leader_takes_proposals_and_others_say_who_that_is() -> None:
    cluster = Cluster()
    with pytest.raises(ProposalRefused) as refused:
        cluster.propose("b")
    assert (refused.value.reason, refused.value.leader) == (Refusal.NOT_LEADER, None)
    cluster.elect("a")
    with pytest.raises(ProposalRefused, match="the leader is a") as refused:
        cluster.propose("b")
    assert refused.value.leader == "a"


def test_an_empty_proposal_is_an_error() -> None:
    cluster = Cluster()
    cluster.elect("a")
    for data in ([], [b""], [b"x", b""]):
        with pytest.raises(ValueError):
            cluster["a"].propose(data, 0.0)
    assert cluster["a"].last_index == 1


def test_a_follower_removes_only_what_conflicts() -> None:
    cluster = follower_with((1, b"1"), (1, b"2"), (2, b"3"), (2, b"4"))
    reply = answer(cluster, "c", AppendRequest(3, 1, 1, 1, 0, batch((1, b"2"), (3, b"x"), first_index=2)))
    assert (reply.success, reply.index) == (True, 3)
    assert terms(cluster, "a") == [1, 1, 3]
    assert [entry for _, entry in cluster.nodes["a"].disk.entries] == [b"1", b"2", b"x"]


def test_a_late_message_removes_nothing_that_came_after_it() -> None:
    cluster = follower_with((1, b"1"), (1, b"2"), (1, b"3"), (1, b"4"))
    reply = answer(cluster, "b", AppendRequest(1, 1, 0, 0, 0, batch((1, b"1"), (1, b"2"))))
    assert (reply.success, reply.index) == (True, 2)
    reply = answer(cluster, "b", AppendRequest(1, 1, 1, 1, 0, batch(first_index=2)))
    assert (reply.success, reply.index) == (True, 1)
    assert terms(cluster, "a") == [1, 1, 1, 1]
    assert not cluster.nodes["a"].disk.pending


@pytest.mark.parametrize(
    ("prev_index", "prev_term", "hint"),
    [
        (9, 5, (6, 4)),  # beyond the end: the end, if its term is not too late
        (9, 3, (4, 2)),  # beyond the end, and the last term is later than anything the leader has there
        (6, 5, (6, 4)),
        (5, 3, (4, 2)),  # term 4 is skipped as a whole
        (4, 1, (2, 1)),  # and term 2
        (9, 4, (6, 4)),
    ],
)
def test_a_refusal_names_the_place_to_try_next(
    prev_index: int, prev_term: int, hint: tuple[int, int]
) -> None:
    cluster = follower_with(*[(term, b"x") for term in (1, 1, 2, 2, 4, 4)])
    reply = answer(
        cluster, "c", AppendRequest(7, 3, prev_index, prev_term, 0, batch(first_index=prev_index + 1))
    )
    assert reply == AppendReply(7, 3, False, *hint)


def test_logs_that_part_far_back_meet_in_a_few_messages() -> None:
    """A follower with 40 entries of an own, lost term: the leader steps over them at once."""
    cluster = Cluster(max_batch_entries=100)
    cluster.elect("a")
    cluster.settle()
    cluster.cut("a", "bc")
    cluster.propose("a", 40)
    cluster.settle("a")
    cluster.elect("b", "bc")
    cluster.propose("b", 40)
    cluster.settle("bc")
    cluster.heal()
    cluster.heartbeat("b", "bc")
    seen = []
    for _ in range(20):
        cluster.advance("b", HEARTBEAT_S)
        for node_id in "ab":
            cluster.pump(node_id)
            cluster.sync(node_id)
            cluster.pump(node_id)
            for letter in [x for x in cluster.soup if {x.sender, x.to} == {"a", "b"}]:
                cluster.soup.remove(letter)
                cluster.deliver(letter)
                seen += appends([letter.message])
    assert terms(cluster, "a") == terms(cluster, "b")
    assert len(seen) <= 6


def test_what_is_lost_on_the_way_is_found_out_at_the_next_heartbeat() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster.propose("a", 3)
    cluster.pump("a")
    assert cluster.take("a", "b") and cluster.take("a", "c")
    cluster.heartbeat("a")
    cluster.heartbeat("a")
    assert cluster["b"].last_index == 4
    assert len(cluster.values("a")) == 3


def test_what_is_lost_in_the_middle_is_found_out_by_what_follows() -> None:
    cluster = Cluster(max_batch_entries=2)
    cluster.elect("a")
    cluster.propose("a", 6)
    cluster.pump("a")
    for message in cluster.take("a", "b")[1:]:
        cluster.hand("a", "b", message)
    cluster.settle()
    assert cluster.values("b") == cluster.values("a")
    assert len(cluster.values("b")) == 6


def test_an_old_refusal_does_not_set_a_follower_back() -> None:
    cluster = Cluster(max_batch_entries=1)
    cluster.elect("a")
    cluster.propose("a", 2)
    cluster.pump("a")
    first, second = appends(cluster.take("a", "b"))
    cluster.hand("a", "b", second)
    (refusal,) = cluster.take("b", "a")
    assert isinstance(refusal, AppendReply) and not refusal.success
    cluster.hand("b", "a", refusal)
    cluster.settle()
    before = cluster["a"].progress()["b"]
    assert (before.state, before.match_index) == (PeerState.REPLICATE, 3)
    cluster.hand("b", "a", refusal)
    assert cluster["a"].progress()["b"] == before
    assert not appends(cluster.take("a", "b"))
    assert first.prev_index == 1


def test_a_broken_connection_makes_the_leader_ask_where_the_follower_is() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster.propose("a", 3)
    cluster.pump("a")
    cluster.take("a", "b")
    cluster["a"].unreachable("b", 0.0)
    assert cluster["a"].progress()["b"].state is PeerState.PROBE
    cluster.settle()
    assert cluster["b"].last_index == 4


def test_a_follower_that_refuses_for_ever_is_asked_once_per_heartbeat() -> None:
    """It has lost its disk, which it must not: no storm comes of it."""
    cluster = Cluster(checked=False)
    cluster.elect("a")
    cluster["a"].unreachable("b", 0.0)
    cluster.pump("a")
    count = 0
    for _ in range(10):
        for message in appends(cluster.take("a", "b")):
            count += 1
            cluster.hand("b", "a", AppendReply(1, message.round, False, 0, 0))
    assert count == 1
    cluster.advance("a", HEARTBEAT_S)
    cluster.pump("a")
    (beat,) = cluster.take("a", "b", Heartbeat)
    cluster.hand("b", "a", HeartbeatReply(1, beat.round, 0))
    assert len(appends(cluster.take("a", "b"))) == 1


def test_followers_learn_at_once_what_is_committed() -> None:
    cluster = Cluster()
    cluster.elect("a")
    data = cluster.propose("a")
    cluster.settle()
    assert cluster.values("b") == data  # no time has passed


def test_a_heartbeat_never_tells_more_than_the_follower_has_acknowledged() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster.cut("c", "a")
    cluster.propose("a", 3)
    cluster.settle()
    cluster.heal()
    cluster.advance("a", HEARTBEAT_S)
    cluster.pump("a")
    told = {x: [m.commit_index for m in cluster.take("a", x) if isinstance(m, Heartbeat)] for x in "bc"}
    assert told == {"b": [4], "c": [1]}


def test_a_follower_takes_nothing_for_committed_that_this_leader_has_not_verified() -> None:
    cluster = follower_with((1, b"1"), (1, b"2"), (1, b"3"))
    cluster.hand("c", "a", Heartbeat(2, 1, 3))
    assert cluster["a"].commit_index == 0
    answer(cluster, "c", AppendRequest(2, 2, 1, 1, 3, batch(first_index=2)))
    assert cluster["a"].commit_index == 1
    answer(cluster, "c", AppendRequest(2, 3, 1, 1, 3, batch((1, b"2"), first_index=2)))
    assert cluster["a"].commit_index == 2
    cluster.hand("c", "a", Heartbeat(2, 4, 3))
    assert cluster["a"].commit_index == 2


def test_no_committed_entry_is_ever_replaced() -> None:
    cluster = follower_with((1, b"1"), (1, b"2"), commit=2)
    cluster.hand("c", "a", AppendRequest(2, 1, 1, 1, 0, batch((2, b"other"), first_index=2)))
    assert cluster["a"].violations == 1
    assert terms(cluster, "a") == [1, 1]
    assert cluster.take("a", "c") == []


def test_a_leader_that_contradicts_itself_within_its_term_is_not_followed() -> None:
    cluster = follower_with((1, b"1"), (2, b"2"), (2, b"3"))
    cluster.hand("b", "a", AppendRequest(2, 2, 0, 0, 0, batch((1, b"1"), (1, b"other"))))
    assert cluster["a"].violations == 1
    assert terms(cluster, "a") == [1, 2, 2]
    assert cluster.take("a", "b") == []


def test_a_leader_that_contradicts_the_base_of_the_log_is_not_followed() -> None:
    cluster = Cluster(checked=False, trailing_entries=0)
    cluster.elect("b")
    cluster.elect("c")
    cluster.propose("c")
    cluster.settle()
    cluster.snapshot("a")
    assert (cluster["a"].first_index, cluster["a"].term_at(3)) == (4, 2)
    cluster.hand("c", "a", AppendRequest(2, 9, 1, 1, 0, batch(*[(1, b"x")] * 3, first_index=2)))
    assert cluster["a"].violations == 1
    assert cluster["a"].last_index == 3


def test_a_restarted_follower_learns_what_is_committed_from_an_idle_leader() -> None:
    cluster = Cluster()
    cluster.elect("a")
    data = cluster.propose("a", 3)
    cluster.settle()
    cluster.crash("b")
    cluster.start("b")
    assert cluster.values("b") == []
    cluster.heartbeat("a")
    cluster.heartbeat("a")
    assert cluster.values("b") == data


def test_a_lost_notice_of_a_commit_is_made_good_by_a_heartbeat() -> None:
    cluster = Cluster()
    cluster.elect("a")
    data = cluster.propose("a")
    cluster.pump("a")
    cluster.settle("b")
    for message in cluster.take("a", "b"):
        cluster.hand("a", "b", message)
    cluster.sync("b")
    cluster.pump("b")
    cluster.sync("a")
    for reply in cluster.take("b", "a"):
        cluster.hand("b", "a", reply)
    cluster.take("a", "b")
    assert cluster["b"].commit_index == 1
    cluster.heartbeat("a")
    assert cluster.values("b") == data


def test_an_idle_leader_sends_heartbeats_and_nothing_else() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster.settle()
    for _ in range(5):
        cluster.advance("a", HEARTBEAT_S)
        cluster.pump("a")
        assert [type(x) for x in cluster.take("a", "b")] == [Heartbeat]


def test_an_idle_follower_gives_no_ready() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster.settle()
    assert [cluster[x].ready(0.0) for x in "abc"] == [None] * 3


def test_the_status_is_told_when_it_changes() -> None:
    cluster = Cluster("a")
    cluster.timeout("a")
    told = []
    while (ready := cluster["a"].ready(0.0)) is not None or cluster.role("a") is not Role.LEADER:
        if ready is not None:
            told.append(ready.status and (ready.status.role, ready.status.term, ready.status.leader))
            cluster["a"].persisted(ready.write_seq, 0.0)
    assert told == [(Role.CANDIDATE, 1, None), (Role.LEADER, 1, "a"), None]
