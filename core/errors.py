"""The errors of `quorate.core`, named after what the caller may do about them.

QuorateError
├── ConfigError             an argument, a file or a setting is wrong: mend it and start again
│   ├── CookieError         the cookie is missing, unsafe or empty
│   └── DataDirError        the data directory cannot be used by this node
├── EncodeError             a value cannot travel or be stored; names the offending part
├── TooLarge                a value or frame is over its limit: make it smaller
├── Busy                    too much waits to be sent there already: wait and send again
├── DecodeError             bytes from a peer or a file are not what they should be
├── CallError               a call gave no result
│   ├── CallTimeout         no reply in time: the outcome is unknown
│   ├── NoProcess           there is no such process: nothing happened
│   ├── NodeDown            the link to the node was lost: the outcome is unknown
│   ├── CalleeExited        the callee ended before it answered: the outcome is unknown
│   ├── CallCycle           the call would have waited for itself: nothing happened
│   ├── NotCallable         no such public method: nothing happened
│   ├── MailboxFull         (also a Busy) the mailbox of the callee is over its limit: nothing happened
│   ├── RemoteError         the method raised; carries type, message and traceback text
│   ├── HandlerExists       the event manager has a handler of that id already: nothing happened
│   ├── NoHandler           the event manager has no such handler: nothing happened
│   └── SupervisorError     a supervisor did not do what it was asked
│       ├── ChildStartFailed    a child could not be started; its error is the cause
│       ├── ChildExists         there is a child of that id already: nothing happened
│       ├── ChildRunning        that child runs (or is being restarted): nothing happened
│       ├── NoSuchChild         there is no such child: nothing happened
│       └── TooManyChildren     a dynamic supervisor is at its limit: nothing happened
├── ApplicationFailed       an application could not be started, or has ended
├── LocalNameTaken          another process of this node has that name
├── LinkError               a connection to a peer could not be made
│   ├── CookieMismatch      the peer holds another cookie
│   ├── VersionMismatch     the peer speaks no protocol version that we speak
│   ├── NameInUse           a living node of that name is connected already
│   └── HandshakeFailed     the peer hung up, was silent or sent something else
└── (other parts add their own branches in their `errors.py`)
"""


class QuorateError(Exception):
    """Root of every error that this library raises on purpose."""


class ConfigError(QuorateError):
    """An argument, a file or a setting is wrong: mend it and start again."""


class CookieError(ConfigError):
    """The cookie is missing, unsafe or empty."""


class DataDirError(ConfigError):
    """The data directory cannot be used by this node; the message says why and what to do."""


class EncodeError(QuorateError):
    """A value cannot travel or be stored. `path` names the offending part, as in `args[1].socket`."""

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class TooLarge(QuorateError):
    """A value or frame of `size_bytes` is over `limit_bytes`: make it smaller."""

    def __init__(self, message: str, *, size_bytes: int = 0, limit_bytes: int = 0) -> None:
        super().__init__(message)
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes


class Busy(QuorateError):
    """Too much waits to be sent there already. Nothing was sent: wait and send again."""


class DecodeError(QuorateError):
    """Bytes from a peer or a file are not what they should be."""


class CallError(QuorateError):
    """A call gave no result."""


class CallTimeout(CallError):
    """No reply in time. The outcome is unknown: the callee may still do what was asked."""


class NoProcess(CallError):
    """There is no such process. Nothing happened."""


class NodeDown(CallError):
    """The link to the callee's node was lost. The outcome is unknown."""


class CalleeExited(CallError):
    """The callee ended, for `reason`, while it handled the call. The outcome is unknown."""

    def __init__(self, message: str, reason: object = None) -> None:
        super().__init__(message)
        self.reason = reason


class CallCycle(CallError):
    """The call would have waited for itself. Nothing happened. `path` holds the processes of the cycle."""

    def __init__(self, message: str, path: tuple[object, ...] = ()) -> None:
        super().__init__(message)
        self.path = path


class NotCallable(CallError):
    """The process has no such public method. Nothing happened."""


class MailboxFull(Busy, CallError):
    """Too many messages wait for the process already. Nothing happened: wait and call again."""


class RemoteError(CallError):
    """The called method raised: `type_name`, `text` and `traceback_text` say what."""

    def __init__(self, type_name: str, text: str, traceback_text: str = "") -> None:
        super().__init__(f"{type_name}: {text}" if text else type_name)
        self.type_name = type_name
        self.text = text
        self.traceback_text = traceback_text


class HandlerExists(CallError):
    """The event manager has a handler of that id already. Nothing happened."""


class NoHandler(CallError):
    """The event manager has no such handler. Nothing happened."""


class SupervisorError(CallError):
    """A supervisor did not do what it was asked."""


class ChildStartFailed(SupervisorError):
    """The child `child` could not be started: `reason` (also the `__cause__`, when it is an exception) says why.

    Whatever was started with it has been stopped again.
    """

    def __init__(self, message: str, child: object = None, reason: object = None) -> None:
        super().__init__(message)
        self.child = child
        self.reason = reason


class ChildExists(SupervisorError):
    """There is a child of that id already; `pid` is it, None when it is stopped. Nothing happened."""

    def __init__(self, message: str, pid: object = None) -> None:
        super().__init__(message)
        self.pid = pid


class ChildRunning(SupervisorError):
    """That child runs, as `pid`, or is being restarted (None): terminate it first. Nothing happened."""

    def __init__(self, message: str, pid: object = None) -> None:
        super().__init__(message)
        self.pid = pid


class NoSuchChild(SupervisorError):
    """There is no such child. Nothing happened."""


class TooManyChildren(SupervisorError):
    """A dynamic supervisor has `max_children` children already. Nothing happened."""


class ApplicationFailed(QuorateError):
    """An application could not be started, or has ended although nobody asked it to; `reason` says why."""

    def __init__(self, message: str, application: str = "", reason: object = None) -> None:
        super().__init__(message)
        self.application = application
        self.reason = reason


class LocalNameTaken(QuorateError):
    """Another process of this node has that name; `owner` is its pid."""

    def __init__(self, message: str, owner: object = None) -> None:
        super().__init__(message)
        self.owner = owner


class LinkError(QuorateError):
    """A connection to a peer could not be made."""


class CookieMismatch(LinkError):
    """The peer holds another cookie."""


class VersionMismatch(LinkError):
    """The peer speaks no protocol version that this node speaks."""


class NameInUse(LinkError):
    """A living node of that name is connected already."""


class HandshakeFailed(LinkError):
    """The peer hung up, was silent for too long, or sent something that is no handshake."""
