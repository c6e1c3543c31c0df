"""A cluster of Raft cores in one place, with every source of disorder in the hands of the test.

Messages lie in a soup until somebody delivers, drops or doubles one. Every node has its own clock, which
moves only when it is moved. A node's disk keeps written things apart from durable ones: a crash leaves a
prefix of what was not synced. Every message passes through its wire form, and `Invariants` looks at every
step.
"""

from collections.abc import Callable, Iterable, Sequence
from random import Random

from quorate.consensus.raft import (
    Configuration,
    EntryBatch,
    HardState,
    Message,
    NodeId,
    Raft,
    RaftConfig,
    Ready,
    Role,
    decode,
    encode,
)
from quorate.consensus.raft.log import Log

from .disk import Disk, Entry, Write
from .invariants import Invariants, Unchecked
from .machine import Machine

ELECTION_S = 1.0
HEARTBEAT_S = 0.1


def batch(*entries: Entry, first_index: int = 1) -> EntryBatch:
    """Entries (term, data) as a batch."""
    log = Log(first_index - 1, 0)
    for term, data in entries:
        log.append(term, [data])
    return log.batch(first_index, log.last_index)


class Node:
    """One replica with its disk and its state machine. `raft` is None while it is down."""

    def __init__(self, node_id: NodeId) -> None:
        self.id = node_id
        self.disk = Disk()
        self.machine = Machine()
        self.raft: Raft | None = None
        self.now = 0.0

    @property
    def core(self) -> Raft:
        assert self.raft is not None, f"{self.id} is down"
        return self.raft


class Letter:
    """A message on its way."""

    __slots__ = ("message", "sender", "to")

    def __init__(self, sender: NodeId, to: NodeId, message: Message) -> None:
        self.sender = sender
        self.to = to
        self.message = message

    def __repr__(self) -> str:
        return f"{self.sender}->{self.to} {self.message}"


