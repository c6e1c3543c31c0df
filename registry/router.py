"""Where the messages of this node to singletons go: the shell around `routing.py`, one `Line` per name.

A reference to a singleton names a proxy process of the node that made it; what reaches the proxy is routed to the owner,
wherever that is. The caller's node is the authority over its calls in flight. What must never happen here: a call that
nobody answers, unless its owner still works on it.
"""

import logging
from collections.abc import Callable

from quorate.consensus import Store
from quorate.core import (
    CallError,
    DecodeError,
    EncodeError,
    Node,
    NodeDown,
    NoProcess,
    Pid,
    RemoteError,
    Request,
    TooLarge,
    decode_answer,
    plain_error,
    start_proxy,
    stop_process,
)

from .book import Book
from .delivery import Bounce, Flush, Flushed, Lost, Parcel
from .errors import SingletonOverloaded
from .keys import decode_name
from .letters import Answer, Call, Plain, pack_content
from .members import Member
from .ownership import Own
from .post import Post
from .routing import HELD_LIMIT, Effect, Fail, Failure, Phase, Posted, Route, Send, SendFlush

log = logging.getLogger("quorate.registry")

GONE_AFTER_S = 0.3  # how long a host whose session is over may take to send back what it did not handle


class Mail:
    """A message of this node under way, and who waits for its answer."""

    __slots__ = ("content", "request")

    def __init__(self, content: object, request: Request | None) -> None:
        self.content = content
        self.request = request

    @property
    def call(self) -> bool:
        return self.request is not None

    def refuse(self, error: CallError) -> None:
        if self.request is not None:
            self.request.refuse(error)


class Line:
    """The route of one name, and its proxy."""

    def __init__(self, router: "Router", name: bytes) -> None:
        self.router = router
        self.name = name
        self.term = decode_name(name)
        self.route = Route(router.post.reachable, router.held_limit)
        self.proxy = start_proxy(router.node, self._accept, f"singleton {self.term!r}")
        self.dropped = 0

    # In the stack of whoever sends

    def _accept(self, message: object) -> None:
        """A message for the singleton. What cannot travel is refused to its sender, if it is known to have to."""
        if type(message) is Request:
            content: object = Call(message.method, message.args, message.kwargs, message.chain)
            mail = Mail(content, message if message.reply is not None else None)
        else:
            mail = Mail(Plain(message), None)
        owner = self.route.label
        if (
            self.route.phase is Phase.DIRECT
            and owner is not None
            and owner.host.node != self.router.node.name
        ):
            mail.content = pack_content(self.router.codec, mail.content)
        self.router.post.enter(self._post, mail)

    # Inside `enter`

    def _post(self, mail: Mail) -> None:
        self.perform(self.route.post(mail, call=mail.call))

    def letter(self, item: object) -> None:
        route = self.route
        if isinstance(item, Answer):
            posted = route.answered(item.sequence)
            if posted is not None:
                self._answer(posted, item)
        elif isinstance(item, Bounce):
            message = item.parcel.message
            known = route.sent(message.sequence) if message.call else None
            body = known.body if known is not None else Mail(message.body, None)
            self.perform(route.bounced(Posted(message.sequence, body, message.call)))
        elif isinstance(item, Flushed):
            self.perform(route.flushed(item.token, item.owner, item.torn, alive=item.alive))
        elif isinstance(item, Lost):
            self.perform(route.lost(item.via))

    def owner_changed(self, own: Own | None, revision: int) -> None:
        before = self.route.label
        self.perform(self.route.owner_seen(own.owner if own is not None else None, revision))
        if own is None and before is not None and self.route.phase is Phase.SWITCHING:
            member = self.router.member(before.host)
            if member is None or member.host != before.host:  # its session is over, not just its ownership
                self.router.later(GONE_AFTER_S, self._gone, before.host)

    def _gone(self, host: Pid) -> None:
        member = self.router.member(host)
        if member is None or member.host != host:
            self.perform(self.route.host_gone(host))

    def perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                self._send(effect)
            elif isinstance(effect, SendFlush):
                flush = Flush(self.router.post.pid, effect.owner.fence, effect.token, effect.over)
                self.router.post.send(effect.owner.host, self.name, flush)
            else:
                self._fail(effect)

    def _send(self, effect: Send) -> None:
        mail = effect.message.body
        assert isinstance(mail, Mail)
        posted = Posted(effect.message.sequence, mail.content, mail.call)
        try:
            self.router.post.send(
                effect.owner.host, self.name, Parcel(self.router.post.pid, effect.owner.fence, posted)
            )
        except (EncodeError, TooLarge) as error:
            log.error("a message to %r cannot travel to %s: %s", self.term, effect.owner.host.node, error)
            self.route.answered(posted.sequence)
            mail.refuse(RemoteError(*plain_error(error)))

    def _answer(self, posted: Posted, answer: Answer) -> None:
        mail = posted.body
        assert isinstance(mail, Mail) and mail.request is not None
        value, error = decode_answer(self.router.codec, answer.kind, answer.body)
        if error is None:
            mail.request.give(value)
        elif isinstance(error, DecodeError):
            mail.request.refuse(RemoteError(*plain_error(error)))
        else:
            mail.request.refuse(error)

    def _fail(self, effect: Fail) -> None:
        mail = effect.message.body
        assert isinstance(mail, Mail)
        if not mail.call:
            self.dropped += 1
        elif effect.failure is Failure.OVERLOADED:
            text = f"{self.route.waiting} messages wait for {self.term!r} to have an owner: nothing happened"
            mail.refuse(SingletonOverloaded(text))
        elif effect.failure is Failure.CLOSED:
            mail.refuse(
                NoProcess(f"{self.router.node.name} stops, {self.term!r} was not reached: nothing happened")
            )
        else:
            text = f"the way to the owner of {self.term!r} was lost during the call: the outcome is unknown"
            mail.refuse(NodeDown(text))


