"""The messages workload: nodes send each other's actors numbered messages, ask them, monitor them, and let them die.

What must hold: what one node sends an actor arrives in order and once, and only the end of it may be missing when a
connection was lost; an answer is the answer to its question, however many were given up before; each monitor of a dead actor
has exactly one DOWN at the end. The store plays no part.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from quorate.core import CallError, Clock, Down, GenServer, NodeDown, NodeLost, Pid, Process, sleep
from quorate.jepsen_like.checkers import check_downs, check_liveness, check_order
from quorate.jepsen_like.record import Window
from quorate.jepsen_like.simulation import SimEvent, Stream
from quorate.jepsen_like.verdict import Verdict, judge
from quorate.node import Node

from .base import LIVE_S, Outcome, PlannedOp, Stage, Workload, no_surprises, planned, probe

BURST = 5  # the most messages of one operation
QUIET_S = 8.0  # at the end, for the last messages and DOWNs to come, and a silent peer to be given up
SLACK_S = 5.0  # between the loss of a connection and the receipt of what had arrived before
ASK_S = 0.15  # for an answer, before it is given up
THINK_S = 0.04  # for each unit of an operation's value, before it is given


class Echo(GenServer):
    """Answers with what it was asked, after a while: some who ask have given up by then."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def echo(self, number: int, think_s: float) -> int:
        await sleep(self._clock, think_s)
        return number


@dataclass(slots=True)
class _Place:
    """One life of a node: its actor, whom to ask, and how many messages it sent to whom."""

    name: str
    node: Node
    actor: Pid
    echo: Pid | None = None
    sent: dict[str, Iterator[int]] = field(default_factory=dict)
    refs: Iterator[int] = field(default_factory=itertools.count)

    @property
    def label(self) -> str:
        """The node itself, as the sender of what plain code sends."""
        return f"{self.name}#{self.node.creation}:0"


