"""The errors of the simulation.

QuorateError
└── SimulationError
    ├── Hang           everybody waits and nothing will ever happen: the message has the stacks
    ├── NotSimulated   the code reached past the ports, to something that a seed cannot decide
    ├── NodeIsDown     the node does not run, or is not open yet
    └── NodeDied       the simulated process ended before the task that was started in it
"""

from quorate.core import QuorateError


class SimulationError(QuorateError):
    """The simulation cannot go on, or cannot do what was asked."""


class Hang(SimulationError):
    """Nothing is scheduled and something is awaited: a lost wake-up, a deadlock, or a wait for what was killed."""


class NotSimulated(SimulationError):
    """Code in the simulation used something real; the message names it and the line."""

    def __init__(self, what: str, where: str = "") -> None:
        super().__init__(
            f"{what} is not simulated{f' ({where})' if where else ''}: use the ports of the node's Runtime, "
            "so that a seed decides it"
        )


class NodeIsDown(SimulationError):
    """The node does not run, or is not open yet: `await sim.up(name)` waits for it."""


class NodeDied(SimulationError):
    """The simulated process was killed, or lost power, before this was over; what it did is not known."""
