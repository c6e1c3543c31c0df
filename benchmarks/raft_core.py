"""The Raft core alone: three replicas in one process, messages through msgpack, entries into log files (not synced).

What is measured is the work per command of everything but network and disk: proposing, encoding, decoding,
appending, counting, applying. One client proposes a batch, waits until all three have applied it, and goes on.
"""

import time
from collections import deque
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

from quorate.consensus.raft import (
    Configuration,
    EntryBatch,
    HardState,
    Raft,
    RaftConfig,
    Recovered,
    decode,
    encode,
)
from quorate.core import pack, unpack

from .table import Row, measured

NAMES = ("a", "b", "c")
COMMAND = pack(["register", "billing/ledger", 12345, "x" * 24])
BATCHES = (1, 16, 256)
ROUND_S = 1.0
ROUNDS = 5


class Replica:
    """A core with a log file and a state machine that decodes and counts."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        empty = Recovered(HardState(), None, EntryBatch(1, (), []))
        seed = iter(range(1_000_000))
        config = RaftConfig(id=name, configuration=Configuration(frozenset(NAMES)))
        self.raft = Raft(config, empty, lambda: (next(seed) * 37 + NAMES.index(name) * 31) % 100 / 100, 0.0)
        self.log: BinaryIO = (folder / name).open("wb", buffering=0)
        self.applied = 0

    def perform(self, now: float, wire: deque[tuple[str, str, bytes]]) -> bool:
        ready = self.raft.ready(now)
        if ready is None:
            return False
        if ready.entries is not None:
            self.log.write(pack(list(ready.entries.data)))
        if ready.write_seq:
            self.raft.persisted(ready.write_seq, now)
        packed: dict[int, bytes] = {}
        for peer, message in ready.messages:
            payload = packed.get(id(message)) or packed.setdefault(id(message), pack(encode(message)))
            wire.append((self.name, peer, payload))
        if ready.committed is not None:
            for command in ready.committed.data:
                if command:
                    unpack(command)
                    self.applied += 1
            self.raft.applied(ready.committed.last_index)
        return True


class Cluster:
    def __init__(self, folder: Path) -> None:
        self.now = 0.0
        self.replicas = {name: Replica(name, folder) for name in NAMES}
        self.wire: deque[tuple[str, str, bytes]] = deque()
        while self.leader() is None:
            self.now += 0.05
            for replica in self.replicas.values():
                replica.raft.tick(self.now)
            self.settle()

    def leader(self) -> Replica | None:
        return next((r for r in self.replicas.values() if r.raft.role.name == "LEADER"), None)

    def settle(self, *begun: Replica) -> None:
        """Until nobody has anything to do; `begun` (or all) are asked first, then whoever gets a message."""
        for replica in begun or self.replicas.values():
            self._exhaust(replica)
        while self.wire:
            targets: dict[str, Replica] = {}
            while self.wire:
                source, target, payload = self.wire.popleft()
                replica = targets[target] = self.replicas[target]
                replica.raft.step(source, decode(unpack(payload)), self.now)
            for replica in targets.values():
                self._exhaust(replica)

    def _exhaust(self, replica: Replica) -> None:
        while replica.perform(self.now, self.wire):
            pass


def commands_per_second(batch: int) -> float:
    with TemporaryDirectory() as folder:
        cluster = Cluster(Path(folder))
        leader = cluster.leader()
        assert leader is not None
        commands = [COMMAND] * batch
        done, limit = 0, 150_000
        started = time.perf_counter()
        while (elapsed := time.perf_counter() - started) < ROUND_S and done < limit:
            leader.raft.propose(commands, cluster.now)
            cluster.settle(leader)
            done += batch
        assert all(replica.applied == done for replica in cluster.replicas.values())
        for replica in cluster.replicas.values():
            replica.log.close()
        return done / elapsed


def run() -> list[Row]:
    rows: list[Row] = []
    for batch in BATCHES:
        rounds = [commands_per_second(batch) for _ in range(ROUNDS)]
        rows.append(
            measured(
                f"raft core, 3 replicas, batch {batch}", "quorate", "commands/s", rounds, "msgpack, log file"
            )
        )
    return rows
