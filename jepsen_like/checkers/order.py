"""Order: what one process sends another arrives in the order sent; only with a connection may the end of it be lost.

The receiver is the authority over what arrived and when. What must never happen here: a message that was lost on a
connection that held passes because some other connection was lost.
"""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field

from quorate.jepsen_like.history import History, HistoryError, Op
from quorate.jepsen_like.verdict import Verdict, judge

from .entries import integer, text_of

_NS = 1_000_000_000
_Pair = tuple[str, str]  # sender, receiver


@dataclass(slots=True)
class _Stream:
    """What one process sent another: number -> note, as the sender told it, and what the receiver told, in its order."""

    sent: dict[int, Op] = field(default_factory=dict)
    received: list[tuple[int, Op]] = field(default_factory=list)


def place_of(name: str) -> str:
    """Where a process of this name lives: "n1" for "n1#3:5" (node#boot:process) and for "n1"."""
    return name.partition("#")[0]


def check_order(
    history: History,
    *,
    complete: bool = False,
    slack_s: float = 0.0,
    place: Callable[[str], str] = place_of,
) -> Verdict:
    """Per pair of processes the numbers received only grow, and none is missing unless a connection was lost there.

    Expects notes, in which a process is named by `Op.process`, the same for its whole life and never reused after it:

        "received"  by the receiver, as it handles the message, {"from": sender, "n": int}; n counts up by 1 per pair
        "gap"       a connection was lost: {"between": [place, place]}, in whatever order, by whoever knows; or
                    {"from": sender}, by a receiver that got a DOWN or EXIT with `noconnection` for that sender
        "sent"      optional, by the sender, before the message can arrive, {"to": receiver, "n": int};
                    numbers may be left out

    Signals between two processes are ordered; with a connection a suffix of what was under way on it is lost, and
    nothing arrives after a reconnect that was sent before it was lost (Erlang reference manual, "Signals"). So a
    number that is not above the one before is `invalid` always: late, twice or out of order. A hole between two
    numbers is `invalid` unless a gap of that pair was noted between the two receipts, or of a time between theirs.
    A receiver that was busy or paused may handle what arrived before the loss after somebody else has noted it:
    `slack_s` (seconds, default 0) widens the time between the receipts on both sides. `place` maps the name of a
    process to that of its place in the gaps.

    Notes of "sent" make it sharper: nothing arrives that nobody sent; a hole is then a number that was sent, also
    at the start; and with `complete` (the history goes on until everything had time to arrive, and a receiver's
    death was noted as a gap) also at the end. Without them the first number received is taken for the first sent.
    (Jepsen has no such checker; its total-queue compares multisets.)
    """
    streams = _streams(history)
    losses = _Losses(history, place)
    problems: list[str] = []
    received = excused = 0
    for pair, stream in streams.items():
        received += len(stream.received)
        found, allowed = _check_stream(pair, stream, losses, round(slack_s * _NS), complete)
        problems += found
        excused += allowed
    summary = (
        f"{received:,} messages between {len(streams):,} pairs in order, "
        f"{excused:,} times the end of a connection missing"
    )
    return judge("order", problems, received, summary)


def _streams(history: History) -> dict[_Pair, _Stream]:
    streams: dict[_Pair, _Stream] = {}
    for op in history.notes("sent"):
        stream = streams.setdefault((str(op.process), text_of(op, "to")), _Stream())
        number = integer(op, op.value.get("n"))
        if stream.sent and number <= next(reversed(stream.sent)):
            raise HistoryError(
                f"entry {op.index}: {op.process} sends {number} to {text_of(op, 'to')}, but it must count up"
            )
        stream.sent[number] = op
    for op in history.notes("received"):
        stream = streams.setdefault((text_of(op, "from"), str(op.process)), _Stream())
        stream.received.append((integer(op, op.value.get("n")), op))
    return streams


class _Losses:
    """Which connections were lost when, to be asked by pair of processes."""

    def __init__(self, history: History, place: Callable[[str], str]) -> None:
        self._place = place
        self._by_place: dict[frozenset[str], list[Op]] = {}
        self._by_pair: dict[_Pair, list[Op]] = {}
        for op in history.notes("gap"):
            match op.value:
                case {"between": [str(one), str(other)]}:
                    self._by_place.setdefault(frozenset((one, other)), []).append(op)
                case {"from": str(sender)}:
                    self._by_pair.setdefault((sender, str(op.process)), []).append(op)
                case _:
                    raise HistoryError(
                        f"entry {op.index}: 'gap' needs {{'between': [place, place]}} or {{'from': sender}}, "
                        f"and has the value {op.value!r}"
                    )

    def between(self, pair: _Pair, before: Op | None, after: Op | None, slack_ns: int) -> bool:
        """Whether one was lost between these entries (None: the start, the end), or as near to them as the slack."""
        sender, receiver = pair
        places = frozenset((self._place(sender), self._place(receiver)))
        return any(
            (before is None or op.index > before.index or op.time_ns > before.time_ns - slack_ns)
            and (after is None or op.index < after.index or op.time_ns < after.time_ns + slack_ns)
            for op in (*self._by_pair.get(pair, ()), *self._by_place.get(places, ()))
        )


def _check_stream(
    pair: _Pair, stream: _Stream, losses: _Losses, slack_ns: int, complete: bool
) -> tuple[list[str], int]:
    """The problems of one pair, and how many holes a loss explains."""
    shown = f"{pair[0]} -> {pair[1]}"
    problems: list[str] = []
    excused = 0
    numbers = list(stream.sent)
    highest: tuple[int, Op] | None = None
    for number, op in stream.received:
        if stream.sent and not _was_sent(number, op, stream.sent):
            problems.append(f"{shown}: entry {op.index} received {number}, which had not been sent")
        if highest is not None and number <= highest[0]:
            problems.append(
                f"{shown}: entry {op.index} received {number} after {highest[0]} (entry {highest[1].index})"
            )
            continue
        missing = _first_missing(numbers, highest, number)
        if missing is not None and losses.between(pair, highest and highest[1], op, slack_ns):
            excused += 1
        elif missing is not None:
            where = "at the start" if highest is None else f"after entry {highest[1].index}"
            problems.append(
                f"{shown}: {missing} is missing {where}, before entry {op.index} received {number}, "
                "and no connection was lost there"
            )
        highest = (number, op)
    if complete and (missing := _first_missing(numbers, highest, None)) is not None:
        if losses.between(pair, highest and highest[1], None, slack_ns):
            excused += 1
        else:
            problems.append(
                f"{shown}: {missing} was sent (entry {stream.sent[missing].index}) and never received"
            )
    return problems, excused


def _first_missing(sent: list[int], highest: tuple[int, Op] | None, upto: int | None) -> int | None:
    """The first number above `highest` and below `upto` (None: no bound) that should have come."""
    if sent:
        start = 0 if highest is None else bisect_left(sent, highest[0] + 1)
        return sent[start] if start < len(sent) and (upto is None or sent[start] < upto) else None
    if highest is None or upto is None or upto == highest[0] + 1:
        return None
    return highest[0] + 1


def _was_sent(number: int, op: Op, sent: dict[int, Op]) -> bool:
    """Two recorders may tell in another order than things happened; then the times decide."""
    told = sent.get(number)
    return told is not None and (told.index < op.index or told.time_ns <= op.time_ns)
