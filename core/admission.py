"""Which of several connections with one peer survives: pure decisions on what this node knows.

Both nodes of a pair may dial at once, again and again, and messages cross. So that both keep the same
connection, and neither reports a link that it then takes back:

* Each node keeps at most one *attempt* per peer name: its own dial from the moment it says who it is, an accepted
  connection that waits for its second lane, or the link itself.
* Of two dials that cross, the one of the node with the smaller name survives. That node alone decides: it either
  accepted the other's dial before it began its own, or refuses it.
* A dial names the last link that its sender has lost, and numbers itself. So whoever is dialled knows whether
  the dial comes before or after the link that it holds: after it, that link is dead at the other end.
* A later life of the peer (a higher creation) replaces an earlier one at once. A life that is not later has to
  wait until the one that is linked is shown to be dead: otherwise its name is in use.
"""

from dataclasses import dataclass
from enum import Enum

from .handshake import Refusal
from .ident import Ident


@dataclass(frozen=True, slots=True)
class Attempt:
    """The one connection with a peer that counts, made or in the making."""

    name: str
    creation: int
    run: bytes
    token: bytes
    number: int
    dialled_here: bool
    up: bool = False


class Inbound(Enum):
    """What to do with a peer that dialled, when it is not refused."""

    ACCEPT = "accept; there is nothing in its way"
    REPLACE = "accept, and drop what there is"
    PROBE = "find out whether the present link lives, and ask again"


def judge_inbound(me: str, ident: Ident, current: Attempt | None) -> Inbound | Refusal:
    """What to do with the first lane of a peer that dialled this node, `me`."""
    if ident.name == me:
        return Refusal.NAME_IN_USE
    if current is None:
        return Inbound.ACCEPT
    if ident.run == current.run:
        return Inbound.REPLACE if _supersedes(me, ident, current) else Refusal.DUPLICATE
    if ident.creation > current.creation:
        return Inbound.REPLACE
    return Inbound.PROBE if current.up else Refusal.DUPLICATE


def _supersedes(me: str, ident: Ident, current: Attempt) -> bool:
    """The dial is later than `current`, both of one run of the peer."""
    if not current.dialled_here:
        return ident.attempt > current.number
    if current.up:
        return ident.lost == current.token
    return ident.name < me


class Outbound(Enum):
    """What to do with a peer that was dialled and has said who it is."""

    COMMIT = "go on; there is nothing in the way"
    REPLACE = "go on, and drop what there is: it belongs to an earlier life of the peer"
    ABANDON = "hang up: there is a link with this peer, or one in the making"
    SELF = "hang up for ever: this is the node itself"
    NAME_IN_USE = "hang up: two nodes claim one name"


def judge_outbound(me: str, my_run: bytes, ident: Ident, current: Attempt | None) -> Outbound:
    """Whether a dial of this node, `me`, goes on when it learns whom it has reached."""
    if ident.run == my_run:
        return Outbound.SELF
    if ident.name == me:
        return Outbound.NAME_IN_USE
    if current is None:
        return Outbound.COMMIT
    if ident.run == current.run:
        return Outbound.ABANDON
    if ident.creation > current.creation:
        return Outbound.REPLACE
    return Outbound.NAME_IN_USE if current.up else Outbound.ABANDON
