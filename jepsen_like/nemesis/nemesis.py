"""The nemesis: carries a plan out on a running simulation, and keeps the evidence.

    nemesis = Nemesis(sim, plan)
    await nemesis.run()              # returns when the last fault is over
    await nemesis.heal_all()         # everything whole, every node ready
    nemesis.records

Each fault is one task, so faults overlap as the plan says. A fault picks its targets when its time comes: those that it
names, if they can be hit then, else others, in the order of the names; so what happens follows from the plan and the
seed, and taking one fault away does not move the choices of the others. One that finds nobody is skipped and is no fault.
A fault that has not bitten when its time is over goes on until it has, `patience_s` longer at most; then it ends with
`evidence` 0, and whoever judges the run must call it unknown.

The nemesis is the authority over the faults it has begun, and each undoes exactly what it did. What must never happen
here: that something stays broken after `heal_all`, or that more than a minority is lost for good.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from quorate.core import QuorateError, sleep
from quorate.jepsen_like.history import History
from quorate.jepsen_like.record import FaultRecord
from quorate.jepsen_like.simulation import Simulation

from .clocks import Rate, WallClock
from .disks import BrokenDisk, SlowDisk
from .fault import Fault
from .injury import LOOK_S, Injury
from .kinds import KINDS
from .network import Deaf, Fading, Hold, Partition, Reset, Slow, SlowReader, Swizzle
from .processes import Pause, Rot, Stop, StopWhenElected, StopWhileSyncing
from .scene import Inapplicable, Scene

PATIENCE_S = 10.0
HEAL_S = 60.0

_NS = 1_000_000_000
_MOMENT_S = 1e-6  # less is no time: it may be lost in the sum of times


class StillDown(QuorateError):
    """After everything was mended, nodes did not come back. `nodes` are those."""

    def __init__(self, nodes: tuple[str, ...], after_s: float, why: Sequence[str]) -> None:
        said = f": {'; '.join(why)}" if why else ""
        super().__init__(
            f"{', '.join(nodes)} did not come back within {after_s:g} s after all faults had ended{said}"
        )
        self.nodes = nodes


@dataclass(frozen=True, slots=True)
class Skipped:
    """A fault that could not be carried out when its time came, and why."""

    fault: Fault
    why: str


class Nemesis:
    """One plan on one simulation; used once. With a `history`, faults are noted there by the process `nemesis`.

    `records` are the faults that were carried out, in the order in which they began; `skipped` those that could not be;
    `findings` what happened to nodes and no fault explains, in words; `lost` the nodes that rot has ended for good.
    """

    def __init__(
        self,
        sim: Simulation,
        plan: Sequence[Fault],
        history: History | None = None,
        *,
        patience_s: float = PATIENCE_S,
        heal_s: float = HEAL_S,
    ) -> None:
        self.plan = tuple(plan)
        self.skipped: list[Skipped] = []
        self._sim = sim
        self._history = history
        self._patience_s = patience_s
        self._heal_s = heal_s
        self._scene = Scene(sim)
        self._records: list[FaultRecord] = []
        self._under_way: dict[Injury, None] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._sync_latency_s = {name: sim.disk(name).latency_s for name in sim.names}

    @property
    def records(self) -> tuple[FaultRecord, ...]:
        """Those under way have no `until_ns`, and what evidence there is so far."""
        open_ones = [self._record(injury, None) for injury in self._under_way]
        return tuple(sorted([*self._records, *open_ones], key=lambda record: record.from_ns))

    @property
    def findings(self) -> tuple[str, ...]:
        return tuple(self._scene.findings)

    @property
    def lost(self) -> frozenset[str]:
        return frozenset(self._scene.lost)

    @property
    def busy(self) -> bool:
        """A fault is under way."""
        return bool(self._under_way)

    async def run(self) -> None:
        """Carry the plan out; its times count from now. Returns when its last fault is over, or `heal_all` has ended it."""
        begun_s = self._sim.now
        faults = sorted(self.plan, key=lambda fault: fault.at_s)
        self._tasks = [
            asyncio.create_task(self._carry_out(fault, begun_s), name=f"fault {number}: {fault.kind}")
            for number, fault in enumerate(faults)
        ]
        for done in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(done, BaseException) and not isinstance(done, asyncio.CancelledError):
                raise done

    async def heal_all(self) -> None:
        """End all faults, make everything whole, start what is down, and wait until every node that is not lost is ready.

        Raises `StillDown` after `heal_s` seconds.
        """
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        sim = self._sim
        sim.heal()
        for name in sim.names:
            sim.resume(name)
            sim.skew(name, 1.0)
            sim.host(name).deaf = False
            sim.host(name).read_bytes_s = None
            disk = sim.disk(name)
            disk.mend()
            disk.thaw()
            disk.set_capacity(None)
            disk.latency_s = self._sync_latency_s[name]
            self._scene.revive(name)
        self._note("healed", {"lost": sorted(self.lost)})
        await self._all_ready()

    async def _all_ready(self) -> None:
        until_s = self._sim.now + self._heal_s
        while late := [
            name for name in self._sim.names if not self._sim.ready(name) and name not in self.lost
        ]:
            if self._sim.now >= until_s:
                raise StillDown(tuple(late), self._heal_s, self.findings)
            await sleep(self._sim.clock, LOOK_S)

    async def _carry_out(self, fault: Fault, begun_s: float) -> None:
        await sleep(self._sim.clock, begun_s + fault.at_s - self._sim.now)
        try:
            injury = make_injury(self._scene, fault)
        except Inapplicable as error:
            self.skipped.append(Skipped(fault, str(error)))
            return
        self._under_way[injury] = None
        injury.inflict()
        try:
            self._note("fault", {"kind": fault.kind, "nodes": list(injury.nodes)})
            await self._last(injury, fault.for_s)
        finally:
            injury.observe()
            injury.undo()
            self._scene.release(injury)
            del self._under_way[injury]
            self._close(injury)

    async def _last(self, injury: Injury, for_s: float) -> None:
        """Wait out the fault's time, and longer while it has not bitten."""
        end_s = injury.began_s + for_s
        while True:
            injury.observe()
            left_s = end_s - self._sim.now
            if left_s <= _MOMENT_S and (injury.evidence or -left_s >= self._patience_s):
                return
            injury.act()
            await sleep(self._sim.clock, min(injury.period_s, left_s) if left_s > _MOMENT_S else LOOK_S)

    def _close(self, injury: Injury) -> None:
        if injury.evidence == 0 and not injury.possible:
            self.skipped.append(
                Skipped(injury.fault, "all that time nothing went on that it could have disturbed")
            )
            return
        self._records.append(self._record(injury, round(self._sim.now * _NS)))
        self._note("fault over", {"kind": injury.fault.kind, "nodes": list(injury.nodes)})

    def _record(self, injury: Injury, until_ns: int | None) -> FaultRecord:
        from_ns = round(injury.began_s * _NS)
        return FaultRecord(injury.fault.kind, injury.nodes, from_ns, until_ns, injury.evidence, injury.detail)

    def _note(self, f: str, value: dict[str, Any]) -> None:
        if self._history is not None:
            self._history.note(self._sim.now, "nemesis", f, None, value, type_="info")


