"""A typed address of a server: `Ref[Counter]` knows what can be asked of a `Counter` and what the answers are.

A ref is a value: frozen, hashable, equal by its pid, and it travels in messages. It owns nothing; the process may be
gone, and its own node alone knows.
"""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, cast, overload

from .calls import PendingCall, Request
from .cell import NOT_NOW
from .gen_server import GenServer
from .pid import Pid

if TYPE_CHECKING:
    from .kernel import Kernel

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound=GenServer)
S_co = TypeVar("S_co", bound=GenServer, covariant=True)
DEFAULT_TIMEOUT: float = -1.0  # the node's own `call_timeout_s`


class Ref(Generic[S_co]):
    """The address of a server, as seen from one node. `ref.pid` is who it is."""

    __slots__ = ("_kernel", "_timeout_s", "pid")

    def __init__(self, kernel: "Kernel", pid: Pid, timeout_s: float | None = DEFAULT_TIMEOUT) -> None:
        self.pid = pid
        self._kernel = kernel
        self._timeout_s = kernel.config.call_timeout_s if timeout_s == DEFAULT_TIMEOUT else timeout_s

    @classmethod
    def of(cls, server: S) -> "Ref[S]":
        """The ref of a server, for the server's own use: `Ref.of(self)`."""
        cell = server._quorate_cell
        return Ref(cell.kernel, cell.pid)

    @overload
    def call(
        self,
        method: Callable[Concatenate[S_co, P], Coroutine[Any, Any, R]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Coroutine[Any, Any, R]: ...
    @overload
    def call(
        self, method: Callable[Concatenate[S_co, P], R], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, R]: ...
    async def call(
        self, method: Callable[Concatenate[S_co, P], Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> Any:
        """Call a method and wait for what it returns: `await ref.call(Counter.incr, by=2)`.

        Raises `CallTimeout` after 5 s (see `within`), `NoProcess`, `NodeDown`, `CalleeExited`, `CallCycle`,
        `NotCallable`, `RemoteError` when the method raised; `EncodeError`, `TooLarge` and `Busy` when the arguments
        cannot be sent to another node. Only `NoProcess`, `CallCycle`, `NotCallable` and the last three say that
        nothing happened.
        """
        kernel, pid = self._kernel, self.pid
        cell = kernel.cells.get(pid.serial)
        scheduler = kernel.scheduler
        if (
            cell is not None and cell.pid is pid and scheduler.at_once_left > 0
        ):  # `Kernel.call`, with less ado
            scheduler.at_once_left -= 1
            answer = cell.at_once(method.__name__, args, kwargs)
            if type(answer) is PendingCall:
                return await kernel.wait_for(answer, self._timeout_s)
            if answer is not NOT_NOW:
                return answer
        return await kernel.ask(pid, method.__name__, args, kwargs, self._timeout_s)

    def cast(
        self, method: Callable[Concatenate[S_co, P], object], /, *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Have a method called and do not wait. Whether it was, nobody tells.

        Raises `EncodeError`, `TooLarge` and `Busy` when the arguments cannot be sent to another node.
        """
        self._kernel.request(self.pid, Request(method.__name__, args, kwargs, None))

    def within(self, timeout_s: float | None) -> "Ref[S_co]":
        """The same ref with another timeout for its calls, in seconds; None: wait for ever."""
        if timeout_s is not None and not timeout_s > 0:
            raise ValueError(f"a timeout must be over 0 seconds, not {timeout_s:g}")
        return Ref(self._kernel, self.pid, timeout_s)

    def send(self, message: object) -> None:
        """Send a plain message: it comes to `handle_info`."""
        self._kernel.send(self.pid, message)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ref) and self.pid == cast("Ref[GenServer]", other).pid

    def __hash__(self) -> int:
        return hash(self.pid)

    def __repr__(self) -> str:
        return f"Ref({self.pid})"
