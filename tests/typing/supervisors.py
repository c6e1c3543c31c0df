"""What type checkers make of supervisors and applications. Never run: see `api.py`."""

from typing import Any, assert_type

import quorate
from quorate.core import (
    Application,
    ChildCounts,
    ChildInfo,
    ChildSpec,
    DynamicSupervisor,
    GenServer,
    Node,
    Partitions,
    PartitionSupervisor,
    Pid,
    Process,
    Ref,
    Supervisor,
    child,
)


class Worker(GenServer):
    def __init__(self, number: int, *, name: str = "") -> None:
        self.number = number

    def who(self) -> int:
        return self.number


async def work(self: Process, box: str) -> None: ...


class Shop(Supervisor):
    strategy = "rest_for_one"
    intensity = 5

    def __init__(self, workers: int) -> None:
        super().__init__(child(Worker, n).options(id=f"w{n}") for n in range(workers))


class ShopApp(Application):
    kind = "transient"

    async def start(self, node: quorate.Node) -> Ref[Shop]:
        return await node.start(Shop, 3)

    async def stop(self, node: quorate.Node) -> None: ...


class Bare(Application):
    async def start(self, node: Node) -> Pid:
        return node.spawn(work, "inbox")


def specs() -> None:
    assert_type(child(Worker, 3), ChildSpec)
    assert_type(child(Worker, 3, name="x").options(restart="transient", shutdown_s=None), ChildSpec)
    child(work, "inbox").options(shutdown_s="brutal_kill")
    child(Shop, 3)
    child(Worker, "3")  # type: ignore[call-overload]
    child(work, 3)  # type: ignore[call-overload]
    child(Worker, 3).options(restart="always")  # type: ignore[arg-type]
    child(Worker, 3).options(shutdown_s="now")  # type: ignore[arg-type]


async def trees(node: Node) -> None:
    shop = await node.start(Shop, 3)
    assert_type(shop, Ref[Shop])
    assert_type(await shop.call(Shop.which_children), list[ChildInfo])
    assert_type(await shop.call(Shop.count_children), ChildCounts)
    assert_type(await shop.call(Shop.start_child, child(Worker, 3)), Pid)
    await shop.call(Supervisor.terminate_child, "w1")
    await node.start(Supervisor, [child(Worker, 3)], strategy="one_for_all", period_s=1.0)
    await node.start(Supervisor, [child(Worker, 3)], strategy="one")  # type: ignore[arg-type]

    pool = await node.start(DynamicSupervisor, max_children=10)
    assert_type(await pool.call(DynamicSupervisor.start_child, child(Worker, 3)), Pid)

    shards = await node.start(PartitionSupervisor, child(Worker, 3), 4)
    assert_type(await shards.call(PartitionSupervisor.ref_for, "key"), Ref[Any])
    workers = Partitions(shards, Worker)
    assert_type(workers.ref_for("key"), Ref[Worker])
    assert_type(await workers.ref_for("key").call(Worker.who), int)


async def applications(node: quorate.Node) -> None:
    quorate.Node("a@127.0.0.1:9101", cookie="x", applications=[ShopApp(), Bare()])
    assert_type(await node.start_application(ShopApp()), Pid)
    assert_type(node.applications(), dict[str, Pid])
