"""Many elections on the pure Raft core, each of which gets only so far: where leaders come and go, old entries come back.

A leader is elected by a random majority, gets a few messages through, and is usually crashed before it is through with its
work. That is how entries of earlier terms end up on a majority without being committed (Raft paper, figure 8), which whole
nodes hardly ever meet: there an entry travels with all that come behind it. `Invariants` looks at every step.
"""

from random import Random

from quorate.consensus.raft import Role
from quorate.consensus.raft.messages import VoteReply, VoteRequest
from tests.consensus.raft.harness import ELECTION_S, Cluster
from tests.consensus.raft.schedule import ids_of

ROUNDS = 60
MOST_MESSAGES = 12


def run(seed: int, nodes: int, rounds: int = ROUNDS) -> Cluster:
    """Raises `AssertionError` when an invariant does not hold."""
    rng = Random(seed)
    cluster = Cluster(
        ids_of(nodes), rng.randrange(1 << 32), True, max_batch_entries=1, max_inflight=1, trailing_entries=20
    )
    for _ in range(rounds):
        for node in cluster.nodes.values():
            if node.raft is None and rng.random() < 0.6:
                cluster.start(node.id)
        living = [node.id for node in cluster.nodes.values() if node.raft is not None]
        if 2 * len(living) > nodes:
            among = rng.sample(living, rng.randrange(nodes // 2 + 1, len(living) + 1))
            if _elect(cluster, among):
                _work(cluster, rng, among[0], among)
        cluster.soup.clear()
    return cluster


def _elect(cluster: Cluster, among: list[str]) -> bool:
    """Whether the first of them wins an election among them."""
    for node_id in among:
        cluster.nodes[node_id].now += 2 * ELECTION_S
    for _ in range(3):
        cluster.timeout(among[0])
        cluster.settle(among, kinds=(VoteRequest, VoteReply))
        if cluster[among[0]].role is Role.LEADER:
            return True
    return False


def _work(cluster: Cluster, rng: Random, leader: str, among: list[str]) -> None:
    """Some of a leader's work is done; then it is likely to crash."""
    if rng.random() < 0.5:
        cluster.propose(leader)
    for _ in range(rng.randrange(MOST_MESSAGES)):
        for node_id in among:
            cluster.pump(node_id)
            cluster.sync(node_id)
            cluster.pump(node_id)
        mail = [letter for letter in cluster.soup if letter.sender in among and letter.to in among]
        if not mail:
            break
        letter = rng.choice(mail[:3])
        cluster.soup.remove(letter)
        cluster.deliver(letter)
    if rng.random() < 0.7:
        cluster.crash(leader)
