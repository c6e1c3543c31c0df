"""The conformance suite of the store: every statement of `consensus/store.py`, for every engine alike.

To run it for an engine, write an `Engine` (see `conformance_frame.py`) and parametrise over `suite(engine)`.
"""

from . import conformance_keys, conformance_sessions, conformance_watches
from .conformance_frame import CASES, CUT, RESTART, SUSPEND, Case, Cluster, Engine

__all__ = ["CUT", "RESTART", "SUSPEND", "Case", "Cluster", "Engine", "suite"]

_PARTS = (conformance_keys, conformance_watches, conformance_sessions)  # each declares its cases


def suite(engine: Engine) -> list[Case]:
    """The cases that this engine can be put through."""
    assert {case.check.__module__ for case in CASES} == {part.__name__ for part in _PARTS}
    assert len({case.name for case in CASES}) == len(CASES)
    return [case for case in CASES if case.suits(engine)]
