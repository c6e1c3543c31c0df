"""Figures, beside those of peers in the same run: `make bench`, or `python -m benchmarks [NAME ...] [--json]`."""
