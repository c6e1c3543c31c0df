"""The storage on real files, and two real processes on one directory."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from quorate.consensus.errors import DataDirInUse
from quorate.consensus.raft.types import HardState
from quorate.core.real import RealDisk, file_mode
from tests.support import run

from .model import NODE, Entry, batch, open_storage, snapshot_of, state_of

LOG: list[Entry] = [(1, b"entry %d" % index) for index in range(1, 201)]


@pytest.mark.parametrize("runner", [run, uvloop.run], ids=["asyncio", "uvloop"])
def test_what_was_written_to_real_files_reads_back(
    runner: Callable[[Coroutine[Any, Any, None]], None], tmp_path: Path
) -> None:
    async def main() -> None:
        disk = RealDisk(tmp_path / "data")
        opened = await open_storage(disk, segment_bytes=1000)
        opened.storage.write(hard_state=HardState(1, NODE))
        for start in range(0, 100, 5):
            opened.storage.write(entries=batch(start + 1, LOG[start : start + 5]))
            await opened.storage.sync()
        await opened.storage.save_snapshot(snapshot_of(LOG[:90]))
        opened.storage.compact(90)
        opened.storage.write(entries=batch(101, LOG[100:]))
        await opened.close()
        assert disk.list("log")[0] != "0000000000000001.log"
        opened = await open_storage(disk)
        assert state_of(opened.recovered).log == tuple(LOG)
        assert opened.recovered.hard_state == HardState(1, NODE)
        await opened.close()
        disk.close()

    runner(main())
    for path in (tmp_path / "data").rglob("*"):
        assert file_mode(path) == (0o700 if path.is_dir() else 0o600), path


WRITER = """
import asyncio, sys
from quorate.consensus.raft.types import HardState
from quorate.core.real import RealDisk
from tests.consensus.storage.model import NODE, batch, open_storage

async def main():
    opened = await open_storage(RealDisk(sys.argv[1]), segment_bytes=5000)
    opened.storage.write(hard_state=HardState(1, NODE))
    index = 0
    while True:
        index += 1
        opened.storage.write(entries=batch(index, [(1, b"entry %d" % index)]))
        await opened.storage.sync()
        print(index, flush=True)

asyncio.run(main())
"""


def test_a_second_process_is_refused_and_a_killed_one_leaves_all_that_it_acknowledged(tmp_path: Path) -> None:
    async def refused() -> None:
        with pytest.raises(DataDirInUse, match=f"held by process {writer.pid}"):
            await open_storage(RealDisk(tmp_path))

    async def recovered() -> int:
        disk = RealDisk(tmp_path)
        opened = await open_storage(disk)
        log = state_of(opened.recovered).log
        assert log == tuple((1, b"entry %d" % index) for index in range(1, len(log) + 1))
        await opened.close()
        disk.close()
        return len(log)

    root = str(Path(__file__).parents[3])
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=root
    ) as writer:
        assert writer.stdout is not None
        for line in writer.stdout:
            if int(line) == 50:
                asyncio.run(refused())
            if int(line) == 150:
                break
        writer.send_signal(signal.SIGKILL)
        acknowledged = max([150, *(int(line) for line in writer.stdout if line.endswith("\n"))])
    assert acknowledged <= asyncio.run(recovered()) <= acknowledged + 1
