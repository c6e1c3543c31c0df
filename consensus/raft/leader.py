"""What a replica does while it leads: replicate, commit, confirm reads, keep in touch with a quorum.

A `Leader` exists for one leadership and is thrown away with it, and with it all that it believed of its
peers. It is the authority over which entries of its term are committed. What must never happen: it counts
an answer that was given to another leadership; it commits an entry of an earlier term by counting (Raft
paper 5.4.2, figure 8); it confirms a read by an answer to a message from before the read.
"""

from collections.abc import Sequence

from .config import RaftConfig
from .errors import ProposalRefused, Refusal
from .journal import Journal
from .messages import (
    AppendReply,
    AppendRequest,
    Heartbeat,
    HeartbeatReply,
    SnapshotChunk,
    SnapshotReply,
    TimeoutNow,
)
from .progress import Progress
from .quorum import committed_index, quorum_value
from .reads import Reads, Transfer
from .ready import PeerProgress, PeerState, Proposal
from .types import EntryBatch, NodeId


class Leader:
    """One leadership. `round_` is where its numbering of rounds begins."""

    def __init__(self, config: RaftConfig, journal: Journal, round_: int, now: float) -> None:
        self._config = config
        self._journal = journal
        self.round = round_
        members = config.configuration
        peers = sorted((members.voters | members.outgoing | members.learners) - {config.id})
        next_index = journal.log.last_index + 1
        self.peers = {peer: Progress(peer, next_index, now) for peer in peers}
        self.reads = Reads()
        self.transfer: Transfer | None = None
        self._heartbeat_at = now
        self._heartbeat_due = True
        self._uncommitted_bytes = journal.log.size_bytes(journal.commit_index + 1, journal.log.last_index)
        # Entries of earlier terms are committed with the first one of this term (paper 5.4.2, 8).
        self._term_start = journal.append([b""])

    # -- requests of the shell -----------------------------------------------------------------------------

    def propose(self, data: Sequence[bytes]) -> Proposal:
        if self.transfer is not None:
            raise ProposalRefused(Refusal.TRANSFERRING, self._config.id)
        if not data or not all(data):
            raise ValueError("propose at least one entry, and none of zero bytes")
        size_bytes = sum(map(len, data))
        if (
            self._uncommitted_bytes
            and self._uncommitted_bytes + size_bytes > self._config.max_uncommitted_bytes
        ):
            raise ProposalRefused(Refusal.OVERLOADED, self._config.id)
        self._uncommitted_bytes += size_bytes
        return Proposal(self._journal.term, self._journal.append(data), len(data))

    def begin_transfer(self, target: NodeId, now: float) -> None:
        if target not in self._config.configuration.voters:
            raise ValueError(f"{target} is not a voter: it cannot lead")
        if target != self._config.id:
            self.transfer = Transfer(target, now + self._config.election_s)

    def unreachable(self, peer: NodeId) -> None:
        """The connection to `peer` broke: what was on its way may be lost."""
        progress = self.peers[peer]
        if progress.state is PeerState.SNAPSHOT:
            progress.rewind_snapshot(progress.offset_acked, self.round)
        else:
            progress.become_probe(progress.match_index + 1, self.round)

    # -- time ----------------------------------------------------------------------------------------------

    def deadline(self) -> float:
        deadline = min(self._heartbeat_at, self.quorum_contact(self._heartbeat_at) + self._config.election_s)
        return min(deadline, self.transfer.deadline) if self.transfer else deadline

    def tick(self, now: float) -> bool:
        """Do what is due. False: no quorum has been in contact for an election timeout, so step down."""
        if now >= self.quorum_contact(now) + self._config.election_s:
            return False
        if now >= self._heartbeat_at:
            self._heartbeat_due = True
            self._heartbeat_at = now + self._config.heartbeat_s
        if self.transfer is not None and now >= self.transfer.deadline:
            self.transfer = None
        return True

    def quorum_contact(self, now: float) -> float:
        """When a quorum was last heard of (CheckQuorum, dissertation 6.2); its own contact is `now`."""
        contacts = {peer: progress.contact for peer, progress in self.peers.items()}
        contacts[self._config.id] = now
        return quorum_value(self._config.configuration, contacts, float("-inf"))

    # -- sending -------------------------------------------------------------------------------------------

    def send(self) -> None:
        """Put all that is worth sending now into the journal's outbox, as one round."""
        assert self._journal.durable_term == self._journal.term, "a leader's term is durable before it leads"
        self.round += 1
        heartbeat, self._heartbeat_due = self._heartbeat_due, False
        if self.reads.wants_round() and self._journal.commit_index >= self._term_start:
            self.reads.begin_round(self.round, self._journal.commit_index)
            self._confirm_reads()  # alone, this replica is a quorum
            heartbeat = heartbeat or self.reads.pending()
        shared: dict[tuple[int, bool], AppendRequest] = {}
        for peer, progress in self.peers.items():
            if progress.state is not PeerState.SNAPSHOT:
                self._send_entries(progress, shared)
            if progress.state is PeerState.SNAPSHOT:
                self._send_chunks(progress)
            self._send_heartbeat(progress, heartbeat)
            if self.transfer is not None and self.transfer.target == peer:
                self._maybe_hand_over(self.transfer, progress)

    def _send_entries(self, progress: Progress, shared: dict[tuple[int, bool], AppendRequest]) -> None:
        journal, limit = self._journal, self._config.max_inflight
        last_index = journal.log.last_index
        while progress.nudge or progress.may_send(last_index, limit):
            empty = not progress.may_send(last_index, limit)
            key = progress.next_index, empty
            if key not in shared:
                message = self._append_request(progress.next_index, empty)
                if message is None:
                    assert journal.snapshot is not None, "what is compacted away is in a snapshot"
                    progress.become_snapshot(journal.snapshot, self.round)
                    return
                shared[key] = message
            message = shared[key]
            journal.send(progress.peer, message)
            progress.nudge = False
            if empty:
                progress.asked_round = self.round
            else:
                progress.sent(message.entries.last_index, message.commit_index, self.round)

    def _append_request(self, next_index: int, empty: bool) -> AppendRequest | None:
        journal = self._journal
        prev_term = journal.log.term_at(next_index - 1)
        if prev_term is None:
            return None
        if empty:
            entries = EntryBatch(next_index, (), ())
        else:
            entries = journal.log.batch_within(
                next_index, self._config.max_batch_entries, self._config.max_batch_bytes
            )
        return AppendRequest(
            journal.term, self.round, next_index - 1, prev_term, journal.commit_index, entries
        )

    def _send_chunks(self, progress: Progress) -> None:
        snapshot, size = progress.snapshot, self._config.snapshot_chunk_bytes
        assert snapshot is not None
        total = max(1, snapshot.meta.size_bytes)  # one chunk also when there is nothing in it
        window = self._config.max_inflight_chunks * size
        while progress.offset_sent < total and progress.offset_sent - progress.offset_acked < window:
            offset = progress.offset_sent
            data = snapshot.data[offset : offset + size]
            chunk = SnapshotChunk(self._journal.term, self.round, snapshot.meta, offset, data)
            self._journal.send(progress.peer, chunk)
            progress.offset_sent = offset + max(1, len(data))
            progress.asked_round = self.round

    def _send_heartbeat(self, progress: Progress, due: bool) -> None:
        commit_index = min(progress.match_index, self._journal.commit_index)
        if due:
            self._journal.send(progress.peer, Heartbeat(self._journal.term, self.round, commit_index))
        elif progress.commit_sent < commit_index:
            # Nothing else goes to it now that would tell what is committed; no answer is needed.
            self._journal.send(progress.peer, Heartbeat(self._journal.term, 0, commit_index))
        progress.commit_sent = max(progress.commit_sent, commit_index)

    def _maybe_hand_over(self, transfer: Transfer, progress: Progress) -> None:
        if not transfer.told and progress.match_index == self._journal.log.last_index:
            transfer.told = True
            self._journal.send(progress.peer, TimeoutNow(self._journal.term, self.round))

    # -- answers -------------------------------------------------------------------------------------------

    def handle_append_reply(self, progress: Progress, message: AppendReply) -> None:
        if message.success:
            if progress.maybe_match(message.index):
                self.maybe_commit()
            known = self._journal.log.term_at(progress.match_index) is not None
            if known and progress.state is not PeerState.REPLICATE:
                progress.become_replicate(self.round)
        elif message.round >= progress.fresh_round:
            self._handle_refusal(progress, message)

    def _handle_refusal(self, progress: Progress, message: AppendReply) -> None:
        """Go back to where the logs may agree: the last entry up to the hint of no later term than it."""
        log = self._journal.log
        if message.index < log.base_index:
            next_index = message.index + 1
        else:
            index, term = log.last_at_or_below(message.index, message.hint_term)
            # The base may be of a later term: then they agree only further back, and a snapshot has to go.
            next_index = index + 1 if term <= message.hint_term else index
        next_index = max(next_index, progress.match_index + 1)
        futile = progress.state is PeerState.PROBE and next_index >= progress.next_index
        progress.become_probe(next_index, self.round)
        if futile:  # asking the same again at once would answer the same: wait for the next heartbeat
            progress.asked_round = self.round

    def handle_heartbeat_reply(self, progress: Progress, message: HeartbeatReply) -> None:
        """An answer to something sent after the last entries. If those are unanswered: were they lost?"""
        if not progress.asked_round < message.round:
            return
        match progress.state:
            case PeerState.PROBE:
                progress.asked_round = 0
            case PeerState.REPLICATE:
                lost = progress.match_index + 1 < progress.next_index
                unaware = message.commit_index < min(progress.match_index, self._journal.commit_index)
                progress.nudge = lost or unaware
            case PeerState.SNAPSHOT:
                progress.rewind_snapshot(progress.offset_acked, self.round)

    def handle_snapshot_reply(self, progress: Progress, message: SnapshotReply) -> None:
        snapshot = progress.snapshot
        if snapshot is None or message.index != snapshot.meta.index:
            return
        if not message.accepted:
            if message.round >= progress.fresh_round:
                # It goes again after the next heartbeat; at once would be a storm if it is refused for good.
                progress.rewind_snapshot(min(message.offset, snapshot.meta.size_bytes), self.round)
                progress.offset_sent = max(1, snapshot.meta.size_bytes)
        elif progress.offset_acked < message.offset <= snapshot.meta.size_bytes:
            progress.offset_acked = message.offset
            progress.offset_sent = max(progress.offset_sent, message.offset)

    def answered(self, progress: Progress, round_: int, now: float) -> None:
        """Any answer in this term: the peer is there, and had not moved on when it saw that round."""
        progress.contact = max(progress.contact, now)
        if round_ > progress.acked_round:
            progress.acked_round = round_
            if self.reads.pending():
                self._confirm_reads()

    def maybe_commit(self) -> None:
        """Commit what a quorum holds durably, if its last entry is of this term (Raft paper 5.4.2)."""
        journal = self._journal
        acked = {peer: progress.match_index for peer, progress in self.peers.items()}
        acked[self._config.id] = journal.durable_index
        index = committed_index(self._config.configuration, acked)
        before = journal.commit_index
        if index > before and journal.log.term_at(index) == journal.term and journal.commit_to(index):
            self._uncommitted_bytes -= journal.log.size_bytes(before + 1, index)

    def _confirm_reads(self) -> None:
        rounds = {peer: progress.acked_round for peer, progress in self.peers.items()}
        rounds[self._config.id] = self.round
        self.reads.confirm(quorum_value(self._config.configuration, rounds, 0))

    def view(self) -> dict[NodeId, PeerProgress]:
        return {peer: progress.view() for peer, progress in self.peers.items()}
