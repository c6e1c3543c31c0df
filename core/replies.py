"""How a server's method answers in other ways than by returning: later, with an exception, or together with its end.

    class Queue(GenServer):
        def take(self) -> str:
            if self.items:
                return self.items.popleft()
            asker: From[str] = self.asker()
            self.waiting.append(asker)
            return asker.later()  # nobody is answered now; who takes waits on

        def put(self, item: str) -> None:
            if self.waiting:
                self.reply(self.waiting.popleft(), item)

        @raises(KeyError)  # a KeyError of this method is its caller's, and does the server no harm
        def find(self, key: str) -> str:
            return self.known[key]

An exception that is not declared, or not raised as `Reply(error)`, is a crash. The cell of the server is the authority over
who still waits: a server that ends leaves nobody waiting.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from .calls import Request
from .errors import CallError, RemoteError
from .plain import plain_error, show

if TYPE_CHECKING:
    from .server_cell import ServerCell

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class _Later:
    def __repr__(self) -> str:
        return "LATER"


LATER = _Later()  # what a method returns that answers later


class From(Generic[T]):
    """Who asked, and waits for a `T`: made by `GenServer.asker` in a method, answered once, now or later.

    Only the first answer counts. It is bound to its server and does not travel; other processes of the node, and tasks,
    may answer for it. When the server ends first, who asked gets `CalleeExited`.
    """

    __slots__ = ("_cell", "_request")

    def __init__(self, cell: "ServerCell", request: Request) -> None:
        self._cell = cell
        self._request = request

    @property
    def waiting(self) -> bool:
        """Whether nobody has answered yet. (Who asked may have given up: nobody tells.)"""
        return self._cell.owes(self._request)

    def later(self) -> T:
        """What the method returns when the answer comes later."""
        return cast("T", LATER)

    def reply(self, value: T) -> None:
        """Answer with a value."""
        if self._cell.pay(self._request):
            self._request.give(value)
            self._request.answered()

    def fail(self, error: Exception) -> None:
        """Answer with an exception: it is raised at who asked. See `Reply` for what another node sees.

        Raises `TypeError` for what is no `Exception`: a `SystemExit` would end the program of who asked.
        """
        if not isinstance(error, Exception):
            raise TypeError(f"fail({show(error, 100)}): an exception is needed; a value is a reply")
        if self._cell.pay(self._request):
            self._request.refuse(as_told(error))
            self._request.answered()

    def __repr__(self) -> str:
        return f"From({self._request!r})"


class Reply(BaseException):
    """`raise Reply(error)` in a method answers its caller with an exception, and the server lives on.

    The caller of the same node has that very exception raised; on another node it is the same when its type is a
    built-in one or exported (`node.export(MyError)`), and otherwise `RemoteError`. (So is a `CallError`, which would be
    taken for one about this call.) A `BaseException`, as `Exit` is: an
    `except Exception` on the way does not stop it.
    """

    def __init__(self, error: Exception) -> None:
        if not isinstance(error, Exception):
            raise TypeError(f"Reply({show(error, 100)}): an exception is needed; a value is simply returned")
        super().__init__(error)
        self.error = error


def raises(*kinds: type[Exception]) -> Callable[[F], F]:
    """Declare what a method raises for its caller: such an exception ends the call and not the server.

    What another node sees of it: see `Reply`. In a cast it is dropped.
    """
    if not kinds or not all(isinstance(kind, type) and issubclass(kind, Exception) for kind in kinds):
        raise TypeError("raises() takes exception types: @raises(KeyError, MyError)")

    def declare(method: F) -> F:
        known = getattr(method, "_quorate_raises", ())
        method._quorate_raises = (*known, *kinds)  # type: ignore[attr-defined]
        return method

    return declare


def for_the_caller(method: object, error: BaseException) -> Exception | None:
    """What the caller is told when a method raised on purpose for it; None: it did not."""
    if isinstance(error, Reply):
        return as_told(error.error)
    kinds: tuple[type[Exception], ...] = getattr(method, "_quorate_raises", ())
    return as_told(error) if kinds and isinstance(error, kinds) else None


def as_told(error: Exception) -> Exception:
    """What is raised at the caller: the exception itself, if it can be.

    `StopIteration` cannot be raised in a coroutine. A `CallError` of another call would say of this one what is not so
    ("nothing happened"). Both come as `RemoteError`.
    """
    strange = isinstance(error, StopIteration | StopAsyncIteration)
    if strange or (isinstance(error, CallError) and not isinstance(error, RemoteError)):
        told = RemoteError(*plain_error(error))
        told.__cause__ = error
        return told
    return error
