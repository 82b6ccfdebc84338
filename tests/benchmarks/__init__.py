"""Benchmarks beside the peers; `python -m tests.benchmarks` prints their tables."""
