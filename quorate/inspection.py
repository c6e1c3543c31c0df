"""What a command-line client may see of the processes of a node, as plain values. It changes nothing."""

import asyncio
import heapq
import re
from dataclasses import asdict
from typing import Any

from quorate.core import Node as CoreNode
from quorate.core import NoProcess, Pid

SHOWN = 20
_AT_A_TIME = 2_000  # processes looked at in one turn of the loop
_PID = re.compile(r"<?(?:(?P<node>[^/<>]+)/)?(?:(?P<creation>\d+)\.)?(?P<serial>\d+)>?")


async def busiest(node: CoreNode, limit: int = SHOWN) -> dict[str, Any]:
    """How many processes there are, and the `limit` of them with the longest mailboxes, the oldest first among equals."""
    pids = node.processes()
    ranked: list[tuple[int, Pid]] = []
    for start in range(0, len(pids), _AT_A_TIME):
        infos = [node.process_info(pid) for pid in pids[start : start + _AT_A_TIME]]
        some = [(info.mailbox, info.pid) for info in infos if info is not None]
        ranked = heapq.nsmallest(limit, ranked + some, key=lambda one: (-one[0], one[1]))
        await asyncio.sleep(0)
    shown = [_summary(node, pid) for _, pid in ranked]
    return {"processes": len(pids), "shown": [one for one in shown if one is not None]}


def one(node: CoreNode, text: str, *, state: bool = False) -> dict[str, Any]:
    """One process, by its local name or pid; with `state` the attributes of a server too.

    Of a server only what its `format_status` shows, as it is at this moment: nobody waits for what it is doing.

    Raises `NoProcess`.
    """
    pid = find(node, text)
    found = _summary(node, pid)
    info = node.process_info(pid)
    if found is None or info is None:
        raise NoProcess(f"there is no process {text} on {node.name}")
    handling, attributes = node.outward(pid)
    rest = asdict(info) | {"links": [str(link) for link in info.links], "handling": handling}
    for key in ("pid", "kind", "name", "status", "mailbox", "mailbox_limit"):
        del rest[key]
    found |= rest
    if info.mailbox_limit is not None:
        found["mailbox_limit"] = f"{info.mailbox_limit.messages}, then {info.mailbox_limit.policy}"
    if state:
        found["state_of_server"] = "it is no server" if attributes is None else attributes
    return found


def find(node: CoreNode, text: str) -> Pid:
    """The process that somebody has named: by its local name, its pid, or its number in it. Raises `NoProcess`."""
    named = node.whereis(text)
    if named is not None:
        return named
    match = _PID.fullmatch(text.strip())
    if match is None:
        raise NoProcess(
            f"{text!r} is no local name of a process on {node.name}, and no pid like <{node.name}/3.14>"
        )
    if match["node"] not in (None, node.name):
        raise NoProcess(f"{text} is a process of {match['node']}: ask that node, with --node")
    return Pid(node.name, int(match["creation"] or node.creation), int(match["serial"]))


def _summary(node: CoreNode, pid: Pid) -> dict[str, Any] | None:
    info = node.process_info(pid)
    if info is None:
        return None
    return {
        "pid": str(pid),
        "name": info.name,
        "kind": info.kind,
        "status": info.status if info.state == "alive" else info.state,
        "mailbox": info.mailbox,
    }
