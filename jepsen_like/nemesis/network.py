"""Injuries of links: partitions, and connections that are slow, reset, half open or never answered."""

from typing import ClassVar

from . import topology
from .fault import Fault
from .injury import Injury
from .scene import Inapplicable, Link, Scene

AGAIN_S = 0.5
"""How often a deaf node loses its connections until somebody else dials it."""


class LinkInjury(Injury):
    """One of directed links. `links` are set by `inflict`, and may change."""

    def __init__(self, scene: Scene, fault: Fault) -> None:
        self.links: list[Link] = []
        self._watched: dict[Link, tuple[int, int, int]] = {}
        super().__init__(scene, fault)

    def watch(self, link: Link) -> None:
        """Count what happens on a link from now on."""
        state = self.sim.link(*link)
        self._watched.setdefault(link, (state.held_bytes, state.blocked_connects, state.delayed_bytes))

    def counted(self) -> tuple[int, int, int]:
        """Bytes held, connects blocked and bytes delayed on the watched links since then."""
        held = blocked = delayed = 0
        for link, base in self._watched.items():
            state = self.sim.link(*link)
            held += state.held_bytes - base[0]
            blocked += state.blocked_connects - base[1]
            delayed += state.delayed_bytes - base[2]
        return held, blocked, delayed

    def somebody_talks(self) -> bool:
        """Somebody could send something over one of the links."""
        return any(self.awake(a) and self.sim.running(b) for a, b in self.links)


class Partition(LinkInjury):
    """Links that nothing gets through."""

    def aim(self) -> tuple[str, ...]:
        if self.fault.kind in ("partition-one", "partition-leader"):
            return self.scene.pick(self.wanted(), 1, self.scene.runs)
        return _known(self.fault.nodes, self.sim.names)

    def inflict(self) -> None:
        for link in self.shape():
            self.cut(link)

    def shape(self) -> list[Link]:
        names = self.sim.names
        match self.fault.kind:
            case "partition-ring":
                return topology.ring(_all_of(self.nodes, names))
            case "partition-bridge":
                return topology.bridge(_all_of(self.nodes, names))
            case "partition-one-way":
                return topology.from_side(self.nodes, names)
        return topology.between(self.nodes, names)

    def cut(self, link: Link) -> None:
        self.watch(link)
        self.links.append(link)
        self.sim.cut(*link, one_way=True)

    def observe(self) -> None:
        held, blocked, _ = self.counted()
        self.evidence = held + blocked
        self.detail = f"{held} bytes held, {blocked} connects blocked"
        self.possible = self.possible or self.somebody_talks()

    def undo(self) -> None:
        for link in self.links:
            self.sim.mend(*link, one_way=True)


