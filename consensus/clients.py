"""A living session as the state machine keeps it: its keys, and which requests were done under it.

Owned by `StoreMachine`; equal on every replica after the same entry.
"""

from dataclasses import dataclass, field

from .store import SessionInfo, TxnResult

REMEMBERED_LIMIT = 4096  # requests of one session that are done and not acknowledged
REMEMBERED_LIMIT_BYTES = 16 * 1024 * 1024  # what their results hold together, before one more is refused

Remembered = TxnResult | int
"""What a request led to: its result, or the id of the dead session for which it was refused."""


@dataclass(slots=True)
class SessionState:
    """What the machine knows of one living session."""

    info: SessionInfo
    nonce: bytes
    dir_id: bytes
    floor: int = 0  # every result of a sequence below was acknowledged and is forgotten
    remembered: dict[int, Remembered] = field(default_factory=dict)  # by sequence, in order of arrival
    remembered_bytes: int = 0
    keys: set[bytes] = field(default_factory=set)

    def acknowledge(self, below: int) -> None:
        """Forget the results of sequences under `below`."""
        floor = self.floor
        if below <= floor:
            return
        for sequence in range(floor, min(below, floor + REMEMBERED_LIMIT)):
            result = self.remembered.pop(sequence, None)
            if result is not None:
                self.remembered_bytes -= weight_bytes(result)
        self.floor = below

    def has_room_for(self, sequence: int) -> bool:
        """One more result may be remembered, for this sequence."""
        return sequence - self.floor < REMEMBERED_LIMIT and self.remembered_bytes < REMEMBERED_LIMIT_BYTES

    def remember(self, sequence: int, result: Remembered) -> None:
        self.remembered[sequence] = result
        self.remembered_bytes += weight_bytes(result)

    def check(self) -> None:
        """Assert what must hold between the parts."""
        assert all(self.floor <= sequence < self.floor + REMEMBERED_LIMIT for sequence in self.remembered)
        assert self.remembered_bytes == sum(map(weight_bytes, self.remembered.values()))


def weight_bytes(result: Remembered) -> int:
    """Roughly what a remembered result keeps in memory: its keys and values."""
    if isinstance(result, int):
        return 0
    total = 0
    for item in result.results:
        if item is not None:
            total += len(item.key) + len(item.value)
    return total
