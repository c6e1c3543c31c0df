"""The run of the demo: makes the scene, plays the steps, tidies up whatever happens, and tells the result."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from quorate.core import Clock, QuorateError, RealClock, RealDisk, RealEntropy, RealNetwork, timeout
from quorate.core.real import make_temporary_dir, remove_tree
from quorate.loop import run

from .cluster import Cluster
from .ports import free_ports
from .report import Plain, Report, Reporter, Rich, Silent, StepReport
from .scene import Scene
from .settings import NODES, STEP_S
from .steps import STEPS, Step

log = logging.getLogger("quorate.demo")

_COOKIE_BYTES = 16


def demo(*, plain: bool = False, as_json: bool = False) -> int:
    """Run the demo and show it; 0 when everything held, else 1. Ctrl-C (or SIGTERM) raises `KeyboardInterrupt`."""
    console = Console()
    rich = Rich(console)
    reporter: Reporter = Silent() if as_json else Plain() if plain or not console.is_terminal else rich
    try:
        report = run(_demo(reporter))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        rich.close()
    reporter.finish(report)
    return 0 if report.held else 1


async def _demo(reporter: Reporter) -> Report:
    clock = RealClock()
    entropy = RealEntropy()
    scene = Scene(clock, reporter)
    report = Report(planned=len(STEPS))
    root = make_temporary_dir("quorate-demo-")
    kept = False
    with _cancelled_by_sigterm():
        try:
            ports = await free_ports(RealNetwork(), entropy, len(NODES))
            cookie = entropy.token(_COOKIE_BYTES).hex()
            scene.join(Cluster(clock, root, ports, cookie, scene.hear))
            try:
                await _play(scene, report, reporter, clock)
            finally:
                await scene.close()
            if not report.held:
                await _keep(scene, root)
                report.kept, kept = str(root), True
        finally:
            if not kept:
                remove_tree(root)
    return report


async def _play(scene: Scene, report: Report, reporter: Reporter, clock: Clock) -> None:
    """The steps, one after the other, to the end or to the first that cannot be finished."""
    began = clock.monotonic()
    for number, step in enumerate(STEPS, start=1):
        told = StepReport(step.title)
        report.steps.append(told)
        reporter.begin(number, len(STEPS), told)
        scene.enter(told)
        started = clock.monotonic()
        told.error = await _run(step, scene, clock)
        told.took_s = clock.monotonic() - started
        report.took_s = clock.monotonic() - began
        reporter.end(told)
        if told.error:
            return


async def _run(step: Step, scene: Scene, clock: Clock) -> str:
    """Run one step; what ended it before its time, or ""."""
    try:
        async with timeout(clock, STEP_S):
            await step.run(scene)
    except QuorateError as error:
        return f"{type(error).__name__}: {error}"
    except TimeoutError:
        return f"it took longer than {STEP_S:g} s"
    except Exception as error:
        log.exception("the step %r broke", step.title)
        return f"{type(error).__name__}: {error}"
    return ""


async def _keep(scene: Scene, root: Path) -> None:
    """Leave what is needed to find out what went wrong."""
    disk = RealDisk(root)
    texts = {f"{child.id}.stderr".replace("#", "-"): "\n".join(child.stderr) for child in scene.cluster.lives}
    texts["history.jsonl"] = scene.history.dump()
    try:
        for name, text in texts.items():
            file = disk.open(name, create=True)
            file.append(text.encode())
            file.close()
    finally:
        disk.close()


@contextlib.contextmanager
def _cancelled_by_sigterm() -> Iterator[None]:
    """SIGTERM ends the run as Ctrl-C does: by cancelling it, so that everything is tidied up."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    try:
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
    except NotImplementedError:  # Windows
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
