"""For child processes: importing this makes the workloads of `plants.py` known there."""

from quorate.jepsen_like.workloads import WORKLOADS

from .plants import PLANTS

WORKLOADS.update(PLANTS)
