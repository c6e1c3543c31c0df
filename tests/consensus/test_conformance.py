"""Every engine keeps the promises of the store's port."""

import pytest

from tests.support import run

from .conformance import Case, Engine, suite
from .memory_cluster import MEMORY
from .raft_engine import RAFT

ENGINES = [MEMORY, RAFT]


@pytest.mark.parametrize(
    ("engine", "case"),
    [
        pytest.param(engine, case, id=f"{engine.name}-{case.name}")
        for engine in ENGINES
        for case in suite(engine)
    ],
)
def test_an_engine_keeps_the_promises_of_the_port(engine: Engine, case: Case) -> None:
    run(case.run(engine))
