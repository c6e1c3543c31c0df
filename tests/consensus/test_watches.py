"""Watches, differences between states, and how old knowledge is."""

import asyncio
import logging
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorate.consensus.commands import Command, encode
from quorate.consensus.machine import StoreMachine
from quorate.consensus.store import Event, KeyValue
from quorate.consensus.watches import Freshness, Subscribers, Watches, difference
from tests.consensus import strategies


def event(key: bytes, revision: int = 1) -> Event:
    return Event(key, revision, KeyValue(key, b"", revision, revision, 1), None)


class Log:
    """A callback that remembers."""

    def __init__(self) -> None:
        self.calls: list[list[bytes]] = []

    def __call__(self, events: Sequence[Event]) -> None:
        self.calls.append([event.key for event in events])


# Watches


def test_a_watch_is_called_once_with_the_events_of_its_prefix_in_order() -> None:
    watches, names, everything, other = Watches(), Log(), Log(), Log()
    watches.add(b"n/", names)
    watches.add(b"", everything)
    watches.add(b"n/b/c", other)
    watches.dispatch([event(b"n/b"), event(b"m"), event(b"n/a"), event(b"n/")])
    assert names.calls == [[b"n/b", b"n/a", b"n/"]]
    assert everything.calls == [[b"n/b", b"m", b"n/a", b"n/"]]
    assert other.calls == []


def test_watches_of_one_prefix_are_called_in_the_order_in_which_they_came() -> None:
    watches, order = Watches(), list[int]()
    for number in range(3):
        watches.add(b"k", lambda events, number=number: order.append(number))  # type: ignore[misc]
    watches.dispatch([event(b"k")])
    assert order == [0, 1, 2]


def test_a_cancelled_watch_hears_nothing_more_not_even_of_this_moment() -> None:
    watches, second = Watches(), Log()
    watches.add(b"", lambda events: watch.cancel())
    watch = watches.add(b"", second)
    watches.dispatch([event(b"k")])
    watches.dispatch([event(b"k")])
    watch.cancel()
    assert second.calls == []


def test_a_watch_made_in_a_callback_hears_only_of_what_comes_after() -> None:
    watches, late = Watches(), Log()

    def first(events: Sequence[Event]) -> None:
        if not late.calls and events[0].revision == 1:
            watches.add(b"", late)

    watches.add(b"", first)
    watches.dispatch([event(b"a", 1)])
    assert late.calls == []
    watches.dispatch([event(b"b", 2)])
    assert late.calls == [[b"b"]]


