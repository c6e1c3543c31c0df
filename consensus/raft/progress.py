"""A leader's book about one peer: how far their logs agree for certain, and what is on its way.

`Leader` owns it and it lives as long as that leadership. `match_index` never falls, and never counts what the
peer has not called durable. (After etcd's tracker.Progress.)
"""

from collections import deque

from .ready import PeerProgress, PeerState
from .types import NodeId, Snapshot


class Progress:
    """State of replication to `peer`."""

    __slots__ = (
        "_inflight",
        "acked_round",
        "asked_round",
        "commit_sent",
        "contact",
        "fresh_round",
        "match_index",
        "next_index",
        "nudge",
        "offset_acked",
        "offset_sent",
        "peer",
        "snapshot",
        "state",
    )

    def __init__(self, peer: NodeId, next_index: int, now: float) -> None:
        self.peer = peer
        self.state = PeerState.PROBE
        self.match_index = 0
        self.next_index = next_index
        self.contact = now
        self.acked_round = 0  # latest round that it answered
        self.asked_round = 0  # round of the last entries, probe or chunks sent; 0: nothing awaits an answer
        self.fresh_round = 0  # refusals of earlier rounds are about messages that no longer matter
        self.commit_sent = 0
        self.nudge = False  # ask whether it has what was sent
        self._inflight: deque[int] = deque()  # last index of each unanswered message
        self.snapshot: Snapshot | None = None
        self.offset_sent = 0
        self.offset_acked = 0

    def become_probe(self, next_index: int, round_: int) -> None:
        """Find out, one message at a time, where the logs agree."""
        self.state = PeerState.PROBE
        assert next_index > self.match_index
        self.next_index = next_index
        self.fresh_round = round_ + 1
        self.asked_round = 0
        self.commit_sent = 0
        self.nudge = False
        self.snapshot = None
        self._inflight.clear()

    def become_replicate(self, round_: int) -> None:
        """The logs agree up to `match_index`: send what follows without waiting."""
        self.state = PeerState.REPLICATE
        self.next_index = self.match_index + 1
        self.fresh_round = round_ + 1
        self.snapshot = None
        self._inflight.clear()

    def become_snapshot(self, snapshot: Snapshot, round_: int) -> None:
        """What it needs next is in the log no longer."""
        self.state = PeerState.SNAPSHOT
        self.snapshot = snapshot
        self.fresh_round = round_ + 1
        self.asked_round = 0
        self.nudge = False
        self.offset_sent = self.offset_acked = 0
        self._inflight.clear()

    def rewind_snapshot(self, offset: int, round_: int) -> None:
        """Send the snapshot again from `offset` on."""
        self.offset_sent = self.offset_acked = offset
        self.fresh_round = round_ + 1

    def may_send(self, last_index: int, max_inflight: int) -> bool:
        """Entries (or a question) can go to this peer now."""
        if self.state is PeerState.PROBE:
            return self.asked_round == 0
        return self.next_index <= last_index and len(self._inflight) < max_inflight

    def sent(self, last_index: int, commit_index: int, round_: int) -> None:
        """Entries up to `last_index` have left."""
        self.asked_round = round_
        if self.state is PeerState.REPLICATE:
            self._inflight.append(last_index)
            self.next_index = last_index + 1
            self.commit_sent = max(self.commit_sent, min(commit_index, last_index))

    def maybe_match(self, index: int) -> bool:
        """It holds everything up to `index` durably. True when that is news."""
        inflight = self._inflight
        while inflight and inflight[0] <= index:
            inflight.popleft()
        if index <= self.match_index:
            return False
        self.match_index = index
        self.next_index = max(self.next_index, index + 1)
        return True

    def view(self) -> PeerProgress:
        return PeerProgress(self.state, self.match_index, self.next_index, len(self._inflight), self.contact)