class Cluster:
    """Nodes `ids`, the soup of messages between them, and what has been seen of them."""

    def __init__(
        self, ids: Sequence[NodeId] = "abc", seed: int = 0, checked: bool = True, **limits: int
    ) -> None:
        """`checked=False` is for tests that make up messages: no invariant can hold then."""
        self.rng = Random(seed)
        self.configuration = Configuration(frozenset(ids))
        self.limits = {"snapshot_chunk_bytes": 64, "trailing_entries": 3, "max_inflight": 4} | limits
        self.nodes = {node_id: Node(node_id) for node_id in ids}
        self.soup: list[Letter] = []
        self.cuts: set[tuple[NodeId, NodeId]] = set()
        self.invariants = Invariants(self) if checked else Unchecked(self)
        self.reads: dict[int, int] = {}  # context -> lowest index at which it may be served
        self.served: dict[int, int] = {}  # context -> index
        self.failed: set[int] = set()
        self.story: list[str] | None = None
        self._written = 0
        for node_id in ids:
            self.start(node_id)

    def __getitem__(self, node_id: NodeId) -> Raft:
        return self.nodes[node_id].core

    def role(self, node_id: NodeId) -> Role:
        return self.nodes[node_id].core.role

    def note(self, tell: Callable[[], str]) -> None:
        if self.story is not None:
            self.story.append(tell())

    # -- processes -----------------------------------------------------------------------------------------

    def start(self, node_id: NodeId) -> None:
        """Start a node from what is on its disk."""
        node = self.nodes[node_id]
        assert node.raft is None
        recovered = node.disk.recover()
        config = RaftConfig(node_id, self.configuration, ELECTION_S, HEARTBEAT_S, **self.limits)
        node.machine = Machine()
        if recovered.snapshot is not None:
            node.machine.restore(recovered.snapshot)
        node.raft = Raft(config, recovered, self.rng.random, node.now)
        self.invariants.started(node)
        self.note(lambda: f"start {node_id}: {recovered.hard_state} log {recovered.entries}")

    def crash(self, node_id: NodeId, kept: int = 0, torn: int = 0) -> None:
        """Kill a node; `kept` of its unsynced writes, and a part of the next, reach the disk all the same."""
        node = self.nodes[node_id]
        node.disk.crash(kept, torn)
        node.raft = None
        self.invariants.crashes += 1
        self.note(lambda: f"crash {node_id}, {kept} unsynced writes survive, {torn} of the next")
        self.invariants.synced(node)

    # -- the shell -----------------------------------------------------------------------------------------

    def pump(self, node_id: NodeId) -> None:
        """Do what a shell does after every call, except syncing the disk."""
        node = self.nodes[node_id]
        for _ in range(1000):
            ready = node.raft.ready(node.now) if node.raft is not None else None
            if ready is None:
                return
            self._handle(node, ready)
        raise AssertionError(f"{node_id} is never done")

    def _handle(self, node: Node, ready: Ready) -> None:
        if ready.write_seq:
            node.disk.write(Write(ready.write_seq, ready.hard_state, ready.snapshot, ready.entries))
        if ready.snapshot is not None:
            node.machine.restore(ready.snapshot)
            node.core.applied(ready.snapshot.meta.index)
        self.invariants.readied(node, ready)
        for to, message in ready.messages:
            self.soup.append(Letter(node.id, to, decode(encode(message))))
            self.note(lambda: f"  {self.soup[-1]}")
        if ready.committed is not None:
            node.machine.apply(ready.committed)
            node.core.applied(ready.committed.last_index)
        for context, index in ready.reads:
            assert index >= self.reads[context], (
                f"read {context} sees {index}, must see {self.reads[context]}"
            )
            self.served[context] = index
        self.failed.update(ready.failed_reads)

    def sync(self, node_id: NodeId, count: int | None = None) -> None:
        """Make the first `count` unsynced writes of a node durable (all by default), and tell the core."""
        node = self.nodes[node_id]
        seq = node.disk.sync(count)
        if seq and node.raft is not None:
            self.invariants.synced(node)
            node.raft.persisted(seq, node.now)
            self.note(lambda: f"{node_id} is durable to write {seq}")
            self.invariants.check(node)

    def snapshot(self, node_id: NodeId) -> None:
        """Let a node make a snapshot of what it has applied, and compact."""
        node = self.nodes[node_id]
        if node.machine.index and (
            node.core.snapshot is None or node.core.snapshot.meta.index < node.machine.index
        ):
            snapshot = node.machine.snapshot(self.configuration)
            node.disk.save_own_snapshot(snapshot, self.rng.randrange(3))
            node.core.compact(snapshot)
            self.note(lambda: f"{node_id} makes a snapshot: {snapshot.meta}")

    # -- events --------------------------------------------------------------------------------------------

    def advance(self, node_id: NodeId, delay_s: float) -> None:
        """Move a node's clock and call `tick`."""
        node = self.nodes[node_id]
        node.now += delay_s
        if node.raft is not None:
            node.raft.tick(node.now)
            self.note(lambda: f"{node_id} ticks at {node.now:.3f}: {node.core.role.value} {node.core.term}")
            self.invariants.check(node)

    def timeout(self, node_id: NodeId) -> None:
        """Move a node's clock to its deadline and call `tick`."""
        node = self.nodes[node_id]
        self.advance(node_id, max(0.0, node.core.deadline() - node.now))

    def propose(self, node_id: NodeId, count: int = 1, size: int = 0) -> list[bytes]:
        """Propose `count` new commands to a leader."""
        node = self.nodes[node_id]
        data = []
        for _ in range(count):
            self._written += 1
            data.append(b"%d" % self._written + b"." * size)
        proposal = node.core.propose(data, node.now)
        self.note(lambda: f"{node_id} proposes {data} at {proposal}")
        return data

    def read(self, node_id: NodeId) -> int:
        """Begin a read on a leader; its context."""
        node = self.nodes[node_id]
        context = len(self.reads) + 1
        self.reads[context] = self.invariants.committed_index
        node.core.read(context, node.now)
        self.note(lambda: f"{node_id} begins read {context}, must see {self.reads[context]}")
        return context

    def deliver(self, letter: Letter) -> None:
        """Hand one message over, if its receiver is up and the link is not cut."""
        node = self.nodes[letter.to]
        if node.raft is not None and (letter.sender, letter.to) not in self.cuts:
            self.note(lambda: f"deliver {letter}")
            node.raft.step(letter.sender, letter.message, node.now)
            self.invariants.check(node)

    # -- for directed schedules ----------------------------------------------------------------------------

    def cut(self, ones: Iterable[NodeId], others: Iterable[NodeId]) -> None:
        """Cut all links between two sets, both ways. What is on its way is lost."""
        others = list(others)
        for one in ones:
            for other in others:
                self.cuts |= {(one, other), (other, one)}
        self.soup = [letter for letter in self.soup if (letter.sender, letter.to) not in self.cuts]

    def heal(self) -> None:
        self.cuts.clear()

    def take(self, sender: NodeId, to: NodeId, kind: type[Message] | None = None) -> list[Message]:
        """Take messages of a link out of the soup, to be delivered later, or never."""
        taken = [
            x
            for x in self.soup
            if x.sender == sender and x.to == to and (not kind or isinstance(x.message, kind))
        ]
        self.soup = [x for x in self.soup if x not in taken]
        return [x.message for x in taken]

    def hand(self, sender: NodeId, to: NodeId, message: Message) -> None:
        """Deliver a message that was taken (or made up), and do what the receiver's shell would."""
        self.deliver(Letter(sender, to, decode(encode(message))))
        self.pump(to)

    def settle(
        self,
        only: Iterable[NodeId] | None = None,
        synced: Iterable[NodeId] | None = None,
        kinds: tuple[type[Message], ...] | None = None,
    ) -> None:
        """Pump, sync and deliver between the given nodes until nothing moves, without any time passing.

        Only the disks of `synced` become durable (all of theirs by default), and only messages of `kinds`
        are delivered (all by default); the others stay where they are.
        """
        among = [x for x in (only or self.nodes) if self.nodes[x].raft is not None]
        durable = among if synced is None else list(synced)
        for _ in range(1000):
            for node_id in among:
                self.pump(node_id)
                if node_id in durable:
                    self.sync(node_id)
                    self.pump(node_id)
            mail = [x for x in self.soup if x.sender in among and x.to in among]
            mail = [x for x in mail if kinds is None or isinstance(x.message, kinds)]
            if not mail and not any(self.nodes[x].disk.pending for x in durable):
                return
            self.soup = [x for x in self.soup if x not in mail]
            for letter in mail:
                self.deliver(letter)
                self.pump(letter.to)
        raise AssertionError("the cluster does not settle")

    def elect(
        self,
        node_id: NodeId,
        only: Iterable[NodeId] | None = None,
        kinds: tuple[type[Message], ...] | None = None,
    ) -> None:
        """Let the election timeouts of some nodes pass, `node_id`'s first, until it leads."""
        among = list(only or self.nodes)
        for other in among:
            if other != node_id and self.nodes[other].raft is not None:
                self.nodes[other].now += ELECTION_S
        for _ in range(5):
            self.timeout(node_id)
            self.settle(among, kinds=kinds)
            if self[node_id].role is Role.LEADER:
                return
        raise AssertionError(f"{node_id} is not elected but {self[node_id].role}")

    def pass_time(self, seconds: float) -> None:
        """Let time pass everywhere at the same rate, with quick disks and a quick network."""
        for _ in range(round(seconds / HEARTBEAT_S * 2)):
            for node in self.nodes.values():
                if node.raft is not None:
                    self.advance(node.id, HEARTBEAT_S / 2)
            self.settle()

    def load(self, node_id: NodeId, terms: Sequence[int], term: int) -> None:
        """Restart a node with a made-up log of these terms, in this term."""
        node = self.nodes[node_id]
        node.raft = None
        node.disk.hard_state = HardState(term, None)
        node.disk.entries = [(of, b"%d of %d" % (index, of)) for index, of in enumerate(terms, 1)]
        before = 0
        for index, entry in enumerate(node.disk.entries, 1):
            self.invariants.entries[index, entry[0]] = (before, entry[1])
            before = entry[0]
        self.start(node_id)

    def heartbeat(self, leader: NodeId, only: Iterable[NodeId] | None = None) -> None:
        """Let a leader's heartbeat time pass, and everything that follows from it."""
        self.advance(leader, HEARTBEAT_S)
        self.settle(only)

    def values(self, node_id: NodeId) -> list[bytes]:
        """The commands that a node has applied."""
        return self.nodes[node_id].machine.commands()
