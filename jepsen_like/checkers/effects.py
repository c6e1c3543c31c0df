"""Effects: what was acknowledged happened once, what is unknown at most once, what failed never, and nothing else.

The authority over what happened is whoever applied the effects, not the clients. What must never happen here: a lost
effect is made up for by a repeated one, because sums are compared instead of ids.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from quorate.jepsen_like.history import History, HistoryError, Op, Pair
from quorate.jepsen_like.verdict import Verdict, judge

from .entries import Id, entries, id_of, key_of


@dataclass(slots=True)
class _Applied:
    """One id as it was seen applied: under which keys, and by which notes (none for a list that was read)."""

    keys: list[str] = field(default_factory=list)
    notes: list[int] = field(default_factory=list)

    @property
    def told(self) -> str:
        return f" ({entries(self.notes)})" if self.notes else ""


def check_effects(
    history: History,
    applied: Mapping[str, Sequence[Id]] | None = None,
    *,
    f: str = "act",
    f_applied: str = "applied",
    in_order: bool = False,
) -> Verdict:
    """Every acknowledged operation took effect exactly once, unknown ones at most once, failed ones never.

    Expects pairs of `f` with a key, invoked with {"id": ...}, an int or str that no other operation has. What was
    applied is either `applied`, by key the ids in the order applied, read when nothing was under way any more (a
    key that was acted on and not read leaves it unknown); or, without it, notes of `f_applied` with a key and
    {"id": ...}, by whoever applies, as it does. With `in_order` the operations of one client on one key take effect
    in the order in which it invoked them; a client is the value's "client", or else the process. (Jepsen's set and
    total-queue checkers.)
    """
    pairs = _by_id(history.pairs(f))
    lists, notes = (applied, {}) if applied is not None else _noted(history, f_applied)
    seen: dict[Id, _Applied] = {}
    for key, ids in lists.items():
        for id_ in ids:
            seen.setdefault(id_, _Applied()).keys.append(key)
    for id_, indices in notes.items():
        seen[id_].notes = indices
    doubts = _unread(pairs.values(), lists, applied is None)
    # Whoever tells of everything has told of keys on which nothing happened, too.
    everything = applied is None and bool(lists)
    problems = [
        problem
        for id_, pair in pairs.items()
        if (problem := _judged(id_, pair, seen.get(id_), everything or key_of(pair.invoked) in lists))
    ]
    problems += [
        f"{found.keys[0]}: {id_!r} was applied{found.told}, but nobody ever asked for it"
        for id_, found in seen.items()
        if id_ not in pairs
    ]
    if in_order:
        for key, ids in lists.items():
            problems += _disorder(key, ids, pairs)
    by_outcome = {
        kind: [id_ for id_, p in pairs.items() if p.outcome == kind] for kind in ("ok", "info", "fail")
    }
    late = sum(id_ in seen for id_ in by_outcome["info"])
    summary = (
        f"{len(by_outcome['ok']):,} acknowledged, {len(by_outcome['info']):,} unknown of which {late:,} happened, "
        f"{len(by_outcome['fail']):,} failed"
    )
    return judge("effects", problems, len(by_outcome["ok"]), summary, doubts=doubts)


def _by_id(pairs: Iterable[Pair]) -> dict[Id, Pair]:
    found: dict[Id, Pair] = {}
    for pair in pairs:
        key_of(pair.invoked)
        id_ = id_of(pair.invoked)
        if (other := found.setdefault(id_, pair)) is not pair:
            raise HistoryError(
                f"{entries((other.invoked.index, pair.invoked.index))} both have the id {id_!r}: it must be unique"
            )
    return found


def _noted(history: History, f: str) -> tuple[dict[str, list[Id]], dict[Id, list[int]]]:
    lists: dict[str, list[Id]] = {}
    notes: dict[Id, list[int]] = {}
    for op in history.notes(f):
        lists.setdefault(key_of(op), []).append(id_of(op))
        notes.setdefault(id_of(op), []).append(op.index)
    return lists, notes


def _unread(pairs: Iterable[Pair], lists: Mapping[str, Sequence[Id]], told: bool) -> list[str]:
    """What is missing to say."""
    if told:
        return [] if lists else ["nobody told of anything that was applied"]
    keys = dict.fromkeys(key_of(pair.invoked) for pair in pairs)
    return [f"{key} was acted on and never read" for key in keys if key not in lists]


def _judged(id_: Id, pair: Pair, found: _Applied | None, looked: bool) -> str | None:
    """What is wrong with one operation. `looked`: had it been applied to its key, that would have been seen."""
    key, asked = key_of(pair.invoked), _entries_of(pair)
    if found is None:
        lost = looked and pair.outcome == "ok"
        return f"{key}: {id_!r} was acknowledged ({asked}) and never applied" if lost else None
    if pair.outcome == "fail":
        return f"{key}: {id_!r} failed ({asked}), but it was applied{found.told}"
    if len(found.keys) > 1:
        return f"{key}: {id_!r} ({asked}) was applied {len(found.keys)} times{found.told}"
    if found.keys[0] != key:
        return f"{key}: {id_!r} ({asked}) was applied to {found.keys[0]}{found.told}"
    if found.notes and found.notes[0] < pair.invoked.index:
        return f"{key}: {id_!r} was applied{found.told} before it was asked for ({asked})"
    return None


def _disorder(key: str, ids: Sequence[Id], pairs: Mapping[Id, Pair]) -> list[str]:
    """Where a client's operations took effect in another order than it invoked them; repetitions are counted elsewhere."""
    problems: list[str] = []
    latest: dict[str, Op] = {}
    for id_ in dict.fromkeys(ids):
        if (pair := pairs.get(id_)) is None:
            continue
        op, client = pair.invoked, _client_of(pair.invoked)
        if client in latest and op.index < latest[client].index:
            problems.append(
                f"{key}: {client} invoked {id_!r} (entry {op.index}) before {id_of(latest[client])!r} "
                f"(entry {latest[client].index}), but it was applied after it"
            )
        else:
            latest[client] = op
    return problems


def _client_of(op: Op) -> str:
    client = op.value.get("client")
    return f"process {op.process}" if client is None else f"client {client}"


def _entries_of(pair: Pair) -> str:
    if pair.completed is None:
        return entries((pair.invoked.index,))
    return entries((pair.invoked.index, pair.completed.index))
