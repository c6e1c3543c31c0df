"""Injuries of processes: killed, without power, standing still."""

from typing import ClassVar

from quorate.jepsen_like.simulation import Simulation

from .injury import Injury
from .scene import Inapplicable


class Stop(Injury):
    """Processes are killed, or their machines lose power; they are started again at the end."""

    def aim(self) -> tuple[str, ...]:
        if self.fault.kind.startswith(("kill-all", "crash-all")):
            return self.scene.pick((), len(self.sim.names), self.scene.runs)
        return super().aim()

    def inflict(self) -> None:
        ready = sum(self.sim.ready(name) for name in self.nodes)
        dirty = sum(self.sim.disk(name).dirty() for name in self.nodes)
        for name in self.nodes:
            self.scene.hold_down(self, name)
            if self.fault.kind.startswith("kill-"):
                self.sim.kill(name)
            else:
                self.sim.crash(name, out_of_order=self.fault.kind.endswith("out-of-order"))
        self.possible = True
        self.evidence = len(self.nodes)
        count = len(self.nodes)
        self.detail = f"{count} running process{'es' if count > 1 else ''} ended, {ready} of them ready"
        if self.fault.kind.startswith("crash-"):
            self.detail += f"; {dirty} unsynced changes at stake"

    def observe(self) -> None:
        """It bit when it was inflicted."""

    def undo(self) -> None:
        self.scene.let_up(self, self.nodes)


class StopWhileSyncing(Injury):
    """Syncs of all disks take long; in the midst of it every machine loses power, with whatever is not synced."""

    needs: ClassVar[str] = "disk"

    def aim(self) -> tuple[str, ...]:
        return self.scene.pick((), len(self.sim.names), self.fits)

    def inflict(self) -> None:
        self._latency_s = {name: self.sim.disk(name).latency_s for name in self.nodes}
        for name in self.nodes:
            self.sim.disk(name).latency_s += max(0.0, self.fault.amount)
        self._off = False

    def act(self) -> None:
        running = [name for name in self.nodes if self.scene.runs(name)]
        if self._off or not running or self.sim.now < self.began_s + self.fault.for_s / 2.0:
            return
        self._off = self.possible = True
        dirty = sum(self.sim.disk(name).dirty() for name in running)
        for name in running:
            self.scene.hold_down(self, name)
            self.sim.crash(name, out_of_order=self.fault.kind.endswith("out-of-order"))
        self.evidence = len(running)
        self.detail = f"{len(running)} machines off; {dirty} unsynced changes at stake"

    def observe(self) -> None:
        """It bites when the power goes."""

    def undo(self) -> None:
        for name in self.nodes:
            self.sim.disk(name).latency_s = self._latency_s[name]
        self.scene.let_up(self, self.nodes)


class StopWhenElected(Injury):
    """Messages take long; the leader is killed, and as soon as there is another one, so are all the others.

    So a leader comes back with entries that it alone has, among nodes that have only just voted for it.
    """

    period_s = 0.01

    def aim(self) -> tuple[str, ...]:
        leader = self.sim.leader()
        if leader is None or not self.scene.runs(leader):
            raise Inapplicable("nobody leads")
        return self.scene.pick((leader,), len(self.sim.names), self.scene.runs)

    def inflict(self) -> None:
        self._links = [(a, b) for a in self.sim.names for b in self.sim.names if a != b]
        for link in self._links:
            self.scene.shape(self, link, latency_s=max(0.0, self.fault.amount))
        self._waits = True
        self._stop(self.nodes[:1])
        self.possible = True

    def act(self) -> None:
        elected = [name for name in self.nodes if self._leads(name)]
        if self._waits and elected:
            self._waits = False
            self._stop(tuple(name for name in self.nodes if self.scene.runs(name)))
            self.detail += f", {elected[0]} had just been elected"

    def _leads(self, name: str) -> bool:
        """It believes that it leads; nobody may know of it yet."""
        return (
            self.scene.runs(name)
            and self.sim.ready(name)
            and self.sim.node(name).store.status().role == "leader"
        )

    def _stop(self, names: tuple[str, ...]) -> None:
        for name in names:
            self.scene.hold_down(self, name)
            self.sim.kill(name)
        self.evidence += len(names)
        self.detail = f"{self.evidence} running processes ended"

    def observe(self) -> None:
        """It bit when it was inflicted."""

    def undo(self) -> None:
        for link in self._links:
            self.scene.unshape(self, link)
        self.scene.let_up(self, self.nodes)


