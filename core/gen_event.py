"""Event managers: a process in which any number of handlers hear the same events. Erlang's gen_event.

    class Orders(GenEvent[Order]):
        pass

    orders = Events(await node.start(Orders))
    recent = await orders.add(Recent, 10)
    orders.notify(Order("tea"))
    print(await recent.call(Recent.all))

Users talk to a manager through `Events` and `HandlerRef` (`events.py`), here and from other nodes, where the classes of
handlers have to be exported. The manager is the authority over its handlers. They hear events in the order in which they
were added, one event after the other. A handler that raises is removed, alone, and reported; whoever added it under
supervision is told by a `HandlerGone` message. What must never happen here: a handler's failure reaches another
handler, the manager, or the one who notified.

A supervised handler and its owner are linked as in Erlang: when the owner ends, its handlers are removed; when the
manager is killed the owner gets its exit signal, and when it ends in order only `HandlerGone`. The manager traps exits
for that; those of processes that own no handler end it as they end any process.
(https://www.erlang.org/doc/apps/stdlib/gen_event.html)
"""

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Mapping, Sequence
from inspect import isawaitable
from typing import Any, Generic, ParamSpec, TypeVar

from .cell import ALIVE
from .crash import ServerStatus, texts
from .errors import (
    CalleeExited,
    CallError,
    EncodeError,
    HandlerExists,
    NoHandler,
    NotCallable,
    RemoteError,
    TooLarge,
)
from .event_handler import EventHandler
from .exits import is_word
from .gen_server import GenServer, set_attributes
from .handlers import Refused, run_init
from .pid import NORMAL, SHUTDOWN, Down, Exit, ExitSignal, HandlerGone, Pid
from .plain import plain_error, show
from .replies import Reply, for_the_caller
from .telling import Log

log = Log("quorate.process")

P = ParamSpec("P")
E = TypeVar("E")
Kind = Callable[..., EventHandler[Any]]
_CALLABLE = frozenset(
    (
        "add_handler",
        "call_handler",
        "delete_handler",
        "notify",
        "swap_handler",
        "sync_notify",
        "which_handlers",
    )
)
_NOTHING = object()


class _Entry:
    """One handler in its place."""

    __slots__ = ("handler", "id", "owner", "waits")

    def __init__(self, id: str, handler: EventHandler[Any], owner: Pid | None) -> None:
        self.id = id
        self.handler = handler
        self.owner = owner
        self.waits = {
            hook
            for hook in ("handle_event", "handle_info")
            if inspect.iscoroutinefunction(getattr(handler, hook))
        }


class _Begun:
    """How a hook that was called outside a task went: what it returned or raised."""

    __slots__ = ("failure", "result")

    def __init__(self, result: object = None, failure: BaseException | None = None) -> None:
        self.result = result
        self.failure = failure


