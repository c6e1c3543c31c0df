"""One encoding of keys to bytes, the same in every process, on every machine, for ever.

Placement must not depend on `PYTHONHASHSEED`, on the order of a dictionary or on how wide an integer happens
to be stored, so keys are never hashed with `hash()`: they are written out with a tag and a length and hashed
with XXH3-64 (https://xxhash.com). Changing anything here moves every singleton of every running cluster.
"""

import xxhash

Key = str | bytes | int | tuple["Key", ...]


def encode(key: Key) -> bytes:
    """The canonical bytes of a key. Distinct keys give distinct bytes; `1`, `"1"` and `b"1"` are distinct.

    Raises `TypeError` for anything but strings, bytes, integers (no booleans) and tuples of these.
    """
    if isinstance(key, str):
        return _tagged(b"s", key.encode("utf-8"))
    if isinstance(key, bytes):
        return _tagged(b"b", key)
    if isinstance(key, int) and not isinstance(key, bool):
        return _tagged(b"i", b"%d" % key)
    if isinstance(key, tuple):
        return _tagged(b"t", b"".join(encode(part) for part in key))
    raise TypeError(f"a key is a str, bytes, int or a tuple of these, not {type(key).__name__}: {key!r}")


def hash64(key: Key) -> int:
    """The key's place on the ring: an integer in [0, 2**64)."""
    return xxhash.xxh3_64_intdigest(encode(key))


def _tagged(tag: bytes, body: bytes) -> bytes:
    return b"%s%d:%s" % (tag, len(body), body)
