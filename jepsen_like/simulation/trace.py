"""The trace of a run: a running hash of everything that happened, and the lines of it, when they are wanted.

Two runs of one seed have the same hash, or something in them was decided by other than the seed; `--trace` on both
shows where they part.
"""

import struct
from hashlib import blake2b
from zlib import crc32

_DELIVERY = struct.Struct("<dHHII")


class Trace:
    """`keep` keeps the lines too, which costs time and memory."""

    def __init__(self, *, keep: bool = False) -> None:
        self._hash = blake2b(digest_size=16)
        self.lines: list[str] | None = [] if keep else None

    def delivery(self, now: float, source: int, target: int, data: bytes) -> None:
        """Bytes reached a simulated process."""
        self._hash.update(_DELIVERY.pack(now, source, target, len(data), crc32(data)))
        if self.lines is not None:
            self.lines.append(f"{now:.6f} n{source}->n{target} {len(data)} bytes {crc32(data):08x}")

    def event(self, now: float, text: str) -> None:
        """Anything else."""
        self._hash.update(f"{now!r} {text}\n".encode("utf-8", "surrogatepass"))
        if self.lines is not None:
            self.lines.append(f"{now:.6f} {text}")

    def hexdigest(self) -> str:
        """Of everything so far."""
        return self._hash.hexdigest()
