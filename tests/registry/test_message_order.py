"""Routers and hosts of three nodes, pure, with moves, crashes, lapsed sessions and lost links in between.

`World` is the network, the store and the singleton in one; every node has a `Route` and a `Delivery`. Links deliver in
order; a lost link drops what is under way in both directions. Each node applies the store's events when it likes.
"""

from collections import defaultdict, deque
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from quorate.core import Pid
from quorate.registry import delivery, routing
from quorate.registry.delivery import Accept, Bounce, Delivery, Flush, Flushed, Forward, Lost, Parcel
from quorate.registry.routing import Fail, Failure, Owner, Phase, Posted, Route, Send

NODES = 3
Body = tuple[int, int]


def host_of(node: int) -> Pid:
    return Pid(f"n{node}", 1, 1)


def node_of(host: Pid) -> int:
    return int(host.node[1:])


class World:
    def __init__(self) -> None:
        self.events: list[tuple[int, Owner | None]] = []
        self.applied = [0] * NODES
        self.owner: Owner | None = None
        self.lapsed: set[int] = set()
        self.down: set[frozenset[int]] = set()
        self.channels: dict[tuple[int, int], deque[object]] = defaultdict(deque)
        self.queue: list[deque[Parcel]] = [deque() for _ in range(NODES)]
        self.sent = [0] * NODES
        self.calls: set[Body] = set()
        self.answered: set[Body] = set()
        self.failed: dict[Body, Failure] = {}
        self.handled: list[Body] = []
        self.delivery = [Delivery(host_of(node)) for node in range(NODES)]
        self.route = [Route(self.reachability(node)) for node in range(NODES)]

    def reachability(self, node: int) -> Callable[[Pid], bool]:
        return lambda host: self.linked(node, node_of(host))

    def linked(self, a: int, b: int) -> bool:
        return a == b or frozenset((a, b)) not in self.down

    # Effects

    def transmit(self, a: int, b: int, message: object) -> bool:
        if self.linked(a, b):
            self.channels[a, b].append(message)
        return self.linked(a, b)

    def routed(self, node: int, effects: list[routing.Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                parcel = Parcel(host_of(node), effect.owner.fence, effect.message)
                self.transmit(node, node_of(effect.owner.host), parcel)
            elif isinstance(effect, Fail):
                assert isinstance(effect.message.body, tuple)
                self.failed[effect.message.body] = effect.failure
            else:
                flush = Flush(host_of(node), effect.owner.fence, effect.token, effect.over)
                self.transmit(node, node_of(effect.owner.host), flush)

    def delivered(self, node: int, effects: list[delivery.Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Accept):
                assert self.delivery[node].owned
                self.queue[node].append(effect.parcel)
            elif isinstance(effect, Forward):
                if not self.transmit(node, node_of(effect.to), effect.item):
                    self.delivered(node, self.delivery[node].host_down(effect.to))
            else:
                self.reply(
                    node, effect.parcel.router if isinstance(effect, Bounce) else effect.router, effect
                )

    def reply(self, node: int, router: Pid, message: object) -> None:
        if not self.transmit(node, node_of(router), message):
            self.delivered(node, self.delivery[node].host_down(router))  # the watch tells at once

    # What happens

    def send(self, node: int, call: bool) -> None:
        self.sent[node] += 1
        body = (node, self.sent[node])
        if call:
            self.calls.add(body)
        self.routed(node, self.route[node].post(body, call=call))

    def receive(self, a: int, b: int) -> None:
        if not self.channels[a, b]:
            return
        message = self.channels[a, b].popleft()
        if isinstance(message, Parcel | Flush):
            self.delivered(b, self.delivery[b].arrived(message))
        elif isinstance(message, Bounce):
            self.routed(b, self.route[b].bounced(message.parcel.message))
        elif isinstance(message, Flushed):
            self.routed(
                b, self.route[b].flushed(message.token, message.owner, message.torn, alive=message.alive)
            )
        elif isinstance(message, Lost):
            self.routed(b, self.route[b].lost(message.via))
        else:
            assert isinstance(message, int)
            call = self.route[b].answered(message)
            if call is not None:
                assert isinstance(call.body, tuple)
                self.answered.add(call.body)

    def apply(self, node: int) -> None:
        if self.applied[node] == len(self.events):
            return
        revision, owner = self.events[self.applied[node]]
        self.applied[node] += 1
        there = self.delivery[node]
        current = (
            self.events[-1][1] == owner and node not in self.lapsed
        )  # a host starts only what it still owns
        if owner is not None and owner.host == host_of(node) and current and there.owned != owner.fence:
            self.delivered(node, there.gained(owner.fence))
        self.delivered(node, there.learned(revision))
        self.routed(node, self.route[node].owner_seen(owner, revision))

    def change(self, owner: Pid | None) -> None:
        revision = len(self.events) + 1
        self.owner = None if owner is None else Owner(owner, revision)
        self.events.append((revision, self.owner))

    def acquire(self, node: int) -> None:
        if self.owner is None:
            self.lapsed.discard(node)
            self.change(host_of(node))

    def acting(self) -> int | None:
        """The node whose host knows that it owns the singleton."""
        if self.owner is None or node_of(self.owner.host) in self.lapsed:
            return None
        node = node_of(self.owner.host)
        return node if self.delivery[node].owned == self.owner.fence else None

    def handle(self) -> None:
        node = self.acting()
        if node is None or not self.queue[node]:
            return
        parcel = self.queue[node].popleft()
        assert isinstance(parcel.message.body, tuple)
        self.handled.append(parcel.message.body)
        if parcel.message.call:
            self.delivery[node].answered(parcel.router, parcel.message.sequence)
            self.reply(node, parcel.router, parcel.message.sequence)

    def move(self, target: int) -> None:
        node = self.acting()
        if node is None or target == node or target in self.lapsed:
            return
        self.change(host_of(target))
        assert self.owner is not None
        unhandled = list(self.queue[node])
        self.queue[node].clear()
        self.delivered(node, self.delivery[node].moved(self.owner, unhandled))

    def renew(self) -> None:
        node = self.acting()
        if node is not None:
            self.change(host_of(node))
            assert self.owner is not None
            self.delivered(node, self.delivery[node].renewed(self.owner.fence))

    def stop(self, *, lapse: bool) -> None:
        """The process crashed between two messages, or its host lost the session (the store hears of it later)."""
        node = self.acting()
        if node is None:
            return
        unhandled = list(self.queue[node])
        self.queue[node].clear()
        if lapse:
            self.lapsed.add(node)
        else:
            self.change(None)
        self.delivered(node, self.delivery[node].ended(unhandled))

    def expire(self) -> None:
        if self.owner is not None and node_of(self.owner.host) in self.lapsed:
            self.change(None)

    def gone(self, node: int) -> None:
        """A router gives up a host whose session is over."""
        label = self.route[node].label
        if label is None or self.applied[node] < len(self.events) or self.owner is not None:
            return
        if node_of(label.host) in self.lapsed:
            self.routed(node, self.route[node].host_gone(label.host))

    def cut(self, a: int, b: int) -> None:
        if a == b or not self.linked(a, b):
            return
        self.down.add(frozenset((a, b)))
        for here, there in ((a, b), (b, a)):
            self.channels[here, there].clear()
        for here, there in ((a, b), (b, a)):
            self.delivered(here, self.delivery[here].host_down(host_of(there)))
            label = self.route[here].label
            if label is not None and label.host == host_of(there):  # it watches no other
                self.routed(here, self.route[here].host_down(host_of(there)))

    def heal(self, a: int, b: int) -> None:
        if not self.linked(a, b):
            self.down.remove(frozenset((a, b)))
            self.routed(a, self.route[a].host_up(host_of(b)))
            self.routed(b, self.route[b].host_up(host_of(a)))

    # The end

    def settle(self) -> None:
        for a in range(NODES):
            for b in range(a):
                self.heal(a, b)
        self.expire()
        self.acquire(0)
        for _ in range(3):
            for node in range(NODES):
                while self.applied[node] < len(self.events):
                    self.apply(node)
            self.drain()
            for node in range(NODES):
                self.routed(node, self.route[node].tick())
            self.drain()

    def drain(self) -> None:
        while any(self.channels.values()) or any(self.queue):
            for pair in list(self.channels):
                self.receive(*pair)
            self.handle()

    def check_order(self) -> None:
        for node in range(NODES):
            numbers = [number for sender, number in self.handled if sender == node]
            assert numbers == sorted(set(numbers)), f"of n{node}, in this order: {numbers}"

    def check_end(self) -> None:
        self.check_order()
        assert all(route.waiting == 0 and route.phase is Phase.DIRECT for route in self.route)
        for call in self.calls:
            assert (call in self.answered) != (call in self.failed), f"{call} is neither answered nor failed"
        assert not any(there.waiting for there in self.delivery)

    def everything(self) -> set[Body]:
        return {(node, number) for node in range(NODES) for number in range(1, self.sent[node] + 1)}


node_numbers = st.integers(0, NODES - 1)
CALM = st.one_of(
    st.tuples(st.just("send"), node_numbers, st.booleans()),
    st.tuples(st.just("send"), node_numbers, st.booleans()),
    st.tuples(st.just("receive"), node_numbers, node_numbers),
    st.tuples(st.just("receive"), node_numbers, node_numbers),
    st.tuples(st.just("receive"), node_numbers, node_numbers),
    st.tuples(st.just("apply"), node_numbers),
    st.tuples(st.just("apply"), node_numbers),
    st.tuples(st.just("handle")),
    st.tuples(st.just("move"), node_numbers),
    st.tuples(st.just("renew")),
)
STORMY = st.one_of(
    CALM,
    st.tuples(st.just("acquire"), node_numbers),
    st.tuples(st.just("crash")),
    st.tuples(st.just("lapse")),
    st.tuples(st.just("expire")),
)
TORN = st.one_of(
    STORMY,
    st.tuples(st.just("cut"), node_numbers, node_numbers),
    st.tuples(st.just("heal"), node_numbers, node_numbers),
    st.tuples(st.just("gone"), node_numbers),
)


def run(steps: list[tuple[object, ...]]) -> World:
    world = World()
    world.change(host_of(0))
    actions: dict[str, Callable[..., None]] = {
        "crash": lambda: world.stop(lapse=False),
        "lapse": lambda: world.stop(lapse=True),
        "send": lambda node, call: world.send(node, call),
    }
    for name, *arguments in steps:
        action = actions.get(str(name)) or getattr(world, str(name))
        action(*arguments)
        world.check_order()
    world.settle()
    world.check_end()
    return world


@settings(max_examples=400)
@given(st.lists(CALM, max_size=80))
def test_planned_moves_lose_nothing_repeat_nothing_and_keep_the_order_of_each_sender(
    steps: list[tuple[object, ...]],
) -> None:
    world = run(steps)
    assert set(world.handled) == world.everything()
    assert not world.failed


@settings(max_examples=400)
@given(st.lists(STORMY, max_size=80))
def test_messages_that_a_crashed_or_lapsed_owner_did_not_handle_reach_its_successor_in_order(
    steps: list[tuple[object, ...]],
) -> None:
    world = run(steps)
    assert set(world.handled) == world.everything()
    assert not world.failed


@settings(max_examples=600)
@given(st.lists(TORN, max_size=80))
def test_lost_links_may_lose_messages_but_never_reorder_or_repeat_them_and_every_call_ends(
    steps: list[tuple[object, ...]],
) -> None:
    run(steps)


def scenario(*steps: tuple[object, ...]) -> World:
    """The first node owns it, everybody knows, and everything of before has arrived; then these steps."""
    world = World()
    world.change(host_of(0))
    for node in range(NODES):
        world.apply(node)
    for name, *arguments in steps:
        getattr(world, str(name))(*arguments)
    return world


def test_what_its_router_gave_up_never_arrives_behind_what_followed_it() -> None:
    """1 is forwarded from the first node to the second and slow; its router loses the first node and goes on with 2."""
    world = scenario(
        ("send", 2, False), ("receive", 2, 0), ("move", 1), ("apply", 1), ("apply", 2), ("cut", 2, 0)
    )
    world.send(2, False)
    world.receive(2, 1)
    world.handle()
    world.receive(0, 1)
    world.handle()
    assert world.handled == [(2, 2)]


def test_a_call_whose_answer_was_lost_on_a_link_that_its_router_did_not_think_of_fails() -> None:
    """The router sent it to the first node, the second one answered: and that link was cut."""
    world = scenario(
        ("send", 2, True), ("receive", 2, 0), ("move", 1), ("receive", 0, 1), ("apply", 1), ("handle",)
    )
    world.cut(2, 1)
    world.heal(2, 1)
    world.apply(2)
    for pair in ((2, 0), (0, 1), (1, 2)):
        world.receive(*pair)
    assert world.failed == {(2, 1): Failure.UNKNOWN} and world.handled == [(2, 1)]


def test_a_flush_is_answered_when_the_host_knows_what_its_router_knows() -> None:
    there = Delivery(host_of(0))
    there.gained(5)
    late = Flush(host_of(1), 5, 1, over=8)
    assert there.arrived(late) == []
    assert there.arrived(Flush(host_of(2), 5, 1, over=4)) == [
        Flushed(host_of(2), 1, Owner(host_of(0), 5), 0, True)
    ]
    assert there.ended([]) == [Flushed(host_of(1), 1, Owner(host_of(0), 5), 0, False)]


def test_messages_beyond_the_limit_are_refused_and_not_held() -> None:
    route = Route(lambda host: True, limit=2)
    assert route.post("a", call=True) == [] and route.post("b", call=False) == []
    assert route.post("c", call=True) == [Fail(Posted(0, "c", True), Failure.OVERLOADED)]
    assert route.waiting == 2
