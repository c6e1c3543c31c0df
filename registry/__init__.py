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
    SingletonOverloaded,
)
from .host import HostConfig
from .keys import encode_name
from .names import Entry, Name
from .registry import Registry
from .singleton import Parked, Singleton
from .singletons import DrainReport, Singletons, SingletonStatus

__all__ = [
    "Claim",
    "ClaimLost",
    "DrainReport",
    "Entry",
    "HostConfig",
    "Name",
    "NameTaken",
    "NotASingleton",
    "NotLocal",
    "Parked",
    "Registry",
    "RegistryError",
    "Singleton",
    "SingletonConflict",
    "SingletonError",
    "SingletonOverloaded",
    "SingletonStatus",
    "Singletons",
    "encode_name",
]
