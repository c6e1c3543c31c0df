"""Injuries of clocks: wall clocks that jump, monotonic clocks that run fast or slow."""

from collections.abc import Callable
from typing import ClassVar

from quorate.jepsen_like.simulation import SimClock, Simulation

from .fault import Fault
from .injury import Injury
from .scene import Scene


class Reads:
    """How often the clocks of some nodes were read since this was made, through restarts."""

    def __init__(self, sim: Simulation, names: tuple[str, ...], count: Callable[[SimClock], int]) -> None:
        self._sim = sim
        self._names = names
        self._count = count
        self._bases: dict[SimClock, int] = {}
        self.total()
        self._bases = {clock: count(clock) for clock in self._bases}

    def total(self) -> int:
        """So often."""
        for name in self._names:
            if self._sim.running(name):
                self._bases.setdefault(self._sim.clock_of(name), 0)
        return sum(self._count(clock) - base for clock, base in self._bases.items())


class WallClock(Injury):
    """A wall clock is off, or goes to and fro.

    Evidence is who read it meanwhile: the node, or the nemesis, which reads it back as whatever runs on the node would.
    """

    needs: ClassVar[str] = "wall clock"

    def __init__(self, scene: Scene, fault: Fault) -> None:
        self._off = False
        self._read_back = 0
        super().__init__(scene, fault)

    def inflict(self) -> None:
        if self.fault.kind == "clock-strobe":
            self.period_s = self.fault.every_s
        self._reads = Reads(self.sim, self.nodes, lambda clock: clock.reads_wall)
        if self.fault.kind == "clock-jump":
            self._turn(off=True)

    def act(self) -> None:
        if self.fault.kind == "clock-strobe":
            self._turn(off=not self._off)

    def observe(self) -> None:
        self.possible = self.possible or self.somebody_is_awake()
        for name in self.nodes:
            if self._off and self.sim.running(name):
                off_s = self.sim.clock_of(name).wall() - self.sim.clock.wall()
                self._read_back += off_s != 0.0
        others = self._reads.total() - self._read_back
        self.evidence = self._read_back + others if self._read_back else 0
        self.detail = f"read back {self._read_back} times while off, read {others} times by the node"

    def undo(self) -> None:
        self._turn(off=False)

    def _turn(self, *, off: bool) -> None:
        if off != self._off:
            self._off = off
            for name in self.nodes:
                self.sim.jump(name, self.fault.amount if off else -self.fault.amount)


class Rate(Injury):
    """A monotonic clock runs fast or slow."""

    needs: ClassVar[str] = "rate"

    def inflict(self) -> None:
        self._reads = Reads(self.sim, self.nodes, lambda clock: clock.reads_monotonic)
        for name in self.nodes:
            self.sim.skew(name, self.fault.amount)

    def observe(self) -> None:
        self.possible = self.possible or self.somebody_is_awake()
        self.evidence = self._reads.total()
        drift_s = (self.sim.now - self.began_s) * (self.fault.amount - 1.0)
        self.detail = f"{self.evidence} reads of a clock that went off by {drift_s:+.3f} s"

    def undo(self) -> None:
        for name in self.nodes:
            self.sim.skew(name, 1.0)
