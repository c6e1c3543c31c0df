"""Every random choice of a simulation: one seed, one stream for each use.

    tape = Tape(7)
    faults = tape.stream("faults")
    faults.choice(["n1", "n2"])

Streams are independent, so that one more draw for the network changes nothing in the workload. With `record`, each draw
is kept with its label, for whoever wants to see what was decided. Equal seeds give equal draws on every machine and Python
from 3.11 on: the generator is Python's Mersenne Twister, whose `random` and `getrandbits` are stable by promise, and all
else is made from those two.
"""

import random
from collections.abc import MutableSequence, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Draw:
    """One choice: which stream, what for, and what came."""

    stream: str
    label: str
    value: Any


class Stream:
    """Draws for one use. It is an `Entropy` too."""

    def __init__(self, seed: int, name: str, draws: list[Draw] | None = None) -> None:
        self._generator = random.Random(f"{seed}/{name}")
        self._name = name
        self._draws = draws
        if draws is None:
            self.random = self._generator.random  # type: ignore[method-assign]  # nothing between: it is asked often

    def random(self) -> float:
        """A float in [0, 1)."""
        return self._kept("random", self._generator.random())

    def token(self, size_bytes: int) -> bytes:
        """Bytes; predictable by whoever knows the seed, as everything here."""
        return self._kept("token", self._generator.getrandbits(8 * size_bytes).to_bytes(size_bytes, "big"))

    def below(self, limit: int, label: str = "") -> int:
        """An integer in [0, limit). Raises `ValueError` for a limit under 1."""
        if limit < 1:
            raise ValueError(f"nothing is below {limit} here")
        return self._kept(label, min(limit - 1, int(self._generator.random() * limit)))

    def uniform(self, low: float, high: float, label: str = "") -> float:
        """A float in [low, high)."""
        return self._kept(label, low + (high - low) * self._generator.random())

    def chance(self, probability: float, label: str = "") -> bool:
        """True with this probability."""
        return self._kept(label, self._generator.random() < probability)

    def choice(self, items: Sequence[T], label: str = "") -> T:
        """One of them. Raises `ValueError` when there is none."""
        return items[self.below(len(items), label)]

    def sample(self, items: Sequence[T], count: int, label: str = "") -> list[T]:
        """`count` different places of the sequence, in a random order. Raises `ValueError` for more than there are."""
        if count > len(items):
            raise ValueError(f"{count} of {len(items)} cannot be drawn")
        rest = list(items)
        self.shuffle(rest, label)
        return rest[:count]

    def shuffle(self, items: MutableSequence[Any], label: str = "") -> None:
        """Put them into a random order, in place (Fisher and Yates)."""
        draw = self._generator.random
        for last in range(len(items) - 1, 0, -1):
            other = int(draw() * (last + 1))
            items[last], items[other] = items[other], items[last]
        if self._draws is not None:
            self._kept(label or "shuffle", len(items))

    def _kept(self, label: str, value: T) -> T:
        if self._draws is not None:
            self._draws.append(Draw(self._name, label, value))
        return value


class Tape:
    """The choices of one run. `draws` is filled when `record` is set."""

    def __init__(self, seed: int, *, record: bool = False) -> None:
        self.seed = seed
        self.draws: list[Draw] | None = [] if record else None
        self._streams: dict[str, Stream] = {}

    def stream(self, name: str) -> Stream:
        """The stream of this name, the same object every time."""
        stream = self._streams.get(name)
        if stream is None:
            stream = self._streams[name] = Stream(self.seed, name, self.draws)
        return stream
