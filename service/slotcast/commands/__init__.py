"""Commands of `cli` that fill a module of their own."""
