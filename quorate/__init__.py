"""Quorate: Erlang-style processes, a Raft-backed name registry and fenced singletons for asyncio."""

__version__ = "0.1.0"
