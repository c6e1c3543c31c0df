"""How fast a cluster notices failures: one word instead of a dozen numbers."""

from dataclasses import dataclass
from enum import StrEnum

from quorate.consensus import Timing
from quorate.core import LinkConfig


class Preset(StrEnum):
    """Which set of times to use. All nodes of a cluster must use the same."""

    LOCAL = "local"  # one machine or rack: a dead node's singletons run elsewhere within a second or so
    LAN = "lan"  # one data centre: within a few seconds
    WAN = "wan"  # between regions: within half a minute


@dataclass(frozen=True, slots=True)
class Times:
    """What a preset stands for."""

    timing: Timing
    links: LinkConfig


def times_of(preset: Preset) -> Times:
    """The times of a preset."""
    match preset:
        case Preset.LOCAL:
            return Times(Timing.local(), LinkConfig.local())
        case Preset.LAN:
            return Times(Timing.lan(), LinkConfig.lan())
        case Preset.WAN:
            return Times(Timing.wan(), LinkConfig.wan())
