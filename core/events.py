"""How one talks to an event manager: typed addresses of a `GenEvent` and of its handlers.

    events = Events(await node.start(Orders))                # or Events(node.ref(pid, Orders)), from anywhere
    recent = await events.add(Recent, 10)                    # HandlerRef[Recent]
    events.notify(Order("tea"))
    await events.sync_notify(Order("milk"))
    print(await recent.call(Recent.all))
    await recent.remove()

Both are values that own nothing: the manager alone knows which handlers it has. On another node the classes of handlers
must be exported (`node.export(Recent)`, on both).
"""

from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from .errors import CallError, HandlerExists, NoHandler, RemoteError
from .event_handler import EventHandler
from .gen_event import GenEvent
from .pid import Pid
from .ref import Ref

P = ParamSpec("P")
R = TypeVar("R")
E = TypeVar("E")
H = TypeVar("H", bound=EventHandler[Any])
H_co = TypeVar("H_co", bound=EventHandler[Any], covariant=True)
_ERRORS: dict[str, type[CallError]] = {
    f"{kind.__module__}.{kind.__qualname__}": kind for kind in (HandlerExists, NoHandler)
}


class Events(Generic[E]):
    """An event manager, as seen from one node. Its calls raise as those of the `Ref`, whose timeout is theirs."""

    __slots__ = ("_owner", "ref")

    def __init__(self, ref: Ref[GenEvent[E]], *, _owner: Pid | None = None) -> None:
        self.ref = ref
        self._owner = _owner

    @property
    def pid(self) -> Pid:
        """The manager's."""
        return self.ref.pid

    def within(self, timeout_s: float | None) -> "Events[E]":
        """The same with another timeout, in seconds; None: wait for ever."""
        return Events(self.ref.within(timeout_s), _owner=self._owner)

    def supervised_by(self, owner: Pid) -> "Events[E]":
        """The same, but handlers that are added through it belong to `owner`: `events.supervised_by(self.pid)`.

        The owner gets `HandlerGone(manager, handler, reason)` when one of them goes: "normal" when it was removed or
        removed itself, "shutdown" when its manager ends, ("swapped", id), or the exception that it raised. When the owner
        ends they are removed. It is linked with the manager: should that be killed, it gets the exit signal.
        """
        return Events(self.ref, _owner=owner)

    # -- events --------------------------------------------------------------------------------------------

    def notify(self, event: E) -> None:
        """Have an event given to every handler, and do not wait. Raises as `Ref.cast`."""
        self.ref.cast(GenEvent.notify, event)

    async def sync_notify(self, event: E) -> None:
        """Have an event given to every handler; returns when all have had it."""
        await self.ref.call(GenEvent.sync_notify, event)

    # -- handlers ------------------------------------------------------------------------------------------

    async def add(self, kind: Callable[P, H], /, *args: P.args, **kwargs: P.kwargs) -> "HandlerRef[H]":
        """Add the handler `kind(*args, **kwargs)`. Its id is the name of its class.

        Raises `HandlerExists`, `RemoteError` when its `__init__` raises, `CalleeExited` when that raises `Exit`.
        """
        return await self._add(kind, args, kwargs, None)

    async def add_as(
        self, id: str, kind: Callable[P, H], /, *args: P.args, **kwargs: P.kwargs
    ) -> "HandlerRef[H]":
        """As `add`, by an id: for several handlers of one class."""
        return await self._add(kind, args, kwargs, id)

    async def _add(
        self, kind: Callable[..., H], args: tuple[Any, ...], kwargs: dict[str, Any], id: str | None
    ) -> "HandlerRef[H]":
        asked = self.ref.call(GenEvent.add_handler, kind, args, kwargs, id, self._owner)
        return HandlerRef(self, await _answer(asked))

    def handler(self, kind: type[H], id: str | None = None) -> "HandlerRef[H]":
        """The address of a handler, by its class (and its id, if it was added by one). Whether it is there, calls tell."""
        return HandlerRef(self, id or kind.__name__)

    async def which_handlers(self) -> list[str]:
        """The ids of the handlers, in the order in which they were added."""
        return await self.ref.call(GenEvent.which_handlers)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Events) and self.pid == other.pid

    def __hash__(self) -> int:
        return hash(self.pid)

    def __repr__(self) -> str:
        return f"Events({self.pid})"


class HandlerRef(Generic[H_co]):
    """The address of one handler: its manager and its id. All its calls raise `NoHandler` when it is not there."""

    __slots__ = ("events", "id")

    def __init__(self, events: Events[Any], id: str) -> None:
        self.events = events
        self.id = id

    @overload
    def call(
        self,
        method: Callable[Concatenate[H_co, P], Coroutine[Any, Any, R]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Coroutine[Any, Any, R]: ...
    @overload
    def call(
        self, method: Callable[Concatenate[H_co, P], R], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, R]: ...
    def call(self, method: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        """Call a public method of the handler and wait for what it returns.

        Raises as `Ref.call`, where it is the handler that has the methods. What the method raises removes the handler,
        but for what it raises for its caller (`Reply`, `@raises`).
        """
        return _answer(self.events.ref.call(GenEvent.call_handler, self.id, method.__name__, args, kwargs))

    async def remove(self, reason: object = "normal") -> Any:
        """Remove the handler; returns what its `terminate(reason)` does."""
        return await _answer(self.events.ref.call(GenEvent.delete_handler, self.id, reason))

    async def swap(self, kind: Callable[P, H], /, *args: P.args, **kwargs: P.kwargs) -> "HandlerRef[H]":
        """Put `kind(*args)` in its place, with what it hands over. The new id is the name of the new class.

        Whether the new one is supervised, and by whom, `supervised_by` says. Raises as `Events.add`, but no `NoHandler`:
        without an old handler the new one is just added.
        """
        return await self._swap(kind, args, kwargs, None)

    async def swap_as(
        self, id: str, kind: Callable[P, H], /, *args: P.args, **kwargs: P.kwargs
    ) -> "HandlerRef[H]":
        """As `swap`, by an id for the new one; it may be the same."""
        return await self._swap(kind, args, kwargs, id)

    async def _swap(
        self, kind: Callable[..., H], args: tuple[Any, ...], kwargs: dict[str, Any], id: str | None
    ) -> "HandlerRef[H]":
        asked = self.events.ref.call(
            GenEvent.swap_handler, self.id, kind, args, kwargs, id, self.events._owner
        )
        return HandlerRef(self.events, await _answer(asked))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HandlerRef) and (self.events, self.id) == (other.events, other.id)

    def __hash__(self) -> int:
        return hash((self.events, self.id))

    def __repr__(self) -> str:
        return f"HandlerRef({self.id!r} of {self.events.pid})"


async def _answer(asked: Coroutine[Any, Any, R]) -> R:
    """The answer of a manager; its own errors come from other nodes by their names."""
    try:
        return await asked
    except RemoteError as error:
        kind = _ERRORS.get(error.type_name)
        if kind is None:
            raise
        raise kind(error.text) from None
