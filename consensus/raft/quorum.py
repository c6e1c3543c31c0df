"""Counting majorities, plain and joint. Pure functions; nobody holds state here.

While a change of membership is under way a configuration has two sets of voters, and a decision needs a
majority of each (joint consensus, Raft paper section 6). Whoever is in neither set does not count, whatever
it says. An empty set of voters agrees to everything: that is what makes the second set of a plain
configuration harmless.
"""

import sys
from collections.abc import Mapping
from enum import Enum
from typing import TypeVar

from .types import Configuration, NodeId

EVERYTHING = sys.maxsize
"""What an empty set of voters has committed."""

Value = TypeVar("Value", int, float)


class VoteResult(Enum):
    """How an election stands. `PENDING`: the answers that are missing may still decide it either way."""

    PENDING = "pending"
    WON = "won"
    LOST = "lost"


def quorum_value(configuration: Configuration, values: Mapping[NodeId, Value], missing: Value) -> Value:
    """The highest value that a quorum has reached; a voter that is not in `values` stands at `missing`.

    Raises `ValueError` for a configuration without voters.
    """
    majorities = (configuration.voters, configuration.outgoing)
    return min(_majority_value(voters, values, missing) for voters in majorities if voters)


def committed_index(configuration: Configuration, acked: Mapping[NodeId, int]) -> int:
    """The highest index that a quorum holds durably (Raft paper, figure 2, last rule for leaders).

    Whether it may be committed is another question: its entry must be of the leader's own term.
    `EVERYTHING` for a configuration without voters.
    """
    if not configuration.voters and not configuration.outgoing:
        return EVERYTHING
    return quorum_value(configuration, acked, 0)


def vote_result(configuration: Configuration, votes: Mapping[NodeId, bool]) -> VoteResult:
    """The result of an election in which `votes` have been answered, one per voter."""
    first = _majority_vote(configuration.voters, votes)
    second = _majority_vote(configuration.outgoing, votes)
    if VoteResult.LOST in (first, second):
        return VoteResult.LOST
    if first is VoteResult.WON and second is VoteResult.WON:
        return VoteResult.WON
    return VoteResult.PENDING


def _majority_value(voters: frozenset[NodeId], values: Mapping[NodeId, Value], missing: Value) -> Value:
    ordered = sorted([values.get(voter, missing) for voter in voters], reverse=True)
    return ordered[len(voters) // 2]


def _majority_vote(voters: frozenset[NodeId], votes: Mapping[NodeId, bool]) -> VoteResult:
    if not voters:
        return VoteResult.WON
    needed = len(voters) // 2 + 1
    granted = sum(votes.get(voter) is True for voter in voters)
    refused = sum(votes.get(voter) is False for voter in voters)
    if granted >= needed:
        return VoteResult.WON
    if len(voters) - refused < needed:
        return VoteResult.LOST
    return VoteResult.PENDING
