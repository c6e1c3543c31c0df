"""The state machine: revisions, transactions, sessions, requests done once, snapshots; no exception."""

from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorate.consensus import clients
from quorate.consensus.commands import (
    CloseSession,
    Command,
    ExpireSessions,
    OpenSession,
    Request,
    Txn,
    encode,
)
from quorate.consensus.errors import OutcomeUnknown, Overloaded, SessionLost, StoreError
from quorate.consensus.image import FORMAT, MAGIC
from quorate.consensus.machine import Outcome, Status, StoreMachine, error_of
from quorate.consensus.store import (
    Compare,
    Delete,
    Event,
    Get,
    KeyValue,
    Op,
    Put,
    SessionInfo,
    TxnResult,
    absent,
    created_at,
    present,
    session_alive,
    unchanged,
)
from quorate.core import pack
from tests.consensus import strategies
from tests.consensus.store_model import NaiveStore


class Driver:
    """A machine with a log index and, for its first session, a sequence."""

    def __init__(self) -> None:
        self.machine = StoreMachine()
        self.session = self.apply(open_of("a")).session
        self.sequence = 0

    def apply(self, command: Command | bytes) -> Outcome:
        data = command if isinstance(command, bytes) else encode(command)
        outcome = self.machine.apply(self.machine.applied_index + 1, data)
        self.machine.check()
        return outcome

    def txn(self, if_: list[Compare], then: list[Op], else_: list[Op] | None = None) -> TxnResult:
        self.sequence += 1
        txn = Txn(tuple(if_), tuple(then), tuple(else_ or ()))
        outcome = self.apply(Request(self.session, self.sequence, self.sequence, txn))
        assert outcome.status is Status.DONE and outcome.result is not None
        return outcome.result


def open_of(holder: str, nonce: bytes = b"1", creation: int = 1, dir_id: bytes = b"dir") -> OpenSession:
    return OpenSession(nonce, holder, creation, dir_id, 3.0)


def put(session: int, sequence: int, key: bytes = b"k", *, acked_below: int = 0, owner: int = 0) -> Request:
    return Request(session, sequence, acked_below, Txn((), (Put(key, b"%d" % sequence, owner),)))


# Revisions and transactions


def test_all_changes_of_one_transaction_share_a_revision_and_the_next_has_the_next() -> None:
    d = Driver()
    first = d.txn([], [Put(b"a", b"1"), Put(b"b", b"1")])
    second = d.txn([], [Put(b"a", b"2"), Delete(b"b"), Get(b"a")])
    assert (first.revision, second.revision) == (2, 3)
    assert first.results == (KeyValue(b"a", b"1", 2, 2, 1), KeyValue(b"b", b"1", 2, 2, 1))
    assert second.results == (
        KeyValue(b"a", b"2", 2, 3, 2),
        KeyValue(b"b", b"1", 2, 2, 1),
        KeyValue(b"a", b"2", 2, 3, 2),
    )


def test_what_changes_nothing_takes_no_revision() -> None:
    d = Driver()
    d.txn([], [Put(b"a", b"1")])
    assert d.txn([], [Get(b"a"), Delete(b"nothing")]).revision == 2
    assert d.txn([present(b"nothing")], [Put(b"a", b"2")]) == TxnResult(False, 2)
    assert d.apply(CloseSession(77)).revision == 2
    assert d.machine.revision == 2


def test_a_key_that_was_removed_begins_anew() -> None:
    d = Driver()
    d.txn([], [Put(b"a", b"1")])
    d.txn([], [Put(b"a", b"2")])
    d.txn([], [Delete(b"a")])
    assert d.txn([absent(b"a")], [Put(b"a", b"3")]).results == (KeyValue(b"a", b"3", 5, 5, 1),)


