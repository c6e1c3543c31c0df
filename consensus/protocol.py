"""What a store says to the leader's store, and what it hears back. One msgpack array per message.

A request carries an id that its answer repeats. Ids belong to the asking store and are never used again under its
node's name, by a later start of it neither: an answer that comes late must not be taken for another's.
`decode` raises `DecodeError` for anything else than a well-formed message.
"""

from dataclasses import dataclass
from enum import IntEnum

from quorate.core import DecodeError, pack, unpack

from .commands import COMMAND_LIMIT_BYTES

_INTEGER_END = 1 << 63


class Why(IntEnum):
    """Why the leader's store did not do what was asked; nothing happened in any of these cases."""

    NOT_LEADER = 1
    OVERLOADED = 2
    STOPPED = 3


@dataclass(frozen=True, slots=True)
class Propose:
    """Bring this command into the log. There is no answer but a refusal: the asker sees it applied."""

    id: int
    command: bytes


@dataclass(frozen=True, slots=True)
class Barrier:
    """Which index covers everything acknowledged before this request was sent?"""

    id: int


@dataclass(frozen=True, slots=True)
class Keepalive:
    """The holder of this session lives."""

    id: int
    session: int


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A quorum confirmed the leader after it received the `Barrier` or `Keepalive`, at this commit index."""

    id: int
    index: int


@dataclass(frozen=True, slots=True)
class Gone:
    """The session of the `Keepalive` is over, or its expiry is on its way."""

    id: int
    session: int


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing happened. `leader` is whom to ask instead, "" when it is not known."""

    id: int
    why: Why
    leader: str


_WHYS = frozenset(int(why) for why in Why)

Question = Propose | Barrier | Keepalive
Answer = Confirmed | Gone | Refused

_PROPOSE, _BARRIER, _KEEPALIVE, _CONFIRMED, _GONE, _REFUSED = range(1, 7)


def encode(message: Question | Answer) -> bytes:
    """The bytes of a message."""
    match message:
        case Propose(number, command):
            return pack([_PROPOSE, number, command])
        case Barrier(number):
            return pack([_BARRIER, number])
        case Keepalive(number, session):
            return pack([_KEEPALIVE, number, session])
        case Confirmed(number, index):
            return pack([_CONFIRMED, number, index])
        case Gone(number, session):
            return pack([_GONE, number, session])
        case Refused(number, why, leader):
            return pack([_REFUSED, number, int(why), leader])


def decode(payload: bytes) -> Question | Answer:
    """The message that `payload` stands for. Raises `DecodeError`."""
    raw = unpack(payload)
    if not isinstance(raw, list) or len(raw) < 2:
        raise DecodeError("a message to a store is an array that begins with its kind and id")
    match raw:
        case [1, int(number), bytes(command)] if 0 < len(command) <= COMMAND_LIMIT_BYTES:
            message: Question | Answer = Propose(number, command)
        case [2, int(number)]:
            message = Barrier(number)
        case [3, int(number), int(session)] if 0 <= session < _INTEGER_END:
            message = Keepalive(number, session)
        case [4, int(number), int(index)] if 0 <= index < _INTEGER_END:
            message = Confirmed(number, index)
        case [5, int(number), int(session)] if 0 <= session < _INTEGER_END:
            message = Gone(number, session)
        case [6, int(number), int(why), str(leader)] if why in _WHYS:
            message = Refused(number, Why(why), leader)
        case _:
            raise DecodeError(f"no message to a store: kind {raw[0]!r} with {len(raw)} parts")
    if not 0 <= message.id < _INTEGER_END:
        raise DecodeError("a message's id is out of range")
    return message
