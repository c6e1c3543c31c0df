"""Random schedules: lists of small actions whose meaning depends on nothing but the cluster they meet.

An action is three small numbers: what, to whom, how much. Whatever does not apply at the moment does
nothing, so that any list of actions is a schedule, and a shorter list made of a failing one (by hypothesis)
is one too.
"""

from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import TypeAlias

from quorate.consensus.raft import ProposalRefused, Role

from .harness import ELECTION_S, HEARTBEAT_S, Cluster, Node

Action: TypeAlias = tuple[int, int, int]
SPAN = 1 << 16  # an action's numbers are below it


def deliver_some(cluster: Cluster, who: int, much: int) -> None:
    """Deliver a message from anywhere in the soup, now and then twice."""
    if cluster.soup:
        at = who % len(cluster.soup)
        letter = cluster.soup[at]
        if much % 16:
            del cluster.soup[at]
        cluster.deliver(letter)
        if much % 3:
            cluster.pump(letter.to)


def deliver_first(cluster: Cluster, who: int, much: int) -> None:
    """Deliver the oldest messages of the soup, in order."""
    for _ in range(1 + much % 8):
        if cluster.soup:
            letter = cluster.soup.pop(0)
            cluster.deliver(letter)
            cluster.pump(letter.to)


def lose(cluster: Cluster, who: int, much: int) -> None:
    """Lose one message, or all on a link (as when a connection breaks)."""
    if cluster.soup:
        letter = cluster.soup.pop(who % len(cluster.soup))
        if not much % 4:
            cluster.take(letter.sender, letter.to)


def pump(cluster: Cluster, who: int, much: int) -> None:
    cluster.pump(node_of(cluster, who).id)


def sync(cluster: Cluster, who: int, much: int) -> None:
    """Some of a node's writes become durable."""
    node = node_of(cluster, who)
    cluster.sync(node.id, None if much % 2 else 1)
    if much % 3:
        cluster.pump(node.id)


def sync_all(cluster: Cluster, who: int, much: int) -> None:
    for node in cluster.nodes.values():
        cluster.sync(node.id)
        cluster.pump(node.id)


def wait(cluster: Cluster, who: int, much: int) -> None:
    """A little time passes on one node."""
    cluster.advance(node_of(cluster, who).id, HEARTBEAT_S * (much % 12) / 8)


def beat(cluster: Cluster, who: int, much: int) -> None:
    """A heartbeat time passes on every node."""
    for node in cluster.nodes.values():
        cluster.advance(node.id, HEARTBEAT_S)
        cluster.pump(node.id)


def time_out(cluster: Cluster, who: int, much: int) -> None:
    """A node's clock jumps to its deadline; the others may have been waiting for long, too."""
    node = node_of(cluster, who)
    if node.raft is not None and (node.raft.role is not Role.LEADER or not much % 8):
        for other in cluster.nodes.values():
            if much % 4 and (other.raft is None or other.raft.role is not Role.LEADER):
                other.now += ELECTION_S
        cluster.timeout(node.id)
        if much % 3:
            cluster.pump(node.id)


def propose(cluster: Cluster, who: int, much: int) -> None:
    for node in leaders(cluster, who):
        try:
            cluster.propose(node.id, 1 + much % 5, size=who % 3 * 20)
        except ProposalRefused:
            continue
        if much % 3:
            cluster.pump(node.id)


def read(cluster: Cluster, who: int, much: int) -> None:
    for node in leaders(cluster, who):
        for _ in range(1 + much % 2):
            cluster.read(node.id)
        if much % 3:
            cluster.pump(node.id)


