"""Memory rows in a store or a file, and back."""
