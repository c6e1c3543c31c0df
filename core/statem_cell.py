"""How a `GenStatem` runs: a server whose next message comes from its machine first, and from its mailbox then.

For each event the cell runs the handler, then has the machine decide, runs `handle_enter` if a state is entered, and
performs what the machine answers: timers. An event that was postponed keeps its caller waiting. What must never happen
here: an event is begun while a decision is not committed, or an answer is given twice.
"""

from asyncio import CancelledError
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from inspect import isawaitable
from types import CoroutineType
from typing import TYPE_CHECKING, Any, cast

from .activation import Steps
from .calls import PendingCall, Request, chain_here
from .cell import ALIVE, EXITING, NOT_NOW
from .control import Errand
from .errors import CalleeExited, NotCallable
from .handlers import NOTHING, Refused, awaiting, did_not_fit
from .plain import show
from .replies import LATER
from .runtime import Timer
from .scheduler import DEPTH_LIMIT
from .server_cell import ServerCell
from .statem_machine import Decision, Effect, Keep, Machine, SetTimer, Which

if TYPE_CHECKING:
    from .gen_statem import GenStatem
    from .kernel import Kernel
    from .pid import Pid

_NO_ANSWER = object()  # what a handler "returned" whose caller waits on, or has its answer already
_OWN = object()  # something of the machine's own is next
_STARTED = object()  # the event before all others: the first state is entered


class _Fired:
    """A timer's time has come; in the mailbox, in order with what came from outside."""

    __slots__ = ("timer", "which")
    _quorate_internal = True  # no limit of a mailbox drops it

    def __init__(self, which: Which, timer: int) -> None:
        self.which = which
        self.timer = timer


