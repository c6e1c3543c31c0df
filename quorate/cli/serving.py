"""`quorate node`: one node as a process of the operating system, from its start to its last signal.

SIGTERM (or `quorate drain`) hands everything over to the other nodes, then ends the node with exit code 0; a second
SIGTERM stops waiting for that. Ctrl-C ends the node without handing over, with exit code 130: its singletons start
elsewhere from their last checkpoint. The events of the node are lines on stdout.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from quorate.consensus import StoreError
from quorate.core import Application, ConfigError, LinkError, NodeLost, NodeUp, resolve_cookie
from quorate.core.real import RealClock, RealEntropy
from quorate.node import Node
from quorate.registry import DrainReport

from .asking import DRAIN_S
from .events import Events
from .failures import DONE, INTERRUPTED, CommandFailed
from .loading import load_all

_ANSWER_TURNS = 20  # of the loop, for the answer to a client to leave before the links end


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """What `quorate node` was told."""

    name: str
    seeds: list[str] = field(default_factory=list)
    voters: list[str] = field(default_factory=list)
    data_dir: Path | None = None
    cookie_file: Path | None = None
    preset: str = "lan"
    exports: list[str] = field(default_factory=list)
    applications: list[str] = field(default_factory=list)
    weight: float = 1.0
    drain_s: float = DRAIN_S
    json: bool = False


class Orders:
    """What signals and clients have asked the node to do. The last word counts: interrupt over stop over drain."""

    def __init__(self) -> None:
        self.drain = asyncio.Event()
        self.stop = asyncio.Event()
        self.interrupted = False

    def terminate(self) -> None:
        """SIGTERM: drain, and stop at the second one."""
        if self.drain.is_set():
            self.stop.set()
        self.drain.set()

    def interrupt(self) -> None:
        """SIGINT: stop."""
        self.interrupted = True
        self.stop.set()
        self.drain.set()

    @contextlib.contextmanager
    def from_signals(self) -> Iterator[None]:
        """Take orders by signals while the body runs (where the loop can: not on Windows)."""
        loop = asyncio.get_running_loop()
        taken = []
        for number, order in ((signal.SIGTERM, self.terminate), (signal.SIGINT, self.interrupt)):
            with contextlib.suppress(NotImplementedError):
                loop.add_signal_handler(number, order)
                taken.append(number)
        try:
            yield
        finally:
            for number in taken:
                loop.remove_signal_handler(number)


async def serve(options: NodeOptions) -> int:
    """Run a node until it is told to end; return the exit code.

    Raises `ConfigError`, `DataDirError`, `ApplicationFailed`, `CommandFailed` (the port is in use, the disk has failed).
    """
    cookie = resolve_cookie(cookie_file=options.cookie_file, env=os.environ, entropy=RealEntropy())
    node = Node(
        options.name,
        cookie=cookie,
        seeds=options.seeds,
        voters=options.voters,
        data_dir=options.data_dir,
        exports=load_all("--export", options.exports),
        applications=[_application(found) for found in load_all("--application", options.applications)],
        weight=options.weight,
        preset=options.preset,
    )
    orders = Orders()
    with orders.from_signals():
        return await _Serving(node, options, orders).run()


def _application(found: Any) -> Application:
    """An application, or one of a class that is made without arguments. Raises `ConfigError`."""
    if isinstance(found, type) and issubclass(found, Application):
        return found()
    if isinstance(found, Application):
        return found
    raise ConfigError(f"--application: {found!r} is no Application")


class _Serving:
    def __init__(self, node: Node, options: NodeOptions, orders: Orders) -> None:
        self._node = node
        self._options = options
        self._orders = orders
        self._events = Events(options.name, RealClock(), as_json=options.json)
        self._drain_s = options.drain_s
        self._drained: asyncio.Future[DrainReport] = asyncio.get_running_loop().create_future()
        node.add_admin("drain", self._asked_to_drain)

    async def run(self) -> int:
        opening = asyncio.ensure_future(self._node.open())
        try:
            opened = await _first(opening, self._orders.drain.wait())
        except LinkError as error:
            raise CommandFailed(str(error)) from error
        if opened:  # else it has tidied up itself
            try:
                await self._work()
            finally:
                await self._node.close()
        self._events.tell("stopped", "stopped")
        return INTERRUPTED if self._orders.interrupted else DONE

    async def _work(self) -> None:
        node, orders, events = self._node, self._orders, self._events
        voters = ", ".join(self._options.voters) or "none but itself, the store is in memory"
        events.tell("started", f"{node.name} is up; voters: {voters}", creation=node.creation)
        subscriptions = [
            node.on_nodes(self._node_event),
            node.store.session.subscribe(self._session_event),
            node.store.subscribe_leader(self._leader_event),
        ]
        if node.store.session.valid():
            self._session_event(node.store.session.id, True)
        failing = asyncio.ensure_future(node.failed())
        try:
            if not await _first(failing, orders.drain.wait()):
                await self._drain()
        finally:
            for subscription in subscriptions:
                subscription.cancel()
            failing.cancel()
        if failing.done() and not failing.cancelled():
            raise CommandFailed(f"the node cannot go on: {failing.result()}")

    async def _drain(self) -> None:
        if self._orders.stop.is_set():
            return
        self._events.tell("draining", "draining: handing everything over (another SIGTERM stops the wait)")
        draining = asyncio.ensure_future(self._hand_over())
        try:
            if not await _first(draining, self._orders.stop.wait()):
                return
        except StoreError as error:
            raise CommandFailed(f"ended without handing over: {error}") from error
        report = draining.result()
        left = [str(name) for name in report.left]
        rest = f"; left for want of another node or of time: {', '.join(left)}" if left else ""
        self._events.tell(
            "drained",
            f"drained: {report.handed_over} singletons handed over{rest}",
            handed_over=report.handed_over,
            left=left,
        )
        self._drained.set_result(report)
        for _ in range(_ANSWER_TURNS):
            await asyncio.sleep(0)

    async def _hand_over(self) -> DrainReport:
        if not self._node.nodes():  # nobody to hand anything to
            held = [one.name for one in self._node.singletons.status() if one.owner == self._node.name]
            return DrainReport(0, tuple(held))
        return await self._node.drain(self._drain_s)

    async def _asked_to_drain(self, deadline_s: Any) -> object:
        """A client's order. It is answered when all is handed over, just before the node ends."""
        if not isinstance(deadline_s, int | float) or deadline_s < 0:
            raise ConfigError(f"a deadline in seconds is a number from 0, not {deadline_s!r}")
        self._drain_s = float(deadline_s)
        self._orders.drain.set()
        report = await asyncio.shield(self._drained)
        return {"handed_over": report.handed_over, "left": [str(name) for name in report.left]}

    def _node_event(self, event: NodeUp | NodeLost) -> None:
        if isinstance(event, NodeUp):
            self._events.tell("node_up", f"linked to {event.node}", peer=event.node)
        else:
            self._events.tell("node_down", f"lost the link to {event.node}: {event.reason}", peer=event.node)

    def _session_event(self, session: int, opened: bool) -> None:
        if opened:
            self._events.tell("session_opened", f"session {session} is open", session=session)
        else:
            self._events.tell(
                "session_lost",
                f"session {session} is lost: names and singletons stand still",
                session=session,
            )

    def _leader_event(self, leader: str | None) -> None:
        self._events.tell("leader", f"the leader is {leader or 'unknown'}", leader=leader)


async def _first(main: "asyncio.Future[Any]", order: Any) -> bool:
    """Wait for `main` or an order, whichever is first. True: `main` is done; else it was cancelled."""
    ordered = asyncio.ensure_future(order)
    try:
        await asyncio.wait({main, ordered}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        ordered.cancel()
        if not main.done():
            main.cancel()
            await asyncio.wait({main})
    if main.cancelled():
        return False
    main.result()
    return True
