"""Nodes by themselves: names, life, handlers."""

import asyncio
from typing import cast

import pytest

from quorate.core import Channel, ConfigError, LinkError, Network, Node, Process, Runtime
from tests.core.conftest import Play
from tests.core.nodes import A, World, run_on
from tests.support import ManualClock, SeededEntropy


def alone(name: str = A, creation: int = 1) -> Node:
    runtime = Runtime(network=cast("Network", None), clock=ManualClock(), entropy=SeededEntropy())
    return Node(name, runtime=runtime, creation=creation)


@pytest.mark.parametrize("name", ["", "a", "a@host", "@host:1", "a@host:x", "a b@host:1"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ConfigError):
        alone(name)


def test_a_creation_is_a_positive_number() -> None:
    with pytest.raises(ConfigError, match="creation"):
        alone(creation=0)


def test_a_node_that_is_not_open_says_so() -> None:
    async def body(self: Process) -> None:
        pass

    node = alone()
    with pytest.raises(RuntimeError, match="not open"):
        node.spawn(body)


def test_a_node_is_opened_once_and_closing_a_closed_one_is_harmless() -> None:
    async def main() -> None:
        node = alone()
        await node.close()
        async with node:
            with pytest.raises(RuntimeError, match="open already"):
                await node.open()
            with pytest.raises(RuntimeError, match="before"):
                node.attach(cast("World", None))  # type: ignore[arg-type]
            with pytest.raises(LinkError, match="alone"):
                await node.connect("b@127.0.0.1:9102")
            assert node.nodes() == []
            assert not node.send_channel("b@127.0.0.1:9102", Channel.RAFT, b"x")
        await node.close()

    run_on("asyncio", main)


def test_fifty_nodes_live_in_one_program() -> None:
    async def main() -> None:
        async def body(self: Process) -> None:
            self.register("the same name")
            await self.receive()

        nodes = [alone(f"n{number}@127.0.0.1:{9000 + number}") for number in range(50)]
        for node in nodes:
            await node.open()
        pids = {node.spawn(body) for node in nodes}
        await asyncio.sleep(0)
        assert {node.whereis("the same name") for node in nodes} == pids
        for node in nodes:
            await node.close()

    run_on("asyncio", main)


def test_each_channel_and_each_operation_has_one_handler(play: Play) -> None:
    async def main(node: Node, world: World) -> None:
        async def handler(args: object) -> object:
            return args

        node.on_channel(Channel.RAFT, print)
        node.add_admin("status", handler)
        for channel in (Channel.RAFT, Channel.SIGNALS):
            with pytest.raises(ConfigError):
                node.on_channel(channel, print)
        with pytest.raises(ConfigError):
            node.add_admin("status", handler)
        with pytest.raises(ConfigError, match="knows no operation"):
            await node.admin("no such", None)
        assert node.creation_of(node.name) == 1
        assert node.creation_of("b@127.0.0.1:9102") is None

    play.one(main)
