"""What the chaos of `chaos.py` did and saw, and what must be true of it in the end. Pure; all times are the loop's."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from quorate.consensus import Event, KeyValue, OutcomeUnknown


class Violation(AssertionError):
    """Something happened that must never happen."""


def require(holds: object, message: str) -> None:
    if not holds:
        raise Violation(message)


@dataclass(slots=True)
class Write:
    """One attempt to write a register. It also puts a key of its own, `marker`, so that each doing of it can be counted."""

    number: int
    key: bytes
    start: float
    end: float = float("inf")
    revision: int = 0  # of the change, when it was acknowledged as done
    outcome: str = "pending"  # done, refused (its condition did not hold), nothing, unknown

    @property
    def marker(self) -> bytes:
        return b"op/%d" % self.number


class Follower:
    """Somebody who knows of the keys of a node only what a watch told him since he first looked."""

    def __init__(self, name: str, state: Sequence[KeyValue]) -> None:
        self.name = name
        self.state = {item.key: item for item in state}
        self.wrong = ""

    def told(self, events: Sequence[Event]) -> None:
        for event in events:
            if event.before != self.state.get(event.key):
                self.wrong = self.wrong or f"{self.name} knew {self.state.get(event.key)} when told {event}"
            if event.now is None:
                self.state.pop(event.key, None)
            else:
                self.state[event.key] = event.now

    def check(self, state: Mapping[bytes, KeyValue]) -> None:
        require(not self.wrong, self.wrong)
        require(self.state == state, f"a watch of {self.name} missed something")


@dataclass(slots=True)
class History:
    """Everything that clients were told, and what witnesses saw of locks."""

    writes: list[Write] = field(default_factory=list)
    seen: dict[bytes, list[tuple[float, float, int]]] = field(default_factory=lambda: defaultdict(list))
    """Per register (start, end, revision): at `end` somebody knew this revision, by an operation begun at `start`."""
    fences: dict[bytes, int] = field(default_factory=dict)
    acts: int = 0
    known: list[tuple[float, int]] = field(default_factory=list)  # when the newest revision was acknowledged

    def begin(self, key: bytes, now: float) -> Write:
        write = Write(len(self.writes), key, now)
        self.writes.append(write)
        return write

    def end(self, write: Write, now: float, result: KeyValue | Exception | None) -> None:
        """None: the condition did not hold."""
        write.end = now
        if result is None:
            write.outcome = "refused"
        elif isinstance(result, KeyValue):
            write.outcome, write.revision = "done", result.mod_revision
            self.saw(write.key, write.start, now, result.mod_revision)
        else:
            write.outcome = "unknown" if isinstance(result, OutcomeUnknown) else "nothing"

    def saw(self, key: bytes, start: float, end: float, revision: int) -> None:
        self.seen[key].append((start, end, revision))
        if not self.known or revision > self.known[-1][1]:
            self.known.append((end, revision))

    def acted(self, lock: bytes, believers: Mapping[str, int]) -> None:
        """At one moment these nodes believed that they hold `lock`, with these fences."""
        require(len(believers) <= 1, f"{sorted(believers)} hold {lock!r} at once")
        for name, fence in believers.items():
            before = self.fences.get(lock, 0)
            require(fence >= before, f"{name} acts on {lock!r} with fence {fence} after {before}")
            self.fences[lock] = fence
            self.acts += 1

    def peeked(self, then: float, revision: int) -> None:
        """A node says that it knew everything that was acknowledged up to `then`, and is at this revision."""
        at = bisect_right(self.known, (then, 1 << 62)) - 1
        require(at < 0 or revision >= self.known[at][1], f"at {then} more was known than {revision}")

    # The end

    def check(self, state: Mapping[bytes, KeyValue]) -> None:
        """`state`: what is in the store when everything is over."""
        self._check_writes(state)
        for key, seen in self.seen.items():
            check_never_back(key, seen)

    def _check_writes(self, state: Mapping[bytes, KeyValue]) -> None:
        done: dict[bytes, int] = defaultdict(int)
        for write in self.writes:
            marker = state.get(write.marker)
            what = f"write {write.number} of {write.key!r}, begun at {write.start:.3f} and ended at {write.end:.3f}"
            require(write.outcome != "pending", f"{what} was never answered")
            require(marker is None or marker.version == 1, f"{what} was done more than once: {marker}")
            if write.outcome == "done":
                require(marker is not None, f"{what} was acknowledged and is lost")
                assert marker is not None
                require(marker.mod_revision == write.revision, f"{what} was told another result: {marker}")
            elif write.outcome != "unknown":
                require(marker is None, f"{what} was said not to have happened ({write.outcome})")
            done[write.key] += marker is not None
        for key, count in done.items():
            version = state[key].version if key in state else 0
            require(version == count, f"{key!r} was changed {version} times by {count} writes")


def check_never_back(key: bytes, seen: list[tuple[float, float, int]]) -> None:
    """Who begins after another one has ended sees at least what that one saw: linearizability of one register."""
    ends = sorted((end, revision) for _, end, revision in seen)
    newest, at = 0, 0
    for start, end, revision in sorted(seen):
        while at < len(ends) and ends[at][0] < start:
            newest = max(newest, ends[at][1])
            at += 1
        require(
            revision >= newest,
            f"{key!r}: revision {revision} at {start:.4f}..{end:.4f} though {newest} was known before",
        )
