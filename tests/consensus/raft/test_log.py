"""The log in memory against a plain list of (term, data), and its corners one by one."""

from hypothesis import given
from hypothesis import strategies as st

from quorate.consensus.raft import EntryBatch, TermRun
from quorate.consensus.raft.log import Log

from .disk import Entry, unroll


def log_of(*terms: int, base: tuple[int, int] = (0, 0)) -> Log:
    """A log whose entry i has the i-th of `terms`."""
    log = Log(*base)
    for term in terms:
        log.append(term, [b"%d" % (log.last_index + 1)])
    return log


def batch_of(first_index: int, *terms: int) -> EntryBatch:
    return log_of(*terms, base=(first_index - 1, 0)).batch(first_index, first_index + len(terms) - 1)


def terms_of(log: Log) -> list[int | None]:
    return [log.term_at(index) for index in range(log.base_index, log.last_index + 1)]


def test_terms_are_known_from_the_base_to_the_end_and_nowhere_else() -> None:
    log = log_of(3, 3, 5, base=(10, 2))
    assert terms_of(log) == [2, 3, 3, 5]
    assert log.term_at(9) is None and log.term_at(14) is None
    assert (log.first_index, log.last_index, log.last_term) == (11, 13, 5)


def test_an_empty_log_ends_in_the_term_of_its_base() -> None:
    assert Log(7, 4).last_term == 4
    assert Log().last_term == 0


def test_a_batch_carries_its_terms_as_runs() -> None:
    log = log_of(1, 1, 2, 2, 2, 4)
    assert log.batch(2, 5) == EntryBatch(2, (TermRun(1, 1), TermRun(2, 3)), [b"2", b"3", b"4", b"5"])
    assert log.batch(6, 6).runs == (TermRun(4, 1),)
    assert log.batch(3, 2) == EntryBatch(3, (), [])


def test_a_batch_is_limited_in_entries_and_in_bytes_but_never_empty() -> None:
    log = Log()
    log.append(1, [b"a" * 10, b"b" * 10, b"c" * 50, b"d"])
    assert log.batch_within(1, 2, 1000).last_index == 2
    assert log.batch_within(1, 100, 20).last_index == 2
    assert log.batch_within(1, 100, 19).last_index == 1
    assert log.batch_within(3, 100, 19).last_index == 3
    assert log.batch_within(1, 100, 1000).last_index == 4
    assert log.batch_within(5, 100, 1000).last_index == 4


def test_a_difference_is_the_first_index_of_another_term_or_beyond_the_end() -> None:
    log = log_of(1, 1, 2, 2, 3)
    assert log.first_difference(batch_of(1, 1, 1, 2, 2, 3), 1) == 6
    assert log.first_difference(batch_of(3, 2, 2), 3) == 5
    assert log.first_difference(batch_of(3, 2, 3, 3), 3) == 4
    assert log.first_difference(batch_of(4, 2, 3, 3), 4) == 6
    assert log.first_difference(batch_of(1, 2), 1) == 1
    assert log.first_difference(batch_of(1, 1, 1, 2), 3) == 4


def test_a_conflict_hint_skips_whole_terms() -> None:
    log = log_of(1, 1, 2, 2, 2, 5, 5)
    assert log.last_at_or_below(7, 5) == (7, 5)
    assert log.last_at_or_below(7, 4) == (5, 2)
    assert log.last_at_or_below(4, 2) == (4, 2)
    assert log.last_at_or_below(9, 1) == (2, 1)
    assert log.last_at_or_below(9, 0) == (0, 0)


def test_a_conflict_hint_ends_at_the_base() -> None:
    assert log_of(4, 4, base=(10, 3)).last_at_or_below(12, 1) == (10, 3)


def test_compaction_at_the_end_leaves_the_base_alone() -> None:
    log = log_of(1, 2, 2)
    log.compact(3)
    assert (terms_of(log), log.base_index) == ([2], 3)
    log.append(2, [b"x"])
    assert log.batch(4, 4) == EntryBatch(4, (TermRun(2, 1),), [b"x"])


def test_the_size_of_a_part_is_counted_in_bytes() -> None:
    log = Log()
    log.append(1, [b"a", b"bb", b"ccc"])
    assert log.size_bytes(2, 3) == 5
    assert log.size_bytes(4, 3) == 0


def test_what_stays_before_a_snapshot_is_limited_in_entries_and_in_bytes() -> None:
    log = Log(10, 1)
    log.append(1, [b"x" * 10] * 9)
    assert log.trailing(18, 3, 1000) == 15
    assert log.trailing(18, 100, 1000) == 10
    assert log.trailing(18, 100, 40) == 14
    assert log.trailing(18, 100, 39) == 15
    assert log.trailing(18, 0, 1000) == log.trailing(18, 100, 0) == 18
    assert log.trailing(10, 5, 1000) == 10


class Model:
    """A log as anybody would write it."""

    def __init__(self) -> None:
        self.base: Entry = (0, b"")
        self.base_index = 0
        self.entries: list[Entry] = []

    def at(self, index: int) -> Entry | None:
        if index == self.base_index:
            return self.base
        offset = index - self.base_index - 1
        return self.entries[offset] if 0 <= offset < len(self.entries) else None


@given(st.lists(st.tuples(st.sampled_from("appendovertruncompact"), st.integers(0, 5), st.integers(0, 5))))
def test_a_log_behaves_as_a_list_of_entries(actions: list[tuple[str, int, int]]) -> None:
    log, model = Log(), Model()
    for at, (action, first, second) in enumerate(actions):
        end = model.base_index + len(model.entries)
        last_term = model.entries[-1][0] if model.entries else model.base[0]
        index = min(model.base_index + 1 + first, end)
        if action in "append":
            data = [b"%d" % at] * second
            log.append(last_term + first % 2, data)
            model.entries += [(last_term + first % 2, x) for x in data]
        elif action in "over":
            batch = batch_of(end + 1 - min(first, end), *([last_term] * first), *([last_term + 1] * second))
            log.append_batch(batch, end + 1) if batch.last_index > end else None
            model.entries += unroll(batch)[end + 1 - batch.first_index :]
        elif action in "trun" and index > model.base_index:
            log.truncate(index)
            del model.entries[index - model.base_index - 1 :]
        elif action in "compact":
            base = model.at(index)
            assert base is not None
            log.compact(index)
            del model.entries[: index - model.base_index]
            model.base, model.base_index = base, index
        assert log.base_index == model.base_index and log.base_term == model.base[0]
        assert log.last_index == model.base_index + len(model.entries)
        assert unroll(log.batch(log.first_index, log.last_index)) == model.entries
        for probe in range(log.base_index - 1, log.last_index + 2):
            entry = model.at(probe)
            assert log.term_at(probe) == (entry[0] if entry else None)
