"""A whole cluster in one process, on imaginary time, from one seed.

    async def main() -> None:
        async with Simulation(seed=7, nodes=5, exports=[Counter]) as sim:
            counter = await sim.node("n1").singleton(COUNTER)
            sim.isolate("n1")
            await sim.run_for(30)
            sim.heal()

    simulate(main)

The nodes are the library's own, with their real code; what is simulated is what lies behind their `Runtime`: network, disk,
clock, randomness. Times are seconds of the world, which starts at 0. The simulation is the authority over which processes
run. The same seed and the same program do the same things in the same order: `trace_hash()` tells.
"""

import asyncio
import gc
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from quorate.consensus import SNAPSHOT_AFTER_BYTES, Timing
from quorate.core import Clock, ConfigError, LinkConfig, Runtime, sleep
from quorate.jepsen_like.disk import SimDisk
from quorate.node import Node
from quorate.presets import Preset

from .clock import SimClock, WorldClock
from .errors import NodeDied, NodeIsDown, SimulationError
from .guard import guarded
from .links import LinkState
from .loop import Group, SimLoop, acting_for
from .network import Host, HostNetwork, SimNetwork
from .tape import Tape
from .trace import Trace

log = logging.getLogger("quorate.simulation")

T = TypeVar("T")

APP = "sim"
PORT = 9000
COOKIE = "simulated"
SYNC_S = 0.0003
LIMIT_S = 3600.0

EventKind = Literal[
    "started", "ready", "failed", "refused", "stopped", "killed", "crashed", "paused", "resumed"
]


@dataclass(frozen=True, slots=True)
class SimEvent:
    """Something that happened to a node's process. `detail` is the error of `failed` and `refused`."""

    at_s: float
    kind: EventKind
    node: str
    detail: str = ""


@dataclass(slots=True, eq=False)
class _Boot:
    """One life of one node's process. `work` are the tasks started in it, and who waits for them outside."""

    number: int
    group: Group
    clock: SimClock
    node: Node
    task: asyncio.Task[None] | None = None
    ready: bool = False
    work: dict[asyncio.Future[Any], None] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class _Machine:
    """What outlives the boots of a node."""

    name: str
    host: Host
    disk: SimDisk
    boots: int = 0
    boot: _Boot | None = None
    held: int = 0  # callbacks held in pauses of earlier boots
    rate: float = 1.0
    wall_offset_s: float = 0.0
    pauses: int = 0
    waiting: list[asyncio.Future[None]] = field(default_factory=list)  # for it to be ready


@dataclass(frozen=True, slots=True)
class SimStats:
    """How much happened."""

    events: int
    messages: int
    bytes: int
    connections: int


def simulate(main: Callable[[], Coroutine[Any, Any, T]], *, limit_s: float | None = LIMIT_S) -> T:
    """Run `await main()` in imaginary time and return its result.

    Raises what it raises; `Hang` when everybody waits for nothing, or when it is not over after `limit_s` seconds of
    the world; `NotSimulated` when something reaches past the ports; `SimulationError` for an exception that nobody caught.
    """
    loop = SimLoop()
    loop.limit_s = limit_s
    unhandled: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: unhandled.append(context))
    collecting = gc.isenabled()
    gc.disable()  # when it runs depends on more than the seed, and finalisers act
    try:
        with guarded():
            try:
                result = loop.run_until_complete(main())
            finally:
                _end(loop)
    except BaseException as error:
        for context in unhandled:
            error.add_note(f"before that, unhandled: {_described(context)}")
        raise
    finally:
        if collecting:
            gc.enable()
        loop.close()
    if unhandled:
        raise SimulationError(
            f"{len(unhandled)} unhandled: {'; '.join(map(_described, unhandled[:10]))}"
        ) from unhandled[0].get("exception")
    return result


def _described(context: dict[str, Any]) -> str:
    error, message = context.get("exception"), str(context.get("message"))
    return message if error is None or str(error) in message else f"{message}: {error!r}"


def _end(loop: SimLoop) -> None:
    """Close what is still suspended, so that nothing of it comes back later. What it says on its way does not count.

    Tasks that failed, and that nobody can ask any more, are told of first, as they would be when they are freed.
    """
    suspended = loop.suspended()
    gc.collect(0)
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    loop.set_exception_handler(lambda _, context: None)
    try:
        for task, _ in suspended:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            coro = task.get_coro()
            if coro is not None:
                try:
                    coro.close()
                except BaseException as error:  # noqa: BLE001 -- it does not want to end; it is over all the same
                    log.debug("%r: %r", task, error)
    finally:
        logging.disable(level)


