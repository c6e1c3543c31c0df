"""The singleton of the demo: a counter whose every answer survives whatever happens to its node."""

from dataclasses import dataclass

from quorate.registry import Parked, Singleton

WITNESS = "witness"  # the local name of the process that tells the parent of what happens here


@dataclass(frozen=True, slots=True)
class Effect:
    """A write to a store outside of the cluster, which refuses a fence lower than one that it has seen."""

    key: str
    fence: int
    value: int


@dataclass(frozen=True, slots=True)
class Reconciled:
    """State that a cut-off owner had to park has been offered to the living owner."""

    key: str
    fence: int
    parked_fence: int
    parked_value: int
    value: int


@dataclass(frozen=True, slots=True)
class Reading:
    """What a counter says of itself."""

    value: int
    fence: int
    node: str


class Counter(Singleton[int]):
    """Counts. A value is in the store before anybody hears of it, so what was acknowledged is never lost."""

    def __init__(self) -> None:
        self._value = 0

    def take_over(self, state: int | None) -> None:
        self._value = state or 0

    def hand_over(self) -> int:
        return self._value

    def reconcile(self, parked: Parked[int]) -> None:
        """Nothing to add: what the other owner had acknowledged is in the checkpoint that this one began with."""
        self.process.send(WITNESS, Reconciled(self._key, self.fence, parked.fence, parked.state, self._value))

    async def increment(self, by: int = 1) -> int:
        """Add `by`; the new value."""
        value = self._value + by
        await self.checkpoint(value)
        self._value = value
        self.process.send(WITNESS, Effect(self._key, self.fence, value))
        return value

    def read(self) -> Reading:
        return Reading(self._value, self.fence, self.pid.node)

    @property
    def _key(self) -> str:
        return str(self.name)
