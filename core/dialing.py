"""The dialling half: a task per address that dials it for ever, with backoff, whenever there is no link.

It owns its targets and the connections that it makes, until they are a link's lanes. Addresses are resolved anew
each time, by the `Network` port. A target is never given up, only told to stop by `disconnect`.
"""

import asyncio
import logging
from collections.abc import Iterable
from typing import Protocol

from .address import Address, NodeName
from .admission import Attempt, Outbound, judge_outbound
from .backoff import Backoff
from .connection import Connection
from .endpoint import Endpoint
from .errors import ConfigError, CookieMismatch, HandshakeFailed, LinkError, NameInUse, VersionMismatch
from .frames import Lane
from .handshake import (
    VERSION_MAX,
    VERSION_MIN,
    Dialer,
    Event,
    Failed,
    Failure,
    Identified,
    Opened,
    Refusal,
    Role,
)
from .ident import Ident
from .link import Peer
from .slots import Slot, Slots
from .timers import timeout

log = logging.getLogger("quorate.links")


class Board(Protocol):
    """What the dialling half asks of `Links`."""

    def refusal(self, name: str) -> Refusal | None: ...

    def evict(self, name: str, reason: str) -> None: ...

    def establish(self, slot: Slot, ident: Ident, control: Connection, signals: Connection) -> None: ...


class Abandoned(Exception):
    """A dial that is not needed: another attempt with the same peer is ahead of it."""


def connect_error(address: Address, error: Exception) -> LinkError:
    """What it means that no connection to `address` could be made."""
    if isinstance(error, ConnectionRefusedError):
        return LinkError(f"nobody listens at {address}: the node is not running, or has another name")
    return LinkError(f"cannot connect to {address}: {getattr(error, 'strerror', None) or error}")


def handshake_error(address: Address, failed: Failed) -> LinkError:
    """What a failed handshake with `address` means to whoever dialled."""
    if failed.failure is Failure.WRONG_COOKIE:
        return CookieMismatch(
            f"{address} holds another cookie: give both sides the same one "
            "(--cookie-file, QUORATE_COOKIE or ~/.quorate.cookie)"
        )
    if failed.failure is Failure.VERSION and failed.versions is not None:
        low, high = failed.versions
        return VersionMismatch(
            f"{address} speaks protocol versions {low} to {high}, this side {VERSION_MIN} to {VERSION_MAX}: "
            "upgrade the older of the two"
        )
    match failed.refusal:
        case Refusal.NAME_IN_USE:
            return NameInUse(
                f"{address} is linked to a living node of this node's name: stop that one, or start this one "
                "under another name"
            )
        case Refusal.DRAINING:
            return HandshakeFailed(f"{address} is stopping and takes no new links")
        case Refusal.UNWANTED:
            return HandshakeFailed(
                f"{address} was told to disconnect from this node; call connect() there to undo it"
            )
    return HandshakeFailed(f"the handshake with {address} failed: {failed.detail}")


class LaneDial:
    """One connection that is being made; its steps as awaitables. Owner of the connection to its end."""

    def __init__(self, endpoint: Endpoint, address: Address, lane: Lane, role: Role = Role.NODE) -> None:
        loop = asyncio.get_running_loop()
        self._endpoint = endpoint
        self._address = address
        self._identified: asyncio.Future[Ident] = loop.create_future()
        self._opened: asyncio.Future[None] = loop.create_future()
        self.connection = endpoint.dialled(self, lane, role)

    async def identified(self) -> Ident:
        """Connect, and return who is there. Raises `LinkError`, `OSError`."""
        try:
            await self._endpoint.runtime.network.create_connection(
                lambda: self.connection,
                self._address.host,
                self._address.port,
                ssl_context=self._endpoint.client_ssl,
            )
        except BaseException:
            self.connection.not_made("the dial was given up")
            raise
        return await self._identified

    async def opened(self, ident: Ident) -> None:
        """Say who we are, and return when the peer agrees. Raises `LinkError`."""
        handshake = self.connection.handshake
        assert isinstance(handshake, Dialer)
        handshake.identify(ident)
        self.connection.advance()
        await self._opened

    def abandon(self, reason: str) -> None:
        """Another attempt with this peer is ahead: hang up."""
        self._fail(Abandoned(reason))
        self.connection.abort(reason)

    def forget(self) -> None:
        """The handshake is over, one way or the other."""
        self._endpoint.forget_dial(self.connection)
        for future in (self._identified, self._opened):
            if future.done() and not future.cancelled():
                future.exception()
            future.cancel()

    def connection_opened(self, connection: Connection) -> None:
        self._endpoint.opened(connection)

    def connection_closed(self, connection: Connection, reason: str) -> None:
        self._fail(HandshakeFailed(f"the handshake with {self._address} failed: {reason}"))
        self._endpoint.closed(connection)

    def handshake_event(self, connection: Connection, event: Event) -> None:
        match event:
            case Identified(ident=ident):
                if not self._identified.done():
                    self._identified.set_result(ident)
            case Opened():
                if not self._opened.done():
                    self._opened.set_result(None)
            case Failed():
                if event.refusal is Refusal.DUPLICATE:
                    self._fail(Abandoned(event.detail))
                elif self._endpoint.came_back(connection):
                    self._fail(Abandoned(f"{self._address} leads back to this node"))
                else:
                    self._fail(handshake_error(self._address, event))
                connection.close(event.detail)

    def _fail(self, error: Exception) -> None:
        for future in (self._identified, self._opened):
            if not future.done():
                future.set_exception(error)


