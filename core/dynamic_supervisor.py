"""Supervisors of many children that come and go: one per connection, per job, per player.

    connections = await node.start(DynamicSupervisor, max_children=1000)
    pid = await connections.call(DynamicSupervisor.start_child, child(Connection, reader, writer).options(restart="temporary"))

Children have no order and need no ids of their own; a crash concerns the one that crashed alone, one that has ended for
good is forgotten, and at the end all are stopped at once. (When not to use it: for parts that need each other, or that
are always there, a `Supervisor` with a list shows what the program consists of.)
(https://hexdocs.pm/elixir/DynamicSupervisor.html; simple_one_for_one in OTP)
"""

import itertools
from typing import ClassVar

from .child_spec import ChildSpec
from .pid import Pid
from .supervision import Key, Supervision
from .supervisor import Supervisor


class DynamicSupervisor(Supervisor):
    """A supervisor that starts without children; `start_child` adds them, `terminate_child(pid)` stops them.

    `max_children` at most at one time (default: no limit; `TooManyChildren` beyond). `intensity` and `period_s` are as of
    `Supervisor`, and count the restarts of all children together.
    """

    max_children: int | None = None
    _quorate_hooks: ClassVar[frozenset[str]] = frozenset({"restart_child", "delete_child"})  # nothing is kept

    def __init__(
        self,
        *,
        max_children: int | None = None,
        intensity: int | None = None,
        period_s: float | None = None,
    ) -> None:
        self.max_children = self.max_children if max_children is None else max_children
        self._numbers = itertools.count(1)
        super().__init__(strategy="one_for_one", intensity=intensity, period_s=period_s)

    def _make_tree(self) -> Supervision[Pid]:
        return Supervision(
            intensity=self.intensity,
            period_s=self.period_s,
            auto_shutdown=self.auto_shutdown,
            dynamic=True,
            max_children=self.max_children,
        )

    def _new_key(self, spec: ChildSpec) -> Key:
        return next(self._numbers)

    def _problem(self) -> str | None:
        if self.max_children is not None and self.max_children < 0:
            return f"max_children must be 0 or more, not {self.max_children}"
        return super()._problem()
