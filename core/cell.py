"""The record of one process in its node: mailbox, links, monitors, state, and how it ends.

The cell is the authority over its mailbox and its state; the kernel is the authority over who knows whom. All
signals reach a cell through its kernel, in the order sent. What must never happen here: code of a user runs in
the stack of whoever sent a signal (a call of an idle server is the one exception: `at_once`), or a dead cell changes again.

    ALIVE ── exit signal, crash, return ──> EXITING ── its code has ended, or its deadline is over ──> DEAD

In EXITING its `finally` blocks and `terminate` run; nothing reaches its mailbox any more. Its name is freed, and
links and monitors are told, only when it is DEAD.
"""

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context
from typing import TYPE_CHECKING, Any

from .activation import Activation
from .calls import Request, no_process
from .crash import ServerStatus, report_crash
from .exits import Fate, is_word, verdict
from .pid import KILL, KILLED, SHUTDOWN, Down, ExitSignal, MonitorRef, Pid
from .plain import show
from .runtime import Timer
from .telling import Log

if TYPE_CHECKING:
    from .control import ProcessControl
    from .kernel import Kernel
    from .mailbox import MailboxLimit

log = Log("quorate.process")

ALIVE, EXITING, DEAD = 0, 1, 2
STATES = ("alive", "exiting", "dead")
NOT_NOW = object()  # a call has to go through the mailbox


