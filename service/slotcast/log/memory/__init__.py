"""The log of tests, in memory."""
