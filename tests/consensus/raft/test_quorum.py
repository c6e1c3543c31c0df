"""Counting majorities: tables of cases, and what must hold for all of them."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.consensus.raft import Configuration
from quorate.consensus.raft.quorum import (
    EVERYTHING,
    VoteResult,
    committed_index,
    quorum_value,
    vote_result,
)

IDS = "abcdefg"


def config(voters: str, outgoing: str = "") -> Configuration:
    return Configuration(frozenset(voters), frozenset(outgoing))


@pytest.mark.parametrize(
    ("voters", "outgoing", "acked", "expected"),
    [
        # one voter: what it has
        ("a", "", {}, 0),
        ("a", "", {"a": 12}, 12),
        # two: what both have
        ("ab", "", {"a": 12}, 0),
        ("ab", "", {"a": 12, "b": 5}, 5),
        # three: the middle one
        ("abc", "", {"a": 12}, 0),
        ("abc", "", {"a": 12, "b": 5}, 5),
        ("abc", "", {"a": 12, "b": 5, "c": 6}, 6),
        ("abc", "", {"a": 12, "b": 5, "c": 4}, 5),
        ("abc", "", {"a": 7, "b": 7, "c": 9}, 7),
        # four: the second lowest, for three are a majority
        ("abcd", "", {"a": 9, "b": 8, "c": 7, "d": 6}, 7),
        # five
        ("abcde", "", {"a": 101, "b": 104, "c": 103, "d": 103}, 103),
        ("abcde", "", {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}, 3),
        ("abcde", "", {"a": 5, "b": 5}, 0),
        # who is no voter does not count
        ("abc", "", {"a": 3, "x": 9, "y": 9, "z": 9}, 0),
        # joint, apart: the lower of the two
        ("a", "b", {"a": 100}, 0),
        ("a", "b", {"a": 13, "b": 100}, 13),
        ("ac", "b", {"a": 100, "b": 50, "c": 70}, 50),
        ("abc", "def", {"a": 9, "b": 8, "c": 1, "d": 5, "e": 4, "f": 3}, 4),
        # joint, overlapping
        ("abc", "bcd", {"a": 10, "b": 10, "d": 10}, 10),
        ("abc", "bcd", {"a": 10, "d": 10, "b": 2}, 2),
        ("abc", "abc", {"a": 5, "b": 4, "c": 3}, 4),
        # joint with an empty half is the other half
        ("", "abc", {"a": 5, "b": 4, "c": 3}, 4),
    ],
)
def test_the_committed_index_is_what_a_quorum_has(
    voters: str, outgoing: str, acked: dict[str, int], expected: int
) -> None:
    assert committed_index(config(voters, outgoing), acked) == expected


def test_nobody_has_committed_everything() -> None:
    assert committed_index(config(""), {"a": 1}) == EVERYTHING


@pytest.mark.parametrize(
    ("voters", "outgoing", "answers", "expected"),
    [
        ("a", "", "_", VoteResult.PENDING),
        ("a", "", "y", VoteResult.WON),
        ("a", "", "n", VoteResult.LOST),
        ("ab", "", "y_", VoteResult.PENDING),
        ("ab", "", "yn", VoteResult.LOST),
        ("ab", "", "n_", VoteResult.LOST),
        ("ab", "", "yy", VoteResult.WON),
        ("abc", "", "y__", VoteResult.PENDING),
        ("abc", "", "yn_", VoteResult.PENDING),
        ("abc", "", "yy_", VoteResult.WON),
        ("abc", "", "nn_", VoteResult.LOST),
        ("abc", "", "ynn", VoteResult.LOST),
        ("abc", "", "yny", VoteResult.WON),
        ("abcd", "", "yy__", VoteResult.PENDING),
        ("abcd", "", "yynn", VoteResult.LOST),
        ("abcd", "", "yyy_", VoteResult.WON),
        ("abcde", "", "yy_nn", VoteResult.PENDING),
        ("abcde", "", "yyynn", VoteResult.WON),
        # joint: one half lost is lost, both won is won
        ("a", "b", "y_", VoteResult.PENDING),
        ("a", "b", "yn", VoteResult.LOST),
        ("a", "b", "n_", VoteResult.LOST),
        ("a", "b", "yy", VoteResult.WON),
        ("ab", "cd", "yyyn", VoteResult.LOST),
        ("ab", "cd", "yyy_", VoteResult.PENDING),
        ("ab", "cd", "yyyy", VoteResult.WON),
        ("abc", "cde", "yy___", VoteResult.PENDING),
        ("abc", "cde", "yy_yy", VoteResult.WON),
        ("abc", "cde", "yynnn", VoteResult.LOST),
        ("", "abc", "yy_", VoteResult.WON),
        ("", "", "", VoteResult.WON),
    ],
)
def test_an_election_is_won_by_a_majority_of_each_half(
    voters: str, outgoing: str, answers: str, expected: VoteResult
) -> None:
    votes = {voter: answer == "y" for voter, answer in zip(IDS, answers, strict=False) if answer != "_"}
    assert vote_result(config(voters, outgoing), votes) is expected


def test_votes_of_those_who_are_no_voters_do_not_count() -> None:
    assert vote_result(config("abc"), {"a": True, "x": True, "y": True}) is VoteResult.PENDING


@given(
    st.frozensets(st.sampled_from(IDS), min_size=1),
    st.frozensets(st.sampled_from(IDS)),
    st.dictionaries(st.sampled_from(IDS), st.integers(0, 9)),
)
def test_the_committed_index_is_the_highest_that_would_win_an_election(
    voters: frozenset[str], outgoing: frozenset[str], acked: dict[str, int]
) -> None:
    configuration = Configuration(voters, outgoing)

    def agreed(index: int) -> bool:
        votes = {voter: acked.get(voter, 0) >= index for voter in IDS}
        return vote_result(configuration, votes) is VoteResult.WON

    index = committed_index(configuration, acked)
    assert agreed(index) and not agreed(index + 1)


def test_two_quorums_always_share_a_voter() -> None:
    for voters, outgoing in [("abc", ""), ("abcd", ""), ("abcde", ""), ("abc", "bcd"), ("ab", "cde")]:
        for sides in product([True, False], repeat=5):
            votes = dict(zip("abcde", sides, strict=True))
            others = {voter: not side for voter, side in votes.items()}
            configuration = config(voters, outgoing)
            won = [vote_result(configuration, x) is VoteResult.WON for x in (votes, others)]
            assert won != [True, True]


def test_a_quorum_value_is_also_counted_for_times() -> None:
    assert quorum_value(config("abc"), {"a": 3.5, "b": 1.25}, float("-inf")) == 1.25
    assert quorum_value(config("abc"), {"a": 3.5}, float("-inf")) == float("-inf")
