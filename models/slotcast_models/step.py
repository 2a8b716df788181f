"""The step program: one step of the network for any number of rows, on LiteRT.

Promise: a row's output bits depend on that row's input and nothing else - not on the number of
rows, the other rows, or the order (tests/property/test_batch_invariance.py). This holds per CPU
family and library version, which `numerics()` names.

A call costs about 6 us plus 0.8 us per row (2 x LSTM 64). Waves up to `EXACT` rows have an
interpreter each; larger ones share interpreters that are resized (about 20 us) when the size
changes; waves above `CHUNK` rows are cut, so that activations stay in the processor's cache.
"""

from __future__ import annotations

import platform
from importlib.metadata import version

import llvmlite.binding
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

EXACT = 16
CHUNK = 512


def numerics() -> str:
    """Name of everything outside the bundle that bits may depend on: CPU family and libraries."""
    cpu = f"{platform.machine()}-{llvmlite.binding.get_host_cpu_name()}"
    return f"{cpu}/litert-{version('ai-edge-litert')}/numba-{version('numba')}"


class _Sized:
    """One interpreter for one number of rows at a time."""

    def __init__(self, program: bytes) -> None:
        self._interpreter = Interpreter(model_content=program, num_threads=1)
        signature = self._interpreter.get_signature_runner("step")
        inputs, outputs = signature.get_input_details(), signature.get_output_details()
        self._x, self._row = inputs["x"]["index"], inputs["row"]["index"]
        self._y, self._row_next = outputs["y"]["index"], outputs["row_next"]["index"]
        self.features = int(inputs["x"]["shape_signature"][-1])
        self.width = int(inputs["row"]["shape_signature"][-1])
        self.outputs = int(outputs["y"]["shape_signature"][-1])
        self._rows = 0

    def run(
        self, x: NDArray[np.float32], row: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        interpreter = self._interpreter
        if len(x) != self._rows:
            interpreter.resize_tensor_input(self._x, x.shape)
            interpreter.resize_tensor_input(self._row, row.shape)
            interpreter.allocate_tensors()
            self._rows = len(x)
        interpreter.set_tensor(self._x, x)
        interpreter.set_tensor(self._row, row)
        interpreter.invoke()
        return interpreter.get_tensor(self._y), interpreter.get_tensor(self._row_next)


class StepProgram:
    """`(x float32[n, features], row float32[n, width]) -> (y float32[n, outputs], row')`."""

    def __init__(self, program: bytes) -> None:
        """Load a flatbuffer as `slotcast_models.export` writes it. Raises ValueError."""
        self._program = program
        self._exact: dict[int, _Sized] = {}
        self._large = _Sized(program)
        self._chunk = _Sized(program)
        self.features, self.width = self._large.features, self._large.width
        self.outputs = self._large.outputs

    def run(
        self, x: NDArray[np.float32], row: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """One step of n >= 1 rows; returns new arrays (outputs, rows)."""
        n = len(x)
        if n <= EXACT:
            sized = self._exact.get(n)
            if sized is None:
                sized = self._exact[n] = _Sized(self._program)
            return sized.run(x, row)
        if n <= CHUNK:
            return self._large.run(x, row)
        parts = [
            (self._chunk if start + CHUNK <= n else self._large).run(
                x[start : start + CHUNK], row[start : start + CHUNK]
            )
            for start in range(0, n, CHUNK)
        ]
        ys, rows = zip(*parts, strict=True)
        return np.concatenate(ys), np.concatenate(rows)
