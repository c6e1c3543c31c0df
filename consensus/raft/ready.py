"""What the core asks of its shell, and what it tells it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from .messages import Message
from .types import EntryBatch, HardState, NodeId, Role, Snapshot


@dataclass(frozen=True, slots=True)
class Status:
    """Who leads, as far as this replica knows."""

    role: Role
    term: int
    leader: NodeId | None


@dataclass(frozen=True, slots=True)
class Proposal:
    """Where proposed entries stand. They are committed when the entry applied there is of this term.

    When an entry of another term is applied at their index, they are gone for good.
    """

    term: int
    first_index: int
    count: int


class PeerState(Enum):
    """How a leader sends to a peer: a question at a time until their logs agree; entries; a snapshot."""

    PROBE = "probe"
    REPLICATE = "replicate"
    SNAPSHOT = "snapshot"


@dataclass(frozen=True, slots=True)
class PeerProgress:
    """A leader's view of a peer, for people. `contact`: when its last answer came, by the shell's clock."""

    state: PeerState
    match_index: int
    next_index: int
    inflight: int
    contact: float


@dataclass(frozen=True, slots=True)
class Ready:
    """Work for the shell, in order of its fields. Readies are to be handled in the order in which they came.

    A shell need not wait for one Ready to become durable before it asks for the next: it may write several
    and sync once. `persisted` is cumulative.
    """

    write_seq: int = 0
    """Not 0: call `persisted(write_seq)` when the next three fields survive a loss of power.

    Those of all earlier Readies, too. Until then the core keeps back whatever depends on them.
    """

    hard_state: HardState | None = None
    """Write it. It replaces the one before."""

    snapshot: Snapshot | None = None
    """The leader's, its checksum verified. Save it, and drop the whole log on disk.

    The log begins anew behind it. Restore the state machine from it, then call `applied(meta.index)`. In the
    first Ready after a start it can be the recovered one itself: the log on disk did not lead up to it.
    """

    entries: EntryBatch | None = None
    """Append to the log on disk, replacing whatever is there from `entries.first_index` on."""

    messages: Sequence[tuple[NodeId, Message]] = ()
    """May leave at once, also before the writes above are durable. A message that is lost is no harm.

    One object may be addressed to several peers: encode it once.
    """

    committed: EntryBatch | None = None
    """Apply to the state machine, in order, then call `applied(committed.last_index)`.

    They are durable here. An entry of zero bytes changes nothing.
    """

    reads: Sequence[tuple[int, int]] = ()
    """(context, index): the read may be served as soon as everything up to index is applied here."""

    failed_reads: Sequence[int] = ()
    """Contexts of reads that this replica cannot confirm, for it no longer leads. Ask elsewhere."""

    status: Status | None = None
    """Not None: role, term or leader have changed."""
