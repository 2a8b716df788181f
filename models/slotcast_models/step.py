"""The step program: one step of the network for any number of rows, on LiteRT.

Promise: a row's output bits depend on that row's input and nothing else - not on the number of
rows, the other rows, or the order (tests/property/test_batch_invariance.py). This holds per CPU
family and library version, which `numerics()` names.

An interpreter steps a fixed number of rows; to give it another costs more than a lone step. So
each number up to `EXACT` has its own interpreter, larger ones share four per doubling and are
padded, and what is longer than the stage is cut, so that activations stay in the processor's cache.
"""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import version
from typing import NamedTuple

import llvmlite.binding
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from slotcast_models.greeting import unheard

EXACT = 16
CHUNK = 256


@cache
def numerics() -> str:
    """Name of everything outside the bundle that bits may depend on: CPU family and libraries."""
    cpu = f"{platform.machine()}-{llvmlite.binding.get_host_cpu_name()}"
    libm = "-".join(platform.libc_ver()) or platform.system()
    return f"{cpu}/{libm}/litert-{version('ai-edge-litert')}/numba-{version('numba')}"


class Stage(NamedTuple):
    """Arguments and results of a step, in place."""

    x: NDArray[np.float32]  # [room, features]
    row: NDArray[np.float32]  # [room, width]
    y: NDArray[np.float32]  # [room, outputs]
    row_next: NDArray[np.float32]  # [room, width]


class _Opened:
    """An interpreter, and where its arguments and results are."""

    def __init__(self, program: bytes) -> None:
        self.interpreter = Interpreter(model_content=program, num_threads=1)
        signature = self.interpreter.get_signature_runner("step")
        inputs, outputs = signature.get_input_details(), signature.get_output_details()
        details = inputs["x"], inputs["row"], outputs["y"], outputs["row_next"]
        self.places = [int(detail["index"]) for detail in details]
        self.widths = [int(detail["shape_signature"][-1]) for detail in details]


class _Sized:
    """One interpreter for a fixed number of rows: the first ones of the stage."""

    def __init__(self, program: bytes, rows: int, stage: Stage) -> None:
        opened = _Opened(program)
        self._interpreter = interpreter = opened.interpreter
        self._x, self._row, y, row_next = opened.places
        self._staged = Stage(*(part[:rows] for part in stage))
        for place, part in ((self._x, self._staged.x), (self._row, self._staged.row)):
            interpreter.resize_tensor_input(place, part.shape)
        interpreter.allocate_tensors()
        # Functions, not arrays: the interpreter does not run while somebody holds its arrays.
        self._y, self._row_next = interpreter.tensor(y), interpreter.tensor(row_next)

    def run(self) -> None:
        interpreter, staged = self._interpreter, self._staged
        interpreter.set_tensor(self._x, staged.x)
        interpreter.set_tensor(self._row, staged.row)
        interpreter.invoke()
        staged.y[...] = self._y()
        staged.row_next[...] = self._row_next()


class StepProgram:
    """`(x float32[n, features], row float32[n, width]) -> (y float32[n, outputs], row')`."""

    def __init__(self, program: bytes, room: int = CHUNK) -> None:
        """Load a flatbuffer as `slotcast_models.export` writes it. Raises ValueError.

        `stage` has `room` rows.
        """
        self._program = program
        widths = _Opened(program).widths
        self.features, self.width, self.outputs, _ = widths
        self.stage = Stage(*(np.zeros((room, width), np.float32) for width in widths))
        self._sized: dict[int, _Sized] = {}
        self._of_rows: list[_Sized | None] = [None] * (room + 1)
        with unheard():
            self._size(1)

    def step(self, n: int) -> None:
        """Step the first n >= 1 rows of the stage; what it holds beyond them is void afterwards."""
        sized = self._of_rows[n] or self._size(n)
        sized.run()

    def _size(self, n: int) -> _Sized:
        rows = min(_padded(n), len(self.stage.x))
        if rows not in self._sized:
            self._sized[rows] = _Sized(self._program, rows, self.stage)
        self._of_rows[n] = self._sized[rows]
        return self._sized[rows]

    def run(
        self, x: NDArray[np.float32], row: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """One step of n >= 1 rows; returns new arrays (outputs, rows)."""
        n, room, stage = len(x), len(self.stage.x), self.stage
        y, row_next = np.empty((n, self.outputs), np.float32), np.empty_like(row)
        for first in range(0, n, room):
            part = slice(first, min(first + room, n))
            here = slice(0, part.stop - first)
            stage.x[here], stage.row[here] = x[part], row[part]
            self.step(here.stop)
            y[part], row_next[part] = stage.y[here], stage.row_next[here]
        return y, row_next


def _padded(n: int) -> int:
    """The next of the sizes that have an interpreter: four between a power of two and the next."""
    if n <= EXACT:
        return n
    spacing = 1 << ((n - 1).bit_length() - 3)
    return -(-n // spacing) * spacing