def test_a_key_removed_and_put_in_one_transaction_is_another_key_with_two_events() -> None:
    d = Driver()
    old = d.txn([], [Put(b"a", b"1")]).results[0]
    outcome = d.apply(Request(d.session, 9, 0, Txn((), (Delete(b"a"), Put(b"a", b"2")))))
    new = KeyValue(b"a", b"2", 3, 3, 1)
    assert outcome.events == (Event(b"a", 3, None, old), Event(b"a", 3, new, None))


@pytest.mark.parametrize(
    ("compare", "holds_absent", "holds_present"),
    [
        (absent(b"k"), True, False),
        (present(b"k"), False, True),
        (created_at(b"k", 2), False, True),
        (created_at(b"k", 3), False, False),
        (unchanged(b"k", 3), False, True),
        (unchanged(b"k", 0), True, False),
        (Compare(b"k", "version", ">", 1), False, True),
        (Compare(b"k", "version", "<", 3), True, True),
        (Compare(b"k", "mod", "!=", 3), True, False),
        (Compare(b"k", "value", "==", b""), True, False),
        (Compare(b"k", "value", "<", b"w"), True, True),
        (Compare(b"k", "value", ">", b"uz"), False, True),
        (session_alive(1), True, True),
        (session_alive(5), False, False),
        (session_alive(0), False, False),
    ],
)
def test_a_compare_holds_when_it_should(compare: Compare, holds_absent: bool, holds_present: bool) -> None:
    d = Driver()
    assert d.txn([compare], []).succeeded is holds_absent
    d.txn([], [Put(b"k", b"u")])
    d.txn([], [Put(b"k", b"v")])
    assert d.txn([compare], []).succeeded is holds_present


def test_one_compare_that_fails_leads_to_the_other_branch() -> None:
    d = Driver()
    result = d.txn([absent(b"a"), present(b"b")], [Put(b"a", b"then")], [Put(b"a", b"else"), Get(b"b")])
    assert not result.succeeded
    assert result.results == (KeyValue(b"a", b"else", 2, 2, 1), None)


def test_a_range_holds_the_keys_with_the_prefix_in_order() -> None:
    d = Driver()
    d.txn([], [Put(key, b"") for key in (b"n/b", b"n/a", b"m", b"n0", b"n/")])
    assert [item.key for item in d.machine.range(b"n/")] == [b"n/", b"n/a", b"n/b"]


# Sessions


def test_a_session_is_numbered_by_the_revision_that_opened_it() -> None:
    d = Driver()
    d.txn([], [Put(b"a", b"1")])
    outcome = d.apply(open_of("b"))
    assert (outcome.session, outcome.opened) == (3, SessionInfo(3, "b", 1, 3.0))
    assert [info.id for info in d.machine.sessions()] == [1, 3]


def test_an_open_that_comes_twice_opens_one_session() -> None:
    d = Driver()
    first = d.apply(open_of("b", b"n"))
    again = d.apply(open_of("b", b"n"))
    assert (again.session, again.revision, again.replayed) == (first.session, first.revision, True)
    other = d.apply(open_of("c", b"n"))
    assert other.session != first.session  # the same nonce of another holder is another open


def test_an_open_whose_session_is_over_opens_another() -> None:
    d = Driver()
    first = d.apply(open_of("b", b"n"))
    d.apply(CloseSession(first.session))
    assert d.apply(open_of("b", b"n")).session > first.session


def test_a_later_start_on_the_same_directory_ends_the_sessions_of_earlier_ones_at_once() -> None:
    d = Driver()
    old = d.apply(open_of("b", b"1", creation=1)).session
    d.apply(put(old, 1, b"owned", owner=old))
    outcome = d.apply(open_of("b", b"2", creation=2))
    assert outcome.closed == (old,)
    assert [event.key for event in outcome.events] == [b"owned"]
    assert outcome.events[0].revision == outcome.session == outcome.revision
    assert d.machine.session(old) is None


def test_an_open_of_an_earlier_start_is_refused_while_a_later_one_lives() -> None:
    d = Driver()
    new = d.apply(open_of("b", b"2", creation=2)).session
    outcome = d.apply(open_of("b", b"1", creation=1))
    assert (outcome.status, outcome.session, outcome.opened) == (Status.SUPERSEDED, new, None)
    assert d.machine.revision == new


