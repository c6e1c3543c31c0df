"""Names for processes, one owner each in the whole cluster: the shell around `names.py`, over the store.

    claim = await registry.register("billing/ledger", ref)      # NameTaken, NoQuorum
    ref = await registry.whereis("billing/ledger")              # linearizable
    ref = registry.peek("billing/ledger").value                 # what this node last knew, at once

The store is the authority over names. A registry writes for the processes of its own node alone, in that node's
session, and takes a name away as soon as its process dies. What must never happen here: a claim that is valid while the
name can be had elsewhere, or a name that stays with a dead process of this node.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, overload

from quorate.consensus import (
    Cached,
    Compare,
    Delete,
    Event,
    Get,
    KeyValue,
    NoQuorum,
    Op,
    OutcomeUnknown,
    Put,
    SessionLost,
    Store,
    StoreError,
    StoreStopped,
    absent,
    created_at,
)
from quorate.core import DecodeError, Down, GenServer, MonitorRef, Node, Pid, Ref, sleep, timeout

from .claim import Claim
from .errors import ClaimLost, NameTaken, NotLocal
from .keys import NAMES, decode_name, encode_prefix
from .names import (
    Entry,
    Gone,
    Name,
    Replace,
    Taken,
    Won,
    decide,
    decode_entry,
    encode_record,
    key_of,
    term_of,
)

log = logging.getLogger("quorate.registry")

S = TypeVar("S", bound=GenServer)
Lost = Literal["exit", "notify"]
RETRY_S = 0.2
SESSION_WAIT_S = 5.0


@dataclass(slots=True, eq=False)
class _Doubt:
    """A registration of which nobody knows whether it was, or will be, carried out."""

    term: object
    pid: Pid
    session: int
    lost: Lost
    wanted: bool = True


@dataclass(slots=True, eq=False)
class _Held:
    """A claim of this node, and how its process wants to be told of the loss."""

    claim: Claim
    lost: Lost


@dataclass(slots=True, eq=False)
class _Owner:
    """A process of this node that has names, or may have: our monitor of it, and the keys."""

    monitor: MonitorRef
    keys: dict[bytes, None] = field(default_factory=dict)  # in the order of registration


class Registry:
    """The registry of one node. Made on the loop of an open node, ended by `close`."""

    def __init__(self, node: Node, store: Store) -> None:
        self._node = node
        self._store = store
        self._kernel = node.kernel
        self._codec = node.kernel.codec
        self._clock = node.runtime.clock
        self._held: dict[bytes, _Held] = {}
        self._doubts: dict[bytes, list[_Doubt]] = {}
        self._owners: dict[Pid, _Owner] = {}
        self._tasks: dict[asyncio.Task[None], None] = {}  # in the order in which they began
        self._cache: dict[bytes, tuple[KeyValue, Entry]] = {}
        self._refs: dict[str, Ref[Any]] = {}  # what `peek` last found; `_seen` takes out what has changed
        self._watch = store.watch(NAMES, self._seen)
        self._session_watch = store.session.subscribe(self._session_changed)

    # Registering

    @overload
    async def register(
        self,
        name: Name[S],
        process: Ref[S] | Pid,
        *,
        metadata: object = None,
        lost: Lost = "exit",
        timeout_s: float | None = None,
    ) -> Claim: ...
    @overload
    async def register(
        self,
        name: object,
        process: Ref[Any] | Pid,
        *,
        metadata: object = None,
        lost: Lost = "exit",
        timeout_s: float | None = None,
    ) -> Claim: ...
    async def register(
        self,
        name: object,
        process: Ref[Any] | Pid,
        *,
        metadata: object = None,
        lost: Lost = "exit",
        timeout_s: float | None = None,
    ) -> Claim:
        """Register a process of this node under `name`; one that has it already keeps its claim.

        When the claim is lost, the process gets an exit signal with `ClaimLost` as its reason (`lost="exit"`), or that
        as a message (`"notify"`), before anybody else can own the name. Each operation of the store may take
        `timeout_s` seconds (default: the store's).

        Raises `NameTaken` (with the owner), `NotLocal` (not a living process of this node), `NoQuorum` (nothing
        happened), `OutcomeUnknown` (if it was carried out, the process owns the name: ask again), `ClaimLost` (won and
        lost at once), `EncodeError`, `TooLarge`.
        """
        pid = process if isinstance(process, Pid) else process.pid
        term, key = term_of(name), key_of(name)
        self._check_local(pid)
        held = self._held.get(key)
        if held is not None and held.claim.pid == pid and held.claim.valid():
            return held.claim
        value = encode_record(self._codec, pid, metadata)
        guard: Compare = absent(key)
        first: Op = Get(key)  # what stands there is removed first, for a new fence
        while True:
            session = await self._session_id(timeout_s)
            put = Put(key, value, session)
            try:
                result = await self._store.txn([guard], [first, put], [Get(key)], timeout_s=timeout_s)
            except SessionLost:
                continue
            except OutcomeUnknown:
                self._doubt(key, _Doubt(term, pid, session, lost))
                raise
            match decide(self._codec, result, pid, session, self._is_dead_here):
                case Won(fence):
                    return self._won(key, term, pid, fence, session, lost)
                case Replace(fence):
                    guard, first = created_at(key, fence), Delete(key)
                case Gone():
                    guard, first = absent(key), Get(key)
                case Taken(owner):
                    raise NameTaken(term, owner.pid, owner.fence)

    async def unregister(self, name: object, *, timeout_s: float | None = None) -> bool:
        """Give a name (or a `Claim`) up. False when this node has no such name.

        The claim is invalid from the call on, and valid again if nothing has come of it. Raises `NoQuorum` (nothing
        happened), `OutcomeUnknown` (the claim is over; the removal is tried again until it is done).
        """
        key = key_of(name.name if isinstance(name, Claim) else name)
        for doubt in self._doubts.get(key, ()):
            doubt.wanted = False
        held = self._held.get(key)
        if held is None or (isinstance(name, Claim) and held.claim is not name):
            return False
        claim = held.claim
        claim.leaving = True
        try:
            await self._store.txn([created_at(key, claim.fence)], [Delete(key)], timeout_s=timeout_s)
        except OutcomeUnknown:
            self._give_up(key, claim)
            raise
        except StoreError:
            claim.leaving = False
            raise
        self._forget(key, claim)
        return True

    def claims(self) -> list[Claim]:
        """The claims of this node's processes that are valid now."""
        return [held.claim for held in self._held.values() if held.claim.valid()]

    # Looking up

    @overload
    async def whereis(self, name: Name[S], *, timeout_s: float | None = None) -> Ref[S] | None: ...
    @overload
    async def whereis(self, name: object, *, timeout_s: float | None = None) -> Ref[Any] | None: ...
    async def whereis(self, name: object, *, timeout_s: float | None = None) -> Ref[Any] | None:
        """Who has the name; None: nobody. Linearizable, and never a process that this node knows to be dead.

        Raises `NoQuorum`.
        """
        entry = await self.lookup(name, timeout_s=timeout_s)
        return None if entry is None else Ref(self._kernel, entry.pid)

    async def lookup(self, name: object, *, timeout_s: float | None = None) -> Entry | None:
        """As `whereis`, with the fence and the metadata."""
        return self._living(await self._store.get(key_of(name), timeout_s=timeout_s))

    @overload
    def peek(self, name: Name[S]) -> Cached[Ref[S] | None]: ...
    @overload
    def peek(self, name: object) -> Cached[Ref[Any] | None]: ...
    def peek(self, name: object) -> Cached[Ref[Any] | None]:
        """Who had the name when this node last heard, and how many seconds ago that was at most."""
        if type(name) is str and (known := self._refs.get(name)) is not None and self._may_live(known.pid):
            return Cached(known, self._store.age_s())
        cached = self._store.peek(key_of(name))
        entry = self._living(cached.value)
        if entry is None:
            return Cached(None, cached.age_s)
        ref: Ref[Any] = Ref(self._kernel, entry.pid)
        if type(name) is str:
            self._refs[name] = ref
        return Cached(ref, cached.age_s)

    async def names(self, prefix: str = "", *, timeout_s: float | None = None) -> list[Entry]:
        """All names that are text and begin with `prefix` ("": all names of whatever type). Linearizable."""
        return self._entries(await self._store.range(NAMES + encode_prefix(prefix), timeout_s=timeout_s))

    def peek_names(self, prefix: str = "") -> Cached[list[Entry]]:
        """As `names`, as this node last knew."""
        cached = self._store.peek_range(NAMES + encode_prefix(prefix))
        return Cached(self._entries(cached.value), cached.age_s)

    # The end

    async def close(self) -> None:
        """Stop. Claims end here; the names go with the session."""
        self._watch.cancel()
        self._session_watch.cancel()
        for owner in self._owners.values():
            self._node.unwatch(owner.monitor)
        self._owners.clear()
        for held in list(self._held.values()):
            held.claim.end()
        self._held.clear()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # What the store tells

    def _seen(self, events: Sequence[Event]) -> None:
        for event in events:
            if self._refs and isinstance(term := decode_name(event.key[len(NAMES) :]), str):
                self._refs.pop(term, None)
            held = self._held.get(event.key)
            if held is not None and event.revision > held.claim.fence and not _is_of(event.now, held.claim):
                self._lose(event.key, held)
            if event.now is None:
                self._cache.pop(event.key, None)
            elif event.key in self._doubts:
                self._resolve_doubt(event.now)

    def _session_changed(self, session: int, opened: bool) -> None:
        if opened:
            return
        for key in list(self._doubts):  # whatever named that session can never be carried out again
            self._doubts[key] = [doubt for doubt in self._doubts[key] if doubt.session != session]
            if not self._doubts[key]:
                del self._doubts[key]
        for key, held in list(self._held.items()):
            if held.claim.session_id == session:
                self._lose(key, held)

    def _lose(self, key: bytes, held: _Held) -> None:
        """The name is not ours any more: the claim ends, then its process is told."""
        claim = held.claim
        if not self._forget(key, claim) or claim.leaving:
            return
        log.warning("the claim of %s to %r with fence %d is lost", claim.pid, claim.name, claim.fence)
        reason = ClaimLost(claim.name, claim.fence)
        if held.lost == "exit":
            self._node.exit(claim.pid, reason)
        else:
            self._node.send(claim.pid, reason)

    # Registrations in doubt

    def _doubt(self, key: bytes, doubt: _Doubt) -> None:
        """Nobody knows what came of this registration: the store will say, now or when it is carried out."""
        if self._store.session.id != doubt.session:
            return
        self._doubts.setdefault(key, []).append(doubt)
        item = self._store.peek(key).value
        if item is not None:
            self._resolve_doubt(item)

    def _resolve_doubt(self, item: KeyValue) -> None:
        entry = self._entry(item)
        for doubt in self._doubts.get(item.key, ()):
            if entry is None or (entry.pid, entry.session) != (doubt.pid, doubt.session):
                continue
            held = self._held.get(item.key)
            if held is not None and held.claim.fence == entry.fence:
                continue
            if not doubt.wanted or self._is_dead_here(doubt.pid):
                self._remove_soon(item.key, entry.fence, entry.session)
            else:
                self._hold(item.key, doubt.term, doubt.pid, entry.fence, entry.session, doubt.lost)

    # Claims

    def _won(self, key: bytes, term: object, pid: Pid, fence: int, session: int, lost: Lost) -> Claim:
        held = self._held.get(key)
        if held is not None and held.claim.fence == fence:
            return held.claim
        if self._is_dead_here(pid):
            self._remove_soon(key, fence, session)
            raise NotLocal(f"{pid} died while it was being registered as {term!r}", pid)
        claim = self._hold(key, term, pid, fence, session, lost)
        if not claim.valid():
            self._lose(key, self._held[key])
            raise ClaimLost(term, fence)
        return claim

    def _hold(self, key: bytes, term: object, pid: Pid, fence: int, session: int, lost: Lost) -> Claim:
        claim = Claim(term, pid, fence, self._store.session, session)
        self._held[key] = _Held(claim, lost)
        owner = self._owners.get(pid)
        if owner is None:
            owner = self._owners[pid] = _Owner(self._node.watch(pid, self._process_down))
        owner.keys[key] = None
        return claim

    def _forget(self, key: bytes, claim: Claim) -> bool:
        """The claim is over. False when it was before."""
        held = self._held.get(key)
        if held is not None and held.claim is claim:
            del self._held[key]
            owner = self._owners.get(claim.pid)
            if owner is not None:
                owner.keys.pop(key, None)
                if not owner.keys:
                    self._node.unwatch(owner.monitor)
                    del self._owners[claim.pid]
        return claim.end()

    def _give_up(self, key: bytes, claim: Claim) -> None:
        """The claim is over, the name goes as soon as the store answers."""
        if self._forget(key, claim):
            self._remove_soon(key, claim.fence, claim.session_id)

    # Processes

    def _check_local(self, pid: Pid) -> None:
        if (pid.node, pid.creation) != (self._node.name, self._node.creation):
            raise NotLocal(f"{pid} is no process of {self._node.name}: register it on its own node", pid)
        if self._is_dead_here(pid):
            raise NotLocal(f"{pid} is dead: there is nothing to register", pid)

    def _may_live(self, pid: Pid) -> bool:
        """Quick: False when this node knows that it is dead."""
        return pid.node != self._kernel.name or self._kernel.find(pid) is not None

    def _is_dead_here(self, pid: Pid) -> bool:
        here = pid.node == self._node.name and pid.creation == self._node.creation
        return here and self._kernel.find(pid) is None

    def _process_down(self, down: Down) -> None:
        owner = self._owners.pop(down.pid, None)
        for key in owner.keys if owner is not None else ():
            self._give_up(key, self._held[key].claim)

    # Inside

    def _living(self, item: KeyValue | None) -> Entry | None:
        entry = None if item is None else self._entry(item)
        return None if entry is None or self._is_dead_here(entry.pid) else entry

    def _entries(self, items: Sequence[KeyValue]) -> list[Entry]:
        return [entry for item in items if (entry := self._living(item)) is not None]

    def _entry(self, item: KeyValue) -> Entry | None:
        cached = self._cache.get(item.key)
        if cached is not None and cached[0] is item:
            return cached[1]
        try:
            entry = decode_entry(self._codec, item)
        except DecodeError as error:
            log.error("a name cannot be read here and counts as free for look-ups: %s", error)
            return None
        self._cache[item.key] = (item, entry)
        return entry

    async def _session_id(self, timeout_s: float | None) -> int:
        return await session_id(self._store, self._node, timeout_s)

    def _remove_soon(self, key: bytes, fence: int, session: int) -> None:
        task = asyncio.get_running_loop().create_task(self._remove(key, fence, session))
        self._tasks[task] = None
        task.add_done_callback(self._tasks.pop)

    async def _remove(self, key: bytes, fence: int, session: int) -> None:
        """Remove this very registration; give up only when it is over anyway."""
        while self._store.session.id == session:
            try:
                await self._store.txn([created_at(key, fence)], [Delete(key)])
                return
            except StoreStopped:
                return
            except StoreError as error:
                log.debug("%r is not removed yet: %s", key, error)
                await sleep(self._clock, RETRY_S)


def _is_of(item: KeyValue | None, claim: Claim) -> bool:
    return item is not None and item.create_revision == claim.fence


async def session_id(store: Store, node: Node, timeout_s: float | None) -> int:
    """The node's session, as soon as it has one. Raises `NoQuorum` after `timeout_s` (default 5) seconds."""
    if store.session.id:
        return store.session.id
    opened: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def changed(session: int, is_open: bool) -> None:
        if is_open and not opened.done():
            opened.set_result(session)

    subscription = store.session.subscribe(changed)
    try:
        async with timeout(node.runtime.clock, SESSION_WAIT_S if timeout_s is None else timeout_s):
            return await opened
    except TimeoutError:
        raise NoQuorum("this node has no session, the store does not answer: nothing happened") from None
    finally:
        subscription.cancel()
