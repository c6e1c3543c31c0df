"""What a node knows of a supervised process: who is its supervisor, and how long it may take to end. A value."""

from dataclasses import dataclass

from .pid import Pid


@dataclass(frozen=True, slots=True)
class Oversight:
    """`parent` is its supervisor; the node's own pid for a supervisor that plain code started.

    `obedient`: an exit signal of its parent ends it also when it traps exits (every behaviour; not a body, which is told
    as usual). `deadline_s` is for its code to end, once it has begun to exit; None: as the node is configured.
    `supervises`: it is a supervisor itself.
    """

    parent: Pid
    obedient: bool
    deadline_s: float | None
    supervises: bool = False
