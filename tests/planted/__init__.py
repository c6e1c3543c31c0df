"""Bugs planted in the library on purpose, one at a time, to see that the simulation finds them: `python -m tests.planted`."""
