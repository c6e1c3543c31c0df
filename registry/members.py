"""What each node tells the others in the store: that it lives, where its host is, and what may be placed on it.

A node writes its own record alone, in its session: when the session ends the record goes with everything else.
"""

from dataclasses import dataclass

from quorate.consensus import KeyValue
from quorate.core import Codec, DecodeError, Pid

from .keys import MEMBERS


@dataclass(frozen=True, slots=True)
class Member:
    """A node whose session lives. `host` is the process there that keeps singletons, `exports` the classes it can run.

    A node of weight 0, or one that drains, gets no singletons.
    """

    node: str
    creation: int
    host: Pid
    weight: float = 1.0
    draining: bool = False
    exports: frozenset[str] = frozenset()
    session: int = 0

    def takes(self, kind: str) -> bool:
        """Whether a singleton of the class exported as `kind` may be placed here."""
        return not self.draining and self.weight > 0 and kind in self.exports


def member_key(node: str) -> bytes:
    return MEMBERS + node.encode()


def encode_member(codec: Codec, member: Member) -> bytes:
    exports = sorted(member.exports)
    return codec.encode([member.node, member.creation, member.host, member.weight, member.draining, exports])


def decode_member(codec: Codec, item: KeyValue) -> Member:
    """Raises `DecodeError`."""
    match codec.decode(item.value):
        case [str(node), int(creation), Pid() as host, float(weight), bool(draining), list(exports)]:
            kinds = frozenset(kind for kind in exports if isinstance(kind, str))
            return Member(node, creation, host, weight, draining, kinds, item.session)
    raise DecodeError(f"{item.key!r} holds no member record")
