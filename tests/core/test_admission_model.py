"""The rules of admission in a world of two nodes where messages cross as they like.

A model of what `links.py` does with the verdicts, small enough for thousands of schedules: dials from both sides at any
time, each lane's messages in order but nothing else, and, when faults are allowed, dials that are given up and
connections that break while messages are on their way.
"""

import random
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from quorate.core.admission import Attempt, Inbound, Outbound, judge_inbound, judge_outbound
from quorate.core.ident import Ident


@dataclass(eq=False)
class Dial:
    """Two lanes, each with a queue in each direction. `over` holds the sides that have hung up or seen the end."""

    dialer: "Node"
    acceptor: "Node"
    queues: dict[tuple[str, int], list[tuple[str, Ident | None]]] = field(default_factory=dict)
    over: set[str] = field(default_factory=set)

    def send(self, to: "Node", lane: int, kind: str, ident: Ident | None = None) -> None:
        self.queues.setdefault((to.name, lane), []).append((kind, ident))

    def hang_up(self, side: "Node") -> None:
        if side.name not in self.over:
            self.over.add(side.name)
            other = self.acceptor if side is self.dialer else self.dialer
            for lane in (1, 2):
                self.send(other, lane, "end")


class Node:
    def __init__(self, world: "World", name: str) -> None:
        self.world, self.name = world, name
        self.run = name.encode() * 16
        self.slot: Attempt | None = None
        self.dial: Dial | None = None  # the slot's
        self.lost = b""
        self.dials = 0
        self.events: list[tuple[str, bytes]] = []

    @property
    def linked(self) -> bytes | None:
        return self.slot.token if self.slot is not None and self.slot.up else None

    def ident(self, **more: object) -> Ident:
        return Ident(self.name, 1, self.run, **more)  # type: ignore[arg-type]  # fields of an ident

    def take(self, dial: Dial, ident: Ident, token: bytes, number: int, here: bool) -> None:
        assert self.slot is None
        self.slot = Attempt(ident.name, ident.creation, ident.run, token, number, dialled_here=here)
        self.dial = dial

    def free(self) -> None:
        assert self.slot is not None
        if self.slot.up:
            self.lost = self.slot.token
            self.events.append(("down", self.slot.token))
        self.slot = self.dial = None

    def evict(self) -> None:
        if self.dial is not None:
            dial = self.dial
            self.free()
            dial.hang_up(self)

    def up(self) -> None:
        slot = self.slot
        assert slot is not None
        self.slot = Attempt(slot.name, 1, slot.run, slot.token, slot.number, slot.dialled_here, up=True)
        self.events.append(("up", slot.token))

    def hear(self, dial: Dial, lane: int, kind: str, ident: Ident | None) -> None:
        if self.name in dial.over:
            return
        if kind == "end":
            dial.hang_up(self)
            if self.dial is dial:
                self.free()
        elif dial.dialer is self:
            self.hear_as_dialer(dial, kind, ident)
        else:
            self.hear_as_acceptor(dial, kind, ident)

    def hear_as_dialer(self, dial: Dial, kind: str, ident: Ident | None) -> None:
        if kind == "who":
            assert ident is not None
            if judge_outbound(self.name, self.run, ident, self.slot) is not Outbound.COMMIT:
                dial.hang_up(self)
                return
            self.dials += 1
            token = self.world.token()
            self.take(dial, ident, token, self.dials, here=True)
            own = self.ident(token=token, attempt=self.dials, lost=self.lost)
            dial.send(dial.acceptor, 1, "i am", own)
        elif kind == "welcome":
            dial.send(dial.acceptor, 2, "second")
        elif kind == "welcome twice":
            self.up()
        elif kind == "no":
            if self.dial is dial:
                self.free()
            dial.hang_up(self)

    def hear_as_acceptor(self, dial: Dial, kind: str, ident: Ident | None) -> None:
        if kind == "hello":
            dial.send(dial.dialer, 1, "who", self.ident())
        elif kind == "i am":
            assert ident is not None
            verdict = judge_inbound(self.name, ident, self.slot)
            if verdict is Inbound.REPLACE:
                self.evict()
            if verdict in (Inbound.REPLACE, Inbound.ACCEPT):
                self.take(dial, ident, ident.token, ident.attempt, here=False)
                dial.send(dial.dialer, 1, "welcome")
            else:
                dial.send(dial.dialer, 1, "no")
        elif kind == "second":
            if self.dial is dial:
                dial.send(dial.dialer, 2, "welcome twice")
                self.up()
            else:
                dial.send(dial.dialer, 2, "no")


class World:
    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.nodes = [Node(self, "a"), Node(self, "b")]
        self.dials: list[Dial] = []
        self.tokens = 0

    def token(self) -> bytes:
        self.tokens += 1
        return self.tokens.to_bytes(16, "big")

    def start_dial(self) -> None:
        dialer, acceptor = self.chance.sample(self.nodes, 2)
        if dialer.slot is None:
            dial = Dial(dialer, acceptor)
            self.dials.append(dial)
            dial.send(acceptor, 1, "hello")

    def deliver(self) -> bool:
        """One message of any queue; False when all are empty."""
        waiting = [(dial, key) for dial in self.dials for key, queue in dial.queues.items() if queue]
        if not waiting:
            return False
        dial, key = self.chance.choice(waiting)
        kind, ident = dial.queues[key].pop(0)
        node = next(node for node in self.nodes if node.name == key[0])
        node.hear(dial, key[1], kind, ident)
        return True

    def fault(self) -> None:
        """A dial is given up by its dialer, or a connection breaks and what was on its way is lost."""
        if not self.dials:
            return
        dial = self.chance.choice(self.dials)
        if self.chance.random() < 0.5:
            if dial.dialer.dial is dial:
                dial.dialer.evict()
            else:
                dial.hang_up(dial.dialer)
            return
        for node in self.nodes:
            for lane in (1, 2):
                dial.queues[node.name, lane] = [("end", None)]

    def check_order(self) -> None:
        for node in self.nodes:
            up: bytes | None = None
            for kind, token in node.events:
                assert (kind == "up") == (up is None), node.events
                assert kind == "up" or token == up, node.events
                up = token if kind == "up" else None


def settle(world: World) -> None:
    """Dials go on as long as there is no link on both sides; it must not take for ever."""
    for _ in range(60):
        while world.deliver():
            pass
        if all(node.linked for node in world.nodes):
            break
        for _ in range(world.chance.randrange(1, 4)):
            world.start_dial()
    assert world.nodes[0].linked is not None
    assert world.nodes[0].linked == world.nodes[1].linked, [node.events for node in world.nodes]


@settings(max_examples=300)
@given(st.integers(0, 2**32), st.floats(0.02, 0.6))
def test_without_faults_dials_that_cross_make_one_link_that_never_flaps(seed: int, eagerness: float) -> None:
    world = World(seed)
    for _ in range(150):
        if world.chance.random() < eagerness:
            world.start_dial()
        else:
            world.deliver()
    settle(world)
    for node in world.nodes:
        assert [kind for kind, _ in node.events] == ["up"], [node.events for node in world.nodes]


@settings(max_examples=300)
@given(st.integers(0, 2**32), st.floats(0.02, 0.5), st.floats(0.0, 0.2))
def test_with_faults_both_sides_agree_in_the_end_and_are_told_in_order(
    seed: int, eagerness: float, faultiness: float
) -> None:
    world = World(seed)
    for _ in range(200):
        roll = world.chance.random()
        if roll < faultiness:
            world.fault()
        elif roll < faultiness + eagerness:
            world.start_dial()
        else:
            world.deliver()
    settle(world)
    world.check_order()
