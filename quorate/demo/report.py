"""What the demo shows: each step as it happens, then a table of what was checked and how long it took."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was checked: what should hold, whether it did, and what was measured."""

    what: str
    held: bool
    found: str = ""

    def __str__(self) -> str:
        return f"{self.what}: {self.found}" if self.found else self.what


@dataclass(slots=True)
class StepReport:
    """One step: its checks, how long it took, and the error that ended it, if one did."""

    title: str
    checks: list[Check] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    took_s: float = 0.0
    error: str = ""

    @property
    def held(self) -> bool:
        return not self.error and all(check.held for check in self.checks)


@dataclass(slots=True)
class Report:
    """The whole run. It held when every step ran to its end and every check held."""

    steps: list[StepReport] = field(default_factory=list)
    planned: int = 0
    took_s: float = 0.0
    kept: str = ""  # the directory that was kept because something failed

    @property
    def held(self) -> bool:
        return len(self.steps) == self.planned > 0 and all(step.held for step in self.steps)

    @property
    def checks(self) -> int:
        return sum(len(step.checks) for step in self.steps)

    def verdict(self) -> str:
        """One line for the end."""
        if self.held:
            return f"all {self.checks} checks held, in {self.took_s:.1f} s"
        failed = sum(not check.held for step in self.steps for check in step.checks)
        parts = [f"{failed} of {self.checks} checks did NOT hold"] if failed else []
        parts += [f"the step {step.title!r} was not finished" for step in self.steps if step.error]
        missing = self.planned - len(self.steps)
        parts += [f"{missing} steps were not reached"] if missing else []
        parts += [f"data directories and history are kept in {self.kept}"] if self.kept else []
        return "; ".join(parts)

    def as_json(self) -> str:
        steps = [asdict(step) | {"held": step.held} for step in self.steps]
        return json.dumps(
            {"held": self.held, "took_s": round(self.took_s, 3), "verdict": self.verdict(), "steps": steps},
            indent=2,
        )


class Reporter(Protocol):
    """Who is told of the run as it goes."""

    def begin(self, number: int, planned: int, step: StepReport) -> None: ...

    def note(self, text: str) -> None: ...

    def check(self, check: Check) -> None: ...

    def end(self, step: StepReport) -> None: ...

    def finish(self, report: Report) -> None: ...


class Silent:
    """For `--json`: only the end is told, as one document."""

    def begin(self, number: int, planned: int, step: StepReport) -> None: ...

    def note(self, text: str) -> None: ...

    def check(self, check: Check) -> None: ...

    def end(self, step: StepReport) -> None: ...

    def finish(self, report: Report) -> None:
        print(report.as_json(), flush=True)


class Plain:
    """Lines for logs: no colours, nothing that moves."""

    def begin(self, number: int, planned: int, step: StepReport) -> None:
        print(f"[{number}/{planned}] {step.title}", flush=True)

    def note(self, text: str) -> None:
        print(f"       {text}", flush=True)

    def check(self, check: Check) -> None:
        print(f"  {'ok  ' if check.held else 'FAIL'} {check}", flush=True)

    def end(self, step: StepReport) -> None:
        if step.error:
            print(f"  FAIL {step.error}", flush=True)
        print(f"       took {step.took_s:.2f} s", flush=True)

    def finish(self, report: Report) -> None:
        print("\nstep  took_s  checks  held", flush=True)
        for number, step in enumerate(report.steps, start=1):
            held = "yes" if step.held else "NO"
            print(f"{number:4}  {step.took_s:6.2f}  {len(step.checks):6}  {held:4}  {step.title}")
        print(("ok: " if report.held else "FAILED: ") + report.verdict(), flush=True)


class Rich:
    """For people at a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status: Status | None = None

    def begin(self, number: int, planned: int, step: StepReport) -> None:
        self._console.print(f"\n[bold]{number}/{planned}  {escape(step.title)}[/bold]")
        self._status = self._console.status("…", spinner="dots")
        self._status.start()

    def note(self, text: str) -> None:
        if self._status is not None:
            self._status.update(Text(text, style="dim", no_wrap=True, overflow="ellipsis"))

    def check(self, check: Check) -> None:
        self._console.print(_line(check))

    def end(self, step: StepReport) -> None:
        self.close()
        if step.error:
            self._console.print(Text(f"  ✗ {step.error}", style="bold red"))

    def close(self) -> None:
        """Stop what moves."""
        if self._status is not None:
            self._status.stop()
            self._status = None

    def finish(self, report: Report) -> None:
        self._console.print()
        self._console.print(_table(report.steps))
        style = "bold green" if report.held else "bold red"
        self._console.print(Text(report.verdict(), style=style))


def _line(check: Check) -> Table:
    line = Table.grid(padding=(0, 1, 0, 0))
    line.add_column(width=3, justify="right")
    line.add_column(overflow="fold")
    text = Text(check.what, style="" if check.held else "bold red")
    if check.found:
        text.append(f"  {check.found}", style="dim")
    line.add_row(_mark(check), text)
    return line


def _mark(check: Check) -> Text:
    return Text("✓", style="green") if check.held else Text("✗", style="bold red")


def _table(steps: Sequence[StepReport]) -> Table:
    table = Table(title="what was checked", title_justify="left", title_style="bold", expand=False)
    table.add_column("step", max_width=18)
    table.add_column("what must hold", overflow="fold")
    table.add_column("", no_wrap=True)
    table.add_column("took", justify="right", no_wrap=True)
    for step in steps:
        checks = [*step.checks, Check(step.error, False)] if step.error else step.checks
        for number, check in enumerate(checks):
            table.add_row(
                Text(step.title, style="bold") if number == 0 else "",
                Text(check.what, style="" if check.held else "bold red"),
                _mark(check),
                f"{step.took_s:.2f} s" if number == 0 else "",
                end_section=number == len(checks) - 1,
            )
    return table
