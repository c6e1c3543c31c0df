"""Pure placement functions: which node a key belongs to. No state, no clock, no randomness."""

from .encoding import Key, encode, hash64
from .ring import Move, Ring

__all__ = ["Key", "Move", "Ring", "encode", "hash64"]
