"""What carrying out one fault is: inflict it, look how it works, undo it.

An injury is made when its time has come, for targets that can be hit then (`Inapplicable` otherwise), and is used once. What
must never happen in one: that it undoes what another did, or counts as evidence what would have happened without it.
"""

from typing import ClassVar

from .fault import Fault
from .scene import Scene

LOOK_S = 0.1
"""How often an injury looks at what it does, in seconds of the world."""


class Injury:
    """Subclasses choose `nodes` in `aim`, and say in `evidence` and `detail` what shows that it bit."""

    period_s: float = LOOK_S
    """How often `observe` and `act` are called."""
    needs: ClassVar[str] = ""
    """What it claims of each of its nodes; two injuries with the same claim never meet on a node."""

    def __init__(self, scene: Scene, fault: Fault) -> None:
        """Choose targets. Raises `Inapplicable`."""
        self.scene = scene
        self.sim = scene.sim
        self.fault = fault
        self.evidence = 0
        self.detail = ""
        self.possible = False
        """At some time it could have bitten, by facts other than its evidence; one that never could is no fault."""
        self.began_s = self.sim.now
        self.nodes: tuple[str, ...] = self.aim()
        if self.needs:
            for name in self.nodes:
                scene.claim(self, self.needs, name)

    def aim(self) -> tuple[str, ...]:
        """The nodes to hit: as many as the fault names, those that run and of which `needs` is free."""
        return self.scene.pick(self.wanted(), max(1, len(self.fault.nodes)), self.fits)

    def wanted(self) -> tuple[str, ...]:
        """The nodes to hit if possible: the leader first, for a fault of the leader."""
        leader = self.sim.leader() if self.fault.kind.endswith("-leader") else None
        return self.fault.nodes if leader is None else (leader, *self.fault.nodes)

    def fits(self, name: str) -> bool:
        return self.scene.runs(name) and (not self.needs or self.scene.is_free(self.needs, name))

    def somebody_is_awake(self) -> bool:
        """One of the nodes runs and is not paused: it could notice."""
        return any(self.awake(name) for name in self.nodes)

    def somebody_is_in_touch(self) -> bool:
        """One of the nodes is awake, and so is another that it can talk with: no cut or hold is between them."""
        return any(
            self.awake(a)
            and self.awake(b)
            and not self.sim.link(a, b).blocked
            and not self.sim.link(b, a).blocked
            for a in self.nodes
            for b in self.sim.names
            if a != b
        )

    def awake(self, name: str) -> bool:
        """It runs and is not paused."""
        return self.sim.running(name) and not self.sim.paused(name)

    def inflict(self) -> None:
        """Begin."""
        raise NotImplementedError

    def act(self) -> None:
        """Called after `inflict`, and every `period_s` until the end: do what is done again and again."""

    def observe(self) -> None:
        """Called before each `act`, and at the end: bring `evidence`, `detail` and `possible` up to date."""
        raise NotImplementedError

    def undo(self) -> None:
        """End. Called once, whatever happened since `inflict`."""
        raise NotImplementedError