@pytest.mark.parametrize(
    "other",
    [
        open_of("b", b"2", creation=1),  # the same start: a delayed copy must not end what came after it
        open_of("b", b"2", creation=2, dir_id=b"elsewhere"),
        open_of("c", b"2", creation=2),
    ],
)
def test_an_open_that_proves_nothing_about_a_session_leaves_it_alone(other: OpenSession) -> None:
    d = Driver()
    first = d.apply(open_of("b", b"1")).session
    outcome = d.apply(other)
    assert (outcome.status, outcome.closed, outcome.session) == (Status.DONE, (), first + 1)
    assert d.machine.session(first) is not None


def test_without_a_directory_no_start_proves_anything() -> None:
    d = Driver()
    first = d.apply(open_of("b", b"1", creation=2, dir_id=b"")).session
    assert d.apply(open_of("b", b"2", creation=3, dir_id=b"")).closed == ()
    assert d.apply(open_of("b", b"3", creation=1, dir_id=b"")).status is Status.DONE
    assert d.machine.session(first) is not None


def test_the_end_of_sessions_removes_their_keys_in_order_in_one_revision() -> None:
    d = Driver()
    b, c = d.apply(open_of("b")).session, d.apply(open_of("c")).session
    d.txn([], [Put(b"z", b"", b), Put(b"y", b"", c), Put(b"x", b"", b), Put(b"kept", b"")])
    outcome = d.apply(ExpireSessions((c, 99, b, c)))
    assert outcome.closed == (b, c)
    assert [(event.key, event.now) for event in outcome.events] == [(b"x", None), (b"y", None), (b"z", None)]
    assert {event.revision for event in outcome.events} == {outcome.revision}
    assert [item.key for item in d.machine.range(b"")] == [b"kept"]
    assert d.apply(ExpireSessions((b, c))).revision == outcome.revision


def test_sessions_that_end_together_are_told_by_id() -> None:
    d = Driver()
    last = [d.apply(open_of("b", b"%d" % number)).session for number in range(7)][-1]
    assert last == 8  # a set of 1 and 8 has them in the other order
    assert d.apply(ExpireSessions((last, 1))).closed == (1, last)


def test_a_key_goes_with_the_session_that_put_it_last() -> None:
    d = Driver()
    b, c = d.apply(open_of("b")).session, d.apply(open_of("c")).session
    d.txn([], [Put(b"moved", b"", b), Put(b"freed", b"", b), Put(b"gone", b"", b)])
    d.txn([], [Put(b"moved", b"", c), Put(b"freed", b""), Delete(b"gone"), Put(b"gone", b"")])
    assert d.apply(CloseSession(b)).events == ()
    assert [event.key for event in d.apply(CloseSession(c)).events] == [b"moved"]


def test_a_put_that_names_a_dead_session_fails_the_whole_transaction() -> None:
    d = Driver()
    b = d.apply(open_of("b")).session
    d.apply(CloseSession(b))
    before = d.machine.revision
    request = Request(d.session, 1, 0, Txn((), (Put(b"a", b"1"), Put(b"b", b"1", b))))
    for replayed in (False, True):
        outcome = d.apply(request)
        assert (outcome.status, outcome.session, outcome.replayed) == (Status.SESSION_LOST, b, replayed)
    assert (d.machine.revision, len(d.machine)) == (before, 0)
    assert isinstance(error_of(outcome, sent_once=False), SessionLost)


def test_a_dead_session_in_the_branch_that_is_not_taken_harms_nothing() -> None:
    d = Driver()
    assert d.txn([absent(b"a")], [Put(b"a", b"1")], [Put(b"a", b"2", 99)]).succeeded


# Requests done once


