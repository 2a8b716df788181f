"""The workers of a group, to each other: who is where, and holds what."""
