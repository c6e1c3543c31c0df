"""What type checkers make of servers that answer in other ways, and of mailboxes. Never run: see `api.py`."""

from typing import assert_type

from quorate.core import (
    Alias,
    Exit,
    From,
    GenServer,
    MailboxLimit,
    MessageTimer,
    Pid,
    Process,
    ProcessConfig,
    Ref,
    Reply,
    raises,
    reentrant,
)


class Queue(GenServer):
    def __init__(self) -> None:
        self.waiting: list[From[str]] = []
        self.idle_timeout_s = 5.0
        self.continue_with(("load", 3))

    def take(self) -> str:
        asker: From[str] = self.asker()
        self.waiting.append(asker)
        return asker.later()

    def put(self, item: str) -> None:
        asker = self.waiting.pop()
        self.reply(asker, item)
        asker.reply(item)
        asker.fail(KeyError(item))
        asker.reply(1)  # type: ignore[arg-type]

    @raises(KeyError, ValueError)
    def find(self, key: str) -> int:
        raise Reply(KeyError(key))

    @reentrant
    async def fetch(self, url: str, *, retries: int = 0) -> bytes:
        return url.encode()

    @raises(TimeoutError)
    @reentrant
    async def both(self, url: str) -> bytes:
        raise Exit("normal", reply=b"")

    async def handle_continue(self, info: tuple[str, int]) -> None: ...

    async def handle_timeout(self) -> None:
        self.idle_timeout_s = None


async def calls(ref: Ref[Queue]) -> None:
    assert_type(await ref.call(Queue.take), str)
    assert_type(await ref.call(Queue.find, "x"), int)
    assert_type(await ref.call(Queue.fetch, "x", retries=3), bytes)
    assert_type(await ref.call(Queue.both, "x"), bytes)
    await ref.call(Queue.fetch, 1)  # type: ignore[call-overload]
    await ref.call(Queue.find, key=1)  # type: ignore[call-overload]


async def body(self: Process, pid: Pid) -> None:
    assert_type(self.alias(priority=True), Alias)
    timer = self.send_after(1.0, pid, "later")
    assert_type(timer, MessageTimer)
    assert_type(self.cancel_timer(timer), float | None)
    self.limit_mailbox(10, "refuse")
    self.limit_mailbox(None)
    self.limit_mailbox(10, "suspend")  # type: ignore[arg-type]
    await self.send_patiently(pid, "message")


def configured() -> ProcessConfig:
    return ProcessConfig(mailbox=MailboxLimit(5, "drop"))
