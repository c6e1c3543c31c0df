"""How a server begins: its record is made first, then its `__init__` runs as the new process, before any message.

The kernel is the authority over who exists. What must never happen here: a server whose `__init__` raised stays behind.
"""

from collections.abc import Callable
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from .calls import HANDLING
from .errors import CalleeExited
from .gen_server import GenServer
from .handlers import run_init
from .pid import Exit
from .plain import show
from .prompt_cell import PromptCell
from .server_cell import ServerCell

if TYPE_CHECKING:
    from .kernel import Kernel


def start(
    kernel: "Kernel", server_class: Callable[..., GenServer], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> ServerCell:
    """Start a server: its `__init__` runs now, as the new process. Raises what that raises.

    Raises `CalleeExited` when it refused by `raise Exit(reason)`.
    """
    if not (isinstance(server_class, type) and issubclass(server_class, GenServer)):
        raise TypeError(f"{server_class!r} is no GenServer class")
    server = server_class.__new__(server_class)
    kind: type[ServerCell] = server_class._quorate_cell_kind or PromptCell
    cell = kind(kernel, kernel.new_pid(), copy_context(), server)
    server._quorate_cell = cell
    cell.scheduled = True  # nothing is handled before __init__ is through
    kernel.adopt(cell)
    try:
        cell.context.run(_initialise, cell, args, kwargs)
    except Exit as refusal:
        _stillborn(cell, refusal.reason)
        raise CalleeExited(f"{cell.label} refused to start: {show(refusal.reason)}", refusal.reason) from None
    except BaseException as error:
        _stillborn(cell, error)
        raise
    cell.rest()
    return cell


def _initialise(cell: ServerCell, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    if HANDLING.get() is not None:  # (what is not changed is shared with the context of who starts it)
        HANDLING.set(None)
    run_init(cell.server, args, kwargs)
    cell.initialised()


def _stillborn(cell: ServerCell, reason: object) -> None:
    cell.ended(reason)
    cell.finish()
