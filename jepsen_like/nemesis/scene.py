"""What faults that are under way must know of each other: who is held down by whom, which disk has rotted, whose clock is taken.

The scene is the authority over why a node is down. A node that ends by itself is started again after a moment, as a
supervisor of the operating system would do it, unless a fault that is under way holds it down or keeps its disk broken:
then the end of that fault does it. A node that ends, or refuses to start, with no fault to explain it is a finding.

What must never happen here: a node whose disk has rotted is taken for one that will come back, or more than a minority
of disks rot.
"""

from collections.abc import Callable, Iterable, Sequence

from quorate.jepsen_like.simulation import SimEvent, Simulation

from .planning import minority

RESTART_S = 0.5
"""How long a node that ended by itself stays down."""

Link = tuple[str, str]


class Inapplicable(Exception):
    """There is nobody to whom this fault could be done now; says why."""


class Scene:
    """One for each nemesis. An `owner` is the injury that did something, and must undo it."""

    def __init__(self, sim: Simulation) -> None:
        self.sim = sim
        self.rotten: set[str] = set()
        """Nodes of whose disk something has rotted."""
        self.lost: set[str] = set()
        """Those of them that refused to start: they stay down."""
        self.findings: list[str] = []
        """What no fault explains."""
        self.broken: set[str] = set()
        """Nodes on whose disk calls fail now: starting them is left to the end of that fault."""
        self._claims: dict[tuple[str, str], object] = {}
        self._down: dict[str, set[object]] = {name: set() for name in sim.names}
        self._failures_at_boot = {name: sim.disk(name).failures for name in sim.names}
        self._shapes: dict[Link, list[tuple[object, float, float | None]]] = {}
        self._unshaped: dict[Link, tuple[float, float, float | None]] = {}
        sim.on_event(self._happened)

    # -- choosing ------------------------------------------------------------------------------------------

    def pick(self, wanted: Sequence[str], count: int, fits: Callable[[str], bool]) -> tuple[str, ...]:
        """At most `count` nodes that fit: of those `wanted`, then of the others in order from the first wanted one on.

        Raises `Inapplicable` when none does.
        """
        names = self.sim.names
        start = names.index(wanted[0]) if wanted and wanted[0] in names else 0
        around = names[start:] + names[:start]
        fitting = [name for name in dict.fromkeys((*wanted, *around)) if name in names and fits(name)]
        if not fitting:
            raise Inapplicable("no node is in a state for it")
        return tuple(fitting[:count])

    def runs(self, name: str) -> bool:
        """Its process exists, and nobody is about to end or start it."""
        return self.sim.running(name) and name not in self.lost and not self._down[name]

    def is_free(self, what: str, name: str) -> bool:
        """Nobody has claimed `what` of this node."""
        return (what, name) not in self._claims

    def claim(self, owner: object, what: str, name: str) -> None:
        """Take `what` of a node, which is free, until `release`."""
        assert self.is_free(what, name), f"{what} of {name} is claimed twice"
        self._claims[what, name] = owner

    def release(self, owner: object) -> None:
        """Give back all claims of an owner."""
        self._claims = {key: value for key, value in self._claims.items() if value is not owner}

    # -- processes -----------------------------------------------------------------------------------------

    def hold_down(self, owner: object, name: str) -> None:
        """Nobody else starts this node until `let_up`. Ending it is the caller's business."""
        self._down[name].add(owner)

    def let_up(self, owner: object, names: Iterable[str]) -> None:
        """End `hold_down`, and start the nodes that nobody else holds down."""
        for name in names:
            self._down[name].discard(owner)
            self.revive(name)

    def revive(self, name: str) -> None:
        """Start a node unless it runs, is lost, or is held down."""
        if name not in self.lost and not self._down[name]:
            self.sim.restart(name)

    def can_rot(self) -> bool:
        """One more disk may rot, and a majority of sound ones is left."""
        return len(self.rotten) < minority(len(self.sim.names))

    def _happened(self, event: SimEvent) -> None:
        name = event.node
        if event.kind == "started":
            self._failures_at_boot[name] = self.sim.disk(name).failures
        if event.kind not in ("failed", "refused"):
            return
        if self.sim.disk(name).failures == self._failures_at_boot[name]:
            if name in self.rotten and event.kind == "refused":
                self.lost.add(name)
                return
            self.findings.append(
                f"{name} {event.kind} at {event.at_s:.3f} s and no fault explains it: {event.detail}"
            )
        self.sim.clock.call_later(RESTART_S, self._supervise, name)

    def _supervise(self, name: str) -> None:
        if name not in self.broken:
            self.revive(name)

    # -- the shape of links --------------------------------------------------------------------------------

    def shape(
        self, owner: object, link: Link, *, latency_s: float = 0.0, bandwidth_bytes_s: float | None = None
    ) -> None:
        """Add latency (half of it, to one and a half of it) to a link, or bound its bandwidth. Shapes add up."""
        self._shapes.setdefault(link, []).append((owner, latency_s, bandwidth_bytes_s))
        self._reshape(link)

    def unshape(self, owner: object, link: Link) -> None:
        """Undo what this owner did to a link."""
        self._shapes[link] = [shape for shape in self._shapes[link] if shape[0] is not owner]
        self._reshape(link)

    def _reshape(self, link: Link) -> None:
        state, shapes = self.sim.link(*link), self._shapes[link]
        base = self._unshaped.setdefault(link, (state.latency_s, state.jitter_s, state.bandwidth_bytes_s))
        added_s = sum(latency_s for _, latency_s, _ in shapes)
        widths = [width for width in (base[2], *(width for *_, width in shapes)) if width is not None]
        state.latency_s = base[0] + added_s / 2.0
        state.jitter_s = base[1] + added_s
        state.bandwidth_bytes_s = min(widths, default=None)
        state.slowed = bool(shapes)
        if not shapes:
            del self._shapes[link], self._unshaped[link]
