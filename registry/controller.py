"""Writes assignments: the shell around `placement.plan`, one per node, acting only where the store leads.

The store is the authority: each change is guarded by the revisions it was planned from, so that several controllers
at once, or one that has not heard of its successor, do no harm.
"""

import asyncio
import logging

from quorate.consensus import Put, Store, StoreError, unchanged
from quorate.core import Node, Timer
from quorate.hashing import Key, encode

from .book import Book
from .keys import ASSIGNMENTS, WANTS
from .placement import MAX_MOVES, SETTLE_S, Assign, View, Wanted, plan
from .post import Post
from .records import encode_assignment

log = logging.getLogger("quorate.registry")


class Controller:
    """See the module."""

    def __init__(
        self,
        node: Node,
        store: Store,
        book: Book,
        post: Post,
        *,
        max_moves: int = MAX_MOVES,
        settle_s: float = SETTLE_S,
    ) -> None:
        self._store = store
        self._book = book
        self._post = post
        self._codec = node.kernel.codec
        self._clock = node.runtime.clock
        self._max_moves = max_moves
        self._settle_s = settle_s
        self._members_since = self._clock.monotonic()
        self._dirty = False
        self._running = False
        self._failed = False  # some assignment was not written
        self._settled: Timer | None = None

    def changed(self) -> None:
        """Something that assignments depend on has changed."""
        if self._store.leads() and not self._running:
            self._running = True
            self._post.task(self._run())
        self._dirty = True

    def tick(self) -> None:
        """Now and then: try again what the store did not take."""
        if self._failed:
            self._failed = False
            self.changed()

    def members_changed(self) -> None:
        """Somebody came or went, drains, or exports something else."""
        self._members_since = self._clock.monotonic()
        if self._settled is not None:
            self._settled.cancel()
        self._settled = self._clock.call_later(self._settle_s, self._quiet)
        self.changed()

    def _quiet(self) -> None:
        """Nobody has come or gone for a while; unless the timer was early, as timers may be by a millisecond."""
        left_s = self._members_since + self._settle_s - self._clock.monotonic()
        if left_s > 0.0:
            self._settled = self._clock.call_later(left_s, self._quiet)
        else:
            self.changed()

    def close(self) -> None:
        if self._settled is not None:
            self._settled.cancel()

    def view(self) -> View:
        """What there is to plan from."""
        book = self._book
        wanted = []
        for name, want in book.wants.items():
            node, revision = book.places.get(name, (None, 0))
            own = book.owners.get(name)
            wanted.append(
                Wanted(
                    name=name,
                    key=placement_key(want.key, name),
                    kind=want.kind,
                    pin=want.pin,
                    want_revision=want.revision,
                    assigned=node,
                    assigned_revision=revision,
                    owner=own.node if own is not None else None,
                )
            )
        return View(dict(book.members), self._clock.monotonic() - self._members_since, tuple(wanted))

    async def _run(self) -> None:
        try:
            await asyncio.sleep(0)  # one plan for all that changes in this turn
            while self._dirty and self._store.leads():
                self._dirty = False
                actions = plan(self.view(), max_moves=self._max_moves, settle_s=self._settle_s)
                await asyncio.gather(*map(self._assign, actions))
                if actions:
                    await asyncio.sleep(0)  # the watches tell of it, and then it is planned again
        finally:
            self._running = False

    async def _assign(self, action: Assign) -> None:
        key = ASSIGNMENTS + action.name
        try:
            await self._store.txn(
                [
                    unchanged(WANTS + action.name, action.want_revision),
                    unchanged(key, action.assigned_revision),
                ],
                [Put(key, encode_assignment(self._codec, action.node))],
            )
        except StoreError as error:
            log.info("%r is not assigned to %s yet: %s", action.name, action.node, error)
            self._failed = True


def placement_key(term: object, name: bytes) -> Key:
    """What the ring hashes: the name itself where it can, so that users can foretell it; else its bytes."""
    try:
        encode(term)  # type: ignore[arg-type]  # that is the question
    except TypeError:
        return name
    return term  # type: ignore[return-value]  # it is a key
