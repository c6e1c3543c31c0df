"""Owners that lose their session: they act no more, and their state comes back at heal."""

import asyncio
from typing import Any

import pytest

from quorate.core import CallError, DecodeError, Ref
from quorate.registry import ClaimLost, Name
from quorate.registry.keys import encode_name
from quorate.registry.letters import Taken
from quorate.registry.parking import ParkedState, decode_parked, encode_parked
from quorate.registry.singletons import Singletons
from tests.registry.support import TIMING, Ledger, MemoryDisk, Singles
from tests.support import run, turns


async def ledger(singles: Singles, letter: str = "a", key: str = "x") -> Ref[Ledger]:
    return await singles[letter].get(Name(Ledger, key))


async def owned(singles: Singles, key: str = "x") -> tuple[str, int]:
    """Start it; its owner and fence."""
    ref = await ledger(singles, "a", key)
    return await ref.call(Ledger.where)


def effects(fence: int) -> list[Any]:
    """What an ownership did, but for handing over."""
    return [what for _, by, what in Ledger.log if by == fence and what[0] != "hand_over"]


def test_a_paused_owner_handles_nothing_on_waking_although_no_callback_has_run() -> None:
    async def main() -> None:
        Ledger.log.clear()
        async with Singles() as singles:
            owner, fence = await owned(singles)
            here = await ledger(singles, owner)
            singles.clock.skip(TIMING.session_ttl_s)
            for number in range(5):
                here.cast(Ledger.add, 1, number)
            before = effects(fence)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert effects(fence) == before
            await singles.until(lambda: singles.fence("x") > fence)
            await singles.until(lambda: len(effects(singles.fence("x"))) == 6)
            assert effects(fence) == before, "what it had not handled goes to the next owner"
            assert [what[1:] for what in effects(singles.fence("x"))[1:]] == [(1, n) for n in range(5)]

    run(main())


def test_an_async_handler_that_is_suspended_when_the_lease_ends_never_resumes() -> None:
    async def main() -> None:
        Ledger.log.clear()
        async with Singles() as singles:
            owner, fence = await owned(singles)
            here = await ledger(singles, owner)
            event = asyncio.Event()
            waiting = asyncio.ensure_future(here.within(None).call(Ledger.wait, event))
            await turns()
            singles.clock.skip(TIMING.session_ttl_s)
            event.set()  # what it waits for comes just as it wakes up late
            with pytest.raises(CallError):
                await waiting
            await singles.until(lambda: singles.fence("x") > fence)
            assert (("x", fence, "resumed")) not in Ledger.log

    run(main())


def test_an_owner_that_is_cut_off_stops_before_the_next_one_starts() -> None:
    async def main() -> None:
        Ledger.log.clear()
        async with Singles() as singles:
            owner, fence = await owned(singles)
            pid = next(p for p in singles.nodes[owner].processes() if _is_ledger(singles, owner, p))
            gone = asyncio.ensure_future(singles.nodes[owner].down(pid))
            singles.cut_off(owner)
            while singles.fence("x") in (fence, 0):
                assert singles.fence("x") == fence or gone.done()
                await singles.clock.pass_time(0.05)
            assert gone.result().reason == ClaimLost("x", fence)

    run(main())


def _is_ledger(singles: Singles, letter: str, pid: Any) -> bool:
    info = singles.nodes[letter].process_info(pid)
    return info is not None and info.kind == "Ledger"


def test_a_checkpoint_of_an_owner_whose_session_is_gone_is_refused_and_stores_nothing() -> None:
    async def main() -> None:
        async with Singles() as singles:
            owner, fence = await owned(singles)
            keeper = singles[owner]._host.keepers[encode_name("x")]
            await keeper.checkpoint(fence, 41)
            singles.clock.skip(TIMING.session_ttl_s)
            with pytest.raises(ClaimLost):
                await keeper.checkpoint(fence, 42)
            await singles.until(lambda: singles.fence("x") > fence)
            ref = await ledger(singles)
            answer = asyncio.ensure_future(ref.call(Ledger.add, 0))
            await singles.until(answer.done)
            assert answer.result() == 41

    run(main())


def test_a_checkpoint_of_unknown_outcome_never_replaces_a_later_one() -> None:
    async def main() -> None:
        async with Singles() as singles:
            owner, fence = await owned(singles)
            store, keeper = singles.stores[owner], singles[owner]._host.keepers[encode_name("x")]
            late: list[Any] = []
            txn = store.txn

            async def lost(*args: Any, **kwargs: Any) -> Any:
                late.append((args, kwargs))
                raise OSError("as good as OutcomeUnknown")

            store.txn = lost  # type: ignore[method-assign]
            with pytest.raises(OSError):
                await keeper.checkpoint(fence, 1)
            store.txn = txn  # type: ignore[method-assign]
            await keeper.checkpoint(fence, 2)
            assert not (await txn(*late[0][0], **late[0][1])).succeeded
            await keeper.checkpoint(fence, 3)

    run(main())


