"""The one way this package compiles per-slot loops: numba, cached, without fast-math.

Without fast-math the compiled code gives the same bits as the interpreted code. Compiled loops
allocate nothing: with numba's allocator on, counting references to views takes two thirds of the
fold's time. So no `np.empty`, and no assignment of a slice to a slice (`copy_row` instead).

Numba's cache does not notice a change in a *called* function of another file, so the cache
directory is named after the bytes of this package. Loading from it is unpickling, so it is used
only where it is private (`cache_folder.py`); `NOT_KEPT` says why not.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core import types
from numba.extending import lower_builtin, type_callable, typeof_impl
from numpy.typing import NDArray

from slotcast_models.cache_folder import NotPrivateError, private_folder
from slotcast_models.memory import Memory

Function = TypeVar("Function", bound=Callable[..., Any])


def _wanted_folder() -> Path:
    sources = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        sources.update(path.read_bytes())
    name = f"numba-{sources.hexdigest()[:12]}"
    if chosen := os.environ.get("NUMBA_CACHE_DIR"):
        return Path(chosen) / name
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "slotcast" / name


def _use_cache() -> str:
    """Why there is none; empty when there is."""
    try:
        folder = private_folder(_wanted_folder())
    except (NotPrivateError, RuntimeError) as error:  # the latter: there is no home
        return str(error)
    numba.config.CACHE_DIR = str(folder)  # type: ignore[attr-defined]  # set at run time
    return ""


NOT_KEPT = _use_cache()
"""Why loops are compiled at every start; empty where they are kept."""
OPTIONS: dict[str, Any] = {
    "cache": not NOT_KEPT,
    "nogil": True,
    "error_model": "numpy",
    "_nrt": False,
    "forceinline": True,  # a call hands over every array of `Memory` by value: some 200 words
}


def compiled(function: Function) -> Function:
    """Compile at the first call with given types; load from the cache in later runs."""
    return cast(Function, numba.njit(**OPTIONS)(function))


def packed(array: NDArray[Any]) -> NDArray[Any]:
    """The same array, whose elements the caller knows to lie side by side in memory.

    A field of `Memory` has a row's length between slots, so the compiler takes every stride for
    unknown; `packed(memory.cov[slot, j])` tells it, which makes vector instructions possible.
    """
    return array


@type_callable(packed)
def _type_packed(_context: Any) -> Callable[[types.Array], types.Array]:
    return lambda array: array.copy(layout="C")


@lower_builtin(packed, types.Array)  # type: ignore[no-untyped-call, untyped-decorator]  # numba
def _lower_packed(_context: Any, _builder: Any, _signature: Any, arguments: Any) -> Any:
    return arguments[0]


@typeof_impl.register(Memory)
def _type_memory(memory: Memory, context: Any) -> types.NamedTuple:
    """One type for every layout, so the loops are compiled once: every stride is unknown.

    Else a field of size 0 or a lone slot, which numpy counts as contiguous, is compiled anew.
    """
    fields = [typeof_impl(field, context).copy(layout="A") for field in memory]
    return types.NamedTuple(fields, Memory)  # type: ignore[no-untyped-call]  # numba


@compiled
def copy_row(to: NDArray[Any], source: NDArray[Any]) -> None:
    """Copy the one-dimensional `source` into `to`."""
    for i in range(source.shape[0]):
        to[i] = source[i]
