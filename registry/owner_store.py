"""The transactions by which the ownership of one singleton begins, moves, goes on and ends.

Each is guarded by what it was decided on, and says what holds afterwards: who owns (or nobody), as of which revision.
All raise `StoreError`s; after `OutcomeUnknown` a transaction may still be carried out, until its guard fails.
"""

from quorate.consensus import (
    Compare,
    Delete,
    Get,
    KeyValue,
    Op,
    Put,
    Store,
    absent,
    session_alive,
    unchanged,
)
from quorate.core import Codec, Pid

from .errors import ClaimLost
from .keys import ASSIGNMENTS, CHECKPOINTS, HANDED_OVER, OWNERS
from .ownership import Own
from .records import (
    CHECKPOINT_ON_MOVE_BYTES,
    Checkpoint,
    decode_checkpoint,
    decode_handed_over,
    decode_own,
    encode_checkpoint,
    encode_handed_over,
    encode_own,
)
from .running import Running

Answer = tuple[Own | None, int]


class OwnerStore:
    """The records of the singleton `name`, for the host `me`."""

    def __init__(self, store: Store, codec: Codec, name: bytes, me: Pid) -> None:
        self._store = store
        self._codec = codec
        self._me = me
        self._own, self._assignment = OWNERS + name, ASSIGNMENTS + name
        self._checkpoint, self._handed_over = CHECKPOINTS + name, HANDED_OVER + name

    async def acquire(self, session: int, assigned_revision: int) -> Answer:
        """Become the owner, if nobody is and the assignment has not changed."""
        guard = [absent(self._own), unchanged(self._assignment, assigned_revision)]
        return await self._do(guard, [self._put_own(self._me, session)])

    async def release(self, fence: int) -> Answer:
        """Give the ownership up."""
        return await self._do([unchanged(self._own, fence)], [Delete(self._own)], leaves=True)

    async def commit(self, running: Running, target: Pid, target_session: int, attempt: int) -> Answer:
        """Make `target` the owner, with what was handed over; unless its session is over."""
        assert running.encoded is not None
        then = [self._put_own(target, target_session, running.fence, attempt), self._put_handed_over(running)]
        if len(running.encoded) <= CHECKPOINT_ON_MOVE_BYTES:
            then.append(self._put_checkpoint(running.fence, running.encoded))
        return await self._do([unchanged(self._own, running.fence), session_alive(target_session)], then)

    async def reclaim(self, fence: int, session: int) -> Answer:
        """Go on under a new fence, so that whatever is guarded by the old one can only fail."""
        return await self._do([unchanged(self._own, fence)], [self._put_own(self._me, session, fence)])

    async def retire(self, running: Running) -> tuple[bool, Own | None, int]:
        """Give the ownership up with its state as the checkpoint. The fence counts as handed over: nobody has to
        reconcile with it. The first is False when the ownership was over before."""
        assert running.encoded is not None
        then = [self._put_checkpoint(running.fence, running.encoded), self._put_handed_over(running)]
        result = await self._store.txn(
            [unchanged(self._own, running.fence)], [*then, Delete(self._own)], [Get(self._own)]
        )
        own = None if result.succeeded else self._read(result.results[0])
        return result.succeeded, own, result.revision

    async def recall(self, running: Running) -> bytes | None:
        """The last checkpoint, encoded; and, into `running`, what it needs to write the next one."""
        item = await self._store.get(self._checkpoint)
        handed_over = await self._store.get(self._handed_over)
        running.checkpoint_revision = item.mod_revision if item is not None else 0
        running.handed_over = decode_handed_over(self._codec, handed_over)
        return decode_checkpoint(self._codec, item).data if item is not None else None

    async def checkpoint(self, running: Running, term: object, data: bytes) -> None:
        """Each is guarded by the last, so that a late one never replaces a newer one. Raises `ClaimLost`."""
        put = self._put_checkpoint(running.fence, data)
        async with running.checkpointing:
            while True:
                result = await self._store.txn(
                    [
                        unchanged(self._own, running.fence),
                        unchanged(self._checkpoint, running.checkpoint_revision),
                    ],
                    [put],
                    [Get(self._checkpoint), Get(self._own)],
                )
                item = result.results[0]
                running.checkpoint_revision = item.mod_revision if item is not None else 0
                if result.succeeded:
                    return
                own = result.results[1]
                if own is None or own.mod_revision != running.fence:
                    raise ClaimLost(term, running.fence)

    async def _do(self, guard: list[Compare], then: list[Op], *, leaves: bool = False) -> Answer:
        """A transaction whose first operation is on the owner's record; `leaves` nobody owns when it succeeds."""
        result = await self._store.txn(guard, then, [Get(self._own)])
        own = None if leaves and result.succeeded else self._read(result.results[0])
        return own, result.revision

    def _read(self, item: KeyValue | None) -> Own | None:
        return None if item is None else decode_own(self._codec, item)

    def _put_own(self, host: Pid, session: int, after: int = 0, attempt: int = 0) -> Op:
        own = Own(host.node, host.creation, host, after, attempt)
        return Put(self._own, encode_own(self._codec, own), session)

    def _put_handed_over(self, running: Running) -> Op:
        fences = (*running.handed_over, running.fence)
        return Put(self._handed_over, encode_handed_over(self._codec, fences))

    def _put_checkpoint(self, fence: int, data: bytes) -> Op:
        return Put(self._checkpoint, encode_checkpoint(self._codec, Checkpoint(fence, data)))
