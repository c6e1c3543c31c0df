"""One kind of server many times, each for its share of the keys.

    pool = await node.start(PartitionSupervisor, child(Cache), partitions=8)
    caches = Partitions(pool, Cache)
    value = await caches.ref_for("customer 17").call(Cache.get, "name")

Equal keys always go to the same partition, in every process and release, so what concerns one key happens in
order, and what concerns others need not wait for it. The number of partitions is fixed while it runs. What must never
happen here: a key moves because a partition was restarted.
(https://hexdocs.pm/elixir/PartitionSupervisor.html)
"""

from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeVar

import xxhash

from .child_spec import ChildSpec
from .codec import canonical
from .errors import ConfigError, NoProcess, NoSuchChild, QuorateError, SupervisorError
from .gen_server import GenServer
from .handlers import Refused
from .pid import Pid
from .ref import Ref
from .server_cell import ServerCell
from .supervisor import Supervisor

S = TypeVar("S", bound=GenServer)


class PartitionSupervisor(Supervisor):
    """A supervisor of `partitions` children of one spec, or of the specs that `spec(number)` makes, from 0 on.

    Their ids are their numbers ("0", "1", ...); a `name` of the spec becomes "name/0" and so on. A partition that crashes
    is restarted alone; `intensity` and `period_s` count the restarts of all together.
    """

    _quorate_hooks: ClassVar[frozenset[str]] = frozenset(
        {"start_child", "delete_child"}
    )  # their number is fixed

    def __init__(
        self,
        spec: ChildSpec | Callable[[int], ChildSpec],
        partitions: int,
        *,
        intensity: int | None = None,
        period_s: float | None = None,
    ) -> None:
        if partitions < 1:
            raise ConfigError(f"there must be 1 or more partitions, not {partitions}")
        self._partitions = partitions
        specs = [spec if isinstance(spec, ChildSpec) else spec(number) for number in range(partitions)]
        super().__init__(
            [
                one.options(id=str(number), name=None if one.name is None else f"{one.name}/{number}")
                for number, one in enumerate(specs)
            ],
            strategy="one_for_one",
            intensity=intensity,
            period_s=period_s,
        )

    def pid_for(self, key: object) -> Pid:
        """The process whose share `key` is now.

        Raises `NoSuchChild` while it is not running, `SupervisorError` for a key that cannot be one.
        """
        try:
            return self._pid_for(key)
        except NoSuchChild as error:
            raise Refused(error) from None
        except QuorateError as error:  # a key that cannot be one
            raise Refused(SupervisorError(f"{error}: nothing happened")) from error

    def ref_for(self, key: object) -> Ref[Any]:
        """As `pid_for`, for partitions that are servers. See `Partitions` for one with types, and without a call."""
        return Ref(self._quorate_cell.kernel, self.pid_for(key))

    def _pid_for(self, key: object) -> Pid:
        number = partition_of(key, self._partitions)
        row = self._the_tree().row(str(number))
        if row.pid is None:
            raise NoSuchChild(f"partition {number} is {row.status}: nothing happened, try again")
        return row.pid


class Partitions(Generic[S]):
    """The partitions of a `PartitionSupervisor` for the code of its own node, `server` being what they are."""

    __slots__ = ("_supervisor",)

    def __init__(self, supervisor: Ref[PartitionSupervisor], server: type[S]) -> None:
        self._supervisor = supervisor

    def ref_for(self, key: object) -> Ref[S]:
        """The server whose share `key` is. Ask anew each time: a restarted one has another pid.

        `key` is any value that can be a name. Raises `NoSuchChild` while it is not running, `NoProcess` when the supervisor
        is gone (or on another node), `EncodeError` for a key that cannot be one.
        """
        kernel = self._supervisor._kernel
        cell = kernel.find(self._supervisor.pid)
        if not isinstance(cell, ServerCell) or not isinstance(cell.server, PartitionSupervisor):
            raise NoProcess(f"there is no PartitionSupervisor {self._supervisor.pid} on {kernel.name}")
        return Ref(kernel, cell.server._pid_for(key))


def partition_of(key: object, partitions: int) -> int:
    """The number of the partition that a key belongs to. Pure, and the same everywhere.

    Raises `EncodeError` for a key that cannot be a name.

    >>> partition_of("customer 17", 8)
    7
    """
    return xxhash.xxh3_64_intdigest(canonical(key)) % partitions
