"""What must hold at every step of every schedule, seen from where all nodes and disks are visible.

The five properties of figure 3 of the Raft paper, and two that are about disks: a promise that leaves a
node is durable there, and what is committed is durable on a majority.
"""

from typing import TYPE_CHECKING

from quorate.consensus.raft import NodeId, Ready, Role
from quorate.consensus.raft.messages import (
    AppendReply,
    AppendRequest,
    Heartbeat,
    SnapshotChunk,
    VoteReply,
    VoteRequest,
)

from .disk import Entry, unroll

if TYPE_CHECKING:
    from .harness import Cluster, Node


class Invariants:
    """What has been seen of a cluster, ever."""

    def __init__(self, cluster: "Cluster") -> None:
        self._cluster = cluster
        self._quorum = len(cluster.configuration.voters) // 2 + 1
        self.leaders: dict[int, NodeId] = {}
        self.entries: dict[tuple[int, int], tuple[int, bytes]] = {}  # (index, term) -> (term before, data)
        self.committed: list[Entry] = []
        self.installed = self.replaced = self.crashes = 0  # what schedules have reached
        self._votes: dict[tuple[NodeId, int], NodeId] = {}  # durable ones: (voter, term) -> candidate
        self._granted: dict[tuple[NodeId, int], NodeId] = {}  # answered ones
        self._seen: dict[NodeId, tuple[int, int]] = {}  # node -> (term, commit index) when last looked at

    @property
    def committed_index(self) -> int:
        return len(self.committed)

    def started(self, node: "Node") -> None:
        self._seen[node.id] = (0, 0)
        self.check(node)

    def synced(self, node: "Node") -> None:
        """Look at a disk after something has become durable."""
        state = node.disk.hard_state
        if state.vote is not None:
            first = self._votes.setdefault((node.id, state.term), state.vote)
            assert first == state.vote, f"{node.id} voted for {first} and {state.vote} in term {state.term}"

    def check(self, node: "Node") -> None:
        """Look at a core after a step."""
        core = node.core
        term, commit_index = self._seen[node.id]
        assert core.term >= term, f"{node.id} went back from term {term} to {core.term}"
        assert core.commit_index >= commit_index, f"{node.id} took back {core.commit_index}..{commit_index}"
        assert core.violations == 0, f"{node.id} saw a message that no correct peer sends"
        if core.role is Role.LEADER and self.leaders.get(core.term) != node.id:
            self._check_new_leader(node)
        if core.commit_index > commit_index:
            self._check_committed(node, commit_index)
        self._seen[node.id] = (core.term, core.commit_index)

    def _check_new_leader(self, node: "Node") -> None:
        core, cluster = node.core, self._cluster
        first = self.leaders.setdefault(core.term, node.id)
        assert first == node.id, f"Election Safety: {first} and {node.id} lead term {core.term}"
        votes = sum(self._votes.get((voter, core.term)) == node.id for voter in cluster.nodes)
        assert votes >= self._quorum, f"{node.id} leads term {core.term} by {votes} durable votes"
        index = self.committed_index
        if index > core.first_index - 1:
            ours = core.term_at(index)
            assert ours == self.committed[-1][0], f"Leader Completeness: {node.id} has {ours} at {index}"

    def _check_committed(self, node: "Node", before: int) -> None:
        """Everything that a node takes for committed is the same everywhere, and durable on a majority."""
        core = node.core
        if core.snapshot is not None:
            before = max(before, core.snapshot.meta.index)
            assert core.snapshot.meta.index <= self.committed_index, "a snapshot of something uncommitted"
        for index in range(before + 1, core.commit_index + 1):
            term = core.term_at(index)
            assert term is not None
            entry = (term, self.entries[index, term][1])
            if index <= self.committed_index:
                assert entry == self.committed[index - 1], (
                    f"State Machine Safety: {node.id} differs at {index}"
                )
            else:
                assert index == self.committed_index + 1
                self.committed.append(entry)
                holders = [x.id for x in self._cluster.nodes.values() if x.disk.holds(index, term)]
                assert len(holders) >= self._quorum, f"{node.id} commits {index}, durable on {holders} only"

    def readied(self, node: "Node", ready: Ready) -> None:
        """Look at a Ready when its write is on its way and before its messages leave."""
        self.installed += ready.snapshot is not None
        if ready.entries is not None:
            self.replaced += ready.entries.first_index <= node.disk.last_index
            self._check_log_matching(node, ready)
        if ready.committed is not None:
            first = ready.committed.first_index
            theirs = self.committed[first - 1 : ready.committed.last_index]
            assert unroll(ready.committed) == theirs, (
                f"State Machine Safety: {node.id} applies something else"
            )
            for index, (term, _) in enumerate(theirs, first):
                assert node.disk.holds(index, term), f"{node.id} applies {index}, which is not durable there"
        for to, message in ready.messages:
            self._check_promise(node, to, message)

    def _check_log_matching(self, node: "Node", ready: Ready) -> None:
        assert ready.entries is not None
        index = ready.entries.first_index
        before = node.core.term_at(index - 1)
        for term, data in unroll(ready.entries):
            if before is not None:
                first = self.entries.setdefault((index, term), (before, data))
                assert first == (before, data), (
                    f"Log Matching: {node.id} has {data!r} at {index}, not {first}"
                )
            before = term
            index += 1

    def _check_promise(self, node: "Node", to: NodeId, message: object) -> None:
        """What a message says is durable on its sender's disk."""
        disk = node.disk
        match message:
            case VoteReply(term=term, granted=True, pre=False):
                assert self._granted.setdefault((node.id, term), to) == to, f"{node.id} votes twice in {term}"
                assert self._votes.get((node.id, term)) == to, f"{node.id}'s vote for {to} is not durable"
            case VoteRequest(term=term, pre=False):
                assert disk.hard_state.term >= term, (
                    f"{node.id} asks for votes in term {term}, which is not durable"
                )
            case AppendReply(term=term, success=True, index=index):
                assert disk.hard_state.term >= term, f"{node.id} answers in term {term}, which is not durable"
                leader = self._cluster.nodes[to].raft
                ours = leader.term_at(index) if leader is not None and leader.term == term else None
                assert ours is None or disk.holds(index, ours), (
                    f"{node.id} promises {index}, which is not durable"
                )
            case AppendRequest(term=term) | Heartbeat(term=term) | SnapshotChunk(term=term):
                assert self.leaders.get(term) == node.id, f"{node.id} does not lead term {term}"
            case _:
                pass


class Unchecked(Invariants):
    """Looks away: for clusters whose messages are made up."""

    def check(self, node: "Node") -> None:
        pass

    def synced(self, node: "Node") -> None:
        pass

    def readied(self, node: "Node", ready: Ready) -> None:
        pass
