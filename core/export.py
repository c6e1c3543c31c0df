"""What a node exports: the only things that other nodes can start here, and the only types that travel.

An `Exports` is the authority over names for one node, or for several that share it; nothing is ever found by importing
a name that came from elsewhere.
"""

import dataclasses
import inspect
from collections.abc import Callable
from enum import Enum
from typing import Any, TypeVar

from .errors import ConfigError
from .event_handler import EventHandler
from .gen_server import GenServer

T = TypeVar("T")


class Exports:
    """Names of server classes, event handlers, bodies, message types, exceptions. `@exports.export` can be used as a decorator."""

    def __init__(self) -> None:
        self._things: dict[str, Any] = {}
        self._names: dict[Any, str] = {}

    def export(self, thing: T, name: str | None = None) -> T:
        """Export a `GenServer` or `EventHandler` class, an `async def` body, a frozen dataclass, an enum or an exception type; returns it.

        `name` is what other nodes know it by (default: its module and qualified name). All nodes that exchange it
        must use the same. Exporting the same thing twice is harmless. Raises `ConfigError` for what cannot be
        exported, and for a name that another thing has.
        """
        problem = self._problem(thing)
        if problem is not None:
            raise ConfigError(f"{thing!r:.200} cannot be exported: {problem}")
        known = self._names.get(thing)
        name = name or known or default_name(thing)
        if self._things.get(name, thing) is not thing:
            raise ConfigError(f"the name {name!r} is exported already, for {self._things[name]!r:.200}")
        if known is not None and known != name:
            raise ConfigError(f"{thing!r:.200} is exported already, as {known!r}")
        self._things[name] = thing
        self._names[thing] = name
        return thing

    def name_of(self, thing: object) -> str:
        """The name under which a thing is exported. Raises `ConfigError` that says how to export it."""
        name = self._names.get(thing)
        if name is None:
            raise ConfigError(f"{thing!r:.200} is not exported: call node.export() with it, on both nodes")
        return name

    def startable(self, name: str) -> Callable[..., Any] | None:
        """The server class or body of that name."""
        thing = self._things.get(name)
        is_server = isinstance(thing, type) and issubclass(thing, GenServer)
        return thing if is_server or inspect.iscoroutinefunction(thing) else None

    def message_name(self, kind: type) -> str | None:
        """See `MessageTypes`."""
        return self._names.get(kind)

    def message_type(self, name: str) -> type | None:
        thing = self._things.get(name)
        return thing if isinstance(thing, type) and not issubclass(thing, GenServer | EventHandler) else None

    def class_named(self, name: str) -> type | None:
        """See `MessageTypes`."""
        thing = self._things.get(name)
        return thing if isinstance(thing, type) else None

    def _problem(self, thing: object) -> str | None:
        if inspect.iscoroutinefunction(thing):
            return None
        if isinstance(thing, type):
            if issubclass(thing, GenServer | EventHandler | Enum | Exception):
                return None
            if dataclasses.is_dataclass(thing):
                frozen: bool = thing.__dataclass_params__.frozen  # type: ignore[attr-defined]  # not in typeshed
                return (
                    None if frozen else "a message is shared by its sender and receiver: make it frozen=True"
                )
        return (
            "only GenServer and EventHandler classes, async def bodies, frozen dataclasses, enums and exception types "
            "can be"
        )


def default_name(thing: object) -> str:
    return f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', '')}"