class MessagesWorkload(Workload):
    """See the head of the module."""

    name = "messages"
    doc = "numbered messages and calls between all nodes, monitors, and actors that die"
    untouched = ("disk", "rot")

    def __init__(self) -> None:
        self._places: dict[str, _Place] = {}
        self._questions = itertools.count(1)
        self._answers = 0
        self._wrong: list[str] = []
        self._quiet_s = 0.0

    def plan(self, stream: Stream, nodes: Sequence[str], time_s: float, rate: float) -> tuple[PlannedOp, ...]:
        kinds = ("send",) * 8 + ("ask",) * 6 + ("monitor",) * 2 + ("exit",)

        def draw(stream: Stream) -> tuple[str, str, Any]:
            return stream.choice(kinds), stream.choice(nodes), 1 + stream.below(BURST)

        return planned(stream, nodes, time_s, rate, draw)

    async def begin(self, stage: Stage) -> None:
        for name in stage.sim.names:
            self._take_place(stage, name)

    async def act(self, stage: Stage, node: str, process: int, op: PlannedOp) -> bool:
        place = self._places[node]
        target = self._places[op.key]

        async def send() -> Outcome:
            label = _label(target, target.actor)
            numbers = place.sent.setdefault(label, itertools.count(1))
            for _ in range(op.value):
                number = next(numbers)
                stage.note(place.label, "sent", None, {"to": label, "n": number})
                place.node.send(target.actor, (place.label, number))
            if stage.sim.full(op.key) not in (
                place.node.name,
                *place.node.nodes(),
            ):  # there was nothing to send it on
                stage.note(f"link/{node}", "gap", None, {"between": [node, op.key]})
            return "ok", op.value

        async def ask() -> Outcome:
            if target.echo is None:
                return "fail", {"error": "nobody to ask yet"}
            number = next(self._questions)
            echo = place.node.ref(target.echo, Echo)
            try:
                answer = await echo.within(ASK_S).call(Echo.echo, number, THINK_S * op.value)
            except CallError as error:
                return "info", {"error": type(error).__name__}
            self._answers += 1
            if answer != number:
                self._wrong.append(f"{node} asked {number} of {op.key} and was answered {answer}")
            return "ok", {"asked": number, "answered": answer}

        async def monitor() -> Outcome:
            ref = f"{place.label}/{next(place.refs)}"

            def hear(down: Down) -> None:
                stage.note(place.label, "down", None, {"ref": ref, "reason": str(down.reason)})

            label = _label(target, target.actor)
            place.node.watch(target.actor, hear)
            stage.note(place.label, "monitor", None, {"ref": ref, "target": label})
            return "ok", ref

        async def leave() -> Outcome:
            self._died(stage, _label(place, place.actor))
            place.node.exit(place.actor, "as planned")
            place.actor = self._spawn(stage, place.name, place.node)
            return "ok", None

        action = {"send": send, "ask": ask, "monitor": monitor, "exit": leave}[op.f]
        return await stage.operation(process, f"do-{op.f}", op.key, op.value, action)

    # -- lives ---------------------------------------------------------------------------------------------

    def happened(self, stage: Stage, event: SimEvent) -> None:
        if event.kind == "ready":
            self._take_place(stage, event.node)
        elif event.kind in ("killed", "crashed", "failed", "refused", "stopped"):
            place = self._places.get(event.node)
            if place is not None:
                self._died(stage, _label(place, place.actor))
                self._died(stage, place.label)

    def _died(self, stage: Stage, label: str) -> None:
        """What is on its way to it gets lost, and what is sent to it before its death is known."""
        stage.note("witness", "died", None, {"target": label})
        for place in self._places.values():
            stage.note(label, "gap", None, {"from": place.label})

    def _take_place(self, stage: Stage, name: str) -> None:
        node = stage.sim.node(name)
        known = self._places.get(name)
        if known is not None and known.node is node:
            return
        place = self._places[name] = _Place(name, node, self._spawn(stage, name, node))

        async def begin(self: Process) -> None:
            place.echo = (await node.start(Echo, node.runtime.clock)).pid

        node.spawn(begin)

        def changed(event: object) -> None:
            if isinstance(event, NodeLost):
                stage.note(f"link/{name}", "gap", None, {"between": [name, stage.sim.short(event.node)]})

        node.on_nodes(changed)

    def _spawn(self, stage: Stage, name: str, node: Node) -> Pid:
        async def actor(self: Process) -> None:
            label = f"{name}#{self.pid.creation}:{self.pid.serial}"
            while True:
                sender, number = await self.receive()
                stage.note(label, "received", None, {"from": sender, "n": number})

        return node.spawn(actor)

    # -- the end -------------------------------------------------------------------------------------------

    async def settle(self, stage: Stage) -> None:
        sim = stage.sim
        ready = [name for name in sim.names if sim.ready(name)]

        def reach(name: str, other: str) -> Callable[[], Awaitable[None]]:
            async def reached() -> None:
                if sim.full(other) not in sim.node(name).nodes():
                    raise NodeDown(f"{name} has no link to {other}")

            return reached

        await asyncio.gather(
            *(
                probe(stage, name, f"{name} to {other}", LIVE_S, reach(name, other))
                for name in ready
                for other in ready
                if name != other
            )
        )
        await sim.run_for(QUIET_S)
        self._quiet_s = stage.now

    def check(self, stage: Stage) -> tuple[list[Verdict], list[Window]]:
        history = stage.history
        verdicts = [
            check_order(history, complete=True, slack_s=SLACK_S),
            judge("answers", self._wrong, self._answers, f"{self._answers:,} answers, each to its question"),
            check_downs(history, settle_s=QUIET_S, until_s=self._quiet_s),
            check_liveness(history, limit_s=LIVE_S, until_s=self._quiet_s),
            no_surprises(stage, len(history)),
        ]
        return verdicts, []


def _label(place: _Place, pid: Pid) -> str:
    return f"{place.name}#{pid.creation}:{pid.serial}"
