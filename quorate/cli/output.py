"""What commands print: tables for people, one JSON document for programs."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

_PIPED_WIDTH = 4096  # columns when nobody looks: lines are not folded for another program


def print_json(document: object) -> None:
    """One document, in one line when it is read by a program."""
    indent = 2 if sys.stdout.isatty() else None
    print(json.dumps(document, indent=indent, default=_plain), flush=True)


def console() -> Console:
    """Where people read: as wide as their terminal, without colour and folding when there is none."""
    return Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=_PIPED_WIDTH)


def print_rows(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: Sequence[str] = ()
) -> None:
    """A table without decoration. `numbers` are the columns to align on the right."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(
            column,
            justify="right" if column in numbers else "left",
            overflow="fold",
            no_wrap=column in numbers,
        )
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    console().print(table)


def print_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Names and values in two columns; a mapping or a list has a line for each of its parts."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in facts:
        grid.add_row(name.replace("_", " "), Text(_lines(value)))
    console().print(grid)


def _lines(value: object) -> str:
    if isinstance(value, Mapping):
        return "\n".join(f"{key} = {part}" for key, part in value.items()) or "-"
    if isinstance(value, list | tuple):
        return "\n".join(map(str, value)) or "-"
    return "-" if value is None or value == "" else str(value)


def print_processes(found: Mapping[str, Any]) -> None:
    """What `quorate processes` shows."""
    columns = ("pid", "name", "kind", "status", "mailbox")
    shown = found.get("shown") or []
    rows = [
        [entry.get(key) or ("" if key == "name" else entry.get(key)) for key in columns] for entry in shown
    ]
    print_rows(columns, rows, numbers=("mailbox",))
    left = int(found.get("processes") or 0) - len(rows)
    if left > 0:
        console().print(f"and {left:,} more")


def print_status(status: Mapping[str, Any]) -> None:
    """What `quorate status` shows."""
    store: Mapping[str, Any] = status.get("store") or {}
    session_s = float(status.get("session_valid_for_s") or 0.0)
    linked = status.get("nodes") or []
    facts = [
        ("node", status.get("name")),
        ("linked to", ", ".join(linked) if linked else "nobody"),
        ("processes", status.get("processes")),
        (
            "session",
            f"valid for {session_s:.1f} s" if session_s > 0 else "none: names and singletons stand still",
        ),
    ]
    if store:
        leader = store.get("leader")
        facts += [
            ("store", f"{store.get('engine')}, {store.get('role')}, term {store.get('term')}"),
            ("leader", leader or "none known"),
            ("voters", ", ".join(store.get("voters") or ()) or "this node alone"),
            ("log", f"applied {store.get('applied_index')} of {store.get('commit_index')} committed"),
            ("keys", f"{store.get('keys')} at revision {store.get('revision')}"),
        ]
    print_facts(facts)
    singletons = status.get("singletons") or []
    if singletons:
        console().print()
        print_singletons(singletons)


def print_singletons(singletons: Sequence[Mapping[str, Any]]) -> None:
    """Where each singleton runs, since which fence, and where it shall run when that is elsewhere."""
    rows = []
    for item in singletons:
        owner, assigned, pin = item.get("owner"), item.get("assigned"), item.get("pin")
        notes = [f"moving to {assigned}"] if owner and assigned and owner != assigned else []
        notes += [f"pinned to {pin}"] if pin else []
        rows.append([item.get("name"), owner or "nowhere yet", item.get("fence") or "", ", ".join(notes)])
    print_rows(("singleton", "runs on", "fence", ""), rows, numbers=("fence",))


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return repr(value)
