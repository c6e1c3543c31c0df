"""The ground floor: the four ports, errors, processes, nodes and the links between them.

Everything that other folders use of `core/` is named here; `quorate.core` imports nothing else of ours.
"""

from .address import Address, NodeName, parse_seed
from .answers import decode_answer, encode_error, encode_value
from .application import Application
from .calls import Request
from .child_spec import ChildSpec, child
from .client import AdminClient
from .codec import Codec, canonical, pack, unpack
from .control import ProcessControl, is_call
from .cookie import read_cookie, resolve_cookie
from .crash import ServerStatus
from .discovery import Discovery, Static
from .dynamic_supervisor import DynamicSupervisor
from .errors import (
    ApplicationFailed,
    Busy,
    CallCycle,
    CalleeExited,
    CallError,
    CallTimeout,
    ChildExists,
    ChildRunning,
    ChildStartFailed,
    ConfigError,
    CookieError,
    CookieMismatch,
    DataDirError,
    DecodeError,
    EncodeError,
    HandlerExists,
    HandshakeFailed,
    LinkError,
    LocalNameTaken,
    MailboxFull,
    NameInUse,
    NodeDown,
    NoHandler,
    NoProcess,
    NoSuchChild,
    NotCallable,
    QuorateError,
    RemoteError,
    SupervisorError,
    TooLarge,
    TooManyChildren,
    VersionMismatch,
)
from .event_handler import EventHandler
from .events import Events, HandlerRef
from .export import Exports
from .frames import Channel
from .gen_event import GenEvent
from .gen_server import GenServer
from .gen_statem import EVENT_TIMEOUT, STATE_TIMEOUT, GenStatem
from .kernel import ProcessConfig, ProcessInfo
from .link import Peer
from .link_config import LinkConfig
from .links import LinkListener, Links
from .mailbox import MailboxLimit, MailboxPolicy
from .node import LinkLayer, Node, Subscription
from .partition_supervisor import Partitions, PartitionSupervisor
from .pid import Alias, Down, Exit, ExitSignal, HandlerGone, MonitorRef, NodeLost, NodeUp, Pid, RemoteName
from .plain import plain_error, show
from .process import Process
from .proxy import exported_servers, interrupt, start_held, start_proxy, stop_process
from .real import RealClock, RealDisk, RealEntropy, RealNetwork, make_temporary_dir, real_runtime, remove_tree
from .ref import Ref
from .replies import From, Reply, raises
from .runtime import Clock, DirectoryLock, Disk, Entropy, File, Network, Runtime, Server, Timer
from .server_extras import reentrant
from .supervisor import ChildCounts, ChildInfo, Supervisor
from .sys import Statistics, Sys, TraceEvent
from .task import Task, Tasks
from .timers import MessageTimer, sleep, timeout

__all__ = [
    "EVENT_TIMEOUT",
    "STATE_TIMEOUT",
    "Address",
    "AdminClient",
    "Alias",
    "Application",
    "ApplicationFailed",
    "Busy",
    "CallCycle",
    "CallError",
    "CallTimeout",
    "CalleeExited",
    "Channel",
    "ChildCounts",
    "ChildExists",
    "ChildInfo",
    "ChildRunning",
    "ChildSpec",
    "ChildStartFailed",
    "Clock",
    "Codec",
    "ConfigError",
    "CookieError",
    "CookieMismatch",
    "DataDirError",
    "DecodeError",
    "DirectoryLock",
    "Discovery",
    "Disk",
    "Down",
    "DynamicSupervisor",
    "EncodeError",
    "Entropy",
    "EventHandler",
    "Events",
    "Exit",
    "ExitSignal",
    "Exports",
    "File",
    "From",
    "GenEvent",
    "GenServer",
    "GenStatem",
    "HandlerExists",
    "HandlerGone",
    "HandlerRef",
    "HandshakeFailed",
    "LinkConfig",
    "LinkError",
    "LinkLayer",
    "LinkListener",
    "Links",
    "LocalNameTaken",
    "MailboxFull",
    "MailboxLimit",
    "MailboxPolicy",
    "MessageTimer",
    "MonitorRef",
    "NameInUse",
    "Network",
    "NoHandler",
    "NoProcess",
    "NoSuchChild",
    "Node",
    "NodeDown",
    "NodeLost",
    "NodeName",
    "NodeUp",
    "NotCallable",
    "PartitionSupervisor",
    "Partitions",
    "Peer",
    "Pid",
    "Process",
    "ProcessConfig",
    "ProcessControl",
    "ProcessInfo",
    "QuorateError",
    "RealClock",
    "RealDisk",
    "RealEntropy",
    "RealNetwork",
    "Ref",
    "RemoteError",
    "RemoteName",
    "Reply",
    "Request",
    "Runtime",
    "Server",
    "ServerStatus",
    "Static",
    "Statistics",
    "Subscription",
    "Supervisor",
    "SupervisorError",
    "Sys",
    "Task",
    "Tasks",
    "Timer",
    "TooLarge",
    "TooManyChildren",
    "TraceEvent",
    "VersionMismatch",
    "canonical",
    "child",
    "decode_answer",
    "encode_error",
    "encode_value",
    "exported_servers",
    "interrupt",
    "is_call",
    "make_temporary_dir",
    "pack",
    "parse_seed",
    "plain_error",
    "raises",
    "read_cookie",
    "real_runtime",
    "reentrant",
    "remove_tree",
    "resolve_cookie",
    "show",
    "sleep",
    "start_held",
    "start_proxy",
    "stop_process",
    "timeout",
    "unpack",
]
