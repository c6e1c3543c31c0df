"""What is written down of a run of a program of signals: lines, in the order in which it happened, and as a story.

Processes, nodes and monitors are numbers; a monitor's is that of the line in which it was made. Messages are plain: what was
sent, ("EXIT", from, reason), ("DOWN", ref, process, reason).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Item = Any  # a message

PATTERNS: dict[str, Callable[[Item], bool]] = {
    "anything": lambda item: True,
    "int": lambda item: isinstance(item, int),
    "ping": lambda item: isinstance(item, tuple) and item[0] == "ping",
    "odd": lambda item: isinstance(item, int) and item % 2 == 1,
    "signal": lambda item: isinstance(item, tuple) and item[0] in ("EXIT", "DOWN"),
}


@dataclass(frozen=True, slots=True)
class View:
    """What is seen of a process from outside."""

    state: str  # alive, dead
    reason: object = None
    traps: bool = False
    mailbox: tuple[Item, ...] = ()
    waits: bool = False
    links: tuple[int, ...] = ()
    monitors: int = 0
    monitored_by: int = 0
    name: str | None = None


# -- the lines of a log ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Started:
    """A process was started from outside."""

    who: int
    node: int
    traps: bool


@dataclass(frozen=True, slots=True)
class Did:
    """A process did something; `mailbox` is what it had in it before, `result` what came of it."""

    who: int
    what: str
    args: tuple[Any, ...]
    mailbox: tuple[Item, ...]
    result: object = None


@dataclass(frozen=True, slots=True)
class Took:
    """A process that waited for a message took this one."""

    who: int
    item: Item


@dataclass(frozen=True, slots=True)
class Died:
    who: int
    reason: object


@dataclass(frozen=True, slots=True)
class Relinked:
    """The link between two nodes was lost (`up` is false), or made again."""

    nodes: frozenset[int]
    up: bool


@dataclass(frozen=True, slots=True)
class Settled:
    """Nothing was on its way any more."""

    views: tuple[View, ...]


Line = Started | Did | Took | Died | Relinked | Settled


def tell(line: Line) -> str:
    match line:
        case Started(who, node, traps):
            return f"p{who} on node {node}{' traps exits' if traps else ''}"
        case Did(who, what, args, mailbox, result):

            def show(arg: Any) -> str:
                process = arg is args[0] and isinstance(arg, int) and what not in ("demonitor", "trap")
                return f"p{arg}" if process else repr(arg)

            shown = ", ".join(map(show, args))
            seen = f"   (mailbox: {list(mailbox)})" if mailbox else ""
            return f"p{who}: {what}({shown}){'' if result is None else f' -> {result!r}'}{seen}"
        case Took(who, item):
            return f"p{who} took {item!r}"
        case Died(who, reason):
            return f"p{who} died: {reason!r}"
        case Relinked(nodes, up):
            return f"nodes {sorted(nodes)} are {'linked again' if up else 'cut off'}"
        case Settled(views):
            boxes = (f"p{who} {list(view.mailbox)}" for who, view in enumerate(views) if view.mailbox)
            return f"settled {'; '.join(boxes)}"
