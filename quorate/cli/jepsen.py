"""`quorate jepsen ...`: what judges runs and histories. Its exit codes are verdicts, as Jepsen's are.

0    valid
1    invalid
2    unknown: not enough to say, or not decided within the budget
254  no verdict: the command line or the file is wrong, or the file cannot be read; one line on stderr says why
255  no verdict: a defect of this program, with its traceback
130  ended by Ctrl-C
"""

import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from typer.core import TyperGroup

from quorate.core import QuorateError

from .failures import CommandFailed, one_line

if TYPE_CHECKING:  # the checkers are only loaded by the commands that need them
    from quorate.jepsen_like.history import History
    from quorate.jepsen_like.linear import LinearResult, Rules
    from quorate.jepsen_like.record import Window

VERDICT_CODES = {"valid": 0, "invalid": 1, "unknown": 2}
NO_VERDICT = 254
DEFECT = 255

_MODELS = "cas-register, kv, mutex, fenced-mutex or registry"
_ENTRIES_SHOWN = 24
_SPECIFYING = ("workload", "nodes", "seeds", "faults", "time_s", "rate", "preset")


class NoVerdict(CommandFailed):
    """There is nothing to judge: the command line or the file is wrong."""

    exit_code = NO_VERDICT


class _Group(TyperGroup):
    """Sees to it that no failure has the exit code of a verdict."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (BrokenPipeError, NoVerdict):
            raise
        except (QuorateError, OSError) as error:
            raise NoVerdict(one_line(error)) from error
        except Exception as error:
            if callable(getattr(error, "format_message", None)):  # wrong usage
                raise NoVerdict(one_line(error)) from error
            if hasattr(error, "exit_code"):  # an orderly end
                raise
            traceback.print_exc()
            raise typer.Exit(DEFECT) from error


jepsen_app = typer.Typer(name="jepsen", cls=_Group)


@jepsen_app.callback(invoke_without_command=True)
def jepsen(context: typer.Context) -> None:
    """Simulate clusters under faults, and judge histories.

    Exit codes: 0 valid, 1 invalid, 2 unknown, 254 no verdict (wrong usage or file), 130 Ctrl-C.
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(NO_VERDICT)


@jepsen_app.command()
def sim(
    context: typer.Context,
    workload: Annotated[str, typer.Option(help="What clients do: see `workloads`.")] = "registry",
    nodes: Annotated[int, typer.Option(help="How many nodes.", min=1, metavar="N")] = 5,
    seeds: Annotated[str, typer.Option(help="7, 1..200 or 1,5,9..12.", metavar="SEEDS")] = "1..10",
    faults: Annotated[
        str,
        typer.Option(
            help="Kinds or groups, with commas; -KIND leaves one out; all; none: see `faults`.",
            metavar="KINDS",
        ),
    ] = "all",
    time_s: Annotated[
        float, typer.Option("--time", help="How long, in simulated seconds.", metavar="SECONDS")
    ] = 20.0,
    rate: Annotated[
        float, typer.Option(help="Operations per simulated second, of all clients.", metavar="N")
    ] = 10.0,
    preset: Annotated[str, typer.Option(help="How fast failures are noticed: local, lan or wan.")] = "lan",
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", help="Processes; default: the cores.", min=1, metavar="N")
    ] = None,
    plan: Annotated[
        Path | None, typer.Option(help="Run what --shrink saved, and nothing else.", metavar="FILE")
    ] = None,
    shrink: Annotated[
        bool, typer.Option("--shrink", help="Make what fails smaller, and save it for --plan.")
    ] = False,
    shrink_limit_s: Annotated[
        float,
        typer.Option("--shrink-limit", help="For each seed, in real seconds.", min=1.0, metavar="SECONDS"),
    ] = 120.0,
    trace: Annotated[
        Path | None, typer.Option(help="Write the trace of the seed, which must be one.", metavar="FILE")
    ] = None,
    hashes: Annotated[
        bool, typer.Option("--hash", help="Print `seed hash-of-its-trace` lines, to be compared.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(
            help="Write index.html, results.json, and a page and a history for each failing seed (for all, "
            "up to 10 seeds).",
            metavar="DIR",
        ),
    ] = None,
    report_all: Annotated[
        bool, typer.Option("--report-all", help="A page and a history for each seed.")
    ] = False,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit's XML.", metavar="FILE")] = None,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first invalid seed.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Run a workload on a simulated cluster under faults, for many seeds, and judge what its clients saw.

    The same seed does the same things, on every machine with the same version of Python. Exit code 0 valid, 1 invalid,
    2 unknown: the worst of all seeds.
    """
    from quorate.jepsen_like.campaign import parse_seeds
    from quorate.jepsen_like.runner import RunSpec

    from .simulating import SimOptions, default_jobs, read_plan
    from .simulating import simulate as simulate_all

    if plan is not None:
        given = [f"--{name.removesuffix('_s')}" for name in _SPECIFYING if _was_given(context, name)]
        if given:
            raise NoVerdict(f"--plan says all of the run: leave out {', '.join(given)}")
        spec = read_plan(plan)
        chosen: tuple[int, ...] = (spec.seed,)
    else:
        chosen = parse_seeds(seeds)
        spec = RunSpec(workload, nodes, chosen[0], faults, time_s, rate, preset)
    options = SimOptions(
        spec=spec,
        seeds=chosen,
        jobs=min(jobs or default_jobs(), len(chosen)),
        plan=plan,
        shrink=shrink,
        shrink_limit_s=shrink_limit_s,
        trace=trace,
        hashes=hashes,
        report=report,
        report_all=report_all,
        junit=junit,
        fail_fast=fail_fast,
        json=json,
    )
    raise typer.Exit(simulate_all(options))


def _was_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


@jepsen_app.command("faults")
def list_faults(
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """List the kinds of faults that `sim --faults` takes, by their groups."""
    from quorate.jepsen_like.nemesis import KINDS

    from .output import print_json, print_rows

    if json:
        print_json([{"kind": kind.name, "group": kind.group, "doc": kind.doc} for kind in KINDS.values()])
    else:
        print_rows(("group", "kind", ""), [(kind.group, kind.name, kind.doc) for kind in KINDS.values()])


@jepsen_app.command("workloads")
def list_workloads(
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """List the workloads that `sim --workload` takes."""
    from quorate.jepsen_like.workloads import WORKLOADS

    from .output import print_json, print_rows

    found = [(name, workload.doc) for name, workload in WORKLOADS.items()]
    if json:
        print_json([{"workload": name, "doc": doc} for name, doc in found])
    else:
        print_rows(("workload", ""), found)


@jepsen_app.command()
def check(
    file: Annotated[
        Path, typer.Argument(help="JSON lines, Jepsen's EDN, or Porcupine's logs.", metavar="FILE")
    ],
    model: Annotated[str, typer.Option(help=f"What was used: {_MODELS}.", metavar="MODEL")],
    rules: Annotated[
        str,
        typer.Option(
            help="jepsen: what failed did not happen. porcupine: a failed cas has seen another value.",
            metavar="RULES",
        ),
    ] = "jepsen",
    initial: Annotated[
        str | None,
        typer.Option(help="The first value: JSON, or a text. Only cas-register and kv.", metavar="VALUE"),
    ] = None,
    max_steps: Annotated[
        int | None, typer.Option(help="Give up (unknown) after so many steps.", min=1, metavar="N")
    ] = None,
    max_states: Annotated[
        int | None, typer.Option(help="Give up when so many are in memory.", min=1, metavar="N")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Say whether a history is linearizable: 0 valid, 1 invalid, 2 unknown, 254 no verdict.

    An invalid one comes with the smallest window of operations that no order explains.
    """
    from quorate.jepsen_like.linear import MAX_STATES, MAX_STEPS, check_linearizable, find_model

    found = find_model(model, **_initial(model, initial))
    history = _read(file)
    result = check_linearizable(
        history,
        found,
        rules=cast("Rules", rules),
        max_steps=max_steps or MAX_STEPS,
        max_states=max_states or MAX_STATES,
    )
    if json:
        from .output import print_json

        print_json(_document(file, model, rules, result))
    else:
        _print(file, rules, history, result)
    raise typer.Exit(VERDICT_CODES[result.verdict.outcome])


