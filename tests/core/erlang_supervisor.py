"""Erlang/OTP acts out scenarios with its own `supervisor`: see `supervisor_scenarios.erl`."""

import shutil
import subprocess
from dataclasses import fields, is_dataclass
from pathlib import Path

from tests.core.supervisor_scenarios import Scenario

SOURCE = Path(__file__).with_name("supervisor_scenarios.erl")
OLDEST = 24  # the first release with `auto_shutdown`
LIMIT_S = 60.0


def missing() -> str | None:
    """What is not there that is needed."""
    if shutil.which("erl") is None or shutil.which("erlc") is None:
        return "Erlang/OTP is not installed: erl and erlc"
    release = _run("erl", "-noinput", "-eval", "io:put_chars(erlang:system_info(otp_release)), halt().")
    return f"Erlang/OTP {release} is older than {OLDEST}" if int(release) < OLDEST else None


def erlang_logs(scenarios: list[Scenario], folder: Path) -> list[list[str]]:
    """What was seen after each step of each scenario, in one start of Erlang. `folder` is for its files."""
    asked, seen = folder / "scenarios.term", folder / "seen.txt"
    asked.write_text(f"{term(scenarios)}.\n")
    _run("erlc", "-o", str(folder), str(SOURCE))
    # One scheduler: whoever is sent a signal earlier gets it earlier.
    _run(
        "erl", "+S", "1:1", "-noinput", "-pa", str(folder), "-run", SOURCE.stem, "main", str(asked), str(seen)
    )
    return [block.splitlines() for block in seen.read_text().split("\n\n") if block]


def term(value: object) -> str:
    """A value as Erlang writes it: texts are atoms, dataclasses are records."""
    match value:
        case None:
            return "none"
        case bool() | int():
            return str(value).lower()
        case str():
            return f"'{value}'"
        case list() | tuple():
            return f"[{', '.join(map(term, value))}]"
    assert is_dataclass(value)
    parts = [type(value).__name__.lower(), *(getattr(value, one.name) for one in fields(value))]
    return f"{{{', '.join(map(term, parts))}}}"


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, f"{command[0]}: {done.stdout}{done.stderr}"
    return done.stdout
