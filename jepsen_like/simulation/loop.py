"""An asyncio event loop whose time is imaginary and whose order is decided here.

Nothing ever waits: while callbacks are ready they run, and when none is, time jumps to the next timer. Callbacks of one
turn run in the order in which they became ready, as asyncio promises for those of `call_soon`; or, with a `shuffler`, in an
order that it draws. That is more than a real loop does: what arrives at a real one in another order (packets, timers of
almost the same time, wake-ups of tasks) does here too, and so does what leans on asyncio's promise alone.

Every callback belongs to the *group* of its context; tasks, futures and timers inherit it. A context without any (the
library runs its processes in fresh ones) is given that of the callback that uses it first. A group is an operating-system process in the simulation: it can be paused (its callbacks wait), and ended (they
never run again, and no `finally` block of its tasks does, as after SIGKILL). Its clock may run at a rate of its own.

The loop is the authority over time and order. What must never happen here: a callback of a paused or ended group runs,
or anything depends on addresses of objects, on hashes of text, or on the machine's clock.
"""

import asyncio
import heapq
import sys
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from typing import Any, Protocol, TypeVar, TypeVarTuple

from .errors import Hang, NotSimulated, caller, short_path

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

STILL_TURNS = 1_000_000  # that time may stand still
SHOWN_TASKS = 40
SHOWN_FRAMES = 12
SHUFFLE_TURNS = 64  # ready callbacks that are put into another order at once; more keep their order in blocks


class Shuffler(Protocol):
    """Draws an order: `shuffle` rearranges the list in place."""

    def shuffle(self, items: list[Any]) -> None: ...


class Connector(Protocol):
    """Where connections of users' own asyncio code go: see `network.py`."""

    async def create_connection(
        self, loop: "SimLoop", factory: Callable[[], asyncio.BaseProtocol], host: str, port: int
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]: ...

    async def create_server(
        self, loop: "SimLoop", factory: Callable[[], asyncio.BaseProtocol], host: str, port: int
    ) -> asyncio.AbstractServer: ...


class Group:
    """The callbacks of one simulated process. `rate` is how fast its clock runs, `name` is for messages."""

    __slots__ = (
        "_begins",
        "_fuse",
        "_local",
        "_world",
        "context",
        "ended",
        "held",
        "held_count",
        "name",
        "paused",
        "rate",
        "stopped",
    )

    def __init__(self, name: str, *, world_s: float = 0.0, local_s: float = 0.0, rate: float = 1.0) -> None:
        self.name = name
        self.rate = rate
        self._world = world_s  # at this moment of the world ...
        self._local = local_s  # ... its clock showed this
        self.paused = False
        self.ended = False
        self.stopped = False  # paused or ended
        self.held: list[events.Handle] = []
        self.held_count = 0
        self._fuse = 0  # callbacks that it still runs before a pause begins; 0: none is about to
        self._begins: Callable[[], object] | None = None  # to be told then
        self.context: Context = copy_context()
        self.context.run(_GROUP.set, self)

    def light(self, callbacks: int, begins: Callable[[], object]) -> None:
        """Pause it after so many more callbacks, and tell of it."""
        self._fuse, self._begins, self.stopped = callbacks, begins, True

    def put_out(self) -> None:
        """Undo `light`, if the pause has not begun."""
        self._fuse, self._begins, self.stopped = 0, None, self.paused or self.ended

    def burns(self) -> bool:
        """It is stopped, but for one more callback before a pause; the pause begins when there are no more."""
        if self._fuse:
            self._fuse -= 1
            return True
        begins, self._begins = self._begins, None
        if begins is not None and not self.ended:
            self.paused = True
            begins()
        return False

    def local(self, world_s: float) -> float:
        """What its clock shows at a moment of the world."""
        return self._local + (world_s - self._world) * self.rate

    def world(self, local_s: float) -> float:
        """The moment of the world at which its clock shows this, at its present rate."""
        return self._world + (local_s - self._local) / self.rate

    def set_rate(self, rate: float, world_s: float) -> None:
        """From now on its clock runs at this rate. Timers that are set already keep their moment."""
        self._local, self._world, self.rate = self.local(world_s), world_s, rate