def _initial(model: str, text: str | None) -> dict[str, Any]:
    """The option as an argument; JSON where the model's values may be any, else as it stands."""
    import json

    if text is None:
        return {}
    if model == "kv":
        return {"initial": text}
    try:
        return {"initial": json.loads(text)}
    except ValueError:
        return {"initial": text}


def _read(file: Path) -> "History":
    from quorate.core.real import read_file
    from quorate.jepsen_like.history import HistoryError
    from quorate.jepsen_like.linear import parse_history

    try:
        return parse_history(read_file(file).decode("utf-8"))
    except UnicodeDecodeError as error:
        raise NoVerdict(f"{file}: no text in UTF-8 ({error.reason} at byte {error.start})") from error
    except HistoryError as error:
        raise NoVerdict(f"{file}: {error}") from error
    except OSError as error:
        raise NoVerdict(f"{file} cannot be read: {error.strerror}") from error


def _document(file: Path, model: str, rules: str, result: "LinearResult") -> dict[str, Any]:
    from dataclasses import asdict

    verdict = asdict(result.verdict)
    return {
        "file": str(file),
        "model": model,
        "rules": rules,
        **verdict,
        "windows": [asdict(window) for window in result.windows],
        "steps": result.steps,
        "states": result.states,
    }


def _print(file: Path, rules: str, history: "History", result: "LinearResult") -> None:
    from .output import console, print_rows

    verdict, out = result.verdict, console()
    out.print(f"{file}: {verdict.outcome}", style="bold", markup=False, soft_wrap=True)
    if not verdict.problems:
        out.print(f"{verdict.summary}, rules {rules}", markup=False)
    for problem in verdict.problems[len(result.windows) :]:  # the others have their windows below
        out.print(problem, markup=False)
    for window in result.windows:
        out.print()
        key = "" if window.key is None else f"{window.key}: "
        out.print(f"{key}{window.why}", style="bold", markup=False)
        print_rows(
            ("entry", "process", "", "f", "value", ""), _rows(history, window), numbers=("entry", "process")
        )


def _rows(history: "History", window: "Window") -> list[Sequence[object]]:
    """The entries of a window; of a large one, the last, where the culprit is."""
    rows: list[Sequence[object]] = []
    hidden = len(window.indices) - _ENTRIES_SHOWN
    if hidden > 0:
        rows.append(("…", "", "", "", f"{hidden} entries before", ""))
    for index in window.indices[-_ENTRIES_SHOWN:]:
        op = history[index]
        mark = "<- fits nowhere" if index == window.culprit else ""
        rows.append((op.index, op.process, op.type, op.f, _brief(op.value), mark))
    return rows


def _brief(value: object) -> str:
    import json

    text = "" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:18]}…{text[-18:]}"
