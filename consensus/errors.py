"""The errors of `quorate.consensus`, a branch of the tree in `core/errors.py`.

QuorateError
└── StoreError
    ├── NoQuorum            no majority answers: nothing happened, try again later
    ├── OutcomeUnknown      the request left, no answer came: it may or may not have happened
    ├── SessionLost         the session that the request belongs to is over: nothing happened
    ├── Overloaded          too many requests are waiting: nothing happened, slow down
    ├── NotLeader           this replica does not lead (internal: engines redirect by it)
    ├── StoreStopped        the store was closed: nothing happened
    └── DiskFailed          this node's disk refused a write or a sync: the node has stepped down
DataDirError (core)
    ├── DataDirInUse        another process holds the directory
    ├── WrongDataDir        the directory belongs to another node or cluster
    ├── NewerFormat         the directory was written by a newer version
    └── LogCorrupt          a record that had been synced does not read back
"""

from quorate.core import DataDirError, QuorateError


class StoreError(QuorateError):
    """The coordination store did not do what was asked."""


class NoQuorum(StoreError):
    """No majority of the voters answers. Nothing happened; it can be tried again later."""


class OutcomeUnknown(StoreError):
    """The request left and no answer came back: it may or may not have happened, now or later."""


class SessionLost(StoreError):
    """The session that the request belongs to is over. Nothing happened."""


class Overloaded(StoreError):
    """Too many requests are waiting already. Nothing happened."""


class NotLeader(StoreError):
    """This replica does not lead. `leader` is the one that probably does, or None. Nothing happened."""

    def __init__(self, leader: str | None = None) -> None:
        super().__init__(f"not the leader; the leader is {leader or 'unknown'}")
        self.leader = leader


class StoreStopped(StoreError):
    """The store was closed. Nothing happened."""


class DiskFailed(StoreError):
    """This node's disk refused a write or a sync. The node no longer takes part; the others go on."""


class DataDirInUse(DataDirError):
    """Another process holds the data directory."""


class WrongDataDir(DataDirError):
    """The data directory belongs to another node or cluster."""


class NewerFormat(DataDirError):
    """The data directory was written by a newer version of quorate."""


class LogCorrupt(DataDirError):
    """A record that had been synced does not read back. `path` and `offset` say where."""

    def __init__(self, message: str, *, path: str = "", offset: int = 0) -> None:
        super().__init__(message)
        self.path = path
        self.offset = offset
