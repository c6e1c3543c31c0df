"""The planted bugs by name: what each is, and the runs that are meant to find it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from . import process_plants as process
from . import store_plants as store

ELECTIONS = "elections"
"""The workload of `elections.py`: the pure Raft core alone, without faults of its own."""


@dataclass(frozen=True, slots=True)
class PlantedBug:
    """One bug. While the manager that `plant()` returns is entered, the library has it.

    `workload`, `faults`, `nodes`, `time_s`, `rate`, `preset` and `snapshot_after_bytes` are those of the runs (`RunSpec`) in which it
    has to show (None: as the seed says), or the workload is `ELECTIONS`.
    """

    name: str
    what: str
    plant: Callable[[], AbstractContextManager[Any]]
    workload: str
    faults: str = "all"
    nodes: int = 3
    time_s: float = 20.0
    rate: float = 20.0
    preset: str = "lan"
    snapshot_after_bytes: int | None = None


_ALL = (
    PlantedBug(
        "vote-not-stored",
        "term and vote are written to disk with the next entries only",
        store.vote_not_stored,
        "register",
        faults="kill",
        rate=30.0,
    ),
    PlantedBug(
        "acknowledged-before-replication",
        "a leader commits what it has on its own disk",
        store.acknowledged_before_replication,
        "register",
        faults="partition",
    ),
    PlantedBug(
        "old-entries-committed-by-counting",
        "a leader commits an entry of an earlier term because a majority has it",
        store.old_entries_committed_by_counting,
        ELECTIONS,
    ),
    PlantedBug(
        "stale-read",
        "a leader answers reads without asking a quorum whether it still leads",
        store.stale_read,
        "register",
        faults="partition",
        rate=40.0,
    ),
    PlantedBug(
        "acknowledged-before-fsync",
        "what is written is promised first and synced then",
        store.acknowledged_before_fsync,
        "register",
        faults="crash",
        rate=30.0,
    ),
    PlantedBug(
        "torn-record-accepted",
        "a log record counts as whole when its head is there, whatever its checksum says",
        store.torn_record_accepted,
        "register",
        faults="crash",
        rate=30.0,
    ),
    PlantedBug(
        "retried-request-applied-twice",
        "results of requests are not remembered, so a second copy is done again",
        store.retried_request_applied_twice,
        "register",
        faults="partition,link",
        rate=30.0,
    ),
    PlantedBug(
        "snapshot-forgets-session",
        "a snapshot leaves out sessions that own no key",
        store.snapshot_forgets_session,
        "register",
    ),
    PlantedBug(
        "watch-misses-a-snapshot",
        "watches are not told of what the leader's snapshot skipped",
        store.watch_misses_a_snapshot,
        "singletons",
        faults="partition,kill",
        snapshot_after_bytes=4_000,
    ),
    PlantedBug(
        "fence-repeats",
        "a dead owner's name is overwritten and not removed first, so the next owner has the same fence",
        store.fence_repeats,
        "registry",
    ),
    PlantedBug(
        "session-counted-from-receipt",
        "a holder counts its session from the answer to its keepalive and not from the sending of it",
        store.session_counted_from_receipt,
        "registry",
        faults="partition-fading,clock-rate",
    ),
    PlantedBug(
        "session-expired-by-a-fresh-leader",
        "a new leader expires the sessions that it finds at once",
        store.session_expired_by_a_fresh_leader,
        "registry",
    ),
    PlantedBug(
        "keepalive-without-quorum",
        "a leader confirms keepalives without asking a quorum whether it still leads",
        store.keepalive_without_quorum,
        "registry",
        faults="partition-fading-leader",
        time_s=60.0,
        rate=30.0,
    ),
    PlantedBug(
        "registration-without-quorum",
        "a registry that gets no answer takes a name that looks free for its own",
        process.registration_without_quorum,
        "registry",
        faults="partition",
    ),
    PlantedBug(
        "name-stays-with-the-dead",
        "a dead owner's claim ends, and nobody takes its name away",
        process.name_stays_with_the_dead,
        "registry",
    ),
    PlantedBug(
        "acts-after-its-lease",
        "an owner does not look at the clock before it acts: its claim is valid until it hears of the loss",
        process.acts_after_its_lease,
        "registry",
        faults="pause",
    ),
    PlantedBug(
        "gate-left-open",
        "a singleton's handler goes on although its node's session is over",
        process.gate_left_open,
        "singletons",
        faults="pause-one,pause-minority",
        nodes=5,
        rate=40.0,
        preset="local",
    ),
    PlantedBug(
        "handoff-loses-state",
        "a singleton that has handed its state over goes on handling messages",
        process.handoff_loses_state,
        "singletons",
    ),
    PlantedBug(
        "duplicate-after-reconnect",
        "the last signal over a lost link is sent again over the next one",
        process.duplicate_after_reconnect,
        "messages",
    ),
    PlantedBug(
        "reordered-after-reconnect",
        "what was sent without a link is sent later, behind newer messages",
        process.reordered_after_reconnect,
        "messages",
    ),
    PlantedBug(
        "late-reply-delivered",
        "the number of a call that was given up is used again, and the late answer taken for the next call's",
        process.late_reply_delivered,
        "messages",
    ),
    PlantedBug(
        "lost-down",
        "monitors are forgotten when a link is lost",
        process.lost_down,
        "messages",
    ),
)

BUGS = {bug.name: bug for bug in _ALL}