class Swizzle(Partition):
    """Nodes are cut off one by one in the first half of the time, and come back one by one in the second."""

    def __init__(self, scene: Scene, fault: Fault) -> None:
        super().__init__(scene, fault)
        nodes = _known(fault.nodes[: len(fault.nodes) // 2], self.sim.names)
        back = _known(fault.nodes[len(fault.nodes) // 2 :], self.sim.names)
        step_s = fault.for_s / 2.0 / max(1, len(nodes))
        self._steps = [(self.began_s + i * step_s, True, name) for i, name in enumerate(nodes)]
        self._steps += [
            (self.began_s + fault.for_s / 2.0 + (i + 1) * step_s, False, name) for i, name in enumerate(back)
        ]
        self.nodes = nodes

    def inflict(self) -> None:
        self._go_on()

    def act(self) -> None:
        self._go_on()

    def _go_on(self) -> None:
        while self._steps and self._steps[0][0] <= self.sim.now:
            _, stop, name = self._steps[0]
            if not stop and self.evidence == 0:
                return  # nobody comes back before somebody was missed
            del self._steps[0]
            for link in topology.all_of(name, self.sim.names):
                if stop:
                    self.cut(link)
                else:
                    self.links.remove(link)
                    self.sim.mend(*link, one_way=True)


class Fading(Partition):
    """What reaches a node gets slow in the first third of the time; then nothing of it is heard any more.

    So answers to what it said last come when it is alone already: the hardest case for whoever counts from an answer.
    """

    def aim(self) -> tuple[str, ...]:
        return self.scene.pick(self.wanted(), 1, self.scene.runs)

    def inflict(self) -> None:
        (node,) = self.nodes
        self._slow = [(other, node) for other in self.sim.names if other != node]
        for link in self._slow:
            self.scene.shape(self, link, latency_s=max(0.0, self.fault.amount))

    def act(self) -> None:
        if not self.links and self.sim.now >= self.began_s + self.fault.for_s / 3.0:
            for other, node in self._slow:
                self.cut((node, other))

    def undo(self) -> None:
        super().undo()
        for link in self._slow:
            self.scene.unshape(self, link)


class Hold(LinkInjury):
    """Bytes between two nodes wait, both ways, and come at once at the end."""

    def aim(self) -> tuple[str, ...]:
        nodes = self.scene.pick(self.fault.nodes, 2, self.scene.runs)
        if len(nodes) < 2:
            raise Inapplicable("only one node runs")
        return nodes

    def inflict(self) -> None:
        a, b = self.nodes
        self.links = [(a, b), (b, a)]
        for link in self.links:
            self.watch(link)
        self.sim.hold(a, b)

    def observe(self) -> None:
        held, blocked, _ = self.counted()
        self.evidence = held + blocked
        self.detail = f"{held} bytes held, {blocked} connects blocked"
        self.possible = self.possible or self.somebody_talks()

    def undo(self) -> None:
        self.sim.release(*self.nodes)


class Slow(LinkInjury):
    """The links of a node, or all links, are long (latency) or thin (bandwidth)."""

    def aim(self) -> tuple[str, ...]:
        if self.fault.kind == "link-latency-all":
            return self.scene.pick((), len(self.sim.names), self.fits)
        return super().aim()

    def inflict(self) -> None:
        links = [link for name in self.nodes for link in topology.all_of(name, self.sim.names)]
        self.links = list(dict.fromkeys(links))
        for link in self.links:
            self.watch(link)
            if self.fault.kind.startswith("link-latency"):
                self.scene.shape(self, link, latency_s=max(0.0, self.fault.amount))
            else:
                self.scene.shape(self, link, bandwidth_bytes_s=max(1.0, self.fault.amount))

    def observe(self) -> None:
        _, _, self.evidence = self.counted()
        self.detail = f"{self.evidence} bytes delayed"
        self.possible = self.possible or self.somebody_is_in_touch()

    def undo(self) -> None:
        for link in self.links:
            self.scene.unshape(self, link)


class Reset(LinkInjury):
    """The connections of a node are reset, or left half open, every so often."""

    def inflict(self) -> None:
        self.period_s = self.fault.every_s
        self.links = [link for name in self.nodes for link in topology.all_of(name, self.sim.names)]
        self._times = 0

    def act(self) -> None:
        self._times += 1
        for name in self.nodes:
            for other in self.sim.names:
                if other == name:
                    continue
                if self.fault.kind == "link-reset":
                    self.evidence += self.sim.reset(name, other)
                elif self._times % 2:
                    self.evidence += self.sim.half_open(name, other)
                else:
                    self.evidence += self.sim.half_open(other, name)

    def observe(self) -> None:
        how = "reset" if self.fault.kind == "link-reset" else "left half open"
        self.detail = f"{self.evidence} connections {how}"
        self.possible = self.possible or self.somebody_is_in_touch()

    def undo(self) -> None:
        """What is broken is broken: the nodes connect again."""


class SlowReader(Injury):
    """A node takes bytes off its sockets slowly."""

    needs: ClassVar[str] = "reading"

    def inflict(self) -> None:
        self._base = {name: self.sim.host(name).slow_bytes for name in self.nodes}
        self._before = {name: self.sim.host(name).read_bytes_s for name in self.nodes}
        for name in self.nodes:
            self.sim.host(name).read_bytes_s = max(1.0, self.fault.amount)

    def observe(self) -> None:
        self.evidence = sum(self.sim.host(name).slow_bytes - self._base[name] for name in self.nodes)
        self.detail = f"{self.evidence} bytes read slowly"
        self.possible = self.possible or self.somebody_is_in_touch()

    def undo(self) -> None:
        for name in self.nodes:
            self.sim.host(name).read_bytes_s = self._before[name]


class Deaf(Injury):
    """A node's connections are reset; new ones are accepted by its kernel, and never answered."""

    needs: ClassVar[str] = "hearing"

    def inflict(self) -> None:
        self.period_s = AGAIN_S
        self._base = {name: self.sim.host(name).deaf_accepts for name in self.nodes}
        for name in self.nodes:
            self.sim.host(name).deaf = True

    def act(self) -> None:
        """Of two that have lost their connection either may dial: only when the other one does, somebody is not heard."""
        if not self.evidence:
            for name in self.nodes:
                for other in self.sim.names:
                    if other != name:
                        self.sim.reset(name, other)

    def observe(self) -> None:
        self.evidence = sum(self.sim.host(name).deaf_accepts - self._base[name] for name in self.nodes)
        self.detail = f"{self.evidence} connections never answered"
        self.possible = self.possible or self.somebody_is_in_touch()

    def undo(self) -> None:
        for name in self.nodes:
            self.sim.host(name).deaf = False


def _known(nodes: tuple[str, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of this simulation: a plan for five nodes may be carried out on three. Raises `Inapplicable`."""
    known = tuple(name for name in nodes if name in names)
    if not known or (len(set(known)) == len(names) == 1):
        raise Inapplicable("there are no two sides")
    return known


def _all_of(order: tuple[str, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    """All nodes: those in `order`, then the others."""
    return tuple(dict.fromkeys((*order, *names)))
