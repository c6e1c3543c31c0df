"""Chaos on the whole raft engine: everything that may go wrong, at random, by a seed; then a heal, and the truth.

    python -m tests.consensus.chaos --seeds 500            # from seed 0
    python -m tests.consensus.chaos --only 17 --verbose    # one seed again, with all that was done

Clients on every node write registers, compare and set them, read them, and take and give back locks that belong to
their node's session, while nodes are cut off (in one direction or both), killed, robbed of what their disks had not
synced, paused, slowed, told of broken connections, and asked to give up leadership; clocks run as far apart as they may.
`chaos_history.py` says what must hold. The same seed does the same things.
"""

import argparse
import asyncio
import logging
import random
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from quorate.consensus import (
    Delete,
    DiskFailed,
    Get,
    KeyValue,
    Put,
    RaftStore,
    StoreError,
    Timing,
    absent,
    created_at,
    unchanged,
)

from .chaos_history import Follower, History, require
from .raft_world import World, outcome_of, put
from .virtual import run_virtual

REGISTERS = (b"r/0", b"r/1", b"r/2")
LOCKS = (b"lock/0", b"lock/1")
CLIENTS = 3  # per node
WITNESS_S = 0.004
TTL_S = Timing.local().session_ttl_s
TROUBLE_S = 9.0
RECOVERY_S = 20.0  # for every operation to end, and everything to work again, after the heal


