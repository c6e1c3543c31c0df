"""`python -m benchmarks [NAME ...] [--json]`: see `BENCHMARKS` for the names; all of them by default."""

import json
import platform
from collections.abc import Callable
from typing import Annotated

import typer
from rich.console import Console

from . import actors, cluster, linear, raft_core, simulation
from .table import Row, as_json, show

BENCHMARKS: dict[str, Callable[[], list[Row]]] = {
    "actors": actors.run,
    "raft-core": raft_core.run,
    "registry": cluster.registry,
    "failover": cluster.failover,
    "simulation": simulation.run_all,
    "linear": linear.run,
}


def main(
    names: Annotated[list[str] | None, typer.Argument(help=f"any of {', '.join(BENCHMARKS)}")] = None,
    json_only: Annotated[bool, typer.Option("--json", help="print JSON instead of a table")] = False,
) -> None:
    """Measure, beside the peers that are installed (erl, etcd), in one run."""
    unknown = [name for name in names or () if name not in BENCHMARKS]
    if unknown:
        raise typer.BadParameter(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    rows: list[Row] = []
    for name in names or BENCHMARKS:
        rows += BENCHMARKS[name]()
    if not json_only:
        console = Console()
        console.print(f"Python {platform.python_version()}, {platform.machine()}; medians of several rounds")
        show(rows, console)
    typer.echo(json.dumps(as_json(rows)))


if __name__ == "__main__":
    typer.run(main)
