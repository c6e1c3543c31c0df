"""Names: one owner each, gone with its process or its node's session, and what callers are told."""

import asyncio
from typing import Any, Self

import pytest

from quorate.consensus import NoQuorum, OutcomeUnknown
from quorate.core import ExitSignal, GenServer, Pid, Process
from quorate.registry import Claim, ClaimLost, Name, NameTaken, NotLocal, Registry
from tests.registry.support import TIMING, Cluster
from tests.support import run, turns


class Names(Cluster):
    """A cluster with a registry on each node."""

    def __init__(self, names: str = "abc") -> None:
        super().__init__(names)
        self.registries: dict[str, Registry] = {}

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        for letter in self.names:
            self.registries[letter] = Registry(self.nodes[letter], self.stores[letter])
        return self

    async def __aexit__(self, *exc: object) -> None:
        for registry in self.registries.values():
            await registry.close()
        await super().__aexit__(*exc)

    def __getitem__(self, letter: str) -> Registry:
        return self.registries[letter]

    def sleeper(self, letter: str) -> Pid:
        return self.nodes[letter].spawn(sleeper)


async def sleeper(self: Process) -> None:
    await self.receive()


class Counter(GenServer):
    def read(self) -> int:
        return 7


def test_a_registered_process_is_found_from_every_node() -> None:
    async def main() -> None:
        async with Names() as names:
            ref = await names.nodes["a"].start(Counter)
            claim = await names["a"].register(Name(Counter, "billing/counter"), ref)
            assert claim.valid() and claim.pid == ref.pid and claim.fence > 0
            for letter in "abc":
                found = await names[letter].whereis(Name(Counter, "billing/counter"))
                assert found is not None and await found.call(Counter.read) == 7
                await turns()
                cached = names[letter].peek("billing/counter")
                assert cached.value == ref and cached.age_s >= 0
            assert names["a"].claims() == [claim] and names["b"].claims() == []

    run(main())


def test_a_name_that_is_taken_says_by_whom_and_since_when() -> None:
    async def main() -> None:
        async with Names() as names:
            owner = names.sleeper("a")
            claim = await names["a"].register("x", owner)
            for letter in "ab":
                with pytest.raises(NameTaken) as caught:
                    await names[letter].register("x", names.sleeper(letter))
                assert (caught.value.owner, caught.value.fence) == (owner, claim.fence)
            assert await names["a"].register("x", owner) is claim

    run(main())


def test_only_living_processes_of_the_own_node_can_be_registered() -> None:
    async def main() -> None:
        async with Names() as names:
            other, dead = names.sleeper("b"), names.sleeper("a")
            names.nodes["a"].exit(dead, "kill")
            await turns()
            for pid in (other, dead):
                with pytest.raises(NotLocal):
                    await names["a"].register("x", pid)
            assert await names["a"].whereis("x") is None

    run(main())


@pytest.mark.parametrize(
    "name", ["text", b"bytes", 7, 7.0, True, None, ("a", 1), ("a", ("b", b"c")), {"k": [1]}]
)
def test_any_plain_term_is_a_name(name: object) -> None:
    async def main() -> None:
        async with Names("a") as names:
            pid = names.sleeper("a")
            await names["a"].register(name, pid)
            found = await names["a"].names()
            assert [(entry.name, entry.pid) for entry in found] == [(name, pid)]
            assert type(found[0].name) is type(name)

    run(main())


def test_names_are_listed_by_prefix_with_their_metadata() -> None:
    async def main() -> None:
        async with Names("ab") as names:
            pid = names.sleeper("a")
            for name in ("shop/1", "shop/2", "stock/1", ("shop/", 3)):
                await names["a"].register(name, pid, metadata={"of": name})
            found = await names["b"].names("shop/")
            assert [(entry.name, entry.metadata) for entry in found] == [
                ("shop/1", {"of": "shop/1"}),
                ("shop/2", {"of": "shop/2"}),
            ]
            assert len(await names["b"].names()) == 4
            assert names["b"].peek_names("stock/").value[0].name == "stock/1"

    run(main())


def test_a_name_goes_when_its_process_dies_and_the_fence_grows_with_each_owner() -> None:
    async def main() -> None:
        async with Names() as names:
            fences = []
            for round_number in range(6):
                letter = "abc"[round_number % 3]
                pid = names.sleeper(letter)
                claim = await names[letter].register("x", pid)
                fences.append(claim.fence)
                names.nodes[letter].exit(pid, "kill")
                await turns()
                assert not claim.valid()
                await claim.lost()
                assert await names["a"].whereis("x") is None
            assert fences == sorted(set(fences))

    run(main())


