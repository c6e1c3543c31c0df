"""The ground floor: the four ports, errors, processes, nodes and the links between them.

Everything that other folders use of `core/` is named here; `quorate.core` imports nothing else of ours.
"""

from .codec import Codec, canonical, pack, unpack
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
from .pid import Alias, Down, Exit, ExitSignal, MonitorRef, NodeLost, NodeUp, Pid, RemoteName
from .plain import plain_error, show
from .runtime import Clock, DirectoryLock, Disk, Entropy, File, Network, Runtime, Server, Timer
from .timers import sleep, timeout

__all__ = [
    "Alias",
    "CallCycle",
    "CallError",
    "CallTimeout",
    "Clock",
    "Codec",
    "ConfigError",
    "CookieError",
    "CookieMismatch",
    "DataDirError",
    "DecodeError",
    "DirectoryLock",
    "Disk",
    "Down",
    "EncodeError",
    "Entropy",
    "Exit",
    "ExitSignal",
    "File",
    "HandshakeFailed",
    "LinkError",
    "MonitorRef",
    "NameInUse",
    "Network",
    "NoProcess",
    "NodeDown",
    "NodeLost",
    "NodeUp",
    "NotCallable",
    "Pid",
    "QuorateError",
    "RemoteError",
    "RemoteName",
    "Runtime",
    "Server",
    "Timer",
    "TooLarge",
    "VersionMismatch",
    "canonical",
    "pack",
    "plain_error",
    "show",
    "sleep",
    "timeout",
    "unpack",
]
