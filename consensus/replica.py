"""One replica of the store: the shell that performs what the Raft core decides.

The core (`raft/`) is the authority over term, log and leadership, the machine over keys and sessions; the
replica owns neither. It carries messages, time and finished writes into the core, and performs each `Ready`: it
writes, syncs in groups, sends, and applies in order. What must never happen here: a message that leaves before
what it depends on is durable (the core holds such messages back until `persisted`), an entry applied twice or
left out, or anything at all after the disk has failed. Any error that nobody expected ends the replica for good: the
others go on, and a core or a machine that was left in the middle of something is asked nothing more.

Work is gathered per turn of the loop: however many proposals, reads and messages arrive in one turn, the core is
asked once, and what it wants written is one append. While a sync is under way the core goes on; the next sync
covers everything written meanwhile. While a snapshot of the leader's is being saved, what the core wants written
waits behind it, and everything else goes on.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from quorate.core import Clock, DecodeError, Timer, pack, unpack

from .applier import Applied, Applier
from .errors import DiskFailed, NotLeader, Overloaded, StoreError, StoreStopped
from .machine import StoreMachine
from .raft import (
    Configuration,
    ProposalRefused,
    Raft,
    Ready,
    Refusal,
    Role,
    Snapshot,
    decode,
    encode,
)
from .read_index import ReadIndexes
from .storage import RaftStorage

log = logging.getLogger("quorate.consensus")

Refused = Callable[[StoreError], object]


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

    def on_failed(self, error: StoreError) -> None:
        """The replica has stopped for good."""
        ...


class Replica:
    """Drives one `Raft` over its storage and machine. All methods are for the loop's thread.

    `send(peer, payload)` hands a message to the network, may drop it, and must not raise.
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
        snapshot_after_bytes: int,
    ) -> None:
        self._raft = raft
        self._configuration = configuration
        self._storage = storage
        self._applier = Applier(machine, self._slice_applied, self.fail)
        self._clock = clock
        self._send = send
        self._listener = listener
        self._snapshot_after_bytes = snapshot_after_bytes
        self._loop = asyncio.get_running_loop()
        self._proposals: list[tuple[bytes, Refused]] = []
        self._reads = ReadIndexes(raft)
        self._written = 0  # write_seq of the last Ready given to the storage
        self._durable = 0
        self._unwritten: deque[Ready] = deque()  # their writes wait for the snapshot that is being installed
        self._pumping = False  # a pump is scheduled
        self._syncing = False
        self._installing = False
        self._snapshotting = False
        self._ready_term = 0  # the last term of its own in which it was told to be ready to lead
        self._timer: Timer | None = None
        self._timer_due = 0.0
        self._tasks: dict[asyncio.Task[None], None] = {}  # in the order in which they began
        self._stopped: StoreError | None = None
        self._wake()

    # What it knows

    @property
    def raft(self) -> Raft:
        """The core, for reading its facts."""
        return self._raft

    @property
    def machine(self) -> StoreMachine:
        """The state as applied here. It is another object after `on_restored`."""
        return self._applier.machine

    @property
    def stopped(self) -> bool:
        """It has ended, for good."""
        return self._stopped is not None

    def leading(self) -> bool:
        """It leads as far as it knows. It may still have old entries to apply: see `ready_to_lead`."""
        return self._stopped is None and self._raft.role is Role.LEADER

    def ready_to_lead(self) -> bool:
        """It leads and has applied an entry of its own term, so it has applied all that was ever acknowledged before."""
        return self.leading() and self._applier.term == self._raft.term

    # What it is asked

    def propose(self, command: bytes, refused: Refused) -> None:
        """Bring a command into the log if this replica leads. What became of it shows when it is applied.

        Raises `NotLeader`, `DiskFailed`, `StoreStopped`; then nothing happened. `refused(error)` is called in a later
        turn with `NotLeader` or `Overloaded` when the core does not take it; then nothing happened either.
        """
        self.check_leading()
        self._proposals.append((command, refused))
        self._wake()

    def read_index(self) -> asyncio.Future[int]:
        """An index that covers all that was acknowledged before this call, confirmed by a quorum.

        The future raises `NotLeader` when leadership was lost meanwhile. Raises as `propose` does.
        """
        self.check_leading()
        self._wake()
        return self._reads.ask()

    def check_leading(self) -> None:
        """Raises `NotLeader` unless this replica leads as far as it knows; `DiskFailed`, `StoreStopped` if it ended."""
        if self._stopped is not None:
            raise type(self._stopped)(*self._stopped.args)
        if self._raft.role is not Role.LEADER:
            raise NotLeader(self._raft.leader)

    def transfer(self, target: str) -> None:
        """Hand leadership to `target`, a voter, if this replica leads. Raises as `check_leading` does."""
        self.check_leading()
        self._raft.transfer(target, self._clock.monotonic())
        self._wake()

    def receive(self, peer: str, payload: bytes) -> None:
        """A message from another replica. Raises `DecodeError` for bytes that are none; nothing happened then."""
        if self._stopped is not None:
            return
        try:
            message = decode(unpack(payload))
        except ValueError as error:
            raise DecodeError(f"{peer} sent no Raft message: {error}") from error
        self._guard(lambda: self._raft.step(peer, message, self._clock.monotonic()))

    def peer_down(self, peer: str) -> None:
        """The connection to a peer broke: a hint, no proof of anything."""
        if self._stopped is None:
            self._guard(lambda: self._raft.unreachable(peer, self._clock.monotonic()))

    def abandon(self) -> None:
        """Stop in the middle of everything, as a killed process does."""
        self._stop(StoreStopped("the store was abandoned"))
        self._storage.abandon()
        for task in self._tasks:
            task.cancel()

    def fail(self, error: Exception) -> None:
        """End here and now: nothing that depends on what has failed may leave any more, so nothing does."""
        if self._stopped is not None:
            log.debug("after the end: %r", error)
            return
        if isinstance(error, DiskFailed):
            failure: StoreError = error
        elif isinstance(error, OSError):
            failure = DiskFailed(
                f"this node can no longer keep the log ({error}); it takes no further part. Mend the disk and start "
                "the node again"
            )
        else:
            log.error("the replica met an error that it has no answer to, and ends", exc_info=error)
            failure = StoreStopped(
                f"this node's store has stopped at an internal error ({error!r}): report it, and start the node again"
            )
        log.error("%s", failure)
        self._stop(failure)
        self._listener.on_failed(failure)

    async def close(self) -> None:
        """Stop, with everything that was written on the disk. A replica that has failed is closed as well."""
        self._stop(StoreStopped("the store was closed; nothing happened"))
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._storage.close()

    # The pump

    def _wake(self) -> None:
        if not self._pumping and self._stopped is None:
            self._pumping = True
            self._loop.call_soon(self._pump)

    def _guard(self, step: Callable[[], None]) -> None:
        """Do something to the core. What it raises ends the replica."""
        try:
            step()
        except Exception as error:  # noqa: BLE001 -- whatever it is: see the head of the module
            self.fail(error)
        else:
            self._wake()

    def _pump(self) -> None:
        self._pumping = False
        if self._stopped is not None:
            return
        now = self._clock.monotonic()
        try:
            self._feed(now)
            while self._stopped is None and (ready := self._raft.ready(now)) is not None:
                self._perform(ready)
        except Exception as error:  # noqa: BLE001 -- whatever it is: see the head of the module
            self.fail(error)
        if self._stopped is None:
            if self._written > self._durable and not self._syncing:
                self._syncing = True
                self._start(self._sync)
            self._arm(now)

    def _feed(self, now: float) -> None:
        if self._proposals:
            proposals, self._proposals = self._proposals, []
            try:
                self._raft.propose([command for command, _ in proposals], now)
            except ProposalRefused as error:
                for _, refused in proposals:
                    refused(_refusal(error))
        self._reads.feed(now)

    def _perform(self, ready: Ready) -> None:
        """In the order that `Ready` demands: write, send, apply, answer reads."""
        if ready.write_seq:
            self._write(ready)
        packed: dict[int, bytes] = {}  # one message may be addressed to several peers
        for peer, message in ready.messages:
            payload = packed.get(id(message))
            if payload is None:
                payload = packed[id(message)] = pack(encode(message))
            self._send(peer, payload)
        if ready.committed is not None:
            self._applier.take(ready.committed)
        self._reads.answer(ready.reads, ready.failed_reads)
        if ready.status is not None:
            self._listener.on_leadership()

    # Writing

    def _write(self, ready: Ready) -> None:
        if self._installing:
            self._unwritten.append(ready)
        elif ready.snapshot is not None:
            self._installing = True
            self._start(self._install, ready, ready.snapshot)
        else:
            self._storage.write(hard_state=ready.hard_state, entries=ready.entries)
            self._written = ready.write_seq

    async def _sync(self) -> None:
        """Make durable what was written, again and again until nothing is left."""
        try:
            while self._written > self._durable and self._stopped is None:
                covered = self._written
                await self._storage.sync()
                self._persisted(covered)
        finally:
            self._syncing = False

    def _persisted(self, write_seq: int) -> None:
        if self._stopped is None:
            self._durable = max(self._durable, write_seq)
            self._raft.persisted(write_seq, self._clock.monotonic())
            self._wake()

    def _slice_applied(self, applied: Sequence[Applied]) -> None:
        self._raft.applied(applied[-1].index)
        self._listener.on_applied(applied)
        if self.ready_to_lead() and self._ready_term != self._raft.term:
            self._ready_term = self._raft.term
            self._listener.on_leadership()
        if not self._snapshotting and self._storage.bytes_since_snapshot >= self._snapshot_after_bytes:
            self._snapshotting = True
            self._start(self._snapshot)

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
            self._guard(lambda: self._raft.tick(self._clock.monotonic()))

    # Snapshots

    async def _snapshot(self) -> None:
        """Write the state as of the last applied entry, then let go of the log before it."""
        try:
            snapshot = await self._applier.snapshot(self._configuration)
            await self._storage.save_snapshot(snapshot)
            self._raft.compact(snapshot)
            # The core may have moved on to a later snapshot, the leader's, that is not saved yet.
            self._storage.compact(min(self._raft.first_index - 1, snapshot.meta.index))
        finally:
            self._snapshotting = False

    async def _install(self, ready: Ready, snapshot: Snapshot) -> None:
        """Save a snapshot that the leader sent, and become it. The core's later writes wait meanwhile."""
        machine = StoreMachine()
        machine.restore(snapshot.data)
        self._storage.write(hard_state=ready.hard_state)
        await self._storage.save_snapshot(snapshot)
        self._storage.write(entries=ready.entries)
        await self._storage.sync()
        await self._applier.finish()
        if self._stopped is not None:
            return
        meta = snapshot.meta
        before = self._applier.replace(machine, meta.term)
        self._raft.applied(meta.index)
        log.info("took over a snapshot at entry %d of term %d", meta.index, meta.term)
        self._listener.on_restored(before)
        self._installing = False
        self._written = ready.write_seq
        self._persisted(ready.write_seq)
        waiting, self._unwritten = self._unwritten, deque()
        for later in waiting:
            self._write(later)

    # The end

    def _start(self, work: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
        """Do `work` beside the pump. What it raises ends the replica."""

        async def guarded() -> None:
            try:
                await work(*args)
            except Exception as error:  # noqa: BLE001 -- whatever it is: see the head of the module
                self.fail(error)

        task = self._loop.create_task(guarded())
        self._tasks[task] = None
        task.add_done_callback(self._tasks.pop)

    def _stop(self, reason: StoreError) -> None:
        if self._stopped is not None:
            return
        self._stopped = reason
        self._applier.stop()
        if self._timer is not None:
            self._timer.cancel()
        self._reads.fail_all()


def _refusal(refused: ProposalRefused) -> NotLeader | Overloaded:
    """The store's error for what the core would not take."""
    if refused.reason is Refusal.OVERLOADED:
        return Overloaded("too many changes wait for a majority already; nothing happened, try again later")
    return NotLeader(refused.leader)
