"""What a node of the demo does with names: processes that hold them, and a witness that says from when to when.

The witness reads one clock, which counts alike in all processes of a machine (`CLOCK_BOOTTIME` on Linux). A claim is
told as held when the registration returned, and as released at the end of its process, which is a moment after
`Claim.valid()` turned false: so the intervals that are told are never too short.
"""

import asyncio
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from quorate.consensus import NoQuorum, OutcomeUnknown
from quorate.core import Clock, ExitSignal, Pid, Process, sleep
from quorate.node import Node
from quorate.registry import Claim, NameTaken

_AT_ONCE = 64  # registrations and look-ups under way
_LOOK_S = 0.01  # between looks at the local copy of the names


class Witness:
    """Tells the parent which claims are held. `tell` sends one record."""

    def __init__(self, clock: Clock, tell: Callable[[dict[str, Any]], None]) -> None:
        self._clock = clock
        self._tell = tell
        self._claims: dict[str, Claim] = {}

    def held(self, claim: Claim) -> None:
        name = str(claim.name)
        if self._claims.get(name) is not claim and claim.valid():
            self._claims[name] = claim
            self._tell({"event": "held", "key": name, "fence": claim.fence, "at": self._clock.monotonic()})

    def released(self, name: str, reason: str) -> None:
        claim = self._claims.pop(name, None)
        if claim is not None:
            at = self._clock.monotonic()
            self._tell(
                {
                    "event": "released",
                    "key": name,
                    "fence": claim.fence,
                    "at": at,
                    "reason": reason,
                    "valid": claim.valid(),
                }
            )


async def hold(self: Process, name: str, witness: Witness) -> None:
    """The body of a process that has a name: it waits until it has it no more."""
    self.trap_exits = True
    reason = "stopped"
    try:
        signal = await self.receive(ExitSignal)
        reason = type(signal.reason).__name__ if isinstance(signal.reason, Exception) else str(signal.reason)
    finally:
        witness.released(name, reason)


class Holding:
    """The names of one node."""

    def __init__(self, node: Node, witness: Witness) -> None:
        self._node = node
        self._witness = witness
        self._clock = node.runtime.clock

    async def register(self, names: list[str]) -> dict[str, int]:
        """Start a process for each name and register it. Name -> fence. Raises what `Registry.register` raises."""
        fences: dict[str, int] = {}

        async def worker(todo: Iterator[str]) -> None:
            for name in todo:
                fences[name] = (await self._register(name, self._spawn(name))).fence

        await _workers(worker, names)
        return fences

    async def take(self, names: list[str]) -> dict[str, Any]:
        """Get names that others have, as soon as they are free: asks the store for the first few of them all the time,
        for the others when this node's copy of the store shows them free. Returns their fences, and how often a
        registration was refused because the name was taken.
        """
        taking = _Taking()
        eager, patient = names[:3], names[3:]
        async with asyncio.TaskGroup() as group:
            for name in eager:
                group.create_task(self._take(name, taking))
            waiting = dict.fromkeys(patient)
            while waiting:
                free = [name for name in waiting if self._node.registry.peek(name).value is None]
                for name in free[: 2 * _AT_ONCE]:
                    del waiting[name]
                    group.create_task(self._take(name, taking))
                await sleep(self._clock, _LOOK_S)
        return {"fences": taking.fences, "refused": taking.refused}

    async def lookup(self, names: list[str]) -> dict[str, list[Any]]:
        """Linearizable look-ups. Name -> [pid, fence], or nothing for a name that nobody has."""
        found: dict[str, list[Any]] = {}

        async def worker(todo: Iterator[str]) -> None:
            for name in todo:
                entry = await self._node.registry.lookup(name)
                if entry is not None:
                    found[name] = [str(entry.pid), entry.fence]

        await _workers(worker, names)
        return found

    async def probe(self, name: str, timeout_s: float) -> str:
        """Try to register a new name; the type of the error, or "registered"."""
        pid = self._spawn(name)
        try:
            await self._node.registry.register(name, pid, timeout_s=timeout_s)
        except (NoQuorum, OutcomeUnknown) as error:
            return type(error).__name__
        finally:
            self._node.exit(pid, "kill")
        return "registered"

    def _spawn(self, name: str) -> Pid:
        return self._node.spawn(hold, name, self._witness)

    async def _register(self, name: str, pid: Pid) -> Claim:
        claim = await self._node.registry.register(name, pid)
        self._witness.held(claim)
        return claim

    async def _take(self, name: str, taking: "_Taking") -> None:
        pid = self._spawn(name)
        while True:
            try:
                taking.fences[name] = (await self._register(name, pid)).fence
                return
            except NameTaken:
                taking.refused += 1
            except (NoQuorum, OutcomeUnknown):
                taking.unanswered += 1
            await sleep(self._clock, 2 * _LOOK_S)


class _Taking:
    def __init__(self) -> None:
        self.fences: dict[str, int] = {}
        self.refused = 0
        self.unanswered = 0


async def _workers(worker: Callable[[Iterator[str]], Any], items: Iterable[str]) -> None:
    """Run `_AT_ONCE` workers that share the items."""
    shared = iter(items)
    async with asyncio.TaskGroup() as group:
        for _ in itertools.repeat(None, _AT_ONCE):
            group.create_task(worker(shared))