_GROUP: ContextVar[Group | None] = ContextVar("simulated process")  # unset: that of the callback that runs


@contextmanager
def acting_for(group: Group) -> Iterator[None]:
    """What is begun in this block belongs to a process, whoever runs it."""
    token = _GROUP.set(group)
    try:
        yield
    finally:
        _GROUP.reset(token)


def current_group() -> Group | None:
    """The simulated process whose code runs now; None: the world's (the test itself)."""
    loop = events._get_running_loop()
    return _GROUP.get(loop.current if isinstance(loop, SimLoop) else None)


class SimLoop(asyncio.BaseEventLoop):
    """See the head of the module. Run a program on it with `simulate`."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.current: Group | None = None  # whose callback runs
        self.events = 0
        self.limit_s: float | None = None
        self.shuffler: Shuffler | None = None
        self.connector: Connector | None = None
        self._run_queue: deque[events.Handle] = deque()
        self._timers: list[tuple[float, int, events.TimerHandle]] = []
        self._sequence = 0
        self._cancelled_timers = 0
        self._still_turns = 0
        self._halted = False
        self._tasks: list[tuple[asyncio.Task[Any], Group | None]] = []
        self._tasks_limit = 1024

    # -- time ----------------------------------------------------------------------------------------------

    def time(self) -> float:
        """Seconds of the clock of the process that asks; the world's own outside of any."""
        group = _GROUP.get(self.current)
        return self.now if group is None else group.local(self.now)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> events.TimerHandle:
        group = _GROUP.get(self.current)
        return self.call_at_world(when if group is None else group.world(when), callback, args, context)

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> events.TimerHandle:
        group = _GROUP.get(self.current)
        when = self.now + (delay if group is None else delay / group.rate)
        return self.call_at_world(when, callback, args, context)

    def call_at_world(
        self, when: float, callback: Callable[..., object], args: tuple[Any, ...], context: Context | None
    ) -> events.TimerHandle:
        """As `call_at`, in the world's time whoever asks."""
        handle = events.TimerHandle(when, callback, args, self, context)
        if _GROUP not in handle._context:  # type: ignore[attr-defined]
            self._adopt(handle)
        self._sequence += 1
        heapq.heappush(self._timers, (when, self._sequence, handle))
        handle._scheduled = True  # type: ignore[attr-defined]  # so that it tells of its cancellation
        return handle

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> events.Handle:
        handle = events.Handle(callback, args, self, context)
        if _GROUP not in handle._context:  # type: ignore[attr-defined]
            self._adopt(handle)
        self._run_queue.append(handle)
        return handle

    def _adopt(self, handle: events.Handle) -> None:
        handle._context.run(_GROUP.set, _GROUP.get(self.current))  # type: ignore[attr-defined]

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> events.Handle:
        return self.call_soon(callback, *args, context=context)

    def _timer_handle_cancelled(self, handle: events.TimerHandle) -> None:
        self._cancelled_timers += 1
        if self._cancelled_timers > 256 and self._cancelled_timers * 2 > len(self._timers):
            self._timers = [item for item in self._timers if not item[2]._cancelled]
            heapq.heapify(self._timers)
            self._cancelled_timers = 0

    # -- processes -----------------------------------------------------------------------------------------

    def pause(self, group: Group) -> None:
        """None of its callbacks runs until `resume`."""
        group.put_out()
        group.paused = group.stopped = True

    def resume(self, group: Group) -> None:
        """What waited becomes ready now, in its order, and before what became ready since."""
        group.paused = False
        group.stopped = group.ended
        held, group.held = group.held, []
        if held:
            queue = self._run_queue
            others = [handle for handle in queue if _group_of(handle) is not group]
            held.extend(handle for handle in queue if _group_of(handle) is group)
            queue.clear()
            queue.extend(others)
            queue.extend(held)

    def end(self, group: Group) -> None:
        """None of its callbacks ever runs again."""
        group.put_out()
        group.ended = group.stopped = True

    # -- running -------------------------------------------------------------------------------------------

    def run_forever(self) -> None:
        self._check_closed()  # type: ignore[attr-defined]
        self._check_running()  # type: ignore[attr-defined]
        self._halted = False
        old = events._get_running_loop()
        old_hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(
            firstiter=self._asyncgen_firstiter_hook,  # type: ignore[attr-defined]
            finalizer=self._asyncgen_finalizer_hook,
        )
        events._set_running_loop(self)
        self._thread_id = 1  # what `is_running` looks at
        try:
            while not self._halted:
                self._turn()
        finally:
            self.current = None
            self._thread_id = None  # type: ignore[assignment]
            events._set_running_loop(old)
            sys.set_asyncgen_hooks(*old_hooks)

    def _asyncgen_finalizer_hook(self, generator: Any) -> None:
        if self.is_running():  # else nothing would ever run its `aclose`
            super()._asyncgen_finalizer_hook(generator)  # type: ignore[misc]

    def stop(self) -> None:
        self._halted = True

    def _turn(self) -> None:
        """Run what is ready; jump to the next timer first, when nothing is."""
        ready, timers = self._run_queue, self._timers
        if not ready:
            while timers and timers[0][2]._cancelled:
                heapq.heappop(timers)
                self._cancelled_timers -= 1
            if not timers:
                raise Hang(f"everybody waits, and nothing will ever happen. {self._waiting()}")
            when = timers[0][0]
            if when > self.now:
                if self.limit_s is not None and when > self.limit_s:
                    raise Hang(f"not over after {self.limit_s:g} simulated seconds. {self._waiting()}")
                self.now = when
                self._still_turns = 0
        self._still_turns += 1
        if self._still_turns > STILL_TURNS:
            raise Hang(f"time stands still since {STILL_TURNS} turns of the loop. {self._waiting()}")
        now = self.now
        while timers and timers[0][0] <= now:
            handle = heapq.heappop(timers)[2]
            handle._scheduled = False  # type: ignore[attr-defined]
            if handle._cancelled:
                self._cancelled_timers -= 1
            else:
                ready.append(handle)
        if self.shuffler is not None and len(ready) > 1:
            self._shuffle()
        for _ in range(len(ready)):
            next_handle: Any = ready.popleft()
            if next_handle._cancelled:
                continue
            context = next_handle._context
            group = context.get(_GROUP)
            if group is not None and group.stopped and not group.burns():
                group.held.append(
                    next_handle
                )  # of an ended one, too: what it would have looked at is not forgotten
                group.held_count += not group.ended
                continue
            self.events += 1
            self.current = group
            try:
                context.run(next_handle._callback, *next_handle._args)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:  # noqa: BLE001 -- as every loop: the handler decides
                self.call_exception_handler(
                    {"message": f"Exception in {next_handle!r}", "exception": error, "handle": next_handle}
                )

    def _shuffle(self) -> None:
        assert self.shuffler is not None
        items = list(self._run_queue)
        self._run_queue.clear()
        for start in range(0, len(items), SHUFFLE_TURNS):
            block = items[start : start + SHUFFLE_TURNS]
            self.shuffler.shuffle(block)
            self._run_queue.extend(block)

    # -- tasks ---------------------------------------------------------------------------------------------

    def create_task(
        self, coro: Generator[Any, None, T] | Coroutine[Any, Any, T], **options: Any
    ) -> asyncio.Task[T]:
        """As any loop, by the program's task factory if it has set one; and hold the task: see `keep`."""
        here = group = _GROUP.get(self.current)
        context: Context | None = options.get("context")
        if context is not None:
            if _GROUP not in context:  # (once an eager task runs in it, nobody can enter it to say so)
                context.run(_GROUP.set, here)
            group = context.get(_GROUP)
        if group is here:
            task: asyncio.Task[T] = super().create_task(coro, **options)
        else:  # not even an eager one begins here: its process may be paused
            task = asyncio.Task(coro, loop=self, name=options.get("name"), context=context)
        self.keep(task, group)
        return task

    def keep(self, task: asyncio.Task[Any], group: Group | None) -> None:
        """Hold a task until it is done: nothing else may hold those of an ended process, and none of their code
        may run, as it would when they were freed."""
        self._tasks.append((task, group))
        if len(self._tasks) > self._tasks_limit:
            self._tasks_limit = max(1024, 2 * len(self.suspended()))

    def suspended(self) -> list[tuple[asyncio.Task[Any], Group | None]]:
        """The tasks that are not done, those of ended processes included, in the order in which they were made."""
        self._tasks = [one for one in self._tasks if not one[0].done()]
        return list(self._tasks)

    def _waiting(self) -> str:
        """The stacks of everything that waits, for the message of a `Hang`."""
        live = [(task, group) for task, group in self.suspended() if group is None or not group.ended]
        live.sort(key=lambda one: one[1] is not None)  # the test's own come first
        lines = [f"{len(live)} tasks wait:"]
        for task, group in live[:SHOWN_TASKS]:
            where = "" if group is None else f" in {group.name}{' (paused)' if group.paused else ''}"
            lines += [f"  {task.get_name()}{where}", *(f"    {place}" for place in _stack(task.get_coro()))]
        if len(live) > SHOWN_TASKS:
            lines.append(f"  and {len(live) - SHOWN_TASKS} more")
        return "\n".join(lines)

    # -- what there is not ---------------------------------------------------------------------------------

    def run_in_executor(self, executor: Any, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        raise NotSimulated("a thread", caller())

    async def subprocess_exec(self, *args: Any, **kwargs: Any) -> Any:
        raise NotSimulated("a subprocess", caller())

    async def subprocess_shell(self, *args: Any, **kwargs: Any) -> Any:
        raise NotSimulated("a subprocess", caller())

    async def create_datagram_endpoint(self, *args: Any, **kwargs: Any) -> Any:
        raise NotSimulated("a datagram socket", caller())

    async def start_tls(self, *args: Any, **kwargs: Any) -> Any:
        raise NotSimulated("TLS (it draws its own randomness)", caller())

    async def create_unix_connection(self, *args: Any, **kwargs: Any) -> Any:
        raise NotSimulated("a Unix socket", caller())

    async def create_unix_server(self, *args: Any, **kwargs: Any) -> Any:
        raise NotSimulated("a Unix socket", caller())

    def add_signal_handler(self, sig: int, callback: Callable[[*Ts], object], *args: *Ts) -> None:
        raise NotSimulated("a signal", caller())

    def add_reader(self, fd: Any, callback: Callable[[*Ts], object], *args: *Ts) -> None:
        raise NotSimulated("a file descriptor", caller())

    def add_writer(self, fd: Any, callback: Callable[[*Ts], object], *args: *Ts) -> None:
        raise NotSimulated("a file descriptor", caller())

    async def getaddrinfo(
        self, host: Any, port: Any, *, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> Any:
        """A simulated host's name is its address."""
        return [(2, 1, 6, "", (host, port))]

    async def create_connection(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: Any = None,
        port: Any = None,
        **kwargs: Any,
    ) -> Any:
        """To a server in the simulation. Without TLS, and not from sockets."""
        return await self._connector(kwargs).create_connection(self, protocol_factory, str(host), int(port))

    async def create_server(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: Any = None,
        port: Any = None,
        **kwargs: Any,
    ) -> Any:
        """On the host of the simulated process that calls."""
        return await self._connector(kwargs).create_server(self, protocol_factory, str(host), int(port))

    def _connector(self, kwargs: dict[str, Any]) -> Connector:
        if kwargs.get("ssl") or kwargs.get("sock"):
            raise NotSimulated("a connection with TLS, or over a socket that exists already", caller())
        if self.connector is None:
            raise NotSimulated("a connection outside of a Simulation", caller())
        return self.connector

    def _process_events(self, event_list: Any) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """There is nobody to wake."""


def _group_of(handle: Any) -> Group | None:
    group: Group | None = handle._context.get(_GROUP)
    return group


def _stack(coro: Any) -> list[str]:
    """Where a suspended coroutine stands, from its outermost await to the innermost that can be seen."""
    places: list[str] = []
    while coro is not None and len(places) < SHOWN_FRAMES:
        frame = getattr(coro, "cr_frame", None) or getattr(coro, "gi_frame", None)
        if frame is None:
            frame = getattr(coro, "ag_frame", None)
        if frame is None:
            break
        places.append(f"{short_path(frame.f_code.co_filename)}:{frame.f_lineno} in {frame.f_code.co_name}")
        coro = getattr(coro, "cr_await", None) or getattr(coro, "gi_yieldfrom", None)
    return places
