"""Three hosts that contend for one singleton, pure, over a store whose answers may be late, lost or misleading.

`World` is the store, the clocks and the processes. Whatever a transaction's caller hears, it may be carried out at once,
later, or never. At every moment at which a process would handle a message, it must be the owner in the store.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from quorate.core import Pid
from quorate.registry import ownership as o
from quorate.registry.ownership import Own, Ownership, Phase, Target

HOSTS = 3
Txn = Callable[[], bool]


def host_of(node: int) -> Pid:
    return Pid(f"n{node}", 1, 1)


@dataclass
class Proc:
    fence: int
    session: int
    acts: bool = False  # not held, and done with taking over
    parking: bool = False


class Host:
    def __init__(self, node: int) -> None:
        self.node = node
        self.machine = Ownership(host_of(node))
        self.session = 0  # as the holder believes
        self.untold: list[int] = []  # sessions whose loss was not told yet
        self.seen = 0  # events of the store applied
        self.process: Proc | None = None
        self.pending: list[o.Effect] = []
        self.sleeps = False


class World:
    def __init__(self) -> None:
        self.now = 0.0
        self.revision = 0
        self.own: Own | None = None
        self.where: tuple[int, int] | None = None  # node, revision
        self.events: list[tuple[str, int, object]] = []
        self.alive: set[int] = set()  # sessions in the store
        self.limbo: list[Txn] = []
        self.hosts = [Host(node) for node in range(HOSTS)]
        self.fences: list[int] = []
        self.started: set[int] = set()
        for host in self.hosts:
            self.open(host.node)
        self.assign(0)

    # The store

    def put(self, own: Own | None) -> bool:
        self.revision += 1
        if own is not None:
            own = replace(own, fence=self.revision)
        self.own = own
        self.events.append(("own", self.revision, own))
        return True

    def assign(self, node: int) -> None:
        self.revision += 1
        self.where = (node, self.revision)
        self.events.append(("where", self.revision, node))

    def txn_of(self, host: Host, effect: o.Effect) -> Txn:
        me = Own(f"n{host.node}", 1, host_of(host.node))
        if isinstance(effect, o.Acquire):

            def acquire() -> bool:
                free = self.own is None and self.where is not None
                fits = free and self.where is not None and self.where[1] == effect.assigned_revision
                return fits and effect.session in self.alive and self.put(replace(me, session=effect.session))

            return acquire
        if isinstance(effect, o.Commit):
            node = int(effect.target.node[1:])
            to = Own(f"n{node}", 1, effect.target, effect.fence, effect.attempt, 0, effect.target_session)
            return lambda: self.is_own(effect.fence) and effect.target_session in self.alive and self.put(to)
        if isinstance(effect, o.Reclaim):
            again = replace(me, after=effect.fence, session=effect.session)
            return lambda: self.is_own(effect.fence) and effect.session in self.alive and self.put(again)
        assert isinstance(effect, o.Release)
        return lambda: self.is_own(effect.fence) and self.put(None)

    def is_own(self, fence: int) -> bool:
        return self.own is not None and self.own.fence == fence

    # Effects

    def do(self, host: Host, effects: list[o.Effect]) -> None:
        for effect in effects:
            process = host.process
            if isinstance(effect, o.Start):
                assert process is None, "a second process on one host"
                assert effect.own.fence not in self.started, "a second process with one fence"
                self.started.add(effect.own.fence)
                host.process = Proc(effect.own.fence, effect.own.session)
                host.pending.append(effect)
            elif isinstance(effect, o.HandOver | o.Retire):
                assert process is not None
                process.acts = False
                host.pending.append(effect)
            elif isinstance(effect, o.Renewed):
                assert process is not None
                process.fence = effect.own.fence
            elif isinstance(effect, o.Resume):
                assert process is not None and process.fence == effect.fence and not process.acts
                process.acts = True
            elif isinstance(effect, o.Depart | o.Ended):
                host.process = None
            elif isinstance(effect, o.Park):
                assert process is not None
                process.acts, process.parking = False, True
                host.pending = [e for e in host.pending if not isinstance(e, o.Start | o.HandOver | o.Retire)]
                host.pending.append(effect)
            elif isinstance(effect, o.Wait):
                host.sleeps = True
            elif not isinstance(effect, o.Abandon):
                host.pending.append(effect)

    def finish(self, host: Host, effect: o.Effect, outcome: str) -> list[o.Effect]:
        """Carry out what was asked for: "ok", or it fails, or nobody knows ("now": it was done, "later", "never")."""
        machine, now = host.machine, self.now
        if isinstance(effect, o.Start):
            if host.process is None or host.process.fence != effect.own.fence or host.process.parking:
                return []
            if outcome == "fails":
                host.process = None
                return machine.exited(effect.own.fence, now)
            host.process.acts = True
            return machine.process_started(effect.own.fence, now)
        if isinstance(effect, o.HandOver):
            if host.process is None or host.process.fence != effect.fence:
                return []
            if outcome == "never":
                host.process.acts = True
                return machine.stayed(effect.fence, effect.attempt, now)
            if outcome == "fails":
                host.process = None
                return machine.exited(effect.fence, now)
            return machine.handed_over(effect.fence, effect.attempt, now)
        if isinstance(effect, o.Prepare):
            target = self.hosts[int(effect.target.node[1:])]
            if outcome == "ok" and target.session:
                return machine.prepared(effect.fence, effect.attempt, target.session, now)
            return machine.prepare_failed(effect.fence, effect.attempt, now)
        if isinstance(effect, o.Park):
            host.process = None
            return machine.parked(effect.fence, now)
        if isinstance(effect, o.Retire):
            host.process = None
            if outcome != "ok" or not self.is_own(effect.fence):
                return machine.exited(effect.fence, now)
            self.put(None)
            return machine.retired(effect.fence, None, self.revision, now)
        return self.transact(host, effect, outcome)

    def transact(self, host: Host, effect: o.Effect, outcome: str) -> list[o.Effect]:
        machine, now = host.machine, self.now
        txn = self.txn_of(host, effect)
        if outcome in ("now", "ok"):
            txn()
        elif outcome == "later":
            self.limbo.append(txn)
        if outcome == "ok":
            own, revision = self.own, self.revision
            if isinstance(effect, o.Acquire):
                return machine.acquired(effect.op, own, revision, now)
            if isinstance(effect, o.Commit):
                return machine.commit_answered(effect.fence, own, revision, now)
            if isinstance(effect, o.Reclaim):
                return machine.reclaimed(own, revision, now)
            assert isinstance(effect, o.Release)
            return machine.released(effect.op, own, revision, now)
        if isinstance(effect, o.Acquire):
            return machine.acquire_failed(effect.op, now)
        if isinstance(effect, o.Commit):
            return machine.commit_failed(effect.fence, now, unknown=outcome != "fails")
        if isinstance(effect, o.Reclaim):
            return machine.reclaim_failed(effect.fence, now)
        assert isinstance(effect, o.Release)
        return machine.release_failed(effect.op, now)

    # What happens

    def resolve(self, node: int, index: int, outcome: str) -> None:
        host = self.hosts[node]
        if host.pending:
            effect = host.pending.pop(index % len(host.pending))
            self.do(host, self.finish(host, effect, outcome))

    def act(self, node: int) -> None:
        """A message is there for the process: the gate decides by the clock, the store must agree."""
        host = self.hosts[node]
        process = host.process
        if process is None or not process.acts or host.session != process.session:
            return
        assert self.own is not None and self.own.host == host_of(node), (
            f"n{node} acts, the owner is {self.own}"
        )
        assert self.own.fence == process.fence, f"n{node} acts with fence {process.fence} under {self.own}"
        assert not self.fences or process.fence >= self.fences[-1]
        self.fences.append(process.fence)

    def everybody_acts(self) -> None:
        for node in range(HOSTS):
            self.act(node)

    def apply(self, node: int) -> None:
        host = self.hosts[node]
        if host.seen == len(self.events):
            return
        kind, revision, value = self.events[host.seen]
        host.seen += 1
        if kind == "own":
            assert value is None or isinstance(value, Own)
            self.do(host, host.machine.own_seen(value, revision, self.now))
        else:
            assert isinstance(value, int)
            where = Target(f"n{value}", host_of(value))
            self.do(host, host.machine.assigned(where, revision, self.now))

    def lapse(self, node: int) -> None:
        """By its own clock the session of this node may be gone."""
        host = self.hosts[node]
        if host.session:
            host.untold.append(host.session)
            host.session = 0

    def tell(self, node: int) -> None:
        host = self.hosts[node]
        if host.untold:
            self.do(host, host.machine.session_lost(host.untold.pop(0), self.now))

    def expire(self, node: int) -> None:
        """The store ends the sessions that this node has given up."""
        host = self.hosts[node]
        if self.own is not None and self.own.host == host_of(node) and self.own.session != host.session:
            self.put(None)
        self.alive = {s for s in self.alive if s % HOSTS != node or s == host.session}

    def open(self, node: int) -> None:
        host = self.hosts[node]
        if host.session or host.untold:
            return
        self.revision += 1
        host.session = self.revision * HOSTS + node  # so that a session shows whose it is
        self.alive.add(host.session)
        self.do(host, host.machine.session_opened(host.session, self.now))

    def crash(self, node: int) -> None:
        host = self.hosts[node]
        if host.process is not None and not host.process.parking:
            fence, host.process = host.process.fence, None
            self.do(host, host.machine.exited(fence, self.now))

    def land(self, index: int) -> None:
        """A transaction that nobody knew about is carried out now."""
        if self.limbo:
            self.limbo.pop(index % len(self.limbo))()

    def wake(self, node: int) -> None:
        host = self.hosts[node]
        self.now += 0.2
        if host.sleeps:
            host.sleeps = False
            self.do(host, host.machine.woken(self.now))

    def settle(self) -> None:
        """The end of all faults."""
        for _ in range(30):
            self.now += 10.0
            for host in self.hosts:
                while host.untold:
                    self.tell(host.node)
                self.expire(host.node)
                self.open(host.node)
                while host.pending:
                    self.resolve(host.node, 0, "ok")
                    self.everybody_acts()
                while host.seen < len(self.events):
                    self.apply(host.node)
                    self.everybody_acts()
                self.wake(host.node)


nodes = st.integers(0, HOSTS - 1)
outcomes = st.sampled_from(["ok", "ok", "ok", "fails", "now", "later", "never"])
MOST = [
    st.tuples(st.just("resolve"), nodes, st.integers(0, 3), st.just("ok")),
    st.tuples(st.just("apply"), nodes),
]
CALM = st.one_of(
    *MOST,
    *MOST,
    *MOST,
    st.tuples(st.just("wake"), nodes),
    st.tuples(st.just("assign"), nodes),
)
STORMY = st.one_of(
    CALM,
    st.tuples(st.just("resolve"), nodes, st.integers(0, 3), outcomes),
    st.tuples(st.just("land"), st.integers(0, 3)),
    st.tuples(st.just("lapse"), nodes),
    st.tuples(st.just("tell"), nodes),
    st.tuples(st.just("expire"), nodes),
    st.tuples(st.just("open"), nodes),
    st.tuples(st.just("crash"), nodes),
)


def run(steps: list[tuple[object, ...]]) -> World:
    world = World()
    for name, *arguments in steps:
        getattr(world, str(name))(*arguments)
        world.everybody_acts()
    world.limbo.clear()
    world.settle()
    assert world.where is not None and world.own is not None
    owner = world.hosts[world.where[0]]
    assert [host.node for host in world.hosts if host.process is not None] == [owner.node]
    assert owner.process is not None and owner.process.acts and owner.machine.phase is Phase.RUNNING
    assert world.own.fence == owner.process.fence == owner.machine.fence
    return world


@settings(max_examples=500)
@given(st.lists(STORMY, max_size=100))
def test_only_the_owner_acts_and_in_the_end_the_singleton_runs_once_where_it_belongs(
    steps: list[tuple[object, ...]],
) -> None:
    run(steps)


@settings(max_examples=100)
@given(st.lists(CALM, max_size=60))
def test_without_faults_every_change_of_owner_is_a_handoff(steps: list[tuple[object, ...]]) -> None:
    world = run(steps)
    owners = [own for kind, _, own in world.events if kind == "own"]
    assert all(isinstance(own, Own) for own in owners)
    fences = [own.fence for own in owners if isinstance(own, Own)]
    assert [own.after for own in owners[1:] if isinstance(own, Own)] == fences[:-1]


def test_a_commit_that_may_yet_be_carried_out_is_outrun_by_a_new_fence_before_the_owner_resumes() -> None:
    world = World()
    world.apply(0)
    world.resolve(0, 0, "ok")
    world.resolve(0, 0, "ok")
    world.assign(1)
    while world.hosts[0].seen < len(world.events):
        world.apply(0)
    world.resolve(0, 0, "ok")
    world.resolve(0, 0, "ok")
    before = world.hosts[0].machine.fence
    world.resolve(0, 0, "later")
    assert world.hosts[0].machine.phase is Phase.DOUBTFUL
    world.resolve(0, 0, "ok")
    owner = world.hosts[0].process
    assert owner is not None and owner.acts and owner.fence > before
    world.land(0)
    world.everybody_acts()
    assert world.own is not None and world.own.fence == owner.fence


def test_an_answer_that_is_older_than_what_is_known_does_not_stop_the_host() -> None:
    """The watch told of the release, and more, before its own answer came."""
    machine = Ownership(host_of(0))
    machine.session_opened(7, 0.0)
    machine.assigned(Target("n0", host_of(0)), 1, 0.0)
    machine.acquired(1, Own("n0", 1, host_of(0), fence=2, session=7), 2, 0.0)
    release = machine.exited(2, 0.0)[-1]
    assert isinstance(release, o.Release)
    machine.own_seen(None, 9, 0.0)
    assert [type(effect) for effect in machine.released(release.op, None, 8, 0.0)] == [o.Wait]


def test_failures_are_retried_after_growing_delays() -> None:
    machine = Ownership(host_of(0))
    machine.session_opened(7, 0.0)
    effects = machine.assigned(Target("n0", host_of(0)), 1, 0.0)
    delays = []
    now, revision = 0.0, 1
    for _ in range(8):
        assert isinstance(effects[-1], o.Acquire)
        revision += 2
        own = Own("n0", 1, host_of(0), fence=revision, session=7)
        effects = machine.acquired(effects[-1].op, own, revision, now)
        assert effects == [o.Start(own)]
        effects = machine.exited(revision, now)
        release = effects[-1]
        assert isinstance(release, o.Release)
        effects = machine.released(release.op, None, revision + 1, now)
        assert isinstance(effects[-1], o.Wait)
        delays.append(effects[-1].delay_s)
        now += effects[-1].delay_s
        effects = machine.woken(now)
    assert [round(delay, 3) for delay in delays] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