@pytest.mark.parametrize("error", [ValueError("no"), asyncio.CancelledError(), asyncio.InvalidStateError()])
def test_a_callback_that_raises_is_logged_and_harms_nobody(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    watches, after = Watches(), Log()

    def broken(events: Sequence[Event]) -> None:
        raise error

    watches.add(b"", broken)
    watches.add(b"", after)
    with caplog.at_level(logging.ERROR, logger="quorate.consensus"):
        watches.dispatch([event(b"a")])
        watches.dispatch([event(b"b")])
    assert after.calls == [[b"a"], [b"b"]]
    assert len(caplog.records) == 2 and caplog.records[0].exc_info is not None


def test_the_end_of_the_program_is_not_caught() -> None:
    watches = Watches()

    def interrupted(events: Sequence[Event]) -> None:
        raise KeyboardInterrupt

    watches.add(b"", interrupted)
    with pytest.raises(KeyboardInterrupt):
        watches.dispatch([event(b"a")])


def test_a_callback_cannot_alter_what_others_are_told() -> None:
    watches, seen = Watches(), list[Sequence[Event]]()
    watches.add(b"", seen.append)
    watches.add(b"", seen.append)
    watches.dispatch([event(b"a")])
    assert all(isinstance(events, tuple) for events in seen)


def test_no_watch_is_left_after_clear() -> None:
    watches, log = Watches(), Log()
    watches.add(b"", log)
    watch = watches.add(b"k", log)
    watches.clear()
    watches.dispatch([event(b"k")])
    watch.cancel()
    assert log.calls == []


def test_subscribers_are_told_in_order_until_they_cancel_whatever_others_do() -> None:
    subscribers, told = Subscribers(), list[tuple[str, int]]()
    subscribers.add(lambda n: told.append(("a", n)))
    subscribers.add(lambda n: second.cancel())
    second = subscribers.add(lambda n: told.append(("second", n)))
    subscribers.add(lambda n: 1 // 0)
    subscribers.add(lambda n: told.append(("last", n)))
    subscribers.tell(1)
    subscribers.clear()
    subscribers.tell(2)
    assert told == [("a", 1), ("last", 1)]


# Differences


def kv(key: bytes, create: int, mod: int, version: int = 1, value: bytes = b"") -> KeyValue:
    return KeyValue(key, value, create, mod, version)


def test_the_difference_tells_what_was_made_changed_removed_and_made_anew() -> None:
    before = {
        item.key: item
        for item in (kv(b"same", 1, 1), kv(b"changed", 2, 2), kv(b"gone", 3, 3), kv(b"anew", 4, 4))
    }
    after = {
        item.key: item
        for item in (kv(b"same", 1, 1), kv(b"changed", 2, 9, 3), kv(b"anew", 7, 8, 2), kv(b"made", 6, 6))
    }
    assert difference(before, after, 10) == (
        Event(b"made", 6, after[b"made"], None),
        Event(b"anew", 7, None, before[b"anew"]),
        Event(b"anew", 8, after[b"anew"], None),
        Event(b"changed", 9, after[b"changed"], before[b"changed"]),
        Event(b"gone", 10, None, before[b"gone"]),
    )


@given(st.lists(strategies.commands(st.integers(0, 2)), max_size=30), st.integers(0, 30))
@settings(max_examples=100, deadline=None)
def test_the_difference_leads_from_one_state_to_the_other_in_order_of_revisions(
    script: list[Command], at: int
) -> None:
    machine = StoreMachine()
    before: dict[bytes, KeyValue] = {}
    revision_before = 0
    for index, command in enumerate(script, 1):
        machine.apply(index, encode(command))
        if index == at:
            before, revision_before = dict(machine.keys()), machine.revision
    events = difference(before, machine.keys(), machine.revision)
    state = dict(before)
    for one in events:
        assert revision_before < one.revision <= machine.revision
        assert one.before == state.get(one.key)
        if one.now is None:
            del state[one.key]
        else:
            assert one.now.mod_revision == one.revision
            assert one.before is None or one.before.create_revision == one.now.create_revision
            state[one.key] = one.now
    assert state == machine.keys()
    assert [one.revision for one in events] == sorted(one.revision for one in events)


# Freshness


def test_what_was_never_confirmed_is_infinitely_old() -> None:
    assert Freshness().age_s(5.0) == float("inf")


def test_a_confirmed_read_makes_the_state_as_old_as_its_sending() -> None:
    fresh = Freshness()
    fresh.applied(3)
    fresh.confirmed(10.0, 3)
    assert fresh.age_s(10.4) == pytest.approx(0.4)
    fresh.confirmed(9.0, 2)  # an older one that was answered later
    assert fresh.age_s(10.4) == pytest.approx(0.4)


def test_a_confirmation_counts_only_when_its_index_is_applied() -> None:
    fresh = Freshness()
    fresh.applied(3)
    fresh.confirmed(10.0, 5)
    fresh.confirmed(11.0, 8)
    assert fresh.age_s(12.0) == float("inf")
    fresh.applied(4)
    assert fresh.age_s(12.0) == float("inf")
    fresh.applied(7)
    assert fresh.age_s(12.0) == 2.0
    fresh.applied(8)
    assert fresh.age_s(12.0) == 1.0


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.integers(0, 9)), max_size=30))
def test_freshness_is_the_latest_sending_among_confirmations_that_are_applied(
    script: list[tuple[bool, int, int]],
) -> None:
    fresh, applied = Freshness(), 0
    confirmations: list[tuple[int, int]] = []
    for is_confirmation, sent_at, index in script:
        if is_confirmation:
            confirmations.append((sent_at, index))
            fresh.confirmed(float(sent_at), index)
        else:
            applied = max(applied, index)
            fresh.applied(index)
        covered = [sent for sent, needed in confirmations if needed <= applied]
        assert fresh.age_s(10.0) == (10.0 - max(covered) if covered else float("inf"))
        assert len(fresh._waiting) <= 10
