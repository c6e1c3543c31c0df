"""Random lives of a replica on a disk that loses what real ones lose: what was promised is there, the rest is a prefix."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import event, given, settings
from hypothesis import strategies as st

from quorate.core import DataDirError
from quorate.jepsen_like.disk import SimDisk
from tests.support import run, turns

from .model import Replica, State


@dataclass(frozen=True)
class Write:
    bump: bool
    vote: bool
    replace: int
    terms: tuple[int, ...]


@dataclass(frozen=True)
class Sync:
    pass


@dataclass(frozen=True)
class Turns:
    count: int


@dataclass(frozen=True)
class Commit:
    back: int


@dataclass(frozen=True)
class OwnSnapshot:
    pass


@dataclass(frozen=True)
class Received:
    ahead: int
    matching: bool


@dataclass(frozen=True)
class Compact:
    back: int


@dataclass(frozen=True)
class Restart:
    """How a run ends, and after how many turns of each of the next openings power is lost again."""

    how: str
    again: tuple[int, ...] = ()


Step = Write | Sync | Turns | Commit | OwnSnapshot | Received | Compact | Restart

WRITES = st.builds(
    Write,
    st.booleans(),
    st.booleans(),
    st.integers(0, 4),
    st.lists(st.integers(0, 2), max_size=5).map(tuple),
)
DOINGS = st.one_of(
    WRITES,
    WRITES,
    st.builds(Sync),
    st.builds(Turns, st.integers(1, 12)),
    st.builds(Commit, st.integers(0, 3)),
    st.builds(OwnSnapshot),
    st.builds(Received, st.integers(0, 6), st.booleans()),
    st.builds(Compact, st.integers(0, 3)),
)
ENDS = st.sampled_from(["power", "out of order", "kill", "close", "failed sync"])
RESTARTS = st.builds(Restart, ENDS, st.lists(st.integers(0, 25), max_size=2).map(tuple))
LIVES = st.lists(st.one_of(DOINGS, DOINGS, DOINGS, DOINGS, RESTARTS), max_size=40)
SEGMENT_BYTES = st.sampled_from([200, 500, 100_000])


async def live(replica: Replica, steps: Sequence[Step]) -> None:
    await replica.open()
    for step in steps:
        match step:
            case Write():
                await replica.write(
                    bump=step.bump, vote=step.vote, replace=step.replace, terms=list(step.terms)
                )
            case Sync():
                replica.start_sync()
            case Turns():
                await turns(step.count)
            case Commit():
                replica.committed = max(replica.committed, len(replica.now.log) - step.back)
            case OwnSnapshot():
                replica.start_own_snapshot()
            case Received():
                replica.start_received_snapshot(ahead=step.ahead, matching=step.matching)
            case Compact():
                replica.compact(step.back)
            case Restart():
                await stop(replica, step.how)
                for count in step.again:
                    await interrupted_open(replica, count)
                await replica.open()


async def stop(replica: Replica, how: str) -> None:
    match how:
        case "power":
            await replica.lose_power(out_of_order=False)
        case "out of order":
            await replica.lose_power(out_of_order=True)
        case "kill":
            await replica.killed()
        case "failed sync":
            await replica.sync_fails()
        case "close":
            await replica.close()


async def interrupted_open(replica: Replica, count: int) -> None:
    """Lose power in the middle of a start."""
    opening = asyncio.create_task(replica.open())
    await turns(count)
    if opening.done():
        opening.result()
    opening.cancel()
    await replica.lose_power(out_of_order=count % 2 == 1)
    await asyncio.gather(opening, return_exceptions=True)


@settings(max_examples=250)
@given(LIVES, SEGMENT_BYTES, st.integers(0, 1 << 30))
def test_what_was_synced_is_recovered_and_the_rest_is_a_prefix_of_what_was_written(
    steps: list[Step], segment_bytes: int, seed: int
) -> None:
    async def main() -> None:
        replica = Replica(SimDisk("a"), segment_bytes=segment_bytes, seed=seed)
        await live(replica, steps)
        # The last word: nothing that is recovered is lost by another loss of power.
        await replica.lose_power(out_of_order=seed % 2 == 1)
        await replica.open()
        found = replica.now
        await replica.lose_power(out_of_order=seed % 2 == 0)
        await replica.open()
        assert replica.now == found
        await replica.close()

    run(main())


@settings(max_examples=250)
@given(LIVES, SEGMENT_BYTES, st.integers(0, 1 << 30), st.data())
def test_a_flipped_bit_is_detected_or_does_no_harm(
    steps: list[Step], segment_bytes: int, seed: int, data: st.DataObject
) -> None:
    """After a kill: every byte that was written. After a loss of power: every byte that has evidence."""

    async def main() -> None:
        replica = Replica(SimDisk("a"), segment_bytes=segment_bytes, seed=seed)
        await live(replica, steps)
        how = data.draw(ENDS)
        await stop(replica, how)
        disk = replica.disk
        paths = [path for path in disk.files() if disk.content(path) and path != "lock"]
        path = data.draw(st.sampled_from(paths))
        size = len(disk.content(path))
        if how in ("power", "out of order") and path.startswith("log/"):
            size = replica.evidenced_bytes.get(path, 0)
        if size == 0:
            return
        disk.flip(path, data.draw(st.integers(0, size - 1)), 1 << data.draw(st.integers(0, 7)))
        try:
            await replica.open()  # checks that what is found is legal
        except DataDirError as error:
            event("detected")
            assert path in str(error)
        else:
            event("harmless")

    run(main())


def test_the_model_reaches_what_it_is_there_for() -> None:
    """One life by hand, so that a model that does nothing cannot pass for a storage that holds."""

    async def main() -> list[State]:
        replica = Replica(SimDisk("a"), segment_bytes=300, seed=1)
        steps: list[Step] = [
            Write(True, True, 0, (0, 0, 0)),
            Sync(),
            Turns(20),
            Commit(1),
            OwnSnapshot(),
            Turns(40),
            Compact(0),
            Write(True, False, 1, (0, 1)),
            Restart("kill"),
            Received(5, False),
            Turns(40),
            Restart("power"),
            Write(False, True, 0, (0,)),
        ]
        await live(replica, steps)
        found = replica.history
        await replica.close()
        return found

    found = run(main())
    assert len(found) == 3
    assert len(found[0].log) == 7 and len(found[-1].log) == 8
    assert found[-1].hard_state.vote is not None
