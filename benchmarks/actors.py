"""Processes on one node, beside Erlang/OTP, raw asyncio and the actor libraries of Python that are installed.

Start, memory of an idle process, one-way messages, sequential calls (`def` and `async def`), a hundred callers at once, and a ring.
Each system runs in a process of its own, all in one run, round by round, so that ratios mean something. Raw asyncio is what one
writes without a library: a task with a deque for a mailbox, a future for each answer.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence

from .table import Row, measured

ROUNDS = 5
BOTH = ("quorate", "asyncio")  # everything is measured of these
PYTHON = (*BOTH, "xoscar", "pykka", "thespian")
FIGURES = {
    "start": ("start a server", "per s"),
    "start_seldom": ("start a server, garbage collected as seldom as the docs advise", "per s"),
    "memory": ("memory of an idle server, 100,000 of them", "bytes"),
    "memory_body": ("memory of an idle process with a coroutine, 100,000 of them", "bytes"),
    "million": ("memory of a million idle servers, that of the interpreter too", "GB"),
    "one_way": ("one way, one sender", "per s"),
    "call": ("sequential call, `def` method", "per s"),
    "call_async": ("sequential call, `async def` method", "per s"),
    "callers": ("100 callers at once, `def` method", "calls per s"),
    "ring": ("ring of 1,000 processes, 100 laps", "hops per s"),
}
LESS_IS_BETTER = {"memory", "memory_body", "million"}
FOR_A_MILLION_GB = 4.0  # free, before a million servers are tried

ERLANG = r"""
-module(bench).
-behaviour(gen_server).
-export([main/1, init/1, handle_call/3, handle_cast/2]).
init(_) -> {ok, 0}.
handle_call({add, N}, _, S) -> {reply, S + N, S + N}.
handle_cast({add, N}, S) -> {noreply, S + N}.
rate(N, F) -> T0 = erlang:monotonic_time(nanosecond), F(), N * 1.0e9 / max(1, erlang:monotonic_time(nanosecond) - T0).
start(N) -> [begin {ok, P} = gen_server:start(?MODULE, [], []), P end || _ <- lists:seq(1, N)].
calls(_, 0) -> ok;
calls(P, N) -> gen_server:call(P, {add, 1}), calls(P, N - 1).
sink(0, Owner) -> Owner ! done;
sink(N, Owner) -> receive _ -> sink(N - 1, Owner) end.
flood(_, 0) -> ok;
flood(P, N) -> P ! N, flood(P, N - 1).
hop(Next) -> receive stop -> ok; N -> Next ! N, hop(Next) end.
last(Owner, First, 0) -> receive _ -> ok end, Owner ! ring;
last(Owner, First, L) -> receive N -> First ! N, last(Owner, First, L - 1) end.
idle() -> receive stop -> ok end.
main([Rounds]) ->
  {ok, P} = gen_server:start(?MODULE, [], []),
  calls(P, 20000),
  lists:foreach(fun(_) ->
    Self = self(),
    S = rate(20000, fun() -> put(pids, start(20000)) end),
    [exit(X, kill) || X <- get(pids)], erase(pids),
    garbage_collect(), M0 = erlang:memory(processes),
    Ps = start(100000), M = (erlang:memory(processes) - M0) / 100000,
    [exit(X, kill) || X <- Ps],
    M1 = erlang:memory(processes),
    Bs = [spawn(fun() -> idle() end) || _ <- lists:seq(1, 100000)], B = (erlang:memory(processes) - M1) / 100000,
    [exit(X, kill) || X <- Bs],
    O = rate(300000, fun() -> K = spawn(fun() -> sink(300000, Self) end), flood(K, 300000), receive done -> ok end end),
    C = rate(100000, fun() -> calls(P, 100000) end),
    H = rate(100000, fun() ->
      Cs = [spawn(fun() -> calls(P, 1000), Self ! {c, self()} end) || _ <- lists:seq(1, 100)],
      [receive {c, X} -> ok end || X <- Cs] end),
    R = rate(100000, fun() ->
      L = spawn(fun() -> receive {first, F} -> last(Self, F, 100) end end),
      F = lists:foldl(fun(_, Next) -> spawn(fun() -> hop(Next) end) end, L, lists:seq(1, 999)),
      L ! {first, F}, F ! 1, receive ring -> ok end end),
    io:format("{\"start\":~.1f,\"memory\":~.1f,\"memory_body\":~.1f,\"one_way\":~.1f,\"call\":~.1f,\"call_async\":~.1f,\"callers\":~.1f,\"ring\":~.1f}~n",
      [S, M, B, O, C, C, H, R])
  end, lists:seq(1, list_to_integer(Rounds))), halt().
"""


def run() -> list[Row]:
    """All figures, ours first. Systems that are not installed are left out."""
    systems = {name: _python(name, ROUNDS if name in BOTH else 3) for name in PYTHON}
    for system, rounds in million().items():
        systems[system] += rounds
    found = {name: figures for name, figures in systems.items() if figures}
    if shutil.which("erlc"):
        found["Erlang/OTP"] = _erlang()
    rows: list[Row] = []
    for figure, (title, unit) in FIGURES.items():
        for system, rounds in found.items():
            values = [one[figure] for one in rounds if figure in one]
            if values:
                note = "less is better" if figure in LESS_IS_BETTER and system == "quorate" else ""
                rows.append(measured(f"processes: {title}", system, unit, values, note))
    return rows


def million() -> dict[str, list[dict[str, float]]]:
    """What a million servers take, once; without enough memory nothing, and a line that says so."""
    free_gb = _free_gb()
    if free_gb < FOR_A_MILLION_GB:
        print(
            f"a million idle servers are left out: {free_gb:.1f} GB of memory are free, and {FOR_A_MILLION_GB:g} are wanted",
            file=sys.stderr,
        )
        return {}
    return {system: _python(f"{system}-million", 1) for system in BOTH}


def _free_gb() -> float:
    """Memory that can be had without swapping."""
    with open("/proc/meminfo") as file:
        available = next(line for line in file if line.startswith("MemAvailable:"))
    return int(available.split()[1]) * 1024 / 1e9


def _python(system: str, rounds: int) -> list[dict[str, float]]:
    """One child per round: memory figures want a fresh process."""
    figures: list[dict[str, float]] = []
    for _ in range(rounds):
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.actors_child", system],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if done.returncode:
            if "No module named" not in done.stderr:
                print(f"{system} failed: {done.stderr[-500:]}", file=sys.stderr)
            return []
        figures.append(json.loads(done.stdout.splitlines()[-1]))
    return figures


def _erlang() -> list[dict[str, float]]:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/bench.erl", "w") as source:
            source.write(ERLANG)
        subprocess.run(["erlc", "bench.erl"], cwd=folder, check=True, capture_output=True)
        done = _output(["erl", "-noinput", "+P", "1000000", "-eval", f'bench:main(["{ROUNDS}"])'], folder)
    return [json.loads(line) for line in done.splitlines() if line.startswith("{")]


def _output(command: Sequence[str], folder: str) -> str:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=True).stdout
