"""How long to wait before dialling again: exponential, with jitter. Pure; the draw of chance is an argument."""


class Backoff:
    """Delays that double from `first_s` to `max_s`; each is cut to between a half and the whole of itself.

    The jitter keeps nodes that lost one another at the same moment from dialling at the same moment for ever.
    """

    __slots__ = ("_next_s", "first_s", "max_s")

    def __init__(self, first_s: float, max_s: float) -> None:
        if not 0 < first_s <= max_s:
            raise ValueError(f"need 0 < first_s <= max_s, not {first_s} and {max_s}")
        self.first_s = first_s
        self.max_s = max_s
        self._next_s = first_s

    def next_s(self, chance: float) -> float:
        """The next delay in seconds; `chance` is a random number in [0, 1)."""
        delay_s = self._next_s * (0.5 + 0.5 * chance)
        self._next_s = min(self.max_s, self._next_s * 2)
        return delay_s

    def reset(self) -> None:
        """Begin at `first_s` again."""
        self._next_s = self.first_s
