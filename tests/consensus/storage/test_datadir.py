"""Whose directory it is: locks, names, formats, and a count of starts that never repeats."""

import asyncio
import errno

import pytest

from quorate.consensus.errors import DataDirInUse, LogCorrupt, NewerFormat, WrongDataDir
from quorate.consensus.storage import datadir
from quorate.consensus.storage.datadir import (
    DataDir,
    Identity,
    decode_identity,
    encode_identity,
    open_data_dir,
)
from quorate.core import DataDirError
from quorate.jepsen_like.disk import SimDisk
from tests.support import SeededEntropy, run, turns

from .model import NODE, entries, open_storage


async def opened(disk: SimDisk, node: str = NODE, *, cluster: str = "", seed: int = 1) -> DataDir:
    return await open_data_dir(disk, node, token=SeededEntropy(seed).token, cluster=cluster)


def test_a_new_directory_gets_an_id_and_keeps_it() -> None:
    async def main() -> None:
        disk = SimDisk()
        first = await opened(disk)
        assert (first.node, first.creation, len(first.dir_id)) == (NODE, 1, 16)
        first.close()
        second = await opened(disk, seed=2)
        assert (second.creation, second.dir_id) == (2, first.dir_id)
        second.close()
        other = await opened(SimDisk(), seed=2)
        assert other.dir_id != first.dir_id
        other.close()

    run(main())


def test_no_two_starts_have_the_same_creation_wherever_power_is_lost() -> None:
    async def main(moment: int, out_of_order: bool) -> None:
        disk = SimDisk()
        used: list[int] = []
        entropy = SeededEntropy(moment)
        for _ in range(6):
            opening = asyncio.ensure_future(opened(disk))
            await turns(moment)
            if opening.done():
                used.append(opening.result().creation)
            disk = disk.crash(entropy, out_of_order=out_of_order)
            await asyncio.gather(opening, return_exceptions=True)
        last = await opened(disk)
        used.append(last.creation)
        assert used == sorted(set(used))
        assert last.node == NODE
        last.close()

    for moment in range(8):
        run(main(moment, False))
        run(main(moment, True))


def test_one_process_at_a_time() -> None:
    async def main() -> None:
        disk = SimDisk("a")
        first = await opened(disk)
        with pytest.raises(DataDirInUse, match=r"a:/ is in use \(held by .*stop that process"):
            await opened(disk)
        first.close()
        second = await opened(disk)
        assert second.creation == 2  # the refused one did not count
        second.close()

    run(main())


def test_a_directory_that_was_refused_is_free_again() -> None:
    async def main() -> None:
        disk = SimDisk()
        (await opened(disk)).close()
        for _ in range(2):
            with pytest.raises(WrongDataDir):
                await opened(disk, "b@10.0.0.2:9101")
        (await opened(disk)).close()

    run(main())


def test_another_node_s_directory_is_refused_and_left_alone() -> None:
    async def main() -> None:
        disk = SimDisk("a")
        (await opened(disk)).close()
        before = disk.content("identity")
        with pytest.raises(WrongDataDir, match=f"belongs to node {NODE}, and this node is b@10.0.0.2:9101"):
            await opened(disk, "b@10.0.0.2:9101")
        assert disk.content("identity") == before

    run(main())


def test_another_cluster_s_directory_is_refused() -> None:
    async def main() -> None:
        disk = SimDisk()
        (await opened(disk)).close()
        (await opened(disk, cluster="blue")).close()  # the first name that is given stays
        (await opened(disk)).close()
        with pytest.raises(WrongDataDir, match="belongs to cluster 'blue'"):
            await opened(disk, cluster="green")
        last = await opened(disk, cluster="blue")
        assert last.cluster == "blue"
        last.close()

    run(main())


def test_a_newer_format_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        disk = SimDisk("a")
        with monkeypatch.context() as patched:
            patched.setattr(datadir, "FORMAT", 2)
            (await opened(disk)).close()
        with pytest.raises(NewerFormat, match=r"a:/identity is in format 2 .* format 1: .*newer"):
            await opened(disk)

    run(main())


def test_every_changed_bit_of_an_identity_is_noticed() -> None:
    identity = Identity(NODE, "blue", b"0123456789abcdef", 7, True)
    data = encode_identity(identity)
    assert decode_identity(data, "x") == identity
    for at in range(len(data) * 8):
        changed = bytearray(data)
        changed[at // 8] ^= 1 << at % 8
        with pytest.raises(LogCorrupt, match="does not read back"):
            decode_identity(bytes(changed), "x")
    for length in range(len(data)):
        with pytest.raises(LogCorrupt):
            decode_identity(data[:length], "x")


@pytest.mark.parametrize("harm", ["remove", "empty"])
def test_a_lost_identity_beside_a_log_is_no_fresh_start(harm: str) -> None:
    async def main() -> None:
        disk = SimDisk("a")
        storage = await open_storage(disk)
        storage.storage.write(entries=entries(1, 1))
        await storage.close()
        if harm == "remove":
            disk.remove("identity")
        else:
            disk.open("identity").truncate(0)
        with pytest.raises(LogCorrupt, match=r"a:/identity .* not known whose") as corrupt:
            await opened(disk)
        assert corrupt.value.path == "a:/identity"
        assert "move the directory away" in str(corrupt.value)

    run(main())


def test_a_log_that_was_taken_away_is_no_fresh_start() -> None:
    """An empty log would forget votes and acknowledged entries: the node could vote twice in one term."""

    async def main() -> None:
        disk = SimDisk("a")
        await (await open_storage(disk)).close()
        for name in disk.list("log"):
            disk.remove(f"log/{name}")
        with pytest.raises(LogCorrupt, match="a:/log holds no usable log"):
            await open_storage(disk)

    run(main())


def test_a_start_that_never_came_to_its_log_may_begin_one() -> None:
    async def main() -> None:
        disk = SimDisk()
        (await opened(disk)).close()
        begun = await open_storage(disk)
        assert begun.data_dir.creation == 2 and begun.data_dir.log_begun
        await begun.close()

    run(main())


@pytest.mark.parametrize("operation", ["append", "sync", "read"])
def test_what_the_operating_system_refuses_is_said_clearly(operation: str) -> None:
    async def main() -> None:
        disk = SimDisk("a")
        (await opened(disk)).close()
        match operation:
            case "append":
                disk.fail("append", error=errno.ENOSPC)
            case "sync":
                disk.fail("sync")
            case _:
                disk.fail("read")
        with pytest.raises(DataDirError, match=r"a:/ cannot be used: .* start the node again"):
            await opened(disk)
        disk.mend()
        (await opened(disk)).close()

    run(main())
