"""Fixtures of the core's tests: every test that takes one of these runs on each kind of loop: asyncio's, uvloop, the simulation's."""

from collections.abc import Awaitable, Callable

import pytest

from quorate.core import Node, ProcessConfig
from tests.core.nodes import ALL_LOOPS, A, B, World, run_on

OnOne = Callable[[Node, World], Awaitable[None]]
OnTwo = Callable[[Node, Node, World], Awaitable[None]]


class Play:
    """Runs the body of a test on nodes that are closed afterwards."""

    def __init__(self, loop: str, place: str = "here") -> None:
        self.loop = loop
        self.place = place

    def one(self, main: OnOne, config: ProcessConfig | None = None) -> None:
        """`main(node, world)` on one node."""

        async def whole() -> None:
            world = World(config)
            await main(await world.node(), world)
            await world.close()

        run_on(self.loop, whole)

    def two(self, main: OnTwo, config: ProcessConfig | None = None) -> None:
        """`main(a, b, world)` on two nodes that are linked; "here": both are the same one."""

        async def whole() -> None:
            world = World(config)
            a = await world.node(A)
            b = a
            if self.place == "there":
                b = await world.node(B, exports=a.exports)
                world.join(a, b)
            await main(a, b, world)
            await world.close()

        run_on(self.loop, whole)


@pytest.fixture(params=ALL_LOOPS)
def play(request: pytest.FixtureRequest) -> Play:
    """One node, or two that are linked, on each kind of loop: asyncio's, uvloop, the simulation's."""
    return Play(request.param, "there")


@pytest.fixture(
    params=[(loop, place) for loop in ALL_LOOPS for place in ("here", "there")], ids=lambda p: "-".join(p)
)
def anywhere(request: pytest.FixtureRequest) -> Play:
    """For what must hold whether the other process is on this node or on another one."""
    return Play(*request.param)
