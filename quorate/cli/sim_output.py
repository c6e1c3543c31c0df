"""What `quorate jepsen sim` shows: a bar or lines while it goes on, each failure as it is found, and the sum at the end."""

import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from quorate.core import Clock
from quorate.jepsen_like.campaign import Result, Tally
from quorate.jepsen_like.history import History
from quorate.jepsen_like.record import Window
from quorate.jepsen_like.report.text import count
from quorate.jepsen_like.verdict import Verdict

from .output import console

LINE_S = 10.0  # between two lines of progress where nobody looks at a terminal
PROBLEMS_SHOWN = 3  # of each verdict
WINDOWS_SHOWN = 2
ENTRIES_SHOWN = 24  # of each window, the last ones
FAILURES_SHOWN = 10  # in full; of the others there is a line
VALUE_WIDTH = 60
COLOURS = {"valid": "green", "invalid": "bold red", "unknown": "yellow"}


class Progressing:
    """How far it is: a bar at the bottom of a terminal, else a line on stderr from time to time. A context manager."""

    def __init__(self, people: Console, total: int, clock: Clock, *, silent: bool = False) -> None:
        on = people if people.is_terminal else Console(stderr=True, highlight=False)
        self._people = people
        self._total = total
        self._clock = clock
        self._began_s = self._line_s = clock.monotonic()
        self._silent = silent
        self._bar: Progress | None = None
        self._task = TaskID(0)
        if on.is_terminal and not silent:
            self._bar = Progress(
                BarColumn(bar_width=16),
                TextColumn("{task.completed:.0f}/{task.total:.0f} {task.fields[said]}"),
                TimeElapsedColumn(),
                console=on,
                transient=True,
                refresh_per_second=4,
            )

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task("", total=self._total, said="seeds")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    @property
    def took_s(self) -> float:
        return self._clock.monotonic() - self._began_s

    def show(self, tally: Tally) -> None:
        """So many are done."""
        if self._silent:
            return
        outcomes = tally.outcomes
        said = (
            f"seeds: [green]{outcomes['valid']}[/] valid [red]{outcomes['invalid']}[/] invalid "
            f"[yellow]{outcomes['unknown']}[/] unknown, {_rate(tally.simulated_s, self.took_s)} s/s"
        )
        if self._bar is not None:
            self._bar.update(self._task, completed=tally.runs, said=said)
        elif self._clock.monotonic() - self._line_s >= LINE_S:
            self._line_s = self._clock.monotonic()
            plain = Text.from_markup(said).plain
            print(f"{tally.runs} of {self._total} {plain}", file=sys.stderr, flush=True)


def people_console(*, json: bool, to_stderr: bool) -> Console:
    """Where people read: stdout; stderr when programs read that; nowhere with `json`."""
    if json:
        return Console(quiet=True)
    return Console(stderr=True, highlight=False, soft_wrap=True) if to_stderr else console()


def print_failure(people: Console, result: Result, report: str | None, *, brief: bool) -> None:
    """A run that is not valid: why, the window, and how to see it again."""
    run = result.summary
    head = Text(f"seed {run.seed}: ")
    head.append(run.outcome, style=COLOURS[run.outcome])
    if brief:
        head.append(f"  {run.reason}")
        people.print(head)
        return
    people.print()
    people.print(head)
    for verdict in run.verdicts:
        if verdict.outcome == run.outcome:
            _print_verdict(people, verdict)
    if result.history:
        history = History.parse(result.history.splitlines())
        for window in run.windows[:WINDOWS_SHOWN]:
            _print_window(people, history, window)
    if run.command:
        people.print(Text.assemble("  replay: ", (run.command, "bold")), soft_wrap=True)
    if report is not None:
        people.print(Text(f"  report: {report}"), soft_wrap=True)


def _print_verdict(people: Console, verdict: Verdict) -> None:
    problems = verdict.problems or (verdict.summary,)
    for problem in problems[:PROBLEMS_SHOWN]:
        people.print(indented(Text(f"{verdict.checker}: {problem}")))
    if len(problems) > PROBLEMS_SHOWN:
        people.print(indented(Text(f"{verdict.checker}: and {len(problems) - PROBLEMS_SHOWN} more")))


