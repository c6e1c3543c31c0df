"""This library acts out scenarios: the other side of `supervisor_scenarios.erl`, with the same words for what can be seen."""

import asyncio
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from quorate.core import (
    CalleeExited,
    ChildCounts,
    ChildExists,
    ChildInfo,
    ChildRunning,
    ChildSpec,
    ChildStartFailed,
    ConfigError,
    Down,
    Exit,
    ExitSignal,
    GenServer,
    Node,
    NoProcess,
    NoSuchChild,
    Pid,
    QuorateError,
    Ref,
    Supervisor,
    SupervisorError,
    child,
)
from quorate.jepsen_like.simulation import simulate
from tests.core.nodes import World
from tests.core.supervisor_scenarios import Ask, Burst, Child, End, Leave, Scenario, Signal, Step, Tree

PERIOD_S = 100_000.0
SOON_S = 0.1  # by then a child that is stubborn has been killed
SHUTDOWN_S = {"brutal_kill": "brutal_kill", "infinity": None, 20: 0.02, 5000: 5.0}
REFUSALS: dict[str, Callable[[], BaseException]] = {
    "stop": partial(Exit, "no_device"),
    "normal": partial(Exit, "normal"),
    "raise": OSError,
}


def our_log(scenario: Scenario) -> list[str]:
    """What was seen after each step."""

    async def main() -> list[str]:
        world = World()
        lines = await Stage(await world.node(), world).play(scenario)
        await world.close()
        return lines

    return simulate(main)


class Stage:
    """One scenario under way: who has been started, how often, and what the children told."""

    def __init__(self, node: Node, world: World) -> None:
        self.node = node
        self.world = world
        self.pids: dict[str, Pid] = {}
        self.starts: Counter[str] = Counter()
        self.events: list[str] = []
        self.ended: str | None = None

    async def play(self, scenario: Scenario) -> list[str]:
        starting = asyncio.create_task(self.node.start(Branch, self, "root", scenario.tree))
        await self.settle()
        try:
            root = await starting
        except QuorateError as error:
            return [self.line(failure(error))]
        self.node.watch(root.pid, self.is_gone)
        lines = [await self.seen("ok")]
        for step in scenario.steps:
            if self.ended is not None:
                break
            answer = await self.begin(step)
            lines.append(await self.seen(await answer))
        return lines

    def is_gone(self, down: Down) -> None:
        self.ended = word(down.reason)

    async def settle(self) -> None:
        """The loop's time passes when nobody has anything to do."""
        await asyncio.sleep(0.001)
        clock = self.world.clock
        while (due := clock.next_due()) is not None and due <= clock.monotonic() + SOON_S:
            clock.advance(due - clock.monotonic())
            await asyncio.sleep(0.001)

    # -- steps ---------------------------------------------------------------------------------------------

    async def begin(self, step: Step) -> asyncio.Task[str]:
        """All that a step leads to has happened; unless somebody is held up, there is an answer."""
        doing = asyncio.create_task(self.do(step))
        await self.settle()
        return doing

    async def do(self, step: Step) -> str:
        match step:
            case Leave(id, why):
                if pid := self.living(id):
                    self.node.ref(pid, Server).cast(Server.leave, reason(why))
            case Signal(id, why):
                if pid := self.living(id):
                    self.node.exit(pid, reason(why))
            case Ask():
                return await self.ask(step)
            case Burst(supervisor, steps):
                held = self.living(supervisor)
                return "gone" if held is None else await self.burst(held, steps)
            case End(why):
                self.node.exit(self.pids["root"], reason(why))
        return ""

    async def burst(self, supervisor: Pid, steps: tuple[Leave | Signal | Ask, ...]) -> str:
        """The supervisor is held up until all has arrived in its mailbox, one after the other."""
        await self.node.sys.suspend(supervisor)
        answers = [await self.begin(step) for step in steps]
        await self.node.sys.resume(supervisor)
        await self.settle()
        return ", ".join([answer for doing in answers if (answer := await doing)])

    async def ask(self, step: Ask) -> str:
        pid = self.living(step.supervisor)
        if pid is None:
            return "gone"
        supervisor = self.node.ref(pid, Supervisor).within(None)
        about = [self.spec(one) if isinstance(one, Child) else one for one in step.about]
        try:
            return self.answer(await supervisor.call(getattr(Supervisor, step.method), *about))
        except QuorateError as error:
            return refusal(error)

    def answer(self, answer: object) -> str:
        match answer:
            case ChildCounts():
                return counts(answer)
            case list():
                return " ".join(f"{one.id}={one.status}" for one in answer)
        return "ok"

    def living(self, id: str) -> Pid | None:
        pid = self.pids.get(id)
        return pid if pid is not None and self.node.process_info(pid) is not None else None

    # -- what can be seen ----------------------------------------------------------------------------------

    async def seen(self, answer: str) -> str:
        await self.settle()
        living = set(self.node.processes())
        if self.ended is not None:
            assert living == set()
            return self.line(answer, f"ended: {self.ended}")
        root = self.pids["root"]
        shown = await self.tree(self.node.ref(root, Supervisor), living)
        assert living == {root}, "somebody runs who is no child"
        return self.line(answer, shown)

    def line(self, *parts: str) -> str:
        events, self.events = self.events, []
        return " | ".join([", ".join(events), *parts])

    async def tree(self, supervisor: Ref[Supervisor], strangers: set[Pid]) -> str:
        """Takes all its children out of `strangers`."""
        children = await supervisor.call(Supervisor.which_children)
        shown = [await self.entry(one, strangers) for one in children]
        return f"{' '.join(shown)} {counts(await supervisor.call(Supervisor.count_children))}"

    async def entry(self, info: ChildInfo, strangers: set[Pid]) -> str:
        below = ""
        if info.pid is not None:
            strangers.remove(info.pid)
            if info.supervisor:
                below = f"({await self.tree(self.node.ref(info.pid, Supervisor), strangers)})"
        return f"{info.id}={info.status}{below}"

    # -- the tree ------------------------------------------------------------------------------------------

    def spec(self, one: Child) -> ChildSpec:
        spec = child(Server, self, one) if one.below is None else child(Branch, self, one.id, one.below)
        shutdown_s: Any = SHUTDOWN_S[one.shutdown]
        restart: Any = one.restart
        return spec.options(id=one.id, restart=restart, significant=one.significant, shutdown_s=shutdown_s)


