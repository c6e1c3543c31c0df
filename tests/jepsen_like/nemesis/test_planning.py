from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.consensus import Timing
from quorate.jepsen_like.nemesis import GROUPS, KINDS, Plan, PlanError, minority, plan, select
from quorate.jepsen_like.simulation import Stream

NAMES = tuple(f"n{number}" for number in range(1, 8))
WORDS = st.sampled_from(["all", *GROUPS, *KINDS, "-rot"])
PRESETS = st.sampled_from([Timing.local(), Timing.lan(), Timing.wan()])


def drawn(
    seed: int, count: int = 5, kinds: str = "all", time_s: float = 60.0, timing: Timing | None = None
) -> Plan:
    return plan(Stream(seed, "plan"), nodes=NAMES[:count], kinds=kinds, time_s=time_s, timing=timing)


@given(st.integers(0, 10**6), st.integers(4, 7), WORDS, st.floats(2.0, 120.0), PRESETS)
def test_a_plan_holds_what_was_asked_for_and_keeps_within_its_time(
    seed: int, count: int, kinds: str, time_s: float, timing: Timing
) -> None:
    faults = drawn(seed, count, kinds, time_s, timing=timing)
    assert faults
    assert {fault.kind for fault in faults} <= set(select(kinds))
    assert list(faults) == sorted(faults, key=lambda fault: fault.at_s)
    calm_s = min(2.0 * timing.session_ttl_s, time_s / 4.0)
    for fault in faults:
        assert fault.at_s > 0.0 and fault.for_s > 0.0
        assert fault.until_s <= time_s - calm_s + 0.002, "times are rounded to a thousandth"
        assert set(fault.nodes) <= set(NAMES[:count])


@given(st.integers(0, 10**6), st.integers(1, 7), PRESETS)
def test_every_fault_is_of_a_size_that_its_kind_wants(seed: int, count: int, timing: Timing) -> None:
    for fault in drawn(seed, count, timing=timing):
        kind = KINDS[fault.kind]
        assert count >= kind.min_nodes
        sizes = {
            "none": {0},
            "one": {1},
            "two": {2},
            "third": {max(1, (count - 1) // 3)},
            "half": {count // 2},
            "minority": set(range(1, minority(count) + 1)),
            "side": set(range(1, count)),
            "order": {count},
        }[kind.takes]
        if fault.kind == "partition-swizzle":
            stops, restores = fault.nodes[: len(fault.nodes) // 2], fault.nodes[len(fault.nodes) // 2 :]
            assert sorted(stops) == sorted(restores) and len(set(stops)) == len(stops)
        else:
            assert len(fault.nodes) in sizes and len(set(fault.nodes)) == len(fault.nodes)
        if fault.kind == "clock-rate":
            assert 0.0 < abs(fault.amount - 1.0) <= timing.drift / 2.0 + 1e-9
        elif kind.amounts:
            assert kind.amounts[0] <= abs(fault.amount) <= kind.amounts[1]
        if kind.periods_s:
            assert kind.periods_s[0] <= fault.every_s <= kind.periods_s[1]


@given(st.integers(0, 10**6), st.integers(3, 7))
def test_no_more_disks_rot_than_a_minority(seed: int, count: int) -> None:
    rotten = [fault for fault in drawn(seed, count, "rot") if fault.kind.startswith("rot")]
    assert 1 <= len(rotten) <= minority(count)


def test_equal_seeds_give_equal_plans_and_others_differ() -> None:
    assert drawn(3) == drawn(3)
    assert len({drawn(seed) for seed in range(20)}) == 20


def test_over_the_seeds_every_kind_comes_up_among_many_and_every_group_but_rot_alone() -> None:
    plans = [drawn(seed) for seed in range(400)]
    kinds = [{fault.kind for fault in faults} for faults in plans]
    together = Counter(kind for some in kinds for kind in some)
    assert set(together) == set(KINDS)
    assert min(together.values()) >= 10
    groups = Counter(frozenset(KINDS[kind].group for kind in some) for some in kinds)
    assert {frozenset([group]) for group in GROUPS} - set(groups) == {frozenset(["rot"])}
    assert max(len(some) for some in kinds) >= 15


def test_over_the_seeds_faults_overlap_and_stand_alone() -> None:
    depths = Counter(
        max(sum(a.at_s <= b.at_s < a.until_s - 0.002 for a in faults) for b in faults)
        for faults in map(drawn, range(200))
    )
    assert set(depths) == {1, 2, 3, 4}


def test_kinds_that_need_more_nodes_are_left_out() -> None:
    kinds = {fault.kind for seed in range(200) for fault in drawn(seed, count=1)}
    assert "kill-one" in kinds and "clock-rate" in kinds
    assert not any(KINDS[kind].group in ("partition", "link", "rot") for kind in kinds)
    with pytest.raises(PlanError, match=r"makes sense with 1 node"):
        drawn(1, count=1, kinds="partition")


def test_a_run_with_no_time_for_a_fault_is_refused() -> None:
    with pytest.raises(PlanError, match="no time"):
        drawn(1, time_s=0.05)
    with pytest.raises(PlanError, match="no time"):
        plan(Stream(1, "plan"), nodes=NAMES, time_s=10.0, calm_s=10.0)
    assert drawn(1, time_s=1.0)
