"""Supervisors: processes that start others, restart those that crash, and stop them in order.

    class Shop(Supervisor):
        strategy = "rest_for_one"

        def __init__(self, workers: int) -> None:
            super().__init__(
                [child(Database, "shop.db"), *(child(Worker, n).options(id=f"worker {n}") for n in range(workers))]
            )

    shop = await node.start(Shop, 3)  # or, without a class: node.start(Supervisor, [child(Worker, 3)])
    for one in await shop.call(Shop.which_children):
        print(one.id, one.pid, one.status)

What is done is decided in `supervision.py`, by OTP's rules; this is the shell that does it: it starts children, in order
and each linked to it, traps their exits, and stops them in reverse. It is one process and does one thing after the
other, so a call waits while a child is stopped (`shop.within(None)` where that can take long). What must never happen
here: a child outlives the orderly end of its supervisor, or is restarted by a supervisor that is about to end.
(https://www.erlang.org/doc/apps/stdlib/supervisor.html)
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, get_args

from .cell import ALIVE
from .child_process import Stopping, oversee, start_child
from .child_spec import ChildSpec
from .errors import CalleeExited, ChildStartFailed, ConfigError, NoSuchChild, SupervisorError
from .exits import is_word
from .gen_server import GenServer
from .handlers import Refused
from .pid import KILLED, SHUTDOWN, Down, Exit, ExitSignal, Pid
from .plain import in_words, show
from .server_cell import ServerCell
from .supervision import (
    Action,
    AutoShutdown,
    End,
    Failed,
    Key,
    Retry,
    Start,
    Stop,
    Strategy,
    Supervision,
    Verdict,
    is_orderly,
)
from .telling import Log

log = Log("quorate.supervisor")


@dataclass(frozen=True, slots=True)
class ChildInfo:
    """One child, as `which_children` shows it. `status` is "running", "restarting" or "stopped"."""

    id: str
    pid: Pid | None
    status: str
    supervisor: bool


@dataclass(frozen=True, slots=True)
class ChildCounts:
    """`specs`: children in the table, running or not; `active`: those that run; `supervisors` + `workers` = `specs`."""

    specs: int
    active: int
    supervisors: int
    workers: int


@dataclass(frozen=True, slots=True)
class _Begin:
    """The first message of a supervisor, to itself: start the children."""

    _quorate_internal: ClassVar[bool] = True  # no limit of a mailbox drops it


@dataclass(frozen=True, slots=True)
class _Again:
    """A message of a supervisor to itself: it is the turn of a `Retry`."""

    _quorate_internal: ClassVar[bool] = True

    key: Key


class Supervisor(GenServer):
    """A supervisor. A subclass gives its children to `super().__init__`, and may set what stands below.

    `strategy`: when a child is restarted, then it alone ("one_for_one", the default), with those that were started after
    it ("rest_for_one"), or with all ("one_for_all"). More than `intensity` restarts (default 3) within `period_s` seconds
    (default 5.0), and the supervisor stops its children and ends with the reason "shutdown". `auto_shutdown`: it also does
    so when "any_significant" child, or "all_significant" ones, have ended by themselves (default "never").

    Starting it (`node.start`) returns when all children have started; when one cannot be, those before it are stopped
    in reverse and `ChildStartFailed` is raised, its cause the child's error. Raises `ConfigError` for settings that make
    no sense, `ChildExists` for two children of one id.
    """

    strategy: Strategy = "one_for_one"
    intensity: int = 3
    period_s: float = 5.0
    auto_shutdown: AutoShutdown = "never"

    _quorate_supervises: ClassVar[bool] = True

    def __init_subclass__(cls, *, behaviour: bool = False, **kwargs: Any) -> None:
        """Raises `TypeError` for a subclass that would put its own code in the way of a supervisor's."""
        for hook in ("handle_info", "handle_exit", "terminate"):
            if hook in cls.__dict__:
                raise TypeError(
                    f"{cls.__qualname__}.{hook}: a supervisor only supervises; put that into one of its children"
                )
        super().__init_subclass__(behaviour=behaviour, **kwargs)

    _tree: Supervision[Pid] | None = None

    def __init__(
        self,
        children: Iterable[ChildSpec] = (),
        *,
        strategy: Strategy | None = None,
        intensity: int | None = None,
        period_s: float | None = None,
        auto_shutdown: AutoShutdown | None = None,
    ) -> None:
        self.strategy = self.strategy if strategy is None else strategy
        self.intensity = self.intensity if intensity is None else intensity
        self.period_s = self.period_s if period_s is None else period_s
        self.auto_shutdown = self.auto_shutdown if auto_shutdown is None else auto_shutdown
        problem = self._problem()
        if problem is not None:
            raise ConfigError(f"{type(self).__qualname__}: {problem}")
        self._begun = False  # all children have started
        self._ready: asyncio.Future[None] | None = None
        self._failure: ChildStartFailed | None = None
        self._failures: dict[Key, BaseException] = {}  # of children that could not be restarted
        self._tree = self._make_tree()
        specs = list(children)
        for spec in specs:
            wrong = self._misfit(spec)
            if wrong is not None:
                raise ConfigError(f"{type(self).__qualname__}: {wrong}")
        self._tree.begin([spec.rule() for spec in specs])
        cell = self._quorate_cell
        cell.trapping = True
        oversee(cell, cell.kernel.pid)
        cell.kernel.send(cell.pid, _Begin())  # before anybody else knows that it exists

    # -- what can be asked ---------------------------------------------------------------------------------

    def which_children(self) -> list[ChildInfo]:
        """All children, in the order of their start."""
        return [
            ChildInfo(spec.id, row.pid, row.status, spec.is_supervisor)
            for row in self._the_tree().rows.values()
            for spec in (row.rule.spec,)
        ]

    def count_children(self) -> ChildCounts:
        """How many there are."""
        children = self.which_children()
        supervisors = sum(one.supervisor for one in children)
        find = self._quorate_cell.kernel.find
        # (One that has ended may be in the table: its exit signal waits behind this call.)
        active = sum(one.pid is not None and find(one.pid) is not None for one in children)
        return ChildCounts(len(children), active, supervisors, len(children) - supervisors)

    async def start_child(self, spec: ChildSpec) -> Pid:
        """Add a child and start it, after all others. (From its own node: code does not travel.)

        Raises `ChildStartFailed`, `ChildExists`, `SupervisorError` for a spec that does not fit this supervisor.
        """
        wrong = self._misfit(spec)
        if wrong is not None:
            raise Refused(SupervisorError(f"{wrong}: nothing happened"))
        key = self._new_key(spec)
        return await self._asked_to_start(key, lambda tree: tree.add(spec.rule(key)))

    async def restart_child(self, id: str) -> Pid:
        """Start a child that was stopped. Raises `ChildStartFailed`, `ChildRunning`, `NoSuchChild`."""
        key = self._key(id)
        return await self._asked_to_start(key, lambda tree: tree.restart(key))

    async def terminate_child(self, child: str | Pid) -> None:
        """Stop a child, by its id or pid; it stays in the table, unless it is temporary, and can be restarted.

        Raises `NoSuchChild`.
        """
        key = self._key(child)
        await self._asked(lambda tree: tree.terminate(key))

    async def delete_child(self, id: str) -> None:
        """Forget a child that was stopped. Raises `ChildRunning`, `NoSuchChild`."""
        key = self._key(id)
        await self._asked(lambda tree: tree.delete(key))

    def _key(self, child: object) -> Key:
        """Which child the caller means, who may have sent anything."""
        if isinstance(child, str):
            return child
        try:
            if isinstance(child, Pid):
                return self._the_tree().key_of(child)
            raise NoSuchChild(f"a child has an id or a pid, and {show(child)} is neither: nothing happened")
        except NoSuchChild as error:
            raise Refused(error) from None

    async def _asked(self, tell: Callable[[Supervision[Pid]], object]) -> None:
        try:
            tell(self._the_tree())
            await self._carry_out()
        except SupervisorError as error:
            raise Refused(error) from None

    async def _asked_to_start(self, key: Key, tell: Callable[[Supervision[Pid]], object]) -> Pid:
        await self._asked(tell)
        pid = self._the_tree().row(key).pid
        if pid is None:
            raise Refused(SupervisorError("the supervisor has just been told to exit: nothing was started"))
        return pid

    # -- what happens --------------------------------------------------------------------------------------

    def handle_info(self, message: Any) -> Awaitable[object] | None:
        if type(message) is _Begin:
            return self._begin()
        if type(message) is _Again:
            return self._again(message.key)
        return super().handle_info(message)

    async def handle_exit(self, signal: ExitSignal) -> None:
        """A child has ended. (An exit signal of anybody but a child, its own supervisor or its node does nothing.)"""
        tree = self._the_tree()
        verdict = tree.exited(signal.pid, signal.reason, self._now())
        if verdict is not None:
            self._report(verdict, signal.pid, signal.reason)
            await self._carry_out()

    async def terminate(self, reason: object) -> None:
        """All children are stopped, the last first."""
        if self._tree is not None:
            self._tree.shutdown()
            await self._carry_out()

    async def _begin(self) -> None:
        try:
            await self._carry_out()
        except ChildStartFailed as failure:
            self._failure = failure
            raise Exit((SHUTDOWN, ("failed_to_start_child", failure.child))) from None
        self._begun = True
        if self._ready is not None and not self._ready.done() and self._quorate_cell.state == ALIVE:
            self._ready.set_result(None)

    async def _again(self, key: Key) -> None:
        error = self._failures.pop(key, None)
        verdict = self._the_tree().retry(key, self._now())
        if verdict is not None:
            self._report(verdict, None, error)
            await self._carry_out()

    # -- what is done --------------------------------------------------------------------------------------

    async def _carry_out(self) -> None:
        """Do what the tree says until nothing is left. Raises `ChildStartFailed`."""
        tree = self._the_tree()
        while (step := tree.next_step()) is not None:
            match step:
                case Start(key):
                    if self._quorate_cell.state != ALIVE:
                        return  # it was told to exit: `terminate` is next
                    await self._start(tree, key)
                case Stop(children):
                    await self._stop(tree, children)
                case Retry(key):
                    self._quorate_cell.kernel.send(self.pid, _Again(key))
                case Failed(key):
                    error = self._failures.pop(key)
                    raise ChildStartFailed(
                        f"{type(self).__qualname__} could not start its child {key!r}: {in_words(error)}",
                        key,
                        error,
                    ) from error
                case End():
                    raise Exit(SHUTDOWN)

    async def _start(self, tree: Supervision[Pid], key: Key) -> None:
        cell = self._quorate_cell
        try:
            started = start_child(cell, tree.row(key).rule.spec)
        except BaseException as error:  # noqa: BLE001 -- whatever an __init__ raises, this process goes on
            if isinstance(error, KeyboardInterrupt):
                cell.kernel.scheduler.pass_on(error)
            self._failures[key] = error
            tree.start_failed(key)
            return
        if isinstance(started, ServerCell) and isinstance(started.server, Supervisor):
            try:
                await begin(started)
            except asyncio.CancelledError:
                tree.started(key, started.pid)  # this process is to end: it is stopped in its turn
                raise
            except Exception as error:  # noqa: BLE001 -- as above
                self._failures[key] = error
                tree.start_failed(key)
                return
        tree.started(key, started.pid)

    async def _stop(self, tree: Supervision[Pid], children: tuple[tuple[Key, Pid], ...]) -> None:
        kernel = self._quorate_cell.kernel
        stopping = [(key, Stopping(kernel, self.pid, pid, tree.row(key).rule.spec)) for key, pid in children]
        try:
            for key, one in stopping:
                down = await one.gone
                spec: ChildSpec = tree.row(key).rule.spec
                if is_word(down.reason, KILLED) and isinstance(spec.shutdown_s, int | float):
                    self._tell(
                        logging.WARNING, spec.id, down.pid, KILLED, f"it had {spec.shutdown_s:g} s to stop"
                    )
                tree.stopped(key)
        finally:
            for _, one in stopping:
                one.close()

    # -- itself --------------------------------------------------------------------------------------------

    def _make_tree(self) -> Supervision[Pid]:
        return Supervision(
            self.strategy,
            intensity=self.intensity,
            period_s=self.period_s,
            auto_shutdown=self.auto_shutdown,
        )

    def _new_key(self, spec: ChildSpec) -> Key:
        return spec.id

    def _the_tree(self) -> Supervision[Pid]:
        assert self._tree is not None, "begin has seen to it"
        return self._tree

    def _now(self) -> float:
        return self._quorate_cell.kernel.clock.monotonic()

    def _problem(self) -> str | None:
        if self.strategy not in get_args(Strategy):
            return f"strategy is one of {', '.join(get_args(Strategy))}, not {self.strategy!r}"
        if self.auto_shutdown not in get_args(AutoShutdown):
            return f"auto_shutdown is one of {', '.join(get_args(AutoShutdown))}, not {self.auto_shutdown!r}"
        if self.intensity < 0:
            return f"intensity must be 0 or more restarts, not {self.intensity}"
        if not 0 < self.period_s < math.inf:
            return f"period_s must be over 0 seconds, not {self.period_s}"
        return None

    def _misfit(self, spec: object) -> str | None:
        """Why this cannot be a child here."""
        if not isinstance(spec, ChildSpec):
            return f"a child is made by child(...), not {show(spec)}"
        if spec.significant and self.auto_shutdown == "never":
            return f"the child {spec.id!r} is significant, and auto_shutdown is never: set one or the other"
        return None

    def _report(self, verdict: Verdict, pid: Pid | None, reason: object) -> None:
        """One record of what ended and what is done about it.

        Of an exception that ended a process only the type is named: its crash report has the rest, as far as it may be
        shown. What came out of an `__init__` has no other report, so it is told in full.
        """
        id = verdict.rule.spec.id
        error = reason if isinstance(reason, BaseException) else None
        shown = type(error).__qualname__ if error is not None and pid is not None else show(reason)
        decision = verdict.action.value
        if verdict.action is Action.RESTART:
            decision = f"{decision} ({verdict.restarts} of {self.intensity} in {self.period_s:g} s)"
        elif verdict.action is Action.GIVE_UP:
            decision = f"{decision} (restart {verdict.restarts}, and {self.intensity} in {self.period_s:g} s are allowed)"
        level = logging.WARNING
        if verdict.action is Action.GIVE_UP:
            level = logging.ERROR
        elif verdict.action is not Action.RESTART and is_orderly(reason):
            level = logging.DEBUG
        self._tell(level, id, pid, shown, decision, error if pid is None else None)

    def _tell(
        self,
        level: int,
        id: str,
        pid: Pid | None,
        reason: str,
        decision: str,
        error: BaseException | None = None,
    ) -> None:
        log.log(
            level,
            "%s: child %r %s: %s; %s",
            self._quorate_cell.describe(),
            id,
            "could not be started" if pid is None else f"{pid} ended",
            reason,
            decision,
            exc_info=error,
            extra={
                "quorate": {
                    "event": "child",
                    "supervisor": self.pid,
                    "child": id,
                    "pid": pid,
                    "reason": reason,
                    "decision": decision,
                }
            },
        )


async def begin(cell: ServerCell) -> None:
    """Wait until a supervisor that has just been made has started its children.

    Raises `ChildStartFailed`, and `CalleeExited` when it ended meanwhile; in both cases it is gone.
    """
    kernel, server = cell.kernel, cell.server
    assert isinstance(server, Supervisor)
    if server._tree is None:
        cell.begin_exit(SHUTDOWN)
        raise ConfigError(f"{cell.label}.__init__ must call super().__init__([child(...), ...])")
    if server._begun and cell.state == ALIVE:
        return
    ready: asyncio.Future[None] = kernel.loop.create_future()
    server._ready = ready

    def gone(down: Down) -> None:
        if not ready.done():
            ready.set_exception(
                server._failure
                or CalleeExited(f"{cell.label} ended while it started: {show(down.reason)}", down.reason)
            )

    ref = kernel.watch(cell.pid, gone)
    try:
        await ready
    finally:
        server._ready = None
        kernel.unwatch(ref)