def test_unregister_frees_the_name_and_keeps_the_process() -> None:
    async def main() -> None:
        async with Names() as names:
            pid = names.sleeper("a")
            claim = await names["a"].register("x", pid)
            assert not await names["b"].unregister("x")
            assert await names["a"].unregister(claim)
            assert not claim.valid() and not await names["a"].unregister("x")
            assert names.nodes["a"].process_info(pid) is not None
            again = await names["b"].register("x", names.sleeper("b"))
            assert again.fence > claim.fence
            assert not await names["a"].unregister(claim), "an old claim must not remove a new owner"
            assert again.valid()

    run(main())


def test_a_dead_process_of_this_node_never_blocks_a_registration() -> None:
    async def main() -> None:
        async with Names() as names:
            dead = names.sleeper("a")
            old = await names["a"].register("x", dead)
            store, may_remove = names.stores["a"], asyncio.Event()
            txn = store.txn

            async def slow(if_: Any, then: Any, else_: Any = (), **kwargs: Any) -> Any:
                if len(then) == 1:  # a removal
                    await may_remove.wait()
                return await txn(if_, then, else_, **kwargs)

            store.txn = slow  # type: ignore[method-assign]
            names.nodes["a"].exit(dead, "kill")
            await names.nodes["a"].down(dead)
            claim = await names["a"].register("x", names.sleeper("a"))
            assert claim.fence > old.fence and claim.valid()
            may_remove.set()
            await turns()
            assert claim.valid(), "the late removal of the old owner must not hit the new one"
            assert await names["b"].whereis("x") is not None

    run(main())


def test_a_process_that_dies_while_it_is_being_registered_leaves_no_name_behind() -> None:
    async def main() -> None:
        async with Names() as names:
            pid, store = names.sleeper("a"), names.stores["a"]
            txn = store.txn

            async def deadly(*args: Any, **kwargs: Any) -> Any:
                result = await txn(*args, **kwargs)
                names.nodes["a"].exit(pid, "kill")
                await names.nodes["a"].down(pid)
                return result

            store.txn = deadly  # type: ignore[method-assign]
            with pytest.raises(NotLocal):
                await names["a"].register("x", pid)
            await turns()
            assert names.backend.machine.range(b"n/") == [] and names["a"].claims() == []

    run(main())


def test_a_claim_is_invalid_while_it_is_being_given_up() -> None:
    async def main() -> None:
        async with Names() as names:
            claim = await names["a"].register("x", names.sleeper("a"))
            names.cut_off("a")
            leaving = asyncio.ensure_future(names["a"].unregister(claim, timeout_s=0.5))
            await asyncio.sleep(0)
            assert not claim.valid()
            await names.clock.pass_time(0.6)
            with pytest.raises(NoQuorum):
                await leaving
            assert claim.valid(), "nothing has happened"

    run(main())


def test_look_ups_never_give_a_process_of_this_node_that_is_dead() -> None:
    async def main() -> None:
        async with Names() as names:
            pid = names.sleeper("a")
            await names["a"].register("x", pid)
            names.nodes["a"].exit(pid, "kill")
            await names.nodes["a"].down(pid)
            assert names["a"].peek("x").value is None and names["a"].peek_names().value == []

    run(main())


def test_of_three_who_register_at_once_exactly_one_wins() -> None:
    async def main() -> None:
        async with Names() as names:
            for round_number in range(50):
                outcomes = await asyncio.gather(
                    *(names[letter].register(round_number, names.sleeper(letter)) for letter in "abc"),
                    return_exceptions=True,
                )
                claims = [outcome for outcome in outcomes if isinstance(outcome, Claim)]
                refused = [outcome for outcome in outcomes if isinstance(outcome, NameTaken)]
                assert len(claims) == 1 and len(refused) == 2
                assert all(taken.owner == claims[0].pid for taken in refused)

    run(main())


def test_registrations_at_once_do_not_wait_for_each_other() -> None:
    async def main() -> None:
        async with Names("a") as names:
            pid = names.sleeper("a")
            tasks = [asyncio.ensure_future(names["a"].register(number, pid)) for number in range(64)]
            await asyncio.sleep(0)
            assert sum(1 for item in names.backend.machine.range(b"n/") if item.value) == 64
            assert len({claim.fence for claim in await asyncio.gather(*tasks)}) == 64

    run(main())


