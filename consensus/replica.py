"""One replica of the store: the shell that performs what the Raft core decides.

The core (`raft/`) is the authority over term, log and leadership, the machine over keys and sessions; the
replica owns neither. It carries messages, time and finished writes into the core, and performs each `Ready`: it
writes, syncs in groups, sends, and applies in order. What must never happen here: a message that leaves before
what it depends on is durable (the core holds such messages back until `persisted`), an entry applied twice or
left out, or anything at all after the disk has failed.

Work is gathered per turn of the loop: however many proposals, reads and messages arrive in one turn, the core is
asked once, and what it wants written is one append. While a sync is under way the core goes on; the next sync
covers everything written meanwhile.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import crc32c

from quorate.core import Clock, DecodeError, Timer, pack, unpack

from .errors import DiskFailed, NotLeader, Overloaded, StoreStopped
from .machine import Outcome, StoreMachine
from .raft import (
    Configuration,
    EntryBatch,
    ProposalRefused,
    Raft,
    Ready,
    Refusal,
    Role,
    Snapshot,
    SnapshotMeta,
    decode,
    encode,
)
from .storage import RaftStorage

log = logging.getLogger("quorate.consensus")

SNAPSHOT_AFTER_BYTES = 16 * 1024 * 1024  # of log since the last snapshot


@dataclass(frozen=True, slots=True)
class Applied:
    """One entry and what it did."""

    index: int
    term: int
    command: bytes
    outcome: Outcome


class ReplicaListener(Protocol):
    """Whoever the replica works for; called on the loop, never from inside one of the replica's methods."""

    def on_applied(self, applied: Sequence[Applied]) -> None:
        """These entries were applied, in order."""
        ...

    def on_restored(self, before: "StoreMachine") -> None:
        """The machine was replaced by a snapshot from the leader; entries were skipped. `before` is the old state."""
        ...

    def on_leadership(self) -> None:
        """Role, term, known leader or readiness to lead have changed."""
        ...

    def on_failed(self, error: Exception) -> None:
        """The replica has stopped for good."""
        ...


