"""slotcast: ticks in, one forecast per tick out, one slot of memory per instrument."""

__version__ = "0.1.0"
