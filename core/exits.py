"""What an exit signal does to the process that it reaches. Pure; the rules are Erlang's.

(https://www.erlang.org/doc/system/ref_man_processes.html#receiving-exit-signals)
"""

from enum import Enum

from .pid import KILL, KILLED, NORMAL


class Fate(Enum):
    """What becomes of an exit signal."""

    IGNORED = 1
    DELIVERED = 2  # as an `ExitSignal` in the mailbox
    EXITS = 3  # the process ends, with the reason that `verdict` gives


def verdict(reason: object, *, linked: bool, trapping: bool, own: bool) -> tuple[Fate, object]:
    """The fate of a signal with `reason`, and the reason with which the process ends if it does.

    `linked`: it came because a linked process ended, and not by an explicit `exit(pid, reason)`. `trapping`: the
    receiver traps exits. `own`: the receiver sent it to itself.

    >>> verdict("kill", linked=False, trapping=True, own=False)
    (<Fate.EXITS: 3>, 'killed')
    """
    if not linked and is_word(reason, KILL):
        return Fate.EXITS, KILLED
    if trapping:
        return Fate.DELIVERED, reason
    if is_word(reason, NORMAL) and not own:
        return Fate.IGNORED, reason
    return Fate.EXITS, reason


def is_word(reason: object, word: str) -> bool:
    """Whether a reason is this word. (Not `==` alone: a reason may be any object, with any `__eq__`.)"""
    return isinstance(reason, str) and reason == word
