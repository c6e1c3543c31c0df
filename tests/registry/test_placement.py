"""The plan of the controllers: pure, so driven by views that hypothesis makes up."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from quorate.core import Pid
from quorate.hashing import Ring
from quorate.registry.members import Member
from quorate.registry.placement import Assign, View, Wanted, plan, target

KINDS = ("Ledger", "Clock")
nodes = st.sampled_from(["a", "b", "c", "d", "e"])


def member(node: str, **changes: object) -> Member:
    plain = Member(node, 1, Pid(node, 1, 1), exports=frozenset(KINDS))
    return replace(plain, **changes)  # type: ignore[arg-type]


@st.composite
def views(draw: st.DrawFn) -> View:
    members = {
        node: member(
            node,
            weight=draw(st.sampled_from([0.0, 1.0, 1.0, 2.0])),
            draining=draw(st.sampled_from([False, False, True])),
            exports=frozenset(draw(st.sets(st.sampled_from(KINDS)))),
        )
        for node in draw(st.sets(nodes))
    }
    wanted = []
    for number in range(draw(st.integers(0, 30))):
        assigned = draw(st.none() | nodes)
        owner = draw(st.none() | st.just(assigned) | nodes)
        wanted.append(
            Wanted(
                name=b"%d" % number,
                key=f"name/{number}",
                kind=draw(st.sampled_from(KINDS)),
                pin=draw(st.none() | nodes),
                want_revision=number + 1,
                assigned=assigned,
                assigned_revision=0 if assigned is None else number + 100,
                owner=owner if owner in members else None,
            )
        )
    return View(members, draw(st.sampled_from([0.0, 1.9, 2.0, 60.0])), tuple(wanted))


def applied(view: View, actions: list[Assign], *, moved: bool) -> View:
    """The view after the actions, and (if `moved`) after the owners have followed them."""
    nodes_by_name = {action.name: action.node for action in actions}
    wanted = []
    for item in view.wanted:
        node = nodes_by_name.get(item.name, item.assigned)
        owner = node if moved and node in view.members else item.owner
        wanted.append(replace(item, assigned=node, owner=owner))
    return replace(view, wanted=tuple(wanted))


@settings(max_examples=40)  # a ring takes a millisecond to make
@given(views())
def test_only_nodes_that_can_have_a_singleton_are_assigned_one(view: View) -> None:
    wanted = {item.name: item for item in view.wanted}
    for action in plan(view):
        assert view.members[action.node].takes(wanted[action.name].kind)


@settings(max_examples=40)
@given(views())
def test_a_plan_that_was_carried_out_is_followed_by_an_empty_one(view: View) -> None:
    for _ in range(len(view.wanted) + 1):
        actions = plan(view)
        if not actions:
            break
        view = applied(view, actions, moved=True)
    assert plan(view) == []
    quiet = replace(view, quiet_for_s=60.0)
    for item in applied(quiet, plan(quiet, max_moves=1000), moved=True).wanted:
        goal = target(item, view.members)
        assert goal is None or goal == item.assigned


@settings(max_examples=40)
@given(views())
def test_a_plan_changes_nothing_twice_and_carries_the_revisions_it_was_made_from(view: View) -> None:
    actions = plan(view)
    assert len({action.name for action in actions}) == len(actions)
    wanted = {item.name: item for item in view.wanted}
    for action in actions:
        seen = wanted[action.name]
        assert (action.want_revision, action.assigned_revision) == (
            seen.want_revision,
            seen.assigned_revision,
        )
        assert action.node != seen.assigned


@settings(max_examples=40)
@given(views(), st.integers(0, 8))
def test_moves_of_running_singletons_are_few_at_a_time(view: View, max_moves: int) -> None:
    after = applied(view, plan(view, max_moves=max_moves), moved=False)

    def moving(seen: View) -> set[bytes]:
        return {item.name for item in seen.wanted if item.owner is not None and item.owner != item.assigned}

    fresh = moving(after) - moving(view)
    forced = {item.name for item in view.wanted if item.assigned not in view.members}
    assert len(fresh - forced) <= max(0, max_moves - len(moving(view)))


@settings(max_examples=40)
@given(views())
def test_a_healthy_singleton_stays_while_the_membership_is_not_quiet(view: View) -> None:
    busy = replace(view, quiet_for_s=1.0)
    wanted = {item.name: item for item in view.wanted}
    for action in plan(busy):
        item = wanted[action.name]
        holder = view.members.get(item.assigned or "")
        assert item.pin == action.node or holder is None or not holder.takes(item.kind)


def test_what_has_no_living_node_is_assigned_at_once_where_the_ring_says() -> None:
    members = {node: member(node) for node in "abc"}
    wanted = Wanted(b"x", "billing/ledger", "Ledger", want_revision=3)
    goal = Ring({"a": 1.0, "b": 1.0, "c": 1.0}).owner("billing/ledger")
    assert goal is not None
    assert plan(View(members, 0.0, (wanted,))) == [Assign(b"x", goal, 3, 0)]
    dead = replace(wanted, assigned="gone", assigned_revision=9)
    assert plan(View(members, 0.0, (dead,)), max_moves=0) == [Assign(b"x", goal, 3, 9)]


def test_a_draining_node_is_emptied_without_waiting_for_quiet() -> None:
    members = {"a": member("a", draining=True), "b": member("b")}
    wanted = Wanted(b"x", "k", "Ledger", want_revision=1, assigned="a", assigned_revision=2, owner="a")
    assert plan(View(members, 0.0, (wanted,))) == [Assign(b"x", "b", 1, 2)]


def test_a_pin_is_followed_at_once_and_ignored_while_its_node_is_away() -> None:
    members = {node: member(node) for node in "ab"}
    for pin, other in (("a", "b"), ("b", "a")):
        pinned = Wanted(
            b"x", "k", "Ledger", pin=pin, want_revision=1, assigned=other, assigned_revision=2, owner=other
        )
        assert plan(View(members, 0.0, (pinned,))) == [Assign(b"x", pin, 1, 2)]
    away = Wanted(b"x", "k", "Ledger", pin="z", want_revision=1)
    assert [action.node for action in plan(View(members, 0.0, (away,)))] == [Ring("ab").owner("k")]
