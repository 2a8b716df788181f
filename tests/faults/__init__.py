"""Named faults under load on real ticks; what comes out is compared with an uninterrupted run.

How to add one: see `tests.faults.conftest`.
"""
