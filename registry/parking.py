"""State that could not be handed over, kept until the living owner has taken it: in memory, and on disk if there is one.

One file per name and fence under `parked/`: length, CRC-32C, then the record. Written to a temporary file, synced,
renamed, and the directory synced, so that a file is whole or absent. The node that parked a state is its authority
until an owner has acknowledged it. What must never happen here: a state is let go before that.
"""

import hashlib
import logging
import struct
from dataclasses import dataclass

import crc32c

from quorate.core import DecodeError, Disk, pack, unpack

log = logging.getLogger("quorate.registry")

DIRECTORY = "parked"
_HEAD = struct.Struct(">II")
_SUFFIX, _TEMPORARY = ".parked", ".tmp"


@dataclass(frozen=True, slots=True)
class ParkedState:
    """The encoded state that the ownership `fence` of a singleton left on `node`."""

    name: bytes
    fence: int
    node: str
    data: bytes

    @property
    def path(self) -> str:
        return f"{DIRECTORY}/{hashlib.sha256(self.name).hexdigest()[:32]}-{self.fence:020d}{_SUFFIX}"


def encode_parked(state: ParkedState) -> bytes:
    """The contents of its file."""
    body = pack([state.name, state.fence, state.node, state.data])
    return _HEAD.pack(len(body), crc32c.crc32c(body)) + body


def decode_parked(data: bytes) -> ParkedState:
    """Raises `DecodeError`."""
    if len(data) < _HEAD.size:
        raise DecodeError("the file is too short")
    length, checksum = _HEAD.unpack_from(data)
    body = data[_HEAD.size :]
    if len(body) != length or crc32c.crc32c(body) != checksum:
        raise DecodeError("its length or checksum is wrong")
    match unpack(body):
        case [bytes(name), int(fence), str(node), bytes(state)]:
            return ParkedState(name, fence, node, state)
    raise DecodeError("it holds no parked state")


class Parking:
    """The parked states of one node. Without a disk they live as long as the process."""

    def __init__(self, disk: Disk | None) -> None:
        self._disk = disk
        self._states: dict[tuple[bytes, int], ParkedState] = {}
        if disk is not None:
            self._load(disk)

    def of(self, name: bytes) -> list[ParkedState]:
        """What is parked of a singleton, the oldest first."""
        return sorted(
            (state for state in self._states.values() if state.name == name), key=lambda state: state.fence
        )

    def names(self) -> list[bytes]:
        """Of whom anything is parked, each once, in the order of their parking."""
        return list(dict.fromkeys(name for name, _ in self._states))

    def __len__(self) -> int:
        return len(self._states)

    async def keep(self, state: ParkedState) -> None:
        """Keep a state; on disk when this returns. A disk that fails is logged: the state stays in memory."""
        self._states[state.name, state.fence] = state
        if self._disk is None:
            return
        try:
            await self._write(self._disk, state)
        except OSError as error:
            log.error("parked state cannot be written to %s: %s", self._disk.describe(state.path), error)

    async def let_go(self, name: bytes, fence: int) -> None:
        """The living owner has it."""
        state = self._states.pop((name, fence), None)
        if state is None or self._disk is None or not self._disk.exists(state.path):
            return
        try:
            self._disk.remove(state.path)
            await self._disk.sync_dir(DIRECTORY)
        except OSError as error:
            log.error("parked state cannot be removed from %s: %s", self._disk.describe(state.path), error)

    async def _write(self, disk: Disk, state: ParkedState) -> None:
        disk.make_dir(DIRECTORY)
        temporary = state.path + _TEMPORARY
        file = disk.open(temporary, create=True)
        try:
            file.truncate(0)
            file.append(encode_parked(state))
            await file.sync()
        finally:
            file.close()
        disk.rename(temporary, state.path)
        await disk.sync_dir(DIRECTORY)

    def _load(self, disk: Disk) -> None:
        for entry in disk.list(DIRECTORY):
            path = f"{DIRECTORY}/{entry}"
            if entry.endswith(_TEMPORARY):
                disk.remove(path)
            elif entry.endswith(_SUFFIX):
                file = disk.open(path)
                try:
                    state = decode_parked(file.read(0, file.size()))
                    self._states[state.name, state.fence] = state
                except DecodeError as error:
                    log.error(
                        "%s is damaged and left alone: %s; move it away once you have seen to it",
                        disk.describe(path),
                        error,
                    )
                finally:
                    file.close()
