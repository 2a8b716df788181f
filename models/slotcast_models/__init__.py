"""The numerics of slotcast: pure functions of arrays, with no clock, network or threads."""

__version__ = "0.1.0"
