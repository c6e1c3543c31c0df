"""Programs of signals, played on nodes: what each process sees is what Erlang's rules allow. See `signal_model.py`."""

import logging
from collections.abc import Iterator

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from quorate.core import Process
from tests.core.nodes import ALL_LOOPS, World, run_on
from tests.core.signal_programs import OFTEN, Program, programs
from tests.core.signal_stages import InMemory, Theatre, cluster, in_memory, one_node
from tests.support import turns

LOOPS = pytest.mark.parametrize("loop", ALL_LOOPS)


def runs(examples: int) -> settings:
    """The same programs each time. What a failure says is the story that `Player.check` tells."""
    return settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        phases=[Phase.generate, Phase.shrink],
    )


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Processes that crash on purpose are not worth a report."""
    log = logging.getLogger("quorate.process")
    log.disabled = True
    yield
    log.disabled = False


@LOOPS
def test_on_one_node_each_step_has_the_outcome_that_the_rules_say(loop: str) -> None:
    with Theatre(loop, one_node) as theatre:

        @runs(400)
        @given(programs(steps=24))
        def check(program: Program) -> None:
            theatre.play(program, settling=True)

        check()


@LOOPS
def test_on_one_node_what_happens_at_once_is_explained_by_an_order_of_signals(loop: str) -> None:
    with Theatre(loop, one_node) as theatre:

        @runs(300)
        @given(programs(steps=24, pauses=2))
        def check(program: Program) -> None:
            theatre.play(program, settling=False)

        check()


def test_across_nodes_each_step_has_the_outcome_that_the_rules_say() -> None:
    with Theatre("simulation", cluster) as theatre:

        @runs(300)
        @given(programs(steps=24, links=6))
        def check(program: Program) -> None:
            theatre.play(program, settling=True)

        check()


def test_across_nodes_what_happens_at_once_is_explained_by_an_order_of_signals() -> None:
    with Theatre("simulation", cluster) as theatre:

        @runs(500)
        @given(programs(steps=24, pauses=5, links=6))
        def check(program: Program) -> None:
            theatre.play(program, settling=False)

        check()


@LOOPS
def test_across_links_that_are_lost_and_made_again_what_happens_is_explained_by_an_order_of_signals(
    loop: str,
) -> None:
    with Theatre(loop, in_memory) as theatre:
        deeds = (*OFTEN, "link", "monitor", "monitor", "leave")
        others = InMemory.DELIVER + InMemory.CUT

        @runs(400)
        @given(programs(steps=36, pauses=2, deeds=deeds, others=others))
        def check(program: Program) -> None:
            theatre.play(program, settling=False)

        check()


def test_what_two_processes_on_two_nodes_send_each_other_arrives_in_the_order_sent() -> None:
    with Theatre("asyncio", in_memory) as theatre:
        deeds = ("send", "exit", "send", "exit", "link", "monitor", "receive")

        @runs(300)
        @given(programs(steps=36, pauses=1, deeds=deeds, others=InMemory.DELIVER[:3], places=st.just((3, 4))))
        def check(program: Program) -> None:
            theatre.play(program, settling=False)

        check()


def test_links_made_and_undone_at_both_ends_at_once_are_the_same_at_both_ends_in_the_end() -> None:
    with Theatre("asyncio", in_memory) as theatre:
        deeds = ("flip",) * 8 + ("link", "unlink", "leave")
        places = st.sampled_from([(0, 1), (3, 1), (0, 4), (3, 4)])

        @runs(600)
        @given(programs(steps=36, pauses=1, deeds=deeds, others=InMemory.DELIVER[:3], places=places))
        def check(program: Program) -> None:
            theatre.play(program, settling=False)

        check()


@LOOPS
def test_who_monitors_himself_watches_nobody(loop: str) -> None:
    async def main() -> None:
        world = World()
        node = await world.node()

        async def body(self: Process) -> None:
            assert self.monitor(self.pid) != self.monitor(self.pid)
            await self.receive()

        pid = node.spawn(body)
        await turns()
        info = node.process_info(pid)
        assert info is not None
        assert (info.monitors, info.monitored_by) == (0, 0)
        await world.close()

    run_on(loop, main)
