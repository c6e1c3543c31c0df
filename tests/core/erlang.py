"""Erlang/OTP, where it is installed, as the reference that ours is compared with."""

import shutil
import subprocess
from pathlib import Path

OLDEST = 24  # the first release with `auto_shutdown`, and with zero timeouts as they are now
LIMIT_S = 60.0


def missing() -> str | None:
    """What is not there that is needed."""
    if shutil.which("erl") is None or shutil.which("erlc") is None:
        return "Erlang/OTP is not installed: erl and erlc"
    release = _run("erl", "-noinput", "-eval", "io:put_chars(erlang:system_info(otp_release)), halt().")
    return f"Erlang/OTP {release} is older than {OLDEST}" if int(release) < OLDEST else None


def act(source: Path, folder: Path, *arguments: str) -> str:
    """Compile a module and run its `main/1` with a list of these; what it prints. `folder` is for its files."""
    _run("erlc", "-o", str(folder), str(source))
    # One scheduler: whoever is sent a signal earlier gets it earlier.
    return _run("erl", "+S", "1:1", "-noinput", "-pa", str(folder), "-run", source.stem, "main", *arguments)


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, f"{command[0]}: {done.stdout}{done.stderr}"
    return done.stdout