class Target:
    """An address to dial. `expected` is the name that must answer there, `name` the one that did."""

    __slots__ = ("address", "changed", "expected", "name", "nudged", "problem", "settled", "task")

    def __init__(self, address: Address, expected: str | None) -> None:
        self.address = address
        self.expected = expected
        self.name = expected
        self.problem: LinkError | None = None
        self.settled = False  # the last link held for a while: begin the backoff anew
        self.nudged = False  # dial now
        self.changed = asyncio.Event()
        self.task: asyncio.Task[None] | None = None


class Dialing:
    """All targets of a node."""

    def __init__(self, endpoint: Endpoint, slots: Slots, board: Board) -> None:
        self._endpoint = endpoint
        self._slots = slots
        self._board = board
        self._clock = endpoint.runtime.clock
        self._targets: dict[Address, Target] = {}
        self._tasks: dict[asyncio.Task[None], None] = {}  # in their order, those of removed targets included
        self._running = False

    def __len__(self) -> int:
        return len(self._targets)

    # -- targets -------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._running = True
        for target in self._targets.values():
            self._launch(target)

    async def stop(self) -> None:
        self._running = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def add(self, address: Address, expected: str | None) -> Target | None:
        """Dial this address from now on; None when it is this node's own."""
        if address == NodeName.parse(self._endpoint.name).address:
            return None
        target = self._targets.get(address)
        if target is None:
            target = self._targets[address] = Target(address, expected)
            if self._running:
                self._launch(target)
        elif expected is not None and target.expected is None:
            target.expected = expected
            target.name = target.name or expected
        return target

    def nudge(self, target: Target) -> None:
        """Dial now, not when the backoff is over."""
        target.nudged = True
        target.changed.set()

    def remove(self, name: str) -> None:
        """Dial this peer no more."""
        for target in [found for found in self._targets.values() if found.name == name]:
            del self._targets[target.address]
            if target.task is not None:
                target.task.cancel()

    def linked(self, peer: Peer) -> None:
        """A link was made, whoever dialled: from now on it is made again whenever it is lost."""
        self.add(peer.address, peer.name)
        for target in self._targets.values():
            if target.name == peer.name:
                target.problem = None

    def slot_freed(self, slot: Slot) -> None:
        """An attempt or a link with this peer is over: its targets may dial again."""
        settled = (
            slot.link is not None
            and self._clock.monotonic() - slot.link.made_at >= self._endpoint.config.heartbeat_timeout_s
        )
        for target in self._targets.values():
            if target.name == slot.name:
                target.settled = target.settled or settled
                target.changed.set()

    def problems(self) -> Iterable[tuple[Address, LinkError]]:
        """Targets whose last dial failed, and why."""
        return [(t.address, t.problem) for t in self._targets.values() if t.problem is not None]

    def _launch(self, target: Target) -> None:
        target.task = asyncio.get_running_loop().create_task(
            self._pursue(target), name=f"quorate dial {target.address}"
        )
        self._tasks[target.task] = None
        target.task.add_done_callback(self._tasks.pop)

    # -- one target ----------------------------------------------------------------------------------------

    async def _pursue(self, target: Target) -> None:
        config = self._endpoint.config
        backoff = Backoff(config.backoff_first_s, config.backoff_max_s)
        while True:
            if not self._taken(target):
                try:
                    if not await self._dial(target):
                        return
                    target.problem = None
                except Abandoned as abandoned:
                    log.debug("%s: dial of %s abandoned: %s", self._endpoint.name, target.address, abandoned)
                except LinkError as error:
                    self._failed(target, error)
            while self._taken(target):
                target.changed.clear()
                await target.changed.wait()
            if target.settled:
                backoff.reset()
                target.settled = False
            await self._rest(target, backoff)

    def _taken(self, target: Target) -> bool:
        """There is an attempt or a link with whoever is at this address."""
        return target.name is not None and self._slots.current(target.name) is not None

    async def _rest(self, target: Target, backoff: Backoff) -> None:
        """Wait for the backoff, or for a nudge."""
        rested = False

        def wake() -> None:
            nonlocal rested
            rested = True
            target.changed.set()

        delay_s = backoff.next_s(self._endpoint.runtime.entropy.random())
        timer = self._clock.call_later(delay_s, wake)
        try:
            while not target.nudged and not rested:
                target.changed.clear()
                await target.changed.wait()
        finally:
            timer.cancel()
        if target.nudged:
            target.nudged = False
            backoff.reset()

    def _failed(self, target: Target, error: LinkError) -> None:
        """Keep the problem for `Links.problems`, and log it when it is news."""
        if str(error) != str(target.problem):
            log.warning("%s: %s; it is dialled again and again", self._endpoint.name, error)
        target.problem = error

    async def _dial(self, target: Target) -> bool:
        """Make one link, or raise `LinkError` or `Abandoned`; False when the address is this node's own."""
        lanes: list[LaneDial] = []
        try:
            async with timeout(self._clock, self._endpoint.config.handshake_s):
                return await self._dial_lanes(target, lanes)
        except TimeoutError as error:
            raise HandshakeFailed(
                f"{target.address} did not answer within {self._endpoint.config.handshake_s:g} s"
            ) from error
        except (OSError, UnicodeError) as error:  # UnicodeError: a host name that cannot be one
            raise connect_error(target.address, error) from error
        finally:
            for lane in lanes:
                lane.forget()

    async def _dial_lanes(self, target: Target, lanes: list[LaneDial]) -> bool:
        slot: Slot | None = None
        up = False
        try:
            control, ident = await self._reach(target, Lane.CONTROL, lanes)
            slot = self._commit(target, ident, lanes)
            if slot is None:
                return False
            own = self._endpoint.ident(
                token=slot.attempt.token, attempt=slot.attempt.number, lost=self._slots.lost(ident.name)
            )
            await control.opened(own)
            signals, again = await self._reach(target, Lane.SIGNALS, lanes)
            if again.run != ident.run:
                raise HandshakeFailed(f"{target.address} was restarted, or stands for several nodes")
            await signals.opened(own)
            if control.connection.closing or signals.connection.closing or not self._slots.holds(slot):
                raise Abandoned("the peer closed it, or another attempt is ahead")
            up = True
            self._board.establish(slot, ident, control.connection, signals.connection)
            return True
        finally:
            if not up:
                if slot is not None:
                    self._slots.free(slot)
                for lane in lanes:
                    lane.connection.abort("the dial was given up")

    async def _reach(self, target: Target, lane: Lane, lanes: list[LaneDial]) -> tuple[LaneDial, Ident]:
        dial = LaneDial(self._endpoint, target.address, lane)
        lanes.append(dial)
        return dial, await dial.identified()

    def _commit(self, target: Target, ident: Ident, lanes: list[LaneDial]) -> Slot | None:
        """Take the peer's slot right before saying who we are; None when the peer is this node itself."""
        verdict = judge_outbound(
            self._endpoint.name, self._endpoint.run, ident, self._slots.current(ident.name)
        )
        if verdict is Outbound.SELF:
            return None
        self._check_name(target, ident)
        if verdict is Outbound.REPLACE:
            self._board.evict(ident.name, f"the peer was restarted: creation {ident.creation} is there now")
            if self._slots.current(ident.name) is not None:
                raise Abandoned("another attempt began meanwhile")
        elif verdict is Outbound.ABANDON:
            raise Abandoned("another attempt is ahead")
        elif verdict is Outbound.NAME_IN_USE:
            raise NameInUse(
                f"{target.address} answers as {ident.name}, which is the name of another living node: "
                "two nodes must not have one name"
            )
        number = self._endpoint.new_attempt()
        attempt = Attempt(
            ident.name, ident.creation, ident.run, self._endpoint.new_token(), number, dialled_here=True
        )

        def cancel(reason: str) -> None:
            for lane in lanes:
                lane.abandon(reason)

        return self._slots.take(attempt, cancel)

    def _check_name(self, target: Target, ident: Ident) -> None:
        try:
            NodeName.parse(ident.name)
        except ConfigError as error:
            raise HandshakeFailed(f"{target.address} answers with a name that is none: {error}") from error
        if target.expected is not None and ident.name != target.expected:
            raise HandshakeFailed(
                f"{target.address} answers as {ident.name}; {target.expected} was expected there"
            )
        target.name = ident.name
        if self._board.refusal(ident.name) is not None:
            raise HandshakeFailed(f"this node was told to disconnect from {ident.name}")
