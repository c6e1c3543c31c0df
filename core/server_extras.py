"""What only some servers need: calls in progress beside one another, answers that are owed, idle timeouts, continuations.

A server without any of these has no `Extras`, and an idle one stays small. The cell is the authority over when something
runs; this is its memory of it.
"""

import asyncio
import inspect
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from .activation import Activation, Steps
from .calls import Handling, Request
from .pid import Pid
from .runtime import Timer

if TYPE_CHECKING:
    from .server_cell import ServerCell

F = TypeVar("F", bound=Callable[..., Any])


def reentrant(method: F) -> F:
    """Let calls of an `async def` method run beside others of their server: they hold up nobody while they wait.

        @quorate.reentrant
        async def fetch(self, url: str) -> bytes: ...

    Messages still *begin* in the order in which they came, and such a call runs to its first await before the next one
    begins; after that it is interleaved with all others at their awaits. It has a task and context variables of its
    own, and what ends the server cancels it. Raises `TypeError` for a method that is not `async def`.
    """
    if not inspect.iscoroutinefunction(method):
        raise TypeError(f"@reentrant is for async def methods: {method!r} is none")
    method._quorate_reentrant = True  # type: ignore[attr-defined]
    return method


class Continue:
    """Something that a handler asked to be done next."""

    __slots__ = ("info",)

    def __init__(self, info: object) -> None:
        self.info = info

    def __repr__(self) -> str:
        return f"continue with {self.info!r}"


class IdleTimeout:
    """Nothing came for as long as `idle_timeout_s`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "idle timeout"


class Extras:
    """See above."""

    __slots__ = (
        "active",
        "continues",
        "farewells",
        "idle_s",
        "idle_since",
        "owed",
        "running",
        "starting",
        "timed_out",
        "timer",
        "wait_for_end",
    )

    def __init__(self) -> None:
        self.continues: deque[Continue] = deque()
        self.owed: dict[Request, None] = {}  # who will be answered later
        self.farewells: list[Callable[[], object]] = []  # what callers are told when the process has ended
        self.wait_for_end: dict[Pid, None] = {}  # those callers, and who waits for them
        self.running: dict[ReentrantCall, None] = {}
        self.starting = 0  # of those: how many have not come to their first await
        self.idle_s: float | None = None
        self.idle_since = 0.0
        self.active = True  # something was handled since `idle_since`
        self.timed_out: deque[IdleTimeout] = deque()
        self.timer: Timer | None = None

    # -- idle timeouts -------------------------------------------------------------------------------------

    def resting(self, cell: "ServerCell") -> None:
        """The server has nothing to do: from now on it is idle. The one timer is moved on when it rings too early."""
        if self.idle_s is None or self.timed_out or self.running:
            return
        clock = cell.kernel.clock
        if self.active:
            self.active = False
            self.idle_since = clock.monotonic()
        if self.timer is None:
            left_s = self.idle_since + self.idle_s - clock.monotonic()
            self.timer = clock.call_later(max(0.0, left_s), self._ring, cell)

    def _ring(self, cell: "ServerCell") -> None:
        self.timer = None
        if self.idle_s is None or not cell.at_rest():
            return  # it is busy: `resting` will follow
        if cell.kernel.clock.monotonic() < self.idle_since + self.idle_s:
            self.resting(cell)
        else:
            self.timed_out.append(IdleTimeout())
            cell.go_on()

    def set_idle(self, cell: "ServerCell", idle_s: float | None) -> None:
        self.idle_s = idle_s
        self.timed_out.clear()
        self.active = True
        self.stop_timer()
        if cell.at_rest():
            self.resting(cell)

    def stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class ReentrantCall(Handling):
    """A call of a reentrant method in progress. See `Stepped`.

    What it calls waits for those who wait for it, and not for its server, which is free.
    """

    __slots__ = ("activation", "begun", "cell", "request")

    def __init__(self, cell: "ServerCell", request: Request) -> None:
        super().__init__(request.chain)
        self.cell = cell
        self.request = request
        self.begun = False
        self.activation: Activation | None = None

    @property
    def process(self) -> Pid:
        return self.cell.pid

    def start(self, steps: Steps, context: Any) -> None:
        self.activation = _Beginning(self.cell.kernel.scheduler, self, steps, context, self.cell.label)

    def cancel(self) -> None:
        if self.activation is not None:
            self.activation.cancel()

    def gate_open(self) -> bool:
        return self.cell.control is None or self.cell.control.gate_open()

    def returned(self, value: object) -> Steps | None:
        if self.gate_open():
            self.cell.reentrant_returned(self, value)
        else:
            self.cell.reentrant_raised(self, asyncio.CancelledError("the gate of the process is closed"))
        return None

    def raised(self, error: BaseException) -> Steps | None:
        self.cell.reentrant_raised(self, error)
        return None

    def rest(self) -> None:
        self.cell.reentrant_over(self)

    def broken(self, error: BaseException) -> None:
        self.cell.broken(error)

    def describe(self) -> str:
        return f"{self.cell.describe()} in {self.request.method}"


class _Beginning(Activation):
    """Tells its server when the method has come to its first await, so that the next message may begin."""

    __slots__ = ()

    def _advance(self, error: BaseException | None) -> Any:
        try:
            return super()._advance(error)
        finally:
            call: Any = self._stepped
            if not call.begun:
                call.begun = True
                call.cell.reentrant_began()
