"""When to send a heartbeat and when to give a peer up. Pure: the time is an argument.

A peer lives as long as *any* byte of it arrives: a heartbeat is only for the silence. A node that was itself
stopped for a while (SIGSTOP, a swapped-out machine, a body that blocked the loop) must not take its own absence
for the silence of all others: what they sent still waits in its sockets. So a tick that comes late judges nobody.
"""

from enum import Enum


class Verdict(Enum):
    """What `Heartbeat.tick` asks for."""

    BEAT = "send a heartbeat"
    DEAD = "give the peer up"


class Heartbeat:
    """The silence of one peer, measured at ticks `interval_s` apart.

    `DEAD` comes between `timeout_s` and `timeout_s + interval_s` after the last byte was noticed, as long as the
    ticks themselves are on time.
    """

    __slots__ = ("_heard_at", "_ticked_at", "interval_s", "timeout_s")

    def __init__(self, interval_s: float, timeout_s: float, now: float) -> None:
        if not 0 < interval_s < timeout_s:
            raise ValueError(f"need 0 < interval_s < timeout_s, not {interval_s} and {timeout_s}")
        self.interval_s = interval_s
        self.timeout_s = timeout_s
        self._heard_at = now
        self._ticked_at = now

    def tick(self, now: float, heard: bool) -> Verdict:
        """Judge at `now`; `heard` says whether bytes arrived since the last tick."""
        late = now - self._ticked_at > self.interval_s + self.timeout_s / 2
        self._ticked_at = now
        if heard:
            self._heard_at = now
        elif late:
            self._heard_at = max(self._heard_at, now - self.timeout_s + self.interval_s)
        elif self.silent_s(now) >= self.timeout_s:
            return Verdict.DEAD
        return Verdict.BEAT

    def silent_s(self, now: float) -> float:
        """For how many seconds nothing was heard, as far as the ticks saw."""
        return now - self._heard_at