class _SimNode(Node):
    """A node whose processes belong to its simulated process also when the test itself starts them."""

    def __init__(self, group: Group, name: str, **options: Any) -> None:
        super().__init__(name, **options)
        self._group = group

    def spawn(self, *args: Any, **kwargs: Any) -> Any:
        with acting_for(self._group):
            return super().spawn(*args, **kwargs)

    async def start(self, *args: Any, **kwargs: Any) -> Any:
        with acting_for(self._group):
            return await super().start(*args, **kwargs)


class Simulation:
    """See the head of the module.

    `nodes` is how many, or their names ("n1", "n2", ... by default; hosts have the names of their nodes). `exports` are the
    classes that other nodes may start. `preset`, `timing`, `links` and `snapshot_after_bytes` are those of `quorate.Node`. `order` "seeded"
    lets callbacks of one turn run in a random order. `trace` keeps the lines of the trace (`sim.trace.lines`), `record`
    the draws (`sim.tape.draws`). With `start=False` no node runs before `restart`.

    Leaving it ends the world at once: nodes are not closed. Raises `ConfigError` on another loop than `simulate`'s.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        nodes: int | Sequence[str] = 3,
        preset: Preset | str = Preset.LAN,
        timing: Timing | None = None,
        links: LinkConfig | None = None,
        exports: Sequence[Any] = (),
        snapshot_after_bytes: int | None = None,
        order: Literal["fifo", "seeded"] = "fifo",
        start: bool = True,
        trace: bool = False,
        record: bool = False,
    ) -> None:
        names = tuple(f"n{i}" for i in range(1, nodes + 1)) if isinstance(nodes, int) else tuple(nodes)
        if not names or len(set(names)) != len(names):
            raise ConfigError(f"a simulation needs nodes, each with a name of its own, not {nodes!r}")
        self.seed = seed
        self.names: tuple[str, ...] = names
        self.tape = Tape(seed, record=record)
        self.trace = Trace(keep=trace)
        self._preset = Preset(preset)
        self._timing = timing
        self._link_config = links
        self._exports = tuple(exports)
        self._snapshot_after_bytes = snapshot_after_bytes or SNAPSHOT_AFTER_BYTES
        self._order = order
        self._start = start
        self._callbacks: list[Callable[[SimEvent], object]] = []

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        if not isinstance(loop, SimLoop):
            raise ConfigError("a Simulation lives on imaginary time: run it with simulate(main)")
        self.loop = loop
        if self._order == "seeded":
            loop.shuffler = self.tape.stream("scheduling")
        self.clock: Clock = WorldClock(loop)
        self.network = SimNetwork(loop, self.tape.stream("network"), self.trace)
        loop.connector = self.network
        self._disks = self.tape.stream("disk")
        self._machines: dict[str, _Machine] = {}
        for name in self.names:
            disk = SimDisk(name, clock=self.clock)
            disk.latency_s = SYNC_S
            self._machines[name] = _Machine(name, self.network.add_host(name), disk)
        if self._start:
            for name in self.names:
                self.restart(name)
            for name in self.names:
                await self.up(name)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for machine in self._machines.values():
            if machine.boot is not None:
                self._end_boot(machine, "the simulation ended")
                self.network.kill(machine.host)
        self.loop.connector = None
        self.loop.shuffler = None

    # -- time ----------------------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        """Seconds since the start of the world."""
        return self.loop.now

    async def run_for(self, seconds: float) -> None:
        """Let the world go on for so long."""
        await sleep(self.clock, seconds)

    # -- nodes ---------------------------------------------------------------------------------------------

    def full(self, name: str) -> str:
        """The node's own name, such as "sim@n1:9000"."""
        return f"{APP}@{self._machine(name).host.name}:{PORT}"

    def short(self, full_name: str) -> str:
        """The simulation's name of a node."""
        return full_name.partition("@")[2].rpartition(":")[0]

    def running(self, name: str) -> bool:
        """Its process exists (it may be paused, or not ready)."""
        return self._machine(name).boot is not None

    def ready(self, name: str) -> bool:
        """Its process runs and its `Node` is open. A paused one stays ready."""
        boot = self._machine(name).boot
        return boot is not None and boot.ready

    def paused(self, name: str) -> bool:
        boot = self._machine(name).boot
        return boot is not None and boot.group.paused

    def node(self, name: str) -> Node:
        """The open node. Raises `NodeIsDown`."""
        boot = self._machine(name).boot
        if boot is None or not boot.ready:
            raise NodeIsDown(f"{name} is not open: `await sim.up({name!r})` waits for it")
        return boot.node

    def boot(self, name: str) -> int:
        """How often its process was started so far."""
        return self._machine(name).boots

    async def up(self, name: str) -> Node:
        """Wait until the node is open."""
        machine = self._machine(name)
        while machine.boot is None or not machine.boot.ready:
            future: asyncio.Future[None] = self.loop.create_future()
            machine.waiting.append(future)
            await future
        return machine.boot.node

    def start(self, name: str, work: Coroutine[Any, Any, T]) -> "asyncio.Future[T]":
        """Run a coroutine as part of the node's process: it is paused and killed with it.

        Awaiting what is returned raises `NodeDied` when the process ends first. Raises `NodeIsDown`.
        """
        boot = self._machine(name).boot
        if boot is None:
            work.close()
            raise NodeIsDown(f"{name} does not run")
        outside: asyncio.Future[T] = self.loop.create_future()
        boot.work[outside] = None
        task = self.loop.create_task(work, context=boot.group.context.copy())

        def done(task: asyncio.Task[T]) -> None:
            boot.work.pop(outside, None)
            if outside.done():
                if not task.cancelled():
                    task.exception()
            elif task.cancelled():
                outside.cancel()
            elif (error := task.exception()) is not None:
                outside.set_exception(error)
            else:
                outside.set_result(task.result())

        task.add_done_callback(done)
        outside.add_done_callback(lambda future: task.cancel() if future.cancelled() else None)
        return outside

    def leader(self) -> str | None:
        """Who says that it leads the store, with the highest term; None: nobody does."""
        best: tuple[int, str] | None = None
        for name in self.names:
            if self.ready(name):
                store = self.node(name).store
                if store.leads() and (best is None or store.status().term > best[0]):
                    best = (store.status().term, name)
        return None if best is None else best[1]

    def on_event(self, callback: Callable[[SimEvent], object]) -> None:
        """Call back with everything that happens to the nodes' processes from now on."""
        self._callbacks.append(callback)

    # -- faults of processes -------------------------------------------------------------------------------

    def kill(self, name: str) -> None:
        """End its process as SIGKILL does. The kernel closes its sockets; what it wrote stays, synced or not.

        Raises `NodeIsDown`.
        """
        machine = self._running(name)
        self._end_boot(machine, "it was killed")
        self.network.kill(machine.host)
        machine.disk = machine.disk.kill(clock=self.clock)
        self._tell("killed", name)

    def crash(self, name: str, *, out_of_order: bool = False) -> None:
        """Take the power from its machine: nobody is told, and what was not synced is lost, or torn (`SimDisk.crash`).

        Raises `NodeIsDown`.
        """
        machine = self._running(name)
        self._end_boot(machine, "its machine lost power")
        self.network.power_off(machine.host)
        machine.disk = machine.disk.crash(self._disks, out_of_order=out_of_order, clock=self.clock)
        self._tell("crashed", name)

    def restart(self, name: str) -> None:
        """Start its process (and its machine), if it does not run. `await sim.up(name)` waits until the node is open."""
        machine = self._machine(name)
        if machine.boot is not None:
            return
        machine.boots += 1
        if not machine.host.up:
            self.network.power_on(machine.host)
        start_s = self.tape.stream(f"clock/{name}").uniform(1.0, 100_000.0)
        group = Group(name, world_s=self.now, local_s=start_s, rate=machine.rate)
        clock = SimClock(self.loop, group)
        clock.wall_offset_s = machine.wall_offset_s
        runtime = Runtime(
            network=HostNetwork(self.network, machine.host, group),
            clock=clock,
            entropy=self.tape.stream(f"node/{name}/{machine.boots}"),
            disk=machine.disk,
        )
        node = group.context.run(self._make_node, group, name, runtime)
        boot = machine.boot = _Boot(machine.boots, group, clock, node)
        self._tell("started", name)
        boot.task = self.loop.create_task(
            self._run(machine, boot), context=group.context.copy(), name=f"node {name}"
        )

    async def stop(self, name: str, *, drain_s: float | None = 30.0) -> None:
        """End its process as SIGTERM does: drain (unless None), close. Raises `NodeIsDown`, `NodeDied`."""
        machine = self._running(name)
        boot = machine.boot
        assert boot is not None
        if not boot.ready:
            raise NodeIsDown(f"{name} is not open")

        async def close() -> None:
            if drain_s is not None:
                await boot.node.drain(drain_s)
            await boot.node.close()

        await self.start(name, close())
        if machine.boot is boot:
            self._end_boot(machine, "it was stopped")
            self.network.kill(machine.host)
            machine.disk = machine.disk.kill(clock=self.clock)
            self._tell("stopped", name)

    def pause(self, name: str, seconds: float | None = None, *, after: int = 0) -> None:
        """Stop its process as SIGSTOP does, for so long, or until `resume`. Raises `NodeIsDown`.

        With `after`, it still runs so many callbacks, and so is stopped in the midst of whatever it does then.
        """
        machine = self._running(name)
        assert machine.boot is not None
        boot = machine.boot
        machine.pauses += 1
        pause = machine.pauses
        if after:
            if not boot.group.paused:
                boot.group.light(after, lambda: self._tell("paused", name))
        else:
            self.loop.pause(boot.group)
            self._tell("paused", name)
        if seconds is not None:

            def over() -> None:
                if machine.boot is boot and machine.pauses == pause:
                    self.resume(name)

            self.loop.call_at_world(self.now + seconds, over, (), self.network.world)

    def resume(self, name: str) -> None:
        """Let a paused process go on; harmless for another one."""
        boot = self._machine(name).boot
        if boot is not None:
            boot.group.put_out()
        if boot is not None and boot.group.paused:
            self._machine(name).pauses += 1
            self._tell("resumed", name)
            self.loop.resume(boot.group)

    def held_callbacks(self, name: str) -> int:
        """How many callbacks of it pauses have held so far."""
        machine = self._machine(name)
        return machine.held + (machine.boot.group.held_count if machine.boot is not None else 0)

    def skew(self, name: str, rate: float) -> None:
        """Let its monotonic clock run at this rate from now on, also after restarts; 1.0 is right."""
        if rate <= 0:
            raise ConfigError(f"a clock runs forward: {rate} is no rate")
        machine = self._machine(name)
        machine.rate = rate
        if machine.boot is not None:
            machine.boot.group.set_rate(rate, self.now)
        self.trace.event(self.now, f"skew {name} {rate!r}")

    def jump(self, name: str, seconds: float) -> None:
        """Move its wall clock, forward or back, also for later boots."""
        machine = self._machine(name)
        machine.wall_offset_s += seconds
        if machine.boot is not None:
            machine.boot.clock.wall_offset_s += seconds
        self.trace.event(self.now, f"jump {name} {seconds!r}")

    def clock_of(self, name: str) -> SimClock:
        """The clock of its process. Raises `NodeIsDown`."""
        boot = self._running(name).boot
        assert boot is not None
        return boot.clock

    def disk(self, name: str) -> SimDisk:
        """The disk, as its present or next boot has it."""
        return self._machine(name).disk

    # -- faults of the network -----------------------------------------------------------------------------

    def link(self, source: str, target: str) -> LinkState:
        """The direction from one node to another."""
        return self.network.link(self._machine(source).host.name, self._machine(target).host.name)

    def host(self, name: str) -> Host:
        """The machine of a node, for the network."""
        return self._machine(name).host

    def cut(self, a: str, b: str, *, one_way: bool = False) -> None:
        """Nothing gets from `a` to `b`, nor back unless `one_way`. Nobody is told. Cuts nest: each is mended alone."""
        for link in self._links_between(a, b, one_way):
            link.cuts += 1
        self.trace.event(self.now, f"cut {a} {b} {one_way}")

    def mend(self, a: str, b: str, *, one_way: bool = False) -> None:
        """Undo one `cut`; harmless when there is none."""
        self.trace.event(self.now, f"mend {a} {b} {one_way}")
        for link in self._links_between(a, b, one_way):
            link.cuts = max(0, link.cuts - 1)
            link.changed()

    def isolate(self, name: str) -> None:
        """Cut it from all others."""
        for other in self.names:
            if other != name:
                self.cut(name, other)

    def heal(self) -> None:
        """Undo all cuts and holds. Delays, bandwidths and slow readers stay."""
        self.trace.event(self.now, "heal")
        for link in self.network.links():
            link.cuts = link.holds = 0
            link.changed()

    def hold(self, a: str, b: str, *, one_way: bool = False) -> None:
        """As `cut`, but what waits comes at once when it is released."""
        for link in self._links_between(a, b, one_way):
            link.holds += 1
        self.trace.event(self.now, f"hold {a} {b} {one_way}")

    def release(self, a: str, b: str, *, one_way: bool = False) -> None:
        """Undo one `hold`; harmless when there is none."""
        self.trace.event(self.now, f"release {a} {b} {one_way}")
        for link in self._links_between(a, b, one_way):
            link.holds = max(0, link.holds - 1)
            link.changed()

    def reset(self, a: str, b: str) -> int:
        """End all connections between two nodes by a reset at both ends; return how many."""
        self.trace.event(self.now, f"reset {a} {b}")
        return self.network.reset(self._machine(a).host.name, self._machine(b).host.name)

    def half_open(self, a: str, b: str) -> int:
        """`a` loses its connections to `b`, which still believes in them; return how many."""
        self.trace.event(self.now, f"half-open {a} {b}")
        return self.network.half_open(self._machine(a).host.name, self._machine(b).host.name)

    # -- what happened -------------------------------------------------------------------------------------

    def trace_hash(self) -> str:
        """Of everything that happened so far: deliveries, faults, the nodes' lives, and what workloads added."""
        return self.trace.hexdigest()

    def stats(self) -> SimStats:
        return SimStats(self.loop.events, self.network.messages, self.network.bytes, self.network.connections)

    # -- inside --------------------------------------------------------------------------------------------

    def _make_node(self, group: Group, name: str, runtime: Runtime) -> Node:
        return _SimNode(
            group,
            self.full(name),
            cookie=COOKIE,
            voters=[self.full(each) for each in self.names],
            exports=self._exports,
            preset=self._preset,
            timing=self._timing,
            links=self._link_config,
            snapshot_after_bytes=self._snapshot_after_bytes,
            runtime=runtime,
        )

    async def _run(self, machine: _Machine, boot: _Boot) -> None:
        """The program of a node's process: open the node, and close it when it can go on no longer."""
        try:
            await boot.node.open()
        except Exception as error:  # noqa: BLE001 -- a program would print it and exit
            self._exit(machine, boot, "refused", error)
            return
        boot.ready = True
        waiting, machine.waiting = machine.waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)
        self._tell("ready", machine.name)
        failure = await boot.node.failed()
        boot.ready = False
        await boot.node.close()
        self._exit(machine, boot, "failed", failure)

    def _exit(self, machine: _Machine, boot: _Boot, kind: EventKind, error: Exception) -> None:
        """Called by the process itself, as its last act."""

        def gone() -> None:
            if machine.boot is boot:
                self._end_boot(machine, f"it {kind}: {error}")
                self.network.kill(machine.host)
                machine.disk = machine.disk.kill(clock=self.clock)
                self._tell(kind, machine.name, str(error))

        self.loop.call_soon(gone, context=self.network.world)

    def _end_boot(self, machine: _Machine, why: str) -> None:
        boot, machine.boot = machine.boot, None
        assert boot is not None
        self.loop.end(boot.group)
        machine.held += boot.group.held_count
        work, boot.work = boot.work, {}
        for outside in work:
            if not outside.done():
                outside.set_exception(NodeDied(f"{machine.name} ended before this was over: {why}"))
                outside.exception()  # whoever does not wait for it need not

    def _tell(self, kind: EventKind, name: str, detail: str = "") -> None:
        self.trace.event(self.now, f"{kind} {name} {detail}")
        event = SimEvent(self.now, kind, name, detail)
        for callback in list(self._callbacks):
            self.network.world.copy().run(callback, event)

    def _machine(self, name: str) -> _Machine:
        machine = self._machines.get(name)
        if machine is None:
            raise ConfigError(f"there is no node {name!r} in this simulation: {', '.join(self.names)}")
        return machine

    def _running(self, name: str) -> _Machine:
        machine = self._machine(name)
        if machine.boot is None:
            raise NodeIsDown(f"{name} does not run")
        return machine

    def _links_between(self, a: str, b: str, one_way: bool) -> list[LinkState]:
        there = self.link(a, b)
        return [there] if one_way else [there, self.link(b, a)]
