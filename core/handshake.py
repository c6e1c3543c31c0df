"""The handshake of one connection as a pure state machine: bytes in, bytes and events out, time as an argument.

    dialer                                        acceptor
    HELLO  magic, versions, role, lane, nonce  ─▶
                                               ◀─  HELLO  (the same, with its own nonce)
    PROOF  HMAC(cookie, "dialer", hellos)      ─▶  checks it
    checks it                                  ◀─  0 | PROOF  HMAC(cookie, "acceptor", hellos)
                                               ◀─  IDENT  length, msgpack, MAC
    IDENT  length, msgpack, MAC                ─▶  decides
                                               ◀─  0, and frames follow; or a refusal

Both keep to one rule: nothing but fields of fixed size and place is looked at before the peer has proven that it
holds the cookie. The HMAC (SHA-256) covers both nonces, the versions, the roles and the lane: a recorded
handshake does not fit a fresh nonce, a proof sent back does not fit the other label, and versions cannot be
talked down. IDENT carries a MAC under a key of this one handshake, so who was proven is who is named. A refusal
is one byte. The first ten bytes of HELLO keep their layout in all versions, so that any two can tell each other
that they do not match.

What it does not give: the frames that follow are neither encrypted nor authenticated; somebody who can alter the
traffic on the wire needs to be kept out by TLS.

The authority over a handshake's state is the object; the caller moves bytes and keeps the time. What must never
happen here: `Identified` before both the proof and the MAC of IDENT were right.
"""

import hashlib
import hmac
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, IntEnum

from .errors import DecodeError
from .frames import Lane
from .ident import IDENT_LIMIT_BYTES, Ident

MAGIC = b"QUORUM"
VERSION_MIN = 1
VERSION_MAX = 1
NONCE_BYTES = 32
PROOF_BYTES = 32
_HELLO = struct.Struct(f">{len(MAGIC)}sHHBB{NONCE_BYTES}s")
HELLO_BYTES = _HELLO.size
_LENGTH = struct.Struct(">I")
_PROCEED = 0


class Role(IntEnum):
    """What the speaker is."""

    NODE = 1
    CLIENT = 2  # a command-line client: asks, and never becomes a peer


class Refusal(IntEnum):
    """The one byte by which an acceptor says no."""

    WRONG_COOKIE = 1
    NAME_IN_USE = 2
    DUPLICATE = 3  # another connection between these two nodes survives; not an error
    DRAINING = 4
    UNWANTED = 5  # this node was told to disconnect from that one


class Failure(Enum):
    """Why a handshake came to nothing. The values are the names of counters."""

    GARBAGE = "garbage"  # not a quorate node, or one that does not follow the protocol
    VERSION = "version"
    WRONG_COOKIE = "wrong_cookie"
    REFLECTED = "reflected"  # our own HELLO came back to us
    TOO_LARGE = "too_large"  # IDENT over its limit
    MALFORMED = "malformed"  # IDENT is proven, but no IDENT
    REFUSED = "refused"  # by either side's `Refusal`
    TIMEOUT = "timeout"
    HUNG_UP = "hung_up"


class State(Enum):
    """Where a handshake stands. It moves downwards only, to one of the last two."""

    HELLO = "waiting for the peer's hello"
    PROOF = "waiting for the peer's proof"
    IDENT = "waiting for the peer's ident"
    DECIDING = "the peer is identified; this side's caller is to decide"
    VERDICT = "waiting for the acceptor's verdict"
    OPEN = "done: frames follow"
    FAILED = "over"


@dataclass(frozen=True, slots=True)
class Hello:
    """The first message of each side."""

    role: Role
    lane: Lane
    nonce: bytes
    version_min: int = VERSION_MIN
    version_max: int = VERSION_MAX

    def encode(self) -> bytes:
        return _HELLO.pack(MAGIC, self.version_min, self.version_max, self.role, self.lane, self.nonce)


