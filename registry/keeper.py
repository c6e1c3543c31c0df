"""One singleton on one host: performs what `ownership.py` and `delivery.py` decide.

The two machines are the authority over what may run here and where messages go; this shell starts and stops the
process, talks to the store, and counts which messages have been handled. Everything here runs inside `Post.enter`, but
for coroutines that wait, which tell what came of it through `enter` again.
"""

import asyncio
import contextvars
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from quorate.consensus import OutcomeUnknown, StoreError
from quorate.core import (
    CalleeExited,
    DecodeError,
    Down,
    EncodeError,
    NotCallable,
    Pid,
    Request,
    TooLarge,
    encode_error,
    encode_value,
    interrupt,
    show,
    sleep,
    start_held,
    stop_process,
    timeout,
)

from . import delivery as d
from . import ownership as o
from .delivery import Delivery, Flush, Parcel
from .errors import ClaimLost, NotASingleton
from .keys import decode_name
from .letters import Answer, Call, Forget, Offer, Prepare, Prepared, Taken, unpack_content
from .owner_store import OwnerStore
from .ownership import Own, Ownership, Phase
from .parking import ParkedState
from .running import Handled, Reconciled, Running
from .singleton import MESSAGE, RECONCILE, Parked, Singleton, begin, release

if TYPE_CHECKING:
    from .host import Host

log = logging.getLogger("quorate.registry")

RETRY_S = 0.2
MOVED = "handed_over"  # the exit reason of a process whose singleton runs elsewhere now


