"""The kinds of faults: their names, groups, a line for people each, and what the fields of a `Fault` mean for them.

    select("all,-rot") -> the names of all kinds but those of the group `rot`

`KINDS` is the one list: plans are drawn from it, `describe` speaks from it, `--help` and the docs print it. What must
never happen here: a kind that the executor does not know (`nemesis.py` has one injury for each, and a test says so).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from quorate.core import QuorateError

Takes = Literal["one", "two", "third", "half", "side", "minority", "all", "order", "none"]
"""How many nodes a plan gives to a fault of a kind: `side` is 1 to all but one; `order` is all, in an order that
matters; `minority` is 1 to the largest minority; `none` is for faults of all nodes, which need no names."""


class PlanError(QuorateError):
    """A fault, a plan or a selection of kinds makes no sense; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault.

    `doc` is its line in a table. `says` tells of one fault: `{nodes}` are its nodes, `{amount}` and `{every}` its
    numbers. `shortest` and `longest` bound its duration in a random plan, in session lifetimes. `amounts` bounds
    `Fault.amount` there (`amount_is` says what it is), `periods_s` bounds `Fault.every_s`. `min_nodes` is the smallest
    cluster that it makes sense in.
    """

    name: str
    group: str
    doc: str
    says: str
    takes: Takes = "one"
    shortest: float = 0.1
    longest: float = 3.0
    min_nodes: int = 1
    amounts: tuple[float, float] | None = None
    amount_is: str = ""
    periods_s: tuple[float, float] | None = None


def _partition(name: str, doc: str, says: str, takes: Takes, min_nodes: int = 2) -> Kind:
    return Kind(f"partition-{name}", "partition", doc, says, takes, 0.1, 3.0, min_nodes)


def _pause(
    name: str, doc: str, whom: str, takes: Takes = "one", min_nodes: int = 1, longest: float = 3.0
) -> Kind:
    says = f"{whom} paused, {{amount:.0f}} callbacks from then"
    amount_is = "callbacks that a process still runs, so that it stops in the midst of something"
    return Kind(f"pause-{name}", "pause", doc, says, takes, 0.1, longest, min_nodes, (1.0, 60.0), amount_is)


def _syncing(suffix: str, doc: str) -> Kind:
    says = "each sync takes {amount:.3f} s more, then every node crashed" + suffix.replace("-", " ")
    amount_is = "seconds that are added to each sync"
    return Kind(f"crash-all-syncing{suffix}", "crash", doc, says, "none", 0.2, 1.0, 1, (0.01, 0.4), amount_is)


_PARTITIONS = (
    _partition(
        "one", "one node is cut off from all the others", "{nodes} cut off from all the others", "one"
    ),
    _partition("leader", "whoever leads the store is cut off", "the leader (else {nodes}) cut off", "one"),
    _partition("halves", "two sides, the larger by one at most", "{nodes} cut off from the rest", "half"),
    _partition(
        "third", "a side of less than a third is cut off", "{nodes} cut off from the rest", "third", 4
    ),
    _partition(
        "ring",
        "each node sees a majority, and no two the same one",
        "nodes see only their neighbours on the ring {nodes}",
        "order",
        4,
    ),
    _partition(
        "bridge",
        "two halves that only one node, between them, can see both of",
        "two halves that only the first of {nodes} sees both of",
        "order",
        3,
    ),
    _partition(
        "one-way",
        "some nodes are heard by nobody else, but hear all",
        "nothing from {nodes} reaches the others",
        "side",
    ),
    _partition(
        "swizzle",
        "nodes are cut off one by one, and come back in another order",
        "one by one cut off, then back: {nodes}",
        "order",
    ),
    Kind(
        "partition-fading",
        "partition",
        "a node hears the others late, then nobody hears it: answers come when it is alone already",
        "{nodes} hears the others {amount:.3f} s late, then is heard by nobody",
        "one",
        1.0,
        3.0,
        2,
        (0.1, 1.0),
        "seconds that are added to what the node gets; half of it varies",
    ),
    Kind(
        "partition-fading-leader",
        "partition",
        "the same with the leader",
        "the leader (else {nodes}) hears the others {amount:.3f} s late, then is heard by nobody",
        "one",
        1.0,
        3.0,
        2,
        (0.1, 1.0),
        "seconds that are added to what the node gets; half of it varies",
    ),
)

_LINKS = (
    Kind(
        "link-hold",
        "link",
        "bytes between two nodes are held back, then all delivered",
        "what {nodes} send each other is held back",
        "two",
        min_nodes=2,
    ),
    Kind(
        "link-latency",
        "link",
        "all that a node sends and gets takes longer, and varies",
        "to and from {nodes} everything takes {amount:.3f} s more, give or take half of it",
        amounts=(0.02, 0.6),
        amount_is="seconds that are added to each link's latency; half of it varies",
        min_nodes=2,
    ),
    Kind(
        "link-latency-all",
        "link",
        "everything between all nodes takes longer, and varies",
        "between all nodes everything takes {amount:.3f} s more, give or take half of it",
        "none",
        amounts=(0.02, 0.2),
        amount_is="seconds that are added to each link's latency; half of it varies",
        min_nodes=2,
    ),
    Kind(
        "link-bandwidth",
        "link",
        "the links of a node are thin",
        "the links of {nodes} carry {amount:.0f} bytes a second",
        amounts=(2_000.0, 200_000.0),
        amount_is="bytes per second on each link",
        min_nodes=2,
    ),
    Kind(
        "link-reset",
        "link",
        "the connections of a node are reset, again and again",
        "the connections of {nodes} reset every {every:.2f} s",
        periods_s=(0.1, 1.5),
        min_nodes=2,
    ),
    Kind(
        "link-half-open",
        "link",
        "connections of which one end is gone and the other does not know",
        "the connections of {nodes} left half open every {every:.2f} s",
        periods_s=(0.3, 2.0),
        min_nodes=2,
    ),
    Kind(
        "link-slow-reader",
        "link",
        "a node takes bytes off its sockets slowly",
        "{nodes} reads {amount:.0f} bytes a second",
        amounts=(500.0, 20_000.0),
        amount_is="bytes per second that the node reads",
        min_nodes=2,
    ),
    Kind(
        "link-deaf",
        "link",
        "a node loses its connections, accepts new ones and never answers",
        "{nodes} accepts connections and never answers",
        min_nodes=2,
    ),
)

_PROCESSES = (
    Kind("kill-one", "kill", "a process is killed, and started again", "{nodes} killed"),
    Kind("kill-leader", "kill", "the leader's process is killed", "the leader (else {nodes}) killed"),
    Kind(
        "kill-minority",
        "kill",
        "a minority of processes is killed at once",
        "{nodes} killed",
        "minority",
        min_nodes=3,
    ),
    Kind("kill-all", "kill", "every process is killed at once", "every node killed", "none", longest=1.0),
    Kind(
        "kill-all-elected",
        "kill",
        "the leader is killed; as soon as another is elected, so is every process",
        "messages take {amount:.3f} s more; the leader killed, and all others as soon as one is elected",
        "none",
        0.7,
        1.5,
        3,
        (0.02, 0.2),
        "seconds that are added to each link's latency; half of it varies",
    ),
    Kind("crash-one", "crash", "a node loses power: what was not synced is lost or torn", "{nodes} crashed"),
    Kind("crash-leader", "crash", "the leader loses power", "the leader (else {nodes}) crashed"),
    Kind(
        "crash-out-of-order",
        "crash",
        "a node loses power, and later writes survive where earlier ones do not",
        "{nodes} crashed, its unsynced writes out of order",
    ),
    Kind(
        "crash-all",
        "crash",
        "every node loses power at once: what was acknowledged must survive",
        "every node crashed",
        "none",
        longest=1.0,
    ),
    Kind(
        "crash-all-out-of-order",
        "crash",
        "the same, and each disk keeps what it likes of what was not synced",
        "every node crashed, unsynced writes out of order",
        "none",
        longest=1.0,
    ),
    _syncing("", "syncs take long, and in the midst of them every node loses power"),
    _syncing("-out-of-order", "the same, and each disk keeps what it likes of what was not synced"),
    _pause("one", "a process stands still, and goes on later", "{nodes}"),
    _pause("leader", "the leader's process stands still", "the leader (else {nodes})"),
    _pause("minority", "a minority of processes stands still", "{nodes}", "minority", 3),
    _pause("all", "every process stands still", "every node", "none", longest=1.5),
)

_CLOCKS = (
    Kind(
        "clock-jump",
        "clock",
        "a wall clock jumps, and back",
        "the wall clock of {nodes} off by {amount:+.1f} s",
        amounts=(0.05, 300.0),
        amount_is="seconds, forward or (negative) back",
    ),
    Kind(
        "clock-strobe",
        "clock",
        "a wall clock jumps to and fro",
        "the wall clock of {nodes} to and fro by {amount:+.1f} s every {every:.2f} s",
        amounts=(0.05, 300.0),
        amount_is="seconds",
        periods_s=(0.02, 0.5),
    ),
    Kind(
        "clock-rate",
        "clock",
        "monotonic time runs fast or slow, within what leases allow for",
        "the clock of {nodes} at {amount:.3f} of its rate",
        longest=6.0,
        amount_is="the rate; a random plan stays within half of `Timing.drift` of 1",
    ),
)

_DISKS = (
    Kind(
        "disk-slow",
        "disk",
        "each sync takes long",
        "each sync of {nodes} takes {amount:.3f} s more",
        amounts=(0.005, 0.4),
        amount_is="seconds that are added to each sync",
    ),
    Kind(
        "disk-slow-all",
        "disk",
        "each sync of every node takes long: what is not synced is so everywhere",
        "each sync of every node takes {amount:.3f} s more",
        "none",
        amounts=(0.005, 0.2),
        amount_is="seconds that are added to each sync",
        min_nodes=2,
    ),
    Kind("disk-stall", "disk", "syncs wait until the disk goes on", "the disk of {nodes} stalls"),
    Kind(
        "disk-full",
        "disk",
        "the disk is full; the node is started again when there is room",
        "the disk of {nodes} full but for {amount:.0f} bytes",
        amounts=(0.0, 2_000.0),
        amount_is="bytes that still fit",
    ),
    Kind(
        "disk-sync-error",
        "disk",
        "syncs fail and lose what they should have written; restarted on a mended disk",
        "syncs of {nodes} fail",
    ),
    Kind(
        "disk-write-error",
        "disk",
        "writes fail; the node is started again on a mended disk",
        "writes of {nodes} fail",
    ),
    Kind(
        "rot-log",
        "rot",
        "a node is killed and a synced byte of its log rots: it may have to stay down",
        "{nodes} killed, a byte of its log rots",
        shortest=0.2,
        longest=0.6,
        min_nodes=3,
        amounts=(0.0, 1.0),
        amount_is="where in the file, from 0 to 1",
    ),
    Kind(
        "rot-snapshot",
        "rot",
        "the same for its newest snapshot",
        "{nodes} killed, a byte of its newest snapshot rots",
        shortest=0.2,
        longest=0.6,
        min_nodes=3,
        amounts=(0.0, 1.0),
        amount_is="where in the file, from 0 to 1",
    ),
)

KINDS: dict[str, Kind] = {kind.name: kind for kind in (*_PARTITIONS, *_LINKS, *_PROCESSES, *_CLOCKS, *_DISKS)}
"""All kinds by name, in the order in which they are shown."""

GROUPS: tuple[str, ...] = tuple(dict.fromkeys(kind.group for kind in KINDS.values()))
"""The groups, in the order in which they are shown; no kind has the name of a group."""


def kind_of(name: str) -> Kind:
    """The kind of this name. Raises `PlanError`."""
    kind = KINDS.get(name)
    if kind is None:
        raise PlanError(f"there is no kind of fault {name!r}: there are {', '.join(KINDS)}")
    return kind


def select(words: str | Iterable[str]) -> tuple[str, ...]:
    """The kinds that `words` name: `all`, groups, kinds; one with a `-` before it takes away what it names.

    A string is split at its commas. Words work from left to right; one that takes away, standing first, takes away from
    all. Raises `PlanError` for a word that names nothing, and when nothing is left.
    """
    parts = [word.strip() for word in (words.split(",") if isinstance(words, str) else words)]
    chosen: set[str] = set(KINDS) if parts and parts[0].startswith("-") else set()
    for part in parts:
        named = _named(part.removeprefix("-"))
        chosen = chosen.difference(named) if part.startswith("-") else chosen.union(named)
    if not chosen:
        raise PlanError(f"{','.join(parts)!r} leaves no kind of fault")
    return tuple(name for name in KINDS if name in chosen)


def _named(word: str) -> Sequence[str]:
    if word == "all":
        return tuple(KINDS)
    if word in GROUPS:
        return [kind.name for kind in KINDS.values() if kind.group == word]
    if word in KINDS:
        return [word]
    raise PlanError(
        f"{word!r} is neither a kind nor a group of faults: use all, {', '.join(GROUPS)}, or one of "
        f"{', '.join(KINDS)}"
    )
