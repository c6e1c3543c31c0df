"""What hypothesis makes up for the tests of the store: commands of every kind, well-formed."""

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
    dir_id=st.sampled_from([b"", b"d1", b"d2"]),
    ttl_s=st.sampled_from([0.5, 3.0]),
)


def commands(session: st.SearchStrategy[int] = sessions) -> st.SearchStrategy[Command]:
    """Any command; requests are the most frequent."""
    ends = st.builds(ExpireSessions, st.lists(session, max_size=3).map(tuple))
    return st.one_of(
        requests(session), requests(session), requests(session), opens, st.builds(CloseSession, session), ends
    )
