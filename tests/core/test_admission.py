"""Which connection survives: each rule by itself. `test_admission_model.py` tests them together."""

import itertools

import pytest

from quorate.core.admission import Attempt, Inbound, Outbound, judge_inbound, judge_outbound
from quorate.core.handshake import Refusal
from quorate.core.ident import Ident

RUN = b"1" * 16
OTHER_RUN = b"2" * 16
TOKEN = b"t" * 16


def ident(name: str = "b", creation: int = 5, run: bytes = RUN, attempt: int = 2, lost: bytes = b"") -> Ident:
    return Ident(name, creation, run, token=b"n" * 16, attempt=attempt, lost=lost)


def current(*, here: bool, up: bool, name: str = "b", number: int = 1) -> Attempt:
    return Attempt(name, 5, RUN, TOKEN, number, dialled_here=here, up=up)


def test_a_stranger_is_accepted() -> None:
    assert judge_inbound("a", ident(), None) is Inbound.ACCEPT


def test_our_own_name_is_in_use() -> None:
    assert judge_inbound("b", ident("b"), None) is Refusal.NAME_IN_USE


@pytest.mark.parametrize("up", [True, False])
def test_a_later_dial_of_the_same_run_replaces_its_earlier_one_and_never_the_other_way(up: bool) -> None:
    held = current(here=False, up=up, number=2)
    assert judge_inbound("a", ident(attempt=3), held) is Inbound.REPLACE
    assert judge_inbound("a", ident(attempt=2), held) is Refusal.DUPLICATE
    assert judge_inbound("a", ident(attempt=1), held) is Refusal.DUPLICATE


def test_of_two_dials_that_cross_the_one_of_the_smaller_name_survives() -> None:
    assert judge_inbound("a", ident("b"), current(here=True, up=False)) is Refusal.DUPLICATE
    assert judge_inbound("c", ident("b"), current(here=True, up=False)) is Inbound.REPLACE


@pytest.mark.parametrize("me", ["a", "c"])
def test_a_link_is_replaced_when_the_dial_says_that_it_was_lost_and_only_then(me: str) -> None:
    held = current(here=True, up=True)
    assert judge_inbound(me, ident(lost=TOKEN), held) is Inbound.REPLACE
    assert judge_inbound(me, ident(lost=b"o" * 16), held) is Refusal.DUPLICATE
    assert judge_inbound(me, ident(), held) is Refusal.DUPLICATE


@pytest.mark.parametrize("here", [True, False])
@pytest.mark.parametrize("up", [True, False])
def test_a_later_life_replaces_an_earlier_one_at_once(here: bool, up: bool) -> None:
    assert judge_inbound("a", ident(creation=6, run=OTHER_RUN), current(here=here, up=up)) is Inbound.REPLACE


@pytest.mark.parametrize("creation", [4, 5])
def test_a_life_that_is_not_later_waits_for_proof_that_the_linked_one_is_dead(creation: int) -> None:
    stranger = ident(creation=creation, run=OTHER_RUN)
    assert judge_inbound("a", stranger, current(here=False, up=True)) is Inbound.PROBE
    assert judge_inbound("a", stranger, current(here=False, up=False)) is Refusal.DUPLICATE


def test_a_dial_goes_on_only_when_there_is_nothing_with_that_peer() -> None:
    assert judge_outbound("a", OTHER_RUN, ident(), None) is Outbound.COMMIT
    for here, up in itertools.product([True, False], repeat=2):
        assert judge_outbound("a", OTHER_RUN, ident(), current(here=here, up=up)) is Outbound.ABANDON


def test_a_dial_that_finds_a_later_life_replaces_the_earlier_one() -> None:
    later = ident(creation=6, run=OTHER_RUN)
    assert judge_outbound("a", b"m" * 16, later, current(here=True, up=True)) is Outbound.REPLACE


def test_a_dial_that_finds_two_nodes_with_one_name_says_so() -> None:
    twin = ident(creation=5, run=OTHER_RUN)
    assert judge_outbound("a", b"m" * 16, twin, current(here=True, up=True)) is Outbound.NAME_IN_USE
    assert judge_outbound("a", b"m" * 16, twin, current(here=True, up=False)) is Outbound.ABANDON
    assert judge_outbound("b", b"m" * 16, ident("b"), None) is Outbound.NAME_IN_USE


def test_a_dial_that_finds_its_own_node_stops() -> None:
    assert judge_outbound("b", RUN, ident("b"), None) is Outbound.SELF
