"""Servers: a class whose public methods other processes call, one message at a time.

    class Counter(GenServer):
        def __init__(self, start: int = 0) -> None:
            self.n = start

        def incr(self, by: int = 1) -> int:
            self.n += by
            return self.n

    ref = await node.start(Counter, start=3)
    total = await ref.call(Counter.incr, by=2)

Every public `def` or `async def` of the class (and of its bases up to `GenServer`) can be called from elsewhere, by its
name; hooks and names with a leading underscore cannot. An exception in a method ends the server with it as the reason,
and the caller gets `RemoteError`; `raise Exit(reason)` ends it on purpose. Arguments that do not fit the method harm
nobody: the caller gets `NotCallable`. What a method raises for its caller alone, and answers that come later: `replies.py`;
calls beside one another: `reentrant`.

When not to use it: a plain object is enough where nobody else shares it; and a method that blocks the thread blocks the
node, so use `asyncio.to_thread` in it.
"""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from .crash import ServerStatus
from .pid import Down, ExitSignal, Pid
from .plain import show
from .process import Process
from .replies import From
from .telling import Log

if TYPE_CHECKING:
    from .server_cell import ServerCell

log = Log("quorate.process")
_ABSENT = object()
T = TypeVar("T")


class GenServer:
    """Base of servers. A subclass sets its state in `__init__`, where `self.pid` and `self.process` exist already."""

    _quorate_cell: "ServerCell"
    _quorate_methods: ClassVar[dict[str, Callable[..., Any]]] = {}
    _quorate_plain: ClassVar[dict[str, Callable[..., Any]]] = {}  # those of them that are `def`
    _quorate_reentrant: ClassVar[frozenset[str]] = frozenset()  # those whose calls run beside others
    _quorate_hooks: ClassVar[frozenset[str]] = frozenset()
    _quorate_cell_kind: ClassVar[Any] = None  # of behaviours that run in their own way; else `ServerCell`

    def __init_subclass__(cls, *, behaviour: bool = False, **kwargs: Any) -> None:
        """`class Singleton(GenServer, behaviour=True)`: its own names are hooks, not methods to be called.

        Raises `TypeError` for a class that gives another meaning to a name that its instances need.
        """
        super().__init_subclass__(**kwargs)
        if behaviour:
            cls._quorate_hooks = frozenset(dir(cls))
        elif taken := sorted(_OWN & vars(cls).keys()):
            raise TypeError(
                f"{cls.__qualname__}.{taken[0]}: every GenServer has that name: choose another one"
            )
        cls._quorate_set_methods(public_methods(cls))

    @classmethod
    def _quorate_set_methods(cls, methods: dict[str, Callable[..., Any]]) -> None:
        """For behaviours: what can be called from elsewhere."""
        cls._quorate_methods = methods
        cls._quorate_plain = {
            name: method for name, method in methods.items() if not inspect.iscoroutinefunction(method)
        }
        cls._quorate_reentrant = frozenset(
            name for name, method in methods.items() if getattr(method, "_quorate_reentrant", False)
        )

    @property
    def pid(self) -> Pid:
        return self._quorate_cell.pid

    @property
    def process(self) -> Process:
        """The process itself: send, link, monitor, exit, register, spawn and so on."""
        return Process(self._quorate_cell)

    def asker(self) -> From[Any]:
        """Who made the call that is being handled: for an answer that comes later, or before the method is done.

            asker: From[str] = self.asker()
            self.waiting.append(asker)
            return asker.later()

        Ask in the method itself. Raises `RuntimeError` when no call or cast is being handled; the answer to a cast is
        dropped.
        """
        return self._quorate_cell.asked()

    def reply(self, asker: From[T], value: T) -> None:
        """Answer a call now: of another method, or in the midst of this one. Only the first answer counts."""
        asker.reply(value)

    def continue_with(self, info: object = None) -> None:
        """Have `handle_continue(info)` called next, before any other message: after `__init__`, or after this method.

        So a server can be there, and answer later for what takes long to prepare. Several are done in order.
        """
        self._quorate_cell.add_continue(info)

    @property
    def idle_timeout_s(self) -> float | None:
        """After so many seconds without a message `handle_timeout` is called, and again and again. None: never (default)."""
        return self._quorate_cell.idle_timeout_s()

    @idle_timeout_s.setter
    def idle_timeout_s(self, timeout_s: float | None) -> None:
        if timeout_s is not None and not timeout_s > 0:
            raise ValueError(f"a timeout must be over 0 seconds, not {timeout_s:g}")
        self._quorate_cell.set_idle_timeout(timeout_s)

    def handle_continue(self, info: Any) -> Awaitable[object] | None:
        """What `continue_with` asked for. May be `async def`. The default raises `NotImplementedError`."""
        raise NotImplementedError(f"{type(self).__qualname__} has no handle_continue: {show(info)}")

    def handle_timeout(self) -> Awaitable[object] | None:
        """Nothing came for `idle_timeout_s` seconds. May be `async def`; `raise Exit()` ends the server. The default logs it."""
        log.warning("%s is idle and has no handle_timeout", self._quorate_cell.describe())
        return None

    def handle_info(self, message: Any) -> Awaitable[object] | None:
        """A message that is neither call nor cast arrived. May be `async def`. The default logs it and drops it."""
        log.warning(
            "%s got a message that it does not handle: %s", self._quorate_cell.describe(), show(message)
        )
        return None

    def handle_down(self, down: Down) -> Awaitable[object] | None:
        """A process that this one monitors is gone. May be `async def`. The default is `handle_info`."""
        return self.handle_info(down)

    def handle_exit(self, signal: ExitSignal) -> Awaitable[object] | None:
        """An exit signal was trapped (`self.process.trap_exits`). May be `async def`. The default is `handle_info`."""
        return self.handle_info(signal)

    def terminate(self, reason: object) -> Awaitable[object] | None:
        """The last thing that runs, for every reason but "killed". May be `async def`; it has a deadline.

        (Erlang runs it only for servers that trap exits; here it is what `finally` is to a body.)
        """
        return None

    def format_status(self, status: ServerStatus) -> ServerStatus:
        """What crash reports may show of this server: return `status` without what nobody should see.

            return status.hide("password", "session_token")
            return dataclasses.replace(status, message="a login")

        The default shows all of it, as texts that are cut. It must not be `async`. When it raises, neither the state nor
        the last message is shown. (`sys.get_state` is not concerned: who may ask that may do anything.)
        """
        return status

    def _quorate_state(self) -> dict[str, Any]:
        """Its state, for people: its attributes by name. A behaviour whose state is elsewhere adds it."""
        names = [name for kind in type(self).__mro__ for name in _slots(kind)]
        found = {name: getattr(self, name) for name in names if hasattr(self, name)} | vars(self)
        return {name: value for name, value in found.items() if not name.startswith("_quorate_")}

    def _quorate_replace(self, changes: Mapping[str, Any]) -> None:
        """Set attributes: see `set_attributes`."""
        set_attributes(self, changes)


