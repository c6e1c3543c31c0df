"""One seed decides everything: in this process and in others, whatever the hashes of text and the addresses of objects are."""

import os
import subprocess
import sys
from functools import cache

import pytest

from quorate.core import sleep
from quorate.jepsen_like.simulation import Simulation, simulate
from tests.jepsen_like.simulation import storm

SEED = 3


@cache
def hashes() -> list[str]:
    """Of this process, for each order."""
    return [storm.run(SEED, order)[0] for order in storm.ORDERS]


@pytest.mark.slow
@pytest.mark.parametrize("hash_seed", ["0", "22"])
def test_another_process_does_the_same_in_both_orders_whatever_hashes_and_addresses_are(
    hash_seed: str,
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"from {storm.__package__} import storm; storm.main({SEED}, {hash_seed})"],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == hashes()


def test_a_second_run_in_the_same_process_does_the_same() -> None:
    kept = storm.other_addresses(7)
    assert [storm.run(SEED, order)[0] for order in storm.ORDERS] == hashes()
    assert kept and len(set(hashes())) == 2


async def quiet(seed: int, *, trace: bool = False, record: bool = False, extra: bool = False) -> str:
    async with Simulation(seed=seed, nodes=3, trace=trace, record=record) as sim:
        if extra:
            sim.tape.stream("another use").random()
        await sim.run_for(3.0)
        sim.crash("n1")
        await sim.run_for(1.0)
        assert (sim.trace.lines is not None) == trace and bool(sim.tape.draws) == record
        return sim.trace_hash()


def test_another_seed_does_something_else() -> None:
    assert len({simulate(lambda seed=seed: quiet(seed)) for seed in range(5)}) == 5  # type: ignore[misc]


def test_keeping_the_trace_or_the_draws_and_draws_for_another_use_change_nothing() -> None:
    plain = simulate(lambda: quiet(1))
    assert simulate(lambda: quiet(1, trace=True, record=True, extra=True)) == plain


def test_the_trace_shows_deliveries_faults_and_the_lives_of_nodes() -> None:
    async def main() -> list[str]:
        async with Simulation(nodes=2, trace=True) as sim:
            await sim.run_for(1.0)
            sim.cut("n1", "n2")
            await sleep(sim.clock, 1.0)
            sim.heal()
            sim.kill("n2")
            assert sim.trace.lines is not None
            return sim.trace.lines

    text = "\n".join(simulate(main))
    for part in ("started n1", "ready n2", "n1->n2", "cut n1 n2", "heal", "killed n2"):
        assert part in text


def test_one_changed_byte_on_the_wire_changes_the_hash() -> None:
    async def main(payload: bytes) -> str:
        async with Simulation(nodes=2) as sim:
            sim.network.delivered(0.0, sim.host("n1"), sim.host("n2"), payload)
            return sim.trace_hash()

    assert simulate(lambda: main(b"abc")) != simulate(lambda: main(b"abd"))
