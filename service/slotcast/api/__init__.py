"""REST, metrics and the live page."""