class Router:
    """The lines of one node."""

    def __init__(
        self, node: Node, store: Store, book: Book, post: Post, held_limit: int = HELD_LIMIT
    ) -> None:
        self.node = node
        self.codec = node.kernel.codec
        self.book = book
        self.post = post
        self.held_limit = held_limit
        self._store = store
        self._lines: dict[bytes, Line] = {}

    def line(self, name: bytes) -> Line:
        """The line of a name, made when it is first asked for."""
        line = self._lines.get(name)
        if line is None:
            line = self._lines[name] = Line(self, name)
            own = self.book.owners.get(name)
            if own is not None:
                self.post.enter(line.owner_changed, own, own.fence)
        return line

    def owner_changed(self, name: bytes, own: Own | None, revision: int) -> None:
        line = self._lines.get(name)
        if line is not None:
            line.owner_changed(own, revision)

    def letter(self, name: bytes, item: object) -> None:
        line = self._lines.get(name)
        if line is not None:
            line.letter(item)

    def host_down(self, host: Pid) -> None:
        for line in list(self._lines.values()):
            line.perform(line.route.host_down(host))

    def node_up(self, node: str, creation: int) -> None:
        for line in list(self._lines.values()):
            owner = self.book.owners.get(line.name)
            for host in {line.route.label.host if line.route.label else None, owner.host if owner else None}:
                if host is not None and (host.node, host.creation) == (node, creation):
                    self.post.watch(host)
                    line.perform(line.route.host_up(host))

    def tick(self) -> None:
        for line in list(self._lines.values()):
            line.perform(line.route.tick())

    def member(self, host: Pid) -> Member | None:
        return self.book.members.get(host.node)

    def later(self, delay_s: float, act: Callable[..., object], *args: object) -> None:
        self.node.runtime.clock.call_later(delay_s, self.post.enter, act, *args)

    def close(self) -> None:
        """The proxies end; calls that wait are refused."""
        for line in self._lines.values():
            stop_process(self.node, line.proxy, "shutdown")
            line.perform(line.route.close())
        self._lines.clear()