class GenEvent(GenServer, Generic[E], behaviour=True):
    """Base of event managers; itself one for events of any kind. Talk to it through `Events`.

    The methods here are what `Events` calls; the classes of handlers travel as the names under which they are exported.
    """

    _quorate_handlers: dict[str, _Entry] | None = None
    _quorate_owners: dict[Pid, bool] | None = None  # whether the link with it was made here

    @classmethod
    def _quorate_set_methods(cls, methods: dict[str, Callable[..., Any]]) -> None:
        own = {name: inspect.getattr_static(cls, name) for name in _CALLABLE}
        super()._quorate_set_methods(methods | own)

    @property
    def _handlers(self) -> dict[str, _Entry]:
        if self._quorate_handlers is None:
            self._quorate_handlers = {}
        return self._quorate_handlers

    @property
    def _owners(self) -> dict[Pid, bool]:
        if self._quorate_owners is None:
            self._quorate_owners = {}
        return self._quorate_owners

    # -- what is called ------------------------------------------------------------------------------------

    def notify(self, event: E) -> Any:
        """Give an event to every handler."""
        return self._publish("handle_event", event)

    def sync_notify(self, event: E) -> Any:
        """As `notify`: called, and not cast, it returns when every handler has had the event."""
        return self._publish("handle_event", event)

    def add_handler(
        self,
        kind: Kind,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        id: str | None = None,
        owner: Pid | None = None,
    ) -> str:
        """Add `kind(*args, **kwargs)`; returns its id (default: the name of its class).

        Raises `HandlerExists`, and `RemoteError` or `CalleeExited` for what its `__init__` raises.
        """
        id = self._free_id(kind, id)
        try:
            handler = self._made(kind, args, kwargs or {})
        except BaseException as error:
            if self._passes(error):
                raise
            raise Refused(_told(error, f"the handler {id!r} refused to be added")) from None
        self._put(_Entry(id, handler, owner))
        return id

    async def delete_handler(self, id: str, reason: object = NORMAL) -> Any:
        """Remove a handler; returns what its `terminate(reason)` does. Raises `NoHandler`."""
        return await self._take_out(self._entry(id), reason, NORMAL)

    async def swap_handler(
        self,
        old: str,
        kind: Kind,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        id: str | None = None,
        owner: Pid | None = None,
    ) -> str:
        """Put a handler in the place of another, whose `hand_over()` goes to its `take_over(state)`; returns its id.

        When there is no `old`, it is just added. When it cannot be, the old one is gone all the same. Raises as
        `add_handler`.
        """
        id = self._free_id(kind, id, besides=old)
        try:
            await self._swap(self._handlers.get(old), id, kind, args, kwargs or {}, owner)
        except BaseException as error:
            if self._passes(error):
                raise
            raise Refused(_told(error, f"the handler {id!r} refused to be added")) from None
        return id

    async def call_handler(
        self, id: str, method: str, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call a public method of a handler. Raises `NoHandler`, `NotCallable`, and as `Ref.call` for what it raises."""
        entry = self._entry(id)
        function = entry.handler._quorate_methods.get(method)
        if function is None:
            raise Refused(
                NotCallable(f"the handler {id!r} has no public method {method!r:.100}: nothing happened")
            )
        try:
            result = function(entry.handler, *args, **(kwargs or {}))
            if isawaitable(result):
                result = await result
        except BaseException as error:
            trace = error.__traceback__
            if self._passes(error):
                raise
            if isinstance(error, TypeError) and trace is not None and trace.tb_next is None:
                raise Refused(NotCallable(f"{id}.{method}: {error}: nothing happened")) from None
            told = for_the_caller(function, error)
            if told is not None:
                await self._heed(entry)
                raise Reply(told) from None
            await self._crashed(entry, error, (method, *args))
            raise Refused(_told(error, f"the handler {id!r} ended itself")) from None
        await self._heed(entry)
        return result

    def which_handlers(self) -> list[str]:
        """The ids of the handlers, in the order in which they were added."""
        return list(self._handlers)

    def install(self, kind: Callable[P, EventHandler[Any]], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Add a handler from the manager's own `__init__`, so that a restarted manager has it too."""
        id = self._free_id(kind, None)
        self._put(_Entry(id, self._made(kind, args, kwargs), None))

    # -- hooks of the process ------------------------------------------------------------------------------

    def handle_info(self, message: Any) -> Any:
        return self._publish("handle_info", message)

    def handle_down(self, down: Down) -> Any:
        return self._publish("handle_info", down)

    def handle_exit(self, signal: ExitSignal) -> Any:
        if signal.pid in self._owners:
            return self._owner_gone(signal)
        if not is_word(signal.reason, NORMAL):
            raise Exit(signal.reason)
        return None

    async def terminate(self, reason: object) -> None:
        """The manager ends: so do its handlers. A subclass that overrides this calls it."""
        for entry in list(self._handlers.values()):
            await self._take_out(entry, "stop", SHUTDOWN)

    # -- events --------------------------------------------------------------------------------------------

    def _publish(self, hook: str, message: object) -> Coroutine[Any, Any, None] | None:
        """Call a hook of every handler; a coroutine for what is left as soon as something has to be awaited."""
        entries = tuple(self._handlers.values())
        for number, entry in enumerate(entries):
            if hook in entry.waits:
                return self._publish_rest(entries[number:], hook, message, None)
            try:
                result = getattr(entry.handler, hook)(message)
            except BaseException as error:
                if self._passes(error):
                    raise
                return self._publish_rest(entries[number:], hook, message, _Begun(failure=error))
            if entry.handler._quorate_leaving is not None or (result is not None and isawaitable(result)):
                return self._publish_rest(entries[number:], hook, message, _Begun(result))
        return None

    async def _publish_rest(
        self, entries: tuple[_Entry, ...], hook: str, message: object, begun: _Begun | None
    ) -> None:
        for entry in entries:
            try:
                if begun is None:
                    result = getattr(entry.handler, hook)(message)
                elif begun.failure is not None:
                    raise begun.failure
                else:
                    result = begun.result
                if isawaitable(result):
                    await result
            except BaseException as error:
                if self._passes(error):
                    raise
                await self._crashed(entry, error, message)
            else:
                await self._heed(entry)
            begun = None

    async def _heed(self, entry: _Entry) -> None:
        """Do what the handler has decided about itself."""
        leaving, entry.handler._quorate_leaving = entry.handler._quorate_leaving, None
        if leaving is None:
            return
        if leaving.kind is None:
            await self._take_out(entry, "remove_handler", NORMAL)
            return
        try:
            await self._swap(entry, entry.id, leaving.kind, leaving.args, leaving.kwargs, entry.owner)
        except BaseException as error:
            if self._passes(error):
                raise
            self._report(entry, error, leaving)
            self._tell_owner(entry.owner, entry.id, error)

    # -- handlers come and go ------------------------------------------------------------------------------

    def _entry(self, id: str) -> _Entry:
        entry = self._handlers.get(id)
        if entry is None:
            raise Refused(NoHandler(f"{self.pid} has no handler {id!r:.100}: nothing happened"))
        return entry

    def _free_id(self, kind: object, id: str | None, besides: str | None = None) -> str:
        if not (isinstance(kind, type) and issubclass(kind, EventHandler)):
            raise Refused(NotCallable(f"{kind!r:.200} is no EventHandler class: nothing happened"))
        id = id or kind.__name__
        if id != besides and id in self._handlers:
            raise Refused(HandlerExists(f"{self.pid} has a handler {id!r:.100} already: nothing happened"))
        return id

    def _made(self, kind: Kind, args: Sequence[Any], kwargs: Mapping[str, Any]) -> EventHandler[Any]:
        made: Any = kind
        handler: EventHandler[Any] = made.__new__(made)
        handler._quorate_cell = self._quorate_cell
        run_init(handler, args, kwargs)
        return handler

    def _put(self, entry: _Entry) -> None:
        self._handlers[entry.id] = entry
        owner = entry.owner
        if owner is not None and owner not in self._owners:
            cell = self._quorate_cell
            self._owners[owner] = cell.links is None or owner not in cell.links
            self.process.trap_exits = True
            self.process.link(owner)

    async def _swap(
        self,
        old: _Entry | None,
        id: str,
        kind: Kind,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        owner: Pid | None,
    ) -> None:
        state: Any = _NOTHING
        if old is not None:
            try:
                state = old.handler.hand_over()
                if isawaitable(state):
                    state = await state
            except BaseException as error:
                if self._passes(error):
                    raise
                state = _NOTHING
                self._report(old, error, "hand_over")
            await self._take_out(old, ("swapped", id), ("swapped", id))
        handler = self._made(kind, args, kwargs)
        if state is not _NOTHING:
            result = handler.take_over(state)
            if isawaitable(result):
                await result
        self._put(_Entry(id, handler, owner))

    async def _take_out(self, entry: _Entry, reason: object, told: object) -> Any:
        """Remove a handler, and run its `terminate`; its owner is `told` why."""
        del self._handlers[entry.id]
        result: Any = None
        try:
            result = entry.handler.terminate(reason)
            if isawaitable(result):
                result = await result
        except BaseException as error:
            if self._passes(error):
                raise
            result = None
            self._report(entry, error, "terminate")
        self._tell_owner(entry.owner, entry.id, told)
        return result

    async def _crashed(self, entry: _Entry, error: BaseException, message: object) -> None:
        """A handler raised: it is removed, and nothing else happens."""
        reason = error.reason if isinstance(error, Exit) else error
        if reason is error:
            self._report(entry, error, message)
        await self._take_out(entry, reason, reason)

    # -- owners --------------------------------------------------------------------------------------------

    def _tell_owner(self, owner: Pid | None, id: str, reason: object) -> None:
        """Tell an owner that its handler is gone, and let go of an owner that has no other."""
        if owner is None:
            return
        kernel = self._quorate_cell.kernel
        gone = HandlerGone(self.pid, id, reason)
        if not kernel.is_here(owner):
            try:
                kernel.codec.encode(gone)
            except (EncodeError, TooLarge):
                gone = HandlerGone(self.pid, id, show(reason))
        kernel.forward(owner, gone)  # however busy the link is
        more = any(other.owner == owner for other in self._handlers.values())
        if not more and self._owners.pop(owner, False):
            self.process.unlink(owner)

    async def _owner_gone(self, signal: ExitSignal) -> None:
        """The owner of handlers has ended: they go, and the manager stays, unless it was linked with it before."""
        ours = self._owners.pop(signal.pid)
        for entry in list(self._handlers.values()):
            if entry.owner == signal.pid:
                entry.owner = None  # it hears nothing any more
                await self._take_out(entry, ("stop", signal.reason), None)
        if not ours and not is_word(signal.reason, NORMAL):
            raise Exit(signal.reason)

    # -- failures ------------------------------------------------------------------------------------------

    def _passes(self, error: BaseException) -> bool:
        """Whether an exception is none of a handler's: the manager is being stopped, or the program is."""
        if isinstance(error, asyncio.CancelledError):
            return self._quorate_cell.state != ALIVE or not self._quorate_cell.gate_open()
        return isinstance(error, KeyboardInterrupt | GeneratorExit | Refused)

    def _report(self, entry: _Entry, error: BaseException, message: object) -> None:
        """One structured log record, as of a process that crashed: see `crash.py`."""
        handler = entry.handler
        try:
            status = handler.format_status(ServerStatus(_attributes(handler), message, error))
            shown = texts(status.state)
        except BaseException as failure:  # noqa: BLE001 -- the user's hook may raise anything; nothing is shown then
            status = ServerStatus(reason=error)
            shown = {"state": f"(format_status raised {type(failure).__name__}: nothing is shown)"}
        log.error(
            "handler %r of %s raised %s and is removed; last message: %s",
            entry.id,
            self._quorate_cell.describe(),
            show(status.reason),
            show(status.message),
            exc_info=error if status.reason is error else None,
            extra={
                "quorate": {
                    "event": "handler_crash",
                    "pid": self.pid,
                    "name": self._quorate_cell.name,
                    "handler": entry.id,
                    "kind": type(handler).__qualname__,
                    "reason": status.reason,
                    "last_message": show(status.message),
                    "state": shown,
                    "owner": entry.owner,
                }
            },
        )

    def _quorate_state(self) -> dict[str, Any]:
        handlers = {id: _attributes(entry.handler) for id, entry in self._handlers.items()}
        return {"handlers": handlers} | super()._quorate_state()

    def _quorate_replace(self, changes: Mapping[str, Any]) -> None:
        """The attributes of the manager; of `handlers`, those of each that is named by its id."""
        handlers = changes.get("handlers", {})
        unknown = sorted(handlers.keys() - self._handlers.keys())
        if unknown:
            raise ValueError(f"there is no handler {unknown[0]!r}")
        super()._quorate_replace({name: value for name, value in changes.items() if name != "handlers"})
        for id, attributes in handlers.items():
            set_attributes(self._handlers[id].handler, attributes)


def _attributes(handler: EventHandler[Any]) -> dict[str, Any]:
    """The state of a handler, for people."""
    return {name: value for name, value in vars(handler).items() if not name.startswith("_quorate_")}


def _told(error: BaseException, what: str) -> CallError:
    """What the caller of a handler is told of an exception of it."""
    if isinstance(error, Exit):
        return CalleeExited(f"{what}: {show(error.reason)}", error.reason)
    answer = RemoteError(*plain_error(error))
    answer.__cause__ = error
    return answer
