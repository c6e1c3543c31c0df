"""Keys in order on demand: whatever was put and removed, a range is what a sorted dictionary would give."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.consensus import keyspace
from quorate.consensus.keyspace import KeySpace, successor
from quorate.consensus.store import KeyValue
from tests.consensus import strategies


def item(key: bytes, number: int = 1) -> KeyValue:
    return KeyValue(key, b"%d" % number, number, number, 1)


steps = st.lists(
    st.tuples(st.sampled_from(["put", "put", "remove", "range"]), strategies.keys | st.binary(max_size=2)),
    max_size=60,
)


@given(steps, st.sampled_from([0, 2, 32]))
def test_a_range_is_what_a_sorted_dictionary_gives(
    script: list[tuple[str, bytes]], insort_limit: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keyspace, "INSORT_LIMIT", insort_limit)
        space, model = KeySpace(), dict[bytes, KeyValue]()
        for number, (step, key) in enumerate([*script, ("range", b"")]):
            if step == "put":
                space.put(item(key, number))
                model[key] = item(key, number)
            elif step == "remove":
                assert space.remove(key) == model.pop(key, None)
            else:
                assert space.range(key) == [model[k] for k in sorted(model) if k.startswith(key)]
            assert (len(space), space.get(key)) == (len(model), model.get(key))
        assert space.view() == model


def test_a_space_that_was_filled_at_once_is_in_order() -> None:
    space = KeySpace([item(b"b"), item(b"a"), item(b"c")])
    assert [kv.key for kv in space.range(b"")] == [b"a", b"b", b"c"]


def test_the_successor_of_a_prefix_is_above_all_its_keys_and_not_above_others() -> None:
    assert successor(b"ab") == b"ac"
    assert successor(b"a\xff\xff") == b"b"
    assert successor(b"\xff\xff") is None
    assert successor(b"") is None


def test_a_copy_of_the_range_is_not_touched_by_later_changes() -> None:
    space = KeySpace([item(b"a")])
    before = space.range(b"")
    space.put(item(b"b"))
    space.remove(b"a")
    assert before == [item(b"a")]
