"""Nothing but the real runtime reaches for time, randomness, sockets or files: everybody else has the ports."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
FOLDERS = ("core", "hashing", "consensus", "registry", "jepsen_like", "quorate")
REAL_RUNTIME = {"core/real.py"}
SIMULATED = "jepsen_like/simulation/"  # the other side of the ports: it makes time and randomness itself
MODULES = {"time", "random", "uuid", "secrets", "socket", "tempfile", "fcntl", "pickle", "marshal", "shelve"}
CALLS = {
    "open": "the Disk port",
    "eval": "nothing: it is never needed",
    "exec": "nothing: it is never needed",
    "os.urandom": "Entropy.token",
    "os.open": "the Disk port",
    "asyncio.sleep": "core.timers.sleep",
    "asyncio.wait_for": "core.timers.timeout",
    "asyncio.timeout": "core.timers.timeout",
    "asyncio.open_connection": "the Network port",
    "asyncio.start_server": "the Network port",
}
METHODS = {
    "call_at": "Clock.call_later",
    "read_text": "the Disk port",
    "read_bytes": "the Disk port",
    "write_text": "the Disk port",
    "write_bytes": "the Disk port",
}


def sources() -> list[pathlib.Path]:
    files = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    names = {path: path.relative_to(ROOT).as_posix() for path in files}
    return sorted(
        path for path in files if names[path] not in REAL_RUNTIME and not names[path].startswith(SIMULATED)
    )


def offences(source: str) -> list[str]:
    """What in this source goes round the ports, as `line: what (use instead)`."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [
                f"{node.lineno}: import {a.name}" for a in node.names if a.name.split(".")[0] in MODULES
            ]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            if (node.module or "").split(".")[0] in MODULES:
                found.append(f"{node.lineno}: from {node.module} import")
        elif isinstance(node, ast.Call):
            found += _call_offence(node)
    return found


def _call_offence(call: ast.Call) -> list[str]:
    name = ast.unparse(call.func)
    if name == "asyncio.sleep" and ast.unparse(call.args[0]) == "0":
        return []
    if name in CALLS:
        return [f"{call.lineno}: {name}() (use {CALLS[name]})"]
    if isinstance(call.func, ast.Attribute):
        owner = ast.unparse(call.func.value)
        if call.func.attr in METHODS:
            return [f"{call.lineno}: {name}() (use {METHODS[call.func.attr]})"]
        if call.func.attr in ("call_later", "time", "create_server", "create_connection") and (
            "loop" in owner.rsplit(".", 1)[-1]
        ):
            return [f"{call.lineno}: {name}() (use the ports)"]
    return []


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_outside_is_reached_through_the_ports_alone(path: pathlib.Path) -> None:
    assert offences(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "import time",
        "from random import random",
        "import os\nos.urandom(8)",
        "open('x')",
        "import asyncio\nasyncio.sleep(0.1)",
        "loop.call_later(1, print)",
        "self._loop.time()",
        "asyncio.get_running_loop().create_server(None)",
        "path.read_text()",
    ],
)
def test_the_check_sees_what_it_is_there_for(source: str) -> None:
    assert len(offences(source)) == 1


def test_yielding_to_the_loop_is_no_waiting() -> None:
    assert offences("import asyncio\nasyncio.sleep(0)\nclock.call_later(1, print)") == []
