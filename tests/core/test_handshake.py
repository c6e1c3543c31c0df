"""The handshake: who holds the cookie gets in, nobody else does, and nothing is decoded before."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.core.frames import Lane
from quorate.core.handshake import (
    HELLO_BYTES,
    MAGIC,
    PROOF_BYTES,
    Acceptor,
    Dialer,
    Event,
    Failed,
    Failure,
    Hello,
    Identified,
    Opened,
    Refusal,
    Role,
    State,
)
from quorate.core.ident import IDENT_LIMIT_BYTES, Ident

COOKIE = b"open sesame"
DEADLINE = 105.0


def ident(name: str, **more: object) -> Ident:
    fields: dict[str, object] = {"creation": 7, "run": name[0].encode() * 16, **more}
    return Ident(name=name, **fields)  # type: ignore[arg-type]  # the fields are of the right types


def dialer(
    cookie: bytes = COOKIE, nonce: bytes = b"d" * 32, lane: Lane = Lane.CONTROL, **hello: int
) -> Dialer:
    return Dialer(hello=Hello(Role.NODE, lane, nonce, **hello), cookie=cookie, deadline=DEADLINE)


def acceptor(cookie: bytes = COOKIE, nonce: bytes = b"a" * 32, mine: set[bytes] | None = None) -> Acceptor:
    return Acceptor(
        nonce=nonce,
        ident=ident("a@h:1"),
        cookie=cookie,
        deadline=DEADLINE,
        reflected=(mine or set()).__contains__,
    )


class Wire:
    """Both machines and what passed between them. The caller decides as a node would: everybody is welcome."""

    def __init__(self, left: Dialer, right: Acceptor, chunk: int = 10_000) -> None:
        self.left, self.right, self.chunk = left, right, chunk
        self.left_events: list[Event] = []
        self.right_events: list[Event] = []
        self.to_right = self.to_left = b""

    def run(self) -> "Wire":
        while True:
            forth, back = self.left.bytes_to_send(), self.right.bytes_to_send()
            if not forth and not back:
                return self
            self.to_right += forth
            self.to_left += back
            for start in range(0, len(forth), self.chunk):
                self.note_right(self.right.receive(forth[start : start + self.chunk]))
            for start in range(0, len(back), self.chunk):
                self.note_left(self.left.receive(back[start : start + self.chunk]))

    def note_left(self, events: list[Event]) -> None:
        self.left_events += events
        for event in events:
            if isinstance(event, Identified):
                self.left.identify(ident("d@h:2", token=b"t" * 16, attempt=3, lost=b"l" * 16))

    def note_right(self, events: list[Event]) -> None:
        self.right_events += events
        for event in events:
            if isinstance(event, Identified):
                self.right_events += self.right.accept()


def failure(events: list[Event]) -> Failed:
    assert len(events) == 1, events
    assert isinstance(events[0], Failed)
    return events[0]


@pytest.mark.parametrize("chunk", [1, 7, 43, 10_000])
@pytest.mark.parametrize("lane", list(Lane))
def test_two_nodes_with_one_cookie_open_and_know_each_other(chunk: int, lane: Lane) -> None:
    wire = Wire(dialer(lane=lane), acceptor(), chunk).run()
    assert wire.left_events == [Identified(ident("a@h:1")), Opened(1, b"")]
    assert wire.right_events == [
        Identified(ident("d@h:2", token=b"t" * 16, attempt=3, lost=b"l" * 16)),
        Opened(1, b""),
    ]
    assert wire.right.peer_hello == Hello(Role.NODE, lane, b"d" * 32)


def test_frames_that_come_with_the_verdict_are_handed_on() -> None:
    wire = Wire(dialer(), acceptor())
    last = b""
    while not wire.right_events:
        wire.note_right(wire.right.receive(wire.left.bytes_to_send()))
        last = wire.right.bytes_to_send()
        if not wire.right_events:
            wire.note_left(wire.left.receive(last))
    assert wire.left.receive(last + b"frames")[-1] == Opened(1, b"frames")


def test_another_cookie_is_refused_and_both_sides_know_why() -> None:
    wire = Wire(dialer(cookie=b"other"), acceptor()).run()
    assert failure(wire.right_events).failure is Failure.WRONG_COOKIE
    assert failure(wire.left_events).failure is Failure.WRONG_COOKIE
    assert failure(wire.left_events).refusal is Refusal.WRONG_COOKIE


def test_an_acceptor_gives_no_proof_to_whoever_has_given_none() -> None:
    """Else it could be made to sign hellos for others."""
    wire = Wire(dialer(cookie=b"other"), acceptor()).run()
    assert len(wire.to_left) == HELLO_BYTES + 1


def test_an_acceptor_that_takes_any_proof_does_not_deceive_the_dialer() -> None:
    left = dialer()
    left.bytes_to_send()
    left.receive(Hello(Role.NODE, Lane.CONTROL, b"x" * 32).encode())
    events = left.receive(b"\0" + b"p" * PROOF_BYTES)
    assert failure(events).failure is Failure.WRONG_COOKIE


def test_a_recorded_handshake_does_not_open_a_second_one() -> None:
    recorded = Wire(dialer(), acceptor()).run().to_right
    replayed = acceptor(nonce=b"b" * 32).receive(recorded)
    assert failure(replayed).failure is Failure.WRONG_COOKIE


def test_recorded_answers_of_an_acceptor_do_not_deceive_a_second_dialer() -> None:
    recorded = Wire(dialer(), acceptor()).run().to_left
    second = dialer(nonce=b"e" * 32)
    assert failure(second.receive(recorded)).failure is Failure.WRONG_COOKIE


def test_a_proof_sent_back_to_its_maker_is_no_proof() -> None:
    """The attacker knows no cookie: it mirrors the hello, and answers the dialer's proof with that same proof."""
    left = dialer()
    hello = left.bytes_to_send()
    left.receive(hello)
    proof = left.bytes_to_send()
    assert len(proof) == PROOF_BYTES
    assert failure(left.receive(b"\0" + proof)).failure is Failure.WRONG_COOKIE


