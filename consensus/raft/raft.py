"""`Raft`: one replica. Elections and roles are here; what a leader and a follower do is in modules of theirs.

Pure: time is an argument, randomness is a function that was given, nothing is read or written. The
authority over the role of this replica; term, vote and log belong to its `Journal`. What must never happen:
two votes in one term; a vote, its own included, that counts before it is durable; a message of another term
taken for one of this.
"""

from collections.abc import Callable, Mapping, Sequence

from .config import RaftConfig
from .errors import ProposalRefused, Refusal
from .follower import Follower
from .journal import Journal
from .leader import Leader
from .messages import (
    AppendReply,
    AppendRequest,
    Heartbeat,
    HeartbeatReply,
    Message,
    SnapshotChunk,
    SnapshotReply,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from .quorum import VoteResult, vote_result
from .ready import PeerProgress, Proposal, Ready, Status
from .types import NodeId, Recovered, Role, Snapshot


class Raft:
    """One replica of a group. The module docstring of `quorate.consensus.raft` is its manual."""

    def __init__(
        self, config: RaftConfig, recovered: Recovered, rng: Callable[[], float], now: float
    ) -> None:
        """`rng` gives floats in [0, 1). Raises `ValueError` when what was recovered contradicts itself."""
        members = config.configuration
        self._config = config
        self._rng = rng
        self._members = members.voters | members.outgoing | members.learners
        self._votes_itself = config.id in members.voters | members.outgoing
        self._journal = Journal(recovered)
        self._role = Role.FOLLOWER
        self._follower = Follower(config, self._journal)
        self._leader: Leader | None = None
        self._votes: dict[NodeId, bool] = {}
        self._round = int(rng() * (1 << 31))  # of candidacies and leaderships; an earlier process had others
        self._applied_index = self._journal.handed_index
        self._confirmed_reads: list[tuple[int, int]] = []
        self._failed_reads: list[int] = []
        self._told = Status(Role.FOLLOWER, self.term, None)
        self._fresh = True  # something has happened since the last Ready
        self._violations = 0
        alone = self._votes_itself and len(members.voters | members.outgoing) == 1
        self._timeout_s = self._draw_timeout()
        self._election_at = now if alone else now + self._timeout_s

    # -- facts ---------------------------------------------------------------------------------------------

    @property
    def id(self) -> NodeId:
        return self._config.id

    @property
    def term(self) -> int:
        return self._journal.term

    @property
    def vote(self) -> NodeId | None:
        """Whom it voted for in its term, durable or not."""
        return self._journal.vote

    @property
    def role(self) -> Role:
        return self._role

    @property
    def leader(self) -> NodeId | None:
        """The leader of this term as far as known; None also while it is out of reach."""
        return self.id if self._leader is not None else self._follower.leader_in_reach

    @property
    def commit_index(self) -> int:
        return self._journal.commit_index

    @property
    def applied_index(self) -> int:
        """Last entry that the shell says it has applied."""
        return self._applied_index

    @property
    def durable_index(self) -> int:
        """Last entry of the log that is durable here."""
        return self._journal.durable_index

    @property
    def first_index(self) -> int:
        """First entry that is held in memory."""
        return self._journal.log.first_index

    @property
    def last_index(self) -> int:
        return self._journal.log.last_index

    @property
    def snapshot(self) -> Snapshot | None:
        """The latest snapshot."""
        return self._journal.snapshot

    @property
    def violations(self) -> int:
        """How many messages were dropped because no correct peer sends them. It should be 0."""
        return self._violations + self._follower.violations

    def term_at(self, index: int) -> int | None:
        """Term of an entry; None when it is compacted away or beyond the end."""
        return self._journal.log.term_at(index)

    def progress(self) -> Mapping[NodeId, PeerProgress]:
        """How far the peers are, as their leader sees it. Empty elsewhere."""
        return self._leader.view() if self._leader else {}

    # -- requests ------------------------------------------------------------------------------------------

    def propose(self, data: Sequence[bytes], now: float) -> Proposal:
        """Append entries, none of which may be empty. They are accepted, not yet committed.

        Raises `ProposalRefused` when it does not lead, hands over leadership, or has `max_uncommitted_bytes`.
        """
        leader = self._leading()
        self._fresh = True
        return leader.propose(data)

    def read(self, context: int, now: float) -> None:
        """Ask for a linearizable read. `context` comes back in `Ready.reads` or in `Ready.failed_reads`.

        Reads before the first entry of this term is committed wait for it. Raises `ProposalRefused` (not
        leader).
        """
        self._leading().reads.add(context)
        self._fresh = True

    def transfer(self, target: NodeId, now: float) -> None:
        """Hand leadership to `target` (dissertation 3.10): bring it up to date, then let it campaign.

        Proposals are refused meanwhile. Given up after `election_s`. Raises `ProposalRefused` (not leader)
        or `ValueError` (not a voter).
        """
        self._leading().begin_transfer(target, now)
        self._fresh = True

    def unreachable(self, peer: NodeId, now: float) -> None:
        """The connection to `peer` broke. A hint: safety never rests on it, and it is harmless when wrong.

        If `peer` led, this replica campaigns soon instead of after a full timeout; voters take their turns,
        half a heartbeat time divided by their number apart, so that they do not split the vote.
        """
        self._fresh = True
        if self._leader is not None:
            if peer in self._leader.peers:
                self._leader.unreachable(peer)
        elif peer == self._follower.leader_in_reach:
            self._follower.lose_contact()
            voters = self._config.configuration.voters | self._config.configuration.outgoing
            others = sorted(voters - {peer})
            if self.id in others:
                turn = (others.index(self.id) + self._rng() / 2) / len(others)
                self._election_at = min(self._election_at, now + turn * self._config.heartbeat_s)
        self._journal.check()

    # -- time ----------------------------------------------------------------------------------------------

    def deadline(self) -> float:
        """When `tick` is next worth calling. Any other call may move it."""
        return self._leader.deadline() if self._leader is not None else self._election_at

    def tick(self, now: float) -> None:
        """Do what time makes due. Early calls do nothing."""
        self._fresh = True
        if self._leader is not None:
            if not self._leader.tick(now):
                self._become_follower(self.term, now)
        elif now >= self._election_at:
            self._timeout_s = self._draw_timeout()
            self._election_at = now + self._timeout_s
            if self._votes_itself:
                self._become_pre_candidate(now)
        self._journal.check()

    # -- messages ------------------------------------------------------------------------------------------

    def step(self, sender: NodeId, message: Message, now: float) -> None:
        """Take a message from a peer. Never raises for what `decode` let through."""
        if sender == self.id or sender not in self._members:
            self._violations += 1
            return
        self._fresh = True
        match message:
            case AppendRequest() | Heartbeat() | SnapshotChunk() | TimeoutNow():
                self._step_follower(sender, message, now)
            case AppendReply() | HeartbeatReply() | SnapshotReply():
                self._step_leader(sender, message, now)
            case VoteRequest():
                self._handle_vote_request(sender, message, now)
            case VoteReply():
                self._handle_vote_reply(sender, message, now)
        self._journal.check()

    def _step_leader(
        self, sender: NodeId, message: AppendReply | HeartbeatReply | SnapshotReply, now: float
    ) -> None:
        """An answer to this replica as a leader. It counts only if it was given to this very leadership."""
        if message.term > self.term:
            self._become_follower(message.term, now)
        leader = self._leader
        if leader is None or message.term < self.term:
            return
        if message.round > leader.round or (
            isinstance(message, AppendReply) and message.success and message.index > self.last_index
        ):
            self._violations += 1
            return
        progress = leader.peers[sender]
        leader.answered(progress, message.round, now)
        match message:
            case AppendReply():
                leader.handle_append_reply(progress, message)
            case HeartbeatReply():
                leader.handle_heartbeat_reply(progress, message)
            case SnapshotReply():
                leader.handle_snapshot_reply(progress, message)

    def _step_follower(
        self, sender: NodeId, message: AppendRequest | Heartbeat | SnapshotChunk | TimeoutNow, now: float
    ) -> None:
        """A message of a leader: of this term, of a new one, or of one whose time is over."""
        if message.term < self.term:
            # It must learn that its time is over (after a partition, for instance); it knows it by the term.
            self._journal.send(sender, AppendReply(self.term, message.round, False, 0, 0))
            return
        if message.term > self.term or self._role in (Role.CANDIDATE, Role.PRE_CANDIDATE):
            self._become_follower(message.term, now)
        follower = self._follower
        if self._leader is not None or follower.leader not in (None, sender):
            self._violations += 1  # a second leader in one term
            return
        follower.leader = sender
        follower.contact = now
        self._election_at = now + self._timeout_s
        match message:
            case AppendRequest():
                follower.handle_append(sender, message)
            case Heartbeat():
                follower.handle_heartbeat(sender, message)
            case SnapshotChunk():
                follower.handle_snapshot_chunk(sender, message)
            case TimeoutNow():
                if self._votes_itself:
                    self._become_candidate(now, transfer=True)

    # -- elections -----------------------------------------------------------------------------------------

    def _handle_vote_request(self, sender: NodeId, message: VoteRequest, now: float) -> None:
        if message.term < self.term or (self._sticks_to_leader(now) and not message.transfer):
            self._journal.send(sender, VoteReply(self.term, message.round, False, message.pre))
            return
        up_to_date = (message.last_term, message.last_index) >= (self._journal.log.last_term, self.last_index)
        if message.pre:
            granted = up_to_date and message.term > self.term
            term = message.term if granted else self.term
            self._journal.send(sender, VoteReply(term, message.round, granted, True))
            return
        if message.term > self.term:
            self._become_follower(message.term, now)
        if up_to_date and self.vote in (None, sender):
            self._journal.vote_for(sender)
            self._election_at = now + self._timeout_s
            self._journal.send_when_durable(sender, VoteReply(self.term, message.round, True, False))
        else:
            self._journal.send(sender, VoteReply(self.term, message.round, False, False))

    def _sticks_to_leader(self, now: float) -> bool:
        """It heard from a leader within the shortest election timeout (dissertation 4.2.3)."""
        if self._leader is not None:
            return now < self._leader.quorum_contact(now) + self._config.election_s
        return now < self._follower.contact + self._config.election_s

    def _handle_vote_reply(self, sender: NodeId, message: VoteReply, now: float) -> None:
        if message.term > self.term and not (message.pre and message.granted):
            self._become_follower(message.term, now)
        asked = Role.PRE_CANDIDATE if message.pre else Role.CANDIDATE
        if self._role is not asked or message.round != self._round:
            return
        if message.granted and message.term != self.term + message.pre:
            return
        self._votes[sender] = message.granted
        result = vote_result(self._config.configuration, self._votes)
        if result is VoteResult.LOST:
            self._become_follower(self.term, now)
        elif result is VoteResult.WON:
            if message.pre:
                self._become_candidate(now, transfer=False)
            else:
                self._become_leader(now)

    def _campaign(self, now: float, term: int, pre: bool, transfer: bool) -> None:
        """Ask every voter, itself included. Its own vote counts as all do: once, and when it is durable."""
        self._round += 1
        self._votes = {}
        log = self._journal.log
        request = VoteRequest(term, self._round, log.last_index, log.last_term, pre, transfer)
        send = self._journal.send if pre else self._journal.send_when_durable
        members = self._config.configuration
        for voter in sorted((members.voters | members.outgoing) - {self.id}):
            send(voter, request)
        own = VoteReply(term, self._round, True, pre)
        if pre:
            self._handle_vote_reply(self.id, own, now)
        else:
            self._journal.send_when_durable(self.id, own)

    # -- roles ---------------------------------------------------------------------------------------------

    def _become_follower(self, term: int, now: float) -> None:
        """Follow whoever leads `term`; its messages will tell who that is."""
        if self._leader is not None:
            self._failed_reads += self._leader.reads.unconfirmed()
            self._confirmed_reads += self._leader.reads.take_confirmed()
            self._round = self._leader.round
            self._leader = None
            self._election_at = now + self._timeout_s
        self._role = Role.FOLLOWER
        if term > self.term:
            self._enter_term(term, None)

    def _become_pre_candidate(self, now: float) -> None:
        """Ask whether an election could be won, without disturbing anybody's term (dissertation 9.6)."""
        self._role = Role.PRE_CANDIDATE
        self._follower.lose_contact()
        self._campaign(now, self.term + 1, pre=True, transfer=False)

    def _become_candidate(self, now: float, transfer: bool) -> None:
        """Stand for election in a new term."""
        self._role = Role.CANDIDATE
        self._enter_term(self.term + 1, self.id)
        self._election_at = now + self._timeout_s
        self._campaign(now, self.term, pre=False, transfer=transfer)

    def _become_leader(self, now: float) -> None:
        assert self._role is Role.CANDIDATE and self.vote == self.id
        self._role = Role.LEADER
        self._follower.leader = self.id
        self._leader = Leader(self._config, self._journal, self._round, now)

    def _enter_term(self, term: int, vote: NodeId | None) -> None:
        self._journal.enter_term(term, vote)
        self._timeout_s = self._draw_timeout()
        self._violations += self._follower.violations
        self._follower = Follower(self._config, self._journal)

    def _draw_timeout(self) -> float:
        """An election timeout, drawn anew for each term and each candidacy (Raft paper 5.2)."""
        return self._config.election_s * (1 + self._rng())

    def _leading(self) -> Leader:
        if self._leader is None:
            raise ProposalRefused(Refusal.NOT_LEADER, self.leader)
        return self._leader

    # -- work for the shell, and its reports ---------------------------------------------------------------

    def ready(self, now: float) -> Ready | None:
        """What there is to do, or None. Call it after every other call, until it gives None."""
        if not self._fresh:
            return None
        self._fresh = False
        journal = self._journal
        if self._leader is not None:
            self._leader.send()
            self._confirmed_reads += self._leader.reads.take_confirmed()
        write_seq, hard_state, snapshot, entries = journal.take_write()
        messages = journal.take_messages()
        committed = journal.take_committed()
        reads, self._confirmed_reads = self._confirmed_reads, []
        failed_reads, self._failed_reads = self._failed_reads, []
        status = self._take_status()
        if not (write_seq or messages or committed or reads or failed_reads or status):
            return None
        return Ready(
            write_seq, hard_state, snapshot, entries, messages, committed, reads, failed_reads, status
        )

    def _take_status(self) -> Status | None:
        """Role, term and leader, if one of them is not what was told last."""
        told, leader = self._told, self.leader
        if self._role is told.role and self.term == told.term and leader == told.leader:
            return None
        self._told = Status(self._role, self.term, leader)
        return self._told

    def persisted(self, write_seq: int, now: float) -> None:
        """All writes up to `write_seq` are durable. Raises `ValueError` if there was no such write."""
        self._fresh = True
        for message in self._journal.persisted(write_seq, self.id):
            if isinstance(message, VoteReply):
                self._handle_vote_reply(self.id, message, now)
        if self._leader is not None:
            self._leader.maybe_commit()
        self._journal.check()

    def applied(self, index: int) -> None:
        """Everything up to `index` is in the state machine. Raises `ValueError` if it was not handed out."""
        if index > self._journal.handed_index:
            raise ValueError(f"entry {index} was not handed out, only up to {self._journal.handed_index}")
        self._applied_index = max(self._applied_index, index)

    def compact(self, snapshot: Snapshot) -> None:
        """A snapshot of an applied entry exists and is durable: let go of the entries before it.

        `trailing_entries` stay, as far as they fit into `trailing_bytes`. A snapshot older than the one
        here is ignored. The log on disk is the shell's to compact. Raises `ValueError` when the snapshot
        does not belong to this log.
        """
        meta = snapshot.meta
        if meta.index > self._applied_index:
            raise ValueError(f"a snapshot of entry {meta.index}, but only {self._applied_index} is applied")
        if meta.size_bytes != len(snapshot.data) or meta.configuration != self._config.configuration:
            raise ValueError("the snapshot's data or configuration is not as it describes itself")
        self._journal.compact(snapshot, self._config.trailing_entries, self._config.trailing_bytes)
