"""A peer that says anything: a core takes what `decode` lets through, and keeps what it has.

Raft does not defend against peers that lie (nothing here keeps a majority honest); but a lie must not bring
a process down, and must not take back what is committed.
"""

from hypothesis import given, settings
from hypothesis import strategies as st

from quorate.consensus.raft import (
    Configuration,
    EntryBatch,
    Message,
    Raft,
    SnapshotMeta,
    TermRun,
    decode,
    encode,
)
from quorate.consensus.raft.messages import (
    LIMIT,
    AppendReply,
    AppendRequest,
    Heartbeat,
    HeartbeatReply,
    SnapshotChunk,
    SnapshotReply,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)

from .harness import Cluster

ABC = Configuration(frozenset("abc"))
numbers = st.integers(0, 12) | st.sampled_from([LIMIT - 1, 1 << 31])
terms = st.integers(1, 6) | st.just(LIMIT - 1)
flags = st.booleans()
metas = st.builds(
    SnapshotMeta, st.integers(1, 12), st.integers(1, 4), st.just(ABC), st.just(0), st.integers(0, 2)
)
runs = st.lists(st.builds(TermRun, st.integers(1, 6), st.integers(1, 4)), max_size=3).map(tuple)


def entries(prev_index: int, terms_of: tuple[TermRun, ...]) -> EntryBatch:
    return EntryBatch(prev_index + 1, terms_of, [b"lie"] * sum(run.count for run in terms_of))


messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(VoteRequest, terms, numbers, numbers, numbers, flags, flags),
    st.builds(VoteReply, numbers, numbers, flags, flags),
    st.builds(
        lambda term, round_, prev, prev_term, commit, of: AppendRequest(
            term, round_, prev, prev_term, commit, entries(prev, of)
        ),
        terms,
        numbers,
        numbers,
        st.integers(0, 6),
        numbers,
        runs,
    ),
    st.builds(AppendReply, terms, numbers, flags, numbers, numbers),
    st.builds(Heartbeat, terms, numbers, numbers),
    st.builds(HeartbeatReply, terms, numbers, numbers),
    st.builds(SnapshotChunk, terms, numbers, metas, st.integers(0, 2), st.binary(max_size=2)),
    st.builds(SnapshotReply, terms, numbers, flags, numbers, numbers),
    st.builds(TimeoutNow, terms, numbers),
)


def told(raft: Raft, sender: str, message: Message) -> None:
    """Let a core have a message, if it can come over the wire, with a round that it may take for its own."""
    try:
        raft.step(sender, decode(encode(message)), 0.0)
    except ValueError as error:
        assert error.__traceback__ is not None
        assert error.__traceback__.tb_next is not None
        assert error.__traceback__.tb_next.tb_frame.f_code.co_name == "decode"


@settings(max_examples=150, deadline=None, database=None, derandomize=True)
@given(
    st.booleans(),
    st.lists(st.tuples(st.sampled_from("bcx"), messages, st.booleans()), min_size=5, max_size=40),
)
def test_no_message_brings_a_core_down_or_changes_what_is_committed(
    leads: bool, lies: list[tuple[str, Message, bool]]
) -> None:
    cluster = Cluster(checked=False)
    cluster.elect("a" if leads else "b")
    cluster.propose("a" if leads else "b", 3)
    cluster.settle()
    raft = cluster["a"]
    disk = cluster.nodes["a"].disk
    before = disk.entries[: raft.commit_index]
    commit_index, term = raft.commit_index, raft.term
    for sender, message, sync in lies:
        told(raft, sender, message)
        while (ready := raft.ready(0.0)) is not None:
            for _, answer in ready.messages:
                encode(answer)
            if ready.write_seq and sync:
                raft.persisted(ready.write_seq, 0.0)
        assert raft.commit_index >= commit_index and raft.term >= term
        commit_index, term = raft.commit_index, raft.term
    kept = [(raft.term_at(index), index) for index in range(raft.first_index, len(before) + 1)]
    assert all(before[index - 1][0] == of for of, index in kept)