def test_a_request_that_comes_again_has_the_first_result_and_changes_nothing() -> None:
    d = Driver()
    first = d.apply(put(1, 1))
    d.apply(put(1, 2))
    again = d.apply(put(1, 1))
    assert (again.result, again.events, again.replayed) == (first.result, (), True)
    item = d.machine.get(b"k")
    assert item is not None and item.value == b"2"


def test_requests_may_come_in_any_order() -> None:
    d = Driver()
    for sequence in (3, 1, 2, 3, 1):
        assert d.apply(put(1, sequence)).status is Status.DONE
    item = d.machine.get(b"k")
    assert item is not None and (item.value, item.version) == (b"2", 3)


def test_a_request_that_was_acknowledged_is_never_done_again() -> None:
    d = Driver()
    d.apply(put(1, 1))
    d.apply(put(1, 2, acked_below=2))
    outcome = d.apply(put(1, 1))
    assert (outcome.status, outcome.events) == (Status.STALE, ())
    assert isinstance(error_of(outcome, sent_once=False), OutcomeUnknown)
    never_seen = d.apply(put(1, 0))
    assert never_seen.status is Status.STALE


def test_an_older_acknowledgement_does_not_bring_anything_back() -> None:
    d = Driver()
    d.apply(put(1, 5, acked_below=5))
    assert d.apply(put(1, 4, acked_below=1)).status is Status.STALE


def test_a_request_of_a_session_that_is_over_is_refused_even_when_it_was_done_before() -> None:
    d = Driver()
    b = d.apply(open_of("b")).session
    d.apply(put(b, 1))
    d.apply(CloseSession(b))
    outcome = d.apply(put(b, 1))
    assert (outcome.status, outcome.result) == (Status.CLIENT_GONE, None)
    assert isinstance(error_of(outcome, sent_once=True), SessionLost)
    assert isinstance(error_of(outcome, sent_once=False), OutcomeUnknown)


def test_no_session_makes_no_requests() -> None:
    assert Driver().apply(put(0, 1)).status is Status.CLIENT_GONE


def test_sessions_count_their_requests_each_for_itself() -> None:
    d = Driver()
    b = d.apply(open_of("b")).session
    assert not d.apply(put(1, 1)).replayed
    assert not d.apply(put(b, 1)).replayed


def test_a_client_that_acknowledges_nothing_is_refused_at_the_limit_until_it_does() -> None:
    d = Driver()
    for sequence in range(clients.REMEMBERED_LIMIT):
        assert d.machine.apply(sequence + 2, encode(put(1, sequence))).status is Status.DONE
    over = d.apply(put(1, clients.REMEMBERED_LIMIT))
    assert over.status is Status.OVERLOADED
    assert isinstance(error_of(over, sent_once=True), Overloaded)
    assert isinstance(error_of(over, sent_once=False), OutcomeUnknown)
    assert d.apply(put(1, 0)).replayed
    assert d.apply(put(1, clients.REMEMBERED_LIMIT, acked_below=1)).status is Status.DONE


def test_results_that_hold_much_are_limited_by_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "REMEMBERED_LIMIT_BYTES", 1000)
    d = Driver()
    d.txn([], [Put(b"k", b"v" * 600)])
    read = Txn((), (Get(b"k"),))
    outcomes = [d.apply(Request(1, 10 + n, 2, read)).status for n in range(3)]
    assert outcomes == [Status.DONE, Status.DONE, Status.OVERLOADED]
    assert d.apply(Request(1, 12, 11, read)).status is Status.DONE


# Bytes from anywhere


def test_the_empty_entry_of_a_new_leader_changes_nothing_but_the_index() -> None:
    d = Driver()
    outcome = d.apply(b"")
    assert outcome == Outcome(Status.EMPTY, 1)
    assert d.machine.applied_index == 2


def test_an_entry_may_not_be_applied_twice() -> None:
    machine = StoreMachine()
    machine.apply(3, b"")
    with pytest.raises(AssertionError):
        machine.apply(3, b"")


