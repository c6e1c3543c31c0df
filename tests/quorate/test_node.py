"""The node that programs use, on real sockets and disks: what it refuses, and what it must never do."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import quorate
from quorate.core import AdminClient
from quorate.core.real import RealEntropy, RealNetwork, real_runtime
from quorate.demo.ports import free_ports
from tests.support import run


async def names(*apps: str) -> list[str]:
    ports = await free_ports(RealNetwork(), RealEntropy(), len(apps))
    return [f"{app}@127.0.0.1:{port}" for app, port in zip(apps, ports, strict=True)]


def node(name: str, voters: Sequence[str], folder: Path, **more: object) -> quorate.Node:
    return quorate.Node(
        name,
        cookie="test",
        voters=voters,
        data_dir=folder / name.split("@")[0],
        preset="local",
        **more,  # type: ignore[arg-type]
    )


async def leader_of(nodes: Sequence[quorate.Node]) -> str:
    """Wait for a leader that all of them know."""
    while True:
        leaders = {each.store.status().leader for each in nodes}
        leader = leaders.pop()
        if leader is not None and not leaders:
            return leader
        await asyncio.sleep(0.01)


def test_a_node_that_counts_other_voters_has_no_part_in_the_store(tmp_path: Path) -> None:
    """PySyncObj's a11: there, a membership that grew unseen led to two majorities that did not meet."""

    async def main() -> None:
        a, b, c, d, e = await names("a", "b", "c", "d", "e")
        five = node(c, [a, b, c, d, e], tmp_path)
        async with node(a, [a, b, c], tmp_path) as one, node(b, [a, b, c], tmp_path) as two, five:
            assert await leader_of([one, two]) in (a, b)
            await one.connect(c)
            await five.connect(b)
            with pytest.raises(quorate.NoQuorum):
                await five.store.get(b"k", timeout_s=0.6)
            assert five.store.status().leader is None
            await one.store.get(b"k")

    run(main())


def test_a_node_is_not_started_with_other_voters_on_its_data_directory(tmp_path: Path) -> None:
    async def main() -> None:
        a, b, c, d = await names("a", "b", "c", "d")
        async with node(a, [a, b, c], tmp_path):
            pass
        with pytest.raises(quorate.WrongDataDir, match="start it as a member of that cluster"):
            await node(a, [a, b, d], tmp_path).open()

    run(main())


def test_a_voter_without_a_data_directory_is_refused_at_once() -> None:
    with pytest.raises(quorate.ConfigError, match="give it a data directory"):
        quorate.Node("a@127.0.0.1:1", cookie="x", voters=["a@127.0.0.1:1", "b@127.0.0.1:2"])


@pytest.mark.parametrize(
    ("voters", "message"),
    [
        (["b@127.0.0.1:2"], "is not among the voters"),
        (["a@127.0.0.1:1", "a@127.0.0.1:1"], "named twice"),
        (["a@127.0.0.1:1", "b"], "b"),
    ],
)
def test_voters_that_make_no_sense_are_refused(voters: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(quorate.ConfigError, match=message):
        quorate.Node("a@127.0.0.1:1", cookie="x", voters=voters, data_dir=tmp_path)


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(quorate.ConfigError, match="use local, lan or wan"):
        quorate.Node("a@127.0.0.1:1", cookie="x", preset="fast")


def test_a_port_in_use_leaves_the_data_directory_free(tmp_path: Path) -> None:
    async def main() -> None:
        (a,) = await names("a")
        async with node(a, [a], tmp_path):
            with pytest.raises(quorate.DataDirInUse):
                await node(a, [a], tmp_path).open()
            with pytest.raises(quorate.LinkError, match="something else listens there"):
                await node(a, [a], tmp_path / "other").open()
        async with node(a, [a], tmp_path / "other") as again:
            assert await again.store.get(b"k") is None

    run(main())


class Counter(quorate.Singleton[int]):
    def __init__(self) -> None:
        self.n = 0

    def take_over(self, state: int | None) -> None:
        self.n = state or 0

    def hand_over(self) -> int:
        return self.n

    async def incr(self) -> int:
        self.n += 1
        await self.checkpoint(self.n)
        return self.n


def test_a_single_voter_keeps_names_and_checkpoints_over_a_restart(tmp_path: Path) -> None:
    async def main() -> None:
        (a,) = await names("a")
        name = quorate.Name(Counter, "counter")
        for expected in (1, 2, 3):
            async with node(a, [a], tmp_path, exports=[Counter]) as one:
                assert await (await one.singleton(name)).call(Counter.incr) == expected

    run(main())


def test_a_command_line_client_is_told_where_a_name_is(tmp_path: Path) -> None:
    async def main() -> None:
        (a,) = await names("a")
        async with quorate.Node(a, cookie="test", exports=[Counter]) as one:
            ref = await one.start(Counter)
            claim = await one.registry.register("jobs/daily", ref)
            await (await one.singleton(quorate.Name(Counter, "counter"))).call(Counter.incr)
            async with AdminClient(real_runtime(), a, b"test") as client:
                found = await client.request("whereis", "jobs/daily")
                assert found == {"name": "jobs/daily", "pid": str(ref.pid), "node": a, "fence": claim.fence}
                listed: Any = await client.request("names", "jobs/")
                assert [entry["name"] for entry in listed] == ["jobs/daily"]
                singleton: Any = await client.request("whereis", "counter")
                assert (singleton["owner"], singleton["phase"]) == (a, "running")
                assert await client.request("whereis", "nobody") is None
                status: Any = await client.request("status")
                assert status["store"]["engine"] == "memory"

    run(main())
