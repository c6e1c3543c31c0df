"""State machines: servers whose answer to a call depends on the state they are in. Erlang's gen_statem.

    class Lock(Enum):
        LOCKED = "locked"
        OPEN = "open"

    class Door(GenStatem[Lock]):
        def __init__(self, code: str) -> None:
            self.code = code
            self.goto(Lock.LOCKED)                      # the state to begin in

        def unlock(self, code: str) -> bool:            # an event: await ref.call(Door.unlock, code="1234")
            match self.state:
                case Lock.LOCKED:
                    if code == self.code:
                        self.goto(Lock.OPEN)
                        self.state_timeout(5.0, self._relock)
                    return code == self.code
                case Lock.OPEN:
                    return True

        def walk_through(self) -> None:
            if self.state is Lock.LOCKED:
                self.postpone()                         # the caller waits until the door is open

        def _relock(self) -> None:
            self.goto(Lock.LOCKED)

Every public method is an event, called and cast as any method of a `GenServer`, typed at both ends; so are the hooks
`handle_info`, `handle_down` and `handle_exit`, and the functions given to timeouts and to `next_event`. There is one
method per event, with the states inside, and not one function per state: so callers have a method to name, and a
type checker says when a `match` over an enum forgets a state (`postpone` never returns, which it knows too).

A state is any value with `==`: a member of an enum, a string, or a frozen dataclass that carries what belongs to the
state, `Connecting(attempt=2)`; another value is another state.

A handler decides, and what it decided is done when it has returned, `goto` too: while it runs, `self.state` is the
state in which the event is handled. When it crashes, nothing of it is done; an exception for its caller (`replies.py`) is
an answer as others. `raise Exit(reason, reply=...)` ends the machine. The rules are in `statem_machine.py`; the
machine is the authority over its state, and only an event can change it.

When not to use it: a server that has no states but only data is a `GenServer`.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar, Final, Generic, NoReturn, ParamSpec, TypeVar

from .gen_server import GenServer
from .statem_cell import Deciding, Internal, Postponed, StatemCell
from .statem_machine import Cancel, Machine, Start, Timeout, Update, Which

P = ParamSpec("P")
S = TypeVar("S")

STATE_TIMEOUT: Final = Timeout.STATE
EVENT_TIMEOUT: Final = Timeout.EVENT


class GenStatem(GenServer, Generic[S], behaviour=True):
    """Base of state machines. `__init__` must name the first state by `goto`; timeouts may be started there too."""

    _quorate_cell_kind = StatemCell
    _quorate_enters: ClassVar[bool] = False
    _quorate_machine: Machine[S, Any] | None = None
    _quorate_deciding: Deciding | None = None

    def __init_subclass__(cls, *, behaviour: bool = False, **kwargs: Any) -> None:
        taken = sorted(_FIXED.intersection(vars(cls)))
        if taken:
            raise TypeError(f"{cls.__qualname__}.{taken[0]}: that name is GenStatem's own, take another")
        super().__init_subclass__(behaviour=behaviour, **kwargs)
        if cls._quorate_reentrant:
            raise TypeError(
                f"{cls.__qualname__}: a machine handles one event at a time, none of them @reentrant"
            )
        cls._quorate_enters = cls.handle_enter is not GenStatem.handle_enter

    @property
    def state(self) -> S:
        """The state in which the event at hand is handled. Raises `RuntimeError` in `__init__`, where is none yet."""
        if self._quorate_machine is None:
            raise RuntimeError("a machine has no state before its __init__ is through")
        return self._quorate_machine.state

    # -- what a handler decides ----------------------------------------------------------------------------

    def goto(self, state: S) -> None:
        """Be in `state` when this handler has returned.

        Another state than now: `handle_enter` runs, what was postponed is handled again, the state timeout ends. The
        same state: nothing.
        """
        self._decides("goto", entering=False).decision.state = state

    def repeat_state(self) -> None:
        """Stay, but run `handle_enter` again when this handler has returned. Timeouts and what was postponed stay."""
        self._decides("repeat_state", entering=False, starting=False).decision.repeated = True

    def postpone(self) -> NoReturn:
        """Handle this event again, from its beginning, in the next state. Its caller waits.

        If the machine ends before, that one gets `CalleeExited`: what the handler has done so far was done.

        What was decided before it holds: `self.goto(...)` and then `self.postpone()` have it handled in that state.
        """
        self._decides("postpone", entering=False, starting=False).decision.postponed = True
        raise Postponed

    def next_event(self, function: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Have `function(*args)` be the next event, before all that waits; several come in the order given."""
        deciding = self._decides("next_event", entering=False)
        deciding.decision.inserted.append(Internal(function, args, kwargs))

    def continue_with(self, info: object = None) -> None:
        """`handle_continue(info)` as the next event."""
        self.next_event(self.handle_continue, info)

    # -- timeouts ------------------------------------------------------------------------------------------

    def state_timeout(
        self, delay_s: float, function: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Unless the state changes first, `function(*args)` is an event in `delay_s` seconds.

        Beside a `goto` it is the new state's. There is one; a second start replaces the first. 0: due after what is
        queued here already, before anything else from outside.
        """
        self._start(Timeout.STATE, delay_s, Internal(function, args, kwargs))

    def event_timeout(
        self, delay_s: float, function: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Unless any other event comes first, `function(*args)` is an event in `delay_s` seconds."""
        self._start(Timeout.EVENT, delay_s, Internal(function, args, kwargs))

    def named_timeout(
        self, name: str, delay_s: float, function: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """`function(*args)` is an event in `delay_s` seconds, unless it is cancelled or started again by its name."""
        self._start(name, delay_s, Internal(function, args, kwargs))

    def update_timeout(
        self, which: Which, function: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Another event for a timeout that runs, at its time; for one that does not run, an event due at once.

        `which` is a name or `STATE_TIMEOUT`.
        """
        if which is Timeout.EVENT:
            raise ValueError("an event timeout ends with this event: start another")
        action = Update(which, Internal(function, args, kwargs))
        self._decides("update_timeout").decision.timeouts.append(action)

    def cancel_timeout(self, which: Which) -> None:
        """End a timeout: a name, or `STATE_TIMEOUT`. Harmless when it does not run."""
        self._decides("cancel_timeout").decision.timeouts.append(Cancel(which))

    def _start(self, which: Which, delay_s: float, event: Internal) -> None:
        if not delay_s >= 0:
            raise ValueError(f"the delay of a timeout must be 0 seconds or more, not {delay_s}")
        self._decides("a timeout").decision.timeouts.append(Start(which, delay_s, event))

    def _decides(self, what: str, *, entering: bool = True, starting: bool = True) -> Deciding:
        """The decision at hand. Raises `RuntimeError` when there is none, or `what` is no part of it."""
        deciding = self._quorate_deciding
        if deciding is None:
            raise RuntimeError(f"{what}: only a handler decides, while it handles an event")
        if deciding.entering and not entering:
            raise RuntimeError(f"{what}: not in handle_enter, which is part of a change of state")
        if deciding.starting and not starting:
            raise RuntimeError(f"{what}: not in __init__, where no event is handled")
        return deciding

    # -- hooks ---------------------------------------------------------------------------------------------

    def handle_enter(self, previous: S) -> Awaitable[object] | None:
        """`self.state` has just become the state; nothing was handled in it yet. May be `async def`.

        It may start, update and cancel timeouts, and decide nothing else. `previous` equals `self.state` when the
        machine starts and after `repeat_state`. The one whose event led here has had its answer.
        """
        return None

    # -- for people ----------------------------------------------------------------------------------------

    def _quorate_state(self) -> dict[str, Any]:
        machine = self._quorate_machine
        return ({} if machine is None else {"state": machine.state}) | super()._quorate_state()

    def _quorate_replace(self, changes: Mapping[str, Any]) -> None:
        """A state that is set by hand is not entered, and nothing that was postponed is put back."""
        super()._quorate_replace({name: value for name, value in changes.items() if name != "state"})
        if "state" in changes and self._quorate_machine is not None:
            self._quorate_machine.state = changes["state"]


_FIXED: Final = frozenset(
    name for name in vars(GenStatem) if not name.startswith("_") and name != "handle_enter"
)
