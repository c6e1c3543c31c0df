"""The examples do what they say."""

import asyncio
import importlib.util
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from quorate.core import Process, RealEntropy, RealNetwork
from quorate.demo.ports import free_ports
from quorate.jepsen_like import Simulation, simulate

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"
LEDGER = EXAMPLES / "ledger.py"
LINE = re.compile(r"balance +(\d+)  on ([abc])@\S+ \(fence (\d+)\)")


def free_base_port(also: tuple[int, ...] = (1, 2)) -> int:
    """A port that is free, and those so much after it."""

    async def find() -> int:
        network = RealNetwork()
        while True:
            (base,) = await free_ports(network, RealEntropy(), 1)
            try:
                for more in also:
                    server = await network.create_server(asyncio.Protocol, "127.0.0.1", base + more)
                    server.close()
                    await server.wait_closed()
            except (OSError, OverflowError):
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


@pytest.mark.parametrize("program", ["pool.py", "connection.py", "ledger.py a"])
def test_an_example_says_which_port_is_in_use_and_what_to_do(program: str, tmp_path: pathlib.Path) -> None:
    name, *arguments = program.split()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = subprocess.run(
            [sys.executable, str(EXAMPLES / name), *arguments, str(port)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=tmp_path,
        )
    assert (ran.stdout, ran.returncode) == ("", 1)
    assert re.fullmatch(rf".* cannot listen on 127.0.0.1, port {port}: .* another port\n", ran.stderr)


@pytest.mark.parametrize("program", ["pool.py", "connection.py", "ledger.py", "chat.py"])
def test_an_example_says_what_is_wrong_with_its_arguments(program: str) -> None:
    ran = subprocess.run(
        [sys.executable, str(EXAMPLES / program), "zebra"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 2
    usage, complaint = ran.stderr.splitlines()
    assert usage.startswith(f"usage: {program} [-h]")
    assert "'zebra'" in complaint


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


# -- the chat ------------------------------------------------------------------------------------------------

CHAT = EXAMPLES / "chat.py"
DOOR = 100  # so far from the port of a node is the one at which its users come in


def chat_ports() -> int:
    return free_base_port((1, DOOR, DOOR + 1))


class Terminal:
    """A user of the chat, with a socket of its own."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.lines = self.socket.makefile("rb")

    def types(self, line: str) -> None:
        self.socket.sendall(line.encode() + b"\n")

    def sees(self, text: str) -> str:
        """Read up to a line that holds a text; that line."""
        before = []
        for line in self.lines:
            if text in line.decode():
                return line.decode().strip()
            before.append(line)
        raise AssertionError(f"no {text!r} before the end of {before}")

    def next(self) -> str:
        return self.lines.readline().decode().strip()

    def is_at_its_end(self) -> bool:
        return self.lines.read() == b""

    def close(self) -> None:
        self.lines.close()
        self.socket.close()

    def break_off(self) -> None:
        """Not by a goodbye, but as a machine that has forgotten the connection: by a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()


class Chat:
    """The chat as a program, and the users that came in."""

    def __init__(self, letter: str, base: int, stack: ExitStack) -> None:
        self.door = base + DOOR + "ab".index(letter)
        self.program = subprocess.Popen(
            [sys.executable, "-W", "error", "-X", "dev", str(CHAT), letter, str(base)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._stack = stack
        stack.callback(self.program.communicate)
        stack.callback(self.program.kill)
        assert self.program.stdout is not None
        assert self.program.stdout.readline() == f"come in: nc 127.0.0.1 {self.door}\n"

    def user(self, nick: str) -> Terminal:
        terminal = Terminal(self.door)
        self._stack.callback(terminal.close)
        terminal.sees("you are in #lobby")
        terminal.types(f"/nick {nick}")
        assert terminal.next() == f"* you are {nick}"
        return terminal


@pytest.fixture
def chats() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_the_chat_shows_itself() -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", str(CHAT), "demo", str(chat_ports())],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0
    seen = [line.strip() for line in ran.stdout.splitlines()]
    ada = [line.removeprefix("ada | ") for line in seen if line.startswith("ada | ")]
    told = ["bob: Hello from the other node!", "* bob is gone: killed", "* #lobby is gone: you go in again"]
    assert [line for line in ada if line in told] == told
    assert ada[-1] == "* carl is gone: mailbox_full"
    assert "carl | * #lobby is gone: you go in again" in seen
    assert sum("you are in #lobby: ada carl" in line for line in seen) == 1
    ends = [re.sub(r".* (ended: .*)", r"\1", line) for line in ran.stderr.splitlines() if " ended: " in line]
    assert ends == [
        "ended: 'killed'; not restarted",
        "ended: 'a bug'; restarting (1 of 3 in 5 s)",
        "ended: 'mailbox_full'; not restarted",
    ]
    assert "1000 messages wait in its mailbox: it is killed" in ran.stderr
    assert len(ran.stderr.splitlines()) == 4


def test_users_of_the_chat_talk_in_rooms(chats: ExitStack) -> None:
    chat = Chat("a", chat_ports(), chats)
    ada, bob = chat.user("ada"), chat.user("bob")
    assert ada.sees("is now bob").startswith("* guest-a")
    ada.types("  Good day,  Bob  ")
    assert bob.next() == "ada:   Good day,  Bob"
    ada.types("/nick bob")
    assert ada.next() == "* there is a bob in #lobby already: take another /nick"
    ada.types("/nick ann")
    assert (ada.next(), bob.next()) == ("* you are ann", "* ada is now ann")
    ada.types("/join tea")
    assert (ada.next(), bob.next()) == ("* you are in #tea: ann", "* ann is gone: left")
    ada.types("is anybody here?")
    bob.types("/rooms")
    assert bob.next() == "* open: #lobby #tea"
    bob.types("/join #tea")
    assert (bob.next(), ada.next()) == ("* you are in #tea: ann bob", "* bob is here")
    bob.types("/leave")
    assert ada.next() == "* bob is gone: left"
    bob.types("does anybody hear me?")
    assert bob.next().startswith("* /join ROOM, ")
    ada.types("/who")
    assert ada.next() == "* here: ann"
    ada.types("/dance")
    assert ada.next().startswith("* /join ROOM, ")
    bob.types("/join tea")
    assert ada.next() == "* bob is here"
    ada.types("/quit")
    assert ada.is_at_its_end()
    assert bob.sees("ann") == "* you are in #tea: ann bob"
    assert bob.next() == "* ann is gone: left"


@pytest.mark.parametrize("end", ["closed", "broken off", "crashed"])
def test_however_a_connection_of_the_chat_ends_the_others_hear_of_it_and_go_on(
    chats: ExitStack, end: str
) -> None:
    chat = Chat("a", chat_ports(), chats)
    ada, bob, carl = chat.user("ada"), chat.user("bob"), chat.user("carl")
    bob.sees("is now carl")
    match end:
        case "closed":
            ada.socket.shutdown(socket.SHUT_WR)
            assert bob.next() == "* ada is gone: left"
            ada.sees("is now carl")
            assert ada.is_at_its_end()
        case "broken off":
            ada.break_off()
            assert bob.next() == "* ada is gone: hung up"
        case _:
            ada.types("x" * 70_000)  # longer than a line may be
            assert bob.next() == "* ada is gone: crashed"
    bob.types("and we go on")
    assert carl.sees("bob: ") == "bob: and we go on"


def test_users_of_both_nodes_of_the_chat_are_in_the_same_rooms_until_one_node_dies(chats: ExitStack) -> None:
    base = chat_ports()
    node_a, node_b = Chat("a", base, chats), Chat("b", base, chats)
    ada = node_a.user("ada")
    ada.types("/join tea")
    ada.sees("you are in #tea")
    bob = Terminal(node_b.door)
    chats.callback(bob.close)
    assert bob.next().startswith("* /join ROOM, ")
    bob.next()
    bob.types("/join tea")
    while not bob.next().startswith("* you are in #tea"):  # the nodes were not linked yet
        bob.types("/join tea")
    ada.sees("is here")
    ada.types("Hello")
    assert bob.sees("ada: ") == "ada: Hello"
    node_a.program.kill()
    assert bob.sees("#tea") == "* #tea is gone: you go in again"
    assert "a@127.0.0.1" in bob.next()
    bob.types("/nick robert")
    assert bob.next() == "* you are robert"


def test_ctrl_c_ends_the_chat_and_lets_its_users_go(chats: ExitStack) -> None:
    chat = Chat("a", chat_ports(), chats)
    ada = chat.user("ada")
    chat.program.send_signal(signal.SIGINT)
    assert ada.is_at_its_end()
    out, errors = chat.program.communicate(timeout=30)
    assert (out, errors, chat.program.returncode) == ("ended\n", "", 0)


def test_the_chat_says_which_port_is_in_use_and_what_to_do() -> None:
    base = chat_ports()
    for taken in (base, base + DOOR):
        with socket.create_server(("127.0.0.1", taken)):
            ran = subprocess.run(
                [sys.executable, str(CHAT), "a", str(base)],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        assert (ran.stdout, ran.returncode) == ("", 1)
        assert str(taken) in ran.stderr
        assert ran.stderr.endswith(f"Other ports may be free: python chat.py a {base + 1000}\n")
        assert "Traceback" not in ran.stderr


def test_a_room_of_the_chat_ends_when_nobody_was_there_for_a_minute() -> None:
    spec = importlib.util.spec_from_file_location("chat_example", CHAT)
    assert spec is not None and spec.loader is not None
    chat: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(chat)

    async def idle(self: Process) -> None:
        await self.receive(match=lambda message: message == "go")

    async def main() -> None:
        async with Simulation(seed=1, nodes=1) as sim:
            node = sim.node("n1")
            room, user = await node.start(chat.Room, "#tea"), node.spawn(idle)
            await room.call(chat.Room.enter, user, "ada")
            await sim.run_for(10 * chat.EMPTY_S)
            assert await room.call(chat.Room.who) == "ada"
            node.send(user, "go")
            await sim.run_for(0.9 * chat.EMPTY_S)
            assert node.process_info(room.pid) is not None
            await sim.run_for(1.2 * chat.EMPTY_S)
            assert node.process_info(room.pid) is None

    simulate(main)
