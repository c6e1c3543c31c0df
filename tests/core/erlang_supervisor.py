"""Erlang/OTP acts out scenarios with its own `supervisor`: see `supervisor_scenarios.erl`."""

from dataclasses import fields, is_dataclass
from pathlib import Path

from tests.core.erlang import act
from tests.core.supervisor_scenarios import Scenario

SOURCE = Path(__file__).with_name("supervisor_scenarios.erl")


def erlang_logs(scenarios: list[Scenario], folder: Path) -> list[list[str]]:
    """What was seen after each step of each scenario, in one start of Erlang. `folder` is for its files."""
    asked, seen = folder / "scenarios.term", folder / "seen.txt"
    asked.write_text(f"{term(scenarios)}.\n")
    act(SOURCE, folder, str(asked), str(seen))
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
