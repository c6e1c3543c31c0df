"""How replicas reach each other: whole messages, at most once, in order per connection, and no promise of arrival.

`RaftStore` is written on this alone. A node gives it its links; tests join stores in memory.
"""

from enum import IntEnum
from typing import Protocol


class Lane(IntEnum):
    """Which of a replica's two conversations a message belongs to."""

    RAFT = 2  # between Raft cores
    STORE = 3  # requests to the leader and its answers


class Transport(Protocol):
    """The sending side. The owner hands what arrives to `RaftStore.receive`, and broken connections to `peer_down`."""

    def send(self, peer: str, lane: Lane, payload: bytes) -> bool:
        """Send if there is a connection to `peer` now; False: there is none, nothing was sent.

        What it raises is logged, and the message counts as one that may have left.
        """
        ...
