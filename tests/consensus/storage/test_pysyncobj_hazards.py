"""Where stock PySyncObj 0.3.17 loses what it has acknowledged, and what holds here: the part that is the disk's.

The situations were each proven on PySyncObj as it is shipped, with its journal and dump files. The counterparts that
take more than one replica are in `tests/consensus/raft`.
"""

import asyncio

from quorate.consensus.raft.types import HardState
from quorate.jepsen_like.disk import SimDisk
from tests.support import SeededEntropy, run, turns

from .model import NODE, Entry, batch, open_storage, snapshot_of, state_of

LOG: list[Entry] = [(1, b"set k%d" % index) for index in range(1, 61)]


def test_a2_a_kill_between_snapshot_and_compaction_loses_nothing() -> None:
    """a2: kill -9 while a dump is written, or before the journal is compacted.

    PySyncObj compares the dump's last two entries with the journal's first two at start, and when they differ clears
    the whole journal: every write acknowledged since the dump was begun is gone, with all defaults, every time.

    Here a snapshot beside a log that reaches beyond it takes nothing from the log, wherever the kill falls.
    """

    async def main(moment: int) -> None:
        disk = SimDisk()
        opened = await open_storage(disk)
        opened.storage.write(hard_state=HardState(1, NODE), entries=batch(1, LOG[:20]))
        await opened.storage.sync()
        acknowledged = 20

        async def serve() -> None:
            nonlocal acknowledged
            for index in range(21, 41):
                opened.storage.write(entries=batch(index, LOG[index - 1 : index]))
                await opened.storage.sync()
                acknowledged = index

        async def snapshot() -> None:
            await opened.storage.save_snapshot(snapshot_of(LOG[:20]))
            opened.storage.compact(20)

        living = [asyncio.ensure_future(serve()), asyncio.ensure_future(snapshot())]
        await turns(moment)
        disk = disk.kill()
        for task in living:
            task.cancel()
        await asyncio.gather(*living, return_exceptions=True)
        again = await open_storage(disk)
        found = state_of(again.recovered).log
        assert len(found) >= acknowledged
        assert found == tuple(LOG[: len(found)])
        await again.close()

    for moment in range(0, 90, 3):
        run(main(moment))


def test_a3_a_kill_in_the_middle_of_a_compaction_loses_nothing() -> None:
    """a3: FileJournal compacts by clearing the file and adding the kept entries again, in place.

    A follower that is killed in that loop forgets entries which it had acknowledged, and the next majority without the
    old leader does not have them.

    Here compaction removes whole files that hold nothing else, and a removal that a crash undoes does no harm.
    """

    async def main(removals: int, seed: int) -> None:
        disk = SimDisk()
        for start in range(6):
            opened = await open_storage(disk)
            opened.storage.write(
                hard_state=HardState(1, NODE),
                entries=batch(start * 10 + 1, LOG[start * 10 : start * 10 + 10]),
            )
            await opened.close()
        opened = await open_storage(disk)
        await opened.storage.save_snapshot(snapshot_of(LOG[:45]))
        opened.storage.compact(removals * 10)  # the kill falls after so many removals
        disk = disk.kill() if seed == 0 else disk.crash(SeededEntropy(seed), out_of_order=True)
        opened = await open_storage(disk)
        assert state_of(opened.recovered).log == tuple(LOG)
        await opened.close()

    for removals in range(5):
        for seed in range(5):
            run(main(removals, seed))


def test_a7_a_vote_is_never_forgotten() -> None:
    """a7: the term and the vote are in a `.meta` file that is written without a sync and read with a bare `except`.

    After a loss of power it is empty or old, which PySyncObj takes for "never voted": the node votes twice in one term,
    two leaders of the same term commit different entries under the same index, and no check ever notices.

    Here a vote that was synced is there after any loss of power, and one that has rotted stops the node.
    """

    async def main(seed: int, out_of_order: bool) -> None:
        disk = SimDisk()
        opened = await open_storage(disk)
        opened.storage.write(hard_state=HardState(1, None), entries=batch(1, LOG[:3]))
        await opened.storage.sync()
        opened.storage.write(hard_state=HardState(2, "a@10.0.0.1:9101"))
        await opened.storage.sync()  # only now does the answer to the candidate leave
        opened.storage.write(entries=batch(4, LOG[3:6]))
        disk = disk.crash(SeededEntropy(seed), out_of_order=out_of_order)
        opened = await open_storage(disk)
        assert opened.recovered.hard_state == HardState(2, "a@10.0.0.1:9101")
        await opened.close()

    for seed in range(30):
        run(main(seed, seed % 2 == 0))


def test_a7_a_vote_outlives_the_compaction_of_the_segment_that_holds_it() -> None:
    async def main(seed: int) -> None:
        disk = SimDisk()
        opened = await open_storage(disk, segment_bytes=300)
        opened.storage.write(hard_state=HardState(2, "b@10.0.0.2:9101"), entries=batch(1, LOG[:20]))
        await opened.storage.sync()
        opened.storage.write(entries=batch(21, LOG[20:40]))
        await opened.storage.sync()
        await opened.storage.save_snapshot(snapshot_of(LOG[:40]))
        opened.storage.compact(40)
        assert disk.list("log") == ["0000000000000003.log"]
        disk = disk.crash(SeededEntropy(seed))
        opened = await open_storage(disk)
        assert opened.recovered.hard_state == HardState(2, "b@10.0.0.2:9101")
        await opened.close()

    for seed in range(5):
        run(main(seed))


def test_a8_a9_what_was_acknowledged_survives_a_loss_of_power() -> None:
    """a9: the journal is a memory map that is never synced: on ext4, 200 of 200 acknowledged writes are gone, also
    20 s later. a8: the commit index comes back by another path and is then beyond the log, so that a restarted leader
    acknowledges new writes at those indexes at once, without any follower.

    Here an acknowledgement waits for the sync, and no commit index is kept: it is found anew by Raft's own rule.
    """

    async def main(seed: int) -> None:
        disk = SimDisk()
        opened = await open_storage(disk, segment_bytes=500)
        acknowledged = 0
        for index in range(1, 51):
            opened.storage.write(hard_state=HardState(1, NODE), entries=batch(index, LOG[index - 1 : index]))
            if index % 7 == seed % 7 or index < 20:
                await opened.storage.sync()
                acknowledged = index
        disk = disk.crash(SeededEntropy(seed), out_of_order=seed % 2 == 1)
        opened = await open_storage(disk)
        found = state_of(opened.recovered).log
        assert acknowledged <= len(found) <= 50
        assert found == tuple(LOG[: len(found)])
        await opened.close()

    for seed in range(20):
        run(main(seed))