@dataclass
class Chaos:
    """One run. `story` is what was done, line by line, equal for equal seeds."""

    seed: int
    trouble_s: float = TROUBLE_S
    tell: Callable[[str], object] = lambda line: None
    history: History = field(default_factory=History)
    story: list[str] = field(default_factory=list)
    claims: dict[str, dict[bytes, tuple[int, int]]] = field(default_factory=dict)  # lock -> session, fence

    def run(self) -> None:
        """Raises `Violation`, or whatever else is wrong."""
        run_virtual(self._main())

    async def _main(self) -> None:
        self.rng = random.Random(f"chaos {self.seed}")
        names = "abcde" if self.rng.random() < 0.25 else "abc"
        drift = Timing.local().drift
        self.world = World(
            names,
            seed=self.seed,
            snapshot_after_bytes=self.rng.choice((2_000, 8_000, 1 << 24)),
            rates={name: self.rng.choice((1 - drift / 2, 1.0, 1 + drift / 2)) for name in names},
        )
        self.paused: set[str] = set()
        self.broken: set[str] = set()
        self.unexpected: list[str] = []
        self.followers: dict[str, Follower] = {}
        self.over = False
        self.released: set[int] = set()
        self.claims = {name: {} for name in names}
        async with self.world:
            for name in names:
                self._started(name)
            clients = [
                asyncio.ensure_future(self._client(name, number))
                for name in names
                for number in range(CLIENTS)
            ]
            witness = asyncio.ensure_future(self._witness())
            await self._trouble()
            await self._heal()
            self.over = True
            await asyncio.wait_for(asyncio.gather(*clients, witness), RECOVERY_S)
            await self._check()

    def _say(self, line: str) -> None:
        line = f"{asyncio.get_running_loop().time():.4f} {line}"
        self.story.append(line)
        self.tell(line)

    # Clients

    def _able(self, name: str) -> RaftStore | None:
        store = self.world.members[name].store
        return store if store is not None and name not in self.paused else None

    async def _client(self, name: str, number: int) -> None:
        rng = random.Random(f"client {self.seed} {name} {number}")
        work: list[Callable[[RaftStore, random.Random], Coroutine[Any, Any, None]]] = [
            self._write,
            self._compare_and_set,
            self._read,
        ]
        if number == 0:  # one per node, which so knows what it has
            work += [lambda store, rng: self._lock(name, store, rng)] * 3
        while not self.over:
            store = self._able(name)
            if store is not None:
                await rng.choice(work)(store, rng)
            await asyncio.sleep(0.02 * rng.random())

    async def _write(self, store: RaftStore, rng: random.Random) -> None:
        await self._change(store, rng, rng.choice(REGISTERS), None)

    async def _compare_and_set(self, store: RaftStore, rng: random.Random) -> None:
        key, start = rng.choice(REGISTERS), self._now()
        now = await outcome_of(store.get(key, timeout_s=2 * rng.random()))
        if not isinstance(now, Exception):
            revision = now.mod_revision if now is not None else 0
            self.history.saw(key, start, self._now(), revision)
            await self._change(store, rng, key, revision)

    async def _change(self, store: RaftStore, rng: random.Random, key: bytes, only_at: int | None) -> None:
        write = self.history.begin(key, self._now())
        condition = [] if only_at is None else [unchanged(key, only_at)]
        value = bytes(rng.randrange(200))
        result = await outcome_of(
            store.txn(condition, [Put(key, value), Put(write.marker, b"")], timeout_s=3 * rng.random())
        )
        if isinstance(result, Exception):
            require(isinstance(result, StoreError), f"{result!r} is no error of a store")
            self.history.end(write, self._now(), result)
        else:
            self.history.end(write, self._now(), result.results[0] if result.succeeded else None)

    async def _read(self, store: RaftStore, rng: random.Random) -> None:
        start = self._now()
        items = await outcome_of(store.range(b"r/", timeout_s=2 * rng.random()))
        if not isinstance(items, Exception):
            found = {item.key: item.mod_revision for item in items}
            for key in REGISTERS:
                self.history.saw(key, start, self._now(), found.get(key, 0))

    async def _lock(self, name: str, store: RaftStore, rng: random.Random) -> None:
        lock, claims, session = rng.choice(LOCKS), self.claims[name], store.session.id
        held = claims.get(lock)
        if held is not None and held[0] == session:
            if rng.random() < 0.3:
                del claims[lock]  # first it stops acting, and for ever: the removal may come late
                self.released.add(held[1])
                await outcome_of(store.txn([created_at(lock, held[1])], [Delete(lock)], timeout_s=1.0))
        elif session:
            result = await outcome_of(
                store.txn([absent(lock)], [Put(lock, name.encode(), session)], [Get(lock)], timeout_s=1.0)
            )
            if not isinstance(result, Exception) and self.world.members[name].store is store:
                item = result.results[0]  # it may be its own of old, whose outcome was unknown
                if item is not None and item.session == session and item.create_revision not in self.released:
                    claims[lock] = (session, item.create_revision)

    # Witnesses

    async def _witness(self) -> None:
        while not self.over:
            self._look()
            await asyncio.sleep(WITNESS_S)

    def _look(self) -> None:
        for lock in LOCKS:
            believers: dict[str, int] = {}
            for name, claims in self.claims.items():
                store, claim = self._able(name), claims.get(lock)
                if store is not None and claim is not None and store.session.id == claim[0]:
                    believers[name] = claim[1]
            self.history.acted(lock, believers)
        for name in self.claims:
            if (store := self._able(name)) is not None:
                age_s = store.peek(b"").age_s / self.world.rates[name]  # in the loop's seconds
                self.history.peeked(self._now() - age_s - 1e-6, store.status().revision)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    # Trouble

    async def _trouble(self) -> None:
        end = self._now() + self.trouble_s
        await self.world.pass_time(0.5)
        deeds = [deed for deed, weight in self._deeds() for _ in range(weight)]
        while self._now() < end:
            await self.rng.choice(deeds)(self.rng.choice(self.world.names))
            await self.world.pass_time(self.rng.choice((0.02, 0.1, 0.4)) * 2 * self.rng.random())

    def _deeds(self) -> list[tuple[Callable[[str], Coroutine[Any, Any, None]], int]]:
        return [
            (self._isolate, 3),
            (self._cut_one_way, 3),
            (self._slow_link, 3),
            (self._slow_then_silent, 2),
            (self._mend_network, 6),
            (self._kill, 2),
            (self._lose_power, 2),
            (self._lose_all_power, 1),
            (self._restart, 8),
            (self._pause, 3),
            (self._wake, 4),
            (self._stall_disk, 2),
            (self._break_disk, 1),
            (self._thaw_disk, 3),
            (self._transfer, 2),
            (self._false_alarm, 2),
        ]

    async def _isolate(self, name: str) -> None:
        self._say(f"isolate {name}")
        self.world.isolate(name)

    async def _cut_one_way(self, name: str) -> None:
        other = self.rng.choice([other for other in self.world.names if other != name])
        self._say(f"cut {name} -> {other}")
        self.world.cut.add((name, other))

    async def _slow_link(self, name: str) -> None:
        """Messages to this node take up to a session's lifetime."""
        self._slow(name, TTL_S * self.rng.random())

    async def _slow_then_silent(self, name: str) -> None:
        """When answers have become slow for good, the node is cut off: the last of them come when it is alone."""
        self.world.heal()
        self._slow(name, TTL_S * (0.3 + 0.2 * self.rng.random()))
        await self.world.pass_time(1.5 * TTL_S)
        await self._isolate(name)
        await self.world.pass_time(TTL_S)

    def _slow(self, name: str, lag_s: float) -> None:
        self._say(f"slow down what goes to {name} by {lag_s:.3f} s")
        self.world.lag_s |= {(other, name): lag_s for other in self.world.names if other != name}

    async def _mend_network(self, name: str) -> None:
        self._say("mend the network")
        self.world.heal()

    async def _kill(self, name: str) -> None:
        self._end(name, power_lost=False)

    async def _lose_power(self, name: str) -> None:
        self._end(name, power_lost=True)

    async def _lose_all_power(self, name: str) -> None:
        for each in self.world.names:
            self._end(each, power_lost=True)

    def _end(self, name: str, *, power_lost: bool) -> None:
        if self.world.members[name].store is not None:
            self._say(f"{'take the power from' if power_lost else 'kill'} {name}")
            self._check_core(name)
            entropy = self.world.entropy if power_lost else None
            self.world.kill(name, power_lost=entropy, out_of_order=self.rng.random() < 0.5)
            self.paused.discard(name)
            self.claims[name].clear()

    async def _restart(self, name: str) -> None:
        dead = [each for each in self.world.names if self.world.members[each].store is None]
        for each in dead[: self.rng.randrange(len(dead) + 1)]:
            await self._start(each)

    async def _start(self, name: str) -> None:
        self._say(f"start {name}")
        disk = self.world.disk(name)
        disk.mend()
        disk.thaw()
        self.broken.discard(name)
        self.world.clocks[name].resume()  # what was late belonged to the dead
        await self.world.start(name)
        self._started(name)

    def _started(self, name: str) -> None:
        def failed(error: StoreError) -> None:
            self._say(f"{name} has failed: {error}")
            if not isinstance(error, DiskFailed) or name not in self.broken:
                self.unexpected.append(f"{name} failed: {error!r}")

        store = self.world[name]
        store.subscribe_failure(failed)
        follower = self.followers[name] = Follower(name, store.peek_range(b"").value)
        store.watch(b"", follower.told)

    async def _pause(self, name: str) -> None:
        if self._able(name) is not None:
            self._say(f"pause {name}")
            self.paused.add(name)
            self.world.sleep_node(name)

    async def _wake(self, name: str) -> None:
        if self.paused:
            self._awake(self.rng.choice(sorted(self.paused)))

    def _awake(self, name: str) -> None:
        self._say(f"wake {name}")
        self.paused.discard(name)
        self._look()  # before anything else happens on it
        self.world.wake(name)

    async def _stall_disk(self, name: str) -> None:
        self._say(f"stall the disk of {name}")
        self.world.disk(name).freeze()

    async def _thaw_disk(self, name: str) -> None:
        self._say(f"let the disk of {name} go on")
        self.world.disk(name).thaw()

    async def _break_disk(self, name: str) -> None:
        self._say(f"break the disk of {name}")
        self.broken.add(name)
        self.world.disk(name).fail(self.rng.choice(("append", "sync")))

    async def _transfer(self, name: str) -> None:
        store = self._able(name)
        if store is not None and store.leads():
            self._say(f"{name} hands over")
            handing = asyncio.ensure_future(store.transfer_leadership())
            handing.add_done_callback(lambda done: done.exception())

    async def _false_alarm(self, name: str) -> None:
        store = self._able(name)
        other = self.rng.choice([other for other in self.world.names if other != name])
        if store is not None:
            self._say(f"tell {name} that {other} is down")
            store.peer_down(other)

    # The end

    async def _heal(self) -> None:
        self._say("heal")
        self.world.heal()
        for name in self.world.names:
            self.world.disk(name).thaw()
            if name in self.paused:
                self._awake(name)
            store = self.world.members[name].store
            if store is not None and (name in self.broken or store.status().role == "stopped"):
                self._end(name, power_lost=False)
            if self.world.members[name].store is None:
                await self._start(name)
        await self.world.until(
            lambda: self.world.leader() is not None and all(s.session.valid() for s in self.world.stores),
            within_s=RECOVERY_S,
        )

    async def _check(self) -> None:
        stores = self.world.stores
        for store in stores:
            await put(store, b"at last")
        await self.world.until(lambda: len({s.status().applied_index for s in stores}) == 1, within_s=5.0)
        images = {store._replica.machine.snapshot() for store in stores}
        require(len(images) == 1, "the replicas differ")
        for name, store in zip(self.world.names, stores, strict=True):
            self._check_core(name)
            store._replica.machine.check()
            left = len(store._writes) + len(store._barriers) + len(store._admission)
            require(left == 0, f"{left} operations of {name} never ended")
        state: dict[bytes, KeyValue] = {item.key: item for item in await stores[0].range(b"")}
        self.history.check(state)
        for follower in self.followers.values():
            follower.check(state)
        require(not self.unexpected, "; ".join(self.unexpected))
        require(any(write.outcome == "done" for write in self.history.writes), "nothing was ever done")

    def _check_core(self, name: str) -> None:
        raft = self.world[name]._replica.raft
        require(raft.violations == 0, f"{name} met {raft.violations} messages that no correct peer sends")


def main() -> int:
    """Run many seeds. 1 if one failed."""
    parser = argparse.ArgumentParser(description="chaos on the raft engine")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--only", type=int)
    parser.add_argument("--seconds", type=float, default=TROUBLE_S, help="of trouble, in virtual time")
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    logging.basicConfig(level=logging.DEBUG if args.verbose else logging.CRITICAL, format="%(message)s")
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    seeds = [args.only] if args.only is not None else range(args.first, args.first + args.seeds)
    failed, done, acts = [], 0, 0
    for seed in seeds:
        chaos = Chaos(seed, args.seconds, print if args.verbose else lambda line: None)
        try:
            chaos.run()
        except BaseException as error:
            failed.append(seed)
            print(f"seed {seed}: {type(error).__name__}: {error}", flush=True)
            if isinstance(error, KeyboardInterrupt) or args.only is not None:
                raise
        done += sum(write.outcome == "done" for write in chaos.history.writes)
        acts += chaos.history.acts
    print(f"{len(seeds)} seeds, {done} writes done, {acts} acts under a lock, failed: {failed or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