def test_an_unknown_command_is_refused_and_the_next_one_is_done() -> None:
    d = Driver()
    outcome = d.apply(pack([99, b"from the future"]))
    assert outcome.status is Status.REJECTED and "99" in outcome.detail
    assert type(error_of(outcome, sent_once=True)) is StoreError
    assert d.apply(put(1, 1)).status is Status.DONE


@given(st.lists(st.one_of(st.binary(max_size=30), strategies.commands().map(encode)), max_size=12), st.data())
@settings(max_examples=100)
def test_no_bytes_make_the_machine_raise_or_unfit_for_a_snapshot(
    entries: list[bytes], data: st.DataObject
) -> None:
    machine = StoreMachine()
    for index, entry in enumerate(entries, 1):
        if entry and data.draw(st.booleans()):
            damaged = bytearray(entry)
            damaged[data.draw(st.integers(0, len(entry) - 1))] = data.draw(st.integers(0, 255))
            entry = bytes(damaged)
        before, revision = machine.snapshot(), machine.revision
        outcome = machine.apply(index, entry)
        if outcome.status is Status.REJECTED:
            assert machine.revision == revision and len(machine.snapshot()) == len(before)
        machine.check()
    again = StoreMachine()
    again.restore(machine.snapshot())
    assert again.snapshot() == machine.snapshot()


# Against the naive model


scripts = st.lists(strategies.commands(st.integers(0, 5)), max_size=40).map(
    lambda script: [open_of("a@h:1", b"n1", dir_id=b"d1"), open_of("b@h:2", b"n1", dir_id=b"d1"), *script]
)


def with_real_sessions(command: Command, opened: list[int]) -> Command:
    """Where a script says session n, it means the n-th of those opened, modulo; 0 and strangers stay."""

    def real(number: int) -> int:
        return opened[number % len(opened)] if opened and number else number

    if isinstance(command, CloseSession):
        return CloseSession(real(command.session))
    if isinstance(command, ExpireSessions):
        return ExpireSessions(tuple(map(real, command.sessions)))
    if isinstance(command, Request):
        then, else_ = (
            tuple(Put(op.key, op.value, real(op.session)) if isinstance(op, Put) else op for op in branch)
            for branch in (command.txn.then, command.txn.else_)
        )
        txn = Txn(command.txn.if_, then, else_)
        return Request(real(command.session), command.sequence, command.acked_below, txn)
    return command


def essence(outcome: Outcome) -> tuple[object, ...]:
    result = outcome.result
    known = (result.succeeded, result.revision, result.results) if result is not None else None
    return outcome.status, known, list(outcome.events), outcome.session, list(outcome.closed)


def compare_with_the_model(script: Iterable[Command]) -> Counter[str]:
    """Run both, compare after every command, and count what happened. Copies and gaps come by themselves."""
    happened = Counter[str]()
    machine, model, opened = StoreMachine(), NaiveStore(), list[int]()
    for index, abstract in enumerate(script, 1):
        command = with_real_sessions(abstract, opened)
        outcome = machine.apply(index, encode(command))
        assert essence(outcome) == model.apply(command)
        if outcome.opened is not None and outcome.opened.id not in opened:
            opened.append(outcome.opened.id)
        assert machine.revision == outcome.revision == model.revision
        assert dict(machine.keys()) == model.keys
        assert [info.id for info in machine.sessions()] == sorted(model.sessions)
        machine.check()
        happened[outcome.status.name + " replayed" * outcome.replayed + " closed" * bool(outcome.closed)] += 1
    return happened


@given(scripts)
@settings(max_examples=60)
def test_the_machine_does_what_the_naive_model_does(script: list[Command]) -> None:
    compare_with_the_model(script)


def test_the_machine_does_what_the_naive_model_does_in_long_scripts() -> None:
    happened = Counter[str]()
    for seed in range(400):
        happened += compare_with_the_model(strategies.random_script(seed, 80))
    often = {name for name, count in happened.items() if count >= 50}
    assert often >= {"DONE", "DONE replayed", "DONE closed", "STALE", "CLIENT_GONE", "SUPERSEDED"}
    assert often >= {"SESSION_LOST", "SESSION_LOST replayed"}