def test_a_dial_that_is_led_back_to_the_node_that_made_it_is_refused() -> None:
    """The attacker carries bytes between a node's own dial and its own server, and so needs no cookie."""
    left = dialer(nonce=b"n" * 32)
    right = acceptor(mine={b"n" * 32})
    assert failure(right.receive(left.bytes_to_send())).failure is Failure.REFLECTED


@pytest.mark.parametrize("position", range(0, HELLO_BYTES, 5))
def test_a_hello_that_was_changed_on_its_way_opens_nothing(position: int) -> None:
    left, right = dialer(), acceptor()
    hello = bytearray(left.bytes_to_send())
    hello[position] ^= 1
    right.receive(bytes(hello))
    left.receive(right.bytes_to_send())
    right.receive(left.bytes_to_send())
    assert right.state is not State.IDENT
    assert not right.proven


def test_an_ident_that_was_changed_on_its_way_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    left, right = dialer(), acceptor()
    right.receive(left.bytes_to_send())
    left.receive(right.bytes_to_send())
    right.receive(left.bytes_to_send())
    answer = bytearray(right.bytes_to_send())
    answer[1 + PROOF_BYTES + 4 + 6] ^= 1

    def decode(data: bytes) -> Ident:
        raise AssertionError(f"decoded {data!r}")

    monkeypatch.setattr(Ident, "decode", decode)
    assert failure(left.receive(bytes(answer))).failure is Failure.GARBAGE


@given(data=st.binary(max_size=400))
def test_nothing_of_a_stranger_is_decoded(data: bytes) -> None:
    """A stranger who knows the protocol but not the cookie, and sends anything instead of a proof and an ident."""
    right = acceptor()
    with pytest.MonkeyPatch.context() as patch:

        def decode(data: bytes) -> Ident:
            raise AssertionError(f"decoded {data!r}")

        patch.setattr(Ident, "decode", decode)
        events = right.receive(Hello(Role.NODE, Lane.CONTROL, b"s" * 32).encode() + data)
    assert not right.proven
    if len(data) >= PROOF_BYTES:
        assert failure(events).failure is Failure.WRONG_COOKIE


@given(
    data=st.binary(max_size=300),
    start=st.sampled_from(["nothing", "hello"]),
    side=st.sampled_from(["dialer", "acceptor"]),
    chunk=st.integers(1, 300),
)
def test_garbage_ends_in_a_known_state_whatever_it_is(data: bytes, start: str, side: str, chunk: int) -> None:
    machine = dialer() if side == "dialer" else acceptor()
    events: list[Event] = []
    if start == "hello":
        events += machine.receive(Hello(Role.NODE, Lane.CONTROL, b"s" * 32).encode())
    for begin in range(0, len(data), chunk):
        events += machine.receive(data[begin : begin + chunk])
    assert machine.state in (State.HELLO, State.PROOF, State.FAILED)
    assert (machine.state is State.FAILED) == (len(events) == 1)
    assert all(isinstance(event, Failed) for event in events)
    assert len(machine.bytes_to_send()) <= HELLO_BYTES + PROOF_BYTES + 1
    failed = machine.expire(DEADLINE) or events
    assert isinstance(failed[-1], Failed)
    assert machine.state is State.FAILED
    assert machine.receive(data) == []
    assert machine.eof() == []


