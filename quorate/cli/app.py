"""The commands and their options. Each is a thin wrapper: what they do is in the modules beside this one."""

import logging
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from quorate.core import ConfigError
from quorate.loop import run

from . import asking, output
from .failures import CommandFailed
from .jepsen import jepsen_app

app = typer.Typer(
    name="quorate",
    help="Processes, names and singletons of a cluster that agrees by Raft.",
    no_args_is_help=False,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(jepsen_app)

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
At = Annotated[
    str | None,
    typer.Option(
        "--node", help="The node to ask: app@host:port or host:port. [env: QUORATE_NODE]", metavar="NODE"
    ),
]
CookieFile = Annotated[
    Path | None,
    typer.Option(help="The cluster's secret; else $QUORATE_COOKIE, else ~/.quorate.cookie.", metavar="FILE"),
]


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"quorate {version('quorate')}")
        raise typer.Exit()


@app.callback(invoke_without_command=True)
def start(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Processes, names and singletons of a cluster that agrees by Raft.

    Exit codes: 0 done, 1 tried and failed, 2 wrong usage or setting, 3 no answer or no quorum, 130 Ctrl-C.
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def node(
    name: Annotated[
        str, typer.Option(help="Who it is and where it listens: app@host:port.", metavar="NAME")
    ] = asking.DEFAULT_NAME,
    seed: Annotated[
        list[str] | None, typer.Option(help="A node to dial at first; repeatable.", metavar="NODE")
    ] = None,
    voters: Annotated[
        list[str] | None,
        typer.Option(
            help="All nodes of the cluster, with commas, the same list on each. None: it is alone and keeps "
            "nothing on disk.",
            metavar="NODES",
        ),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where a voter keeps its log; its own.", metavar="DIR")
    ] = None,
    cookie_file: CookieFile = None,
    preset: Annotated[
        str, typer.Option(help="How fast failures are noticed: local, lan or wan; the same on each.")
    ] = "lan",
    export: Annotated[
        list[str] | None,
        typer.Option(
            help="A class that may run here, also from this directory; repeatable.", metavar="MODULE:CLASS"
        ),
    ] = None,
    application: Annotated[
        list[str] | None,
        typer.Option(
            help="An application to start when the node is up; repeatable, in order.", metavar="MODULE:CLASS"
        ),
    ] = None,
    weight: Annotated[float, typer.Option(help="Its share of the singletons; 0 for none.")] = 1.0,
    drain_s: Annotated[
        float, typer.Option(help="How long SIGTERM waits for the hand-over, in seconds.")
    ] = asking.DRAIN_S,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more, to stderr.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON line per event on stdout.")] = False,
) -> None:
    """Run a node until SIGTERM (hand everything over, exit 0) or Ctrl-C (exit 130)."""
    from .serving import NodeOptions, serve  # brings everything with it: the other commands start without

    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    options = NodeOptions(
        name=name,
        seeds=_split(seed),
        voters=_split(voters),
        data_dir=data_dir,
        cookie_file=cookie_file,
        preset=preset,
        exports=list(export or ()),
        applications=list(application or ()),
        weight=weight,
        drain_s=drain_s,
        json=json,
    )
    raise typer.Exit(run(serve(options)))


@app.command()
def status(at: At = None, cookie_file: CookieFile = None, json: Json = False) -> None:
    """Show a node, its store and its singletons."""
    found = _expect(dict, asking.ask(at, "status", cookie_file=cookie_file), "status")
    if json:
        output.print_json(found)
    else:
        output.print_status(cast("dict[str, Any]", found))


@app.command()
def processes(
    limit: Annotated[int, typer.Option(help="So many of them.", min=1)] = 20,
    at: At = None,
    cookie_file: CookieFile = None,
    json: Json = False,
) -> None:
    """List processes of a node, those with the longest mailboxes first."""
    found = _expect(dict, asking.ask(at, "processes", limit, cookie_file=cookie_file), "processes")
    if json:
        output.print_json(found)
    else:
        output.print_processes(cast("dict[str, Any]", found))


@app.command()
def process(
    which: Annotated[str, typer.Argument(help="Its name on that node, its pid, or the number in it.")],
    state: Annotated[
        bool, typer.Option("--state", help="With what a server shows of its attributes.")
    ] = False,
    at: At = None,
    cookie_file: CookieFile = None,
    json: Json = False,
) -> None:
    """Show what a process does, what it waits for, and on demand the state of a server."""
    found = _expect(dict, asking.ask(at, "process", [which, state], cookie_file=cookie_file), "process")
    if json:
        output.print_json(found)
    else:
        output.print_facts(found.items())


@app.command()
def names(
    prefix: Annotated[str, typer.Argument(help="Only names that begin with this.")] = "",
    at: At = None,
    cookie_file: CookieFile = None,
    json: Json = False,
) -> None:
    """List the names that are registered in the cluster, and who owns them."""
    found = _expect(list, asking.ask(at, "names", prefix, cookie_file=cookie_file), "names")
    if json:
        output.print_json(found)
        return
    columns = ("name", "node", "pid", "fence")
    output.print_rows(
        columns, [[entry.get(key, "") for key in columns] for entry in found], numbers=("fence",)
    )


@app.command()
def whereis(
    name: Annotated[str, typer.Argument(help="A registered name, or a singleton.")],
    at: At = None,
    cookie_file: CookieFile = None,
    json: Json = False,
) -> None:
    """Say which process has a name. Exit code 1 when none has."""
    found = asking.ask(at, "whereis", name, cookie_file=cookie_file)
    if found is None:
        raise CommandFailed(f"no process has the name {name!r}")
    entry = _expect(dict, found, "whereis")
    if "owner" in entry:  # a singleton, which has an owner or will have one
        kept = ("name", "fence", "kind", "assigned", "pin")
        entry = {"node": entry["owner"], **{key: entry.get(key) for key in kept}}
    if json:
        output.print_json(entry)
    else:
        shown = {"name": "", "node": "", "pid": "", "fence": ""} | entry
        shown["node"] = shown["node"] or "nowhere yet"
        columns = ("name", "node", "pid", "fence")
        output.print_rows(columns, [[shown[key] for key in columns]], numbers=("fence",))


@app.command()
def move(
    name: Annotated[str, typer.Argument(help="A singleton.")],
    to: Annotated[str, typer.Argument(help="The node that it shall run on.", metavar="NODE")],
    at: At = None,
    cookie_file: CookieFile = None,
    json: Json = False,
) -> None:
    """Move a singleton to a node, with its state, and keep it there."""
    asking.ask(at, "move", [name, to], cookie_file=cookie_file, timeout_s=30.0)
    if json:
        output.print_json({"name": name, "node": to})
    else:
        typer.echo(f"{name} is to run on {to}")


@app.command()
def drain(
    at: At = None,
    deadline_s: Annotated[
        float, typer.Option(help="How long to wait for the hand-over, in seconds.")
    ] = asking.DRAIN_S,
    cookie_file: CookieFile = None,
    json: Json = False,
) -> None:
    """Have a node hand everything over to the others and end, as SIGTERM does."""
    report = asking.ask(at, "drain", deadline_s, cookie_file=cookie_file, timeout_s=deadline_s + 10.0)
    if json:
        output.print_json(report)
        return
    found = _expect(dict, report, "drain")
    left = ", ".join(str(name) for name in found.get("left") or ())
    typer.echo(
        f"{found.get('handed_over')} singletons handed over" + (f"; not handed over: {left}" if left else "")
    )


@app.command()
def demo(
    plain: Annotated[bool, typer.Option("--plain", help="Lines for logs instead of colours.")] = False,
    json: Json = False,
) -> None:
    """Three nodes on this machine: kills, a partition, a heal, and a table of what held."""
    from quorate.demo import demo as run_demo  # not needed by anybody else

    raise typer.Exit(run_demo(plain=plain, as_json=json))


def _split(texts: list[str] | None) -> list[str]:
    """Options that may be repeated, or hold several values with commas."""
    return [part.strip() for text in texts or () for part in text.split(",") if part.strip()]


def _expect(kind: type[Any], answer: object, op: str) -> Any:
    if not isinstance(answer, kind):
        raise ConfigError(
            f"the node answers {op!r} with something else than this version of the command expects"
        )
    return answer
