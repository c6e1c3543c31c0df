"""The one attempt or link per peer name. `Slots` is the authority for it; `admission.py` has the rules.

What must never happen here: two slots for one name.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from .admission import Attempt
from .link import Link


@dataclass(slots=True, eq=False)
class Slot:
    """An attempt, how to drop it while it is not up, and its link once it is."""

    attempt: Attempt
    cancel: Callable[[str], None]
    link: Link | None = None

    @property
    def name(self) -> str:
        return self.attempt.name


class Slots:
    """Slots by the name of the peer. `freed(slot)` is called whenever one becomes free."""

    def __init__(self, freed: Callable[[Slot], None]) -> None:
        self._slots: dict[str, Slot] = {}
        self._lost: dict[str, bytes] = {}
        self._freed = freed

    def get(self, name: str) -> Slot | None:
        return self._slots.get(name)

    def current(self, name: str) -> Attempt | None:
        slot = self._slots.get(name)
        return None if slot is None else slot.attempt

    def lost(self, name: str) -> bytes:
        """The token of the last link with this peer that is over, or b""."""
        return self._lost.get(name, b"")

    def links(self) -> Iterator[Link]:
        """The links that are up now; safe against changes meanwhile."""
        return iter([slot.link for slot in self._slots.values() if slot.link is not None])

    def take(self, attempt: Attempt, cancel: Callable[[str], None]) -> Slot:
        """Take the slot of this peer, which must be free."""
        assert attempt.name not in self._slots, f"{attempt.name} has an attempt already"
        slot = Slot(attempt, cancel)
        self._slots[attempt.name] = slot
        return slot

    def holds(self, slot: Slot) -> bool:
        """This very slot is still the one that counts."""
        return self._slots.get(slot.name) is slot

    def raise_up(self, slot: Slot, link: Link) -> None:
        assert self.holds(slot) and slot.link is None
        slot.link = link
        slot.attempt = replace(slot.attempt, up=True)

    def free(self, slot: Slot) -> bool:
        """Give the slot up; False when it was not the one that counts any more."""
        if not self.holds(slot):
            return False
        del self._slots[slot.name]
        if slot.link is not None:
            self._lost[slot.name] = slot.attempt.token
        self._freed(slot)
        return True