def test_garbage_is_known_at_its_first_wrong_byte() -> None:
    """An HTTP client does not have to send forty bytes to be turned away."""
    assert failure(acceptor().receive(b"GET")).failure is Failure.GARBAGE
    assert acceptor().receive(MAGIC[:3]) == []


@pytest.mark.parametrize(("low", "high"), [(2, 9), (0, 0)])
def test_a_peer_of_another_protocol_version_is_refused_and_both_know_the_versions(
    low: int, high: int
) -> None:
    right = acceptor()
    events = right.receive(dialer(version_min=low, version_max=high).bytes_to_send())
    assert failure(events).failure is Failure.VERSION
    assert failure(events).versions == (low, high)
    left = dialer()
    answer = Hello(Role.NODE, Lane.CONTROL, b"x" * 32, low, high).encode()
    assert failure(left.receive(answer)).versions == (low, high)
    assert len(right.bytes_to_send()) == HELLO_BYTES, "the other side learns which versions it met"


def test_a_peer_that_also_speaks_later_versions_is_met_at_ours() -> None:
    wire = Wire(dialer(version_min=1, version_max=9), acceptor()).run()
    assert wire.right_events[-1] == Opened(1, b"")


@pytest.mark.parametrize(
    "refusal", [Refusal.NAME_IN_USE, Refusal.DUPLICATE, Refusal.DRAINING, Refusal.UNWANTED]
)
def test_a_refusal_reaches_the_dialer(refusal: Refusal) -> None:
    left, right = dialer(), acceptor()
    while right.state is not State.DECIDING:
        right.receive(left.bytes_to_send())
        for event in left.receive(right.bytes_to_send()):
            assert isinstance(event, Identified)
            left.identify(ident("d@h:2"))
    assert failure(right.refuse(refusal)).refusal is refusal
    assert failure(left.receive(right.bytes_to_send())).refusal is refusal


def test_a_refusal_that_does_not_exist_is_garbage() -> None:
    left = dialer()
    left.receive(Hello(Role.NODE, Lane.CONTROL, b"x" * 32).encode())
    assert failure(left.receive(b"\xee")).failure is Failure.GARBAGE


def test_the_deadline_is_for_the_whole_handshake_and_dripping_bytes_do_not_move_it() -> None:
    right = acceptor()
    hello = dialer().bytes_to_send()
    for second in range(5):
        assert right.expire(100.0 + second) == []
        right.receive(hello[second : second + 1])
    assert failure(right.expire(DEADLINE)).failure is Failure.TIMEOUT


def test_a_peer_that_hangs_up_fails_the_handshake_once() -> None:
    right = acceptor()
    assert failure(right.eof()).failure is Failure.HUNG_UP
    assert right.eof() == []
    assert right.expire(DEADLINE) == []


def test_an_ident_over_the_limit_fails_before_it_is_held() -> None:
    left, right = dialer(), acceptor()
    right.receive(left.bytes_to_send())
    left.receive(right.bytes_to_send())
    events = right.receive(left.bytes_to_send() + (IDENT_LIMIT_BYTES + 1).to_bytes(4, "big"))
    assert failure(events).failure is Failure.TOO_LARGE


def test_an_ident_that_is_proven_but_unreadable_is_malformed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = acceptor()
    monkeypatch.setattr(Ident, "encode", lambda self: b"\xc1")
    left = dialer()
    right.receive(left.bytes_to_send())
    left.receive(right.bytes_to_send())
    right.receive(left.bytes_to_send())
    assert failure(left.receive(right.bytes_to_send())).failure is Failure.MALFORMED


def test_bytes_before_the_verdict_are_against_the_rules() -> None:
    left, right = dialer(), acceptor()
    right.receive(left.bytes_to_send())
    left.receive(right.bytes_to_send())
    right.receive(left.bytes_to_send())
    left.receive(right.bytes_to_send())
    left.identify(ident("d@h:2"))
    right.receive(left.bytes_to_send())
    assert right.state is State.DECIDING
    assert failure(right.receive(b"x")).failure is Failure.GARBAGE


def test_an_acceptor_that_answers_as_a_client_or_for_another_lane_is_garbage() -> None:
    for hello in (Hello(Role.CLIENT, Lane.CONTROL, b"x" * 32), Hello(Role.NODE, Lane.SIGNALS, b"x" * 32)):
        assert failure(dialer().receive(hello.encode())).failure is Failure.GARBAGE


def test_an_empty_cookie_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        dialer(cookie=b"")
