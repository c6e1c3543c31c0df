"""A disk in memory that loses, at a crash, what a real one may lose. It implements the `Disk` port.

    disk = SimDisk("a")
    ...                                  # the code under test uses it
    disk = disk.crash(entropy)           # power is lost; the next run of the node gets what is left
    disk = disk.kill()                   # the process alone dies: the kernel still has every byte

What survives a loss of power is what had been synced, and of the rest what `crash` draws from its entropy:

* *Bytes.* Appends and cuts since the last `sync` of a file survive up to a random one, which is torn at a random byte.
  With `out_of_order`, each survives whole, torn, as zeros or not at all by itself, and a hole below reads as zeros.
* *Names.* Creations, renames and removals survive, per directory, up to a random one since its last `sync_dir`; with
  `out_of_order`, any of them. A file whose name is lost is lost, however often its bytes were synced.

Faults: `capacity_bytes` (a full disk writes the part that fits, then `ENOSPC`), `fail` (an error for an operation on
chosen paths), `freeze` (syncs wait until `thaw`), `flip` (a bit rots). A sync that fails drops the dirty bytes as Linux
does: they still read back, they are not on the disk, and a later sync says nothing about them.

The medium is the authority over bytes and names; a `SimDisk` is one boot's view of it. After `crash` or `kill` the old
view answers every call with an error, so that what is left of a dead process cannot change what its successor
reads. Everything random comes from the entropy that is passed in: the same draws, the same disk.
"""

import asyncio
import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from quorate.core import Clock, ConfigError, DirectoryLock, Entropy, File, sleep

Operation = Literal["read", "append", "sync"]


@dataclass(slots=True)
class _Append:
    offset: int
    data: bytes


@dataclass(slots=True)
class _Cut:
    size_bytes: int


class _Inode:
    """A file's bytes: as they read, as they are on the platter, and the changes in between, oldest first."""

    __slots__ = ("dirty", "durable", "seen", "version")

    def __init__(self) -> None:
        self.seen = bytearray()
        self.durable = bytearray()
        self.dirty: list[tuple[int, _Append | _Cut]] = []
        self.version = 0

    def change(self, change: _Append | _Cut) -> None:
        _apply(self.seen, change)
        self.version += 1
        self.dirty.append((self.version, change))

    def take_dirty(self, version: int) -> list[_Append | _Cut]:
        """The changes up to `version`, which are dirty no more."""
        taken = [change for number, change in self.dirty if number <= version]
        self.dirty = [(number, change) for number, change in self.dirty if number > version]
        return taken

    def crash(self, rng: Entropy, out_of_order: bool) -> None:
        changes = self.take_dirty(self.version)
        for change in _survivors(changes, rng, out_of_order):
            _apply(self.durable, change)
        self.seen = bytearray(self.durable)


def _apply(content: bytearray, change: _Append | _Cut) -> None:
    if isinstance(change, _Cut):
        del content[change.size_bytes :]
        return
    content.extend(bytes(max(0, change.offset - len(content))))  # a hole reads as zeros
    content[change.offset : change.offset + len(change.data)] = change.data


def _survivors(changes: list[_Append | _Cut], rng: Entropy, out_of_order: bool) -> list[_Append | _Cut]:
    if out_of_order:
        return [_scarred(change, rng) for change in changes if rng.random() < 0.75]
    count = _draw(rng, len(changes) + 1)
    survivors = changes[:count]
    if count < len(changes) and isinstance(next_change := changes[count], _Append):
        survivors.append(_torn(next_change, rng))
    return survivors


def _scarred(change: _Append | _Cut, rng: Entropy) -> _Append | _Cut:
    """Whole, torn, or (the file has grown, its bytes never came) zeros."""
    fate = rng.random()
    if fate < 0.6 or isinstance(change, _Cut):
        return change
    return _torn(change, rng) if fate < 0.8 else _Append(change.offset, bytes(len(change.data)))


def _torn(change: _Append, rng: Entropy) -> _Append:
    return _Append(change.offset, change.data[: _draw(rng, len(change.data) + 1)])


def _draw(rng: Entropy, below: int) -> int:
    return min(below - 1, int(rng.random() * below))


@dataclass(frozen=True, slots=True)
class _NameChange:
    """In one directory: `name` comes to stand for `entry` (None: for nothing); a rename also frees `source`."""

    name: str
    entry: "_Inode | _Directory | None"
    source: str | None = None


