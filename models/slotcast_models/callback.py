"""Calls from a compiled loop back into Python: how the loop over waves reaches the network.

A compiled function that is called from Python has its arguments looked up one by one, some 5 us for
the arrays of the fold. So the loop over waves is compiled as a whole, and calls out once per wave
(under 1 us). What the Python function raises cannot cross compiled code: it is kept, the loop ends,
and `Callback.check` raises it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numba
from llvmlite import ir
from numba.core import types
from numba.extending import lower_builtin, type_callable

_POINTER = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)
_NATIVE = ir.FunctionType(ir.IntType(64), [ir.IntType(64)])


class Callback:
    """A Python function of one whole number; compiled loops get its `handle`."""

    def __init__(self, function: Callable[[int], None]) -> None:
        self._function = function
        self._failure: BaseException | None = None
        self._pointer = _POINTER(self._run)
        address = ctypes.cast(self._pointer, ctypes.c_void_p).value
        interpreted = numba.config.DISABLE_JIT  # type: ignore[attr-defined]  # set at run time
        self.handle: Any = self._run if interpreted else address

    def _run(self, number: int) -> int:
        try:
            self._function(number)
        except BaseException as failure:  # noqa: BLE001  # raised again by `check`
            self._failure = failure
            return 1
        return 0

    def check(self) -> None:
        """Raise what the function raised since the last check."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure


def succeeds(handle: Any, number: int) -> bool:
    """Call the function behind `handle` from a compiled loop; False if it raised."""
    return bool(handle(number) == 0)


@type_callable(succeeds)
def _type_succeeds(_context: Any) -> Callable[[types.Integer, types.Integer], types.Boolean]:
    return lambda _handle, _number: types.boolean


@lower_builtin(succeeds, types.int64, types.int64)  # type: ignore[no-untyped-call, untyped-decorator]  # numba
def _lower_succeeds(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
    handle, number = arguments
    result = builder.call(builder.inttoptr(handle, _NATIVE.as_pointer()), [number])
    return builder.icmp_signed("==", result, result.type(0))
