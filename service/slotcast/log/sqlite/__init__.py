"""The embedded log, in a file."""
