"""Throughput, memory and stored bytes beside the peers, on the same seeded data in one run.

`make bench` runs it; `python -m benches --help` shows what can be varied.
"""
