import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.jepsen_like.nemesis import KINDS, Fault, PlanError, describe, dump_plan, parse_plan

NAMES = tuple(f"n{number}" for number in range(1, 8))


@st.composite
def faults(draw: st.DrawFn) -> Fault:
    kind = KINDS[draw(st.sampled_from(sorted(KINDS)))]
    seconds = st.floats(0.0, 1000.0)
    size = st.just(2) if kind.takes == "two" else st.integers(1, 7)
    nodes = () if kind.takes == "none" else tuple(draw(st.permutations(NAMES)))[: draw(size)]
    every_s = draw(st.floats(0.001, 10.0)) if kind.periods_s else 0.0
    amount = draw(st.floats(0.001 if kind.name == "clock-rate" else -1e6, 1e6))
    return Fault(draw(seconds), kind.name, draw(seconds), nodes, amount, every_s)


@given(st.lists(faults(), max_size=8))
def test_a_plan_reads_back_as_it_was_written(plan: list[Fault]) -> None:
    assert parse_plan(dump_plan(plan)) == tuple(plan)


@given(faults())
def test_every_fault_can_be_described_and_names_its_nodes(fault: Fault) -> None:
    line = fault.describe()
    assert "{" not in line
    assert all(node in line for node in fault.nodes)


def test_a_written_plan_has_a_line_for_each_fault() -> None:
    plan = (Fault(1.0, "kill-all", 2.0), Fault(2.0, "clock-jump", 1.0, ("n2",), -3.5))
    assert dump_plan(plan).splitlines() == [
        "[",
        '{"at_s": 1.0, "kind": "kill-all", "for_s": 2.0},',
        '{"at_s": 2.0, "kind": "clock-jump", "for_s": 1.0, "nodes": ["n2"], "amount": -3.5}',
        "]",
    ]
    assert dump_plan(()) == "[]\n"


def test_a_plan_is_described_in_the_order_of_its_beginnings() -> None:
    text = describe([Fault(9.0, "kill-all", 1.0), Fault(2.5, "pause-one", 1.0, ("n3",))])
    assert [line.split()[4] for line in text.splitlines()] == ["pause-one", "kill-all"]
    assert "n3 paused" in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no JSON"),
        ("{}", "a list of faults"),
        ("[3]", "is no fault"),
        ('[{"at_s": 1, "kind": "kill-all"}]', "is no fault"),
        ('[{"at_s": 1, "kind": "kill-all", "for_s": 1, "node": "n1"}]', "is no fault"),
        ('[{"at_s": 1, "kind": "kill-one", "for_s": 1, "nodes": "n1"}]', "is no fault"),
        ('[{"at_s": 1, "kind": "kill-one", "for_s": 1, "nodes": [1]}]', "is no fault"),
        ('[{"at_s": "1", "kind": "kill-all", "for_s": 1}]', "is no fault"),
        ('[{"at_s": 1, "kind": "kill", "for_s": 1}]', "there is no kind of fault 'kill'"),
        ('[{"at_s": -1, "kind": "kill-all", "for_s": 1}]', "at_s is -1.0"),
        ('[{"at_s": 1, "kind": "kill-all", "for_s": NaN}]', "for_s is nan"),
        (
            '[{"at_s": 1, "kind": "clock-jump", "for_s": 1, "nodes": ["n1"], "amount": Infinity}]',
            "amount is inf",
        ),
        ('[{"at_s": 1, "kind": "kill-one", "for_s": 1}]', "names no node"),
        ('[{"at_s": 1, "kind": "clock-rate", "for_s": 1, "nodes": ["n1"]}]', "no rate"),
        ('[{"at_s": 1, "kind": "link-hold", "for_s": 1, "nodes": ["n1"]}]', "between two nodes"),
        ('[{"at_s": 1, "kind": "link-reset", "for_s": 1, "nodes": ["n1"]}]', "needs every_s"),
    ],
)
def test_what_is_no_plan_is_refused_with_the_reason(text: str, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        parse_plan(text)
