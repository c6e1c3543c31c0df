"""What a replica makes of what it finds on its disk, and of a senseless configuration."""

import pytest

from quorate.consensus.raft import (
    Configuration,
    EntryBatch,
    HardState,
    Raft,
    RaftConfig,
    Recovered,
    Snapshot,
    TermRun,
)

from .harness import batch
from .machine import Machine

ABC = Configuration(frozenset("abc"))


def snapshot(index: int, term: int) -> Snapshot:
    machine = Machine()
    machine.entries = [(term, b"x")] * index
    return machine.snapshot(ABC)


def start(term: int, found: Snapshot | None, entries: EntryBatch) -> Raft:
    return Raft(RaftConfig("a", ABC), Recovered(HardState(term), found, entries), lambda: 0.5, 0.0)


def test_an_empty_disk_is_a_new_replica() -> None:
    raft = start(0, None, batch())
    assert (raft.term, raft.first_index, raft.last_index, raft.commit_index) == (0, 1, 0, 0)


def test_nothing_is_taken_for_committed_but_the_snapshot() -> None:
    """A commit index on the disk could outlive the entries that it speaks of."""
    raft = start(2, snapshot(3, 1), batch((1, b"x"), (2, b"y"), first_index=4))
    assert (raft.commit_index, raft.applied_index, raft.last_index) == (3, 3, 5)


def test_a_log_may_begin_before_its_snapshot() -> None:
    entries = batch(*[(1, b"x")] * 3, (2, b"y"), first_index=2)
    raft = start(2, snapshot(4, 1), entries)
    # The term before the first entry is unknown, so that entry serves as the base.
    assert (raft.first_index, raft.last_index, raft.term_at(2), raft.term_at(5)) == (3, 5, 1, 2)
    assert raft.ready(0.0) is None


def test_a_log_of_which_only_the_entry_of_the_snapshot_is_left_goes_on_behind_it() -> None:
    raft = start(2, snapshot(4, 1), batch((1, b"x"), first_index=4))
    assert (raft.first_index, raft.last_index, raft.term_at(4)) == (5, 4, 1)
    assert raft.ready(0.0) is None


@pytest.mark.parametrize("entries", [batch((1, b"x"), (1, b"y")), batch(*[(1, b"x")] * 9), batch()])
def test_a_log_that_does_not_lead_up_to_the_snapshot_is_dropped_on_disk_too(entries: EntryBatch) -> None:
    found = snapshot(4, 2)
    raft = start(2, found, entries)
    assert (raft.first_index, raft.last_index, raft.term_at(4)) == (5, 4, 2)
    ready = raft.ready(0.0)
    assert ready is not None and ready.snapshot == found and ready.write_seq == 1


def test_a_gap_in_the_log_is_an_error() -> None:
    with pytest.raises(ValueError, match="begins at entry 6, the snapshot ends at 4"):
        start(2, snapshot(4, 1), batch((1, b"x"), first_index=6))
    with pytest.raises(ValueError):
        start(2, None, batch((1, b"x"), first_index=2))


def test_a_log_of_a_later_term_than_the_term_on_disk_is_an_error() -> None:
    """The term is written before the entries: a disk that lost it has forgotten a vote, too."""
    with pytest.raises(ValueError, match="ends in term 3, but the term on disk is 2"):
        start(2, None, batch((3, b"x")))


def test_terms_for_more_entries_than_there_are_is_an_error() -> None:
    with pytest.raises(ValueError, match="terms for 2"):
        start(2, None, EntryBatch(1, (TermRun(1, 2),), [b"x"]))


@pytest.mark.parametrize(
    "change",
    [
        {"id": ""},
        {"configuration": Configuration(frozenset())},
        {"heartbeat_s": 0.5},
        {"heartbeat_s": 0.0},
        {"max_inflight": 0},
        {"snapshot_chunk_bytes": 0},
        {"trailing_entries": -1},
    ],
)
def test_a_senseless_configuration_is_an_error(change: dict[str, object]) -> None:
    good: dict[str, object] = {"id": "a", "configuration": ABC, "election_s": 0.5}
    with pytest.raises(ValueError):
        RaftConfig(**(good | change))  # type: ignore[arg-type] # wrong on purpose


def test_who_is_no_voter_never_campaigns() -> None:
    config = RaftConfig("x", ABC)
    raft = Raft(config, Recovered(HardState(), None, batch()), lambda: 0.5, 0.0)
    raft.tick(1000.0)
    assert raft.ready(1000.0) is None
    assert raft.deadline() > 1000.0