class Cell:
    """What every kind of process has. `BodyCell` and `ServerCell` add how its code runs."""

    __slots__ = (
        "activation",
        "aliases",
        "context",
        "control",
        "deadline",
        "kernel",
        "label",
        "limit",
        "links",
        "mailbox",
        "name",
        "pid",
        "reason",
        "scheduled",
        "state",
        "trapping",
        "urgent",
        "watchers",
        "watching",
    )

    def __init__(self, kernel: "Kernel", pid: Pid, context: Context, label: str) -> None:
        self.kernel = kernel
        self.pid = pid
        self.context = context
        self.label = label
        self.state = ALIVE
        self.reason: object = None
        self.trapping = False
        self.scheduled = False
        self.name: str | None = None
        self.limit: MailboxLimit | None = kernel.config.mailbox
        # Absent until they are needed: an idle process is small.
        self.mailbox: deque[Any] | None = None
        self.urgent: deque[Any] | None = None  # sent to a priority alias: ahead of the mailbox
        self.links: set[Pid] | None = None
        self.watchers: dict[MonitorRef, Callable[[Down], object]] | None = None
        self.watching: dict[MonitorRef, Pid] | None = None
        self.aliases: set[int] | None = None
        self.control: ProcessControl | None = None
        self.activation: Activation | None = None
        self.deadline: Timer | None = None

    # -- what the kinds of process add ---------------------------------------------------------------------

    def accept(self, message: object) -> None:
        """Take a message (or a `Request`) into the mailbox, in order, and see that it is handled."""
        raise NotImplementedError

    def accept_first(self, message: object) -> None:
        """Take a priority message: ahead of all others but earlier priority messages."""
        self.accept(message)

    def admits(self, message: object) -> bool:
        """Whether one more message may enter its mailbox, which has some. Raises `Busy`. See `MailboxLimit`."""
        limit, mailbox = self.limit, self.mailbox
        if limit is None or mailbox is None or len(mailbox) < limit.messages:
            return True
        return self.kernel.crowding.admits(self, limit, message, len(mailbox))

    def waiting(self) -> int:
        """How many messages wait."""
        return len(self.mailbox or ()) + len(self.urgent or ())

    def at_once(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Handle a call in the caller's turn and return its answer, or a `PendingCall` for it; `NOT_NOW`: send it.

        Only for a process that is idle, so that no message is overtaken. Raises what the caller is to be told.
        """
        return NOT_NOW

    def wind_down(self) -> None:
        """The process has just become EXITING: make its code end, and call `finish` when it has."""
        raise NotImplementedError

    def cancel_steps(self) -> None:
        """Cancel what its code awaits."""
        if self.activation is not None:
            self.activation.cancel()

    def farewells(self) -> Sequence[Callable[[], object]]:
        """What tells callers that wait for its end. It comes when all that the process held is free, before links and
        monitors are told: who hears of its end has had his answer."""
        return ()

    def status(self) -> str:
        """What it does now, in a word."""
        raise NotImplementedError

    def where(self) -> str:
        """Where its code is suspended, for people; "" if it is not."""
        return "" if self.activation is None else self.activation.where()

    def last_message(self) -> object:
        """What it was handling, for crash reports; None if nothing."""
        return None

    def initial_call(self) -> str:
        """Where its code begins, for crash reports."""
        return self.label

    def status_of_crash(self, error: BaseException | None) -> ServerStatus | None:
        """What a crash report may show of a server; None: it is none. May raise what a user's hook does."""
        return None

    # -- signals -------------------------------------------------------------------------------------------

    def hear_down(self, down: Down) -> None:
        """A process that this one monitors is gone."""
        if self.watching is not None and self.watching.pop(down.ref, None) is not None:
            self.accept(down)

    def exit_signal(self, source: Pid, reason: object, *, linked: bool) -> None:
        """An exit signal arrived, by a link or sent explicitly."""
        if linked:
            if self.links is None or source not in self.links:
                return  # it was unlinked meanwhile
            self.links.discard(source)
        if self.state == EXITING:
            if not linked and is_word(reason, KILL):
                self._killed_while_exiting()
            return
        fate, reason = verdict(reason, linked=linked, trapping=self.trapping, own=source == self.pid)
        if fate is Fate.DELIVERED and not self._obeys(source):
            self.accept(ExitSignal(source, reason))
        elif fate is not Fate.IGNORED:
            self.begin_exit(reason)

    def _killed_while_exiting(self) -> None:
        """It is ending already: for another reason now, and not with more time than who is killed has."""
        before_s = self._exit_deadline_s()
        self.reason = KILLED
        if self.deadline is not None and self._exit_deadline_s() < before_s:
            self.deadline.cancel()
            self.deadline = None
        self.cancel_steps()
        self.arm_deadline()

    def _obeys(self, source: Pid) -> bool:
        """Whether exits of `source` end it although it traps: a behaviour ends when its supervisor says so."""
        oversight = self.kernel.oversight.get(self.pid.serial)
        return oversight is not None and oversight.obedient and oversight.parent == source

    # -- the end -------------------------------------------------------------------------------------------

    def begin_exit(self, reason: object) -> None:
        """A signal ends the process: become EXITING for `reason` and make its code end."""
        if self.state == ALIVE:
            self.ended(reason)
            self.wind_down()

    def ended(self, reason: object) -> None:
        """Become EXITING for `reason`. What waits in the mailbox is gone; who called is told."""
        if self.state == ALIVE:
            self.state = EXITING
            self.reason = reason
            self.drop_mailbox()

    def drop_mailbox(self) -> None:
        mailbox, self.mailbox, self.urgent = self.mailbox, None, None
        for message in mailbox or ():
            if type(message) is Request:
                message.refuse(no_process(self.pid))

    def arm_deadline(self) -> None:
        """Its code gets so long to end; then the process is declared dead and no further line of it runs."""
        if self.deadline is None and (deadline_s := self._exit_deadline_s()) != math.inf:
            self.deadline = self.kernel.clock.call_later(deadline_s, self.overdue, deadline_s)

    def _exit_deadline_s(self) -> float:
        usual = self.kernel.config.exit_deadline_s
        oversight = self.kernel.oversight.get(self.pid.serial)
        if oversight is None or oversight.deadline_s is None:
            return usual
        return min(usual, oversight.deadline_s) if is_word(self.reason, KILLED) else oversight.deadline_s

    def overdue(self, deadline_s: float) -> None:
        """It has had `deadline_s` seconds to end: declare it dead, if it is not."""
        self.deadline = None
        if self.state != EXITING:
            return
        if self.pid.serial in self.kernel.oversight and is_word(self.reason, SHUTDOWN):
            self.reason = KILLED  # a child that does not stop in time is killed
        log.warning(
            "%s did not end within %g s of its exit (%s): abandoned",
            self.describe(),
            deadline_s,
            show(self.reason),
            extra={"quorate": {"event": "abandoned", "pid": self.pid, "reason": self.reason}},
        )
        if self.activation is not None:
            self.activation.abandon()
        self.finish()

    def finish(self) -> None:
        """Become DEAD: free the name, tell links and monitors."""
        if self.state == DEAD:
            return
        self.state = DEAD
        self.activation = None
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None
        self.kernel.bury(self)

    def crashed(self, error: BaseException) -> None:
        """Its code raised `error`: one report, and the process ends with it as its reason."""
        self.kernel.crashes += 1
        report_crash(self, error)
        self.ended(error)

    def broken(self, error: BaseException) -> None:
        """This library failed in the process's turn: the process ends, the node goes on."""
        self.ended(error)
        if self.activation is not None:
            self.activation.abandon()
        self.finish()

    # -- people --------------------------------------------------------------------------------------------

    def gate_open(self) -> bool:
        return self.control is None or self.control.gate_open()

    def describe(self) -> str:
        name = f" {self.name!r}" if self.name is not None else ""
        return f"{self.pid}{name} ({self.label})"
