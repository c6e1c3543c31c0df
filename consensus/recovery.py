"""From a data directory to a replica's parts: storage, core and machine, which agree with each other and with the settings."""

from collections.abc import Callable
from dataclasses import dataclass, field

from quorate.core import ConfigError

from .errors import LogCorrupt, WrongDataDir
from .machine import StoreMachine
from .raft import Configuration, Raft, RaftConfig, Recovered
from .storage import DataDir, RaftStorage
from .store import Timing

SNAPSHOT_AFTER_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class RaftStoreConfig:
    """Who votes, and how fast failures are noticed.

    `snapshot_after_bytes`: so much log is written between two snapshots, and as much at most is kept before one for
    followers that are a little behind. Memory and disk hold about twice that beside the state itself.
    """

    voters: frozenset[str]
    timing: Timing = field(default_factory=Timing)
    snapshot_after_bytes: int = SNAPSHOT_AFTER_BYTES


@dataclass(frozen=True, slots=True)
class Parts:
    """What a replica is made of. `raft` and `machine` stand at the snapshot; the log is in `raft`."""

    storage: RaftStorage
    raft: Raft
    machine: StoreMachine


async def recover(
    name: str, data_dir: DataDir, config: RaftStoreConfig, *, rng: Callable[[], float], now: float
) -> Parts:
    """Read everything back.

    Raises `ConfigError`, `LogCorrupt`, `NewerFormat`, `WrongDataDir`, and `DataDirError` when the operating system
    refuses. Then nothing stays open.
    """
    voters, timing = config.voters, config.timing
    if name not in voters:
        raise ConfigError(f"{name} is not among the voters {', '.join(sorted(voters))}")
    try:
        settings = RaftConfig(
            id=name,
            configuration=Configuration(voters),
            election_s=timing.election_s,
            heartbeat_s=timing.heartbeat_s,
            trailing_bytes=config.snapshot_after_bytes,
        )
    except ValueError as error:
        raise ConfigError(f"these times cannot work: {error}") from error
    storage, recovered = await RaftStorage.open(data_dir)
    try:
        where = data_dir.disk.describe()
        _require_same_voters(recovered, voters, where)
        machine = StoreMachine()
        try:
            if recovered.snapshot is not None:
                machine.restore(recovered.snapshot.data)
            raft = Raft(settings, recovered, rng, now)
        except ValueError as error:
            raise LogCorrupt(
                f"{where} reads back and makes no sense ({error}): was it written by another version? Start the node "
                "with that version, or remove the directory and let the node get everything from the others",
                path=where,
            ) from error
    except BaseException:
        await storage.close()
        raise
    return Parts(storage, raft, machine)


def _require_same_voters(recovered: Recovered, voters: frozenset[str], where: str) -> None:
    """Another set of voters than the one that the log was agreed on by could have two majorities."""
    if recovered.snapshot is None or recovered.snapshot.meta.configuration.voters == voters:
        return
    known = ", ".join(sorted(recovered.snapshot.meta.configuration.voters))
    raise WrongDataDir(
        f"{where} was written with the voters {known}, and this node is told {', '.join(sorted(voters))}: start it with "
        "the same voters as before"
    )
