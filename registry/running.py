"""The process of one ownership, as its keeper sees it: what it has not handled yet, what it has handed over.

The keeper is the authority over it; the objects that carry answers out of the process enter the keeper through its post.
"""

import asyncio
from typing import TYPE_CHECKING, Any

from quorate.core import NoProcess, Pid, ProcessControl

from .delivery import Parcel
from .letters import Offer
from .ownership import Own
from .singleton import Singleton

if TYPE_CHECKING:
    from .keeper import Keeper


class Handled:
    """Where the process's answer to one message goes: to the router it came from, if anybody waits."""

    __slots__ = ("keeper", "number")

    def __init__(self, keeper: "Keeper", number: int) -> None:
        self.keeper = keeper
        self.number = number

    def give(self, value: object) -> None:
        self.keeper.host.post.enter(self.keeper.handled, self.number, value, None)

    def refuse(self, error: Exception) -> None:
        if not isinstance(error, NoProcess):  # which says: the process ended before it came to this message
            self.keeper.host.post.enter(self.keeper.handled, self.number, None, error)


class Reconciled:
    """Where the process's answer to an offer of parked state goes."""

    __slots__ = ("keeper", "offer")

    def __init__(self, keeper: "Keeper", offer: Offer) -> None:
        self.keeper = keeper
        self.offer = offer

    def give(self, value: object) -> None:
        self.keeper.host.post.enter(self.keeper.reconciled, self.offer, True)

    def refuse(self, error: Exception) -> None:
        self.keeper.host.post.enter(self.keeper.reconciled, self.offer, False)


class Running:
    """The process of one ownership, and what it has not handled yet."""

    def __init__(self, own: Own) -> None:
        self.own = own
        self.fence = own.fence
        self.server: Singleton[Any] | None = None
        self.control: ProcessControl | None = None
        self.unhandled: dict[int, Parcel] = {}  # accepted, in order, by number
        self.handing_over = asyncio.Lock()  # giving state away and taking it back happen one after the other
        self.draining = False  # it is held until the message in progress is done, and will then hand over
        self.handed = False  # it is held and has handed over, so it wants its state back before it goes on
        self.state: object = None  # what it handed over
        self.encoded: bytes | None = None
        self.checkpoint_revision = 0
        self.handed_over: tuple[int, ...] = ()
        self.checkpointing = asyncio.Lock()
        self.given_up: asyncio.Future[bool] | None = None  # whether the store took its state when it retired
        self.gone = asyncio.Event()  # the process is dead, or will never be started

    @property
    def pid(self) -> Pid | None:
        return self.control.pid if self.control is not None else None
