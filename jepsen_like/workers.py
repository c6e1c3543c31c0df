"""Child processes that make runs, and what becomes of them.

Each child (`worker.py`) is asked for one run at a time by a line of JSON, and answers with one. It stands in a process group of its
own, so that Ctrl-C at a terminal reaches only whoever started it, who then ends the children. The authority over which spec is
where is `Workers`. What must never happen here: a child outlives `Workers`, or a spec waits for one that is dead.
"""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Any, Self

from quorate.core import QuorateError
from quorate.core.real import RealClock

from .campaign import Keep, Result, lost, result_from_json
from .runner import RunSpec

CHILD = "quorate.jepsen_like.worker"
LOOK_S = 1.0  # how often it is asked whether a child is overdue
START_LIMIT_S = 60.0
CHUNK_BYTES = 1 << 18
LAST_WORDS_BYTES = 4_000


class WorkerError(QuorateError):
    """Child processes cannot be started, or do not know what they are asked for; the message has their last words."""


@dataclass(slots=True, eq=False)
class _Child:
    """A child and what it is at. `overdue` is set when it was killed for taking too long."""

    process: subprocess.Popen[bytes]
    spec: RunSpec | None = None
    command: str | None = None
    until_s: float = 0.0
    ready: bool = False
    overdue: bool = False
    heard: bytearray = field(default_factory=bytearray)
    last_words: bytes = b""

    def said(self) -> str:
        """Its last line on stderr."""
        lines = self.last_words.decode("utf-8", "backslashreplace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


class Workers:
    """Up to `count` child processes. A context manager: they are killed at its end."""

    def __init__(self, count: int, *, keep: Keep, modules: Sequence[str] = (), run_limit_s: float) -> None:
        self._count = count
        self._hello = {"keep": asdict(keep), "modules": list(modules)}
        self._run_limit_s = run_limit_s
        self._clock = RealClock()
        self._children: list[_Child] = []
        self._selector = selectors.DefaultSelector()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in list(self._children):
            self._bury(child)
        self._selector.close()

    @property
    def pids(self) -> tuple[int, ...]:
        """Of the children that are there now."""
        return tuple(child.process.pid for child in self._children)

    def results(
        self, specs: Iterable[RunSpec], command: Callable[[RunSpec], str] | None = None
    ) -> Generator[Result, None, None]:
        """The result of each spec, as they get done. Raises `WorkerError`."""
        waiting = iter(specs)
        while True:
            while len(self._children) < self._count and (spec := next(waiting, None)) is not None:
                self._start(spec, None if command is None else command(spec))
            if not self._children:
                return
            for child in self._heard_of():
                yield from self._attend(child)
                if child.ready and child.spec is None:
                    if (spec := next(waiting, None)) is not None:
                        self._give(child, spec, None if command is None else command(spec))
                    else:
                        self._bury(child)

    # -- children ------------------------------------------------------------------------------------------

    def _start(self, spec: RunSpec, command: str | None) -> None:
        """A new child, with its first spec."""
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", CHILD],  # its path is that of this process, and no other
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(path or os.curdir for path in sys.path)},
            process_group=0,
        )
        child = _Child(process)
        self._children.append(child)
        assert process.stdout is not None and process.stderr is not None
        self._selector.register(process.stdout, selectors.EVENT_READ, child)
        self._selector.register(process.stderr, selectors.EVENT_READ, child)
        self._tell(child, self._hello)
        self._give(child, spec, command)

    def _give(self, child: _Child, spec: RunSpec, command: str | None) -> None:
        child.spec, child.command = spec, command
        limit_s = self._run_limit_s if child.ready else max(self._run_limit_s, START_LIMIT_S)
        child.until_s = self._clock.monotonic() + limit_s
        self._tell(child, {"spec": spec.dump(), "command": command})

    def _tell(self, child: _Child, message: dict[str, Any]) -> None:
        assert child.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it is dead, which the end of its output will say
            child.process.stdin.write(json.dumps(message).encode("ascii") + b"\n")
            child.process.stdin.flush()

    def _bury(self, child: _Child) -> None:
        """End a child, which has nothing left to do."""
        self._children.remove(child)
        process = child.process
        process.kill()
        for pipe in (process.stdin, process.stdout, process.stderr):
            assert pipe is not None
            with contextlib.suppress(KeyError, ValueError):  # its end was seen already
                self._selector.unregister(pipe)
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        process.wait()

    # -- what they say -------------------------------------------------------------------------------------

    def _heard_of(self) -> list[_Child]:
        """Wait until children have said something, or have ended."""
        heard: dict[_Child, None] = {}
        for key, _ in self._selector.select(LOOK_S):
            child: _Child = key.data
            data = os.read(key.fd, CHUNK_BYTES)
            if not data:
                self._selector.unregister(key.fileobj)
            if key.fileobj is child.process.stderr:
                child.last_words = (child.last_words + data)[-LAST_WORDS_BYTES:]
            elif data:
                child.heard += data
                if b"\n" in data:
                    heard[child] = None
            else:
                heard[child] = None
        now_s = self._clock.monotonic()
        for child in self._children:
            if child.spec is not None and now_s > child.until_s and not child.overdue:
                child.overdue = True
                child.process.kill()
        return list(heard)

    def _attend(self, child: _Child) -> Iterator[Result]:
        """What came of it: a result, or its end."""
        *lines, rest = bytes(child.heard).split(b"\n")
        child.heard = bytearray(rest)
        for line in lines:
            answer = json.loads(line)
            if "error" in answer:
                raise WorkerError(answer["error"])
            if not child.ready:
                child.ready = True
                child.until_s = self._clock.monotonic() + self._run_limit_s  # it runs from now on
            if "summary" in answer:
                assert child.spec is not None, "an answer that nobody asked for"
                spec, child.spec = child.spec, None
                yield result_from_json(spec, answer)
        if not lines:  # the end of its output
            yield from self._died(child)

    def _died(self, child: _Child) -> Iterator[Result]:
        assert child.process.stderr is not None
        if child.process.stderr.fileno() in self._selector.get_map():
            self._selector.unregister(child.process.stderr)
            os.set_blocking(child.process.stderr.fileno(), False)
            with contextlib.suppress(BlockingIOError):  # somebody else holds the pipe
                child.last_words += os.read(child.process.stderr.fileno(), CHUNK_BYTES)
        self._bury(child)
        if not child.ready and child.process.returncode > 0:  # so would the next one
            raise WorkerError(f"a child process {_end(child)} before its first run")
        spec, child.spec = child.spec, None
        child.ready = False
        if spec is not None:
            why = (
                f"it was not over after {self._run_limit_s:g} s of real time"
                if child.overdue
                else f"the process that ran it {_end(child)}"
            )
            yield lost(spec, why, child.command)


def _end(child: _Child) -> str:
    code = child.process.returncode
    end = f"was killed ({signal.Signals(-code).name})" if code < 0 else f"ended with exit code {code}"
    said = child.said()
    return f"{end}: {said}" if said else end
