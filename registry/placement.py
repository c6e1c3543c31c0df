"""Which node each singleton belongs to, and which assignments to change for it. Pure.

The store is the authority: `plan` looks at one view of it and names the changes that a controller should try. Each
is guarded by the revisions that the view was read at, so any number of controllers may act on any views, however
old, and nothing worse happens than a change refused.

A singleton is assigned at once when it has no node or its node cannot have it; it is moved, a few at a time and
only after the membership has been quiet, when the ring (or its pin) says another node.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from quorate.hashing import Key, Ring

from .members import Member

MAX_MOVES = 8
SETTLE_S = 2.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """A singleton, and all that the store says of it.

    `key` is what is hashed. `assigned` is the node it is assigned to since `assigned_revision` (0: never), `owner` the
    living node that owns it now.
    """

    name: bytes
    key: Key
    kind: str
    pin: str | None = None
    want_revision: int = 0
    assigned: str | None = None
    assigned_revision: int = 0
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class View:
    """What a controller sees: who lives, since when nobody has come or gone, and what is wanted."""

    members: Mapping[str, Member]
    quiet_for_s: float
    wanted: tuple[Wanted, ...]


@dataclass(frozen=True, slots=True)
class Assign:
    """Assign a singleton to `node`, if neither its want nor its assignment have changed since the view."""

    name: bytes
    node: str
    want_revision: int
    assigned_revision: int


def plan(view: View, *, max_moves: int = MAX_MOVES, settle_s: float = SETTLE_S) -> list[Assign]:
    """The assignments to write now, the urgent ones first."""
    rings = _Rings(view.members)
    urgent: list[Assign] = []
    moves: list[Assign] = []
    under_way = 0
    for wanted in view.wanted:
        goal, pinned = _target(wanted, view.members, rings)
        running = wanted.owner is not None and wanted.owner == wanted.assigned
        if wanted.owner is not None and not running:
            under_way += 1
        if goal is None or goal == wanted.assigned:
            continue
        assign = Assign(wanted.name, goal, wanted.want_revision, wanted.assigned_revision)
        holder = view.members.get(wanted.assigned or "")
        fit = holder is not None and holder.takes(wanted.kind)
        if holder is None or not (fit or running):
            urgent.append(assign)  # nobody runs it, or will: there is nothing to hand over and to wait for
        elif pinned or not fit or view.quiet_for_s >= settle_s:
            moves.append(assign)
    return urgent + moves[: max(0, max_moves - under_way)]


def target(wanted: Wanted, members: Mapping[str, Member]) -> str | None:
    """The node where a singleton should be: its pin if that can have it, else where the ring says; None: nowhere."""
    return _target(wanted, members, _Rings(members))[0]


class _Rings:
    """A ring per class, of the members that can run it."""

    def __init__(self, members: Mapping[str, Member]) -> None:
        self._members = members
        self._rings: dict[str, Ring] = {}

    def owner(self, kind: str, key: Key) -> str | None:
        ring = self._rings.get(kind)
        if ring is None:
            able = {name: member.weight for name, member in self._members.items() if member.takes(kind)}
            ring = self._rings[kind] = Ring(able)
        return ring.owner(key)


def _target(wanted: Wanted, members: Mapping[str, Member], rings: _Rings) -> tuple[str | None, bool]:
    """Where it should be, and whether that is by its pin."""
    pinned = members.get(wanted.pin) if wanted.pin is not None else None
    if pinned is not None and pinned.takes(wanted.kind):
        return pinned.node, True
    return rings.owner(wanted.kind, wanted.key), False
