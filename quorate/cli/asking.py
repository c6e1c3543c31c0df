"""How commands find a node and ask it something."""

import os
from pathlib import Path

from quorate.core import AdminClient, resolve_cookie
from quorate.core.real import real_runtime
from quorate.loop import run

NODE_VARIABLE = "QUORATE_NODE"
DEFAULT_NODE = "127.0.0.1:9100"
DEFAULT_NAME = f"node@{DEFAULT_NODE}"
DRAIN_S = 30.0


def ask(
    node: str | None,
    op: str,
    args: object = None,
    *,
    cookie_file: Path | None = None,
    timeout_s: float = 10.0,
) -> object:
    """Ask one node for `op`, and return its answer: plain values.

    The node is `node`, else what `QUORATE_NODE` names, else 127.0.0.1:9100. Raises `ConfigError`, `LinkError`,
    `CallTimeout`, `RemoteError`.
    """
    return run(_ask(node or os.environ.get(NODE_VARIABLE) or DEFAULT_NODE, op, args, cookie_file, timeout_s))


async def _ask(node: str, op: str, args: object, cookie_file: Path | None, timeout_s: float) -> object:
    runtime = real_runtime()
    cookie = resolve_cookie(cookie_file=cookie_file, env=os.environ, entropy=runtime.entropy)
    async with AdminClient(runtime, node, cookie) as client:
        return await client.request(op, args, timeout_s=timeout_s)