@given(scripts, st.integers(0, 40))
@settings(max_examples=60)
def test_a_restored_machine_goes_on_exactly_as_the_one_it_was_taken_from(
    script: list[Command], at: int
) -> None:
    restored_goes_on_like_the_original(script, at)


def test_a_restored_machine_goes_on_exactly_through_long_scripts() -> None:
    for seed in range(200):
        restored_goes_on_like_the_original(strategies.random_script(seed, 60), seed)


def restored_goes_on_like_the_original(script: list[Command], at: int) -> None:
    machine, twin, opened = StoreMachine(), StoreMachine(), list[int]()
    for index, abstract in enumerate(script, 1):
        if index - 1 == min(at, len(script) - 1):
            twin.apply(1, encode(open_of("somebody else")))  # what it knew before goes
            twin.restore(machine.snapshot())
        entry = encode(with_real_sessions(abstract, opened))
        outcome = machine.apply(index, entry)
        if outcome.opened is not None:
            opened.append(outcome.opened.id)
        if index > min(at, len(script) - 1):
            assert twin.apply(index, entry) == outcome
            twin.check()
            assert twin.snapshot() == machine.snapshot()


# Snapshots


def filled() -> Driver:
    d = Driver()
    b = d.apply(open_of("b")).session
    for number in range(2500):
        d.machine.apply(
            d.machine.applied_index + 1,
            encode(put(1, number, b"%04d" % number, owner=b if number % 2 else 0)),
        )
    d.apply(Request(b, 1, 0, Txn((), (Put(b"x", b"", 77),))))
    d.apply(Request(b, 2, 0, Txn((), (Get(b"nothing"), Delete(b"0001")))))
    return d


def test_a_snapshot_holds_everything_also_what_was_done_and_not_acknowledged() -> None:
    d = filled()
    twin = StoreMachine()
    twin.restore(d.machine.snapshot())
    twin.check()
    assert (twin.revision, twin.applied_index) == (d.machine.revision, d.machine.applied_index)
    assert (twin.sessions(), twin.keys()) == (d.machine.sessions(), d.machine.keys())
    b = d.machine.sessions()[1].id
    index = twin.applied_index
    assert twin.apply(index + 1, encode(put(1, 7))).replayed
    assert twin.apply(index + 2, encode(put(b, 1))).status is Status.SESSION_LOST
    deleted = twin.apply(index + 3, encode(put(b, 2))).result
    assert deleted is not None and deleted.results[1] is not None and deleted.results[1].key == b"0001"
    assert len(twin.apply(index + 4, encode(CloseSession(b))).events) == 1249


def test_a_restored_machine_remembers_what_was_acknowledged() -> None:
    d, twin = Driver(), StoreMachine()
    d.apply(put(1, 5, acked_below=5))
    twin.restore(d.machine.snapshot())
    assert twin.apply(9, encode(put(1, 4))).status is Status.STALE


def test_an_image_stays_what_it_was_while_the_machine_goes_on() -> None:
    d = filled()
    image, before = d.machine.capture(), d.machine.snapshot()
    pieces = image.chunks()
    head = [next(pieces), next(pieces)]
    d.txn([], [Delete(b"0002"), Put(b"0004", b"new"), Put(b"zz", b"")])
    d.apply(CloseSession(d.session))
    assert b"".join([*head, *pieces]) == before
    assert len(head[0]) < 100


def test_equal_states_have_equal_images_whatever_the_order_in_which_they_came_about() -> None:
    one, two = Driver(), Driver()
    one.apply(put(1, 1, b"b"))
    one.apply(put(1, 2, b"a"))
    one.apply(put(1, 3, b"c"))
    # the same revisions, keys and results; requests remembered and keys inserted in another order
    two.machine.apply(2, b"")
    two.machine.apply(3, b"")
    two.machine.restore(one.machine.snapshot())
    assert two.machine.snapshot() == one.machine.snapshot()
    one.apply(Request(1, 9, 0, Txn((), (Delete(b"a"),))))
    one.apply(Request(1, 8, 0, Txn((), ())))
    three = StoreMachine()
    three.restore(one.machine.snapshot())
    assert three.snapshot() == one.machine.snapshot()


