"""The errors of the simulation.

QuorateError
└── SimulationError
    ├── Hang           everybody waits and nothing will ever happen: the message has the stacks
    ├── NotSimulated   the code reached past the ports, to something that a seed cannot decide
    ├── NodeIsDown     the node does not run, or is not open yet
    └── NodeDied       the simulated process ended before the task that was started in it
"""

import os
import sys
from typing import Any

from quorate.core import QuorateError


class SimulationError(QuorateError):
    """The simulation cannot go on, or cannot do what was asked."""


class Hang(SimulationError):
    """Nothing is scheduled and something is awaited (a lost wake-up, a deadlock, a wait for what was killed), or the run does not
    end. The message shows where everybody stands."""


class NotSimulated(SimulationError):
    """Code in the simulation used something real; the message names it and the line."""

    def __init__(self, what: str, where: str = "") -> None:
        super().__init__(
            f"{what} is not simulated{f' ({where})' if where else ''}: use the ports of the node's Runtime, "
            "so that a seed decides it"
        )


def short_path(path: str) -> str:
    """A source file as a person finds it: from the present directory on when it is below it."""
    here = os.getcwd() + os.sep
    return path.removeprefix(here)


_BETWEEN = frozenset(
    [
        "_socket",
        "asyncio",
        "concurrent",
        "contextlib",
        "multiprocessing",
        "random",
        "secrets",
        "socket",
        "ssl",
        "subprocess",
        "tempfile",
        "threading",
        "uuid",
    ]
)


def frame_of_caller(frame: Any) -> Any:
    """From this frame outwards, the first that is neither the simulation's nor of the modules that stand between."""
    while frame.f_back is not None and (
        package_of(frame) in _BETWEEN or frame.f_globals.get("__package__") == __package__
    ):
        frame = frame.f_back
    return frame


def package_of(frame: Any) -> str:
    name: str = frame.f_globals.get("__name__", "")
    return name.partition(".")[0]


def place(frame: Any) -> str:
    return f"{short_path(frame.f_code.co_filename)}:{frame.f_lineno} in {frame.f_code.co_name}"


def caller() -> str:
    """The line of the program that asked."""
    return place(frame_of_caller(sys._getframe(1)))


class NodeIsDown(SimulationError):
    """The node does not run, or is not open yet: `await sim.up(name)` waits for it."""


class NodeDied(SimulationError):
    """The simulated process was killed, or lost power, before this was over; what it did is not known."""
