"""The registry workload: clients on all nodes register, give up and look up a few names, and let owners die.

What must hold: the history is linearizable as a registry (a name has one owner; each owner's fence is higher than any
before; a name is free again only when it was given up, its owner died, or its node may have lost its session), no two
owners hold a name at once as they see it themselves, and after the heal every node can register every name, and all
agree on who has which.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from quorate.consensus import NoQuorum
from quorate.core import Pid, Process
from quorate.jepsen_like.checkers import check_claims, check_convergence, check_liveness
from quorate.jepsen_like.linear import check_linearizable
from quorate.jepsen_like.record import Window
from quorate.jepsen_like.simulation import SimEvent, Stream
from quorate.jepsen_like.verdict import Verdict
from quorate.node import Node
from quorate.registry import Claim, ClaimLost, NameTaken, NotLocal
from quorate.registry.names import key_of

from .base import (
    LIVE_S,
    WITNESS_S,
    Outcome,
    PlannedOp,
    Skipped,
    Stage,
    Workload,
    no_surprises,
    planned,
    probe,
)

NAMES = 4
SETTLE_S = 30.0


async def owner(self: Process) -> None:
    """A process that has a name. It goes when it is told to."""
    while True:
        await self.receive()


@dataclass(slots=True)
class _Seat:
    """One life of a node: who its session belongs to (`epoch` counts the sessions that it lost), and its claims."""

    node: Node
    name: str
    epoch: int = 0
    gone: bool = False
    paused_until: float | None = None  # when its session ends, by its own clock, should the pause last
    dying: set[Pid] = field(default_factory=set)  # processes that were told to go

    @property
    def holder(self) -> str:
        return f"{self.name}#{self.node.creation}.{self.epoch}"


@dataclass(slots=True)
class _Seen:
    """A claim as the witness saw it."""

    key: str
    fence: int
    owner: str
    last_s: float


class RegistryWorkload(Workload):
    """See the head of the module."""

    name = "registry"
    doc = "names are registered, given up and looked up; owners and nodes die"

    def __init__(self) -> None:
        self._seats: dict[str, _Seat] = {}
        self._owners: dict[Pid, str] = {}
        self._held: dict[tuple[str, int, str], _Seen] = {}
        self._views: dict[str, dict[str, tuple[str, int]] | None] = {}
        self._truth: dict[str, tuple[str, int]] = {}
        self._settled_s = 0.0

    def plan(self, stream: Stream, nodes: Sequence[str], time_s: float, rate: float) -> tuple[PlannedOp, ...]:
        kinds = ("register",) * 5 + ("whereis",) * 4 + ("unregister",) * 3 + ("exit",)
        names = [f"name/{number}" for number in range(NAMES)]
        return planned(
            stream, nodes, time_s, rate, lambda stream: (stream.choice(kinds), stream.choice(names), None)
        )

    async def begin(self, stage: Stage) -> None:
        for name in stage.sim.names:
            self._take_seat(stage, name)

    # -- clients -------------------------------------------------------------------------------------------

    async def act(self, stage: Stage, node: str, process: int, op: PlannedOp) -> bool:
        seat = self._seats[node]
        match op.f:
            case "register":
                return await self._register(stage, seat, process, op.key)
            case "unregister":
                return await self._unregister(stage, seat, process, op.key)
            case "exit":
                return self._exit(stage, seat, op.key)
            case _:
                return await stage.operation(
                    process, "whereis", op.key, None, lambda: self._whereis(stage, seat, op.key)
                )

    async def _register(self, stage: Stage, seat: _Seat, process: int, key: str) -> bool:
        pid = seat.node.spawn(owner)
        label = self._owners[pid] = f"{seat.holder}:{pid.serial}"

        async def action() -> Outcome:
            try:
                claim = await seat.node.registry.register(key, pid)
            except NameTaken as taken:
                seat.node.exit(pid, "not needed")
                return "fail", {
                    "error": "taken",
                    "owner": self._label(stage, taken.owner),
                    "fence": taken.fence,
                }
            except NoQuorum:
                seat.node.exit(pid, "not needed")
                raise
            except ClaimLost as lost:
                return "info", {"error": "ClaimLost", "fence": lost.fence}
            except NotLocal:
                return "info", {"error": "NotLocal"}  # it was told that its claim is lost while it registered
            return "ok", {"owner": label, "fence": claim.fence}

        return await stage.operation(process, "register", key, {"owner": label}, action)

    async def _unregister(self, stage: Stage, seat: _Seat, process: int, key: str) -> bool:
        claim = self._claim(seat, key)

        async def action() -> Outcome:
            done = await seat.node.registry.unregister(claim)
            seat.node.exit(claim.pid, "not needed")
            return ("ok", {"released": True}) if done else ("info", {"released": False})

        value = {"owner": self._label(stage, claim.pid), "fence": claim.fence}
        return await stage.operation(process, "unregister", key, value, action)

    def _exit(self, stage: Stage, seat: _Seat, key: str) -> bool:
        """The owner dies: from now on its name may go at any time."""
        claim = self._claim(seat, key)
        label = self._label(stage, claim.pid)
        stage.invoke(f"exit/{label}", "unregister", key, {"owner": label, "fence": None})
        seat.dying.add(claim.pid)
        seat.node.exit(claim.pid, "as planned")
        return True

    async def _whereis(self, stage: Stage, seat: _Seat, key: str) -> Outcome:
        entry = await seat.node.registry.lookup(key)
        if entry is None:
            if seat.node.store.peek(key_of(key)).value is not None:
                # A process that this node knows to be dead is never shown, though the name is not free yet.
                return "info", {"error": "somebody dead stands there"}
            return "ok", None
        return "ok", {"owner": self._label(stage, entry.pid), "fence": entry.fence}

    def _claim(self, seat: _Seat, key: str) -> Claim:
        for claim in seat.node.registry.claims():
            if claim.name == key and claim.pid not in seat.dying:
                return claim
        raise Skipped

    def _label(self, stage: Stage, pid: Pid) -> str:
        label = self._owners.get(pid)
        if label is None:
            stage.surprise("registry", LookupError(f"{pid} owns a name and nobody ever registered it"))
            return str(pid)
        return label

    # -- sessions and deaths -------------------------------------------------------------------------------

    def happened(self, stage: Stage, event: SimEvent) -> None:
        if event.kind == "ready":
            self._take_seat(stage, event.node)
        elif event.kind == "paused" and stage.sim.ready(event.node):
            seat = self._seats[event.node]
            left_s = seat.node.store.session.valid_for_s()
            if left_s > 0:
                seat.paused_until = stage.sim.clock_of(event.node).monotonic() + left_s
        elif event.kind == "resumed" and event.node in self._seats:
            self._seats[event.node].paused_until = None
        elif event.kind in ("killed", "crashed", "failed", "refused", "stopped"):
            lost = self._seats.get(event.node)
            if lost is not None and not lost.gone:
                lost.gone = True
                self._expire(stage, lost)

    def _take_seat(self, stage: Stage, name: str) -> None:
        node = stage.sim.node(name)
        if name in self._seats and self._seats[name].node is node:
            return
        seat = self._seats[name] = _Seat(node, name)

        def changed(session: int, opened: bool) -> None:
            if not opened:
                self._expire(stage, seat)

        node.store.session.subscribe(changed)

        def act() -> None:
            """What owners do: act whenever they hold a name. After a pause their timer is first in line."""
            if not seat.gone:
                for claim in node.registry.claims():
                    self._sees(stage, name, claim)
                node.runtime.clock.call_later(WITNESS_S, act)

        node.runtime.clock.call_later(WITNESS_S, act)

    def _expire(self, stage: Stage, seat: _Seat) -> None:
        """The session may be gone from now on, and with it every name of those who registered under it."""
        stage.invoke(f"session/{seat.holder}", "expire", None, {"holder": seat.holder})
        seat.epoch += 1

    # -- witness -------------------------------------------------------------------------------------------

    def witness(self, stage: Stage) -> None:
        for name, seat in self._seats.items():
            if seat.gone or not stage.sim.ready(name):
                continue
            if stage.sim.paused(name):
                self._watch_paused(stage, name, seat)
                continue
            for claim in seat.node.registry.claims():
                self._sees(stage, name, claim)

    def _sees(self, stage: Stage, name: str, claim: Claim) -> None:
        """The owner might act now."""
        key, label = str(claim.name), self._label(stage, claim.pid)
        place = (key, claim.fence, label)
        seen = self._held.get(place)
        if seen is None:
            self._held[place] = _Seen(key, claim.fence, label, stage.now)
            stage.note(name, "held", key, {"fence": claim.fence, "owner": label})
        else:
            seen.last_s = stage.now

    def _watch_paused(self, stage: Stage, name: str, seat: _Seat) -> None:
        """A paused node cannot tell of the end of its session; its clock can. (A look ahead errs on the safe side.)"""
        ahead_s = stage.sim.clock_of(name).monotonic() + 2 * WITNESS_S
        if seat.paused_until is not None and ahead_s >= seat.paused_until:
            seat.paused_until = None
            self._expire(stage, seat)

    # -- the end -------------------------------------------------------------------------------------------

    async def settle(self, stage: Stage) -> None:
        """Probe each node, then wait until their views stand still, and read them and the truth."""
        sim = stage.sim
        ready = [name for name in sim.names if sim.ready(name)]
        await asyncio.gather(*(self._probe(stage, name) for name in ready))
        until_s = stage.now + SETTLE_S
        while True:
            self._truth = await sim.start(ready[0], self._read_truth(stage, ready[0]))
            self._views = {name: self._view(stage, name) for name in ready}
            if all(view == self._truth for view in self._views.values()) or stage.now > until_s:
                break
            await sim.run_for(0.5)
        await sim.run_for(3 * WITNESS_S)  # so that what was given up just now is seen to be
        self._settled_s = stage.now
        for seen in self._held.values():
            if seen.last_s < stage.now - 2 * WITNESS_S:
                stage.history.note(
                    seen.last_s, "witness", "released", seen.key, {"fence": seen.fence, "owner": seen.owner}
                )

    async def _probe(self, stage: Stage, name: str) -> None:
        node = stage.sim.node(name)
        pid = node.spawn(owner)
        self._owners[pid] = f"{self._seats[name].holder}:{pid.serial}"
        await probe(
            stage,
            name,
            f"probe/{name}",
            LIVE_S,
            lambda: node.registry.register(f"probe/{name}", pid, timeout_s=2.0),
        )

    async def _read_truth(self, stage: Stage, name: str) -> dict[str, tuple[str, int]]:
        for _ in range(20):
            try:
                entries = await stage.sim.node(name).registry.names("")
            except NoQuorum:
                continue
            return {str(entry.name): (self._label(stage, entry.pid), entry.fence) for entry in entries}
        raise TimeoutError("no quorum to read the truth from, long after the heal")

    def _view(self, stage: Stage, name: str) -> dict[str, tuple[str, int]]:
        entries = stage.sim.node(name).registry.peek_names("").value
        return {str(entry.name): (self._label(stage, entry.pid), entry.fence) for entry in entries}

    def check(self, stage: Stage) -> tuple[list[Verdict], list[Window]]:
        linear = check_linearizable(stage.history, "registry")
        claims = check_claims(stage.history)
        verdicts = [
            linear.verdict,
            claims,
            check_liveness(stage.history, limit_s=LIVE_S, until_s=self._settled_s),
            check_convergence(self._views, self._truth),
            no_surprises(stage, len(stage.history)),
        ]
        return verdicts, list(linear.windows)