class Keeper:
    """The shell of one name on one host."""

    def __init__(self, host: "Host", name: bytes) -> None:
        self.host = host
        self.name = name
        self.term = decode_name(name)
        self.machine = Ownership(host.pid)
        self.delivery = Delivery(host.pid)
        self.records = OwnerStore(host.store, host.codec, name, host.pid)
        self.running: Running | None = None
        self.routers: set[Pid] = set()  # sent for an ownership that has moved, and have not flushed
        self._prepared: Prepare | None = None
        self._reconciling: set[int] = set()
        self._numbers = 0
        self._wakes_at = float("inf")
        self._gained = 0  # the last fence that this host has had a process for
        self._doers: dict[type, Callable[[Any], object]] = {
            o.Acquire: lambda e: self._later(self._acquire(e)),
            o.Start: self._do_start,
            o.HandOver: lambda e: self._later(self._hand_over(e)),
            o.Prepare: self._do_prepare,
            o.Commit: lambda e: self._later(self._commit(e)),
            o.Reclaim: lambda e: self._later(self._reclaim(e)),
            o.Renewed: self._do_renewed,
            o.Resume: lambda e: self._later(self._resume(e)),
            o.Abandon: lambda e: self._send(e.target, Forget(e.fence, e.attempt)),
            o.Depart: self._do_depart,
            o.Ended: self._do_ended,
            o.Release: lambda e: self._later(self._release(e)),
            o.Park: self._do_park,
            o.Retire: lambda e: self._later(self._retire(e)),
            o.Wait: self._do_wait,
            d.Accept: self._do_accept,
            d.Forward: self._do_forward,
            d.Bounce: lambda e: self._send(e.parcel.router, e),
            d.Flushed: lambda e: self._send(e.router, e),
            d.Lost: lambda e: self._send(e.router, e),
        }

    @property
    def owned(self) -> bool:
        """A process of it runs here, or is about to."""
        return self.running is not None

    # What happens (inside `enter`)

    def owner_changed(self, own: Own | None, revision: int) -> None:
        self.perform(self.machine.own_seen(own, revision, self.host.now()))
        self.learned(revision)
        prepared = self._prepared
        if (
            prepared is not None
            and own is not None
            and own.fence > prepared.fence
            and own.host != self.host.pid
        ):
            self._prepared = None

    def place_changed(self) -> None:
        self.perform(self.machine.assigned(*self.host.book.place(self.name), self.host.now()))

    def session_opened(self, session: int) -> None:
        self.perform(self.machine.session_opened(session, self.host.now()))

    def session_lost(self, session: int) -> None:
        self._prepared = None
        self.perform(self.machine.session_lost(session, self.host.now()))

    def learned(self, revision: int) -> None:
        """All changes of owners up to here have been told."""
        own = self.machine.own
        if own is not None and own.host == self.host.pid and own.fence > self._gained:
            revision = min(revision, own.fence - 1)  # it will be gained: what is addressed to it has to wait
        self.perform(self.delivery.learned(revision))

    def host_down(self, host: Pid) -> None:
        self.routers.discard(host)
        self.perform(self.delivery.host_down(host))
        machine = self.machine
        if machine.phase is Phase.LEAVING and machine.target == host:
            self._tell(machine.prepare_failed, machine.fence, machine.attempt)

    def close(self) -> None:
        self.perform(self.machine.close(self.host.now()))

    def letter(self, item: object) -> None:
        """A letter of a router or another host."""
        if isinstance(item, Parcel | Flush):
            self.perform(self.delivery.arrived(item))
        elif isinstance(item, Prepare):
            self._on_prepare(item)
        elif isinstance(item, Prepared):
            now = self.host.now()
            if item.session:
                self.perform(self.machine.prepared(item.fence, item.attempt, item.session, now))
            else:
                self.perform(self.machine.prepare_failed(item.fence, item.attempt, now))
        elif isinstance(item, Forget):
            prepared = self._prepared
            if prepared is not None and (prepared.fence, prepared.attempt) == (item.fence, item.attempt):
                self._prepared = None
        elif isinstance(item, Offer):
            self._on_offer(item)

    # Performing

    def perform(self, effects: "list[o.Effect] | list[d.Effect]") -> None:
        for effect in effects:
            self._doers[type(effect)](effect)

    def _tell(self, event: Callable[..., list[o.Effect]], *args: Any, **kwargs: Any) -> None:
        """Tell the machine what became of something, with the time."""
        self.host.post.enter(lambda: self.perform(event(*args, self.host.now(), **kwargs)))

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        self.host.post.task(work)

    def _do_wait(self, effect: o.Wait) -> None:
        due = self.host.now() + effect.delay_s
        if due < self._wakes_at:
            self._wakes_at = due
            self.host.clock.call_later(effect.delay_s, self._wake)

    def _wake(self) -> None:
        """It may be a little early, as timers are: then the machine asks to be woken again."""
        self._wakes_at = float("inf")
        self._tell(self.machine.woken)

    def _send(self, to: Pid, item: object) -> None:
        try:
            self.host.post.send(to, self.name, item)
        except (EncodeError, TooLarge) as error:
            log.error("a letter about %r cannot be sent to %s: %s", self.term, to, error)

    # Messages

    def _do_accept(self, effect: d.Accept) -> None:
        running = self.running
        assert running is not None
        self._numbers += 1
        running.unhandled[self._numbers] = effect.parcel
        if running.control is not None:
            self._deliver(running, self._numbers, effect.parcel)

    def _deliver(self, running: Running, number: int, parcel: Parcel) -> None:
        assert running.pid is not None
        reply = Handled(self, number)
        try:
            content = unpack_content(self.host.codec, parcel.message.body)
        except DecodeError as error:
            reply.refuse(
                NotCallable(f"a message to {self.term!r} cannot be read here: {error}: nothing happened")
            )
            return
        if isinstance(content, Call):
            request = Request(content.method, content.args, content.kwargs, reply, content.chain)
        else:
            request = Request(MESSAGE, (content.message,), {}, reply)
        self.host.kernel.request(running.pid, request)

    def handled(self, number: int, value: object, error: Exception | None) -> None:
        """The process is through with a message."""
        parcel = self.running.unhandled.pop(number, None) if self.running is not None else None
        if parcel is None or not parcel.message.call:
            return
        codec = self.host.codec
        kind, body = encode_value(codec, value) if error is None else encode_error(codec, error)
        self.delivery.answered(parcel.router, parcel.message.sequence)
        self._send(parcel.router, Answer(parcel.message.sequence, kind, body))

    def _do_forward(self, effect: d.Forward) -> None:
        if isinstance(effect.item, Flush):  # it may have waited here since before the singleton left
            self.routers.discard(effect.item.router)
        try:
            self.host.post.send(effect.to, self.name, effect.item)
        except (EncodeError, TooLarge) as error:
            item = effect.item
            log.error("a message to %r cannot follow it to %s: %s", self.term, effect.to, error)
            if isinstance(item, Parcel) and item.message.call:
                answer = NotCallable(
                    f"it cannot follow {self.term!r} to {effect.to.node}: {error}: nothing happened"
                )
                self.delivery.answered(item.router, item.message.sequence)
                self._send(item.router, Answer(item.message.sequence, *encode_error(self.host.codec, answer)))

    # Becoming the owner

    async def _acquire(self, effect: o.Acquire) -> None:
        try:
            own, revision = await self.records.acquire(effect.session, effect.assigned_revision)
        except StoreError as error:
            log.info("%r is not acquired: %s", self.term, error)
            self._tell(self.machine.acquire_failed, effect.op)
            return
        self._tell(self.machine.acquired, effect.op, own, revision)

    def _do_start(self, effect: o.Start) -> None:
        running = self.running = Running(effect.own)
        self._gained = effect.own.fence
        self.perform(self.delivery.gained(effect.own.fence))
        self._later(self._start(running))

    async def _start(self, running: Running) -> None:
        try:
            state = await self._read_state(running)
            if not self._is_current(running) or self.machine.phase is not Phase.RUNNING:
                running.gone.set()
                return
            self._spawn(running)
            assert running.control is not None
            await running.control.run(lambda server: begin(server, state, self._gate(running)))
        except Exception as error:  # noqa: BLE001 -- whatever the user's class raises is its own failure to start
            self._start_failed(running, error)
            return
        self.host.post.enter(self._started, running)

    def _spawn(self, running: Running) -> None:
        """Make the process. Raises whatever its `__init__` raises, and `NotASingleton`."""
        want = self.host.book.wants.get(self.name)
        kind = self.host.node.exports.startable(want.kind) if want is not None else None
        if want is None or not (isinstance(kind, type) and issubclass(kind, Singleton)):
            known = want.kind if want is not None else "nothing"
            raise NotASingleton(f"{self.term!r} wants {known}, which {self.host.node.name} does not export")
        server, control = contextvars.Context().run(start_held, self.host.node, kind, self._gate(running))
        running.server, running.control = server, control
        server.name, server.fence, server._quorate_keeper = self.term, running.fence, self
        self.host.node.watch(control.pid, lambda down: self.host.post.enter(self._down, running, down))
        for number, parcel in list(running.unhandled.items()):
            self._deliver(running, number, parcel)

    def _gate(self, running: Running) -> Callable[[], bool]:
        session, current = running.own.session, self.host.store.session
        return lambda: current.id == session

    async def _read_state(self, running: Running) -> object:
        """What this ownership begins with: what was prepared for it, or else the last checkpoint."""
        own, prepared, codec = running.own, self._prepared, self.host.codec
        while True:
            try:
                checkpoint = await self.records.recall(running)
                break
            except StoreError as error:
                if not self._gate(running)():
                    raise
                log.info("the checkpoint of %r is not read yet: %s", self.term, error)
                await sleep(self.host.clock, RETRY_S)
        if prepared is not None and (prepared.fence, prepared.attempt) == (own.after, own.attempt):
            return codec.decode(prepared.state)
        return None if checkpoint is None else codec.decode(checkpoint)

    def _start_failed(self, running: Running, error: Exception) -> None:
        """It could not take over. (When the session is lost meanwhile, what follows comes from there.)"""
        if running.pid is None:
            running.gone.set()
        if not self._gate(running)() or (running.gone.is_set() and running.pid is not None):
            return
        log.error(
            "%r does not start with fence %d: %s", self.term, running.fence, show(error), exc_info=error
        )
        if running.pid is not None:
            stop_process(self.host.node, running.pid, error)
        else:
            self._tell(self.machine.exited, running.fence)

    def _started(self, running: Running) -> None:
        if not self._is_current(running) or running.control is None or running.gone.is_set():
            return
        self._prepared = None
        log.info("%r runs here with fence %d", self.term, running.fence)
        if self.machine.phase is Phase.RUNNING:
            running.control.release()
        self.perform(self.machine.process_started(running.fence, self.host.now()))
        self.host.ownership_changed()

    def _down(self, running: Running, down: Down) -> None:
        """The process is dead, for whatever reason."""
        running.gone.set()
        if self._is_current(running):
            self.perform(self.machine.exited(running.fence, self.host.now()))

    def _is_current(self, running: Running) -> bool:
        return self.running is running and self.machine.fence == running.fence

    def _do_ended(self, effect: o.Ended) -> None:
        running, self.running = self.running, None
        unhandled = list(running.unhandled.values()) if running is not None else []
        self.perform(self.delivery.ended(unhandled))
        self.host.ownership_changed()

    async def _release(self, effect: o.Release) -> None:
        try:
            own, revision = await self.records.release(effect.fence)
        except StoreError as error:
            log.info("%r is not released yet: %s", self.term, error)
            self._tell(self.machine.release_failed, effect.op)
            return
        self._tell(self.machine.released, effect.op, own, revision)

    # Handing over

    async def _hand_over(self, effect: o.HandOver) -> None:
        running = self.running
        if running is None or running.control is None or not await self._take_state(running):
            return
        self._tell(self.machine.handed_over, effect.fence, effect.attempt)

    async def _take_state(self, running: Running) -> bool:
        """Hold the process and have it hand over. False: it did not; what follows has been told."""
        attempt = self.machine.attempt
        async with running.handing_over:
            return await self._held_and_handed(running, attempt)

    async def _held_and_handed(self, running: Running, attempt: int) -> bool:
        control, machine = running.control, self.machine
        assert control is not None
        control.hold()
        running.draining = True
        try:
            async with timeout(self.host.clock, self.host.config.drain_s):
                await control.drain()
        except TimeoutError:
            log.warning("%r did not finish a message within %g s", self.term, self.host.config.drain_s)
            self.host.post.enter(self._stayed, running, attempt)
            return False
        except CalleeExited:
            return False
        finally:
            running.draining = False
        if machine.phase not in (Phase.LEAVING, Phase.RETIRING) or machine.attempt != attempt:
            return False  # it was called off meanwhile, see `_resume`
        try:
            async with timeout(self.host.clock, self.host.config.drain_s):
                state = await control.run(release)
        except CalleeExited:
            return False
        except Exception as error:
            log.error("hand_over of %r failed: it crashes", self.term, exc_info=error)
            stop_process(self.host.node, control.pid, error)
            return False
        try:
            running.encoded = self.host.codec.encode(state, f"what hand_over of {self.term!r} returned")
        except (EncodeError, TooLarge) as error:
            log.error("%r cannot be handed over: %s", self.term, error)
            running.state, running.handed = state, True
            self.host.post.enter(self._not_encodable, running, attempt, error)
            return False
        running.state, running.handed = state, True
        return True

    def _stayed(self, running: Running, attempt: int) -> None:
        if self.machine.phase is Phase.LEAVING and running.control is not None:
            running.control.release()
            self.perform(self.machine.stayed(running.fence, attempt, self.host.now()))
        elif self.machine.phase is Phase.RETIRING and running.pid is not None:
            stop_process(self.host.node, running.pid, "kill")

    def _not_encodable(self, running: Running, attempt: int, error: Exception) -> None:
        if self.machine.phase is Phase.RETIRING and running.pid is not None:
            stop_process(self.host.node, running.pid, error)
        else:
            self.perform(self.machine.prepare_failed(running.fence, attempt, self.host.now()))

    def _do_prepare(self, effect: o.Prepare) -> None:
        running = self.running
        assert running is not None and running.encoded is not None
        try:
            letter = Prepare(self.host.pid, effect.fence, effect.attempt, running.encoded)
            self.host.post.send(effect.target, self.name, letter)
        except TooLarge as error:
            log.error("the state of %r is too large to move: %s", self.term, error)
            self._tell(self.machine.prepare_failed, effect.fence, effect.attempt)
            return
        self.host.clock.call_later(
            self.host.config.prepare_s, self._tell, self.machine.prepare_failed, effect.fence, effect.attempt
        )

    def _on_prepare(self, letter: Prepare) -> None:
        """Another host wants to hand its singleton over to this one."""
        want, session = self.host.book.wants.get(self.name), self.host.store.session.id
        if session and not self.machine.closing and want is not None and self.host.runs(want.kind):
            self._prepared = letter
        else:
            session = 0
        self._send(letter.host, Prepared(letter.fence, letter.attempt, session))

    async def _commit(self, effect: o.Commit) -> None:
        running = self.running
        assert running is not None
        try:
            own, revision = await self.records.commit(
                running, effect.target, effect.target_session, effect.attempt
            )
        except StoreError as error:
            log.info("the move of %r to %s: %s", self.term, effect.target.node, error)
            unknown = isinstance(error, OutcomeUnknown)
            self._tell(self.machine.commit_failed, effect.fence, unknown=unknown)
            return
        self._tell(self.machine.commit_answered, effect.fence, own, revision)

    async def _reclaim(self, effect: o.Reclaim) -> None:
        try:
            own, revision = await self.records.reclaim(effect.fence, effect.session)
        except StoreError as error:
            log.info("whether %r has moved is not known yet: %s", self.term, error)
            self._tell(self.machine.reclaim_failed, effect.fence)
            return
        self._tell(self.machine.reclaimed, own, revision)

    def _do_renewed(self, effect: o.Renewed) -> None:
        running = self.running
        assert running is not None and running.server is not None
        running.own = effect.own
        running.fence = self._gained = effect.own.fence
        running.server.fence = effect.own.fence
        self.perform(self.delivery.renewed(effect.own.fence))

    async def _resume(self, effect: o.Resume) -> None:
        """The process takes its own state back, if it has handed it over, and goes on."""
        running = self.running
        if running is None or running.control is None:
            return
        if running.draining:
            running.control.release()
        async with running.handing_over:
            if running.handed:
                state = running.state
                try:
                    await running.control.run(lambda server: begin(server, state, self._gate(running)))
                except Exception as error:  # noqa: BLE001 -- whatever the user's class raises is its own failure to start
                    self._start_failed(running, error)
                    return
                running.handed, running.state, running.encoded = False, None, None
        if self._is_current(running) and self.machine.phase is Phase.RUNNING:
            running.control.release()

    def _do_depart(self, effect: o.Depart) -> None:
        running, self.running = self.running, None
        assert running is not None
        unhandled = list(running.unhandled.values())
        self.routers = {router for router in self.delivery.senders() if self.host.post.reachable(router)}
        self.perform(self.delivery.moved(effect.to, unhandled))
        log.info("%r has moved to %s with fence %d", self.term, effect.to.host.node, effect.to.fence)
        if running.pid is not None:
            stop_process(self.host.node, running.pid, MOVED)
        self.host.ownership_changed()

    # Losing the session, and giving up in order

    def _do_park(self, effect: o.Park) -> None:
        running = self.running
        assert running is not None
        control = running.control
        unbegun = list(running.unhandled)
        if control is not None:
            control.hold()
            unbegun = [
                message.reply.number
                for message in control.take_mailbox()
                if type(message) is Request and isinstance(message.reply, Handled)
            ]
            interrupt(self.host.node, control.pid)
        parcels = [
            parcel for number in unbegun if (parcel := running.unhandled.pop(number, None)) is not None
        ]
        self.perform(self.delivery.ended(parcels))
        self._later(self._park(running, effect))

    async def _park(self, running: Running, effect: o.Park) -> None:
        if running.control is not None:
            if effect.started and not running.gone.is_set():
                await self._keep_state(running)
            stop_process(self.host.node, running.control.pid, ClaimLost(self.term, running.fence))
            await running.gone.wait()
        self.host.post.enter(self._parked, running)

    async def _keep_state(self, running: Running) -> None:
        """Have the process hand over, whatever the session says, and park what it gives.

        Unless its ownership is over because it was given up just now: then the store has its state.
        """
        if running.given_up is not None and await running.given_up:
            return
        encoded = running.encoded
        if encoded is None:
            assert running.control is not None
            try:
                async with timeout(self.host.clock, self.host.config.park_s):
                    state = await running.control.run(release)
                encoded = self.host.codec.encode(state, f"what hand_over of {self.term!r} returned")
            except Exception as error:
                log.error("the state of %r with fence %d is lost", self.term, running.fence, exc_info=error)
                return
        log.warning("%r with fence %d has lost its session: its state is parked", self.term, running.fence)
        await self.host.parking.keep(ParkedState(self.name, running.fence, self.host.node.name, encoded))

    def _parked(self, running: Running) -> None:
        if self.running is running:
            self.running = None
        self.perform(self.machine.parked(running.fence, self.host.now()))
        self.host.ownership_changed()

    async def _retire(self, effect: o.Retire) -> None:
        """Give the ownership up with its state as the checkpoint; what the store does not take is parked."""
        running = self.running
        if running is None or running.control is None or not await self._take_state(running):
            return
        assert running.encoded is not None
        parked = ParkedState(self.name, running.fence, self.host.node.name, running.encoded)
        given_up = running.given_up = asyncio.get_running_loop().create_future()
        try:
            succeeded, own, revision = await self.records.retire(running)
        except (StoreError, TooLarge) as error:
            given_up.set_result(False)
            log.warning("%r is parked, the store does not take its state: %s", self.term, error)
            await self.host.parking.keep(parked)
            stop_process(self.host.node, running.control.pid, MOVED)
            return
        given_up.set_result(succeeded)
        if not succeeded:
            log.warning("%r is parked, its ownership was over before it was given up", self.term)
            await self.host.parking.keep(parked)
        self.host.post.enter(self._retired, running, own, revision)

    def _retired(self, running: Running, own: Own | None, revision: int) -> None:
        if not self._is_current(running) or running.pid is None or self.machine.phase is not Phase.RETIRING:
            return
        self.running = None
        self.perform(self.delivery.ended(list(running.unhandled.values())))
        stop_process(self.host.node, running.pid, MOVED)
        self.perform(self.machine.retired(running.fence, own, revision, self.host.now()))
        self.host.ownership_changed()

    # Parked state

    def _on_offer(self, offer: Offer) -> None:
        running = self.running
        if running is None or running.pid is None or not self.machine.started or running.fence <= offer.fence:
            return  # it will be offered again
        if offer.fence in running.handed_over:
            self._send(offer.host, Taken(offer.fence))  # that state came here by a handoff after all
        elif offer.fence not in self._reconciling:
            try:
                parked = Parked(self.host.codec.decode(offer.state), offer.fence, offer.node)
            except DecodeError as error:
                log.error("what %s had parked of %r cannot be read here: %s", offer.node, self.term, error)
                return
            self._reconciling.add(offer.fence)
            self.host.kernel.request(running.pid, Request(RECONCILE, (parked,), {}, Reconciled(self, offer)))

    def reconciled(self, offer: Offer, done: bool) -> None:
        """The singleton is through with what was offered, or crashed over it."""
        self._reconciling.discard(offer.fence)
        if done:
            self._send(offer.host, Taken(offer.fence))

    # Checkpoints

    async def checkpoint(self, fence: int, state: object) -> None:
        """See `Singleton.checkpoint`."""
        running = self.running
        if running is None or running.fence != fence or not self._gate(running)():
            raise ClaimLost(self.term, fence)
        await self.records.checkpoint(running, self.term, self.host.codec.encode(state, "checkpoint"))
