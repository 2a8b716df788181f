"""`slotcast doctor`: looking at everything that a worker needs, before or while one runs."""
