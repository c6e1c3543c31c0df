"""What lies between two simulated hosts: one `LinkState` for each direction.

A link delays and breaks; it never loses bytes from the middle of a stream, reorders or repeats them. Behind a cut, data
waits as TCP's retransmissions do: after the heal it arrives when the sender's timer would have fired, which doubles from
0.2 s on. Behind a hold it waits without that.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

RETRANSMIT_S = 0.2  # the first timeout of a retransmission, doubled each time (RFC 6298)
RETRANSMIT_MAX_S = 60.0
CONNECT_RETRY_S = 1.0  # the same for the first packet of a connection


@dataclass(slots=True, eq=False)
class LinkState:
    """The direction from one host to another. The fields above the line may be set; the counters are evidence."""

    source: str
    target: str
    latency_s: float = 0.0002
    jitter_s: float = 0.0001
    bandwidth_bytes_s: float | None = None
    slowed: bool = False  # latency or bandwidth is a fault now: what passes counts as delayed
    # -----
    cuts: int = 0
    holds: int = 0
    delivered: int = 0  # pieces of data
    held_bytes: int = 0
    blocked_connects: int = 0
    delayed_bytes: int = 0
    free_at: float = 0.0  # when the bytes sent so far have left, with a bandwidth
    waiting: list[Callable[[], None]] = field(default_factory=list)  # told when the link is whole again

    @property
    def blocked(self) -> bool:
        return self.cuts > 0 or self.holds > 0

    def changed(self) -> None:
        """Tell who waits, if it is whole again."""
        if not self.blocked:
            waiting, self.waiting = self.waiting, []
            for tell in waiting:
                tell()


def retry_at(since: float, now: float, first_s: float) -> float:
    """When a timer that was started at `since`, and doubles from `first_s`, fires next at or after `now`."""
    at, step = since + first_s, first_s
    while at < now:
        step = min(2 * step, RETRANSMIT_MAX_S)
        at += step
    return at
