"""The values that the Raft core, its log on disk and its shell exchange. All are immutable.

Entries travel as a list of byte strings beside their terms in run-length form, so that the work per entry is
slicing at C speed. An entry of zero bytes is the one that a new leader appends in its own term.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

NodeId = str


class Role(Enum):
    """What a replica is in its term (Raft paper 5.1; the pre-candidate is of dissertation 9.6)."""

    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre-candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


@dataclass(frozen=True, slots=True)
class Configuration:
    """Who votes. `outgoing` and `learners` are for changes of membership (dissertation 4.3)."""

    voters: frozenset[NodeId]
    outgoing: frozenset[NodeId] = frozenset()
    learners: frozenset[NodeId] = frozenset()


@dataclass(frozen=True, slots=True)
class HardState:
    """What a replica must never forget (Raft paper, figure 2): its term, and whom it voted for in it."""

    term: int = 0
    vote: NodeId | None = None


@dataclass(frozen=True, slots=True)
class TermRun:
    """`count` consecutive entries of one term."""

    term: int
    count: int


@dataclass(frozen=True, slots=True)
class EntryBatch:
    """Consecutive entries: `data[i]` has index `first_index + i`; `runs` cover them all, in order."""

    first_index: int
    runs: tuple[TermRun, ...]
    data: Sequence[bytes]

    def __len__(self) -> int:
        return len(self.data)

    @property
    def last_index(self) -> int:
        """Index of the last entry (`first_index - 1` when there is none)."""
        return self.first_index + len(self.data) - 1


@dataclass(frozen=True, slots=True)
class SnapshotMeta:
    """Which log prefix a snapshot stands for. `checksum` is the CRC32C of its data."""

    index: int
    term: int
    configuration: Configuration
    checksum: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state machine after entry `meta.index`, as bytes."""

    meta: SnapshotMeta
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a replica finds on its disk at start. `entries` begin anywhere up to `snapshot.meta.index + 1`.

    Without a snapshot they begin at index 1. There is no gap between the snapshot and the entries.
    """

    hard_state: HardState
    snapshot: Snapshot | None
    entries: EntryBatch
