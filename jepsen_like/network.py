"""Network faults at the `Network` port: a node is cut off without root, firewalls or proxies.

    network = FaultyNetwork(RealNetwork())
    node = Node(..., runtime=Runtime(network=network, ...))
    network.isolate()      # nothing leaves, nothing arrives; connections stay established
    network.heal()         # what was held is delivered, in order
    assert network.evidence.bytes_held_out > 0, "the fault did not bite"

It behaves as dropped packets do, not as a closed port: neither side is told anything. New connections hang until
their caller gives up, in both directions. What a connection held is delivered at the heal, as TCP would send it
again, unless its owner has closed it meanwhile: then it is gone, and the other end sees the connection end at the
heal. Only what passes through this object is touched: wrap the network of the node that is to be cut off.

The authority over a connection's real transport is its tap. What must never happen here: bytes overtake bytes, or
anything crosses a cut. `evidence` counts what the faults did; a fault without evidence proves nothing.
"""

import asyncio
import ssl
from collections.abc import Callable

from quorate.core import Clock, ConfigError, Network, Server

from .taps import Evidence, Faults, Gate, Host, Tap


class FaultyNetwork:
    """A `Network` around another one, with faults. `clock` is needed for `delay` only. All on one loop."""

    def __init__(self, inner: Network, clock: Clock | None = None) -> None:
        self._inner = inner
        self._faults = Faults(clock)
        self._blocked: list[asyncio.Future[None]] = []

    @property
    def evidence(self) -> Evidence:
        """What the faults did so far."""
        return self._faults.evidence

    # -- the port ------------------------------------------------------------------------------------------

    async def create_server(
        self,
        factory: Callable[[], asyncio.Protocol],
        host: str,
        port: int,
        *,
        ssl_context: ssl.SSLContext | None = None,
    ) -> Server:
        """Listen; connections that arrive while isolated are not seen before the heal."""
        gate = Gate()
        inner = await self._inner.create_server(
            lambda: Tap(self._faults, factory, None, gate), host, port, ssl_context=ssl_context
        )
        return _FaultyServer(inner, gate)

    async def create_connection(
        self,
        factory: Callable[[], asyncio.Protocol],
        host: str,
        port: int,
        *,
        ssl_context: ssl.SSLContext | None = None,
    ) -> asyncio.Transport:
        """Connect; while the way there is cut this waits, so bound the time."""
        await self._passable((host, port))
        tap = Tap(self._faults, factory, (host, port), Gate())
        try:
            await self._inner.create_connection(lambda: tap, host, port, ssl_context=ssl_context)
        except BaseException:
            tap.not_made()
            raise
        try:
            return await tap.established()
        except BaseException:
            tap.abandon()
            raise

    # -- faults --------------------------------------------------------------------------------------------

    def isolate(self) -> None:
        """Cut everything: no byte leaves, none arrives, connections stay established."""
        self._faults.isolated = True

    def cut(self, host: str, port: int) -> None:
        """Cut the connections dialled from here to this address, and further dials. Accepted ones are not touched:
        they come from ports that say nothing of who dialled; cut the other node too.
        """
        self._faults.cuts.add((host, port))

    def mend(self, host: str, port: int) -> None:
        """Undo one `cut`."""
        self._faults.cuts.discard((host, port))
        self._changed()

    def heal(self) -> None:
        """Undo `isolate` and every `cut`, and deliver what was held. `delay` stays.

        Call it before the end of the loop, too: connections that were closed behind a cut are really closed here.
        """
        self._faults.isolated = False
        self._faults.cuts.clear()
        self._changed()

    def delay(self, seconds: float) -> None:
        """From now on deliver every byte `seconds` later, in each direction; 0 ends it. Raises `ConfigError`
        without a clock.
        """
        if self._faults.clock is None:
            raise ConfigError("delay() needs a clock: FaultyNetwork(inner, clock)")
        if seconds < 0:
            raise ConfigError(f"a delay cannot be negative: {seconds}")
        self._faults.delay_s = seconds

    def reset_all(self) -> int:
        """End every connection at once, as a firewall does that forgets them; return how many.

        The owner here gets `ConnectionResetError`. The other end sees the connection end, if it can see anything.
        """
        taps = [tap for tap in list(self._faults.taps) if tap.reset()]
        self._faults.evidence.resets += len(taps)
        return len(taps)

    @property
    def isolated(self) -> bool:
        return self._faults.isolated

    # -- inside --------------------------------------------------------------------------------------------

    async def _passable(self, address: Host) -> None:
        if not self._faults.passes(address):
            self._faults.evidence.connects_blocked += 1
        while not self._faults.passes(address):
            healed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._blocked.append(healed)
            await healed

    def _changed(self) -> None:
        blocked, self._blocked = self._blocked, []
        for healed in blocked:
            if not healed.done():
                healed.set_result(None)
        for tap in list(self._faults.taps):
            tap.pump()


class _FaultyServer:
    def __init__(self, inner: Server, gate: Gate) -> None:
        self._inner = inner
        self._gate = gate

    def port(self) -> int:
        return self._inner.port()

    def close(self) -> None:
        self._gate.closed = True
        self._inner.close()

    async def wait_closed(self) -> None:
        await self._inner.wait_closed()
