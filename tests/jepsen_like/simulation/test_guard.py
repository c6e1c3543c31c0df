"""What a seed cannot decide is an error that names the line, and is free again afterwards."""

import asyncio
import concurrent.futures
import logging
import os
import random
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable

import pytest

from quorate.jepsen_like.simulation import NotSimulated, simulate
from quorate.jepsen_like.simulation.guard import guarded


def closed(*sockets: socket.socket) -> None:
    for each in sockets:
        each.close()


FORBIDDEN: dict[str, Callable[[], object]] = {
    "time.time": lambda: time.time(),
    "time.time_ns": lambda: time.time_ns(),
    "time.monotonic": lambda: time.monotonic(),
    "time.monotonic_ns": lambda: time.monotonic_ns(),
    "time.perf_counter": lambda: time.perf_counter(),
    "time.perf_counter_ns": lambda: time.perf_counter_ns(),
    "time.process_time": lambda: time.process_time(),
    "time.sleep": lambda: time.sleep(0),
    "time.clock_gettime": lambda: time.clock_gettime(time.CLOCK_MONOTONIC),
    "random.random": lambda: random.random(),
    "random.randint": lambda: random.randint(1, 6),
    "random.choice": lambda: random.choice([1, 2]),
    "random.shuffle": lambda: random.shuffle([1, 2]),
    "random.sample": lambda: random.sample([1, 2], 1),
    "random.Random": lambda: random.Random(),
    "the system's randomness": lambda: random.SystemRandom().random(),
    "os.urandom": lambda: os.urandom(4),
    "uuid.uuid1": lambda: uuid.uuid1(),
    "uuid.uuid4": lambda: uuid.uuid4(),
    "randomness": lambda: secrets.token_hex(4),
    "system's randomness": lambda: secrets.randbelow(6),
    "a thread": lambda: threading.Thread(target=print).start(),
    "a thread ": lambda: concurrent.futures.ThreadPoolExecutor(1).submit(int),
    "a socket": lambda: closed(socket.socket()),
    "socket.socketpair": lambda: closed(*socket.socketpair()),
    "socket.getaddrinfo": lambda: socket.getaddrinfo("localhost", 1),
    "a subprocess": lambda: subprocess.run([sys.executable, "-c", ""], check=True),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_it_is_an_error_that_names_it_and_the_line_and_free_again_afterwards(what: str) -> None:
    act = FORBIDDEN[what]

    async def main() -> None:
        act()

    with pytest.raises(NotSimulated) as caught:
        simulate(main)
    line = act.__code__.co_firstlineno
    assert what.strip() in str(caught.value)
    assert f"tests/jepsen_like/simulation/test_guard.py:{line} in " in str(caught.value)
    act()


async def to_thread() -> None:
    await asyncio.to_thread(int)


async def executor() -> None:
    await asyncio.get_running_loop().run_in_executor(None, int)


async def subprocess_exec() -> None:
    await asyncio.create_subprocess_exec(sys.executable)


async def subprocess_shell() -> None:
    await asyncio.create_subprocess_shell("true")


async def datagrams() -> None:
    await asyncio.get_running_loop().create_datagram_endpoint(asyncio.DatagramProtocol)


async def unix_socket() -> None:
    await asyncio.open_unix_connection("/tmp/none")


async def signals() -> None:
    asyncio.get_running_loop().add_signal_handler(2, print)


async def connection() -> None:
    await asyncio.open_connection("localhost", 1)


@pytest.mark.parametrize(
    "act",
    [to_thread, executor, subprocess_exec, subprocess_shell, datagrams, unix_socket, signals, connection],
)
def test_what_is_asked_of_the_loop_is_an_error_that_names_the_line(act: Callable[[], object]) -> None:
    with pytest.raises(
        NotSimulated, match=rf"test_guard\.py:{act.__code__.co_firstlineno + 1} in {act.__name__}\)"
    ):
        simulate(act)  # type: ignore[arg-type]  # they are coroutine functions


def test_generators_with_a_seed_and_logging_and_temporary_names_of_tools_are_allowed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> float:
        logging.getLogger("somebody").warning("a record has the time of the machine")
        return random.Random(7).random()

    assert simulate(main) == random.Random(7).random()
    assert "a record" in caplog.text


def test_other_threads_go_by_the_real_world_meanwhile() -> None:
    results: list[float] = []
    entered, read = threading.Event(), threading.Event()

    def other() -> None:
        entered.wait()
        results.append(time.time())
        read.set()

    thread = threading.Thread(target=other)
    thread.start()
    with guarded():
        entered.set()
        read.wait()
    thread.join()
    assert results and results[0] > 1_700_000_000


def test_everything_is_free_again_after_a_run_that_failed() -> None:
    async def main() -> None:
        raise LookupError

    before = (time.time, random.random, os.urandom, random.Random.seed, socket.socket.__init__)
    with pytest.raises(LookupError):
        simulate(main)
    assert before == (time.time, random.random, os.urandom, random.Random.seed, socket.socket.__init__)
    assert tempfile.gettempprefix() and random.Random().random() < 1
