"""Applications: whole trees of processes that start and stop with their node, in order.

    class Shop(Application):
        async def start(self, node: Node) -> Ref[Supervisor]:
            return await node.start(ShopSupervisor)

    await node.start_application(Shop())

An `Applications` is the authority over which of them run on one node. They are started one after the other and stopped in
reverse, each with all its processes, before the node gives anything else up. What must never happen here: an
application's end goes unnoticed, or the `stop` of one keeps the others from being stopped.
(https://www.erlang.org/doc/apps/kernel/application.html)
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from .errors import ApplicationFailed, ConfigError
from .kernel import Kernel
from .pid import SHUTDOWN, Down, Exit, MonitorRef, Pid
from .plain import in_words, show
from .ref import Ref
from .supervision import is_orderly
from .telling import Log
from .timers import timeout

log = Log("quorate.application")

Kind = Literal["permanent", "transient", "temporary"]


class Application:
    """One application; a subclass says how it starts. `name` tells it from the others (default: the class's name).

    `kind` says what its end means, when nobody asked for it: of a "permanent" one (the default) that the node has failed,
    of a "transient" one that too unless it ended in order, of a "temporary" one nothing but a line in the log.
    """

    name: str = ""
    kind: Kind = "permanent"

    async def start(self, node: Any) -> Ref[Any] | Pid:
        """Start the processes and return the one at their root, a supervisor as a rule. `node` is the node."""
        raise NotImplementedError(f"{type(self).__qualname__} needs an `async def start(self, node)`")

    async def stop(self, node: Any) -> None:
        """Called when the root has ended, for whatever reason: give up what is no process. It has the node's
        `exit_deadline_s` (5 s) for that."""


@dataclass(slots=True)
class _Running:
    application: Application
    pid: Pid | None = None  # None: it is starting
    ref: MonitorRef | None = None
    gone: asyncio.Event = field(default_factory=asyncio.Event)  # its root, and its `stop` is through
    wanted: bool = True  # nobody has asked it to stop


class Applications:
    """The applications of one node. `failed(error)` is called when one has ended without which the node is no use."""

    def __init__(self, kernel: Kernel, node: object, failed: Callable[[ApplicationFailed], object]) -> None:
        self._kernel = kernel
        self._node = node
        self._failed = failed
        self._running: dict[str, _Running] = {}  # in the order of their start
        self._closing: set[asyncio.Task[None]] = set()  # `stop` of those whose root has ended

    def running(self) -> dict[str, Pid]:
        """The roots of those that run, in the order of their start."""
        return {name: one.pid for name, one in self._running.items() if one.pid is not None}

    async def start(self, application: Application) -> Pid:
        """Start one more. Raises `ApplicationFailed`, its cause being what `start` raised; `ConfigError`."""
        name = checked_name(application)
        if name in self._running:
            raise ConfigError(f"the application {name!r} runs already on {self._kernel.name}")
        running = self._running[name] = _Running(application)
        try:
            root = await application.start(self._node)
            pid = root.pid if isinstance(root, Ref) else root
            if not isinstance(pid, Pid) or self._kernel.find(pid) is None:
                raise TypeError(
                    f"start returned {show(root)}: it has to be a process of this node that lives"
                )
        except (Exception, Exit) as error:
            del self._running[name]
            raise ApplicationFailed(
                f"the application {name!r} could not be started: {in_words(error)}", name, error
            ) from error
        except BaseException:
            del self._running[name]
            raise
        running.pid = pid
        running.ref = self._kernel.watch(pid, lambda down: self._ended(name, running, down))
        log.info("%s: application %r has started, %s is its root", self._kernel.name, name, pid)
        return pid

    async def stop(self, name: str) -> None:
        """Stop one and wait for it. Raises `ConfigError` when there is none of that name.

        Who gives up on waiting does not change that it stops.
        """
        running = self._running.get(name)
        if running is None or running.pid is None:
            raise ConfigError(f"there is no application {name!r} on {self._kernel.name}")
        running.wanted = False
        cell = self._kernel.find(running.pid)
        if cell is not None:
            cell.begin_exit(SHUTDOWN)
        await running.gone.wait()

    async def stop_all(self) -> None:
        """Stop all, the last first."""
        for name, running in reversed(list(self._running.items())):
            if running.pid is not None and name in self._running:
                await self.stop(name)
        if self._closing:
            await asyncio.wait(self._closing)

    def _ended(self, name: str, running: _Running, down: Down) -> None:
        del self._running[name]
        application = running.application
        closing = self._kernel.loop.create_task(self._after(application))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        closing.add_done_callback(lambda _: running.gone.set())
        if not running.wanted:
            return
        fatal = application.kind == "permanent" or (
            application.kind == "transient" and not is_orderly(down.reason)
        )
        log.log(
            logging.ERROR if fatal else logging.WARNING,
            "%s: application %r has ended: %s%s",
            self._kernel.name,
            name,
            show(down.reason),
            f"; it is {application.kind}, so the node has failed" if fatal else "",
            extra={
                "quorate": {
                    "event": "application",
                    "application": name,
                    "pid": down.pid,
                    "reason": down.reason,
                    "fatal": fatal,
                }
            },
        )
        if fatal:
            self._failed(
                ApplicationFailed(
                    f"the {application.kind} application {name!r} has ended: {show(down.reason)}",
                    name,
                    down.reason,
                )
            )

    async def _after(self, application: Application) -> None:
        """Its own `stop`, which may do anything."""
        try:
            async with timeout(self._kernel.clock, self._kernel.config.exit_deadline_s):
                await application.stop(self._node)
        except (Exception, Exit, asyncio.CancelledError):
            log.exception("%s: stop of %s failed", self._kernel.name, type(application).__qualname__)


def checked_name(application: Application) -> str:
    """The name of an application. Raises `ConfigError` for what is none, and for settings that make no sense."""
    if not isinstance(application, Application):
        raise ConfigError(
            f"{show(application)} is no Application: give an instance, as in applications=[Shop()]"
        )
    if application.kind not in get_args(Kind):
        raise ConfigError(f"kind is one of {', '.join(get_args(Kind))}, not {application.kind!r}")
    return application.name or type(application).__name__
