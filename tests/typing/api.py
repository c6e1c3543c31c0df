"""What type checkers make of the API. Never run: `make lint` checks it with mypy and pyright.

A line that must be an error carries the ignore that mypy would call unused if it were none.
"""

import asyncio
from collections.abc import Awaitable
from enum import Enum
from typing import Any, assert_type

from quorate.core import (
    STATE_TIMEOUT,
    Down,
    EventHandler,
    Events,
    ExitSignal,
    GenEvent,
    GenServer,
    GenStatem,
    HandlerRef,
    Node,
    Pid,
    Process,
    ProcessControl,
    Ref,
    Statistics,
    Task,
)


class Counter(GenServer):
    def __init__(self, start: int = 0) -> None:
        self.n = start

    def incr(self, by: int = 1) -> int:
        self.n += by
        return self.n

    async def slowly(self, by: int = 1) -> int:
        await asyncio.sleep(0)
        return self.incr(by)

    async def pair(self, *, text: str) -> tuple[int, str]:
        return self.n, text

    def reset(self) -> None:
        self.n = 0

    def subscribe(self, to: "Ref[Counter]") -> None:
        to.cast(Counter.incr)

    def handle_info(self, message: Any) -> None: ...

    async def handle_down(self, down: Down) -> None: ...

    async def handle_exit(self, signal: ExitSignal) -> None: ...

    async def terminate(self, reason: object) -> None: ...


class Double(Counter):
    def twice(self) -> int:
        return 2 * self.n


class Ledger(GenServer):
    def post(self, amount: int) -> int:
        return amount


async def body(self: Process, count: int, *, name: str = "") -> None:
    assert_type(await self.receive(int), int)
    assert_type(await self.receive(Down, timeout_s=1.0), Down)
    assert_type(await self.receive(), Any)
    assert_type(await self.receive(("ping", Pid)), Any)
    assert_type(await self.receive(lambda message: message == 1), Any)
    assert_type(self.spawn(body, 1, name="x"), Pid)
    self.spawn_link(body, "1")  # type: ignore[arg-type]


async def calls(node: Node, ref: Ref[Counter], double: Ref[Double]) -> None:
    assert_type(await ref.call(Counter.incr, by=2), int)
    assert_type(await ref.call(Counter.slowly, 2), int)
    assert_type(await ref.call(Counter.pair, text="x"), tuple[int, str])
    await ref.call(Counter.reset)
    assert_type(await ref.within(0.5).call(Counter.incr), int)
    assert_type(await double.call(Counter.slowly), int)
    assert_type(await double.call(Double.twice), int)
    assert_type(await node.call(ref.pid, Counter.slowly, 1), int)
    assert_type(await node.call("counter", Counter.incr), int)
    assert_type(await asyncio.gather(ref.call(Counter.incr), ref.call(Counter.slowly)), tuple[int, int])
    ref.cast(Counter.incr, 5)
    ref.cast(Counter.slowly, by=5)
    ref.cast(Counter.subscribe, double)

    await ref.call(Counter.incr, by="x")  # type: ignore[call-overload]
    await ref.call(Counter.slowly, by="x")  # type: ignore[call-overload]
    await ref.call(Counter.incr, 1, 2)  # type: ignore[call-overload]
    await ref.call(Counter.pair, "x")  # type: ignore[call-overload]
    await ref.call(Counter.incr, wrong=1)  # type: ignore[call-overload]
    await ref.call(Ledger.post, 1)  # type: ignore[call-overload]
    await ref.call(Double.twice)  # type: ignore[call-overload]
    ref.cast(Counter.incr, "x")  # type: ignore[arg-type]
    ref.cast(Ledger.post, 1)  # type: ignore[arg-type]
    await node.call(ref.pid, Counter.slowly, "x")  # type: ignore[call-overload]
    ref.incr()  # type: ignore[attr-defined]


async def starts(node: Node, control: ProcessControl) -> None:
    assert_type(await node.start(Counter, start=3), Ref[Counter])
    assert_type(await node.start_on("b@10.0.0.2:9101", Counter, 3), Ref[Counter])
    assert_type(await node.spawn_on("b@10.0.0.2:9101", body, 3), Pid)
    assert_type(node.spawn(body, 1, name="x"), Pid)
    assert_type(node.ref(node.pid, Counter), Ref[Counter])
    assert_type(node.export(Counter), type[Counter])
    assert_type(await node.down(node.pid), Down)
    assert_type(await control.run(lambda server: 1), int)

    await node.start(Counter, begin=3)  # type: ignore[call-arg]
    await node.start(Counter, "3")  # type: ignore[arg-type]
    await node.start(dict)  # type: ignore[type-var]
    node.spawn(body)  # type: ignore[call-arg]
    node.spawn(body, "1")  # type: ignore[arg-type]


async def page(url: str, *, tries: int = 1) -> bytes:
    return url.encode() * tries


