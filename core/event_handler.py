"""The class that users write for an event manager: a handler of events, with a state of its own.

    class Recent(EventHandler[Order]):
        def __init__(self, count: int) -> None:
            self.orders: deque[Order] = deque(maxlen=count)

        def handle_event(self, event: Order) -> None:
            self.orders.append(event)

        def all(self) -> list[Order]:                   # await recent.call(Recent.all)
            return list(self.orders)

A handler is no process: it lives in that of its manager (`gen_event.py`), which is the authority over which handlers there
are, and runs their methods one at a time. What must never happen in a handler: something that blocks or takes long, for all
other handlers wait for it. Hooks and public methods may be `async def`.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, ClassVar, Generic, ParamSpec, TypeVar

from .crash import ServerStatus
from .gen_server import public_methods
from .pid import Pid
from .process import Process

if TYPE_CHECKING:
    from .cell import Cell

P = ParamSpec("P")
E = TypeVar("E")


class Leaving:
    """What a handler has decided about itself: to be removed, or (with `kind`) to be replaced."""

    __slots__ = ("args", "kind", "kwargs")

    def __init__(
        self, kind: "Callable[..., EventHandler[Any]] | None", args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self.kind = kind
        self.args = args
        self.kwargs = kwargs


class EventHandler(Generic[E]):
    """Base of handlers. `self.pid` and `self.process`, those of the manager, exist already in `__init__`."""

    _quorate_cell: "Cell"
    _quorate_leaving: Leaving | None = None
    _quorate_methods: ClassVar[dict[str, Callable[..., Any]]] = {}
    _quorate_hooks: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        taken = sorted(_OWN & vars(cls).keys())
        if taken:
            raise TypeError(
                f"{cls.__qualname__}.{taken[0]}: every EventHandler has that name: choose another one"
            )
        cls._quorate_hooks = frozenset(vars(EventHandler))
        cls._quorate_methods = public_methods(cls)

    @property
    def pid(self) -> Pid:
        return self._quorate_cell.pid

    @property
    def process(self) -> Process:
        """The manager's process: send, monitor and so on. What it gets comes to `handle_info` of every handler."""
        return Process(self._quorate_cell)

    # -- hooks ---------------------------------------------------------------------------------------------

    def handle_event(self, event: E) -> Awaitable[object] | None:
        """An event that somebody notified. The default does nothing with it."""
        return None

    def handle_info(self, message: Any) -> Awaitable[object] | None:
        """A plain message, `Down` or `ExitSignal` that reached the manager. The default does nothing with it."""
        return None

    def terminate(self, reason: object) -> Awaitable[object] | object:
        """The handler is removed; what this returns goes to the one who removed it.

        `reason` is what that one gave (default "normal"); "remove_handler": it removed itself; ("swapped", id): another
        takes its place; ("stop", why): the one who supervised it has ended; "stop": its manager ends; the exception:
        it raised that.
        """
        return None

    def hand_over(self) -> Any:
        """The state for the handler that takes this one's place. The default has none. May be `async def`."""
        return None

    def take_over(self, state: Any) -> Awaitable[object] | None:
        """`state` is what the handler whose place this one takes has handed over."""
        return None

    def format_status(self, status: ServerStatus) -> ServerStatus:
        """What reports of a crash of this handler may show: see `GenServer.format_status`."""
        return status

    # -- what it may do with itself ------------------------------------------------------------------------

    def remove(self) -> None:
        """Be removed when the hook or method at hand has returned."""
        self._quorate_leaving = Leaving(None, (), {})

    def swap(self, kind: "Callable[P, EventHandler[Any]]", /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Be replaced by `kind(*args)` under the same id, when the hook or method at hand has returned."""
        self._quorate_leaving = Leaving(kind, args, kwargs)


_OWN = frozenset({"pid", "process", "remove", "swap"})
