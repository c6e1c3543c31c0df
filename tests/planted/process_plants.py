"""Bugs in the registry, in singletons, and between the processes of two nodes. A context manager each.

As in `store_plants.py`: each is one slip in one place. What must never happen here: one that does something else than its
name says, or nothing; `test_plants.py` looks at each where it stands.
"""

import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest.mock import patch
from weakref import WeakKeyDictionary

from quorate.consensus import NoQuorum, OutcomeUnknown
from quorate.core import Node, Pid
from quorate.core.calls import PendingCall
from quorate.core.remote import PeerState, RemoteSide
from quorate.registry import Claim, Registry
from quorate.registry.keeper import Keeper
from quorate.registry.names import key_of, term_of
from quorate.registry.ownership import Phase
from quorate.registry.running import Running

Planted = AbstractContextManager[Any]
LATER_S = 0.2


# -- names and singletons --------------------------------------------------------------------------------------


def registration_without_quorum() -> Planted:
    """A registry that gets no answer takes a name for its own if its copy of the store shows nobody there."""
    register = Registry.register

    async def eager(self: Registry, name: Any, process: Any, **options: Any) -> Claim:
        try:
            return await register(self, name, process, **options)
        except (NoQuorum, OutcomeUnknown):
            key = key_of(name)
            if self._store.peek(key).value is not None:
                raise
            pid = process if isinstance(process, Pid) else process.pid
            fence = self._store.status().revision + 1
            return self._hold(key, term_of(name), pid, fence, self._store.session.id, "exit")

    return patch.object(Registry, "register", eager)


def name_stays_with_the_dead() -> Planted:
    """A process dies, its claim ends, and nobody takes its name away."""

    def give_up(self: Registry, key: bytes, claim: Claim) -> None:
        self._forget(key, claim)

    return patch.object(Registry, "_give_up", give_up)


def acts_after_its_lease() -> Planted:
    """A claim is valid until somebody says that it is lost: nobody looks at the clock before an act."""

    def valid(self: Claim) -> bool:
        return not self._over and not self._leaving

    return patch.object(Claim, "valid", valid)


def gate_left_open() -> Planted:
    """A singleton's handler goes on whatever has become of its node's session."""

    def gate(self: Keeper, running: Running) -> Callable[[], bool]:
        return lambda: True

    return patch.object(Keeper, "_gate", gate)


def handoff_loses_state() -> Planted:
    """A singleton that has handed its state over goes on with its messages until the new owner is there."""
    take_state = Keeper._take_state

    async def hasty(self: Keeper, running: Running) -> bool:
        taken = await take_state(self, running)
        if taken and running.control is not None and self.machine.phase is Phase.LEAVING:
            running.control.release()
        return taken

    return patch.object(Keeper, "_take_state", hasty)


# -- signals between nodes -------------------------------------------------------------------------------------


@contextmanager
def duplicate_after_reconnect() -> Iterator[None]:
    """What was sent last over a link that was lost is sent again over the next one: it might not have arrived."""
    send_signal, link_up = Node.send_signal, RemoteSide.link_up
    last: WeakKeyDictionary[Node, dict[str, bytes]] = WeakKeyDictionary()

    def remembering(self: Node, peer: str, frame: bytes) -> bool:
        sent = send_signal(self, peer, frame)
        if sent:
            last.setdefault(self, {})[peer] = frame
        return sent

    def again(self: RemoteSide, name: str, creation: int, incarnation: int) -> None:
        link_up(self, name, creation, incarnation)
        assert isinstance(self._outlet, Node)
        frame = last.get(self._outlet, {}).pop(name, None)
        if frame is not None:
            self.peers[name].backlog.post(frame)

    with patch.object(Node, "send_signal", remembering), patch.object(RemoteSide, "link_up", again):
        yield


@contextmanager
def reordered_after_reconnect() -> Iterator[None]:
    """What is sent while there is no link is kept, and sent behind newer messages when there is one again."""
    send, link_up = RemoteSide.send, RemoteSide.link_up
    kept: WeakKeyDictionary[RemoteSide, dict[str, list[tuple[Any, object]]]] = WeakKeyDictionary()

    def keeping(self: RemoteSide, to: Any, message: object, *, must_leave: bool = False) -> None:
        if to.node in self.peers:
            send(self, to, message, must_leave=must_leave)
        else:
            kept.setdefault(self, {}).setdefault(to.node, []).append((to, message))

    def flushing(self: RemoteSide, name: str, creation: int, incarnation: int) -> None:
        link_up(self, name, creation, incarnation)

        def flush() -> None:
            for to, message in kept.get(self, {}).pop(name, []):
                send(self, to, message)

        self.kernel.clock.call_later(LATER_S, flush)

    with patch.object(RemoteSide, "send", keeping), patch.object(RemoteSide, "link_up", flushing):
        yield


def late_reply_delivered() -> Planted:
    """The number of a call that was given up is used for the next one, which gets the answer to the first."""

    def expect(self: RemoteSide, peer: PeerState, pending: PendingCall) -> int:
        alias = next(number for number in itertools.count(1) if number not in self._calls)
        peer.calls[alias] = pending
        self._calls[alias] = peer

        def forget() -> None:
            if self._calls.get(alias) is peer and peer.calls.get(alias) is pending:
                self._take(alias)

        pending.forget = forget
        return alias

    return patch.object(RemoteSide, "_expect", expect)


def lost_down() -> Planted:
    """The end of a link is told to callers and to linked processes, and forgotten for monitors."""
    link_down = RemoteSide.link_down

    def forgetful(self: RemoteSide, name: str, incarnation: int) -> bool:
        peer = self.peers.get(name)
        if peer is not None and peer.incarnation == incarnation:
            peer.watched.clear()
        return link_down(self, name, incarnation)

    return patch.object(RemoteSide, "link_down", forgetful)
