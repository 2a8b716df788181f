"""LiteRT says hello on stderr when it first prepares a network; here it does so in silence.

Promise: what else is written to stderr meanwhile is passed on afterwards, whoever wrote it, up to
what a pipe holds (64 KiB). What a process says while it dies in here is lost.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

GREETING = b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU."
STDERR = 2
_greeted: list[bool] = []
"""Not empty once somebody has begun: a process is greeted once, so nobody else replaces stderr."""


@contextmanager
def unheard() -> Iterator[None]:
    """Keep the greeting, and only that, off stderr. Does nothing where stderr is closed."""
    if _greeted:
        yield
        return
    _greeted.append(True)
    try:
        kept = os.dup(STDERR)
    except OSError:
        yield
        return
    heard, said = os.pipe()
    os.set_blocking(said, False)  # nobody reads before the end,
    os.set_blocking(heard, False)  # which may not come: a process started meanwhile has the pipe
    os.dup2(said, STDERR)
    os.close(said)
    try:
        yield
    finally:
        os.dup2(kept, STDERR)
        os.close(kept)
        with os.fdopen(heard, "rb") as pipe, os.fdopen(os.dup(STDERR), "wb") as stderr:
            lines = (pipe.read() or b"").splitlines(keepends=True)
            stderr.writelines(line for line in lines if line.rstrip() != GREETING)
