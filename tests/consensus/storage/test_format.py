"""The bytes on disk are a format: what this version writes, every later one must read.

When one of these changes, a `FORMAT` number must go up and the old bytes must still be read.
"""

from quorate.consensus.raft.types import Configuration, EntryBatch, HardState, SnapshotMeta, TermRun
from quorate.consensus.storage.datadir import Identity, decode_identity, encode_identity
from quorate.consensus.storage.records import (
    Framing,
    Kind,
    pack_entries,
    pack_hard_state,
    unpack_entries,
    unpack_hard_state,
)
from quorate.consensus.storage.segments import SegmentHeader, encode_start, scan
from quorate.consensus.storage.snapshots import decode_head, encode_head

DIR_ID = b"0123456789abcdef"

IDENTITY = "71756f7269640a013f11d7eb95a56140683a31a4626c7565c4103031323334353637383961626364656603c3"
START = (
    "71756f726c6f670a01000000279a60b9b65172d9a405c38f0c0000000900000001000000000000000000000029000000"
    "0000000005000000000000009405a56140683a3103cd04d2"
)
HARD_STATE = (
    "b65172d991b5398c07000000090000000200000000000000000000000000000000000000060000000000000091a56240683a32"
)
ENTRIES = (
    "b65172d9c1f2206c13000000090000000300000000000000000000002a00000000000000050000000000000092940502"
    "060193c400c4057365742078c40179"
)
SNAPSHOT_HEAD = (
    "71756f72736e617001000000270000008a4c3b94952a059392a56140683a31a56240683a3291a56340683a3391a56440"
    "683a34cd03e8cedeadbeef"
)


def test_an_identity_reads_back() -> None:
    identity = Identity("a@h:1", "blue", DIR_ID, 3, True)
    assert encode_identity(identity).hex() == IDENTITY
    assert decode_identity(bytes.fromhex(IDENTITY), "x") == identity


def test_the_start_of_a_segment_reads_back() -> None:
    header = SegmentHeader(3, 9, HardState(5, "a@h:1"), 41, 5, 1234)
    assert encode_start(DIR_ID, header).hex() == START
    assert scan(bytes.fromhex(START), 3, DIR_ID, "x").header == header


def test_a_hard_state_reads_back() -> None:
    framing, state = Framing.of(DIR_ID, 3, 9), HardState(6, "b@h:2")
    assert framing.encode(Kind.HARD_STATE, 0, 0, 0, 6, pack_hard_state(state)).hex() == HARD_STATE
    record = framing.decode(bytes.fromhex(HARD_STATE), 0)
    assert record is not None and unpack_hard_state(record.term, record.payload) == state


def test_entries_read_back() -> None:
    framing = Framing.of(DIR_ID, 3, 9)
    batch = EntryBatch(42, (TermRun(5, 2), TermRun(6, 1)), [b"", b"set x", b"y"])
    assert framing.encode(Kind.ENTRIES, 0, 0, 42, 5, pack_entries(batch)).hex() == ENTRIES
    record = framing.decode(bytes.fromhex(ENTRIES), 0)
    assert record is not None and unpack_entries(record.index, record.payload) == batch


def test_the_head_of_a_snapshot_reads_back() -> None:
    who = Configuration(frozenset({"a@h:1", "b@h:2"}), frozenset({"c@h:3"}), frozenset({"d@h:4"}))
    meta = SnapshotMeta(42, 5, who, 0xDEADBEEF, 1000)
    assert encode_head(meta).hex() == SNAPSHOT_HEAD
    assert decode_head(bytes.fromhex(SNAPSHOT_HEAD), "x") == (meta, len(SNAPSHOT_HEAD) // 2)
