"""Applies what is committed to the machine, a slice per turn of the loop, and takes pictures of the machine.

A node that starts with a long log, or was far behind, may have to apply for seconds; it must not be silent for as
long. The applier is the authority over which state of the machine is this node's. What must never happen here: an
entry applied twice, out of order, or left out.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import crc32c

from .machine import Outcome, StoreMachine
from .raft import Configuration, EntryBatch, Snapshot, SnapshotMeta

APPLY_SLICE = 500  # entries applied in one turn of the loop: some five milliseconds


@dataclass(frozen=True, slots=True)
class Applied:
    """One entry and what it did."""

    index: int
    term: int
    command: bytes
    outcome: Outcome


class Applier:
    """Works for one replica. `applied` is told of every slice, `failed` of an error, after which nothing is applied."""

    def __init__(
        self,
        machine: StoreMachine,
        applied: Callable[[Sequence[Applied]], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self.machine = machine
        self.term = 0  # of the last entry applied since the start; 0 before that
        self._applied = applied
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[int, int, Sequence[bytes]]] = deque()  # first index, term, commands
        self._scheduled = False
        self._stopped = False

    def take(self, batch: EntryBatch) -> None:
        """These entries are committed, and next in order. They will be applied in later turns of the loop."""
        index, position = batch.first_index, 0
        for run in batch.runs:
            self._waiting.append((index, run.term, batch.data[position : position + run.count]))
            index += run.count
            position += run.count
        self._soon()

    async def finish(self) -> None:
        """Return when nothing waits to be applied any more."""
        while self._waiting and not self._stopped:
            self._slice(APPLY_SLICE)
            await asyncio.sleep(0)

    def replace(self, machine: StoreMachine, term: int) -> StoreMachine:
        """Go on with the state of a snapshot, whose last entry is of this term. Returns the old state."""
        assert not self._waiting, "entries before the snapshot were left out"
        before, self.machine, self.term = self.machine, machine, term
        return before

    def stop(self) -> None:
        """Apply nothing more."""
        self._stopped = True

    async def snapshot(self, configuration: Configuration) -> Snapshot:
        """The state as of now. What is applied while it is put into bytes does not touch it."""
        index, term = self.machine.applied_index, self.term
        parts: list[bytes] = []
        for part in self.machine.capture().chunks():
            parts.append(part)
            await asyncio.sleep(0)
        data = b"".join(parts)
        return Snapshot(SnapshotMeta(index, term, configuration, crc32c.crc32c(data), len(data)), data)

    def _soon(self) -> None:
        if self._waiting and not self._scheduled and not self._stopped:
            self._scheduled = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        try:
            room = APPLY_SLICE
            while self._waiting and room > 0 and not self._stopped:
                room -= self._slice(room)
        except Exception as error:  # noqa: BLE001 -- a machine left in the middle of an entry is worth nothing
            self._stopped = True
            self._failed(error)
        self._soon()

    def _slice(self, most: int) -> int:
        """Apply the next entries, at most so many, all of one term. How many there were."""
        index, term, commands = self._waiting.popleft()
        if len(commands) > most:
            self._waiting.appendleft((index + most, term, commands[most:]))
            commands = commands[:most]
        apply = self.machine.apply
        applied: list[Applied] = []
        for command in commands:
            applied.append(Applied(index, term, command, apply(index, command)))
            index += 1
        self.term = term
        self._applied(applied)
        return len(applied)
