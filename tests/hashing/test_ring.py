"""The ring: balance, minimal movement, and independence of everything but names and weights."""

import os
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorate.hashing import Key, Move, Ring, encode, hash64

KEYS = [("singleton", number) for number in range(2000)]
POINTS = 32  # few, where the property holds for any number
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
node_sets = st.sets(names, min_size=1, max_size=7)
keys: st.SearchStrategy[Key] = st.recursive(
    st.text(max_size=8) | st.binary(max_size=8) | st.integers(),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=6,
)


@given(keys, keys)
def test_distinct_keys_have_distinct_encodings(left: Key, right: Key) -> None:
    assert (encode(left) == encode(right)) == (left == right and repr(left) == repr(right))


def test_what_is_no_key_is_refused() -> None:
    for wrong in (True, 1.5, None, ["a"], {"a": 1}):
        with pytest.raises(TypeError, match="a key is a str"):
            encode(wrong)  # type: ignore[arg-type]


def test_hashes_are_the_same_for_ever() -> None:
    assert hash64("billing/ledger") == 0x7461875A5D976A15
    assert hash64(("a", -7, b"\x00")) == hash64(("a", -7, b"\x00")) != hash64(("a", -7, b""))
    assert Ring(["a", "b", "c"]).owner("billing/ledger") == "c"


@given(node_sets, st.randoms())
@settings(max_examples=50)
def test_the_order_of_the_nodes_does_not_matter(nodes: set[str], rng: object) -> None:
    ordered = sorted(nodes)
    shuffled = sorted(nodes, key=lambda _: rng.random())  # type: ignore[attr-defined]
    assert Ring(ordered, points_per_weight=POINTS) == Ring(shuffled, points_per_weight=POINTS)
    assert [Ring(ordered, points_per_weight=POINTS).owner(key) for key in KEYS[:100]] == [
        Ring(shuffled, points_per_weight=POINTS).owner(key) for key in KEYS[:100]
    ]


def test_another_process_with_another_hash_seed_agrees() -> None:
    script = (
        "from quorate.hashing import Ring; r = Ring({'a': 1, 'b': 2.5, 'c': 1});"
        "print([r.owner(('k', i)) for i in range(300)])"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    ring = Ring({"c": 1, "b": 2.5, "a": 1})
    assert seen == {f"{[ring.owner(('k', number)) for number in range(300)]}\n"}


@given(node_sets, names)
@settings(max_examples=50)
def test_a_joining_node_takes_keys_and_nobody_else_does(nodes: set[str], joining: str) -> None:
    before, after = (Ring(n, points_per_weight=POINTS) for n in (nodes - {joining}, nodes | {joining}))
    for move in before.moves(after, KEYS[:300]):
        assert move.target == joining


@given(node_sets, st.data())
@settings(max_examples=50)
def test_a_leaving_node_gives_keys_to_their_second_owner(nodes: set[str], data: st.DataObject) -> None:
    leaving = data.draw(st.sampled_from(sorted(nodes)))
    before, after = (Ring(n, points_per_weight=POINTS) for n in (nodes, nodes - {leaving}))
    for key in KEYS[:200]:
        order = before.owners(key, 2)
        expected = next((node for node in order if node != leaving), None)
        assert after.owner(key) == expected


@given(st.integers(min_value=2, max_value=8))
@settings(max_examples=7)
def test_shares_are_balanced(count: int) -> None:
    ring = Ring([f"node-{number}@10.0.0.{number}:9100" for number in range(count)])
    shares = Counter(ring.owner(key) for key in KEYS)
    fair = len(KEYS) / count
    assert len(shares) == count
    assert max(shares.values()) < 1.5 * fair
    assert min(shares.values()) > 0.5 * fair


def test_weights_are_followed() -> None:
    ring = Ring({"small": 1.0, "large": 3.0, "none": 0.0})
    shares = Counter(ring.owner(key) for key in KEYS)
    assert "none" not in shares
    assert 2.2 < shares["large"] / shares["small"] < 3.8


@given(st.dictionaries(names, st.floats(min_value=0.1, max_value=4), min_size=2, max_size=5))
@settings(max_examples=30)
def test_a_heavier_weight_only_attracts(weights: dict[str, float]) -> None:
    node = min(weights)
    before, after = (
        Ring(w, points_per_weight=POINTS) for w in (weights, {**weights, node: weights[node] * 2})
    )
    assert all(move.target == node for move in before.moves(after, KEYS[:200]))


def test_owners_are_distinct_and_begin_with_the_owner() -> None:
    ring = Ring(["a", "b", "c"])
    for key in KEYS[:100]:
        assert ring.owners(key, 5)[0] == ring.owner(key)
        assert sorted(ring.owners(key, 5)) == ["a", "b", "c"]
        assert ring.owners(key, 2) == ring.owners(key, 3)[:2]
        assert ring.owners(key, 0) == []


def test_a_ring_without_weight_owns_nothing() -> None:
    assert Ring([]).owner("k") is None
    assert Ring({"a": 0.0}).owners("k", 3) == []
    assert Ring([]).moves(Ring(["a"]), ["k"]) == [Move("k", None, "a")]


@pytest.mark.parametrize("weight", [-1.0, float("inf"), float("nan"), 1e9])
def test_an_absurd_weight_is_refused_by_name(weight: float) -> None:
    with pytest.raises(ValueError, match="the weight of a must be between 0 and"):
        Ring({"a": weight})
