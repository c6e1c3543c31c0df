"""Random histories of names on three nodes, with lost replies, cuts and deaths, against what must hold at every step."""

import asyncio
from collections.abc import Awaitable

from hypothesis import given, settings
from hypothesis import strategies as st

from quorate.consensus import NoQuorum, OutcomeUnknown
from quorate.core import Pid
from quorate.registry import RegistryError
from quorate.registry.names import decode_entry
from tests.registry.test_registry import Names
from tests.support import run, turns

letters = st.sampled_from("abc")
keys = st.sampled_from(["x", "y"])
STEPS = st.one_of(
    st.tuples(st.just("register"), letters, keys),
    st.tuples(st.just("register"), letters, keys),
    st.tuples(st.just("unregister"), letters, keys),
    st.tuples(st.just("kill"), letters, st.just("")),
    st.tuples(st.just("cut"), letters, st.just("")),
    st.tuples(st.just("heal"), letters, st.just("")),
    st.tuples(st.just("lose reply"), letters, st.just("")),
    st.tuples(st.just("time"), st.just(""), st.sampled_from(["0.3", "1.0", "3.0"])),
)


class History:
    def __init__(self, names: Names) -> None:
        self.names = names
        self.pids: dict[str, list[Pid]] = {letter: [] for letter in "abc"}
        self.fences: dict[object, list[int]] = {"x": [], "y": []}
        self.tasks: list[asyncio.Task[object]] = []

    def start(self, letter: str, operation: str, key: str) -> None:
        registry = self.names[letter]
        work: Awaitable[object]
        if operation == "register":
            self.pids[letter].append(self.names.sleeper(letter))
            work = registry.register(key, self.pids[letter][-1], timeout_s=2.0)
        else:
            work = registry.unregister(key, timeout_s=2.0)
        self.tasks.append(asyncio.ensure_future(_quietly(work)))

    async def step(self, operation: str, letter: str, detail: str) -> None:
        names = self.names
        if operation in ("register", "unregister"):
            self.start(letter, operation, detail)
        elif operation == "kill":
            for pid in self.pids[letter]:
                names.nodes[letter].exit(pid, "kill")
            self.pids[letter].clear()
        elif operation == "cut":
            names.cut_off(letter)
        elif operation == "heal":
            names.heal(letter)
        elif operation == "lose reply":
            names.stores[letter].lose_next_reply()
        else:
            for _ in range(10):
                await names.clock.pass_time(float(detail) / 10, 8)
                self.check()
        await turns(8)
        self.check()

    def check(self) -> None:
        """Whoever may act in a name owns it in the store, alone; and fences grow from owner to owner."""
        entries = {
            entry.name: entry
            for item in self.names.backend.machine.range(b"n/")
            for entry in [decode_entry(self.names.nodes["a"].kernel.codec, item)]
        }
        seen: set[object] = set()
        for letter in "abc":
            for claim in self.names[letter].claims():
                assert claim.name not in seen, f"two claims to {claim.name!r}"
                seen.add(claim.name)
                entry = entries.get(claim.name)
                assert entry is not None and (entry.pid, entry.fence) == (claim.pid, claim.fence)
                fences = self.fences[claim.name]
                if not fences or fences[-1] != claim.fence:
                    assert not fences or claim.fence > fences[-1]
                    fences.append(claim.fence)


async def _quietly(work: Awaitable[object]) -> object:
    try:
        return await work
    except (RegistryError, NoQuorum, OutcomeUnknown) as error:
        return error


@settings(max_examples=60)
@given(st.lists(STEPS, max_size=30))
def test_in_any_history_a_name_has_one_owner_and_in_the_end_only_living_ones(
    steps: list[tuple[str, str, str]],
) -> None:
    async def main() -> None:
        async with Names() as names:
            history = History(names)
            for operation, letter, detail in steps:
                await history.step(operation, letter, detail)
            for letter in "abc":
                names.heal(letter)
            await names.clock.pass_time(20.0, 6)
            await asyncio.gather(*history.tasks)
            history.check()
            claims = {claim.name for letter in "abc" for claim in names[letter].claims()}
            kept = {entry.name for entry in await names["a"].names()}
            assert kept == claims, "every name belongs to a living process that may act in it"

    run(main())
