"""Deliberate bugs in the library, each of which its tests must catch: `python -m tests.mutants`."""