class Internal:
    """An event that the machine made itself: a function to be called, by a timeout or by `next_event`."""

    __slots__ = ("args", "function", "kwargs")

    def __init__(
        self, function: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self.function = function
        self.args = args
        self.kwargs = kwargs

    def __repr__(self) -> str:
        shown = [repr(arg) for arg in self.args] + [f"{key}={value!r}" for key, value in self.kwargs.items()]
        return f"{getattr(self.function, '__qualname__', self.function)}({', '.join(shown)})"


class Postponed(BaseException):
    """Ends a handler that postpones its event. A `BaseException`, as `Exit` is."""


class Deciding:
    """One handler at work: what it has decided (None: nothing), and what it may not decide."""

    __slots__ = ("entering", "made", "starting")

    def __init__(self, *, starting: bool = False) -> None:
        self.made: Decision[Any, Any] | None = None
        self.starting = starting  # `__init__` runs
        self.entering = False  # `handle_enter` runs

    @property
    def decision(self) -> Decision[Any, Any]:
        if self.made is None:
            self.made = Decision()
        return self.made


class StatemCell(ServerCell):
    """A process whose body is a `GenStatem`."""

    __slots__ = ("_first", "_machine", "_timers")

    def __init__(self, kernel: "Kernel", pid: "Pid", context: Any, server: "GenStatem[Any]") -> None:
        super().__init__(kernel, pid, context, server)
        self._machine: Machine[Any, Any] = Machine(None)
        self._first: Deciding | None = Deciding(starting=True)
        self._timers: dict[int, Timer] | None = None
        server._quorate_deciding = self._first

    def initialised(self) -> None:
        """`__init__` is through. Raises `TypeError` when it named no state."""
        statem, first = self._statem, self._first
        assert first is not None
        state = first.decision.state
        if isinstance(state, Keep):
            raise TypeError(f"{self.label}.__init__ must name the state to begin in: self.goto(...)")
        first.entering = True
        statem._quorate_deciding = None
        self._machine = statem._quorate_machine = Machine(state)

    @property
    def _statem(self) -> "GenStatem[Any]":
        return cast("GenStatem[Any]", self.server)

    # -- what is next --------------------------------------------------------------------------------------

    def _source(self) -> deque[Any] | None:
        if self._first is None and not self._machine.has_next():
            return super()._source()
        if self.control is None:
            return deque((_OWN,))
        return self.control.errands() or (deque((_OWN,)) if self.control.may_handle() else None)

    def _next_item(self) -> Any:
        item = super()._next_item()
        if item is _OWN:
            return _STARTED if self._first is not None else self._machine.next()
        if type(item) is _Fired:
            event = self._machine.fired(item.which, item.timer)
            return item if event is None else event
        return item

    def _pump(self) -> Steps | None:
        while self._budget > 0:
            if self.state != ALIVE:
                return self._say_goodbye() if self.state == EXITING else None
            item = self._next_item()
            if item is NOTHING:
                return None
            self._budget -= 1
            steps = None if type(item) is _Fired else self._begin(item)  # one that is not heeded any more
            if steps is not None:
                return steps
        return None

    def at_once(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """See `Cell.at_once`: an event of a `def` method is handled here and now, in the process's own context."""
        idle = not self.scheduled and self.mailbox is None and self.control is None and self.state == ALIVE
        if not idle or name not in self.server._quorate_plain or self.kernel.scheduler.depth >= DEPTH_LIMIT:
            return NOT_NOW
        self.scheduled = True  # whatever comes meanwhile waits its turn
        pending = PendingCall(self.kernel.loop.create_future(), name, self.pid)
        scheduler = self.kernel.scheduler
        tick = scheduler.watch.tick
        steps = self.context.run(self._begin, Request(name, args, kwargs, pending, chain_here()))
        if steps is None:
            self.rest()
        else:
            self.activation = self.kernel.kept_tasks.of(self)
            self.activation.begin(steps)
        if scheduler.watch.tick != tick:
            scheduler.ticked(self.describe, tick)
        return pending

    def set_idle_timeout(self, timeout_s: float | None) -> None:
        raise TypeError(f"{self.label}: a GenStatem has timeouts of its own, and no idle_timeout_s")

    # -- one event -----------------------------------------------------------------------------------------

    def _invoke(self, item: Any) -> Any:
        statem, kind = self._statem, type(item)
        if kind is Errand:
            return item.function(statem)
        if item is _STARTED:
            return self._start()
        deciding = statem._quorate_deciding = Deciding()
        try:
            if kind is Request:
                method = statem._quorate_methods.get(item.method)
                if method is None:
                    raise Refused(
                        NotCallable(
                            f"{self.label} has no public method {item.method!r:.100}: nothing happened"
                        )
                    )
                result = method(statem, *item.args, **item.kwargs)
            elif kind is Internal:
                result = item.function(*item.args, **item.kwargs)
            else:
                result = super()._invoke(item)
        except Postponed:
            result = None
        except BaseException as error:
            if not self._told(item, error, begun=not did_not_fit(error, 1)):
                raise
            result = _NO_ANSWER
        if type(result) is CoroutineType or (kind is not Request and isawaitable(result)):
            return result
        return self._decided(item, deciding, result)

    def _start(self) -> Any:
        first, self._first = self._first, None
        assert first is not None
        self._statem._quorate_deciding = first
        return self._enter(_STARTED, first, self._machine.state)

    def _told(self, item: Any, error: BaseException, *, begun: bool = True) -> bool:
        """Whether a handler raised for its caller, who is told: that ends the handler as an answer does."""
        told = self._for_the_caller(item, error) if begun and type(item) is Request else None
        if told is None:
            return False
        self._tell(item, told)
        return True

    def _decided(self, item: Any, deciding: Deciding, value: object) -> Any:
        """The handler is through: what its caller is told, or the enter call if that is to be awaited."""
        if deciding.made is None:
            self._statem._quorate_deciding = None
            self._perform(self._machine.keep())
            return value
        if deciding.decision.postponed:
            value = _NO_ANSWER
        previous = self._machine.state
        if not self._machine.move(deciding.decision) or not self._statem._quorate_enters:
            self._commit(item, deciding)
            return value
        if value is not _NO_ANSWER and type(item) is Request:
            self._give(item, value)
            if value is not LATER:
                item.answered()
                item.chain = ()
                if self._handling is not None:
                    self._handling.chain = (self.pid,)
        return self._enter(item, deciding, previous)

    def _enter(self, item: Any, deciding: Deciding, previous: object) -> Any:
        deciding.entering = True
        result = self._statem.handle_enter(previous)
        if isawaitable(result):
            return result if type(result) is CoroutineType else awaiting(result)
        self._commit(item, deciding)
        return _NO_ANSWER

    def _commit(self, item: Any, deciding: Deciding) -> None:
        """All that this event led to is decided: do it."""
        machine, decision = self._machine, deciding.decision
        self._statem._quorate_deciding = None
        effects = machine.begin(decision) if item is _STARTED else machine.commit(item, decision)
        self._perform(effects)

    def _succeeded(self, value: object) -> None:
        if value is _NO_ANSWER:
            self._over()
        else:
            super()._succeeded(value)

    def _over(self) -> object:
        self._statem._quorate_deciding = None
        return super()._over()

    # -- what the task of an `async def` handler tells -----------------------------------------------------

    def returned(self, value: object) -> Steps | None:
        deciding = self._statem._quorate_deciding
        if deciding is None:
            return super().returned(value)
        try:
            if deciding.entering:
                self._commit(self._current, deciding)
                return super().returned(_NO_ANSWER)
            outcome = self._decided(self._current, deciding, value)
        except BaseException as error:  # noqa: BLE001 -- what handle_enter raises, or a state's `==`
            return super().raised(error)
        if type(outcome) is CoroutineType and deciding.entering:
            steps: Steps = outcome
            return steps
        return super().returned(outcome)

    def raised(self, error: BaseException) -> Steps | None:
        deciding = self._statem._quorate_deciding
        if deciding is not None and self.state == ALIVE:
            if isinstance(error, Postponed):
                return self.returned(None)
            if not deciding.entering and self._told(self._current, error):
                return self.returned(_NO_ANSWER)
            if deciding.entering and isinstance(error, CancelledError) and not self.gate_open():
                self._commit(self._current, deciding)  # the state is entered, if not to the last line
        return super().raised(error)

    # -- timers --------------------------------------------------------------------------------------------

    def _perform(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if self._timers is None:
                self._timers = {}
            if isinstance(effect, SetTimer):
                self._timers[effect.id] = self.kernel.clock.call_later(
                    effect.delay_s, self._time_is_up, effect.which, effect.id
                )
            else:
                timer = self._timers.pop(effect.id, None)
                if timer is not None:
                    timer.cancel()

    def _time_is_up(self, which: Which, timer: int) -> None:
        if self._timers is not None:
            self._timers.pop(timer, None)
        self.accept(_Fired(which, timer))

    # -- its end -------------------------------------------------------------------------------------------

    def drop_mailbox(self) -> None:
        super().drop_mailbox()
        events, effects = self._machine.close()
        self._perform(effects)
        why = CalleeExited(f"{self.pid} ended before it answered: {show(self.reason)}", self.reason)
        for event in events:
            if type(event) is Request:  # it was postponed: its handler has begun, once at least
                self._tell_at_the_end(event, why)