def set_attributes(thing: object, changes: Mapping[str, Any]) -> None:
    """Set all of these attributes, or none. Raises `ValueError` for what is the library's or a property, and what setting raises."""
    for name in changes:
        if name.startswith("_quorate_") or isinstance(getattr(type(thing), name, None), property):
            raise ValueError(f"{name} is not part of the state that can be set")
    before = {name: getattr(thing, name, _ABSENT) for name in changes}
    try:
        for name, value in changes.items():
            setattr(thing, name, value)
    except BaseException:
        for name, value in before.items():
            with suppress(AttributeError):
                delattr(thing, name) if value is _ABSENT else setattr(thing, name, value)
        raise


def _slots(kind: type) -> tuple[str, ...]:
    slots = vars(kind).get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


_OWN = frozenset({"asker", "continue_with", "idle_timeout_s", "pid", "process", "reply"})


def public_methods(cls: type) -> dict[str, Callable[..., Any]]:
    """The functions of a class that can be called from elsewhere, by name. Hooks and `GenServer`'s own are not."""
    hooks = frozenset[str]().union(
        dir(GenServer), *(getattr(base, "_quorate_hooks", ()) for base in cls.__mro__)
    )
    found: dict[str, Callable[..., Any]] = {}
    for name in dir(cls):
        if name.startswith("_") or name in hooks:
            continue
        member = inspect.getattr_static(cls, name)
        generates = inspect.isgeneratorfunction(member) or inspect.isasyncgenfunction(member)
        if inspect.isfunction(member) and not generates:
            found[name] = member
    return found
