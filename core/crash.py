"""What is told of a process that crashed: one structured log record, the same for every kind of process.

The record's `quorate` attribute holds, under "event": "crash",

    pid, name, kind         who: `name` is its local name, `kind` its class or function
    initial_call            where its code begins
    reason                  the exception (its traceback is the record's `exc_info`)
    last_message            what it was handling, as text; "None" if nothing
    state                   the attributes of a server, each as text; None for other processes
    links, supervisor       the pids that are told by an exit signal; its supervisor's, if it has one
    mailbox, trap_exits     how many messages waited; whether it trapped exits

State, last message and reason are what the server's `format_status` leaves of them. Texts are cut, containers in them too,
so that a report is made quickly whatever the state. What a supervisor then does, it tells itself.
(https://www.erlang.org/doc/apps/stdlib/gen_server.html#c:format_status/1)

What must never happen here: something raises, or what `format_status` took away is shown.
"""

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from .calls import Request
from .plain import clean, show
from .telling import Log

if TYPE_CHECKING:
    from .cell import Cell

log = Log("quorate.process")

ATTRIBUTES_LIMIT = 50  # of a state
TEXT_LIMIT = 200  # characters of each
HIDDEN = "(hidden)"


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """What a crash report is about to show of a server: see `GenServer.format_status`.

    `state` holds its attributes by name. `message` is what it was handling: a `Request` for a call or a cast (with
    `method`, `args` and `kwargs`), the message itself otherwise, None if nothing. `reason` is the exception.
    """

    state: Mapping[str, Any] = field(default_factory=dict)
    message: object = None
    reason: object = None

    def hide(self, *names: str) -> "ServerStatus":
        """The same without the values of these attributes."""
        return replace(self, state=dict(self.state) | {name: HIDDEN for name in names if name in self.state})


def report_crash(cell: "Cell", error: BaseException) -> None:
    """Log that the code of a process raised `error`."""
    status, state = _status(cell, error)
    message = _message(status.message)
    shown = "" if state is None else f"; state: {', '.join(f'{name}={text}' for name, text in state.items())}"
    handling = "" if status.message is None else f"; last message: {message}"
    oversight = cell.kernel.oversight.get(cell.pid.serial)
    log.error(
        "process %s crashed: %s%s%s",
        cell.describe(),
        show(status.reason),
        handling,
        shown[:2000],
        exc_info=error if status.reason is error else None,
        extra={
            "quorate": {
                "event": "crash",
                "pid": cell.pid,
                "name": cell.name,
                "kind": cell.label,
                "initial_call": cell.initial_call(),
                "reason": status.reason,
                "last_message": message,
                "state": state,
                "links": tuple(sorted(cell.links or ())),
                "supervisor": None if oversight is None else oversight.parent,
                "mailbox": cell.waiting(),
                "trap_exits": cell.trapping,
            }
        },
    )


def report_late(cell: "Cell", error: BaseException, where: str) -> None:
    """Log that a process that was ending already raised `error`, in a `finally` block or in `terminate`.

    It ends for the reason for which it was ending.
    """
    log.warning(
        "%s raised %s: %s",
        cell.describe(),
        where,
        show(error),
        exc_info=error,
        extra={
            "quorate": {
                "event": "crash_at_exit",
                "pid": cell.pid,
                "name": cell.name,
                "kind": cell.label,
                "initial_call": cell.initial_call(),
                "reason": cell.reason,
                "error": error,
            }
        },
    )


def outward(cell: "Cell") -> tuple[str, dict[str, str] | None]:
    """What people may see of a process now: the message in progress, and the attributes of a server (None: it is none).

    As in a crash report, and like there without waiting for the message in progress.
    """
    status, state = _status(cell, None)
    return "" if status.message is None else _message(status.message), state


def _status(cell: "Cell", error: BaseException | None) -> tuple[ServerStatus, dict[str, str] | None]:
    try:
        status = cell.context.copy().run(cell.status_of_crash, error)
        if status is None:
            return ServerStatus(message=cell.last_message(), reason=error), None
        return status, texts(status.state)
    except BaseException as failure:  # noqa: BLE001 -- a report never fails; nothing is shown that may be secret
        text = f"(format_status raised {type(failure).__name__}: nothing is shown)"
        return ServerStatus(message=None, reason=error), {"state": text}


def texts(state: Mapping[str, Any]) -> dict[str, str]:
    """A state for people, by attribute."""
    texts: dict[str, str] = {}
    for name, value in state.items():
        if len(texts) == ATTRIBUTES_LIMIT:
            texts["…"] = f"{len(state) - ATTRIBUTES_LIMIT} more"
            break
        texts[clean(str(name))] = HIDDEN if value is HIDDEN else _text(value)
    return texts


def _message(message: object) -> str:
    """A message for people; of a call its method and arguments."""
    if type(message) is str:
        text = clean(message[: 2 * TEXT_LIMIT + 1])
    elif type(message) is Request:
        parts = [_text(arg) for arg in message.args]
        parts += [f"{name}={_text(value)}" for name, value in message.kwargs.items()]
        text = clean(message.method) + f"({', '.join(parts)})"
    else:
        return _text(message)
    return text if len(text) <= 2 * TEXT_LIMIT else text[: 2 * TEXT_LIMIT - 1] + "…"


def _text(value: object) -> str:
    """As `show`, but containers are cut before they become text: they may be large."""
    short = reprlib.Repr()
    short.maxlevel, short.maxlist, short.maxtuple, short.maxset, short.maxfrozenset = 4, 10, 10, 10, 10
    short.maxdict, short.maxdeque, short.maxarray = 10, 10, 10
    short.maxstring, short.maxother, short.maxlong = TEXT_LIMIT, TEXT_LIMIT, TEXT_LIMIT
    try:
        text = clean(short.repr(value))
    except BaseException:  # noqa: BLE001 -- the user's __repr__, keys and items may raise anything
        return show(value, TEXT_LIMIT)
    return text if len(text) <= TEXT_LIMIT else text[: TEXT_LIMIT - 1] + "…"
