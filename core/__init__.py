"""The ground floor: the four ports, errors, processes, nodes and the links between them.

Everything that other folders use of `core/` is named here; `quorate.core` imports nothing else of ours.
"""

from .errors import (
    CallCycle,
    CallError,
    CallTimeout,
    ConfigError,
    CookieError,
    CookieMismatch,
    DataDirError,
    DecodeError,
    EncodeError,
    HandshakeFailed,
    LinkError,
    NameInUse,
    NodeDown,
    NoProcess,
    NotCallable,
    QuorateError,
    RemoteError,
    TooLarge,
    VersionMismatch,
)
from .runtime import Clock, DirectoryLock, Disk, Entropy, File, Network, Runtime, Server, Timer
from .timers import sleep, timeout

__all__ = [
    "CallCycle",
    "CallError",
    "CallTimeout",
    "Clock",
    "ConfigError",
    "CookieError",
    "CookieMismatch",
    "DataDirError",
    "DecodeError",
    "DirectoryLock",
    "Disk",
    "EncodeError",
    "Entropy",
    "File",
    "HandshakeFailed",
    "LinkError",
    "NameInUse",
    "Network",
    "NoProcess",
    "NodeDown",
    "NotCallable",
    "QuorateError",
    "RemoteError",
    "Runtime",
    "Server",
    "Timer",
    "TooLarge",
    "VersionMismatch",
    "sleep",
    "timeout",
]
