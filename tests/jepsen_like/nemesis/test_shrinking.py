import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.jepsen_like.nemesis import Fault, Plan, ddmin, ddmin_async, plan, shrink, shrink_async
from quorate.jepsen_like.simulation import Stream

sizes = st.integers(0, 40)


@given(
    sizes.flatmap(
        lambda count: st.tuples(st.just(count), st.sets(st.integers(0, max(0, count - 1)), max_size=4))
    )
)
def test_exactly_the_items_that_are_needed_are_left(case: tuple[int, set[int]]) -> None:
    count, needed = case
    items = list(range(max(count, max(needed, default=-1) + 1)))
    assert ddmin(items, lambda some: needed <= set(some), tries=100_000) == tuple(sorted(needed))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=16), st.integers(0, 2**16))
def test_without_any_one_of_what_is_left_it_does_not_fail(items: list[int], salt: int) -> None:
    def fails(some: tuple[int, ...]) -> bool:
        """Neither monotonous nor sensible, but true for the whole."""
        return some == tuple(items) or hash((some, salt)) % 3 == 0

    left = ddmin(items, fails, tries=100_000)
    assert fails(left)
    if left and not fails(()):
        assert not any(fails(left[:i] + left[i + 1 :]) for i in range(len(left)))


def test_items_need_not_be_hashable_nor_different() -> None:
    assert ddmin([[1], [1], [2]], lambda some: sum(len(item) for item in some) >= 2) == ([1], [1]) or (
        [1],
        [2],
    )


def test_no_candidate_is_tried_twice() -> None:
    tried: list[tuple[int, ...]] = []

    def fails(some: tuple[int, ...]) -> bool:
        tried.append(some)
        return {3, 11, 12} <= set(some)

    ddmin(range(30), fails)
    assert len(tried) == len(set(tried))


def test_the_budget_of_tries_is_kept_and_what_comes_back_failed() -> None:
    tried: list[tuple[int, ...]] = []

    def fails(some: tuple[int, ...]) -> bool:
        tried.append(some)
        return {3, 11, 25} <= set(some)

    left = ddmin(range(30), fails, tries=10)
    assert len(tried) == 10
    assert {3, 11, 25} <= set(left) and left in tried


def test_what_does_not_fail_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fail"):
        ddmin([1, 2], lambda some: False)
    with pytest.raises(ValueError, match="does not fail"):
        shrink([Fault(1.0, "kill-all", 1.0)], lambda some: False)


NEEDED = Fault(20.0, "partition-one-way", 6.0, ("n2", "n4", "n5"))


def a_plan() -> Plan:
    """Many faults, with one that is needed among them, and a kill late in it."""
    noise = plan(Stream(1, "plan"), nodes=["n1", "n2", "n3", "n4", "n5"], kinds="pause,disk", time_s=120.0)
    assert len(noise) >= 4
    faults = (*noise, NEEDED, Fault(30.0, "kill-one", 2.0, ("n1",)), Fault(31.0, "kill-one", 3.0, ("n3",)))
    return tuple(sorted(faults, key=lambda fault: fault.at_s))


def needs_two(some: Plan) -> bool:
    """A partition of a second that has n4 on its side, with a kill."""
    return any(
        fault.at_s == NEEDED.at_s and fault.for_s >= 1.0 and "n4" in fault.nodes for fault in some
    ) and any(fault.kind == "kill-one" for fault in some)


def test_a_plan_shrinks_to_the_faults_that_matter_made_short_and_narrow() -> None:
    original = a_plan()
    small = shrink(original, needs_two)
    assert len(small) == 2
    partition = next(fault for fault in small if fault.kind == "partition-one-way")
    kill = next(fault for fault in small if fault.kind == "kill-one")
    assert 1.0 <= partition.for_s < 1.5 and len(partition.nodes) == 1
    assert kill.for_s < 0.2
    assert {fault.at_s for fault in small} <= {fault.at_s for fault in original}


def test_a_verdict_that_is_awaited_gives_the_same() -> None:
    async def fails(some: Plan) -> bool:
        await asyncio.sleep(0)
        return needs_two(some)

    async def needs_seven(some: tuple[int, ...]) -> bool:
        await asyncio.sleep(0)
        return 7 in some

    assert asyncio.run(shrink_async(a_plan(), fails)) == shrink(a_plan(), needs_two)
    assert asyncio.run(ddmin_async(range(20), needs_seven)) == (7,)


def test_a_failure_that_needs_no_fault_leaves_an_empty_plan() -> None:
    assert shrink(a_plan(), lambda some: True) == ()