class _Directory:
    """Names, as they are seen and as they are on the platter, and the changes in between, oldest first."""

    __slots__ = ("dirty", "durable", "seen")

    def __init__(self) -> None:
        self.seen: dict[str, _Inode | _Directory] = {}
        self.durable: dict[str, _Inode | _Directory] = {}
        self.dirty: list[_NameChange] = []

    def change(self, change: _NameChange) -> None:
        _rename(self.seen, change)
        self.dirty.append(change)

    def crash(self, rng: Entropy, out_of_order: bool) -> None:
        changes, self.dirty = self.dirty, []
        if out_of_order:
            changes = [change for change in changes if rng.random() < 0.5]
        else:
            changes = changes[: _draw(rng, len(changes) + 1)]
        for change in changes:
            _rename(self.durable, change)
        self.seen = dict(self.durable)
        for name in sorted(self.seen):
            self.seen[name].crash(rng, out_of_order)


def _rename(names: "dict[str, _Inode | _Directory]", change: _NameChange) -> None:
    if change.source is not None:
        names.pop(change.source, None)
    if change.entry is None:
        names.pop(change.name, None)
    else:
        names[change.name] = change.entry


@dataclass(frozen=True, slots=True)
class DiskFault:
    """A standing fault: `operation` on a path for which `matches` is true raises `OSError(error)`."""

    operation: Operation
    matches: Callable[[str], bool]
    error: int


@dataclass(slots=True)
class _Medium:
    """What outlives a boot."""

    name: str
    capacity_bytes: int | None
    root: _Directory = field(default_factory=_Directory)
    faults: list[DiskFault] = field(default_factory=list)
    frozen: bool = False
    frozen_syncs: list[asyncio.Future[None]] = field(default_factory=list)
    syncs: int = 0
    latency_s: float = 0.0
    failures: int = 0
    delayed_syncs: int = 0

    def used_bytes(self, directory: _Directory | None = None) -> int:
        entries = (directory or self.root).seen.values()
        return sum(self.used_bytes(e) if isinstance(e, _Directory) else len(e.seen) for e in entries)


class SimFile:
    """One open file of a `SimDisk`."""

    def __init__(self, disk: "SimDisk", inode: _Inode, path: str) -> None:
        self._disk = disk
        self._inode = inode
        self._path = path
        self._open = True

    def size(self) -> int:
        self._require_open()
        return len(self._inode.seen)

    def read(self, offset: int, size_bytes: int) -> bytes:
        self._require_open("read")
        return bytes(self._inode.seen[offset : offset + size_bytes])

    def append(self, data: bytes) -> None:
        self._require_open("append")
        room = self._disk.free_bytes()
        if room is not None and len(data) > room:
            self._disk.count_failure()
            if room > 0:
                self._inode.change(_Append(len(self._inode.seen), bytes(data[:room])))
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if data:
            self._inode.change(_Append(len(self._inode.seen), bytes(data)))

    def truncate(self, size_bytes: int) -> None:
        self._require_open()
        if size_bytes < len(self._inode.seen):
            self._inode.change(_Cut(size_bytes))

    async def sync(self) -> None:
        self._require_open()
        version = self._inode.version
        await self._disk.reach_platter()
        self._disk.require_alive()
        try:
            self._disk.require_sound("sync", self._path)
        except OSError:
            self._inode.take_dirty(version)  # no longer dirty, and not on the platter
            raise
        for change in self._inode.take_dirty(version):
            _apply(self._inode.durable, change)

    def close(self) -> None:
        self._open = False

    def _require_open(self, operation: Operation | None = None) -> None:
        self._disk.require_alive()
        if not self._open:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        if operation is not None:
            self._disk.require_sound(operation, self._path)


class SimLock:
    """The lock of a `SimDisk`."""

    def __init__(self, disk: "SimDisk") -> None:
        self._disk = disk

    def release(self) -> None:
        self._disk.release(self)


