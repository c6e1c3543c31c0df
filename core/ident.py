"""What a peer says about itself once it has proven the cookie: the one message of a handshake that is decoded.

A msgpack map of at most `IDENT_LIMIT_BYTES` with short keys. Keys that are not known are ignored, so that later
versions can say more; what is known must have exactly the right type.
"""

from dataclasses import dataclass
from typing import Any, Self

from .codec import pack, unpack
from .errors import DecodeError

IDENT_LIMIT_BYTES = 64 * 1024
RUN_BYTES = 16
TOKEN_BYTES = 16
_FEATURES_LIMIT = 256
_TEXT_LIMIT = 255


@dataclass(frozen=True, slots=True)
class Ident:
    """Who speaks, and which attempt at a link this connection belongs to.

    `run` is drawn anew at each start of a node, so that two processes with one name and one creation (a copied
    data directory) are told apart. `token` binds the second lane to the first. `attempt` numbers the dials of one
    run. `lost` is the token of the last link with the same peer that is over for the speaker (b"": none).
    """

    name: str
    creation: int
    run: bytes
    features: frozenset[str] = frozenset()
    control_limit_bytes: int = 0
    signal_limit_bytes: int = 0
    token: bytes = b""
    attempt: int = 0
    lost: bytes = b""

    def encode(self) -> bytes:
        """The message as bytes."""
        return pack(
            {
                "name": self.name,
                "creation": self.creation,
                "run": self.run,
                "features": sorted(self.features),
                "control_limit": self.control_limit_bytes,
                "signal_limit": self.signal_limit_bytes,
                "token": self.token,
                "attempt": self.attempt,
                "lost": self.lost,
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a message. Raises `DecodeError`, whatever the bytes are."""
        value = unpack(data)
        if not isinstance(value, dict):
            raise DecodeError(f"a map was expected, not {type(value).__name__}")
        return cls(
            name=_text(value, "name"),
            creation=_number(value, "creation"),
            run=_bytes(value, "run", RUN_BYTES),
            features=_features(value),
            control_limit_bytes=_number(value, "control_limit"),
            signal_limit_bytes=_number(value, "signal_limit"),
            token=_bytes(value, "token", TOKEN_BYTES),
            attempt=_number(value, "attempt"),
            lost=_bytes(value, "lost", TOKEN_BYTES),
        )


def _text(value: dict[Any, Any], key: str) -> str:
    text = value.get(key)
    if not isinstance(text, str) or len(text) > _TEXT_LIMIT:
        raise DecodeError(f"{key!r} must be a text of at most {_TEXT_LIMIT} characters")
    return text


def _number(value: dict[Any, Any], key: str) -> int:
    number = value.get(key)
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise DecodeError(f"{key!r} must be an integer of 0 or more")
    return number


def _bytes(value: dict[Any, Any], key: str, size: int) -> bytes:
    found = value.get(key)
    if not isinstance(found, bytes) or len(found) not in (0, size):
        raise DecodeError(f"{key!r} must be {size} bytes, or none")
    return found


def _features(value: dict[Any, Any]) -> frozenset[str]:
    found = value.get("features")
    if not isinstance(found, list) or len(found) > _FEATURES_LIMIT:
        raise DecodeError(f"'features' must be a list of at most {_FEATURES_LIMIT} names")
    for feature in found:
        if not isinstance(feature, str) or len(feature) > _TEXT_LIMIT:
            raise DecodeError(f"each feature must be a text of at most {_TEXT_LIMIT} characters")
    return frozenset(found)
