"""Whose directory this is: the lock, and a record of the node, the directory's own id and its count of starts.

    lock         held by the process that uses the directory
    identity     this module's record, replaced as a whole
    log/         segments (`wal.py`)
    snapshots/   (`snapshots.py`)

The identity is the authority over the node's `creation`: each opening makes a new one durable before anything else
happens, so no two runs of a node share one. What must never happen here: that a directory which has held promises
is taken for a new one.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from crc32c import crc32c

from quorate.consensus.errors import DataDirInUse, LogCorrupt, NewerFormat, WrongDataDir
from quorate.core import DataDirError, DecodeError, DirectoryLock, Disk

from . import segments, snapshots
from .records import pack, unpack

IDENTITY = "identity"
FORMAT = 1
DIR_ID_BYTES = 16

_TEMPORARY = "identity.tmp"
_MAGIC = b"quorid\n"


@dataclass(frozen=True, slots=True)
class Identity:
    """The record. `cluster` is empty when none was ever given; `log_begun` once the directory has held a log."""

    node: str
    cluster: str
    dir_id: bytes
    creation: int
    log_begun: bool


class DataDir:
    """An open data directory. `creation` counts its openings, this one included; `dir_id` is random and its own."""

    def __init__(self, disk: Disk, lock: DirectoryLock, identity: Identity) -> None:
        self.disk = disk
        self._lock = lock
        self._identity = identity

    @property
    def node(self) -> str:
        return self._identity.node

    @property
    def cluster(self) -> str:
        return self._identity.cluster

    @property
    def creation(self) -> int:
        return self._identity.creation

    @property
    def dir_id(self) -> bytes:
        return self._identity.dir_id

    @property
    def log_begun(self) -> bool:
        """It has held a log; if it holds none now, somebody took it away."""
        return self._identity.log_begun

    async def mark_log_begun(self) -> None:
        """Durable, and for ever. Raises `OSError`."""
        if not self._identity.log_begun:
            identity = replace(self._identity, log_begun=True)
            await _write(self.disk, identity)
            self._identity = identity

    def close(self) -> None:
        """Let another process have it."""
        self._lock.release()


async def open_data_dir(
    disk: Disk, node_name: str, *, token: Callable[[int], bytes], cluster: str = ""
) -> DataDir:
    """Take the directory for this process, making it when it is empty or missing.

    `token` is `Entropy.token`. Raises `DataDirInUse`, `WrongDataDir`, `NewerFormat`, `LogCorrupt`, and `DataDirError`
    when the operating system refuses.
    """
    try:
        disk.make_dir()
        lock = disk.lock()
    except BlockingIOError as error:
        raise DataDirInUse(
            f"{disk.describe()} is in use ({error.strerror}): stop that process, or give this node a data "
            f"directory of its own"
        ) from error
    except OSError as error:
        raise refused(disk, error) from error
    try:
        identity = await _next_identity(disk, node_name, cluster, token)
        disk.make_dir(segments.DIRECTORY)
        disk.make_dir(snapshots.DIRECTORY)
        await _write(disk, identity)
    except OSError as error:
        lock.release()
        raise refused(disk, error) from error
    except BaseException:
        lock.release()
        raise
    return DataDir(disk, lock, identity)


def refused(disk: Disk, error: OSError) -> DataDirError:
    """What to raise when the operating system refuses at start."""
    return DataDirError(
        f"{disk.describe()} cannot be used: {error.strerror or error}. See to its permissions, its free space and "
        f"its disk, and start the node again"
    )


async def _next_identity(disk: Disk, node: str, cluster: str, token: Callable[[int], bytes]) -> Identity:
    where = disk.describe(IDENTITY)
    if not disk.exists(IDENTITY):
        held = disk.list(segments.DIRECTORY) + disk.list(snapshots.DIRECTORY)
        if held:
            raise LogCorrupt(
                f"{where} is missing, and the directory holds {held[0]}: it is not known whose it is. "
                f"{segments.ADVICE}",
                path=where,
            )
        return Identity(node, cluster, token(DIR_ID_BYTES), 1, False)
    file = disk.open(IDENTITY)
    try:
        data = file.read(0, file.size())
    finally:
        file.close()
    found = decode_identity(data, where)
    if found.node != node:
        raise WrongDataDir(
            f"{disk.describe()} belongs to node {found.node}, and this node is {node}: give it a data directory of "
            f"its own, or start it under the name {found.node}"
        )
    if cluster and found.cluster and cluster != found.cluster:
        raise WrongDataDir(
            f"{disk.describe()} belongs to cluster {found.cluster!r}, and this node is to join {cluster!r}: start it "
            f"as a member of that cluster, or give it a data directory of its own"
        )
    return replace(found, creation=found.creation + 1, cluster=found.cluster or cluster)


def encode_identity(identity: Identity) -> bytes:
    """magic 7 | format 1 | CRC32C of the rest 4 | msgpack."""
    body = pack([identity.node, identity.cluster, identity.dir_id, identity.creation, identity.log_begun])
    head = _MAGIC + FORMAT.to_bytes(1, "little")
    return head + crc32c(body, crc32c(head)).to_bytes(4, "little") + body


def decode_identity(data: bytes, where: str) -> Identity:
    """Raises `LogCorrupt`, `NewerFormat`."""
    head, crc, body = data[:8], data[8:12], data[12:]
    if head[:7] == _MAGIC and crc == crc32c(body, crc32c(head)).to_bytes(4, "little"):
        if head[7] > FORMAT:
            raise NewerFormat(
                f"{where} is in format {head[7]} and this version of quorate knows format {FORMAT}: it was written "
                f"by a newer one. Start the node with that version (or a newer one)"
            )
        try:
            match unpack(body):
                case [str(node), str(cluster), bytes(dir_id), int(creation), bool(log_begun)]:
                    return Identity(node, cluster, dir_id, creation, log_begun)
        except DecodeError:
            pass
    raise LogCorrupt(
        f"{where} does not read back: it is not known whose directory this is. {segments.ADVICE}", path=where
    )


async def _write(disk: Disk, identity: Identity) -> None:
    """Replace the record. Durable when it returns, and so are all names in the root. Raises `OSError`."""
    file = disk.open(_TEMPORARY, create=True)
    try:
        if file.size():
            file.truncate(0)
        file.append(encode_identity(identity))
        await file.sync()
    finally:
        file.close()
    disk.rename(_TEMPORARY, IDENTITY)
    await disk.sync_dir()
