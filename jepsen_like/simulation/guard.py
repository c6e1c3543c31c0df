"""What a seed cannot decide is caught: clocks, randomness, threads, sockets and subprocesses of the real world.

While a simulation runs, the functions below raise `NotSimulated`, naming themselves and the line that called them. Python's
own modules may call them (logging stamps its records, for example), and so may test tools.

What gets past: a function that was bound to another name before (`from time import time`), `datetime.now()`, and
extension modules that ask the kernel themselves. Then two runs of one seed show another trace hash.
"""

import os
import random
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .errors import NotSimulated, frame_of_caller, package_of, place

_TIME = (
    "time",
    "time_ns",
    "monotonic",
    "monotonic_ns",
    "perf_counter",
    "perf_counter_ns",
    "process_time",
    "process_time_ns",
    "thread_time",
    "thread_time_ns",
    "clock_gettime",
    "clock_gettime_ns",
    "sleep",
)
_RANDOM = (
    "random", "uniform", "randint", "choice", "choices", "sample", "shuffle", "randrange", "getrandbits", "randbytes",
    "gauss", "normalvariate", "expovariate", "betavariate", "triangular", "seed",
)  # fmt: skip
_TOOLS = frozenset(
    [
        "logging",
        "warnings",
        "traceback",
        "linecache",
        "pytest",
        "_pytest",
        "pluggy",
        "hypothesis",
        "coverage",
        "importlib",
        "tracemalloc",
        "cProfile",
        "faulthandler",
        "pytest_timeout",
        "rich",
    ]
)


@contextmanager
def guarded() -> Iterator[None]:
    """Catch them in this thread until the end of the block."""
    undo: list[tuple[Any, str, Any]] = []
    thread = threading.get_ident()

    def forbid(owner: Any, name: str, what: str) -> None:
        real = getattr(owner, name, None)
        if real is None:
            return
        undo.append((owner, name, real))
        setattr(owner, name, _guard(real, what, thread))

    try:
        for name in _TIME:
            forbid(time, name, f"time.{name}()")
        for name in _RANDOM:
            forbid(random, name, f"random.{name}()")
        forbid(random, "_urandom", "the system's randomness")
        undo.append((random.Random, "seed", random.Random.seed))
        setattr(random.Random, "seed", _guard_seed(random.Random.seed, thread))  # noqa: B010 -- mypy refuses the other
        forbid(os, "urandom", "os.urandom()")
        forbid(os, "getrandom", "os.getrandom()")
        forbid(uuid, "uuid1", "uuid.uuid1()")
        forbid(uuid, "uuid4", "uuid.uuid4()")
        forbid(threading.Thread, "start", "a thread")
        forbid(socket.socket, "__init__", "a socket")
        for name in ("socketpair", "getaddrinfo", "gethostbyname", "gethostname"):
            forbid(socket, name, f"socket.{name}()")
        forbid(subprocess.Popen, "__init__", "a subprocess")
        yield
    finally:
        for owner, name, real in reversed(undo):
            setattr(owner, name, real)


def _guard(real: Callable[..., Any], what: str, thread: int) -> Callable[..., Any]:
    def guard(*args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() == thread:
            frame = frame_of_caller(sys._getframe(1))
            if package_of(frame) not in _TOOLS:
                raise NotSimulated(what, place(frame))
        return real(*args, **kwargs)

    return guard


def _guard_seed(real: Callable[..., None], thread: int) -> Callable[..., None]:
    """A generator without a seed takes one from the system."""
    unseeded = _guard(real, "random.Random() without a seed", thread)

    def seed(self: random.Random, a: Any = None, version: int = 2) -> None:
        if a is None and type(self) is not random.SystemRandom:
            unseeded(self, a, version)
        else:
            real(self, a, version)

    return seed
