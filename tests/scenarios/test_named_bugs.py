"""Bugs that other systems are known for, as scenarios that must hold here. Each docstring has the address of the report."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Literal

import pytest

from quorate.core import GenServer, QuorateError, Ref
from quorate.jepsen_like.simulation import Simulation, simulate
from quorate.jepsen_like.simulation.loop import SimLoop
from quorate.registry import Claim, Name, NameTaken, Singleton


class Owner(GenServer):
    """A process that names belong to."""

    def whoami(self) -> str:
        return str(self.pid)


class Ticker(Singleton[int]):
    """Acts ten times a second, in two steps, for as long as it may.

    `acts`: when (world), where, with which fence. `hooks` are called in the next act, and no more.
    """

    acts: list[tuple[float, str, int]] = []  # noqa: RUF012 -- one for all nodes of the simulation, on purpose
    begun: list[tuple[str, int]] = []  # noqa: RUF012 -- as before
    hooks: list[Callable[[], None]] = []  # noqa: RUF012 -- as before

    def take_over(self, state: int | None) -> None:
        Ticker.begun.append((self.pid.node, self.fence))
        self.process.send_after(0.1, self.pid, "tick")

    def hand_over(self) -> int:
        return 0

    async def handle_info(self, message: Any) -> None:
        self.process.send_after(0.1, self.pid, "tick")
        self._act()
        await asyncio.sleep(0)
        self._act()

    def where(self) -> str:
        return self.pid.node

    def _act(self) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        Ticker.acts.append((loop.now, self.pid.node, self.fence))
        while Ticker.hooks:
            Ticker.hooks.pop()()


TICKER = Name(Ticker, "the/one")


@pytest.fixture(autouse=True)
def nothing_noted() -> None:
    Ticker.acts.clear()
    Ticker.begun.clear()
    Ticker.hooks.clear()


async def within(sim: Simulation, limit_s: float, *works: Awaitable[Any]) -> list[Any]:
    """All results (or errors), which must be there in time, by the clock of the world."""
    tasks = [asyncio.ensure_future(work) for work in works]
    end = sim.now + limit_s
    while not all(task.done() for task in tasks):
        assert sim.now < end, f"{sum(not task.done() for task in tasks)} of {len(tasks)} hang"
        await sim.run_for(0.05)
    return [task.exception() or task.result() for task in tasks]


def cut_between(sim: Simulation, one: list[str], other: list[str]) -> None:
    for a in one:
        for b in other:
            sim.cut(a, b)


async def register(sim: Simulation, short: str, name: str, timeout_s: float | None = None) -> Claim:
    node = sim.node(short)
    return await node.registry.register(name, await node.start(Owner), timeout_s=timeout_s)


@pytest.mark.parametrize("seed", [1, 2])
def test_after_overlapping_partitions_all_nodes_agree_on_all_names(seed: int) -> None:
    """n3 sees both sides, which do not see each other: names of `global` stayed inconsistent for ever after the heal.

    https://github.com/erlang/otp/issues/5611
    """

    async def main() -> None:
        async with Simulation(seed=seed, nodes=5) as sim:
            await sim.run_for(2.0)
            claims = dict[str, list[Claim]]()

            async def try_all(short: str, names: list[str]) -> None:
                for name in names:
                    try:
                        claims.setdefault(name, []).append(await register(sim, short, name, timeout_s=1.0))
                    except QuorateError:
                        continue

            def everywhere(prefix: str) -> list[Coroutine[Any, Any, None]]:
                names = [f"{prefix}/{number}" for number in range(4)]
                return [
                    try_all(short, names[number % 4 :] + names[: number % 4])
                    for number, short in enumerate(sim.names)
                ]

            await within(sim, 20.0, *everywhere("before"))
            cut_between(sim, ["n1", "n2"], ["n4", "n5"])
            await sim.run_for(1.0)
            await within(sim, 30.0, *everywhere("during"))
            sim.heal()
            sim.isolate("n3")  # now the bridge falls, and the sides see each other
            await within(sim, 30.0, *everywhere("bridge down"))
            sim.heal()
            await sim.run_for(10.0)
            await within(sim, 10.0, *everywhere("after"))
            await sim.run_for(1.0)

            seen = [await sim.node(short).registry.names() for short in sim.names]
            known = [sim.node(short).registry.peek_names().value for short in sim.names]
            table = {str(entry.name): (entry.pid, entry.fence) for entry in seen[0]}
            for entries in (*seen, *known):
                assert {str(entry.name): (entry.pid, entry.fence) for entry in entries} == table
            assert {f"after/{number}" for number in range(4)} <= set(table)
            for name, made in claims.items():
                valid = [(claim.pid, claim.fence) for claim in made if claim.valid()]
                assert valid == ([table[name]] if name in table else [])
            for short in sim.names:
                assert len(sim.node(short).nodes()) == 4

    simulate(main)


@pytest.mark.parametrize("seed", [1, 2])
def test_no_registration_hangs_after_links_came_and_went_many_times(seed: int) -> None:
    """Nodes that lost and found each other again and again: `global:register_name` blocked for ever.

    https://github.com/erlang/otp/issues/6524
    """

    async def main() -> None:
        async with Simulation(seed=seed, nodes=5) as sim:
            await sim.run_for(2.0)
            draw = sim.tape.stream("churn")
            pending = [
                register(sim, short, f"churn/{short}/{number}") for short in sim.names for number in range(3)
            ]
            waiting = asyncio.gather(*pending, return_exceptions=True)
            resets = 0
            for _ in range(150):
                a, b = draw.sample(sim.names, 2)
                match draw.below(4):
                    case 0:
                        sim.cut(a, b, one_way=draw.chance(0.3))
                    case 1:
                        sim.heal()
                    case 2:
                        resets += sim.half_open(a, b)
                    case _:
                        resets += sim.reset(a, b)
                await sim.run_for(draw.uniform(0.0, 0.4))
            sim.heal()
            assert resets > 30
            results = (await within(sim, 20.0, waiting))[0]
            assert all(isinstance(result, Claim | QuorateError) for result in results)
            made = await within(sim, 5.0, *(register(sim, short, f"after/{short}") for short in sim.names))
            assert all(isinstance(claim, Claim) and claim.valid() for claim in made), made

    simulate(main)


@pytest.mark.parametrize("order", ["fifo", "seeded"])
@pytest.mark.parametrize("seed", range(6))
def test_nodes_that_start_at_once_and_register_the_same_name_have_one_owner(
    seed: int, order: Literal["fifo", "seeded"]
) -> None:
    """Each node registered its own process while it had not met the others yet, and both stayed.

    https://github.com/ostinelli/syn/issues/44
    """

    async def at_once(sim: Simulation, short: str) -> Claim | NameTaken:
        node = await sim.up(short)
        ref: Ref[Owner] = await node.start(Owner)
        await node.singleton(TICKER)
        try:
            return await node.registry.register("leader", ref)
        except NameTaken as taken:
            return taken

    async def main() -> None:
        async with Simulation(seed=seed, nodes=3, exports=[Ticker], order=order, start=False) as sim:
            for short in sim.names:
                sim.restart(short)
            answers = await within(sim, 15.0, *(at_once(sim, short) for short in sim.names))
            owners = [answer for answer in answers if isinstance(answer, Claim)]
            assert len(owners) == 1 and owners[0].valid()
            others = [(answer.owner, answer.fence) for answer in answers if isinstance(answer, NameTaken)]
            assert others == [(owners[0].pid, owners[0].fence)] * 2
            for short in sim.names:
                found = await sim.node(short).registry.lookup("leader")
                assert found is not None and (found.pid, found.fence) == (owners[0].pid, owners[0].fence)
            await sim.run_for(5.0)
            assert Ticker.begun == sorted(Ticker.begun, key=lambda one: one[1])
            assert one_acts_at_a_time()
            assert len({where for at, where, _ in Ticker.acts if at > sim.now - 1.0}) == 1

    simulate(main)


def one_acts_at_a_time() -> bool:
    """Once an owner with a higher fence has acted, no other ever does again."""
    fences = [fence for _, _, fence in Ticker.acts]
    return fences == sorted(fences)


@pytest.mark.parametrize("seed", range(4))
def test_a_singleton_on_an_isolated_node_acts_once_during_the_partition_and_after_it(seed: int) -> None:
    """After a partition was healed both instances of a process kept running.

    https://github.com/bitwalker/swarm/issues/86
    """

    async def main() -> None:
        async with Simulation(seed=seed, nodes=5, exports=[Ticker]) as sim:
            await sim.run_for(2.0)
            ref = await sim.node("n1").singleton(TICKER)
            old = sim.short(await ref.call(Ticker.where))
            await sim.run_for(8.0)
            sim.isolate(old)
            cut_at = sim.now
            await sim.run_for(20.0)
            during = {sim.short(node) for at, node, _ in Ticker.acts if at > cut_at + 15.0}
            assert len(during) == 1 and old not in during
            sim.heal()
            await sim.run_for(20.0)
            last = {(node, fence) for at, node, fence in Ticker.acts if at > sim.now - 2.0}
            assert len(last) == 1 and one_acts_at_a_time()
            assert sum(at > sim.now - 2.0 for at, _, _ in Ticker.acts) >= 36
            for short in sim.names:
                found = await sim.node(short).singleton(TICKER)
                assert {await found.call(Ticker.where)} == {node for node, _ in last}

    simulate(main)


@pytest.mark.parametrize("seed", range(4))
def test_a_singleton_whose_node_is_paused_past_its_lease_does_not_act_when_it_wakes(seed: int) -> None:
    """A process that had slept through the loss of its role went on as if it still had it.

    https://github.com/bitwalker/swarm/issues/86 (the same two instances, by a pause)
    """

    async def main() -> None:
        async with Simulation(seed=seed, nodes=3, exports=[Ticker]) as sim:
            await sim.run_for(2.0)
            ref = await sim.node("n1").singleton(TICKER)
            await sim.run_for(6.0)
            old = sim.short(await ref.call(Ticker.where))
            Ticker.hooks.append(lambda: sim.pause(old, 20.0))  # between its two steps
            await sim.run_for(19.0)
            assert sim.paused(old) and sim.short(Ticker.acts[-1][1]) != old
            await sim.run_for(15.0)
            assert one_acts_at_a_time() and sim.held_callbacks(old) > 0

    simulate(main)
