"""What hypothesis makes up for the tests of the store: commands of every kind, well-formed."""

import random
from typing import Any

from hypothesis import strategies as st

from quorate.consensus.commands import CloseSession, Command, ExpireSessions, OpenSession, Request, Txn
from quorate.consensus.store import Compare, Delete, Get, Op, Put

keys = st.sampled_from([b"", b"a", b"a/1", b"a/2", b"a/\xff", b"b", b"b/1", b"\xff\xff"])
values = st.sampled_from([b"", b"0", b"1", b"x" * 40])
small = st.integers(0, 12)
sessions = st.one_of(st.just(0), small)


def compares(session: st.SearchStrategy[int] = sessions) -> st.SearchStrategy[Compare]:
    relation = st.sampled_from(["==", "!=", "<", ">"])
    return st.one_of(
        st.builds(Compare, keys, st.sampled_from(["create", "mod", "version"]), relation, small),
        st.builds(Compare, keys, st.just("value"), relation, values),
        st.builds(Compare, st.just(b""), st.just("session"), st.just("=="), session),
    )


def ops(session: st.SearchStrategy[int] = sessions) -> st.SearchStrategy[Op]:
    return st.one_of(st.builds(Put, keys, values, session), st.builds(Delete, keys), st.builds(Get, keys))


def txns(session: st.SearchStrategy[int] = sessions) -> st.SearchStrategy[Txn]:
    def some(parts: st.SearchStrategy[object], most: int) -> st.SearchStrategy[tuple[object, ...]]:
        return st.lists(parts, max_size=most).map(tuple)

    return st.builds(Txn, some(compares(session), 2), some(ops(session), 4), some(ops(session), 2))


def requests(session: st.SearchStrategy[int] = sessions) -> st.SearchStrategy[Request]:
    """Sequences are few, so that copies, old ones and gaps all happen."""

    @st.composite
    def build(draw: st.DrawFn) -> Request:
        sequence = draw(st.integers(0, 8))
        acked_below = draw(st.integers(0, sequence))
        return Request(draw(session), sequence, acked_below, draw(txns(session)))

    return build()


opens = st.builds(
    OpenSession,
    nonce=st.sampled_from([b"n1", b"n2", b"n3", b"n4"]),
    holder=st.sampled_from(["a@h:1", "b@h:2"]),
    creation=st.integers(1, 3),
    dir_id=st.sampled_from([b"", b"d1", b"d1", b"d2"]),
    ttl_s=st.sampled_from([0.5, 3.0]),
)


def commands(session: st.SearchStrategy[int] = sessions) -> st.SearchStrategy[Command]:
    """Any command; requests are the most frequent."""
    ends = st.builds(ExpireSessions, st.lists(session, max_size=3).map(tuple))
    return st.one_of(
        requests(session), requests(session), requests(session), opens, st.builds(CloseSession, session), ends
    )


def random_script(seed: int, length: int) -> list[Command]:
    """Many commands from a seed, where hypothesis would take too long. Sessions and sequences drift upwards.

    Numbers of sessions count those that were opened, as in the tests' own scripts.
    """
    rng = random.Random(seed)
    pick = rng.choice
    names, datas = [b"", b"a", b"a/1", b"a/2", b"b", b"\xff"], [b"", b"0", b"1", b"x" * 40]
    relations: list[Any] = ["==", "!=", "<", ">"]
    revisions: list[Any] = ["create", "mod", "version"]
    script: list[Command] = [
        OpenSession(b"n0", "a@h:1", 1, b"d1", 3.0),
        OpenSession(b"n0", "b@h:2", 1, b"d1", 3.0),
    ]
    while len(script) < length:
        recent = 2 + len(script) // 12  # about how many sessions there have been

        def session(recent: int = recent) -> int:
            return rng.randint(max(1, recent - 4), recent)

        def compare() -> Compare:
            kind = rng.random()
            if kind < 0.2:
                return Compare(b"", "session", "==", session())
            if kind < 0.5:
                return Compare(pick(names), "value", pick(relations), pick(datas))
            return Compare(pick(names), pick(revisions), pick(relations), rng.randint(0, len(script)))

        def op() -> Op:
            kind = rng.random()
            if kind < 0.6:
                return Put(pick(names), pick(datas), session() if rng.random() < 0.5 else 0)
            return Delete(pick(names)) if kind < 0.85 else Get(pick(names))

        action = rng.random()
        if action < 0.8:
            sequence = len(script) // 4 + rng.randint(-3, 3) if rng.random() < 0.9 else rng.randint(0, 40)
            sequence = max(0, sequence)
            compares = tuple(compare() for _ in range(pick([0, 0, 1, 2])))
            then, else_ = (tuple(op() for _ in range(rng.randint(0, 4))) for _ in range(2))
            acked_below = max(0, sequence - rng.randint(0, 6))
            script.append(Request(session(), sequence, acked_below, Txn(compares, then, else_)))
        elif action < 0.94:
            holder, creation = pick(["a@h:1", "b@h:2"]), 1 + len(script) // 30 + pick([0, 0, 1, -1])
            nonce = b"n%d" % rng.randint(0, 6)
            script.append(OpenSession(nonce, holder, max(0, creation), pick([b"", b"d1", b"d1", b"d2"]), 3.0))
        elif action < 0.97:
            script.append(CloseSession(session()))
        else:
            script.append(ExpireSessions((session(), session())))
    return script
