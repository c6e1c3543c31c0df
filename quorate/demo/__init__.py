"""`quorate demo`: three nodes on this machine, what can happen to them, and whether the promises held."""

from .main import demo

__all__ = ["demo"]
