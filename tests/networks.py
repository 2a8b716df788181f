"""Networks with random weights and their step programs, made once per run. Needs TensorFlow."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slotcast_models.bundle import (
    STEP,
    Bundle,
    Manifest,
    NetworkSpec,
    network_sizes,
    save_bundle,
)
from slotcast_models.schema import TickSchema
from slotcast_models.step import StepProgram
from slotcast_models.vectors import VECTORS, Vectors

Cells = tuple[tuple[str, int], ...]
Floats = NDArray[np.float32]


@lru_cache
def network(cells: Cells, features: int = 3, outputs: int = 1) -> Any:
    """A network as the package builds it, but for a head that is not zero."""
    import keras

    from slotcast_models.network import build_network

    keras.utils.set_random_seed(5)
    return build_network(cells, features, outputs, zero_head=False)


@lru_cache
def program_bytes(cells: Cells, features: int = 3, outputs: int = 1) -> bytes:
    """Its step program as a flatbuffer."""
    from slotcast_models.export import export_step

    return export_step(network(cells, features, outputs))


@lru_cache
def program(cells: Cells, features: int = 3, outputs: int = 1) -> StepProgram:
    """Its step program, loaded."""
    return StepProgram(program_bytes(cells, features, outputs))


def save_with_vectors(path: Path, schema: TickSchema, vectors: Vectors) -> Bundle:
    """A bundle of a network that is told who an instrument is, written and read again."""
    cells, numbers = (("gru", 4),), vectors.numbers
    inputs, outputs = network_sizes(schema, "target", embedding=numbers)
    spec = NetworkSpec(
        cells=cells,
        inputs=inputs,
        outputs=outputs,
        width=4,
        embedding=numbers,
        parameters=1,
        training="none",
    )
    contents = {
        STEP: program_bytes(cells, inputs, outputs),
        VECTORS: vectors.model_dump_json().encode(),
    }
    save_bundle(path, Manifest(name="made", network=spec, files={}), contents)
    return Bundle.load(path).bind(schema)


def stepped(step: StepProgram, x: Floats, row: Floats | None = None) -> tuple[Floats, Floats]:
    """Outputs [batch, steps, outputs] and last rows for ticks [batch, steps, features]."""
    row = np.zeros((len(x), step.width), np.float32) if row is None else row
    ys = []
    for tick in x.swapaxes(0, 1):
        y, row = step.run(np.ascontiguousarray(tick), row)
        ys.append(y)
    return np.stack(ys, axis=1), row
