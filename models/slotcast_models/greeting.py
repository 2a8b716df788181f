"""LiteRT says hello on stderr when it first prepares a network; here it does so in silence.

Promise: everything else that is written to stderr meanwhile is passed on, whoever wrote it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

GREETING = b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU."
STDERR = 2
_ours = threading.Lock()
"""Whoever holds it has replaced stderr."""


@contextmanager
def unheard() -> Iterator[None]:
    """Keep the greeting, and only that, off stderr. Does nothing where stderr is closed."""
    with _ours:
        yield from _replaced()


def _replaced() -> Iterator[None]:
    try:
        kept = os.dup(STDERR)
    except OSError:
        yield
        return
    heard, said = os.pipe()
    os.set_blocking(said, False)  # what does not fit is lost: nobody reads before the end
    os.dup2(said, STDERR)
    os.close(said)
    try:
        yield
    finally:
        os.dup2(kept, STDERR)
        os.close(kept)
        with os.fdopen(heard, "rb") as lines, os.fdopen(os.dup(STDERR), "wb") as stderr:
            stderr.writelines(line for line in lines if line.rstrip() != GREETING)
