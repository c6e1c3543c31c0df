"""Injuries of disks: slow, standing still, full, failing."""

from typing import ClassVar, Literal

from quorate.jepsen_like.disk import DiskFault

from .fault import Fault
from .injury import Injury
from .scene import Scene


class DiskInjury(Injury):
    """One of a disk: one at a time, so that it is clear whose failures they are.

    It can bite when the disk is used: a node that has no quorum writes nothing, for as long as that lasts.
    """

    needs: ClassVar[str] = "disk"

    def __init__(self, scene: Scene, fault: Fault) -> None:
        super().__init__(scene, fault)
        self._syncs = self._asked_for()

    def look_at(self) -> None:
        """Was it used?"""
        self.possible = self.possible or self._asked_for() > self._syncs

    def _asked_for(self) -> int:
        return sum(self.sim.disk(name).syncs for name in self.nodes)


class SlowDisk(DiskInjury):
    """Each sync takes longer, or waits until the end."""

    def aim(self) -> tuple[str, ...]:
        if self.fault.kind == "disk-slow-all":
            return self.scene.pick((), len(self.sim.names), self.fits)
        return super().aim()

    def inflict(self) -> None:
        self._base = {name: self.sim.disk(name).delayed_syncs for name in self.nodes}
        self._latency_s = {name: self.sim.disk(name).latency_s for name in self.nodes}
        for name in self.nodes:
            disk = self.sim.disk(name)
            if self.fault.kind == "disk-stall":
                disk.freeze()
            else:
                disk.latency_s += max(0.0, self.fault.amount)

    def observe(self) -> None:
        self.look_at()
        self.evidence = sum(self.sim.disk(name).delayed_syncs - self._base[name] for name in self.nodes)
        self.detail = f"{self.evidence} syncs delayed"

    def undo(self) -> None:
        for name in self.nodes:
            disk = self.sim.disk(name)
            if self.fault.kind == "disk-stall":
                disk.thaw()
            else:
                disk.latency_s = self._latency_s[name]


class BrokenDisk(DiskInjury):
    """Writes or syncs fail, for an error or for want of room; what has ended of it is started on a mended disk."""

    def inflict(self) -> None:
        self._faults: list[tuple[str, DiskFault]] = []
        self._base = {name: self.sim.disk(name).failures for name in self.nodes}
        operation: Literal["append", "sync"] = "append" if self.fault.kind == "disk-write-error" else "sync"
        self.scene.broken.update(self.nodes)
        for name in self.nodes:
            disk = self.sim.disk(name)
            if self.fault.kind == "disk-full":
                used_bytes = sum(len(disk.content(path)) for path in disk.files())
                disk.set_capacity(used_bytes + round(max(0.0, self.fault.amount)))
            else:
                self._faults.append((name, disk.fail(operation)))

    def observe(self) -> None:
        self.look_at()
        self.evidence = sum(self.sim.disk(name).failures - self._base[name] for name in self.nodes)
        what = "writes found no room" if self.fault.kind == "disk-full" else "calls failed"
        self.detail = f"{self.evidence} {what}"

    def undo(self) -> None:
        for name, fault in self._faults:
            self.sim.disk(name).mend(fault)
        for name in self.nodes:
            if self.fault.kind == "disk-full":
                self.sim.disk(name).set_capacity(None)
        self.scene.broken.difference_update(self.nodes)
        for name in self.nodes:
            self.scene.revive(name)
