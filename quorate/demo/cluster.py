"""Starting, commanding and ending the processes of the demo's nodes.

The parent is the authority over which processes run: a `Child` is one life of one node. What must never happen here: a
process or a temporary directory outlives the demo, whichever way it ends.
"""

import asyncio
import signal
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from quorate.core import Clock, QuorateError, timeout

from .pipes import LINE_LIMIT_BYTES, encode, read_lines
from .settings import NODES

_START_S = 20.0
_END_S = 15.0
_STDERR_LINES = 60  # of each process, kept for the case that something fails

EventHandler = Callable[["Child", dict[str, Any]], None]


class ChildError(QuorateError):
    """A node answered with an error. `certain`: nothing happened; else nobody knows."""

    def __init__(self, node: str, kind: str, text: str, certain: bool) -> None:
        super().__init__(f"{node} answers {kind}: {text}")
        self.kind = kind
        self.certain = certain


class ChildGone(QuorateError):
    """The process ended before it answered: nobody knows what came of the request."""


@dataclass(eq=False)
class Child:
    """One life of a node: `a#2` is the second process of node `a`."""

    node: str
    life: int
    process: asyncio.subprocess.Process
    on_event: EventHandler
    stderr: deque[str] = field(default_factory=lambda: deque(maxlen=_STDERR_LINES))

    def __post_init__(self) -> None:
        self.id = f"{self.node.partition('@')[0]}#{self.life}"
        self.serving = False
        self._requests = 0
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks = [asyncio.ensure_future(self._read_stdout()), asyncio.ensure_future(self._read_stderr())]

    async def up(self) -> None:
        """Return when the node has started. Raises `ChildGone` with what it said."""
        await self._up

    async def request(self, op: str, **args: Any) -> Any:
        """Ask the node. Raises `ChildError`, `ChildGone`."""
        return await self.begin(op, **args)

    def begin(self, op: str, **args: Any) -> "asyncio.Future[Any]":
        """Send a request now; the future is its answer."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        stdin = self.process.stdin
        assert stdin is not None
        if self._up.done() and not self.serving:
            answer.set_exception(ChildGone(f"{self.id} is gone"))
            return answer
        self._requests += 1
        number = self._requests
        try:
            stdin.write(encode({"id": number, "op": op, "args": args}))
        except (OSError, RuntimeError) as error:  # its end of the pipe is closed: it died a moment ago
            answer.set_exception(ChildGone(f"{self.id} is gone: {error}"))
            return answer
        self._waiting[number] = answer
        answer.add_done_callback(lambda _: self._waiting.pop(number, None))
        return answer

    def introduce(self, who: dict[str, Any]) -> None:
        """Say to the process who it is."""
        assert self.process.stdin is not None
        self.process.stdin.write(encode(who))

    async def wait(self) -> int:
        """Return the exit code when the process has ended and all that it said was read."""
        code = await self.process.wait()
        await asyncio.gather(*self._tasks)
        return code

    def kill(self) -> None:
        """SIGKILL, by its pid."""
        if self.process.returncode is None:
            self.process.kill()

    def terminate(self) -> None:
        """SIGTERM, by its pid."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)

    async def _read_stdout(self) -> None:
        assert self.process.stdout is not None
        async for record in read_lines(self.process.stdout):
            self._hear(record)
        self.serving = False
        gone = ChildGone(f"{self.id} is gone" + (f": {self.stderr[-1]}" if self.stderr else ""))
        for answer in list(self._waiting.values()):
            if not answer.done():
                answer.set_exception(gone)
        if not self._up.done():
            self._up.set_exception(gone)
            self._up.exception()  # whoever waits gets it; nobody has to

    async def _read_stderr(self) -> None:
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            self.stderr.append(line.decode("utf-8", "replace").rstrip())

    def _hear(self, record: dict[str, Any]) -> None:
        if "event" in record:
            if record["event"] == "up" and not self._up.done():
                self.serving = True
                self._up.set_result(None)
            self.on_event(self, record)
            return
        answer = self._waiting.get(record["id"])
        if answer is None or answer.done():
            return
        if "error" in record:
            error = record["error"]
            answer.set_exception(ChildError(self.id, error["type"], error["text"], error["certain"]))
        else:
            answer.set_result(record["result"])


class Cluster:
    """The nodes, each with a data directory below `root`."""

    def __init__(
        self, clock: Clock, root: Path, ports: list[int], cookie: str, on_event: EventHandler
    ) -> None:
        self._clock = clock
        self._root = root
        self._cookie = cookie
        self._on_event = on_event
        self.names = [f"{app}@127.0.0.1:{port}" for app, port in zip(NODES, ports, strict=True)]
        self.children: dict[str, Child] = {}
        self._lives = dict.fromkeys(self.names, 0)
        self.lives: list[Child] = []  # all that were ever started

    @property
    def serving(self) -> list[Child]:
        """The nodes that can be asked now, in the order of their names."""
        return [child for name in self.names if (child := self.children.get(name)) and child.serving]

    def others(self, but: Child) -> list[Child]:
        return [child for child in self.serving if child is not but]

    async def start(self, name: str) -> Child:
        """Start a node, or start it again on its directory, and wait until it is up. Raises `ChildGone`."""
        self._lives[name] += 1
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "quorate.demo.child",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=LINE_LIMIT_BYTES,
            start_new_session=True,  # Ctrl-C in a terminal is for the parent alone
        )
        child = Child(name, self._lives[name], process, self._on_event)
        self.lives.append(child)
        self.children[name] = child
        child.introduce(
            {
                "name": name,
                "voters": self.names,
                "cookie": self._cookie,
                "data_dir": str(self._root / name.partition("@")[0]),
            }
        )
        async with timeout(self._clock, _START_S):
            await child.up()
        return child

    async def start_all(self) -> list[Child]:
        return await asyncio.gather(*(self.start(name) for name in self.names))

    async def kill(self, child: Child) -> float:
        """SIGKILL; return the time at which the process was certainly dead."""
        child.serving = False
        child.kill()
        await child.wait()
        return self._clock.monotonic()

    async def terminate(self, child: Child) -> int:
        """SIGTERM; return the exit code."""
        child.terminate()
        async with timeout(self._clock, _END_S):
            return await child.wait()

    async def close(self) -> None:
        """End all processes that were ever started here."""
        for child in self.lives:
            child.kill()
        await asyncio.gather(*(child.wait() for child in self.lives), return_exceptions=True)
