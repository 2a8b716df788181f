"""Proving from the log that what was published is what it should be."""
