"""What a supervisor needs to know of a child: how it is started, restarted and stopped. A value; it owns nothing.

child(Worker, 3)
child(Worker, 3).options(id="w1", restart="transient", shutdown_s=30.0)
child(collect, "inbox").options(shutdown_s="brutal_kill")       # async def collect(self: Process, box: str)
"""

import math
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, get_args, overload

from .errors import ConfigError
from .gen_server import GenServer
from .process import Process
from .supervision import Restart, Rule

P = ParamSpec("P")
S = TypeVar("S", bound=GenServer)
Shutdown = float | Literal["brutal_kill"] | None
DEFAULT_SHUTDOWN_S = 5.0


class _Keep(str):
    """The default of `options`: leave it as it is."""

    __slots__ = ()


_KEEP: Any = _Keep()


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """One child. Made by `child(...)`, changed by `options`.

    `start` is a `GenServer` class or an `async def` body. `id` tells it from its siblings (default: the name of
    `start`). `restart`: a "permanent" child (the default) is always restarted, a "transient" one when it did not end in
    order ("normal", "shutdown", ("shutdown", ...)), a "temporary" one never. `shutdown_s`: when it is stopped it has so
    many seconds before it is killed; "brutal_kill": it is killed at once; None: it is waited for without end.
    `significant`: see `Supervisor.auto_shutdown`. `name` is a local name that it has while it lives.
    (https://www.erlang.org/doc/apps/stdlib/supervisor.html#t:child_spec/0)
    """

    id: str
    start: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    restart: Restart = "permanent"
    shutdown_s: Shutdown = DEFAULT_SHUTDOWN_S
    significant: bool = False
    name: str | None = None

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem is not None:
            raise ConfigError(f"child {self.id!r}: {problem}")

    def options(
        self,
        *,
        id: str = _KEEP,
        restart: Restart = _KEEP,
        shutdown_s: Shutdown = _KEEP,
        significant: bool = _KEEP,
        name: str | None = _KEEP,
    ) -> "ChildSpec":
        """The same child, treated in another way. Raises `ConfigError` for what makes no sense."""
        given: dict[str, Any] = {
            "id": id,
            "restart": restart,
            "shutdown_s": shutdown_s,
            "significant": significant,
            "name": name,
        }
        return replace(self, **{key: value for key, value in given.items() if value is not _KEEP})

    @property
    def is_server(self) -> bool:
        """Whether it is a class (and not a body)."""
        return isinstance(self.start, type)

    @property
    def is_supervisor(self) -> bool:
        return getattr(self.start, "_quorate_supervises", False)

    @property
    def deadline_s(self) -> float | None:
        """How long its code may take to end, once it has begun to; infinite: as long as it wants; None: the node says."""
        if self.shutdown_s is None:
            return math.inf
        return None if isinstance(self.shutdown_s, str) else self.shutdown_s

    def rule(self, key: Hashable = None) -> Rule:
        """What a `Supervision` knows of it; `key` takes the place of its id."""
        return Rule(self.id if key is None else key, self.restart, self.significant, self)

    def _problem(self) -> str | None:
        if not isinstance(self.id, str) or not self.id:
            return "an id is a string and not empty"
        if isinstance(self.start, type) and not issubclass(self.start, GenServer):
            return f"{self.start!r} is no GenServer"
        if not callable(self.start):
            return f"{self.start!r:.200} is neither a GenServer class nor an async def body"
        if self.restart not in get_args(Restart):
            return f"restart is one of {', '.join(get_args(Restart))}, not {self.restart!r}"
        if isinstance(self.shutdown_s, str):
            if self.shutdown_s != "brutal_kill":
                return f'shutdown_s is seconds, "brutal_kill" or None, not {self.shutdown_s!r}'
        elif self.shutdown_s is not None and not 0 <= self.shutdown_s < math.inf:
            return f"shutdown_s must be 0 or more seconds (None: without end), not {self.shutdown_s!r}"
        if self.significant and self.restart == "permanent":
            return "a permanent child never ends, so it cannot be significant: make it transient or temporary"
        if self.name is not None and (not isinstance(self.name, str) or not self.name):
            return f"a local name is a string and not empty, not {self.name!r:.100}"
        return None


@overload
def child(server: Callable[P, S], /, *args: P.args, **kwargs: P.kwargs) -> ChildSpec: ...
@overload
def child(
    body: Callable[Concatenate[Process, P], Awaitable[object]], /, *args: P.args, **kwargs: P.kwargs
) -> ChildSpec: ...
def child(start: Callable[..., Any], /, *args: Any, **kwargs: Any) -> ChildSpec:
    """A child of a supervisor: `child(Worker, 3)` is started as `node.start(Worker, 3)` would be, a body as by `spawn`.

    It is permanent, has 5 s to stop (a supervisor: as long as it takes), and its id is its name; `options` changes that.
    Raises `ConfigError`.
    """
    name = getattr(start, "__qualname__", type(start).__qualname__).rpartition("<locals>.")[2]
    endless = getattr(start, "_quorate_supervises", False)
    return ChildSpec(name, start, args, kwargs, shutdown_s=None if endless else DEFAULT_SHUTDOWN_S)
