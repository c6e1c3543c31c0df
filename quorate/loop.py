"""Running a program's coroutine on the fastest loop there is: uvloop's when it is installed, else asyncio's own."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes a loop of uvloop; None without it (on Windows, for example)."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def run(main: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`: Ctrl-C cancels `main`, which may tidy up, and then `KeyboardInterrupt` is raised."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(main)