def test_what_a_cut_off_owner_knew_is_reconciled_with_the_living_owner_after_the_heal() -> None:
    async def main() -> None:
        Ledger.log.clear()
        async with Singles() as singles:
            ref = await ledger(singles)
            await ref.call(Ledger.add, 5)
            owner, fence = await ref.call(Ledger.where)
            singles.cut_off(owner)
            await singles.until(lambda: singles.fence("x") > fence)
            assert singles[owner].parked() == 1
            survivor = singles.owner("x")
            ref = await ledger(singles, survivor)
            answer = asyncio.ensure_future(ref.call(Ledger.add, 100))
            await singles.until(answer.done)
            assert answer.result() == 100, "there was no checkpoint"
            singles.heal(owner)
            await singles.until(lambda: singles[owner].parked() == 0)
            later = asyncio.ensure_future(ref.call(Ledger.add, 0))
            await singles.until(later.done)
            assert later.result() == 105
            reconciled = [what for _, _, what in Ledger.log if what[0] == "reconcile"]
            assert reconciled == [("reconcile", 5, fence, owner)]

    run(main())


def test_parked_state_survives_a_restart_of_the_node_that_parked_it() -> None:
    async def main() -> None:
        Ledger.log.clear()
        disks = {letter: MemoryDisk() for letter in "abc"}
        async with Singles(disks=disks) as singles:
            ref = await ledger(singles)
            await ref.call(Ledger.add, 5)
            owner, fence = await ref.call(Ledger.where)
            singles.cut_off(owner)
            await singles.until(lambda: singles.fence("x") > fence and singles[owner].parked() == 1)
            disks[owner].crash()
            singles.kill(owner)
            await singles.open(owner)
            assert singles[owner].parked() == 1
            await singles.until(lambda: singles[owner].parked() == 0)
            assert disks[owner].list("parked") == []
            assert [what[1:3] for _, _, what in Ledger.log if what[0] == "reconcile"] == [(5, fence)]

    run(main())


def test_parked_state_is_offered_again_until_it_is_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        Ledger.log.clear()
        lost = 0
        read = Singletons.letter

        def letter(singletons: Singletons, name: bytes, item: object) -> None:
            nonlocal lost
            if isinstance(item, Taken) and lost < 2:
                lost += 1
            else:
                read(singletons, name, item)

        monkeypatch.setattr(Singletons, "letter", letter)
        async with Singles() as singles:
            owner, fence = await owned(singles)
            singles.cut_off(owner)
            await singles.until(lambda: singles.fence("x") > fence)
            singles.heal(owner)
            await singles.until(lambda: singles[owner].parked() == 0)
            reconciled = [what for _, _, what in Ledger.log if what[0] == "reconcile"]
            assert len(reconciled) == 3 and len(set(reconciled)) == 1

    run(main())


def test_state_that_turns_out_to_have_been_handed_over_is_not_offered_to_reconcile() -> None:
    """The commit of a move succeeded, its reply never came, and the source lost its session: it parks in vain."""

    async def main() -> None:
        Ledger.log.clear()
        async with Singles() as singles:
            ref = await ledger(singles)
            await ref.call(Ledger.add, 5)
            source, _ = await ref.call(Ledger.where)
            target, third = (letter for letter in "abc" if letter != source)
            store = singles.stores[source]
            txn = store.txn

            async def lossy(if_: Any, then: Any, else_: Any = (), **kwargs: Any) -> Any:
                if any(getattr(op, "key", b"").startswith(b"sh/") for op in then):
                    store.lose_next_reply()
                    # Before the store's next turn, in which it would hear of the commit.
                    asyncio.get_running_loop().call_soon(singles.cut_off, source)
                return await txn(if_, then, else_, **kwargs)

            store.txn = lossy  # type: ignore[method-assign]
            await singles[third].move("x", singles.full(target))
            await singles.until(lambda: singles.owner("x") == target)
            ref = await ledger(singles, third)
            answer = asyncio.ensure_future(ref.within(60).call(Ledger.add, 1))
            await singles.until(answer.done)
            assert answer.result() == 6 and singles.owner("x") == target
            await singles.until(lambda: singles[source].parked() == 1)
            store.txn = txn  # type: ignore[method-assign]
            singles.heal(source)
            await singles.until(lambda: singles[source].parked() == 0)
            assert not any(what[0] == "reconcile" for _, _, what in Ledger.log)

    run(main())


def test_a_parked_file_reads_back_and_a_damaged_one_is_refused() -> None:
    state = ParkedState(b"sx", 7, "a@h:1", b"state")
    data = encode_parked(state)
    assert decode_parked(data) == state
    for bad in (data[:-1], data + b"x", data[:4], b"", data[:-1] + bytes([data[-1] ^ 1])):
        with pytest.raises(DecodeError):
            decode_parked(bad)


def test_a_damaged_parked_file_is_left_alone_and_told_of(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        disk = MemoryDisk()
        file = disk.open("parked/zz.parked", create=True)
        file.append(b"rubbish")
        async with Singles("a", disks={"a": disk}) as singles:
            assert singles["a"].parked() == 0 and disk.exists("parked/zz.parked")
            assert "damaged" in caplog.text

    run(main())
