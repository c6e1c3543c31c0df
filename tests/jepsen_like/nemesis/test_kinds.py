import pytest

from quorate.jepsen_like.nemesis import GROUPS, KINDS, PlanError, select


def test_every_kind_has_a_line_for_people_and_a_name_that_tells_its_group() -> None:
    for name, kind in KINDS.items():
        assert name == kind.name
        assert kind.doc and len(kind.doc) <= 90
        assert name.startswith(f"{kind.group}-"), "so that no kind has the name of a group"
        assert ("{amount" in kind.says) == (bool(kind.amount_is) and kind.group != "rot")
        assert ("{every" in kind.says) == (kind.periods_s is not None)
        assert ("{nodes}" in kind.says) == (kind.takes != "none")


def test_all_selects_every_kind_and_a_group_its_own() -> None:
    assert select("all") == tuple(KINDS)
    assert select("pause") == ("pause-one", "pause-leader", "pause-minority", "pause-all")
    assert [select(group) for group in GROUPS] == [
        tuple(name for name in KINDS if KINDS[name].group == group) for group in GROUPS
    ]


def test_words_add_up_in_the_order_of_the_table() -> None:
    assert select("kill-all, partition-one") == ("partition-one", "kill-all")
    assert select(["kill-all", "kill-all"]) == ("kill-all",)


def test_a_minus_takes_away_from_what_was_named_or_from_all() -> None:
    assert select("pause,-pause-all") == ("pause-one", "pause-leader", "pause-minority")
    assert select("-rot") == tuple(name for name in KINDS if not name.startswith("rot"))
    assert select("-rot,rot-log") == tuple(name for name in KINDS if name != "rot-snapshot")


@pytest.mark.parametrize("words", ["", "kil", "kill,,", "all,-none", "kill,-kill"])
def test_a_selection_of_nothing_is_refused(words: str) -> None:
    with pytest.raises(PlanError):
        select(words)
