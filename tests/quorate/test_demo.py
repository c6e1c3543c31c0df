"""The demo holds from its start to its end, and leaves nothing behind, however it is ended."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from quorate.cli.failures import DONE, INTERRUPTED


def start(tmp_path: Path, *options: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "quorate", "demo", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )


def children_of(pid: int) -> list[int]:
    """The processes whose parent is `pid`."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = [tuple(map(int, line.split())) for line in listed.splitlines()]
    return [child for child, parent in pairs if parent == pid]


def is_running(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return state.stdout.strip() not in ("", "Z")


@pytest.mark.slow
def test_every_check_of_the_demo_holds(tmp_path: Path) -> None:
    demo = start(tmp_path, "--json")
    out, err = demo.communicate(timeout=110)
    report = json.loads(out)
    failed = [
        check
        for step in report["steps"]
        for check in [*step["checks"], {"what": step["error"], "held": not step["error"]}]
        if not check["held"]
    ]
    assert (failed, err, demo.returncode) == ([], "", DONE)
    assert len(report["steps"]) == 11
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_ended_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    demo = start(tmp_path, "--plain")
    assert demo.stdout is not None
    while not demo.stdout.readline().startswith("[4/"):
        assert demo.poll() is None
    nodes = children_of(demo.pid)
    assert len(nodes) == 3 and len(list(tmp_path.iterdir())) == 1
    demo.send_signal(number)
    _, err = demo.communicate(timeout=30)
    assert (err, demo.returncode) == ("", INTERRUPTED)
    assert not any(is_running(pid) for pid in nodes)
    assert list(tmp_path.iterdir()) == []
