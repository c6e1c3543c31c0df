"""What the core refuses to do when it is asked. Engines turn it into the errors of `quorate.consensus`."""

from enum import Enum

from quorate.core import QuorateError

from .types import NodeId


class Refusal(Enum):
    """Why a replica did not take a request."""

    NOT_LEADER = "not the leader"
    TRANSFERRING = "leadership is being transferred"
    OVERLOADED = "too much is uncommitted already"


class ProposalRefused(QuorateError):
    """A `propose`, `read` or `transfer` was not taken. Nothing happened.

    `leader` is the replica to ask instead, as far as this one knows; None when it knows of none.
    """

    def __init__(self, reason: Refusal, leader: NodeId | None) -> None:
        super().__init__(f"{reason.value}; the leader is {leader or 'unknown'}")
        self.reason = reason
        self.leader = leader