class Branch(Supervisor):
    """A supervisor of the tree."""

    def __init__(self, stage: Stage, name: str, tree: Tree) -> None:
        stage.pids[name] = self.pid
        settings: dict[str, Any] = {"strategy": tree.strategy, "auto_shutdown": tree.auto_shutdown}
        super().__init__(
            [stage.spec(one) for one in tree.children],
            intensity=tree.intensity,
            period_s=PERIOD_S,
            **settings,
        )


class Server(GenServer):
    """A leaf of the tree."""

    def __init__(self, stage: Stage, spec: Child) -> None:
        self.stage = stage
        self.spec = spec
        self.leaves = False
        stage.starts[spec.id] += 1
        if stage.starts[spec.id] in spec.refuses:
            stage.events.append(f"refuse {spec.id}")
            raise REFUSALS[spec.refusal]()
        self.process.trap_exits = spec.traps
        stage.pids[spec.id] = self.pid
        stage.events.append(f"start {spec.id}")

    def leave(self, reason: object) -> None:
        self.leaves = True
        if reason == "raise":
            raise ValueError(reason)
        raise Exit(reason)

    def handle_exit(self, signal: ExitSignal) -> None:
        self.leave(signal.reason)

    async def terminate(self, reason: object) -> None:
        if not self.spec.traps:
            return  # (Erlang would not call it)
        self.stage.events.append(f"stop {self.spec.id} {word(reason)}")
        if self.spec.stubborn and reason == "shutdown" and not self.leaves:
            await asyncio.Event().wait()


# -- words -------------------------------------------------------------------------------------------------


def refusal(error: QuorateError) -> str:
    """What OTP's supervisor answers in our place."""
    match error:
        case NoSuchChild():
            return "not_found"
        case ChildExists():
            return "already_present" if error.pid is None else "already_started"
        case ChildRunning():
            return "restarting" if error.pid is None else "running"
        case ChildStartFailed():
            return "start_failed"
        case NoProcess() | CalleeExited():
            return "gone"
        case SupervisorError() | ConfigError():
            return "bad_spec"
    raise AssertionError(f"no word for {error!r}")


def failure(error: BaseException | None) -> str:
    """Why a supervisor could not start."""
    match error:
        case ChildStartFailed(child="n"):
            return f"failed n/{failure(error.__cause__)}"
        case ChildStartFailed():
            return f"failed {error.child}"
        case ChildExists():
            return "already_present"
        case ConfigError():
            return "bad_spec"
    raise AssertionError(f"no word for {error!r}")


def counts(counts: ChildCounts) -> str:
    return f"{counts.specs}/{counts.active}/{counts.supervisors}/{counts.workers}"


def reason(text: str) -> object:
    return ("shutdown", "done") if text == "shutdown done" else text


def word(reason: object) -> str:
    match reason:
        case ValueError():
            return "raise"
        case tuple():
            return " ".join(reason)
    return str(reason)
