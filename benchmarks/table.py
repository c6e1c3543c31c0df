"""What a benchmark measured, as rows that print as a table and as JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of one system. `rounds` are the single measurements whose median `value` is."""

    benchmark: str
    system: str
    value: float
    unit: str
    rounds: tuple[float, ...] = ()
    note: str = ""


def median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def measured(benchmark: str, system: str, unit: str, rounds: Sequence[float], note: str = "") -> Row:
    """The median of several rounds."""
    return Row(benchmark, system, median(rounds), unit, tuple(rounds), note)


def as_json(rows: Sequence[Row]) -> list[dict[str, object]]:
    return [asdict(row) for row in rows]


def show(rows: Sequence[Row], console: Console) -> None:
    """One table per benchmark; the ratio is ours to theirs."""
    for benchmark in dict.fromkeys(row.benchmark for row in rows):
        table = Table("system", "median", "min … max", "ratio", title=benchmark, title_justify="left")
        mine = [row for row in rows if row.benchmark == benchmark]
        ours = next((row.value for row in mine if row.system == "quorate"), None)
        for row in mine:
            ratio = (
                "" if ours is None or row.system == "quorate" or not row.value else f"{ours / row.value:.2f}"
            )
            spread = f"{_short(min(row.rounds))} … {_short(max(row.rounds))}" if len(row.rounds) > 1 else ""
            system = f"{row.system} [dim]({row.note})[/]" if row.note else row.system
            table.add_row(system, f"{_short(row.value)} {row.unit}", spread, ratio)
        console.print(table)


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
