"""The tick log: one port, several adapters."""
