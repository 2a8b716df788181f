"""The one way this package compiles per-slot loops: numba, cached, without fast-math.

Without fast-math the compiled code gives the same bits as the interpreted code. Numba's cache does
not notice a change in a *called* function of another file, so the cache directory is named after
the bytes of this package.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def _cache_directory() -> str:
    sources = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        sources.update(path.read_bytes())
    root = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return str(root / "slotcast" / f"numba-{sources.hexdigest()[:12]}")


if "NUMBA_CACHE_DIR" not in os.environ:
    numba.config.CACHE_DIR = _cache_directory()  # type: ignore[attr-defined]  # set at run time


def compiled(function: Function) -> Function:
    """Compile at the first call with given types; load from the cache in later runs."""
    return cast(Function, numba.njit(cache=True, nogil=True)(function))