def test_a_minority_cannot_register_and_knows_it() -> None:
    async def main() -> None:
        async with Names() as names:
            names.cut_off("c")
            attempt = asyncio.ensure_future(names["c"].register("x", names.sleeper("c"), timeout_s=1.0))
            await names.clock.pass_time(1.1)
            with pytest.raises(NoQuorum):
                await attempt
            names.heal("c")
            await turns()
            assert await names["c"].whereis("x") is None

    run(main())


def test_claims_end_and_their_processes_are_told_before_the_name_can_be_had_elsewhere() -> None:
    """c is cut off; a asks for the name again and again."""

    async def main() -> None:
        story: list[str] = []

        async def owner(self: Process) -> None:
            self.trap_exits = True
            message = await self.receive(ExitSignal)
            assert message.reason == ClaimLost("x", claim.fence) and not claim.valid()
            story.append("told")

        async with Names() as names:
            pid = names.nodes["c"].spawn(owner)
            claim = await names["c"].register("x", pid)
            names.cut_off("c")
            rival = names.sleeper("a")
            new = claim
            while "won" not in story:
                try:
                    new = await names["a"].register("x", rival)
                    story.append("won")
                    assert new.fence > claim.fence and not claim.valid()
                except NameTaken:
                    pass
                await names.clock.pass_time(0.02)
            assert story == ["told", "won"]
            names.heal("c")
            await names.clock.pass_time(1.0)
            assert not claim.valid() and new.valid(), "a lost claim never comes back"
            with pytest.raises(ClaimLost):
                claim.check()

    run(main())


def test_a_claim_is_invalid_by_the_clock_alone_when_a_paused_node_wakes() -> None:
    async def main() -> None:
        async with Names() as names:
            claim = await names["c"].register("x", names.sleeper("c"))
            names.clock.skip(TIMING.session_ttl_s)
            assert not claim.valid(), "no callback and no timer has run"

    run(main())


@pytest.mark.parametrize("lost", ["exit", "notify"])
def test_the_process_is_told_of_the_loss_as_it_asked(lost: Any) -> None:
    async def main() -> None:
        async with Names() as names:
            got: list[object] = []

            async def owner(self: Process) -> None:
                got.append(await self.receive())
                await self.receive()

            pid = names.nodes["c"].spawn(owner)
            claim = await names["c"].register("x", pid, lost=lost)
            names.cut_off("c")
            gone = asyncio.ensure_future(names.nodes["c"].down(pid))
            await names.clock.pass_time(TIMING.session_ttl_s)
            await claim.lost()
            if lost == "exit":
                assert got == [] and (await gone).reason == ClaimLost("x", claim.fence)
            else:
                assert got == [ClaimLost("x", claim.fence)] and not gone.done()
                gone.cancel()

    run(main())


def test_a_node_can_register_its_old_names_again_in_its_new_session() -> None:
    async def main() -> None:
        async with Names() as names:
            old = await names["c"].register("x", names.sleeper("c"), lost="notify")
            names.cut_off("c")
            await names.clock.pass_time(TIMING.session_ttl_s * 0.95)
            assert not old.valid()
            names.heal("c")
            attempt = asyncio.ensure_future(names["c"].register("x", names.sleeper("c")))
            await names.clock.pass_time(1.0)
            new = await attempt
            assert new.valid() and new.fence > old.fence

    run(main())


def test_a_registration_with_unknown_outcome_counts_once_the_store_says_so() -> None:
    async def main() -> None:
        async with Names() as names:
            pid = names.sleeper("a")
            names.stores["a"].lose_next_reply()
            attempt = asyncio.ensure_future(names["a"].register("x", pid, timeout_s=1.0))
            await names.clock.pass_time(1.1)
            with pytest.raises(OutcomeUnknown):
                await attempt
            assert [claim.name for claim in names["a"].claims()] == ["x"]
            assert (await names["a"].register("x", pid)).valid()
            names.nodes["a"].exit(pid, "kill")
            await turns()
            assert await names["b"].whereis("x") is None

    run(main())


def test_a_registration_in_doubt_goes_with_its_process_or_when_it_is_given_up() -> None:
    async def main() -> None:
        async with Names() as names:
            for end in ("kill", "unregister"):
                pid = names.sleeper("a")
                names.stores["a"].lose_next_reply()
                attempt = asyncio.ensure_future(names["a"].register(end, pid, timeout_s=1.0))
                await turns()
                if end == "kill":
                    names.nodes["a"].exit(pid, "kill")
                await names.clock.pass_time(1.1)
                with pytest.raises(OutcomeUnknown):
                    await attempt
                if end == "unregister":
                    assert await names["a"].unregister(end)
                await turns()
                assert await names["b"].whereis(end) is None
                assert names["a"].claims() == []

    run(main())