@dataclass(frozen=True, slots=True)
class Identified:
    """The peer has proven the cookie and said who it is. The caller decides: `identify`, `accept` or `refuse`."""

    ident: Ident


@dataclass(frozen=True, slots=True)
class Opened:
    """Both sides agree. `rest` are bytes of frames that came along."""

    version: int
    rest: bytes


@dataclass(frozen=True, slots=True)
class Failed:
    """It came to nothing; `detail` is for the log, `refusal` is set when one was sent or received.

    `versions` are the peer's, when they are what did not match.
    """

    failure: Failure
    detail: str
    refusal: Refusal | None = None
    versions: tuple[int, int] | None = None


Event = Identified | Opened | Failed


class Handshake:
    """What both sides share. Use `Dialer` or `Acceptor`."""

    def __init__(self, *, cookie: bytes, deadline: float) -> None:
        if not cookie:
            raise ValueError("the cookie is empty")
        self.state = State.HELLO
        self.deadline = deadline
        self.peer_hello: Hello | None = None
        self.ident: Ident | None = None  # the peer's
        self.version = 0
        self._cookie = cookie
        self._hellos = b""
        self._in = bytearray()
        self._out = bytearray()
        self._events: list[Event] = []

    # -- the caller's side ----------------------------------------------------------------------------------

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes from the peer. Whatever they are, the machine ends in a known state and holds few of them."""
        if self.state is State.FAILED:
            return []
        assert self.state is not State.OPEN, "the bytes of an open connection are frames"
        self._in += data
        while self.state not in (State.OPEN, State.FAILED) and self._step():
            pass
        return self._take_events()

    def bytes_to_send(self) -> bytes:
        """What is to be written to the peer now, also after a failure and before closing."""
        out = bytes(self._out)
        self._out.clear()
        return out

    def eof(self) -> list[Event]:
        """The peer closed the connection."""
        return self._over(Failure.HUNG_UP, f"the peer hung up while this side was {self.state.value}")

    def expire(self, now: float) -> list[Event]:
        """Fail when the deadline is over at `now` (a monotonic time in seconds, as `deadline` is)."""
        if now < self.deadline:
            return []
        return self._over(Failure.TIMEOUT, f"no answer in time; it was {self.state.value}")

    @property
    def proven(self) -> bool:
        """The peer holds the cookie."""
        return self.state in (State.IDENT, State.DECIDING, State.VERDICT, State.OPEN)

    # -- steps that both sides take ------------------------------------------------------------------------

    def _step(self) -> bool:
        """Do the next thing, if enough bytes are there for it."""
        match self.state:
            case State.HELLO:
                return self._step_hello()
            case State.PROOF:
                return self._step_proof()
            case State.IDENT:
                return self._step_ident()
            case State.VERDICT:
                return self._step_verdict()
            case _:
                if self._in:
                    self._fail(Failure.GARBAGE, "bytes came while it was this side's turn")
                return False

    def _step_hello(self) -> bool:
        if self._in[: len(MAGIC)] != MAGIC[: len(self._in)]:
            self._fail(Failure.GARBAGE, "the first bytes are not those of a quorate node")
            return False
        if len(self._in) < HELLO_BYTES:
            return False
        raw = self._take(HELLO_BYTES)
        _, low, high, role, lane, nonce = _HELLO.unpack(raw)
        self._heard_hello(raw, low, high)
        if min(VERSION_MAX, high) < max(VERSION_MIN, low):
            detail = (
                f"the peer speaks protocol versions {low} to {high}, this node {VERSION_MIN} to {VERSION_MAX}"
            )
            self._fail(Failure.VERSION, detail, versions=(low, high))
            return False
        if role not in set(Role) or lane not in set(Lane):
            self._fail(Failure.GARBAGE, f"no such role or lane: {role}, {lane}")
            return False
        self.version = min(VERSION_MAX, high)
        self.peer_hello = Hello(Role(role), Lane(lane), nonce, low, high)
        self._greeted(self.peer_hello)
        return True

    def _step_ident(self) -> bool:
        if len(self._in) < _LENGTH.size:
            return False
        (size,) = _LENGTH.unpack_from(self._in)
        if size > IDENT_LIMIT_BYTES:
            self._fail(
                Failure.TOO_LARGE, f"an ident of {size} bytes is over the limit of {IDENT_LIMIT_BYTES}"
            )
            return False
        if len(self._in) < _LENGTH.size + size + PROOF_BYTES:
            return False
        self._take(_LENGTH.size)
        body = self._take(size)
        if not hmac.compare_digest(self._take(PROOF_BYTES), self._mac(self._peer_label() + " ident", body)):
            self._fail(Failure.GARBAGE, "the ident was altered on its way")
            return False
        try:
            self.ident = Ident.decode(body)
        except DecodeError as error:
            self._fail(Failure.MALFORMED, f"the ident cannot be read: {error}")
            return False
        self.state = State.DECIDING
        self._events.append(Identified(self.ident))
        return True

    def _mac(self, label: str, body: bytes = b"") -> bytes:
        """HMAC over the label, both hellos and `body`; the first part has a fixed size for each label."""
        return hmac.digest(
            self._cookie, b"quorate 1 " + label.encode() + b"\0" + self._hellos + body, hashlib.sha256
        )

    def _send_ident(self, ident: Ident) -> None:
        body = ident.encode()
        if len(body) > IDENT_LIMIT_BYTES:
            raise ValueError(f"the ident has {len(body)} bytes; at most {IDENT_LIMIT_BYTES} are allowed")
        self._out += _LENGTH.pack(len(body)) + body + self._mac(self._own_label() + " ident", body)

    def _open(self) -> None:
        self.state = State.OPEN
        self._events.append(Opened(self.version, self._take(len(self._in))))

    def _over(self, failure: Failure, detail: str) -> list[Event]:
        if self.state not in (State.OPEN, State.FAILED):
            self._fail(failure, detail)
        return self._take_events()

    def _fail(
        self,
        failure: Failure,
        detail: str,
        refusal: Refusal | None = None,
        versions: tuple[int, int] | None = None,
    ) -> None:
        self.state = State.FAILED
        self._in.clear()
        self._events.append(Failed(failure, detail, refusal, versions))

    def _take(self, size: int) -> bytes:
        taken = bytes(self._in[:size])
        del self._in[:size]
        return taken

    def _take_events(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    # -- steps of one side ---------------------------------------------------------------------------------

    def _heard_hello(self, raw: bytes, low: int, high: int) -> None:
        raise NotImplementedError

    def _greeted(self, peer: Hello) -> None:
        raise NotImplementedError

    def _step_proof(self) -> bool:
        raise NotImplementedError

    def _step_verdict(self) -> bool:
        raise NotImplementedError

    def _own_label(self) -> str:
        raise NotImplementedError

    def _peer_label(self) -> str:
        raise NotImplementedError


class Dialer(Handshake):
    """The side that connected. After `Identified` the caller answers with `identify`, or hangs up."""

    def __init__(self, *, hello: Hello, cookie: bytes, deadline: float) -> None:
        super().__init__(cookie=cookie, deadline=deadline)
        self.hello = hello
        self._raw = hello.encode()
        self._out += self._raw

    def identify(self, ident: Ident) -> None:
        """Say who we are, and wait for the verdict."""
        assert self.state is State.DECIDING, self.state
        self._send_ident(ident)
        self.state = State.VERDICT

    def _heard_hello(self, raw: bytes, low: int, high: int) -> None:
        self._hellos = self._raw + raw

    def _greeted(self, peer: Hello) -> None:
        if peer.role is not Role.NODE or peer.lane is not self.hello.lane:
            self._fail(Failure.GARBAGE, "the peer answered for another role or lane")
            return
        self._out += self._mac("dialer")
        self.state = State.PROOF

    def _step_proof(self) -> bool:
        if not self._in:
            return False
        if self._in[0] != _PROCEED:
            self._refused(self._in[0])
            return False
        if len(self._in) < 1 + PROOF_BYTES:
            return False
        self._take(1)
        if not hmac.compare_digest(self._take(PROOF_BYTES), self._mac("acceptor")):
            self._fail(Failure.WRONG_COOKIE, "the peer took this node's proof, but its own is wrong")
            return False
        self.state = State.IDENT
        return True

    def _step_verdict(self) -> bool:
        if not self._in:
            return False
        code = self._take(1)[0]
        if code == _PROCEED:
            self._open()
        else:
            self._refused(code)
        return False

    def _refused(self, code: int) -> None:
        try:
            refusal = Refusal(code)
        except ValueError:
            self._fail(Failure.GARBAGE, f"no such refusal: {code}")
            return
        if refusal is Refusal.WRONG_COOKIE:
            self._fail(Failure.WRONG_COOKIE, "the peer holds another cookie", refusal)
        else:
            self._fail(Failure.REFUSED, f"the peer refused: {refusal.name.lower()}", refusal)

    def _own_label(self) -> str:
        return "dialer"

    def _peer_label(self) -> str:
        return "acceptor"


class Acceptor(Handshake):
    """The side that was dialled. After `Identified` the caller calls `accept` or `refuse`, at once or later.

    `reflected(nonce)` says whether a nonce is one of our own dials in progress: such a HELLO came back to us.
    """

    def __init__(
        self,
        *,
        nonce: bytes,
        ident: Ident,
        cookie: bytes,
        deadline: float,
        reflected: Callable[[bytes], bool] = lambda nonce: False,
    ) -> None:
        super().__init__(cookie=cookie, deadline=deadline)
        self._nonce = nonce
        self._ident = ident
        self._reflected = reflected

    def accept(self) -> list[Event]:
        """Take the connection; frames may follow at once."""
        assert self.state is State.DECIDING, self.state
        self._out += bytes((_PROCEED,))
        self._open()
        return self._take_events()

    def refuse(self, refusal: Refusal) -> list[Event]:
        """Say no. The caller writes `bytes_to_send` and closes."""
        assert self.state is State.DECIDING, self.state
        self._out += bytes((refusal,))
        self._fail(Failure.REFUSED, f"refused: {refusal.name.lower()}", refusal)
        return self._take_events()

    def _heard_hello(self, raw: bytes, low: int, high: int) -> None:
        lane = raw[len(MAGIC) + 5]  # sent back as it came: what it means is judged later
        own = _HELLO.pack(MAGIC, VERSION_MIN, VERSION_MAX, Role.NODE, lane, self._nonce)
        self._out += own
        self._hellos = raw + own

    def _greeted(self, peer: Hello) -> None:
        if self._reflected(peer.nonce):
            self._fail(Failure.REFLECTED, "this node's own hello came back to it")
            return
        self.state = State.PROOF

    def _step_proof(self) -> bool:
        if len(self._in) < PROOF_BYTES:
            return False
        if not hmac.compare_digest(self._take(PROOF_BYTES), self._mac("dialer")):
            self._out += bytes((Refusal.WRONG_COOKIE,))
            self._fail(Failure.WRONG_COOKIE, "the peer's proof is wrong", Refusal.WRONG_COOKIE)
            return False
        self._out += bytes((_PROCEED,))
        self._out += self._mac("acceptor")
        self._send_ident(self._ident)
        self.state = State.IDENT
        return True

    def _step_verdict(self) -> bool:
        raise AssertionError("an acceptor awaits no verdict")

    def _own_label(self) -> str:
        return "acceptor"

    def _peer_label(self) -> str:
        return "dialer"
