"""What an error means to whoever typed a command: one line, and an exit code to act on.

0    done
1    it was tried and failed: no such name, a port in use, a check of the demo that did not hold
2    the command line, a file or a setting is wrong (also: the cookie)
3    no answer: no node there, or no majority of the nodes; what was asked for may or may not have happened
130  ended by Ctrl-C
"""

import sys

from quorate.consensus import NoQuorum, OutcomeUnknown, Overloaded, StoreStopped
from quorate.core import (
    CallTimeout,
    ConfigError,
    CookieMismatch,
    LinkError,
    NodeDown,
    QuorateError,
    RemoteError,
)

DONE = 0
FAILED = 1
USAGE = 2
UNREACHABLE = 3
INTERRUPTED = 130

_UNREACHABLE = (LinkError, CallTimeout, NodeDown, NoQuorum, OutcomeUnknown, Overloaded, StoreStopped)
_UNREACHABLE_THERE = frozenset(kind.__name__ for kind in _UNREACHABLE)


class CommandFailed(QuorateError):
    """A command did not do what it was asked to, for a reason that the user can understand."""


def exit_code(error: BaseException) -> int:
    """The exit code for an error. Usage errors of typer (or click) carry their own."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, ConfigError | CookieMismatch):
        return USAGE
    if isinstance(error, _UNREACHABLE):
        return UNREACHABLE
    if isinstance(error, RemoteError):
        return UNREACHABLE if error.type_name in _UNREACHABLE_THERE else FAILED
    code = getattr(error, "exit_code", FAILED)
    return code if isinstance(code, int) else FAILED


def one_line(error: BaseException) -> str:
    """The message of an error in one line."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, RemoteError):
        text = error.text or error.type_name
    elif callable(format_message := getattr(error, "format_message", None)):
        text = str(format_message())
    elif isinstance(error, QuorateError):
        text = str(error) or type(error).__name__
    else:
        text = f"{type(error).__name__}: {error}"
    return " ".join(text.split())


def is_expected(error: BaseException) -> bool:
    """A mistake of the user or a state of the world, and no defect of ours: no traceback is due."""
    return isinstance(error, QuorateError | OSError | KeyboardInterrupt) or hasattr(error, "format_message")


def complain(error: BaseException) -> None:
    """Write the one line to stderr."""
    print(f"quorate: {one_line(error)}", file=sys.stderr, flush=True)