async def tasks(node: Node, self: Process, names: list[str]) -> None:
    task = await node.tasks.run(page, "x", tries=2)
    assert_type(task, Task[bytes])
    assert_type(await task, bytes)
    assert_type(await task.result(timeout_s=1.0), bytes)
    assert_type(await (await self.tasks.on("b@10.0.0.2:9101").run_nolink(page, "x")), bytes)
    assert_type(await self.tasks.start(page, "x"), Pid)
    assert_type([one async for one in self.tasks.stream(page, names)], list[bytes])
    assert_type([one async for one in self.tasks.stream(page, names, ordered=False)], list[bytes])
    late = node.tasks.stream(page, names, on_timeout="kill_task")
    assert_type([one async for one in late], list[bytes | TimeoutError])
    kept = node.tasks.stream(page, names, return_exceptions=True)
    assert_type([one async for one in kept], list[bytes | Exception])

    await node.tasks.run(page, 1)  # type: ignore[arg-type]
    await node.tasks.run(page, "x", 2)  # type: ignore[call-arg]
    await node.tasks.run(len, "x")  # type: ignore[arg-type]


async def looks(node: Node, ref: Ref[Counter]) -> None:
    assert_type(await node.sys.get_state(ref), dict[str, Any])
    assert_type(await node.sys.replace_state(ref.pid, lambda state: {"n": state["n"] + 1}), dict[str, Any])
    assert_type(await node.sys.statistics("counter"), Statistics)
    await node.sys.trace(ref, print)
    await node.sys.trace(ref, False)
    await node.sys.trace(ref, 7)  # type: ignore[arg-type]


class Lock(Enum):
    LOCKED = "locked"
    OPEN = "open"


class Door(GenStatem[Lock]):
    def __init__(self, code: str) -> None:
        self.goto(Lock.LOCKED)
        self.state_timeout(5.0, self._relock, 2)
        self.cancel_timeout(STATE_TIMEOUT)
        self.next_event(self._relock, attempts=2)
        self.goto("open")  # type: ignore[arg-type]
        self.state_timeout(5.0, self._relock, "x")  # type: ignore[arg-type]
        self.named_timeout("again", 5.0, self._relock)  # type: ignore[call-arg]

    def unlock(self, code: str) -> bool:
        match self.state:
            case Lock.LOCKED:
                self.goto(Lock.OPEN)
                return True
            case Lock.OPEN:
                return False

    def walk_through(self, who: str) -> str:
        match self.state:
            case Lock.LOCKED:
                self.postpone()
            case Lock.OPEN:
                return who

    async def forgets_a_state(self) -> int:  # type: ignore[return]  # what becomes of Lock.OPEN?
        match self.state:
            case Lock.LOCKED:
                return 1

    def _relock(self, attempts: int) -> None:
        assert_type(self.state, Lock)

    async def handle_enter(self, previous: Lock) -> None: ...


async def machines(node: Node) -> None:
    door = await node.start(Door, "1234")
    assert_type(door, Ref[Door])
    assert_type(await door.call(Door.unlock, code="1"), bool)
    assert_type(await door.call(Door.walk_through, "ada"), str)
    await door.call(Door.unlock)  # type: ignore[call-overload]


class Numbers(GenEvent[int]): ...


class Recent(EventHandler[int]):
    def __init__(self, count: int) -> None:
        self.swap(Recent, 2)
        self.swap(Recent, "x")  # type: ignore[arg-type]

    async def handle_event(self, event: int) -> None: ...

    def handle_info(self, message: Any) -> None: ...

    def newest(self, count: int) -> list[int]:
        return []

    async def oldest(self) -> int:
        return 0


async def events(node: Node) -> None:
    numbers = Events(await node.start(Numbers))
    assert_type(numbers, Events[int])
    numbers.notify(1)
    await numbers.sync_notify(2)
    recent = await numbers.supervised_by(node.pid).add(Recent, count=3)
    assert_type(recent, HandlerRef[Recent])
    assert_type(await numbers.add_as("more", Recent, 3), HandlerRef[Recent])
    assert_type(numbers.handler(Recent), HandlerRef[Recent])
    assert_type(await recent.call(Recent.newest, 3), list[int])
    assert_type(await recent.call(Recent.oldest), int)
    assert_type(await recent.swap(Recent, 4), HandlerRef[Recent])

    numbers.notify("x")  # type: ignore[arg-type]
    await numbers.add(Recent, "x")  # type: ignore[arg-type]
    await numbers.add(Counter)  # type: ignore[type-var]
    await recent.call(Recent.newest, "x")  # type: ignore[call-overload]
    await recent.call(Counter.incr)  # type: ignore[call-overload]


def variance(counter: Ref[Counter], double: Ref[Double]) -> None:
    any_server: Ref[GenServer] = counter
    base: Ref[Counter] = double
    wrong: Ref[Double] = counter  # type: ignore[assignment]
    print(any_server, base, wrong)


class Selves(GenServer):
    def me(self) -> "Ref[Selves]":
        return Ref.of(self)

    def waits(self) -> Awaitable[None]:
        return asyncio.sleep(0)
