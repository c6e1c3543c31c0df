"""Calls of idle servers, handled in their callers' turns: no queue, no wake-up, and no future unless there is to wait.

It is what makes a call cheap. What must never happen here: a call overtakes a message that waits, or the caller's code
and the method's see each other's context or task.
"""

import asyncio
from collections.abc import Mapping
from sys import exc_info
from types import CoroutineType
from typing import Any

from .activation import Steps, went_on
from .calls import Handling, PendingCall, Request, chain_here
from .cell import ALIVE, NOT_NOW
from .handlers import NOTHING
from .replies import LATER
from .scheduler import DEPTH_LIMIT
from .server_cell import ServerCell
from .server_extras import Extras

CONTEXTS_LIMIT = 100  # of exceptions, one raised while the other was handled, that are looked at
_AT_ONCE = object()  # is being handled: a call which has no `Request`


class PromptCell(ServerCell):
    """A server that handles a call at once when it is idle."""

    __slots__ = ()

    def at_once(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """See `Cell.at_once`: a method's first step runs here and now, in the process's own context. A `def` has no other."""
        if (
            self.scheduled
            or self.control is not None
            or self.mailbox is not None
            or self.state != ALIVE
            or (self.extras is not None and not self._may_at_once(self.extras))
        ):
            return NOT_NOW
        try:
            method = self._plain.get(name)
            if method is None:
                return self._step_at_once(name, args, kwargs)
            self.scheduled = True  # whatever comes meanwhile waits its turn
            self._current = _AT_ONCE
            watch = self.kernel.scheduler.watch
            tick = watch.tick
            try:
                if kwargs:  # (most calls have none, and an empty `**` takes longer than to look)
                    result = self.context.run(method, self.server, *args, **kwargs)
                else:
                    result = self.context.run(method, self.server, *args)
            except BaseException as error:  # noqa: BLE001 -- as in `_begin`
                failure = error
            else:
                if watch.tick != tick:
                    self.kernel.scheduler.ticked(self.describe, tick, f"in {name}")
                if type(result) is CoroutineType:
                    return self._step_at_once(name, args, kwargs, result)
                if self._current is not _AT_ONCE or result is LATER:
                    return self._answered_at_once(result, name, args, kwargs)
                self._current = NOTHING
                if (
                    self.mailbox is None
                    and self.urgent is None
                    and self.control is None
                    and self.extras is None
                    and self.state == ALIVE
                ):
                    self.scheduled = False
                else:
                    self.rest()
                return result
            if watch.tick != tick:
                self.kernel.scheduler.ticked(self.describe, tick, f"in {name}")
            try:
                return self._failed_at_once(failure, name, args, kwargs, frames=1)
            finally:
                del failure  # it leads here
        except BaseException:
            # Nothing that a method raises comes here: the caller's stack has no room left, or Ctrl-C hit a line of ours.
            # (No function is called for what has to be done then: that would raise the next error.)
            if self._handling is not None:
                self._handling.done = True
                self._handling = None
            if self.activation is not None:
                self.activation.abandoned = True
                self.activation = None
            self._current = NOTHING
            idle = (
                self.mailbox is None and self.urgent is None and self.extras is None and self.control is None
            )
            if idle and self.state == ALIVE:
                self.scheduled = False
            elif self.scheduled and self not in self.kernel.scheduler.ready:
                self.kernel.scheduler.ready.append(self)
                self.kernel.scheduler.arm()
            raise

    def rest(self) -> None:
        """See `ServerCell.rest`, which would find nothing to do when nothing has come meanwhile."""
        if (
            self.mailbox is None
            and self.urgent is None
            and self.control is None
            and self.extras is None
            and self.state == ALIVE
        ):
            self.activation = None
            self.scheduled = False
        else:
            super().rest()

    def current_request(self) -> Request | None:
        return self._at_once_request() if self._current is _AT_ONCE else super().current_request()

    def _may_at_once(self, extras: Extras) -> bool:
        """`at_once` of a server with extras."""
        extras.active = True
        return not extras.starting

    def _step_at_once(
        self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], steps: Any = None
    ) -> Any:
        """`at_once` of a coroutine: of an `async def` method, or one that a `def` method has returned."""
        kernel = self.kernel
        scheduler = kernel.scheduler
        if steps is None:
            server = self.server
            method = server._quorate_methods.get(name)
            if method is None or name in server._quorate_reentrant:
                return NOT_NOW
            self.scheduled = True
            self._current = _AT_ONCE
            try:
                steps = method(server, *args, **kwargs)  # no line of it runs yet
            except BaseException as error:  # noqa: BLE001 -- as in `_begin`
                return self._failed_at_once(error, name, args, kwargs, frames=1)
        chain = chain_here()
        self._handling = handling = Handling((*chain, self.pid) if chain else (self.pid,))
        self.activation = activation = kernel.kept_tasks.of(self)
        if scheduler.depth >= DEPTH_LIMIT:
            return self._begin_later(handling, steps, name, args, kwargs)
        awaited: Any = None
        failure: BaseException | None = None
        tick = scheduler.watch.tick
        scheduler.depth += 1
        try:
            awaited = activation.first_step(handling, steps)
        except BaseException as error:  # noqa: BLE001 -- as in `_begin`
            failure = error
            steps.close()  # if it did not even begin
        finally:
            scheduler.depth -= 1
            if scheduler.watch.tick != tick:
                scheduler.ticked(self.describe, tick, went_on(steps))
        if failure is not None:
            try:
                return self._failed_at_once(failure, name, args, kwargs)
            finally:
                del failure  # it leads here
        finished = activation.finished
        if awaited is finished:
            result, finished.value = finished.value, None
            if self.control is not None and not self.gate_open():
                closed = asyncio.CancelledError("the gate of the process is closed")
                return self._failed_at_once(closed, name, args, kwargs)
            return self._answered_at_once(result, name, args, kwargs)
        activation.go_on(awaited)
        request = self._at_once_request(name, args, kwargs)
        request.chain = chain
        return request.reply

    def _begin_later(
        self, handling: Handling, steps: Steps, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        """`_step_at_once` when the stack is full of calls already: its task takes the first step."""
        assert self.activation is not None
        self.activation.begin_later(handling, steps)
        request = self._at_once_request(name, args, kwargs)
        request.chain = handling.chain[:-1]
        return request.reply

    def _answered_at_once(
        self, result: object, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        if self._current is _AT_ONCE and result is not LATER:
            self._current = NOTHING
            if self._handling is not None:
                self._handling.done = True
                self._handling = None
        else:  # the method asked for its request
            request = self._at_once_request(name, args, kwargs)
            self._succeeded(result)
            result = request.reply
        self.rest()
        return result

    def _failed_at_once(
        self,
        error: BaseException,
        name: str,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        frames: int = 0,
    ) -> Any:
        handled = exc_info()[1]
        if handled is not None:
            forget_context(error, handled)
        request = self._at_once_request(name, args, kwargs)
        request.chain = chain_here()
        self._failed(error, frames=frames)
        self.rest()
        return request.reply

    def _at_once_request(
        self, name: str = "", args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Request:
        """The call that is being handled in its caller's turn, as a request with a `PendingCall`."""
        request = self._current
        if type(request) is not Request:
            pending = PendingCall(self.kernel.loop.create_future(), name, self.pid)
            self._current = request = Request(name, args, kwargs or {}, pending)
        elif name:
            request.method, request.args, request.kwargs = name, args, kwargs or {}
            if type(request.reply) is PendingCall:
                request.reply.method = name
        return request


def forget_context(error: BaseException, handled: BaseException) -> None:
    """What the caller was handling when it called is no context of what the method raised."""
    inner: BaseException | None = error
    for _ in range(CONTEXTS_LIMIT):
        if inner is None or inner is handled:
            return
        if inner.__context__ is handled:
            inner.__context__ = None
            return
        inner = inner.__context__
