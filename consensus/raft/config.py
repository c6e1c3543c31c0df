"""What a replica is told once, at its start."""

from dataclasses import dataclass

from .types import Configuration, NodeId


@dataclass(frozen=True, slots=True)
class RaftConfig:
    """Identity, voters, times and limits of one replica. Raises `ValueError` when they make no sense.

    `election_s`: a follower that hears nothing campaigns after between this and twice this; a leader that
    does not hear from a quorum for this long steps down. It should be several times `heartbeat_s` and the
    time of a durable write.
    """

    id: NodeId
    configuration: Configuration
    election_s: float = 0.5
    heartbeat_s: float = 0.1
    max_batch_bytes: int = 1 << 20  # of entries in one message; a larger entry travels alone
    max_batch_entries: int = 4096
    max_inflight: int = 32  # unanswered messages with entries per follower
    snapshot_chunk_bytes: int = 256 << 10
    max_inflight_chunks: int = 4  # unanswered snapshot chunks per follower
    max_uncommitted_bytes: int = 64 << 20  # proposals beyond it are refused
    trailing_entries: int = (
        10_000  # kept before a snapshot, so that a follower a little behind needs no snapshot
    )
    trailing_bytes: int = 64 << 20  # and of these no more than this

    def __post_init__(self) -> None:
        if not self.id or not self.configuration.voters:
            raise ValueError("a replica needs an id, and a configuration with at least one voter")
        if not 0 < self.heartbeat_s < self.election_s:
            raise ValueError(
                f"0 < heartbeat_s < election_s does not hold: {self.heartbeat_s}, {self.election_s}"
            )
        limits = (
            self.max_batch_bytes,
            self.max_batch_entries,
            self.max_inflight,
            self.snapshot_chunk_bytes,
            self.max_inflight_chunks,
            self.max_uncommitted_bytes,
        )
        if min(limits) < 1 or self.trailing_entries < 0 or self.trailing_bytes < 0:
            raise ValueError("every limit is at least 1, those of what is kept before a snapshot at least 0")