class SimDisk:
    """One boot's view of a simulated disk: see the head of the module."""

    def __init__(
        self, name: str = "disk", *, capacity_bytes: int | None = None, clock: Clock | None = None
    ) -> None:
        self._medium = _Medium(name, capacity_bytes)
        self._clock = clock
        self._alive = True
        self._lock: SimLock | None = None

    # Crashes

    def crash(self, rng: Entropy, *, out_of_order: bool = False, clock: Clock | None = None) -> "SimDisk":
        """Lose power. Returns the disk that the next boot finds; this one is dead, its frozen syncs fail.

        `clock` is the next boot's, by default this one's.
        """
        self._die()
        self._medium.root.crash(rng, out_of_order)
        return self._next_boot(clock)

    def kill(self, *, clock: Clock | None = None) -> "SimDisk":
        """End the process alone. Returns the disk for the next one: nothing is lost, nothing got durable."""
        self._die()
        return self._next_boot(clock)

    # Faults

    def set_capacity(self, capacity_bytes: int | None) -> None:
        """Bound the bytes of all files together; None for no bound."""
        self._medium.capacity_bytes = capacity_bytes

    def fail(
        self,
        operation: Operation,
        matches: Callable[[str], bool] = lambda path: True,
        *,
        error: int = errno.EIO,
    ) -> DiskFault:
        """Let `operation` on paths for which `matches(path)` is true raise `OSError(error)` until `mend`.

        `sync` covers `sync_dir` as well.
        """
        fault = DiskFault(operation, matches, error)
        self._medium.faults.append(fault)
        return fault

    def mend(self, fault: DiskFault | None = None) -> None:
        """End one fault, or all."""
        if fault is None:
            self._medium.faults.clear()
        else:
            self._medium.faults.remove(fault)

    def freeze(self) -> None:
        """Let syncs wait, those that are called from now on, until `thaw` (or the end of this boot)."""
        self._medium.frozen = True

    def thaw(self) -> None:
        """Let the frozen syncs go on, in the order in which they were called."""
        self._medium.frozen = False
        waiting, self._medium.frozen_syncs = self._medium.frozen_syncs, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def flip(self, path: str, offset: int, mask: int = 1) -> None:
        """Let the bits of `mask` rot in the byte at `offset`, on the platter and in what is read."""
        inode = self._file(path)
        for content in (inode.seen, inode.durable):
            if offset < len(content):
                content[offset] ^= mask

    @property
    def latency_s(self) -> float:
        """How long a sync takes on the clock of the boot. Raises `ConfigError` when set for a disk without a clock."""
        return self._medium.latency_s

    @latency_s.setter
    def latency_s(self, seconds: float) -> None:
        if self._clock is None:
            raise ConfigError("a disk without a clock cannot be slow: SimDisk(name, clock=clock)")
        self._medium.latency_s = seconds

    # What tests look at

    @property
    def syncs(self) -> int:
        """How many syncs of files and directories were asked for, over all boots."""
        return self._medium.syncs

    @property
    def failures(self) -> int:
        """How many calls met a standing fault, or a full disk, over all boots."""
        return self._medium.failures

    @property
    def delayed_syncs(self) -> int:
        """How many syncs were frozen, or took `latency_s`, over all boots."""
        return self._medium.delayed_syncs

    def dirty(self) -> int:
        """How many changes a loss of power could take now: of bytes and of names."""

        def count(entry: _Inode | _Directory) -> int:
            if isinstance(entry, _Inode):
                return len(entry.dirty)
            return len(entry.dirty) + sum(count(inner) for inner in entry.seen.values())

        return count(self._medium.root)

    def frozen_syncs(self) -> int:
        """How many syncs wait for `thaw` now."""
        return sum(not future.done() for future in self._medium.frozen_syncs)

    def files(self) -> list[str]:
        """The paths of all files, sorted."""
        found: list[str] = []

        def walk(directory: _Directory, prefix: str) -> None:
            for name, entry in directory.seen.items():
                if isinstance(entry, _Directory):
                    walk(entry, f"{prefix}{name}/")
                else:
                    found.append(prefix + name)

        walk(self._medium.root, "")
        return sorted(found)

    def content(self, path: str) -> bytes:
        """The bytes of a file as they read."""
        return bytes(self._file(path).seen)

    def durable_content(self, path: str) -> bytes:
        """The bytes of a file that are on the platter (its name may not be)."""
        return bytes(self._file(path).durable)

    def free_bytes(self) -> int | None:
        """What still fits; None without a bound."""
        capacity = self._medium.capacity_bytes
        return None if capacity is None else max(0, capacity - self._medium.used_bytes())

    # The port

    def describe(self, path: str = "") -> str:
        return f"{self._medium.name}:/{path}"

    def open(self, path: str, *, create: bool = False) -> File:
        self.require_alive()
        directory, name = self._parent(path)
        entry = directory.seen.get(name)
        if entry is None:
            if not create:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            entry = _Inode()
            directory.change(_NameChange(name, entry))
        if isinstance(entry, _Directory):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        return SimFile(self, entry, path)

    def exists(self, path: str) -> bool:
        self.require_alive()
        try:
            directory, name = self._parent(path)
        except FileNotFoundError:
            return False
        return name in directory.seen

    def list(self, path: str = "") -> list[str]:
        self.require_alive()
        try:
            return sorted(self._directory(path).seen)
        except FileNotFoundError:
            return []

    def make_dir(self, path: str = "") -> None:
        self.require_alive()
        directory = self._medium.root
        for part in _parts(path):
            entry = directory.seen.get(part)
            if entry is None:
                entry = _Directory()
                directory.change(_NameChange(part, entry))
            if not isinstance(entry, _Directory):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
            directory = entry

    def rename(self, source: str, target: str) -> None:
        """As the port says; within one directory (`ValueError`), since only one is synced afterwards."""
        self.require_alive()
        directory, name = self._parent(source)
        target_directory, target_name = self._parent(target)
        if directory is not target_directory:
            raise ValueError(f"{source!r} and {target!r} are not in the same directory")
        if name not in directory.seen:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), source)
        directory.change(_NameChange(target_name, directory.seen[name], name))

    def remove(self, path: str) -> None:
        self.require_alive()
        self._file(path)
        directory, name = self._parent(path)
        directory.change(_NameChange(name, None))

    async def sync_dir(self, path: str = "") -> None:
        self.require_alive()
        directory = self._directory(path)
        count = len(directory.dirty)
        changes = directory.dirty[:count]
        await self.reach_platter()
        self.require_alive()
        self.require_sound("sync", path)
        for change in changes:
            if change in directory.dirty:
                directory.dirty.remove(change)
                _rename(directory.durable, change)

    def lock(self) -> DirectoryLock:
        self.require_alive()
        if self._lock is not None:
            raise BlockingIOError(errno.EWOULDBLOCK, "held by another user of the simulated disk")
        self._lock = SimLock(self)
        return self._lock

    # For the parts of this module

    def release(self, lock: SimLock) -> None:
        """Called by the lock."""
        if self._lock is lock:
            self._lock = None

    def require_alive(self) -> None:
        """Raises `OSError` in what is left of a process that was killed."""
        if not self._alive:
            raise OSError(errno.EIO, f"this run of {self._medium.name} is over")

    def require_sound(self, operation: Operation, path: str) -> None:
        """Raises the `OSError` of a standing fault."""
        for fault in self._medium.faults:
            if fault.operation == operation and fault.matches(path):
                self.count_failure()
                raise OSError(fault.error, os.strerror(fault.error), self.describe(path))

    async def reach_platter(self) -> None:
        """Take the time of a sync: a turn of the loop, or until `thaw`."""
        self._medium.syncs += 1
        if self._medium.frozen:
            self._medium.delayed_syncs += 1
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._medium.frozen_syncs.append(future)
            await future
        elif self._medium.latency_s and self._clock is not None:
            self._medium.delayed_syncs += 1
            await sleep(self._clock, self._medium.latency_s)
        else:
            await asyncio.sleep(0)

    def count_failure(self) -> None:
        """A call met a fault."""
        self._medium.failures += 1

    def _die(self) -> None:
        self.require_alive()
        self._alive = False
        self.thaw()  # they wake into `require_alive`

    def _next_boot(self, clock: Clock | None) -> "SimDisk":
        disk = SimDisk.__new__(SimDisk)
        disk._medium, disk._clock, disk._alive, disk._lock = self._medium, clock or self._clock, True, None
        return disk

    def _parent(self, path: str) -> tuple[_Directory, str]:
        head, _, name = path.rpartition("/")
        return self._directory(head), name

    def _directory(self, path: str) -> _Directory:
        directory = self._medium.root
        for part in _parts(path):
            entry = directory.seen.get(part)
            if not isinstance(entry, _Directory):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            directory = entry
        return directory

    def _file(self, path: str) -> _Inode:
        directory, name = self._parent(path)
        entry = directory.seen.get(name)
        if not isinstance(entry, _Inode):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return entry


def _parts(path: str) -> list[str]:
    parts = path.split("/") if path else []
    if "" in parts or ".." in parts:
        raise ValueError(f"{path!r} is no path inside the disk")
    return parts
