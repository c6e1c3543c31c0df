"""The measures of the demo: small enough for a minute on two cores, large enough to mean something."""

from dataclasses import replace

from quorate.consensus import Timing
from quorate.core import LinkConfig

NODES = ("a", "b", "c")
NAMES = 1000
COUNTERS = 50
WORKERS_PER_NODE = 4  # of the load, each with one increment under way
PAUSE_S = 0.03  # of a worker between two increments
INCREMENT_S = 4.0  # until an increment without an answer counts as unknown
BURST = 100  # increments of one counter while it is moved
STEP_S = 25.0  # until a step has failed

TIMING = Timing(
    heartbeat_s=0.05,
    election_s=0.3,
    session_ttl_s=2.0,
    keepalive_s=0.25,
    drift=0.1,
    request_s=2.0,
)
LINKS = replace(LinkConfig.local(), heartbeat_s=0.2, heartbeat_timeout_s=1.5)


def name_of(number: int) -> str:
    return f"name/{number:04d}"


def counter_of(number: int) -> str:
    return f"counter/{number:02d}"


def short(node: str) -> str:
    """The part of a node's name that tells the demo's nodes apart: a, b or c."""
    return node.partition("@")[0]