@pytest.mark.parametrize("cut", [0, 1, 3, 30, -1, -40])
def test_a_snapshot_that_was_cut_is_refused_and_nothing_changes(cut: int) -> None:
    data = filled().machine.snapshot()
    d = Driver()
    before = d.machine.snapshot()
    with pytest.raises(ValueError, match="no image"):
        d.machine.restore(data[:cut])
    assert d.machine.snapshot() == before


def record(value: object) -> bytes:
    packed = pack(value)
    return len(packed).to_bytes(4, "big") + packed


SESSION: list[object] = [1, "a", 1, 3.0, b"n", b"d", 0, []]


@pytest.mark.parametrize(
    "data",
    [
        record([MAGIC, FORMAT, 1, 1, 0, 0]) + b"\x00\x00\x00\x00",
        record([MAGIC, FORMAT, 1, 1, 0, 0]) + record(7),
        record(["other", FORMAT, 1, 1, 0, 0]),
        record([MAGIC, FORMAT, 1, 1, -1, 0]),
        record([MAGIC, FORMAT, 1, 1, 1, 0]),
        record([MAGIC, FORMAT, 1, 1, 0, 1]) + record([]),
        record([MAGIC, FORMAT, 1, 1, 0, 1]) + record([[b"k", b"v", 1, 1, 1, 0], [b"l", b"v", 1, 1, 1, 0]]),
        record([MAGIC, FORMAT, 1, 1, 0, 2]) + record([[b"l", b"v", 1, 1, 1, 0], [b"k", b"v", 1, 1, 1, 0]]),
        record([MAGIC, FORMAT, 1, 1, 0, 1]) + record([[b"k", b"v", 1, 2, 1, 0]]),
        record([MAGIC, FORMAT, 1, 1, 0, 1]) + record([[b"k", b"v", 1, 1, 1, 1]]),
        record([MAGIC, FORMAT, 1, 1, 0, 1]) + record([[b"k", "v", 1, 1, 1, 0]]),
        record([MAGIC, FORMAT, 1, 1, 0, 1]) + record([[b"k", b"v", "1", 1, 1, 0]]),
        record([MAGIC, FORMAT, 1, 1, 0, 1]) + record([7]),
        record([MAGIC, FORMAT, 1, 1, 1, 0]) + record(["1", *SESSION[1:]]),
        record([MAGIC, FORMAT, 1, 1, 1, 0]) + record([2, *SESSION[1:]]),
        record([MAGIC, FORMAT, 1, 1, 1, 0]) + record([1, b"a", *SESSION[2:]]),
        record([MAGIC, FORMAT, 1, 1, 1, 0]) + record([*SESSION[:7], [[2, 7], [1, 7]]]),
        record([MAGIC, FORMAT, 1, 1, 1, 0]) + record([*SESSION[:7], [[1, [1, 1, []]]]]),
        record([MAGIC, FORMAT, 1, 9, 2, 0]) + record(SESSION) + record([2, *SESSION[1:]]),
        record([MAGIC, FORMAT, 1, 9, 2, 0]) + record([2, "b", *SESSION[2:]]) + record(SESSION),
        record(7),
        b"\x00\x00\x00\x01\xc1",
        b"",
    ],
)
def test_an_image_that_is_off_in_any_part_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="no image"):
        StoreMachine().restore(data)


def test_an_image_of_a_newer_format_is_refused_by_its_name() -> None:
    with pytest.raises(ValueError, match=f"format {FORMAT + 1}"):
        StoreMachine().restore(record([MAGIC, FORMAT + 1, 1, 1, 0, 0]))
