"""The example of the README runs as printed, and prints what the README says."""

import asyncio
import pathlib
import re
import subprocess
import sys

import pytest

from .node_in_thread import free_port

ROOT = pathlib.Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
SIMULATION = (ROOT / "docs" / "simulation.md").read_text()
PROCESSES = (ROOT / "docs" / "processes.md").read_text()


def block(language: str, after: str, text: str = README) -> str:
    """The first code block of a language after some text."""
    found = re.search(rf"```{language}\n(.*?)```", text[text.index(after) :], re.DOTALL)
    assert found is not None
    return found.group(1)


def test_the_example_prints_what_the_readme_says(tmp_path: pathlib.Path) -> None:
    example = block("python", "## An example")
    assert example.count("\n") <= 40
    free = str(asyncio.run(free_port()))  # somebody may have a node at the port that is printed
    program = tmp_path / "ledger.py"
    program.write_text(example.replace("9101", free))
    ran = subprocess.run(
        [sys.executable, "-W", "error", str(program)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ran.stdout, ran.stderr, ran.returncode) == (block("text", "It prints"), "", 0)


def test_the_example_of_a_simulation_prints_what_its_page_says(tmp_path: pathlib.Path) -> None:
    program = tmp_path / "test_ledger.py"
    program.write_text(block("python", "## A test of your own", SIMULATION))
    ran = subprocess.run(
        [sys.executable, "-W", "error", str(program)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ran.stdout, ran.returncode) == (block("text", "It prints", SIMULATION), 0)
    assert "Traceback" not in ran.stderr  # warnings of the living nodes about the dead one may be there


RUN_AS_PRINTED = "<!-- tests/quorate/test_readme.py runs this as printed -->"
HEADINGS = re.findall(rf"^(## .*)\n(?:(?!^## ).*\n)*?{RUN_AS_PRINTED}", PROCESSES, re.MULTILINE)


def test_the_page_of_processes_has_examples_that_are_run() -> None:
    assert len(HEADINGS) == PROCESSES.count(RUN_AS_PRINTED) == 6


@pytest.mark.parametrize("heading", HEADINGS)
def test_the_examples_of_processes_print_what_their_page_says(tmp_path: pathlib.Path, heading: str) -> None:
    free = str(asyncio.run(free_port()))
    section = PROCESSES[PROCESSES.index(heading) :]
    program = tmp_path / "program.py"
    program.write_text(block("python", heading, section).replace("9101", free))
    ran = subprocess.run(
        [sys.executable, "-W", "error", str(program)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ran.stdout, ran.stderr, ran.returncode) == (block("text", "It prints", section), "", 0)


def test_every_command_of_the_readme_and_the_manual_exists(tmp_path: pathlib.Path) -> None:
    from quorate.cli.app import app

    known = {info.name or getattr(info.callback, "__name__", "") for info in app.registered_commands}
    known |= {"jepsen"}  # a group of commands
    manual = (ROOT / "docs" / "command.md").read_text()
    named = set(re.findall(r"`quorate ([a-z]+)", README + manual))
    assert named == known


def test_every_file_that_the_documents_name_exists() -> None:
    for document in (
        "README.md",
        "ARCHITECTURE.md",
        "docs/command.md",
        "docs/processes.md",
        "docs/simulation.md",
        "CHANGELOG.md",
    ):
        text = (ROOT / document).read_text()
        for path in re.findall(
            r"`((?:core|consensus|registry|hashing|jepsen_like|quorate|tests|examples|docs)/[\w./]*)`", text
        ):
            assert (ROOT / path).exists(), f"{document} names {path}"
        for link in re.findall(r"\]\(([\w./]+)\)", text):
            assert ((ROOT / document).parent / link).exists(), f"{document} links to {link}"
