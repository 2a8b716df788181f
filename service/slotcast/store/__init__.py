"""The snapshot store: one port, several adapters."""