class Replica:
    """Drives one `Raft` over its storage and machine.

    `send(peer, payload)` hands a message to the network and may drop it. All methods are for the loop's thread.
    """

    def __init__(
        self,
        *,
        raft: Raft,
        configuration: Configuration,
        storage: RaftStorage,
        machine: StoreMachine,
        clock: Clock,
        send: Callable[[str, bytes], object],
        listener: ReplicaListener,
        snapshot_after_bytes: int = SNAPSHOT_AFTER_BYTES,
    ) -> None:
        self._raft = raft
        self._configuration = configuration
        self._storage = storage
        self._machine = machine
        self._clock = clock
        self._send = send
        self._listener = listener
        self._snapshot_after_bytes = snapshot_after_bytes
        self._loop = asyncio.get_running_loop()
        self._proposals: list[bytes] = []
        self._reads: dict[int, asyncio.Future[int]] = {}
        self._new_reads: list[int] = []
        self._next_read = 0
        self._written = 0  # write_seq of the last Ready given to the storage
        self._durable = 0
        self._applied_term = 0
        self._pumping = False  # a pump is scheduled
        self._installing = False  # a received snapshot is being saved: the core's next Ready waits
        self._timer: Timer | None = None
        self._timer_due = 0.0
        self._syncing: asyncio.Task[None] | None = None
        self._snapshotting: asyncio.Task[None] | None = None
        self._stopped: Exception | None = None
        self._wake()

    # What it knows

    @property
    def raft(self) -> Raft:
        """The core, for reading its facts."""
        return self._raft

    @property
    def machine(self) -> StoreMachine:
        return self._machine

    def ready_to_lead(self) -> bool:
        """It leads and has applied an entry of its own term, so it has applied all that was ever acknowledged."""
        return (
            self._stopped is None and self._raft.role is Role.LEADER and self._applied_term == self._raft.term
        )

    # What it is asked

    def propose(self, command: bytes) -> None:
        """Bring a command into the log if this replica leads. What became of it shows when it is applied.

        Raises `NotLeader`, `Overloaded`, `DiskFailed`, `StoreStopped`; then nothing happened.
        """
        self.check_leading()
        self._proposals.append(command)
        self._wake()

    def read_index(self) -> asyncio.Future[int]:
        """An index that covers all that was acknowledged before this call, confirmed by a quorum.

        The future raises `NotLeader` when leadership was lost meanwhile. Raises as `propose` does.
        """
        self.check_leading()
        self._next_read += 1
        future: asyncio.Future[int] = self._loop.create_future()
        self._reads[self._next_read] = future
        self._new_reads.append(self._next_read)
        self._wake()
        return future

    def check_leading(self) -> None:
        """Raises `NotLeader` unless this replica leads as far as it knows; `DiskFailed`, `StoreStopped` if it ended."""
        if self._stopped is not None:
            raise type(self._stopped)(*self._stopped.args)
        if self._raft.role is not Role.LEADER:
            raise NotLeader(self._raft.leader)

    def transfer(self, target: str) -> None:
        """Hand leadership to `target`, if this replica leads. Raises `NotLeader`."""
        try:
            self._raft.transfer(target, self._clock.monotonic())
        except ProposalRefused as refused:
            raise NotLeader(refused.leader) from refused
        self._wake()

    def receive(self, peer: str, payload: bytes) -> None:
        """A message from another replica. Raises `DecodeError` for bytes that are none; nothing happened then."""
        if self._stopped is not None:
            return
        try:
            message = decode(unpack(payload))
        except ValueError as error:
            raise DecodeError(f"{peer} sent no Raft message: {error}") from error
        self._raft.step(peer, message, self._clock.monotonic())
        self._wake()

    def peer_down(self, peer: str) -> None:
        """The connection to a peer broke: a hint, no proof of anything."""
        if self._stopped is None:
            self._raft.unreachable(peer, self._clock.monotonic())
            self._wake()

    def abandon(self) -> None:
        """Stop in the middle of everything, as a killed process does."""
        self._stop(StoreStopped("the store was abandoned"))
        for task in (self._syncing, self._snapshotting):
            if task is not None:
                task.cancel()

    async def close(self) -> None:
        """Stop, waiting for a write that is under way."""
        self._stop(StoreStopped("the store was closed; nothing happened"))
        tasks = [task for task in (self._syncing, self._snapshotting) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._storage.close()

    # The pump

    def _wake(self) -> None:
        if not self._pumping and not self._installing and self._stopped is None:
            self._pumping = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._pumping = False
        if self._installing or self._stopped is not None:
            return
        now = self._clock.monotonic()
        try:
            self._feed(now)
            while not self._installing and (ready := self._raft.ready(now)) is not None:
                self._perform(ready)
        except (DiskFailed, OSError) as error:
            self._fail(error)
            return
        if self._written > self._durable and self._syncing is None:
            self._syncing = self._loop.create_task(self._sync())
        self._arm(now)

    def _feed(self, now: float) -> None:
        if self._proposals:
            proposals, self._proposals = self._proposals, []
            try:
                self._raft.propose(proposals, now)
            except ProposalRefused as refused:  # between the question and this turn; the clients ask again
                log.debug("%d proposals refused: %s", len(proposals), refused)
        if self._new_reads:
            reads, self._new_reads = self._new_reads, []
            for context in reads:
                try:
                    self._raft.read(context, now)
                except ProposalRefused as refused:
                    self._fail_read(context, refused.leader)

    def _perform(self, ready: Ready) -> None:
        """In the order that `Ready` demands: write, send, apply, answer reads."""
        if ready.snapshot is not None:
            self._installing = True
            self._syncing_snapshot(ready)
            return
        if ready.hard_state is not None or ready.entries is not None:
            self._storage.write(hard_state=ready.hard_state, entries=ready.entries)
        if ready.write_seq:
            self._written = ready.write_seq
        packed: dict[int, bytes] = {}  # one message may be addressed to several peers
        for peer, message in ready.messages:
            payload = packed.get(id(message))
            if payload is None:
                payload = packed[id(message)] = pack(encode(message))
            self._send(peer, payload)
        if ready.committed is not None:
            self._apply(ready.committed)
        for context, index in ready.reads:
            future = self._reads.pop(context, None)
            if future is not None and not future.done():
                future.set_result(index)
        for context in ready.failed_reads:
            self._fail_read(context, self._raft.leader)
        if ready.status is not None:
            self._listener.on_leadership()

    def _apply(self, batch: EntryBatch) -> None:
        apply, index, position = self._machine.apply, batch.first_index, 0
        applied: list[Applied] = []
        for run in batch.runs:
            for command in batch.data[position : position + run.count]:
                applied.append(Applied(index, run.term, command, apply(index, command)))
                index += 1
            position += run.count
        self._raft.applied(batch.last_index)
        was_ready = self.ready_to_lead()
        self._applied_term = applied[-1].term
        self._listener.on_applied(applied)
        if self.ready_to_lead() and not was_ready:
            self._listener.on_leadership()
        self._maybe_snapshot()

    def _fail_read(self, context: int, leader: str | None) -> None:
        future = self._reads.pop(context, None)
        if future is not None and not future.done():
            future.set_exception(NotLeader(leader))

    async def _sync(self) -> None:
        """Make durable what was written, again and again until nothing is left."""
        try:
            while self._written > self._durable and not self._installing:
                covered = self._written
                await self._storage.sync()
                self._durable = covered
                self._raft.persisted(covered, self._clock.monotonic())
                self._syncing = None  # what the pump writes now may need the next sync at once
                self._pump()
                if self._syncing is not None or self._stopped is not None:
                    return
        except (DiskFailed, OSError) as error:
            self._fail(error)
        finally:
            if self._syncing is asyncio.current_task():
                self._syncing = None

    # Time

    def _arm(self, now: float) -> None:
        """Tick when the core wants it. A deadline that moved away is noticed when the timer fires."""
        due = self._raft.deadline()
        if self._timer is not None:
            if self._timer_due <= due:
                return
            self._timer.cancel()
        self._timer_due = due
        self._timer = self._clock.call_later(max(0.0, due - now), self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self._stopped is None:
            now = self._clock.monotonic()
            self._raft.tick(now)
            if self._installing:
                self._arm(now)
            else:
                self._pump()

    # Snapshots

    def _syncing_snapshot(self, ready: Ready) -> None:
        self._snapshotting = self._loop.create_task(self._install(ready, self._snapshotting))

    async def _install(self, ready: Ready, earlier: asyncio.Task[None] | None) -> None:
        """Save a snapshot that the leader sent, become it, and go on. Nothing else is written meanwhile."""
        assert ready.snapshot is not None
        try:
            for task in (earlier, self._syncing):
                if task is not None:
                    await asyncio.gather(task, return_exceptions=True)
            machine = StoreMachine()
            machine.restore(ready.snapshot.data)
            self._storage.write(hard_state=ready.hard_state, entries=None)
            await self._storage.save_snapshot(ready.snapshot)
            if ready.entries is not None:
                self._storage.write(hard_state=None, entries=ready.entries)
            await self._storage.sync()
        except (DiskFailed, OSError, ValueError) as error:
            self._fail(error)
            return
        meta = ready.snapshot.meta
        before, self._machine = self._machine, machine
        self._applied_term = meta.term
        self._raft.applied(meta.index)
        self._installing = False
        self._written = self._durable = max(self._written, ready.write_seq)
        self._raft.persisted(self._durable, self._clock.monotonic())
        log.info("took over a snapshot at entry %d of term %d", meta.index, meta.term)
        self._listener.on_restored(before)
        self._wake()

    def _maybe_snapshot(self) -> None:
        busy = self._snapshotting is not None and not self._snapshotting.done()
        if not busy and self._storage.bytes_since_snapshot >= self._snapshot_after_bytes:
            self._snapshotting = self._loop.create_task(self._snapshot())

    async def _snapshot(self) -> None:
        """Write the state as of the last applied entry, then let go of the log before it."""
        index, term = self._machine.applied_index, self._applied_term
        image = self._machine.capture()
        parts: list[bytes] = []
        for part in image.chunks():
            parts.append(part)
            await asyncio.sleep(0)
        try:
            data = b"".join(parts)
            meta = SnapshotMeta(index, term, self._configuration, crc32c.crc32c(data), len(data))
            snapshot = Snapshot(meta, data)
            await self._storage.save_snapshot(snapshot)
            self._raft.compact(snapshot)
            self._storage.compact(self._raft.first_index - 1)
        except (DiskFailed, OSError) as error:
            self._fail(error)

    # The end

    def _fail(self, error: Exception) -> None:
        """The disk has failed: nothing that depends on it may leave any more, so nothing does."""
        if self._stopped is None:
            failed = (
                error
                if isinstance(error, DiskFailed)
                else DiskFailed(
                    f"this node can no longer keep the log ({error}); it takes no further part. "
                    "Mend the disk and start the node again"
                )
            )
            log.error("%s", failed)
            self._stop(failed)
            self._listener.on_failed(failed)

    def _stop(self, reason: Exception) -> None:
        if self._stopped is not None:
            return
        self._stopped = reason
        if self._timer is not None:
            self._timer.cancel()
        reads, self._reads = self._reads, {}
        for future in reads.values():
            if not future.done():
                future.set_exception(NotLeader(None))


def refusal_error(refused: ProposalRefused) -> NotLeader | Overloaded:
    """The store's error for what the core would not take."""
    if refused.reason is Refusal.OVERLOADED:
        return Overloaded("too many changes wait for a majority already; nothing happened, try again later")
    return NotLeader(refused.leader)
