"""How letters travel between the hosts and routers of nodes, and one thing at a time.

A post has one process per node: its pid is the node's host and router at once. Letters between two posts arrive in the
order sent; when a link is lost both sides are told. Everything that happens to singletons on a node happens inside
`enter`, one act after the other, so that the effects of one act are through before the next begins.

The node is the authority over links. What must never happen here: two letters of one pair change their order, also when
the lane is full; an exception of one act stops the others.
"""

import asyncio
import contextvars
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, Protocol

from quorate.core import (
    Busy,
    Down,
    MonitorRef,
    Node,
    NodeLost,
    NodeUp,
    Pid,
    QuorateError,
    start_proxy,
    stop_process,
)

from .delivery import Bounce, Parcel
from .letters import Letter, export_letters, pack_content

log = logging.getLogger("quorate.registry")


class Reader(Protocol):
    """Who gets the letters of a node."""

    def letter(self, name: bytes, item: object) -> None: ...

    def host_down(self, host: Pid) -> None: ...

    def node_up(self, node: str, creation: int) -> None: ...


class Post:
    """One node's end of it."""

    def __init__(self, node: Node, reader: Reader) -> None:
        export_letters(node.exports)
        self._node = node
        self._kernel = node.kernel
        self._reader = reader
        self._acts: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._acting = False
        self._watched: dict[Pid, MonitorRef] = {}
        self._boxes: dict[str, deque[tuple[Pid, Letter]]] = {}  # what waits for a full lane
        self._tasks: dict[asyncio.Task[None], None] = {}  # in the order in which they began
        self._subscription = node.on_nodes(self._node_event)
        self.pid = start_proxy(node, self._arrived, "singletons")

    def enter(self, act: Callable[..., object], *args: Any) -> None:
        """Do `act(*args)` when what is being done now, and what was entered before, is through."""
        self._acts.append((act, args))
        if self._acting:
            return
        self._acting = True
        try:
            while self._acts:
                act, args = self._acts.popleft()
                try:
                    act(*args)
                except Exception:
                    log.exception("bug in quorate: %r failed", act)
        finally:
            self._acting = False

    def task(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Run something that has to wait; it uses `enter` to tell what came of it."""
        task = self._kernel.loop.create_task(work, context=contextvars.Context())
        self._tasks[task] = None
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and task.exception() is not None:
            log.error("bug in quorate: %r failed", task.get_name(), exc_info=task.exception())

    # Letters

    def reachable(self, host: Pid) -> bool:
        """Whether letters to this host leave now."""
        return host == self.pid or self._node.creation_of(host.node) == host.creation

    def send(self, to: Pid, name: bytes, item: object) -> None:
        """Send a letter. If the link is lost, `host_down` tells. Raises `EncodeError`, `TooLarge`."""
        if to == self.pid:
            self.enter(self._reader.letter, name, item)
            return
        letter = Letter(name, self._packed(item))
        self.watch(to)
        box = self._boxes.get(to.node)
        if box is not None:
            self._kernel.codec.encode(letter)  # what cannot travel is told now, not when there is room
            box.append((to, letter))
            return
        try:
            self._kernel.send(to, letter)
        except Busy:
            self._boxes[to.node] = box = deque([(to, letter)])
            self.task(self._empty(to.node, box))

    def watch(self, host: Pid) -> None:
        """Have the reader told when this host cannot be reached any more."""
        if host not in self._watched and host != self.pid:
            self._watched[host] = self._node.watch(host, self._down)

    def _packed(self, item: object) -> object:
        codec = self._kernel.codec
        if isinstance(item, Parcel):
            return replace(item, message=replace(item.message, body=pack_content(codec, item.message.body)))
        if isinstance(item, Bounce):
            return Bounce(self._packed(item.parcel))  # type: ignore[arg-type]  # a parcel gives a parcel
        return item

    async def _empty(self, node: str, box: deque[tuple[Pid, Letter]]) -> None:
        """Send what waits, as there is room."""
        while box:
            await self._node.drained(node)
            await asyncio.sleep(0)  # it may return at once
            try:
                while box:
                    self._kernel.send(*box[0])
                    box.popleft()
            except Busy:
                continue
            except QuorateError as error:
                log.error("a letter to %s was lost: %s", node, error)
                box.popleft()
        if self._boxes.get(node) is box:
            del self._boxes[node]

    def _arrived(self, message: object) -> None:
        if type(message) is Letter:
            self.enter(self._reader.letter, message.name, message.item)
        else:
            log.warning("%s got something that is no letter", self.pid)

    # Links

    def _down(self, down: Down) -> None:
        self._watched.pop(down.pid, None)
        self.enter(self._reader.host_down, down.pid)

    def _node_event(self, event: NodeUp | NodeLost) -> None:
        if isinstance(event, NodeUp):
            self.enter(self._reader.node_up, event.node, event.creation)
        else:
            box = self._boxes.pop(event.node, None)
            if box is not None:
                box.clear()

    async def close(self) -> None:
        """Stop: what still waits is dropped."""
        self._subscription.cancel()
        for ref in self._watched.values():
            self._node.unwatch(ref)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        stop_process(self._node, self.pid, "shutdown")
