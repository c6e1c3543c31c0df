"""Programs of up to six processes that signal each other; and what plays them on nodes and writes down what happened.

A program is a list of steps. At each the player asks one process to do something, and each process writes what it did, and
what it saw, into the log (`signal_model.py`). What a step cannot do in its situation (its process is dead, or waits) is left
out. A log reads as a story: that is how a test that fails tells what happened.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from itertools import chain
from typing import Any

from hypothesis import strategies as st

from quorate.core import Down, Exit, ExitSignal, LocalNameTaken, MonitorRef, Node, Pid, Process
from tests.core.signal_log import Did, Died, Item, Line, Settled, Started, Took, View, tell
from tests.core.signal_model import unexplained

MOST = 6
REASONS: Sequence[object] = ("boom", "normal", "kill", ("left", 7), "shutdown", "killed")
NAMES = ("x", "y")
MATCHES: dict[str, Any] = {
    "anything": None,
    "int": int,
    "ping": ("ping", ...),
    "odd": lambda message: isinstance(message, int) and message % 2 == 1,
    "signal": Down | ExitSignal,
}
OFTEN = ("link", "monitor", "send", "exit", "unlink", "demonitor", "receive")
DEEDS = (
    *OFTEN, *OFTEN, *OFTEN, "link", "monitor", "spawn", "spawn_link", "spawn_monitor", "leave", "leave", "trap", "trap", "wait", "wait",
    "register", "register", "unregister", "whereis", "send_to_name",
)  # fmt: skip
STEERED = ("deliver", "cut", "join")  # by nobody: see `Stage.steer`


@dataclass(frozen=True, slots=True)
class Step:
    """`who` and `other` count round the processes that there are, beyond `MOST` they are those of the step before; what
    `value` means depends on what is done.
    """

    who: int
    what: str
    other: int
    value: int
    pause: int  # until the next step


@dataclass(frozen=True, slots=True)
class Program:
    """`places`: for each process that is there at the start its node, counted round; from 3 on, it traps exits."""

    places: tuple[int, ...]
    steps: tuple[Step, ...]
    delays: tuple[int, ...] = ()  # of the links from node to node


ANYWHERE = st.lists(st.integers(0, 5), min_size=2, max_size=4).map(tuple)


def programs(
    *,
    steps: int,
    deeds: Sequence[str] = DEEDS,
    others: Sequence[str] = (),
    pauses: int = 0,
    links: int = 0,
    places: st.SearchStrategy[tuple[int, ...]] = ANYWHERE,
) -> st.SearchStrategy[Program]:
    """Programs of up to so many steps, half of that on average, which may also be `others`; on nodes with so many
    links between them.
    """
    step = st.builds(
        Step,
        st.integers(0, MOST + 2),
        st.sampled_from((*deeds, *others)),
        st.integers(0, MOST + 2),
        st.integers(0, 5),
        st.integers(0, pauses) if pauses else st.just(0),
    )
    delays = st.lists(st.integers(0, 2), min_size=links, max_size=links).map(tuple)
    part = st.lists(step, max_size=steps // 3)  # hypothesis makes no list of more than 5, on average
    whole = st.tuples(part, part, part).map(lambda parts: tuple(chain(*parts)))
    return st.builds(Program, places, whole, delays)


Order = tuple[str, tuple[Any, ...]]  # what to do, and with what


class Crash(Exception):
    """A process that is a program's crashes on purpose."""


class Stage:
    """Where programs are played: nodes that are linked. They outlive a program, its processes do not."""

    def __init__(self, *nodes: Node) -> None:
        self.nodes = nodes
        self.idle = [set(node.processes()) for node in nodes]

    def delay(self, program: Program) -> None:
        """Prepare for a program."""

    async def settle(self) -> None:
        """Let everything that is on its way arrive."""
        raise NotImplementedError

    async def pause(self, length: int) -> None:
        """Let some of it arrive."""
        raise NotImplementedError

    def steer(self, step: Step) -> Line | None:
        """Do a step that is none of a process."""
        raise NotImplementedError

    async def clear(self, pids: Sequence[Pid]) -> None:
        """The end of a program: kill its processes, wherever they are."""
        for node in self.nodes:
            for pid in pids:
                if pid.node == node.name:
                    node.exit(pid, "kill")
        await self.settle()

    def left_behind(self) -> list[str]:
        """What is left of a program, when it should be nothing."""
        left = []
        for node, idle in zip(self.nodes, self.idle, strict=True):
            left += [f"{pid} is left" for pid in node.processes() if pid not in idle]
            for peer in node._remote.peers.values():
                for what in ("links", "unlinking", "watched", "watching"):
                    left += [f"{node.name} keeps {what} of {peer.name}"] * bool(getattr(peer, what))
        return left


