"""What Erlang's reference manual says of processes and signals, as a small program; and a search for what explains a log.

(https://www.erlang.org/doc/system/ref_man_processes.html, and for links between nodes the link protocol of
https://www.erlang.org/doc/apps/erts/erl_dist_protocol.html#link_protocol)

A process is a number. What it does, it does in one step; each signal of that flies to its receiver, in order for each pair of
processes and in no order otherwise; it takes effect when it arrives. So a program has many outcomes, and the `Model` is one
state of one of them. A log says what was seen of a run, in the order in which it happened: `unexplained` looks for arrivals
of signals between its lines which make all of it true.

Nothing here is taken from the library.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from tests.core.signal_log import (
    PATTERNS,
    Did,
    Died,
    Item,
    Line,
    Relinked,
    Settled,
    Started,
    Took,
    View,
)

Pair = tuple[int, int]
Signal = tuple[Any, ...]  # its kind, and more
Bag = frozenset[Signal]  # what one end tells one process: in any order


@dataclass(frozen=True, slots=True)
class Proc:
    """One process. In the state "ending" it does nothing any more, and nobody was told yet."""

    node: int
    state: str = "alive"
    reason: object = None
    traps: bool = False
    mailbox: tuple[Item, ...] = ()
    waits: str | None = None  # the pattern
    links: frozenset[int] = frozenset()
    unlinking: frozenset[Pair] = frozenset()  # (process, number): it has not acknowledged yet
    watching: tuple[Pair, ...] = ()  # (ref, process)
    watchers: tuple[Pair, ...] = ()  # (ref, process)
    name: str | None = None


class Model:
    """A state. Its public methods change it; each says whether that was possible."""

    def __init__(self) -> None:
        self.procs: list[Proc] = []
        self.flying: dict[Pair, tuple[Bag, ...]] = {}
        self.cut: frozenset[frozenset[int]] = frozenset()

    def copy(self) -> "Model":
        new = Model()
        new.procs, new.flying, new.cut = self.procs[:], self.flying.copy(), self.cut
        return new

    def key(self) -> object:
        return tuple(self.procs), frozenset(self.flying.items()), self.cut

    def view(self, who: int) -> View:
        it = self.procs[who]
        if it.state == "dead":
            return View("dead", it.reason)
        waits = it.waits is not None and not any(map(PATTERNS[it.waits], it.mailbox))
        return View(
            it.state,
            it.reason,
            it.traps,
            it.mailbox,
            waits,
            tuple(sorted(it.links)),
            len(it.watching),
            len(it.watchers),
            it.name,
        )

    def _set(self, who: int, **changes: Any) -> None:
        self.procs[who] = replace(self.procs[who], **changes)

    # -- signals -------------------------------------------------------------------------------------------

    def _send(self, source: int, target: int, *signals: Signal) -> bool:
        """Let signals fly; false when there is no link to where they should."""
        linked = frozenset((self.procs[source].node, self.procs[target].node)) not in self.cut
        if linked:
            self._fly(source, target, signals)
        return linked

    def _fly(self, source: int, target: int, signals: Iterable[Signal]) -> None:
        """They fly, in any order among themselves."""
        pair = source, target
        self.flying[pair] = (*self.flying.get(pair, ()), frozenset(signals))

    def arrivals(self) -> Iterator[tuple[int, "Model"]]:
        """What may happen next by itself: the receiver of the signal that arrives, and the state after that."""
        for (source, target), (bag, *later) in self.flying.items():
            for signal in sorted(bag, key=repr) if len(bag) > 1 else bag:
                new = self.copy()
                rest = bag - {signal}
                left = (rest, *later) if rest else tuple(later)
                if left:
                    new.flying[source, target] = left
                else:
                    del new.flying[source, target]
                new._receive(source, target, *signal)
                yield target, new

    def _receive(self, source: int, target: int, kind: str, *args: Any) -> None:
        it = self.procs[target]
        match kind:
            case "message":
                self._take(target, args[0])
            case "exit":
                self._exit(source, target, *args)
            case "link" if it.state == "dead":
                self._send(target, source, ("exit", "noproc", True))
            case "link" if all(other != source for other, _ in it.unlinking):
                self._set(target, links=it.links | {source})
            case "unlink":
                self._set(target, links=it.links - {source})
                self._send(target, source, ("unlinked", args[0]))
            case "unlinked":
                self._set(target, unlinking=it.unlinking - {(source, args[0])})
            case "monitor" if it.state == "dead":
                self._send(target, source, ("down", args[0], "noproc"))
            case "monitor":
                self._set(target, watchers=(*it.watchers, (args[0], source)))
            case "demonitor":
                self._set(target, watchers=tuple(each for each in it.watchers if each[0] != args[0]))
            case "down":
                ref, reason = args
                if (ref, source) in it.watching:
                    self._set(target, watching=tuple(each for each in it.watching if each[0] != ref))
                    self._take(target, ("DOWN", ref, source, reason))

    def _take(self, who: int, item: Item) -> None:
        it = self.procs[who]
        if it.state == "alive":
            self._set(who, mailbox=(*it.mailbox, item))

    def _exit(self, source: int, target: int, reason: object, linked: bool) -> None:
        it = self.procs[target]
        if linked:
            if source not in it.links:
                return
            self._set(target, links=it.links - {source})
        if not linked and reason == "kill":
            self._end(target, "killed")
        elif it.state == "alive" and it.traps:
            self._take(target, ("EXIT", source, reason))
        elif it.state == "alive" and (reason != "normal" or source == target):
            self._end(target, reason)

    def _end(self, who: int, reason: object) -> None:
        if self.procs[who].state != "dead":
            self._set(who, state="ending", reason=reason, mailbox=(), waits=None)

    # -- lines ---------------------------------------------------------------------------------------------

    def follow(self, line: Line, number: int) -> bool:
        """Do what a line of the log says; false when that cannot be."""
        match line:
            case Started(who, node, traps):
                self.procs.append(Proc(node, traps=traps))
                return who == len(self.procs) - 1
            case Did(who, what, args, mailbox, result):
                it = self.procs[who]
                possible = it.state == "alive" and it.waits is None and it.mailbox == mailbox
                return possible and bool(getattr(self, f"do_{what}")(who, number, *args) == result)
            case Took(who, item):
                it = self.procs[who]
                if it.waits is None or self._pick(it.mailbox, it.waits) != item:
                    return False
                self._set(who, waits=None)
                self.do_receive(who, number, it.waits)
                return True
            case Died(who, reason):
                return self._die(who, reason)
            case Relinked(nodes, up):
                self._relink(nodes, up)
                return True
            case Settled(views):
                return not self.flying and views == tuple(map(self.view, range(len(self.procs))))

    def _die(self, who: int, reason: object) -> bool:
        it = self.procs[who]
        if it.state != "ending" or it.reason != reason:
            return False
        for ref, target in it.watching:
            self._send(who, target, ("demonitor", ref))
        for other in it.links | {watcher for _, watcher in it.watchers}:
            downs = [("down", ref, reason) for ref, watcher in it.watchers if watcher == other]
            self._send(who, other, *downs, *[("exit", reason, True)] * (other in it.links))
        self.procs[who] = Proc(it.node, "dead", reason)
        return True

    def _relink(self, nodes: frozenset[int], up: bool) -> None:
        if up:
            self.cut -= {nodes}
            return
        for source, target in list(self.flying):
            if {self.procs[source].node, self.procs[target].node} == nodes:
                del self.flying[source, target]
        self.cut |= {nodes}
        for who, it in enumerate(self.procs):
            others = [n for n, other in enumerate(self.procs) if {it.node, other.node} == nodes]
            self._set(
                who,
                watchers=tuple(each for each in it.watchers if each[1] not in others),
                unlinking=frozenset(each for each in it.unlinking if each[0] not in others),
            )
            for other in others:
                self._lose(who, other)

    def _lose(self, who: int, other: int) -> None:
        """A process will hear that another cannot be reached: by its link, and its monitors."""
        it = self.procs[who]
        told: list[Signal] = [("down", ref, "noconnection") for ref, target in it.watching if target == other]
        if other in it.links:
            told.append(("exit", "noconnection", True))
        if told:
            self._fly(other, who, told)

    # -- what processes do ---------------------------------------------------------------------------------

    def do_spawn(self, who: int, number: int, child: int) -> None:
        self.procs.append(Proc(self.procs[who].node))

    def do_spawn_link(self, who: int, number: int, child: int) -> None:
        self.procs.append(Proc(self.procs[who].node, links=frozenset({who})))
        self._set(who, links=self.procs[who].links | {child})

    def do_spawn_monitor(self, who: int, number: int, child: int) -> None:
        self.procs.append(Proc(self.procs[who].node, watchers=((number, who),)))
        self._set(who, watching=(*self.procs[who].watching, (number, child)))

    def do_send(self, who: int, number: int, to: int | str, item: Item) -> None:
        if isinstance(to, str):
            named = self._named(who, to)
            if named is None:
                return
            to = named
        if to == who:
            self._take(who, item)
        else:
            self._send(who, to, ("message", item))

    def do_link(self, who: int, number: int, other: int) -> None:
        it = self.procs[who]
        if other == who or other in it.links:
            return
        unlinking = frozenset(each for each in it.unlinking if each[0] != other)
        self._set(who, links=it.links | {other}, unlinking=unlinking)
        if not self._send(who, other, ("link",)):
            self._lose(who, other)

    def do_unlink(self, who: int, number: int, other: int) -> None:
        it = self.procs[who]
        if other in it.links:
            self._set(who, links=it.links - {other})
            if self._send(who, other, ("unlink", number)):
                self._set(who, unlinking=it.unlinking | {(other, number)})

    def do_monitor(self, who: int, number: int, other: int) -> None:
        if other == who:
            return
        self._set(who, watching=(*self.procs[who].watching, (number, other)))
        if not self._send(who, other, ("monitor", number)):
            self._lose(who, other)

    def do_demonitor(self, who: int, number: int, ref: int, flush: bool) -> None:
        it = self.procs[who]
        target = dict(it.watching).get(ref)
        if target is not None:
            self._set(who, watching=tuple(each for each in it.watching if each[0] != ref))
            self._send(who, target, ("demonitor", ref))
        if flush:
            self._set(who, mailbox=tuple(item for item in it.mailbox if not _is_down(item, ref)))

    def do_exit(self, who: int, number: int, other: int, reason: object) -> None:
        if other == who:
            self._exit(who, who, reason, False)
        else:
            self._send(who, other, ("exit", reason, False))

    def do_leave(self, who: int, number: int, reason: object) -> None:
        self._end(who, reason)

    def do_trap(self, who: int, number: int, on: bool) -> None:
        self._set(who, traps=on)

    def do_receive(self, who: int, number: int, pattern: str) -> object:
        """With a timeout of 0."""
        mailbox = self.procs[who].mailbox
        item = self._pick(mailbox, pattern)
        if item is not None:
            at = mailbox.index(item)
            self._set(who, mailbox=mailbox[:at] + mailbox[at + 1 :])
        return item

    def do_wait(self, who: int, number: int, pattern: str) -> None:
        self._set(who, waits=pattern)

    def do_register(self, who: int, number: int, name: str) -> str:
        owner = self._named(who, name)
        if owner is not None and owner != who:
            return "taken"
        if self.procs[who].name not in (None, name):
            return "has another"
        self._set(who, name=name)
        return "registered"

    def do_unregister(self, who: int, number: int) -> None:
        self._set(who, name=None)

    def do_whereis(self, who: int, number: int, name: str) -> int | None:
        return self._named(who, name)

    def _named(self, who: int, name: str) -> int | None:
        here = self.procs[who].node
        return next((p for p, it in enumerate(self.procs) if (it.node, it.name) == (here, name)), None)

    @staticmethod
    def _pick(mailbox: tuple[Item, ...], pattern: str) -> Item | None:
        return next(filter(PATTERNS[pattern], mailbox), None)


def _is_down(item: Item, ref: int) -> bool:
    return isinstance(item, tuple) and item[:2] == ("DOWN", ref)


# -- the search --------------------------------------------------------------------------------------------


def unexplained(log: list[Line], most: int = 100_000) -> tuple[int, Model] | None:
    """None when some order of arrivals explains the log; else the line that none does, and a state in which it stopped.

    Raises `RuntimeError` when it has looked at `most` states.
    """
    hints = _mailboxes(log)
    stack = [(0, Model())]
    seen: set[object] = set()
    furthest = stack[0]
    while stack:
        number, state = stack.pop()
        if number == len(log):
            return None
        if number > furthest[0] or (number == furthest[0] and len(state.flying) <= len(furthest[1].flying)):
            furthest = number, state
        key = number, state.key()
        if key in seen:
            continue
        seen.add(key)
        if len(seen) > most:
            raise RuntimeError(f"{most} states, and no end")
        for target, new in state.arrivals():
            expected = hints[number].get(target)
            mailbox = new.procs[target].mailbox
            if expected is None or mailbox == expected[: len(mailbox)]:
                stack.append((number, new))
        after = state.copy()
        if after.follow(log[number], number):
            stack.append((number + 1, after))
    return furthest


def _mailboxes(log: list[Line]) -> list[dict[int, tuple[Item, ...]]]:
    """For each line: the mailbox in which a process is seen next, if only arrivals change it until then."""
    hints: list[dict[int, tuple[Item, ...]]] = []
    known: dict[int, tuple[Item, ...]] = {}
    for line in reversed(log):
        known = dict(known)
        match line:
            case Did(who, _, _, mailbox, _):
                known[who] = mailbox
            case Took(who, _) | Died(who, _):
                known.pop(who, None)
            case Settled(views):
                known = {who: view.mailbox for who, view in enumerate(views) if view.state == "alive"}
            case _:
                pass
        hints.append(known)
    return hints[::-1]
