"""The errors of `quorate.registry`, a branch of the tree in `core/errors.py`.

QuorateError
└── RegistryError
    ├── NameTaken           another process owns the name: use that one, or try again when it is gone
    ├── ClaimLost           the name (or the singleton) is no longer ours: stop acting in its name
    ├── NotLocal            a node can only register its own processes: ask the process's own node
    └── SingletonError
        ├── NotASingleton   the class is no `Singleton`, or is not exported under that name
        └── SingletonConflict   the name is in use for another class
"""

from quorate.core import CallError, Pid, QuorateError


class RegistryError(QuorateError):
    """The registry did not do what was asked."""


class NameTaken(RegistryError):
    """`owner` has the name, since `fence`. Use that process, or monitor it and try again when it is gone."""

    def __init__(self, name: object, owner: Pid, fence: int) -> None:
        super().__init__(f"the name {name!r} belongs to {owner} (fence {fence})")
        self.name = name
        self.owner = owner
        self.fence = fence


class ClaimLost(RegistryError):
    """The name `name`, held with `fence`, is no longer ours: whoever acts in its name must stop.

    It is raised by what needs the claim, and it is the exit reason (or the message) that tells the owner of the loss.
    """

    def __init__(self, name: object, fence: int) -> None:
        super().__init__(f"the claim to {name!r} with fence {fence} is lost: stop acting in its name")
        self.name = name
        self.fence = fence

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ClaimLost) and (self.name, self.fence) == (other.name, other.fence)

    def __hash__(self) -> int:
        return hash((ClaimLost, self.fence))


class NotLocal(RegistryError):
    """The process `pid` lives elsewhere (or is dead): a node registers its own living processes only."""

    def __init__(self, message: str, pid: Pid) -> None:
        super().__init__(message)
        self.pid = pid


class SingletonError(RegistryError):
    """A singleton cannot be had."""


class NotASingleton(SingletonError):
    """The class is no `Singleton`, or this node has not exported it: mend the program."""


class SingletonConflict(SingletonError):
    """The name is in use for another class: choose another name, or use that class."""


class SingletonOverloaded(SingletonError, CallError):
    """Too many messages of this node wait for the singleton to have an owner. Nothing happened."""
