"""Whole clusters in one process, on imaginary time, from one seed: see `simulation.py`.

`loop.py` is the event loop, `network.py`, `links.py` and `stream.py` the network, `clock.py` the clocks, `tape.py` every random
choice, `guard.py` what catches the rest of the world, `trace.py` what tells two runs apart. The disk is `SimDisk`.
"""

from .clock import SimClock, WorldClock
from .errors import Hang, NodeDied, NodeIsDown, NotSimulated, SimulationError
from .links import LinkState
from .network import Host
from .simulation import SimEvent, SimStats, Simulation, simulate
from .tape import Draw, Stream, Tape

__all__ = [
    "Draw",
    "Hang",
    "Host",
    "LinkState",
    "NodeDied",
    "NodeIsDown",
    "NotSimulated",
    "SimClock",
    "SimEvent",
    "SimStats",
    "Simulation",
    "SimulationError",
    "Stream",
    "Tape",
    "WorldClock",
    "simulate",
]