def make_injury(scene: Scene, fault: Fault) -> Injury:
    """The injury that carries this fault out, with its targets chosen. Raises `Inapplicable`."""
    return _INJURIES[fault.kind](scene, fault)


def _table() -> dict[str, type[Injury]]:
    by_group: dict[str, type[Injury]] = {
        "partition": Partition,
        "kill": Stop,
        "crash": Stop,
        "pause": Pause,
        "clock": WallClock,
        "disk": BrokenDisk,
        "rot": Rot,
    }
    by_name: dict[str, type[Injury]] = {
        "partition-swizzle": Swizzle,
        "partition-fading": Fading,
        "partition-fading-leader": Fading,
        "kill-all-elected": StopWhenElected,
        "crash-all-syncing": StopWhileSyncing,
        "crash-all-syncing-out-of-order": StopWhileSyncing,
        "link-hold": Hold,
        "link-latency": Slow,
        "link-latency-all": Slow,
        "link-bandwidth": Slow,
        "link-reset": Reset,
        "link-half-open": Reset,
        "link-slow-reader": SlowReader,
        "link-deaf": Deaf,
        "clock-rate": Rate,
        "disk-slow": SlowDisk,
        "disk-slow-all": SlowDisk,
        "disk-stall": SlowDisk,
    }
    return {name: by_name.get(name) or by_group[kind.group] for name, kind in KINDS.items()}


_INJURIES = _table()