class Pause(Injury):
    """Processes stand still; at the end those that live still go on."""

    needs: ClassVar[str] = "running"

    def aim(self) -> tuple[str, ...]:
        if self.fault.kind == "pause-all":
            return self.scene.pick((), len(self.sim.names), self.fits)
        return super().aim()

    def fits(self, name: str) -> bool:
        return super().fits(name) and not self.sim.paused(name)

    def inflict(self) -> None:
        self._boots = {name: self.sim.boot(name) for name in self.nodes}
        self._base = {name: self.sim.held_callbacks(name) for name in self.nodes}
        for name in self.nodes:
            self.sim.pause(name, after=round(max(0.0, self.fault.amount)))

    def observe(self) -> None:
        self.evidence = sum(self.sim.held_callbacks(name) - self._base[name] for name in self.nodes)
        self.detail = f"{self.evidence} callbacks held"
        self.possible = self.possible or any(
            map(self._stands, self.nodes)
        )  # one may end before it comes to that

    def _stands(self, name: str) -> bool:
        return self.sim.boot(name) == self._boots[name] and self.sim.paused(name)

    def undo(self) -> None:
        for name in self.nodes:
            if self.sim.boot(name) == self._boots[name]:
                self.sim.resume(name)


class Rot(Injury):
    """A process is killed, a synced byte of its disk rots, and it is started: it refuses, or can do without.

    The byte of a log is in the older half of what is on the platter, so that there is younger evidence that it had been
    synced (`consensus/storage/segments.py`): without any, nobody could tell rot from a write that a crash has torn.
    """

    needs: ClassVar[str] = "disk"
    LEAST_BYTES: ClassVar[int] = 2048
    """A shorter log has no older half to speak of."""

    def fits(self, name: str) -> bool:
        return super().fits(name) and name not in self.scene.rotten and self._path(self.sim, name) is not None

    def aim(self) -> tuple[str, ...]:
        if not self.scene.can_rot():
            raise Inapplicable("as many disks have rotted as may")
        return self.scene.pick(self.fault.nodes, 1, self.fits)

    def inflict(self) -> None:
        (name,) = self.nodes
        path = self._path(self.sim, name)
        assert path is not None
        self.scene.rotten.add(name)
        self.sim.kill(name)
        disk = self.sim.disk(name)
        size_bytes = len(disk.durable_content(path))
        if self.fault.kind == "rot-log":
            size_bytes //= 2
        offset = min(size_bytes - 1, int(max(0.0, self.fault.amount) * size_bytes))
        disk.flip(path, offset, 1 << offset % 8)
        self._what = f"byte {offset} of {path}"
        self._told = False
        self.possible = True
        self.scene.revive(name)

    def observe(self) -> None:
        (name,) = self.nodes
        if self._told:
            return
        if name in self.scene.lost:
            self._told, self.evidence = True, 1
            self.detail = f"{name} refused to start with {self._what}"
        elif self.sim.ready(name):
            self._told, self.evidence = True, 1
            self.detail = f"{name} read {self._what} and could do without"
            if self.fault.kind == "rot-log":
                self.scene.findings.append(f"{name} started though {self._what} had rotted")

    def undo(self) -> None:
        """What has rotted stays so."""

    def _path(self, sim: Simulation, name: str) -> str | None:
        """The file to rot: the newest of its kind, if enough of it is on the platter."""
        folder, ending, least = (
            ("log", ".log", self.LEAST_BYTES)
            if self.fault.kind == "rot-log"
            else ("snapshots", ".snapshot", 1)
        )
        disk = sim.disk(name)
        names = [file for file in disk.list(folder) if file.endswith(ending)]
        if not names or len(disk.durable_content(f"{folder}/{names[-1]}")) < least:
            return None
        return f"{folder}/{names[-1]}"