def crash(cluster: Cluster, who: int, much: int) -> None:
    node = node_of(cluster, who)
    if node.raft is not None:
        cluster.crash(node.id, much % (1 + len(node.disk.pending)), much // 7 % 6)
        if much % 2:
            cluster.start(node.id)
            cluster.pump(node.id)


def start(cluster: Cluster, who: int, much: int) -> None:
    node = node_of(cluster, who)
    if node.raft is None:
        cluster.start(node.id)


def snapshot(cluster: Cluster, who: int, much: int) -> None:
    node = node_of(cluster, who)
    if node.raft is not None:
        cluster.snapshot(node.id)


def transfer(cluster: Cluster, who: int, much: int) -> None:
    for node in leaders(cluster, who):
        node.core.transfer(node_of(cluster, much).id, node.now)
        cluster.pump(node.id)


def unreachable(cluster: Cluster, who: int, much: int) -> None:
    """A connection breaks, and with it what was on its way; or it was only thought to."""
    node, peer = node_of(cluster, who), node_of(cluster, much)
    if node.raft is not None and peer is not node:
        if who % 2:
            cluster.take(peer.id, node.id)
        node.raft.unreachable(peer.id, node.now)
        cluster.pump(node.id)


def isolate(cluster: Cluster, who: int, much: int) -> None:
    """Cut the nodes in two; now and then in one direction only."""
    ids = sorted(cluster.nodes)
    some = {node_id for bit, node_id in enumerate(ids) if who >> bit & 1}
    cluster.cut(some, set(ids) - some)
    if not much % 4:
        cluster.cuts = {(one, other) for one, other in cluster.cuts if one in some}


def heal(cluster: Cluster, who: int, much: int) -> None:
    cluster.heal()


WEIGHTS: dict[Callable[[Cluster, int, int], None], int] = {
    deliver_some: 30,
    deliver_first: 40,
    lose: 3,
    pump: 5,
    sync: 14,
    sync_all: 8,
    wait: 4,
    beat: 3,
    time_out: 3,
    propose: 10,
    read: 5,
    crash: 2,
    start: 3,
    snapshot: 2,
    transfer: 1,
    unreachable: 1,
    isolate: 1,
    heal: 2,
}
OPTIONAL = (lose, crash, snapshot, transfer, unreachable, isolate, time_out, wait, read)
ACTIONS = [action for action, weight in WEIGHTS.items() for _ in range(weight)]


def node_of(cluster: Cluster, who: int) -> Node:
    nodes = list(cluster.nodes.values())
    return nodes[who % len(nodes)]


def leaders(cluster: Cluster, who: int) -> list[Node]:
    """One of the nodes that believe that they lead, if any does."""
    those = [x for x in cluster.nodes.values() if x.raft is not None and x.raft.role is Role.LEADER]
    return [those[who % len(those)]] if those else []


def random_actions(rng: Random, count: int) -> Iterable[Action]:
    """Actions by weight; each schedule leaves out some kinds altogether (swarm testing)."""
    left_out = [action for action in OPTIONAL if rng.random() < 0.2]
    kinds = [at for at, action in enumerate(ACTIONS) if action not in left_out]
    for _ in range(count):
        yield rng.choice(kinds), rng.randrange(SPAN), rng.randrange(SPAN)


def perform(cluster: Cluster, actions: Iterable[Action]) -> None:
    """Let a schedule happen."""
    for what, who, much in actions:
        action = ACTIONS[what % len(ACTIONS)]
        if cluster.story is not None:
            cluster.story.append(f"-- {action.__name__} {who} {much}")
        action(cluster, who, much)


def recover(cluster: Cluster) -> None:
    """Heal everything; then a leader must emerge, and everybody must apply everything."""
    cluster.heal()
    for node in cluster.nodes.values():
        if node.raft is None:
            cluster.start(node.id)
    cluster.settle()
    for _ in range(200):
        for node in cluster.nodes.values():
            cluster.advance(node.id, HEARTBEAT_S / 2)
        cluster.settle()
        if caught_up(cluster):
            return
    raise AssertionError(f"no agreement after 10 s of peace: {[summary(x) for x in cluster.nodes.values()]}")


def caught_up(cluster: Cluster) -> bool:
    """A leader has committed in its term, and all have applied everything."""
    cores = [node.core for node in cluster.nodes.values()]
    ends = {core.last_index for core in cores} | {core.applied_index for core in cores}
    return len(ends) == 1 and {core.leader for core in cores} == {
        x.id for x in cores if x.role is Role.LEADER
    }


def summary(node: Node) -> str:
    core = node.core
    return (
        f"{core.id} {core.role.value} term {core.term} leader {core.leader} "
        f"applied {core.applied_index} committed {core.commit_index} last {core.last_index}"
    )


def run(size: int, seed: int, steps: int, story: bool = False) -> Cluster:
    """A cluster of `size` nodes through a random schedule, and its recovery."""
    rng = Random(seed)
    limits = {
        "snapshot_chunk_bytes": rng.choice((16, 64, 4096)),
        "trailing_entries": rng.choice((0, 3, 20)),
        "max_inflight": rng.choice((1, 4)),
        "max_batch_entries": rng.choice((1, 3, 100)),
    }
    cluster = Cluster(ids_of(size), rng.randrange(1 << 32), True, **limits)
    if story:
        cluster.story = []
    try:
        perform(cluster, random_actions(rng, steps))
        recover(cluster)
    except Exception as error:
        error.add_note(f"seed {seed}, {size} nodes, {steps} steps\n" + "\n".join((cluster.story or [])[-80:]))
        raise
    return cluster


def ids_of(size: int) -> Sequence[str]:
    return "abcde"[:size]