class Player:
    """One program on a stage, and its log."""

    def __init__(self, stage: Stage, program: Program, settling: bool) -> None:
        self.stage = stage
        self.program = program
        self.settling = settling
        self.told: list[Line] = []
        self.log = self.told
        self.last = (0, 0)  # who, and the other, of the step before
        self.faults: list[str] = []
        self.left: list[str] = []
        self.pids: list[Pid] = []
        self.homes: list[int] = []
        self.dead: dict[int, object] = {}
        self.waiting: set[int] = set()
        self.refs: dict[MonitorRef, int] = {}
        self.orders: dict[int, asyncio.Future[Order]] = {}

    async def play(self) -> None:
        self.stage.delay(self.program)
        try:
            await self.whole_program()
            self.log = self.told[:]  # what comes now is not of the program
        finally:
            await self.stage.clear(self.pids)
            self.left = self.stage.left_behind()

    async def whole_program(self) -> None:
        stage = self.stage
        for place in self.program.places:
            home, traps = place % len(stage.nodes), place >= 3
            who = len(self.pids)
            self.log.append(Started(who, home, traps))
            self.meet(stage.nodes[home].spawn(self.actor, who, traps), home)
        await stage.settle()
        for number, step in enumerate(self.program.steps):
            await self.step(number, step)
        await self.settled()

    async def step(self, number: int, step: Step) -> None:
        free = [who for who, order in sorted(self.orders.items()) if not order.done()]
        if step.what in STEERED:
            line = self.stage.steer(step)
            if line is not None:
                self.log.append(line)
        elif free:
            who = free[step.who % len(free)]
            if step.who >= MOST and self.last[0] in free:
                who = self.last[0]
            args = self.arguments(number, who, step)
            if args is not None:
                self.orders.pop(who).set_result(args)
        if self.settling:
            await self.settled()
        else:
            await self.stage.pause(step.pause)

    def arguments(self, number: int, who: int, step: Step) -> Order | None:
        """What is to be done, in the model's words."""
        what, value = step.what, step.value
        other = self.last[1] if step.other >= MOST else step.other % len(self.pids)
        if other == who and value > 2:
            other = (who + 1) % len(self.pids)  # what one does to oneself has few ways to go
        self.last = who, other
        item: Item = [number, ("ping", number)][value % 2]
        match what:
            case "spawn" | "spawn_link" | "spawn_monitor":
                return (what, ()) if len(self.pids) < MOST else None
            case "unlink":
                links = self.view(who).links
                return what, (links[step.other % len(links)] if links and value else other,)
            case "flip":  # the link with another process
                other = (who + 1) % len(self.pids) if other == who else other
                return "unlink" if other in self.view(who).links else "link", (other,)
            case "link" | "monitor":
                return what, (other,)
            case "exit":
                return what, (other, REASONS[value])
            case "send":
                return what, (other, item)
            case "send_to_name":
                return "send", (NAMES[step.other % 2], item)
            case "demonitor":
                refs = [ref for ref, owner in self.owners().items() if owner == who]
                return (what, (refs[step.other % len(refs)], value % 2 == 1)) if refs else None
            case "leave":  # 4: with an exception
                return what, ("crash" if value == 4 else REASONS[value],)
            case "trap":
                return what, (value != 1,)
            case "receive" | "wait":
                return what, ([*MATCHES][value % len(MATCHES)],)
            case "register" | "whereis":
                return what, (NAMES[value % 2],)
        return what, ()

    def owners(self) -> dict[int, int]:
        """Who has made which monitor."""
        return {
            number: line.who
            for number, line in enumerate(self.log)
            if isinstance(line, Did) and line.what in ("monitor", "spawn_monitor")
        }

    # -- what happens --------------------------------------------------------------------------------------

    def meet(self, pid: Pid, home: int) -> None:
        """There is a new process."""
        who = len(self.pids)
        self.pids.append(pid)
        self.homes.append(home)
        self.stage.nodes[home].watch(pid, partial(self.died, who))

    def died(self, who: int, down: Down) -> None:
        node = self.stage.nodes[self.homes[who]]
        self.dead[who] = self.plain(down.reason)
        self.orders.pop(who, None)
        self.waiting.discard(who)
        self.log.append(Died(who, self.dead[who]))
        self.faults += [
            f"p{who} was dead and had the name {name}" for name in NAMES if node.whereis(name) == down.pid
        ]

    async def settled(self) -> None:
        await self.stage.settle()
        line = Settled(tuple(map(self.view, range(len(self.pids)))))
        self.log.append(line)

    def view(self, who: int) -> View:
        info = self.stage.nodes[self.homes[who]].process_info(self.pids[who])
        if info is None:
            return View("dead", self.dead.get(who, "nobody was told"))
        return View(
            info.state,
            None,
            info.trap_exits,
            self.mailbox(who),
            who in self.waiting,
            tuple(sorted(map(self.pids.index, info.links))),
            info.monitors,
            info.monitored_by - 1,  # the player's own
            info.name,
        )

    def mailbox(self, who: int) -> tuple[Item, ...]:
        cell = self.stage.nodes[self.homes[who]].kernel.cells[self.pids[who].serial]
        return tuple(map(self.plain, cell.mailbox or ()))

    def plain(self, value: Any) -> Any:
        """As the model says it."""
        match value:
            case Down(ref, pid, reason):
                return "DOWN", self.refs[ref], self.pids.index(pid), self.plain(reason)
            case ExitSignal(pid, reason):
                return "EXIT", self.pids.index(pid), self.plain(reason)
            case BaseException():
                return "crash" if "on purpose" in str(value) else value
        return value

    # -- a process -----------------------------------------------------------------------------------------

    async def actor(self, process: Process, who: int, traps: bool = False) -> None:
        process.trap_exits = traps
        while True:
            order = self.orders[who] = asyncio.get_running_loop().create_future()
            what, args = await order
            if what.startswith("spawn"):  # the child's number is known only now
                args += (len(self.pids),)
            before = self.mailbox(who)
            number = len(self.log)
            write = partial(self.write, number, who, what, args, before)
            if what == "leave":
                write()
                if args[0] == "normal":
                    return
                raise Crash("on purpose") if args[0] == "crash" else Exit(args[0])
            if what == "wait":
                write()
                self.waiting.add(who)
                item = await process.receive(MATCHES[args[0]])
                self.waiting.discard(who)
                self.log.append(Took(who, self.plain(item)))
            elif what == "receive":
                try:
                    write(self.plain(await process.receive(MATCHES[args[0]], timeout_s=0)))
                except TimeoutError:
                    write()
            else:
                try:
                    result = self.do(process, who, what, *args)
                except Exit:
                    write()
                    raise
                write(result)

    def write(self, number: int, who: int, what: str, args: Any, before: Any, result: object = None) -> None:
        """Into the log, before whatever happened because of it."""
        self.log.insert(number, Did(who, what, args, before, result))

    def do(self, process: Process, who: int, what: str, *args: Any) -> object:
        number = len(self.log)
        match what:
            case "spawn":
                self.meet(process.spawn(self.actor, args[0]), self.homes[who])
            case "spawn_link":
                self.meet(process.spawn_link(self.actor, args[0]), self.homes[who])
            case "spawn_monitor":
                pid, ref = process.spawn_monitor(self.actor, args[0])
                self.refs[ref] = number
                self.meet(pid, self.homes[who])
            case "monitor":
                self.refs[process.monitor(self.pids[args[0]])] = number
            case "demonitor":
                process.demonitor(
                    next(ref for ref, made in self.refs.items() if made == args[0]), flush=args[1]
                )
            case "send":
                process.send(args[0] if isinstance(args[0], str) else self.pids[args[0]], args[1])
            case "link" | "unlink":
                getattr(process, what)(self.pids[args[0]])
            case "exit":
                process.exit(self.pids[args[0]], args[1])
            case "trap":
                process.trap_exits = args[0]
            case "register":
                return self.register(process, args[0])
            case "unregister":
                process.unregister()
            case "whereis":
                found = process.whereis(args[0])
                return None if found is None else self.pids.index(found)
        return None

    @staticmethod
    def register(process: Process, name: str) -> str:
        try:
            process.register(name)
        except LocalNameTaken:
            return "taken"
        except ValueError:
            return "has another"
        return "registered"

    # -- the verdict ---------------------------------------------------------------------------------------

    def check(self) -> None:
        """Fail, with the story, when the rules do not explain the log."""
        faults = self.faults + self.left
        assert not faults, f"{faults}:\n{self.story()}"
        found = unexplained(self.told)
        if found is None:
            return
        number, state = found
        line = self.told[number]
        text = f"nothing explains line {number}:\n{self.story(number)}"
        for who, seen in enumerate(line.views if isinstance(line, Settled) else ()):
            right = state.view(who)
            for part in fields(View):
                is_, should = getattr(seen, part.name), getattr(right, part.name)
                if is_ != should:
                    text += f"\n   p{who}: {part.name} is {is_!r}; by the rules it could be {should!r}"
        if state.flying:
            text += f"\n   still on the way: {state.flying}"
        raise AssertionError(text)

    def story(self, marked: int = -1) -> str:
        lines = (f"{'->' if n == marked else '  '} {n:2} {tell(line)}" for n, line in enumerate(self.told))
        return "\n".join(lines)