def _print_window(people: Console, history: History, window: Window) -> None:
    key = "" if window.key is None else f" of {window.key}"
    people.print(indented(Text(f"the window{key}:")))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("", "entry", "time, s", "process", "", "f", "value"):
        number = column in ("entry", "time, s")
        table.add_column(column, justify="right" if number else "left", no_wrap=number, overflow="fold")
    hidden = len(window.indices) - ENTRIES_SHOWN
    if hidden > 0:
        table.add_row("", "…", "", "", "", "", f"{hidden} entries before")
    for index in window.indices[-ENTRIES_SHOWN:]:
        op = history[index]
        culprit = index == window.culprit
        cells = (
            ">" if culprit else "",
            op.index,
            f"{op.time_s:.3f}",
            op.process,
            op.type,
            op.f,
            _brief(op.value),
        )
        table.add_row(*(Text(str(cell)) for cell in cells), style="bold" if culprit else "")
    people.print(indented(table))


def indented(what: RenderableType) -> Padding:
    """Two columns further in, on each of its lines."""
    return Padding(what, (0, 0, 0, 2), expand=False)


def _brief(value: object) -> str:
    if isinstance(value, dict):
        text = ", ".join(f"{key} {item}" for key, item in value.items())
    else:
        text = "" if value is None else str(value)
    return text if len(text) <= VALUE_WIDTH else f"{text[: VALUE_WIDTH - 1]}…"


def print_sum(people: Console, tally: Tally, took_s: float) -> None:
    """What all runs come to; the verdict is the last line."""
    people.print()
    if not tally.runs:
        return
    if tally.faults:
        _print_faults(people, tally)
        people.print()
    rows = [
        [checker, *(f"{counts[name]:,}" for name in COLOURS)]  # type: ignore[index]  # its keys are outcomes
        for checker, counts in tally.verdicts.items()
    ]
    _print_rows(people, ("checker", *COLOURS), rows, numbers=range(1, 4))
    people.print()
    ended = {
        name: sum(counts[name] for counts in tally.operations.values()) for name in ("ok", "fail", "info")
    }
    people.print(
        Text(
            f"{count(tally.operation_count, 'operation')}: {ended['ok']:,} ok, {ended['fail']:,} failed, "
            f"{ended['info']:,} unknown"
        )
    )
    people.print(
        Text(
            f"{tally.simulated_s:,.0f} simulated s and {tally.messages:,} messages in {took_s:,.1f} s: "
            f"{_rate(tally.simulated_s, took_s)} s/s, {_rate(tally.runs, took_s)} seeds/s"
        )
    )
    verdict = Text(tally.outcome, style=COLOURS[tally.outcome])
    verdict.append(
        f": {count(tally.runs, 'seed')}: {', '.join(f'{tally.outcomes[name]:,} {name}' for name in COLOURS)}",  # type: ignore[index]
        style="default",
    )
    people.print(verdict)


def _print_faults(people: Console, tally: Tally) -> None:
    """Two kinds in a row, for there are many."""
    cells = [(kind, f"{count:,}", f"{tally.proven[kind]:,}") for kind, count in sorted(tally.faults.items())]
    half = (len(cells) + 1) // 2
    rows = [
        [*cells[row], *(cells[row + half] if row + half < len(cells) else ("", "", ""))]
        for row in range(half)
    ]
    _print_rows(people, ("fault", "times", "bit") * 2, rows, numbers=(1, 2, 4, 5))
    lacking = tally.faults.total() - tally.proven.total()
    proof = f"{lacking:,} of them without evidence" if lacking else "all of them with evidence"
    people.print(Text(f"{count(tally.faults.total(), 'fault')}, {proof} that they bit"))


def _print_rows(
    people: Console, columns: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[int]
) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place in numbers else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    people.print(table)


def _rate(amount: float, took_s: float) -> str:
    rate = amount / took_s if took_s > 0 else 0.0
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
