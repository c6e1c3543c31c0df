"""Erlang/OTP's `global` on three nodes of this machine, when `erl` is installed: the registry that OTP users have."""

import asyncio
import json
import os
import shutil

PROGRAM = r"""
Peers = ['b@127.0.0.1', 'c@127.0.0.1'],
Wait = fun W(P) -> case net_adm:ping(P) of pong -> ok; pang -> timer:sleep(50), W(P) end end,
lists:foreach(Wait, Peers), global:sync(),
Idle = fun() -> receive stop -> ok end end,
Rate = fun(F) ->
  T0 = erlang:monotonic_time(microsecond), N = F(),
  N * 1000000 / max(1, erlang:monotonic_time(microsecond) - T0) end,
One = fun(Tag, N) ->
  lists:foreach(fun(I) -> yes = global:register_name({Tag, I}, spawn(Idle)) end, lists:seq(1, N)), N end,
Many = fun(Tag, Clients, N) ->
  Self = self(),
  Pids = [spawn(fun() -> One({Tag, C}, N), Self ! {done, self()} end) || C <- lists:seq(1, Clients)],
  [receive {done, P} -> ok end || P <- Pids], Clients * N end,
Peek = fun(N) -> lists:foreach(fun(_) -> global:whereis_name({warm, 1}) end, lists:seq(1, N)), N end,
One(warm, 50),
Register1 = [Rate(fun() -> One({one, R}, 300) end) || R <- lists:seq(1, ROUNDS)],
Register64 = [Rate(fun() -> Many({many, R}, 64, 10) end) || R <- lists:seq(1, ROUNDS)],
Peeks = [Rate(fun() -> Peek(500000) end) || _ <- lists:seq(1, ROUNDS)],
Show = fun(L) -> "[" ++ string:join([float_to_list(X, [{decimals, 1}]) || X <- L], ",") ++ "]" end,
io:format("{\"register_1\":~s,\"register_64\":~s,\"peek\":~s}~n", [Show(Register1), Show(Register64), Show(Peeks)]),
[rpc:cast(P, init, stop, []) || P <- Peers], init:stop().
"""


def installed() -> bool:
    return shutil.which("erl") is not None


async def global_figures(rounds: int) -> dict[str, list[float]]:
    """`register_1`, `register_64` (64 processes at once) and `peek`, each per second and per round."""
    environment = {**os.environ, "ERL_EPMD_ADDRESS": "127.0.0.1", "ERL_EPMD_RELAXED_COMMAND_CHECK": "1"}
    running: list[asyncio.subprocess.Process] = []
    epmd = await asyncio.create_subprocess_exec(
        "epmd", "-relaxed_command_check", env=environment, stderr=asyncio.subprocess.DEVNULL
    )
    running.append(epmd)
    try:
        running += [await _erl(name, "ok.", environment) for name in ("b", "c")]
        measuring = await _erl("a", PROGRAM.replace("ROUNDS", str(rounds)), environment)
        running.append(measuring)
        output, _ = await asyncio.wait_for(measuring.communicate(), 120)
        line = next(line for line in output.decode().splitlines() if line.startswith("{"))
        figures: dict[str, list[float]] = json.loads(line)
        return figures
    finally:
        for process in reversed(running):
            if process.returncode is None:
                process.terminate()
            await process.wait()


async def _erl(name: str, program: str, environment: dict[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        "erl", "-noinput", "-name", f"{name}@127.0.0.1", "-setcookie", "benchmark",
        "-kernel", "inet_dist_use_interface", "{127,0,0,1}", "-eval", program,
        env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
