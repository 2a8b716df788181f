"""Unit, property, contract and simulation tests, and the real servers they run against."""
