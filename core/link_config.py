"""The settings of the links of one node: three presets instead of many knobs."""

from dataclasses import dataclass
from typing import Self

from .errors import ConfigError

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class LinkConfig:
    """How links are kept. Times in seconds, sizes in bytes; use a preset unless you have measured.

    All nodes of a cluster should use the same preset: a peer that beats more slowly than our timeout is cut off.
    Raises `ConfigError` for values that cannot work.
    """

    heartbeat_s: float = 0.5  # between heartbeats on each lane
    heartbeat_timeout_s: float = 2.5  # of silence, before a peer is given up
    probe_s: float = 1.0  # for a link to prove that it lives, when another node claims its name
    handshake_s: float = 5.0  # for a whole dial, or a whole accepted handshake
    stall_s: float = (
        10.0  # without any progress of waiting bytes, before a peer that stopped reading is given up
    )
    close_s: float = 1.0  # for the last bytes to leave when a connection is closed
    backoff_first_s: float = 0.1  # before the first redial; doubled each time
    backoff_max_s: float = 5.0
    discovery_s: float = 10.0  # between questions to the discovery
    client_idle_s: float = 60.0  # before a command-line client that asks nothing is closed
    control_frame_limit_bytes: int = 4 * MIB
    signal_frame_limit_bytes: int = 16 * MIB
    control_buffer_bytes: int = (
        16 * MIB
    )  # waiting on a lane that does not drain; beyond it frames are dropped
    signal_buffer_bytes: int = 32 * MIB  # beyond it senders get `Busy`
    handshakes_limit: int = 128  # accepted connections that are not through their handshake
    clients_limit: int = 64  # command-line clients at once
    listen_host: str | None = None  # where to listen, when it is not the host of the node's name ("0.0.0.0")

    def __post_init__(self) -> None:
        if not 0 < self.heartbeat_s < self.heartbeat_timeout_s:
            raise ConfigError(
                f"heartbeat_s ({self.heartbeat_s}) must be over 0 and under heartbeat_timeout_s "
                f"({self.heartbeat_timeout_s})"
            )
        if not 0 < self.backoff_first_s <= self.backoff_max_s:
            raise ConfigError(
                f"backoff_first_s ({self.backoff_first_s}) must be over 0 and at most backoff_max_s "
                f"({self.backoff_max_s})"
            )
        for name in ("probe_s", "handshake_s", "stall_s", "close_s", "discovery_s", "client_idle_s"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be over 0, not {getattr(self, name)}")
        for name in ("control_frame_limit_bytes", "signal_frame_limit_bytes"):
            if not KIB <= getattr(self, name) < 2**31:
                raise ConfigError(f"{name} must be from 1024 to 2^31 - 1, not {getattr(self, name)}")
        for name in ("control_buffer_bytes", "signal_buffer_bytes", "handshakes_limit", "clients_limit"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be 1 or more, not {getattr(self, name)}")

    @classmethod
    def local(cls) -> Self:
        """All nodes on one machine or in one rack, for tests and small latencies."""
        return cls(
            heartbeat_s=0.1,
            heartbeat_timeout_s=0.6,
            probe_s=0.3,
            handshake_s=2.0,
            stall_s=3.0,
            close_s=0.5,
            backoff_first_s=0.02,
            backoff_max_s=0.5,
            discovery_s=2.0,
        )

    @classmethod
    def lan(cls) -> Self:
        """One data centre. The default."""
        return cls()

    @classmethod
    def wan(cls) -> Self:
        """Between regions."""
        return cls(
            heartbeat_s=2.0,
            heartbeat_timeout_s=10.0,
            probe_s=4.0,
            handshake_s=15.0,
            stall_s=40.0,
            close_s=4.0,
            backoff_first_s=0.5,
            backoff_max_s=30.0,
            discovery_s=30.0,
        )
