"""Names that the whole cluster can trust, and singletons: placed by the ring, fenced by the store, moved with their state."""

from .claim import Claim
from .errors import (
    ClaimLost,
    NameTaken,
    NotASingleton,
    NotLocal,
    RegistryError,
    SingletonConflict,
    SingletonError,
)
from .names import Entry, Name
from .registry import Registry

__all__ = [
    "Claim",
    "ClaimLost",
    "Entry",
    "Name",
    "NameTaken",
    "NotASingleton",
    "NotLocal",
    "Registry",
    "RegistryError",
    "SingletonConflict",
    "SingletonError",
]
