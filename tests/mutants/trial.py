"""A copy of the repository in which bugs are put one after the other, and the tests run against each."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from .mutant import ROOT, Group, Mutant

COPIED = ("core", "hashing", "consensus", "registry", "jepsen_like", "quorate", "tests", "pyproject.toml")
TIMEOUT_S = 300.0


class Trial:
    """One copy, in which one mutant at a time is tried. Raises `SystemExit` when tests would not run on the copy."""

    def __init__(self, copy: Path) -> None:
        self._copy = copy
        skip = shutil.ignore_patterns("__pycache__", "*.egg-info")
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():  # the links in `quorate/` then point into the copy
                shutil.copytree(source, copy / name, symlinks=True, ignore=skip)
            else:
                shutil.copy2(source, copy / name)
        found = self._python(
            "-c", "import quorate.consensus.raft.raft as m; print(m.__file__)"
        ).stdout.strip()
        if not Path(found).resolve().is_relative_to(copy.resolve()):
            raise SystemExit(f"the tests would not run on the copy but on {found}")

    def sound(self, group: Group, mutants: list[Mutant]) -> str | None:
        """The first test that fails without any mutant, of those that the mutants are tried with first."""
        return self._run(sorted({group.first_of(mutant) for mutant in mutants}))

    def caught(self, group: Group, mutant: Mutant) -> str | None:
        """The test that catches a mutant; None when all of the group pass."""
        original = group.apply(self._copy, mutant)
        try:
            found = self._run([group.first_of(mutant)])
            if found is None:
                found = self._run(group.all_tests(self._copy))
                found = None if found is None else f"{found}, and not {mutant.first}"
            return found
        finally:
            group.path_of(self._copy, mutant).write_text(original)

    def _run(self, tests: list[str]) -> str | None:
        """The name of the first of these tests that fails, or None when all pass."""
        try:
            done = self._python("-m", "pytest", "-q", "-x", "--tb=no", "--no-header", *tests)
        except subprocess.TimeoutExpired:
            return f"(no end within {TIMEOUT_S:.0f} s)"
        if done.returncode == 0:
            return None
        for line in done.stdout.splitlines():
            if line.startswith(("FAILED", "ERROR ")):
                test = line.split(" - ")[0].split(" ", 1)[1]
                return test.rsplit("/", 1)[-1]
        return f"(exit code {done.returncode}) {done.stdout[-200:]}{done.stderr[-200:]}"

    def _python(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        # No compiled files: they are matched by time and size, and two mutants may have both in common.
        return subprocess.run(
            [sys.executable, "-B", *arguments],
            cwd=self._copy,
            env=os.environ | {"PYTHONPATH": str(self._copy), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
