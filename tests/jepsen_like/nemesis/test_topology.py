from hypothesis import given
from hypothesis import strategies as st

from quorate.jepsen_like.nemesis import topology

circles = st.integers(1, 9).flatmap(lambda count: st.permutations([f"n{i}" for i in range(count)]))


def seen(names: list[str], links: list[topology.Link]) -> dict[str, set[str]]:
    """Whom each node hears, itself included."""
    return {name: {other for other in names if (other, name) not in links} for name in names}


@given(circles, st.data())
def test_a_side_and_the_rest_neither_hear_nor_reach_each_other(names: list[str], data: st.DataObject) -> None:
    side = names[: data.draw(st.integers(0, len(names)))]
    heard = seen(names, topology.between(side, names))
    for name in names:
        assert heard[name] == set(side if name in side else names[len(side) :])


@given(circles, st.data())
def test_a_mute_side_hears_everybody_and_nobody_hears_it(names: list[str], data: st.DataObject) -> None:
    side = names[: data.draw(st.integers(0, len(names)))]
    heard = seen(names, topology.from_side(side, names))
    for name in names:
        assert heard[name] == (set(names) if name in side else set(names[len(side) :]))


@given(circles)
def test_on_a_ring_everybody_sees_a_majority_and_no_two_the_same(names: list[str]) -> None:
    links = topology.ring(names)
    assert set(links) == {(b, a) for a, b in links}
    heard = seen(names, links)
    assert all(2 * len(others) > len(names) for others in heard.values())
    if len(names) >= 4:
        assert len({frozenset(others) for others in heard.values()}) == len(names)
        assert all(len(others) < len(names) for others in heard.values())
    else:
        assert links == []


@given(circles)
def test_a_bridge_sees_two_halves_that_do_not_see_each_other(names: list[str]) -> None:
    heard = seen(names, topology.bridge(names))
    assert heard[names[0]] == set(names)
    halves = {frozenset(heard[name] - {names[0]}) for name in names[1:]}
    assert len(halves) == min(2, len(names) - 1)
    assert sum(len(half) for half in halves) == len(names) - 1, "they have nobody in common"
    assert (
        max((len(half) for half in halves), default=0) - min((len(half) for half in halves), default=0) <= 1
    )
