"""The examples do what they say."""

import asyncio
import os
import pathlib
import re
import subprocess
import sys

import pytest

from quorate.core import RealEntropy, RealNetwork
from quorate.demo.ports import free_ports

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"
LEDGER = EXAMPLES / "ledger.py"
LINE = re.compile(r"balance +(\d+)  on ([abc])@\S+ \(fence (\d+)\)")


def free_base_port() -> int:
    """A port that is free, and the two after it."""

    async def find() -> int:
        network = RealNetwork()
        while True:
            (base,) = await free_ports(network, RealEntropy(), 1)
            try:
                for port in (base + 1, base + 2):
                    server = await network.create_server(asyncio.Protocol, "127.0.0.1", port)
                    server.close()
                    await server.wait_closed()
            except OSError:
                continue
            return base

    return asyncio.run(find())


def until_posted(node: "subprocess.Popen[str]", above: int = 0) -> tuple[int, str, int]:
    """Read up to a balance over `above`: the balance, the letter of the node it is on, the fence."""
    assert node.stdout is not None
    for line in node.stdout:
        found = LINE.fullmatch(line.strip())
        if found is not None and int(found[1]) > above:
            return int(found[1]), found[2], int(found[3])
    raise AssertionError("it ended")


@pytest.mark.slow
def test_the_ledger_survives_the_death_of_its_node(tmp_path: pathlib.Path) -> None:
    base = free_base_port()
    nodes = {
        letter: subprocess.Popen(
            [sys.executable, str(LEDGER), letter, str(base)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        for letter in "abc"
    }
    try:
        balance, home, fence = until_posted(nodes["a"])
        nodes[home].kill()
        survivor = next(letter for letter in "abc" if letter != home)
        later, elsewhere, higher = until_posted(nodes[survivor], above=balance)
        while elsewhere == home:  # printed before the kill
            later, elsewhere, higher = until_posted(nodes[survivor], above=later)
        assert higher > fence
    finally:
        for node in nodes.values():
            node.kill()
            node.communicate()


def test_the_pool_fetches_all_pages_although_its_workers_crash() -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / "pool.py"), str(free_base_port())],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.stdout == "40 pages, 6 of them by another worker than the first\n"
    assert ran.returncode == 0
    told = ran.stderr.splitlines()
    assert len(told) == 6
    assert all("restarting (" in line for line in told)


def test_the_connection_comes_back_and_keeps_who_asks_waiting() -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", str(EXAMPLES / "connection.py"), str(free_base_port())],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.stderr == ""
    assert ran.returncode == 0
    lines = ran.stdout.splitlines()
    assert lines[0] == "connecting, attempt 1"
    assert lines[1].startswith("no connection: ")
    assert lines[2] == "connecting, attempt 2"
    first = lines.index("connected")
    assert lines[first + 1 :] == [
        "1 + 2 = 3",
        "3 + 4 = 7",
        "the server hung up",
        "die: the connection was lost before the answer came",
        "connecting, attempt 1",
        "connected",
        "5 + 6 = 11",
    ]
